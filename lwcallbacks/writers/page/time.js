// One time for everything on the page: the step that is looked at, and a second one to compare with.

const time = {
  steps: [], // all steps at which something was published, ascending
  epochSteps: [], // those of keys that are no histogram: the ends of epochs, usually
  now: 0,
  other: null,
  following: true, // the last step, also when another one comes
  best: null,
  drawn: Promise.resolve(), // once everything that is seen shows the time
  listeners: new Set(),
};

/** Take in the steps of the folder. */
function readSteps() {
  const all = new Set(),
    ofEpochs = new Set();
  // A checkpoint is no stop: its step is how many there were, one more than the number of the last.
  const kinds = LW.numbers.map(entry => entry?.kind);
  for (const {step, ranges} of LW.steps)
    for (let i = 0; i < ranges.length; i += 2)
      for (let number = ranges[i]; number <= ranges[i + 1]; number++)
        if (kinds[number] !== "file") {
          all.add(step);
          if (!kinds[number] || kinds[number] === "histogram") continue;
          ofEpochs.add(step);
          number = ranges[i + 1];
          i = ranges.length;
        }
  if (all.size < 2) {
    // hardly anything but curves: the ends of epochs, or of a part of the run
    const whole = [...LW.series.values()].reduce((long, {steps}) => (steps.length > long.length ? steps : long), []);
    const ends = epochEnds().map(({step}) => step);
    for (const step of ends.length > 1 ? ends : evenly(whole, 200)) all.add(step);
  }
  if (!all.size) for (const {step} of LW.steps) all.add(step);
  const ascending = set => [...set].sort((a, b) => a - b);
  time.steps = ascending(all);
  time.epochSteps = ofEpochs.size ? ascending(ofEpochs) : time.steps;
}

/** Look at a step: the nearest that is there and not later. `frame` puts several moves of one moment together. */
function goTo(step, other = time.other) {
  if (!time.steps.length) return; // a comparison has no time
  const known = time.steps[Math.max(0, lastAtMost(time.steps, step))] ?? 0;
  time.now = known;
  time.other = other === null ? null : (time.steps[Math.max(0, lastAtMost(time.steps, other))] ?? null);
  time.following = known === time.steps.at(-1);
  time.frame ??= requestAnimationFrame(() => {
    time.frame = null;
    time.drawn = Promise.all([...time.listeners].map(listener => listener()));
  });
}

/** The next end of an epoch in a direction, +1 or -1. */
function nextEpoch(direction) {
  const {epochSteps: steps, now} = time;
  const i = direction > 0 ? lastAtMost(steps, now) + 1 : lastAtMost(steps, now - 1);
  return steps[Math.min(steps.length - 1, Math.max(0, i))] ?? now;
}

/** A slider over all steps, with what is below it. */
function slider(label, read, write) {
  const input = make("input", {type: "range", min: 0, max: time.steps.length - 1, "aria-label": label});
  const show = () => {
    input.max = Math.max(0, time.steps.length - 1);
    input.disabled = time.steps.length < 2;
    const step = read();
    input.value = Math.max(0, lastAtMost(time.steps, step));
    input.setAttribute("aria-valuetext", when(step) + (step === time.best ? ", best" : ""));
  };
  input.oninput = () => write(time.steps[input.value]);
  input.onkeydown = event => {
    const direction = {PageUp: 1, PageDown: -1}[event.key];
    if (!direction) return;
    event.preventDefault();
    const before = time.now;
    time.now = read();
    const next = nextEpoch(direction);
    time.now = before;
    write(next);
    show(); // the next key may come before the next frame
  };
  show();
  return {input, show};
}

/** The bar at the top of the page. */
function timeBar() {
  const bar = make("div", {className: "time"}),
    first = make("div", {className: "scrub"});
  const main = slider(
    "Time",
    () => time.now,
    step => goTo(step),
  );
  const marks = make("div", {className: "marks", ariaHidden: "true"}),
    at = make("output", {id: "at"});
  const second = slider(
    "Compare with",
    () => time.other ?? time.now,
    step => goTo(time.now, step),
  );
  const otherAt = make("output"),
    otherLine = make("div", {className: "scrub other"}, second.input, otherAt);
  first.append(main.input, at, marks);
  bar.append(
    button("‹", () => goTo(nextEpoch(-1)), {"aria-label": "Previous epoch", title: "Previous epoch: key ["}),
    first,
    button("›", () => goTo(nextEpoch(1)), {"aria-label": "Next epoch", title: "Next epoch: key ]"}),
    otherLine,
  );
  const show = () => {
    main.show();
    second.show();
    at.textContent = when(time.now) + (time.now === time.best ? " · best" : "");
    otherLine.hidden = time.other === null;
    otherAt.textContent = time.other === null ? "" : `beside ${when(time.other)}`;
    drawMarks(marks);
    announce(when(time.now));
  };
  time.listeners.add(show);
  document.addEventListener("keydown", event => {
    if (
      event.target.closest("input, select, textarea, [role=grid], canvas, .uplot, dialog") ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey
    )
      return;
    const i = lastAtMost(time.steps, time.now);
    const wanted = {ArrowLeft: time.steps[i - 1], ArrowRight: time.steps[i + 1], "[": nextEpoch(-1), "]": nextEpoch(1)}[
      event.key
    ];
    if (wanted === undefined) return;
    event.preventDefault();
    goTo(wanted);
  });
  show();
  return bar;
}

function drawMarks(marks) {
  const last = time.steps.length - 1,
    wanted = `${last} ${time.best} ${LW.version}`;
  if (marks.drawn === wanted) return;
  marks.drawn = wanted;
  marks.replaceChildren();
  const place = step => (last ? lastAtMost(time.steps, step) / last : 0);
  for (const step of evenly(time.epochSteps, 12)) {
    const mark = make("i");
    mark.style.left = `${100 * place(step)}%`;
    marks.append(mark);
  }
  if (time.best !== null) {
    const mark = make("i", {className: "best", title: `best: ${when(time.best)}`});
    mark.style.left = `${100 * place(time.best)}%`;
    marks.append(mark);
  }
}
