"""Values at step end and at epoch end, against a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.modules import CLASSES, Autoencoder, Classifier, images, loader, trainer
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score
from torchmetrics.regression import MeanSquaredError

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, Derived, ExactMean, accuracy, macro_f1


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
    # A matrix is no scalar: it is in the results, and not logged.
    assert metrics.results["val"].keys() == {*(key.removeprefix("val/") for key in logged), "matrix"}


def test_each_loader_has_its_own_value() -> None:
    """Two loaders: two values under Lightning's own suffix, each over its samples."""
    module = Classifier()
    metrics, matrix = lw.ScalarMetrics({"acc": micro()}), lw.ConfusionMatrix(CLASSES)
    logged = trainer(callbacks=[metrics, matrix]).validate(module, [loader(40), loader(24)], verbose=False)
    keys = {f"val/{name}/dataloader_idx_{i}" for name in ("acc", "confusion_matrix_accuracy") for i in (0, 1)}
    assert {key for part in logged for key in part if "acc" in key and "balanced" not in key} == keys
    numbers = {key: value for part in logged for key, value in part.items()}
    for i in (0, 1):
        assert numbers[f"val/acc/dataloader_idx_{i}"] == numbers[f"val/confusion_matrix_accuracy/dataloader_idx_{i}"]
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
    with pytest.raises((TypeError, ValueError), match=r'expected (a Metric|metrics) by name.*\{"acc"'):
        lw.ScalarMetrics(wrong)


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter([{"graph": torch.ones(3)}] * 4)


class TestFields:
    def test_a_metric_of_outputs_and_inputs(self) -> None:
        """The squared error of a reconstruction, over all pixels of batches of 9 and 4."""
        module = Autoencoder()
        metrics = lw.ScalarMetrics({"mse": MeanSquaredError()}, fields=("preds", "inputs"))
        [logged] = trainer(callbacks=[metrics]).validate(module, loader(40, 9), verbose=False)
        x = images(40).tensors[0]
        with torch.no_grad():
            expected = float(((module(x) - x).double() ** 2).mean())
        assert logged["val/mse"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("mean", [MeanMetric(), ExactMean()], ids=["a metric", "a reduction"])
    def test_a_loss_weighs_what_its_batch_holds(self, mean: Any) -> None:
        """Batches of 32 and 8: the mean over 40 samples, and no mean of two means."""
        module = Classifier()
        metrics = lw.ScalarMetrics({"mean_loss": mean}, fields=("loss",))
        [logged] = trainer(callbacks=[metrics]).validate(module, loader(40, 32), verbose=False)
        x, y = images(40).tensors
        with torch.no_grad():
            losses = nn.functional.cross_entropy(module(x), y, reduction="none")
        unweighted = (losses[:32].mean() + losses[32:].mean()) / 2
        assert logged["val/mean_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
        assert logged["val/mean_loss"] != pytest.approx(float(unweighted), rel=1e-5)

    def test_a_batch_of_unknown_size_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A loss alone, of a stream whose batches hold no tensor under a usual name."""
        monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: batch["graph"].mean())
        metrics = lw.ScalarMetrics({"mean_loss": ExactMean()}, fields=("loss",))
        data = DataLoader(Stream(), 2)
        with pytest.raises(
            ValueError, match=r"ScalarMetrics\('val/mean_loss'\): how many samples does a batch hold\?.*inputs="
        ):
            trainer(callbacks=[metrics]).validate(Classifier(), data, verbose=False)
        told = lw.ScalarMetrics({"mean_loss": ExactMean()}, fields=("loss",), inputs="graph")
        [logged] = trainer(callbacks=[told]).validate(Classifier(), data, verbose=False)
        assert logged["val/mean_loss"] == 1.0

    def test_several_live_side_by_side(self) -> None:
        """Two of one class in one Trainer, resumed from its checkpoint, too; the same name twice is an error."""
        both = [
            lw.ScalarMetrics({"acc": micro()}),
            lw.ScalarMetrics({"mean_loss": ExactMean()}, fields=("loss",)),
        ]
        t = trainer(callbacks=both, max_epochs=1)
        t.fit(Classifier(), loader(), loader())
        assert {"val/acc", "val/mean_loss", "train/acc_epoch", "train/mean_loss_epoch"} <= t.callback_metrics.keys()
        t.save_checkpoint("both.ckpt")
        trainer(callbacks=both, max_epochs=2).fit(Classifier(), loader(), loader(), ckpt_path="both.ckpt")
        clash = [*both, lw.ScalarMetrics({"mean_loss": ExactMean(), "other": ExactMean()}, fields=("loss",))]
        with pytest.raises(ValueError, match="another ScalarMetrics logs 'train/mean_loss'"):
            trainer(callbacks=clash).fit(Classifier(), loader(), loader())


class TestDerived:
    def test_numbers_of_one_reduction_share_its_state(self) -> None:
        """Two numbers and a matrix: one need, and what torchmetrics says of the same samples."""
        counts = ConfusionCounts(CLASSES)
        metrics = lw.ScalarMetrics({"acc": Derived(counts, accuracy), "f1": Derived(counts, macro_f1)})
        matrix = lw.ConfusionMatrix(CLASSES)
        needs = [*metrics.needs("val").values(), *matrix.needs("val").values()]
        assert len(needs) == 3
        assert len({need.key for need in needs}) == 1
        module = Classifier()
        [logged] = trainer(callbacks=[metrics, matrix]).validate(module, loader(40, 9), verbose=False)
        x, y = images(40).tensors
        f1 = MulticlassF1Score(CLASSES, average="macro")(module(x), y)
        assert logged["val/acc"] == pytest.approx(float(micro()(module(x), y)))
        assert logged["val/f1"] == pytest.approx(float(f1))

    def test_a_step_has_its_own_value(self) -> None:
        """What is logged of the last training step is of its 8 samples alone."""
        metrics = lw.ScalarMetrics({"right": Derived(ConfusionCounts(CLASSES), lambda counts: counts.sum())})
        t = trainer(callbacks=[metrics], log_every_n_steps=5)
        t.fit(Classifier(), loader())
        assert t.callback_metrics["train/right_step"] == 8
        assert t.callback_metrics["train/right_epoch"] == 40

    def test_of_a_metric(self) -> None:
        """A number made of what a torchmetrics metric computes, and a dict of such."""
        halves = Derived(micro(), lambda acc: {"half": acc / 2, "twice": acc * 2})
        metrics = lw.ScalarMetrics({"acc": micro(), "of_acc": halves})
        [logged] = trainer(callbacks=[metrics]).validate(Classifier(), loader(), verbose=False)
        assert logged["val/of_acc_half"] == pytest.approx(logged["val/acc"] / 2)
        assert logged["val/of_acc_twice"] == pytest.approx(logged["val/acc"] * 2)

    def test_a_function_that_fails_costs_its_number_only(self) -> None:
        """One warning for all steps and epochs, and the other metric is logged; strict, the error itself is raised."""

        def fails(counts: Any) -> float:
            raise KeyError("road")

        def metrics(**kwargs: Any) -> lw.ScalarMetrics:
            return lw.ScalarMetrics({"road": Derived(ConfusionCounts(CLASSES), fails), "acc": micro()}, **kwargs)

        t = trainer(callbacks=[metrics()], max_epochs=2, log_every_n_steps=2)
        with pytest.warns(UserWarning, match="road") as told:
            t.fit(Classifier(), loader(), loader())
        [failed] = [str(w.message) for w in told if "could not work out" in str(w.message)]
        assert failed.startswith("lwcallbacks: ScalarMetrics('road') could not work out its number: KeyError: 'road'")
        there = {"train/acc_step", "train/acc_epoch", "val/acc"}
        assert there | {"train/road_epoch", "val/road"} == t.callback_metrics.keys()
        assert t.callback_metrics["val/road"].isnan()  # there for whoever monitors it
        with pytest.raises(KeyError, match="road"):
            trainer(callbacks=[metrics(on_error="raise")]).validate(Classifier(), loader(), verbose=False)

    @pytest.mark.parametrize("entry", [MetricCollection([micro()]), "accuracy"], ids=["a collection", "a string"])
    def test_what_cannot_be_derived_from_is_refused(self, entry: Any) -> None:
        """The message has its name."""
        with pytest.raises(TypeError, match="acc is a Derived, expected a Metric by name"):
            lw.ScalarMetrics({"acc": Derived(entry, float)})
