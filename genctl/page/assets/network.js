// A decoder, evaluated here: operations on one image's numbers, as torch has them.
const maps = {
  relu: (v) => (v > 0 ? v : 0),
  leaky: (v, { slope }) => (v > 0 ? v : slope * v),
  tanh: (v) => Math.tanh(v),
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  unsigned: (v) => (v + 1) / 2,
};

function linear({ inputs, outputs, weight, bias }, x) {
  const y = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let sum = bias ? bias[o] : 0;
    for (let i = 0, at = o * inputs; i < inputs; i++) sum += weight[at + i] * x[i];
    y[o] = sum;
  }
  return y;
}

// A coupling undone: the part that stays says how the other was scaled and shifted.
function coupling({ stays, moves, hidden, from, to, weight, bias, last, offset }, x) {
  const h = linear({ inputs: stays, outputs: hidden, weight, bias }, x.subarray(from, from + stays)).map(maps.relu);
  const raw = linear({ inputs: hidden, outputs: 2 * moves, weight: last, bias: offset }, h);
  const y = x.slice();
  for (let i = 0; i < moves; i++) y[to + i] = (x[to + i] - raw[moves + i]) * Math.exp(-Math.tanh(raw[i]));
  return y;
}

// A transposed convolution: each input place adds its weighted kernel to the places around it.
function spread({ inputs, outputs, kernel, stride, padding, weight, bias }, x, [, H, W]) {
  const [h, w] = [H, W].map((n) => (n - 1) * stride - 2 * padding + kernel);
  const y = new Float64Array(outputs * h * w);
  if (bias) for (let o = 0; o < outputs; o++) y.fill(bias[o], o * h * w, (o + 1) * h * w);
  for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) for (let a = 0; a < kernel; a++) for (let b = 0; b < kernel; b++) {
    const value = weight[((i * outputs + o) * kernel + a) * kernel + b];
    for (let r = 0; r < H; r++) {
      const row = r * stride - padding + a;
      if (row < 0 || row >= h) continue;
      for (let c = 0; c < W; c++) {
        const column = c * stride - padding + b;
        if (column >= 0 && column < w) y[(o * h + row) * w + column] += value * x[(i * H + r) * W + c];
      }
    }
  }
  return [y, [outputs, h, w]];
}

function apply(layers, x, shape) {
  for (const layer of layers) {
    const { op } = layer;
    if (op in maps) x = x.map((v) => maps[op](v, layer));
    else if (op === 'linear') [x, shape] = [linear(layer, x), [layer.outputs]];
    else if (op === 'coupling') x = coupling(layer, x);
    else if (op === 'shape') ({ shape } = layer);
    else if (op === 'spread') [x, shape] = spread(layer, x, shape);
    else if (op === 'affine') {
      const each = x.length / shape[0];  // channels come first
      x = x.map((v, i) => v * layer.scale[Math.floor(i / each)] + layer.shift[Math.floor(i / each)]);
    } else throw new Error(`unknown operation ${op}`);
  }
  return x;
}

// The layers with their weights in place of where these stand.
function withWeights(layers, all) {
  return layers.map((layer) => Object.fromEntries(Object.entries(layer).map(([key, value]) => {
    const stands = ['weight', 'bias', 'scale', 'shift', 'last', 'offset'].includes(key) && value;
    return [key, stands ? all.subarray(value[0], value[0] + value[1]) : value];
  })));
}

// A function from z to an image in [0, 1], or null where there is none, or where it is not what torch makes.
function decoder(plane) {
  if (!plane.layers.length) return null;
  const layers = withWeights(plane.layers, new Float32Array(bytes(plane.weights).buffer));
  const decode = (z) => apply(layers, Float64Array.from(z), [2]);
  for (const [z, letters] of plane.checks) {
    const wanted = new Float32Array(bytes(letters).buffer);
    const found = decode(z);
    if (found.length !== wanted.length || !wanted.every((value, i) => Math.abs(value - found[i]) < 1e-4)) return null;
  }
  return decode;
}
