"""Every save of a Trainer as an event: who asked for it, what was true then, when its content is there.

    saves = Saves(trainer, listener)
    saves.open()                    # the methods of `listener` are called from now on, on process 0
    saves.look()                    # now and then: is there what was not there when the CheckpointIO returned?
    saves.close(patience=600)       # waits for what is being written, and leaves nothing behind

Whoever saves calls `trainer.save_checkpoint`. What it is asked by stands on the stack: the nearest callback. The
innermost CheckpointIO writes, in this thread or in another one, and only when it returns the content is there. Both
are replaced on their instances, as is `strategy.remove_checkpoint`. A strategy that writes without a CheckpointIO has
written when `save_checkpoint` returns; what is not there then is awaited until it no longer changes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from fsspec.core import url_to_fs
from torch.utils._pytree import tree_map

from lwcallbacks.callbacks.replaced import Replaced
from lwcallbacks.callbacks.trainer import innermost_io, is_address, saves_later_weights
from lwcallbacks.lightning import Trainer, either

_SETTLED = 1.0
"""Seconds for which a file must not have changed that appears after its CheckpointIO has returned."""
_MOMENT = 10.0
"""Seconds for which a file may be written on, or held, before it is removed or saved again all the same."""


@dataclass(eq=False)
class Save:
    """One save, under way or done.

    Args:
        path: where it goes to, as the Trainer has it: a path, or an address.
        asked_by: the callback that asked for it; None if it was none.
        before: what tells whether something at the path has changed since the save began.
        facts: what the listener has noted of that moment.
    """

    path: str
    asked_by: Any
    before: Any = None
    facts: Any = None
    by_io: bool = False
    """A CheckpointIO writes it, or has done so; else the strategy does."""
    is_writing: bool = False
    """A CheckpointIO is at it."""
    is_ending: bool = False
    """The listener is being told what has become of it."""
    was_written: bool = False
    """The innermost CheckpointIO has returned, and nothing was there: it writes later, in a way of its own."""
    seen: Any = None
    since: float = 0.0


class Listener(Protocol):
    """Gets the events. What it raises is its own fault, and goes to whoever saves."""

    def on_save(self, save: Save) -> object:
        """A save begins, in the thread that trains."""

    def on_written(self, save: Save) -> object:
        """All of its content is there. Called in the thread that has written it, before anybody writes there again."""

    def on_failed(self, save: Save, error: BaseException | None) -> object:
        """It could not be written; without an error it did not appear in time."""

    def on_remove(self, path: str, asked_by: Any) -> object:
        """A checkpoint is about to be removed: who looks for it at an address from now on may find nothing."""


class Saves:
    """Listens to the saves of a Trainer; see the module's synopsis. `listens` says whether to pass over a save."""

    def __init__(self, trainer: Trainer, listener: Listener, listens: Callable[[], bool]) -> None:
        self._trainer = trainer
        self._listener = listener
        self._listens = listens
        self._pending: list[Save] = []
        self._lock = threading.Condition(threading.RLock())
        self._confused: set[str] = set()
        """Paths where something may appear that is not of the save that it seems to be of."""
        self._replaced = Replaced()

    def open(self) -> None:
        trainer, strategy = self._trainer, self._trainer.strategy
        try:
            self._replaced.put(trainer, "save_checkpoint", self._save)
            self._replaced.put(strategy, "remove_checkpoint", self._remove)
            self._replaced.put(innermost_io(strategy.checkpoint_io), "save_checkpoint", self._write)
            if saves_later_weights(strategy.checkpoint_io):
                self._replaced.put(strategy, "save_checkpoint", _save_a_copy)
        except BaseException:
            self._replaced.undo()
            raise

    def look(self, patience: float = 0.0) -> None:
        """See whether what was not there yet has appeared; wait for all of it, `patience` seconds for each save."""
        until, most = time.monotonic() + patience, len(self._pending)
        while True:
            for save in self._snapshot():
                if self._is_settled(save):
                    self._done(save)
            num_left = len(self._snapshot())
            if num_left < most:
                until, most = time.monotonic() + patience, num_left
            if not num_left or time.monotonic() >= until:
                return
            time.sleep(0.05)

    def close(self, patience: float) -> None:
        """Wait for what is being written, `patience` seconds for each save, and put back what was replaced."""
        try:
            self.look(patience)
        finally:
            self._replaced.undo()
            for save in self._snapshot():
                self._failed(save, None)

    def _snapshot(self) -> list[Save]:
        with self._lock:
            return list(self._pending)

    def _save(self, save_checkpoint: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._listens():
            return save_checkpoint(*args, **kwargs)
        path = _path(args[0] if args else kwargs["filepath"])
        if not self._wait(path, lambda earlier: earlier.was_written):  # what appears later may be of either
            self._confused.add(path)
            for earlier in self._at(path):
                self._failed(earlier, None)
        save = Save(path, _asking())
        self._listener.on_save(save)
        with self._lock:
            save.before = _signature(path)
            self._pending.append(save)
        try:
            returned = save_checkpoint(*args, **kwargs)
        except BaseException as error:
            self._failed(save, error)
            raise
        if self._has_appeared(save):
            self._done(save)  # the strategy wrote it, without a CheckpointIO
        return returned

    def _wait(self, path: str, is_awaited: Callable[[Save], bool]) -> bool:
        """Wait for saves to a path that are written in another thread; False if that takes too long."""
        until = time.monotonic() + _MOMENT
        while any(map(is_awaited, self._at(path))):
            if time.monotonic() >= until:
                return False
            with self._lock:
                self._lock.wait_for(lambda: not any(map(is_awaited, self._at(path))), _SETTLED / 10)
            self.look()
        return True

    def _write(self, save_checkpoint: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        path = _path(args[1] if len(args) > 1 else kwargs["path"])
        with self._lock:
            save = next((s for s in self._at(path) if not s.by_io), None)
            if save is not None:
                save.is_writing = save.by_io = True
        if save is None:
            return save_checkpoint(*args, **kwargs)
        save.before = None if is_address(path) else _signature(path)
        try:
            returned = save_checkpoint(*args, **kwargs)
        except BaseException as error:
            self._failed(save, error)
            raise
        if is_address(path) or (path not in self._confused and _signature(path) not in (None, save.before)):
            self._done(save)
        else:
            save.is_writing, save.was_written = False, True
        return returned

    def _remove(self, remove_checkpoint: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        path = _path(args[0] if args else kwargs["filepath"])
        if not is_address(path) and os.path.exists(path):
            self._wait(path, lambda save: save.by_io)  # what was written a moment ago is held first
        if self._listens():
            self._listener.on_remove(path, _asking())
        return remove_checkpoint(*args, **kwargs)

    def _is_settled(self, save: Save) -> bool:
        """Whether something new is at the path that no longer changes."""
        if not self._has_appeared(save, later=True):
            return False
        found, now = _signature(save.path), time.monotonic()
        if found != save.seen:
            save.seen, save.since = found, now
        return now - save.since >= _SETTLED

    def _has_appeared(self, save: Save, later: bool = False) -> bool:
        """Whether something new is at the path that no CheckpointIO has reported, and that is of no earlier save."""
        with self._lock:
            is_told = save.is_writing if later else save.by_io
            is_next = not save.is_ending and next(iter(self._at(save.path)), None) is save
            is_next &= save.path not in self._confused
            return is_next and not is_told and _signature(save.path) not in (None, save.before)

    def _at(self, path: str) -> list[Save]:
        return [save for save in self._snapshot() if save.path == path]

    def _done(self, save: Save) -> None:
        with self._ending(save) as is_first:
            if is_first:
                self._listener.on_written(save)

    def _failed(self, save: Save, error: BaseException | None) -> None:
        with self._ending(save) as is_first:
            if is_first:
                self._listener.on_failed(save, error)

    @contextmanager
    def _ending(self, save: Save) -> Iterator[bool]:
        """The end of a save: it is pending until the listener has been told, once."""
        with self._lock:
            is_first = save in self._pending and not save.is_ending
            save.is_ending = True
        try:
            yield is_first
        finally:
            if is_first:
                with self._lock:
                    self._pending.remove(save)
                    for later in self._at(save.path):
                        later.before = _signature(save.path)
                    self._lock.notify_all()


def _asking() -> Any:
    """The callback that asks: the nearest one on the stack."""
    kinds = either("callbacks", "Callback")
    return next((found for found in _selves() if isinstance(found, kinds)), None)


def _selves() -> Iterator[Any]:
    """The objects whose methods are on the stack; not those that a signal has interrupted, which ask for nothing."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        values = frame.f_locals
        yield values.get("self")
        # A handler of a signal is given the frame that it has interrupted, which is the one below its own.
        frame = None if any(value is frame.f_back for value in values.values()) else frame.f_back


def _path(path: Any) -> str:
    return str(path).removeprefix("file://")


def _signature(path: str) -> Any:
    """What tells whether something at a path has changed; None where nothing is."""
    if is_address(path):
        filesystem, inside = url_to_fs(path)
        filesystem.invalidate_cache()
        try:
            return str(filesystem.info(inside))
        except FileNotFoundError:
            return None
    try:
        found = os.stat(path)
        if not os.path.isdir(path):
            return found.st_ino, found.st_mtime_ns, found.st_size
        files = [file.stat() for file in Path(path).rglob("*")]
    except OSError:
        return None  # or it is being written
    return tuple(sorted((file.st_ino, file.st_mtime_ns, file.st_size) for file in files))


def _save_a_copy(save_checkpoint: Callable[..., Any], checkpoint: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Save tensors as they are now: Lightning before 2.5.5 writes them later, when training has changed them."""
    copied = tree_map(lambda x: x.detach().clone() if isinstance(x, torch.Tensor) else x, dict(checkpoint))
    return save_checkpoint(copied, *args, **kwargs)
