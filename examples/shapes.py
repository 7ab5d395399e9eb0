"""Find circles, squares and triangles in noisy pictures: where they are, or which there are.

    python examples/shapes.py
    python examples/shapes.py --task multilabel

The data is drawn here, so nothing is downloaded. Open the page that it names at the end and move the slider.
"""

import argparse
import math
import warnings
from itertools import pairwise
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw

warnings.filterwarnings("ignore", message=".*does not have many workers")

CLASSES = ("background", "circle", "square", "triangle")
SIZE = 48


def shapes(n: int, seed: int) -> TensorDataset:
    """n pictures float32 [3, 48, 48] in [0, 1] with up to four shapes, and the class of each pixel, int64 [48, 48]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = 0.25 + 0.15 * torch.rand(n, 3, SIZE, SIZE, generator=generator)
    masks = torch.zeros(n, SIZE, SIZE, dtype=torch.int64)
    for image, mask in zip(images, masks, strict=True):
        for _ in range(int(torch.randint(1, 5, (), generator=generator))):
            label = int(torch.randint(1, len(CLASSES), (), generator=generator))
            radius = float(torch.randint(6, 11, (), generator=generator))
            top, left = (torch.randint(8, SIZE - 8, (2,), generator=generator)).tolist()
            dy, dx = y - top, x - left
            inside = {
                1: dy**2 + dx**2 <= radius**2,
                2: torch.maximum(dy.abs(), dx.abs()) <= radius * 0.8,
                3: (dy <= radius / 2) & (dx.abs() * math.sqrt(3) <= dy + radius),
            }[label]
            colour = 0.3 + 0.7 * torch.rand(3, 1, generator=generator)
            image[:, inside] = colour + 0.1 * torch.randn(3, int(inside.sum()), generator=generator)
            mask[inside] = label
    return TensorDataset(images.clamp(0, 1), masks)


class Segmenter(pl.LightningModule):
    """Scores for each pixel, from its surroundings at three sizes."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = (3, width, width, width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(sizes)
        )
        self.head = nn.Conv2d(3 * width, len(CLASSES), 3, padding=1)

    def forward(self, x):
        size, seen = x.shape[-2:], []
        for layer in self.down:
            x = layer(x)
            seen.append(F.interpolate(x, size, mode="bilinear"))
            x = F.max_pool2d(x, 2)
        return self.head(torch.cat(seen, dim=1))

    def loss(self, preds, targets):
        return F.cross_entropy(preds, targets)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", self.loss(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


class Tagger(Segmenter):
    """A logit for each shape: that of the pixel which looks most like it."""

    def forward(self, x):
        return super().forward(x)[:, 1:].amax(dim=(2, 3))

    def loss(self, preds, targets):
        return F.binary_cross_entropy_with_logits(preds, targets.float())


def tags(data: TensorDataset) -> TensorDataset:
    """The same pictures, with a 0 or 1 for each shape, int64 [3]."""
    images, masks = data.tensors
    return TensorDataset(images, torch.stack([(masks == c).any(2).any(1) for c in range(1, len(CLASSES))], 1).long())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("segmentation", "multilabel"), default="segmentation")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("runs/shapes"))
    args = parser.parse_args()

    pl.seed_everything(0)
    train, val = shapes(800, seed=0), shapes(200, seed=1)
    if args.task == "segmentation":
        module, score = Segmenter(), "val/iou"
        callbacks = lw.presets.segmentation(len(CLASSES), CLASSES, every_n_train_steps=25)
    else:
        module, score, train, val = Tagger(), "val/f1", tags(train), tags(val)
        callbacks = lw.presets.multilabel(len(CLASSES) - 1, CLASSES[1:], logits=True, every_n_train_steps=25)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=args.epochs,
        logger=CSVLogger(args.output, args.task),
        log_every_n_steps=10,
        callbacks=callbacks,
    )
    trainer.fit(module, DataLoader(train, 32, shuffle=True), DataLoader(val, 32))
    print(f"\n{score}  {float(trainer.callback_metrics[score]):.3f}")
    pages = sorted(args.output.rglob("media/index.html"), key=lambda page: page.stat().st_mtime)
    print(f"Local page  {pages[-1].resolve()}")


if __name__ == "__main__":
    main()
