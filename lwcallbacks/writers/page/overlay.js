// An image with its label maps and boxes over it, each to be shown or hidden.
// A page on a disk may not read pixels, so a filter colours the maps: it looks the colour of each label up.

const LABEL_COLOURS = [
  [0, 114, 178],
  [230, 159, 0],
  [0, 158, 115],
  [204, 121, 167],
  [86, 180, 233],
  [213, 94, 0],
  [240, 228, 66],
  [148, 103, 189],
];

const labelColour = label => LABEL_COLOURS[(label + LABEL_COLOURS.length - 1) % LABEL_COLOURS.length];

/** Red, green and blue of "#0072b2", null of anything else. Pure. */
const ofHex = text => (/^#[\da-f]{6}$/i.test(text) ? [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16)) : null);

/** What a filter looks up for each of 256 labels: red, green, blue and opacity, 0 to 1. Pure. */
function lookups(shown, colours = {}) {
  const tables = [[], [], [], []];
  for (let label = 0; label < 256; label++) {
    const [red, green, blue] = ofHex(colours[label]) || labelColour(label);
    tables[0].push(red / 255);
    tables[1].push(green / 255);
    tables[2].push(blue / 255);
    tables[3].push(shown.has(label) ? 0.6 : 0);
  }
  return tables.map(table => table.map(value => +value.toFixed(4)).join(" "));
}

/** A filter that makes colours of labels. Opacity comes from the label as well, so it is worked out apart and put in. */
function labelFilter(id, shown, colours) {
  const [red, green, blue, opacity] = lookups(shown, colours);
  const discrete = (channel, values) => svg(`feFunc${channel}`, {type: "discrete", tableValues: values});
  return svg(
    "filter",
    {id, "color-interpolation-filters": "sRGB", x: 0, y: 0, width: "100%", height: "100%"},
    svg(
      "feComponentTransfer",
      {in: "SourceGraphic", result: "coloured"},
      discrete("R", red),
      discrete("G", green),
      discrete("B", blue),
    ),
    svg("feColorMatrix", {in: "SourceGraphic", values: "0 0 0 0 1  0 0 0 0 1  0 0 0 0 1  1 0 0 0 0", result: "labels"}),
    svg("feComponentTransfer", {in: "labels", result: "opacity"}, discrete("A", opacity)),
    svg("feComposite", {in: "coloured", in2: "opacity", operator: "in"}),
  );
}

/** The size of the letters at boxes: a fifth of most boxes, and no more than is fit for an image. Pure. */
function lettersFor(boxes, width, height) {
  const sides = boxes.map(({box: [, , w, h]}) => Math.min(w, h)).sort((a, b) => a - b);
  return Math.max(6, Math.min(Math.min(width, height) / 24, sides.length ? sides[sides.length >> 1] / 5 : Infinity));
}

let filters = 0;

/** An image cell {image, box, caption, layers, boxes} with its overlays and switches. Without a box it is a whole file. */
function overlaid(cell, className = "", off = new Set(), size = null) {
  const {layers = [], boxes = []} = cell,
    [left, top, width, height] = cell.box || [0, 0, ...size];
  const small = Math.max(width, height) <= 96,
    text = cell.caption || "image";
  const picture = svg("svg", {
    class: `crop ${small ? "pixels" : ""} ${className}`,
    viewBox: `${left} ${top} ${width} ${height}`,
    role: "img",
    "aria-label": text,
  });
  picture.style.setProperty("--ratio", width / height);
  picture.style.setProperty("--wide", `${width}px`);
  picture.append(svg("title", {}, text), svg("image", {href: addressOf(cell.image)}));
  const switches = make("div", {className: "switches"});
  const add = (name, tint, node, onchange, id = name) => {
    const input = make("input", {
      type: "checkbox",
      checked: !off.has(id),
      onchange() {
        input.checked ? off.delete(id) : off.add(id);
        onchange(input.checked);
      },
    });
    const swatch = tint && make("i");
    if (tint) swatch.style.background = tint;
    node.append(make("label", {}, input, swatch, ` ${name}`));
    onchange(input.checked);
  };
  for (const {name, classes = {}, colours = {}, image, box} of layers) {
    const id = `labels-${filters++}`,
      defs = svg("defs"),
      [l, t, w, h] = box || [0, 0, width, height];
    const map = svg("image", {
      href: addressOf(image),
      width,
      height,
      preserveAspectRatio: "none",
      filter: `url(#${id})`,
      class: "labels",
    });
    const holder = box
      ? svg("svg", {x: left, y: top, width, height, viewBox: `${l} ${t} ${w} ${h}`, preserveAspectRatio: "none"}, map)
      : svg("g", {transform: `translate(${left} ${top})`}, map);
    if (box) ["width", "height"].forEach(attribute => map.removeAttribute(attribute));
    const labels = Object.keys(classes).map(Number),
      shown = new Set(labels);
    const refill = () => defs.replaceChildren(labelFilter(id, shown, colours));
    refill();
    picture.append(defs, holder);
    const group = make("fieldset", {}, make("legend", {}, name)),
      ofClasses = make("fieldset", {className: "classes"});
    for (const label of labels) {
      const tint = `rgb(${ofHex(colours[label]) || labelColour(label)})`;
      const show = on => {
        on ? shown.add(label) : shown.delete(label);
        refill();
      };
      add(classes[label], tint, ofClasses, show, `layer: ${name}: ${label}`);
    }
    const showAll = on => {
      holder.setAttribute("visibility", on ? "visible" : "hidden");
      ofClasses.disabled = !on;
    };
    add(`show ${name}`, null, group, showAll, `layer: ${name}`);
    group.append(ofClasses);
    switches.append(group);
  }
  const styles = new Map(),
    letters = lettersFor(boxes, width, height);
  for (const {
    box: [l, t, w, h],
    label,
    score,
    style = "prediction",
    match,
  } of boxes) {
    const group = styles.get(style) || styles.set(style, svg("g", {class: `boxes ${style}`})).get(style);
    const words = `${style} ${label ?? ""}${typeof score === "number" ? ` ${brief(score, 2)}` : ""}${match === undefined ? "" : match ? ", matched" : ", not matched"}`;
    const shape = svg("rect", {x: left + l, y: top + t, width: w, height: h, class: match === false ? "missed" : ""});
    shape.append(svg("title", {}, words));
    group.append(
      shape,
      svg(
        "text",
        {
          x: left + l + 1,
          y: style === "truth" ? top + t + h - 2 : top + t + letters, // within its box: beside it may be a caption
          "font-size": letters,
        },
        `${label ?? ""}${typeof score === "number" ? ` ${brief(score, 2)}` : ""}`,
      ),
    );
  }
  for (const [style, group] of styles) {
    picture.append(group);
    add(`boxes: ${style}`, null, switches, on => group.setAttribute("visibility", on ? "visible" : "hidden"));
  }
  return make("figure", {className: "overlaid"}, picture, switches.childNodes.length ? switches : null);
}
