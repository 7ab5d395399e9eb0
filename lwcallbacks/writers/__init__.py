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
    `lightning.pytorch` both are, and no logger's library is imported to find out. Others (CSVLogger, the dummy logger
    of `fast_dev_run`, a user's own) get no writer: they cannot keep media.
    """
    writers: list[Writer] = []
    for logger in loggers:
        names = {cls.__name__ for cls in type(logger).__mro__}
        if "WandbLogger" in names:
            from lwcallbacks.writers.wandb import WandbWriter

            writers.append(WandbWriter(logger))
        elif "TensorBoardLogger" in names:
            from lwcallbacks.writers.tensorboard import TensorBoardWriter

            writers.append(TensorBoardWriter(logger))
    if media_dir is not None:
        writers.append(FolderWriter(media_dir))
    return writers
