"""Which layer is ill, since which step and how much: rules over what each logged step was made of, in NumPy.

diagnosis = Diagnosis()
diagnosis.know(names)                            # all parameters that may come, in the order of the module
diagnosis.feed_start(names, elements, norms)     # of parameters when training begins
diagnosis.feed(step=50, layers=layers)          # a `Layers` of one step of an optimizer
diagnosis.feed_members(50, members, layers.names)   # which parameters it has, and which of them have a gradient
diagnosis.feed_units(50, {"net.1": (0.43, 512)})    # dead units of modules, and how many values of each were seen
for finding in diagnosis.findings():            # ten at most, the worst first; none of a healthy network
    print(finding.layer, finding.illness, finding.since, finding.how_much)
diagnosis.passed()                              # what was found and has not been seen for a while
state = diagnosis.state_dict()                  # of a size that does not grow with steps

A layer here is a module: its weight and its bias together, so that a bias before a batch norm, whose gradient is
nothing but rounding, or one that began at zero, speaks for nobody. An illness is what `NEEDED` of the last `WINDOW`
logged steps of the layer have shown; all of them where it is a gradient of zero or a layer that is not updated, and a
single step where it is NaN or infinity. Norms are those before clipping, where they are known. What has no gradient at
all is in `absent.py`, what is out of proportion to the other layers in `unlike.py`, and what is said in `words.py`. A
false alarm is worse than one that is missed: thresholds are powers of ten away from what healthy networks show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lwcallbacks.gradients.absent import Absent, Members
from lwcallbacks.gradients.finding import ILLNESSES, NEEDED, WINDOW, Finding, Illness, severity
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.norms import joined
from lwcallbacks.gradients.sample import SAMPLE
from lwcallbacks.gradients.unlike import FEWEST_ELEMENTS, Beside
from lwcallbacks.gradients.words import NONE_IS_UPDATED, in_words, large_in_words, odd_in_words, size_in_words

MOST = 10
"""Findings that are given at once."""
REMEMBERED = 64
"""Logged norms of a layer that its own median is of."""
KNOWN = 16
"""Logged norms from which on a layer has a median of its own."""
FEWEST = 3
"""Layers with a gradient from which on one is compared with the others."""
GONE = 64
"""Logged steps without a gradient after which a layer is not listed any more."""

VANISHED = 1e-4
"""A gradient vanishes where its norm, and its root mean square, is below this part of the upper quartile of the layers.
Through each layer it shrinks by a factor (Bengio, Simard and Frasconi, "Learning long-term dependencies with gradient
descent is difficult", 1994; Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
networks", 2010), so that a few layers make powers of ten."""
EXPLODED = 100.0
"""A gradient explodes where its norm is above so many times its own median, or that of the layers, and a step changes
the layer by more than `TOO_FAST` (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
networks", 2013). A large norm alone harms nobody under an optimizer that divides by it."""
CLIPPED = 1e-3
"""A gradient explodes as well where clipping leaves less than this part of it: an optimizer such as Adam divides by
what is left, and its steps look as ever. It is the layer with the largest norm before clipping, if that is `EXPLODED`
times the lower quartile of the layers; where all of them are large, the loss is a sum. What vanishes is not judged at
such a step, as everything is small beside the largest."""
TOO_FAST, TOO_SLOW = 1e-1, 1e-6
"""Update ratios that are too large and too small. About 1e-3 is usual (A. Karpathy, CS231n, "Ratio of weights:updates",
https://cs231n.github.io/neural-networks-3/); these are a hundred and a thousand times away."""
FLOOR = 1e-3
"""Root mean square below which a parameter counts as this large, as one that began at zero: after `eps_2` of Adafactor
(Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018)."""
YOUNG, SETTLED = 50, 500
"""Steps of a layer before which its gradient may be small, as it is behind a layer that began at zero, and its update
ratio small or large: learning rates are warmed up, and a parameter that began at zero grows at first."""
BEHIND = 1e-3
"""A layer hardly learns where its update ratio is below this part of the layers' median as well, or was never larger:
at the end of a schedule all of them are small."""
MOVES = 1e-5
"""A layer is not updated where a step changes no element, though the gradient's norm is above this part of the layer's,
so that a step of any usual size does. A smaller one may be lost to rounding, as that of a network without a loss."""
SHRUNK = 1e-2
"""Part of what it began with that is left of a layer's weights, from which on a weight decay has taken them."""
GROWN, GROWN_FROM = 50.0, 4.0
"""So many times the root mean square that they began with, and at least this one: weights that a step, or the first
ones, have blown up. What grows little by little is meant; and with it a gradient is lost in some layer:
where targets are large, weights have to be. Beside a layer that began too large, that one is the cause."""
FEWEST_MOVED = 32
"""Of a parameter whose change is told by a sample, as many elements of it have to have a gradient, by their share."""
ZERO = 0.99
"""Share of zeros from which on a gradient counts as zero: of every parameter of a layer, such as a bias, which has one
number for each unit. Fewer zeros need not be an illness: the weight of an embedding has many, as has one behind inputs
that are mostly zero, and of a batch of one sample most units of a ReLU may be off."""
LOST = 0.1
"""Share of what is not zero that is as small as float16 can hold, within four times of the smallest, from which on what
is smaller is lost to a degree that matters: zero in its place."""
DEAD = 0.4
"""Share of a module's units that give zero for all samples: as many as are dead behind a learning rate that is too high
(A. Karpathy, CS231n, "Commonly used activation functions", https://cs231n.github.io/neural-networks-1/)."""
FEWEST_VALUES = 32
"""Values of each unit, by samples and positions, from which on it can be told: of one sample half of a ReLU's units are
off in any network."""

_RULES = tuple(name for name in ILLNESSES if name not in ("not finite", "no gradient", "in no optimizer"))
_AGES: dict[Illness, int] = {"vanishes": YOUNG, "learns too fast": SETTLED, "hardly learns": SETTLED}
_BESIDE_GROWTH = [_RULES.index(name) for name in ("zero", "vanishes", "large weights")]
_ALWAYS = ("zero", "not updated")
"""What all of the last logged steps have to show."""


class Diagnosis:
    """See the module's synopsis.

    Args:
        by_module: whether names are of parameters, and those of one module are to be one layer.
        in_float16: whether gradients are worked out in float16.

    >>> Diagnosis().findings()
    []
    """

    def __init__(self, *, by_module: bool = True, in_float16: bool = False) -> None:
        self.by_module = by_module
        self.in_float16 = in_float16
        self._names: dict[str, int] = {}
        self._fed = 0
        self._arrays = _empty(0)
        self._absent = Absent()
        self._grouping: tuple[tuple[str, ...], np.ndarray, np.ndarray] | None = None

    # -- a step ----------------------------------------------------------------------------------------------------

    def know(self, names: Sequence[str]) -> None:
        """Names as `feed` is given them, from the input to the loss: this decides which is named first of layers that
        have an illness from each other. What is not among them comes behind."""
        self._rows(dict.fromkeys(map(self._module, names)))
        self._absent.know(names)

    def feed_start(self, names: Sequence[str], elements: np.ndarray, norms: np.ndarray) -> None:
        """Take in the 2-norms [P] of parameters before the first step; what a checkpoint has told goes before it.

        Args:
            names: as `feed` is given them; parameters of one name are one.
        """
        of = {name: i for i, name in enumerate(dict.fromkeys(names))}
        same = np.array([of[name] for name in names], int)
        group, rows = self._grouped(tuple(of))
        elements, norms = np.bincount(same, elements), _joined(norms, same, len(of))
        a, scale = self._arrays, _scale(norms, elements, group, len(rows))
        a["began"][rows] = np.where(np.isnan(a["began"][rows]), scale, a["began"][rows])

    def feed(self, step: int, layers: Layers) -> None:
        """Take in a logged step.

        Args:
            step: its number, as it is to be named.
            layers: by parameter, or already put together.
        """
        self._fed += 1
        group, rows = self._grouped(layers.names)
        own, a = _Signals(layers, group, len(rows), self.in_float16), self._arrays
        a["first"][rows] = np.where(a["first"][rows] < 0, step, a["first"][rows])
        a["last"][rows], a["fed"][rows] = step, self._fed
        with np.errstate(over="ignore", invalid="ignore"):
            shown = self._shown(own, rows)
        for name, seen in shown.items():
            begins = self._vote(rows, _RULES.index(name), step, *seen)
            if name == "explodes":
                a["onset"][rows[begins]] = seen[1][begins]
            if name == "zero":
                is_due = self._fed - a["leapt"][rows[begins]] <= WINDOW
                a["before_zero"][rows[begins]] = np.where(is_due, a["leap"][rows[begins]], 0)
        self._remember(step, own, rows)
        self._look_back(rows)

    def feed_members(self, step: int, members: Members, with_gradient: Iterable[str], optimizer: str = "") -> None:
        """Take in which parameters an optimizer has at a logged step, and which of them have a gradient.

        Args:
            step: its number, as it is to be named.
            members: by the names that `feed` is given.
            with_gradient: those of `members.learning` that have one.
            optimizer: its name, as `layers_of` calls parameters by it that the network does not have.
        """
        self._absent.feed(step, members, with_gradient, optimizer)

    def feed_nonfinite(self, step: int, names: Iterable[str]) -> None:
        """The first step, logged or not, at which gradients of these layers were not finite."""
        a, known = self._arrays, dict.fromkeys(map(self._module, names)).keys() & self._names.keys()
        rows = self._rows(known)
        since = a["since_odd"][rows]
        a["since_odd"][rows] = np.where(since < 0, step, np.minimum(since, step))

    def _shown(self, own: _Signals, rows: np.ndarray) -> dict[Illness, tuple[np.ndarray, np.ndarray]]:
        """By illness, which layers show it in this step, and how much."""
        a = self._arrays
        peer, peer_ratio = (_quantile(x, own.alive, 0.5) for x in (own.norm, own.ratio))
        upper, upper_rms = (_quantile(x, own.alive, 0.75) for x in (own.norm, own.rms))
        is_clipped = own.clip < CLIPPED
        logs = a["log_norms"][rows]
        aged = np.isfinite(logs).sum(1) >= KNOWN
        median = np.full(len(rows), np.nan)
        median[aged] = np.nanmedian(logs[aged], axis=1)
        by_itself = np.nan_to_num(10.0 ** (own.log_norm - median))
        is_young = a["last"][rows] - a["first"][rows] < SETTLED  # from zero it grows, though its gradient is sound
        growth = np.fmax(by_itself, np.where(is_young, 0, np.nan_to_num(own.norm / peer)))
        is_fast = own.alive & (own.floored > TOO_FAST)
        if own.has_ratios:
            explodes = is_fast & ((growth > EXPLODED) | (own.floored > 1))
        else:
            explodes = own.alive & (by_itself > EXPLODED)
        lower = _quantile(own.norm, own.alive, 0.25)
        is_largest = is_clipped & own.alive & (own.norm == own.norm.max(initial=0)) & (own.norm > EXPLODED * lower)
        explodes = explodes | is_largest
        a["clipped"][rows[explodes]] = np.where(is_largest, own.norm, 0)[explodes]
        a["clip"][rows[is_largest]] = own.clip
        vanishes = own.alive & (own.norm < VANISHED * upper) & (own.rms < VANISHED * upper_rms) & (not is_clipped)
        ratio = np.nan_to_num(own.ratio)  # 0 where it is not known
        a["peak"][rows] = np.fmax(a["peak"][rows], ratio)
        is_behind = (ratio < BEHIND * peer_ratio) | (a["peak"][rows] < TOO_SLOW)
        a["growth"][rows[explodes]] = growth[explodes]
        a["beside"][rows[vanishes], 0], a["beside"][rows[vanishes], 1] = own.norm[vanishes], upper
        a["began"][rows] = np.where(np.isnan(a["began"][rows]), own.beside.scale, a["began"][rows])
        leaps = own.alive & (own.floored > 1)
        a["leapt"][rows[leaps]], a["leap"][rows[leaps]] = self._fed, own.floored[leaps]
        grown, times = own.grown(a["began"][rows])
        a["sudden"][rows] |= leaps | (grown & (a["last"][rows] - a["first"][rows] <= YOUNG))
        larger, faster, slower = own.beside.large(a["began"][rows]), own.beside.faster(), own.beside.slower()
        return {
            "large weights": (larger > 0, larger),
            "weights vanish": own.shrunk(a["began"][rows]),
            "weights grow": (grown & a["sudden"][rows], times),
            "faster than the others": (faster > 0, faster),
            "slower than the others": (slower > 0, slower),
            "explodes": (explodes, own.floored if own.has_ratios else growth),
            "zero": (own.alive.any() & (own.zero >= own.zero_from), own.zero),
            "vanishes": (vanishes, own.norm / upper),
            "lost in float16": (own.lost >= LOST, own.lost),
            "learns too fast": (is_fast, own.floored),
            "not updated": (own.alive & own.is_still, own.norm),
            "hardly learns": (own.alive & (ratio > 0) & (ratio < TOO_SLOW) & is_behind, ratio),
        }

    def _remember(self, step: int, own: _Signals, rows: np.ndarray) -> None:
        """What is not finite, and the norms that later ones are compared with."""
        a, rule = self._arrays, _RULES.index("explodes")
        odd = own.odd.sum(1) > 0
        begins = rows[odd & (a["odd_steps"][rows] == 0)]
        a["since_odd"][begins] = np.where(a["since_odd"][begins] < 0, step, a["since_odd"][begins])
        a["exploded"][begins] = np.where(a["votes"][begins, rule] > 0, a["since"][begins, rule], -1)
        large = _RULES.index("large weights")
        a["large"][begins] = np.where(a["votes"][begins, large] > 0, a["measure"][begins, large], 0)
        a["odd_steps"][rows] += odd
        a["odd"][rows] += own.odd
        alive = rows[own.alive]
        a["log_norms"][alive, a["num_norms"][alive] % REMEMBERED] = own.log_norm[own.alive]
        a["num_norms"][alive] += 1

    def feed_units(self, step: int, dead: Mapping[str, tuple[float, float]]) -> None:
        """Take in what modules gave in a logged step.

        Args:
            step: its number, as it is to be named.
            dead: by module, the share of its units that gave zero for all samples, and how many values of each unit
                were seen: too few tell nothing, and the module is left as it was.
        """
        told = {name: share for name, (share, values) in dead.items() if values >= FEWEST_VALUES}
        rows, share = self._rows(told), np.array(list(told.values()), float)
        self._arrays["fed"][rows] = self._fed
        self._vote(rows, _RULES.index("dead units"), step, share >= DEAD, share)
        self._look_back(rows)

    def _vote(self, rows: np.ndarray, rule: int, step: int, is_shown: np.ndarray, measure: np.ndarray) -> np.ndarray:
        """Which of these rows show an illness in this step, bool [M]; and of which it is the first time in a while."""
        a = self._arrays
        before = a["votes"][rows, rule]
        a["votes"][rows, rule] = (before << 1) | is_shown
        begins = np.asarray((before == 0) & is_shown)
        a["since"][rows[begins], rule] = step
        a["measure"][rows[is_shown], rule] = measure[is_shown]
        a["shown"][rows[is_shown], rule] = step
        return begins

    def _ill(self, rows: np.ndarray | slice) -> np.ndarray:
        """Which of these rows have which illness by now, bool [M, rules]."""
        a = self._arrays
        ill = _ones(a["votes"][rows]) >= np.array([WINDOW if rule in _ALWAYS else NEEDED for rule in _RULES])
        for rule, age in _AGES.items():
            ill[:, _RULES.index(rule)] &= a["last"][rows] - a["first"][rows] >= age
        zero, vanishes, began_large = np.any(_ones(a["votes"][:, _BESIDE_GROWTH]) >= NEEDED, axis=0)
        if not (zero or vanishes) or began_large:
            ill[:, _RULES.index("weights grow")] = False
        return np.asarray(ill)

    def _look_back(self, rows: np.ndarray) -> None:
        """What is found now, if it should pass: from when to when it was seen."""
        a, ill = self._arrays, self._ill(rows)
        for name in ("since", "shown"):
            a[f"was_{name}"][rows] = np.where(ill, a[name][rows], a[f"was_{name}"][rows])

    def _module(self, name: str) -> str:
        return name.rpartition(".")[0] or name if self.by_module else name

    def _grouped(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Of each of P names which of the step's layers it is part of, int [P], and the rows of these in the state."""
        if self._grouping is None or self._grouping[0] != names:
            modules = [self._module(name) for name in names]
            of = {module: i for i, module in enumerate(dict.fromkeys(modules))}
            self._grouping = names, np.array([of[module] for module in modules], int), self._rows(of)
        return self._grouping[1:]

    def _rows(self, modules: Iterable[str]) -> np.ndarray:
        """Where they are in the state, int [M]."""
        new = [module for module in modules if module not in self._names]
        if new:
            self._names |= {module: len(self._names) + i for i, module in enumerate(new)}
            added = _empty(len(new))
            self._arrays = {name: np.concatenate([a, added[name]]) for name, a in self._arrays.items()}
        return np.array([self._names[module] for module in modules], int)

    # -- what it says ----------------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """At most ten layers that look ill, the worst first, each with the worst that it has."""
        return self._all()[:MOST]

    def _all(self) -> list[Finding]:
        a, ill, names = self._arrays, self._ill(slice(None)), list(self._names)
        absent = self._absent.findings(self._module)
        listed = (a["fed"] > self._fed - GONE) & ((a["odd_steps"] > 0) | ill.any(1))
        found = [self._finding(i, names[i], ill[i]) for i in np.flatnonzero(listed).tolist()]
        without = {one.layer for one in absent if one.illness == "no gradient"}
        found = [one for one in found if one.layer not in without or one.illness == "not finite"] + absent
        alive = (a["fed"] > self._fed - GONE) & (a["num_norms"] > 0)
        if alive.sum() > 1 and ill[alive, _RULES.index("not updated")].all():
            found = [replace(one, how_much=NONE_IS_UPDATED) if one.illness == "not updated" else one for one in found]
        # What explodes first makes others explode; of layers without a gradient the last passes none on to the others.
        order = {one.layer: (0.0, -i) for i, one in enumerate(absent)}
        order |= {name: (-a["onset"][i], -i) for name, i in self._names.items() if name not in without}
        return sorted(found, key=lambda one: (-one.severity, one.since, *order[one.layer]))

    def passed(self) -> list[Finding]:
        """At most ten illnesses that were found and have passed, the worst first; of layers that have none now."""
        a, now = self._arrays, {one.layer for one in self._all()}
        was = (a["was_shown"] >= 0) & (a["odd_steps"] == 0)[:, None]
        names = list(self._names)
        found = []
        for i in np.flatnonzero(was.any(1)).tolist():
            if names[i] not in now:
                one, rule = self._finding(i, names[i], was[i]), int(np.flatnonzero(was[i])[0])
                since, until = int(a["was_since"][i, rule]), int(a["was_shown"][i, rule])
                found.append(replace(one, since=since, until=until))
        absent = self._absent.passed(self._module)
        found += [one for one in reversed(absent) if one.layer not in now]  # the last of them is the one to look at
        found.sort(key=lambda one: (-one.severity, one.since))
        worst = {one.layer: one for one in reversed(found)}
        return [one for one in found if one is worst[one.layer]][:MOST]

    def _finding(self, i: int, name: str, ill: np.ndarray) -> Finding:
        a = {key: array[i] for key, array in self._arrays.items()}
        if a["odd_steps"]:
            text = odd_in_words(a)
            if a["large"] > 0:
                text = f"{large_in_words(a['large'])}, and then {text}"
                return Finding(name, "large weights", int(a["first"]), text, severity("not finite", 2))
            if a["exploded"] < 0:
                return Finding(name, "not finite", int(a["since_odd"]), text, severity("not finite", 0.5))
            onset = size_in_words(a["onset"])
            text = f"explodes: a step changed it by {onset}, and then {text}, from {a['since_odd']:,} on"
            return Finding(name, "explodes", int(a["exploded"]), text, severity("not finite", 1))
        rule = int(np.flatnonzero(ill)[0])
        illness, measure = _RULES[rule], float(a["measure"][rule])
        text, weight = in_words(illness, measure, a, is_grown=bool(a["growth"] > EXPLODED))
        since = a["first"] if illness == "large weights" else a["since"][rule]  # which they were from the start
        return Finding(name, illness, int(since), text, severity(illness, weight))

    # -- a checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Names, a count, and arrays of one row for each layer."""
        return {
            "names": list(self._names),
            "num_steps": self._fed,
            **{f"absent_{k}": v for k, v in self._absent.state_dict().items()},
            **{k: a.copy() for k, a in self._arrays.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._names = {name: i for i, name in enumerate(state["names"])}
        self._fed = int(state["num_steps"])
        self._arrays = {key: np.array(state[key], a.dtype) for key, a in _empty(0).items()}
        self._absent.load_state_dict(
            {k.removeprefix("absent_"): v for k, v in state.items() if k.startswith("absent_")}
        )
        self._grouping = None


def _empty(size: int) -> dict[str, np.ndarray]:
    """The state of so many layers that were never fed."""
    rules = len(_RULES)
    return {
        "votes": np.zeros((size, rules), np.uint8),  # a bit for each of the last logged steps
        "since": np.full((size, rules), -1),
        "shown": np.full((size, rules), -1),  # the last step that has shown it
        "was_since": np.full((size, rules), -1),  # of the last time that it was found
        "was_shown": np.full((size, rules), -1),
        "measure": np.zeros((size, rules)),
        "beside": np.zeros((size, 2)),  # norm and the layers' upper quartile, when it last vanished
        "growth": np.zeros(size),
        "clipped": np.zeros(size),  # norm before clipping, if that is why it explodes
        "clip": np.zeros(size),  # and the part of it that was left
        "first": np.full(size, -1),
        "last": np.full(size, -1),
        "fed": np.zeros(size, np.int64),
        "peak": np.zeros(size),
        "odd": np.zeros((size, 2), np.int64),
        "odd_steps": np.zeros(size, np.int64),
        "since_odd": np.full(size, -1),
        "onset": np.zeros(size),  # what a step changed when it began to explode
        "exploded": np.full(size, -1),  # when that was, of a layer that is not finite
        "leapt": np.full(size, -(1 << 30)),  # at which logged step one has last changed it by more than its own size
        "leap": np.zeros(size),  # and by how much
        "before_zero": np.zeros(size),  # the same of one shortly before its gradient became zero, or 0
        "began": np.full(size, np.nan),  # root mean square of its largest parameter, at the start or when first seen
        "sudden": np.zeros(
            size, bool
        ),  # whether it has grown at the start, or a step has changed it by more than itself
        "large": np.zeros(size),  # how large its weights were beside the others, of a layer that is not finite
        "log_norms": np.full((size, REMEMBERED), np.nan, np.float32),
        "num_norms": np.zeros(size, np.int64),
    }


class _Signals:
    """What one step says of M layers, float64 [M] each."""

    def __init__(self, layers: Layers, group: np.ndarray, size: int, in_float16: bool) -> None:
        def total(of_parts: np.ndarray) -> np.ndarray:
            return np.bincount(group, of_parts, size)

        zeros, beside = layers.bins.smaller_than(0.0), layers.bins.beside()
        elements, num_zero = total(layers.elements), total(zeros)
        self.odd = np.stack([total(beside[:, 0]), total(beside[:, 1:].sum(1))], 1).astype(np.int64)
        used = _joined(layers.norms, group, size)
        self.alive = np.isfinite(used) & (used > 0)
        self.norm, self.clip = used, 1.0
        """Before clipping, where that is known, and the part of it that clipping has left."""
        if layers.before is not None:
            before = _joined(layers.before, group, size)
            self.norm = np.where(np.isfinite(before) & (before > 0), before, used)
            whole = float(joined(self.norm[self.alive]))
            self.clip = float(joined(used[self.alive])) / whole if whole > 0 else 1.0
        self.log_norm = np.log10(self.norm, where=self.alive, out=np.full(size, np.nan))
        self.rms = self.norm / np.sqrt(np.maximum(elements - num_zero, 1))
        share = zeros / np.maximum(layers.elements, 1)
        self.zero = np.ones(size)
        np.minimum.at(self.zero, group, share)
        self.zero_from = np.where(total(np.ones(len(group))) > 1, ZERO, 1.0)
        self.has_ratios = layers.changes is not None and layers.weights is not None
        self.ratio = self.floored = np.full(size, np.nan)
        self.is_still = np.zeros(size, bool)
        self.beside = Beside(used, elements - num_zero, elements, *[self.ratio] * 3)
        if layers.changes is not None and layers.weights is not None:
            change, weight = _joined(layers.changes, group, size), _joined(layers.weights, group, size)
            change[~np.isfinite(change) | ~np.isfinite(weight)] = np.nan
            self.ratio = np.divide(change, weight, where=weight > 0, out=np.full(size, np.nan))
            nonzero = layers.elements - zeros
            is_told = (nonzero > 0) & (layers.weights > 0)
            is_told &= (layers.elements < 2 * SAMPLE) | (nonzero * SAMPLE >= FEWEST_MOVED * layers.elements)
            self.is_still = (change == 0) & (total(is_told) > 0) & (used > MOVES * weight)
            scale = _scale(layers.weights, layers.elements, group, size)
            self.beside = Beside(used, elements - num_zero, elements, change, weight, scale)
            self.floored = np.nan_to_num(change / np.maximum(weight, FLOOR * np.sqrt(np.maximum(elements, 1))))
        self.is_several = elements >= FEWEST_ELEMENTS
        self.lost = np.zeros(size)
        if in_float16:
            limit = 4 * layers.bins.smallest()
            tiny = total(layers.bins.smaller_than(limit) - zeros) if np.isfinite(limit) else self.lost
            self.lost = tiny / np.maximum(elements - num_zero, 1)

    def shrunk(self, began: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of which layers hardly anything is left, and how much, beside what they began with."""
        left = self._by(began)
        return self.is_several & (left < SHRUNK), left

    def grown(self, began: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which layers are far larger than they began, and how many times."""
        times = self._by(began)
        return self.is_several & (times > GROWN) & (self.beside.scale > GROWN_FROM), times

    def _by(self, began: np.ndarray) -> np.ndarray:
        return np.asarray(np.divide(self.beside.scale, began, where=began > 0, out=np.ones(len(began))))


def _scale(norms: np.ndarray, elements: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Root mean square of the elements of the largest parameter of each layer, of all if several are."""
    largest = np.full(size, -1)
    np.maximum.at(largest, group, elements)
    is_largest = elements == largest[group]
    number = np.bincount(group, np.where(is_largest, elements, 0), size)
    return np.asarray(_joined(np.where(is_largest, norms, 0), group, size) / np.sqrt(np.maximum(number, 1)))


def _joined(norms: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Norms of groups from those of their parts."""
    finite = norms[np.isfinite(norms)]
    scale = max(float(finite.max(initial=0.0)), 1e-300)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.sqrt(np.bincount(group, (norms / scale) ** 2, size)) * scale)


def _quantile(values: np.ndarray, alive: np.ndarray, q: float) -> float:
    """Over the layers that have a gradient; NaN of too few."""
    known = values[alive & np.isfinite(values)]
    return float(np.quantile(known, q)) if len(known) >= FEWEST else np.nan


def _ones(votes: np.ndarray) -> np.ndarray:
    return np.asarray(np.unpackbits(votes[..., None], axis=-1).sum(-1))
