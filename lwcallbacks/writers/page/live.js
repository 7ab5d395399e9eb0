// A run that goes on: its files are loaded again from time to time, and what is new is shown.

const live = {timer: null};

async function readAgain() {
  const began = performance.now(),
    before = LW.version,
    costs = JSON.stringify(LW.costs),
    info = JSON.stringify(LW.info);
  LW.counted = {step: 0, scalars: 0};
  const query = `?${Date.now()}`;
  for (const name of ["manifest.js", "scalars.js", "run.js", "cost.js"])
    if (page.found[name] || LW.info?.state === "running")
      page.found[name] = (await loadScript(name + query)) || page.found[name];
  if (LW.version !== before) await page.grow();
  if (JSON.stringify(LW.costs) !== costs) page.costGrows ? page.costGrows() : await page.grow();
  if (JSON.stringify(LW.info) !== info) page.head();
  return performance.now() - began;
}

/** While a run says that it goes on. A long folder is read less often, so that the page stays quick. */
function follow(every = 4000) {
  clearTimeout(live.timer);
  if (LW.info?.state !== "running" || LW.files) return;
  live.timer = setTimeout(async () => {
    const took = document.hidden ? 0 : await readAgain();
    follow(Math.max(4000, 20 * took));
  }, every);
}
