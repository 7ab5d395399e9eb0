// Puts the page of a comparison together. Everything is compared with the first run, A.

/** A, B, ... Z, A1, B1 and so on. Pure. */
const letterOf = i => String.fromCharCode(65 + (i % 26)) + (i < 26 ? "" : Math.floor(i / 26));

/** A run with its colour, its letter and, if asked for, its name. */
function runLabel(i, named = true) {
  const swatch = make("i");
  swatch.style.background = `var(--${runColour(i)})`;
  const text = named ? `${letterOf(i)} ${LW.runs[i].name}` : letterOf(i);
  return make("span", {className: "run", title: LW.runs[i].path}, swatch, text);
}

/** What the page was given: objects by name become maps, and each curve a series of its own. */
function readRuns({runs, images}) {
  LW.files = images;
  LW.runs = runs.map(({curves: lines, matrices, samples, ...run}, i) => {
    for (const [key, points] of Object.entries(lines)) {
      const steps = points.map(([step]) => step),
        values = points.map(([, value]) => (typeof value === "number" ? value : NUMBERS[value]));
      const epochs = runs.every(({epochs: ends}) => ends.length) && steps.map(step => epochAt(run.epochs, step));
      LW.series.set(`${letterOf(i)} ${key}`, {key, run: i, steps, values, epochs});
    }
    const tables = new Map(Object.entries(samples));
    for (const table of tables.values()) table.rows = new Map(Object.entries(table.rows));
    const counted = new Map(Object.entries(matrices).map(([key, matrix]) => [key, {...matrixOf(matrix), ...matrix}]));
    const reports = new Map(Object.entries(run.reports));
    return {...run, curves: new Set(Object.keys(lines)), matrices: counted, samples: tables, reports};
  });
  for (const run of LW.runs.toReversed()) LW.monitored(run); // the first that monitors a key says which way is better
  [...LW.runs[0].matrices.keys()].forEach((key, number) => LW.key(number, key, "matrix", ""));
  time.now = NaN; // no time is looked at
}

/** The epoch of a step as a number with what of it is done: the last step of epoch 3 is at 3. `ends` are [last step, epoch] of
 * each, ascending. Pure. */
function epochAt(ends, step) {
  const i = Math.min(ends.length - 1, lastAtMost(ends.map(([end]) => end), step - 1) + 1),
    [end, epoch] = ends[i],
    [before, last] = ends[i - 1] || [-1, epoch - 1];
  return +(last + ((step - before) / (end - before)) * (epoch - last)).toFixed(3);
}

const matrixOf = ({class_names, cells, examples = {}}) => ({
  names: class_names,
  places: cells.map(([row, column]) => row * class_names.length + column),
  counts: cells.map(([, , count]) => count),
  examples,
});

const WHICH = {max: "highest", min: "lowest", "": "last"};

/** The value of a series by which a run is compared: {value, step}; its best where one knows which way is better, else its
 * last; {value: NaN} if there is none. Pure. */
function comparedValue({values}, which) {
  const at = which ? bestIndex(values, which) : values.length - 1;
  return at < 0 ? {value: NaN} : {value: values[at], at};
}

/** "better", "worse" or "" of a change, by whether "max" or "min" is best. Pure. */
const verdict = (change, which) => (!which || !change ? "" : change > 0 === (which === "max") ? "better" : "worse");

/** Whether values of a run may be called better or worse than A's: not where their matrices have no class in common. Pure. */
function judged(a, b) {
  const keys = [...a.matrices.keys()].filter(key => b.matrices.has(key));
  return !keys.length || keys.some(key => a.matrices.get(key).names.some(name => b.matrices.get(key).names.includes(name)));
}

/** "at step 62, A at 314" of values of which one is of a run that has not come to its end; else "". Pure. */
function apartWords(a, b, stepOfA, step) {
  const ended = [a, b].every(({state}) => !state || state === "finished");
  return ended || stepOfA === step ? "" : `at step ${grouped(step)}, A at ${grouped(stepOfA)}`;
}

/** A change with its verdict, as text and as colour. */
function changeWords(change, which, text = signed(change)) {
  const word = verdict(change, which);
  return make("span", {className: word || "dim"}, change ? `${text}${word ? `, ${word}` : ""}` : "same as A");
}

/** An answer of all runs: their values below each other. `answers` are {value, words, number, step,
 * of}, null where there is none; what is of something else than A's, or of another step, is not judged. */
function answerCard(title, answers, which, text) {
  const card = make("div", {className: "card stat"}, make("h3", {}, title)),
    first = answers[0];
  answers.forEach((answer, i) => {
    const line = make("div", {className: "answer"}, runLabel(i, false), make("b", {}, answer ? answer.value : "none"));
    if (answer && i && Number.isFinite(first?.number) && Number.isFinite(answer.number) && first.of === answer.of) {
      const change = answer.number - first.number,
        apart = apartWords(LW.runs[0], LW.runs[i], first.step, answer.step);
      if (apart) line.append(make("span", {className: "dim"}, apart));
      else line.append(changeWords(change, judged(LW.runs[0], LW.runs[i]) ? which : "", text?.(change)));
    }
    line.append(make("span", {className: "dim"}, answer?.words || ""));
    card.append(line);
  });
  return card;
}

/** The four answers of each run: how good, best when, worst class, what it cost. */
function answersCompared() {
  const names = [...LW.runs[0].curves],
    monitor = LW.runs.map(run => run.monitor).find(key => names.includes(key)),
    {first, second} = firstMetrics(names, monitor, LW.runs[0].shown),
    cards = make("div", {className: "stats"});
  for (const key of [first, second].filter(Boolean)) {
    const which = modeOf(key);
    const answers = LW.runs.map((_, i) => {
      const series = LW.series.get(`${letterOf(i)} ${key}`);
      if (!series) return null;
      const {value, at} = comparedValue(series, which),
        last = series.values.at(-1),
        words = at === undefined ? "" : `at ${placeAt(series, at)}${which ? `, last ${brief(last)}` : ""}`;
      return {value: brief(value), number: value, step: series.steps.at(-1), words};
    });
    cards.append(answerCard(`${key}, ${WHICH[which]}`, answers, which));
  }
  const [key] = LW.runs[0].matrices.keys();
  if (key !== undefined) {
    const worst = LW.runs.map(run => {
      const matrix = run.matrices.get(key),
        found = matrix && worstClass(summed(matrix));
      if (!found) return null;
      const words = `recall ${percent(found.recall)}, ${grouped(found.missed)} of ${grouped(found.of)} missed`;
      const of = matrix.names[found.index];
      return {value: shorten(of, 20), of, number: found.recall, step: matrix.step, words};
    });
    cards.append(answerCard("worst class", worst, "max", change => `recall ${signed(Math.round(1000 * change) / 10)} points`));
  }
  const [report] = LW.runs[0].reports.keys();
  if (key === undefined && report !== undefined) {
    const worst = LW.runs.map(run => {
      const table = run.reports.get(report),
        found = table && worstRow({...table, length: table.cells[0].length});
      if (!found) return null;
      const words = `F1 ${brief(found.f1)}, recall ${percent(found.recall)} of ${grouped(found.support)}`;
      return {value: shorten(found.name, 20), of: found.name, number: found.f1, step: table.step, words};
    });
    const [what] = LW.runs[0].reports.get(report).columns;
    cards.append(answerCard(`worst ${what}`, worst, "max", change => `F1 ${signed(+change.toPrecision(3))}`));
  }
  if (LW.runs.some(({cost}) => typeof cost === "number")) {
    const costs = LW.runs.map(({cost}) =>
      typeof cost === "number" ? {value: `${brief(cost, 2)} %`, number: cost, words: "of the run"} : null,
    );
    cards.append(answerCard("cost of these callbacks", costs, "min", change => `${signed(Math.round(100 * change) / 100)} points`));
  }
  return section("Overview", "overview", cards.childNodes.length ? cards : null, runsTable());
}

function plainTable(head, rows) {
  const cell = (tag, content, given = {}) => make(tag, given, content);
  const top = make("tr", {}, ...head.map(content => cell("th", content, {scope: "col"})));
  const body = rows.map(row => make("tr", {}, ...row.map(content => cell("td", content))));
  const table = make("table", {className: "plain"}, make("thead", {}, top), make("tbody", {}, ...body));
  return make("div", {className: "scroll", tabIndex: 0, role: "group", "aria-label": "Table"}, table);
}

function runsTable() {
  const rows = LW.runs.map((run, i) => [runLabel(i), brief(run.state), brief(run.started), brief(run.last_step), run.path]);
  return make("div", {className: "card"}, plainTable(["run", "state", "began", "last step", "folder"], rows), ...LW.runs.flatMap(({missing}) => missing.map(text => make("p", {className: "worse"}, text))));
}

/** Every number by which runs are compared, in a table that sorts and filters. */
function numbersCompared() {
  const keys = [...new Set(LW.runs.flatMap(run => [...run.curves]))].sort(byStage);
  if (!keys.length) return null;
  const series = LW.runs.map((_, i) => keys.map(key => LW.series.get(`${letterOf(i)} ${key}`))),
    which = keys.map(modeOf),
    compared = series.map(of => of.map((found, k) => (found ? comparedValue(found, which[k]).value : null)));
  const columns = ["key", "value", ...LW.runs.map((_, i) => letterOf(i))],
    cells = [keys, which.map(mode => WHICH[mode]), ...compared];
  compared.slice(1).forEach((values, i) => {
    const change = values.map((value, k) =>
      Number.isFinite(value) && Number.isFinite(compared[0][k]) ? +(value - compared[0][k]).toPrecision(4) : null,
    );
    columns.push(`${letterOf(i + 1)} − A`, `${letterOf(i + 1)} is`);
    cells.push(
      change,
      change.map((by, k) => {
        const [a, b] = [series[0][k], series[i + 1][k]],
          apart = a && b ? apartWords(LW.runs[0], LW.runs[i + 1], a.steps.at(-1), b.steps.at(-1)) : "";
        return apart || (judged(LW.runs[0], LW.runs[i + 1]) ? verdict(by, which[k]) : "");
      }),
    );
  });
  const settings = {},
    bar = make("div", {className: "tools"}),
    box = make("div"),
    show = () => draw({columns, cells, length: keys.length});
  TABLE.tools(bar, settings, show);
  const draw = TABLE.view(box, settings, show);
  show();
  return section("Numbers", "numbers", make("div", {className: "card"}, bar, box));
}

/** The configuration where runs differ, by path. */
function configurationCompared() {
  const configs = LW.runs.map(({config}) => new Map(flattened(config || {}).filter(([name]) => name)));
  const names = [...new Set(configs.flatMap(config => [...config.keys()]))].sort(natural);
  const text = (config, name) => (config.has(name) ? (config.get(name) === null ? "none" : brief(config.get(name), 12)) : "not known");
  const unlike = names.filter(name => new Set(configs.map(config => text(config, name))).size > 1);
  const words = !names.length
    ? "No hyperparameter is known."
    : unlike.length
      ? `${unlike.length} of ${plural(names.length, "hyperparameter")} differ.`
      : `None of ${plural(names.length, "hyperparameter")} differs.`;
  const card = make("div", {className: "card"}, make("p", {}, words));
  if (unlike.length) {
    const rows = unlike.map(name => [name, ...configs.map(config => text(config, name))]);
    card.append(plainTable(["", ...LW.runs.map((_, i) => runLabel(i))], rows));
  }
  return section("Configuration", "configuration", card);
}

LW.compare = given => {
  readRuns(given);
  document.querySelector("h1").textContent = `${LW.runs.length} runs compared`;
  document.querySelector(".keys").append(...LW.runs.map((_, i) => runLabel(i)));
  document.querySelector(".actions").append(theme());
  const sections = [
    answersCompared(),
    curvesSection(),
    matricesCompared(),
    reportsCompared(),
    samplesCompared(),
    configurationCompared(),
    numbersCompared(),
  ].filter(Boolean);
  document.querySelector("main").append(...sections);
  document.querySelector("nav .sections").append(...sections.map(linkTo));
  watchSections();
  document.body.dataset.ready = "true";
};
