"""A counterexample is a program: it runs without this package, and prints the two values that were found."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import io
import itertools
import math
import re
import subprocess
import sys
import types
import warnings
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from support.wrong_metrics import OutOfPlace
from testing.test_laws_refute import NUMBERS, WRONG, MeanOfBatchMeans, Total
from torch import Tensor
from torchmetrics import CatMetric, Metric, SumMetric
from torchmetrics.aggregation import RunningMean, RunningSum
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy
from torchmetrics.image import VisualInformationFidelity
from torchmetrics.retrieval import RetrievalMAP

from lwcallbacks.testing import (
    Finding,
    LawViolation,
    NotExaminable,
    check_metric,
    examine_metric,
    floats32,
    labelled_batches,
    tensors,
)
from lwcallbacks.testing.confirm import confirmed, run_program
from lwcallbacks.testing.program import written

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

INTEGERS = st.lists(st.tuples(tensors(2, torch.int64, max_value=3)), min_size=2, max_size=3)
SCORED = labelled_batches(2).map(lambda batches: [(preds[:, 1], targets) for preds, targets in batches])


def found(factory: Any, batches: st.SearchStrategy[Any], law: str, **options: Any) -> Finding:
    return examine_metric(factory, batches, laws=[law], **options)[law]


def printed(source: str) -> str:
    """What a program prints, run in here."""
    assert "lwcallbacks" not in source
    out = io.StringIO()
    before = copy.copy(torch._tensor_str.PRINT_OPTS)  # the program writes into it
    sys.modules["program"] = module = types.ModuleType("program")  # where pickle looks for its classes
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "program", "exec", dont_inherit=True), vars(module))
    del sys.modules["program"]
    torch._tensor_str.PRINT_OPTS = before
    return out.getvalue()


IN_HERE = [name for name, wrong in WRONG.items() if wrong[2] not in ("shards", "empty_process", "no_host_wait")]


@pytest.mark.parametrize("name", IN_HERE)
def test_the_program_of_a_wrong_metric_prints_both_values(name: str) -> None:
    """What was found, and what was expected, on two lines."""
    factory, batches, law, _ = WRONG[name]
    finding = found(factory, batches, law, examples=60)
    assert finding.values is not None
    assert printed(finding.program()).endswith("\n".join([*finding.values, ""]))
    assert finding.values[0] != finding.values[1]


def test_a_difference_in_the_middle_of_many_numbers_is_printed() -> None:
    """Where torch leaves out the numbers in the middle, the program has torch print them all."""

    class InTheMiddle(Total):
        def compute(self) -> Tensor:
            numbers = torch.zeros(1001)
            numbers[500] = self.total
            return numbers

        def update(self, x: Tensor) -> None:
            self.total += 1

    finding = found(InTheMiddle, NUMBERS, "batch_size")
    assert finding.values is not None
    assert finding.values[0] != finding.values[1]
    assert printed(finding.program()).endswith("\n".join([*finding.values, ""]))


def test_the_program_of_a_wrong_number_computes_the_reference() -> None:
    """It has the reference in it, and all samples at once."""

    def total(values: Tensor) -> int:
        return 2 * int(values.sum())

    batches = st.just([(torch.tensor([1, 2]),), (torch.tensor([3]),)])
    finding = found(SumMetric, batches, "reference", reference=total)
    assert printed(finding.program()).splitlines() == ["tensor(6.)", "12"]


def test_the_program_of_a_wrong_value_on_processes_runs_them() -> None:
    """Real ones, on gloo; `confirm=True` runs it once and says what happened."""
    factory, batches, law, _ = WRONG["a mean over processes of unequal shares"]
    finding = found(factory, batches, law, confirm=True)
    assert finding.values is not None
    several, one = finding.values
    assert f"one process: {one}; process 0: {several}" in finding.confirmed
    assert finding.message.endswith(f"\n  on real processes (gloo): {finding.confirmed}")
    with pytest.raises(LawViolation) as failure:
        check_metric(factory, batches, laws=[law])
    assert failure.value.program() == finding.program()


def test_processes_that_would_abort_do() -> None:
    """A process without data sends an empty tensor of floats where the others send labels."""
    factory, batches, law, _ = WRONG["a list of integers"]
    finding = found(factory, batches, law, confirm=True)
    assert (finding.outcome, finding.how) == ("broken", "abort")
    assert re.fullmatch(r"process \d was aborted \(SIGABRT\)", finding.confirmed)


def test_a_program_about_a_gpu_says_so() -> None:
    """What waits for the device is shown on one."""
    source = found(*WRONG["a value read in every update"][:2], "no_host_wait").program()
    assert 'torch.cuda.set_sync_debug_mode("error")' in source
    compile(source, "program", "exec")


@pytest.mark.parametrize(
    ("factory", "batches", "law"),
    [
        (CatMetric, INTEGERS, "no_host_wait"),
        (functools.partial(RunningMean, window=2), INTEGERS, "state_dict_round_trip"),
        (lambda: RunningSum(window=2), INTEGERS, "state_dict_round_trip"),
        (BinaryAUROC, SCORED, "empty_process"),
    ],
)
def test_a_program_has_5_to_15_lines(factory: Any, batches: st.SearchStrategy[Any], law: str) -> None:
    """Where the metric is imported."""
    lines = [line for line in found(factory, batches, law).program().splitlines() if line]
    assert 5 <= len(lines) <= 15
    assert max(map(len, lines)) < 120


def test_numbers_are_written_out_or_packed() -> None:
    """NaN, infinity, subnormals, an empty tensor, halves, pictures of more than 2,000 numbers: the same bits again."""

    class Sizes(Metric):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, *args: Any) -> None:
            self.batches += 1

        def compute(self) -> Tensor:
            return self.batches

    special = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-40, 0.1])
    data = (
        special,
        special.half(),
        special.double(),
        torch.zeros(6, 0, 3),
        torch.zeros(6, dtype=torch.bool),
        torch.rand(6, 20, 20),
        torch.rand(6, 2).to(torch.complex64),
        torch.zeros(6, 0, dtype=torch.complex64),
        torch.rand(6, 4).view(torch.complex32),
        ["a 'b'", "", "ü", "d", "e", "f"],
        {"ms": torch.arange(6, dtype=torch.int32)},
    )
    source = found(Sizes, st.just([data, data]), "batch_size").program()
    assert "zlib" in source
    space: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(source, space)
    for again, original in zip(space["batches"][0], data, strict=True):
        if isinstance(original, Tensor):
            assert (again.dtype, again.shape) == (original.dtype, original.shape)
            assert again.contiguous().view(torch.uint8).tolist() == original.contiguous().view(torch.uint8).tolist()
        elif isinstance(original, dict):
            assert again["ms"].tolist() == original["ms"].tolist()
            assert again["ms"].dtype == torch.int32
        else:
            assert again == original


@dataclass(frozen=True)
class Config:
    scale: float


def test_a_lambda_and_what_it_uses_are_written_out() -> None:
    """Names of its file, of the function around it, several on one line."""
    window, wrapped, config = 2, MeanOfBatchMeans, Config(1.5)

    class Local(Total):
        scale = 2.0

        def update(self, x: Tensor) -> None:
            self.total += helper(x) * self.scale

    def helper(x: Tensor) -> Tensor:
        return x.mean() * window * config.scale

    factories = [lambda: wrapped(), lambda: Local()]
    for factory in factories:
        finding = found(factory, NUMBERS, "batch_size")
        assert finding.values is not None
        assert printed(finding.program()).endswith("\n".join([*finding.values, ""]))
    assert "make = lambda: Local()" in finding.program()
    assert "window = 2" in finding.program()
    assert "config = Config(scale=1.5)" in finding.program()


def test_an_annotation_that_only_a_type_checker_reads_is_left_alone() -> None:
    """A name that is not there in a run is not wanted of the program either."""

    class Annotated(MeanOfBatchMeans):
        def update(self, x: Tensor) -> None:
            super().update(x / 2)

        def scaled(self, by: Decimal) -> Decimal:
            return by

    finding = found(Annotated, NUMBERS, "batch_size")
    assert finding.values is not None
    assert printed(finding.program()).endswith("\n".join([*finding.values, ""]))


class CountsPairs(Total):
    """Uses one module that is a file, and one that is built into Python."""

    def update(self, x: Tensor) -> None:
        self.total += sum(math.dist([float(a)], [float(b)]) for a, b in itertools.pairwise(x))


def test_modules_are_imported_by_their_names() -> None:
    """Those of Python's own without a path to find them."""
    finding = found(CountsPairs, NUMBERS, "batch_size")
    assert finding.values is not None
    assert printed(finding.program()).endswith("\n".join([*finding.values, ""]))
    assert re.search(r"^import itertools, math(, |$)", finding.program(), re.MULTILINE)
    assert "sys" not in finding.program()


def test_what_cannot_be_written_down_is_a_line_to_fill_in() -> None:
    """It says what belongs there; and nothing is run on real processes then."""
    weights = object()

    class Weighted(MeanOfBatchMeans):
        def __init__(self, weights: Any) -> None:
            super().__init__()

    finding = found(lambda: Weighted(weights), NUMBERS, "batch_size")
    assert "weights = ...  # fill in: builtins.object, <object object at" in finding.program()
    made = type("Made", (MeanOfBatchMeans,), {})  # a class without a source
    assert "Made = ...  # fill in: abc.ABCMeta, <class '" in found(made, NUMBERS, "batch_size").program()
    incomplete = Finding("broken", "it hangs", "hang", source="# torch.distributed\nx = ...  # fill in: a number")
    assert confirmed(incomplete).confirmed == "not tried, since the program has a line to be filled in"


def test_what_could_not_be_examined_has_a_program_too() -> None:
    """It raises what was raised."""
    with pytest.raises(NotExaminable) as failure:
        check_metric(lambda: MulticlassAccuracy(3), st.just([(torch.tensor([0, 1, 2, 5]), torch.tensor([0, 1, 2, 0]))]))
    assert failure.value.finding is not None
    assert re.search(r"raised in: .*torchmetrics.*\.py:\d+, ", str(failure.value))
    with pytest.raises(RuntimeError, match="Detected more unique values in `preds`"):
        printed(failure.value.program())


def test_what_gloo_gets_right_is_no_violation() -> None:
    """Floats without dimensions beside none: simulated and real processes agree."""
    numbers = st.lists(st.tuples(floats32(2, nan=False)), min_size=1, max_size=2)
    assert found(CatMetric, numbers, "empty_process").outcome == "kept"


def test_where_real_processes_agree_with_one_the_law_is_kept() -> None:
    """And not where they differ, or where only one answered."""

    def after(*lines: str) -> Finding:
        source = "# torch.distributed" + "".join(f"\nprint({line!r})" for line in lines)
        return confirmed(Finding("broken", "it hangs", "hang", source=source))

    agreed = after("one process: 0.5", "process 1: 0.5", "process 0: 0.5")
    assert (agreed.outcome, agreed.how) == ("kept", "")
    assert agreed.message.startswith(
        "simulated processes differ, but real ones on gloo all report what one process does"
    )
    assert after("one process: 0.5", "process 0: 0.5", "process 1: 0.25").outcome == "broken"
    assert after("one process: 0.5").outcome == "broken"
    alone = Finding("broken", "another order", "value", source="print(1)")
    assert confirmed(alone) is alone


def test_processes_that_agree_on_a_wrong_step_excuse_nothing() -> None:
    """A synced step is not held against one process: what both report may be wrong on both."""

    class EpochLost(OutOfPlace):
        def forward(self, x: Tensor) -> Tensor:
            step: Tensor = super().forward(x)
            if self.dist_sync_on_step:
                self.number = self.number + 1
            return step

    ones = st.just([(torch.ones(2),)])
    finding = found(EpochLost, ones, "sync_on_step", examples=1, confirm=True)
    assert finding.outcome == "broken"
    assert "process 1: epoch tensor(0.5000) where its data is worth tensor(1.)" in finding.confirmed


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("RuntimeError('Timed out waiting 20000ms')", "a process waited for the others until its time was over"),
        ("RuntimeError('Connection closed by peer')", "a process waited for another one that was gone"),
        ("ValueError('No samples')", "ValueError: No samples"),
        ("SystemExit(3)", "the program ended with status 3"),
    ],
)
def test_how_real_processes_end_is_told(raised: str, told: str) -> None:
    """In words."""
    finding = confirmed(Finding("broken", "it hangs", "hang", source=f"# torch.distributed\nraise {raised}"))
    assert finding.confirmed.startswith(told)
    assert finding.message == f"it hangs\n  on real processes (gloo): {finding.confirmed}"


@pytest.mark.long
@pytest.mark.parametrize(
    ("factory", "sample", "law", "how", "told"),
    [
        (RetrievalMAP, (torch.rand(4), torch.ones(4).long(), torch.zeros(4).long()), "shards", "abort", "aborted"),
        (VisualInformationFidelity, (torch.rand(1, 1, 41, 41), torch.rand(1, 1, 41, 41)), "shards", "hang", "waited"),
    ],
)
def test_real_processes_do_what_simulated_ones_do(factory: Any, sample: Any, law: str, how: str, told: str) -> None:
    """Unlike numbers of batches in lists that are not reduced."""
    finding = found(factory, st.just([sample] * 3), law, examples=5, confirm=True)
    assert (finding.outcome, finding.how) == ("broken", how)
    assert told in finding.confirmed


def test_a_program_that_does_not_end_is_ended() -> None:
    """With all that it started."""
    ran = run_program("import os, time\nos.fork()\ntime.sleep(60)", seconds=1)
    assert ran.status is None


class Pair(NamedTuple):
    low: Any
    high: Any


class Shade(Enum):
    dark = 1


def run_written(data: dict[str, Any], make: Any = None) -> dict[str, Any]:
    """What the names of the data mean in a program that has it written down."""
    space: dict[str, Any] = {}
    exec(written(make, "", data), space)
    return space


def test_values_of_every_kind_are_written_out() -> None:
    """They are again what they were."""
    data = {
        "array": np.array([[1.5, math.inf], [-0.0, 2.0]], dtype=np.float16),
        "scalar": np.int64(3),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "numbers": {3, 1, 2},
        "frozen": frozenset([("a", 1)]),
        "pair": Pair(-math.inf, [None, ...]),
        "shade": Shade.dark,
        "nested": {"one": (1,), "none": (), "bytes": b"\0"},
        "config": Config(0.5),
    }
    space = run_written(data)
    for name in ("array", "scalar"):
        assert space[name].dtype == data[name].dtype
        np.testing.assert_array_equal(space[name], data[name])
    for name in ("dtype", "device", "numbers", "frozen", "nested"):
        assert space[name] == data[name]
        assert type(space[name]) is type(data[name])
    assert tuple(space["pair"]) == tuple(data["pair"])
    assert space["pair"].low == -math.inf
    assert space["shade"].name == "dark"
    assert space["config"].scale == 0.5


def test_functions_of_one_name_are_told_apart() -> None:
    """A second one of a name, or one with the name of the factory, gets another; a lambda is written where it is."""

    def scale(x: float) -> float:
        return 2 * x

    first = scale

    def scale(x: float) -> float:  # type: ignore[no-redef]
        return 3 * x

    def make(x: float) -> float:
        return 4 * x

    def powers(start: float) -> Any:
        def power(x: float, n: int) -> float:
            return x * power(x, n - 1) if n else start

        return power

    def halves() -> Any:
        def power(x: float, n: int) -> float:
            return power(x / 2, n - 1) if n else x

        return power

    numbers = [first, scale, make, lambda x: 5 * x]
    space = run_written({"all": numbers, "others": [powers(3.0), halves(), len, math.sqrt]}, make=lambda: None)
    assert [function(1.0) for function in space["all"]] == [2, 3, 4, 5]
    assert [function(2.0, 3) for function in space["others"][:2]] == [24, 0.25]
    assert space["others"][2:] == [len, math.sqrt]
    assert space["make"]() is None


def test_a_function_with_a_parameter_of_its_own_name_keeps_it() -> None:
    """Where another function of that name comes first, too."""

    def plain() -> Any:
        def scale(x: float) -> float:
            return 2 * x

        return scale

    def shadowed() -> Any:
        def scale(scale: float) -> float:
            return 3 * scale

        return scale

    def assigned() -> Any:
        def scale(x: float) -> float:
            scale = 4 * x
            return scale

        return scale

    space = run_written({"all": [plain(), shadowed(), assigned()]})
    assert [function(1.0) for function in space["all"]] == [2, 3, 4]


def test_a_name_of_the_program_is_not_also_yours() -> None:
    """What the factory uses is not overwritten in silence by what the program itself calls so."""
    value, metric = 3, 4
    source = written(lambda: [value, metric], "def value(seed):\n    metric = 1\nprint(make())\n", {})
    assert "# fill in: another name for what value is here" in source
    assert "what metric is here" not in source
    source = written(lambda: [value, metric], "for metric in [1]:\n    print(make())\n", {})
    assert "# fill in: another name for what metric is here" in source


def test_what_cannot_be_compared_is_taken_for_two_things() -> None:
    """And ends no check."""

    class Ambiguous:
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

    def holding(held: Any) -> Any:
        return lambda: held

    assert "# fill in: here held is one thing" in written(
        None, "", {"all": [holding(Ambiguous()), holding(Ambiguous())]}
    )


def test_a_name_that_means_two_things_is_told() -> None:
    """A line to be filled in, and not a program of something else."""

    def times(factor: float) -> Any:
        return lambda x: x * factor

    assert "fill in" not in written(None, "", {"all": [times(2.0), times(2.0)]})
    source = written(None, "", {"all": [times(2.0), times(3.0)]})
    assert "# fill in: here factor is one thing, and elsewhere 3.0" in source


def test_what_can_be_imported_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the shortest name, from the folder in which Python finds the user's own package or file."""
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "__init__.py").write_text("from mine.deep import Short, half\n\n\nclass Top: pass\n")
    (tmp_path / "mine" / "deep" / "__init__.py").write_text("class Short: pass\n\n\ndef half(x): return x / 2\n")
    (tmp_path / "mine" / "deep" / "end.py").write_text("class Long: pass\n")
    (tmp_path / "alone.py").write_text("class Alone: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["mine.Top", "mine.deep.Short", "mine.deep.half", "mine.deep.end.Long", "alone.Alone"]
    modules = [importlib.import_module(name.rpartition(".")[0]) for name in names]
    values = [getattr(module, name.rpartition(".")[2]) for module, name in zip(modules, names, strict=True)]
    source = written(MulticlassAccuracy, "", {"all": values})
    assert source.splitlines() == [
        "import sys",
        "from torchmetrics.classification import MulticlassAccuracy as make",
        f"sys.path[:0] = ['{tmp_path}']",
        "from alone import Alone",
        "from mine import Short, Top, half",
        "from mine.deep.end import Long",
        "all = [Top, Short, half, Long, Alone]",
    ]
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    for name in {name.rpartition(".")[0] for name in names}:
        monkeypatch.delitem(sys.modules, name)


def test_a_module_that_is_no_file_is_not_imported() -> None:
    """As one that a notebook or another program has made."""
    module = types.ModuleType("made_up")
    monkey = type("Monkey", (), {"__module__": "made_up"})
    module.Monkey = monkey  # type: ignore[attr-defined]
    sys.modules["made_up"] = module
    try:
        assert "fill in: builtins.type, <class 'made_up.Monkey'>" in written(None, "", {"kind": monkey})
    finally:
        del sys.modules["made_up"]
