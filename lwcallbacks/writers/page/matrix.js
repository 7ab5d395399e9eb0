// A matrix of counts, rows are the truth. Pure functions; `places` are row * classes + column, ascending.

/** What is often asked of a matrix, worked out once. */
function summed(matrix) {
  if (matrix.rows) return matrix;
  const size = matrix.names.length,
    rows = new Float64Array(size),
    columns = new Float64Array(size),
    right = new Float64Array(size);
  let total = 0,
    hits = 0;
  matrix.places.forEach((place, i) => {
    const row = Math.floor(place / size),
      column = place % size,
      count = matrix.counts[i];
    rows[row] += count;
    columns[column] += count;
    total += count;
    if (row === column) hits += right[row] = count;
  });
  return Object.assign(matrix, {size, rows, columns, right, total, hits});
}

/** The count of a cell. */
function countAt({places, counts, names}, row, column) {
  const place = row * names.length + column,
    i = lastAtMost(places, place);
  return i >= 0 && places[i] === place ? counts[i] : 0;
}

/** The cells in which two matrices of the same classes differ, as a matrix of the differences. */
function difference(matrix, before) {
  const places = [],
    counts = [];
  let i = 0,
    j = 0;
  const a = matrix.places,
    b = before.places;
  while (i < a.length || j < b.length) {
    const place = Math.min(i < a.length ? a[i] : Infinity, j < b.length ? b[j] : Infinity);
    const change = (a[i] === place ? matrix.counts[i++] : 0) - (b[j] === place ? before.counts[j++] : 0);
    if (change) {
      places.push(place);
      counts.push(change);
    }
  }
  return {names: matrix.names, places, counts};
}

/** How the shares of a matrix differ from those of another of the same classes, in percent points, of the sums "rows" or
 * "columns"; what rounds to 0.0 is none. */
function shareDifference(matrix, before, by) {
  const places = [],
    counts = [];
  const axis = place => (by === "rows" ? Math.floor(place / matrix.size) : place % matrix.size);
  const share = (of, place, count) => (of[by][axis(place)] ? count / of[by][axis(place)] : 0);
  for (const place of union([[...matrix.places], [...before.places]])) {
    const row = Math.floor(place / matrix.size),
      column = place % matrix.size;
    const change = share(matrix, place, countAt(matrix, row, column)) - share(before, place, countAt(before, row, column));
    const points = Math.round(1000 * change) / 10;
    if (!points) continue;
    places.push(place);
    counts.push(points);
  }
  return {names: matrix.names, places, counts};
}

/** A matrix of these classes alone, in their order; its examples with it. */
function withClasses(matrix, names) {
  const places = new Map(names.map((name, i) => [name, i])),
    at = matrix.names.map(name => places.get(name) ?? -1);
  const cells = [];
  matrix.places.forEach((place, i) => {
    const row = at[Math.floor(place / matrix.names.length)],
      column = at[place % matrix.names.length];
    if (row >= 0 && column >= 0) cells.push([row * names.length + column, matrix.counts[i]]);
  });
  cells.sort((a, b) => a[0] - b[0]);
  const examples = {};
  for (const [pair, kept] of Object.entries(matrix.examples || {})) {
    const [row, column] = pair.split(",").map(i => at[i] ?? -1);
    if (row >= 0 && column >= 0) examples[`${row},${column}`] = kept;
  }
  return {names, places: cells.map(([place]) => place), counts: cells.map(([, count]) => count), examples};
}

const sameClasses = (a, b) =>
  !!a && !!b && a.names.length === b.names.length && a.names.every((name, i) => name === b.names[i]);

/** The cells beside the diagonal with most in them: [{row, column, count, change}], change null without a matrix before. */
function confused(matrix, before = null, most = 10) {
  const size = matrix.names.length,
    found = [];
  let least = 0;
  for (let i = 0; i < matrix.places.length; i++) {
    const count = matrix.counts[i],
      place = matrix.places[i];
    if (count <= least && found.length >= most) continue;
    const row = Math.floor(place / size),
      column = place % size;
    if (row === column) continue;
    found.push({row, column, count});
    if (found.length >= 4 * most) {
      found.sort((a, b) => b.count - a.count);
      found.length = most;
      least = found[most - 1].count;
    }
  }
  found.sort((a, b) => b.count - a.count || a.row - b.row || a.column - b.column);
  found.length = Math.min(found.length, most);
  for (const pair of found) pair.change = before ? pair.count - countAt(before, pair.row, pair.column) : null;
  return found;
}

/** The share of each class that was found; null for one without samples. */
const recalls = matrix => Array.from(matrix.rows, (sum, i) => (sum ? matrix.right[i] / sum : null));

/** The class of the smallest recall, of equal ones that with most samples; null if there is none. */
function worstClass(matrix) {
  let worst = null;
  recalls(matrix).forEach((recall, i) => {
    if (recall === null) return;
    if (
      worst === null ||
      recall < worst.recall ||
      (recall === worst.recall && matrix.rows[i] > matrix.rows[worst.index])
    )
      worst = {index: i, recall, missed: matrix.rows[i] - matrix.right[i], of: matrix.rows[i]};
  });
  return worst;
}

/** Indices of the classes, sorted: as "given", by "errors" (either way), by "recall" or by "name". */
function classOrder(matrix, by) {
  const indices = matrix.names.map((_, i) => i);
  const errors = i => matrix.rows[i] + matrix.columns[i] - 2 * matrix.right[i];
  const all = recalls(matrix).map(recall => recall ?? 2);
  const compare = {
    errors: (a, b) => errors(b) - errors(a) || a - b,
    recall: (a, b) => all[a] - all[b] || a - b,
    name: (a, b) => natural(matrix.names[a], matrix.names[b]),
  }[by];
  return compare ? indices.sort(compare) : indices;
}

/** The classes that a search finds, and those they are confused with most; at most `most`, in their order. */
function classesFound(matrix, order, wanted, most = 24) {
  const found = new Set(order.filter(i => matches(matrix.names[i], wanted)).slice(0, most));
  const size = matrix.names.length,
    beside = [];
  matrix.places.forEach((place, i) => {
    const row = Math.floor(place / size),
      column = place % size;
    if (row !== column && found.has(row) !== found.has(column))
      beside.push([matrix.counts[i], found.has(row) ? column : row]);
  });
  beside.sort((a, b) => b[0] - a[0]);
  for (const [, other] of beside) if (found.size < most) found.add(other);
  return order.filter(i => found.has(i));
}

/** How strong a cell's colour is in a mode, 0 to 1, and whether it is one of errors: {share, wrong}; null for a blank cell. */
function strengthOfCell(matrix, mode, count, row, column, mostWrong) {
  if (!count) return null;
  const diagonal = row === column;
  if (mode === "since")
    return {share: Math.sqrt(Math.abs(count) / mostWrong), wrong: diagonal ? count < 0 : count > 0};
  const part = partOf(matrix, mode, count, row, column);
  return {share: diagonal ? part : Math.sqrt(mode === "count" ? count / mostWrong : part), wrong: !diagonal};
}

/** The share of a count in its row, or in its column where the mode is "pred". */
function partOf(matrix, mode, count, row, column) {
  const of = mode === "pred" ? matrix.columns[column] : matrix.rows[row];
  return of ? count / of : 0;
}

/** What a cell shows in a mode: {text, share, wrong}; null for a blank cell. */
function cellOf(matrix, mode, count, row, column, mostWrong) {
  const cell = strengthOfCell(matrix, mode, count, row, column, mostWrong);
  if (!cell) return null;
  const part = partOf(matrix, mode, count, row, column);
  const text =
    mode === "since"
      ? signed(count)
      : mode === "count"
        ? grouped(count)
        : percent(part, part < 0.1 ? 1 : 0).replace(" %", "");
  return {...cell, text};
}

/** The largest count beside the diagonal, or of a difference the largest of all. */
function strongest({names, places, counts}, everywhere) {
  let most = 1;
  for (let i = 0; i < places.length; i++) {
    const onDiagonal = places[i] % (names.length + 1) === 0;
    if (everywhere || !onDiagonal) most = Math.max(most, Math.abs(counts[i]));
  }
  return most;
}

/** Since when a count has been above 0 without a break: the index in a list; -1 if it is 0 at the end. */
function presentSince(counts) {
  let i = counts.length;
  while (i > 0 && counts[i - 1] > 0) i--;
  return i < counts.length ? i : -1;
}
