// Making elements. Names and captions come from the user's data: they enter the page as text and never as HTML.

/** An element with properties or attributes, and children; a child that is no element is text. */
function make(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in node) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

function button(text, onclick, given = {}) {
  return make("button", {type: "button", onclick, ...given}, text);
}

/** Buttons of which one is pressed. `options` are {value: label}. */
function choice(label, options, value, onchange) {
  const group = make("div", {className: "choice", role: "group", "aria-label": label});
  const press = wanted => {
    for (const node of group.children) node.setAttribute("aria-pressed", node.dataset.value === wanted);
  };
  for (const [name, text] of Object.entries(options)) {
    const node = button(text, () => {
      press(name);
      onchange(name);
    });
    node.dataset.value = name;
    group.append(node);
  }
  press(value);
  group.press = press;
  return group;
}

/** A list of which one is chosen, at first the first. `options` are {value: label}. */
function picker(label, options, onchange) {
  const items = Object.entries(options).map(([value, text]) => make("option", {value}, text));
  return make("select", {"aria-label": label, title: label, onchange: event => onchange(event.target.value)}, ...items);
}

function search(label, oninput, given = {}) {
  return make("input", {
    type: "search",
    placeholder: label,
    "aria-label": label,
    oninput: event => oninput(event.target.value),
    ...given,
  });
}

/** A colour of the theme as the browser resolves it, for a canvas; kept, until the theme is another. */
function colour(name) {
  if (!colour.known.has(name)) {
    const probe = (colour.probe ??= document.body.appendChild(make("span", {hidden: true})));
    probe.style.color = `var(--${name})`;
    colour.known.set(name, getComputedStyle(probe).color);
  }
  return colour.known.get(name);
}
colour.known = new Map();

/** Red, green and blue of such a colour. */
const channels = resolved => resolved.match(/[\d.]+/g).slice(0, 3).map(Number);

/** The same with an opacity of 0 to 1. */
const faded = (resolved, opacity) => `rgba(${channels(resolved).join(", ")}, ${opacity})`;

/** Calls `update` when a node comes near the window, and tells `node.seen`. */
const nearby = new IntersectionObserver(
  seen => {
    for (const {target, isIntersecting} of seen) {
      target.seen = isIntersecting;
      if (isIntersecting) target.update?.();
    }
  },
  {rootMargin: "400px"},
);

/** Calls `update` when a node comes into the window, and tells `node.onScreen`. */
const visible = new IntersectionObserver(seen => {
  for (const {target, isIntersecting} of seen) {
    target.onScreen = isIntersecting;
    if (isIntersecting) target.update?.();
  }
});

function onSight(node, update) {
  node.update = update;
  nearby.observe(node);
  return node;
}

/** Draw what is far from the window, too: paper has all of it. */
async function drawAll() {
  const drawn = [...document.querySelectorAll("main *")].map(node => {
    if (!node.update) return null;
    const {seen} = node;
    node.seen = true;
    const done = node.update();
    node.seen = seen;
    return done;
  });
  await Promise.all(drawn);
}
window.addEventListener("beforeprint", drawAll);
// The event does not wait for what is read from files first; the key can.
document.addEventListener("keydown", async event => {
  if (event.key !== "p" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  await drawAll();
  await new Promise(done => setTimeout(done, 300)); // until images are there
  window.print();
});

/** Something that changes and is read out: at most once in a while, as a slider moves. */
function announce(text) {
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => (document.getElementById("said").textContent = text), 250);
}

/** A part of an image, whole pixels of a small one. */
function crop({image, box: [left, top, width, height], caption}, label) {
  const small = Math.max(width, height) <= 96;
  const text = label || caption || "image";
  const part = svg("svg", {
    class: small ? "crop pixels" : "crop",
    viewBox: `${left} ${top} ${width} ${height}`,
    role: "img",
    "aria-label": text,
  });
  part.append(svg("title", {}, text), svg("image", {href: addressOf(image)}));
  return part;
}

/** A window over the page, closed by Escape, its button or a click beside it. */
function dialog(title, ...content) {
  const close = button("Close", () => node.close(), {className: "close"});
  const node = make(
    "dialog",
    {"aria-label": title},
    make("header", {}, make("h3", {}, title), close),
    make("div", {className: "inside"}, ...content),
  );
  node.onclick = event => event.target === node && node.close();
  node.onclose = () => node.remove();
  document.body.append(node);
  node.showModal();
  return node;
}
