"""What each of several processes has for callbacks, and what comes of it; see tests/faults/test_unlike_processes.py."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall

import lwcallbacks as lw
from lwcallbacks.callbacks.hub import Hub

from .modules import CLASSES, Classifier, images, loader, trainer

MAKERS = {
    "matrix": lambda: lw.ConfusionMatrix(CLASSES),
    "matrix of training": lambda: lw.ConfusionMatrix(CLASSES, stages=("train", "val")),
    "matrix but for a label": lambda: lw.ConfusionMatrix(CLASSES, ignore_index=0),
    "mosaic": lambda: lw.ImageMosaic(4),
    "metrics": lambda: lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}),
    "recall": lambda: lw.ScalarMetrics({"acc": MulticlassRecall(CLASSES)}),
    "gradients": lambda: lw.GradientHistogram(2),
}


def fit(root: str, of_each: list[list[str]], patience: float = 60.0) -> dict[str, Any]:
    """Fit for an epoch with other callbacks on each process: results by callback, the error, and how long it took."""
    Hub.patience = patience
    callbacks = {name: MAKERS[name]() for name in of_each[int(os.environ["RANK"])]}
    t = trainer(callbacks=list(callbacks.values()), devices=len(of_each), strategy="ddp", default_root_dir=root)
    start, error = time.monotonic(), ""
    try:
        t.fit(Classifier.seeded(), loader(21), loader(21))
    except Exception as raised:
        error = str(raised)
    took = time.monotonic() - start
    results = {name: callback.results.get("val") for name, callback in callbacks.items()}
    return {"error": error, "took": took, "results": results, "metrics": dict(t.callback_metrics)}


class Skips(Classifier):
    """A step that returns nothing, without a forward call, for some batches of some processes."""

    def __init__(self, batches: tuple[int, ...], ranks: tuple[int, ...], loaders: tuple[int, ...] = (0, 1)) -> None:
        super().__init__()
        self.batches, self.ranks, self.loaders = batches, ranks, loaders

    def _skips(self, batch_idx: int, loader: int = 0) -> bool:
        return batch_idx in self.batches and loader in self.loaders and self.global_rank in self.ranks

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if self._skips(batch_idx) else super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return None if self._skips(batch_idx, dataloader_idx) else super().validation_step(batch, batch_idx)


def skipping(root: str, batches: tuple[int, ...], ranks: tuple[int, ...]) -> dict[str, Any]:
    """Validate where some steps return nothing: the matrix and the accuracy of this process."""
    torch.manual_seed(0)
    matrix, metrics = MAKERS["matrix"](), MAKERS["metrics"]()
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    t = trainer(callbacks=[matrix, metrics], devices=world_size, strategy="ddp", default_root_dir=root)
    t.validate(Skips(batches, ranks), loader(24, 4), verbose=False)
    return {"matrix": matrix.results.get("val"), "acc": float(t.callback_metrics["val/acc"])}


class Sized(Classifier):
    """Looks at a corner of an image of any size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x[..., :8, :8])


class OfSizes(torch.utils.data.Dataset):
    """The samples of `images`, padded on two sides: sample i has the size that `sizes` tells."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.data = images(len(sizes))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> Any:
        x, y = self.data[i]
        return torch.nn.functional.pad(x, (0, self.sizes[i] - 8, 0, self.sizes[i] - 8)), y


def sized(root: str, sizes: list[int], batch_size: int) -> dict[str, Any]:
    """Validate on images of several sizes: what each callback holds, and what was said."""
    import warnings

    torch.manual_seed(0)
    callbacks = {name: MAKERS[name]() for name in ("mosaic", "matrix", "metrics")}
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    t = trainer(
        callbacks=list(callbacks.values()), devices=world_size, default_root_dir=root,
        strategy="ddp" if world_size > 1 else "auto",
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        t.validate(Sized(), torch.utils.data.DataLoader(OfSizes(sizes), batch_size), verbose=False)
    return {
        "results": {name: callback.results.get("val") for name, callback in callbacks.items()},
        "said": [str(w.message) for w in said if str(w.message).startswith("lwcallbacks")],
    }
