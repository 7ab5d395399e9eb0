// Words and numbers as the page shows them. Pure functions.

const order = new Intl.Collator("en", {numeric: true, sensitivity: "base"});

/** "layer2" before "layer10"; equal but for case: by code. */
const natural = (a, b) => order.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);

/** Four digits that matter: 0.1235, 12346, 1.2e-7. Text stays text. */
function brief(value, digits = 4) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return value === null || value === undefined ? "" : String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return grouped(value);
  const size = Math.abs(value);
  if (size < 1 && digits < 9 && +size.toPrecision(digits) === 1) return brief(value, digits + 1); // 1 is said of all alone
  const text = size < 1e-4 || size >= 1e7 ? value.toExponential(digits - 2) : String(+value.toPrecision(digits));
  return text.replace("-", "−").replace("e−", "e-").replace("e+", "e");
}

/** Numbers of an axis in a few letters, each with the digits that tell it from the others: 0.1, 200,000, 2e9, −1.23e6,
 * 1e-12; nothing of null. */
function axisTexts(values) {
  const text = (value, digits) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    if (!size || !Number.isFinite(size) || (size >= 1e-4 && size < 1e6)) return brief(value, digits);
    return String(Number(value).toExponential(digits - 1))
      .replace(/\.?0*e/, "e")
      .replace("e+", "e")
      .replace(/^-/, "−");
  };
  const many = new Set(values).size;
  for (let digits = 3; ; digits++) {
    const found = values.map(value => text(value, digits));
    if (digits >= 15 || new Set(found).size === many) return found;
  }
}

/** 12,345 */
const grouped = value =>
  String(value)
    .replace("-", "−")
    .replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** A change with its sign: +3, −0.25; nothing of none. */
const signed = value => (value > 0 ? `+${brief(value)}` : value < 0 ? brief(value) : "");

/** 99.7 %; 0 and 100 are said of nothing and of all alone: others have as many digits as it takes. */
function percent(share, digits = 1) {
  const text = (100 * share).toFixed(digits);
  if (digits < 9 && share !== Math.round(share) && +text === Math.round(share) * 100) return percent(share, digits + 1);
  return `${text.replace(/\.0+$/, "")} %`;
}

const plural = (count, one, more = `${one}s`) => `${grouped(count)} ${count === 1 ? one : more}`;

/** At most so many characters, with both ends: names often differ in their last part. */
function shorten(text, most) {
  const letters = [...text];
  if (letters.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - tail).join("")}…${letters.slice(letters.length - tail).join("")}`;
}

const STAGES = {
  val: "val",
  valid: "val",
  validation: "val",
  test: "test",
  predict: "predict",
  train: "train",
  training: "train",
};

/** {stage, rest, every} of a name: "train/loss_step" is {train, loss, step}, "loss/val" is {val, loss}; stage and every
 * may be "". */
function partsOf(whole) {
  const name = bare(whole),
    [, head, separator, tail] = name.match(/^([^/_]*)([/_]?)(.*)$/s),
    behind = name.match(/^(.+)\/([a-z]+)(_(?:step|epoch))?$/is);
  if (behind && STAGES[behind[2].toLowerCase()] && !STAGES[head.toLowerCase()])
    return {stage: STAGES[behind[2].toLowerCase()], rest: behind[1], every: (behind[3] || "").slice(1)};
  const stage = (separator && tail && STAGES[head.toLowerCase()]) || "";
  const [, rest, every = ""] = (stage ? tail : name).match(/^(.+?)(?:_(step|epoch))?$/s);
  return {stage, rest, every};
}

/** A name without the number of its loader. */
const bare = name => name.replace(/(?!^)\/dataloader_idx_\d+$/, "");

const STAGE_ORDER = ["val", "test", "predict", "train"];

/** Validation first, then by name. */
function byStage(a, b) {
  const rank = key => (STAGE_ORDER.indexOf(partsOf(key).stage) + 5) % 5;
  return rank(a) - rank(b) || natural(a, b);
}

const HIGHER =
  /acc|f1|f_?beta|auroc|auc|roc|precision|recall|iou|dice|kappa|matthews|mcc|r2|map\b|psnr|ssim|bleu|rouge|score|spearman|pearson|(\b|_)ap\b/i;
const LOWER = /loss|err|mse|mae|rmse|nll|perplexity|ppl|wer\b|cer\b|ece|fid|divergence|cost|distance/i;

/** Whether the "max" or the "min" of a metric is its best, by its name; "" if the name does not say it. */
function bestOf(name) {
  const {rest} = partsOf(name);
  return LOWER.test(rest) ? "min" : HIGHER.test(rest) ? "max" : "";
}

/** The state of the page as the part of an address after "#": key@step, or key@step~other to compare. */
function linkOf({key = "", step = null, other = null}) {
  const at = step === null ? "" : `@${step}${other === null ? "" : `~${other}`}`;
  return encodeURIComponent(key).replaceAll("%2F", "/") + at;
}

/** The state that `linkOf` wrote. What is no such state is a key. */
function stateOf(link) {
  const [, key, step, other] = link.match(/^(.*?)(?:@(\d+)(?:~(\d+))?)?$/s);
  let name = key;
  try {
    name = decodeURIComponent(key);
  } catch {
    /* a stray % stays as it is */
  }
  return {key: name, step: step === undefined ? null : +step, other: other === undefined ? null : +other};
}

/** What a search box is asked: every word is somewhere in the text. */
function matches(text, wanted) {
  const low = text.toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every(word => low.includes(word));
}
