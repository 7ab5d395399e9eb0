// What reports say of each class or label in each run: F1, how it differs from A's, recall and how many there are.

/** The rows of a report by name, without the averages: Map of name -> {f1, recall, support}. Pure. */
function reportRows({columns, cells}) {
  const at = name => cells[columns.indexOf(name)],
    names = cells[0].slice(0, numClasses({cells, length: cells[0].length}));
  return new Map(names.map((name, i) => [String(name), {f1: at("f1")[i], recall: at("recall")[i], support: at("support")[i]}]));
}

/** A table of reports, that of A first, and of the letters of their runs: {columns, cells, length}. Of a class that has another
 * support than in A nothing is better or worse. Pure. */
function reportsTable(what, reports, letters) {
  const all = reports.map(reportRows),
    names = [...new Set(all.flatMap(rows => [...rows.keys()]))];
  const of = (rows, part) => names.map(name => rows.get(name)?.[part] ?? null);
  const columns = [what, "support in A"],
    cells = [names, of(all[0], "support")];
  const add = (title, values) => {
    columns.push(title);
    cells.push(values);
  };
  all.forEach((rows, i) => {
    const f1 = of(rows, "f1");
    add(`F1 ${letters[i]}`, f1);
    if (!i) return;
    const first = of(all[0], "f1"),
      change = f1.map((value, k) => (value === null || first[k] === null ? null : +(value - first[k]).toPrecision(4)));
    add(`${letters[i]} − A`, change);
    const counts = of(rows, "support"),
      words = (by, k) => (by === null ? "" : counts[k] === cells[1][k] ? verdict(by, "max") : `of ${grouped(counts[k])}`);
    add(`${letters[i]} is`, change.map(words));
  });
  all.forEach((rows, i) => add(`recall ${letters[i]}`, of(rows, "recall")));
  return {columns, cells, length: names.length};
}

/** The reports of A that another run has, too, as tables: what became worse first. */
function reportsCompared() {
  const cards = [];
  for (const [key, report] of LW.runs[0].reports) {
    const having = LW.runs.map((_, i) => i).filter(i => LW.runs[i].reports.has(key));
    if (having.length < 2) continue;
    const table = reportsTable(report.columns[0], having.map(i => LW.runs[i].reports.get(key)), having.map(letterOf)),
      settings = {},
      bar = make("div", {className: "tools"}),
      box = make("div"),
      card = make("article", {className: "card"}, make("header", {}, make("h3", {}, titleOf(key))), bar, box),
      show = () => draw(table);
    TABLE.tools(bar, settings, show);
    settings.column = table.columns.findIndex(name => name.endsWith(" − A"));
    const draw = TABLE.view(box, settings, show);
    show();
    cards.push(card);
  }
  return cards.length ? section("Classes", "classes", ...cards) : null;
}
