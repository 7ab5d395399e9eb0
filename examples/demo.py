"""Train a small CNN on handwritten digits with seven callbacks and an offline W&B run, then say what was logged.

    python examples/demo.py                       # or `make demo`, which also makes the environment
    python examples/demo.py --devices 2           # two processes (DDP)
    python examples/demo.py --task segmentation   # drawn shapes: also "multilabel" and "boxes"; `make demo TASK=boxes`

Everything is written below runs/demo, or runs/shapes/<task>; nothing is sent anywhere.
"""

import argparse
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from digits import loaders
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from shapes import parts
from summary import print_summary
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw

# All data is in memory: worker processes would only make it slower.
warnings.filterwarnings("ignore", message=".*does not have many workers")


class DigitClassifier(pl.LightningModule):
    """Plain Lightning code: nothing in it is there for the callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 7 * 7, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", F.cross_entropy(self(x), y), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("digits", "segmentation", "multilabel", "boxes"), default="digits")
    parser.add_argument("--devices", type=int, default=1, help="number of processes")
    parser.add_argument("--epochs", type=int, help="10 of digits and 8 of shapes, if left out")
    parser.add_argument("--output", type=Path, help="folder for everything that is written")
    parser.add_argument("--logger", choices=("wandb", "none"), default="wandb")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pl.seed_everything(args.seed)
    output = args.output or Path("runs/demo" if args.task == "digits" else f"runs/shapes/{args.task}")
    output.mkdir(parents=True, exist_ok=True)
    logger = False
    if args.logger == "wandb":
        logger = WandbLogger(mode="offline", project="lwcallbacks-demo", save_dir=output)
    # The same 64 samples for each optimizer step, or 32 pictures, however many processes share them.
    if args.task == "digits":
        module, (train_loader, val_loader), score = DigitClassifier(), loaders(batch_size=64 // args.devices), "val/acc"
        callbacks = [
            lw.ScalarMetrics({"acc": MulticlassAccuracy(num_classes=10)}),
            lw.ConfusionMatrix(num_classes=10, examples_per_cell=3),
            lw.Curves(num_classes=10, logits=True),
            lw.ImageMosaic(num_samples=32),
            lw.PredictionGrid(num_samples=32, select="hardest"),
            lw.GradientHistogram(every_n_train_steps=50),
            lw.CheckpointArtifact(),
        ]
    else:
        module, train_loader, val_loader, callbacks, score = parts(args.task, batch_size=32 // args.devices)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        max_epochs=args.epochs or (10 if args.task == "digits" else 8),
        logger=logger,
        log_every_n_steps=10 if args.task != "digits" else 50,
        default_root_dir=output,
        callbacks=[*callbacks, ModelCheckpoint(monitor=score, mode="min" if score == "val/loss" else "max")],
    )
    trainer.fit(module, train_loader, val_loader)
    if trainer.is_global_zero:
        print_summary(trainer, output, score)


if __name__ == "__main__":
    main()
