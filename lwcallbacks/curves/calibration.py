"""Calibration: how often a score is right, beside what it says.

found = calibration(binned, n_bins=16)
found.confidence, found.share                      # the points of a reliability diagram
found.ece                                          # expected calibration error
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lwcallbacks.curves.areas import UNDEFINED, Bounded
from lwcallbacks.reductions import BinnedScores


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram, of those bins of equal width that hold scores.

    Attributes:
        confidence: the mean score in each, float64 [B].
        share: the share of positives, float64 [B].
        count: how many scores, int64 [B].
        ece: the expected calibration error.
    """

    confidence: np.ndarray
    share: np.ndarray
    count: np.ndarray
    ece: Bounded


def calibration(binned: BinnedScores, n_bins: int) -> Calibration:
    """Put scores into `n_bins` bins of equal width from 0 to 1 and compare.

    The expected calibration error is the mean of |share - confidence|, weighted by count. A score counts as the middle
    of its narrow bin: the error is bounded by its edges. A narrow bin belongs where its middle is; one that lies across
    an edge widens the bound, since its scores may be on either side. Where `n_bins` is a power of two and scores are
    probabilities, none does. Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural
    networks, ICML 2017.
    """
    middle, each = (binned.low + binned.high) / 2, binned.negatives + binned.positives
    wide = np.minimum((middle * n_bins).astype(np.int64), n_bins - 1)

    def summed(weights: np.ndarray) -> np.ndarray:
        return np.bincount(wide, weights=weights, minlength=n_bins)

    count = summed(each)
    holds = count > 0
    positives, low, mean, high = (
        summed(of)[holds] for of in (binned.positives, each * binned.low, each * middle, each * binned.high)
    )
    count = count[holds]
    if not len(count):
        return Calibration(count, count, count.astype(np.int64), UNDEFINED)
    below, above = positives - high, positives - low  # the gap, times count, is between them
    gaps = (
        np.abs(positives - mean),
        np.maximum(0, np.maximum(below, -above)),
        np.maximum(np.abs(below), np.abs(above)),
    )
    total = float(count.sum())
    value, least, most = (math.fsum(gap.tolist()) / total for gap in gaps)
    moved = _across(binned, n_bins) / total
    ece = Bounded(value, max(0.0, least - moved), min(1.0, most + moved))
    return Calibration(mean / count, positives / count, count.astype(np.int64), ece)


def _across(binned: BinnedScores, n_bins: int) -> float:
    """How much the gaps of all wide bins can change together by scores of narrow bins that lie across an edge.

    One that moves takes its own gap from a wide bin and brings it to another.
    """
    first, last = np.floor(binned.low * n_bins), np.ceil(binned.high * n_bins) - 1
    gaps = binned.positives * (1 - binned.low) + binned.negatives * binned.high
    return 2 * math.fsum(gaps[np.minimum(first, n_bins - 1) < last].tolist())
