"""A checkpoint whose states do not fit the callbacks: one warning at the start, and the epoch counts from there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import scenarios
from support.modules import CLASSES, Classifier, loader, trainer
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall

import lwcallbacks as lw
from lwcallbacks.testing.same import difference

N = 40
Make = Callable[[], Any]


def metrics(metric: Any) -> Any:
    return lw.ScalarMetrics({"m": metric}, stages=("train",))


UNFIT: dict[str, tuple[Make, Make, str]] = {
    "another num_classes": (
        lambda: lw.ConfusionMatrix(CLASSES, stages=("train",), name="mine"),
        lambda: lw.ConfusionMatrix(CLASSES + 3, stages=("train",), name="mine", preds=best),
        "ConfusionMatrix('train/mine'): the saved state is left out",
    ),
    "another metric": (
        lambda: metrics(MulticlassAccuracy(CLASSES, average="micro")),
        lambda: metrics(MulticlassRecall(CLASSES)),
        "ScalarMetrics('train/m'): the saved state is left out",
    ),
    "another seed": (
        lambda: lw.ImageMosaic(4, seed=0, stages=("train",)),
        lambda: lw.ImageMosaic(4, seed=1, stages=("train",)),
        "ImageMosaic('train/mosaic'): the saved state is left out",
    ),
    "another number of samples": (
        lambda: lw.PredictionGrid(4, stages=("train",)),
        lambda: lw.PredictionGrid(6, stages=("train",)),
        "PredictionGrid('train/predictions'): the saved state is left out",
    ),
    "other scores": (
        lambda: lw.PredictionGrid(4, stages=("train",), logits=True),
        lambda: lw.PredictionGrid(5, stages=("train",), logits=False),
        "PredictionGrid('train/predictions'): the saved state is left out",
    ),
}


def best(outputs: Any, batch: Any, returned: Any) -> torch.Tensor:
    return returned.argmax(1)


class Sees(pl.Callback):
    samples = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.samples += len(batch[0])


def fit(callback: Any, last: pl.Callback, checkpoint: str | None = None) -> Any:
    beside = lw.ConfusionMatrix(CLASSES, stages=("train",), name="beside")
    trainer(callbacks=[callback, beside, last]).fit(Classifier.seeded(), loader(N, 4), ckpt_path=checkpoint)
    return beside.results["train"]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:.*its loader starts again at the first sample")  # of the callback beside
@pytest.mark.parametrize("case", UNFIT)
def test_one_warning_and_the_epoch_counts_from_there(case: str, tmp_path: Path) -> None:
    """It is as if the epoch had begun there; what fits goes on with all that was saved."""
    old, new, told = UNFIT[case]
    saved = str(tmp_path / "stopped.ckpt")
    with suppress(KeyboardInterrupt, SystemExit, KeyError):  # Lightning before 2.3 lets `fit` return
        fit(old(), scenarios.Stop(3, saved))
    sees, callback = Sees(), new()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        beside = fit(callback, sees, saved)
    [message] = [str(w.message) for w in said if "saved" in str(w.message)]
    assert told in message
    assert message.endswith("This training epoch counts from here on")
    assert sees.samples > 0
    assert int(beside.sum()) == 3 * 4 + sees.samples
    fresh = new()
    states = torch.load(saved, weights_only=True)
    states["callbacks"] = {k: v for k, v in states["callbacks"].items() if k != fresh.state_key}
    torch.save(states, tmp_path / "without.ckpt")
    fit(fresh, Sees(), str(tmp_path / "without.ckpt"))
    assert difference(callback.results, fresh.results) is None
