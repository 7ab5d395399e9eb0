// What is worked out of lists of numbers. Pure functions.

/** Index of the last of ascending numbers that is not above `value`; -1 if all are. */
function lastAtMost(ascending, value) {
  let low = 0,
    high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Exponential moving mean of weight 0 to 1, without the pull of a first value; null and NaN stay out. */
function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0,
    mass = 0;
  return values.map(value => {
    if (value === null || !Number.isFinite(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

/** Index of the first largest ("max") or smallest ("min") finite value; -1 if there is none. */
function bestIndex(values, which) {
  let best = -1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null || !Number.isFinite(value)) continue;
    if (best < 0 || (which === "max" ? value > values[best] : value < values[best])) best = i;
  }
  return best;
}

/** All numbers that are in one of the ascending lists, ascending. */
function union(lists) {
  const distinct = lists.filter(
    (list, i) => list.length && !lists.some((other, j) => j < i && sameNumbers(other, list)),
  );
  if (distinct.length === 1) return distinct[0];
  return [...new Set(distinct.flat())].sort((a, b) => a - b);
}

const sameNumbers = (a, b) => a === b || (a.length === b.length && a.every((value, i) => value === b[i]));

/** Values at ascending places, spread over more places; null in between. */
function spread(places, values, over) {
  if (places.length === over.length) return values;
  const result = new Array(over.length).fill(null);
  for (let i = 0, j = 0; i < places.length; i++) {
    while (over[j] !== places[i]) j++;
    result[j] = values[i];
  }
  return result;
}

/** Names in the order that a list has them; each other stays behind the one that it follows. */
function inOrder(names, order = []) {
  const result = order.filter(name => names.includes(name));
  let before = -1;
  for (const name of names) {
    const at = result.indexOf(name);
    if (at >= 0) before = at;
    else result.splice(++before, 0, name);
  }
  return result;
}

/** At most `most` of a list, evenly, with its first and last. */
function evenly(list, most) {
  if (list.length <= most) return list;
  return Array.from({length: most}, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]);
}

/** Round numbers from low to high, about `most` of them. */
function ticks(low, high, most = 5) {
  if (!(high > low)) return [low];
  const raw = (high - low) / most,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find(factor => factor * power >= raw * 0.999) * power;
  const result = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    result.push(+(i * step).toPrecision(12));
  return result;
}
