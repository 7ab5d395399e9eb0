"""Accuracy at the end of a step and at the end of an epoch, from steps that return a dict.

The classic way keeps a metric in the module, updates it in `training_step_end` and logs `compute()` in
`training_epoch_end`. Here a step returns what it saw and one callback does the rest:

    train/acc_step     this step's batch, at the trainer's logging cadence
    train/acc_epoch    all samples of the epoch
    val/acc            all samples of the validation set

    python examples/step_and_epoch.py
"""

import argparse
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from digits import loaders
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

warnings.filterwarnings("ignore", message=".*does not have many workers")


class Perceptron(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        preds = self.net(inputs)
        loss = F.cross_entropy(preds, targets)
        return {"loss": loss, "preds": preds, "targets": targets}

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/step_and_epoch"))
    args = parser.parse_args()

    pl.seed_everything(0)
    logger = CSVLogger(args.output)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        logger=logger,
        log_every_n_steps=10,
        # torchmetrics averages over classes unless told to average over samples.
        callbacks=[lw.ScalarMetrics({"acc": MulticlassAccuracy(num_classes=10, average="micro")})],
    )
    trainer.fit(Perceptron(), *loaders())
    for key in ("train/acc_epoch", "val/acc"):
        print(f"{key:16} {float(trainer.callback_metrics[key]):.3f}")
    print(f"every step that was logged: {Path(logger.log_dir) / 'metrics.csv'}")


if __name__ == "__main__":
    main()
