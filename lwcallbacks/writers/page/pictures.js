// Images of a key: as large as they are legible, with a strip of the other epochs, and a window to zoom into.

const PICTURE = {needsValue: false};

PICTURE.view = (box, settings) => {
  const place = make("div", {className: "frame"}),
    note = make("p", {className: "caption"}),
    film = make("div", {className: "film", role: "group", "aria-label": "The same at other steps"});
  box.append(place, note, film);
  return async (_, entry) => {
    const [size, drawn] = await Promise.all([sizeOf(entry.file), load(entry)]);
    const caption = entry.caption || "";
    if (!size) place.replaceChildren(make("p", {className: "dim"}, `The file ${entry.file} is missing.`));
    else if (drawn) {
      // The picture has them drawn beside the image already.
      settings.off ??= new Set(["boxes: truth", "boxes: prediction", ...drawn.layers.map(({name}) => `layer: ${name}`)]);
      const figure = overlaid({image: entry.file, caption: caption || entry.key, ...drawn}, "large", settings.off, size);
      const zoom = () => openPicture(entry, size, figure.querySelector("svg").cloneNode(true));
      figure.querySelector("svg").onclick = zoom;
      figure.append(make("div", {}, button("Zoom", zoom, {"aria-label": `Zoom into ${entry.key}`})));
      place.replaceChildren(figure);
    } else {
      const [width, height] = size,
        factor = Math.max(1, Math.floor(200 / Math.min(width, height)));
      const image = make("img", {
        src: addressOf(entry.file),
        alt: caption || `${entry.key} at ${when(entry.step)}`,
        width: width * factor,
        height: height * factor,
        className: factor > 1 ? "pixels" : "",
      });
      const open = button("", () => openPicture(entry, size), {
        className: "open",
        "aria-label": `Zoom into ${entry.key}`,
      });
      open.append(image);
      place.replaceChildren(open);
    }
    note.textContent = caption;
    note.hidden = !caption;
    box
      .closest(".card")
      .classList.toggle(
        "wide",
        !!size &&
          (drawn ? size[0] > 420 : size[0] / size[1] > 2.2 && size[0] * Math.max(1, Math.floor(200 / size[1])) > 420),
      );
    const shown = entriesOf(entry.key, 16);
    film.hidden = shown.length < 2;
    if (film.dataset.steps !== shown.map(({step}) => step).join()) {
      film.dataset.steps = shown.map(({step}) => step).join();
      film.replaceChildren(
        ...shown.map(({file, step}) => {
          const thumb = button("", () => goTo(step), {title: when(step), "aria-label": when(step)});
          thumb.append(make("img", {src: addressOf(file), alt: "", loading: "lazy"}));
          thumb.dataset.step = step;
          return thumb;
        }),
      );
    }
    for (const thumb of film.children) thumb.setAttribute("aria-pressed", String(+thumb.dataset.step === entry.step));
  };
};

/** Width and height of a file's image in pixels; null if it is missing. */
function sizeOf(file) {
  return new Promise(done => {
    const image = new Image();
    image.onload = () => done([image.naturalWidth, image.naturalHeight]);
    image.onerror = () => done(null);
    image.src = addressOf(file);
  });
}

/** The image in a window: plus, minus and the wheel zoom, arrow keys and dragging move. `drawn` has overlays. */
function openPicture(entry, [width, height], drawn = null) {
  const image = drawn || make("img", {src: addressOf(entry.file), alt: entry.caption || entry.key, draggable: false});
  const stage = make(
    "div",
    {className: "stage", tabIndex: 0, role: "group", "aria-label": "Image. Plus and minus zoom, the arrow keys move."},
    image,
  );
  const scale = make("output");
  const at = {zoom: 1, x: 0, y: 0};
  const draw = () => {
    image.style.width = `${width * at.zoom}px`;
    image.style.imageRendering = at.zoom >= 2 ? "pixelated" : "auto";
    image.style.transform = `translate(${at.x}px, ${at.y}px)`;
    scale.textContent = `${percent(at.zoom, 0)}`;
  };
  const zoom = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const next = Math.min(64, Math.max(0.05, at.zoom * factor)),
      by = next / at.zoom;
    Object.assign(at, {zoom: next, x: x - (x - at.x) * by, y: y - (y - at.y) * by});
    draw();
  };
  const fit = () => {
    at.zoom = Math.min(stage.clientWidth / width, stage.clientHeight / height, 16);
    if (at.zoom > 1) at.zoom = Math.floor(at.zoom);
    at.x = (stage.clientWidth - width * at.zoom) / 2;
    at.y = (stage.clientHeight - height * at.zoom) / 2;
    draw();
  };
  stage.addEventListener(
    "wheel",
    event => {
      event.preventDefault();
      const frame = stage.getBoundingClientRect();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - frame.left, event.clientY - frame.top);
    },
    {passive: false},
  );
  stage.onpointerdown = event => stage.setPointerCapture(event.pointerId);
  stage.onpointermove = event => {
    if (!stage.hasPointerCapture(event.pointerId)) return;
    at.x += event.movementX;
    at.y += event.movementY;
    draw();
  };
  stage.onkeydown = event => {
    const [dx, dy] = ARROWS[event.key] || [];
    if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") fit();
    else if (dx !== undefined) {
      at.x -= dx * 60;
      at.y -= dy * 60;
      draw();
    } else return;
    event.preventDefault();
  };
  const tools = make(
    "div",
    {className: "tools"},
    button("−", () => zoom(1 / 1.5), {"aria-label": "Smaller"}),
    button("+", () => zoom(1.5), {"aria-label": "Larger"}),
    button("Fit", fit),
    scale,
    make("a", {href: addressOf(entry.file), target: "_blank"}, "the file"),
  );
  dialog(
    `${entry.key}, ${when(entry.step)}`,
    tools,
    stage,
    entry.caption ? make("p", {className: "caption"}, entry.caption) : null,
  ).classList.add("full");
  fit();
  stage.focus();
}
