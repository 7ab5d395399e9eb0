"""Methods of instances that are replaced for a time.

replaced = Replaced()
replaced.put(strategy, "load_checkpoint", lambda original, *args: original(*args))
replaced.undo()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Replaced:
    """What was replaced, and puts it back; see the module's synopsis."""

    def __init__(self) -> None:
        self._ours: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, by: Callable[..., Any]) -> None:
        """Let `owner.name(...)` call `by(original, ...)`."""
        ours = _Instead(getattr(owner, name), by)
        setattr(owner, name, ours)
        self._ours.append((owner, name, ours))

    def undo(self) -> None:
        """Put everything back, the newest first. What somebody else has replaced since stays as it is."""
        while self._ours:
            owner, name, ours = self._ours.pop()
            if vars(owner).get(name) is ours:
                delattr(owner, name)


class _Instead:
    """A method in place of another one, on its instance. A copy of the instance has that other one."""

    def __init__(self, method: Callable[..., Any], by: Callable[..., Any]) -> None:
        self._method = method
        self._by = by

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._by(self._method, *args, **kwargs)

    def __reduce__(self) -> Any:
        return _itself, (self._method,)


def _itself(method: Callable[..., Any]) -> Callable[..., Any]:
    return method
