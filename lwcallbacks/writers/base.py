"""What a writer is: the one thing that knows a logger's way to keep media.

    class Notes(Writer):
        takes = (Image, Text)                       # the rest arrives as the nearest of these

        def write(self, entries, step):
            for key, entry in entries.items():
                ...

    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

A writer dispatches on the type of the value and handles what its logger has a way of its own for. What a kind becomes
otherwise stands in `lwcallbacks.media.nearest`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lwcallbacks.artifacts import Store
from lwcallbacks.media import EVERY_KIND


class Writer(ABC):
    """Writes entries somewhere. Made on the main thread, then used from one thread at a time, maybe another.

    `write` is all that has to be there. A class without it cannot be made.

    >>> from lwcallbacks.media import Table, Text, fitted
    >>> class Notes(Writer):
    ...     takes = (Text,)
    ...     def write(self, entries, step):
    ...         for key, entry in entries.items():
    ...             print(step, key, entry.markdown.splitlines()[-1])
    >>> table = Table(("class", "recall"), [["cat", 0.5]])
    >>> Notes().write(fitted({"val/report": table}, Notes.takes), step=120)    # as the publisher calls it
    120 val/report | cat | 0.5 |
    """

    takes: ClassVar[tuple[type, ...]] = EVERY_KIND
    """The kinds that `write` gets as they are: of Image, list (of Image), Table, Matrix, Histogram, Curve, File, and
    Picture and Text, which others become. The rest arrives as the nearest of these; what is near none of them is left
    out."""

    name: str = ""
    """What messages call it; left empty, its logger's class, or else its own."""

    bytes_written: int = 0
    """What it has put on disk so far, in bytes, as far as it counts that: for `callback.cost`."""

    @abstractmethod
    def write(self, entries: Mapping[str, Any], step: int) -> None:
        """Keep all entries under their keys as what was seen at `step`.

        Args:
            entries: values of the kinds in `takes`, by key.
            step: the Trainer's global step, as `self.log` uses it.

        Raises whatever goes wrong: the publisher reports it, and training goes on.
        """

    def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:  # noqa: B027 - for most there is no more
        """Keep numbers. Nothing is done here for a logger: it gets them from the publisher, on the main thread."""

    def store(self) -> Store | None:
        """Where it delivers checkpoints to; None if it keeps none. Asked at the start of a fit."""
        return None

    def close(self) -> None:  # noqa: B027 - for most there is no more
        """Hand over what is still held back. The logger is the user's and stays open: `write` may be called again."""


class NotWritten(Exception):
    """Some entries could not be written, the others were. `errors` are theirs, by key."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        super().__init__("; ".join(f"{key}: {type(error).__name__}: {error}" for key, error in errors.items()))
        self.errors = dict(errors)


def each(entries: Mapping[str, Any], write: Callable[[str, Any], object]) -> dict[str, Exception]:
    """Call `write(key, entry)` for all entries; one that fails costs itself. The errors by key."""
    errors: dict[str, Exception] = {}
    for key, entry in entries.items():
        try:
            write(key, entry)
        except Exception as error:
            errors[key] = error
    return errors


def raise_errors(entries: Mapping[str, Any], errors: Mapping[str, Exception]) -> None:
    """Raise the errors, if there are any: that of a single entry as it is, else NotWritten."""
    if errors and len(entries) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise NotWritten(errors)


def prefixed(logger: Any, key: str) -> str:
    """The key as a Lightning logger with a `prefix` writes its scalars: pictures stand beside them."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{logger.LOGGER_JOIN_CHAR}{key}" if prefix else key


def uploads_itself(logger: Any) -> str | None:
    """Why checkpoints cannot be delivered to a Lightning logger, in words that say what to write: it does so itself."""
    log_model = getattr(logger, "_log_model", False)
    if not log_model:
        return None
    return (
        f"{type(logger).__name__}(log_model={log_model!r}) uploads checkpoints, too, each a second time: leave out"
        " log_model"
    )
