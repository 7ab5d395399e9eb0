"""Some elements of a large tensor, spread over all of it, which stand for the others.

chosen = sample_of(parameter)        # a view [n] of at least 4,096 elements, or all
weight_of(parameter)                 # so many elements each of them stands for

samples = Samples()
samples.of([parameter])              # [chosen], made once: the next call gives the same view
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from lwcallbacks.gradients.shards import local_of
from lwcallbacks.reductions.bits import in_memory_order

SAMPLE = 1 << 12
"""Elements of a large tensor that are looked at, at least, and mostly less than twice as many.

The 2-norm of n elements drawn from many has a relative error of about sqrt((k - 1) / n) / 2, k being the kurtosis: at
most 1.1 % for a normal distribution."""

_PLAIN = (Tensor, nn.Parameter)


def sample_of(x: Tensor) -> Tensor:
    """All elements of a small tensor, every so many-th of a large one, [n], as a view where its memory has no gaps.

    >>> len(sample_of(torch.zeros(100, 100))), len(sample_of(torch.zeros(1000, 1000)))
    (10000, 4116)
    """
    flat, step = _flat(x), stride_of(x)
    return flat if step == 1 else flat[::step]


class Samples:
    """Samples of what this process holds of parameters: a view is made once, and again when its parameter has moved.

    A view keeps its memory, so no other tensor can have come to the same place.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Tensor]] = {}

    @torch.no_grad()
    def of(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """What `sample_of` gives of each, or of its shard."""
        return [self._of(p) for p in parameters]

    def _of(self, parameter: Tensor) -> Tensor:
        local = parameter if type(parameter) in _PLAIN else local_of(parameter, parameter)
        if type(local) not in _PLAIN:  # what wraps tensors need not tell where they are
            return sample_of(local.detach())
        place = local.data_ptr(), local.shape, local.stride(), local.dtype
        at, known = self._known.get(id(parameter), (None, local))
        if at == place:
            return known
        chosen = sample_of(local.detach())
        if chosen.data_ptr() == place[0]:  # no copy
            self._known[id(parameter)] = place, chosen
        return chosen


def weight_of(x: Tensor) -> float:
    """How many elements of the tensor each one of its sample stands for."""
    size, step = num_real(x), stride_of(x)
    return size / max(1, -(-size // step))


def stride_of(x: Tensor) -> int:
    """Every so many-th element is in its sample: each stands for so many, but for the last, which may for fewer."""
    return _stride(num_real(x))


def num_real(x: Tensor) -> int:
    """Real numbers that its elements are made of: a complex one has two."""
    return x.numel() * (2 if x.is_complex() else 1)


@lru_cache(maxsize=1024)
def _stride(size: int) -> int:
    """Without a common factor with any dimension, so that all rows and columns have their turn."""
    step = max(1, size // SAMPLE)
    while gcd(step, size) > 1:
        step -= 1
    return step


def _flat(x: Tensor) -> Tensor:
    return in_memory_order(torch.view_as_real(x) if x.is_complex() else x).reshape(-1)
