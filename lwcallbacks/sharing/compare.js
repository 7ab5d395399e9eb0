"use strict";
// Names come from the data of runs. They enter the page as text and never as HTML.
(() => {
  const runs = LW.runs, first = runs[0], others = runs.slice(1), main = document.querySelector("main");
  const palette = getComputedStyle(document.documentElement).getPropertyValue("--runs").trim().split(/\s+/);
  const colour = i => palette[i % palette.length], letter = i => String.fromCharCode(65 + i % 26) + (i < 26 ? "" : Math.floor(i / 26));

  function make(tag, text, attributes = {}) {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }
  function svg(tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const shown = x => x === null || x === undefined ? "" : typeof x !== "number" ? String(x) : Number.isInteger(x) ? String(x) : String(+x.toPrecision(4));
  const signed = x => (x > 0 ? "+" : x < 0 ? "−" : "") + shown(Math.abs(x));

  function label(i) {
    const node = make("span"), swatch = make("span", null, {class: "swatch"});
    swatch.style.background = colour(i);
    node.append(swatch, `${letter(i)} ${runs[i].name}`);
    return node;
  }
  function section(title, note) {
    const node = make("section");
    node.append(make("h2", title));
    if (note) node.append(make("p", note, {class: "dim"}));
    main.append(node);
    return node;
  }
  function table(columns, rows) {
    const node = make("table"), head = node.createTHead().insertRow(), body = node.createTBody();
    for (const column of columns) {
      const th = make("th", null, {scope: "col"});
      th.append(column);
      head.append(th);
    }
    for (const row of rows) {
      const line = body.insertRow();
      for (const cell of row) line.insertCell().append(cell);
    }
    const scroll = make("div", null, {class: "scroll", tabindex: "0"});
    scroll.append(node);
    return scroll;
  }

  // -- what the runs are ----------------------------------------------------------------------------------------
  function overview() {
    main.append(make("h1", `${runs.length} runs compared`), make("p", "Everything is compared with run A.", {class: "dim"}));
    const rows = runs.map((run, i) => [label(i), shown(run.run.state), shown(run.run.started), shown(run.last_step), run.path]);
    main.append(table(["run", "state", "began", "last step", "folder"], rows));
    const configs = runs.map(run => new Map(Object.entries(run.run.config || {}).map(([name, value]) => [name, JSON.stringify(value)])));
    const names = [...new Set(configs.flatMap(config => [...config.keys()]))].sort();
    const unlike = names.filter(name => new Set(configs.map(config => config.get(name))).size > 1);
    const node = section("Hyperparameters", unlike.length ? `${unlike.length} of ${names.length} differ.` : `${names.length} known, none differs.`);
    if (unlike.length) node.append(table(["", ...runs.map((_, i) => label(i))], unlike.map(name => [name, ...configs.map(config => config.get(name) ?? "not known")])));
  }

  // -- numbers --------------------------------------------------------------------------------------------------
  const finite = points => points.filter(([, value]) => typeof value === "number");

  function numbers() {  // the table now, the curves by calling what is returned
    const keys = [...new Set(runs.flatMap(run => Object.keys(run.curves)))].sort((a, b) => a.localeCompare(b, undefined, {numeric: true}));
    if (!keys.length) return () => {};
    const node = section("Numbers", "The last value of each. Their curves are at the end of the page.");
    const search = make("input", null, {type: "search", placeholder: "Filter keys", "aria-label": "Filter keys"});
    const rows = keys.map(key => {
      const ends = runs.map(run => Object.hasOwn(run.curves, key) ? run.curves[key].at(-1)[1] : null);
      const changes = others.map((_, i) => typeof ends[i + 1] === "number" && typeof ends[0] === "number" ? signed(ends[i + 1] - ends[0]) : "");
      return [key, ...ends.map(shown), ...changes];
    });
    const columns = ["key", ...runs.map((_, i) => label(i)), ...others.map((_, i) => `${letter(i + 1)} − A`)];
    const last = table(columns, rows), cards = make("div", null, {class: "cards"});
    const drawn = keys.map(key => chart(key));
    cards.append(...drawn);
    search.addEventListener("input", () => keys.forEach((key, i) => {
      const away = !key.toLowerCase().includes(search.value.toLowerCase());
      drawn[i].hidden = away;
      last.querySelector("tbody").rows[i].hidden = away;
    }));
    node.append(search, last);
    return () => section("Curves", "By step. What is filtered above is filtered here.").append(cards);
  }

  function chart(key) {
    const card = make("article"), width = 420, height = 180, left = 52, bottom = 22;
    card.append(make("h3", key));
    const lines = runs.map(run => finite(Object.hasOwn(run.curves, key) ? run.curves[key] : [])), all = lines.flat();
    if (!all.length) {
      card.append(make("p", "No finite value.", {class: "dim"}));
      return card;
    }
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [x, y] of all) [x0, x1, y0, y1] = [Math.min(x0, x), Math.max(x1, x), Math.min(y0, y), Math.max(y1, y)];
    if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
    if (y0 === y1) [y0, y1] = [y0 - Math.abs(y0 || 1) / 2, y1 + Math.abs(y1 || 1) / 2];
    const x = step => left + (step - x0) / (x1 - x0) * (width - left - 10), y = value => 8 + (y1 - value) / (y1 - y0) * (height - bottom - 16);
    const told = lines.map((line, i) => line.length ? `${letter(i)} ${shown(line.at(-1)[1])}` : "").filter(Boolean).join(", ");
    const node = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${key}, last: ${told}`});
    for (const part of [0, .5, 1]) {
      const value = y0 + part * (y1 - y0);
      node.append(svg("line", {class: "axis", x1: left, x2: width - 10, y1: y(value), y2: y(value)}),
        svg("text", {x: left - 5, y: y(value) + 4, "text-anchor": "end"}, shown(value)));
    }
    node.append(svg("text", {x: left, y: height - 6}, shown(x0)), svg("text", {x: width - 10, y: height - 6, "text-anchor": "end"}, `step ${shown(x1)}`));
    lines.forEach((line, i) => {
      const line_ = svg("polyline", {points: line.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" "), fill: "none", "stroke-width": 1.8});
      line_.style.stroke = colour(i);
      node.append(line_);
      if (line.length === 1) {
        const dot = svg("circle", {cx: x(line[0][0]), cy: y(line[0][1]), r: 3.5});
        dot.style.fill = colour(i);
        node.append(dot);
      }
    });
    card.append(node, make("p", `last: ${told}`, {class: "dim"}));
    return card;
  }

  // -- matrices -------------------------------------------------------------------------------------------------
  function counts(matrix) {  // by names, for two runs may list their classes in another order
    const cells = new Map(), sums = new Map();
    let total = 0, right = 0;
    for (const [i, j, count] of matrix.cells) {
      cells.set(JSON.stringify([matrix.class_names[i], matrix.class_names[j]]), count);
      sums.set(matrix.class_names[i], (sums.get(matrix.class_names[i]) || 0) + count);
      total += count;
      if (i === j) right += count;
    }
    return {cells, sums, total, right, at: (a, b) => cells.get(JSON.stringify([a, b])) || 0};
  }

  function matrices() {
    for (const key of Object.keys(first.matrices)) for (const [index, other] of others.entries()) {
      if (!Object.hasOwn(other.matrices, key)) continue;
      const a = first.matrices[key], b = other.matrices[key], before = counts(a), now = counts(b);
      const node = section(`${key}: ${letter(index + 1)} − A`);
      const rate = of => of.total ? `${of.right} of ${of.total} on the diagonal (${(100 * of.right / of.total).toFixed(1)} %)` : "empty";
      node.append(make("p", `A at step ${a.step}: ${rate(before)}. ${letter(index + 1)} at step ${b.step}: ${rate(now)}.`));
      const common = a.class_names.filter(name => b.class_names.includes(name));
      const unlike = a.class_names.length + b.class_names.length - 2 * common.length;
      if (unlike) node.append(make("p", `${unlike} classes are in one of them only and are left out.`));
      const same = common.every(name => (before.sums.get(name) || 0) === (now.sums.get(name) || 0));
      const part = (of, i, j) => same ? of.at(i, j) : of.sums.get(i) ? 100 * of.at(i, j) / of.sums.get(i) : 0;
      const wanted = new Set(common), changed = [];
      for (const id of new Set([...before.cells.keys(), ...now.cells.keys()])) {
        const [i, j] = JSON.parse(id), change = wanted.has(i) && wanted.has(j) ? part(now, i, j) - part(before, i, j) : 0;
        if (change) changed.push({i, j, change, better: (i === j) === change > 0});
      }
      const unit = same ? "samples" : "percent of the true class, since the classes have other numbers of samples";
      node.append(make("p", `Rows are the truth. In ${unit}; blue is better, orange is worse, an empty cell is unchanged.`, {class: "dim"}));
      node.append(common.length <= 30 ? grid(common, changed) : make("span"), changes(changed));
    }
  }

  function grid(names, changed) {
    const at = new Map(changed.map(cell => [JSON.stringify([cell.i, cell.j]), cell])), most = Math.max(...changed.map(cell => Math.abs(cell.change)), 1);
    const node = make("table", null, {class: "grid"}), head = node.createTHead().insertRow(), body = node.createTBody();
    head.append(make("td", "true \\ predicted"), ...names.map(name => make("th", name, {scope: "col"})));
    for (const i of names) {
      const line = body.insertRow();
      line.append(make("th", i, {scope: "row"}));
      for (const j of names) {
        const cell = at.get(JSON.stringify([i, j])), td = line.insertCell();
        if (!cell) continue;
        td.textContent = signed(cell.change);
        td.style.background = `rgb(var(${cell.better ? "--better" : "--worse"}) / ${.12 + .28 * Math.abs(cell.change) / most})`;
      }
    }
    const scroll = make("div", null, {class: "scroll", tabindex: "0"});
    scroll.append(node);
    return scroll;
  }

  function changes(changed) {
    if (!changed.length) return make("p", "No cell differs.");
    const sorted = [...changed].sort((a, b) => Math.abs(b.change) - Math.abs(a.change)), most = 50;
    const node = make("details"), rows = sorted.slice(0, most).map(({i, j, change, better}) => [i, j, signed(change), better ? "better" : "worse"]);
    node.open = changed.length <= 10;
    node.append(make("summary", `${changed.length} cells differ` + (changed.length > most ? `, the largest ${most}` : "")), table(["true", "predicted", "change", ""], rows));
    return node;
  }

  // -- samples --------------------------------------------------------------------------------------------------
  function samples() {
    for (const key of Object.keys(first.samples)) for (const [index, other] of others.entries()) {
      if (!Object.hasOwn(other.samples, key)) continue;
      const a = first.samples[key].rows, b = other.samples[key].rows, both = Object.keys(a).filter(id => Object.hasOwn(b, id));
      const same = both.filter(id => JSON.stringify(a[id].target) === JSON.stringify(b[id].target));
      const fixed = same.filter(id => !a[id].correct && b[id].correct), broken = same.filter(id => a[id].correct && !b[id].correct);
      const node = section(`${key}: samples that flipped in ${letter(index + 1)}`);
      node.append(make("p", `${both.length} samples are in both tables (A has ${Object.keys(a).length}, ${letter(index + 1)} has ${Object.keys(b).length}). ${fixed.length} fixed, ${broken.length} broken.`));
      if (both.length > same.length) node.append(make("p", `${both.length - same.length} have another target in the other run: they are not the same samples and are left out.`));
      for (const [title, ids] of [["Fixed: wrong in A, right now", fixed], ["Broken: right in A, wrong now", broken]]) {
        if (!ids.length) continue;
        const rows = ids.map(id => [id, picture(b[id].image || a[id].image, id), shown(b[id].target), shown(a[id].pred), shown(b[id].pred), shown(b[id].confidence)]);
        node.append(make("h3", `${title} (${ids.length})`), table(["id", "", "target", "predicted by A", `predicted by ${letter(index + 1)}`, "confidence"], rows));
      }
    }
  }

  function picture(image, id) {
    if (!image) return "";
    const [left, top, width, height] = image.box, node = svg("svg", {class: "crop", viewBox: `${left} ${top} ${width} ${height}`, role: "img", "aria-label": `sample ${id}`});
    node.append(svg("image", {href: image.url}));
    return node;
  }

  overview();
  const drawCurves = numbers();
  matrices();
  samples();
  drawCurves();
})();
