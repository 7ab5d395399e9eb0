"""Where media go: one writer per logger that can keep them, and a plain folder.

    writers = writers_for(trainer.loggers, media_dir=Path("media"))
    publisher = Publisher(writers, trainer.loggers)

A logger that is not known gets no media, and the folder gets everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lwcallbacks.writers.base import Writer as Writer
from lwcallbacks.writers.folder import FolderWriter as FolderWriter
from lwcallbacks.writers.publisher import Publisher as Publisher

Attempt = Callable[[str, str], AbstractContextManager[Any]]


def writers_for(loggers: Sequence[Any], media_dir: Path | None = None, attempt: Attempt | None = None) -> list[Writer]:
    """A FolderWriter if `media_dir` is given, then one writer per logger that is known here, in their order.

    The folder comes first, so that a logger that hangs delays no page. Each writer is made inside `attempt`, such as
    `Publisher.attempt`, so that one that cannot be made does not cost the others.

    A logger is known by the name of its class or of one of its bases, so that those of `pytorch_lightning` and of
    `lightning.pytorch` both are, and no logger's library is imported to find out. A CSVLogger is told where in the
    folder media are. Others (the dummy logger of `fast_dev_run`, a user's own) get no writer: nothing is known of what
    they can keep.
    """
    folder = None if media_dir is None else FolderWriter(media_dir)
    writers: list[Writer] = [] if folder is None else [folder]
    for logger in loggers:
        names = {cls.__name__ for cls in type(logger).__mro__}
        with nullcontext() if attempt is None else attempt(type(logger).__name__, "gets no media"):
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
    return writers


def _is_on_disk(logger: Any) -> bool:
    """Whether its files are in a folder, and not at an address as "s3://bucket"."""
    log_dir = getattr(logger, "log_dir", None)
    return isinstance(log_dir, str) and "://" not in log_dir
