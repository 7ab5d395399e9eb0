"""What the six callbacks cost in the demo: time per epoch and peak memory, beside none and beside hand-written ones.

    python benchmarks/demo_overhead.py            # a table; a few minutes
    python benchmarks/demo_overhead.py --json     # one JSON object: name, ours, peer, none, ratio, units, versions

All variants train the demo's network on the demo's digits from the same seed, with an offline W&B run and a checkpoint
per epoch. Time per epoch is that of `Trainer.fit` from the first batch to its return, so that what is written in the
background counts too, divided by the epochs; `cpu` is the processor time of all threads and of W&B's process, divided
alike; peak memory is that of the training process.

    none    no callbacks
    ours    the six callbacks, as in examples/demo.py
    peer    the same things logged as tutorials do it: a W&B image per sample, raw labels kept over the epoch for
            wandb.plot.confusion_matrix, wandb.watch for gradients, WandbLogger(log_model=True) for checkpoints

Ours also writes the local page, a heatmap, a report per class and gradient norms, which the peer does not.
"""

import argparse
import contextlib
import json
import os
import sys
import time
import warnings

from _common import EXAMPLES, cpu_seconds, measure, medians, options, peak_memory_mib, report, versions

VARIANTS = ("none", "ours", "peer")
UNITS = {"epoch": "s", "cpu": "s", "peak_memory": "MiB"}


def our_callbacks():
    """The six callbacks of the demo."""
    from torchmetrics.classification import MulticlassAccuracy

    import lwcallbacks as lw

    return [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(num_classes=10)}),
        lw.ConfusionMatrix(num_classes=10),
        lw.ImageMosaic(num_samples=32),
        lw.PredictionGrid(num_samples=32),
        lw.GradientHistogram(every_n_train_steps=50),
        lw.CheckpointArtifact(),
    ]


def peer_callbacks():
    """The same things, the way they are usually written by hand."""
    import pytorch_lightning as pl
    import torch
    import wandb
    from torchmetrics.classification import MulticlassAccuracy

    class HandWritten(pl.Callback):
        def setup(self, trainer, pl_module, stage):
            self.train_acc, self.val_acc = MulticlassAccuracy(num_classes=10), MulticlassAccuracy(num_classes=10)
            self.preds, self.targets, self.images = [], [], []
            self.forward = pl_module.register_forward_hook(lambda module, args, output: setattr(self, "logits", output))
            trainer.logger.experiment.watch(pl_module, log="gradients", log_freq=50)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            step = self.train_acc(self.logits.detach(), batch[1])
            pl_module.log("train/acc_step", step)

        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.log("train/acc_epoch", self.train_acc.compute())
            self.train_acc.reset()

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            x, y = batch
            self.val_acc.update(self.logits, y)
            self.preds.append(self.logits.argmax(1))
            self.targets.append(y)
            if batch_idx == 0:
                self.images = list(zip(x[:32], self.logits[:32].softmax(1), y[:32], strict=True))

        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("val/acc", self.val_acc.compute())
            if not trainer.sanity_checking:
                preds, targets = torch.cat(self.preds).tolist(), torch.cat(self.targets).tolist()
                names = [str(i) for i in range(10)]
                rows = [[wandb.Image(x), int(p.argmax()), int(y), float(p.max())] for x, p, y in self.images]
                media = {
                    "val/mosaic": [wandb.Image(x) for x, _, _ in self.images],
                    "val/predictions": [
                        wandb.Image(x, caption=f"Pred: {int(p.argmax())}, Label: {int(y)}") for x, p, y in self.images
                    ],
                    "val/predictions_table": wandb.Table(["image", "pred", "target", "confidence"], rows),
                    "val/confusion_matrix": wandb.plot.confusion_matrix(preds=preds, y_true=targets, class_names=names),
                }
                trainer.logger.log_metrics(media, step=trainer.global_step)
            self.val_acc.reset()
            self.preds, self.targets, self.images = [], [], []

        def teardown(self, trainer, pl_module, stage):
            self.forward.remove()
            trainer.logger.experiment.unwatch(pl_module)

    return [HandWritten()]


def run(variant: str, epochs: int) -> dict[str, float]:
    """Train once in this process and return what it took."""
    os.environ["WANDB_MODE"] = "offline"  # the way round: WandbLogger refuses log_model=True with offline=True
    os.environ.setdefault("WANDB_SILENT", "true")
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(EXAMPLES))
    import pytorch_lightning as pl
    from demo import DigitClassifier
    from digits import loaders
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.loggers import WandbLogger

    class Clock(pl.Callback):
        start = cpu = 0.0

        def on_train_start(self, trainer, pl_module):
            self.start, self.cpu = time.perf_counter(), cpu_seconds()

    pl.seed_everything(0)
    train_loader, val_loader = loaders()
    callbacks = {"none": list, "ours": our_callbacks, "peer": peer_callbacks}[variant]()
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=WandbLogger(project="lwcallbacks-bench", save_dir=".", log_model=variant == "peer"),
        callbacks=[clock, *callbacks, ModelCheckpoint(monitor="val/loss", mode="min")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(DigitClassifier(), train_loader, val_loader)
    took = time.perf_counter() - clock.start
    trainer.logger.experiment.finish()
    return {"epoch": took / epochs, "cpu": (cpu_seconds() - clock.cpu) / epochs, "peak_memory": peak_memory_mib()}


def main() -> None:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.epochs = 1, 2
    if args.variant:
        with contextlib.redirect_stdout(sys.stderr):
            measured = run(args.variant, args.epochs)
        print(json.dumps(measured))
        return
    runs = measure(__file__, VARIANTS, args.repeats, "--epochs", str(args.epochs))
    result = {variant: medians(runs[variant]) for variant in VARIANTS}
    ratio = {quantity: round(result["ours"][quantity] / result["peer"][quantity], 3) for quantity in UNITS}
    to_none = {quantity: round(result["ours"][quantity] / result["none"][quantity], 3) for quantity in UNITS}
    about = {"repeats": args.repeats, "epochs": args.epochs, "versions": versions()}
    report(
        {"name": "demo_overhead", **result, "ratio": ratio, "ratio_to_none": to_none, "units": UNITS, **about},
        args.json,
    )


if __name__ == "__main__":
    main()
