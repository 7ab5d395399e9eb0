"""Wrong arguments are refused when a callback is made: callback and argument, what was found, what is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lwcallbacks as lw
from lwcallbacks.reductions import ExactMean


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: lw.ConfusionMatrix(1), "ConfusionMatrix: num_classes=1, expected an int of at least 2"),
        (lambda: lw.ConfusionMatrix("10"), "ConfusionMatrix: num_classes='10', expected an int"),
        (
            lambda: lw.ConfusionMatrix(3, ["a"]),
            "ConfusionMatrix: class_names has 1 names, expected 3: one for each class",
        ),
        (lambda: lw.ConfusionMatrix(3, normalize="rows"), "ConfusionMatrix: normalize='rows', expected 'true'"),
        (lambda: lw.ConfusionMatrix(3, every_n_epochs=0), "ConfusionMatrix: every_n_epochs=0, expected an int"),
        (lambda: lw.ImageMosaic(0), "ImageMosaic: num_samples=0, expected an int of at least 1"),
        (lambda: lw.ImageMosaic(4, stages="val"), r"ImageMosaic: stages='val', expected .* as in stages=\('val',\)"),
        (lambda: lw.PredictionGrid(-1), "PredictionGrid: num_samples=-1, expected an int of at least 1"),
        (lambda: lw.PredictionGrid(4, stages=("valid",)), r"PredictionGrid: stages=\('valid',\), expected some of"),
        (lambda: lw.ImageMosaic(4, nrow=0), "ImageMosaic: nrow=0, expected an int of at least 1, or None"),
        (lambda: lw.ImageMosaic(4, padding=-1), "ImageMosaic: padding=-1, expected an int of at least 0"),
        (lambda: lw.ImageMosaic(4, seed="first"), "ImageMosaic: seed='first', expected .* select='first'"),
        (lambda: lw.PredictionGrid(4, task="two"), "PredictionGrid: task='two', expected 'multiclass', 'binary' or"),
        (lambda: lw.PredictionGrid(4, logits="yes"), "PredictionGrid: logits='yes', expected True, False or None"),
        (lambda: lw.MaskGrid(4, task="multilabel"), "MaskGrid: task='multilabel', expected 'multiclass' or 'binary'"),
        (lambda: lw.MaskGrid(4, threshold=0), r"MaskGrid: threshold=0, expected a probability in \(0, 1\)"),
        (lambda: lw.ConfusionMatrix(2, task="multilabel"), "ConfusionMatrix: task='multilabel', expected 'multiclass'"),
        (lambda: lw.ConfusionMatrix(3, task="binary"), "ConfusionMatrix: num_classes=3 with task='binary', expected 2"),
        (lambda: lw.ConfusionMatrix(2, logits=0.5), "ConfusionMatrix: logits=0.5, expected True, False or None"),
        (lambda: lw.ConfusionMatrix(3, "abc"), "ConfusionMatrix: class_names='abc' is one text, expected"),
        (lambda: lw.MultilabelConfusionMatrix(3, threshold=1.5), "MultilabelConfusionMatrix: threshold=1.5, expected"),
        (lambda: lw.PredictionGrid(4, threshold=1), r"PredictionGrid: threshold=1, expected a probability in \(0, 1\)"),
        (lambda: lw.MaskGrid(0), "MaskGrid: num_samples=0, expected an int of at least 1"),
        (lambda: lw.MaskGrid(4, alpha=2), "MaskGrid: alpha=2, expected a share of 0 to 1"),
        (lambda: lw.MultilabelConfusionMatrix(0), "MultilabelConfusionMatrix: num_labels=0, expected an int of at"),
        (
            lambda: lw.MultilabelConfusionMatrix(3, ["a"]),
            "MultilabelConfusionMatrix: class_names has 1 names, expected",
        ),
        (lambda: lw.ScalarMetrics({"mse": ExactMean()}, fields=()), r"ScalarMetrics: fields=\(\), expected names"),
        (lambda: lw.ScalarMetrics({"mse": ExactMean()}, logits=True), "logits=True without task=, .* task='binary"),
        (lambda: lw.ConfusionMatrix(3, ignore_index="255"), "ConfusionMatrix: ignore_index='255', expected an int, as"),
        (lambda: lw.Curves(3, ignore_index=True), "Curves: ignore_index=True, expected an int, as 255, or None"),
        (lambda: lw.ImageMosaic(4, mean=0, std=0), "ImageMosaic: std=0, expected numbers above 0"),
        (
            lambda: lw.PredictionGrid(4, std=(1, float("nan"), 1)),
            r"PredictionGrid: std=\(1, nan, 1\), expected numbers",
        ),
        (lambda: lw.MaskGrid(4, mean=[0.1, 0.2], std=[1, 1, 1]), "MaskGrid: mean=.* expected one number of each for"),
        (lambda: lw.ScalarMetrics({"mse": ExactMean()}, fields="loss"), r"fields='loss', expected names, as in"),
        (lambda: lw.ScalarMetrics({"mse": ExactMean()}, fields=(1,)), r"fields=\(1,\), expected names, as in"),
        (lambda: lw.ScalarMetrics({"mse": ExactMean()}, task="binari"), "ScalarMetrics: task='binari', expected"),
        (lambda: lw.presets.classification(1), "num_classes=1, expected an int of at least 2"),
        (lambda: lw.presets.segmentation(3, ["a"]), "class_names has 1 names, expected 3: one for each class"),
        (lambda: lw.CheckpointArtifact(on_error="ignore"), "CheckpointArtifact: on_error='ignore', expected 'warn'"),
    ],
)
def test_a_wrong_argument_is_named(make: Callable[[], Any], told: str) -> None:
    """Before a Trainer is there."""
    with pytest.raises((ValueError, TypeError), match=told):
        make()
