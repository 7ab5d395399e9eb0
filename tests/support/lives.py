"""The life of a run's checkpoints: real fits that save, fail and go on, beside a model of what has to become of it.

    life = Life(tmp_path, Setting(checkpoints=(Kind("max", 2, True),), io="slow"))
    life.fit(Fit(scores=((0.0, 1.0), (2.0, 0.5)), end="ctrl-c"))      # checked after every epoch, and at its end
    life.settle()                                                     # what the store has missed is delivered

What is saved is seen where it is written, by a `CheckpointIO` of the test. All that has to follow from it is worked out
here, in plain Python: versions, names, aliases, facts, what is dropped, and what is still held.
"""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.plugins.io.wrapper import _WrappingCheckpointIO
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.artifacts.delivery import Delivery
from lwcallbacks.artifacts.ledger import Ledger, read
from lwcallbacks.artifacts.version import plain

from .shelf import Kept, Shelf, ShelfLogger, files_in
from .versions import OnExceptionCheckpoint

IOS = ("torch", "async", "slow", "in place", "slow in place", "own thread")


@dataclass(frozen=True)
class Kind:
    """A `ModelCheckpoint`."""

    mode: Literal["min", "max"] = "min"
    save_top_k: int = 1
    save_last: Literal[True, False, "link"] = False
    monitor: Literal["a", "b"] = "a"
    filename: str | None = None


@dataclass(frozen=True)
class Setting:
    """What stays the same in all fits of a history."""

    checkpoints: tuple[Kind, ...] = (Kind(),)
    io: str = "torch"
    is_live: bool = True
    saves_on_exception: bool = False
    saves_itself: bool = False
    """Whether the user's program saves at the end of every other epoch, to one path."""
    keep: Literal["ranked", "all"] = "ranked"


@dataclass(frozen=True)
class Fit:
    """One fit, of as many epochs as there are scores (of "a" and "b"), and what ends it in a further epoch."""

    scores: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    end: Literal["", "error", "ctrl-c"] = ""
    start: Literal["go on", "resume", "afresh"] = "afresh"
    """"go on": the same Trainer, where the last fit ended well; "resume": from the newest checkpoint; "afresh"."""
    folder: int = 0
    faults: tuple[str | None, ...] = ()
    is_dead: bool = False


@dataclass(eq=False)
class Saved:
    """One save, and what has to become of it."""

    path: Path
    epoch: int
    step: int
    fit: int
    folder: int
    digest: str = ""
    aliases: tuple[str, ...] = ()
    score: Any = None
    metrics: dict[str, Any] | None = None
    best: dict[str, float] = field(default_factory=dict)
    """Of each `ModelCheckpoint`, as the checkpoint remembers it."""
    is_version: bool = True
    is_dropped: bool = False
    """By a fit in its own folder."""
    dropped_by: set[int] = field(default_factory=set)
    """The other folders in which a fit has gone on from it, removed it, and could not reach the store yet."""
    knows: frozenset[int] = frozenset()
    """The serial numbers of the versions that the checkpoint lists: itself, and those before it."""

    @property
    def scope(self) -> str:
        return self.path.parent.name


class TheEnd(Exception):
    """Ends a fit."""


class Net(pl.LightningModule):
    """Counts its steps in a buffer, in place, so that a file tells when its weights were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def begin(self, fit: Fit) -> None:
        self.fit, self.epoch = fit, -1

    @property
    def scores(self) -> tuple[float, float]:
        return self.fit.scores[max(0, min(self.epoch, len(self.fit.scores) - 1))]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.fit.end and self.epoch == len(self.fit.scores):
            raise KeyboardInterrupt if self.fit.end == "ctrl-c" else TheEnd
        self.count += 1
        return (self.weight * batch[0]).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        for name, score in zip("ab", self.scores, strict=True):
            self.log(name, torch.tensor(score), batch_size=1)

    def on_train_epoch_start(self) -> None:
        self.epoch += 1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class _InPlace(TorchCheckpointIO):
    """Opens the file that is there, as Lightning did before 2.4."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)


class _OwnThread(TorchCheckpointIO):
    """Returns at once, and writes in a thread of its own."""

    def __init__(self, life: Life) -> None:
        self.life = life

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        kept = {**checkpoint, "state_dict": {k: v.clone() for k, v in checkpoint["state_dict"].items()}}
        self.life.executor.submit(self._write, kept, path)

    def _write(self, checkpoint: Any, path: Any) -> None:
        time.sleep(0.03)
        super().save_checkpoint(checkpoint, path)
        self.life.is_written(checkpoint, path)


class _Slow(_WrappingCheckpointIO):
    """Around the one that writes: slower than an epoch, and tells what was written."""

    def __init__(self, io: Any, life: Life) -> None:
        super().__init__(io)
        self.life = life

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        if self.life.setting.io.startswith("slow"):
            time.sleep(0.03)
        self.checkpoint_io.save_checkpoint(checkpoint, path, storage_options)
        if self.life.setting.io != "own thread":
            self.life.is_written(checkpoint, path)


class _Sees(_WrappingCheckpointIO):
    """Around all others: tells what is saved and removed, on the thread that trains."""

    def __init__(self, io: Any, life: Life) -> None:
        super().__init__(io)
        self.life = life

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        self.life.sees_save(Path(path), checkpoint)
        self.checkpoint_io.save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: Any) -> None:
        self.life.sees_removal(Path(path))
        self.checkpoint_io.remove_checkpoint(path)


def _io(life: Life) -> Any:
    writes = {"own thread": partial(_OwnThread, life), "in place": _InPlace, "slow in place": _InPlace}
    io: Any = _Slow(writes.get(life.setting.io, TorchCheckpointIO)(), life)
    if life.setting.io in ("async", "slow", "slow in place"):
        io = AsyncCheckpointIO(io)
    return _Sees(io, life)


class _Acts(pl.Callback):
    """Saves as a user would, and has everything checked at the start of each epoch."""

    def __init__(self, life: Life) -> None:
        self.life = life

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.life.check(is_over=False)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.life.setting.saves_itself and trainer.current_epoch % 2 == 0:
            trainer.save_checkpoint(self.life.root / "acts" / "mine.ckpt")


class Life:
    """The fits of a history, and its model."""

    def __init__(self, root: Path, setting: Setting) -> None:
        self.root, self.setting = root, setting
        self.saved: list[Saved] = []
        """By serial number."""
        self.shelf = Shelf(is_live=setting.is_live)
        self.waiting: set[int] = set()
        """The folders whose last fit could not deliver."""
        self.names: dict[tuple[int, str], str] = {}
        self.known: dict[int, set[int]] = {}
        """By folder, the versions of other folders that its ledger has: a fit there went on from what lists them."""
        self.dropped_elsewhere: set[int] = set()
        self.gone: dict[int, set[int]] = {}
        """By folder, the versions that were removed there."""
        self.executor: Any = None
        self._fits = 0
        self._now = Fit()
        self._trainer: Any = None
        self._module = Net()
        self._ours: Any = None
        self._best: dict[str, float] = {}
        self._lock = threading.RLock()

    # -- what happens --------------------------------------------------------------------------------------------------

    def fit(self, fit: Fit) -> None:
        self._fits += 1
        if self.setting.io == "own thread":
            fit = replace(fit, is_dead=False)  # to lose patience with the store is to lose it with the writer
        path: Path | None = None
        if fit.start == "go on" and self._trainer is not None:
            fit = replace(fit, folder=self._now.folder)
            trainer = self._trainer
            trainer.fit_loop.max_epochs += len(fit.scores) + bool(fit.end)
        else:
            newest = [s.path for s in self.saved if s.path.exists() and s.digest][-1:]
            # With an OnExceptionCheckpoint Lightning looks for something to resume from, asked or not.
            if newest and (fit.start == "resume" or self.setting.saves_on_exception):
                path = newest[0]
                there = self.saved[torch.load(path, weights_only=True)["serial"]]
                self._best = dict(there.best)
                others = {n for n in there.knows if self.saved[n].folder != fit.folder}
                self.known.setdefault(fit.folder, set()).update(others)
            else:
                self._best = {}
            done = 0 if path is None else there.epoch + 1
            self._module = Net()
            trainer = self._new(fit, done + len(fit.scores) + bool(fit.end))
        self._now = fit
        self._module.begin(fit)
        self._ours.patience = 0.5 if fit.is_dead else 30
        self.shelf.is_dead = fit.is_dead
        self.shelf.faults.extend(fit.faults)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ended_well = self._run(trainer, path)
        self._trainer = trainer if ended_well else None
        self.shelf.faults.clear()
        self.waiting.discard(fit.folder)
        if fit.is_dead:
            self.waiting.add(fit.folder)
        self.check(is_over=True)
        owners = [trainer, trainer.strategy, trainer.strategy.checkpoint_io]
        while hasattr(owners[-1], "checkpoint_io"):
            owners.append(owners[-1].checkpoint_io)
        for owner in owners:
            assert not {"save_checkpoint", "remove_checkpoint"} & vars(owner).keys(), f"left behind on {owner}"
        _no_threads()

    def _run(self, trainer: Any, path: Path | None) -> bool:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with ThreadPoolExecutor(1) as self.executor:
            try:
                trainer.fit(self._module, _loader(), _loader(), ckpt_path=path)
            except (TheEnd, KeyboardInterrupt, SystemExit):  # Lightning 2.3 and later exits on Ctrl-C
                return False
        return not trainer.interrupted

    def settle(self) -> None:
        """Deliver what the store has missed, as the command does."""
        self.shelf.is_dead = False
        for folder in sorted(self.waiting):
            with Ledger(self.artifacts(folder)) as ledger:
                assert Delivery(ledger, [self.shelf], say=_ignored).finish(patience=30) == 0
        self.waiting.clear()
        self.check(is_over=True)
        _no_threads()

    def artifacts(self, folder: int) -> Path:
        return self.root / "logs" / "shelf" / f"run{folder}" / "artifacts"

    def _new(self, fit: Fit, max_epochs: int) -> Any:
        setting = self.setting
        checkpoints: list[Any] = [
            ModelCheckpoint(
                str(self.root / scope), monitor=kind.monitor, mode=kind.mode, save_top_k=kind.save_top_k,
                save_last=kind.save_last, filename=kind.filename,
                **({} if kind.filename is None else {"enable_version_counter": False}),
            )
            for scope, kind in zip("ab", setting.checkpoints, strict=False)
        ]  # fmt: skip
        others: list[Any] = [_Acts(self)]
        if setting.saves_on_exception and OnExceptionCheckpoint is not None:
            others.append(OnExceptionCheckpoint(self.root / "exception"))
        self._ours = lw.CheckpointArtifact(keep=setting.keep)
        return pl.Trainer(
            accelerator="cpu", devices=1, max_epochs=max_epochs, num_sanity_val_steps=0, log_every_n_steps=1,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=self.root,
            logger=ShelfLogger(self.root / "logs", self.shelf, version=f"run{fit.folder}"),
            callbacks=[self._ours, *others, *checkpoints],
            plugins=[_io(self)],
        )  # fmt: skip

    # -- the model -----------------------------------------------------------------------------------------------------

    def sees_save(self, path: Path, checkpoint: Any) -> None:
        """A save: its facts follow from the scores, and from what was saved before."""
        with self._lock:
            saved = Saved(path, checkpoint["epoch"], checkpoint["global_step"], self._fits, self._now.folder)
            checkpoint["serial"] = len(self.saved)
            aliases = ["latest"]
            kind = dict(zip("ab", self.setting.checkpoints, strict=False)).get(saved.scope)
            knows = frozenset(self._there(saved.folder))
            if saved.scope != "exception":
                scores = self._module.scores
                saved.metrics = dict(zip("ab", map(plain, scores), strict=True))
            if kind is not None:
                score, is_last = scores["ab".index(kind.monitor)], path.name.startswith("last")
                saved.score = plain(score)
                saved.is_version = not (is_last and self._is_twin(saved))
                if not is_last and self._improves(saved.scope, kind, score):
                    aliases.append("best")
                aliases += ["last"] if kind.save_last else []
                if kind.save_top_k != -1:
                    self._drop(path)
            saved.aliases = (*aliases, f"epoch-{saved.epoch}", f"step-{saved.step}")
            saved.best = dict(self._best)
            self.saved.append(saved)
            saved.knows = knows | ({len(self.saved) - 1} if saved.is_version else set())

    def _is_twin(self, saved: Saved) -> bool:
        before = [s for s in self.saved if (s.fit, s.scope) == (saved.fit, saved.scope)]
        return bool(before) and (before[-1].epoch, before[-1].step) == (saved.epoch, saved.step)

    def _improves(self, scope: str, kind: Kind, score: float) -> bool:
        """Whether it is the best now; NaN takes the place of the worst, and is never called the best.

        With one name for all files there is one file, and it is the best one there is.
        """
        value = -math.inf if math.isnan(score) else score if kind.mode == "max" else -score
        if value <= self._best.get(scope, math.nan) and kind.filename is None:
            return False
        self._best[scope] = value
        return not math.isnan(score)

    def is_written(self, checkpoint: Any, path: Any) -> None:
        with suppress(FileNotFoundError):  # it was removed already
            self.saved[checkpoint["serial"]].digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    def sees_removal(self, path: Path) -> None:
        with self._lock:
            if path.parent.name in ("a", "b"):
                self._drop(path)

    def _drop(self, path: Path) -> None:
        """The versions at a path that this folder's ledger has are no longer wanted."""
        if self.setting.keep == "all":
            return
        folder = self._now.folder
        for serial in self._there(folder):
            if self.saved[serial].path == path:
                self.gone.setdefault(folder, set()).add(serial)
                if self.saved[serial].folder == folder:
                    self.saved[serial].is_dropped = True
                else:
                    self.saved[serial].dropped_by.add(folder)

    def _there(self, folder: int) -> set[int]:
        """The versions that a folder's ledger has, and that were not removed there."""
        own = {n for n, s in enumerate(self.saved) if s.folder == folder and s.is_version}
        return (own | self.known.get(folder, set())) - self.gone.get(folder, set())

    # -- what must be true ---------------------------------------------------------------------------------------------

    def check(self, is_over: bool) -> None:
        """After every step: nothing twice, nothing wrong; when a fit is over, nothing lost and nothing held."""
        with self._lock:
            came = {kept.checkpoint["serial"]: kept for kept in list(self.shelf.there.values())}
            twice = [k.version.id for k in self.shelf.there.values() if came[k.checkpoint["serial"]] is not k]
            assert not twice, "one save, one version"
            for folder in {s.folder for s in self.saved}:
                order = [serial for serial in came if self.saved[serial].folder == folder]
                # When a writer with a thread of its own is done is only seen now and then.
                assert order == sorted(order) or self.setting.io == "own thread", "in the order of the saves"
            for serial, kept in came.items():
                self._check_facts(self.saved[serial], kept)
            if is_over:
                self._check_all_is_there(came)
                self._check_held(came)

    def _check_facts(self, saved: Saved, kept: Kept) -> None:
        found, checkpoint = kept.version, kept.checkpoint
        assert saved.is_version, "a copy of what is there"
        assert found.digest == kept.digest, "the bytes that were held"
        assert not saved.digest or kept.digest == f"sha256:{saved.digest}", "the bytes that were written"
        assert checkpoint["epoch"] == found.metadata["epoch"] == saved.epoch
        assert checkpoint["global_step"] == found.metadata["step"] == saved.step
        assert int(checkpoint["state_dict"]["count"]) == saved.step, "the weights of that step"
        if self.setting.io == "own thread":
            assert set(kept.aliases) <= set(saved.aliases), "without those of one that came before its turn"
        else:
            assert kept.aliases == saved.aliases
        assert found.metadata["score"] == saved.score
        assert found.metadata["filename"] == saved.path.name
        if saved.metrics is not None:
            assert found.metadata["metrics"] == saved.metrics
        assert self.names.setdefault((saved.folder, saved.scope), found.name) == found.name, "as before the resume"
        others = [name for (folder, scope), name in self.names.items() if scope != saved.scope]
        assert found.name not in others, "each callback has an artifact of its own"

    def _check_all_is_there(self, came: Mapping[int, Kept]) -> None:
        lost, dropped, carries = [], set(), {}
        for serial, saved in enumerate(self.saved):
            if saved.folder in self.waiting or not saved.is_version:
                continue
            if serial not in came:
                lost += [] if self._is_never_wanted(saved) else [saved]
            elif saved.is_dropped:
                dropped.add(came[serial].version.id)
        for serial, saved in enumerate(self.saved):
            if done := saved.dropped_by - self.waiting:
                saved.dropped_by -= done
                self.dropped_elsewhere |= {serial} & came.keys()
        dropped |= {came[serial].version.id for serial in self.dropped_elsewhere}
        assert not lost
        assert {id for id in self.shelf.dropped if self._is_settled(id)} == {
            id for id in dropped if self._is_settled(id)
        }, "what ModelCheckpoint has removed, and nothing else"
        for serial, kept in sorted(came.items()):
            carries |= {(kept.version.name, alias): kept.version.id for alias in self.saved[serial].aliases}
        assert self.shelf.aliases == carries, "on the newest that has it"

    def _is_settled(self, id: str) -> bool:
        saved = self.saved[self.shelf.there[id].checkpoint["serial"]]
        return saved.folder not in self.waiting and not saved.dropped_by

    def _is_never_wanted(self, saved: Saved) -> bool:
        """It would have been delivered at the end, and was removed by then."""
        return saved.is_dropped and not self.setting.is_live

    def _check_held(self, came: Mapping[int, Kept]) -> None:
        for folder in {s.folder for s in self.saved}:
            there = [(serial, s) for serial, s in enumerate(self.saved) if s.folder == folder and s.is_version]
            waits = [
                serial for serial, s in there
                if folder in self.waiting and serial not in came
                and not self._is_never_wanted(s)
            ]  # fmt: skip
            held = {p: torch.load(p, weights_only=True) for p in files_in(self.artifacts(folder) / "held")}
            assert sorted(c["serial"] for c in held.values()) == waits, "nothing is held that nobody waits for"
            entries = [entry for entry in read(self.artifacts(folder)) if not entry.is_earlier]
            assert [e.why for e in entries] == [""] * len(there)
            assert [(e.version.metadata["epoch"], e.version.metadata["step"]) for e in entries] == [
                (s.epoch, s.step) for _, s in there
            ]
            kept = [self.artifacts(folder) / str(e.version.content) for e in entries if e.waiting]
            assert [held[path]["serial"] for path in kept] == waits
            assert [f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in kept] == [
                e.version.digest for e in entries if e.waiting
            ]


def _loader() -> Any:
    return DataLoader(TensorDataset(torch.ones(2, 1)), batch_size=1)


def _ignored(message: str) -> None:
    pass


def _no_threads() -> None:
    """The threads have ended, or do so as soon as they have a turn."""
    until = time.monotonic() + 10
    while left := [t.name for t in threading.enumerate() if t.name.startswith("lwcallbacks-shelf")]:
        assert time.monotonic() < until, left
        time.sleep(0.01)
