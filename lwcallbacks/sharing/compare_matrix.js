// The last matrices of two runs: their difference, each of them, and the samples behind a cell in both.

/** A matrix of these classes alone, with the sums of the whole: what was predicted as another class is missed. Pure. */
function partOfMatrix(matrix, names) {
  const whole = summed({...matrix}),
    part = summed(withClasses(matrix, names)),
    at = names.map(name => matrix.names.indexOf(name));
  const rows = at.map(i => whole.rows[i]),
    total = rows.reduce((sum, count) => sum + count, 0);
  return Object.assign(part, {rows, columns: at.map(i => whole.columns[i]), elsewhere: total - part.total, total});
}

/** Two matrices of the same classes, those that both have, and how many only one has. Pure. */
function sideBySide(a, b) {
  const twice = [a, b].some(({names}) => new Set(names).size < names.length);
  if (twice || sameClasses(a, b)) return sameClasses(a, b) ? {a: summed({...a}), b: summed({...b}), apart: 0} : null;
  const names = a.names.filter(name => b.names.includes(name));
  return {
    a: partOfMatrix(a, names),
    b: partOfMatrix(b, names),
    apart: a.names.length + b.names.length - 2 * names.length,
  };
}

function matricesCompared() {
  const cards = [];
  for (const key of LW.runs[0].matrices.keys()) {
    const others = LW.runs.map((_, i) => i).filter(i => i && LW.runs[i].matrices.has(key));
    if (others.length) cards.push(matrixCompared(key, others));
  }
  return cards.length ? section("Confusion", "confusion", ...cards) : null;
}

function matrixCompared(key, others) {
  const settings = {other: others[0], shown: "change", unit: null},
    bar = make("div", {className: "tools"}),
    figure = make("div", {className: "figure"}),
    note = make("p", {className: "note", role: "status"}),
    behind = make("div", {className: "behind"}),
    words = make("p", {className: "dim"});
  const card = make(
    "article",
    {className: "card"},
    make("header", {}, make("h3", {}, titleOf(key))),
    bar,
    words,
    make("div", {className: "confusion"}, make("div", {}, figure, note), behind),
  );
  const set = name => value => {
    settings[name] = value;
    show();
  };
  const which = choice("Which matrix", {change: "", a: "A", b: ""}, "change", set("shown"));
  const units = choice("What a cell shows", {count: "counts", rows: "% of truth", columns: "% of predicted"}, "", set("unit"));
  if (others.length > 1) {
    const names = Object.fromEntries(others.map(i => [i, `${letterOf(i)} ${LW.runs[i].name}`]));
    bar.append(
      picker("Run that is compared with A", names, value => {
        Object.assign(settings, {other: +value, cell: null, block: null});
        show();
      }),
    );
  }
  bar.append(which, units);
  classTools(bar, settings, show);

  function show() {
    const letter = letterOf(settings.other),
      pair = sideBySide(LW.runs[0].matrices.get(key), LW.runs[settings.other].matrices.get(key));
    which.children[0].textContent = `${letter} − A`;
    which.children[2].textContent = letter;
    if (!pair || !pair.a.names.length) {
      words.textContent = "The two have no classes in common that can be told apart by their names.";
      return void [figure, behind].forEach(node => node.replaceChildren());
    }
    const {a, b, apart} = pair,
      same = a.rows.every((sum, i) => sum === b.rows[i]);
    settings.unit ??= same ? "count" : "rows";
    units.press(settings.unit);
    const {unit} = settings,
      change = unit === "count" ? difference(b, a) : shareDifference(b, a, unit);
    const rate = of =>
      of.total
        ? `${grouped(of.hits)} of ${grouped(of.total)} right, ${percent(of.hits / of.total)}` +
          (apart ? ` of the ${plural(of.size, "class", "classes")} in common` : "") +
          (of.elsewhere ? `; ${grouped(of.elsewhere)} of them predicted as another class` : "")
        : "empty";
    words.textContent = [
      `A at step ${grouped(LW.runs[0].matrices.get(key).step)}: ${rate(a)}.`,
      `${letter} at step ${grouped(LW.runs[settings.other].matrices.get(key).step)}: ${rate(b)}.`,
      same ? "" : "They have counted other numbers.",
      apart ? `${plural(apart, "class", "classes")} of one of them only ${apart === 1 ? "is" : "are"} left out.` : "",
    ].join(" ");
    const matrix = settings.shown === "a" ? a : b,
      changed = settings.shown === "change",
      cells = changed ? change : matrix;
    settings.cell ??= mostChanged(change, Infinity).find(({row, column}) => row !== column) || firstCell(b);
    if (settings.cell && Math.max(settings.cell.row, settings.cell.column) >= b.size) settings.cell = null;
    const legend = `Rows are the truth, columns the prediction. ${changed ? `${unit === "count" ? "Counts" : "Percent points"} more or fewer in ${letter}; blue is better, orange worse, blank the same. Recall and precision: percent points more.` : ""}`;
    const select = (row, column) => {
      settings.cell = {row, column};
      show();
    };
    const state = {
      matrix,
      cells,
      settings,
      select,
      mode: changed ? "since" : {count: "count", rows: "truth", columns: "pred"}[unit],
      mostWrong: strongest(cells, changed),
      rates: changed ? ratesOf(b, a) : ratesOf(matrix),
      tell: (row, column) => (note.textContent = row === undefined ? legend : bothWords(pair, letter, row, column)),
    };
    state.tell();
    drawCells(figure, state, classesShown(b, settings));
    drawBoth(behind, state, pair, change, key);
  }
  onSight(card, () => {
    card.update = null; // once
    show();
  });
  redraws.push(() => card.update || show());
  return card;
}

/** "true 4, predicted 9: A 3, B 5; 3 % and 5 % of true 4" */
function bothWords({a, b}, letter, row, column) {
  const [first, second] = [a, b].map(of => countAt(of, row, column)),
    shares = [a, b].map(of => (of.rows[row] ? percent(countAt(of, row, column) / of.rows[row]) : "none"));
  return `true ${a.names[row]}, predicted ${a.names[column]}: A ${grouped(first)}, ${letter} ${grouped(second)}; ${shares.join(" and ")} of true ${a.names[row]}`;
}

/** The cells of a difference that have changed most: [{row, column, change}]. Pure. */
function mostChanged({names, places, counts}, most) {
  const cells = Array.from(places, (place, i) => ({
    row: Math.floor(place / names.length),
    column: place % names.length,
    change: counts[i],
  }));
  return cells.sort((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, most);
}

/** Behind the chosen cell: its samples in each run; and the cells that differ most. */
function drawBoth(behind, state, pair, change, key) {
  const {settings} = state,
    parts = [],
    runs = [
      [0, pair.a],
      [settings.other, pair.b],
    ];
  if (settings.cell) {
    const {row, column} = settings.cell,
      [target, pred] = [pair.a.names[row], pair.a.names[column]];
    parts.push(make("header", {}, make("h4", {}, row === column ? `true ${target}, found` : `true ${target}, predicted ${pred}`)));
    for (const [i, matrix] of runs) {
      const count = countAt(matrix, row, column),
        samples = samplesOfCell(i, matrix, key, row, column);
      parts.push(make("p", {}, runLabel(i, false), ` ${grouped(count)}`));
      if (samples.length) parts.push(make("ul", {className: "tiles small"}, ...samples.map(sample => tile(sample, opened(sample)))));
      else if (count) parts.push(make("p", {className: "dim"}, "None of them was kept."));
    }
  }
  const pairs = mostChanged(change, 8);
  for (const cell of pairs)
    cell.count = runs.map(([, matrix]) => grouped(countAt(matrix, cell.row, cell.column))).join(" → ");
  if (pairs.length) parts.push(make("h4", {}, "Changed most"), pairList(state, pairs));
  else parts.push(make("p", {}, "No cell differs."));
  behind.replaceChildren(...parts);
}

const opened = sample => ({image: imageOf(sample), onclick: () => openSample(sample)});

/** Samples of a cell in a run: those kept with the matrix, else those of its tables of the same stage. */
function samplesOfCell(i, matrix, key, row, column, most = 6) {
  const [target, pred] = [matrix.names[row], matrix.names[column]],
    kept = matrix.examples[`${row},${column}`];
  if (kept?.length) return kept.slice(0, most).map(image => ({image, pred, target, caption: image.caption}));
  const found = new Map();
  for (const [name, {rows}] of LW.runs[i].samples)
    if (loaderOf(name) === loaderOf(key))
      for (const [id, sample] of rows)
        if (String(sample.pred) === pred && String(sample.target) === target && !found.has(id)) found.set(id, {id, ...sample});
  return [...found.values()].slice(0, most);
}
