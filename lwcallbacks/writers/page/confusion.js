// The matrix on the page, with the samples behind the chosen cell beside it.

const AS_TABLE = 32; // classes up to which every cell is drawn as text
const BLOCK = 20; // classes of the part that is zoomed to
const DENSE = 16; // columns from which on cells are small

/** Order and search of the classes, and the way back from a block. */
function classTools(bar, settings, refresh) {
  Object.assign(settings, {order: "given", words: "", cell: null, block: null});
  const set = name => value => {
    Object.assign(settings, {[name]: value, block: null});
    refresh();
  };
  const whole = () => {
    settings.block = null;
    refresh();
  };
  const orders = {given: "as given", errors: "most errors", recall: "worst recall", name: "by name"};
  settings.whole = button("Whole matrix", whole, {hidden: true});
  bar.append(
    picker("Order of the classes", orders, set("order")),
    search("Search classes", set("words")),
    settings.whole,
  );
}

/** The classes that the tools ask for, in their order. */
function classesShown(matrix, {order, words}) {
  const all = classOrder(matrix, order);
  return words ? classesFound(matrix, all, words) : all;
}

const CONFUSION = {
  wide: true,
  tools(bar, settings, refresh) {
    settings.mode = "count";
    settings.modes = choice(
      "What a cell shows",
      {count: "counts", truth: "% of truth", pred: "% of predicted", since: "change"},
      "count",
      value => {
        settings.mode = value;
        refresh();
      },
    );
    bar.append(settings.modes);
    classTools(bar, settings, refresh);
  },
  view(box, settings, refresh) {
    const figure = make("div", {className: "figure"}),
      note = make("p", {className: "note", role: "status"}),
      behind = make("div", {className: "behind"});
    box.append(make("div", {className: "confusion"}, make("div", {}, figure, note), behind));
    const state = {};
    return async (value, entry) => {
      const matrix = summed(value),
        before = await matrixBefore(entry);
      const comparable = sameClasses(matrix, before?.matrix);
      if (entry.step === entryAt(entry.key, time.now).step) {
        settings.modes.lastChild.disabled = !comparable;
        settings.modes.lastChild.textContent = comparable ? `since ${soon(before.step)}` : "change";
      }
      const mode = settings.mode === "since" && !comparable ? "count" : settings.mode;
      const cells = mode === "since" ? difference(matrix, before.matrix) : matrix;
      const shown = classesShown(matrix, settings);
      const select = (row, column) => {
        settings.cell = {row, column};
        refresh();
      };
      settings.cell ??= firstCell(matrix);
      if (settings.cell && Math.max(settings.cell.row, settings.cell.column) >= matrix.size)
        settings.cell = firstCell(matrix);
      const summary = `${grouped(matrix.total)} counted, ${matrix.total ? percent(matrix.hits / matrix.total) : "none"} right. Rows are the truth, columns the prediction.${mode === "since" && !cells.places.length ? ` No cell changed since ${soon(before.step)}.` : ""}`;
      Object.assign(state, {
        matrix,
        cells,
        mode,
        before: comparable ? before : null,
        settings,
        select,
        refresh,
        mostWrong: strongest(cells, mode === "since"),
        tell: (row, column) =>
          (note.textContent = row === undefined ? summary : cellWords(matrix, comparable ? before : null, row, column)),
      });
      state.tell();
      drawCells(figure, state, shown);
      await drawBehind(behind, state, entry);
    };
  },
};

/** Cells as a table; those of many classes as a picture, or the block that is zoomed to. `shown` are the classes. */
function drawCells(figure, state, shown) {
  const {settings} = state,
    focused = figure.contains(document.activeElement);
  settings.whole.hidden = !settings.block || shown.length <= AS_TABLE;
  if (shown.length <= AS_TABLE) figure.replaceChildren(asTable(state, shown, shown));
  else if (settings.block) {
    const part = start => shown.slice(start, start + BLOCK);
    figure.replaceChildren(asTable(state, part(settings.block.row), part(settings.block.column), shown));
  } else figure.replaceChildren(asPicture(state, shown));
  if (focused) figure.querySelector("[tabindex='0']")?.focus({preventScroll: true});
}

/** What stands behind a row and below a column: recall and precision, or how they differ from those of another matrix. */
function ratesOf(matrix, before = null) {
  const share = (of, sums, i) => (sums[i] ? of.right[i] / sums[i] : null);
  const words = (sums, of) => i => {
    const now = share(matrix, matrix[sums], i);
    if (!before) return now === null ? "" : of === "row" ? percent(now, 0) : percent(now, 0).replace(" %", "");
    const then = share(before, before[sums], i);
    return now === null || then === null ? "" : signed(Math.round(1000 * (now - then)) / 10);
  };
  return {row: words("rows", "row"), column: words("columns", "column")};
}

/** The matrix of the step before an entry: {matrix, step}, null if there is none. */
async function matrixBefore(entry) {
  const {steps, lines} = historyOf(entry.key),
    i = lastAtMost(steps, entry.step - 1);
  if (time.other !== null && time.other !== entry.step && time.now === entry.step) {
    const other = entryAt(entry.key, time.other),
      value = other.step !== entry.step && (await load(other));
    if (value) return {matrix: summed(value), step: other.step};
  }
  if (i < 0) return null;
  const value = await load(entryOf(entry.key, lines[i]));
  return value ? {matrix: summed(value), step: steps[i]} : null;
}

/** The cell that is looked at first: most errors; without an error none. */
function firstCell(matrix) {
  const [most] = confused(matrix, null, 1);
  return most ? {row: most.row, column: most.column} : null;
}

function cellWords(matrix, before, row, column) {
  const count = countAt(matrix, row, column),
    of = matrix.rows[row];
  const change = before && signed(count - countAt(before.matrix, row, column));
  return `true ${matrix.names[row]}, predicted ${matrix.names[column]}: ${grouped(count)}${of ? `, ${percent(count / of)} of true ${matrix.names[row]}` : ""}${change ? `, ${change} since ${soon(before.step)}` : ""}`;
}

/** Cells as text, moved through by the arrow keys. `all` are the classes that a block is a part of. */
function asTable(state, rows, columns, all = null) {
  const {matrix, cells, mode, settings, select, tell, mostWrong, rates = ratesOf(matrix)} = state;
  const both = [...new Set([...rows, ...columns])].map(i => matrix.names[i]),
    most = shortest(both, innerWidth < 700 ? 14 : 24),
    short = name => shorten(name, most),
    upright = columns.some(i => [...matrix.names[i]].length > 3);
  const table = make("table", {
    className: columns.length > DENSE ? "matrix dense" : "matrix",
    role: "grid",
    "aria-label": "Confusion matrix: rows are the truth, columns the prediction",
  });
  const head = make("tr", {}, make("td", {className: "corner"}, "true ↓\npredicted →"));
  for (const column of columns)
    head.append(
      make(
        "th",
        {scope: "col", className: upright ? "upright" : "", title: matrix.names[column]},
        make("span", {}, short(matrix.names[column])),
      ),
    );
  head.append(make("td", {className: "rate"}, "recall"));
  const body = make("tbody"),
    at = new Map();
  const chosen = settings.cell,
    has = chosen && rows.includes(chosen.row) && columns.includes(chosen.column);
  for (const [y, row] of rows.entries()) {
    const line = make("tr", {}, make("th", {scope: "row", title: matrix.names[row]}, short(matrix.names[row])));
    for (const [x, column] of columns.entries()) {
      const count = countAt(cells, row, column),
        cell = cellOf(matrix, mode, count, row, column, mostWrong);
      const selected = has && chosen.row === row && chosen.column === column;
      const node = make("td", {
        tabIndex: selected || (!has && !x && !y) ? 0 : -1,
        role: "gridcell",
        "aria-selected": selected ? "true" : "false",
      });
      if (cell) {
        node.textContent = cell.text;
        node.className = cell.wrong ? "err" : "ok";
        node.style.setProperty("--a", (0.2 + 0.8 * Math.min(1, cell.share)).toFixed(3));
      }
      node.at = [row, column];
      at.set(`${x} ${y}`, node);
      line.append(node);
    }
    line.append(make("td", {className: "rate"}, rates.row(row) || (matrix.rows[row] ? "" : "none")));
    body.append(line);
  }
  const foot = make("tr", {}, make("th", {scope: "row"}, "precision"));
  for (const column of columns) foot.append(make("td", {className: "rate"}, rates.column(column)));
  foot.append(make("td", {className: "rate"}));
  table.append(make("thead", {}, head), body, make("tfoot", {}, foot));
  const cellIn = event => event.target.closest("td[role=gridcell]");
  table.onmouseover = event => cellIn(event) && tell(...cellIn(event).at);
  table.onmouseleave = () => tell();
  table.onfocus = null;
  table.addEventListener("focusin", event => cellIn(event) && tell(...cellIn(event).at));
  table.onclick = event => cellIn(event) && select(...cellIn(event).at);
  table.onkeydown = event => {
    const cell = cellIn(event);
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return select(...cell.at);
    }
    const [dx, dy] = ARROWS[event.key] || [];
    if (dx === undefined) return;
    event.preventDefault();
    const x = columns.indexOf(cell.at[1]) + dx,
      y = rows.indexOf(cell.at[0]) + dy,
      next = at.get(`${x} ${y}`);
    if (next) {
      cell.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    } else if (all) moveBlock(state, all, dx, dy, cell.at);
  };
  return make("div", {className: "scroll"}, table);
}

/** To how many letters names are shortened: as few as `least`, more where two would be alike. Pure. */
function shortest(names, least) {
  const differ = most => new Set(names.map(name => shorten(name, most))).size === new Set(names).size;
  while (least < 40 && !differ(least)) least += 4;
  return least;
}

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

function moveBlock({settings, select}, all, dx, dy, [row, column]) {
  const last = all.length - BLOCK,
    clamp = value => Math.min(last, Math.max(0, value));
  settings.block = {
    row: clamp(settings.block.row + dy * (BLOCK >> 1)),
    column: clamp(settings.block.column + dx * (BLOCK >> 1)),
  };
  select(row, column);
}

/** Show the block around a cell, of classes in their order. */
function zoomTo({settings, select}, shown, row, column) {
  const start = index => Math.min(Math.max(0, shown.length - BLOCK), Math.max(0, shown.indexOf(index) - (BLOCK >> 1)));
  settings.block = {row: start(row), column: start(column)};
  select(row, column);
}

/** All cells of many classes as one picture. The arrow keys move a mark, Enter or a click zooms to it. */
function asPicture(state, shown) {
  const {matrix, cells, mode, settings, mostWrong, tell} = state,
    size = shown.length;
  const side = Math.min(720, Math.max(320, size)),
    scale = Math.min(2, window.devicePixelRatio || 1);
  const canvas = make("canvas", {
    width: side * scale,
    height: side * scale,
    tabIndex: 0,
    role: "img",
    "aria-label": `Confusion matrix of ${size} classes. The arrow keys move, Enter zooms to 20 classes.`,
  });
  const brush = canvas.getContext("2d"),
    unit = (side * scale) / size,
    dot = Math.max(1, Math.round(Math.max(unit * 0.94, 1.6 * scale)));
  const rank = new Int32Array(matrix.size).fill(-1);
  shown.forEach((index, i) => (rank[index] = i));
  // Pixels by hand: much faster than a rectangle for each of many thousand cells.
  const pixels = brush.createImageData(canvas.width, canvas.height),
    words = new Uint32Array(pixels.data.buffer), // red in the lowest byte, opacity in the highest
    packed = name => channels(colour(name)).reduceRight((word, channel) => (word << 8) | channel, 0),
    inks = {true: packed("err-ink"), false: packed("ok-ink")};
  const fill = ({row, column, share, wrong}) => {
    const left = Math.round(rank[column] * unit),
      top = Math.round(rank[row] * unit),
      right = Math.min(left + dot, canvas.width),
      ink = (inks[wrong] | (Math.round(255 * (0.25 + 0.75 * Math.min(1, share))) << 24)) >>> 0;
    for (let y = top; y < Math.min(top + dot, canvas.height); y++)
      words.fill(ink, y * canvas.width + left, y * canvas.width + right);
  };
  const errors = [];
  for (let i = 0; i < cells.places.length; i++) {
    const row = Math.floor(cells.places[i] / matrix.size),
      column = cells.places[i] % matrix.size;
    if (rank[row] < 0 || rank[column] < 0) continue;
    const cell = {row, column, ...strengthOfCell(matrix, mode, cells.counts[i], row, column, mostWrong)};
    cell.wrong ? errors.push(cell) : fill(cell);
  }
  errors.forEach(fill); // over what is right
  brush.putImageData(pixels, 0, 0);
  const mark = make("i", {className: "mark"}),
    frame = make("div", {className: "picture"}, canvas, mark);
  const place = (row, column) => {
    mark.style.left = `${(100 * (rank[column] + 0.5)) / size}%`;
    mark.style.top = `${(100 * (rank[row] + 0.5)) / size}%`;
  };
  let {row, column} = settings.cell || {row: shown[0], column: shown[0]};
  if (rank[row] < 0 || rank[column] < 0) row = column = shown[0];
  place(row, column);
  const under = event =>
    [event.offsetY / canvas.clientHeight, event.offsetX / canvas.clientWidth].map(
      part => shown[Math.min(size - 1, Math.max(0, Math.floor(part * size)))],
    );
  canvas.onmousemove = event => tell(...under(event));
  canvas.onmouseleave = () => tell();
  canvas.onclick = event => zoomTo(state, shown, ...under(event));
  canvas.onkeydown = event => {
    const [dx, dy] = ARROWS[event.key] || [];
    if (event.key === "Enter" || event.key === " ") zoomTo(state, shown, row, column);
    else if (dx === undefined) return;
    else {
      const stride = event.shiftKey ? BLOCK : 1,
        move = (index, by) => shown[Math.min(size - 1, Math.max(0, rank[index] + by * stride))];
      row = move(row, dy);
      column = move(column, dx);
      place(row, column);
      tell(row, column);
    }
    event.preventDefault();
  };
  return frame;
}

/** What is behind the chosen cell: samples, how it came about, and the cells that hold most errors. */
async function drawBehind(behind, state, entry) {
  const {matrix, before, settings} = state,
    parts = [];
  if (settings.cell) {
    const {row, column} = settings.cell,
      count = countAt(matrix, row, column);
    const change = before ? count - countAt(before.matrix, row, column) : 0;
    const samples = await samplesBehind(matrix, entry, row, column);
    const title =
      row === column
        ? `true ${matrix.names[row]}, found: `
        : `true ${matrix.names[row]}, predicted ${matrix.names[column]}: `;
    const changed = change
      ? `${grouped(Math.abs(change))} ${change > 0 ? "more" : "fewer"} than at ${soon(before.step)}`
      : before
        ? `as at ${soon(before.step)}`
        : "";
    parts.push(
      make("header", {}, make("h4", {}, title + grouped(count)), make("span", {className: "dim"}, changed)),
    );
    parts.push(await cellHistory(entry, row, column));
    if (samples.length)
      parts.push(
        make(
          "ul",
          {className: "tiles small"},
          ...samples.map(({sample, image, history}) =>
            tile(sample, {image, history, onclick: () => openSample(sample, history, image)}),
          ),
        ),
      );
    else if (count)
      parts.push(
        make(
          "p",
          {className: "dim"},
          `None of them was kept.${row !== column && (await couldKeep(matrix, entry.key)) ? " ConfusionMatrix(examples_per_cell=3) keeps the hardest of each confused pair." : ""}`,
        ),
      );
  }
  const pairs = confused(matrix, before?.matrix ?? null, 8);
  if (pairs.length) parts.push(make("h4", {}, "Most confused"), pairList(state, pairs));
  else parts.push(make("p", {}, "No errors."));
  behind.replaceChildren(...parts.filter(Boolean));
}

/** Cells [{row, column, count, change}] as a list of buttons that choose them; a larger count is worse but on the diagonal. */
function pairList(state, pairs) {
  const {matrix, settings} = state,
    name = i => shorten(matrix.names[i], 22),
    list = make("ol", {className: "pairs"});
  for (const {row, column, count, change} of pairs) {
    const pressed = settings.cell?.row === row && settings.cell?.column === column;
    const choose = () => {
      const shown = classesShown(matrix, settings);
      if (shown.length > AS_TABLE) zoomTo(state, shown, row, column);
      else state.select(row, column);
    };
    const better = !change ? "" : change < 0 === (row !== column) ? "better" : "worse";
    const one = button("", choose, {"aria-pressed": String(pressed)});
    one.append(
      make("span", {}, row === column ? `${name(row)} right` : `${name(row)} as ${name(column)}`),
      make("b", {}, typeof count === "string" ? count : grouped(count)),
      make("span", {className: better, title: better}, change === null ? "" : signed(change) || "±0"),
    );
    list.append(make("li", {}, one));
  }
  return list;
}

/** Samples of a cell: those kept with the matrix, else those of the tables of samples. */
async function samplesBehind(matrix, entry, row, column) {
  const kept = matrix.examples[`${row},${column}`];
  const [pred, target] = [matrix.names[column], matrix.names[row]];
  if (kept?.length) return kept.map(image => ({sample: {pred, target, caption: image.caption}, image}));
  const found = [],
    seen = new Set();
  for (const key of page.samples) {
    if (loaderOf(key) !== loaderOf(entry.key)) continue;
    const of = entryAt(key, entry.step),
      table = of && of.step === entry.step && (await load(of));
    if (!table) continue;
    const histories = table.columns.includes("id") ? await sampleHistories(key) : new Map();
    for (const sample of rowsOf(table)) {
      const id = sampleOf(sample);
      if (String(sample.pred) !== pred || String(sample.target) !== target || seen.has(id)) continue;
      if ("id" in sample) seen.add(id);
      found.push({sample, image: imageOf(sample), history: histories.get(id)});
    }
  }
  return found.slice(0, 12);
}

/** The key of the table of samples that a matrix comes with. Pure. */
const examplesOf = key => key.replace(/(_chart)?(?=$|\/dataloader_idx_\d+$)/, "_examples");

/** Whether samples could be kept and are not: where there are masks, a matrix counts pixels. */
async function couldKeep(matrix, key) {
  if (Object.keys(matrix.examples).length || LW.keys.has(examplesOf(key))) return false;
  const drawn = page.pictures.filter(name => loaderOf(name) === loaderOf(key)).map(name => load(entryAt(name, Infinity)));
  return !(await Promise.all(drawn)).some(value => value?.layers?.length);
}

/** The counts of a cell in entries of a key; kept, for the time is moved more often than another cell is chosen. */
function countsOf(key, entries, row, column) {
  const known = (countsOf.known ??= new Map()),
    wanted = [LW.version, row, column].join();
  if (known.get(key)?.wanted !== wanted) {
    const all = entries.map(async entry => {
      const value = await load(entry);
      return value && value.names.length > Math.max(row, column) ? countAt(value, row, column) : 0;
    });
    known.set(key, {wanted, counts: Promise.all(all)});
  }
  return known.get(key).counts;
}

/** How often a cell was filled, by epoch: little bars, and since when without a break. */
async function cellHistory(entry, row, column) {
  const entries = entriesOf(entry.key, 60);
  if (entries.length < 2) return null;
  const counts = await countsOf(entry.key, entries, row, column);
  const most = Math.max(1, ...counts),
    width = 100 / counts.length;
  const now = lastAtMost(
      entries.map(({step}) => step),
      entry.step,
    ),
    since = presentSince(counts.slice(0, now + 1));
  const words =
    row === column
      ? ""
      : since < 0
        ? "none now"
        : since === 0
          ? "in every epoch so far"
          : `since ${soon(entries[since].step)}`;
  const chart = svg("svg", {
    class: "bars",
    viewBox: "0 0 100 24",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `By epoch: ${counts.map(count => brief(count)).join(", ")}`,
  });
  counts.forEach((count, i) => {
    const height = count ? Math.max(1.5, (24 * count) / most) : 0.6;
    const bar = svg("rect", {
      class: `${row === column ? "right" : "wrong"}${i === now ? " now" : ""}`,
      x: i * width + width * 0.1,
      y: 24 - height,
      width: width * 0.8,
      height,
    });
    bar.append(svg("title", {}, `${soon(entries[i].step)}: ${grouped(count)}`));
    bar.onclick = () => goTo(entries[i].step);
    chart.append(bar);
  });
  return make(
    "div",
    {className: "history"},
    chart,
    make("span", {className: "dim"}, `by epoch, at most ${brief(most)}${words ? `; ${words}` : ""}`),
  );
}
