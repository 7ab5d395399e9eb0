"""The presets: what is logged, with what numbers, and where they may be used."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from support import scenarios
from support.modules import (
    CLASSES,
    Autoencoder,
    Classifier,
    Multilabel,
    Segmenter,
    images,
    label_maps,
    label_sets,
    trainer,
)
from support.processes import run_processes
from support.versions import needs_refusals_of_ours
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MultilabelAccuracy,
    MultilabelF1Score,
)
from torchmetrics.image import PeakSignalNoiseRatio
from torchmetrics.regression import MeanSquaredError

import lwcallbacks as lw
from lwcallbacks.readers import read_run
from lwcallbacks.reductions import ConfusionCounts, PerGroup, RandomSample, ScoreRange, TopK
from lwcallbacks.testing import forbid_host_sync

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"
Preset = tuple[Callable[..., list[Any]], type[Classifier], Callable[..., TensorDataset]]
PRESETS: dict[str, Preset] = {
    "classification": (lambda **k: lw.presets.classification(CLASSES, **k), Classifier, images),
    "multilabel": (lambda **k: lw.presets.multilabel(CLASSES, logits=True, **k), Multilabel, label_sets),
    "segmentation": (lambda **k: lw.presets.segmentation(CLASSES, **k), Segmenter, label_maps),
    "reconstruction": (lw.presets.reconstruction, Autoencoder, images),
}
SCALARS = {
    "classification": {"acc", "f1"},
    "multilabel": {"f1", "f1_micro", "acc"},
    "segmentation": {"iou", "dice", "acc"},
    "reconstruction": {"mse", "psnr"},
}
MEDIA = {
    "classification": {
        "confusion_matrix", "confusion_matrix_chart_table", "confusion_matrix_report", "confusion_matrix_pairs",
        "confusion_matrix_examples",
        "predictions", "predictions_table",
    },
    "multilabel": {"confusion_matrix", "confusion_matrix_report", "predictions", "predictions_table"},
    "segmentation": {
        "confusion_matrix", "confusion_matrix_chart_table", "confusion_matrix_report", "confusion_matrix_pairs",
        "masks",
    },
    "reconstruction": {"mosaic"},
}  # fmt: skip
NUMBERS = {"accuracy", "balanced_accuracy", "cohen_kappa", "matthews_corrcoef", "macro_f1", "mean_iou"}
every_preset = pytest.mark.parametrize("name", PRESETS)


def test_no_preset_is_left_out() -> None:
    """What the module offers is what is tested here."""
    assert set(lw.presets.__all__) == PRESETS.keys() == SCALARS.keys() == MEDIA.keys()


@every_preset
def test_what_a_preset_logs(name: str, tmp_path: Path) -> None:
    """All keys that its docstring tells, for a fit and a test, and no others; each checkpoint as an artifact."""
    make, module, data = PRESETS[name]
    logger = WandbLogger(mode="offline", save_dir=tmp_path)
    callbacks = [*make(every_n_train_steps=2), ModelCheckpoint(tmp_path / "checkpoints")]
    t = trainer(logger=logger, callbacks=callbacks, enable_checkpointing=True, log_every_n_steps=2)
    t.fit(module(), DataLoader(data(), 8), DataLoader(data(), 8))
    t.test(module(), DataLoader(data(), 8), verbose=False)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    keys = {key for row in run.history for key in row if not key.startswith("_")}
    keys -= {"trainer/global_step", "epoch", "val_loss"}
    gradients = {key for key in keys if key.startswith("gradients")}
    assert {"gradients/net.1.weight", "gradients/norm/net.1.weight", "gradients/norm/total"} <= gradients
    scalars = {f"{stage}/{key}" for stage in ("val", "test") for key in SCALARS[name]}
    scalars |= {f"train/{key}_{end}" for key in SCALARS[name] for end in ("step", "epoch")}
    if "confusion_matrix" in MEDIA[name]:
        scalars |= {f"{stage}/confusion_matrix_{key}" for stage in ("val", "test") for key in NUMBERS}
    assert keys - gradients == scalars | {f"{stage}/{key}" for stage in ("val", "test") for key in MEDIA[name]}
    assert [a.aliases for a in run.artifacts if a.type == "model"] == [("best", "epoch-0", "latest", "step-5")]
    doc = str(getattr(lw.presets, name).__doc__)
    told = {f"``val/{key.removesuffix('_table') if 'chart' in key else key}``" for key in MEDIA[name]}
    told |= {f"``val/confusion_matrix_{key}``" for key in NUMBERS if "confusion_matrix" in MEDIA[name]}
    assert [key for key in {*told, *(f"``{key}``" for key in SCALARS[name])} if key not in doc] == []


def reference(name: str) -> dict[str, Metric]:
    multi, labels = {"num_classes": CLASSES}, {"num_labels": CLASSES}
    return {
        "classification": {
            "acc": MulticlassAccuracy(**multi, average="micro"),
            "f1": MulticlassF1Score(**multi, average="macro"),
        },
        "multilabel": {
            "f1": MultilabelF1Score(**labels, average="macro"),
            "f1_micro": MultilabelF1Score(**labels, average="micro"),
            "acc": MultilabelAccuracy(**labels, average="micro"),
        },
        "segmentation": {
            "iou": MulticlassJaccardIndex(**multi, average="macro"),
            "dice": MulticlassF1Score(**multi, average="macro"),
            "acc": MulticlassAccuracy(**multi, average="micro"),
        },
        "reconstruction": {"mse": MeanSquaredError(), "psnr": PeakSignalNoiseRatio(data_range=1.0)},
    }[name]


@every_preset
def test_numbers_are_those_of_torchmetrics(name: str) -> None:
    """Over all samples, in batches of 9 and 4."""
    make, module, data = PRESETS[name]
    model = module()
    [logged] = trainer(callbacks=make()).validate(model, DataLoader(data(), 9), verbose=False)
    x, y = data().tensors
    with torch.no_grad():
        preds = model(x)
    for key, metric in reference(name).items():
        expected = metric(preds, x if name == "reconstruction" else y)
        assert logged[f"val/{key}"] == pytest.approx(float(expected), rel=1e-4), key


@every_preset
def test_a_trainer_without_checkpoints_is_fine(name: str) -> None:
    """No error for a preset's sake where checkpoints are switched off; no callback for them where told."""
    make, module, data = PRESETS[name]
    trainer(callbacks=make(), enable_checkpointing=False).fit(module(), DataLoader(data(), 8), DataLoader(data(), 8))
    assert isinstance(make()[-1], lw.CheckpointArtifact)
    assert not [c for c in make(checkpoints=False) if isinstance(c, lw.CheckpointArtifact)]


@pytest.mark.parametrize("name", ["classification", "multilabel", "segmentation"])
def test_one_state_holds_all_counts(name: str) -> None:
    """The numbers and the matrix have one need; the others are the samples to show, and what their scores are."""
    needs = [need for callback in PRESETS[name][0]() for need in callback.needs("val").values()]
    counts = [need for need in needs if isinstance(need.entry, ConfusionCounts)]
    assert len(counts) == len(SCALARS[name]) + 1
    assert len({need.key for need in counts}) == 1
    others = [type(need.entry) for need in needs if need not in counts]
    # Where `logits` is given, no range is needed; else there is a choice for each way to read scores.
    expected: dict[str, list[type]] = {
        "classification": [PerGroup, PerGroup, ScoreRange, ScoreRange, TopK, TopK, ScoreRange, ScoreRange],
        "multilabel": [TopK],
        "segmentation": [RandomSample, ScoreRange],
    }
    assert others == expected[name]


@every_preset
def test_no_batch_waits_for_the_device(name: str) -> None:
    """Neither in validation nor in a training step that is not logged."""
    make, module, data = PRESETS[name]
    guards: list[Any] = []

    def enter(*args: Any, **kwargs: Any) -> None:
        guards.append(forbid_host_sync())
        guards[-1].__enter__()

    def leave(*args: Any, **kwargs: Any) -> None:
        guards[-1].__exit__(None, None, None)

    before, behind = pl.Callback(), pl.Callback()
    for hook in ("on_train_batch_end", "on_validation_batch_end"):
        setattr(before, hook, enter)
        setattr(behind, hook, leave)
    callbacks = [before, *make(every_n_train_steps=3), behind]
    t = trainer(callbacks=callbacks, log_every_n_steps=100)
    t.fit(module(), DataLoader(data(), 8), DataLoader(data(), 8))
    assert len(guards) == 10


def test_numbers_of_your_own() -> None:
    """The page's example: a mean IoU, the recall of one class and a mean loss, by the page's own code."""
    blocks = re.findall(r"^```python\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {"lw": lw}
    exec(blocks[-1], space)
    [logged] = trainer(callbacks=space["callbacks"]).validate(Wide(), DataLoader(label_maps(), 9), verbose=False)
    x, y = label_maps().tensors
    with torch.no_grad():
        preds = Wide()(x)
    assert logged["val/iou"] == pytest.approx(float(MulticlassJaccardIndex(21)(preds, y)), rel=1e-5)
    assert logged["val/road"] == pytest.approx(float((preds.argmax(1)[y == 3] == 3).float().mean()))
    assert logged["val/mean_loss"] == pytest.approx(float(nn.functional.cross_entropy(preds, y)), rel=1e-5)


class Wide(Segmenter):
    """Scores for 21 classes, the same weights each time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(1, 21, 3, padding=1)


def test_targets_that_do_not_count() -> None:
    """Pixels of 255: none of them in the counts, nor in the numbers."""
    x, y = label_maps().tensors
    y = y.clone()
    y[:, :3] = 255

    class Ignores(Segmenter):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"logits": self(batch[0]), "targets": batch[1]}

    callbacks = lw.presets.segmentation(CLASSES, ignore_index=255)
    module = Ignores()
    [logged] = trainer(callbacks=callbacks).validate(module, DataLoader(TensorDataset(x, y), 9), verbose=False)
    [matrix] = [c for c in callbacks if isinstance(c, lw.ConfusionMatrix)]
    assert int(matrix.results["val"].sum()) == 40 * 5 * 8
    with torch.no_grad():
        expected = MulticlassJaccardIndex(CLASSES, ignore_index=255)(module(x), y)
    assert logged["val/iou"] == pytest.approx(float(expected), rel=1e-5)


class OneLogit(Segmenter):
    """A logit of class 1 for each pixel: 6 where it is bright, else -6."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0.5) * 12.0 - 6 + 0 * self.net(x)[:, :1]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.training_step(batch, batch_idx)


@pytest.mark.parametrize("task", ["multiclass", "binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_masks_of_two_classes_by_one_logit(task: Any, dtype: torch.dtype) -> None:
    """Without a word about logits: all of 2,560 pixels are right, in the counts and in the pictures."""
    x = images().tensors[0]
    y = (x > 0.5).to(dtype)
    callbacks = lw.presets.segmentation(2, task=task, checkpoints=False)
    [logged] = trainer(callbacks=callbacks).validate(OneLogit(), DataLoader(TensorDataset(x, y), 9), verbose=False)
    assert logged["val/iou"] == logged["val/dice"] == logged["val/acc"] == 1
    [matrix] = [c for c in callbacks if isinstance(c, lw.ConfusionMatrix)]
    bright = int((x > 0.5).sum())
    assert matrix.results["val"].tolist() == [[2560 - bright, 0], [0, bright]]
    [grid] = [c for c in callbacks if isinstance(c, lw.MaskGrid)]
    _, pred, truth = grid.results["val"].payload
    assert pred.dtype == truth.dtype == torch.int64
    assert pred.shape == (16, 8, 8)
    assert torch.equal(pred, truth)
    assert pred.unique().tolist() == [0, 1]


@pytest.mark.parametrize("logits", [True, None])
def test_the_kind_of_scores_need_not_be_told(logits: bool | None) -> None:
    """Sets of labels by logits against floats of 0 and 1: the counts are those of a loop."""
    x, y = label_sets().tensors
    module = Multilabel()
    nn.init.normal_(module.net[1].weight)  # far from [0, 1]
    callbacks = lw.presets.multilabel(CLASSES, logits=logits, checkpoints=False)
    trainer(callbacks=callbacks).validate(module, DataLoader(TensorDataset(x, y.float()), 9), verbose=False)
    [matrix] = [c for c in callbacks if isinstance(c, lw.MultilabelConfusionMatrix)]
    with torch.no_grad():
        preds = module(x).sigmoid() > 0.5
    expected = [
        [[int(((y[:, c] == r) & (preds[:, c] == p)).sum()) for p in (0, 1)] for r in (0, 1)] for c in range(CLASSES)
    ]
    assert matrix.results["val"].tolist() == expected


@pytest.mark.parametrize("name", ["segmentation", "reconstruction"])
def test_two_processes_log_what_one_does(name: str, tmp_path: Path) -> None:
    """41 samples, of which the sampler repeats one; numbers and choices are equal, the squared error to its float32."""
    alone = scenarios.validate_preset(name, 41, str(tmp_path))
    for there in run_processes(2, scenarios.validate_preset, name, 41, str(tmp_path)):
        assert there["ids"] == alone["ids"]
        assert there["logged"] == (pytest.approx(alone["logged"]) if name == "reconstruction" else alone["logged"])


@pytest.mark.parametrize("beside", [[], [ModelCheckpoint()]])
@needs_refusals_of_ours
def test_a_preset_inside_of_a_list_says_what_to_write(beside: list[Any], tmp_path: Path) -> None:
    """Lightning takes it for a callback; and it stays a list, also as a copy."""
    preset = lw.presets.classification(CLASSES, checkpoints=False)
    with pytest.raises(AttributeError, match=r"a preset is a list of callbacks .* callbacks=\[\*lw\.presets"):
        trainer(callbacks=[preset, *beside], enable_checkpointing=True, default_root_dir=tmp_path).fit(
            Classifier(), DataLoader(images(8), 4)
        )
    assert isinstance(preset, list)
    assert len(copy.deepcopy(preset)) == len(pickle.loads(pickle.dumps(preset))) == len([*preset]) == 4


def test_the_advice_for_images_of_another_range_leaves_numbers_as_they_are() -> None:
    """Written as it says, it changes the picture alone: the same error, and nothing is said."""
    x = 5 * torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 2
    module, data = Autoencoder(), DataLoader(TensorDataset(x, torch.zeros(8)), 4)

    def error(**kwargs: Any) -> tuple[Any, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = trainer(callbacks=lw.presets.reconstruction(checkpoints=False, **kwargs))
            [found] = run.validate(module, data, verbose=False)
        return found["val/mse"], [str(w.message) for w in caught if "images" in str(w.message)]

    before, [said] = error()
    [(mean, std)] = re.findall(r"each time mean=(\S+), std=(\S+);", said)
    assert error(mean=float(mean), std=float(std)) == (before, [])
    assert error(mean=0, std=1) == (before, [])
