"""A Trainer of one process where there is a process group, as behind a fit with DDP."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

from .modules import CLASSES, Classifier, loader, trainer


class Holds(Metric):
    """How many samples: by a metric inside, which syncs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = SumMetric()

    def update(self, preds: torch.Tensor, targets: torch.Tensor) -> None:
        self.inside.update(float(len(targets)))

    def compute(self) -> torch.Tensor:
        return self.inside.compute()


def in_ddp(root: str) -> int:
    """Fit on all processes; how many validation samples are counted."""
    os.environ["WORLD_SIZE"] = "2"  # Lightning has taken it away behind a fit
    matrix = lw.ConfusionMatrix(CLASSES)
    t = trainer(callbacks=[matrix], devices=2, strategy="ddp", max_epochs=1, default_root_dir=root)
    t.fit(Classifier.seeded(), loader(40), loader(30))
    return int(matrix.results["val"].sum())


def by_itself(root: str) -> dict[str, Any]:
    """Fit, with all that processes meet for, and test: what is counted, and the seconds."""
    start = time.monotonic()
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val", "test"))
    metrics = {"acc": MulticlassAccuracy(CLASSES, average="micro"), "held": Holds()}
    callbacks = [
        matrix,
        lw.ScalarMetrics(metrics, stages=("test",)),
        gradients := lw.GradientHistogram(2, activations=True, on_nonfinite="raise", check_replicas=True),
        ModelCheckpoint(root, every_n_train_steps=2, save_top_k=-1),
    ]
    t = trainer(callbacks=callbacks, devices=1, max_epochs=1, enable_checkpointing=True, default_root_dir=root)
    t.fit(module := Classifier.seeded(), loader(40), loader(30))
    sums = {stage: int(matrix.results[stage].sum()) for stage in ("train", "val")}
    bins = {name: int(b.counts.sum()) for name, b in gradients.results["train"].items() if "/" not in name}
    [logged] = t.test(module, loader(21), verbose=False)
    took = time.monotonic() - start
    return {**sums, "test": int(matrix.results["test"].sum()), "held": logged["test/held"], "bins": bins, "took": took}


def behind_ddp(root: str, everyone: bool) -> tuple[list[int], dict[str, Any] | None]:
    """With all processes, then each by itself, or process 0 alone, then with all again."""
    rank = int(os.environ["RANK"])
    first = in_ddp(f"{root}/first")
    found = by_itself(f"{root}/{rank}") if everyone or rank == 0 else None
    return [first, in_ddp(f"{root}/last")], found
