"""What real processes do in tests; each function runs in every process and returns something picklable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MaxMetric, MinMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

import lwcallbacks as lw
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.reductions import ConfusionCounts, Derived, macro_f1
from lwcallbacks.state import link

from .modules import CLASSES, Autoencoder, Classifier, Segmenter, images, label_maps, loader, trainer
from .shelf import Disk, ShelfLogger


def validate(n: int, batch_size: int, root: str) -> dict[str, Any]:
    """Validate fixed weights over n samples under DDP; what the callbacks hold on this process."""
    torch.manual_seed(0)
    callbacks = [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}),
        matrix := lw.ConfusionMatrix(CLASSES),
        mosaic := lw.ImageMosaic(num_samples=4),
        grid := lw.PredictionGrid(num_samples=4),
    ]
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=callbacks, devices=world_size, strategy=strategy, default_root_dir=root)
    [logged] = t.validate(Classifier(), loader(n, batch_size), verbose=False)
    chosen = mosaic.results["val"]
    return {
        "matrix": matrix.results["val"],
        "acc": logged["val/acc"],
        "ids": chosen.ids,
        "pixels": chosen.payload[0] if chosen.payload else None,
        "grid": grid.results["val"].ids,
    }


class Ready(Classifier):
    """The inputs are the scores: no arithmetic of a model's depends on the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self(batch[0])


def curves(n: int, batch_size: int, shuffle: bool, root: str) -> dict[str, Any]:
    """What `Curves` holds of n samples with ready scores, under DDP where there are several processes."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(CLASSES, (n,), generator=generator)
    scores = torch.randn(n, CLASSES, generator=generator) * 3 + torch.nn.functional.one_hot(targets, CLASSES)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    strategy = "ddp" if world_size > 1 else "auto"
    callback = lw.Curves(CLASSES)
    t = trainer(callbacks=[callback], devices=world_size, strategy=strategy, default_root_dir=root)
    torch.manual_seed(world_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about shuffling
        t.validate(Ready(), DataLoader(TensorDataset(scores, targets), batch_size, shuffle=shuffle), verbose=False)
    return callback.results["val"]


def validate_preset(name: str, n: int, root: str) -> dict[str, Any]:
    """Validate fixed weights with a preset over n samples: what is logged, and which samples are shown."""
    torch.manual_seed(0)
    module, data, callbacks = {
        "segmentation": (Segmenter, label_maps, lw.presets.segmentation(CLASSES)),
        "reconstruction": (Autoencoder, images, lw.presets.reconstruction()),
    }[name]
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=callbacks, devices=world_size, strategy=strategy, default_root_dir=root)
    [logged] = t.validate(module(), DataLoader(data(n), 8), verbose=False)
    chosen = next(c.results["val"] for c in callbacks if isinstance(c, (lw.MaskGrid, lw.ImageMosaic)))
    logged.pop("val_loss", None)
    return {"logged": dict(logged), "ids": chosen.ids.tolist()}


class Resumable:
    """Batches of 4 of the samples 0 to n - 1, dealt to the processes in turn; goes on where its state says.

    Its length is the most that an epoch can have, with one process: Lightning fixes an epoch's number of batches before
    it loads a loader's state, and without a length it would fetch one batch ahead of what the state says.
    """

    def __init__(self, n: int) -> None:
        self.data = images(n)
        self.position = 0

    def __len__(self) -> int:
        return -(-len(self.data) // 4)

    def __iter__(self) -> Any:
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        while self.position < len(self.data):
            chunk = range(self.position, min(self.position + 4 * world_size, len(self.data)))
            self.position = chunk.stop
            indices = chunk[rank::world_size]
            yield tuple(t[indices.start : indices.stop : indices.step] for t in self.data.tensors)
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Fixed(Classifier):
    """Trains without changing, so that what is counted does not depend on how training is split."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Stop(pl.Callback):
    """Save after a number of batches and end the process's run there, as a kill would."""

    def __init__(self, after: int, path: str) -> None:
        self.after = after
        self.path = path

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == self.after:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def train(
    n: int,
    root: str,
    checkpoint: str | None = None,
    stop_after: int | None = None,
    extra: Sequence[pl.Callback] = (),
    logger: Any = False,
) -> dict[str, Any]:
    """One epoch over n samples with fixed weights: from a checkpoint, or until one is saved."""
    torch.manual_seed(0)
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
    mosaic = lw.ImageMosaic(num_samples=4, stages=("train",))
    acc, auroc = MulticlassAccuracy(CLASSES, average="micro"), MulticlassAUROC(CLASSES)
    # f1 shares the matrix's state, and both save it.
    metrics = lw.ScalarMetrics({"acc": acc, "auroc": auroc, "f1": Derived(ConfusionCounts(CLASSES), macro_f1)})
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    callbacks = [matrix, mosaic, metrics, *extra]
    if stop_after is not None:
        callbacks.append(Stop(stop_after, f"{root}/stopped.ckpt"))
    t = trainer(
        callbacks=callbacks, devices=world_size, strategy="ddp" if world_size > 1 else "auto", default_root_dir=root,
        logger=logger,
    )  # fmt: skip
    loader = Resumable(n)
    try:
        t.fit(Fixed(), loader, ckpt_path=checkpoint)
    except (KeyboardInterrupt, SystemExit):
        return {}
    if stop_after is not None:  # Lightning before 2.3 lets `fit` return
        return {}
    chosen = mosaic.results["train"]
    return {
        "matrix": matrix.results["train"],
        "acc": metrics.results["train"]["acc"],
        "auroc": metrics.results["train"]["auroc"],
        "f1": metrics.results["train"]["f1"],
        "ids": chosen.ids,
        "pixels": chosen.payload[0] if chosen.payload else None,
    }


class Requeued(pl.Callback):
    """Get SLURM's signal after a number of batches, if any, and be killed a batch later."""

    def __init__(self, after: int | None) -> None:
        self.after = after
        self.num_batches = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.num_batches += 1
        if self.num_batches == self.after:
            os.kill(os.getpid(), signal.SIGUSR1)
        elif self.after is not None and self.num_batches > self.after:
            raise KeyboardInterrupt


def slurm_job(n: int, root: str, path: str, signal_after: int | None) -> dict[str, Any]:
    """`train` as a task of srun, on one node, and the number of batches; `path` leads to scontrol."""
    rank, world_size = os.environ["RANK"], os.environ["WORLD_SIZE"]
    os.environ.update(
        PATH=path, SLURM_JOB_ID="1234", SLURM_JOB_NAME="job", SLURM_NNODES="1", SLURM_NODEID="0", SLURM_PROCID=rank,
        SLURM_LOCALID=rank, SLURM_NTASKS=world_size, SLURM_NTASKS_PER_NODE=world_size,
    )  # fmt: skip
    requeued = Requeued(signal_after)
    return train(n, root, extra=[requeued]) | {"batches": requeued.num_batches}


def leave() -> None:
    """End the process group together. In torch 2.4 that may hang: there the end of the process has to do."""
    dist.barrier()
    if hasattr(torch, "accelerator"):  # torch 2.6 and newer
        dist.destroy_process_group()


def saves_alone() -> tuple[float, dict[str, Any]]:
    """Process 0 alone asks everyone_comes, then both do; how long it took and the answers."""

    from lwcallbacks.state.link import everyone_comes

    dist.init_process_group("gloo")
    start = time.monotonic()
    answers = {}
    if dist.get_rank() == 0:
        answers["alone"] = everyone_comes("first", timeout=1.0)
    answers["together"] = everyone_comes("second", timeout=20.0)
    # The one that comes late to the first occasion is told what was decided.
    answers["late"] = everyone_comes("first", timeout=20.0)
    took = time.monotonic() - start
    leave()
    return took, answers


Call = tuple[str, str, tuple[int, ...]]


def recording() -> list[Call]:
    """From now on, list each collective that this process takes part in: operation, dtype and shape."""
    calls: list[Call] = []
    names = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "gather", "reduce", "send", "recv")

    def recorded(name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            tensor = args[0][0] if isinstance(args[0], list) else args[0]
            calls.append((name, str(tensor.dtype), tuple(tensor.shape)))
            return original(*args, **kwargs)

        return call

    for name in names:
        setattr(dist, name, recorded(name, getattr(dist, name)))
    barrier = dist.barrier
    dist.barrier = lambda *args, **kwargs: (calls.append(("barrier", "", ())), barrier(*args, **kwargs))[1]
    return calls


def collectives_of_sync(states: int) -> list[Call]:
    """Sync that many states, where process 0 saw no data at all."""
    from lwcallbacks.reductions import ConfusionCounts, ExactMean, Extrema, RandomSample

    dist.init_process_group("gloo")
    calls = recording()
    core = lw.StateCore({"sample": RandomSample(3)})
    for i in range(states):
        core.register(f"c{i}", ConfusionCounts(3))
        core.register(f"m{i}", ExactMean())
        core.register(f"e{i}", Extrema())
    if rank := dist.get_rank():
        ids = torch.arange(rank, 9, 3)
        core.update({"sample": (ids, ids + 0.5)})
    core.epoch_end()
    seen = list(calls)
    leave()
    return seen


NUM_ORDERS = 120
LOGGERS = ("none", "csv", "tensorboard", "wandb", "several")


def collectives_of_fits(root: str, logger: str, orders: Sequence[int], n: int) -> list[tuple[list[Call], torch.Tensor]]:
    """Fit and validate under DDP, once for each order of the callbacks; n validation samples."""
    from itertools import permutations

    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

    makers = {
        "none": lambda: False,
        "csv": lambda: CSVLogger(root),
        "tensorboard": lambda: TensorBoardLogger(root),
        "wandb": lambda: WandbLogger(mode="offline", save_dir=root),
        "several": lambda: [CSVLogger(root), TensorBoardLogger(root)],
    }
    world_size = os.environ["WORLD_SIZE"]
    calls = recording()
    seen = []
    for order in orders:
        torch.manual_seed(0)
        os.environ["WORLD_SIZE"] = world_size  # Lightning takes it away after a run
        callbacks = [
            lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES), "auroc": MulticlassAUROC(CLASSES)}),
            matrix := lw.ConfusionMatrix(CLASSES, stages=("train", "val")),
            lw.ImageMosaic(num_samples=4),
            lw.PredictionGrid(num_samples=4),
            lw.GradientHistogram(2),
        ]
        arranged = list(permutations(callbacks))
        assert len(arranged) == NUM_ORDERS
        t = trainer(
            callbacks=list(arranged[order]), devices=int(world_size), strategy="ddp", default_root_dir=root,
            logger=makers[logger](), log_every_n_steps=1, num_sanity_val_steps=1,
        )  # fmt: skip
        t.fit(Classifier(), loader(40, 4), loader(n, 4))
        if logger == "wandb" and t.is_global_zero:
            t.logger.experiment.finish()
        seen.append((list(calls), matrix.results["val"]))
        calls.clear()
    return seen


def uneven_shares(shares: list[list[int]]) -> dict[str, Any]:
    """Each process counts and chooses among samples of its own, possibly none; the values that it gets."""
    from lwcallbacks.reductions import ConfusionCounts, ExactMean, TopK

    dist.init_process_group("gloo")
    core = lw.StateCore(
        {
            "c": ConfusionCounts(CLASSES),
            "m": ExactMean(),
            "t": TopK(3),
            "a": MulticlassAccuracy(CLASSES),
            "low": MinMetric(),
            "high": MaxMetric(),
            "roc": MulticlassAUROC(CLASSES),
        }
    )
    x, y = images(40).tensors
    for i in shares[dist.get_rank()]:
        preds = x[i : i + 1, 0, 0, :CLASSES]
        score, label = preds[:, 0], y[i : i + 1]
        core.update(
            {
                "c": (preds, label),
                "m": (score,),
                "t": (score, torch.tensor([i]), preds),
                "a": (preds, label),
                "low": (score,),
                "high": (score,),
                "roc": (preds, label),
            }
        )
    values = core.epoch_end()
    leave()
    return {
        "c": values["c"], "m": values["m"], "a": values["a"], "ids": values["t"].ids, "payload": values["t"].payload,
        "low": values["low"], "high": values["high"], "roc": values["roc"],
    }  # fmt: skip


def under_fabric(shares: list[list[int]]) -> tuple[torch.Tensor, float]:
    """A StateCore in a Fabric loop over DDP: the matrix and the mean on this process."""
    from lightning_fabric import Fabric

    from lwcallbacks.reductions import ConfusionCounts, ExactMean

    fabric = Fabric(accelerator="cpu", devices=len(shares), strategy="ddp")
    fabric.launch()
    core = lw.StateCore({"c": ConfusionCounts(CLASSES), "m": ExactMean()})
    x, y = images(40).tensors
    for i in shares[fabric.global_rank]:
        preds = x[i : i + 1, 0, 0, :CLASSES]
        core.step_end(c=(preds, y[i : i + 1]), m=(preds[:, 0],))
    values = core.epoch_end()
    return values["c"], values["m"]


def one_fails() -> tuple[dict[Any, Any], str]:
    """The update of one entry fails on process 1; the values and the warning on this process."""
    from lwcallbacks.reductions import ExactMean

    dist.init_process_group("gloo")
    core = lw.StateCore({"mean": ExactMean(), "other": ExactMean()})
    core.step_end(mean=(torch.ones(3),), other=(torch.ones(3),))
    if dist.get_rank() == 1:
        core.fail("mean", ValueError("labels of another shape"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = core.epoch_end()
    leave()
    return values, str(caught[0].message)


def calls_of_a_fit() -> tuple[int, int, int]:
    """Of a fit with one callback: collectives as booked, as counted where they are called, and epochs."""
    counted, all_reduce = [0], dist.all_reduce

    def counting(*args: Any, **kwargs: Any) -> Any:
        counted[0] += sys._getframe(1).f_globals["__name__"] == link.__name__
        return all_reduce(*args, **kwargs)

    dist.all_reduce = counting
    matrix = lw.ConfusionMatrix(num_classes=5, stages=("train", "val"))
    t = trainer(callbacks=[matrix], devices=2, strategy="ddp")
    t.fit(Classifier.seeded(), loader(), loader())
    meter = Hub.of(t).meter
    return meter.total().collectives, counted[0], meter.num_epochs


def counts_and_changes(root: str, epochs: int, checkpoint: str | None = None) -> dict[str, Any]:
    """Fit with a matrix until `epochs`: its numbers as the Trainer has them, its tables on process 0, its state."""
    from lwcallbacks.readers import find_folders, read_folder

    torch.manual_seed(0)
    matrix = lw.ConfusionMatrix(CLASSES, top_k=2, cost_matrix=[[abs(i - j) for j in range(CLASSES)] for i in range(5)])
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    t = trainer(
        callbacks=[matrix], devices=world_size, strategy="ddp" if world_size > 1 else "auto", default_root_dir=root,
        max_epochs=epochs,
    )  # fmt: skip
    t.fit(Classifier(), DataLoader(images(24), 24), DataLoader(images(40, seed=1), 7), ckpt_path=checkpoint)
    t.save_checkpoint(f"{root}/saved.ckpt")
    tables = {}
    if t.is_global_zero:
        [folder] = [read_folder(found) for found in find_folders(root)]
        for key in ("report", "pairs"):
            for step, table in folder.data(f"val/confusion_matrix_{key}").items():
                tables[key, step] = (table["columns"], table["rows"])
    numbers = {key: float(value) for key, value in t.callback_metrics.items() if key.startswith("val/confusion")}
    return {"counts": matrix.results["val"], "numbers": numbers, "tables": tables}


def delivers_and_stops(n: int, root: str, stop_after: int) -> None:
    """`train` until a checkpoint is saved, which is delivered to the folder "disk"."""
    logger = ShelfLogger(Path(root, "logs"), Disk(Path(root, "disk")))
    train(n, root, None, stop_after, [lw.CheckpointArtifact(missing_ok=True, on_error="raise")], logger)


class Improves(Classifier):
    """Each epoch is better than the last."""

    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(float(self.current_epoch)), sync_dist=True)


def keeps_the_best(
    root: str, epochs: int, strategy: str = "auto", seconds: float = 0.0, logs: str = "logs", path: str | None = None
) -> list[str]:
    """Fit, from a checkpoint or not, and deliver to the folder "disk"; the files that were saved, by name."""
    ours = lw.CheckpointArtifact(on_error="raise")
    best = ModelCheckpoint(
        os.path.join(root, "ck"), monitor="score", mode="max", save_top_k=2, filename="{epoch}-" + str(time.time())
    )
    t = trainer(
        callbacks=[ours, best], logger=ShelfLogger(Path(root, logs), Disk(Path(root, "disk"), seconds)),
        enable_checkpointing=True, max_epochs=epochs, strategy=strategy, default_root_dir=root,
        devices=1 if strategy == "auto" else 2, log_every_n_steps=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folder is not empty after a first run
        t.fit(Improves.seeded(), loader(), loader(), ckpt_path=path)
    return [Path(path).name.split("-")[0] for path in ours.results.get("train", [])]


class Signalled(pl.Callback):
    """Has another process send a signal in the second epoch, at whatever moment that is; each batch takes a while."""

    def __init__(self, number: int | None) -> None:
        self.number = number

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(0.02)
        if self.number is not None and (trainer.current_epoch, batch_idx) == (1, 1):
            subprocess.Popen(["sh", "-c", f"sleep 0.05; kill -{self.number} {os.getpid()}"])


def out_of_time(root: str, logs: str, path: str, number: int | None, max_epochs: int) -> list[int]:
    """A task of SLURM's that saves after every epoch; the steps at which it began and ended.

    `path` leads to scontrol. What a process of an earlier job has left is gone on from, as Lightning finds it.
    """
    os.environ.update(
        PATH=path, SLURM_JOB_ID="1234", SLURM_JOB_NAME="job", SLURM_NNODES="1", SLURM_NODEID="0", SLURM_PROCID="0",
        SLURM_LOCALID="0", SLURM_NTASKS="1", SLURM_NTASKS_PER_NODE="1",
    )  # fmt: skip
    steps: list[int] = []

    class Notes(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            steps.append(trainer.global_step)

    t = trainer(
        callbacks=[
            lw.CheckpointArtifact(on_error="raise"), Signalled(number), Notes(),
            ModelCheckpoint(os.path.join(root, "ck"), monitor="score", mode="max", filename="{epoch}"),
        ],
        logger=ShelfLogger(Path(root, logs), Disk(Path(root, "disk"), 0.02)), enable_checkpointing=True,
        max_epochs=max_epochs, default_root_dir=root, log_every_n_steps=1,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folder is not empty after a first run
        try:
            t.fit(Improves.seeded(), loader(), loader())
        except SystemExit:
            return [*steps, t.global_step, -1]
    return [*steps, t.global_step]
