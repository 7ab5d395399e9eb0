"""Results that a run in another process leaves for the process that made the callback.

Under `ddp_spawn`, `ddp_fork` and `ddp_notebook` a Trainer runs in processes that are started for it, and the callback
that the user holds is never asked. Process 0 leaves the results in a file whose place both sides know.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import uuid
import weakref
from pathlib import Path
from typing import Any


class LeftBehind:
    """The place of one callback's results. A copy that goes to another process by pickle keeps the place; any other
    copy has one of its own, also one that a process gives back, as of a pool: it has its results."""

    def __init__(self) -> None:
        self._path = Path(tempfile.gettempdir(), f"lwcallbacks-{uuid.uuid4().hex}.results")
        self._made_in = os.getpid()
        weakref.finalize(self, _remove, self._path, self._made_in)

    def __deepcopy__(self, memo: dict[int, Any]) -> LeftBehind:
        return LeftBehind()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_of, (self._path, self._made_in)) if os.getpid() == self._made_in else (LeftBehind, ())

    @property
    def _is_elsewhere(self) -> bool:
        """Whether this process was started by the one that made the callback."""
        parent = multiprocessing.parent_process()
        return parent is not None and parent.pid == self._made_in

    def leave(self, results: dict[str, Any]) -> None:
        """Leave results for the other process, if there is one: none when a run begins, as earlier ones are not its."""
        if self._is_elsewhere:
            part = self._path.with_suffix(".part")
            part.write_bytes(pickle.dumps(results))
            os.replace(part, self._path)

    def take(self) -> dict[str, Any] | None:
        """What was left for this process, once."""
        if os.getpid() != self._made_in or not self._path.exists():
            return None
        results: dict[str, Any] = pickle.loads(self._path.read_bytes())
        self._path.unlink()
        return results


def _of(path: Path, made_in: int) -> LeftBehind:
    there = LeftBehind.__new__(LeftBehind)
    there._path, there._made_in = path, made_in
    return there


def _remove(path: Path, made_in: int) -> None:
    if os.getpid() == made_in:
        path.unlink(missing_ok=True)
