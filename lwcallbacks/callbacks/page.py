"""Where the page of a Trainer's run is, and a look at it in a notebook."""

from __future__ import annotations

from typing import Any

from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.lightning import Trainer
from lwcallbacks.sharing import Page


def page(trainer: Trainer, **kwargs: Any) -> Page:
    """The page of the Trainer's run, while it goes on and afterwards. A notebook shows it, also on a remote machine.

    Args:
        trainer: one that has run, or runs, with callbacks of lwcallbacks.
        kwargs: `max_bytes`, from which size on the page is not put into the notebook (8 MiB if left out).

    Raises:
        ValueError: there is no page: nothing has been written yet, this is not process 0, or it was a `fast_dev_run`.

    >>> import lwcallbacks as lw, pytorch_lightning as pl
    >>> lw.page(pl.Trainer(logger=False, accelerator="cpu"))
    Traceback (most recent call last):
    ValueError: lw.page: this Trainer has written no page, expected one that has run with lwcallbacks, on process 0
    """
    directories: list[str | None] = [Hub.of(trainer).page_directory()]
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, LoggingCallback):
            directories.append(callback.page_directory())  # of a run in another process
    found = next((directory for directory in directories if directory is not None), None)
    if found is None:
        raise ValueError(
            "lw.page: this Trainer has written no page, expected one that has run with lwcallbacks, on process 0"
        )
    return Page(found, **kwargs)
