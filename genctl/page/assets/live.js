// While the run goes on, an open page looks for news: every few seconds, less often where none have come for long.
const button = document.querySelector('.live');
if (data.refresh && button) {
  const again = () => {
    if (memory.get('paused') || document.hidden) return;
    location.reload();
  };
  const age = (Date.now() - Date.parse(data.written)) / 1000;
  const wait = 1000 * bounded(age / 10, data.refresh, 3600);
  let timer = setTimeout(again, wait);
  const say = () => {
    const paused = Boolean(memory.get('paused'));
    button.textContent = paused ? 'Updates paused' : 'Live';
    button.setAttribute('aria-label', paused ? 'Updates are paused; go on' : 'The page updates itself; pause');
    button.setAttribute('aria-pressed', String(paused));
  };
  button.addEventListener('click', () => {
    memory.set('paused', memory.get('paused') ? '' : 'yes');
    say();
    clearTimeout(timer);
    timer = setTimeout(again, 1000 * data.refresh);
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) timer = setTimeout(again, 300); });
  say();
  button.hidden = false;
}
