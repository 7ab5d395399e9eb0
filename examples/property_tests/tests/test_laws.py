"""The library's promise, a test for each metric and law: the numbers are about the samples, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from errorrates import ClassErrorRates, ErrorRate, WorstBatch
from torch import Tensor

from lwcallbacks.testing import labelled_batches

BATCHES = labelled_batches(num_classes=3)


def error_rate(preds: Tensor, target: Tensor) -> float:
    return sum(int(scores.argmax()) != int(label) for scores, label in zip(preds, target, strict=True)) / len(target)


def class_error_rates(preds: Tensor, target: Tensor) -> list[float]:
    own = [target == label for label in range(3)]
    return [error_rate(preds[of], target[of]) if bool(of.any()) else 0.0 for of in own]


@pytest.mark.metric_laws(batches=BATCHES, examples=10)
@pytest.mark.parametrize(
    ("factory", "reference"),
    [(ErrorRate, error_rate), (lambda: ClassErrorRates(3), class_error_rates)],
    ids=["ErrorRate", "ClassErrorRates"],
)
def test_rates(metric_law: Any, factory: Any, reference: Any) -> None:
    """All laws, and a plain loop over the samples."""
    metric_law(factory, reference=reference)


@pytest.mark.metric_laws(WorstBatch, BATCHES, examples=10)
def test_worst_batch(metric_law: Any) -> None:
    """It depends on how samples are cut into batches, by design: that law is expected to be broken."""
    metric_law()
