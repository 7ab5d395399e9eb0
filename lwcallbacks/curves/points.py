"""Points of ROC and precision-recall curves from binned scores, and fewer of them that look the same.

    points = roc(binned)                               # x: false positive rate, y: true positive rate
    simplified(steps(precision_recall(binned)))        # to be drawn

Areas are worked out from the counts (`areas`) and not from these points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lwcallbacks.reductions import BinnedScores

MOST = 1000
TOLERANCE = 0.0005


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a curve in the order of falling thresholds: a score of at least `threshold` is a positive.

    Attributes:
        x: float64 [K]; false positive rate, or recall.
        y: float64 [K]; true positive rate, or precision.
        threshold: float64 [K]; the first one of a ROC curve is inf: nothing is positive. NaN of a point that no
            threshold has.
    """

    x: np.ndarray
    y: np.ndarray
    threshold: np.ndarray

    def at(self, index: np.ndarray) -> Points:
        """Some of the points."""
        return Points(self.x[index], self.y[index], self.threshold[index])


NONE = Points(np.zeros(0), np.zeros(0), np.zeros(0))


def roc(binned: BinnedScores, most: int = MOST) -> Points:
    """The ROC curve, from (0, 0) to (1, 1); no point without a positive or without a negative.

    Points on the straight line between their neighbours are left out; of what then is more than `most`, those stay that
    are about as far from one another along the curve.
    """
    hits, false = binned.above
    if not hits[-1] or not false[-1]:
        return NONE
    edges = np.concatenate([[np.inf], binned.low[::-1]])
    kept = np.flatnonzero(_turns(false, hits))
    return _spread(Points(false[kept] / false[-1], hits[kept] / hits[-1], edges[kept]), most)


def precision_recall(binned: BinnedScores, most: int = MOST) -> Points:
    """The precision-recall curve, from the highest score to recall 1; no point without a positive.

    Bins without a positive add no point: recall stays and precision falls.
    """
    hits, false = binned.above
    if not hits[-1]:
        return NONE
    kept = np.flatnonzero(np.diff(hits)) + 1
    hits, false, edges = hits[kept], false[kept], binned.low[::-1][kept - 1]
    return _spread(Points(hits / hits[-1], hits / (hits + false), edges), most)


def steps(points: Points) -> Points:
    """A precision-recall curve as its area is defined: each precision holds from the recall of the point before on.

    The points that this adds are corners of the picture: their precision is not that of their recall.
    """
    if not len(points.x):
        return points
    before = np.concatenate([[0.0], points.x[:-1]])
    x = np.stack([before, points.x], axis=1).ravel()
    of_corner = np.full(len(points.x), np.nan)
    return Points(x, points.y.repeat(2), np.stack([of_corner, points.threshold], axis=1).ravel())


def simplified(points: Points, tolerance: float = TOLERANCE) -> Points:
    """Those points that matter: the lines between them pass all others at a distance of at most `tolerance`.

    Source: D. Douglas and T. Peucker, Algorithms for the reduction of the number of points required to represent a
    digitized line or its caricature, Cartographica 10 (1973), 112-122.
    """
    if len(points.x) < 3:
        return points
    kept = np.zeros(len(points.x), dtype=bool)
    kept[[0, -1]] = True
    parts = [(0, len(kept) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        distance = _from_line(points.x[first : last + 1], points.y[first : last + 1])
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            kept[first + farthest] = True
            parts += [(first, first + farthest), (first + farthest, last)]
    return points.at(np.flatnonzero(kept))


def _turns(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points of whole numbers are not on the line between their neighbours, and the ends: bool [K]."""
    if len(x) and int(x[-1]) * int(y[-1]) >= 2**62:
        x, y = x.astype(object), y.astype(object)
    (dx, dy), turns = (np.diff(x), np.diff(y)), np.ones(len(x), dtype=bool)
    turns[1:-1] = dx[:-1] * dy[1:] != dx[1:] * dy[:-1]
    return turns


def _spread(points: Points, most: int) -> Points:
    """At most `most` points, about as far from one another along the curve, with its ends."""
    if len(points.x) <= most:
        return points
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(points.x)) + np.abs(np.diff(points.y)))])
    index = np.searchsorted(length, np.linspace(0, length[-1], most - 1))
    return points.at(np.unique(np.concatenate([index.clip(max=len(length) - 1), [len(length) - 1]])))


def _from_line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far points are from the segment between the first and the last of them."""
    dx, dy = x[-1] - x[0], y[-1] - y[0]
    length = np.hypot(dx, dy)
    if length == 0:
        return np.asarray(np.hypot(x - x[0], y - y[0]))
    return np.asarray(np.abs(dx * (y - y[0]) - dy * (x - x[0])) / length)
