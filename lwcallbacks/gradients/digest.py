"""A number for all bits of a tensor, which is the same on every device and in whichever order it is added up.

    digests_of([torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])])      # int64 [2], on their device: unlike

The bits are read as integers, each is multiplied by an odd number that belongs to its place, modulo 2**32, and the
products are added up, which int64 holds exactly. Nothing is rounded and nothing waits. Tensors that differ have equal
digests in about one of 2**32 cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lwcallbacks.reductions.hashing import as_integers, splitmix64

CHUNK = 1 << 18
"""Places with a multiplier of their own; beyond them the parts are joined in order."""
_JOIN = 0x100000001B3


def digests_of(tensors: Sequence[Tensor]) -> Tensor:
    """Of dense tensors [P] of one device int64 [P] there. Their layout in memory does not matter."""
    return torch.stack([_digest(x.detach()) for x in tensors])


def _digest(x: Tensor) -> Tensor:
    words = as_integers(x.contiguous()).view(-1)
    if words.dtype == torch.int64:
        words = words.view(torch.int32)
    total = torch.full((), x.numel(), dtype=torch.int64, device=x.device)
    factors = _factors(x.device)
    for part in torch.split(words, CHUNK):
        # Sums of products, each below 2**31 in size: exact in int64. The joining wraps, as integers do.
        total = total * _JOIN + (part.to(torch.int32) * factors[: len(part)]).sum(dtype=torch.int64)
    return total


@lru_cache(maxsize=16)
def _factors(device: torch.device) -> Tensor:
    """Odd numbers that look random, int32 [CHUNK]."""
    random = splitmix64(torch.arange(CHUNK, dtype=torch.int64, device=device), 7)
    return (random & 0x7FFFFFFF).to(torch.int32) | 1
