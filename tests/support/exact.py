"""A classifier whose numbers are small fractions of 32: any precision, strategy and order of sums gives the same bits.

`run` trains and evaluates it with callbacks; what to expect is worked out by a plain loop in the test.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

from .modules import CLASSES, trainer
from .versions import PRECISIONS

SIZE = 44
BATCH = 8
EPOCHS = 2
STAGES = ("train", "val", "test", "predict")

_generator = torch.Generator().manual_seed(3)
STEP = torch.randint(-1, 2, (CLASSES, 16), generator=_generator) / 4
"""What each step of the optimizer takes away from the weight, whatever the batch."""
WEIGHT = 6 * STEP + torch.randint(-1, 2, (CLASSES, 16), generator=_generator)
BIAS = torch.arange(CLASSES) / 32  # so that no two scores are the same


def data(stage: str) -> TensorDataset:
    """Images float32 [44, 1, 4, 4] with two white pixels on black, and labels."""
    generator = torch.Generator().manual_seed(STAGES.index(stage))
    x = torch.zeros(SIZE, 16)
    for image in x:
        image[torch.randperm(16, generator=generator)[:2]] = 1.0
    return TensorDataset(x.reshape(SIZE, 1, 4, 4), torch.randint(0, CLASSES, (SIZE,), generator=generator))


class Exact(pl.LightningModule):
    """Its gradient is STEP for every batch, so that the weights do not depend on how the loss is averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(16, CLASSES)
        self.register_buffer("step", STEP.clone())
        with torch.no_grad():
            self.net.weight.copy_(WEIGHT)
            self.net.bias.copy_(BIAS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.flatten(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return (self.net.weight * self.step).sum() + 0 * self(batch[0]).float().sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def predict_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


LOGGERS: dict[str, Callable[[Path], Any]] = {
    "none": lambda root: False,
    "csv": lambda root: CSVLogger(root),
    "tensorboard": lambda root: TensorBoardLogger(root),
    "wandb": lambda root: WandbLogger(mode="offline", save_dir=root),
    "mlflow": lambda root: MLFlowLogger(tracking_uri=f"sqlite:///{root.parent}/mlflow.db", run_name=root.name),
    "several": lambda root: [CSVLogger(root), TensorBoardLogger(root)],
}


def run(root: str, logger: str, strategy: str, precision: str) -> dict[str, Any]:
    """Fit, validate, test and predict with all callbacks; what they hold, and what Lightning has logged.

    A database for MLflow, if that is the logger, is in `root` as mlflow.db.
    """
    folder = Path(root, f"{logger}-{strategy}-{precision}")
    folder.mkdir(exist_ok=True)  # W&B writes elsewhere where its folder is not there, and Lightning 1 does not make it
    callbacks = [
        metrics := lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}),
        matrix := lw.ConfusionMatrix(CLASSES, stages=STAGES),
        mosaic := lw.ImageMosaic(6, stages=STAGES),
        grid := lw.PredictionGrid(6, stages=STAGES),
        lw.GradientHistogram(4),
    ]
    strategies = {"single": ("auto", 1), "dp": (lw.DataParallelStrategy(replicas=2), 1), "ddp": ("ddp", 2)}
    plan, devices = strategies[strategy]
    t = trainer(
        logger=LOGGERS[logger](folder), strategy=plan, devices=devices, callbacks=callbacks,
        precision=PRECISIONS.get(precision, precision), max_epochs=EPOCHS,
        log_every_n_steps=1, default_root_dir=folder, num_sanity_val_steps=1,
    )  # fmt: skip
    loaders = {stage: DataLoader(data(stage), BATCH // devices) for stage in STAGES}
    if strategy == "ddp":
        # Lightning's own would shuffle what is trained with, and a plain loop could not tell in which order.
        shares = DistributedSampler(data("train"), devices, int(os.environ["RANK"]), shuffle=False)
        loaders["train"] = DataLoader(data("train"), BATCH // devices, sampler=shares)
    module = Exact()
    world_size = os.environ.get("WORLD_SIZE")
    logged: dict[str, float] = {}
    for go in (
        lambda: t.fit(module, loaders["train"], loaders["val"]),
        lambda: t.validate(module, loaders["val"], verbose=False),
        lambda: t.test(module, loaders["test"], verbose=False),
        lambda: t.predict(module, loaders["predict"], return_predictions=False),
    ):
        if world_size is not None:
            os.environ["WORLD_SIZE"] = world_size  # Lightning takes it away after a run
        go()
        logged |= {key: float(value) for key, value in t.callback_metrics.items()}
    if logger == "wandb" and t.is_global_zero:
        t.logger.experiment.finish()
    return {
        "matrix": matrix.results,
        "acc": {stage: float(value["acc"]) for stage, value in metrics.results.items()},
        "logged": logged,
        "ids": {stage: chosen.ids for stage, chosen in mosaic.results.items()},
        "shown": {stage: chosen.payload for stage, chosen in grid.results.items()},
        "folder": folder,
    }


def run_all(root: str, rows: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """`run` for several rows in one process."""
    return [run(root, *row) for row in rows]
