"""Every stage, and what a Trainer can be told about when and how long to train.

Steps are those of Lightning's own logging: the first batch is step 0, and a validation has that of the batch before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from support.modules import CLASSES, Classifier, images, loader, trainer
from support.recorded import data_on_page, on_page
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


def published(root: Path, key: str) -> list[int]:
    """The steps at which a picture of `key` was written to the run's page."""
    return sorted(int(path.stem) for path in root.rglob(f"media/{key}/*.png"))


def matrix(*stages: str, **kwargs: Any) -> lw.ConfusionMatrix:
    return lw.ConfusionMatrix(CLASSES, stages=stages or ("train", "val", "test"), **kwargs)


class TestPredict:
    def test_what_predict_step_returns_is_counted_and_shown(self, tmp_path: Path) -> None:
        """A matrix of the returned labels, and pictures whose captions have both."""

        class Predicts(Classifier):
            def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
                return self(batch[0]).argmax(1) * 0 + 2

        counts = matrix("predict")
        grid = lw.PredictionGrid(4, stages=("predict",))
        t = trainer(callbacks=[counts, grid, lw.ImageMosaic(4, stages=("predict",))], default_root_dir=tmp_path)
        t.predict(Predicts(), loader(), return_predictions=False)
        assert int(counts.results["predict"][:, 2].sum()) == 40
        assert grid.results["predict"].payload[1].tolist() == [2] * 4
        for key in ("confusion_matrix", "predictions", "mosaic"):
            assert published(tmp_path, f"predict/{key}") == [0]

    def test_data_without_targets(self, tmp_path: Path) -> None:
        """Images alone: the grid shows what is predicted, and says nothing of a label."""
        x = images().tensors[0]
        grid = lw.PredictionGrid(4, ["a", "b", "c", "d", "e"], stages=("predict",))
        t = trainer(callbacks=[grid], default_root_dir=tmp_path)
        t.predict(Classifier(), DataLoader(x, 8), return_predictions=False)
        [table] = data_on_page(tmp_path, "predict/predictions_table").values()
        inputs, preds, targets = grid.results["predict"].payload
        assert (len(inputs), len(preds), targets.numel()) == (4, 4, 0)
        assert table["columns"] == ["image", "id", "pred", "confidence", "top-3", "history"]

    def test_scalars_cannot_be_logged(self) -> None:
        """ScalarMetrics says so when it is made."""
        with pytest.raises(ValueError, match=r"ScalarMetrics: stages=\('predict',\), expected some of"):
            lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)}, stages=("predict",))


class TestCadence:
    def test_val_check_interval(self, tmp_path: Path) -> None:
        """Two validations an epoch: each over all of its samples, each published at its step."""
        counts = matrix("val")
        t = trainer(callbacks=[counts], val_check_interval=2, max_epochs=2, default_root_dir=tmp_path)
        t.fit(Classifier(), loader(32), loader(40))
        assert published(tmp_path, "val/confusion_matrix") == [1, 3, 5, 7]
        assert int(counts.results["val"].sum()) == 40

    def test_check_val_every_n_epoch(self, tmp_path: Path) -> None:
        """Validated after epochs 2 and 4: published then."""
        t = trainer(callbacks=[matrix("val")], check_val_every_n_epoch=2, max_epochs=4, default_root_dir=tmp_path)
        t.fit(Classifier(), loader(16), loader())
        assert published(tmp_path, "val/confusion_matrix") == [3, 7]

    def test_every_n_epochs(self, tmp_path: Path) -> None:
        """The second and the fourth epoch of 5 are published; a validation of the user's own always is."""
        counts = matrix("train", "val", every_n_epochs=2)
        t = trainer(callbacks=[counts], max_epochs=5, default_root_dir=tmp_path)
        module = Classifier()
        t.fit(module, loader(16), loader())
        assert published(tmp_path, "val/confusion_matrix") == [3, 7]
        assert published(tmp_path, "train/confusion_matrix") == [3, 7]
        t = trainer(callbacks=[counts], default_root_dir=tmp_path / "own")
        t.fit_loop.epoch_progress.current.processed = 1
        t.validate(module, loader(), verbose=False)
        assert published(tmp_path / "own", "val/confusion_matrix") == [0]

    def test_limited_batches(self) -> None:
        """What was not seen is not counted, in any stage."""
        counts = matrix()
        t = trainer(callbacks=[counts], limit_train_batches=3, limit_val_batches=2, limit_test_batches=1)
        module = Classifier()
        t.fit(module, loader(), loader())
        t.test(module, loader(), verbose=False)
        assert {stage: int(seen.sum()) for stage, seen in counts.results.items()} == {
            "train": 24, "val": 16, "test": 8,
        }  # fmt: skip

    def test_a_stage_without_batches(self, tmp_path: Path) -> None:
        """limit_val_batches=0: no validation, no result, no picture."""
        counts = matrix()
        trainer(callbacks=[counts], limit_val_batches=0, default_root_dir=tmp_path).fit(
            Classifier(), loader(), loader()
        )
        assert counts.results.keys() == {"train"}
        assert published(tmp_path, "val/confusion_matrix") == []

    def test_accumulated_gradients(self, tmp_path: Path) -> None:
        """Five batches, an optimizer step after each two and at the end: three steps, of which the third is logged."""
        counts, gradients = matrix("train"), lw.GradientHistogram(3)
        t = trainer(callbacks=[counts, gradients], accumulate_grad_batches=2, default_root_dir=tmp_path)
        t.fit(Classifier(), loader())
        assert t.global_step == 3
        assert int(counts.results["train"].sum()) == 40
        assert len(data_on_page(tmp_path, "gradients/net.1.weight")) == 1

    def test_early_stopping_on_a_value_of_ours(self) -> None:
        """The run ends when val/acc no longer grows; the last results are those of its last epoch."""
        metrics, counts = lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}), matrix("val")

        class Still(Classifier):
            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=0.0)

        stop = EarlyStopping("val/acc", mode="max", patience=1)
        t = trainer(callbacks=[metrics, counts, stop], max_epochs=10)
        t.fit(Still(), loader(), loader())
        assert t.current_epoch == 2
        right = int(counts.results["val"].diagonal().sum())
        assert float(t.callback_metrics["val/acc"]) == pytest.approx(right / 40)

    def test_fit_twice_with_one_trainer(self, tmp_path: Path) -> None:
        """The second fit goes on where the first ended: no sample is counted twice, no step is written over."""
        counts = matrix("train", "val")
        t = trainer(callbacks=[counts], default_root_dir=tmp_path)
        module = Classifier()
        t.fit(module, loader(), loader())
        t.fit_loop.max_epochs = 2
        t.fit(module, loader(), loader())
        assert int(counts.results["train"].sum()) == int(counts.results["val"].sum()) == 40
        assert published(tmp_path, "val/confusion_matrix") == [4, 9]


class Manual(Classifier):
    """Two optimizers, stepped by hand; the step returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.extra = nn.Linear(CLASSES, CLASSES)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        for optimizer in self.optimizers():
            loss = nn.functional.cross_entropy(self.extra(self(x)), y)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(m.parameters(), lr=0.1) for m in (self.net, self.extra)]


@pytest.mark.filterwarnings("ignore:.*the last call is taken")  # a forward for each optimizer
def test_manual_optimization_with_several_optimizers(tmp_path: Path) -> None:
    """Each batch counts once, though two optimizers step; each optimizer's gradients are logged at its n-th step."""
    counts = matrix("train", "val")
    t = trainer(callbacks=[counts, lw.GradientHistogram(2)], max_epochs=2, default_root_dir=tmp_path)
    t.fit(Manual(), loader(), loader())
    assert int(counts.results["train"].sum()) == int(counts.results["val"].sum()) == 40
    # Lightning counts a batch as one step of the logged axis, however many optimizers step in it.
    for parameter in ("net.1.weight", "extra.weight"):
        assert list(data_on_page(tmp_path, f"gradients/{parameter}")) == [1, 3, 5, 7, 9], parameter


class TestTwoOfAClass:
    def test_each_has_its_keys_and_its_state(self, tmp_path: Path) -> None:
        """Two of each, told apart by name: both write, both are in the checkpoint, both are restored."""

        def two() -> list[Any]:
            return [
                matrix("train"), matrix("train", name="again", preds=lambda outputs, batch: batch[1]),
                lw.ImageMosaic(4), lw.ImageMosaic(2, name="small"),
                lw.PredictionGrid(4), lw.PredictionGrid(2, name="few"),
                lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)}),
                lw.ScalarMetrics({"micro": MulticlassAccuracy(CLASSES, average="micro")}),
                lw.GradientHistogram(2), lw.GradientHistogram(5, name="rare"),
            ]  # fmt: skip

        callbacks = two()
        t = trainer(callbacks=callbacks, default_root_dir=tmp_path)
        t.fit(Classifier(), loader(), loader())
        assert torch.equal(callbacks[1].results["train"], torch.diag(images().tensors[1].bincount(minlength=CLASSES)))
        assert not torch.equal(callbacks[0].results["train"], callbacks[1].results["train"])
        for key in ("train/confusion_matrix", "train/again", "val/mosaic", "val/small", "val/predictions", "val/few"):
            assert published(tmp_path, key), key
        rare = {key for key in on_page(tmp_path) if key.startswith("rare/")}
        over_steps = {"rare/diagnosis", "rare/norm_by_step", "rare/update_ratio_by_step"}
        assert rare == {"rare/net.1.weight", "rare/net.1.bias", "rare/layers"} | over_steps
        t.save_checkpoint(tmp_path / "saved.ckpt")
        saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]
        steps = {key: state["steps"] for key, state in saved.items() if key.startswith("GradientHistogram")}
        assert list(steps.values()) == [{0: 5}, {0: 5}]
        again = trainer(callbacks=two(), max_epochs=2, default_root_dir=tmp_path)
        again.fit(Classifier(), loader(), loader(), ckpt_path=tmp_path / "saved.ckpt")
        assert again.current_epoch == 2

    @pytest.mark.parametrize(
        ("make", "key"),
        [
            (lambda: [matrix("val"), matrix("val", "test")], "val/confusion_matrix"),
            (lambda: [lw.ImageMosaic(4), lw.PredictionGrid(4, name="mosaic")], "val/mosaic"),
            (lambda: [matrix("val", name="acc"), lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)})], "val/acc"),
        ],
        ids=["one class", "two classes", "a matrix and a metric"],
    )
    def test_keys_of_two_callbacks_that_are_the_same_are_an_error(self, make: Any, key: str) -> None:
        """At setup, before the first batch: which key, and what to write."""
        t = trainer(callbacks=make())
        with pytest.raises(ValueError, match=rf"logs '{key}', too, expected keys of its own.*name=\"mine\""):
            t.validate(Classifier(), loader(), verbose=False)
