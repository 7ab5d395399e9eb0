"""What a slider over thresholds reads: true and false positives at round thresholds, from the counts, not from a line.

wanted = round_thresholds([binned, other], most=200)    # 0.005, 0.01, ... 0.995
at, hits, false = counted(binned, wanted)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lwcallbacks.reductions import BinnedScores


def round_thresholds(several: Sequence[BinnedScores], most: int) -> np.ndarray:
    """Ascending multiples of 1, 2 or 5 times a power of ten, float64 [G], about `most` of them: from where every score
    is a positive to where none is, but not above 1."""
    filled = [binned for binned in several if len(binned.low)]
    if not filled:
        return np.zeros(0)
    low = min(float(binned.low[0]) for binned in filled)
    high = max(float(binned.high[-1]) for binned in filled)
    least = max((high - low) / most, 1e-12)
    digits = math.ceil(-math.log10(least))
    factor = next(f for f in (1, 2, 5, 10) if f >= least * 10.0**digits * (1 - 1e-9))
    scale = 10.0**digits
    first, last = math.floor(low * scale / factor), math.ceil(min(high, 1.0) * scale / factor)
    return np.arange(first, last + 1) * factor / scale


def counted(binned: BinnedScores, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds float64 [G], and how many positives and negatives have a score of at least each, int64 [G].

    Each threshold is the wanted one or, inside of a bin that holds scores, the lower edge of that bin: on which side of
    the wanted one they lie is not known. The counts are always those of the threshold beside them.
    """
    if not len(binned.low):
        return wanted, np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.int64)
    hits, false = binned.above
    place = np.searchsorted(binned.low, wanted, side="left")
    before = (place - 1).clip(min=0)
    inside = (place > 0) & (binned.high[before] > wanted)
    taken = len(binned.low) - np.where(inside, before, place)
    return np.where(inside, binned.low[before], wanted), hits[taken], false[taken]
