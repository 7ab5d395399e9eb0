"""Trainings that something happens to; see programs.py. Each runs with our callbacks or without them."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL.ImageDraw  # noqa: F401  (imported once for all programs)
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

import lwcallbacks as lw
from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.hearing import _Ear
from lwcallbacks.callbacks.hub import Hub

from .everyone import everyone
from .modules import Classifier, images, loader, trainer


def tell(**facts: Any) -> None:
    print(json.dumps(facts))


# -- what goes wrong ------------------------------------------------------------


class Broken(torch.utils.data.Dataset):
    """The samples of `images`, of which one cannot be read."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        if index == 33:
            raise OSError("sample 33 is broken")
        return images(40)[index]


class Faulty(Classifier):
    """Something happens in the second epoch: in the third training step, or in validation.

    It logs a number of its own, as most modules do, if `logs`.
    """

    def __init__(self, fault: str, ranks: tuple[int, ...] = (0,), logs: bool = False) -> None:
        super().__init__()
        self.fault = fault
        self.logs = logs
        self.ranks = ranks

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 2 and self.global_rank in self.ranks:
            if self.fault == "step":
                raise RuntimeError("out of memory")
            if self.fault.startswith("SIG"):
                if self.fault == "SIGKILL":
                    flush(self.trainer)
                os.kill(os.getpid(), getattr(signal, self.fault))
        if self.logs:
            self.log("mine", 1.0, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if self.fault == "validation" and self.current_epoch == 1 and batch_idx == 2:
            raise RuntimeError("out of memory")
        return super().validation_step(batch, batch_idx)


class KillWandb(pl.Callback):
    """Kills W&B's service process when the second epoch begins, and the first is recorded.

    That process keeps the last 15 seconds in its memory, so it is first given more than it keeps.
    """

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            flush(trainer)
            run = trainer.logger.experiment
            run.log({"long": "x" * 300_000})
            [file] = Path(run.dir).parent.glob("*.wandb")
            while file.stat().st_size < 300_000:
                time.sleep(0.05)
            for path in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                        os.kill(int(path.name), signal.SIGKILL)
            time.sleep(0.3)  # until the socket knows


def flush(trainer: Any) -> None:
    """Wait until what was published is written, so that a fault comes after it."""
    publisher = Hub.of(trainer).outlet.publisher
    if publisher is not None:
        publisher.flush()


def ours_calls() -> bool:
    """Whether code of lwcallbacks is among the callers; not where it only passes on what the Trainer calls."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code is not _Ear.__call__.__code__:
        if frame.f_globals.get("__name__", "").startswith("lwcallbacks."):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class Hostile:
    """A logger that serves the Trainer, and raises whatever lwcallbacks wants of it."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and ours_calls():
            raise RuntimeError(f"no {name} for you")
        return super().__getattribute__(name)


class HostileCSVLogger(Hostile, CSVLogger):
    pass


class HostileTensorBoardLogger(Hostile, TensorBoardLogger):
    pass


# -- trainings ------------------------------------------------------------


def loggers_of(kind: str, root: str) -> Any:
    match kind:
        case "hostile":
            return [HostileCSVLogger(root), HostileTensorBoardLogger(root)]
        case "wandb":
            return WandbLogger(mode="offline", save_dir=root)
        case "csv":
            return CSVLogger(root)
    return False


def fit(
    root: str,
    ours: bool = True,
    fault: str = "none",
    logger: str = "none",
    ranks: tuple[int, ...] = (0,),
    logs: bool = False,
    callbacks: Any = (),
    leave_out: str = "",
    **kwargs: Any,
) -> None:
    """Three epochs; then tell a digest of the weights, the epochs, and the threads there are."""
    warnings.simplefilter("always", UserWarning)
    torch.manual_seed(0)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    found = list(callbacks) or (everyone(on_error=kwargs.pop("on_error", "warn")) if ours else [])
    mine = [callback for callback in found if type(callback).__name__ not in leave_out.split()]
    for callback in mine:
        if fault == "wandb" and isinstance(callback, lw.CheckpointArtifact):
            callback.patience = 2  # W&B never answers again
    saving = {name: kwargs.pop(name) for name in ("save_on_exception",) if name in kwargs}
    checkpoint = ModelCheckpoint(f"{root}/checkpoints", **saving)
    extra = [KillWandb()] if fault == "wandb" else []
    options: dict[str, Any] = {"max_epochs": 3, "log_every_n_steps": 2, "default_root_dir": root, **kwargs}
    t = trainer(
        callbacks=[*extra, *mine, checkpoint], logger=loggers_of(logger, root), enable_checkpointing=True,
        devices=world_size, strategy="ddp" if world_size > 1 else "auto", **options,
    )  # fmt: skip
    module = Faulty(fault, tuple(ranks), logs)
    data = loader() if fault != "worker" else torch.utils.data.DataLoader(Broken(), batch_size=8, num_workers=1)
    try:
        t.fit(module, data, loader())
    finally:
        tell(threads=sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("lwc")))
        tell(hooks=len(module._forward_hooks), epochs=t.current_epoch, weights=digest(module))


def digest(module: torch.nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters())).hexdigest()


# -- full disks ------------------------------------------------------------


def tiny_disk(folder: Path, options: str) -> str | None:
    """Mount a small disk that only this process and its children see; why not, where that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, new_user, private = 0x00020000, 0x10000000, 0x4000 | (1 << 18)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(new_mounts) and libc.unshare(new_mounts | new_user):
        return f"neither root nor user namespaces: {os.strerror(ctypes.get_errno())}"
    with suppress(OSError):  # root needs none of this
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    folder.mkdir(parents=True, exist_ok=True)
    libc.mount(b"none", b"/", None, ctypes.c_ulong(private), None)
    if libc.mount(b"none", str(folder).encode(), b"tmpfs", ctypes.c_ulong(0), options.encode()):
        return f"tmpfs cannot be mounted: {os.strerror(ctypes.get_errno())}"
    return None


class Full(pl.Callback):
    """The disk is full from the second epoch to the third, and has room again in the fourth."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        flush(trainer)
        if trainer.current_epoch == 1:
            deadline = time.monotonic() + 60
            # A held checkpoint is removed once it is delivered, which makes room; W&B takes it at the run's end.
            while not trainer.loggers and list(self.disk.rglob("held/*/*")):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with suppress(OSError), open(self.disk / "filler", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(997))
        if trainer.current_epoch == 3:
            (self.disk / "filler").unlink()


class NoNames(pl.Callback):
    """From the second epoch on, no file can be made on the disk, though there is room in those that exist."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch:
            flush(trainer)
            with suppress(OSError):
                for i in range(10_000):
                    (self.disk / f"filler-{trainer.current_epoch}-{i}").touch(exist_ok=False)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        flush(trainer)
        for path in self.disk.glob("filler-*"):
            path.unlink()


def fit_on_tiny_disk(root: str, ours: bool = True, what: str = "media", on_error: str = "warn") -> None:
    """Four epochs, the disk under the media, W&B's files or the checkpoints being full in between."""
    disk, seen = Path(root, "disk"), Path(root, "seen")
    problem = tiny_disk(disk, "size=2m,nr_inodes=60" if what == "checkpoints" else "size=2m")
    if problem:
        return tell(skip=problem)
    warnings.simplefilter("always", UserWarning)
    torch.manual_seed(0)
    fault = NoNames(disk) if what == "checkpoints" else Full(disk)
    places = {"media": (disk, Path(root)), "wandb": (disk, Path(root)), "checkpoints": (Path(root), disk)}
    media, checkpoints = places[what]
    t = trainer(
        callbacks=[fault, *(everyone(on_error=on_error) if ours else []), ModelCheckpoint(checkpoints, save_top_k=-1)],
        logger=loggers_of("wandb" if what == "wandb" else "none", str(disk)), enable_checkpointing=True,
        max_epochs=4, log_every_n_steps=1000, default_root_dir=media,
    )  # fmt: skip
    module = Faulty("none")
    try:
        t.fit(module, loader(), loader())
    finally:
        tell(epochs=t.current_epoch, weights=digest(module))
        with suppress(OSError):
            (disk / "filler").unlink()
        if what == "wandb":
            import wandb

            with suppress(Exception):
                wandb.finish()
        shutil.copytree(disk, seen)


# -- a second Ctrl-C ------------------------------------------------------------


class Slow(LoggingCallback):
    """Publishes three pictures that are never done; the first sends Ctrl-C once the run is being ended."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.ending.set()
        super().on_exception(trainer, pl_module, exception)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 2:
            self.ending = threading.Event()
            for step in range(3):
                self.publish(trainer, self.draw, step)

    def draw(self) -> Any:
        tell(begun=True)
        self.ending.wait()
        while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            time.sleep(0.01)
        time.sleep(0.2)  # until the main thread waits: a signal just before it does would not wake it
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1000)


def interrupted_twice(root: str) -> None:
    fit(root, fault="SIGINT", callbacks=[Slow()])
