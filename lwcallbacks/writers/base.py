"""What a writer is: the one thing that knows a logger's way to keep media.

    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)
    writer.close()

A writer dispatches on the type of the value, so that a new kind of media is one more case in it and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from lwcallbacks.media import Entry


class Writer(ABC):
    """Writes entries somewhere. Made on the main thread, then used from one thread at a time, maybe another."""

    @abstractmethod
    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        """Keep all entries under their keys as what was seen at `step`.

        Raises whatever goes wrong (the publisher decides what to make of it); TypeError for a value that is no Entry.
        """

    def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:  # noqa: B027 - for most there is no more
        """Keep numbers. Nothing is done here for a logger: it gets them from the publisher, on the main thread."""

    @abstractmethod
    def close(self) -> None:
        """Hand over what is still held back. The logger is the user's and stays open: `write` may be called again."""

    def unsupported(self, key: str, entry: object) -> TypeError:
        return TypeError(
            f"{type(self).__name__}: {key!r} is a {type(entry).__name__}, "
            "expected Image, a list of Image, Table, Matrix, Histogram or File"
        )


def prefixed(logger: Any, key: str) -> str:
    """The key as a Lightning logger with a `prefix` writes its scalars: pictures stand beside them."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{logger.LOGGER_JOIN_CHAR}{key}" if prefix else key
