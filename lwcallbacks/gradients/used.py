"""The gradients that a step has used, where it has written into them.

    adds_momentum(optimizer)       # whether its steps do
    used_gradients(optimizer)      # behind a step: {id(parameter): gradient}, of these

torch's SGD with `nesterov=True` adds the momentum to the gradients themselves where it steps several parameters at once
(`foreach=True`, the default on an accelerator) and there is no weight decay. It is taken off again, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _default_to_fused_or_foreach


def adds_momentum(optimizer: Any) -> bool:
    """Whether a step leaves the sum of gradient and momentum in `.grad`, of any parameter.

    >>> adds_momentum(torch.optim.SGD([torch.zeros(1)], 0.1, momentum=0.9, nesterov=True, foreach=True))
    True
    """
    return any(True for _ in _groups(optimizer))


@torch.no_grad()
def used_gradients(optimizer: Any) -> dict[int, Tensor]:
    """Of parameters into whose gradient the step has written, what was there before, by their `id`."""
    found: dict[int, Tensor] = {}
    for group in _groups(optimizer):
        for p in group["params"]:
            momentum = optimizer.state.get(p, {}).get("momentum_buffer")
            if p.grad is not None and momentum is not None and not p.grad.is_sparse:
                found[id(p)] = p.grad - group["momentum"] * momentum
    return found


def _groups(optimizer: Any) -> Iterator[dict[str, Any]]:
    """Those that are stepped so."""
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        at_once = group.get("foreach")
        if at_once is None and not group.get("fused"):
            params = [p for p in group["params"] if p.grad is not None]
            _, at_once = _default_to_fused_or_foreach(params, differentiable=False, use_fused=False)
        if group["nesterov"] and at_once and group["momentum"] and not (group["weight_decay"] or group["maximize"]):
            yield group
