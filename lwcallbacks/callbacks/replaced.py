"""Methods of instances that are replaced for a time.

replaced = Replaced()
replaced.put(strategy, "load_checkpoint", lambda original, *args: original(*args))
replaced.undo()
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


class Replaced:
    """What was replaced, and puts it back; see the module's synopsis."""

    def __init__(self) -> None:
        self._ours: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, by: Callable[..., Any]) -> None:
        """Let `owner.name(...)` call `by(original, ...)`."""
        ours = partial(by, getattr(owner, name))
        setattr(owner, name, ours)
        self._ours.append((owner, name, ours))

    def undo(self) -> None:
        """Put everything back, the newest first. What somebody else has replaced since stays as it is."""
        while self._ours:
            owner, name, ours = self._ours.pop()
            if vars(owner).get(name) is ours:
                delattr(owner, name)
