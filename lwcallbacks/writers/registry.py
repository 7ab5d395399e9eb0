"""Which writer a logger has: those of the package, of installed packages and of the user's own.

    register_writer("NotesLogger", NotesWriter)             # for a run of this program
    writers_for(trainer.loggers, Path("media"))             # [FolderWriter, NotesWriter]

A package registers one for all that install it, by an entry point that has the name of the logger's class:

    [project.entry-points."lwcallbacks.writers"]
    NotesLogger = "notes.lightning:NotesWriter"

A logger is looked up by its class, then by each of its bases. For each, the user's registration goes before an entry
point, and that before the package's own. No logger's library is imported to find out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from lwcallbacks.media import EVERY_KIND
from lwcallbacks.writers.base import Writer
from lwcallbacks.writers.folder import FolderWriter

GROUP = "lwcallbacks.writers"

NO_PLACE = object()  # what a built-in factory gives where a logger has no place for media

Factory = Callable[[Any], Writer]
Attempt = Callable[[str, str], AbstractContextManager[Any]]

_registered: dict[type | str, Factory] = {}


def register_writer(logger: type | str, factory: Factory) -> None:
    """Give all loggers of a class a writer, from the next run on; registering again replaces it.

    Args:
        logger: the class of the logger, or its name. A name also stands for a class of that name in another package.
        factory: called with a logger for its `Writer`, on the main thread of process 0: a class that takes the logger,
            or a function.

    >>> from lwcallbacks.writers import Writer, writers_for
    >>> class NotesWriter(Writer):
    ...     def __init__(self, logger): self.logger = logger
    ...     def write(self, entries, step): self.logger.notes.append((step, *entries))
    >>> class NotesLogger:
    ...     notes = []
    >>> register_writer(NotesLogger, NotesWriter)
    >>> [writer] = writers_for([NotesLogger()])
    >>> writer.write({"val/worst": []}, step=120); NotesLogger.notes
    [(120, 'val/worst')]

    Raises:
        TypeError: `logger` is no class and no name, `factory` cannot be called, or it is a class without `write`.
    """
    name = logger.__name__ if isinstance(logger, type) else logger
    if not isinstance(name, str) or not name:
        raise TypeError(f"register_writer: logger is {logger!r}, expected a logger's class or the name of one")
    _registered[logger] = _checked(factory, name)


def writers_for(
    loggers: Sequence[Any], media_dir: Path | Callable[[], Path] | None = None, attempt: Attempt | None = None
) -> list[Writer]:
    """A FolderWriter if `media_dir` is given, then one writer per logger that has one, in their order.

    The folder comes first, so that a logger that hangs delays no page. Each writer is made inside `attempt`, such as
    `Publisher.attempt`, so that one that cannot be made does not cost the others.

    Loggers that nobody has registered (the dummy logger of `fast_dev_run`, a user's own) get no writer: nothing is
    known of what they can keep. A CSVLogger gets one where it has a folder on this machine and `media_dir` is given.

    Raises:
        TypeError: a factory gives something that has no `write`, or is a class without it.
    """
    folder = None if media_dir is None else FolderWriter(media_dir)
    writers: list[Writer] = [] if folder is None else [folder]
    installed = {point.name: point for point in entry_points(group=GROUP)}
    for logger in loggers:
        name, made = type(logger).__name__, list[Any]()
        with nullcontext() if attempt is None else attempt(name, "gets no media"):
            factory = _factory_of(type(logger), folder, installed)
            if factory is not None:
                made.append(factory(logger))
        writers += [_as_writer(writer, name) for writer in made if writer is not NO_PLACE]
    return writers


def _factory_of(logger: type, folder: FolderWriter | None, installed: Mapping[str, EntryPoint]) -> Factory | None:
    for cls in logger.__mro__:
        name = cls.__name__
        if factory := _registered.get(cls) or _registered.get(name):
            return factory
        if name in installed:
            return _checked(installed[name].load(), name)
        if name in _BUILT_IN:
            return partial(_BUILT_IN[name], folder)
    return None


def _checked(factory: Any, logger: str) -> Factory:
    if not callable(factory):
        raise TypeError(f"the writer of {logger} is {factory!r}, expected a class or function that takes the logger")
    if inspect.isabstract(factory):
        missing = ", ".join(sorted(factory.__abstractmethods__))
        raise TypeError(f"{factory.__name__}, the writer of {logger}, has no {missing}: write {_SIGNATURE}")
    return factory  # type: ignore[no-any-return]


def _as_writer(made: Any, logger: str) -> Writer:
    """What a factory gave, which may be no Writer but has to have its `write`, under a name for messages."""
    if not callable(getattr(made, "write", None)):
        raise TypeError(
            f"the writer of {logger} is a {type(made).__name__} without `write`: what register_writer({logger!r}, ...) "
            f"is given has to return a writer, an object with {_SIGNATURE}"
        )
    writer = made if isinstance(made, Writer) else _Adapted(made)
    writer.name = writer.name or logger
    return writer


_SIGNATURE = "def write(self, entries, step)"


class _Adapted(Writer):
    """An object that has `write`, and maybe more of a Writer."""

    def __init__(self, made: Any) -> None:
        self.takes = getattr(made, "takes", EVERY_KIND)  # type: ignore[misc]
        self.name = getattr(made, "name", "")
        self._made = made

    def write(self, entries: Mapping[str, Any], step: int) -> None:
        self._made.write(entries, step)

    def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        getattr(self._made, "write_scalars", super().write_scalars)(scalars, step)

    def close(self) -> None:
        getattr(self._made, "close", super().close)()


def _wandb(folder: FolderWriter | None, logger: Any) -> Writer:
    from lwcallbacks.writers.wandb import WandbWriter

    return WandbWriter(logger)


def _tensorboard(folder: FolderWriter | None, logger: Any) -> Writer:
    from lwcallbacks.writers.tensorboard import TensorBoardWriter

    return TensorBoardWriter(logger)


def _mlflow(folder: FolderWriter | None, logger: Any) -> Writer:
    from lwcallbacks.writers.mlflow import MLflowWriter

    return MLflowWriter(logger)


def _csv(folder: FolderWriter | None, logger: Any) -> Any:
    from lwcallbacks.writers.csv import CSVWriter

    log_dir = getattr(logger, "log_dir", None)
    is_on_disk = isinstance(log_dir, str) and "://" not in log_dir
    return CSVWriter(logger, folder) if folder is not None and is_on_disk else NO_PLACE


_BUILT_IN: Mapping[str, Callable[[FolderWriter | None, Any], Any]] = {
    "WandbLogger": _wandb,
    "TensorBoardLogger": _tensorboard,
    "MLFlowLogger": _mlflow,
    "CSVLogger": _csv,
}
