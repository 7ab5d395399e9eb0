"""Where the page of a run is, and a look at it in a notebook."""

from __future__ import annotations

import os
from typing import Any

from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.lightning import Trainer
from lwcallbacks.sharing import Page


def page(run: Trainer | str | os.PathLike[str], **kwargs: Any) -> Page:
    """The page of a run, while it goes on and afterwards. A notebook shows it, also on a remote machine.

    Args:
        run: a Trainer that has run, or runs, with callbacks of lwcallbacks; or the path of a run's folder, as
            "lightning_logs/version_0", or of the page itself. What is in a folder is read as data: none of its scripts
            runs.
        kwargs: `max_bytes`, from which size on the page is not put into the notebook (8 MiB if left out).

    Raises:
        TypeError: it is neither.
        FileNotFoundError: there is no such folder, or no run in it.
        ValueError: what is in the folder is no run; or the Trainer has no page: nothing has been written yet, this is
            not process 0, or it was a `fast_dev_run`.

    >>> import lwcallbacks as lw, pytorch_lightning as pl
    >>> lw.page(pl.Trainer(logger=False, accelerator="cpu"))
    Traceback (most recent call last):
    ValueError: lw.page: this Trainer has written no page, expected one that has run with lwcallbacks, on process 0
    >>> lw.page(3)
    Traceback (most recent call last):
    TypeError: lw.page: found 3, expected a Trainer or a path: lw.page(trainer) or lw.page("lightning_logs/version_0")
    """
    if isinstance(run, str | os.PathLike):
        return Page.of_run(os.fspath(run), **kwargs)
    if not hasattr(run, "callbacks"):
        raise TypeError(
            f"lw.page: found {str(run)[:80]}, expected a Trainer or a path: lw.page(trainer) or "
            'lw.page("lightning_logs/version_0")'
        )
    directories: list[str | None] = [Hub.of(run).outlet.page_directory()]
    for callback in run.callbacks:
        if isinstance(callback, LoggingCallback):
            directories.append(callback.page_directory())  # of a run in another process
    found = next((directory for directory in directories if directory is not None), None)
    if found is None:
        raise ValueError(
            "lw.page: this Trainer has written no page, expected one that has run with lwcallbacks, on process 0"
        )
    return Page(found, **kwargs)
