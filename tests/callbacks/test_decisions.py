"""What scores were taken for where nobody told: said once, and again where it changes."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest
import torch
from support.modules import Multilabel, label_sets, trainer
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.callbacks.decisions import Decisions
from lwcallbacks.reductions import ConfusionCounts, ScoreCounts

COUNTS = ConfusionCounts(2, task="binary")
WHO = "ConfusionMatrix('val/confusion_matrix')"


def decision(*scores: float, counts: ConfusionCounts = COUNTS) -> Any:
    return counts.decided(counts.lift(torch.tensor(scores), torch.zeros(len(scores), dtype=torch.int64)))


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """By callback and key, with the range and what to write; other numbers of the same kind are not."""
    decisions = Decisions()
    with caplog.at_level(logging.INFO):
        for scores in ((-3.2, 4.1), (-5.0, 1.0), ()):
            decisions.hear(WHO, decision(*scores))
        decisions.hear(WHO, decision(9.0, counts=ConfusionCounts(2, task="binary", logits=True)))
    expected = f"lwcallbacks: {WHO}: scores are in [-3.2, 4.1] and are taken for logits; pass logits=True to say so"
    assert [record.getMessage() for record in caplog.records] == [expected]


def doubt_of(counts: Any, scores: list[float], targets: list[int]) -> str | None:
    shape = (-1, 1) if counts.task == "multilabel" else (-1,)
    of = counts.decided(counts.lift(torch.tensor(scores).reshape(shape), torch.tensor(targets).reshape(shape)))
    return None if of is None else of.doubt


@pytest.mark.parametrize("kind", [ConfusionCounts, ScoreCounts])
@pytest.mark.parametrize(("task", "number"), [("binary", 2), ("multilabel", 1)])
def test_scores_on_one_side_are_doubted_where_the_targets_are_on_both(kind: Any, task: str, number: int) -> None:
    """Small logits in [0, 1] would be taken for probabilities; nobody doubts what is said, or what is on both sides."""
    counts = kind(number, task=task)
    found = doubt_of(counts, [0.097, 0.104], [0, 1])
    assert found is not None
    assert "scores are in [0.097, 0.104] and are taken for probabilities: all predictions are 0" in found
    assert "all predictions are 1" in str(doubt_of(counts, [0.97, 0.99], [1, 0]))
    assert doubt_of(counts, [0.097, 0.704], [0, 1]) is None
    assert doubt_of(counts, [0.097, 0.104], [1, 1]) is None
    assert doubt_of(counts, [-3.0, -4.0], [0, 1]) is None
    assert doubt_of(kind(number, task=task, logits=False), [0.097, 0.104], [0, 1]) is None


class Small(Multilabel):
    """Logits between 0 and 1 / 10, which change from epoch to epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), **self.validation_step(batch, batch_idx)}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"preds": batch[1] / (10.0 + self.current_epoch), "targets": batch[1]}


def test_a_doubt_is_said_once_in_a_run() -> None:
    """Of a matrix and of curves, in training and validation, in two epochs: they read the same scores."""
    callbacks = [lw.MultilabelConfusionMatrix(5, stages=("train", "val")), lw.Curves(5, task="multilabel")]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        data = DataLoader(label_sets(), 8)
        trainer(callbacks=callbacks, max_epochs=2).fit(Small(), data, data)
    [told] = [str(w.message) for w in heard if "all predictions are" in str(w.message)]
    assert "Write logits=True if they are logits, logits=False if they are probabilities" in told


def test_a_change_is_a_warning() -> None:
    """Between epochs, and between stages."""
    decisions = Decisions()
    decisions.hear(WHO, decision(-3.0))
    told = r"test/confusion_matrix'\): scores are in \[0.5, 0.5\] and are taken for probabilities; pass logits=False to"
    with pytest.warns(UserWarning, match=f"{told} say so, or logits=True if they.*Before, they were taken for logits"):
        decisions.hear(WHO.replace("val", "test"), decision(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decisions.hear(WHO, decision(0.75))
        decisions.hear("lwcallbacks: ConfusionMatrix('val/other')", decision(7.0))


class Diverged(Multilabel):
    """All scores are NaN from the second batch on."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        scores = batch[1] * 8.0 - 4
        return {"preds": scores if batch_idx == 0 else scores * torch.nan, "targets": batch[1]}


def test_scores_that_are_nan_are_in_no_cell() -> None:
    """32 of 40 samples with 5 labels each: counted, told, and not taken for an absence of the label."""
    matrix = lw.MultilabelConfusionMatrix(5)
    with pytest.warns(UserWarning, match="160 predictions are NaN; they were left out of the counts"):
        trainer(callbacks=[matrix]).validate(Diverged(), DataLoader(label_sets(), 8), verbose=False)
    there = label_sets().tensors[1][:8].sum(0)
    assert matrix.results["val"].diagonal(dim1=1, dim2=2).tolist() == torch.stack([8 - there, there], 1).tolist()
    assert int(matrix.results["val"].sum()) == 40
