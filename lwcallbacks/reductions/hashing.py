"""A random order and an identity for samples that do not depend on how they were split.

    splitmix64(ids, seed)       int64 [N] -> int64 [N], a bijection that looks random
    content_ids(images, labels) [N, ...] each -> int64 [N], equal for equal samples

Both are wrapping int64 arithmetic: the same bits on every device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.looking import may_look


def _signed(constant: int) -> int:
    return constant - 2**64 if constant >= 2**63 else constant


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(z: Tensor, k: int) -> Tensor:
    # torch has no unsigned 64-bit shift: shift arithmetically, then drop the copies of the sign bit.
    return (z >> k).bitwise_and_((1 << (64 - k)) - 1)


def splitmix64(ids: Tensor, seed: int) -> Tensor:
    """Mix int64 ids [...] with a seed: the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    start = ((seed + 1) * 0x9E3779B97F4A7C15) % 2**64
    if may_look(ids):  # numpy has unsigned numbers, and costs less a call
        return torch.from_numpy(_mixed(ids.detach().numpy().view(np.uint64), start).view(np.int64))
    z = ids + _signed(start)
    z ^= _shift_right(z, 30)
    z *= _MIX_1
    z ^= _shift_right(z, 27)
    z *= _MIX_2
    z ^= _shift_right(z, 31)
    return z


def _mixed(ids: np.ndarray, start: int) -> np.ndarray:
    z = np.atleast_1d(ids) + np.uint64(start)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor % 2**64)
    z ^= z >> np.uint64(31)
    return z.reshape(ids.shape)


def as_integers(tensor: Tensor) -> Tensor:
    """The bits of a tensor of any dtype as integers of the same size, a view; a complex number as two, in a dimension
    more. Few operations know unsigned integers and float8."""
    tensor = tensor.resolve_conj().resolve_neg()
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.view(_INTEGERS[tensor.element_size()])


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_MOST_WORDS = 1024
_INT32_MAX = 2**31 - 1


def content_ids(first: Tensor, *others: Tensor) -> Tensor:
    """An identity for each sample by the bits of all its fields, int64 [N].

    Args:
        first: [N, ...], any dtype.
        others: further fields, such as targets [N, ...]. One that has another number of rows is not used.

    Equal samples have equal ids on every device, in every memory layout and in every batch; -0.0 and 0.0 differ, as
    their bits do. Of a sample of more than 1,024 numbers, 1,024 that are spread evenly are read, and how many there
    are: the cost does not grow with the image, and samples that differ elsewhere alone are one sample.

        >>> images, labels = torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 0])
        >>> ids = content_ids(images, labels)
        >>> bool(ids[0] == ids[2]), bool(ids[0] == ids[1]), len(set(content_ids(images).tolist()))
        (True, False, 1)
    """
    ids = splitmix64(_sum_of(first), 1)
    for other in others:
        if other.ndim and len(other) == len(first):
            ids = splitmix64(ids + _sum_of(other), 3)
    return ids


def _sum_of(samples: Tensor) -> Tensor:
    """Of each sample of [N, ...] sum(mix(word, place)) mod 2**64, int64 [N]: to be mixed in full."""
    words = as_integers(samples.detach())
    size = math.prod(words.shape[1:])
    # A new tensor, for it is written to. A multiplication and one xor-shift a word is enough: the sum is mixed in full.
    mixed = _spread(words, size).to(torch.int64) + 1
    factors, of_size = _factors(mixed.shape[1], size, words.device)
    mixed *= factors
    mixed ^= _shift_right(mixed, 29)
    total = mixed.sum(dim=1)
    # Where all words are read, their number needs no mention: each adds something, also a zero.
    return total if size <= _MOST_WORDS else total + of_size


def _spread(words: Tensor, size: int) -> Tensor:
    """At most 1,024 of the `size` words of each sample, [N, M], in the order of a contiguous one; no copy of more."""
    if size <= _MOST_WORDS:
        return words.reshape(len(words), size)
    shape, strides = words.shape[1:], words.stride()[1:]
    extent = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    # A sample as the stretch of memory that holds it, whatever its layout.
    rows = words.as_strided((len(words), extent), (words.stride(0), 1))
    return rows.index_select(1, _places(shape, strides, words.device))


@lru_cache(maxsize=64)
def _factors(number: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What each of so many words is multiplied by, and what stands for the size of a sample."""
    with torch.inference_mode(mode=False):
        place = torch.arange(number, device=device) * _GOLDEN
        return splitmix64(place, 0) | 1, splitmix64(torch.full((1,), size, device=device), 5)


@lru_cache(maxsize=64)
def _places(shape: tuple[int, ...], strides: tuple[int, ...], device: torch.device) -> Tensor:
    """Where in memory 1,024 words of a sample of a shape are: one of each of 1,024 stretches of a contiguous one, at a
    place that looks random. Equal distances could be those of one column."""
    size = math.prod(shape)
    with torch.inference_mode(mode=False):
        stretch = torch.arange(_MOST_WORDS, device=device)
        begin, end = stretch * size // _MOST_WORDS, (stretch + 1) * size // _MOST_WORDS
        at = begin + (splitmix64(stretch, 4) & _INT32_MAX) % (end - begin)
        offset = torch.zeros_like(at)
        for length, stride in zip(reversed(shape), reversed(strides), strict=True):
            offset += at % length * stride
            at = at // length
        return offset
