"""A store that keeps checkpoints in memory, with the faults of one far away, and a logger that has it.

shelf = Shelf(tmp_path)
trainer(logger=ShelfLogger(tmp_path, shelf), callbacks=[lw.CheckpointArtifact(), ModelCheckpoint(monitor="a")])
shelf.names["model-run"].find("best").metadata["epoch"]
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers.logger import Logger

import lwcallbacks as lw
from lwcallbacks.artifacts import Receipt, Store, Version
from lwcallbacks.artifacts.holding import digest_of
from lwcallbacks.disk import replace as replace_file
from lwcallbacks.writers import Writer


@dataclass
class Kept:
    """A version as it came: who it is, the aliases that it came with, and what its file says."""

    version: Version
    aliases: tuple[str, ...]
    digest: str | None
    checkpoint: dict[str, Any]


@dataclass
class Shelf(Store):
    """Keeps what is delivered once, moves aliases as W&B does, and does what `faults` says, one for each delivery.

    "before": it raises and has nothing. "after": it has all, and raises. "slow": it takes a while. None: nothing.
    """

    is_live: bool = True  # type: ignore[misc]
    faults: deque[str | None] = field(default_factory=deque)
    is_dead: bool = False
    there: dict[str, Kept] = field(default_factory=dict)
    """By the version's id, in the order of arrival."""
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    """The id by the artifact's name and the alias."""
    dropped: list[str] = field(default_factory=list)
    calls: int = 0
    name = "shelf"

    def __post_init__(self) -> None:
        self._used = threading.Lock()

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        assert self._used.acquire(blocking=False), "from one thread at a time"
        try:
            assert threading.current_thread() is not threading.main_thread(), "not from the thread that trains"
            self.calls += 1
            fault = "before" if self.is_dead else self.faults.popleft() if self.faults else None
            if fault == "before":
                raise ConnectionError("the shelf is away")
            if fault == "slow":
                time.sleep(0.05)
            self._keep(version, content)
            if fault == "after":
                raise ConnectionError("the answer is lost")
            return Receipt("delivered", f"shelf/{version.id}")
        finally:
            self._used.release()

    def _keep(self, version: Version, content: Path | None) -> None:
        if version.id not in self.there:
            digest, checkpoint = None, {}
            if content is not None:
                digest, _ = digest_of(content)
                checkpoint = torch.load(content, weights_only=False) if content.is_file() else {}
            self.there[version.id] = Kept(version, version.aliases, digest, checkpoint)
        for alias in version.aliases:
            self.aliases[version.name, alias] = version.id

    def drop(self, version: Version, address: str) -> str:
        assert address in (f"shelf/{version.id}", ""), "what was given, or not known"
        if version.id not in self.there:
            assert not address
            return "it is not there"
        if version.id not in self.dropped:  # a run elsewhere that goes on from the same checkpoint may have done so
            self.dropped.append(version.id)
        return "deleted"

    def find(self, name: str, alias: str) -> Kept:
        return self.there[self.aliases[name, alias]]


class Disk(Store):
    """Keeps versions in a folder, each in a folder of its own by its id, and a file for each alias with an id in it.

    What is there is whole: it is moved to its place when it is.
    """

    name = "disk"

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder, self.seconds = folder, seconds
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        (folder / "aliases").mkdir(exist_ok=True)

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        assert content is not None
        target, part = self.folder / "versions" / version.id, self.folder / f"part-{version.id}"
        if not target.exists():
            part.mkdir(exist_ok=True)
            data = content.read_bytes()
            (part / content.name).write_bytes(data[: len(data) // 2])
            time.sleep(self.seconds)
            (part / content.name).write_bytes(data)
            os.replace(part, target)
        for alias in version.aliases:
            time.sleep(self.seconds / 4)
            replace_file(self.folder / "aliases" / f"{version.name}:{alias}", version.id.encode())
        return Receipt("delivered", str(target))

    def drop(self, version: Version, address: str) -> str:
        shutil.rmtree(self.folder / "versions" / version.id, ignore_errors=True)
        return "deleted"

    @property
    def there(self) -> dict[str, Path]:
        """The content by id."""
        return {path.name: next(path.iterdir()) for path in (self.folder / "versions").iterdir()}

    @property
    def aliases(self) -> dict[str, str]:
        """The id by "name:alias"."""
        return {path.name: path.read_text() for path in (self.folder / "aliases").glob("*") if path.suffix != ".tmp"}


class ShelfLogger(Logger):
    """Logs nothing; checkpoints go to its shelf. The same folder and version are the same run."""

    def __init__(self, save_dir: Path, *shelves: Store, version: str = "run") -> None:
        super().__init__()
        self.shelves = shelves
        self._save_dir, self._version = save_dir, version

    name = "shelf"

    def __deepcopy__(self, memo: Any) -> ShelfLogger:
        return self

    @property
    def version(self) -> str:
        return self._version

    @property
    def save_dir(self) -> str:
        return str(self._save_dir)

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        pass

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass


class ShelfWriter(Writer):
    takes = ()

    def __init__(self, logger: ShelfLogger) -> None:
        self.logger = logger

    def write(self, entries: Any, step: int) -> None:
        pass

    def store(self) -> Store | None:
        return self.logger.shelves[0] if self.logger.shelves else None


lw.register_writer(ShelfLogger, ShelfWriter)


def files_in(folder: Path) -> Iterable[Path]:
    # Unlike Path.rglob, this goes on where a folder is removed meanwhile.
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)
