"""Many histograms at once, of which only the filled slots are kept: small, and on the host.

filled = FilledBins.of_tables(3, tables)      # from tables [P, slots] as `LogHistogram` has them in its state
counts, edges = filled.linear(64)             # int64 [P, 64], float64 [P, 65]
filled.tables()[0]                            # the first state's table again
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from lwcallbacks.reductions.log_bins import edges_of, linear_bins

_BLOCK = 128
"""Rows that get their linear bins at once, so that what is made of them stays in the CPU's cache."""


@dataclass(frozen=True, eq=False)
class FilledBins:
    """Slots of `num_rows` tables of a `LogHistogram`: int32 row [F], int32 slot [F], int64 count [F], in any order."""

    mantissa_bits: int
    num_rows: int
    row: np.ndarray
    slot: np.ndarray
    count: np.ndarray

    @classmethod
    def joined(cls, mantissa_bits: int, num_rows: int, parts: Sequence[tuple[np.ndarray, ...]]) -> FilledBins:
        """From (row, slot, count) of some rows each."""
        row, slot, count = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True)) if parts else [[]] * 3
        types = (np.int32, np.int32, np.int64)
        return cls(mantissa_bits, num_rows, *(np.asarray(a, t) for a, t in zip((row, slot, count), types, strict=True)))

    @classmethod
    def of_tables(cls, mantissa_bits: int, tables: np.ndarray) -> FilledBins:
        """From tables [P, slots] of any integer type."""
        row, slot = np.nonzero(tables)
        return cls.joined(mantissa_bits, len(tables), [(row, slot, tables[row, slot])])

    @classmethod
    def below(cls, parts: Sequence[FilledBins]) -> FilledBins:
        """The rows of several, those of each below the others'."""
        first = np.cumsum([0, *(part.num_rows for part in parts)])
        moved = [(part.row + begin, part.slot, part.count) for part, begin in zip(parts, first, strict=False)]
        return cls.joined(parts[0].mantissa_bits, int(first[-1]), moved)

    def added(self, group: np.ndarray, num_groups: int) -> FilledBins:
        """Rows of one group made one by adding them; `group` is each row's, int [P] in [0, num_groups)."""
        slots = (1 << (9 + self.mantissa_bits)) + 4
        key = group[self.row].astype(np.int64) * slots + self.slot
        order = np.argsort(key, kind="stable")
        keys, first = np.unique(key[order], return_index=True)
        counts = np.add.reduceat(self.count[order], first) if len(first) else self.count
        return self.joined(self.mantissa_bits, num_groups, [(*np.divmod(keys, slots), counts)])

    def smaller_than(self, limit: float) -> np.ndarray:
        """How many values of each row are zero or, below a power of two, of a smaller size than `limit`; int64 [P]."""
        place, low, high = _layout(self.mantissa_bits)
        sizes = np.append(np.maximum(np.abs(low), np.abs(high)), np.inf)
        return np.bincount(self.row, self.count * (sizes[place[self.slot]] <= limit), self.num_rows).astype(np.int64)

    def smallest(self) -> float:
        """The lower edge of the lowest bin of any row that holds something larger than zero in size; else infinity."""
        place, low, high = _layout(self.mantissa_bits)
        sizes = np.where((low == 0) & (high == 0), np.inf, np.minimum(np.abs(low), np.abs(high)))
        return float(np.append(sizes, np.inf)[place[np.unique(self.slot)]].min(initial=np.inf))

    @property
    def nbytes(self) -> int:
        """Of memory that the slots take."""
        return self.row.nbytes + self.slot.nbytes + self.count.nbytes

    def tables(self) -> Iterator[np.ndarray]:
        """Each row's table, int64 [slots]."""
        order = np.argsort(self.row, kind="stable")
        bounds = np.searchsorted(self.row[order], np.arange(self.num_rows + 1))
        for begin, end in pairwise(bounds):
            table = np.zeros((1 << (9 + self.mantissa_bits)) + 4, dtype=np.int64)
            table[self.slot[order[begin:end]]] = self.count[order[begin:end]]
            yield table

    def linear(self, bins: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """`LogBins.linear` of each row: int64 counts [P, bins] and float64 edges [P, bins + 1]."""
        counts = np.empty((self.num_rows, bins), dtype=np.int64)
        edges = np.empty((self.num_rows, bins + 1))
        place, low, high = _layout(self.mantissa_bits)
        of_slot = place[self.slot]
        # By row, and by value within it. Sorting numbers that carry their index is much faster than argsort.
        size = max(len(of_slot), 1)
        key = self.row.astype(np.int64) * len(place) + of_slot
        order = np.sort(key * size + np.arange(len(key))) % size
        bounds = np.searchsorted(self.row[order], np.arange(0, self.num_rows + _BLOCK, _BLOCK))
        for block, (begin, end) in enumerate(pairwise(bounds)):
            chosen = order[begin:end]
            chosen = chosen[of_slot[chosen] < len(low)]
            at, rows = of_slot[chosen], slice(block * _BLOCK, (block + 1) * _BLOCK)
            found = (self.row[chosen] - rows.start, low[at], high[at], self.count[chosen], len(counts[rows]), bins)
            counts[rows], edges[rows] = linear_bins(*found)
        return counts, edges

    def beside(self) -> np.ndarray:
        """What has no bin, by row: NaN, +inf and -inf, int64 [P, 3]."""
        which = self.slot - ((1 << (9 + self.mantissa_bits)) + 1)
        found = np.zeros((self.num_rows, 3), dtype=np.int64)
        odd = which >= 0
        found[self.row[odd], which[odd]] = self.count[odd]
        return found


@lru_cache
def _layout(mantissa_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each slot its place in order of value (what has no bin comes last), and of each place its low and high edge.

    Zeros are a bin [0, 0] between the signs.
    """
    edges = edges_of(mantissa_bits)
    used, half = 255 << mantissa_bits, 1 << (8 + mantissa_bits)
    low = np.concatenate([edges[:used], [0.0], edges[used:-1]])
    high = np.concatenate([edges[1 : used + 1], [0.0], edges[used + 1 :]])
    place = np.full(2 * half + 4, len(low))
    place[:used] = np.arange(used)[::-1]
    place[half : half + used] = np.arange(used) + used + 1
    place[2 * half] = used
    return place, low, high
