"""Values at step end and at epoch end, against a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.modules import CLASSES, Classifier, loader, trainer
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

import lwcallbacks as lw


def micro() -> Metric:
    return MulticlassAccuracy(CLASSES, average="micro")


def test_the_epoch_value_is_over_all_samples_not_batches() -> None:
    """40 samples in batches of 9: the last batch has 4 and weighs 4."""
    module = Classifier()
    t = trainer(callbacks=[lw.ScalarMetrics({"acc": micro()})])
    [logged] = t.validate(module, loader(40, 9), verbose=False)
    right = sum(int((module(x).argmax(1) == y).sum()) for x, y in loader(40, 9))
    assert logged["val/acc"] == pytest.approx(right / 40, abs=1e-7)


def test_step_values_are_of_their_batch() -> None:
    """At every second step, the accuracy of that batch with the weights before the step."""
    seen: list[float] = []
    expected: list[float] = []

    class Watched(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            with torch.no_grad():
                expected.append(float((self.net(batch[0]).argmax(1) == batch[1]).float().mean()))
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx % 2:
                seen.append(float(self.trainer.callback_metrics["train/acc_step"]))

    trainer(callbacks=[lw.ScalarMetrics({"acc": micro()})], log_every_n_steps=2).fit(Watched(), loader())
    assert seen == pytest.approx(expected[1::2])


def test_values_can_be_monitored() -> None:
    """EarlyStopping finds the key."""
    stop = EarlyStopping(monitor="val/acc", mode="max", patience=1)
    t = trainer(callbacks=[lw.ScalarMetrics({"acc": micro()}), stop], max_epochs=3)
    t.fit(Classifier(), loader(), loader())
    assert stop.best_score == pytest.approx(max(float(stop.best_score), float(t.callback_metrics["val/acc"])))


def test_collections_vectors_and_dicts_have_keys_of_their_own() -> None:
    """A collection's names, one key per class of a vector; a matrix is in results only if it is a scalar or vector."""
    metrics = lw.ScalarMetrics(
        {
            "all": MetricCollection({"acc": micro(), "f1": MulticlassF1Score(CLASSES)}),
            "each": MulticlassAccuracy(CLASSES, average=None),
            "matrix": MulticlassConfusionMatrix(CLASSES),
        }
    )
    [logged] = trainer(callbacks=[metrics]).validate(Classifier(), loader(), verbose=False)
    assert set(logged) == {"val/all_acc", "val/all_f1", *(f"val/each_{i}" for i in range(CLASSES))}
    assert metrics.results["val"].keys() == {key.removeprefix("val/") for key in logged}


def test_each_loader_has_its_own_value() -> None:
    """Two loaders: two values under Lightning's own suffix, each over its samples."""
    module = Classifier()
    metrics, matrix = lw.ScalarMetrics({"acc": micro()}), lw.ConfusionMatrix(CLASSES)
    logged = trainer(callbacks=[metrics, matrix]).validate(module, [loader(40), loader(24)], verbose=False)
    assert {key for part in logged for key in part} == {"val/acc/dataloader_idx_0", "val/acc/dataloader_idx_1"}
    assert int(matrix.results["val/dataloader_idx_0"].sum()) == 40
    assert int(matrix.results["val/dataloader_idx_1"].sum()) == 24


def test_the_users_metric_is_not_touched() -> None:
    """It is copied: what the user holds stays fresh, and the module gets no attribute."""
    mine = micro()
    module = Classifier()
    trainer(callbacks=[lw.ScalarMetrics({"acc": mine})]).validate(module, loader(), verbose=False)
    assert mine.update_count == 0
    assert not [child for child in module.modules() if isinstance(child, Metric)]


@pytest.mark.parametrize("inference_mode", [True, False])
def test_validate_fit_validate(inference_mode: bool) -> None:
    """No state is left from inference mode that training cannot update."""
    t = trainer(callbacks=[lw.ScalarMetrics({"acc": micro()})], inference_mode=inference_mode)
    module = Classifier()
    t.validate(module, loader(), verbose=False)
    t.fit(module, loader(), loader())
    [logged] = t.validate(module, loader(), verbose=False)
    assert 0 <= logged["val/acc"] <= 1


@pytest.mark.parametrize("wrong", [{"acc": "accuracy"}, [micro()], {}], ids=["a string", "a list", "nothing"])
def test_what_is_no_metric_is_refused(wrong: Any) -> None:
    """Before training, with an example of what to write."""
    with pytest.raises((TypeError, ValueError), match=r'expected (a Metric|metrics) by name, as in \{"acc"'):
        lw.ScalarMetrics(wrong)
