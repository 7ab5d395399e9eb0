"""Areas under curves from binned scores, each with the smallest and the largest that the scores can have.

    area = auroc(binned)
    area.value, area.low, area.high                    # the area itself lies between low and high
    print(area)                                        # 0.9312, off by at most 0.0002

In what order the scores of one bin are is not known, nor which of them are equal. `low` and `high` are the extremes
over all orders; `value` is that of equal scores, so it is exact where each bin holds equal scores only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lwcallbacks.reductions import BinnedScores

DIGITS = 4
_DIRECT = 64


@dataclass(frozen=True)
class Bounded:
    """A number with the least and the most that it can be; NaN three times where it is not defined.

    >>> str(Bounded(0.93118, 0.93105, 0.93131)), str(Bounded(0.5, 0.5, 0.5))
    ('0.9312, off by at most 0.0002', '0.5000')
    """

    value: float
    low: float
    high: float

    @property
    def bound(self) -> float:
        """How far off `value` is at most."""
        return max(self.high - self.value, self.value - self.low)

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "not defined"
        shown = round(self.value, DIGITS)
        if self.low == self.high:
            return f"{shown:.{DIGITS}f}"
        off = math.ceil(max(self.high - shown, shown - self.low) * 10**DIGITS - 1e-9) / 10**DIGITS
        return f"{shown:.{DIGITS}f}, off by at most {off:.{DIGITS}f}"


UNDEFINED = Bounded(math.nan, math.nan, math.nan)


def mean_of(areas: Iterable[Bounded]) -> Bounded:
    """The mean of those that are defined."""
    defined = [area for area in areas if not math.isnan(area.value)]
    if not defined:
        return UNDEFINED
    return Bounded(*(math.fsum(column) / len(defined) for column in zip(*map(_three, defined), strict=True)))


def _three(area: Bounded) -> tuple[float, float, float]:
    return area.value, area.low, area.high


def auroc(binned: BinnedScores) -> Bounded:
    """The area under the ROC curve: how often a positive's score is above a negative's, a tie counting half.

    Pairs within a bin may be in either order. In whole numbers; not defined without a positive or without a negative.
    Source: T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27 (2006), 861-874.
    """
    negatives, positives = binned.negatives, binned.positives
    pairs = int(negatives.sum()) * int(positives.sum())
    if not pairs:
        return UNDEFINED
    if pairs >= 2**62:
        negatives, positives = negatives.astype(object), positives.astype(object)
    right = int(positives @ (np.cumsum(negatives) - negatives))
    open_ = int(positives @ negatives)
    return Bounded((2 * right + open_) / (2 * pairs), right / pairs, (right + open_) / pairs)


def average_precision(binned: BinnedScores) -> Bounded:
    """The area under the precision-recall curve as a step function: the mean of the precision at each positive.

    It is not defined without a positive. It is not the area by trapezoids, which is too large: between two points of
    the curve precision does not change linearly. Source: J. Davis and M. Goadrich, The relationship between
    precision-recall and ROC curves, ICML 2006, 233-240.

    Of the positives of a bin, precision is highest where all have one score above the bin's negatives, and lowest where
    they come one by one below them. Of the latter, the first 64 are added up one by one; what is said of more is lower
    by less than 2 in 100,000 of them, for 1 / (a + i) is below the integral of 1 / x from a + i - 1/2 to a + i + 1/2.
    """
    negatives, positives = binned.negatives[::-1].astype(np.float64), binned.positives[::-1].astype(np.float64)
    total = positives.sum()
    if not total:
        return UNDEFINED
    hits, false = np.cumsum(positives) - positives, np.cumsum(negatives) - negatives
    holds = positives > 0
    hits, false, p, n = hits[holds], false[holds], positives[holds], negatives[holds]
    after = hits + p
    value = p * after / (after + false + n)
    high = p * after / (after + false)
    above = hits + false + n
    low = np.zeros(len(p))
    for i in range(1, _DIRECT + 1):
        more = np.flatnonzero(p >= i)
        if not len(more):
            break
        low[more] += (hits[more] + i) / (above[more] + i)
    rest = np.flatnonzero(p > _DIRECT)
    log = np.log((above[rest] + p[rest] + 0.5) / (above[rest] + _DIRECT + 0.5))
    low[rest] += p[rest] - _DIRECT - (above[rest] - hits[rest]) * log
    areas = [math.fsum(part.tolist()) / float(total) for part in (value, low, high)]
    return Bounded(areas[0], min(areas[:2]), max(areas[0], areas[2]))
