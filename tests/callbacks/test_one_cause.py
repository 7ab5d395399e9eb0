"""What has one cause is one message, however many callbacks see it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from support.modules import CLASSES, Classifier, loader, trainer
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


def said(callbacks: list[Any], data: DataLoader, module: type[Classifier] = Classifier) -> list[str]:
    """This package's warnings of a fit."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        trainer(callbacks=callbacks, max_epochs=2).fit(module(), loader(), data)
    told = [str(w.message) for w in heard]
    return [text for text in told if text.startswith(("lwcallbacks", *(type(c).__name__ for c in callbacks)))]


def test_an_epoch_of_nan_is_said_once() -> None:
    """By two callbacks that count and a metric: that predictions are NaN, how many, and that numbers are missing."""
    x, y = loader().dataset.tensors  # type: ignore[attr-defined]
    data = DataLoader(TensorDataset(x * torch.nan, y), 8)
    callbacks = [
        lw.ConfusionMatrix(CLASSES, stages=("val",)),
        lw.Curves(CLASSES, logits=True, stages=("val",)),
    ]
    counted, missing = said(callbacks, data)
    assert counted.startswith(
        "lwcallbacks: ConfusionMatrix('val/confusion_matrix') and Curves('val/curves'), val data: 40 predictions are"
    )
    assert missing.startswith(
        "lwcallbacks: 'val/confusion_matrix_accuracy' and 8 more numbers have no value in this epoch and had none"
    )


def test_one_number_without_a_value_is_named_with_its_callback() -> None:
    """As before the fit has had any."""

    class Silent(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return None

    metrics = lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)}, stages=("val",))
    [told] = [text for text in said([metrics], loader(), Silent) if "NaN" in text]
    assert "ScalarMetrics: 'val/acc' has no value in this epoch and had none before, so NaN is logged" in told


def test_images_that_are_no_pixels_are_said_once() -> None:
    """By three callbacks that draw them, each a choice of its own: one mean and std to write."""
    x, y = loader().dataset.tensors  # type: ignore[attr-defined]
    data = DataLoader(TensorDataset(x * 4 - 2, y), 8)
    callbacks = [
        lw.ConfusionMatrix(CLASSES, examples_per_cell=1, stages=("val",)),
        lw.PredictionGrid(4, stages=("val",)),
        lw.ImageMosaic(2, layers=("input",), stages=("val",)),
    ]
    [told] = said(callbacks, data)
    assert "they were stretched to black and white. Write mean= and std= of their normalisation" in told
