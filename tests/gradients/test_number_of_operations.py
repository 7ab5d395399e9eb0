"""How much a logged step gives a device to do, as a number of operations: on a device each one is time of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lwcallbacks.callbacks.reading import Reader
from lwcallbacks.callbacks.steps import Steps, nothing
from lwcallbacks.gradients.finite import held, oddities_of
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.gradients.read import Row, read_shared
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.looking import as_on_a_device

COLUMNS = ("norms", "before", "changes", "weights")


class Counter(TorchDispatchMode):
    """Counts what Python asks torch for, views too."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def operations(call: Callable[[], object]) -> int:
    with as_on_a_device():
        call()  # what is made once is made now
        with Counter() as counter:
            call()
    return counter.number


def network(size: int, dtype: torch.dtype = torch.float32, width: int = 8) -> nn.Module:
    """2 parameters for each layer, with gradients."""
    module = nn.Sequential(*(nn.Linear(width, width) for _ in range(size))).to(dtype)
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    return module


def logged_step(module: nn.Module) -> Callable[[], object]:
    """As the callback has it with clipping, in the optimizer's hooks."""
    steps = Steps(1, nothing, nothing)
    steps.watch([torch.optim.SGD(module.parameters(), 0.1)])
    reader = Reader(module, steps, Chosen(), None, LogHistogram(), COLUMNS)

    def step() -> None:
        reader.keep_parameters(steps.of[0])
        reader.keep_unclipped(steps.of[0])
        reader.read(steps.of[0])

    return step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_logged_step_queues_at_most_two_operations_more_for_a_further_parameter(dtype: torch.dtype) -> None:
    """Nearly all of it is done for all parameters at once; of ResNet-50's 161, that is a quarter of two each."""
    few, many = (operations(logged_step(network(size, dtype))) for size in (10, 80))
    assert few <= 200
    assert many - few <= 2 * (2 * 80 - 2 * 10)


def test_one_large_parameter_does_not_make_others_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read in pieces costs some operations a piece, and nothing beside it."""
    monkeypatch.setattr("lwcallbacks.reductions.bits._AT_ONCE", 20_000)
    small, large = network(80), network(80)
    large.append(nn.Linear(200, 200))
    for p in large[-1].parameters():
        p.grad = torch.ones_like(p)
    assert operations(logged_step(large)) - operations(logged_step(small)) <= 150


def test_a_shared_reading_queues_at_most_three_operations_more_for_a_further_parameter() -> None:
    """As `Reader` has it where parameters are spread over processes: up to the sum."""

    def shared(size: int) -> int:
        rows = [Row(name, p) for name, p in network(size).named_parameters()]

        @torch.no_grad()
        def step() -> None:
            next(read_shared(rows, LogHistogram(), ("norms",), rank=0, world_size=2))

        return operations(step)

    few, many = shared(10), shared(80)
    assert many - few <= 3 * (2 * 80 - 2 * 10)


def test_a_step_that_is_not_logged_queues_nothing_for_a_further_parameter() -> None:
    """The look whether gradients are finite is some operations for all."""

    def look(size: int) -> int:
        module = network(size)
        return operations(torch.no_grad()(lambda: oddities_of([held(p.grad) for p in module.parameters()])))

    assert look(5) == look(50) <= 10
