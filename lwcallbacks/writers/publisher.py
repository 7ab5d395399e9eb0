"""Drawing and writing on a background thread, and what happens when that fails.

    publisher = Publisher(writers, loggers)
    publisher.publish(lambda: {"val/worst": draw(best), "val/accuracy": 0.9}, step=120, owner="Worst('val/worst')")
    publisher.say("Worst('val/worst')", "images were stretched")      # a warning, once, from any thread
    with publisher.attempt("MyCallback", "could not read its file"):                          # on the main thread
        ...
    publisher.close()

One worker thread draws and writes, first come first served. Media go to the writers from that thread. Scalars go to
the writers and, since not every logger takes them from another thread, into a mailbox: the main thread empties it into
the loggers at the next call.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lwcallbacks.media import Entry, drawn_once, fitted, kind_of
from lwcallbacks.warn import warn
from lwcallbacks.writers.base import NotWritten, Writer, each

Render = Callable[[], Mapping[str, Entry | float]]
After = Callable[[], object]
Spent = Callable[[float, int], object]

MAX_REASONS = 8
MAX_PENDING_BYTES = 256 * 2**20


@dataclass(frozen=True)
class _Job:
    """What was published, what its `render` holds in bytes until it is done, and how many places it takes."""

    render: Render
    step: int
    after: After | None
    owner: str
    size: int
    spent: Spent | None
    places: int = 1


class Publisher:
    """Runs `render` and the writers on one background thread, at most `max_pending` calls and `max_bytes` behind.

    Whatever fails, in the background, in a logger or inside `attempt`, is counted in `failures` and reported on the
    main thread, at the next `publish`, `deliver`, `flush` or `close`. With `on_error="warn"` that is one warning for
    each reason of each callback or writer, with "raise" the first exception itself. Either way the other entries and
    the other writers get their part.

    What is queued when the interpreter exits is still written; only a wait that was interrupted is not taken up again.
    A child by `os.fork` has no part in the queue of its parent: it begins with an empty one.

    Args:
        writers: what keeps media, in the order in which each entry is handed to them.
        loggers: what gets the scalars, by `log_metrics(scalars, step=step)` on the main thread.
        on_error: "warn" or "raise".
        max_pending: calls that may wait for the thread.
        max_bytes: what waiting calls may hold together, as their `size` says. One that holds more waits alone.
        patience: seconds that `publish` waits for a place in the queue. Then what is published is dropped, counted
            and reported: a writer that hangs does not stop the training.
    """

    def __init__(
        self,
        writers: Sequence[Writer] = (),
        loggers: Sequence[Any] = (),
        *,
        on_error: Literal["warn", "raise"] = "warn",
        max_pending: int = 16,
        max_bytes: int = MAX_PENDING_BYTES,
        patience: float = 60.0,
    ) -> None:
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error is {on_error!r}, expected 'warn' or 'raise'")
        if max_pending < 1:
            raise ValueError(f"max_pending is {max_pending}, expected at least 1")
        self.writers = list(writers)
        self.loggers = list(loggers)
        self.on_error = on_error
        self.patience = patience
        self.failures = 0
        self.failed: Counter[str] = Counter()
        """How many of the failures are whose: by callback, writer or logger."""
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._told: dict[str, set[tuple[Any, ...]]] = {}
        self._delivering: int | None = None
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """An empty queue, with no thread. Of a parent by `os.fork`, the thread is gone and its locks may be held."""
        self._room = threading.Condition()
        self._num_pending = self._num_bytes = 0
        self._stuck = False
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._scalars: list[tuple[dict[str, float], int]] = []
        self._errors: list[tuple[str, BaseException]] = []
        self._said: list[str] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Publisher:
        return self  # a copied callback writes to the same loggers, by the same thread

    def publish(
        self,
        render: Render,
        step: int,
        after: After | None = None,
        owner: str = "A callback",
        *,
        size: int = 0,
        spent: Spent | None = None,
    ) -> None:
        """Queue `render()`, the writing of what it returns, and `after()`, which is called whatever became of them.

        Waits only while `max_pending` calls are queued, or `max_bytes`. `render` runs on the worker: it must hold all
        it needs and touch no accelerator state that training changes.

        Args:
            owner: who publishes, in messages: a callback with its key, such as "ImageMosaic('val/mosaic')".
            size: the bytes of memory that `render` holds.
            spent: called on the worker with the seconds of processor time that this took there, and the bytes that
                the writers put on disk.
        """
        self.deliver()
        job = _Job(render, step, after, owner, size, spent)
        if not self._enter(job, timeout=0 if self._stuck else self.patience):
            self._stuck = True
            behind = TimeoutError(f"nothing was written for {self.patience:g} s, and no more can wait")
            self._failed(owner, f"had to skip step {step}", behind)
            return self._finish(job)
        self._stuck = False
        self._put(job)

    def run_soon(self, work: Callable[[], object], owner: str, *, spent: Spent | None = None) -> None:
        """Queue `work()`, which takes no place in the queue and never waits: for one that is queued once at a time.

        It may write to what only the worker writes to. What it raises is reported as of `owner`, which could not be
        written.
        """
        self._put(_Job(self._working(work, owner), 0, None, owner, 0, spent, places=0))

    def _working(self, work: Callable[[], object], owner: str) -> Render:
        def render() -> Mapping[str, Entry | float]:
            with self.attempt(owner, "could not be written to"):
                work()
            return {}

        return render

    def _put(self, job: _Job) -> None:
        try:
            self._start()
        except RuntimeError:  # the interpreter is shutting down and starts no more threads: do it here
            self._work(job)
        except BaseException:
            self._leave(job)
            raise
        else:
            self._jobs.put(job)

    def _enter(self, job: _Job, timeout: float) -> bool:
        """Wait until there is room for one more call, and for what it holds."""

        def has_room() -> bool:
            fits = self._num_bytes + job.size <= self._max_bytes or not self._num_pending
            return fits and self._num_pending < self._max_pending

        with self._room:
            if not self._room.wait_for(has_room, timeout):
                return False
            self._num_pending += job.places
            self._num_bytes += job.size
        return True

    def _leave(self, job: _Job) -> None:
        with self._room:
            self._num_pending -= job.places
            self._num_bytes -= job.size
            self._room.notify_all()

    def deliver(self) -> None:
        """Give the loggers the scalars rendered since the last call, oldest first, then report what failed."""
        with self._lock:
            taken, self._scalars = self._scalars, []
        before, self._delivering = self._delivering, threading.get_ident()
        try:
            for scalars, step in taken:
                for logger in self.loggers:
                    with self.attempt(type(logger).__name__, f"could not log {_names(scalars)} of step {step}"):
                        logger.log_metrics(scalars, step=step)
        finally:
            self._delivering = before
        self._report()

    @property
    def is_delivering(self) -> bool:
        """Whether this thread gives scalars to the loggers just now, which the writers have already."""
        return self._delivering == threading.get_ident()

    @contextlib.contextmanager
    def attempt(self, who: str, what: str) -> Iterator[None]:
        """Do something that must not stop training: an exception ends the block, is counted and reported later."""
        try:
            yield
        except Exception as error:
            self._failed(who, what, error)

    def say(self, owner: str, text: str, *, for_all: bool = False) -> None:
        """Warn on the main thread at the next call there; once for each owner and text, whatever numbers are in it.

        With `for_all` once for the text, whoever is the first.
        """
        with self._lock:
            if self._is_new("" if for_all else owner, ("said", _masked(text))):
                self._said.append(f"{owner}: {text}")

    def flush(self) -> None:
        """Wait until all that was queued is written, deliver the scalars and report what failed.

        A KeyboardInterrupt ends the waiting and nothing else: the queue stays and the worker goes on.
        """
        self._jobs.join()
        self.deliver()

    def close(self) -> None:
        """Flush, close the writers and end the thread. Closing twice does no more, publishing again starts them again.

        On Ctrl-C the queue is dropped, with a warning that says how much it held. The thread ends with the write that
        is under way; nothing waits for it.
        """
        thread = self._thread
        if thread is not None:
            try:
                # Not by joining the thread: Python 3.11 takes it for ended when that is interrupted.
                self._jobs.join()
            except KeyboardInterrupt:
                self.drop()
                raise
            self._end()
            thread.join()
            for writer in self.writers:
                with self.attempt(_name_of(writer), "could not be closed"):
                    writer.close()
        self.deliver()

    def drop(self) -> None:
        """Drop the queue, with a warning that says how much it held; nothing waits for the write that is under way."""
        if self._thread is None:
            return
        dropped = 0
        with contextlib.suppress(queue.Empty):
            while job := self._jobs.get_nowait():
                self._finish(job)
                self._leave(job)
                self._jobs.task_done()
                dropped += 1
        self._end()
        self.failures += dropped
        found = f"{dropped} queued {'drawing was' if dropped == 1 else 'drawings were'} not written"
        warn(f"On Ctrl-C the queue is dropped: {found}.")

    def _end(self) -> None:
        self._thread = None
        self._jobs.put(None)
        atexit.unregister(self.close)

    def _start(self) -> None:
        if self._thread is None:
            # A daemon, so that a write that never returns cannot keep the interpreter; else it waits in `close`.
            self._thread = threading.Thread(target=self._run, name="lwcallbacks", daemon=True)
            try:
                self._thread.start()
            except BaseException:
                self._thread = None
                raise
            atexit.register(self.close)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._work(job)
            self._jobs.task_done()
        self._jobs.task_done()

    def _work(self, job: _Job) -> None:
        began, on_disk = time.thread_time(), self._on_disk()
        try:
            self._write(job, job.render())
        except BaseException as error:  # a SystemExit, too: the thread is needed for what comes next
            self._failed(job.owner, f"could not be drawn at step {job.step}", error)
        finally:
            self._finish(job)
            if job.spent is not None:
                job.spent(time.thread_time() - began, self._on_disk() - on_disk)
            self._leave(job)

    def _on_disk(self) -> int:
        return sum(writer.bytes_written for writer in self.writers)

    def _write(self, job: _Job, entries: Mapping[str, Entry | float]) -> None:
        step = job.step
        scalars: dict[str, float] = {}
        media: dict[str, Entry] = {}
        for key, value in entries.items():
            try:
                if isinstance(value, float | int | np.number):
                    scalars[key] = float(value)
                else:
                    kind_of(key, value)
                    media[key] = value
            except Exception as error:
                self._failed(job.owner, f"could not be drawn at step {step}", error)
        with drawn_once():
            for writer in self.writers:
                if scalars:
                    with self.attempt(_name_of(writer), f"could not write {_names(scalars)} of step {step}"):
                        writer.write_scalars(scalars, step)
                if media:
                    self._write_media(writer, media, step)
        if scalars:
            with self._lock:
                self._scalars.append((scalars, step))

    def _write_media(self, writer: Writer, media: Mapping[str, Entry], step: int) -> None:
        """Hand a writer what it takes. An entry that fails costs itself."""
        name, taken, errors = _name_of(writer), dict[str, Any](), dict[str, Exception]()
        try:
            taken = fitted(media, writer.takes)
        except Exception:  # of one of them: one by one
            errors = each(media, lambda key, entry: taken.update(fitted({key: entry}, writer.takes)))
        with self.attempt(name, f"could not write {_names(taken)} of step {step}"):
            try:
                if taken:
                    writer.write(taken, step)
            except NotWritten as several:
                errors |= several.errors
        for key, error in errors.items():
            self._failed(name, f"could not write {key} of step {step}", error)

    def _finish(self, job: _Job) -> None:
        with self.attempt(job.owner, f"could not clean up after step {job.step}"):
            if job.after is not None:
                job.after()

    def _failed(self, who: str, what: str, error: BaseException) -> None:
        with self._lock:
            self.failures += 1
            self.failed[who] += 1
            if self.on_error == "raise" or self._is_new(who, _reason(error)):
                self._errors.append((f"{who} {what}", error))

    def _is_new(self, who: str, reason: tuple[Any, ...]) -> bool:
        """Whether this is to be reported. Some messages never repeat: of each, the first few are enough."""
        told = self._told.setdefault(who, set())
        if reason in told or len(told) >= MAX_REASONS:
            return False
        told.add(reason)
        return True

    def _report(self) -> None:
        with self._lock:
            errors, self._errors = self._errors, []
            said, self._said = self._said, []
        for text in said:
            warn(text)
        for message, error in errors:
            if self.on_error == "raise":
                error.add_note(f"lwcallbacks: {message}")
                raise error
            found = f"{message}: {type(error).__name__}: {error}".rstrip(".")
            warn(f"{found}. Training goes on; further failures of this kind are only counted.")


_all: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _begin_in_child() -> None:
    for publisher in _all:
        publisher._begin()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_begin_in_child)


def _name_of(writer: Writer) -> str:
    return writer.name or type(writer).__name__


def _reason(error: BaseException) -> tuple[Any, ...]:
    """What failures have in common that are reported once: type and message, numbers aside."""
    if isinstance(error, OSError) and error.errno is not None:
        return type(error), error.errno  # its message names the file, which is another one each time
    return type(error), _masked(str(error))


def _masked(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text.partition("\n")[0])


def _names(keys: Mapping[str, Any], most: int = 3) -> str:
    """The first keys, and how many more there are: a model has hundreds of parameters."""
    first = ", ".join(list(keys)[:most])
    return f"{first} and {len(keys) - most} more" if len(keys) > most else first
