// Four answers before everything else: how good, best when, worst class, what it cost.

/** The names of the metric that says how good a run is, and of its loss: {score, loss}, each null if there is none. What
 * is `ours`, as an error of a chart, is the loss only where the run has no other. Pure. */
function mainMetrics(names, ours = () => false) {
  const ranked = [...names].filter(name => partsOf(name).every !== "step").sort(byStage);
  const first = stages => (which, list = ranked) =>
    list
      .filter(name => stages.includes(partsOf(name).stage) && bestOf(name) === which)
      .sort((a, b) => usual(a) - usual(b) || partsOf(a).rest.length - partsOf(b).rest.length || leads(b) - leads(a))[0];
  const leads = name => name.startsWith(partsOf(name).stage); // as ours do, which are exact: "val/acc" before "acc/val"
  const usual = name => {
    const i = USUAL.findIndex(pattern => pattern.test(partsOf(name).rest));
    return i < 0 ? USUAL.length : i;
  };
  const pick = (...of) => first(["val"])(...of) ?? first(["test"])(...of) ?? first(["train", ""])(...of) ?? null;
  const own = ranked.filter(name => !ours(name));
  return {score: pick("max"), loss: pick("min", own) ?? pick("min")};
}

/** Whether a number belongs to something that is shown, as "val/curves_ece" to "val/curves_roc". */
function oursAmong(keys) {
  const starts = [...new Set(keys.map(key => bare(key).replace(/[^_]*$/, "")))].filter(Boolean);
  return name => starts.some(start => name.startsWith(start));
}

/** The two of these names that come first: {first, second}; before all what is monitored. `shown` are keys of what is no
 * number. Pure. */
function firstMetrics(names, monitor, shown) {
  const {score, loss} = mainMetrics(names, oursAmong(shown));
  if (!names.includes(monitor)) return {first: score, second: loss};
  return {first: monitor, second: loss === monitor ? score : loss};
}

/** What the cards show. What a checkpoint or early stopping monitors comes first. */
function cardMetrics() {
  const known = cardMetrics,
    wanted = `${LW.version} ${LW.info?.monitor}`;
  if (known.wanted !== wanted) {
    const shown = [...LW.keys.keys()].filter(key => kindOf(key) !== "histogram");
    Object.assign(known, {wanted, found: firstMetrics([...LW.series.keys()], LW.info?.monitor, shown)});
  }
  return known.found;
}

const USUAL = [/^acc(uracy)?$/i, /^loss$/i, /acc/i, /f1/i, /auroc|auc/i, /iou|dice/i, /loss/i];

/** How many rows of a report are classes or labels: averages are behind them, and a class may be called like one. Pure. */
function numClasses({cells, length}) {
  const averages = cells[0].lastIndexOf("macro average");
  return averages < 0 ? length : averages;
}

/** The class or label of a report whose F1 is lowest: {what, name, f1, recall, support}; null if it is no report. Pure. */
function worstRow({columns, cells, length}) {
  const at = name => cells[columns.indexOf(name)],
    [what] = columns;
  if (!["class", "label"].includes(what) || !["f1", "recall", "support"].every(at)) return null;
  const rows = [...Array(numClasses({cells, length})).keys()].filter(i => at("support")[i] > 0);
  if (!rows.length) return null;
  const i = rows.reduce((worst, row) => (at("f1")[row] < at("f1")[worst] ? row : worst));
  return {what, name: String(cells[0][i]), f1: at("f1")[i], recall: at("recall")[i], support: at("support")[i]};
}

function answersSection() {
  const cards = make("div", {className: "stats"}),
    node = section("Overview", "overview", cards);
  const stat = () => make("div", {className: "card stat"});
  const ofScore = stat(),
    ofLoss = stat(),
    ofClass = stat(),
    ofCost = stat();
  const fill = (card, title, value, words, act = null) => {
    const open = act ? button("", act, {className: "open"}) : card;
    if (act) card.replaceChildren(open);
    open.replaceChildren(
      make("span", {className: "dim"}, title),
      make("b", {"aria-live": "polite"}, value),
      make("span", {className: "dim"}, words),
    );
    card.hidden = false;
  };
  const metric = (card, name, title) => {
    const {steps, values} = LW.series.get(name),
      i = Math.max(0, lastAtMost(steps, time.now));
    const which = modeOf(name) || "max",
      best = bestIndex(values, which);
    const count = plural(values.filter(Number.isFinite).length, "value");
    const word = which === "max" ? "highest" : "lowest";
    const words =
      best < 0
        ? "no finite value"
        : values[best] === values[i]
          ? `${word} of ${count}`
          : `${word} ${brief(values[best])} at ${soon(steps[best])}`;
    const other = time.other === null ? null : values[Math.max(0, lastAtMost(steps, time.other))];
    fill(
      card,
      title,
      brief(values[i]),
      other === null ? words : `${brief(other)} at ${soon(time.other)}`,
      best < 0 ? null : () => goTo(steps[best]),
    );
    card.firstChild.title = best < 0 ? "" : `Go to ${when(steps[best])}`;
  };
  async function show() {
    const {first, second} = cardMetrics();
    for (const card of cards.children) if (!card.childNodes.length) card.hidden = true;
    if (first) metric(ofScore, first, first);
    if (second) metric(ofLoss, second, second);
    const table = LW.costs && expanded("table", LW.costs),
      total = table?.cells[0]?.indexOf("total") ?? -1;
    if (total >= 0) {
      const at = name => table.cells[table.columns.findIndex(column => column.startsWith(name))]?.[total];
      fill(
        ofCost,
        "cost of these callbacks",
        `${brief(at("share"), 2)} %`,
        `of the run; ${at("collectives") ? `${plural(at("collectives"), "collective")}, ` : ""}${brief(at("on disk") ?? 0, 3)} MiB on disk`,
        () => document.getElementById("cost")?.scrollIntoView(),
      );
    }
    const key = page.matrices[0],
      entry = key && entryAt(key, time.now);
    const value = entry && (await load(entry));
    if (value) ofMatrix(value, key, first);
    else await ofReport();
    node.hidden = [...cards.children].every(({hidden}) => hidden);
  }
  /** Without a matrix, as of several labels for a sample: a report has a row for each. */
  async function ofReport() {
    for (const key of page.tables) {
      const found = entryAt(key, time.now),
        table = found && (await load(found)),
        worst = table && worstRow(table);
      if (!worst) continue;
      const words = `F1 ${brief(worst.f1)}, recall ${percent(worst.recall, 0)} of ${grouped(worst.support)}`;
      return fill(ofClass, `worst ${worst.what}`, shorten(worst.name, 20), words, () => panels.get(key).reveal());
    }
  }
  function ofMatrix(value, key, score) {
    const matrix = summed(value),
      worst = worstClass(matrix);
    if (!score)
      fill(
        ofScore,
        `${partsOf(key).stage || key} accuracy, by ${titleOf(key)}`,
        matrix.total ? percent(matrix.hits / matrix.total) : "none",
        `of ${grouped(matrix.total)}`,
      );
    if (worst?.missed === 0) fill(ofClass, "worst class", "none", "all of every class is right");
    else if (worst)
      fill(
        ofClass,
        "worst class",
        shorten(matrix.names[worst.index], 20),
        `recall ${percent(worst.recall, 0)}, ${grouped(worst.missed)} of ${grouped(worst.of)} missed`,
        () => {
          const found = panels.get(key),
            row = worst.index;
          const size = matrix.size,
            errors = Array.from({length: size}, (_, column) => (column === row ? -1 : countAt(matrix, row, column)));
          found.settings.cell = {row, column: errors.indexOf(Math.max(...errors))};
          found.refresh();
          found.reveal();
        },
      );
  }
  time.listeners.add(show);
  page.bestStep = () => {
    const {first, second} = cardMetrics(),
      name = first || second;
    if (!name) return null;
    const {steps, values} = LW.series.get(name),
      best = bestIndex(values, modeOf(name) || "max");
    if (best < 0 || !time.steps.length) return null;
    return time.steps[Math.max(0, lastAtMost(time.steps, steps[best]))];
  };
  cards.append(ofScore, ofLoss, ofClass, ofCost);
  page.answered = show();
  return node;
}
