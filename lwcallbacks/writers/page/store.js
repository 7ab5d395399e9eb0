// What the scripts of a run's folder say, kept short. They call LW.key(...), LW.step(...), LW.data(...) and so on; each
// file only grows by whole lines, so that it can be loaded again: lines that are known are passed over.

const KEPT_CHUNKS = 6; // of histograms; values of the other kinds stay

const LW = {
  numbers: [], // number -> {key, kind, folder}: a key with its kind
  keys: new Map(), // key -> its numbers
  texts: new Map(), // number -> list of texts that stands in several values
  steps: [], // one per write: {step, chunk, ranges, captions}; ranges are first and last number of each run
  values: new Map(), // "number step" -> {chunk, value}, of what is no histogram
  chunks: new Map(), // chunk -> {ready, histograms}, the one that was used last at the end
  series: new Map(), // name -> {steps, values} of numbers, ascending steps
  clock: new Map(), // step -> epoch
  info: null, // what run.js says
  modes: new Map(), // key -> "max" or "min", of what is monitored
  costs: null, // a table of what the last fit has cost
  files: null, // file -> address, where a page carries its files itself
  version: 0, // of everything above
  counted: {step: 0, scalars: 0},

  key(number, key, kind, folder) {
    if (this.numbers[number]) return;
    this.numbers[number] = {key, kind, folder};
    if (!this.keys.has(key)) this.keys.set(key, []);
    this.keys.get(key).push(number);
  },
  text(number, texts) {
    this.texts.set(number, texts);
  },
  cost(table) {
    this.costs = table;
  },
  run(info) {
    this.info = info;
    this.monitored(info);
  },
  monitored({monitor, mode}) {
    if (monitor && mode) this.modes.set(monitor, mode);
  },
  step(step, chunk, ranges, captions = {}) {
    if (this.counted.step++ < this.steps.length) return;
    this.steps.push({step, chunk, ranges, captions});
    this.chunks.delete(chunk); // it has grown
    this.version++;
  },
  scalars(step, epoch, values) {
    if (this.counted.scalars++ < (this.known || 0)) return;
    this.known = this.counted.scalars;
    this.version++;
    const stages = Object.keys(values).map(name => partsOf(name).stage);
    // A test after a fit is of no epoch of it, though it counts as one more.
    const isTest = stages.includes("test") && !stages.includes("val") && !stages.includes("train") && this.clock.size;
    if (epoch !== null && epoch !== undefined && !isTest) this.clock.set(step, epoch);
    for (const name in values) {
      let series = this.series.get(name);
      if (!series) this.series.set(name, (series = {steps: [], values: []}));
      const {steps} = series,
        value = values[name];
      while (steps.length && steps[steps.length - 1] >= step) {
        // a run that went on from before
        steps.pop();
        series.values.pop();
      }
      steps.push(step);
      series.values.push(typeof value === "number" ? value : NUMBERS[value]);
    }
  },
  data(number, step, value) {
    const chunk = +document.currentScript.dataset.chunk,
      id = `${number} ${step}`;
    if (this.numbers[number]?.kind === "histogram") return void chunkOf(chunk).histograms.set(id, value);
    const known = this.values.get(id);
    if (!known || known.chunk <= chunk) this.values.set(id, {chunk, value}); // the last line holds
  },
};

const NUMBERS = {nan: NaN, inf: Infinity, "-inf": -Infinity};

function chunkOf(chunk) {
  let found = LW.chunks.get(chunk);
  if (!found) LW.chunks.set(chunk, (found = {ready: null, histograms: new Map()}));
  return found;
}

const histories = new Map();

/** The steps of a key, ascending, and for each the index of the last line of `LW.steps` about it. */
function historyOf(key) {
  const known = histories.get(key);
  if (known?.version === LW.version) return known;
  const lines = new Map(),
    numbers = LW.keys.get(key) || [];
  LW.steps.forEach(({step, ranges}, line) => {
    if (numbers.some(number => within(ranges, number))) lines.set(step, line);
  });
  const steps = [...lines.keys()].sort((a, b) => a - b);
  const history = {version: LW.version, steps, lines: steps.map(step => lines.get(step))};
  histories.set(key, history);
  return history;
}

function within(ranges, number) {
  for (let i = 0; i < ranges.length; i += 2) if (ranges[i] <= number && number <= ranges[i + 1]) return true;
  return false;
}

/** What a key holds at a step, or held last before it: {key, number, kind, step, chunk, file, caption}; its first where
 * there is nothing before, null where there is nothing at all. */
function entryAt(key, step) {
  const {steps, lines} = historyOf(key);
  return steps.length ? entryOf(key, lines[Math.max(0, lastAtMost(steps, step))]) : null;
}

function entryOf(key, line) {
  const {step, chunk, ranges, captions} = LW.steps[line];
  const number = LW.keys.get(key).findLast(candidate => within(ranges, candidate));
  const {kind, folder} = LW.numbers[number];
  return {
    key,
    number,
    kind,
    step,
    chunk,
    file: `${folder}/${String(step).padStart(8, "0")}.png`,
    caption: captions[number],
  };
}

/** The entries of a key at all of its steps, or at `most` of them, evenly. */
function entriesOf(key, most = Infinity) {
  return evenly(historyOf(key).lines, most).map(line => entryOf(key, line));
}

/** The kind of a key: that which was written last. */
const kindOf = key => LW.numbers[LW.keys.get(key).at(-1)].kind;

/** The value of an entry, as it is drawn; undefined if it is nowhere. */
async function load({number, step, kind, chunk}) {
  if (chunk === null || chunk === undefined) return undefined;
  const id = `${number} ${step}`;
  const held = chunkOf(chunk);
  if (kind === "histogram" ? !held.histograms.has(id) : LW.values.get(id)?.chunk !== chunk) await loadChunk(chunk);
  LW.chunks.delete(chunk); // to the end: used last
  LW.chunks.set(chunk, held);
  const value = kind === "histogram" ? held.histograms.get(id) : LW.values.get(id)?.value;
  for (const [old, {histograms}] of LW.chunks) {
    if (LW.chunks.size <= KEPT_CHUNKS) break;
    if (old !== chunk && histograms) LW.chunks.delete(old);
  }
  if (!value || kind === "histogram") return value && expanded(kind, value);
  if (!drawable.has(value)) drawable.set(value, expanded(kind, value));
  return drawable.get(value);
}

const drawable = new WeakMap(); // value as its file has it -> as it is drawn

/** Load the files before and after an entry's, once the time has rested: the next move is likely to need one. */
function loadBeside({chunk, kind}) {
  clearTimeout(loadBeside.timer);
  if (kind !== "histogram" || LW.files) return;
  loadBeside.timer = setTimeout(async () => {
    for (const beside of [chunk + 1, chunk - 1])
      if (beside >= 0 && beside <= LW.steps.at(-1)?.chunk) await loadChunk(beside);
  }, 300);
}

function loadChunk(chunk) {
  const held = chunkOf(chunk);
  held.ready ??= LW.files
    ? Promise.resolve()
    : loadScript(`data/${String(chunk).padStart(5, "0")}.js?${LW.version}`, {chunk});
  return held.ready;
}

/** A page on a disk may not fetch, but it may run a script. Resolves to whether the file was there. */
function loadScript(source, data = {}) {
  return new Promise(done => {
    const script = document.createElement("script");
    script.src = source;
    Object.assign(script.dataset, data);
    script.onload = () => done(true);
    script.onerror = () => done(false);
    document.head.append(script);
  }).finally(() => document.querySelectorAll(`script[src="${source}"]`).forEach(script => script.remove()));
}

/** The address of a file of the folder. */
const addressOf = file => (LW.files ? LW.files[file] || "" : file.split("/").map(encodeURIComponent).join("/"));

let epochs = {version: -1, steps: [], epochs: []};

/** The steps at which an epoch is known, ascending, with their epochs. */
function clock() {
  if (epochs.version !== LW.version) {
    const pairs = [...LW.clock].sort((a, b) => a[0] - b[0]);
    epochs = {version: LW.version, steps: pairs.map(pair => pair[0]), epochs: pairs.map(pair => pair[1])};
  }
  return epochs;
}

/** The epoch that a step belongs to, null if it is unknown. */
function epochOf(step) {
  const known = clock(),
    i = lastAtMost(known.steps, step);
  return i < 0 ? null : known.epochs[i];
}

/** "epoch 3 · step 251", or "step 251" */
function when(step) {
  const epoch = epochOf(step);
  return epoch === null ? `step ${grouped(step)}` : `epoch ${epoch} · step ${grouped(step)}`;
}

/** "epoch 3", or "step 251" */
function soon(step) {
  const epoch = epochOf(step);
  return epoch === null ? `step ${grouped(step)}` : `epoch ${epoch}`;
}
