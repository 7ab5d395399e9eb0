"""A histogram whose bins never move: the leading bits of a float are its bin.

    histogram = LogHistogram()
    seen = histogram.value(histogram.lift(torch.randn(1000)))
    seen.quantile(0.5), seen.linear(bins=64)

So two histograms can always be added, whatever the range of what comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import Scatter, Scattered, Slots, State, amounts
from lwcallbacks.reductions.floats import as_float32


class LogBins:
    """What a `LogHistogram` saw: int64 counts [B] of the bins between float64 edges [B + 1], and what has no bin.

    `counts` runs from the most negative to the most positive bin. Zeros lie between the edges -s and s of the
    smallest bins and are counted in `num_zero`; NaN and infinities are in `num_nan`, `num_posinf`, `num_neginf`.

    >>> histogram = LogHistogram()
    >>> seen = histogram.value(histogram.lift(torch.tensor([0.0, 1.0, 2.0, 3.0, float("inf")])))
    >>> seen
    LogBins(num_finite=4, num_nan=0, num_posinf=1, num_neginf=0)
    >>> counts, edges = seen.linear(bins=3)
    >>> int(counts.sum()), float(edges[0])
    (4, 0.0)
    """

    # No dataclass: torchmetrics reaches into those.
    def __init__(
        self, counts: np.ndarray, edges: np.ndarray, *, num_zero: int, num_nan: int, num_posinf: int, num_neginf: int
    ) -> None:
        self.counts = counts
        self.edges = edges
        self.num_zero = num_zero
        self.num_nan = num_nan
        self.num_posinf = num_posinf
        self.num_neginf = num_neginf

    def __repr__(self) -> str:
        beside = f"num_nan={self.num_nan}, num_posinf={self.num_posinf}, num_neginf={self.num_neginf}"
        return f"LogBins(num_finite={self.num_finite}, {beside})"

    @property
    def num_finite(self) -> int:
        total: int = self.counts.sum().item()
        return total + self.num_zero

    def _filled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Low edge, high edge and count of the bins that hold something, ascending, zeros as a bin [0, 0]."""
        half = len(self.counts) // 2
        low = np.concatenate([self.edges[:half], [0.0], self.edges[half:-1]])
        high = np.concatenate([self.edges[1 : half + 1], [0.0], self.edges[half + 1 :]])
        counts = np.concatenate([self.counts[:half], [self.num_zero], self.counts[half:]])
        kept = counts > 0
        return low[kept], high[kept], counts[kept]

    def quantile(self, q: float) -> float:
        """The q-quantile (0 <= q <= 1) of the finite values, NaN of none.

        The harmonic middle of the bin that holds the sample of rank ceil(q n): as far from either edge, relative to
        that edge. With m mantissa bits the relative error is at most 1 / (2**(m + 1) + 1) for normal floats, 5.9 %
        for m = 3.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"quantile: q={q}, expected a value in [0, 1]")
        low, high, counts = self._filled()
        if not len(counts):
            return float("nan")
        i = int(np.searchsorted(np.cumsum(counts), max(1.0, np.ceil(q * counts.sum()))))
        return float(2 * low[i] * high[i] / (low[i] + high[i])) if low[i] or high[i] else 0.0

    def linear(self, bins: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """The finite values in `bins` bins of equal width: int64 counts [bins] and float64 edges [bins + 1].

        A logarithmic bin that crosses an edge is split evenly; cumulative counts are rounded, so the total is exact.
        """
        low, high, counts = self._filled()
        if not len(counts):
            return np.zeros(bins, dtype=np.int64), np.linspace(0.0, 1.0, bins + 1)
        start, stop = low[0], high[-1]
        if start == stop:
            start, stop = start - 0.5, stop + 0.5
        edges = np.linspace(start, stop, bins + 1)
        below = np.zeros(bins + 1)
        for lo, hi, count in zip(low, high, counts, strict=True):
            below += count * (np.clip((edges - lo) / (hi - lo), 0, 1) if hi > lo else (edges > lo))
        below[0], below[-1] = 0, counts.sum()
        return np.diff(np.rint(below).astype(np.int64)), edges


@dataclass(frozen=True)
class LogHistogram(Scattered):
    """Counts by sign, exponent and the first mantissa bits of a float32.

    Args:
        mantissa_bits: bits of the mantissa that tell bins apart, 0 to 10; each power of two has 2**mantissa_bits bins.

    `lift(values)`: float [N, ...], read as float32. `value`: `LogBins`. NaN, +inf, -inf and zero (of either sign) have
    counters of their own. State: int64 [2**(9 + mantissa_bits) + 4]; O(N) to lift, no look at the data's range.

    >>> histogram = LogHistogram()
    >>> state = histogram.merge(histogram.lift(torch.tensor([0.001, 1.0])), histogram.lift(torch.tensor([1000.0])))
    >>> histogram.value(state).num_finite
    3
    """

    mantissa_bits: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.mantissa_bits <= 10:
            raise ValueError(f"LogHistogram: mantissa_bits={self.mantissa_bits}, expected 0 to 10")

    @property
    def _bins(self) -> int:
        return 1 << (9 + self.mantissa_bits)

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"counts": Slots(self._bins + 4)}

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        x = as_float32(values)
        # The arithmetic shift keeps the sign: negative floats fill the lower half of the table.
        index = (x.view(torch.int32) >> (23 - self.mantissa_bits)) + self._bins // 2
        index = torch.where(x == 0, self._bins, index)
        index = torch.where(x.isnan(), self._bins + 1, index)
        index = torch.where(x.isinf(), torch.where(x > 0, self._bins + 2, self._bins + 3), index)
        return {"counts": (index.to(torch.int64), amounts(valid, x))}

    def value(self, state: State) -> LogBins:
        counts = state["counts"].cpu().numpy()
        half, used = self._bins // 2, 255 << self.mantissa_bits  # exponent 255 is NaN and infinity: no bins
        negative, positive = counts[:used], counts[half : half + used]
        patterns = np.arange(used + 1, dtype=np.int64) << (23 - self.mantissa_bits)
        sizes = patterns[:-1].astype(np.int32).view(np.float32).astype(np.float64)
        sizes = np.append(sizes, 2.0**128)
        zero, nan, posinf, neginf = (int(c) for c in counts[self._bins :])
        return LogBins(
            counts=np.concatenate([negative[::-1], positive]),
            edges=np.concatenate([-sizes[::-1], sizes[1:]]),
            num_zero=zero,
            num_nan=nan,
            num_posinf=posinf,
            num_neginf=neginf,
        )
