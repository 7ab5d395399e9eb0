"""Where media go: one writer per logger that can keep them, and a plain folder.

    writers = writers_for(trainer.loggers, media_dir=Path("media"))
    publisher = Publisher(writers)

A logger that is not known gets no media, and the folder gets everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lwcallbacks.writers.base import Writer as Writer
from lwcallbacks.writers.folder import FolderWriter as FolderWriter
from lwcallbacks.writers.publisher import Publisher as Publisher


def writers_for(loggers: Sequence[Any], media_dir: Path | None = None) -> list[Writer]:
    """One writer per logger that is known here, in their order, and a FolderWriter last if `media_dir` is given.

    A logger is known by the name of its class or of one of its bases, so that those of `pytorch_lightning` and of
    `lightning.pytorch` both are, and no logger's library is imported to find out. A CSVLogger is told where in the
    folder media are. Others (the dummy logger of `fast_dev_run`, a user's own) get no writer: nothing is known of what
    they can keep.
    """
    folder = None if media_dir is None else FolderWriter(media_dir)
    writers: list[Writer] = []
    for logger in loggers:
        names = {cls.__name__ for cls in type(logger).__mro__}
        if "WandbLogger" in names:
            from lwcallbacks.writers.wandb import WandbWriter

            writers.append(WandbWriter(logger))
        elif "TensorBoardLogger" in names:
            from lwcallbacks.writers.tensorboard import TensorBoardWriter

            writers.append(TensorBoardWriter(logger))
        elif "MLFlowLogger" in names:
            from lwcallbacks.writers.mlflow import MLflowWriter

            writers.append(MLflowWriter(logger))
        elif "CSVLogger" in names and folder is not None and _is_on_disk(logger):
            from lwcallbacks.writers.csv import CSVWriter

            writers.append(CSVWriter(logger, folder))
    return writers if folder is None else [*writers, folder]


def _is_on_disk(logger: Any) -> bool:
    """Whether its files are in a folder, and not at an address as "s3://bucket"."""
    log_dir = getattr(logger, "log_dir", None)
    return isinstance(log_dir, str) and "://" not in log_dir
