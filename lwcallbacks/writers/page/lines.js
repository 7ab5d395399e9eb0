// Lines over an axis that is not time, such as ROC, precision-recall and calibration: kind "curve".

const CURVE = {
  tools(bar, settings) {
    settings.hidden = new Set();
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
    box.append(place, note, chosen, legend);
    return curve => {
      const lines = curve.lines.map((line, i) => ({...line, tint: `c${(i % 7) + 1}`})),
        visible = lines.filter(({name}) => !settings.hidden.has(name));
      const text = (curve.notes || []).join(" ");
      note.textContent = text;
      const {chart, point} = lineChart(curve, visible, words => (note.textContent = words || text));
      place.replaceChildren(chart);
      const graded = visible.filter(({at}) => at?.length);
      chosen.hidden = !graded.length;
      const [, input, output] = chosen.childNodes;
      const show = () => {
        const threshold = +input.value;
        output.textContent = brief(threshold, 3);
        point(graded.map(line => [line, nearestTo(line.at, threshold)]));
      };
      if (graded.length) {
        const all = graded.flatMap(({at}) => at).filter(value => typeof value === "number" && Number.isFinite(value));
        input.min = Math.min(...all.slice(0, 20000));
        input.max = Math.max(...all.slice(0, 20000));
        input.step = (input.max - input.min) / 1000 || 0.001;
        input.oninput = () => {
          show();
          note.textContent = graded.map(line => pointWords(curve, line, nearestTo(line.at, +input.value))).join("; ");
        };
        show();
      }
      legend.replaceChildren(
        ...lines.map(({name, text: words, tint}) => {
          const swatch = make("i");
          swatch.style.background = `var(--${tint})`;
          const item = button(
            "",
            () => {
              settings.hidden.has(name) ? settings.hidden.delete(name) : settings.hidden.add(name);
              refresh();
            },
            {"aria-pressed": String(!settings.hidden.has(name))},
          );
          item.append(swatch, make("span", {className: "name"}, name), make("span", {className: "dim"}, words || ""));
          return item;
        }),
      );
    };
  },
};

/** Index of the value that is nearest to a number. Pure. */
function nearestTo(values, wanted) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (Math.abs(values[i] - wanted) < Math.abs(values[best] - wanted)) best = i;
  return best;
}

function pointWords(curve, line, i) {
  const at = line.at?.[i];
  return `${line.name}: ${curve.x} ${brief(line.x[i], 3)}, ${curve.y} ${brief(line.y[i], 3)}${at === undefined ? "" : ` at threshold ${brief(at, 3)}`}`;
}

/** A chart of lines as {chart, point}. `tell` gets the words of the point under the mouse or the arrow keys. */
function lineChart(curve, lines, tell) {
  const wide = 460,
    high = 330,
    left = 46,
    right = 12,
    top = 12,
    bottom = 40;
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
  const px = x => left + ((x - x0) / (x1 - x0)) * (wide - left - right),
    py = y => high - bottom - ((y - y0) / (y1 - y0)) * (high - top - bottom);
  const chart = svg("svg", {
    viewBox: `0 0 ${wide} ${high}`,
    class: "lines",
    role: "img",
    tabindex: 0,
    "aria-label": `${curve.y} over ${curve.x}. ${lines.map(({name, text}) => `${name} ${text || ""}`).join("; ")}. The arrow keys read points.`,
  });
  for (const x of ticks(x0, x1))
    chart.append(
      svg("line", {x1: px(x), x2: px(x), y1: top, y2: high - bottom}),
      svg("text", {x: px(x), y: high - bottom + 16, "text-anchor": "middle"}, brief(x, 3)),
    );
  for (const y of ticks(y0, y1))
    chart.append(
      svg("line", {x1: left, x2: wide - right, y1: py(y), y2: py(y)}),
      svg("text", {x: left - 6, y: py(y) + 4, "text-anchor": "end"}, brief(y, 3)),
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
  for (const line of lines) {
    const path = line.x.map((x, i) => `${px(x).toFixed(1)},${py(line.y[i]).toFixed(1)}`).join(" ");
    const drawn = svg("polyline", {points: path});
    drawn.style.stroke = `var(--${line.tint})`;
    chart.append(drawn);
    for (const [x, y, text] of line.marks || []) {
      const mark = svg("circle", {cx: px(x), cy: py(y), r: 4.5}, svg("title", {}, `${line.name}: ${text}`));
      mark.style.fill = `var(--${line.tint})`;
      chart.append(mark);
      if (lines.length === 1)
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
      ...list.map(([line, i]) => {
        const dot = svg("circle", {class: "point", cx: px(line.x[i]), cy: py(line.y[i]), r: 5});
        dot.style.stroke = `var(--${line.tint})`;
        return dot;
      }),
    );
  chart.onmousemove = event => {
    const frame = chart.getBoundingClientRect(),
      x = ((event.clientX - frame.left) / frame.width) * wide,
      y = ((event.clientY - frame.top) / frame.height) * high;
    let best = null,
      nearest = 900;
    for (const line of lines)
      line.x.forEach((value, i) => {
        const away = (px(value) - x) ** 2 + (py(line.y[i]) - y) ** 2;
        if (away < nearest) [nearest, best] = [away, [line, i]];
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
    if (!by || !lines.length) return;
    event.preventDefault();
    at = Math.min(lines[0].x.length - 1, Math.max(0, at + by * Math.max(1, Math.round(lines[0].x.length / 100))));
    const read = lines.map(line => [line, nearestTo(line.x, lines[0].x[at])]);
    point(read);
    tell(read.map(([line, i]) => pointWords(curve, line, i)).join("; "));
  };
  return {chart, point};
}
