"""Train an autoencoder on handwritten digits and watch what it makes of 32 of them: output on top, input below.

    python examples/autoencoder.py

Then open the page that it names at the end and move the bar at its top.
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
from torchmetrics.regression import MeanSquaredError

import lwcallbacks as lw

warnings.filterwarnings("ignore", message=".*does not have many workers")


class Autoencoder(pl.LightningModule):
    """Squeezes 28 x 28 pixels through 16 numbers."""

    def __init__(self, bottleneck: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, bottleneck))
        self.decoder = nn.Sequential(nn.Linear(bottleneck, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid())

    def forward(self, x):
        return self.decoder(self.encoder(x)).reshape(x.shape)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        return F.mse_loss(self(x), x)

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        self(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("runs/autoencoder"))
    args = parser.parse_args()

    pl.seed_everything(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        logger=CSVLogger(args.output),
        callbacks=[
            lw.ImageMosaic(num_samples=32),
            # The image is its own target: targets= takes a key, an index or a function of the batch.
            lw.ScalarMetrics({"mse": MeanSquaredError()}, targets=0),
        ],
    )
    trainer.fit(Autoencoder(), *loaders())
    print(f"\nError per pixel on the validation set: {float(trainer.callback_metrics['val/mse']):.4f}")
    pages = sorted(args.output.rglob("media/index.html"), key=lambda page: page.stat().st_mtime)
    print(f"Local page  {pages[-1].resolve()}")


if __name__ == "__main__":
    main()
