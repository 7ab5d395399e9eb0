// Lines over an axis that is not time, such as ROC, precision-recall and calibration: kind "curve".

const FEW = 4; // of many lines that are drawn in full, until others are chosen: those that come first are the worst

const CURVE = {
  tools(bar, settings) {
    settings.turned = new Set(); // names that were clicked
  },
  view(box, settings, refresh) {
    const legend = make("div", {className: "legend"}),
      note = make("p", {className: "note", role: "status"}),
      place = make("div");
    const chosen = make(
      "label",
      {className: "range"},
      "threshold ",
      make("input", {type: "range", min: 0, max: 1, step: 0.001, value: 0.5}),
      make("output"),
    );
    const marks = make("p", {className: "caption"});
    box.append(place, marks, note, chosen, legend);
    return (curve, entry) => {
      const look = looks(entry?.key, curve.lines),
        many = curve.lines.length > MOST_LINES + 1, // calibration has one of all classes, too
        lines = curve.lines.map((line, i) => {
          const shown = (!many || i < FEW) !== settings.turned.has(line.name);
          return {...line, ...look(line.name), shown, faint: many && !shown};
        }),
        visible = lines.filter(({shown, faint}) => shown || faint);
      const text = sentences(curve.notes);
      note.textContent = text;
      const {chart, point} = lineChart(curve, visible, words => (note.textContent = words || text));
      place.replaceChildren(chart);
      const graded = lines.filter(({shown, at, readings}) => shown && (readings?.[0] ?? at)?.length);
      chosen.hidden = !graded.length;
      const [, input, output] = chosen.childNodes;
      const show = () => {
        const threshold = +input.value;
        output.textContent = exact(threshold);
        const read = graded.map(line => [line, ...readingOf(line, threshold)]);
        point(read);
        return read;
      };
      if (graded.length) {
        const {min, max, step} = thresholdsOf(graded);
        Object.assign(input, {min, max, step});
        input.oninput = () => (note.textContent = show().map(read => pointWords(curve, ...read)).join("; "));
        show();
      }
      marks.textContent = markWords(lines, graded.length);
      marks.hidden = !marks.textContent;
      legend.classList.toggle("many", many);
      const top = legend.scrollTop,
        focused = [...legend.children].indexOf(document.activeElement);
      legend.replaceChildren(
        ...lines.map(({name, text: words, tint, dash, shown}) => {
          const item = button(
            "",
            () => {
              settings.turned.has(name) ? settings.turned.delete(name) : settings.turned.add(name);
              refresh();
            },
            {"aria-pressed": String(shown), title: `${many ? "Draw in full, or faint:" : "Show or hide"} ${name}`},
          );
          item.append(swatchOf({tint, dash}), make("span", {className: "name"}, name), make("span", {className: "dim"}, words || ""));
          return item;
        }),
      );
      legend.scrollTop = top;
      legend.children[focused]?.focus({preventScroll: true});
    };
  },
};

/** What the points on lines are: "● best F1, ○ at the threshold"; "" without any. Pure. */
function markWords(lines, hasThreshold) {
  const kinds = new Set(lines.flatMap(({marks = []}) => marks.map(([, , text]) => text.replace(/ \S+ at \S+$/, ""))));
  const found = kinds.size === 1 ? `● ${[...kinds][0]}` : kinds.size ? "● marked" : "";
  return [found, hasThreshold ? "○ at the threshold below" : ""].filter(Boolean).join(", ");
}

const drawnNames = new Map(); // part of a key -> names of its lines

/** The colour and dashes of a line by its name: the same in all charts of one thing. */
function looks(key = "", lines) {
  const thing = key.replace(/_(roc|pr|calibration)(?=_|\/|$)/, ""),
    names = drawnNames.get(thing) || drawnNames.set(thing, []).get(thing);
  for (const {name} of lines) if (!names.includes(name)) names.push(name);
  return name => {
    const i = names.indexOf(name);
    return {tint: `c${(i % 7) + 1}`, dash: DASHES[Math.floor(i / 7) % DASHES.length]};
  };
}

/** Notes as sentences. Pure. */
const sentences = (notes = []) =>
  notes.map(note => note[0]?.toUpperCase() + note.slice(1) + (/[.!?]$/.test(note) ? "" : ".")).join(" ");

/** What a slider over the thresholds of lines has: {min, max, step}. Pure. */
function thresholdsOf(lines) {
  const all = lines.flatMap(({at, readings}) => readings?.[0] ?? at).filter(Number.isFinite),
    [min, max] = all.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [1 / 0, -1 / 0]);
  const steps = Math.max(1, ...lines.map(({readings}) => (readings ? readings[0].length - 1 : 1000)));
  return {min, max, step: +((max - min) / steps).toPrecision(12) || 0.001};
}

/** x and y of a line at a threshold, or at the next lower one that it knows, and that: [x, y, at]. A line that knows
 * only its points has the nearest one. Pure. */
function readingOf({x, y, at, readings}, wanted) {
  if (!readings) {
    const i = nearestTo(at, wanted);
    return [x[i], y[i], at[i]];
  }
  const [known, ...both] = readings,
    i = Math.max(0, lastAtMost(known, wanted + Math.abs(wanted) * 1e-9));
  return [...both.map(values => values[i]), known[i]];
}

/** Index of the number of a list that is nearest to another; text, as of an infinite threshold, is none. Pure. */
function nearestTo(values, wanted, fits = () => true) {
  let best = 0,
    nearest = Infinity;
  values.forEach((value, i) => {
    const away = Math.abs(value - wanted);
    if (away < nearest && fits(i)) [best, nearest] = [i, away];
  });
  return best;
}

/** All digits of a threshold: what is said of it need not hold beside it. */
const exact = value => (typeof value === "number" ? String(+value.toPrecision(12)) : value === "inf" ? "∞" : value);

const rate = value => (value === "nan" ? "not defined" : brief(value));

const pointWords = (curve, {name}, x, y, at) =>
  `${name}: ${curve.x} ${rate(x)}, ${curve.y} ${rate(y)}${at === undefined ? "" : ` at threshold ${exact(at)}`}`;

/** A chart of lines as {chart, point}. `tell` gets the words of the point under the mouse or the arrow keys. */
function lineChart(curve, lines, tell) {
  const wide = 460,
    high = 330,
    right = 12,
    top = 12,
    bottom = 40;
  const inFull = lines.filter(({faint}) => !faint);
  const all = axis =>
    lines.flatMap(line => line[axis]).filter(value => typeof value === "number" && Number.isFinite(value));
  const span = values => {
    let low = Infinity,
      most = -Infinity;
    for (const value of values) {
      low = Math.min(low, value);
      most = Math.max(most, value);
    }
    if (low >= 0 && most <= 1) return [0, 1];
    return low < most ? [low, most] : [low - 1 || 0, low + 1 || 1];
  };
  const [x0, x1] = span(all("x")),
    [y0, y1] = span(all("y"));
  const [xs, ys] = [ticks(x0, x1), ticks(y0, y1)],
    [xTexts, yTexts] = [xs, ys].map(axisTexts),
    left = Math.max(46, 26 + 7 * Math.max(...yTexts.map(text => text.length)));
  const px = x => left + ((x - x0) / (x1 - x0)) * (wide - left - right),
    py = y => high - bottom - ((y - y0) / (y1 - y0)) * (high - top - bottom);
  const chart = svg("svg", {
    viewBox: `0 0 ${wide} ${high}`,
    class: "lines",
    role: "img",
    tabindex: 0,
    "aria-label": `${curve.y} over ${curve.x}. ${inFull.map(({name, text}) => `${name} ${text || ""}`).join("; ")}. The arrow keys read points.`,
  });
  for (const [i, x] of xs.entries())
    chart.append(
      svg("line", {x1: px(x), x2: px(x), y1: top, y2: high - bottom}),
      svg("text", {x: px(x), y: high - bottom + 16, "text-anchor": "middle"}, xTexts[i]),
    );
  for (const [i, y] of ys.entries())
    chart.append(
      svg("line", {x1: left, x2: wide - right, y1: py(y), y2: py(y)}),
      svg("text", {x: left - 6, y: py(y) + 4, "text-anchor": "end"}, yTexts[i]),
    );
  chart.append(
    svg("text", {x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle"}, curve.x),
    svg(
      "text",
      {transform: `translate(12 ${(top + high - bottom) / 2}) rotate(-90)`, "text-anchor": "middle"},
      curve.y,
    ),
  );
  if (curve.diagonal) chart.append(svg("line", {class: "diagonal", x1: px(x0), y1: py(y0), x2: px(x1), y2: py(y1)}));
  for (const line of [...lines].sort((a, b) => b.faint - a.faint)) {
    const path = line.x.map((x, i) => `${px(x).toFixed(1)},${py(line.y[i]).toFixed(1)}`).join(" ");
    const drawn = svg("polyline", {points: path});
    drawn.style.stroke = `var(--${line.tint})`;
    drawn.style.strokeDasharray = line.dash.join(" ") || "none";
    drawn.classList.toggle("faint", line.faint);
    chart.append(drawn);
    if (line.faint) continue;
    for (const [x, y, text] of line.marks || []) {
      const mark = svg("circle", {cx: px(x), cy: py(y), r: 4.5}, svg("title", {}, `${line.name}: ${text}`));
      mark.style.fill = `var(--${line.tint})`;
      chart.append(mark);
      if (inFull.length === 1)
        chart.append(
          svg(
            "text",
            {x: px(x) + (px(x) > wide / 2 ? -8 : 8), y: py(y) + 16, "text-anchor": px(x) > wide / 2 ? "end" : "start"},
            text,
          ),
        );
    }
  }
  const points = svg("g");
  chart.append(points);
  const point = list =>
    points.replaceChildren(
      ...list.map(([line, x, y]) => {
        const dot = y === "nan" ? svg("g") : svg("circle", {class: "point", cx: px(x), cy: py(y), r: 5});
        dot.style.stroke = `var(--${line.tint})`;
        return dot;
      }),
    );
  const isPoint = (line, i) => line.at?.[i] !== "nan", // others are corners of the picture
    pointOf = (line, i) => [line, line.x[i], line.y[i], line.at?.[i]];
  chart.onmousemove = event => {
    const frame = chart.getBoundingClientRect(),
      x = ((event.clientX - frame.left) / frame.width) * wide,
      y = ((event.clientY - frame.top) / frame.height) * high;
    let best = null,
      nearest = 900;
    for (const line of lines)
      line.x.forEach((value, i) => {
        const away = (px(value) - x) ** 2 + (py(line.y[i]) - y) ** 2;
        if (away < nearest && isPoint(line, i)) [nearest, best] = [away, pointOf(line, i)];
      });
    tell(best && pointWords(curve, ...best));
    point(best ? [best] : []);
  };
  chart.onmouseleave = () => {
    tell("");
    point([]);
  };
  let at = -1;
  chart.onkeydown = event => {
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    const [first] = inFull;
    if (!by || !first) return;
    event.preventDefault();
    at = Math.min(first.x.length - 1, Math.max(0, at + by * Math.max(1, Math.round(first.x.length / 100))));
    const read = inFull.map(line => pointOf(line, nearestTo(line.x, first.x[at], i => isPoint(line, i))));
    point(read);
    tell(read.map(of => pointWords(curve, ...of)).join("; "));
  };
  return {chart, point};
}
