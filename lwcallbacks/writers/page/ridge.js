// A histogram over the steps as one picture: steps to the right, values upwards, stronger where more elements lie.

const RIDGE = {steps: 48, rows: 40};

/** Shares of the elements in rows of equal height between two values; what lies outside is in the last ones. Pure. */
function rebinned({counts, edges}, low, high, rows) {
  const found = new Array(rows).fill(0),
    total = counts.reduce((a, b) => a + b, 0) || 1,
    height = (high - low) / rows || 1,
    inside = value => Math.min(rows, Math.max(0, (value - low) / height));
  counts.forEach((n, i) => {
    if (!n) return;
    const from = inside(edges[i]),
      to = inside(edges[i + 1]);
    if (to - from < 1e-9) found[Math.min(rows - 1, Math.floor(from))] += n / total;
    else
      for (let row = Math.floor(from); row < Math.min(rows, Math.ceil(to)); row++)
        found[row] += ((n / total) * (Math.min(row + 1, to) - Math.max(row, from))) / (to - from);
  });
  return found;
}

/** From where to where most of the histograms reach: one that exploded makes the others no line. Pure. */
function reachOf(histograms) {
  const ends = histograms
    .map(({counts, edges}) => {
      const first = counts.findIndex(n => n > 0);
      return first < 0 ? null : [edges[first], edges[counts.findLastIndex(n => n > 0) + 1]];
    })
    .filter(Boolean);
  if (!ends.length) return [0, 1];
  const lows = ends.map(([low]) => low).sort((a, b) => a - b),
    highs = ends.map(([, high]) => high).sort((a, b) => a - b);
  return [lows[Math.floor(lows.length / 10)], highs[Math.ceil((highs.length * 9) / 10) - 1]];
}

/** Draws into a node what `draw(key)` is asked for; nothing of null. */
function ridgeIn(node) {
  const note = make("p", {className: "note", role: "status"}),
    canvas = make("canvas", {tabIndex: 0, role: "img"}),
    line = make("i", {className: "cursor"});
  let cells = [],
    steps = [],
    reach = [0, 1],
    at = [0, 0];
  node.append(make("div", {className: "picture"}, canvas, line), note);
  node.className = "ridge";
  node.hidden = true;
  const tell = () => {
    const [x, y] = at,
      edge = k => brief(reach[0] + ((reach[1] - reach[0]) * k) / RIDGE.rows, 3);
    note.textContent = `${when(steps[x])}, ${edge(y)} to ${edge(y + 1)}: ${percent(cells[x][y])} of the elements`;
  };
  const paint = () => {
    if (!cells.length) return;
    const [red, green, blue] = channels(colour("ok-ink")),
      most = Math.max(...cells.flat()) || 1,
      pixels = new ImageData(cells.length, RIDGE.rows);
    cells.forEach((column, x) =>
      column.forEach((share, y) =>
        pixels.data.set(
          [red, green, blue, 255 * Math.sqrt(share / most)],
          4 * ((RIDGE.rows - 1 - y) * cells.length + x),
        ),
      ),
    );
    Object.assign(canvas, {width: cells.length, height: RIDGE.rows});
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  };
  const mark = () => {
    const i = lastAtMost(steps, time.now);
    line.hidden = i < 0;
    line.style.left = `${(100 * (i + 0.5)) / steps.length}%`;
  };
  const under = event => [
    Math.min(cells.length - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * cells.length))),
    Math.min(RIDGE.rows - 1, Math.max(0, RIDGE.rows - 1 - Math.floor((event.offsetY / canvas.clientHeight) * RIDGE.rows))),
  ];
  canvas.onmousemove = event => {
    at = under(event);
    tell();
  };
  canvas.onclick = event => goTo(steps[under(event)[0]]);
  canvas.onkeydown = event => {
    const [dx, dy] = ARROWS[event.key] || [];
    if (event.key === "Enter") goTo(steps[at[0]]);
    else if (dx === undefined) return;
    at = [
      Math.min(cells.length - 1, Math.max(0, at[0] + (dx || 0))),
      Math.min(RIDGE.rows - 1, Math.max(0, at[1] - (dy || 0))),
    ];
    tell();
    event.preventDefault();
  };
  time.listeners.add(mark);
  redraws.push(paint);
  return async key => {
    node.hidden = !key;
    if (!key) return;
    const found = [];
    for (const entry of entriesOf(key, RIDGE.steps)) {
      const value = await load(entry);
      if (value) found.push([entry.step, value]);
    }
    steps = found.map(([step]) => step);
    reach = reachOf(found.map(([, value]) => value));
    cells = found.map(([, value]) => rebinned(value, ...reach, RIDGE.rows));
    const words = `${plural(steps.length, "step")} from ${when(steps[0])} to ${when(steps.at(-1))}; values from ${brief(reach[0], 3)} to ${brief(reach[1], 3)}, upwards`;
    note.textContent = words;
    canvas.setAttribute("aria-label", `Histogram of ${key} over ${words}. The arrow keys read, Enter goes to a step.`);
    paint();
    mark();
  };
}
