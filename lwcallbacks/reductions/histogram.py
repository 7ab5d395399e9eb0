"""A histogram whose bins never move: the leading bits of a float are its bin.

    histogram = LogHistogram()
    seen = histogram.value(histogram.lift(torch.randn(1000)))
    seen.quantile(0.5), seen.linear(bins=64)

So two histograms can always be added, whatever the range of what comes next. `scatter` is the definition, sample by
sample. `lift` counts bits as they are and takes apart afterwards what shares a bin: by `bincount` on the CPU, by
`index_add_` elsewhere, since there `bincount` would wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import Scatter, Scattered, Slots, State, amounts
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.floats import as_float32
from lwcallbacks.reductions.host import on_host, soon_on_host
from lwcallbacks.reductions.log_bins import LogBins, edges_of

_CHUNK = 1 << 18
"""Elements that are counted at once on the CPU, so that what is made of them stays in its cache."""
_SMALL = 1 << 11
"""Of tensors of so many elements, several are counted at once on the CPU, where a table of each would cost more."""


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
        return {"counts": (self._slots_of(x).to(torch.int64), amounts(valid, x))}

    def lift(self, values: Tensor, *, valid: Tensor | None = None) -> State:  # type: ignore[override]
        return {"counts": self._counted(values, valid).to(torch.int64)}

    def accumulate(self, state: State, values: Tensor, *, valid: Tensor | None = None) -> State:  # type: ignore[override]
        state["counts"] += self._counted(values, valid)
        return state

    def lift_each(self, tensors: Sequence[Tensor]) -> Callable[[], FilledBins]:
        """Count each of some tensors of one device by itself; calling what is returned gives the filled slots by row.

        Nothing is waited for before that. Of an accelerator, one table for all tensors moves to the host, int32 unless
        a tensor has 2**31 elements.

        >>> filled = LogHistogram().lift_each([torch.tensor([1.0, 1.0]), torch.tensor([-2.0])])()
        >>> filled.row.tolist(), filled.count.tolist()
        ([0, 1], [2, 1])
        """
        if tensors and not on_host(tensors[0]):
            counts, odd = zip(*(self._by_adding(x.detach(), None) for x in tensors), strict=True)
            tables = soon_on_host(self._taken_apart(torch.stack(counts), torch.stack(odd)))
            return lambda: FilledBins.of_tables(self.mantissa_bits, tables().numpy())
        filled = FilledBins.joined(self.mantissa_bits, len(tensors), list(self._filled(tensors)))
        return lambda: filled

    def value(self, state: State) -> LogBins:
        counts = state["counts"].cpu().numpy()
        half, used = self._bins // 2, 255 << self.mantissa_bits
        negative, positive = counts[:used], counts[half : half + used]
        zero, nan, posinf, neginf = (int(c) for c in counts[self._bins :])
        return LogBins(
            counts=np.concatenate([negative[::-1], positive]),
            edges=edges_of(self.mantissa_bits),
            num_zero=zero,
            num_nan=nan,
            num_posinf=posinf,
            num_neginf=neginf,
        )

    # -- the definition, for each element --------------------------------------------------------------------------

    def _slots_of(self, x: Tensor) -> Tensor:
        """The slot of each float32, int32 of the same shape."""
        # The arithmetic shift keeps the sign: negative floats fill the lower half of the table.
        index = (x.view(torch.int32) >> (23 - self.mantissa_bits)) + self._bins // 2
        index = torch.where(x == 0, self._bins, index)
        index = torch.where(x.isnan(), self._bins + 1, index)
        return torch.where(x.isinf(), torch.where(x > 0, self._bins + 2, self._bins + 3), index)

    # -- counting bits as they are ---------------------------------------------------------------------------------

    @property
    def _shared(self) -> tuple[tuple[int, int, int], ...]:
        """+0, -0, +inf and -inf: bits as int32, the bin of such bits (others share it), and the slot that they get."""
        patterns = (0, -(1 << 31), 0x7F800000, -0x00800000)
        bins = ((bits >> (23 - self.mantissa_bits)) + self._bins // 2 for bits in patterns)
        return tuple(zip(patterns, bins, (self._bins + slot for slot in (0, 0, 2, 3)), strict=True))

    def _counted(self, values: Tensor, valid: Tensor | None) -> Tensor:
        """The table of a batch, int32 or int64 [slots]."""
        x = values.detach()
        if on_host(x):
            return self._by_bincount(x if valid is None else x[valid.to(torch.bool)])
        return self._taken_apart(*self._by_adding(x, valid))

    def _by_bincount(self, x: Tensor) -> Tensor:
        """The table, int64 [slots], with looks at the data."""
        table = torch.zeros(self._bins + 4, dtype=torch.int64)
        parts = x.reshape(-1).split(max(_CHUNK, self._bins))
        index = torch.empty(len(parts[0]), dtype=torch.int32)
        for part in parts:
            bits = as_float32(part).view(torch.int32)
            torch.bitwise_right_shift(bits, 23 - self.mantissa_bits, out=index[: len(bits)])
            table[: self._bins] += torch.bincount(index[: len(bits)].add_(self._bins // 2), minlength=self._bins)
        counts = table.numpy()
        if any(counts[place] for _, place, _ in self._shared) or self._has_nan_bins(counts):
            odd = torch.zeros(4, dtype=torch.int64)
            for i, (pattern, place, _) in enumerate(self._shared):
                if counts[place]:
                    odd[i] = sum((as_float32(part).view(torch.int32) == pattern).sum() for part in parts)
            return self._taken_apart(table[: self._bins], odd)
        return table

    def _has_nan_bins(self, counts: np.ndarray) -> bool:
        return any(counts[nan].any() for nan in self._nan_bins)

    @property
    def _nan_bins(self) -> tuple[slice, slice]:
        """Exponent 255: NaN and infinity, of either sign."""
        half, used = self._bins // 2, 255 << self.mantissa_bits
        return slice(used, half), slice(half + used, self._bins)

    def _by_adding(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Counts by bin [bins], and of the four patterns that share theirs [4], without a look at the data."""
        bits = as_float32(x).view(torch.int32)
        dtype = torch.int32 if bits.numel() < 2**31 else torch.int64
        index = (bits >> (23 - self.mantissa_bits)).add_(self._bins // 2).reshape(-1)
        if valid is None:
            amount = torch.ones((), dtype=dtype, device=x.device).expand(len(index))
        else:
            amount = amounts(valid, bits).to(dtype).reshape(-1)
        counts = torch.zeros(self._bins, dtype=dtype, device=x.device).index_add_(0, index, amount)
        equal = [(bits == pattern).reshape(-1) for pattern, _, _ in self._shared]
        odd = [(found if valid is None else found * amount).sum(dtype=dtype) for found in equal]
        return counts, torch.stack(odd)

    def _taken_apart(self, counts: Tensor, odd: Tensor) -> Tensor:
        """Tables [..., slots] from counts by bin [..., bins] and of the four patterns [..., 4]."""
        table = torch.cat([counts, torch.zeros_like(odd)], -1)
        for i, (_, place, slot) in enumerate(self._shared):
            table[..., place] -= odd[..., i]
            table[..., slot] += odd[..., i]
        for nan in self._nan_bins:  # what is left there
            table[..., self._bins + 1] += table[..., nan].sum(-1, dtype=table.dtype)
            table[..., nan] = 0
        return table

    # -- many tensors on the CPU -----------------------------------------------------------------------------------

    def _filled(self, tensors: Sequence[Tensor]) -> Iterator[tuple[np.ndarray, ...]]:
        """(row, slot, count) of the filled slots: of a large tensor by its table, of many small ones by sorting."""
        small: list[int] = []
        held = 0
        for i, x in enumerate(tensors):
            if x.numel() > _SMALL:
                counts = self._by_bincount(x.detach()).numpy()
                slot = np.flatnonzero(counts != 0)
                yield np.full(len(slot), i), slot, counts[slot]
                continue
            small.append(i)
            held += x.numel()
            if held > _CHUNK or len(small) * (self._bins + 4) > 2**30:
                yield self._by_sorting(small, tensors)
                small, held = [], 0
        if small:
            yield self._by_sorting(small, tensors)

    def _by_sorting(self, rows: Sequence[int], tensors: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
        size = self._bins + 4
        slots = self._slots_of(torch.cat([as_float32(tensors[row]).reshape(-1) for row in rows])).numpy()
        starts = np.repeat(np.arange(len(rows), dtype=np.int32) * np.int32(size), [tensors[row].numel() for row in rows])
        keys, count = np.unique(slots + starts, return_counts=True)
        place, slot = np.divmod(keys, size)
        return np.asarray(rows)[place], slot, count
