// Files, checkpoints above all: every version in one table, with its metrics.

/** A table of files: a row for each version, columns of all their metadata. Pure. */
function filesTable(versions) {
  const names = [...new Set(versions.flatMap(({value}) => Object.keys(value.metadata || {})))];
  const flat = value => (value === null || typeof value !== "object" ? value : JSON.stringify(value));
  const rows = versions.map(({step, value}) => [
    value.name,
    step,
    (value.aliases || []).join(", "),
    ...names.map(name => flat(value.metadata?.[name] ?? null)),
    value.type,
    value.path,
  ]);
  const columns = ["name", "step", "aliases", ...names, "type", "path"];
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
