// The address of each state of the page: index.html#key@step, or #key@step~other.

function readLink() {
  const {key, step, other} = stateOf(location.hash.slice(1));
  if (step !== null) goTo(step, other);
  if (!key) return;
  const found = panels.get(key) || lazyPanels.get(key)?.();
  found?.reveal();
  if (found || curves.open?.(key)) page.key = key;
  else document.getElementById(key)?.scrollIntoView();
}

/** Keep the address up to date, without a step in the browser's history for each move of the slider. */
function writeLink() {
  clearTimeout(writeLink.timer);
  writeLink.timer = setTimeout(() => {
    const atEnd = time.following && time.other === null;
    const link = linkOf({key: page.key || "", step: atEnd && !page.key ? null : time.now, other: time.other});
    if (location.hash.slice(1) !== link)
      history.replaceState(null, "", link ? `#${link}` : location.pathname + location.search);
  }, 300);
}
