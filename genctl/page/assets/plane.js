// The manifold as a place: the image under the pointer, the finger or the arrow keys.

// The inverse of the normal distribution function (Wichura 1988, algorithm AS 241, PPND7).
function quantile(p) {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return q * (((59.10937472 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
      / (((67.1875636 * r + 78.757757664) * r + 17.895169469) * r + 1);
  }
  let r = Math.sqrt(-Math.log(q < 0 ? p : 1 - p));
  let x;
  if (r <= 5) {
    r -= 1.6;
    x = (((0.17023821103 * r + 1.3067284816) * r + 2.75681539) * r + 1.4234372777) / ((0.12021132975 * r + 0.7370016425) * r + 1);
  } else {
    r -= 5;
    x = (((0.017337203997 * r + 0.42868294337) * r + 3.081226386) * r + 6.657905115) / ((0.012258202635 * r + 0.24197894225) * r + 1);
  }
  return q < 0 ? -x : x;
}

function paint(canvas, image, [C, H, W]) {
  const pixels = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round(255 * bounded(image[(C === 3 ? c : 0) * H * W + i], 0, 1));
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext('2d', { willReadFrequently: true }).putImageData(pixels, 0, 0);
}

// A tile's latent is where its middle is: the plane reaches from the middle of the first tile to that of the last.
function within(share, plane) {
  return 0.5 + ((share - 0.5) * (plane.steps - 1)) / plane.steps;
}

const COLOURS = ['#ff6b6b', '#4dabf7', '#69db7c', '#ffd43b', '#cc5de8', '#ff922b', '#22d3c5', '#f9a8d4', '#b8c0c9', '#b5814a'];

function colour(label) {
  return COLOURS[label] ?? `hsl(${(label * 137.5) % 360} 75% 60%)`;
}

function scatter(canvas, plane) {
  const scale = Math.min(2, devicePixelRatio || 1);
  const side = canvas.clientWidth * scale;
  canvas.width = canvas.height = side;
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, side, side);
  for (const [right, up, label] of plane.points) {
    context.fillStyle = colour(label);
    context.beginPath();
    context.arc(within(right, plane) * side, within(1 - up, plane) * side, 2 * scale, 0, 7);
    context.fill();
  }
}

function place(box, plane) {
  const [C, H, W] = plane.shape;
  const field = box.querySelector('.field');
  const cross = field.querySelector('.cross');
  const points = field.querySelector('.points');
  const tiles = field.querySelector('img');
  const lens = box.querySelector('.lens');
  const canvas = lens.querySelector('canvas');
  const output = lens.querySelector('output');
  const decode = decoder(plane);
  box.dataset.drawn = decode ? 'decoded' : 'tiles';
  const at = { right: 0.5, up: 0.5 };
  let due = false;

  const draw = () => {
    due = false;
    const [right, up] = [at.right, at.up].map((share) => plane.low + (plane.high - plane.low) * share);
    let z = [quantile(right), quantile(up)];
    if (decode) paint(canvas, decode(z), plane.shape);
    else {
      const last = plane.steps - 1;
      const [column, row] = [Math.round(at.right * last), Math.round((1 - at.up) * last)];
      const level = (i) => quantile(plane.low + ((plane.high - plane.low) * i) / last);
      z = [level(column), level(last - row)];
      canvas.getContext('2d').drawImage(tiles, column * W, row * H, W, H, 0, 0, W, H);
    }
    const words = `z = (${z.map((part) => part.toFixed(2).replace('-', '−')).join(', ')})`;
    output.textContent = words;
    canvas.setAttribute('aria-label', `The image at ${words}`);
    cross.style.left = `${100 * within(at.right, plane)}%`;
    cross.style.top = `${100 * within(1 - at.up, plane)}%`;
  };
  const go = (right, up) => {
    Object.assign(at, { right: bounded(right, 0, 1), up: bounded(up, 0, 1) });
    if (!due) requestAnimationFrame(draw);
    due = true;
  };
  const follow = (event) => {
    const { left, top, width, height } = tiles.getBoundingClientRect();
    const share = (n) => 0.5 + ((n - 0.5) * plane.steps) / (plane.steps - 1);
    go(share((event.clientX - left) / width), 1 - share((event.clientY - top) / height));
  };
  field.addEventListener('pointermove', follow);
  field.addEventListener('pointerdown', follow);
  field.addEventListener('keydown', (event) => {
    const step = event.shiftKey ? 0.1 : decode ? 0.02 : 1 / (plane.steps - 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === 'Home') go(0.5, 0.5);
    else if (event.key in moves) go(at.right + moves[event.key][0], at.up + moves[event.key][1]);
    else return;
    event.preventDefault();
  });
  cross.hidden = lens.hidden = false;
  if (plane.points.length) legend(box, plane, points);
  if (tiles.complete) draw();
  else tiles.addEventListener('load', draw);
}

function legend(box, plane, points) {
  const toggle = make('button', { type: 'button', 'aria-pressed': 'false' }, 'Test images by class');
  const names = make('p', { class: 'legend', hidden: '' });
  for (const [label, name] of plane.classes.entries()) {
    const swatch = make('span', { class: 'swatch', 'aria-hidden': 'true' });
    swatch.style.background = colour(label);
    names.append(make('span', {}, swatch, name), ' ');
  }
  toggle.addEventListener('click', () => {
    const on = points.hidden;
    points.hidden = names.hidden = !on;
    box.classList.toggle('by-class', on);
    toggle.setAttribute('aria-pressed', on);
    if (on) scatter(points, plane);
  });
  new ResizeObserver(() => { if (!points.hidden) scatter(points, plane); }).observe(points);
  box.querySelector('.lens').append(make('div', { class: 'controls' }, toggle), names);
}

for (const box of document.querySelectorAll('.plane')) place(box, data.runs[box.dataset.run].plane);
