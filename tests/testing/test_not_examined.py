"""A metric that has no value on its data breaks no law: it could not be examined, and is told what to change."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from support.versions import needs_merge_state
from support.wrong_metrics import Complete
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import PearsonCorrCoef, R2Score

from lwcallbacks.testing import (
    METRIC_LAWS,
    LawViolation,
    NotExaminable,
    check_metric,
    examine_metric,
    floats32,
    labelled_batches,
    violations_of_metric,
)
from lwcallbacks.testing.examining import examine
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.tried import has_nan

BATCHES = labelled_batches(num_classes=3)
NUMBERS = st.lists(st.tuples(floats32(3, nan=False)), min_size=1, max_size=3)
NANS = st.lists(st.tuples(floats32(3)), min_size=1, max_size=3)


class Halves(Metric):
    """Fails in a line of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum() / (len(x) % 2)  # an even batch

    def compute(self) -> Tensor:
        return torch.tensor(1 // int(self.total))


class Silent(Halves):
    """Forgets to return its value."""

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> None:  # type: ignore[override]
        pass


class BreaksInForward(MeanMetric):
    """Has a fault in the step's value alone."""

    def forward(self, value: Tensor) -> Any:
        raise RuntimeError("no step")


def raises() -> Metric:
    raise KeyError("num_classes")


# What is given, and what the message says of it.
CASES: dict[str, tuple[Any, st.SearchStrategy[Any], list[str]]] = {
    "an argument too many": (
        MeanMetric,
        st.just([(torch.ones(1), torch.ones(1), torch.ones(1))]),
        ["TypeError: too many positional arguments", "draw for each batch the tuple of arguments of update(value: "],
    ),
    "a class": (
        lambda: MeanMetric,
        BATCHES,
        ["the factory made the class MeanMetric", "write lambda: MeanMetric(...)"],
    ),
    "no metric": (nn.Identity, BATCHES, ["the factory made Identity, expected a torchmetrics.Metric"]),
    "a metric": (MeanMetric(), BATCHES, ["is a metric", "write a function that makes a new one"]),
    "a factory that raises": (raises, BATCHES, ["the factory raised KeyError: 'num_classes'", "test_not_examined.py:"]),
    "a factory that takes an argument": (
        MulticlassAccuracy,
        BATCHES,
        ["the factory raised ValueError", "have the factory make the metric when it is called without arguments"],
    ),
    "dicts": (
        lambda: MulticlassAccuracy(3),
        BATCHES.map(lambda batches: [{"preds": p, "target": t} for p, t in batches]),
        ["batches are a list of dict", "map(lambda batches: [(batch['preds'], batch['target'],) for batch in batches]"],
    ),
    "tensors": (MeanMetric, st.lists(floats32(3), min_size=1), ["a list of Tensor", "[(batch,) for batch in batches]"]),
    "one batch": (MeanMetric, st.tuples(floats32(3)), ["batches are tuple", "draw a list of batches"]),
    "NaNs": (
        lambda: MeanMetric(nan_strategy="error"),
        NANS,
        [
            "RuntimeError: Encountered `nan` values in tensor",
            "\n  made in: ",
            "floats32(3, nan=False)",
            "batches = [(float32 [",
        ],
    ),
    "too few samples": (R2Score, st.just([(torch.ones(1), torch.ones(1))]), ["Needs at least two samples"]),
    "a fault of its own": (
        Halves,
        st.just([(torch.ones(2),)]),
        ["OverflowError", "test_not_examined.py:", "compute: return torch.tensor(1"],
    ),
    "no value": (Silent, st.just([(torch.ones(2),)]), ["compute returned None", "have compute return the value"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_examined_is_an_outcome_of_its_own(name: str) -> None:
    """No law is broken by it; the message has the first exception, its place, and what to change."""
    factory, batches, told = CASES[name]
    with pytest.raises(NotExaminable) as failure:
        check_metric(factory, batches, examples=20)
    assert not isinstance(failure.value, LawViolation)
    for text in ["could not be examined on this data: ", "\n  what to change: ", *told]:
        assert text in str(failure.value)
    findings = examine_metric(factory, batches, examples=20)
    assert {finding.outcome for finding in findings.values()} == {"not examined"}
    assert findings.keys() == {name for name, law in METRIC_LAWS.items() if not law.asked}
    with pytest.raises(NotExaminable, match="could not be examined"):
        violations_of_metric(factory, batches, examples=20)


def test_what_raises_in_forward_alone_is_a_fault_of_the_steps_value() -> None:
    """And not of the batch, which was not written into."""
    findings = examine_metric(BreaksInForward, NUMBERS, examples=20)
    assert findings["inputs_unchanged"].outcome == "kept"
    assert "logging a step it raises RuntimeError: no step" in findings["step_value"].message


def test_a_reference_that_raises_is_not_held_against_the_metric() -> None:
    """The message has its exception, its line, and what to change; a reference that is no function is an error."""

    def wrong(x: Tensor) -> Tensor:
        return x.mean(3)

    with pytest.raises(
        NotExaminable, match=r"IndexError(.|\n)*wrong: return x.mean\(3\)(.|\n)*mend reference=, or let"
    ):
        check_metric(MeanMetric, NUMBERS, reference=wrong, examples=20)
    with pytest.raises(ValueError, match=r"reference=3.0, expected a function of all samples at once"):
        check_metric(MeanMetric, NUMBERS, reference=3.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"laws": []}, r"laws: found none, expected some of \['repeatable', 'inputs_unchanged'"),
        ({"laws": "order"}, r"laws: found 'order', expected a list of names, as laws=\['order'\]"),
        ({"known": ["order"]}, r"known=\['order'\], expected laws with reasons, as \{'order': 'ties'\}"),
    ],
)
def test_options_that_examine_nothing_are_an_error(options: dict[str, Any], said: str) -> None:
    """They had passed, or had raised something else."""
    with pytest.raises(ValueError, match=said):
        check_metric(MeanMetric, NUMBERS, examples=5, **options)


class Named(MeanMetric):
    """Takes an argument by its name only."""

    def update(self, value: Tensor, *, scale: Tensor) -> None:  # type: ignore[override]
        super().update(value * scale)


@pytest.mark.parametrize("drawn", [1, 2])
def test_arguments_by_name_only_need_a_class_that_is_shown(drawn: int) -> None:
    """A tuple has no names. The class in the message can be copied, and is held to the laws then."""
    batches = st.just([(torch.tensor([1.0, 2.0]),) * drawn, (torch.tensor([3.0]),) * drawn])
    with pytest.raises(NotExaminable) as failure:
        check_metric(Named, batches)
    _, _, advice = str(failure.value).partition("for tuples (value, scale):\n")
    source, _, _ = advice.partition("\n  with:")
    space: dict[str, Any] = {"Named": Named}
    exec(textwrap.dedent(source), space)
    fitting = batches.map(lambda drawn: [(args * 2)[:2] for args in drawn])
    check_metric(space["NamedByPosition"], fitting, laws=["batch_size", "order", "reset"], examples=5)


def test_a_number_of_examples_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name of the variable."""
    monkeypatch.setenv("LWCALLBACKS_EXAMPLES", "many")
    with pytest.raises(ValueError, match="LWCALLBACKS_EXAMPLES='many' in the environment, expected a number"):
        check_metric(MeanMetric, NUMBERS)


def pairs(least: int, *, most: int = 6) -> st.SearchStrategy[list[Any]]:
    """Batches of at least so many pairs of different numbers."""

    def batch(n: int) -> st.SearchStrategy[Any]:
        numbers = st.permutations(range(8)).map(lambda drawn: torch.tensor(drawn[:n]).float())
        return st.tuples(numbers, numbers)

    return st.lists(st.integers(least, most).flatmap(batch), min_size=1, max_size=3)


class NeedsTwo(Metric):
    """Refuses a batch of one."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor, y: Tensor) -> None:
        if len(x) < 2:
            raise ValueError("at least two")
        self.total += x.sum() + y.sum()

    def compute(self) -> Tensor:
        return self.total


class NaNOfOne(NeedsTwo):
    """Has no value for a batch of one."""

    def update(self, x: Tensor, y: Tensor) -> None:
        self.total += x.sum() + (y.sum() if len(y) > 1 else torch.nan)


@pytest.mark.parametrize("metric", [NeedsTwo, NaNOfOne])
def test_a_batch_is_not_cut_below_what_the_metric_takes(metric: Callable[[], Metric]) -> None:
    """The least batch is found by trying, and is never more than what the strategy draws."""
    check_metric(metric, pairs(2), examples=12)
    if metric is NeedsTwo:
        with pytest.raises(NotExaminable, match="at least two"):
            check_metric(metric, pairs(1), examples=30)
    else:
        with pytest.raises(LawViolation, match="law batch_size is broken"):
            check_metric(metric, pairs(1), examples=30)


def test_a_metric_that_takes_less_than_was_drawn_is_cut_smaller() -> None:
    """Else a fault with batches of one would be out of sight."""

    class Batches(NeedsTwo):
        def update(self, x: Tensor, y: Tensor) -> None:
            self.total += 1

    with pytest.raises(LawViolation) as failure:
        check_metric(Batches, pairs(4, most=4).map(lambda batches: batches[:1]), examples=30)
    assert "in batches of 1, 3 you report 2 where one batch of all samples reports 1" in str(failure.value)


def test_an_example_that_is_not_taken_breaks_no_law_later_on() -> None:
    """Rare ones may turn up when a law is tried, and were not drawn before."""
    finding = examine(
        METRIC_LAWS["order"],
        MetricSubject(R2Score),
        st.just([(torch.ones(1), torch.ones(1))]),
        name="batches",
        examples=5,
        seed=None,
    )
    assert finding.outcome == "not examined"
    assert "Needs at least two samples" in finding.message
    assert "R2Score as make" in finding.program()


def test_an_epoch_without_batches_says_nothing() -> None:
    """A list of batches may be drawn empty."""
    check_metric(MeanMetric, st.lists(st.tuples(st.just(torch.ones(2)))), examples=10)


def test_what_has_no_value_after_one_batch_is_examined_as_a_whole() -> None:
    """A value in mid-epoch is not asked for where plain update and compute has none."""

    class Late(NeedsTwo):
        def update(self, x: Tensor, y: Tensor) -> None:
            self.total += len(x)

        def compute(self) -> Tensor:
            if self.total < 4:
                raise ValueError("too few")
            return self.total

    usual = [law.name for law in METRIC_LAWS.selected(None)]
    findings = examine_metric(Late, pairs(2).map(lambda batches: (batches * 3)[:3]), laws=usual, examples=15)
    assert {finding.outcome for finding in findings.values()} <= {"kept", "not applicable"}


@needs_merge_state
def test_the_strict_laws_look_at_the_whole_too() -> None:
    """Likewise where a part of the data has no value."""

    class Late(Complete):
        def update(self, x: Tensor, y: Tensor) -> None:  # type: ignore[override]
            super().update(x)

        def compute(self) -> Tensor:
            if self.number < 4:
                raise ValueError("too few")
            return super().compute()

    laws = ["checkpoint_unchanged", "stale_value", "update_count"]
    findings = examine_metric(Late, pairs(2).map(lambda batches: (batches * 3)[:3]), laws=laws, examples=15)
    assert {finding.outcome for finding in findings.values()} <= {"kept", "not applicable"}


def test_a_correlation_is_given_two_samples() -> None:
    """PearsonCorrCoef is not a number for one sample."""
    laws = ["batch_size", "shards"]
    check_metric(PearsonCorrCoef, pairs(3), exact=False, rtol=1e-3, atol=1e-3, laws=laws, examples=20)


NAN = float("nan")


@pytest.mark.parametrize("value", [NAN, torch.tensor([1.0, NAN]), [1, (2.0, NAN)], {"a": {"b": [torch.tensor(NAN)]}}])
def test_a_nan_is_found_anywhere_in_a_value(value: Any) -> None:
    """In floats, tensors, and containers of them."""
    assert has_nan(value)


@pytest.mark.parametrize("value", [1.0, 0, "nan", None, torch.tensor([1, 2]), [1.0, {"a": torch.tensor([0.0])}], {}])
def test_no_nan_is_found_where_there_is_none(value: Any) -> None:
    """In integers, texts, and what is empty."""
    assert not has_nan(value)


SUM = MeanMetric()


@pytest.mark.parametrize("factory", [lambda: SUM, lambda: MetricCollection([SUM])])
def test_a_factory_that_gives_the_same_metric_each_time_is_told(factory: Callable[[], Any]) -> None:
    """Also where only a part is the same."""
    with pytest.raises(NotExaminable) as failure:
        check_metric(factory, NUMBERS)
    assert "the factory gives the same MeanMetric each time, expected a new metric" in str(failure.value)
    assert "what to change: write lambda: Me" in str(failure.value)


def test_an_epoch_of_no_batches_says_nothing() -> None:
    """A strategy may draw one; a metric may have no value of it."""

    class NeedsData(MeanMetric):
        def compute(self) -> Any:
            if not self.update_called:
                raise ValueError("no data")
            return super().compute()

    check_metric(NeedsData, st.lists(st.tuples(floats32(3, nan=False)), max_size=2), laws=["reset"])


def test_a_nan_is_found_in_lists_too() -> None:
    """Beside texts and numbers, which have none."""

    class Picky(MeanMetric):
        def update(self, boxes: Any, text: str, number: float) -> None:
            raise ValueError("found NaN")

    def advice(value: float) -> str:
        batch = ([{"boxes": torch.tensor([[value]])}], "text", 1.0)
        with pytest.raises(NotExaminable) as failure:
            check_metric(Picky, st.just([batch]))
        return str(failure.value)

    assert "draw no NaN" in advice(float("nan"))
    assert "draw no NaN" not in advice(1.0)
