"""A small training for several processes, started by somebody else: torchrun, srun or Ray.

    torchrun --nproc-per-node 2 examples/engines/train.py --devices 2

Nothing in it is there for the callbacks, and nothing for the engine but `--devices` (processes per node) and
`--num-nodes`. There are 1,001 samples, so that processes get unequal shares and the sampler has to repeat some; what
is logged still counts each sample once.
"""

import argparse
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

try:  # the one that Ray's integration takes, where both are installed
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import CSVLogger
except ImportError:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import CSVLogger

import lwcallbacks as lw

# All data is in memory: worker processes would only make it slower.
warnings.filterwarnings("ignore", message=".*does not have many workers")

NUM_SAMPLES = 1001


def loader(batch_size: int = 32, **kwargs) -> DataLoader:
    """Noisy images float32 [1, 8, 8] in [0, 1] with a bright row, which is the label."""
    x = torch.rand(NUM_SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    y = torch.arange(NUM_SAMPLES) % 8
    x[torch.arange(NUM_SAMPLES), 0, y] += 0.5
    return DataLoader(TensorDataset(x, y), batch_size, **kwargs)


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        self(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def callbacks() -> list[pl.Callback]:
    return [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(num_classes=8, average="micro")}),
        lw.ConfusionMatrix(num_classes=8, stages=("train", "val")),
        lw.ImageMosaic(num_samples=16),
        lw.GradientHistogram(every_n_train_steps=10),
        lw.CheckpointArtifact(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1, help="processes on each node")
    parser.add_argument("--num-nodes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/engines"), help="on a disk that process 0 can write to"
    )
    args = parser.parse_args()

    pl.seed_everything(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        strategy="ddp",
        devices=args.devices,
        num_nodes=args.num_nodes,
        max_epochs=args.epochs,
        logger=CSVLogger(args.output),
        default_root_dir=args.output,
        log_every_n_steps=10,
        enable_progress_bar=False,
        callbacks=callbacks(),
    )
    trainer.fit(Classifier(), loader(shuffle=True), loader())


if __name__ == "__main__":
    main()
