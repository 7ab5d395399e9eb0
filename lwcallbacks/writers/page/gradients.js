// Gradients: the norm of each layer over time as one picture, and the histogram of the chosen layer below it.

/** {prefix, layer} of a series "gradients/norm/net.0.weight" that belongs to histograms "gradients/...", else null. */
function ofGradients(name) {
  const [, prefix, layer] = name.match(/^(.+?)\/norm\/(.+)$/s) || [];
  return prefix && layer !== "total" && LW.keys.has(`${prefix}/${layer}`) ? {prefix, layer} : null;
}

/** Keys of histograms by what they begin with, in the order in which they came first: that of the model. */
function histogramGroups() {
  const groups = new Map();
  for (const key of LW.keys.keys()) {
    if (kindOf(key) !== "histogram") continue;
    const prefix = key.includes("/") ? key.slice(0, key.indexOf("/")) : key;
    if (!groups.has(prefix)) groups.set(prefix, []);
    groups.get(prefix).push(key);
  }
  return groups;
}

/** Values of ascending steps put into so many columns of equal time: the largest of each, null where there is none. Pure. */
function binned({steps, values}, [low, high], columns) {
  const result = new Array(columns).fill(null),
    width = (high - low) / columns || 1;
  for (let i = 0; i < steps.length; i++) {
    const column = Math.min(columns - 1, Math.max(0, Math.floor((steps[i] - low) / width)));
    const value = values[i];
    if (result[column] === null || !(value <= result[column])) result[column] = value;
  }
  return result;
}

/** Lines across, for what has no colour. */
function hatching(brush, scale) {
  const size = 6 * scale,
    tile = make("canvas", {width: size, height: size}),
    pen = tile.getContext("2d");
  pen.strokeStyle = colour("dim");
  pen.globalAlpha = 0.55;
  pen.lineWidth = scale;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
  }
  pen.stroke();
  return brush.createPattern(tile, "repeat");
}

/** How strong the colour of a norm is, 0 to 1, on a scale of powers between the smallest and the largest. Pure. */
function strengthOf(value, low, high) {
  if (value === null) return null;
  if (!Number.isFinite(value)) return Infinity;
  if (value <= 0) return 0;
  return high > low ? Math.min(1, Math.max(0, Math.log(value / low) / Math.log(high / low))) : 0.5;
}

function gradientsPart(prefix, found) {
  // A layer that learns later than others comes later: a table of all that learn has their order.
  const order = page.layers?.get(prefix)?.map(layer => `${prefix}/${layer}`);
  const isLayer = key => LW.series.has(`${prefix}/norm/${key.slice(prefix.length + 1)}`);
  const keys = [...inOrder(found.filter(isLayer), order), ...found.filter(key => !isLayer(key))]; // gradients before what goes with them
  const chosen = {key: keys[0]};
  const detail = make("div"),
    part = make("div");
  const open = key => {
    chosen.key = key;
    const known = panels.get(key) || panel(key, HISTOGRAM);
    detail.replaceChildren(known.node);
    part
      .querySelectorAll("[role=option]")
      .forEach(row => row.setAttribute("aria-selected", String(row.dataset.key === key)));
    select.value = key;
  };
  const select = make(
    "select",
    {"aria-label": "Layer", onchange: event => open(event.target.value)},
    ...keys.map(value => make("option", {value}, value.slice(prefix.length + 1) || value)),
  );
  const picture = normPicture(prefix, keys, open),
    diagnosis = LW.keys.has(`${prefix}/diagnosis`) && panel(`${prefix}/diagnosis`, TABLE, "Which layer looks ill").node;
  part.append(
    ...[diagnosis, picture, make("div", {className: "tools"}, make("label", {}, "histogram of ", select)), detail].filter(Boolean),
  );
  onSight(detail, () => detail.childNodes.length || open(chosen.key));
  detail.append();
  detail.style.minHeight = "2rem";
  for (const key of keys)
    lazyPanels.set(key, () => {
      open(key);
      return panels.get(key);
    });
  return part;
}

const lazyPanels = new Map(); // key -> a function that makes its panel

/** A row for each layer, a column for a while; a darker cell is a larger norm. */
function normPicture(prefix, keys, open) {
  const rows = keys
    .map(key => {
      const layer = key.slice(prefix.length + 1),
        [norm, ratio] = ["norm", "update_ratio"].map(what => LW.series.get(`${prefix}/${what}/${layer}`));
      return {key, layer, series: norm, norm, ratio: ratio ?? {steps: [], values: []}};
    })
    .filter(({norm}) => norm);
  if (!rows.length) return null;
  const node = make("div", {className: "card norms"}),
    note = make("p", {className: "note", role: "status"});
  const canvas = make("canvas", {tabIndex: 0, role: "img"}),
    names = make("div", {className: "names", role: "listbox", "aria-label": "Layers"}),
    numbers = make("div", {className: "numbers"});
  const line = make("i", {className: "cursor"}),
    frame = make("div", {className: "picture"}, canvas, line);
  node.append(
    make(
      "header",
      {},
      make("h3", {}, `Over the steps, ${plural(rows.length, "layer")}`),
      rows.some(({ratio}) => ratio.steps.length) &&
        choice("What is shown", {norm: "norm", ratio: "update ratio"}, "norm", what => {
          shown = what;
          for (const row of rows) row.series = row[what];
          draw();
        }),
      make("span", {className: "dim"}, "stronger is larger, by powers; hatched is zero or no value; orange is not finite"),
    ),
    make("div", {className: "heat"}, names, frame, numbers),
    note,
  );
  const height = rows.length > 40 ? 12 : 22;
  let columns = 0,
    cells = [],
    shown = "norm",
    range = [0, 1],
    at = {row: 0, column: 0};
  rows.forEach(({key, layer}, i) => {
    const row = make(
      "div",
      {role: "option", tabIndex: i ? -1 : 0, title: layer, onclick: () => open(key), "aria-selected": "false"},
      shorten(layer, 34),
    );
    row.dataset.key = key;
    row.style.height = `${height}px`;
    names.append(row);
    numbers.append(make("div"));
    numbers.lastChild.style.height = `${height}px`;
  });
  names.onkeydown = event => {
    const here = [...names.children].indexOf(document.activeElement),
      by = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (event.key === "Enter" || event.key === " ") open(rows[here].key);
    else if (by && names.children[here + by]) {
      names.children[here].tabIndex = -1;
      names.children[here + by].tabIndex = 0;
      names.children[here + by].focus();
    } else return;
    event.preventDefault();
  };
  const tell = () => {
    const {row, column} = at,
      step = Math.round(range[0] + ((column + 1) * (range[1] - range[0])) / columns);
    note.textContent = `${rows[row].layer}, up to ${when(step)}: ${cells[row][column] === null ? "nothing" : brief(cells[row][column])}`;
  };
  function draw() {
    if (!node.seen) return;
    const scale = Math.min(2, devicePixelRatio || 1),
      width = frame.clientWidth;
    if (!width) return;
    const low0 = Math.min(...rows.map(({norm}) => norm.steps[0])),
      high0 = Math.max(...rows.map(({norm}) => norm.steps.at(-1)));
    range = [low0, high0 > low0 ? high0 : low0 + 1];
    const many = Math.max(...rows.map(({norm}) => norm.steps.length)),
      word = shown === "norm" ? "norms" : "update ratios";
    columns = Math.max(1, Math.min(many, Math.floor(width / 3)));
    cells = rows.map(({series}) => binned(series, range, columns));
    let low = Infinity,
      high = 0,
      odd = 0;
    for (const row of cells)
      for (const value of row) {
        if (value === null) continue;
        if (!Number.isFinite(value)) odd++;
        else if (value > 0) {
          low = Math.min(low, value);
          high = Math.max(high, value);
        }
      }
    canvas.width = width * scale;
    canvas.height = rows.length * height * scale;
    canvas.style.height = `${rows.length * height}px`;
    // A pixel for each cell, made larger: much faster than a rectangle for each.
    const pixels = new ImageData(columns, rows.length),
      inks = [colour("ok-ink"), colour("err-ink")].map(channels);
    cells.forEach((row, y) =>
      row.forEach((value, x) => {
        const strength = strengthOf(value, low, high);
        if (!value && !Number.isNaN(value)) return; // hatched below, as is zero
        const isOdd = strength === Infinity,
          [red, green, blue] = inks[+isOdd];
        pixels.data.set([red, green, blue, isOdd ? 255 : 255 * (0.06 + 0.94 * strength)], 4 * (y * columns + x));
      }),
    );
    const small = make("canvas", {width: columns, height: rows.length}),
      brush = canvas.getContext("2d");
    small.getContext("2d").putImageData(pixels, 0, 0);
    brush.imageSmoothingEnabled = false;
    brush.drawImage(small, 0, 0, canvas.width, canvas.height);
    const w = canvas.width / columns,
      h = height * scale,
      isLogged = cells[0].map((_, x) => cells.some(row => row[x] !== null)); // else nobody has a value: it stays blank
    brush.fillStyle = hatching(brush, scale);
    cells.forEach((row, y) =>
      row.forEach((value, x) => isLogged[x] && (value === null || value <= 0) && brush.fillRect(x * w, y * h, w, h)),
    );
    for (let y = 1; y <= rows.length; y++) brush.clearRect(0, y * h - scale, canvas.width, scale);
    if (w > 6) for (let x = 1; x < columns; x++) brush.clearRect(x * w - scale, 0, scale, canvas.height);
    canvas.setAttribute(
      "aria-label",
      `${word} of ${rows.length} layers from ${when(range[0])} to ${when(range[1])}, ${brief(low)} to ${brief(high)}${odd ? `, ${odd} not finite` : ""}. The arrow keys read, Enter opens a layer.`,
    );
    note.textContent = `From ${when(range[0])} to ${when(range[1])}; ${word} from ${brief(low, 3)} to ${brief(high, 3)}${odd ? `; ${plural(odd, "place")} not finite` : ""}.`;
    mark();
  }
  function mark() {
    const part = (time.now - range[0]) / (range[1] - range[0]);
    line.hidden = !(part >= 0 && part <= 1);
    line.style.left = `${100 * part}%`;
    const last = rows.map(({series}) => lastAtMost(series.steps, time.now)),
      step = Math.max(...rows.map(({series}, row) => series.steps[last[row]] ?? -1)); // the last that any row has
    rows.forEach(({series}, row) => {
      const has = last[row] >= 0 && series.steps[last[row]] === step;
      numbers.children[row].textContent = has ? brief(series.values[last[row]], 3) : step < 0 ? "" : "–";
      numbers.children[row].title = has || step < 0 ? "" : `no value at ${when(step)}`;
    });
  }
  const under = event => ({
    row: Math.min(rows.length - 1, Math.max(0, Math.floor(event.offsetY / height))),
    column: Math.min(columns - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * columns))),
  });
  canvas.onmousemove = event => {
    at = under(event);
    tell();
  };
  canvas.onclick = event => {
    at = under(event);
    open(rows[at.row].key);
    goTo(Math.round(range[0] + ((at.column + 1) * (range[1] - range[0])) / columns));
  };
  canvas.onkeydown = event => {
    const [dx, dy] = ARROWS[event.key] || [];
    if (event.key === "Enter") open(rows[at.row].key);
    else if (dx === undefined) return;
    else {
      at = {
        row: Math.min(rows.length - 1, Math.max(0, at.row + dy)),
        column: Math.min(columns - 1, Math.max(0, at.column + dx)),
      };
      tell();
    }
    event.preventDefault();
  };
  onSight(node, draw);
  let drawnWidth = 0;
  new ResizeObserver(() => {
    if (frame.clientWidth !== drawnWidth) draw();
    drawnWidth = frame.clientWidth;
  }).observe(frame);
  time.listeners.add(() => node.seen && mark());
  redraws.push(draw);
  return node;
}
