"""The saves of one fit, from the moment of saving to their delivery.

    life = Life(trainer, ledger_directory, stores, policy, say=..., attempt=..., before=state_of_a_checkpoint)
    life.begin()
    for saved in life.take_saved():     # on the training thread, now and then: what was written since
        ...
    life.end(patience=300)              # waits for what is being written and delivered; what is not is in the ledger

A save that fails to be held or entered costs itself: training goes on.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from lightning_utilities.core.rank_zero import rank_zero_info

from lwcallbacks.artifacts.delivery import Delivery
from lwcallbacks.artifacts.earlier import tidy
from lwcallbacks.artifacts.holding import hold, release
from lwcallbacks.artifacts.ledger import HELD, Ledger
from lwcallbacks.artifacts.ledgers import sent_from
from lwcallbacks.artifacts.lineage import remembered, take_over
from lwcallbacks.artifacts.store import Store
from lwcallbacks.artifacts.version import Version, plain
from lwcallbacks.callbacks.facts import facts_of_run, facts_of_save
from lwcallbacks.callbacks.saves import Save, Saves
from lwcallbacks.callbacks.trainer import innermost_io, is_address, model_checkpoints, writes_anew
from lwcallbacks.lightning import LightningModule, Trainer, either

Attempt = Callable[[str], AbstractContextManager[None]]
"""A block whose error is reported and does not stop training, told what it could not do."""


@dataclass(frozen=True)
class Policy:
    """How versions are called, and how long they are kept.

    Args:
        base: the artifact's name, where one thing saves.
        aliases: templates of further aliases, filled from the facts: "epoch-{epoch}".
        metadata: what is added to the facts.
        keep: "ranked" drops what a `ModelCheckpoint` removes, "all" nothing; a time drops it after that, where the
            store can.
        staging_limit: bytes; see `Delivery`.
    """

    base: str
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    keep: Literal["ranked", "all"] | timedelta
    staging_limit: int | None


@dataclass(frozen=True)
class Saved:
    """A version whose content is there, and the step that loggers know it by."""

    version: Version
    step: int


@dataclass
class _Noted:
    """What was noted when a save began."""

    num_before: int
    """Entries of the ledger by then: what is entered later is saved later, also where this one is written late."""
    saved: Saved | None = None
    """None for a twin of what is there."""


@dataclass
class _Scope:
    """What one callback saves: an artifact of its own."""

    name: str
    newest: tuple[Any, ...] = ()
    """Path, epoch and step of the last save."""


class Life:
    """Listens to the saves of a fit; see the module's synopsis. Made and used on process 0 only."""

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        directory: Path,
        stores: Sequence[Store],
        policy: Policy,
        *,
        step: Callable[[], int],
        listens: Callable[[], bool],
        attempt: Attempt,
        say: Callable[[str], object],
        before: Mapping[str, Any],
    ) -> None:
        self._trainer = trainer
        self._policy = policy
        self._step = step
        self._attempt = attempt
        self._say = say
        self._facts = facts_of_run(trainer, module) | {"callback": "CheckpointArtifact"}
        self._directory = directory
        self._ledger = Ledger(directory)
        self._stores = stores
        for store in stores:
            store.retention = policy.keep if isinstance(policy.keep, timedelta) else None
        self._saves = Saves(trainer, self, listens)
        with attempt("could not take over what the checkpoint says of earlier versions"):
            take_over(before, self._ledger)
        with self._undoing():
            self._delivery = Delivery(self._ledger, stores, say=say, staging_limit=policy.staging_limit)
        self._scopes: dict[str, _Scope] = {}
        self._written: deque[Saved] = deque()
        self._holding = threading.RLock()

    def begin(self) -> None:
        with self._undoing():
            self._saves.open()
        with self._attempt("could not look at what earlier runs have left"):
            for left in tidy(self._directory.parent.parent, self._directory):
                if left.undelivered:
                    told = f"{left.undelivered} checkpoints of an earlier run wait to be delivered"
                    self._say(f"{told}: python -m lwcallbacks artifacts {left.directory} --deliver")
                for address, count in left.staged.items():
                    told = f"{count} checkpoints of an earlier run are in its offline run of W&B"
                    rank_zero_info(f"lwcallbacks: {told}: wandb sync {sent_from(left.directory, address)}")

    @property
    def remembered(self) -> dict[str, Any]:
        """What a run that goes on from here has to know of the versions so far; plain values."""
        return remembered(self._ledger)

    def look(self) -> None:
        """See whether a checkpoint has appeared that was not there when its CheckpointIO returned."""
        self._saves.look()

    def take_saved(self) -> list[Saved]:
        """What was written since the last call, in that order."""
        return [self._written.popleft() for _ in range(len(self._written))]

    def close(self, patience: float) -> None:
        """Wait for what is being written, `patience` seconds for each save; the Trainer is as it was before."""
        self._saves.close(patience)

    def end(self, patience: float, progress: Callable[[int], object] | None = None) -> int:
        """Wait for what is being delivered, as long as there is progress. How many versions wait then."""
        try:
            return self._delivery.finish(patience, progress)
        finally:
            self._ledger.close()

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        """Leave the ledger to others where this can't begin."""
        try:
            yield
        except BaseException:
            self._ledger.close()
            raise

    # -- what `Saves` tells ------------------------------------------------------------------------------------

    def on_save(self, save: Save) -> None:
        if isinstance(
            save.asked_by, (*either("callbacks", "LearningRateFinder"), *either("callbacks", "BatchSizeFinder"))
        ):
            return  # to go back to afterwards, and then it is removed
        noted = save.facts = _Noted(len(self._ledger.entries))
        with self._attempt(f"could not note the facts of {save.path}"):
            scope = self._scope(save.asked_by)
            facts = facts_of_save(self._trainer, save.asked_by)
            here = (facts["epoch"], facts["step"])
            is_last = _is_last(save)
            if is_last and scope.newest[1:] == here:
                return  # its twin carries the alias: the same training state, in a file of its own
            scope.newest = (save.path, *here)
            version = self._version(save, scope, facts, is_last)
            self._ledger.saved(version, self._takers(save.path))
            noted.saved = Saved(version, self._step())

    def on_written(self, save: Save) -> None:
        with self._attempt(f"could not hold {save.path}"), self._holding:
            noted = save.facts
            if noted is not None and noted.saved is not None:
                self._hold(save, noted.saved.version, noted.saved.step)
            # What was at this path before is no more, and that is as if it had been removed.
            if noted is not None and getattr(save.asked_by, "save_top_k", -1) != -1:
                self._dropped(save.path, save.asked_by, noted.num_before)

    def _hold(self, save: Save, version: Version, step: int) -> None:
        held = self._directory / HELD / version.id / Path(save.path).name
        try:
            if not version.is_remote:
                is_safe = save.by_io and writes_anew(innermost_io(self._trainer.strategy.checkpoint_io))
                hold(Path(save.path), held.parent, copy=not is_safe)
                self._ledger.held(version.id, held)
                version = replace(version, content=held.relative_to(self._directory).as_posix())
        except Exception as error:
            release(held)
            self._ledger.failed(version.id, f"could not be held: {type(error).__name__}: {error}")
            raise
        self._delivery.take(version)
        self._written.append(Saved(version, step))

    def on_failed(self, save: Save, error: BaseException | None) -> None:
        if save.facts is None or save.facts.saved is None:
            return
        why = "it was not there in time" if error is None else f"{type(error).__name__}: {error}"
        with self._attempt(f"could not note that {save.path} was not saved"):
            self._ledger.failed(save.facts.saved.version.id, f"could not be saved: {why}")
            if error is None:
                self._say(f"the checkpoint {save.path} is not delivered: {why}")

    def on_remove(self, path: str, asked_by: Any) -> None:
        if isinstance(asked_by, either("callbacks", "ModelCheckpoint")):
            with self._attempt(f"could not drop the version of {path}"):
                self._dropped(path, asked_by)

    # ----------------------------------------------------------------------------------------------------------

    def _takers(self, path: str) -> list[str]:
        """The stores that can take what is saved to a path."""
        refused = {store.name: why for store in self._stores if (why := store.refuses(path)) is not None}
        for name, why in refused.items():
            self._say(f"checkpoints are not delivered to {name}: {why}")
        return [store.name for store in self._stores if store.name not in refused]

    def _dropped(self, path: str, asked_by: Any, end: int | None = None) -> None:
        """Drop what was saved to a path, in this run or one that it goes on from; of the first `end` entries only."""
        if self._policy.keep == "all":
            return
        name = self._scope(asked_by).name
        for entry in self._ledger.entries[:end]:
            is_its = entry.is_earlier or entry.version.name == name  # another run may have another name for it
            if is_its and entry.version.path == _absolute(path) and not entry.is_removed:
                self._delivery.remove(entry.version.id)

    def _scope(self, asked_by: Any) -> _Scope:
        """By who saves. Names stay the same when a run is resumed, and no two are alike."""
        key = "" if asked_by is None else f"{type(asked_by).__module__}.{asked_by.state_key}"
        if key not in self._scopes:
            self._scopes[key] = _Scope(self._name(asked_by, key))
        return self._scopes[key]

    def _name(self, asked_by: Any, key: str) -> str:
        base = self._policy.base
        if asked_by is None:
            return f"{base}-saved"
        if not isinstance(asked_by, either("callbacks", "ModelCheckpoint")):
            return f"{base}-{type(asked_by).__name__}-{zlib.crc32(key.encode()):08x}"
        if len(model_checkpoints(self._trainer)) == 1:
            return base
        monitor = re.sub(r"[^A-Za-z0-9_.-]", "_", asked_by.monitor or "last")
        return f"{base}-{monitor}-{zlib.crc32(key.encode()):08x}"

    def _version(self, save: Save, scope: _Scope, facts: Mapping[str, Any], is_last: bool) -> Version:
        own = self._policy.metadata
        metadata = plain({**self._facts, **facts, "filename": save.path.rsplit("/", 1)[-1], **own})
        aliases = self._aliases(save, scope.name, facts, metadata, is_last)
        return Version(uuid4().hex[:16], scope.name, _absolute(save.path), aliases, metadata)

    def _aliases(
        self, save: Save, scope: str, facts: Mapping[str, Any], metadata: Mapping[str, Any], is_last: bool
    ) -> tuple[str, ...]:
        aliases = ["latest"]
        if _is_best(save, facts):
            aliases.append("best")
        if is_last or getattr(save.asked_by, "save_last", None):
            aliases.append("last")
        for template in self._policy.aliases:
            try:
                alias = template.format(**{**facts["metrics"], **metadata})
            except Exception as error:  # a field that is not there, or of which there is no value at this save
                known = {**facts["metrics"], **metadata}
                there = ", ".join(sorted(key for key, value in known.items() if _fits(value)))
                told = f"the alias {template!r} has no value for a save of {scope}, which goes without it"
                self._say(f"{told}: {type(error).__name__}: {error}. There are: {there}")
                continue
            aliases.append(re.sub(r"[^\w.=+-]", "-", alias))
        return tuple(dict.fromkeys(aliases))


def _fits(value: Any) -> bool:
    """Whether it can be a part of an alias."""
    return isinstance(value, (str, int, float))


def _is_last(save: Save) -> bool:
    last = getattr(save.asked_by, "last_model_path", None)
    return bool(last) and _same(str(last), save.path)


def _is_best(save: Save, facts: Mapping[str, Any]) -> bool:
    """Whether it is its `ModelCheckpoint`'s best; never by a value that is NaN."""
    best = getattr(save.asked_by, "best_model_path", None)
    is_nan = facts["monitor"] is not None and facts["score"] in (None, "nan")
    return bool(best) and _same(str(best), save.path) and not is_nan


def _same(path: str, other: str) -> bool:
    # Below a relative folder Lightning writes "./logs", which is no string of a path.
    return _absolute(path) == _absolute(other)


def _absolute(path: str) -> str:
    """As whoever is started elsewhere needs it."""
    return path if is_address(path) else os.path.abspath(path)
