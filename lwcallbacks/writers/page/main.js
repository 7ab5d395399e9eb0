// Puts the page together, once the scripts of the folder have run.

/** Keys by what shows them: {matrices, samples, pictures, lines, tables, files}. What a matrix or tiles show already is left out. */
async function sorted() {
  const of = {matrix: [], image: [], curve: [], table: [], file: []},
    samples = [],
    tables = [];
  for (const key of [...LW.keys.keys()].sort(byStage)) of[kindOf(key)]?.push(key);
  const looked = await Promise.all(
    of.table.map(async key => {
      const entry = entryAt(key, Infinity),
        value = entry && (await load(entry));
      if (value?.columns[0] === "layer" && key.endsWith("/layers"))
        (page.layers ??= new Map()).set(key.slice(0, -"/layers".length), value.cells[0]);
      return [key, !!value && isOfSamples(value)];
    }),
  );
  for (const [key, isSamples] of looked) (isSamples ? samples : tables).push(key);
  const isOfMatrix = key => of.matrix.some(matrix => key === examplesOf(matrix));
  samples.sort((a, b) => isOfMatrix(a) - isOfMatrix(b)); // they are behind its cells already
  const drawn = new Set([...of.matrix, ...samples].map(titleOf));
  // The section of gradients shows these as well, unless it was made before they were written.
  const isOfGradients = key =>
    histogramGroups().has(key.replace(/\/(diagnosis|norm_by_step|update_ratio_by_step)$/, "")) &&
    (!key.endsWith("/diagnosis") || panels.has(key) || !document.getElementById("gradients"));
  return {
    matrices: of.matrix,
    samples,
    pictures: of.image.filter(key => !drawn.has(key) && !isOfGradients(key)),
    lines: of.curve,
    tables: tables.filter(key => !isOfGradients(key)),
    files: of.file,
  };
}

/** The sections of the page: those that are missing are made, in their places. */
async function build() {
  const main = document.querySelector("main"),
    {matrices, samples, pictures, lines, tables, files} = await sorted();
  Object.assign(page, {matrices, samples, pictures, tables});
  const sections = {
    overview: () => answersSection(),
    curves: () => curvesSection(),
    confusion: () => matrices.length && many("Confusion", "confusion", matrices, CONFUSION),
    samples: () => samples.length && many("Samples", "samples", samples, SAMPLES),
    pictures: () => pictures.length && many("Pictures", "pictures", pictures, PICTURE),
    scores: () => lines.length && many("Score curves", "scores", lines, CURVE),
    gradients: () => {
      const groups = [...histogramGroups()];
      return (
        groups.length &&
        section("Gradients", "gradients", ...groups.map(([prefix, keys]) => gradientsPart(prefix, keys)))
      );
    },
    tables: () => tables.length && many("Tables", "tables", tables, TABLE),
    files: () => files.length && section("Checkpoints", "files", filesCard(files)),
    configuration: () => LW.info && aboutSection(),
    cost: () => LW.costs && costSection(),
  };
  const nav = document.querySelector("nav .sections"),
    links = [];
  let before = document.getElementById("why");
  for (const [id, make0] of Object.entries(sections)) {
    let node = document.getElementById(id);
    if (!node) {
      node = make0() || null;
      if (node) before.after(node);
    }
    if (!node) continue;
    before = node;
    if (id === "overview") await page.answered;
    if (node.hidden) continue;
    links.push(linkTo(node));
  }
  nav.replaceChildren(...links);
  for (const [id, keys, kind] of [
    ["confusion", matrices, CONFUSION],
    ["samples", samples, SAMPLES],
    ["pictures", pictures, PICTURE],
    ["scores", lines, CURVE],
    ["tables", tables, TABLE],
  ])
    for (const key of keys)
      if (!panels.has(key)) document.querySelector(`#${id} .row`)?.append(panel(key, kind, titleOf(key)).node);
  document.getElementById("none")?.remove();
  if (!LW.steps.length && !LW.series.size)
    main.append(make("p", {id: "none", className: "card"}, "Nothing has been written yet."));
}

function many(title, id, keys, kind) {
  const row = make("div", {className: "row"});
  for (const key of keys) row.append(panel(key, kind, titleOf(key)).node);
  return section(title, id, row);
}

/** The line at the top: name and state of the run. */
page.head = () => {
  const info = LW.info,
    name = info?.name || decodeURIComponent(location.pathname.split("/").at(-3) || "") || "Run";
  document.title = name;
  document.getElementById("name").textContent = name;
  const state = document.getElementById("state");
  state.textContent = stateWords(info);
  state.className = `dim ${info?.state || ""}`;
  const why = document.getElementById("why");
  why.textContent = whyWords(info);
  why.hidden = !why.textContent;
  page.aboutGrows?.();
};

/** After new lines: more steps, more keys, longer curves. */
page.grow = async () => {
  readSteps();
  await build();
  curves.grow?.();
  time.best = page.bestStep?.() ?? null;
  if (time.following) goTo(time.steps.at(-1) ?? 0);
  else goTo(time.now);
  redraws.forEach(draw => draw());
  page.head();
};

/** Hide the cards whose key has not these words. */
function filterKeys(words) {
  for (const {key, node} of panels.values()) if (node.closest(".row")) node.hidden = !!words && !matches(key, words);
  for (const row of document.querySelectorAll("main > section > .row:not(.charts)"))
    row.parentElement.hidden = [...row.children].every(({hidden}) => hidden);
}

async function start() {
  page.head();
  readSteps();
  const last = time.steps.at(-1) ?? 0;
  time.now = last;
  document.querySelector(".clock").append(timeBar());
  const compare = button(
    "Compare",
    () => {
      const before = time.epochSteps[Math.max(0, lastAtMost(time.epochSteps, time.now - 1))] ?? time.now;
      goTo(time.now, time.other === null ? before : null);
      compare.setAttribute("aria-pressed", String(time.other !== null));
    },
    {"aria-pressed": "false", title: "Two steps side by side"},
  );
  document.querySelector(".actions").append(
    button("Best", () => time.best !== null && goTo(time.best), {id: "best", title: "Go to the best step"}),
    compare,
    theme(),
  );
  document.querySelector("nav").append(search("Filter keys", filterKeys));
  await build();
  time.best = page.bestStep?.() ?? null;
  document.getElementById("best").hidden = time.best === null;
  time.listeners.add(writeLink);
  page.moved = writeLink;
  redraws.push(() => page.matrices.forEach(key => panels.get(key)?.refresh()));
  time.listeners.add(() => compare.setAttribute("aria-pressed", String(time.other !== null)));
  goTo(time.now);
  readLink();
  window.addEventListener("hashchange", readLink);
  watchSections();
  document.body.dataset.ready = "true";
  follow();
}

/** The scripts of the folder, each of which may be missing, and then the page. The head is there before. */
LW.open = async () => {
  if (!LW.files)
    for (const name of ["run.js", "manifest.js", "cost.js", "scalars.js"]) page.found[name] = await loadScript(name);
  await start();
};
