"""Whether gradients are finite, one by one, at the cost of reading them once.

    oddities_of([torch.tensor([1.0, 2.0]), torch.tensor([float("inf")])])      # [0, inf], on the tensors' device
    held(parameter.grad)                                                       # what this process has of it

Nothing waits for a device. A norm is finite only if all elements are; where it is not, they may have overflowed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.gradients.norms import by_dtype
from lwcallbacks.gradients.shards import is_spread
from lwcallbacks.reductions.looking import may_look


def held(gradient: Tensor) -> Tensor:
    """What this process holds of a gradient, real and dense: its shard, or its part of a sum that is yet to be made; of
    a sparse one the elements that are there. No process talks to another. To be called without gradients of its own."""
    given: Any = gradient
    local: Tensor = given.to_local() if is_spread(given) else given
    if local.layout is torch.sparse_coo:
        local = local._values()
    elif local.layout is not torch.strided:
        local = local.values()
    return torch.view_as_real(local) if local.is_complex() else local


def oddities_of(tensors: Sequence[Tensor]) -> Tensor:
    """For each real, dense tensor [P] of one device, none of them empty, float32 there: NaN if it has one, infinity if
    it has one and no NaN, else 0."""
    return by_dtype(tensors, _of_one_dtype)


def _of_one_dtype(tensors: list[Tensor]) -> Tensor:
    if not may_look(tensors[0]):
        return odd(torch.stack(torch._foreach_norm(tensors, float("inf"))))
    # On the CPU the 2-norm is many times faster than the largest value.
    wide = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    norms = torch.stack(torch._foreach_norm(tensors, 2, wide))
    for i in (~norms.isfinite()).nonzero()[:, 0].tolist():
        norms[i] = torch.stack(torch.aminmax(tensors[i])).abs().amax()
    return odd(norms)


def odd(peaks: Tensor) -> Tensor:
    """What `oddities_of` gives, from the largest absolute value of each tensor [P]."""
    return torch.where(peaks.isfinite(), torch.zeros_like(peaks), peaks).to(torch.float32)
