"""Downloaded content, kept within a bound: what was used least recently goes first.

    cache = Cache(Path("~/.cache/lwcallbacks/checkpoints").expanduser(), max_bytes=10 * 2**30)
    content = cache.get(key, size=104_857_600, fill=download)     # a folder, which `download` makes if it is not there

A process keeps what it has got from the cache until it ends: no other one removes that. Its own goes only where nothing
else is left to go. Processes that want the same content at once wait for the first of them, which gets it.

    <key>/content/          what was got, complete
    <key>/facts.json        its size and where it comes from; the time of the file is when it was last used
    <key>.part/             the same, while it is being got; of a process that has ended, it is removed
    uses/<key>/<name>       locked by a process that uses it
    locks/<name>            locked while something is got, or removed
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

FACTS = "facts.json"
_MINE: dict[Path, FileLock] = {}  # what this process uses, by the path of the lock
_KEY = re.compile(r"[0-9a-f]{64}")


class Full(ValueError):
    """There is no room, and nothing that may go."""


class Cache:
    """A folder of contents by their keys.

    Args:
        folder: is made, for nobody else to look into, where it is not there.
        max_bytes: of all contents together.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o002:
            raise ValueError(
                f"everybody may write to {folder}, expected a folder for a cache that only you can write to"
            )
        for inner in ("locks", "uses"):
            (folder / inner).mkdir(exist_ok=True)

    def get(self, key: str, size: int, fill: Callable[[Path], dict[str, Any]]) -> Path:
        """The folder of a content, which is there from now on until this process ends.

        Args:
            key: 64 hexadecimal digits.
            size: bytes of the content.
            fill: makes the folder that it is given, with the content in it, and returns what is to be noted of it,
                plain JSON; or raises.

        Raises:
            Full: it does not fit in.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"found the key {key[:80]!r}, expected 64 hexadecimal digits")
        entry, part = self.folder / key, self.folder / f"{key}.part"
        with self._lock(key):
            with self._lock("all"):
                self._use(key)
                _unlink(part)
                if _is_whole(entry):
                    os.utime(entry / FACTS, follow_symlinks=False)
                    return entry / "content"
                _unlink(entry)
                try:
                    self._make_room(size)
                except Full:
                    self._let_go(key)
                    raise
                part.mkdir()
                _note(part, {"size": size})  # so that others know what it will take
            try:
                _note(part, {**fill(part / "content"), "size": size})
                os.replace(part, entry)
            except BaseException:
                _unlink(part)
                self._let_go(key)
                raise
        return entry / "content"

    def drop(self, key: str) -> None:
        """Remove a content that is not what it was."""
        with self._lock("all"):
            _unlink(self.folder / key)
            self._let_go(key)

    def facts(self, key: str) -> dict[str, Any]:
        """What was noted of a content that is there."""
        found: dict[str, Any] = json.loads((self.folder / key / FACTS).read_text(encoding="utf-8"))
        return found

    def _make_room(self, size: int) -> None:
        if size > self.max_bytes:
            raise Full(f"it has {_gib(size)}, and the cache {self.folder} takes {_gib(self.max_bytes)}")
        entries = [path for path in self.folder.iterdir() if _KEY.fullmatch(path.name.removesuffix(".part"))]
        kinds = {path: self._used_by(path.name.removesuffix(".part")) for path in entries}
        may_go = [path for path, used_by in kinds.items() if used_by != "another"]
        in_use = sum(_size(path) for path, used_by in kinds.items() if used_by == "another")
        if in_use + size > self.max_bytes:
            room, used = _gib(self.max_bytes), _gib(in_use)
            raise Full(f"it has {_gib(size)}, and of {room} of the cache {self.folder} other processes use {used}")
        left = in_use + sum(map(_size, may_go))
        for path in sorted(may_go, key=lambda path: (kinds[path] == "this", _last_used(path))):
            if left + size <= self.max_bytes:
                break
            left -= _size(path)
            _unlink(path)
            self._let_go(path.name.removesuffix(".part"))

    def _used_by(self, key: str) -> str:
        """ "another" process, "this" one, or "nobody"."""
        used_by = "nobody"
        uses = self.folder / "uses" / key
        for path in uses.iterdir() if uses.is_dir() else ():
            if path in _MINE:
                used_by = "this"
                continue
            try:
                with FileLock(path, timeout=0):
                    pass
            except Timeout:
                return "another"
            path.unlink(missing_ok=True)  # of a process that has ended
        return used_by

    def _use(self, key: str) -> None:
        if not any(path.parent.name == key and path.parent.parent.parent == self.folder for path in _MINE):
            path = self.folder / "uses" / key / uuid.uuid4().hex
            path.parent.mkdir(exist_ok=True)
            lock = FileLock(path, thread_local=False)
            lock.acquire()
            _MINE[path] = lock

    def _let_go(self, key: str) -> None:
        for path in [path for path in _MINE if path.parent == self.folder / "uses" / key]:
            _MINE.pop(path).release()
            path.unlink(missing_ok=True)

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / "locks" / name)


def _is_whole(entry: Path) -> bool:
    return not entry.is_symlink() and (entry / FACTS).is_file() and os.path.lexists(entry / "content")


def _note(entry: Path, facts: dict[str, Any]) -> None:
    (entry / FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _unlink(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _size(entry: Path) -> int:
    try:
        return int(json.loads((entry / FACTS).read_text(encoding="utf-8"))["size"])
    except (OSError, ValueError, LookupError, TypeError):
        return sum(file.lstat().st_size for file in entry.rglob("*"))


def _last_used(entry: Path) -> float:
    try:
        return (entry / FACTS).stat().st_mtime
    except OSError:
        return 0.0


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:,.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:,.1f} MiB"
