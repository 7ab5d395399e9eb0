"""What is true of a run at the moment of a save: plain values for the metadata of a checkpoint."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lwcallbacks.artifacts.version import plain
from lwcallbacks.lightning import LightningModule, Trainer

KEYS = frozenset(
    (
        *("hparams", "num_parameters", "versions", "git_commit", "world_size", "precision"),
        *("epoch", "step", "score", "monitor", "mode", "metrics", "filename", "callback"),
    )
)
"""Of the metadata of a save: those of the run, and those of its moment."""
_PACKAGES = ("lwcallbacks", "torch", "pytorch-lightning", "lightning", "torchmetrics")


def facts_of_run(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """What stays the same from save to save; to be asked once."""
    return {
        "hparams": plain(dict(getattr(module, "hparams", {}))),
        "num_parameters": sum(p.numel() for p in module.parameters() if not _is_lazy(p)),
        "versions": _versions(),
        "git_commit": _git_commit(),
        "world_size": trainer.world_size,
        "precision": str(trainer.precision),
    }


def facts_of_save(trainer: Trainer, asked_by: Any) -> dict[str, Any]:
    """What is true now; numbers that are not finite are text.

    "score" is the value of what the `ModelCheckpoint` that asks monitors, with the bits that were logged.
    """
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    monitor = getattr(asked_by, "monitor", None)
    return {
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "score": plain(metrics.get(monitor)) if monitor is not None else None,
        "monitor": monitor,
        "mode": getattr(asked_by, "mode", None),
        "metrics": plain(metrics),
    }


def _is_lazy(parameter: Any) -> bool:
    return hasattr(parameter, "materialize")  # has no shape before the first batch


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the folder that the program runs in; None where there is no git, or no commit."""
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None
