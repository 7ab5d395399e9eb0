"""Metrics of torchmetrics and of one's own, held against scikit-learn and against plain Python.

pip install "lwcallbacks[testing]" pytest scikit-learn
pytest test_against_scikit_learn.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MultilabelCoverageError,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError
from torchmetrics.text import WordErrorRate

from lwcallbacks.testing import (
    LawViolation,
    batches_of,
    box_batches,
    check_metric,
    grid,
    metric_machine,
    strategy_for,
    tensors,
    text_batches,
    value_batches,
)

sklearn = pytest.importorskip("sklearn.metrics")


def auroc(preds: Tensor, target: Tensor) -> float | None:
    """scikit-learn gives NaN for one class alone, torchmetrics 0: nothing to compare."""
    return None if len(target.unique()) < 2 else sklearn.roc_auc_score(target, preds)


# Ten classes, and what scikit-learn says. `strategy_for` finds the data and the arguments.
REFERENCES: dict[type[Metric], tuple[dict[str, Any], Callable[..., Any]]] = {
    BinaryAccuracy: ({}, lambda preds, target: sklearn.accuracy_score(target, preds > 0.5)),
    BinaryF1Score: ({}, lambda preds, target: sklearn.f1_score(target, preds > 0.5, zero_division=0)),
    BinaryAUROC: ({}, auroc),
    BinaryAveragePrecision: ({}, lambda preds, target: sklearn.average_precision_score(target, preds)),
    MulticlassAccuracy: (
        {"average": "micro"},
        lambda preds, target: sklearn.accuracy_score(target, preds.argmax(1)),
    ),
    MulticlassCohenKappa: (
        {},
        lambda preds, target: sklearn.cohen_kappa_score(target, preds.argmax(1), labels=[0, 1, 2]),
    ),
    MulticlassConfusionMatrix: (
        {},
        lambda preds, target: sklearn.confusion_matrix(target, preds.argmax(1), labels=[0, 1, 2]),
    ),
    MultilabelCoverageError: ({}, lambda preds, target: sklearn.coverage_error(target, preds)),
    MeanAbsoluteError: ({}, lambda preds, target: sklearn.mean_absolute_error(target, preds)),
    MeanSquaredError: ({}, lambda preds, target: sklearn.mean_squared_error(target, preds)),
}


@pytest.mark.filterwarnings("ignore")  # scikit-learn warns of data sets of one class
@pytest.mark.parametrize("metric", REFERENCES)
def test_torchmetrics_says_what_scikit_learn_says(metric: type[Metric]) -> None:
    """Of the same samples, with ties, one class only and constant scores among them."""
    arguments, reference = REFERENCES[metric]
    suited = strategy_for(metric, **arguments)
    check_metric(suited.factory, suited.batches, reference=reference, laws=["reference"])


def word_errors(preds: list[str], target: list[str]) -> float:
    """The words to insert, delete or replace, per word of the target; by the usual table of distances."""
    errors = 0
    for said, meant in zip(map(str.split, preds), map(str.split, target), strict=True):
        row = list(range(len(meant) + 1))
        for i, word in enumerate(said, 1):
            last, row = row, [i]
            for j, other in enumerate(meant, 1):
                row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (word != other)))
        errors += row[-1]
    return errors / sum(len(text.split()) for text in target)


def test_a_metric_of_texts() -> None:
    """All laws, and a reference in plain Python."""
    check_metric(WordErrorRate, text_batches(), reference=word_errors, examples=10)


class ScorePerKind(Metric):
    """A metric of one's own, which gets a batch as the loader makes it: a dict."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(3), dist_reduce_fx="sum")
        self.add_state("number", torch.zeros(3), dist_reduce_fx="sum")

    def update(self, batch: dict[str, Tensor]) -> None:
        kinds = torch.nn.functional.one_hot(batch["kind"], 3)
        self.total = self.total + (kinds * batch["score"][:, None]).sum(0)
        self.number = self.number + kinds.sum(0)

    def compute(self) -> Tensor:
        return self.total / self.number.clamp(min=1)


def samples(draw: Callable[[Any], Any], n: int) -> tuple[dict[str, Tensor]]:
    """Any n samples: dimension 0 of the tensors of a dict. Sums of eighths are exact."""
    return ({"score": draw(grid(n, step=1 / 8)), "kind": draw(tensors(n, torch.int64, max_value=2))},)


def per_kind(batch: dict[str, Tensor]) -> list[float]:
    """What the metric should say of all samples at once."""
    means = [batch["score"][batch["kind"] == kind].double().mean().nan_to_num() for kind in range(3)]
    return [float(mean) for mean in means]


def test_a_metric_of_dicts() -> None:
    """`batches_of` makes lists of batches of any samples."""
    check_metric(ScorePerKind, batches_of(samples), reference=per_kind, examples=10)


# The same, whatever happens to it in between: pytest collects the class.
TestScorePerKind = metric_machine(ScorePerKind, batches_of(samples), per_kind, examples=10).TestCase


class BoxesPerImage(Metric):
    """A metric of detection: lists of dicts, some of them empty."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("boxes", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        self.boxes += sum(len(image["boxes"]) for image in preds)
        self.images += len(target)

    def compute(self) -> Tensor:
        return self.boxes / self.images


def test_a_metric_of_boxes() -> None:
    """No image need have any."""
    check_metric(
        BoxesPerImage,
        box_batches(num_classes=2),
        reference=lambda preds, target: sum(len(image["boxes"]) for image in preds) / len(target),
        examples=10,
    )


class ForgetsItsCount(Metric):
    """Right on one process and in every law of one step, and wrong after a checkpoint: the count is no state."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.number = 0

    def update(self, value: Tensor) -> None:
        self.total = self.total + value.sum()
        self.number += len(value)

    def reset(self) -> None:
        super().reset()
        self.number = 0

    def compute(self) -> Tensor:
        return self.total / max(1, self.number)


def test_a_count_that_is_lost_is_found() -> None:
    """This is what a failing machine looks like: `print` shows the shortest life that was found."""
    from hypothesis.stateful import run_state_machine_as_test

    machine = metric_machine(
        ForgetsItsCount, value_batches(step=1 / 8, max_size=1, max_batches=2), without=["sync", "merge"], steps=6
    )
    with pytest.raises(LawViolation) as failure:
        run_state_machine_as_test(machine)
    print(failure.value, *failure.value.__notes__, sep="\n")
    assert "where a new metric that sees the same samples at once reports" in str(failure.value)
