"""A program that uses one or both Lightning packages, to be run in a fresh interpreter.

    python -c "import lightning.pytorch; from support.packages import main; main()"

Prints one line of JSON: what each Trainer made of our callbacks, and the errors that mixtures of the packages gave.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.lightning import PACKAGE, PACKAGES, package_of

BEFORE = [name for name in PACKAGES if sys.modules.get(name) is not None]


def module_of(pl: Any) -> Any:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, y), "logits": logits}

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val/half", 0.5)
            return self.training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    return Module()


def trainer_of(pl: Any, **kwargs: Any) -> Any:
    quiet = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 2, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    return pl.Trainer(**(quiet | kwargs))


def loader() -> Any:
    torch.manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(10, 4), torch.arange(10) % 3), batch_size=4)


def fit(pl: Any) -> dict[str, Any]:
    """Fit with callbacks of ours, and a logger and a ModelCheckpoint of the Trainer's package: what they hold."""
    from torchmetrics.classification import MulticlassAccuracy

    directory = tempfile.mkdtemp(dir=".")
    callbacks = [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(3)}),
        matrix := lw.ConfusionMatrix(3, stages=("train", "val")),
        lw.ImageMosaic(num_samples=2, inputs=lambda outputs, batch: batch[0].reshape(-1, 1, 2, 2)),
        gradients := lw.GradientHistogram(1),
        artifact := lw.CheckpointArtifact(),
        best := pl.callbacks.ModelCheckpoint(monitor="val/acc", mode="max", save_top_k=-1, dirpath=directory),
    ]
    trainer = trainer_of(
        pl, callbacks=callbacks, logger=pl.loggers.CSVLogger(directory), enable_checkpointing=True, log_every_n_steps=1
    )
    trainer.fit(module_of(pl), loader(), loader())
    return {
        "base": package_of(matrix),
        "train": matrix.results["train"].tolist(),
        "val": matrix.results["val"].tolist(),
        "gradients": {name: int(bins.counts.sum()) for name, bins in gradients.results["train"].items()},
        "files": [path.rpartition("/")[2] for path in artifact.results["train"]],
        "best": float(best.best_model_score),
    }


def fit_replicas(pl: Any) -> list[list[int]]:
    """The confusion matrix of a fit in two replicas."""
    strategy = lw.DataParallelStrategy(replicas=2)
    trainer_of(pl, strategy=strategy, callbacks=[matrix := lw.ConfusionMatrix(3)]).fit(
        module_of(pl), loader(), loader()
    )
    return matrix.results["val"].tolist()


def stops_early(pl: Any, other: Any) -> int:
    """The epoch at which an EarlyStopping of the other package stops."""
    stopping = other.callbacks.EarlyStopping("val/half", patience=0)
    trainer = trainer_of(pl, callbacks=[lw.ConfusionMatrix(3), stopping], max_epochs=9)
    trainer.fit(module_of(pl), loader(), loader())
    return trainer.current_epoch


def error_of(pl: Any, module: Any = None, **kwargs: Any) -> str:
    """What a Trainer of the package `pl` raises when it is made or fits."""
    kwargs = {"callbacks": [lw.ConfusionMatrix(3)]} | kwargs
    try:
        trainer_of(pl, **kwargs).fit(module_of(pl) if module is None else module, loader(), loader())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def mixtures(pl: Any, other: Any) -> dict[str, Any]:
    class Mine(other.callbacks.ModelCheckpoint):
        pass

    checkpoint, mine = other.callbacks.ModelCheckpoint("."), Mine(".")
    return {
        "checkpoint": error_of(pl, callbacks=[lw.ConfusionMatrix(3), checkpoint]),
        "own checkpoint": error_of(pl, callbacks=[lw.CheckpointArtifact(), mine]),
        "logger": error_of(pl, logger=other.loggers.CSVLogger(".")),
        "module": error_of(pl, module_of(other)),
        "early stopping": stops_early(pl, other),
    }


def main() -> None:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = import_module(name)
        except ImportError:
            continue
    result: dict[str, Any] = {"package": PACKAGE, "imported": BEFORE, "installed": list(installed)}
    for name, pl in installed.items():
        result[name] = fit(pl)
        result[f"{name} replicas"] = (
            fit_replicas(pl) if name == PACKAGE else error_of(pl, strategy=lw.DataParallelStrategy(replicas=2))
        )
        for other_name, other in installed.items():
            if other_name != name:
                result[f"{other_name} in {name}"] = mixtures(pl, other)
    print(json.dumps(result))
