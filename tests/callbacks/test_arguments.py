"""Wrong arguments are refused when a callback is made: callback and argument, what was found, what is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import lwcallbacks as lw


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: lw.ConfusionMatrix(1), "ConfusionMatrix: num_classes=1, expected an int of at least 2"),
        (lambda: lw.ConfusionMatrix("10"), "ConfusionMatrix: num_classes='10', expected an int"),
        (lambda: lw.ConfusionMatrix(3, ["a"]), "ConfusionMatrix: class_names has 1 names, expected num_classes=3"),
        (lambda: lw.ConfusionMatrix(3, normalize="rows"), "ConfusionMatrix: normalize='rows', expected 'true'"),
        (lambda: lw.ConfusionMatrix(3, every_n_epochs=0), "ConfusionMatrix: every_n_epochs=0, expected an int"),
        (lambda: lw.ImageMosaic(0), "ImageMosaic: num_samples=0, expected an int of at least 1"),
        (lambda: lw.ImageMosaic(4, stages="val"), r"ImageMosaic: stages='val', expected some of .* as in \('val',\)"),
        (lambda: lw.PredictionGrid(-1), "PredictionGrid: num_samples=-1, expected an int of at least 1"),
        (lambda: lw.PredictionGrid(4, stages=("valid",)), r"PredictionGrid: stages=\('valid',\), expected some of"),
        (lambda: lw.CheckpointArtifact(on_error="ignore"), "CheckpointArtifact: on_error='ignore', expected 'warn'"),
    ],
)
def test_a_wrong_argument_is_named(make: Callable[[], Any], told: str) -> None:
    """Before a Trainer is there."""
    with pytest.raises(ValueError, match=told):
        make()
