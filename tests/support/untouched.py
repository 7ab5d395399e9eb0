"""Training of which every bit is compared: what is left of it, with and without callbacks, on some processes."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from .modules import CLASSES, Classifier, loader, trainer
from .versions import LIGHTNING_1

STEPS = 200


class Drops(Classifier):
    """Adam, dropout and batch norm; every random number counts."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, CLASSES)
        )

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Searches(Drops):
    """LBFGS, whose closure is called several times for a step."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.05, max_iter=3, history_size=4)


class Rivals(pl.LightningModule):
    """A generator and a discriminator, each with an optimizer of its own, by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[0].flatten(1)
        ours, theirs = self.optimizers()
        for optimizer, is_real in ((theirs, 0.0), (ours, 1.0)):
            index = [ours, theirs].index(optimizer)
            self.toggle_optimizer(optimizer, **({"optimizer_idx": index} if LIGHTNING_1 else {}))
            made = self.discriminator(self.generator(torch.randn(len(real), 4)))
            loss = nn.functional.binary_cross_entropy_with_logits(made, torch.full_like(made, is_real))
            if optimizer is theirs:
                right = self.discriminator(real)
                loss = loss + nn.functional.binary_cross_entropy_with_logits(right, torch.ones_like(right))
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=0.5)
            optimizer.step()
            self.untoggle_optimizer(index if LIGHTNING_1 else optimizer)

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=1e-3) for part in (self.generator, self.discriminator)]


def remains(kind: type[pl.LightningModule], root: str, callbacks: list[Any], **how: Any) -> dict[str, Any]:
    """Weights, buffers, states of optimizers and of random generators behind a fit."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    pl.seed_everything(5)
    module = kind()
    t = trainer(
        callbacks=callbacks, max_epochs=-1, default_root_dir=Path(root), devices=world_size,
        strategy="ddp" if world_size > 1 else "auto", **{"max_steps": STEPS, **how},
    )  # fmt: skip
    t.fit(module, loader(40 * world_size, 8, shuffle=True))
    return {
        "weights": module.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in t.optimizers],
        "steps": t.global_step,
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state(), torch.rand(3)),
    }


def everything(**more: Any) -> dict[str, Any]:
    """Each option of GradientHistogram on at once."""
    return {
        "histograms": True, "weights": True, "moments": True, "updates": True, "activations": True,
        "on_nonfinite": "raise", "depth": 2, "max_overhead": 0.9, **more,
    }  # fmt: skip


def with_and_without(root: str) -> list[dict[str, Any]]:
    """On several processes: without, and with all options."""
    import lwcallbacks as lw

    how = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
    remains(Drops, f"{root}/first", [], max_steps=1)  # the first fit, which makes the process group, draws otherwise
    callback = lw.GradientHistogram(3, **everything(check_replicas=True))
    return [remains(Drops, f"{root}/{len(own)}", own, **how) for own in ([], [callback])]
