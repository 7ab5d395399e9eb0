// From what a file holds to what is drawn; `writers/compact.py` describes the former. Pure functions but for LW.texts.

const textsOf = list => (typeof list === "number" ? LW.texts.get(list) || [] : list);

const INTEGERS = {u1: Uint8Array, u2: Uint16Array, u4: Uint32Array};

/** Counts as an array of numbers; they may be Base64 after the name of their type. */
function unpacked(counts) {
  const [type, text] = counts;
  if (!(type in INTEGERS)) return counts;
  return Array.from(new INTEGERS[type](Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer));
}

const EXPAND = {
  image: ({layers = [], boxes = []}) => ({layers, boxes}),
  table({columns, cells}) {
    const lists = cells.map(textsOf);
    return {columns, cells: lists, length: lists.length ? lists[0].length : 0};
  },
  matrix({class_names, cells, examples = {}}) {
    const places = new Int32Array(cells.length / 2),
      counts = new Float64Array(cells.length / 2);
    for (let i = 0, at = -1; i < places.length; i++) {
      at += cells[2 * i];
      places[i] = at;
      counts[i] = cells[2 * i + 1];
    }
    return {names: textsOf(class_names), places, counts, examples};
  },
  histogram({counts, edges, nan = 0, posinf = 0, neginf = 0}) {
    const list = unpacked(counts),
      [low, high] = edges,
      bins = list.length;
    const all = edges.length === bins + 1 ? edges : [...list.map((_, i) => low + i * ((high - low) / bins)), high];
    return {counts: list, edges: all, nan, posinf, neginf};
  },
  file: value => value,
  curve: value => value,
};

const expanded = (kind, value) => (EXPAND[kind] || EXPAND.file)(value);

const OTHER_NAMES = {true: "target", predicted: "pred"};

/** Rows of a table as objects by column; what is true and predicted by one name each. */
function rowsOf({columns, cells, length}) {
  const names = columns.map(column => (columns.includes(OTHER_NAMES[column]) ? column : (OTHER_NAMES[column] ?? column)));
  return Array.from({length}, (_, row) => Object.fromEntries(names.map((name, i) => [name, cells[i][row]])));
}

/** Whether a cell of a table is an image. */
const isImage = cell => cell !== null && typeof cell === "object" && typeof cell.image === "string";
