// A card for a key: what it holds at the time that is looked at and, while comparing, at the other time beside it.

const panels = new Map(); // key -> panel

/**
 * A kind is {tools, view, wide}. `tools(bar, settings, refresh)` fills the line above, once. `view(box, settings,
 * refresh)` gives `draw(value, entry)`, which fills the box. Both sides share the settings.
 */
function panel(key, {tools, view, wide = false, needsValue = true}, title = key) {
  const settings = {},
    bar = make("div", {className: "tools"}),
    sides = make("div", {className: "sides"});
  const at = make("span", {className: "at"});
  const link = make(
    "a",
    {className: "link", href: `#${linkOf({key})}`, "aria-label": `Link to ${key} at this step`},
    "#",
  );
  const node = make(
    "article",
    {className: wide ? "card wide" : "card", tabIndex: -1},
    make("header", {}, make("h3", {}, title), link, at),
    bar,
    sides,
  );
  const shown = [];
  const refresh = () => show(true);
  tools?.(bar, settings, refresh);
  bar.hidden = !bar.childNodes.length;

  function side(i) {
    if (shown[i]) return shown[i];
    const label = make("p", {className: "when"}),
      missing = make("p", {className: "dim", hidden: true}),
      box = make("div", {className: "view"}),
      whole = make("div", {className: "side"}, label, missing, box);
    sides.append(whole);
    return (shown[i] = {whole, label, missing, box, draw: view(box, settings, refresh), entry: null});
  }

  async function show(again = false) {
    const steps = time.other === null ? [time.now] : [time.now, time.other];
    sides.classList.toggle("two", steps.length === 2);
    while (shown.length > steps.length) shown.pop().whole.remove();
    await Promise.all(
      steps.map(async (step, i) => {
        const one = side(i),
          entry = entryAt(key, step);
        one.label.hidden = steps.length === 1;
        one.label.textContent = entry ? when(entry.step) : "";
        if (i === 0) {
          at.textContent = entry && entry.step !== time.now ? when(entry.step) : "";
          link.href = `#${linkOf({key, step: time.now, other: time.other})}`;
        }
        const same =
          one.entry &&
          entry &&
          one.entry.step === entry.step &&
          one.entry.chunk === entry.chunk &&
          one.version === (entry.step === historyOf(key).steps.at(-1) ? LW.version : one.version);
        if (!entry || (same && !again)) return;
        one.entry = entry;
        one.version = LW.version;
        const value = needsValue ? await load(entry) : null;
        if (one.entry !== entry || !one.whole.isConnected) return; // the time has moved on
        one.box.hidden = value === undefined;
        one.missing.hidden = value !== undefined;
        if (value === undefined) one.missing.textContent = noData(entry);
        else {
          await one.draw(value, entry);
          loadBeside(entry);
        }
      }),
    );
  }
  node.update = () => node.seen && show();
  nearby.observe(node);
  visible.observe(node);
  let rest = null;
  time.listeners.add(() => {
    clearTimeout(rest);
    if (node.onScreen) return node.update();
    if (node.seen) rest = setTimeout(node.update, 150); // near the window: once the time rests
  });
  const found = {key, node, settings, refresh, reveal: () => reveal(node)};
  panels.set(key, found);
  return found;
}

/** A browser runs no line of a script that is cut, and may not read its text: a command can. */
const noData = ({step, chunk}) =>
  `No data of ${when(step)}. data/${String(chunk).padStart(5, "0")}.js is missing, damaged or without it.` +
  (LW.files ? "" : ' "lwcallbacks export" makes a page of the lines that are whole.');

function reveal(node) {
  for (let outer = node.parentElement; outer; outer = outer.parentElement) {
    if (outer.tagName === "DETAILS") outer.open = true;
    outer.hidden = false;
  }
  node.hidden = false;
  node.scrollIntoView({block: "start"});
  node.focus({preventScroll: true});
}
