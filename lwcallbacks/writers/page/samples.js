// Samples of a table as tiles: filtered, sorted, each with its history.

/** Whether a table is one of samples: it has predictions of them, or images. */
const isOfSamples = ({columns, cells}) =>
  columns.includes("pred") ||
  (columns.includes("predicted") && columns.includes("id")) ||
  cells.some(column => Array.isArray(column) && column.some(isImage));

/** What the tables of one loader of a stage have in common: "val,/dataloader_idx_1". Pure. */
const loaderOf = key => [partsOf(key).stage, key.match(/(?!^)\/dataloader_idx_\d+$/)?.[0]].join();

/** The label or labels of a sample: "cat,dog" has two, "crane, a bird" is one. Pure. */
const labelsIn = value => (value === null || value === undefined ? [] : String(value).split(/,(?! )/));

/** Keep the rows that the filter asks for, in the order it asks for. Pure. */
function chosenRows(rows, {wrong = false, label = "", low = 0, high = 1, words = "", sort = "given"}) {
  const kept = rows.filter(row => {
    if (wrong && isRight(row) !== false) return false;
    if (label && !labelsIn(row.pred).includes(label) && !labelsIn(row.target).includes(label)) return false;
    if (typeof row.confidence === "number" && (row.confidence < low || row.confidence > high)) return false;
    return (
      !words ||
      matches(
        Object.values(row)
          .filter(cell => !isImage(cell))
          .join(" "),
        words,
      )
    );
  });
  const by = {
    loss: row =>
      typeof row.loss === "number"
        ? -row.loss
        : isRight(row) === false
          ? -1 - (row.confidence ?? 0)
          : 1 - (row.confidence ?? 0),
    unsure: row => row.confidence ?? 2,
    sure: row => -(row.confidence ?? -1),
  }[sort];
  return by
    ? kept
        .map((row, i) => [by(row), i, row])
        .sort((a, b) => a[0] - b[0] || a[1] - b[1])
        .map(([, , row]) => row)
    : kept;
}

const sampleOf = ({id, target}) => JSON.stringify([id, String(target)]);

/** What all tables of a key's stage said about each sample, by `sampleOf`: Map -> [{step, right, row}]; {} without ids. */
async function sampleHistories(key, most = 30) {
  const group = loaderOf(key),
    keys = page.samples.filter(name => loaderOf(name) === group);
  const known = (sampleHistories.known ??= new Map()),
    version = keys.map(name => historyOf(name).steps.length).join();
  if (known.get(group)?.version === version) return known.get(group).promise;
  const promise = (async () => {
    const entries = keys.flatMap(name => entriesOf(name, most)),
      tables = await Promise.all(entries.map(load)),
      withIds = entries.filter((_, at) => tables[at]?.columns.includes("id"));
    const steps = [...new Set(withIds.map(({step}) => step))].sort((a, b) => a - b),
      found = new Map();
    tables.forEach((table, i) => {
      if (!table?.columns.includes("id")) return;
      const at = steps.indexOf(entries[i].step);
      for (const row of rowsOf(table)) {
        const id = sampleOf(row);
        if (!found.has(id)) found.set(id, steps.map(step => ({step, right: null, row: null})));
        if (!found.get(id)[at].row) found.get(id)[at] = {step: steps[at], right: isRight(row), row};
      }
    });
    return found;
  })();
  known.set(group, {version, promise});
  return promise;
}

/** Whether samples seem to have been chosen for being wrong. Pure. */
const mostlyWrong = rights => rights.length > 4 && rights.filter(right => right === false).length >= 0.9 * rights.length;

const FIXED = "PredictionGrid(select='first', name='fixed')";

/** Whether losses fall: then the hardest were chosen. Pure. */
const fall = losses => losses.length > 4 && losses[0] > losses.at(-1) && losses.every((loss, i) => !i || loss <= losses[i - 1]);

const imageOf = row => Object.values(row).find(isImage);

const SAMPLES = {
  wide: true,
  tools(bar, settings, refresh) {
    Object.assign(settings, {wrong: false, label: "", low: 0, high: 1, words: "", sort: "given", most: 48});
    const change = values => {
      Object.assign(settings, values);
      refresh();
    };
    settings.labels = make(
      "select",
      {"aria-label": "Class", onchange: event => change({label: event.target.value})},
      make("option", {value: ""}, "every class"),
    );
    settings.parts = {
      wrong: choice("Which samples", {all: "all", wrong: "wrong only"}, "all", value =>
        change({wrong: value === "wrong"}),
      ),
      sort: picker(
        "Order of the samples",
        {given: "as chosen", loss: "hardest first", unsure: "least sure first", sure: "most sure first"},
        value => change({sort: value}),
      ),
      sure: make(
        "label",
        {className: "range"},
        "confidence up to ",
        make("input", {
          type: "range",
          min: 0,
          max: 1,
          step: 0.01,
          value: 1,
          oninput(event) {
            event.target.nextSibling.textContent = percent(+event.target.value, 0);
            change({high: +event.target.value});
          },
        }),
        make("output", {}, "100 %"),
      ),
    };
    settings.found = make("span", {className: "dim", role: "status"});
    bar.append(
      settings.parts.wrong,
      settings.parts.sort,
      settings.labels,
      settings.parts.sure,
      search("Search samples", words => change({words})),
      settings.found,
    );
  },
  view(box, settings, refresh) {
    const list = make("ul", {className: "tiles"}),
      more = button("Show more", () => {
        settings.most *= 4;
        refresh();
      });
    const note = make(
      "p",
      {className: "dim", hidden: true},
      `Chosen by how wrong they are: another run shows others. To compare runs, add ${FIXED}.`,
    );
    box.append(list, more, note);
    return async (table, entry) => {
      const rows = rowsOf(table),
        has = name => table.columns.includes(name);
      settings.parts.wrong.hidden = !rows.some(row => isRight(row) !== null);
      settings.parts.sure.hidden = !has("confidence");
      settings.parts.sort.hidden = !has("confidence") && !has("loss");
      const labels = [...new Set(rows.flatMap(({pred, target}) => [...labelsIn(pred), ...labelsIn(target)]))].sort(natural);
      settings.labels.hidden = labels.length < 2;
      if (settings.labels.options.length !== labels.length + 1 && !labels.includes(settings.label)) settings.label = "";
      settings.labels.replaceChildren(
        make("option", {value: ""}, "every class"),
        ...labels.map(value => make("option", {value}, shorten(value, 40))),
      );
      settings.labels.value = settings.label;
      list.classList.toggle(
        "broad",
        rows.some(({pred, target}) => Math.max(String(pred).length, String(target).length) > 12),
      );
      const kept = chosenRows(rows, settings),
        wrong = rows.filter(row => isRight(row) === false).length;
      settings.found.textContent = `${kept.length} of ${plural(rows.length, "sample")}${wrong ? `, ${wrong} wrong` : ""}`;
      const histories = has("id") ? await sampleHistories(entry.key) : new Map();
      list.replaceChildren(
        ...kept.slice(0, settings.most).map(row => {
          const history = histories.get(sampleOf(row)) || [];
          return tile(row, {image: imageOf(row), history, onclick: () => openSample(row, history)});
        }),
      );
      more.hidden = kept.length <= settings.most;
      const losses = rows.map(({loss}) => loss).filter(Number.isFinite),
        isBehind = page.matrices.some(key => examplesOf(key) === entry.key);
      note.hidden = isBehind || !has("id") || !(fall(losses) || mostlyWrong(rows.map(isRight)));
    };
  },
};

/** Everything about a sample, in a window. */
function openSample(row, history = [], image = imageOf(row)) {
  const list = make("dl");
  for (const [name, cell] of Object.entries(row))
    if (!isImage(cell))
      list.append(make("dt", {}, name), make("dd", {}, name === "correct" ? (cell ? "yes" : "no") : brief(cell)));
  const parts = [];
  if (isImage(image)) parts.push(overlaid(image, "large"));
  parts.push(list);
  const seen = history.filter(({row: then}) => then);
  if (seen.length > 1) {
    const head = make(
      "tr",
      {},
      ...["when", "predicted", "", "confidence"].map(text => make("th", {scope: "col"}, text)),
    );
    const lines = seen.map(({step, right, row: then}) =>
      make(
        "tr",
        {className: right ? "right" : "wrong"},
        make("td", {}, when(step)),
        make("td", {}, brief(then.pred)),
        make("td", {}, rightWord(right)),
        make("td", {}, brief(then.confidence, 3)),
      ),
    );
    parts.push(
      make("h4", {}, "By epoch"),
      strip(history),
      make("p", {className: "dim"}, `${sinceWords(history)}${seen.length < history.length ? "; grey: not listed" : ""}`),
      make("div", {className: "scroll"}, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines))),
    );
  }
  return dialog(told(row) || "Sample", ...parts);
}
