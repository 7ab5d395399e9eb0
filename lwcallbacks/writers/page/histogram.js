// A histogram: bars of equal width, whatever the edges, so that bins that grow by powers stay legible.

const HISTOGRAM = {
  tools(bar, settings, refresh) {
    const toggle = button(
      "All steps",
      () => {
        settings.all = !settings.all;
        toggle.setAttribute("aria-pressed", String(settings.all));
        refresh();
      },
      {"aria-pressed": "false", title: "The histograms of all steps as one picture"},
    );
    bar.append(toggle);
  },
  view(box, settings) {
    const note = make("p", {className: "note", role: "status"}),
      place = make("div"),
      ridge = make("div"),
      drawRidge = ridgeIn(ridge);
    box.append(ridge, place, note);
    return async ({counts, edges, nan, posinf, neginf}, {key}) => {
      if (ridge.hidden === !!settings.all) await drawRidge(settings.all ? key : null);
      const total = counts.reduce((a, b) => a + b, 0);
      const odd = [
        ["NaN", nan],
        ["+Inf", posinf],
        ["−Inf", neginf],
      ]
        .filter(([, n]) => n)
        .map(([name, n]) => `, ${grouped(n)} ${name}`)
        .join("");
      let first = counts.findIndex(n => n > 0),
        last = counts.length - 1;
      if (first < 0) {
        place.replaceChildren();
        return void (note.textContent = `0 finite values${odd}`);
      }
      while (!counts[last]) last--;
      const summary = `${grouped(total)} finite values${odd}. Between ${brief(edges[first])} and ${brief(edges[last + 1])}.`;
      note.textContent = summary;
      const shown = counts.slice(first, last + 1),
        most = Math.max(...shown),
        bin = 420 / shown.length,
        top = 16,
        height = 130;
      const chart = svg("svg", {
        viewBox: `-30 0 480 ${top + height + 22}`,
        class: "histogram",
        role: "img",
        tabindex: 0,
        "aria-label": `Histogram. ${summary} The arrow keys read bins.`,
      });
      chart.append(svg("text", {x: 0, y: 10}, `most in a bin: ${grouped(most)}`));
      const backs = shown.map((n, i) => {
        const bar = n ? Math.max(1, (n / most) * height) : 0;
        chart.append(svg("rect", {x: i * bin, y: top + height - bar, width: Math.max(0.5, bin * 0.92), height: bar}));
        return svg("rect", {class: "back", x: i * bin, y: top, width: bin, height});
      });
      const tell = i => {
        backs.forEach((back, j) => back.classList.toggle("now", i === j));
        note.textContent =
          i === null ? summary : `${brief(edges[first + i])} to ${brief(edges[first + i + 1])}: ${grouped(shown[i])}`;
      };
      backs.forEach((back, i) => (back.onmouseenter = () => tell(i)));
      let at = -1;
      chart.onmouseleave = chart.onblur = () => tell(null);
      chart.onkeydown = event => {
        const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
        if (!by) return;
        event.preventDefault();
        tell((at = Math.min(shown.length - 1, Math.max(0, at + by))));
      };
      chart.append(...backs, svg("line", {x1: 0, x2: 420, y1: top + height, y2: top + height}));
      const parts = Math.min(4, shown.length);
      for (let k = 0; k <= parts; k++) {
        const i = Math.round((k * shown.length) / parts);
        chart.append(
          svg(
            "text",
            {x: i * bin, y: top + height + 16, "text-anchor": k === 0 ? "start" : k === parts ? "end" : "middle"},
            brief(edges[first + i], 3),
          ),
        );
      }
      place.replaceChildren(chart);
    };
  },
};
