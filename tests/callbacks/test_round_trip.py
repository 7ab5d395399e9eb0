"""A callback can be read, written down, copied and built again: its arguments are attributes of the same names."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint
from support.everyone import public_callbacks
from support.modules import CLASSES, Classifier, Multilabel, Segmenter, images, label_maps, label_sets, trainer
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import lwcallbacks as lw
from lwcallbacks.callbacks.base import LoggingCallback, plain
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.testing.same import difference

PUBLIC = list(public_callbacks().values())
METRICS = {
    "acc": MulticlassAccuracy(CLASSES),
    "more": MetricCollection({"f1": MulticlassF1Score(CLASSES)}, prefix="my_"),
}
# For every argument of every callback a value that is not the default, as a YAML file gives it.
GIVEN: dict[str, Any] = {
    "activations": ["net.*"],
    "moments": True,
    "updates": True,
    "weights": True,
    "aliases": ["nightly"],
    "alpha": 0.25,
    "background": 2,
    "bands": [1, 0, 1],
    "bins": 16,
    "box_format": "cxcywh",
    "check_replicas": True,
    "classes": [3, 0],
    "class_names": ["a", "b", "c", "d", "e"],
    "cost_matrix": [[0, 1.5], [-2, 0]],
    "depth": 2,
    "every_n_epochs": 2,
    "examples_per_cell": 2,
    "every_n_train_steps": 2,
    "exclude": ["*.bias"],
    "fields": ["inputs", "targets"],
    "forward": "net",
    "frame": False,
    "histograms": False,
    "ids": "support.sources.numbers",
    "ignore_index": 3,
    "include": ["net.*"],
    "inputs": 0,
    "iou_threshold": 0.25,
    "keep": "all",
    "layers": ["output", "input"],
    "logits": True,
    "mantissa_bits": 5,
    "max_boxes": 1,
    "max_overhead": 0.999,  # above what a small run on a busy machine costs: nothing is left out
    "mean": [0.25],
    "metadata": {"data": {"name": "digits", "classes": [0, 1]}},
    "metrics": METRICS,
    "min_score": 0.125,
    "missing_ok": True,
    "n_bins": 10,
    "name": "mine",
    "normalize": "true",
    "normalized": True,
    "nrow": 3,
    "num_classes": CLASSES,
    "num_labels": CLASSES,
    "num_samples": 4,
    "on_error": "raise",
    "on_nonfinite": "ignore",
    "padding": 1,
    "patience": 60.0,
    "prefix": "my_",
    "preds": "support.sources.scores",
    "prog_bar": True,
    "same_scale": False,
    "sample": "support.sources.made",
    "seed": 7,
    "select": "first",
    "size": [16, 24],
    "stages": ["train", "val"],
    "staging_limit": 2**20,
    "std": 0.5,
    "target_format": "xywh",
    "target_normalized": False,
    "targets": "support.sources.labels",
    "task": "multilabel",
    "threshold": 0.75,
    "threshold_by": {"false_positive": 1, "false_negative": 2.5},
    "top_k": 2,
    "update_ratio": False,
}
# Where a callback needs something else; and where it needs other data, or a module for it.
OWN: dict[type, dict[str, Any]] = {
    lw.ConfusionMatrix: {
        "num_classes": 2, "class_names": ["a", "b"], "task": "binary",
        "preds": "support.sources.brightness", "targets": "support.sources.halves", "top_k": 1,
    },
    lw.BoxGrid: {"preds": "support.sources.boxes", "targets": "support.sources.boxes"},
    lw.ImageMosaic: {"select": "random"},
    lw.MaskGrid: {"preds": "support.sources.masks", "task": "binary"},
    lw.ScalarMetrics: {"inputs": "support.sources.scores"},
}  # fmt: skip
# What can only be at its default with the others as they are here, and so has a test of its own.
ALONE = {
    (lw.ConfusionMatrix, "top_k"),  # two classes have no second best
    (lw.ImageMosaic, "select"),  # a function makes images and chooses none
}
DATA: dict[type, tuple[type[Classifier], Any]] = {
    lw.Curves: (Multilabel, label_sets),
    lw.MaskGrid: (Segmenter, label_maps),
    lw.MultilabelConfusionMatrix: (Multilabel, label_sets),
    lw.PredictionGrid: (Multilabel, label_sets),
}


def parameters(callback: type) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(callback).parameters)


def arguments(callback: Any) -> dict[str, Any]:
    """Its arguments, read back from the callback."""
    return {name: getattr(callback, name) for name in parameters(type(callback))}


def given_to(callback: type) -> dict[str, Any]:
    given = GIVEN | OWN.get(callback, {})
    return {name: given[name] for name in parameters(callback)}


def ran(callback: Any, folder: Path) -> dict[str, Any]:
    """What the callback holds after fitting and validating a small module."""
    checkpoint = ModelCheckpoint(folder)
    epochs = 2 if isinstance(callback, lw.ImageMosaic) else 1  # what it makes it makes every second epoch
    t = trainer(callbacks=[callback, checkpoint], enable_checkpointing=True, default_root_dir=folder, max_epochs=epochs)
    module, data = DATA.get(type(callback), (Classifier, images))
    t.fit(module.seeded(), DataLoader(data(), 8), DataLoader(data(), 8))
    results = dict(callback.results)
    if isinstance(callback, lw.CheckpointArtifact):
        results["train"] = [Path(path).relative_to(folder) for path in results["train"]]
    return results


def test_every_callback_is_tested_here() -> None:
    """All, and no argument of theirs is at its default in the tests below."""
    assert len(PUBLIC) >= 8
    for callback in PUBLIC:
        for name, parameter in parameters(callback).items():
            is_default = plain(given_to(callback)[name]) == parameter.default
            assert is_default == ((callback, name) in ALONE), name


@pytest.mark.parametrize("callback", PUBLIC)
def test_an_argument_is_an_attribute(callback: type) -> None:
    """Of the same name, with the value given; a list is a tuple from then on."""
    assert arguments(callback(**given_to(callback))) == plain(given_to(callback))


def test_the_best_k_is_an_attribute(tmp_path: Path) -> None:
    """A callback that is made of what can be read from another does the same."""
    first = lw.ConfusionMatrix(CLASSES, top_k=2)
    assert first.top_k == 2
    again = lw.ConfusionMatrix(**arguments(first))
    assert difference(ran(first, tmp_path / "first"), ran(again, tmp_path / "again")) is None
    assert difference(first.results, ran(lw.ConfusionMatrix(CLASSES), tmp_path / "other")) is not None


@pytest.mark.parametrize("callback", PUBLIC)
def test_a_default_is_an_attribute(callback: type) -> None:
    """What was not given reads as the default in the signature."""
    optional = {n: p.default for n, p in parameters(callback).items() if p.default is not inspect.Parameter.empty}
    required = {name: given_to(callback)[name] for name in parameters(callback) if name not in optional}
    assert arguments(callback(**required)) == plain(required) | optional


def test_the_bases_keep_theirs() -> None:
    """A callback of a user's own, which passes arguments on, can be read like ours."""

    class Own(StateCallback):
        remembered = result = entries = lambda self, *args: {}

    given = {"name": "own", "stages": ("test",), "every_n_epochs": 3, "on_error": "raise"}
    assert set(parameters(StateCallback)) == set(given)
    assert arguments(Own(**given)) == given
    assert arguments(LoggingCallback(on_error="raise")) == {"on_error": "raise"}


@pytest.mark.parametrize("callback", PUBLIC)
def test_written_down_and_built_again_it_does_the_same(callback: type, tmp_path: Path) -> None:
    """Attributes, to YAML and back, to a callback: equal attributes, and equal results of a run, bit by bit."""
    first = callback(**given_to(callback))
    objects = {name: value for name, value in arguments(first).items() if name == "metrics"}
    written = yaml.safe_dump({n: v for n, v in arguments(first).items() if n not in objects})
    second = callback(**yaml.safe_load(written), **objects)
    assert arguments(second) == arguments(first)
    assert second.state_key == first.state_key
    results = ran(first, tmp_path / "first")
    assert results
    assert difference(ran(second, tmp_path / "second"), results) is None


@pytest.mark.parametrize("callback", PUBLIC)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"])
def test_a_copy_does_the_same(callback: type, copied: Any, tmp_path: Path) -> None:
    """Arguments and all; metrics, which are no plain values, are copied along."""
    first = callback(**given_to(callback))
    second = copied(first)
    assert {**arguments(second), "metrics": None} == {**arguments(first), "metrics": None}
    assert difference(ran(second, tmp_path / "second"), ran(first, tmp_path / "first")) is None
