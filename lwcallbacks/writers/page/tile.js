// A sample in a frame: its image, what was predicted, what is true, how sure, and right or wrong by epoch.

/** Right or wrong, null where it is unknown. `sample` has the columns of its row. */
function isRight({correct, pred, target}) {
  if (typeof correct === "boolean") return correct;
  return pred === undefined || pred === null || target === undefined || target === null
    ? null
    : String(pred) === String(target);
}

/** "predicted 9, true 4, confidence 0.93" */
function told(sample) {
  const parts = [];
  if (sample.pred !== undefined && sample.pred !== null) parts.push(`predicted ${sample.pred}`);
  if (sample.target !== undefined && sample.target !== null) parts.push(`true ${sample.target}`);
  if (typeof sample.confidence === "number") parts.push(`confidence ${brief(sample.confidence, 3)}`);
  return parts.join(", ");
}

/** Right and wrong by epoch: [{step, right}] as a strip of little squares. */
function strip(history) {
  const most = history.length,
    label = history.map(({step, right}) => `${soon(step)}: ${rightWord(right)}`).join("; ");
  const node = svg("svg", {
    class: "strip",
    viewBox: `0 0 ${most} 1`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `Right or wrong by epoch. ${label}`,
  });
  node.append(svg("title", {}, "By epoch. Tall: wrong; short: right; grey: not listed in that epoch's tables"));
  history.forEach(({step, right}, i) => {
    const mark = svg("rect", {
      class: right === null ? "unknown" : right ? "right" : "wrong",
      x: i + 0.08,
      y: right === false ? 0 : 0.3,
      width: 0.84,
      height: right === false ? 1 : 0.7,
    });
    mark.append(svg("title", {}, `${soon(step)}: ${rightWord(right)}`));
    node.append(mark);
  });
  return node;
}

const rightWord = right => (right === null ? "not listed" : right ? "right" : "wrong");

/** The words below a strip: "wrong since epoch 3", "right since epoch 5", "always wrong". */
function sinceWords(history) {
  const known = history.filter(({right}) => right !== null);
  if (history.length < 2 || !known.length) return "";
  const last = known.at(-1).right;
  let i = known.length;
  while (i > 0 && known[i - 1].right === last) i--;
  const listed = `${rightWord(last)} in ${known.length} of ${plural(known.length, "epoch")} listed`,
    always = known.length < history.length ? listed : `always ${rightWord(last)}`;
  return i === 0 ? always : `${rightWord(last)} since ${soon(known[i].step)}`;
}

/** `words` stand below, in place of what the history says. */
function tile(sample, {image, history = [], onclick, words = sinceWords(history)}) {
  const right = isRight(sample);
  const node = make("li", {className: right === null ? "tile" : right ? "tile right" : "tile wrong"});
  const open = button("", onclick, {
    className: "open",
    "aria-label": [told(sample) || "sample", right === null ? "" : rightWord(right)].filter(Boolean).join(", "),
  });
  if (isImage(image)) open.append(crop(image, told(sample)));
  const pred = sample.pred ?? null,
    target = sample.target ?? null;
  const names = make("span", {className: "names"});
  const label = text => shorten(String(text), 40).replaceAll(/,(?! )/g, ", "); // lines break between several labels
  if (pred !== null) names.append(make("b", {className: "pred", title: String(pred)}, label(pred)));
  if (target !== null) names.append(make("span", {className: "target", title: String(target)}, `true ${label(target)}`));
  if (names.childNodes.length) open.append(names);
  if (pred === null && target === null && (image?.caption || sample.caption))
    open.append(make("span", {className: "target"}, image?.caption || sample.caption));
  if (typeof sample.confidence === "number") {
    const bar = make("span", {className: "bar", title: `confidence ${brief(sample.confidence, 3)}`}, make("i"));
    bar.firstChild.style.width = `${100 * Math.min(1, Math.max(0, sample.confidence))}%`;
    open.append(bar);
  }
  if (history.length > 1) open.append(strip(history));
  if (words) open.append(make("small", {className: "since"}, words));
  node.append(open);
  return node;
}
