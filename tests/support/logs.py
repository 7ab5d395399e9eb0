"""A module that logs in every way, and runs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger

import lwcallbacks as lw

from .modules import CLASSES, Classifier, loader, trainer


class Logs(Classifier):
    """Logs in every way: by step, by epoch, both, by loader, with NaN, from the optimizer's hook, to the logger."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/batch", float(batch_idx))
        self.log("not/for/loggers", loss, logger=False)
        for logger in self.loggers:
            logger.log_metrics({"by/hand": float(batch_idx)}, step=self.global_step)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = super().validation_step(batch, batch_idx)
        self.log("val/loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val/nan": torch.tensor(float("nan")), "epoch_seen": float(self.current_epoch)})

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test/loss", super().validation_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), "interval": "step"}]


def fit(root: Path, logger: Any, *callbacks: Any, **kwargs: Any) -> pl.Trainer:
    torch.manual_seed(0)
    ours = lw.ConfusionMatrix(CLASSES, stages=("train", "val")), lw.GradientHistogram(every_n_train_steps=2)
    how = {"max_epochs": 2, "log_every_n_steps": 2, "accumulate_grad_batches": 2, "num_sanity_val_steps": 1}
    t = trainer(default_root_dir=root, logger=logger, callbacks=[*ours, *callbacks], **(how | kwargs))
    t.fit(Logs(), loader(), loader(20))
    return t


def fit_in_processes(root: str) -> None:
    fit(Path(root), CSVLogger(root), strategy="ddp", devices=2, accumulate_grad_batches=1)
