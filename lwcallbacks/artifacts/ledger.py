"""What has become of each saved version: a file of JSON lines beside the run, which survives the process.

    with Ledger(Path("run/artifacts")) as ledger:
        ledger.saved(version, stores=["wandb"])
        ledger.delivered(version.id, "wandb", Receipt("delivered", "me/digits/model-1a2b:v0"))

    for entry in read(Path("run/artifacts")):          # by anybody, at any time
        print(entry.version.name, entry.waiting)

A line is appended for each event, and nothing is ever changed. Half a line, which a crash has left, is left out.

    {"event": "opened", "store", "run"}                        how a store calls the run
    {"event": "saved", "version": {...}, "stores": [...]}      the facts
    {"event": "took over", "version": {...}, "stores": {...}}  of a run before this one: addresses by store
    {"event": "held", "id", "content"}                         its content is held, below the folder "held"
    {"event": "sealed", "id", "digest", "size"}
    {"event": "delivered" | "staged", "id", "store", "address"}
    {"event": "failed", "id", "store", "why"}                  for good; store is "" where there is no content
    {"event": "removed", "id"}                                 the Trainer has removed its checkpoint
    {"event": "dropped", "id", "store", "why"}                 "deleted", or why it is kept
    {"event": "released", "id"}                                its content is no longer held
    {"event": "told", "id"}                                    a later run has said that it waits
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from lwcallbacks.artifacts.store import Receipt
from lwcallbacks.artifacts.version import Version, dumps
from lwcallbacks.disk import append_lines
from lwcallbacks.readers.inside import file_in, lines

FILE, LOCK, HELD = "ledger.jsonl", "ledger.lock", "held"
_EVENTS = {"held", "sealed", "delivered", "staged", "failed", "removed", "dropped", "released", "told"}
"""The events of a version that was saved."""


class InUse(Exception):
    """Another process, or another run of this one, has the ledger open."""


@dataclass(frozen=True)
class Fate:
    """What has become of a version in one store: "delivered", "staged", "failed" or "dropped"."""

    state: str
    address: str = ""
    why: str = ""


@dataclass
class Entry:
    """A version, and what has become of it."""

    version: Version
    stores: tuple[str, ...] = ()
    """Where it is to be delivered to."""
    fates: dict[str, Fate] = field(default_factory=dict)
    removed_after: int | None = None
    """How many versions there were when the Trainer removed its checkpoint; None while it is there."""
    is_released: bool = False
    is_told: bool = False
    """Whether a later run has said that it waits."""
    why: str = ""
    """Why there is nothing to deliver; empty if there is."""
    is_earlier: bool = False
    """Whether another run has saved it, and delivers it: the run that this one goes on from."""

    @property
    def is_written(self) -> bool:
        """Whether its checkpoint was written to its end, as far as is known: one that a kill has cut short was not."""
        version = self.version
        is_known = version.content is not None or version.digest is not None or version.is_remote
        return is_known or bool(self.fates) or self.is_earlier

    @property
    def is_removed(self) -> bool:
        """Whether the Trainer has removed its checkpoint."""
        return self.removed_after is not None

    @property
    def waiting(self) -> tuple[str, ...]:
        """The stores that do not have it yet, and can still get it; a staged one is still on its way."""
        if self.why or self.is_earlier:
            return ()
        return tuple(s for s in self.stores if s not in self.fates or self.fates[s].state == "staged")

    @property
    def undelivered(self) -> tuple[str, ...]:
        """Of those that wait, the stores that were not given it."""
        return tuple(store for store in self.waiting if store not in self.fates)

    @property
    def staged_at(self) -> str:
        """Where it is on its way in something that somebody else has to send, as an offline run of W&B; "" if not."""
        return next((self.fates[store].address for store in self.waiting if store in self.fates), "")

    @property
    def to_drop(self) -> tuple[str, ...]:
        """The stores that still have it, or may have it, though the Trainer has removed it."""
        return tuple(s for s, fate in self.fates.items() if self.is_removed and fate.state == "delivered")


class Ledger:
    """The ledger of one run, open for writing. Events may come from any thread.

    Args:
        directory: its folder, which is made when there is something to enter.

    Raises:
        InUse: somebody else has it open.
        ValueError: what is there is no ledger.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.RLock()
        directory.mkdir(parents=True, exist_ok=True)
        self._open = FileLock(directory / LOCK, thread_local=False)  # it is for the process, and asked from any thread
        try:
            self._open.acquire(timeout=0)
        except Timeout:
            raise InUse(f"{directory} is in use by a run that is still going on") from None
        try:
            self._entries, self._runs = _read(lines(directory, FILE))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._open.release()

    def __getitem__(self, id: str) -> Entry:
        with self._lock:
            return self._entries[id]

    @property
    def entries(self) -> list[Entry]:
        """All versions, in the order of the saves."""
        with self._lock:
            return list(self._entries.values())

    def content_of(self, id: str) -> Path | None:
        """Where a version's content is held; None if it is not, or no longer.

        Raises:
            ValueError: the ledger names a file outside of its folder.
        """
        return content_of(self.directory, self[id])

    @property
    def runs(self) -> dict[str, str]:
        """How each store calls the run, by the store's name."""
        with self._lock:
            return dict(self._runs)

    def opened(self, store: str, run: str) -> None:
        if self.runs.get(store) != run:
            self._enter("opened", store=store, run=run)

    def saved(self, version: Version, stores: Sequence[str]) -> None:
        self._enter("saved", version=version.to_json(), stores=list(stores))

    def took_over(self, version: Version, stores: Mapping[str, str]) -> None:
        """Of a run before this one, with its addresses; "" where that run did not know yet whether a store has it."""
        self._enter("took over", version=version.to_json(), stores=dict(stores))

    def held(self, id: str, content: Path) -> None:
        self._enter("held", id=id, content=content.relative_to(self.directory).as_posix())

    def sealed(self, id: str, digest: str, size: int) -> None:
        self._enter("sealed", id=id, digest=digest, size=size)

    def delivered(self, id: str, store: str, receipt: Receipt) -> None:
        self._enter(receipt.state, id=id, store=store, address=receipt.address)

    def failed(self, id: str, why: str, store: str = "") -> None:
        self._enter("failed", id=id, store=store, why=why)

    def removed(self, id: str) -> None:
        self._enter("removed", id=id)

    def dropped(self, id: str, store: str, why: str) -> None:
        self._enter("dropped", id=id, store=store, why=why)

    def released(self, id: str) -> None:
        self._enter("released", id=id)

    def told(self, id: str) -> None:
        self._enter("told", id=id)

    def _enter(self, event: str, **more: Any) -> None:
        record = {"event": event, "at": round(time.time(), 3), **more}
        with self._lock:
            if not self._open.is_locked:  # a thread that comes late, when another run may have the ledger
                raise InUse(f"{self.directory} was closed: {event} is not entered")
            append_lines(self.directory / FILE, dumps(record))
            _apply(self._entries, self._runs, record)


def read(directory: Path) -> list[Entry]:
    """The entries of a ledger, in the order of the saves; none where there is no ledger.

    Raises:
        ValueError: it is no ledger, or one that names files outside of its folder.
    """
    entries = list(_read(lines(directory, FILE))[0].values())
    for entry in entries:
        content_of(directory, entry)
    return entries


def content_of(directory: Path, entry: Entry) -> Path | None:
    """Where the content of an entry is held; None if it is not, or no longer.

    Raises:
        ValueError: that is outside of the ledger's folder.
    """
    if entry.version.content is None or entry.is_released:
        return None
    path = file_in(directory, entry.version.content)
    if len(path.relative_to(directory).parts) != 3 or path.parent.parent.name != HELD:
        raise ValueError(f"{directory}: found the content {entry.version.content!r}, expected {HELD}/<id>/<name>")
    if path.is_symlink():
        raise ValueError(f"{path} is a link, expected what was saved")
    return path if path.exists() else None


def _read(found: Iterable[str]) -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries by id, and how each store calls the run."""
    entries: dict[str, Entry] = {}
    runs: dict[str, str] = {}
    for line in found:
        try:
            _apply(entries, runs, json.loads(line))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"found {line[:80]!r} in a ledger: {type(error).__name__}: {error}") from error
    return entries, runs


def _apply(entries: dict[str, Entry], runs: dict[str, str], record: dict[str, Any]) -> None:
    """Enter an event. One that this version does not know is passed over."""
    event = record["event"]
    if event == "opened":
        runs[str(record["store"])] = str(record["run"])
    if event == "saved":
        version = Version.from_json(record["version"])
        entries[version.id] = Entry(version, tuple(map(str, record["stores"])))
    if event == "took over":
        version, stores = Version.from_json(record["version"]), record["stores"].items()
        fates = {str(store): Fate("delivered", str(address)) for store, address in stores}
        entries[version.id] = Entry(version, tuple(fates), fates, is_earlier=True)
    if event not in _EVENTS:
        return
    entry = entries[record["id"]]
    match event:
        case "held":
            entry.version = replace(entry.version, content=str(record["content"]))
        case "sealed":
            entry.version = replace(entry.version, digest=str(record["digest"]), size=int(record["size"]))
        case "delivered" | "staged":
            entry.fates[record["store"]] = Fate(event, address=str(record["address"]))
        case "failed" if record["store"]:
            entry.fates[record["store"]] = Fate("failed", why=str(record["why"]))
        case "failed":
            entry.why = str(record["why"])
        case "removed":
            entry.removed_after = len(entries)
        case "dropped":
            address = entry.fates[record["store"]].address if record["store"] in entry.fates else ""
            entry.fates[record["store"]] = Fate("dropped", address, str(record["why"]))
        case "released":
            entry.is_released = True
        case "told":
            entry.is_told = True
