"""A histogram whose bins never move: the leading bits of a float are its bin.

    histogram = LogHistogram()
    seen = histogram.value(histogram.lift(torch.randn(1000)))
    seen.quantile(0.5), seen.linear(bins=64)

So two histograms can always be added, whatever the range of what comes next. `scatter` is the definition, sample by
sample; `tally` on the CPU, and `lift_each` anywhere, have the same bits by faster ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import Scatter, Scattered, Slots, State, amounts
from lwcallbacks.reductions.bits import LeadingBits, flattened
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.floats import as_float32
from lwcallbacks.reductions.log_bins import LogBins, edges_of
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.to_host import soon_on_host

SMALL, TOGETHER = 1 << 11, 1 << 9
"""Of tensors of up to so many elements, so many are counted at once on the CPU: a table of each would cost more."""


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

    @cached_property
    def _bits(self) -> LeadingBits:
        return LeadingBits(self.mantissa_bits)

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"counts": Slots(self._bits.size)}

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        x = as_float32(values)
        return {"counts": (self._bits.slots_of(x).to(torch.int64), amounts(valid, x))}

    def tally(self, state: State, values: Tensor, *, valid: Tensor | None = None) -> State:  # type: ignore[override]
        kept = values if valid is None else values[valid]
        state["counts"] += torch.from_numpy(next(self._bits.by_bincount([kept]))[0])
        return state

    def lift_each(self, tensors: Sequence[Tensor]) -> Callable[[], FilledBins]:
        """Count each of some tensors of one device by itself; calling what is returned gives the filled slots by row.

        Nothing is waited for before that. Of an accelerator, one table for all tensors moves to the host, int32 unless
        a tensor has 2**31 elements.

        >>> filled = LogHistogram().lift_each([torch.tensor([1.0, 1.0]), torch.tensor([-2.0])])()
        >>> filled.row.tolist(), filled.count.tolist()
        ([0, 1], [2, 1])
        """
        if tensors and not may_look(tensors[0]):
            tables = soon_on_host(self._bits.by_adding(tensors))
            return lambda: FilledBins.of_tables(self.mantissa_bits, tables().numpy())
        filled, _ = self.look_at_each(tensors)
        return lambda: filled

    def look_at_each(self, tensors: Sequence[Tensor]) -> tuple[FilledBins, Tensor]:
        """On the CPU, what `lift_each` gives, and with the same look the largest absolute value of each, float32 [P].

        It is NaN if there is one, and 0 of no element.

        >>> LogHistogram().look_at_each([torch.tensor([1.0, -3.0]), torch.zeros(0)])[1]
        tensor([3., 0.])
        """
        peaks = np.zeros(len(tensors), dtype=np.int32)
        filled = FilledBins.joined(self.mantissa_bits, len(tensors), list(self._filled(flattened(tensors), peaks)))
        return filled, torch.from_numpy(peaks.view(np.float32))

    def tables(self, tensors: Sequence[Tensor]) -> Tensor:
        """The state of each of some tensors of one device, [P, slots], there; nothing is waited for.

        int64 on the CPU; elsewhere int32, unless a tensor has 2**31 elements.
        """
        if not tensors:
            return torch.zeros((0, self._bits.size), dtype=torch.int64)
        if not may_look(tensors[0]):
            return self._bits.by_adding(tensors)
        return torch.from_numpy(np.stack(list(self.lift_each(tensors)().tables())))

    def _filled(self, tensors: Sequence[Tensor], peaks: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Row, slot and count of what is filled, of tensors on the CPU; `peaks` gets the bits of their largest."""
        large: list[int] = []
        small: list[int] = []
        for i, x in enumerate(tensors):
            (small if x.numel() <= SMALL else large).append(i)
        for i, (table, peaks[i]) in zip(large, self._bits.by_bincount([tensors[i] for i in large]), strict=True):
            slot = np.flatnonzero(table != 0)
            yield np.full(len(slot), i), slot, table[slot]
        for rows in (small[i : i + TOGETHER] for i in range(0, len(small), TOGETHER)):
            filled, peaks[rows] = self._bits.by_ranks(rows, [tensors[i] for i in rows])
            yield filled

    def value(self, state: State) -> LogBins:
        counts = state["counts"].cpu().numpy()
        bins = self._bits.bins
        half, used = bins // 2, 255 << self.mantissa_bits
        negative, positive = counts[:used], counts[half : half + used]
        zero, nan, posinf, neginf = (int(c) for c in counts[bins:])
        return LogBins(
            counts=np.concatenate([negative[::-1], positive]),
            edges=edges_of(self.mantissa_bits),
            num_zero=zero,
            num_nan=nan,
            num_posinf=posinf,
            num_neginf=neginf,
        )
