// What the other scripts share: the page's data, and elements made of text, never of markup.
const data = JSON.parse(document.getElementById('data').textContent);

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function short(value) {
  if (value === null || value === undefined) return '–';
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2);
  return size >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(4);
}

function bytes(letters) {
  const text = atob(letters);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}

function bounded(value, least, most) {
  return Math.min(most, Math.max(least, value));
}

// What an open page remembers while it looks for news.
const memory = {
  get(key) {
    try { return sessionStorage.getItem(`genctl ${key}`); } catch { return null; }
  },
  set(key, value) {
    try { sessionStorage.setItem(`genctl ${key}`, value); } catch { /* a page without storage forgets */ }
  },
};

for (const pre of document.querySelectorAll('.command pre')) {
  if (!navigator.clipboard) break;
  const button = make('button', { type: 'button', 'aria-label': 'Copy the command' }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(pre);
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  pre.after(button);
}
