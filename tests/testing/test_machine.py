"""The state machine accepts right metrics in any order of events, and shows for wrong ones which order breaks them."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy
from support.versions import needs_merge_state, needs_simulated_device
from support.wrong_metrics import IntegersInList
from testing.test_programs import printed
from torch import Tensor
from torchmetrics import MaxMetric, MeanMetric, Metric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, MulticlassConfusionMatrix

from lwcallbacks import ReductionMetric
from lwcallbacks.reductions import ConfusionCounts, ExactMean
from lwcallbacks.testing import (
    LawViolation,
    batches_of,
    binary_batches,
    grid,
    metric_machine,
    multiclass_batches,
    text_batches,
    value_batches,
)
from lwcallbacks.testing.confirm import run_program
from lwcallbacks.testing.life import COMPUTE, Life

NUMBERS = value_batches(step=0.5, max_size=3)  # sums of halves are exact
FEW = value_batches(step=0.5, max_size=2, max_batches=2, degenerate=False)  # soon as small as they can be


class Total(Metric):
    """A right metric: a sum and a count. The wrong ones below change a line of it."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("number", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: Tensor) -> None:
        self.total = self.total + value.sum()
        self.number = self.number + len(value)

    def compute(self) -> dict[str, Tensor]:
        return {"total": self.total, "number": self.number}


class StaleCache(Total):
    """Remembers its value, and forgets it in `update` only."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Tensor] | None = None

    def update(self, value: Tensor) -> None:
        super().update(value)
        self.known = None

    def compute(self) -> dict[str, Tensor]:
        if self.known is None:
            self.known = super().compute()
        return self.known


class LosesCountOnMerge(Total):
    def merge_state(self, incoming_state: Any) -> None:
        self.total = self.total + incoming_state.total


class KeepsCountOnReset(Total):
    def __init__(self) -> None:
        super().__init__()
        self.extra = 0

    def update(self, value: Tensor) -> None:
        super().update(value)
        self.extra += len(value)

    def compute(self) -> dict[str, Tensor]:
        return {"total": self.total, "number": torch.tensor(self.extra)}


class ResetsWithoutCount(KeepsCountOnReset):
    """An attribute that is no state: right on one process until a checkpoint is loaded."""

    def reset(self) -> None:
        super().reset()
        self.extra = 0


class AddsWhatItLoads(Total):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        before = self.total
        loaded = super().load_state_dict(state_dict, strict, assign)
        self.total = self.total + before
        return loaded


class PicklesItsDefaults(Total):
    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "number": torch.tensor(0)}


class EpochSoFar(Total):
    def forward(self, value: Tensor) -> Any:
        self.update(value)
        return self.compute()


class AveragesShares(Total):
    """The total of several processes is their mean."""

    def __init__(self) -> None:
        super().__init__()
        self._reductions["total"] = torch.mean


class Halves(Total):
    """Keeps its count in a buffer, which a module of half precision rounds. 2049 is no number of 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("start", torch.tensor(2049.0), persistent=False)

    def compute(self) -> dict[str, Tensor]:
        return {"total": self.total + self.get_buffer("start").float(), "number": self.number}


class MeanOfBatchMeans(Total):
    def compute(self) -> Tensor:  # type: ignore[override]
        return self.total / self.number

    def update(self, value: Tensor) -> None:
        self.total = self.total + value.mean()
        self.number = self.number + 1


class OfDicts(Total):
    """A metric of one's own that gets a batch as its loader makes it."""

    def update(self, batch: dict[str, Any]) -> None:  # type: ignore[override]
        super().update(batch["score"][torch.tensor([name == "a" for name in batch["name"]])])


class NeedsData(Total):
    """Right: raises as long as there is none."""

    def compute(self) -> dict[str, Tensor]:
        if self.number == 0:
            raise ValueError("no data")
        return super().compute()


class WordsInAll(Metric):
    """Keeps texts in a Python list, which is no state."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def update(self, preds: list[str], target: list[str]) -> None:
        self.texts += preds

    def compute(self) -> Tensor:
        return torch.tensor(sum(len(text.split()) for text in self.texts))


def long(*case: Any) -> Any:
    """Shrinking takes seconds."""
    return pytest.param(*case, marks=pytest.mark.long)


def failure_of(machine: type[RuleBasedStateMachine]) -> tuple[Exception, str]:
    """What a machine raises, and what hypothesis prints below it."""
    with pytest.raises(Exception) as failure:  # noqa: PT011, each test says which
        run_state_machine_as_test(machine)
    return failure.value, "\n".join(failure.value.__notes__)


def begun(factory: Any, *without: str, look_each_time: bool = False) -> Any:
    """A life of two batches, whose steps are called by hand."""
    life: Any = metric_machine(factory, FEW, without=without)()
    life.start(batches=[(torch.tensor([0.0]),), (torch.tensor([0.0, 1.0]),)], look_each_time=look_each_time)
    return life


def dicts(draw: Any, n: int) -> tuple[dict[str, Any]]:
    scores = draw(grid(n, step=0.5))
    return ({"score": scores, "name": ["a" if score > 0 else "b" for score in scores]},)


RIGHT: dict[str, tuple[Callable[[], Any], SearchStrategy[Any], dict[str, Any]]] = {
    "a total": (Total, NUMBERS, {}),
    "a maximum": (MaxMetric, value_batches(), {}),
    "a mean that rounds": (MeanMetric, value_batches(), {"exact": False, "atol": 1e-5}),
    "counts": (lambda: MulticlassConfusionMatrix(3), multiclass_batches(3), {}),
    "a collection": (lambda: MetricCollection([BinaryAccuracy(), BinaryF1Score()]), binary_batches(), {}),
    "an exact mean": (lambda: ReductionMetric(ExactMean()), value_batches(), {}),
    "a reduction": (lambda: ReductionMetric(ConfusionCounts(3)), multiclass_batches(3, preds="labels"), {}),
    "batches of dicts": (OfDicts, batches_of(dicts), {}),
    "a reference": (
        BinaryAccuracy,
        binary_batches(),
        {"reference": lambda preds, target: float(((preds > 0.5) == target).double().mean())},
    ),
}


@needs_merge_state
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_metric_lives_through_anything(name: str) -> None:
    """Any order of updates, resets, checkpoints, merges and processes."""
    factory, batches, options = RIGHT[name]
    run_state_machine_as_test(metric_machine(factory, batches, examples=15, **options))


@needs_merge_state
@pytest.mark.parametrize(
    ("factory", "step", "said", "without"),
    [
        long(StaleCache, "", "you report", ["sync", "load"]),
        (LosesCountOnMerge, "merge", "(at ['number'])", ["sync", "load"]),
        (KeepsCountOnReset, "reset", "without data reports 0", ["sync", "load", "merge", "forward"]),
        long(ResetsWithoutCount, "load", "(at ['number'])", ["sync", "merge", "forward"]),
        long(AddsWhatItLoads, "load", "(at ['total'])", ["sync", "merge"]),
        long(PicklesItsDefaults, "pickled", "you report 0 where", ["sync", "load", "merge"]),
        (EpochSoFar, "forward", "expected: forward gives the value of its batch", ["sync", "load", "merge"]),
        (AveragesShares, "sync", "process 0 of 2 gives the value of all", ["load", "merge", "forward"]),
        (Halves, "move(to='half')", "you report 2048 where", ["sync", "load", "merge"]),
        long(MeanOfBatchMeans, "", "that sees the same samples at once", ["sync", "load", "merge"]),
    ],
)
def test_a_wrong_metric_is_refuted_by_a_short_life(factory: Any, step: str, said: str, without: list[str]) -> None:
    """Which has the step that breaks it, and little else; the message has both values, and so has its program."""
    error, life = failure_of(metric_machine(factory, FEW, without=without, steps=10))
    assert isinstance(error, LawViolation)
    assert said in str(error)
    assert str(error).startswith(f"{factory.__name__}: after ")
    lines = [line for line in life.splitlines() if line.startswith("state.") and "teardown" not in line]
    assert len(lines) <= 6
    assert any(f"state.{step}" in line for line in lines), life
    shows_both_values(error)


def shows_both_values(violation: LawViolation) -> None:
    """A program, also in the notes, that runs without this package and prints what was found and what should be."""
    source = violation.program()
    assert textwrap.indent(source, "    ") in "\n".join(violation.__notes__)
    assert violation.finding is not None
    assert violation.finding.values is not None
    found, expected = violation.finding.values
    assert found != expected
    if "torch.distributed" in source:
        ran = run_program(source)
        told = [f"one process: {expected}", f"process 0: {found}", f"process 1: {found}"]
        assert sorted(ran.out.splitlines()) == told
    else:
        assert printed(source).endswith(f"{found}\n{expected}\n"), source
    calls = source.partition("\nmetric = ")[2] or source.partition("metric = make()")[2]
    assert len([line for line in calls.splitlines() if line]) <= 15


@needs_merge_state
def test_a_metric_of_texts_that_keeps_them_outside_of_its_state() -> None:
    """It is right until it is reset."""
    batches = text_batches(max_size=1, max_words=2, degenerate=False)
    error, life = failure_of(metric_machine(WordsInAll, batches, without=["sync", "merge", "load"], steps=8))
    assert "state.reset()" in life or "state.forward(" in life
    assert "samples at once" in str(error) or "without data" in str(error)
    assert isinstance(error, LawViolation)
    shows_both_values(error)


@needs_merge_state
@pytest.mark.parametrize("strict", [False, True])
def test_every_step_of_a_life_is_a_line_of_its_program(strict: bool) -> None:
    """A right metric goes through all of them, computes in between, and has its value at the end."""
    life = Life(Total, strict=strict, single=True)
    steps = ["metric.update(*batches[0])", life.sync([[1], []]), "metric(*batches[1])", life.save(), "metric.reset()"]
    steps += [life.load(into_new=True), life.merge([0], into_new=False), life.merge([], into_new=True)]
    steps += ["metric = pickle.loads(pickle.dumps(metric))", life.move("half"), life.move("cpu"), COMPUTE]
    steps.append(life.sync([[1]]))
    for step in steps:
        life.step(step)
        if "(metric" not in step and not strict:
            life.step(COMPUTE)
    batches = [(torch.tensor([1.0, 2.0]),), (torch.tensor([4.0]),)]
    ran = run_program(life.program(batches, samples=[(torch.tensor([1.0, 2.0, 4.0, 1.0, 2.0, 4.0]),)]))
    first, last = "{'total': tensor(7.), 'number': tensor(3)}", "{'total': tensor(14.), 'number': tensor(6)}"
    by_process = [(0, last), (0, first), (1, last), (1, first), (2, first)]
    told = [f"one process: {last}", *(f"process {i}: {value}" for i, value in by_process)]
    assert sorted(ran.out.splitlines()) == told, ran


def test_a_life_on_a_gpu_takes_its_batches_there() -> None:
    """And says so to the checkpoint that is loaded there."""
    life = Life(Total, strict=False, single=False)
    for step in (life.move("second device"), f"metric.update(*{life.named(0)})", life.save(), life.load(into_new=True)):
        life.step(step)
    source = life.program([(torch.tensor([1.0]),)], samples=[(torch.tensor([1.0]),)])
    compile(source, "program", "exec")
    assert 'torch.nn.ModuleList([metric]).to("cuda")\nmetric.update(*on_gpu(batches[0]))' in source
    assert "torch.load(path, weights_only=True, map_location='cuda')" in source
    assert '[part.persistent(True) for part in metric.modules() if hasattr(part, "persistent")]' in source
    assert source.endswith('print(updated(make().to("cuda"), map(on_gpu, samples)).compute())\n')
    life.step(life.move("cpu"))
    assert life.load(into_new=False).endswith("torch.load(path, weights_only=True, map_location='cpu'))")


@pytest.mark.parametrize(("strict", "looks"), [(False, 1), (False, 2), (True, 2)])
def test_a_program_forgets_values_only_where_a_life_would(strict: bool, looks: int) -> None:
    """Where one was asked for before the end, and torchmetrics' cache is off."""
    life, batches = Life(Total, strict=strict, single=True), [(torch.tensor([1.0]),)]
    for _ in range(looks):
        life.step("metric.update(*batches[0])")
        life.step(COMPUTE)
    source = life.program(batches, samples=batches * looks)
    assert ("compute_with_cache = False" in source) == (looks == 2 and not strict)
    assert printed(source).splitlines()[-2:] == [f"{{'total': tensor({looks}.), 'number': tensor({looks})}}"] * 2


def test_a_life_without_data_ends_in_the_program_of_a_new_metric() -> None:
    """It expects what that computes, and names no samples."""
    life = Life(Total, strict=False, single=True)
    life.step(COMPUTE)
    source = life.program([], samples=[])
    assert source.endswith("print(metric.compute())\nprint(make().compute())\n")
    assert "samples" not in source
    assert printed(source).splitlines() == ["{'total': tensor(0.), 'number': tensor(0)}"] * 2


def test_a_life_looks_at_the_value_when_it_is_asked_for_and_at_its_end() -> None:
    """At the end but for a life that failed, or where `compute` is left out."""

    def life(*without: str) -> Any:
        life = begun(MeanOfBatchMeans, *without)
        life.update(batch=0)
        life.update(batch=1)
        return life

    for look in (life().compute, life().teardown):
        with pytest.raises(LawViolation, match=r"you report 0\.25 where a new metric"):
            look()
    failed = life()
    with pytest.raises(LawViolation):
        failed.compute()
    failed.teardown()
    life("compute").teardown()


def test_some_lives_look_at_the_value_after_each_step() -> None:
    """Once, and as a step of its own; not where `compute` is left out."""
    life = begun(MeanOfBatchMeans, look_each_time=True)
    life.update(batch=0)
    life.compute()
    steps = "update(0), compute(), compute(), update(1), compute()"
    with pytest.raises(LawViolation, match=re.escape(f"after {steps}: you report 0.25 where a new metric")):
        life.update(batch=1)
    silent = begun(MeanOfBatchMeans, "compute", look_each_time=True)
    silent.update(batch=0)
    silent.update(batch=1)
    assert silent.past == ["update(0)", "update(1)"]


def test_a_life_without_data_has_the_value_of_a_new_metric() -> None:
    """And none where that raises."""
    for step in ("compute", "teardown"):
        right, wrong = begun(NeedsData), begun(KeepsCountOnReset)
        for life in (right, wrong):
            life.update(batch=0)
            life.reset()
        getattr(right, step)()
        with pytest.raises(LawViolation, match="where a new metric without data reports 0"):
            getattr(wrong, step)()


def test_a_sync_may_have_a_process_without_data() -> None:
    """Unless that is left out; then it syncs where each process has some."""
    life = begun(IntegersInList)
    life.update(batch=0)
    with pytest.raises(LawViolation, match="processes gather tensors that do not fit together"):
        life.sync(others=[[]])
    life = begun(IntegersInList, "empty_process")
    life.update(batch=0)
    life.sync(others=[[]])
    life.sync(others=[[1], []])
    life.sync(others=[[1]])
    assert life.past == ["update(0)", "sync([[1]])"]


def test_a_checkpoint_is_loaded_in_a_life() -> None:
    """Into the metric that was saved, too. What was not saved is saved first, unless lives are to go without."""
    others = ["forward", "reset", "merge", "pickled", "move", "sync"]
    error, life = failure_of(metric_machine(AddsWhatItLoads, FEW, without=others, steps=6))
    assert isinstance(error, LawViolation)
    assert re.search(r": after update\(0\), .*save\(\), .*load\(into_new=False\), ", str(error))
    assert "state.load(into_new=False)" in life
    assert error.program().index("torch.save(") < error.program().index("torch.load(")
    run_state_machine_as_test(metric_machine(AddsWhatItLoads, FEW, without=[*others, "save"], steps=6))


def test_a_wrong_formula_needs_a_reference() -> None:
    """Without one, a metric is held against itself."""

    class Twice(Total):
        def compute(self) -> Tensor:  # type: ignore[override]
            return self.total * 2

    run_state_machine_as_test(metric_machine(Twice, NUMBERS, without=["merge"], examples=10))
    error, life = failure_of(metric_machine(Twice, FEW, lambda value: float(value.sum()), without=["merge", "sync"]))
    assert "where the reference says" in str(error)
    assert life.count("state.update") + life.count("state.forward") <= 2
    assert isinstance(error, LawViolation)
    shows_both_values(error)


def test_an_exception_of_the_metric_is_shown_as_it_is() -> None:
    """With the life that led there."""

    class Fragile(Total):
        def compute(self) -> Any:
            raise ZeroDivisionError("no samples") if self.number > 4 else ZeroDivisionError("few samples")

    error, life = failure_of(metric_machine(Fragile, FEW, without=["merge", "sync"], steps=8))
    assert isinstance(error, ZeroDivisionError)
    assert "state.start(batches=[" in life
    noted = life.partition("A program that shows it, program() of this error:\n")[2]
    source = textwrap.dedent(noted.partition("Failing")[0])
    with pytest.raises(ZeroDivisionError, match="samples"):
        printed(source)


@pytest.mark.long
@needs_merge_state
def test_the_cache_of_torchmetrics_is_looked_at_on_request() -> None:
    """`merge_state` of torchmetrics 1.9 leaves the old value there."""
    run_state_machine_as_test(metric_machine(BinaryAccuracy, binary_batches(), examples=10))
    error, life = failure_of(metric_machine(BinaryAccuracy, binary_batches(max_size=2), strict=True, without=["sync"]))
    assert isinstance(error, LawViolation)
    assert "state.merge(" in life or "state.load(" in life
    shows_both_values(error)


def test_a_rule_can_be_left_out() -> None:
    """Then what it finds is not found; a rule that there is not is an error."""
    run_state_machine_as_test(metric_machine(EpochSoFar, NUMBERS, without=["forward", "merge"], examples=25))
    with pytest.raises(ValueError, match=r"without \['forwards'\], expected some of \['compute', 'empty_process'"):
        metric_machine(EpochSoFar, NUMBERS, without=["forwards"])
    with pytest.raises(ValueError, match=r"EpochSoFar\(\), expected a class, or a function"):
        metric_machine(EpochSoFar(), NUMBERS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exact": False}, "exact=False, expected atol=1e-6, or rtol="),
        ({"rtol": 1e-5}, "exact=True, expected no atol and rtol"),
    ],
)
def test_a_tolerance_fits_to_exact(options: dict[str, Any], said: str) -> None:
    """As in `check_metric`; with a reference, a tolerance needs no `exact=False`."""
    with pytest.raises(ValueError, match=f"metric_machine: {said}"):
        metric_machine(Total, NUMBERS, **options)
    assert metric_machine(Total, NUMBERS, lambda value: None, rtol=1e-5).TestCase


class AsksItself(Total):
    """Adds up over processes by a call of its own. On one process it is right, and a world shows it none."""

    def compute(self) -> dict[str, Tensor]:
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.total)
        return super().compute()


@needs_merge_state
def test_a_metric_that_asks_for_its_process_itself_is_not_synced() -> None:
    """Which is said once, with the line that asks, and not where sync is left out."""
    with pytest.warns(
        UserWarning, match=r"metric_machine: AsksItself asks .*is_initialized\(\) at .*without=..sync"
    ) as said:
        run_state_machine_as_test(metric_machine(AsksItself, NUMBERS, examples=15))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_state_machine_as_test(metric_machine(AsksItself, NUMBERS, without=["sync"], examples=15))
        run_state_machine_as_test(metric_machine(Total, NUMBERS, examples=15))


def test_a_test_file_needs_two_lines(tmp_path: Path) -> None:
    """Pytest collects the TestCase, and shows the life that fails."""
    (tmp_path / "test_own.py").write_text(
        "from lwcallbacks.testing import metric_machine, value_batches\n"
        "from torchmetrics import MaxMetric, MinMetric\n"
        "class Wrong(MaxMetric):\n"
        "    def forward(self, value):\n"
        "        self.update(value)\n"
        "        return self.compute()\n"
        "OTHERS = ['merge', 'sync', 'load', 'save', 'pickled', 'move', 'reset']\n"
        "TestRight = metric_machine(MinMetric, value_batches(), without=['merge'], examples=5).TestCase\n"
        "TestWrong = metric_machine(Wrong, value_batches(max_size=1), without=OTHERS, steps=5).TestCase\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "state = WrongMachine()" in done.stdout
    assert "state.forward(batch=" in done.stdout


@pytest.mark.long
@needs_simulated_device
def test_a_tensor_that_stays_behind_is_found_on_a_second_device() -> None:
    """In a process of its own, which has simulated devices; a metric that moves all of its tensors passes."""
    program = """
import torch
from hypothesis.stateful import run_state_machine_as_test
from torchmetrics import SumMetric
from lwcallbacks.testing import metric_machine, simulated_device, value_batches
simulated_device()

class Weighted(SumMetric):
    def __init__(self):
        super().__init__()
        self.weight = torch.tensor([2.0])
    def update(self, value):
        super().update(value * self.weight)

batches = value_batches(step=0.5, max_size=2)
OTHERS = ["forward", "compute", "reset", "merge", "save", "load", "pickled", "sync"]  # all but update and move
run_state_machine_as_test(metric_machine(SumMetric, batches, without=["merge"], examples=15))
try:
    run_state_machine_as_test(metric_machine(Weighted, batches, without=OTHERS))
except RuntimeError as error:
    print(error, *error.__notes__, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=240)
    assert "on the same device" in done.stdout, done.stderr
    assert "state.move(to='second device')" in done.stdout


def test_a_metric_that_warns_where_it_is_made_has_a_machine_too() -> None:
    """Its warnings are not about the machine."""

    class Warns(Total):
        def __init__(self) -> None:
            super().__init__()
            warnings.warn("made", stacklevel=2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metric_machine(Warns, NUMBERS).__name__ == "WarnsMachine"
