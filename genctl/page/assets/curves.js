// Curves of metrics by epoch. All charts of a run share the epoch that the pointer or the arrow keys choose.
const PLOT = { large: { height: 300, left: 52, right: 12, top: 12, bottom: 28 },
               small: { height: 60, left: 2, right: 4, top: 6, bottom: 4 } };

function ticks(least, most, wanted) {
  const rough = (most - least) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let i = Math.ceil(least / step); i * step <= most + step * 1e-6; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// A first value far off must not press all others into a line.
function range(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!sorted.length) return [0, 1];
  let [least, most] = [sorted[0], sorted.at(-1)];
  if (sorted.length > 12) {
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const middle = at(0.9) - at(0.1);
    if (middle > 0) [least, most] = [Math.max(least, at(0.1) - 3 * middle), Math.min(most, at(0.9) + 3 * middle)];
  }
  const gap = (most - least || Math.abs(most) || 1) * 0.05;
  return [least - gap, most + gap];
}

class Chart {
  constructor(box, run, series, size, levels = []) {
    Object.assign(this, { box, run, series, levels, size: PLOT[size], axes: size === 'large' });
    this.svg = drawn('svg', { 'aria-hidden': 'true' });
    box.append(this.svg);
    this.svg.addEventListener('pointermove', (event) => {
      const at = (event.clientX - this.svg.getBoundingClientRect().left - this.size.left) / this.width;
      const epochs = run.epochs;
      const wanted = epochs[0] + at * (epochs.at(-1) - epochs[0]);
      const off = epochs.map((epoch) => Math.abs(epoch - wanted));
      run.move(off.indexOf(Math.min(...off)));
    });
    this.svg.addEventListener('pointerleave', () => run.move(run.epochs.length - 1));
    new ResizeObserver(() => this.draw()).observe(box);
    this.draw();
  }

  x(i) {
    const epochs = this.run.epochs;
    const span = epochs.at(-1) - epochs[0];
    return this.size.left + (span ? (epochs[i] - epochs[0]) / span : 0.5) * this.width;
  }

  y(value) {
    const share = bounded((value - this.least) / (this.most - this.least), 0, 1);
    return this.size.height - this.size.bottom - share * (this.size.height - this.size.top - this.size.bottom);
  }

  draw() {
    const { size, svg, run } = this;
    const whole = this.box.clientWidth;
    if (!whole || whole === this.whole) return;
    this.whole = whole;
    this.width = whole - size.left - size.right;
    svg.setAttribute('viewBox', `0 0 ${whole} ${size.height}`);
    svg.setAttribute('height', size.height);
    svg.replaceChildren();
    const levels = this.levels.map(([, height]) => height);
    [this.least, this.most] = range([...this.series.flatMap((each) => each.values), ...levels]);
    if (this.axes) this.rule();
    for (const [label, height] of this.levels) {
      const y = this.y(height);
      svg.append(drawn('line', { class: 'level', x1: size.left, x2: size.left + this.width, y1: y, y2: y }));
      const text = drawn('text', { class: 'tick', x: size.left - 8, y: y + 4, 'text-anchor': 'end' });
      text.textContent = label;
      svg.append(text);
    }
    this.series.forEach(({ values }, n) => {
      let path = '';
      values.forEach((value, i) => {
        if (value === null) return;
        const starts = i === 0 || values[i - 1] === null;
        path += `${starts ? 'M' : 'L'}${this.x(i).toFixed(1)} ${this.y(value).toFixed(1)}`;
      });
      svg.append(drawn('path', { class: `line series-${n % 6}`, d: path }));
    });
    this.cursor = drawn('line', { class: 'cursor', y1: size.top, y2: size.height - size.bottom });
    this.dots = this.series.map((_, n) => drawn('circle', { class: `dot series-${n % 6}`, r: this.axes ? 4 : 2.5 }));
    svg.append(this.cursor, ...this.dots);
    this.point(run.at);
  }

  rule() {
    const { size, svg, run } = this;
    const named = this.levels.map(([, height]) => this.y(height));
    for (const value of ticks(this.least, this.most, 5)) {
      const y = this.y(value);
      if (named.some((other) => Math.abs(other - y) < 14)) continue;
      svg.append(drawn('line', { class: 'grid', x1: size.left, x2: size.left + this.width, y1: y, y2: y }));
      const text = drawn('text', { class: 'tick', x: size.left - 8, y: y + 4, 'text-anchor': 'end' });
      text.textContent = String(value);
      svg.append(text);
    }
    const [first, last] = [run.epochs[0], run.epochs.at(-1)];
    for (const epoch of ticks(first, last, Math.min(8, this.width / 70)).filter(Number.isInteger)) {
      const x = size.left + (last > first ? (epoch - first) / (last - first) : 0.5) * this.width;
      const text = drawn('text', { class: 'tick', x, y: size.height - 8, 'text-anchor': 'middle' });
      text.textContent = String(epoch);
      svg.append(text);
    }
  }

  point(i) {
    if (!this.cursor) return;
    this.cursor.setAttribute('x1', this.x(i));
    this.cursor.setAttribute('x2', this.x(i));
    this.series.forEach(({ values }, n) => {
      const there = values[i] !== null;
      this.dots[n].setAttribute('visibility', there ? 'visible' : 'hidden');
      if (!there) return;
      this.dots[n].setAttribute('cx', this.x(i));
      this.dots[n].setAttribute('cy', this.y(values[i]));
    });
  }
}

function large(box, run) {
  const series = run.curves.series.map(([label, metric]) => ({ label, values: run.values.get(metric) ?? [] }));
  const shown = series.filter(({ values }) => values.some((value) => value !== null));
  if (!shown.length) return [];
  const readout = make('p', { class: 'readout' });
  const held = make('div', { class: 'plot', tabindex: 0, role: 'slider', 'aria-label': 'Epoch of the curves' });
  held.setAttribute('aria-valuemin', run.epochs[0]);
  held.setAttribute('aria-valuemax', run.epochs.at(-1));
  box.append(readout, held);
  held.addEventListener('keydown', (event) => {
    const last = run.epochs.length - 1;
    const jump = Math.max(1, Math.round(last / 10));
    const to = { ArrowLeft: run.at - 1, ArrowDown: run.at - 1, ArrowRight: run.at + 1, ArrowUp: run.at + 1,
                 PageDown: run.at - jump, PageUp: run.at + jump, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    run.move(bounded(to, 0, last));
  });
  run.listeners.push((i) => {
    const parts = shown.map(({ label, values }, n) => {
      const value = make('b', { class: 'number' }, short(values[i]));
      return make('span', { class: `key series-${n % 6}` }, `${label} `, value);
    });
    readout.replaceChildren(make('span', { class: 'number' }, `epoch ${run.epochs[i]}`), ...parts);
    held.setAttribute('aria-valuenow', run.epochs[i]);
    const words = shown.map(({ label, values }) => `${label} ${short(values[i])}`);
    held.setAttribute('aria-valuetext', `epoch ${run.epochs[i]}: ${words.join(', ')}`);
  });
  const chart = new Chart(held, run, shown, 'large', run.curves.levels);
  run.listeners.push((i) => chart.point(i));
  return run.curves.series.map(([, metric]) => metric);
}

function multiples(box, run, without) {
  for (const [name, values] of run.metrics) {
    if (without.includes(name) || !values.some((value) => value !== null)) continue;
    const value = make('b', { class: 'number' });
    const words = name.replaceAll('_', ' ');
    const held = make('div', { role: 'img' });
    box.append(make('figure', {}, make('figcaption', {}, make('span', {}, words), value), held));
    const chart = new Chart(held, run, [{ values }], 'small');
    run.listeners.push((i) => {
      value.textContent = short(values[i]);
      held.setAttribute('aria-label', `${words}: ${short(values[i])} at epoch ${run.epochs[i]}`);
      chart.point(i);
    });
  }
}

function asTable(details, run) {
  details.addEventListener('toggle', () => {
    if (details.querySelector('table')) return;
    const cell = (name, text) => make(name, name === 'th' ? { scope: 'col' } : {}, text);
    const head = make('tr', {}, ...['epoch', ...run.metrics.map(([name]) => name)].map((name) => cell('th', name)));
    const rows = run.epochs.map((epoch, i) =>
      make('tr', {}, cell('td', String(epoch)), ...run.metrics.map(([, values]) => cell('td', short(values[i])))));
    const table = make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows));
    details.append(make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'All values' }, table));
  });
}

data.runs.forEach((run, index) => {
  run.values = new Map(run.metrics);
  run.listeners = [];
  run.move = (i) => {
    run.at = i;
    run.listeners.forEach((listener) => listener(i));
  };
  run.at = run.epochs.length - 1;
  if (run.at < 0) return;
  const of = (name) => document.querySelector(`.${name}[data-run="${index}"]`);
  const without = of('chart') ? large(of('chart'), run) : [];
  multiples(of('multiples'), run, without);
  asTable(of('values'), run);
  run.move(run.at);
});
