"""Layers whose steps or weights are out of all proportion to those of the others, at one step; in NumPy.

beside = Beside(used, nonzero, elements, changes, weights, scale)    # float64 [M] each, of M layers
beside.slower(), beside.faster(), beside.large(scale)                # by how many times, float64 [M]; 0 where it is not

How much of itself a step changes tells nothing by itself: of healthy layers under SGD it differs by powers of ten, as
those that began at zero, norms and embeddings do. But each kind of optimizer keeps one number alike for all layers: SGD
the change by the gradient, Adam the change of an element, Adafactor and LARS the change by the weight. The number that
differs least is the one that this optimizer keeps alike, and a layer that is powers of ten away from it has another
learning rate, or loses its steps. What is true of many layers is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST = 4
"""Layers from which on steps of one are compared with those of the others; for weights it takes one less."""
FEWEST_ELEMENTS = 32
"""Elements of a layer that is judged: a single one may move as little as it likes."""
FEW = 0.25
"""Share of the layers up to which they are said to be unlike the others."""
ALIKE, TIED = 0.2, 0.05
"""Powers of ten that half of the layers differ by from their median, at most, in the number that is kept alike; and by
how much more they may in another one, so that both are taken for it, and the milder is believed."""
APART = 200.0
"""So many times smaller or larger than the median a layer's number is. Healthy ones were up to 13 times away, and a
layer that is to learn a hundred times more slowly than the others is no finding."""
USUAL = 1e-4
"""Update ratio that a layer falls below that is too slow, and that the others are above where one is too fast: a head
on layers that hardly move is meant. About 1e-3 is usual."""
FAST = 5e-3
"""Update ratio that a layer is above that is too fast."""
TINY = 1e-7
"""Root mean square of a gradient below which Adam's steps become smaller, as its `eps` is 1e-8."""
LARGE, ALL_LARGER, USUAL_LARGER = 4.0, 4.0, 50.0
"""Root mean square of a weight that is too large; and so many times larger than that of any other layer, and of half of
all other elements. Weights of usual initialisations are at most 1, as those of norms and embeddings."""
STUCK = 1e-3
"""Update ratio that a layer with weights too large is below: those of an optimizer with steps in proportion are not."""


@dataclass(frozen=True, eq=False)
class Beside:
    """See the module's synopsis.

    Attributes:
        used: 2-norm of the gradient that was used.
        nonzero: how many elements of it are not zero.
        elements: how many there are.
        changes, weights: 2-norm of what the step changed, and of what was there.
        scale: root mean square of the elements of the layer's largest parameter: a bias may be as large as what it
            is to give.
    """

    used: np.ndarray
    nonzero: np.ndarray
    elements: np.ndarray
    changes: np.ndarray
    weights: np.ndarray
    scale: np.ndarray

    def slower(self) -> np.ndarray:
        """Where a step is so many times smaller than is alike for the others."""
        times, ratio, _ = self._times(self.nonzero)
        return _where_few((times < 1 / APART) & (ratio < USUAL), 1 / times, self._judged)

    def faster(self) -> np.ndarray:
        """Where a step is so many times larger."""
        times, ratio, usual = self._times(self.elements, by_weight=False)
        return _where_few((times > APART) & (ratio > FAST) & (usual > USUAL), times, self._judged)

    def large(self, began: np.ndarray) -> np.ndarray:
        """Where weights are so many times larger than half of all other elements, and have been from the start.

        Args:
            began: `scale` when a layer was first seen, float64 [M].
        """
        found = np.zeros(len(began))
        is_known = np.isfinite(began) & (began > 0) & (self.elements >= FEWEST_ELEMENTS)
        if is_known.sum() < FEWEST - 1:
            return found
        i = int(np.argmax(np.where(is_known, began, 0)))
        others = np.flatnonzero(is_known & (np.arange(len(found)) != i))
        times = began[i] / _weighted_median(began[others], self.elements[others])
        is_apart = began[i] > ALL_LARGER * began[others].max() and times > USUAL_LARGER
        is_stuck = self.changes[i] < STUCK * self.weights[i] and 2 * self.scale[i] > began[i]
        if began[i] > LARGE and is_apart and is_stuck:
            found[i] = times
        return found

    @property
    def _judged(self) -> np.ndarray:
        known = np.isfinite(self.used) & np.isfinite(self.changes) & np.isfinite(self.weights)
        known &= (self.changes > 0) & (self.weights > 0) & (self.elements >= FEWEST_ELEMENTS)
        return np.asarray(known & (self.used > TINY * np.sqrt(np.maximum(self.nonzero, 1))))

    def _times(self, moved: np.ndarray, *, by_weight: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
        """By what factor each layer's number differs from the median; its update ratio, and the median of these.

        Args:
            moved: the elements that Adam moves: at least those with a gradient, at most all.
            by_weight: whether to compare where the change by the weight is alike. It is for layers that have a weight
                decay and hardly any gradient as well, and then the others are not too fast.
        """
        judged, ones = self._judged, np.ones(len(self.used))
        if judged.sum() < FEWEST:
            return ones, ones, 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = self.changes / np.stack([self.used, np.sqrt(moved), self.weights])
            numbers = np.log10(np.where(judged, numbers, 1))
        medians = np.median(numbers[:, judged], axis=1, keepdims=True)
        differing = np.median(np.abs(numbers - medians)[:, judged], axis=1)
        if differing.min() > ALIKE or (differing[2] == differing.min() and not by_weight):
            return ones, ones, 0.0
        kept = (numbers - medians)[differing <= differing.min() + TIED]
        mildest = np.take_along_axis(kept, np.abs(kept).argmin(0)[None], 0)[0]
        return np.where(judged, 10**mildest, 1), np.where(judged, 10 ** numbers[2], 1), float(10 ** medians[2, 0])


def _where_few(found: np.ndarray, times: np.ndarray, judged: np.ndarray) -> np.ndarray:
    return np.where(found, times, 0.0) if found.sum() <= FEW * judged.sum() else np.zeros(len(found))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
