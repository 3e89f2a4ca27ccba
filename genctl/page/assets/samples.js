// Samples through training: a slider over the epochs, a button that plays them, and what kind of image they are.
for (const figure of document.querySelectorAll('.frames')) {
  const kinds = data.runs[figure.dataset.run].frames;
  const image = figure.querySelector('img');
  const controls = figure.querySelector('.controls');
  let kind = Math.max(0, kinds.findIndex(([name]) => name === memory.get('kind')));
  let timer = null;

  const slider = make('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Epoch of the samples' });
  const output = make('output', { class: 'number' });
  const play = make('button', { type: 'button' }, 'Play');

  const show = () => {
    const [name, frames] = kinds[kind];
    const [epoch, letters] = frames[slider.value];
    image.src = `data:image/png;base64,${letters}`;
    image.alt = `${name} after epoch ${epoch}, a grid of images`;
    output.textContent = `epoch ${epoch}`;
    slider.setAttribute('aria-valuetext', `epoch ${epoch}`);
  };
  const rest = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = 'Play';
  };
  const choose = (index) => {
    const before = kinds[kind][1].at(Number(slider.value))?.[0];
    kind = index;
    const frames = kinds[kind][1];
    slider.max = frames.length - 1;
    const same = frames.findIndex(([epoch]) => epoch === before);
    slider.value = same < 0 ? frames.length - 1 : same;
    show();
  };
  slider.addEventListener('input', () => { rest(); show(); });
  play.addEventListener('click', () => {
    if (timer) return rest();
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.textContent = 'Stop';
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) rest();
    }, 450);
  });

  slider.max = kinds[kind][1].length - 1;
  slider.value = slider.max;
  show();
  if (kinds.length > 1) {
    const choices = make('div', { class: 'choices', role: 'group', 'aria-label': 'What is shown' });
    const buttons = kinds.map(([name], index) => {
      const button = make('button', { type: 'button', 'aria-pressed': index === kind }, name);
      button.addEventListener('click', () => {
        memory.set('kind', name);
        choose(index);
        buttons.forEach((other, i) => other.setAttribute('aria-pressed', i === index));
      });
      return button;
    });
    choices.append(...buttons);
    controls.append(choices);
  }
  if (kinds.some(([, frames]) => frames.length > 1)) controls.append(play, slider);
  controls.append(output);
  controls.hidden = false;
}
