"""Copies that are no longer equal on all processes are named: which tensor, since which step, on which process."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ill
from support.modules import trainer
from support.processes import run_processes
from support.versions import needs_fsdp2
from torch import nn

import lwcallbacks as lw
from lwcallbacks.callbacks.replicas import Drift, Replicas
from lwcallbacks.gradients.digest import CHUNK, digests_of
from lwcallbacks.testing import forbid_host_sync
from lwcallbacks.testing.same import difference
from lwcallbacks.testing.world import World


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.complex64]
)
def test_a_digest_sees_each_bit_and_each_place(dtype: torch.dtype) -> None:
    """Not in which order a tensor is in memory."""
    x = torch.arange(24).reshape(4, 6).to(dtype)
    other = x.clone()
    other[3, 5] = 0
    [same, again, changed, swapped, longer] = digests_of([x, x.t().contiguous().t(), other, x.flip(0), x.repeat(1, 2)])
    assert same == again
    assert len({int(d) for d in (same, changed, longer)}) == 3
    assert bool(same != swapped) is not torch.equal(x, x.flip(0))


def test_a_digest_sees_small_changes_that_cancel() -> None:
    """One bit up here and one down there, in any two places; and two parts of a large tensor that change places."""
    x = torch.arange(10, dtype=torch.int32)
    found = set()
    for i in range(10):
        for j in range(10):
            other = x.clone()
            other[i] += 1
            other[j] -= 1
            found.add((i == j, int(digests_of([other])[0])))
    assert len(found) == 91
    large = torch.arange(2 * CHUNK + 3, dtype=torch.float32)
    swapped = torch.cat([large[CHUNK : 2 * CHUNK], large[:CHUNK], large[2 * CHUNK :]])
    assert len(set(digests_of([large, swapped]).tolist())) == 2


def test_zeros_and_empty_tensors_have_digests() -> None:
    """Of their number; -0.0 has other bits than 0.0."""
    found = digests_of([torch.zeros(0), torch.zeros(1), torch.zeros(2), -torch.zeros(2)])
    assert len(set(found.tolist())) == 4


def compared(modules: list[nn.Module]) -> list[Drift | None]:
    """What each of so many simulated processes finds."""

    def steps(rank: int) -> Any:
        drift = yield from Replicas(modules[rank], rank=rank, world_size=len(modules), buffers=True).checking()
        return drift()

    return World(len(modules)).run(steps)


@pytest.mark.parametrize(
    ("changes", "names", "processes"),
    [
        ({}, None, ()),
        ({1: ["0.weight"]}, ("0.weight",), (1,)),
        ({0: ["0.weight"], 3: ["1.running_var", "1.bias"]}, ("0.weight", "1.bias", "1.running_var"), (0, 3)),
        ({0: ["1.bias"], 1: ["1.bias"], 2: ["1.bias"]}, ("1.bias",), ()),
    ],
)
def test_who_differs_from_most(changes: dict[int, list[str]], names: Any, processes: Any) -> None:
    """On five processes; each of those that differ has a value of its own, and two that agree are no majority."""
    torch.manual_seed(0)
    modules = []
    for rank in range(5):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        for name in changes.get(rank, ()):
            module.state_dict()[name].view(-1)[0] += 1 + rank
        modules.append(module)
    found = compared(modules)
    assert all(drift == found[0] for drift in found)
    assert (found[0] and found[0].tensors) == names
    assert (found[0].processes if found[0] else ()) == processes


STATISTICS = ("net.1.running_mean", "net.1.running_var")


@pytest.mark.parametrize(
    ("processes", "strategy", "change", "on", "tensors", "differs"),
    [
        (2, "ddp", "net.0.weight", 1, ("net.0.weight",), ()),
        (3, "ddp", "net.2.weight", 0, ("net.2.weight",), (0,)),
        (3, "ddp", "table", 2, None, ()),
        (3, "ddp, own buffers", "net.2.weight", 2, STATISTICS, ()),
    ],
)
def test_ddp(tmp_path: Path, processes: int, strategy: str, change: str, on: int, tensors: Any, differs: Any) -> None:
    """By one sum at each logged step. Statistics of a batch norm differ from the first on, unless DDP sends them."""
    found = run_processes(processes, partial(ill.replicas, strategy, change, str(tmp_path), on=on))
    steps = {2: 4, 3: 2}[processes]  # logged in an epoch
    drift, told, counts, calls = found[0]
    assert all(other == drift for other, *_ in found)
    assert calls == len(counts) == steps
    assert [text for _, text, *_ in found[1:]] == [""] * (processes - 1)
    if tensors is None:
        assert (drift, counts, told) == (None, [0.0] * steps, "")
        return
    since = 1 if tensors is STATISTICS else 3  # it is changed in the fourth batch, and every second is logged
    assert (drift["step"], drift["tensors"], drift["processes"]) == (since, tensors, differs)
    assert f"at step {since} {len(tensors)} of " in told
    assert f"first {tensors[0]}" in told


@needs_fsdp2
@pytest.mark.parametrize(("mesh", "differs"), [((3, 1), (1,)), ((2, 2), ())], ids=["3x1", "2x2"])
def test_shards_that_are_repeated(tmp_path: Path, mesh: tuple[int, int], differs: tuple[int, ...]) -> None:
    """Each is compared with its copies, as under HSDP; of two copies it is not known which is right."""
    run = partial(ill.replicas, "fsdp2", "net.0.weight", str(tmp_path), on=1, sharded=mesh)
    for drift, _, counts, _ in run_processes(mesh[0] * mesh[1], run):
        assert (drift["step"], drift["tensors"], drift["processes"]) == (3, ("net.0.weight",), differs)
        assert counts in ([], [0.0, 1.0])


@needs_fsdp2
def test_shards_that_nobody_repeats_are_refused(tmp_path: Path) -> None:
    """When training starts, on all processes, with what is expected."""
    run = partial(ill.refused, "fsdp2", str(tmp_path), sharded=(2,))
    for told in run_processes(2, run):
        assert "GradientHistogram('g'): check_replicas=True, and each parameter is spread over all processes" in told


def test_one_process_has_nothing_to_compare(tmp_path: Path, caplog: Any) -> None:
    """That is said once, when training starts."""
    callback = lw.GradientHistogram(2, check_replicas=True)
    with caplog.at_level(logging.INFO):
        trainer(callbacks=[callback], default_root_dir=tmp_path).fit(ill.Normed(), ill.Roots.loader())
    told = [record.message for record in caplog.records if "check_replicas" in record.message]
    assert len(told) == 1
    assert "one process has nothing to compare" in told[0]
    assert "drift" not in callback.results


def test_a_digest_is_the_same_on_a_device() -> None:
    """Its factors are made in another way there."""
    from lwcallbacks.gradients import digest

    tensors = [torch.arange(1000.0), torch.arange(7, dtype=torch.float64)]
    expected = digests_of(tensors)
    digest._factors.cache_clear()
    with forbid_host_sync():
        found = digests_of(tensors)
    digest._factors.cache_clear()
    assert torch.equal(found, expected)


def test_training_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """200 steps on two processes, with and without."""
    run = partial(ill.trained, str(tmp_path))
    for plain, compared, looked in run_processes(2, run):
        assert difference(compared, plain) is None
        assert difference(looked, plain) is None
