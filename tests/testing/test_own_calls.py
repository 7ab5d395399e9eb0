"""A metric that asks torch.distributed, or a launcher's variables, for its process is not judged by simulated ones."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.wrong_metrics import NUMBERS, POSITIVE, Mean
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection

from lwcallbacks import ReductionMetric
from lwcallbacks.reductions import ExactMean
from lwcallbacks.testing import Finding, LawViolation, World, check_metric, examine_metric
from lwcallbacks.testing.own_calls import own_calls

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
LAWS = ["batch_size", "shards", "empty_process", "sync_on_step"]


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


class FirstProcess(Mean):
    """Counts on process 0 only, as a log line would."""

    def update(self, x: Tensor) -> None:
        if rank() == 0:
            super().update(x)


class Variable(Mean):
    """The same, by what a launcher says."""

    def update(self, x: Tensor) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            super().update(x)


class Told(Mean):
    """Right: looks at its process for a note alone."""

    note = ""

    def compute(self) -> Tensor:
        self.note = f"of process {rank()}"
        return super().compute()


class OwnSum(Metric):
    """Right: adds up over processes by itself."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> Tensor:
        total = self.total.clone()
        if dist.is_initialized():
            dist.all_reduce(total)
        return total


class OwnSync(Mean):
    """Right: has a sync of its own, which torchmetrics calls on several processes only."""

    def _sync_dist(self, dist_sync_fn: Any = None, process_group: Any = None) -> None:
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, (self.total, self.number))
        self.total, self.number = (torch.stack(parts).sum(0) for parts in zip(*everyone, strict=True))


def examined(factory: Any, **options: Any) -> dict[str, Finding]:
    return examine_metric(factory, POSITIVE, laws=LAWS, examples=5, **options)


@pytest.mark.parametrize("factory", [FirstProcess, Variable, Told, OwnSum, OwnSync])
def test_laws_about_processes_are_not_simulated(factory: Any) -> None:
    """Neither kept nor broken, right or wrong; the finding has the line that asks, and what to do."""
    found = examined(factory)
    assert [found[law].outcome for law in LAWS] == ["kept", *["not simulated"] * 3]
    message = found["shards"].message
    assert message.startswith("it asks for its process by itself, which is not simulated; let real processes judge it")
    asked = {FirstProcess: "is_initialized()", Variable: "os.environ['RANK'] at", OwnSync: "get_world_size() at"}
    assert asked.get(factory, "torch.distributed.is_initialized() at") in message
    assert f"{os.path.basename(__file__)}:" in message


def test_a_system_that_cannot_fork_does_not_judge_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why, also where real processes are asked for."""
    monkeypatch.delattr(os, "fork", raising=False)
    for confirm in (False, True):
        finding = examined(FirstProcess, confirm=confirm)["shards"]
        assert finding.outcome == "not simulated"
        assert ", which is not simulated, and this system cannot fork: torch.distributed." in finding.message


@needs_fork
@pytest.mark.parametrize("factory", [FirstProcess, Variable])
def test_real_processes_find_what_depends_on_the_process(factory: Any) -> None:
    """With `confirm=True`; in the words of the law, with its example."""
    finding = examine_metric(factory, POSITIVE, laws=["shards"], examples=5, confirm=True)["shards"]
    assert (finding.outcome, finding.how) == ("broken", "value")
    first, law, *_ = finding.message.splitlines()
    assert first.startswith("on 2 processes you report ") or "where process 0 reports" in first
    assert law.startswith("  law shards is broken")
    assert "torch.distributed.init_process_group" in finding.program()
    with pytest.raises(LawViolation, match="law empty_process is broken"):
        check_metric(factory, POSITIVE, laws=["empty_process"], confirm=True)


@needs_fork
@pytest.mark.parametrize("factory", [Told, OwnSum, OwnSync])
def test_real_processes_accept_what_is_right(factory: Any) -> None:
    """And the finding says that real ones have judged; a synced step is another matter for one that syncs itself."""
    found = examine_metric(factory, POSITIVE, laws=["shards", "empty_process"], examples=5, confirm=True)
    for finding in found.values():
        assert finding.outcome == "kept", finding.message
        assert finding.message == "on 3 examples by real processes (gloo), since simulated ones do not answer it"


class StepsOfOne(Told):
    """Leaves dist_sync_on_step out of account."""

    def forward(self, x: Tensor) -> Tensor:
        self.dist_sync_on_step = False
        step: Tensor = super().forward(x)
        return step


@needs_fork
def test_real_processes_judge_synced_steps() -> None:
    """What each step reports on them, and not only the value of the epoch."""
    with pytest.raises(LawViolation, match="with dist_sync_on_step=True on 2 processes, step 0 reports"):
        check_metric(StepsOfOne, POSITIVE, laws=["sync_on_step"], confirm=True)
    check_metric(Told, POSITIVE, laws=["sync_on_step"], confirm=True)


class RaisesOnTheSecond(Mean):
    def compute(self) -> Tensor:
        if rank() == 1:
            raise ValueError("no value here")
        return super().compute()


@needs_fork
def test_a_real_process_that_raises_is_told() -> None:
    """In the first line."""
    with pytest.raises(LawViolation) as failure:
        check_metric(RaisesOnTheSecond, POSITIVE, laws=["shards"], confirm=True)
    assert "on 2 processes process 1 raised ValueError: no value here; process 0 " in str(failure.value)


def test_a_check_says_once_what_it_has_not_tried() -> None:
    """By a warning, since a check has no findings to show; one that stops at another law does not get there."""
    with pytest.warns(UserWarning, match="FirstProcess: not tried") as caught:
        check_metric(FirstProcess, POSITIVE, laws=LAWS, examples=3)
    [told] = [str(warning.message) for warning in caught]
    assert told.startswith("lwcallbacks: FirstProcess: not tried: shards, empty_process, sync_on_step: it asks for its")
    with pytest.warns(UserWarning, match="lwcallbacks: World: FirstProcess asks for its process itself: torch.dist"):
        World(2).compute(FirstProcess, [[(torch.ones(1),)], []])


class Available(Mean):
    def compute(self) -> Tensor:
        assert dist.is_available()
        return super().compute()


@pytest.mark.parametrize(
    "factory",
    [
        Mean,
        MeanMetric,
        Available,
        lambda: MetricCollection({"a": Mean(), "b": MeanMetric()}),
        lambda: ReductionMetric(ExactMean()),
        lambda: MeanMetric(process_group=dist.group.WORLD),
    ],
)
def test_torchmetrics_own_questions_do_not_count(factory: Any) -> None:
    """A metric whose sync is torchmetrics' is simulated, and nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_metric(factory, NUMBERS, laws=["shards", "empty_process"], examples=5)


def test_calls_are_those_of_the_lines_inside() -> None:
    """Each line once, also on a thread of its own; none before or after, and a profiler is left as it was."""
    before, before_threads = sys.getprofile(), threading.getprofile()
    with own_calls() as calls:
        for _ in range(3):
            rank()
        World(1).each([Mean()], lambda metric, number: dist.is_initialized())
    assert sys.getprofile() is before
    assert threading.getprofile() is before_threads
    rank()
    assert len(calls) == 2
    assert all(call.startswith("torch.distributed.is_initialized() at ") for call in calls)


def test_a_line_is_named_after_what_it_asks_first() -> None:
    """By the name that a user writes, also where torch has wrapped it."""
    with own_calls() as calls:
        assert [dist.is_initialized(), dist.is_torchelastic_launched()] == [False, False]
        with pytest.raises(ValueError, match="process group"):
            dist.barrier()
    names = [call.partition(" at ")[0] for call in calls]
    assert names == ["torch.distributed.is_initialized()", "torch.distributed.barrier()"]


def test_variables_of_launchers_tell_processes_apart() -> None:
    """Those of torchrun, of Lightning and of Slurm; no others."""
    names = ["RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"]
    for name in (*names, "SLURM_PROCID", "SLURM_NTASKS"):
        with own_calls() as calls:
            os.environ.get(name)
        assert [call.partition(" at ")[0] for call in calls] == [f"os.environ['{name}']"]
    with own_calls() as calls:
        os.environ.get("HOME")
    assert calls == []


def test_an_import_asks_for_nothing() -> None:
    """Whatever runs while a part of torch.distributed is imported."""
    sys.modules.pop("torch.distributed.argparse_util", None)
    with own_calls() as calls:
        importlib.import_module("torch.distributed.argparse_util")
    assert calls == []
