"""A module that makes images, and a function that asks it for six, for tests in processes of their own."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

import lwcallbacks as lw

from .modules import loader, trainer


class Generator(pl.LightningModule):
    """A generator with dropout and batch norm, whose training draws random numbers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 64), nn.Sigmoid())
        self.frozen = nn.BatchNorm1d(2)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.frozen.eval()

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.net(noise).reshape(-1, 1, 8, 8)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        drawn = random.random() + np.random.default_rng(0).random() + float(np.random.rand())
        return nn.functional.mse_loss(self(torch.randn(len(batch[0]), 4)), batch[0]) * (1 + drawn)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


CALLS: list[dict[str, Any]] = []


def six(module: Any) -> torch.Tensor:
    """Six images of noise that is drawn from all random states."""
    noise = torch.randn(6, 4) + random.random() + float(np.random.rand())
    CALLS.append({"training": module.training, "frozen": module.frozen.training, "grad": torch.is_grad_enabled()})
    return module(noise)


def made(root: str) -> list[Any]:
    """Fit under DDP: on how many processes the function was called, and what they hold."""
    CALLS.clear()
    torch.manual_seed(0)
    mosaic = lw.ImageMosaic(2, sample=six, stages=("train",))
    module = Generator()
    module.frozen = nn.Identity()
    trainer(callbacks=[mosaic], devices=2, strategy="ddp", default_root_dir=root).fit(module, loader(24))
    return [len(CALLS), list(mosaic.results), [tuple(v.shape) for v in module.state_dict().values()]]
