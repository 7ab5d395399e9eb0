// Curves of everything that was logged: one chart for each metric, with the stages over each other. Many numbers of one
// thing, such as the recall of each class, share a chart. A comparison has the curves of several runs in each.

const SMALLEST = 12; // charts that are shown before "Show all"
const MOST_LINES = 7; // in a chart before it lets choose: as many as there are colours
const FAMILY = 4; // names that begin alike from which on they share a chart

const curves = {charts: [], zoom: null, smooth: 0, log: false, axis: "epoch", words: "", all: false};

const ROOM = {pad: 0.1, soft: 0, mode: 3}; // beside the values of an axis, as uPlot has it by itself

/** What an axis reaches over for values from low to high; zeros alone lie at its foot, and not below a hundred. uPlot takes
 * less than 1e-9 for nothing: tiny values are made larger for it. Pure. */
function reach(plot, low, high) {
  if (low === null) return [null, null];
  const most = Math.max(Math.abs(low), Math.abs(high)),
    unit = most < 1e-6 ? 10 ** Math.floor(Math.log10(most || 1)) : 1;
  if (!most || !unit) return [0, 1];
  return uPlot.rangeNum(low / unit, high / unit, {min: ROOM, max: ROOM}).map(end => end * unit);
}

/** From one value to another in words; one that stays is one number. Pure. */
const span = (low, high) => (low === high ? `always ${brief(low)}` : `${brief(low)} to ${brief(high)}`);

/** The key of a curve: its name, but in a comparison, which has a curve of each run. */
const keyOf = name => LW.series.get(name)?.key ?? name;

/** The "max" or "min" that is best: as the monitor of a run has it, else by the name; "" if nobody says it. */
const modeOf = name => LW.modes.get(name) || bestOf(name);

/** What a metric is a number of, "" if it stands alone: "precision/cat" of precision; "matrix_kappa" of a matrix that is
 * known; "recall_cat" of recall, if enough others begin like it. Pure. */
function parentOf(title, known, beginnings) {
  if (title.includes("/")) return title.slice(0, title.lastIndexOf("/"));
  const parts = title.split("_");
  for (let i = parts.length - 1; i > 0; i--) {
    const start = parts.slice(0, i).join("_");
    if (known.has(start) || beginnings.get(start) >= FAMILY) return start;
  }
  return "";
}

/** Names of series by chart: [{title, names}], in the order in which they are looked at. `known` are names of matrices
 * and the like, whose numbers share a chart. Pure. */
function chartsOf(names, known = []) {
  const ranked = [...names].sort((a, b) => byStage(keyOf(a), keyOf(b)) || natural(a, b)),
    titles = new Set(ranked.map(name => partsOf(keyOf(name)).rest)),
    beginnings = new Map();
  for (const title of titles) {
    const parts = title.split("_");
    for (let i = 1; i < parts.length; i++) {
      const start = parts.slice(0, i).join("_");
      beginnings.set(start, (beginnings.get(start) || 0) + 1);
    }
  }
  const rests = new Set(known.map(key => partsOf(titleOf(key)).rest)),
    groups = new Map();
  const better = title => (bestOf(title) === "min" ? ", lower is better" : "");
  const parents = new Map([...titles].map(title => [title, parentOf(title, rests, beginnings)]));
  const counts = new Map();
  for (const [title, parent] of parents) counts.set(parent, (counts.get(parent) || new Set()).add(better(title)));
  for (const name of ranked) {
    const {rest} = partsOf(keyOf(name)),
      parent = parents.get(rest);
    const alone = !parent || [...parents.values()].filter(other => other === parent).length < 2;
    const title = alone ? rest : parent + (counts.get(parent).size > 1 ? better(rest) : "");
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(name);
  }
  const rank = list => {
    const stages = new Set(list.map(name => partsOf(keyOf(name)).stage));
    if (stages.has("val")) return stages.has("train") ? 0 : 1;
    return stages.has("test") ? 2 : stages.has("train") ? 3 : 4;
  };
  return [...groups]
    .map(([title, list]) => ({title, names: list}))
    .sort((a, b) => rank(a.names) - rank(b.names) || natural(a.title, b.title));
}

/** What one chooses by in a chart of many lines: a key; in a comparison, where a colour is a run, a metric. */
const itemOf = name => (LW.series.get(name)?.run === undefined ? name : partsOf(keyOf(name)).rest);

/** The names of a chart that are drawn: `wanted` is an item, "all", or "" for so many as have colours, those whose last
 * value is worst. In a comparison it is one item. Words of a search leave those that have them. Pure but for LW.series. */
function drawnOf(names, wanted, words = "") {
  const found = words ? names.filter(name => matches(name, words)) : [],
    list = found.length ? found : names,
    compared = LW.series.get(names[0])?.run !== undefined;
  if (wanted === "all") return list;
  const item = list.some(name => itemOf(name) === wanted) ? wanted : compared ? itemOf(list[0]) : "";
  if (item) return list.filter(name => itemOf(name) === item);
  if (list.length <= MOST_LINES) return list;
  const last = name => {
    const value = LW.series.get(name).values.findLast(Number.isFinite) ?? 0;
    return bestOf(name) === "max" ? value : -value;
  };
  const worst = [...list].sort((a, b) => last(a) - last(b)).slice(0, MOST_LINES);
  return list.filter(name => worst.includes(name));
}

/** Where the values of a series lie: at its steps, or in a comparison of epochs at these. */
const placesOf = ({steps, epochs}) => (epochs && curves.axis === "epoch" ? epochs : steps);

/** The epoch that ends at a place or behind it. Pure. */
const epochWords = place => `epoch ${Math.ceil(place)}`;

/** Where a value of a series is, in words: its epoch where that is known, else its step. */
const placeAt = ({steps, epochs}, at) => (epochs ? epochWords(epochs[at]) : soon(steps[at]));

/** A place of the axis in words. */
const placeWords = place => (LW.runs && curves.axis === "epoch" ? epochWords(place) : when(place));

/** Columns for a chart: places that any series has, and of each the values there or null. Pure. */
function columnsOf(given, weight, log) {
  const series = given.map(one => ({steps: placesOf(one), values: one.values}));
  const places = union(series.map(({steps}) => steps));
  const plain = series.map(({steps, values}) => {
    const finite = values.map(value => (Number.isFinite(value) && (!log || value > 0) ? value : null));
    return spread(steps, smoothed(finite, weight), places);
  });
  const raw = weight
    ? series.map(({steps, values}) =>
        spread(
          steps,
          values.map(value => (Number.isFinite(value) && (!log || value > 0) ? value : null)),
          places,
        ),
      )
    : [];
  return [places, ...raw, ...plain]; // what is smooth is drawn last
}

/** The last step of each epoch, for an axis of epochs: [{step, epoch}]. */
function epochEnds() {
  const {steps, epochs: of} = clock(),
    ends = [];
  of.forEach((epoch, i) => {
    if (ends.length && ends.at(-1).epoch === epoch) ends.at(-1).step = steps[i];
    else ends.push({epoch, step: steps[i]});
  });
  return ends;
}

const LINE_COLOURS = {val: "c1", train: "c2", test: "c3", predict: "c4"};
const MORE_COLOURS = ["c1", "c3", "c4", "c5", "c6", "c7", "c2"];

/** What a number is of, whether it comes with steps or with epochs. Pure. */
const thingOf = key => key.replace(/_(step|epoch)(?=$|\/dataloader_idx_\d+$)/, "");

/** A colour for each name, those of stages first; the values of steps and of epochs have the same, those of several
 * loaders have not. In a comparison each run has its own. Pure but for LW.series. */
function coloursOf(names) {
  const used = new Map();
  return names.map((name, i) => {
    const run = LW.series.get(name)?.run;
    if (run !== undefined) return runColour(run);
    const {stage} = partsOf(name),
      thing = thingOf(name),
      same = used.get(thing);
    const taken = [...used.values()],
      free = [LINE_COLOURS[stage], ...MORE_COLOURS].find(each => each && !taken.includes(each));
    const found = same || free || MORE_COLOURS[i % MORE_COLOURS.length];
    used.set(thing, found);
    return found;
  });
}

const runColour = run => MORE_COLOURS[run % MORE_COLOURS.length];

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [14, 4], [2, 8]];

/** How lines are drawn that share a chart: {tint, thin, dash} of each, no two alike as far as there are ways. Values of steps
 * are thin beside others. Lines of one colour have other dashes: in a comparison, where it is the run's, each key its own in
 * all runs. Pure but for LW.series. */
function looksOf(names) {
  const tints = coloursOf(names),
    things = [],
    used = new Set();
  return names.map((name, i) => {
    const thin = names.length > 1 && partsOf(keyOf(name)).every === "step",
      thing = LW.series.get(name)?.run === undefined ? "" : thingOf(keyOf(name));
    if (!things.includes(thing)) things.push(thing);
    let at = things.indexOf(thing);
    while (used.has([tints[i], thin, at].join())) at++;
    used.add([tints[i], thin, at].join());
    return {tint: tints[i], thin, dash: DASHES[at % DASHES.length]};
  });
}

/** A little line before a name, in the colour and dashes of what it stands for. */
function swatchOf({tint, thin, dash}) {
  const node = make("i", {className: thin ? "thin" : ""});
  node.style.background = `var(--${tint})`;
  let at = 0;
  const parts = dash.map((length, i) => `${i % 2 ? "#0000" : "#000"} ${at}px ${(at += length)}px`);
  if (parts.length) node.style.mask = `repeating-linear-gradient(90deg, ${parts.join(", ")})`;
  return node;
}

function curvesSection() {
  const names = [...LW.series.keys()].filter(name => !ofGradients(name));
  if (!names.length) return null;
  const grid = make("div", {className: "row charts"}),
    all = button("", () => {
      curves.all = true;
      fill();
    });
  const tools = make("div", {className: "tools"});
  const drawAll = () => curves.charts.forEach(chart => chart.draw());
  if (typeof uPlot === "undefined")
    return section(
      "Curves",
      "curves",
      make(
        "p",
        {className: "card"},
        "Curves need uPlot, which the built package carries: install lwcallbacks from a wheel, or uplot-python beside a source tree, and write the page again.",
      ),
    );
  const words = search("Search curves", wanted => {
    curves.words = wanted;
    fill();
  });
  tools.append(
    words,
    make(
      "label",
      {className: "range"},
      "smooth ",
      make("input", {
        type: "range",
        min: 0,
        max: 0.99,
        step: 0.01,
        value: 0,
        oninput(event) {
          curves.smooth = +event.target.value;
          event.target.nextSibling.textContent = event.target.value;
          drawAll();
        },
      }),
      make("output", {}, "0"),
    ),
    make(
      "label",
      {},
      make("input", {
        type: "checkbox",
        onchange(event) {
          curves.log = event.target.checked;
          drawAll();
        },
      }),
      " log scale",
    ),
  );
  if (clock().steps.length || [...LW.series.values()].every(({epochs}) => epochs))
    tools.append(
      choice("Axis", {epoch: "epochs", step: "steps"}, curves.axis, value => {
        curves.axis = value;
        if (LW.runs) zoomCurves(null); // there the places are others
        drawAll();
      }),
    );
  else curves.axis = "step";
  const reset = button("Whole run", () => zoomCurves(null), {hidden: true});
  curves.reset = reset;
  tools.append(reset);

  let count = -1;
  function fill() {
    const series = [...LW.series.keys()].filter(name => !ofGradients(name)),
      groups = chartsOf(
        series,
        [...LW.keys.keys()].filter(key => kindOf(key) === "matrix" || kindOf(key) === "table"),
      );
    const wanted = groups.filter(
      ({title, names: of}) =>
        !curves.words || of.some(name => matches(name, curves.words)) || matches(title, curves.words),
    );
    const shown = curves.all || curves.words ? wanted : wanted.slice(0, SMALLEST);
    for (const chart of curves.charts) chart.words(curves.words);
    for (const {title, names: of} of shown) {
      let known = curves.charts.find(chart => chart.title === title);
      if (known) known.take(of);
      else {
        curves.charts.push((known = chartOf(title, of)));
        known.words(curves.words);
      }
    }
    for (const chart of curves.charts) if (!shown.some(({title}) => title === chart.title)) chart.node.remove();
    const nodes = shown.map(({title}) => curves.charts.find(chart => chart.title === title).node);
    nodes.forEach((node, i) => grid.children[i] !== node && grid.insertBefore(node, grid.children[i] || null));
    all.hidden = shown.length === wanted.length;
    all.textContent = `Show all ${wanted.length} charts`;
    if (!nodes.length) grid.replaceChildren(make("p", {className: "dim"}, "No curve has this name."));
    else grid.querySelector(":scope > p")?.remove();
    count = series.length;
  }
  fill();
  /** Show the chart of a key, and in it its line; false if there is none. */
  curves.open = key => {
    const series = [...LW.series.keys()];
    if (!series.some(name => keyOf(name) === key) || ofGradients(key)) return false;
    const holds = () => curves.charts.find(({holds: has, node}) => node.isConnected && has(key));
    if (!holds()) {
      curves.all = true;
      curves.words = words.value = "";
      fill();
    }
    holds().open(key);
    return true;
  };
  curves.grow = () => {
    if (LW.series.size !== count) fill();
    drawAll();
  };
  time.listeners.add(() => curves.charts.forEach(chart => chart.mark()));
  redraws.push(drawAll);
  return section("Curves", "curves", tools, grid, all);
}

/** Show the steps from low to high in every chart; null shows all. */
function zoomCurves(range) {
  curves.zoom = range && range[1] > range[0] ? range : null;
  curves.reset.hidden = !curves.zoom;
  for (const chart of curves.charts) chart.zoom();
}

/** The steps from the first to the last of all curves. */
function wholeRun() {
  let low = Infinity,
    high = -Infinity;
  for (const series of LW.series.values()) {
    const places = placesOf(series);
    low = Math.min(low, places[0]);
    high = Math.max(high, places.at(-1));
  }
  return low < high ? [low, high] : [low - 1, high + 1];
}

function chartOf(title, first) {
  let all = first,
    names = first,
    chosen = "",
    words = "",
    plot = null,
    drawn = "",
    hidden = new Set();
  const legend = make("div", {className: "legend"}),
    place = make("div", {className: "plot"}),
    readout = make("span", {className: "at"});
  const node = make(
    "figure",
    {className: "card chart", tabIndex: 0, role: "group"},
    make("figcaption", {}, make("h3", {}, title), readout),
    place,
    legend,
  );
  const chooser = picker(`Lines of ${title}`, {}, value => {
    chosen = value;
    choose();
  });
  place.before(chooser);
  function choose() {
    const items = [...new Set(all.map(itemOf))],
      compared = LW.series.get(all[0]).run !== undefined,
      many = items.length > 1 && (compared || all.length > MOST_LINES);
    const direction = bestOf(keyOf(all[0])) === "max" ? "lowest" : "highest";
    names = many ? drawnOf(all, chosen, words) : all;
    chooser.hidden = !many;
    if (many && chooser.count !== items.length) {
      chooser.count = items.length;
      chooser.replaceChildren(
        compared ? "" : make("option", {value: ""}, `the ${direction} ${MOST_LINES} of ${items.length}`),
        make("option", {value: "all"}, `all ${items.length}`),
        ...items.map(value => make("option", {value}, value)),
      );
    }
    chooser.value = compared && names.length < all.length ? itemOf(names[0]) : chosen;
    draw();
  }
  const line = make("i", {className: "cursor"});
  const seriesOf = () => names.map(name => LW.series.get(name));

  function options(tints) {
    const ink = colour("dim"),
      grid = colour("line"),
      weighted = curves.smooth > 0;
    const dots = series => series.steps.length <= 40,
      styles = looksOf(names);
    const one = (name, i, faint) => ({
      label: name,
      stroke: faded(tints[i], faint ? 0.3 : styles[i].thin ? 0.6 : 1),
      width: styles[i].thin ? 1 : 2,
      dash: styles[i].dash.length ? styles[i].dash : undefined,
      spanGaps: true,
      show: !hidden.has(name),
      points: {show: !faint && dots(LW.series.get(name)), size: 5, fill: tints[i], stroke: tints[i]},
    });
    return {
      width: Math.max(200, place.clientWidth),
      height: 190,
      legend: {show: false},
      cursor: {
        y: false,
        points: {size: 7},
        drag: {x: true, y: false, setScale: false},
        sync: {
          key: "curves",
          scales: ["x", null],
          filters: {pub: type => type === "mousemove" || type === "mouseleave"},
        },
        bind: {
          dblclick: () => () => {
            zoomCurves(null);
            return null;
          },
        },
        dataIdx: (u, i, at) => nearestValue(u.data[i], at),
      },
      scales: {
        x: {time: false, range: () => curves.zoom || wholeRun()},
        y: curves.log ? {distr: 3, log: 10} : {range: reach},
      },
      series: [
        {},
        ...(weighted ? names.map((name, i) => one(name, i, true)) : []),
        ...names.map((name, i) => one(name, i, false)),
      ],
      axes: [
        {
          stroke: ink,
          grid: {stroke: grid, width: 1},
          ticks: {stroke: grid},
          size: 34,
          font: "12px system-ui, sans-serif",
          ...xAxis(),
        },
        {
          stroke: ink,
          grid: {stroke: grid, width: 1},
          ticks: {show: false},
          size: (u, texts) => Math.max(56, 16 + 7 * Math.max(...(texts || []).map(text => text.length), 0)),
          gap: 4,
          font: "12px system-ui, sans-serif",
          values: (u, all) => axisTexts(all),
        },
      ],
      hooks: {
        setCursor: [read],
        setSelect: [
          u => {
            if (u.select.width < 4) return;
            const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
            u.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
            zoomCurves(range);
          },
        ],
        draw: [() => mark(), spikes],
      },
    };
  }

  function xAxis() {
    if (curves.axis !== "epoch") return {values: (u, all) => axisTexts(all)};
    if (LW.runs) return {values: (u, all) => all.map(place => (place >= 0 && Number.isInteger(place) ? String(place) : ""))};
    const ends = epochEnds(),
      of = new Map(ends.map(({epoch, step}) => [step, epoch]));
    return {
      splits(u, axis, low, high) {
        const inside = ends.filter(({step}) => step >= low && step <= high),
          most = Math.max(2, Math.floor(place.clientWidth / 60));
        const every = Math.ceil(inside.length / most);
        return inside.filter((_, i) => i % every === 0).map(({step}) => step);
      },
      values: (u, all) => all.map(step => (of.has(step) ? String(of.get(step)) : brief(step))),
    };
  }

  /** Steps at which a loss stood out, on charts of losses. */
  function spikesOf() {
    if (!/loss(?!_spike)/i.test(title) || LW.series.get(all[0]).run !== undefined) return [];
    return [...LW.series].flatMap(([name, {steps}]) => (name.endsWith("/loss_spike") ? steps : []));
  }

  function spikes({ctx, bbox, valToPos}) {
    ctx.fillStyle = colour("err-ink");
    for (const x of spikesOf().map(step => valToPos(step, "x", true))) {
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const size = 5 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.6 * size);
      ctx.fill();
    }
  }

  function draw() {
    if (!node.seen || !node.isConnected) return;
    const series = seriesOf(),
      theme = getComputedStyle(document.documentElement).colorScheme + document.documentElement.dataset.theme;
    const wanted = [
      names.join(),
      series.map(({steps}) => steps.length).join(),
      curves.smooth,
      curves.log,
      curves.axis,
      theme,
      matchMedia("(prefers-color-scheme: dark)").matches,
      [...hidden].join(),
    ].join("|");
    if (wanted === drawn) return void (plot && mark());
    drawn = wanted;
    const tints = coloursOf(names).map(colour);
    plot?.destroy();
    plot = new uPlot(options(tints), columnsOf(series, curves.smooth, curves.log), place);
    plot.over.append(line);
    describe();
    mark();
  }

  /** In a chart of many numbers of one thing a name needs not say of what. */
  function short(name) {
    const thing = title.replace(/, lower is better$/, "");
    return new Set(all.map(each => partsOf(keyOf(each)).rest)).size > 1 ? name.replace(thing, "…") : name;
  }

  /** The names below the chart, with the best or the range of each; a click hides a line. */
  function describe() {
    const styles = looksOf(names);
    legend.replaceChildren(
      ...names.map((name, i) => {
        const {values} = LW.series.get(name),
          which = modeOf(keyOf(name)),
          at = bestIndex(values, which || "max");
        const odd = values.filter(value => !Number.isFinite(value)).length;
        let words =
          at < 0
            ? "no finite value"
            : which
              ? `${which === "max" ? "highest" : "lowest"} ${brief(values[at])} at ${placeAt(LW.series.get(name), at)}`
              : span(values[bestIndex(values, "min")], values[at]);
        if (odd) words += `, ${odd} not finite`;
        const below = curves.log ? values.filter(value => value <= 0).length : 0;
        if (below) words += `, ${below} not above 0`;
        const item = button(
          "",
          () => {
            hidden.has(name) ? hidden.delete(name) : hidden.add(name);
            draw();
          },
          {"aria-pressed": String(!hidden.has(name)), title: `Show or hide ${name}`},
        );
        item.append(
          swatchOf(styles[i]),
          make("span", {className: "name"}, short(name)),
          make("span", {className: "value"}),
          make("span", {className: "dim"}, words),
        );
        return item;
      }),
      spikesOf().length ? make("span", {className: "dim"}, `▼ ${plural(spikesOf().length, "spike")}`) : "",
    );
    node.setAttribute(
      "aria-label",
      `Chart of ${title}. ${[...legend.children].map(child => child.innerText.trim().replace(/\s+/g, " ")).join("; ")}. Arrow keys read values, Enter goes there, plus and minus zoom.`,
    );
  }

  function read(u) {
    const at = u.cursor.idx,
      off = at === null || at === undefined || u.cursor.left < 0;
    readout.textContent = off ? "" : placeWords(u.data[0][at]);
    names.forEach((name, i) => {
      const values = u.data[u.data.length - names.length + i],
        index = off ? null : nearestValue(values, at);
      const item = legend.children[i]?.querySelector(".value");
      if (item) item.textContent = index === null ? "" : brief(values[index]);
    });
  }

  /** The line at the time that is looked at. */
  function mark() {
    if (!plot) return;
    const left = plot.valToPos(time.now, "x");
    line.hidden = !(left >= 0 && left <= plot.over.clientWidth);
    line.style.transform = `translateX(${left}px)`;
  }

  let at = null;
  node.onkeydown = event => {
    if (!plot || event.target !== node) return;
    const places = plot.data[0],
      [low, high] = curves.zoom || wholeRun();
    const visible = places.filter(place => place >= low && place <= high);
    if (!visible.length) return;
    at = Math.min(visible.length - 1, Math.max(0, at ?? lastAtMost(visible, time.now)));
    const width = (high - low) / 4,
      here = visible[at];
    const stride = Math.max(1, event.shiftKey ? Math.round(visible.length / 20) : 1);
    if (event.key === "ArrowLeft") at -= stride;
    else if (event.key === "ArrowRight") at += stride;
    else if (event.key === "Home") at = 0;
    else if (event.key === "End") at = visible.length - 1;
    else if (event.key === "Enter") goTo(here);
    else if (event.key === "+") zoomCurves([here - width, here + width]);
    else if (event.key === "-" && curves.zoom)
      zoomCurves(high - low >= (wholeRun()[1] - wholeRun()[0]) / 2 ? null : [low - width * 2, high + width * 2]);
    else if (event.key === "0" || event.key === "Escape") zoomCurves(null);
    else return;
    event.preventDefault();
    at = Math.min(visible.length - 1, Math.max(0, at));
    plot.setCursor({left: plot.valToPos(visible[at], "x"), top: 10});
    announce(
      `${placeWords(visible[at])}: ${[...legend.children].map(item => `${item.querySelector(".name").textContent} ${item.querySelector(".value").textContent}`).join(", ")}`,
    );
  };
  place.ondblclick = () => zoomCurves(null);
  new ResizeObserver(
    () =>
      plot &&
      Math.abs(plot.width - place.clientWidth) > 2 &&
      plot.setSize({width: Math.max(200, place.clientWidth), height: 190}),
  ).observe(place);
  choose();
  onSight(node, draw);
  return {
    title,
    node,
    draw,
    holds: key => all.some(name => keyOf(name) === key),
    open(key) {
      words = "";
      if (!chooser.hidden && !names.some(name => keyOf(name) === key)) chosen = itemOf(all.find(name => keyOf(name) === key));
      choose();
      hidden.delete(names.find(name => keyOf(name) === key));
      reveal(node);
    },
    words(wanted) {
      if (words === wanted) return;
      words = wanted;
      choose();
    },
    mark,
    range: () => plot && [plot.scales.x.min, plot.scales.x.max],
    zoom: () => plot?.setScale("x", {min: 0, max: 1}),
    take(list) {
      all = list;
      choose();
    },
  };
}

/** The index of the value at a place or, where there is none, of the nearest before or after it; null if there is none. */
function nearestValue(values, at) {
  for (let away = 0; away < values.length; away++) {
    if (values[at - away] !== null && values[at - away] !== undefined) return at - away;
    if (values[at + away] !== null && values[at + away] !== undefined) return at + away;
  }
  return null;
}
