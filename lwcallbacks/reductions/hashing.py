"""A random order and an identity for samples that do not depend on how they were split.

    splitmix64(ids, seed)       int64 [N] -> int64 [N], a bijection that looks random
    content_ids(images)         [N, ...] -> int64 [N], equal exactly for equal content (but for 64-bit collisions)

Both are wrapping int64 arithmetic: the same bits on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(constant: int) -> int:
    return constant - 2**64 if constant >= 2**63 else constant


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(z: Tensor, k: int) -> Tensor:
    # torch has no unsigned 64-bit shift: shift arithmetically, then drop the copies of the sign bit.
    return (z >> k) & ((1 << (64 - k)) - 1)


def splitmix64(ids: Tensor, seed: int) -> Tensor:
    """Mix int64 ids [...] with a seed: the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    z = ids + _signed(((seed + 1) * 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ _shift_right(z, 30)) * _MIX_1
    z = (z ^ _shift_right(z, 27)) * _MIX_2
    return z ^ _shift_right(z, 31)


_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def content_ids(samples: Tensor) -> Tensor:
    """Hash each sample of [N, ...] by its bits: sum(mix(word + position)) mod 2**64, mixed once more.

    One pass over the data and O(N) results. -0.0 and 0.0 differ, as their bits do.
    """
    flat = samples.detach().reshape(samples.shape[0], -1).contiguous()
    if flat.dtype == torch.bool:
        flat = flat.to(torch.uint8)
    elif flat.is_complex():
        flat = torch.view_as_real(flat).reshape(samples.shape[0], -1)
    words = flat.view(_WORDS[flat.element_size()]).to(torch.int64)
    position = torch.arange(words.shape[1], device=words.device) * _GOLDEN
    # A multiplication and one xor-shift a word is enough here: the sum is mixed in full below.
    mixed = (words + 1) * (splitmix64(position, 0) | 1)
    return splitmix64((mixed ^ _shift_right(mixed, 29)).sum(dim=1), 1)
