"""Counts of parameters, moments and updates are those of the whole tensors, wherever their parts are."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import further, spread
from support.processes import run_processes
from support.versions import needs_simulated_device

from lwcallbacks.callbacks.reading import in_one_sum
from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.further import Item, count, count_shared, counted, moments
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.state.link import Alone
from lwcallbacks.testing.same import difference

SUPPORT = Path(__file__).resolve().parent.parent

MIXED = {"even": ["R", "0"], "uneven": ["0", "R"], "single": ["R", "R"], "whole": ["0", "0"], "none": ["R", "0"]}
HISTOGRAM = LogHistogram()


def lifted(x: torch.Tensor) -> Any:
    return HISTOGRAM.value(HISTOGRAM.lift(x))


def test_one_step_by_hand() -> None:
    """All parameters as they are behind the step; momentum and change of those that have a gradient."""
    gradients = {name: x for name, x in spread.values().items() if name != "none"}
    expected = {f"weights/{name}": lifted(1 - 0.5 * x) for name, x in gradients.items()}
    expected["weights/none"] = lifted(torch.ones(spread.SHAPES["none"]))
    expected |= {f"momentum_buffer/{name}": lifted(x) for name, x in gradients.items()}
    expected |= {f"updates/{name}": lifted((1 - 0.5 * x) - 1) for name, x in gradients.items()}
    assert difference(further.alone(), expected) is None


@pytest.mark.parametrize(
    ("processes", "mesh", "placements"),
    [(2, (2,), {name: ["0"] for name in spread.SHAPES}), (3, (3,), {"even": ["1"], "uneven": ["0"], "whole": ["R"]}),
     (4, (2, 2), MIXED)],
    ids=["FSDP2 on 2", "tensor parallel on 3", "mixed on 2x2"],
)  # fmt: skip
def test_it_is_what_one_process_counts(processes: int, mesh: tuple[int, ...], placements: dict[str, Any]) -> None:
    """The same counts on every process, by one sum together with the gradients'."""
    for found, num_calls in run_processes(processes, further.together, mesh, placements):
        assert num_calls == 1
        assert difference(found, further.alone()) is None


def test_a_gradient_that_is_a_sum_yet_to_be_made() -> None:
    """It is made first: each element is 1 + 2, counted once."""
    for names, norms, seen in run_processes(2, further.partial_gradient, 2):
        assert names == ("a", "b")
        assert norms.tolist() == pytest.approx([3 * 8**0.5] * 2)
        assert difference(seen, {name: lifted(torch.full((8,), 3.0)) for name in "ab"}) is None


def test_a_parameter_that_is_a_sum_yet_to_be_made_is_refused() -> None:
    """When training starts: no process has a value of it."""
    for told in run_processes(2, further.partial_parameter, 2):
        assert told == (
            "GradientHistogram('gradients'): found the parameter odd with the placement Partial, of which no process "
            "has a value, expected Shard or Replicate"
        )


@pytest.mark.parametrize("way", ["CPU", "device", "shared"])
def test_a_sample_counts_for_all(way: str) -> None:
    """Each of its elements as often as it stands for others: of a constant change, the number of all but for a rest."""
    p = torch.nn.Parameter(torch.zeros(1000, 1000))
    [before] = Kept([p]).copies().values()
    with torch.no_grad():
        p += 0.5
    item = Item("updates/p", p.detach(), p, before)
    small = Item("updates/p", torch.full((10,), 2.0), torch.zeros(10), torch.zeros(10))
    with as_on_a_device() if way == "device" else nullcontext():
        if way == "shared":
            found = in_one_sum([count_shared([item, small], HISTOGRAM, rank=0, world_size=1)], Alone())
        else:
            found = count([item, small], HISTOGRAM)
        counts = counted(found)
    assert counts is not None
    seen = counts.seen(HISTOGRAM)["updates/p"]
    filled = np.flatnonzero(seen.counts)
    assert seen.edges[filled].tolist() == [0.5, 2.0]
    of_large, of_small = seen.counts[filled]
    assert of_small == 10
    assert 1_000_000 <= of_large < 1_000_000 + item.weight()
    assert item.weight() > 100


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), set()),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), {"momentum_buffer"}),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), {"exp_avg", "exp_avg_sq"}),
        (lambda p: torch.optim.RAdam(p, lr=0.1), {"exp_avg", "exp_avg_sq"}),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5), {"momentum_buffer", "square_avg"}),
        (lambda p: torch.optim.RMSprop(p, lr=0.1), {"square_avg"}),
        (lambda p: torch.optim.LBFGS(p), set()),
    ],
    ids=["SGD", "momentum", "AdamW", "RAdam", "RMSprop with momentum", "RMSprop", "LBFGS"],
)
def test_moments_are_those_of_the_optimizers_state(make: Any, names: set[str]) -> None:
    """By the names that torch gives them; what the settings tell is what the state has."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = make([p])
    (p**2).sum().backward()
    optimizer.step(lambda: (p**2).sum())
    for shared in (False, True):
        items = moments([(p, "p")], optimizer, shared=shared)
        assert {item.name for item in items} == {f"{name}/p" for name in names}
        for item in items:
            state = optimizer.state[p][item.name.partition("/")[0]]
            counts = counted(count([item], HISTOGRAM))
            assert counts is not None
            assert difference(counts.seen(HISTOGRAM)[item.name], lifted(state)) is None


def test_a_shared_count_names_moments_before_there_are_any() -> None:
    """The sum has the same shape on a process whose state is empty."""
    p = torch.nn.Parameter(torch.ones(3))
    items = moments([(p, "p")], torch.optim.Adam([p]), shared=True)
    assert [(item.name, item.tensor) for item in items] == [("exp_avg/p", None), ("exp_avg_sq/p", None)]


@needs_simulated_device
def test_shared_readings_of_devices_do_not_wait() -> None:
    """Gradients, counts and outputs: nothing is waited for until they are drawn, and then they are right."""
    code = """
import torch
from support.spread import ALL, SHAPES, having, values
from lwcallbacks.callbacks.reading import Row, in_one_sum
from lwcallbacks.gradients.activations import Outputs
from lwcallbacks.gradients.further import Counts, count_shared, counted, moments, updates, weights
from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.read import finished, gradient_norms, read_shared
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.state.link import Alone
from lwcallbacks.testing import simulated_device
from lwcallbacks.state.link import Alone
from lwcallbacks.testing.same import difference
sim = simulated_device()
histogram = LogHistogram()

def found(device):
    module = having({name: torch.ones_like(x) for name, x in values().items()}).to(device)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.5, foreach=False)
    for name, p in module.named_parameters():
        p.grad = None if name == "none" else values()[name].to(device)
    named = [(p, name) for name, p in module.named_parameters()]
    large = torch.relu(torch.randn(100, 4, 3, 10, generator=torch.Generator().manual_seed(0))).to(device)
    outputs = Outputs({"relu": True, "linear": False, "never": True}, 3)
    sim.waits.clear()
    with torch.no_grad():
        kept = Kept([p for p, _ in named])
        norms = gradient_norms([p for p, _ in named])
        for p, name in named:
            if p.grad is not None:
                p.sub_(0.5 * p.grad)
                optimizer.state[p]["momentum_buffer"] = p.grad.clone()
        rows = [Row(name, p, norms.get(id(p))) for p, name in named]
        items = weights(named) + moments(named, optimizer, shared=True) + updates(named, kept.copies())
        for x in (large, large[:3].half()):
            outputs.see("relu", x, 1)
            outputs.keep()
        outputs.see("linear", large[0, 0], None)
        here = dict(rank=0, world_size=1)
        steps = [read_shared(rows, histogram, ALL, kept, **here), count_shared(items, histogram, **here),
                 outputs.shared(**here, device=torch.device(device))]
        readings = in_one_sum(steps, Alone())
    assert sim.waits == [], sim.waits
    layers, counts, seen = readings[0].finish(), counted([readings[1]]), readings[2].finish()
    assert sim.waits or device == "cpu"
    numbers = {name: (of.calls, of.has_units, of.activation[:4], of.activation.bins) for name, of in seen.items()}
    return layers.rows(), layers.before, layers.seen(), counts.seen(histogram), numbers

expected = found("cpu")
assert len(expected[0]) == 5 and len(expected[3]) == 16 and set(expected[4]) == {"relu", "linear"}
assert difference(found("sim:1"), expected) is None
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
