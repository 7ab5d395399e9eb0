// Files, checkpoints above all: every version in one table, with its metrics.

const LONG = ["filename", "monitor", "mode", "type", "path"]; // said last

/** A table of files, the newest first: a row for each version, with the aliases that it still has, and columns of all
 * metadata that say something. Pure. */
function filesTable(versions) {
  const given = new Set(); // an alias moves on to the newest version that has it
  const still = (name, alias) => !given.has(`${name}:${alias}`) && given.add(`${name}:${alias}`);
  const all = versions.map(({step, value: {name, aliases = [], metadata = {}, type, path}}) => {
    const {metrics = {}, ...others} = metadata;
    return {
      name,
      step,
      aliases: aliases.filter(alias => still(name, alias)).join(", "),
      ...Object.fromEntries(flattened({...others, ...metrics}).filter(([column]) => column !== "step")),
      type,
      path,
    };
  });
  const said = [...new Set(all.flatMap(row => Object.keys(row)))].filter(
    name => name && all.some(row => (row[name] ?? "") !== ""),
  );
  const columns = [...said.filter(name => !LONG.includes(name)), ...LONG.filter(name => said.includes(name))];
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
