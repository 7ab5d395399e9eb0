"""A metric is held against a reference: another value is refuted in words, another type is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryPrecision, MulticlassConfusionMatrix
from torchmetrics.regression import MeanSquaredError

from lwcallbacks.testing import (
    METRIC_LAWS,
    Finding,
    LawViolation,
    NotExaminable,
    binary_batches,
    check_metric,
    examine_metric,
    multiclass_batches,
    regression_batches,
    text_batches,
)
from lwcallbacks.testing.reference import USUAL, contradiction


class AlwaysZero(Metric):
    """Keeps every law about batches and processes."""

    full_state_update = False

    def update(self, preds: Any, target: Any) -> None:
        pass

    def compute(self) -> Tensor:
        return torch.tensor(0.0)


class HalfOfIt(MeanSquaredError):
    """The formula with a factor of the loss function that it was copied from."""

    def compute(self) -> Tensor:
        return super().compute() / 2


def accuracy(preds: Tensor, target: Tensor) -> float:
    return float(sklearn.accuracy_score(target, preds > 0.5))


def squared_error(preds: Tensor, target: Tensor) -> float:
    return float(sklearn.mean_squared_error(target, preds))


def test_a_metric_that_always_answers_zero_is_refuted() -> None:
    """Though it keeps all other laws; the message has both numbers and one sample."""
    usual = [law.name for law in METRIC_LAWS.selected(None)]
    findings = examine_metric(AlwaysZero, binary_batches(), laws=usual, reference=accuracy)
    assert [name for name, finding in findings.items() if finding.outcome == "broken"] == ["reference"]
    message = findings["reference"].message
    assert "with these samples you report 0 where the reference says 1" in message
    assert "batches = [(float32 [0.0], int64 [0])]" in message


@pytest.mark.parametrize(
    ("factory", "batches", "reference"),
    [
        (BinaryAccuracy, binary_batches(), accuracy),
        (MeanSquaredError, regression_batches(), squared_error),
        (
            lambda: MulticlassConfusionMatrix(3),
            multiclass_batches(3),
            lambda preds, target: sklearn.confusion_matrix(target, preds.argmax(1), labels=[0, 1, 2]),
        ),
        (
            lambda: MetricCollection([BinaryAccuracy(), BinaryPrecision()]),
            binary_batches(),
            lambda preds, target: {"BinaryAccuracy": accuracy(preds, target)},
        ),
    ],
)
def test_a_right_metric_agrees_with_scikit_learn(factory: Any, batches: Any, reference: Any) -> None:
    """Numbers, arrays of integers, and of a collection the keys that the reference knows."""
    check_metric(factory, batches, reference=reference, laws=["reference"])


def test_a_wrong_formula_is_refuted() -> None:
    """By the first sample with an error."""
    with pytest.raises(LawViolation, match=r"you report 0\.00\d* where the reference says 0\.01"):
        check_metric(HalfOfIt, regression_batches(), reference=squared_error, laws=["reference"])


def test_a_tolerance_is_of_one_law() -> None:
    """The reference may be far away, and the order of the data may still not matter."""
    options: dict[str, Any] = {"laws": ["batch_size", "reference"], "reference": squared_error, "examples": 30}
    loose = {"reference": {"rtol": 1.1}, "batch_size": {"rtol": 1e-5}}  # float sums round
    kept = examine_metric(HalfOfIt, regression_batches(), tolerances=loose, **options)
    assert {finding.outcome for finding in kept.values()} == {"kept"}
    exact = regression_batches(step=0.25)  # and these do not
    findings = examine_metric(HalfOfIt, exact, tolerances={"batch_size": {"rtol": 1e-5}}, **options)
    assert (findings["batch_size"].outcome, findings["reference"].outcome) == ("kept", "broken")


def test_none_says_nothing_of_these_samples() -> None:
    """Such samples are left out; if they all are, that is an error: nothing was compared."""

    def of_two_classes(preds: Tensor, target: Tensor) -> float | None:
        return None if len(target.unique()) < 2 else 0.0

    check_metric(AlwaysZero, binary_batches(), reference=of_two_classes, laws=["reference"])
    with pytest.raises(ValueError, match="returned None for each example"):
        check_metric(AlwaysZero, binary_batches(), reference=lambda preds, target: None, laws=["reference"])


def test_a_reference_that_raises_is_not_a_reference() -> None:
    """The message has what was raised, and what to return instead."""

    def strict(preds: Tensor, target: Tensor) -> float:
        raise ZeroDivisionError("no positives")

    with pytest.raises(
        NotExaminable, match=r"ZeroDivisionError: no positives(.|\n)*mend reference=, or .* return None"
    ):
        check_metric(AlwaysZero, binary_batches(), reference=strict, laws=["reference"])

    def mostly(preds: Tensor, target: Tensor) -> float:
        assert len(target) != 5, "not five"
        return 0.0

    with pytest.raises(NotExaminable, match=r"AssertionError: not five(.|\n)*mend reference=, or .* return None"):
        check_metric(AlwaysZero, binary_batches(), reference=mostly, laws=["reference"], examples=200)


def test_without_a_reference_the_law_says_nothing() -> None:
    """And how to give one."""
    finding = examine_metric(BinaryAccuracy, binary_batches(), laws=["reference"], examples=5)["reference"]
    assert finding.outcome == "not applicable"
    assert "reference=" in finding.message


def test_texts_reach_the_reference_as_lists() -> None:
    """And it can't write into what the metric gets."""

    def longest(preds: list[str], target: list[str]) -> int:
        preds.clear()
        return 0

    check_metric(AlwaysZero, text_batches(), reference=longest, laws=["reference"], examples=20)


def test_what_cannot_be_put_together_has_no_reference() -> None:
    """A batch-wide argument that differs between batches."""
    batches = st.just([(torch.ones(2), 1.0), (torch.ones(2), 2.0)])
    options: dict[str, Any] = {"reference": lambda x, number: 0, "laws": ["reference", "reset"]}
    finding = examine_metric(AlwaysZero, batches, **options)["reference"]
    assert finding == Finding("not applicable", "batches have different arguments that are not made of samples")


@pytest.mark.parametrize(
    ("tolerances", "said"),
    [
        ({"refrence": {"rtol": 1.0}}, r"tolerances: 'refrence' is no law, did you mean 'reference'\?"),
        ({"reference": {"tol": 1.0}}, "expected 'atol', 'rtol' or both"),
        ({"order": {}}, "expected 'atol', 'rtol' or both"),
        ({"reference": (1e-3, 1e-3)}, r"'reference': \(0.001, 0.001\).*as {'rtol': 1e-4}"),
    ],
)
def test_a_wrong_tolerance_is_an_error(tolerances: Any, said: str) -> None:
    """Before anything is drawn."""
    with pytest.raises(ValueError, match=said):
        check_metric(AlwaysZero, binary_batches(), tolerances=tolerances)


NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.tensor(1.0 + 1e-7), 1.0),
        (torch.tensor(3), np.int64(3)),
        (torch.tensor([1.0, NAN]), np.array([1.0, NAN])),
        (torch.tensor(math.inf), math.inf),
        ((torch.tensor([1.0]), torch.tensor([[2]])), ([1.0], np.array([[2.0]]))),
        ({"a": torch.tensor(1.0), "b": 2}, {"a": 1}),
        ("word", "word"),
        ([torch.tensor([1.0]), torch.tensor([1.0, 2.0])], [[1.0], [1.0, 2.0]]),
    ],
)
def test_numbers_are_compared_and_not_their_types(found: Any, expected: Any) -> None:
    """Tensors, arrays, Python's numbers, and containers of them."""
    assert contradiction(found, expected, USUAL) is None


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (torch.tensor(0.5), 0.75, "you report 0.5 where the reference says 0.75"),
        (torch.tensor([1.0, 2.0]), [1.0, 3.0], r"you report 2 where the reference says 3 (at [1])"),
        (torch.tensor(NAN), 0.0, "you report nan where the reference says 0"),
        (torch.tensor(math.inf), 1e30, "you report inf where the reference says 1e+30"),
        (torch.tensor([1.0, 2.0]), 1.5, "you report a shape of (2,) where the reference says ()"),
        ({"a": 1.0}, {"a": 2.0}, "you report 1 where the reference says 2 (at ['a'])"),
        ({"a": 1.0}, {"b": 2.0}, "you report the keys ['a'] where the reference says also ['b']"),
        ({"a": 1.0}, 1.0, "you report {'a': 1.0} where the reference says 1.0"),
        (1.0, {"a": 1.0}, "you report 1.0 where the reference says {'a': 1.0}"),
        ((1.0, torch.tensor([1])), (1.0, [2]), "you report 1 where the reference says 2 (at [1][0])"),
        ("word", "other", "you report 'word' where the reference says 'other'"),
    ],
)
def test_what_differs_is_said_in_words(found: Any, expected: Any, said: str) -> None:
    """Both values, and the place where there is more than one."""
    assert contradiction(found, expected, USUAL) == said
