"""What a run leaves of itself in its folder: the numbers that were logged, what it is, and how it ended.

    record = Record(trainer, publisher, folder, meter, ignores)
    record.begin(trainer, module)           # once it trains, tests ...
    record.offer()                          # between batches
    record.stop()                           # before the publisher is closed
    record.end(exception)                   # behind it

Numbers are written in the background, those of a second together. Where they cannot be written they are kept, up to
`MOST`, and tried again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lwcallbacks.callbacks.cost import Meter
from lwcallbacks.callbacks.hearing import Heard, Hearing
from lwcallbacks.callbacks.trainer import model_checkpoints
from lwcallbacks.lightning import LightningModule, Trainer, either
from lwcallbacks.writers import FolderWriter, Publisher, jsonable

EVERY_SECONDS = 1.0
TOLD_EVERY_SECONDS = 60.0
"""So often a run that goes on says that it does."""
MOST = 20_000
"""Calls of `log_metrics` that may wait for a place to be written to."""
MOST_LETTERS = 500
"""Of an error that is kept."""


class Record:
    """See the module's synopsis. One for each run, on process 0.

    Args:
        ignores: whether what is logged now is none of the run's.
    """

    def __init__(
        self, trainer: Trainer, publisher: Publisher, folder: FolderWriter, meter: Meter, ignores: Callable[[], bool]
    ) -> None:
        self._publisher = publisher
        self._folder = folder
        self._meter = meter
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._waiting: deque[Heard | tuple[int, int, dict[str, float]]] = deque()
        self._last: dict[str, tuple[int, float]] = {}
        self._facts: dict[str, Any] | None = None
        self._is_fit = self._is_from_start = False
        self._is_told = True
        self._is_queued = False
        self._at = float("-inf")
        self._told_at = time.monotonic()
        self._hearing = Hearing(trainer, self._keep, lambda: publisher.is_delivering or ignores(), self._hear)
        self._hearing.start()

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """The run trains, tests or predicts from now on; only the first call counts."""
        if self._facts is None:
            with self._meter.of(None), self._publisher.attempt("lwcallbacks", "could not read what the run is"):
                self._facts = {}
                self._facts = facts_of(trainer, module)
                self._is_fit = trainer.state.fn == "fit"
                self._is_from_start = self._is_fit and trainer.global_step == 0
                self._is_told = False
                self._write_soon()

    def offer(self) -> None:
        """Have numbers written that wait, once in a while; none before the run begins, for it may never do."""
        if self._facts is None:
            return
        if self._waiting and not self._is_queued and time.monotonic() >= self._at + EVERY_SECONDS:
            self._write_soon()

    def stop_hearing(self) -> None:
        self._hearing.stop()

    def stop(self) -> None:
        """Hear no more, and have the rest written."""
        self._hearing.stop()
        if self._facts is not None and (self._waiting or not self._is_told):
            self._write_soon()

    def end(self, exception: BaseException | None) -> None:
        """The run has ended, by what was raised or of itself."""
        if not self._facts or not self._is_told:
            return
        state = "finished"
        if exception is not None:
            state = "interrupted" if isinstance(exception, KeyboardInterrupt | SystemExit) else "failed"
        failed = {"failed": dict(self._publisher.failed)} if self._publisher.failed else {}
        why = {} if exception is None else {"error": error_line(exception)}
        with suppress(OSError):  # a full disk was reported when something was to be written that matters
            self._folder.write_run({**self._facts, "ended": _now(), "state": state, **why, **failed})

    @contextmanager
    def _hear(self) -> Iterator[None]:
        """Around all that is done while somebody logs: it stops nobody, and is booked on all callbacks together."""
        on_training_thread = threading.get_ident() == self._thread
        with (
            self._meter.of(None) if on_training_thread else nullcontext(),
            self._publisher.attempt("lwcallbacks", "could not keep what was logged"),
        ):
            yield

    def _keep(self, heard: Heard) -> None:
        self._meter.of(None).cost.host_bytes += heard.host_bytes
        with self._lock:
            self._waiting.append(heard)
            lost = len(self._waiting) > MOST and self._waiting.popleft()
        if lost:
            self._publisher.say(self._folder.name, "numbers could not be written for long, the oldest are left out")
        self.offer()

    def _write_soon(self) -> None:
        self._is_queued = True
        self._at = time.monotonic()
        self._publisher.run_soon(self._write, self._folder.name, spent=partial(self._meter.in_background, None))

    def _write(self) -> None:
        """In the background."""
        self._is_queued = False
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        rows = []
        for heard in waiting:
            with self._publisher.attempt("lwcallbacks", "could not read a number that was logged"):
                rows.append(heard.settled() if isinstance(heard, Heard) else heard)
        try:
            if not self._is_told:
                self._tell()
            self._folder.write_logged(self._new(rows))
            if rows and self._facts and time.monotonic() >= self._told_at + TOLD_EVERY_SECONDS:
                self._told_at = time.monotonic()
                self._folder.write_run({**self._facts, "written": _now()})
        except BaseException:
            with self._lock:
                self._waiting.extendleft(reversed(rows))
            raise
        for step, _, values in rows:
            self._last |= {key: (step, value) for key, value in values.items()}

    def _new(self, rows: list[tuple[int, int, dict[str, float]]]) -> list[tuple[int, int, Mapping[str, float]]]:
        """A row for each step, or more where a key comes again. A number that several loggers are given is one."""
        last, joined = dict(self._last), list[tuple[int, int, dict[str, float]]]()
        for step, epoch, values in rows:
            new = {key: value for key, value in values.items() if last.get(key) != (step, value)}
            last |= {key: (step, value) for key, value in new.items()}
            if joined and joined[-1][:2] == (step, epoch) and not new.keys() & joined[-1][2].keys():
                joined[-1][2].update(new)
            elif new:
                joined.append((step, epoch, new))
        return list(joined)

    def _tell(self) -> None:
        """What the run is. One that goes on in its folder began when it began; a test of it is no new one."""
        known = self._folder.run()
        if known and not self._is_fit:
            self._facts = {}
        elif self._facts:
            last = self._folder.last_step() if known and self._is_from_start else None
            if last:  # what was only validated before has step 0
                self._publisher.say(
                    self._folder.name,
                    f"an earlier run is there, up to step {last}, and this one begins at step 0: what has the same "
                    'step takes its place. Give each fit a logger of its own: CSVLogger("logs") makes a new folder',
                )
            version = self._facts["version"] or self._folder.directory.absolute().parent.name
            self._facts |= {"version": version, "started": known.get("started", self._facts["started"])}
            self._folder.write_run(self._facts)
        self._is_told = True


def error_line(error: BaseException) -> str:
    """Type and first line of what was raised.

    >>> error_line(ValueError("a loss is not finite\\nin batch 3")), error_line(KeyboardInterrupt())
    ('ValueError: a loss is not finite', 'KeyboardInterrupt')
    """
    line = ""
    with suppress(Exception):  # an error of a user's own may fail to say itself
        line, *_ = str(error).strip().splitlines() or [""]
    told = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return told if len(told) <= MOST_LETTERS else f"{told[:MOST_LETTERS]}…"


def facts_of(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """What a run that begins is: see `lwcallbacks.writers.folder`."""
    name, version = _asked(trainer.logger, "name"), _asked(trainer.logger, "version")
    max_epochs = trainer.max_epochs
    return {
        "name": None if name is None else str(name),
        "version": None if version is None else f"version_{version}" if isinstance(version, int) else str(version),
        "started": _now(),
        "ended": None,
        "state": "running",
        "config": config_of(module, getattr(trainer, "datamodule", None)),
        **monitored(trainer),
        "max_epochs": max_epochs if trainer.state.fn == "fit" and max_epochs and max_epochs > 0 else None,
    }


def _asked(logger: Any, name: str) -> Any:
    """What a logger says of itself; None where there is none, or it does not say."""
    with suppress(Exception):
        return getattr(logger, name, None)
    return None


def monitored(trainer: Trainer) -> dict[str, str]:
    """What the first `ModelCheckpoint` with a monitor goes by, else the first `EarlyStopping`: "monitor" and "mode",
    "min" or "max"; else nothing."""
    stopping = [c for c in getattr(trainer, "callbacks", []) if isinstance(c, either("callbacks", "EarlyStopping"))]
    found = [(c.monitor, c.mode) for c in (*model_checkpoints(trainer), *stopping) if c.monitor is not None]
    return {"monitor": str(found[0][0]), "mode": str(found[0][1])} if found else {}


def config_of(module: Any, datamodule: Any = None) -> dict[str, Any]:
    """The hyperparameters of both as plain JSON. Where they differ in one, the data's is under "datamodule/"."""
    own, data = (jsonable(dict(getattr(part, "hparams", None) or {})) for part in (module, datamodule))
    both = {f"datamodule/{name}" if name in own and own[name] != value else name: value for name, value in data.items()}
    # LightningCLI keeps a word for itself among them.
    return {name: value for name, value in {**both, **own}.items() if name != "_instantiator"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
