"""Small LightningModules and data sets, deterministic and fast."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 5


def images(n: int = 40, size: int = 8, seed: int = 0) -> TensorDataset:
    """n grey images float32 [1, size, size] in [0, 1], and labels int64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, size, size, generator=generator)
    return TensorDataset(x, torch.randint(0, CLASSES, (n,), generator=generator))


def loader(n: int = 40, batch_size: int = 8, **kwargs: Any) -> DataLoader:
    return DataLoader(images(n), batch_size=batch_size, **kwargs)


class Classifier(pl.LightningModule):
    """The plainest code: a step that returns the loss, and calls self(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))

    @classmethod
    def seeded(cls, seed: int = 0) -> Classifier:
        torch.manual_seed(seed)
        return cls()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Autoencoder(Classifier):
    """Squeezes an image of any number of channels through 4 numbers; logs its own loss."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        size = channels * 64
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(size, 4), nn.Linear(4, size), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).reshape(x.shape)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = nn.functional.mse_loss(self(batch[0]), batch[0])
        self.log("val_loss", loss)
        return loss


class Segmenter(Classifier):
    """A class for each pixel, by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Identity(), nn.Conv2d(1, CLASSES, 3, padding=1))


class Multilabel(Classifier):
    """Logits for any number of labels."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.training_step(batch, batch_idx)


def label_maps(n: int = 40) -> TensorDataset:
    """The grey images, with a class for each pixel, int64 [8, 8]."""
    x, _ = images(n).tensors
    return TensorDataset(x, (x[:, 0] * CLASSES).long())


def label_sets(n: int = 40) -> TensorDataset:
    """The grey images, with a 0 or 1 for each of the labels, int64 [CLASSES]."""
    x, _ = images(n).tensors
    return TensorDataset(x, (x[:, 0, 0, :CLASSES] > 0.6).long())


def trainer(**kwargs: Any) -> pl.Trainer:
    """A quiet Trainer on the CPU, without logger or checkpoints unless asked for."""
    quiet = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return pl.Trainer(**(quiet | kwargs))
