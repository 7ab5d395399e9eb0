// Samples that two runs have both shown: those that became right, those that became wrong, those that stay wrong.

/** Ids of two tables of samples by how they flipped: {fixed, broken, wrong, both, unlike}; `unlike` have another target in
 * the other run, and are not the same samples. Pure. */
function flipped(a, b) {
  const both = [...a.keys()].filter(id => b.has(id)),
    same = both.filter(id => JSON.stringify(a.get(id).target) === JSON.stringify(b.get(id).target));
  const of = (before, now) => same.filter(id => a.get(id).correct === before && b.get(id).correct === now);
  return {fixed: of(false, true), broken: of(true, false), wrong: of(false, false), both, unlike: both.length - same.length};
}

/** Whether samples were chosen by how wrong they were: their losses fall, or nearly all are wrong. Pure. */
const chosenByError = ({falling, rows}) => falling || mostlyWrong([...rows.values()].map(row => row.correct));

function samplesCompared() {
  const cards = [];
  const behind = [...LW.runs[0].matrices.keys()].map(examplesOf); // each is wrong, and behind a cell already
  for (const [key, table] of LW.runs[0].samples)
    LW.runs.forEach((run, i) => {
      if (i && run.samples.has(key) && !behind.includes(key)) cards.push(flipsCard(key, i, table, run.samples.get(key)));
    });
  return cards.length ? section("Samples", "samples", ...cards) : null;
}

function flipsCard(key, i, first, second) {
  const letter = letterOf(i),
    [a, b] = [first.rows, second.rows],
    {fixed, broken, wrong, both, unlike} = flipped(a, b),
    hidden = both.length < Math.max(a.size, b.size) && [first, second].some(chosenByError);
  const card = make("article", {className: "card"}, make("header", {}, make("h3", {}, titleOf(key)), make("span", {className: "dim"}, `A and ${letter}`)));
  const lowest = table => Math.min(...[...table.rows.values()].map(({loss}) => loss).filter(Number.isFinite));
  const alone = [
    ["A", a, second, letter, b],
    [letter, b, first, "A", a],
  ].map(([owner, rows, other, elsewhere, there]) => {
    const bound = other.falling ? `: their losses there are at most ${brief(lowest(other))}` : "";
    return [`In ${owner} alone`, `not among those chosen in ${elsewhere}${bound}`, [...rows.keys()].filter(id => !there.has(id)), rows];
  });
  const words = [
    both.length
      ? `${plural(both.length, "sample is", "samples are")} in both tables; A has ${a.size}, ${letter} has ${b.size}.`
      : `No sample is in both tables. A has ${a.size}, ${letter} has ${b.size}.${hidden ? "" : ' PredictionGrid(select="random") shows the same ones in every run.'}`,
    hidden ? `The samples of these tables were chosen by how wrong they were; what was fixed and broken shows in a table of a fixed choice: ${FIXED}.` : "",
    unlike ? `${unlike} with another target in the other run are left out.` : "",
    [LW.runs[0], LW.runs[i]].some(({left_out}) => left_out) ? "Some images are left out: they are missing, or the page would be too large." : "",
  ];
  card.append(make("p", {className: "dim"}, words.join(" ")));
  const groups = [
    ["Fixed", `wrong in A, right in ${letter}`, fixed, "better"],
    ["Broken", `right in A, wrong in ${letter}`, broken, "worse"],
    ["Wrong in both", "", wrong, ""],
  ];
  for (const [title, note, ids, look] of groups) {
    if (!both.length || (!ids.length && (hidden || !look))) continue; // "Fixed: 0" says nothing where it cannot be seen
    card.append(
      make("h4", {}, make("span", {className: look}, `${title}: ${ids.length}`), make("span", {className: "dim"}, note && `, ${note}`)),
      ids.length ? flipTiles(ids, i, a, b) : "",
    );
  }
  // Of other data nothing is known of a sample that is not there.
  for (const [title, note, ids, rows] of hidden && both.length && !unlike ? alone : [])
    if (ids.length) card.append(make("h4", {}, `${title}: ${ids.length}`, make("span", {className: "dim"}, `, ${note}`)), aloneTiles(ids, rows));
  return card;
}

/** Tiles of samples of one table. */
const aloneTiles = (ids, rows) =>
  tilesOf(ids, rows, id => tile(rows.get(id), {image: rows.get(id).image, onclick: () => openSample({id, ...rows.get(id)})}));

function flipTiles(ids, i, a, b) {
  const letter = letterOf(i);
  const one = id => {
    const before = a.get(id),
      now = b.get(id),
      image = now.image || before.image;
    const row = {id, target: now.target};
    for (const [name, of] of [["A", before], [letter, now]])
      for (const part of ["pred", "confidence", "loss", "correct"]) if (part in of) row[`${part} in ${name}`] = part === "correct" ? (of[part] ? "yes" : "no") : of[part];
    const said = before.pred === undefined ? "" : `A said ${shorten(String(before.pred), 40)}`;
    return tile(now, {image, words: said, onclick: () => openSample(row, [], image)});
  };
  return tilesOf(ids, a, one);
}

/** A list of what `one` makes of each id, some at a time; `rows` say how broad they are. */
function tilesOf(ids, rows, one, most = 24) {
  const list = make("ul", {className: "tiles"});
  let shown = 0;
  const more = button("Show more", () => {
    list.append(...ids.slice(shown, shown + most).map(one));
    shown += most;
    more.hidden = shown >= ids.length;
  });
  list.classList.toggle("broad", ids.some(id => String(rows.get(id).pred).length > 12));
  more.onclick();
  return make("div", {}, list, more);
}
