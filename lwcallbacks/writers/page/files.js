// Files, checkpoints above all: every version in one table, with its metrics.

// What the file was made with, and what is long: said last.
const LAST = ["world_size", "precision", "num_parameters", "hparams", "versions", "git_commit", "filename", "monitor",
  "mode", "type", "path"];

/** A table of files, the newest first: a row for each version, with the aliases that it still has, and columns of all
 * metadata that say something: the score and the metrics first, what it was made with last. Pure. */
function filesTable(versions) {
  const given = new Set(); // an alias moves on to the newest version that has it
  const still = (name, alias) => !given.has(`${name}:${alias}`) && given.add(`${name}:${alias}`);
  const all = versions.map(({step, value: {name, aliases = [], metadata = {}, type, path}}) => {
    const {metrics = {}, score, ...others} = metadata,
      measured = flattened(metrics);
    return {
      name,
      step,
      aliases: aliases.filter(alias => still(name, alias)),
      ...Object.fromEntries(
        [["score", score], ...measured, ...flattened(others), ...measured].filter(([column]) => column !== "step"),
      ),
      type,
      path,
    };
  });
  const said = [...new Set(all.flatMap(row => Object.keys(row)))].filter(
    name => name && all.some(row => String(row[name] ?? "") !== ""),
  );
  const rank = name => LAST.findIndex(last => name === last || name.startsWith(`${last}.`)),
    columns = said.sort((a, b) => rank(a) - rank(b)); // the others keep their order
  const rows = all.map(row => columns.map(name => row[name] ?? null));
  return {columns, cells: columns.map((_, i) => rows.map(row => row[i])), length: rows.length};
}

function filesCard(keys) {
  const settings = {},
    bar = make("div", {className: "tools"}),
    box = make("div");
  const node = make("article", {className: "card wide", tabIndex: -1}, bar, box);
  let draw = null,
    version = -1;
  async function show(again = true) {
    if (!node.seen || (!again && version === LW.version)) return;
    version = LW.version;
    const versions = [];
    for (const key of keys)
      for (const entry of entriesOf(key)) {
        const value = await load(entry);
        if (value) versions.push({step: entry.step, value});
      }
    versions.sort((a, b) => b.step - a.step);
    draw ??= TABLE.view(box, settings, show);
    draw(filesTable(versions));
  }
  TABLE.tools(bar, settings, show);
  onSight(node, () => show(false));
  time.listeners.add(() => show(false));
  for (const key of keys) panels.set(key, {key, node, settings, refresh: show, reveal: () => reveal(node)});
  return node;
}
