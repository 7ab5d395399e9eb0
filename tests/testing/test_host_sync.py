"""What waits for a device is forbidden by name, what does not is let through; no device is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lwcallbacks import ReductionMetric, StateCore
from lwcallbacks.reductions import ConfusionCounts, ExactMean
from lwcallbacks.testing import HostSync, forbid_host_sync

WAITS: dict[str, Callable[[Tensor], object]] = {
    "Tensor.item": lambda x: x.sum().item(),
    "Tensor.tolist": lambda x: x.tolist(),
    "Tensor.cpu": lambda x: x.cpu(),
    "Tensor.to": lambda x: x.to("cpu"),
    "Tensor.to('cpu')": lambda x: x.to(device="cpu"),
    "Tensor.numpy": lambda x: x.numpy(),
    "Tensor.__array__": lambda x: np.asarray(x),
    "Tensor.__bool__": lambda x: bool(x[0] > 0),
    "Tensor.__int__": lambda x: int(x[0]),
    "Tensor.__float__": lambda x: float(x[0]),
    "Tensor.__index__": lambda x: range(x[0].long()),
    "Tensor.__contains__": lambda x: 1 in x,
    "Tensor.__repr__": lambda x: repr(x),
    "Tensor.__format__": lambda x: f"{x}",
    "torch.nonzero": lambda x: x.nonzero(),
    "torch.nonzero ": lambda x: torch.where(x > 0),
    "torch.index": lambda x: x[x > 0],
    "torch.index_put_": lambda x: x.index_put_((x > 0,), torch.tensor([7.0, 8.0])),
    "torch.index_put_ ": lambda x: x.index_put_((x > 0,), torch.tensor(7.0), accumulate=True),
    "torch.masked_select": lambda x: x.masked_select(x > 0),
    "torch._unique2": lambda x: x.unique(),
    "torch.unique_consecutive": lambda x: x.unique_consecutive(),
    "torch.bincount": lambda x: x.long().bincount(),
    "torch.equal": lambda x: torch.equal(x, x),
    "torch.allclose": lambda x: torch.allclose(x, x),
    "torch.repeat_interleave": lambda x: x.repeat_interleave(x.long()),
    "torch.tensor": lambda x: torch.tensor(1.0, device=x.device),
    "torch.as_tensor": lambda x: torch.as_tensor(np.ones(2), device=x.device),
    "torch.asarray": lambda x: torch.asarray(obj=[1.0], device=x.device),
    "Tensor.new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "Tensor.__getitem__": lambda x: x[[0, 1]],
    "Tensor.__setitem__": lambda x: x.reshape(1, 3).__setitem__((slice(None), [0, 1]), 1.0),
    "torch._local_scalar_dense": lambda x: torch.nn.functional.one_hot(x.long()),
}
ALLOWED: dict[str, Callable[[Tensor], object]] = {
    "python data": lambda x: torch.tensor([1.0, 2.0, 3.0]) + x,
    "python data for the host": lambda x: torch.tensor([1.0], device="cpu"),
    "no data": lambda x: (torch.tensor([], device=x.device), x.new_tensor([]), x.new_tensor(data=[])),
    "a tensor as one": lambda x: torch.as_tensor(x, device=x.device),
    "one number": lambda x: (torch.full((), 1.0, device=x.device), x.new_full((2,), 1.0), x[:2].fill_(1.0)),
    "where": lambda x: torch.where(x > 0, x, 0),
    "masked fill": lambda x: x.masked_fill_(x > 2, 0),
    "fill by mask": lambda x: x.clone().__setitem__(x > 2, 0.0),
    "put one by mask": lambda x: x.clone().index_put_((x > 0,), torch.tensor(7.0)),
    "index": lambda x: x[torch.tensor([0, 1])],
    "slice": lambda x: x[:2],
    "sort": lambda x: x.argsort(stable=True),
    "scatter": lambda x: torch.zeros(4).index_add_(0, x.long(), x),
    "another device": lambda x: x.to(torch.device("cpu")),
    "another dtype": lambda x: x.to(torch.float64),
    "shape": lambda x: (len(x), x.shape, x.dtype, x.device),
    "repeat of known length": lambda x: x.repeat_interleave(x.long(), output_size=4),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_forbidden_by_name(name: str) -> None:
    """The error names the operation and says what to do instead."""
    x = torch.tensor([0.0, 1.0, 3.0])
    with forbid_host_sync(), pytest.raises(HostSync) as failure:
        WAITS[name](x)
    assert str(failure.value).startswith(f"{name.strip()}")
    assert " waits for the device: " in str(failure.value)
    WAITS[name](x)  # and is none of its business outside


@pytest.mark.parametrize("name", ALLOWED)
def test_what_does_not_wait_is_let_through(name: str) -> None:
    """With the result that it always has."""
    with forbid_host_sync():
        ALLOWED[name](torch.tensor([0.0, 1.0, 3.0]))


def test_steps_of_our_own_do_not_wait() -> None:
    """Neither a metric's update and forward, nor a step of a StateCore, up to looking at its values."""
    core = StateCore({"loss": ExactMean(), "seen": ConfusionCounts(3)})
    metric = ReductionMetric(ConfusionCounts(3))
    preds, targets, losses = torch.rand(4, 3), torch.tensor([0, 1, 2, 5]), torch.rand(4)
    with forbid_host_sync():
        for _ in range(2):
            step = core.step_end(loss=(losses,), seen=(preds, targets), valid=torch.ones(4, dtype=torch.bool))
            metric.update(preds, targets)
    with forbid_host_sync(), pytest.raises(HostSync):
        step["loss"]
