"""What all callbacks cost a run whose epochs last half a minute, beside the same run without callbacks.

    python benchmarks/long_epochs.py            # a table; about seven minutes
    python benchmarks/long_epochs.py --json     # one JSON object: name, ours, peer, ratio, units, versions

A convolutional network is trained on 5,120 random images of 3x64x64, ten classes, and validated on 1,280, on one
thread, with an offline W&B run and a checkpoint per epoch; each variant in a process of its own, in turns.

    ours    `lw.presets.classification(10)` and `ImageMosaic`: numbers per step and epoch, confusion matrix with heatmap
            and report, pictures and their table, gradient histograms, checkpoints as artifacts, and the local page
    peer    no callbacks

Per epoch, from the start of `Trainer.fit` until W&B has finished, so that the background counts, too:

    wall    seconds by the clock
    whole   seconds of processor time of all threads and of W&B's process
    short   the same as `whole` for a network that looks at its images shrunk to 8x8: it has the same parameters, steps
            and pictures, and an epoch lasts a second or two

A busy machine varies by more than callbacks cost. What they add is seen in `short`: `by_difference` is 1 + (ours -
peer, both short) / peer's `whole`, the ratio that there would be if nothing else varied.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
import warnings

from _common import cpu_seconds, measure, median_ratio, medians, options, report, versions

VARIANTS = ("peer", "ours")
SHORT = ("peer short", "ours short")
UNITS = {"whole": "s", "wall": "s", "short": "s"}


def network(shrunk: bool):
    """Five convolutions with normalisation, 0.3 million parameters, on images [N, 3, 64, 64]."""
    from torch import nn

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [
        nn.AvgPool2d(8 if shrunk else 1),
        *block(3, 32, 1),
        *block(32, 64, 2),
        *block(64, 64, 1),
        *block(64, 128, 2),
        *block(128, 128, 1),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def loaders(samples: int):
    """Random images and labels, a fifth of them for validation."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(samples + samples // 4, 3, 64, 64, generator=generator)
    data = TensorDataset(images, torch.randint(10, (len(images),), generator=generator))
    train = torch.utils.data.Subset(data, range(samples))
    val = torch.utils.data.Subset(data, range(samples, len(data)))
    return DataLoader(train, 32, shuffle=True, generator=generator), DataLoader(val, 64)


def run(variant: str, epochs: int, samples: int) -> dict[str, float]:
    """Train once in this process and return what it took."""
    os.environ["WANDB_MODE"] = "offline"
    os.environ.setdefault("WANDB_SILENT", "true")
    warnings.filterwarnings("ignore")
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.loggers import WandbLogger
    from torch import nn

    class Classifier(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network(variant in SHORT)

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            loss = nn.functional.cross_entropy(self(x), y)
            self.log("train/loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            x, y = batch
            self.log("val/loss", nn.functional.cross_entropy(self(x), y))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    torch.set_num_threads(1)
    pl.seed_everything(0)
    callbacks = []
    if variant.startswith("ours"):
        import lwcallbacks as lw

        callbacks = [*lw.presets.classification(10), lw.ImageMosaic(num_samples=32)]
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=WandbLogger(project="lwcallbacks-bench", save_dir="."),
        callbacks=[*callbacks, ModelCheckpoint()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model, data = Classifier(), loaders(samples)
    start, used = time.perf_counter(), cpu_seconds()
    trainer.fit(model, *data)
    trainer.logger.experiment.finish()
    return {"wall": (time.perf_counter() - start) / epochs, "whole": (cpu_seconds() - used) / epochs}


def main() -> None:
    parser = options(__doc__, repeats=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--samples", type=int, default=5120)
    parser.add_argument("--variant", choices=VARIANTS + SHORT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.epochs, args.samples = 1, 2, 64
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.epochs, args.samples)
        print(json.dumps(measured))
        return
    size = ("--epochs", str(args.epochs), "--samples", str(args.samples))
    runs = measure(__file__, VARIANTS + SHORT, args.repeats, *size)
    for variant in VARIANTS:
        for turn, short in zip(runs[variant], runs.pop(f"{variant} short"), strict=True):
            turn["short"] = short["whole"]
    turns = {key: {variant: [turn[key] for turn in runs[variant]] for variant in VARIANTS} for key in UNITS}
    result = {variant: medians(runs[variant]) for variant in VARIANTS}
    added = statistics.median(a - b for a, b in zip(turns["short"]["ours"], turns["short"]["peer"], strict=True))
    ratio = {quantity: round(median_ratio(times, "ours", "peer"), 4) for quantity, times in turns.items()}
    difference = {"by_difference": round(1 + added / result["peer"]["whole"], 4)}
    about = {"repeats": args.repeats, "epochs": args.epochs, "samples": args.samples, "versions": versions()}
    about |= {**difference, "turns": turns}
    report({"name": "long_epochs", **result, "ratio": ratio, "units": UNITS, **about}, args.json)
    if not args.json:
        print(f"\n  by difference: {added:.2f} s an epoch, ratio {difference['by_difference']}")


if __name__ == "__main__":
    main()
