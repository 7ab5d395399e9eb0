// Tables that sort and filter.

/** Indices of rows, sorted by a column; numbers before text, nothing last. Pure. */
function sortedRows(column, indices, down) {
  const rank = value =>
    value === null || value === undefined || Number.isNaN(value)
      ? 2
      : typeof value === "number" || typeof value === "boolean"
        ? 0
        : 1;
  return [...indices].sort((i, j) => {
    const a = column[i],
      b = column[j],
      kind = rank(a) - rank(b);
    if (kind) return kind;
    const compared = rank(a) === 0 ? a - b : rank(a) === 1 && !isImage(a) ? natural(String(a), String(b)) : 0;
    return (down ? -compared : compared) || i - j;
  });
}

const TABLE = {
  tools(bar, settings, refresh) {
    Object.assign(settings, {column: null, down: false, words: "", most: 50});
    settings.box = search("Filter rows", words => {
      settings.words = words;
      refresh();
    });
    settings.found = make("span", {className: "dim", role: "status"});
    bar.append(settings.box, settings.found);
  },
  view(box, settings, refresh) {
    const scroll = make("div", {className: "scroll"}),
      more = button("Show more", () => {
        settings.most *= 4;
        refresh();
      });
    box.append(scroll, more);
    return table => {
      const focused = scroll.contains(document.activeElement)
        ? [...scroll.querySelectorAll("th button")].indexOf(document.activeElement)
        : -1;
      box.closest(".card")?.classList.toggle("wide", table.columns.length > 6);
      scroll.replaceChildren(tableOf(table, settings, refresh));
      if (focused >= 0) scroll.querySelectorAll("th button")[focused]?.focus();
      more.hidden = settings.kept <= settings.most;
      settings.box.hidden = table.length < 6;
      settings.found.textContent = settings.words
        ? `${settings.kept} of ${plural(table.length, "row")}`
        : plural(table.length, "row");
    };
  },
};

function tableOf({columns, cells, length}, settings, refresh) {
  const text = cell => (isImage(cell) ? cell.caption || "" : String(cell ?? ""));
  let indices = Array.from({length}, (_, i) => i);
  if (settings.words)
    indices = indices.filter(i => matches(cells.map(column => text(column[i])).join(" "), settings.words));
  if (settings.column !== null && settings.column < columns.length)
    indices = sortedRows(cells[settings.column], indices, settings.down);
  settings.kept = indices.length;
  const numeric = cells.map(
    column =>
      column.some(cell => typeof cell === "number") &&
      column.every(cell => typeof cell === "number" || cell === null || cell in NUMBERS),
  );
  const head = make(
    "tr",
    {},
    ...columns.map((name, i) => {
      const sorted = settings.column === i;
      return make(
        "th",
        {
          scope: "col",
          className: numeric[i] ? "number" : "",
          "aria-sort": sorted ? (settings.down ? "descending" : "ascending") : "none",
        },
        button(
          `${name}${sorted ? (settings.down ? " ↓" : " ↑") : ""}`,
          () => {
            if (!sorted) Object.assign(settings, {column: i, down: numeric[i]});
            else settings.down = !settings.down;
            refresh();
          },
          {title: "Sort"},
        ),
      );
    }),
  );
  const body = indices.slice(0, settings.most).map(i =>
    make(
      "tr",
      {},
      ...cells.map((column, c) => {
        const cell = column[i];
        if (isImage(cell)) {
          const open = button(
            "",
            () => openSample(Object.fromEntries(columns.map((name, k) => [name, cells[k][i]])), [], cell),
            {className: "open"},
          );
          open.append(crop(cell));
          return make("td", {}, open);
        }
        if (Array.isArray(cell)) {
          const words = cell.map((word, at) => `${word}${at < cell.length - 1 ? "," : ""}`);
          return make("td", {}, ...words.flatMap(word => [make("span", {className: "word"}, word), " "]));
        }
        return make("td", {className: numeric[c] ? "number" : ""}, brief(cell));
      }),
    ),
  );
  return make("table", {className: "plain"}, make("thead", {}, head), make("tbody", {}, ...body));
}
