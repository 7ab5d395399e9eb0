"""A module whose steps call `self.forward(x)`, run in real processes under DDP."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

import lwcallbacks as lw

from .modules import CLASSES, Classifier, loader, trainer


class Direct(Classifier):
    """Calls `forward` on inputs of its own, and returns one number for each sample, which are no predictions."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        scores = self.forward(batch[0] * 1.0)
        return {"loss": nn.functional.cross_entropy(scores, batch[1]), "target": batch[1], "weight": batch[1] * 0.5}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.forward(batch[0] * 1.0).sum(1)


class OneArgument(Classifier):
    """Calls `forward` with what the step itself was given, and nothing else."""

    def forward(self, batch: Any) -> torch.Tensor:
        return super().forward(batch[0])

    def training_step(self, batch: Any) -> Any:
        return nn.functional.cross_entropy(self.forward(batch), batch[1])

    def validation_step(self, batch: Any) -> Any:
        return self.forward(batch).sum(1)


def run(cls: type[Classifier], entry: str, sanity: int) -> dict[str, Any]:
    """Fit or validate 41 samples; the sums of the matrices, and whether module and class are as they were."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    torch.manual_seed(0)
    module, own = cls(), vars(cls).get("forward")
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val"))
    t = trainer(
        callbacks=[matrix], devices=world_size, strategy="ddp" if world_size > 1 else "auto", max_epochs=2,
        num_sanity_val_steps=sanity,
    )  # fmt: skip
    if entry == "fit":
        t.fit(module, loader(41), loader(41))
    else:
        t.validate(module, loader(41), verbose=False)
    clean = vars(cls).get("forward") is own and "__getstate__" not in vars(cls) and not module._forward_hooks
    return {
        "val": matrix.results["val"],
        "sums": {stage: int(counts.sum()) for stage, counts in matrix.results.items()},
        "clean": clean and not module._forward_pre_hooks,
    }
