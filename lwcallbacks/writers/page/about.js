// The run: its name, its state, its configuration, and what it has cost.

/** Names and values of nested configuration, by path: [["model.width", 64], ...]. Pure. */
function flattened(value, path = "") {
  if (
    value !== null &&
    typeof value === "object" &&
    Object.keys(value).length &&
    !(Array.isArray(value) && value.every(item => item === null || typeof item !== "object"))
  )
    return Object.entries(value).flatMap(([name, item]) => flattened(item, path ? `${path}.${name}` : name));
  return [
    [
      path,
      Array.isArray(value)
        ? value.map(item => brief(item)).join(", ")
        : value !== null && typeof value === "object"
          ? "{}"
          : value,
    ],
  ];
}

/** "10 epochs, running" */
function stateWords(info) {
  const epochsSeen = new Set(clock().epochs).size;
  const parts = [];
  if (info?.version !== null && info?.version !== undefined && info.version !== info.name)
    parts.push(String(info.version));
  if (epochsSeen)
    parts.push(
      info?.max_epochs > epochsSeen && info.state === "running"
        ? `epoch ${epochsSeen} of ${info.max_epochs}`
        : plural(epochsSeen, "epoch"),
    );
  if (info?.state) parts.push(info.state);
  const written = info?.written ?? info?.started; // one that was killed says that it is running
  if (info?.state === "running" && written) parts.push(`last written ${String(written).slice(0, 16).replace("T", " ")} UTC`);
  return parts.join(", ");
}

/** Why a run ended early: "The run failed: ValueError: ..."; nothing of any other. Pure. */
function whyWords(info) {
  const words = {failed: "The run failed", interrupted: "The run was interrupted"}[info?.state];
  return words ? [words, info.error].filter(Boolean).join(": ") : "";
}

function aboutSection() {
  const list = make("dl", {className: "config"}),
    none = make("p", {className: "dim"}, "No hyperparameters. self.save_hyperparameters() in the module keeps them."),
    box = make("details", {className: "card", open: true}, make("summary", {}, "Configuration"), list, none);
  const show = () => {
    const config = flattened(LW.info?.config || {}).filter(([name]) => name);
    none.hidden = config.length > 0;
    const {started, ended} = LW.info || {};
    const rows = [
      ...[
        ["started", started],
        ["ended", ended],
      ].filter(([, value]) => value),
      ...config,
    ];
    list.replaceChildren(
      ...rows.flatMap(([name, value]) => [
        make("dt", {}, name),
        make("dd", {}, value === null ? "none" : brief(value)),
      ]),
    );
  };
  show();
  page.aboutGrows = show;
  return section("Configuration", "configuration", box);
}

function costSection() {
  const settings = {most: 100},
    box = make("div"),
    note = make("p", {className: "dim"}, "What the callbacks have cost in the last fit.");
  const bar = make("div"),
    draw = (TABLE.tools(bar, settings, () => show()), TABLE.view(box, settings, () => show()));
  const show = () => LW.costs && draw(expanded("table", LW.costs));
  show();
  page.costGrows = show;
  return section("Cost", "cost", make("div", {className: "card"}, note, box));
}
