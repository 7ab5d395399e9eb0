"""Counting floats by their leading bits: sign, exponent, and the first bits of the mantissa.

    bits = LeadingBits(mantissa_bits=3)
    bits.slots_of(x)                      # the definition: the slot of each float32
    next(bits.by_bincount([x]))           # a table of counts on the CPU, with looks at the data
    bits.by_adding([x])[0]                # the same on any device, without

On the CPU the bits are counted as they are. Then a zero shares its bin with the smallest floats, and an infinity with
NaNs: both are counted again by their whole bits and moved to slots of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.floats import as_float32

_CHUNK = 1 << 18
"""Elements that are counted at once on the CPU, so that what is made of them stays in its cache."""

_AT_ONCE = 1 << 24
"""Elements that are counted at once on a device: the fewer kernels, the more memory, 9 bytes an element."""

_SIZE = 0x7FFFFFFF
"""The bits of a float without its sign: as integers in the order of absolute values, NaNs last."""

_COPIES, _TABLES = 32, 1 << 11
"""Copies of each table on a device, and how many tables there may be with them: 32 MiB."""


@dataclass(frozen=True)
class LeadingBits:
    """Slots of a table: `bins` bins, negative floats in the lower half, then zero, NaN, +inf and -inf."""

    mantissa_bits: int

    @property
    def bins(self) -> int:
        return 1 << (9 + self.mantissa_bits)

    @property
    def size(self) -> int:
        return self.bins + 4

    @property
    def _shift(self) -> int:
        return 23 - self.mantissa_bits

    @cached_property
    def _shared(self) -> list[tuple[int, int, int]]:
        """+0, -0, +inf and -inf: whole bits as int32, the bin of such bits, which others share, and their own slot."""
        slots = {0: 0, -(1 << 31): 0, 0x7F800000: 2, -0x00800000: 3}
        half = self.bins // 2
        return [(pattern, (pattern >> self._shift) + half, self.bins + slot) for pattern, slot in slots.items()]

    @property
    def _nan_bins(self) -> tuple[slice, slice]:
        """Exponent 255: NaN and infinity, of either sign."""
        half, used = self.bins // 2, 255 << self.mantissa_bits
        return slice(used, half), slice(half + used, self.bins)

    def slots_of(self, x: Tensor) -> Tensor:
        """The slot of each float32, int32 of the same shape."""
        slots = self._bins_of(_bits(x))
        for slot, found in enumerate((x == 0, x.isnan(), x == float("inf"), x == -float("inf"))):
            slots.masked_fill_(found, self.bins + slot)
        return slots

    def _bins_of(self, bits: Tensor) -> Tensor:
        # The arithmetic shift keeps the sign: negative floats fill the lower half of the table.
        return (bits >> self._shift).add_(self.bins // 2)

    def by_bincount(self, tensors: Sequence[Tensor]) -> Iterator[tuple[np.ndarray, int]]:
        """The table of each tensor of floats of any shape, int64 [size], and the bits of its largest absolute value.

        These are found here, while a part is in the cache. The bits of no element are 0.
        """
        chunk = max(_CHUNK, self.bins)
        index = torch.empty(min(chunk, max((x.numel() for x in tensors), default=0)), dtype=torch.int32)
        shifted = index.numpy().view(np.uint32)
        for x in tensors:
            found, peak = torch.zeros(self.bins, dtype=torch.int64), 0
            for signed in _bits_in_parts(x, chunk):
                # As unsigned numbers, NumPy's, bits need no offset: negative floats fill the upper half.
                bits, size = signed.view(np.uint32), len(signed)
                np.right_shift(bits, self._shift, out=shifted[:size])
                # The largest signed number is that of the positive floats, the largest unsigned that of the negative.
                peak = max(peak, int(np.maximum.reduce(signed)), int(np.maximum.reduce(bits)) & _SIZE)
                found += torch.bincount(index[:size], minlength=self.bins)
            positive, negative = found.numpy().reshape(2, -1)
            counts = np.concatenate([negative, positive, np.zeros(4, np.int64)])
            if counts[self._shared_bins].any():
                self._move_shared(counts, x, chunk)
            yield counts, peak

    def _move_shared(self, counts: np.ndarray, x: Tensor, chunk: int) -> None:
        """Move what has a slot of its own there, from the bin in which it was counted."""
        for pattern, place, slot in self._shared:
            if counts[place]:
                number = sum(np.count_nonzero(part == pattern) for part in _bits_in_parts(x, chunk))
                counts[place] -= number
                counts[slot] += number
        for nan in self._nan_bins:  # what is left there
            counts[self.bins + 1] += counts[nan].sum()
            counts[nan] = 0

    def by_ranks(
        self, rows: Sequence[int], tensors: Sequence[Tensor]
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """Row, slot and count of what is filled in the tables of small tensors on the CPU, of which `rows` are the
        numbers; and the bits of the largest absolute value of each.

        One table for all of them, of the slots that are filled in any: of 4,100 slots, gradients fill about 100.
        """
        flat, sizes = _flat(tensors), np.array([x.numel() for x in tensors])
        slots = self._bins_of(_bits(flat))
        found = np.flatnonzero(torch.bincount(slots, minlength=self.bins).numpy())
        if np.isin(found, self._shared_bins).any():
            slots = self.slots_of(flat)
            found = np.flatnonzero(torch.bincount(slots, minlength=self.size).numpy())
        ranks = torch.zeros(self.size, dtype=torch.int32)
        ranks[found] = torch.arange(len(found), dtype=torch.int32)
        starts = np.arange(len(rows), dtype=np.int32) * len(found)
        keys = ranks.index_select(0, slots).add_(torch.from_numpy(np.repeat(starts, sizes)))
        counts = torch.bincount(keys).numpy()
        filled = np.flatnonzero(counts != 0)  # of bools it is several times faster
        place, rank = np.divmod(filled, max(len(found), 1))
        return (np.asarray(rows)[place], found[rank], counts[filled]), _largest_of_each(_bits(flat).numpy(), sizes)

    @cached_property
    def _shared_bins(self) -> np.ndarray:
        """Bins that, counted by bits as they are, hold what has a slot of its own."""
        places = [place for _, place, _ in self._shared]
        return np.unique([*places, *(place for nan in self._nan_bins for place in range(*nan.indices(self.bins)))])

    def by_adding(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tables of some tensors of one device, [P, size], without a look at them; int32 below 2**31 elements.

        Many elements of a tensor share a few slots, and a device adds to one slot one after the other: neighbours add
        to copies of the table.
        """
        tensors = flattened(tensors)
        device, num_rows = tensors[0].device, len(tensors)
        dtype = torch.int32 if all(x.numel() < 2**31 for x in tensors) else torch.int64
        copies = max(1, min(_COPIES, _TABLES // num_rows))
        tables = torch.zeros((copies, num_rows, self.size), dtype=dtype, device=device)
        one = torch.ones((), dtype=dtype, device=device)
        for part in parts(tensors):
            slots = self.slots_of(_flat([piece for _, piece in part]))
            slots = slots if tables.numel() < 2**31 else slots.to(torch.int64)
            of_rows = torch.split(slots, [piece.numel() for _, piece in part])
            torch._foreach_add_(list(of_rows), [row * self.size for row, _ in part])
            beside = torch.arange(copies, dtype=slots.dtype, device=device) * (num_rows * self.size)
            even = len(slots) // copies * copies
            slots[:even].view(-1, copies).add_(beside)
            tables.view(-1).index_add_(0, slots, one.expand(len(slots)))
        return tables.sum(0, dtype=dtype)


def parts(tensors: Sequence[Tensor]) -> Iterator[list[tuple[int, Tensor]]]:
    """Tensors or flat pieces of them with their numbers, with at most `_AT_ONCE` elements together."""
    part: list[tuple[int, Tensor]] = []
    room = _AT_ONCE
    for row, x in enumerate(tensors):
        for piece in (x,) if x.numel() <= _AT_ONCE else torch.split(x.reshape(-1), _AT_ONCE):
            if piece.numel() > room:
                yield part
                part, room = [], _AT_ONCE
            part.append((row, piece))
            room -= piece.numel()
    yield part


def runs(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Equal sizes that follow each other as (size, how many), with at most `_AT_ONCE` elements together, or one."""
    for size, of in groupby(sizes):
        number, most = len(list(of)), max(1, _AT_ONCE // max(size, 1))
        yield from ((size, min(most, number - i)) for i in range(0, number, most))


def _largest_of_each(bits: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The bits of the largest absolute value of each of some tensors that lie one behind the other, int32 [P]."""
    found, filled = np.zeros(len(sizes), dtype=np.int32), sizes > 0
    starts = (np.cumsum(sizes) - sizes)[filled]
    if len(starts):
        found[filled] = np.maximum.reduceat(bits & np.int32(_SIZE), starts)
    return found


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in one float32 [N]."""
    if len({x.dtype for x in tensors}) > 1:  # joined, they would be of a common type, which need not hold them
        tensors = [as_float32(x) for x in tensors]
    return as_float32(joined_up(tensors))


def joined_up(tensors: Sequence[Tensor]) -> Tensor:
    """All elements of tensors of one dtype behind each other, [N]; of one alone a view, where it has no gaps."""
    flat = [x if x.ndim == 1 else x.reshape(-1) for x in tensors]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def flattened(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those without gaps in memory as views [n], in its order, the others as they are: what is looked at more than once
    is cheaper so.

    >>> flattened([torch.tensor([[1, 2], [3, 4]]).T])
    [tensor([1, 2, 3, 4])]
    """
    return [x if x.ndim == 1 else _flattened(x) for x in tensors]


def _flattened(x: Tensor) -> Tensor:
    ordered = in_memory_order(x)
    return ordered.view(-1) if ordered.is_contiguous() else x


def in_memory_order(x: Tensor) -> Tensor:
    """A view whose dimensions are in the order of its elements in memory."""
    if x.is_contiguous():
        return x
    strides = x.stride()
    return x.permute(sorted(range(x.ndim), key=lambda i: -strides[i]))


def _bits_in_parts(x: Tensor, chunk: int) -> Iterator[np.ndarray]:
    """The bits of a tensor on the CPU, of so many elements at a time: int32 [n], of float32 as a view."""
    flat = x.detach().reshape(-1)
    if flat.dtype == torch.float32:
        bits = flat.view(torch.int32).numpy()
        yield from (bits[i : i + chunk] for i in range(0, len(bits), chunk))
    else:
        yield from (_bits(part).numpy() for part in torch.split(flat, chunk) if len(part))


def _bits(x: Tensor) -> Tensor:
    return as_float32(x).view(torch.int32)
