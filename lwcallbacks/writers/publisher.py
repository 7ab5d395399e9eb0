"""Rendering and writing behind the back of the training loop, and what happens when that fails.

    publisher = Publisher(writers, loggers)
    publisher.publish(lambda: {"val/worst": render(best), "val/accuracy": 0.9}, step=120)     # returns at once
    with publisher.attempt("MyCallback", "could not read its file"):                          # on the main thread
        ...
    publisher.close()

One worker thread renders and writes, first come first served. Media go to the writers from that thread. Scalars go to
the writers and, since not every logger takes them from another thread, into a mailbox: the main thread empties it into
the loggers at the next call.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lwcallbacks.media import Entry
from lwcallbacks.writers.base import Writer

Render = Callable[[], Mapping[str, Entry | float]]
After = Callable[[], object]


class Publisher:
    """Runs `render` and the writers on one background thread, at most `max_pending` calls behind.

    Whatever fails, in the background, in a logger or inside `attempt`, is counted in `failures` and reported on the
    main thread, at the next `publish`, `deliver`, `flush` or `close`. With `on_error="warn"` that is one warning per
    culprit and exception type, with "raise" the first exception itself. Either way the other writers get their part.

    What is queued when the interpreter exits is still written; only a wait that was interrupted is not taken up again.

    Args:
        writers: what keeps media, in the order in which each entry is handed to them.
        loggers: what gets the scalars, by `log_metrics(scalars, step=step)` on the main thread.
        on_error: "warn" or "raise".
        max_pending: calls that may wait for the thread.
        patience: seconds that `publish` waits for a place in the queue. A writer that hangs for longer costs pictures,
            which are counted as failures, and not the training.
    """

    def __init__(
        self,
        writers: Sequence[Writer] = (),
        loggers: Sequence[Any] = (),
        *,
        on_error: Literal["warn", "raise"] = "warn",
        max_pending: int = 16,
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
        self._slots = threading.BoundedSemaphore(max_pending)
        self._stuck = False
        self._jobs: queue.Queue[tuple[Render, int, After | None] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._scalars: list[tuple[dict[str, float], int]] = []
        self._errors: list[tuple[str, BaseException]] = []
        self._seen: set[tuple[str, type]] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> Publisher:
        return self  # a copied callback writes to the same loggers, by the same thread

    def publish(self, render: Render, step: int, after: After | None = None) -> None:
        """Queue `render()`, the writing of what it returns, and `after()`, which is called whatever became of them.

        Waits only while `max_pending` calls are queued. `render` runs on the worker: it must hold all it needs and
        touch no accelerator state that training changes.
        """
        self.deliver()
        if not self._slots.acquire(timeout=0 if self._stuck else self.patience):
            self._stuck = True
            behind = TimeoutError(f"nothing was written for {self.patience:g} s, and no more can wait")
            self._failed("The queue", f"skipped step {step}", behind)
            return self._finish(after, step)
        self._stuck = False
        try:
            self._start()
        except RuntimeError:  # the interpreter is shutting down and starts no more threads: do it here
            self._work(render, step, after)
        except BaseException:
            self._slots.release()
            raise
        else:
            self._jobs.put((render, step, after))

    def deliver(self) -> None:
        """Give the loggers the scalars rendered since the last call, oldest first, then report what failed."""
        with self._lock:
            taken, self._scalars = self._scalars, []
        for scalars, step in taken:
            for logger in self.loggers:
                with self.attempt(type(logger).__name__, f"could not log {_names(scalars)} of step {step}"):
                    logger.log_metrics(scalars, step=step)
        self._report()

    @contextlib.contextmanager
    def attempt(self, who: str, what: str) -> Iterator[None]:
        """Do something that must not stop training: an exception ends the block, is counted and reported later."""
        try:
            yield
        except Exception as error:
            self._failed(who, what, error)

    def flush(self) -> None:
        """Wait until all that was queued is written, deliver the scalars and report what failed.

        A KeyboardInterrupt ends the waiting and nothing else: the queue stays and the worker goes on.
        """
        self._jobs.join()
        self.deliver()

    def close(self) -> None:
        """Flush, close the writers and end the thread. Closing twice does no more, publishing again starts anew.

        A KeyboardInterrupt is taken at its word: what is still queued is dropped, with a warning that says how much,
        and the thread ends with the write under way, for which nobody waits.
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
                with self.attempt(type(writer).__name__, "could not be closed"):
                    writer.close()
        self.deliver()

    def drop(self) -> None:
        """Give up what is queued, with a warning that says how much; nobody waits for the write under way."""
        if self._thread is None:
            return
        dropped = 0
        with contextlib.suppress(queue.Empty):
            while job := self._jobs.get_nowait():
                self._finish(job[2], job[1])
                self._slots.release()
                self._jobs.task_done()
                dropped += 1
        self._end()
        self.failures += dropped
        warnings.warn(f"Interrupted: {dropped} queued calls were not written.", stacklevel=3)

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
            self._work(*job)
            self._jobs.task_done()
        self._jobs.task_done()

    def _work(self, render: Render, step: int, after: After | None) -> None:
        try:
            self._write(render(), step)
        except BaseException as error:  # a SystemExit, too: the thread is needed for what comes next
            self._failed("render", f"failed for step {step}", error)
        finally:
            self._finish(after, step)
            self._slots.release()

    def _write(self, entries: Mapping[str, Entry | float], step: int) -> None:
        scalars: dict[str, float] = {}
        media: dict[str, Entry] = {}
        for key, value in entries.items():
            if isinstance(value, float | int | np.number):
                scalars[key] = float(value)
            else:
                media[key] = value
        for writer in self.writers:
            with self.attempt(type(writer).__name__, f"could not write {_names(entries)} of step {step}"):
                if scalars:
                    writer.write_scalars(scalars, step)
                if media:
                    writer.write(media, step)
        if scalars:
            with self._lock:
                self._scalars.append((scalars, step))

    def _finish(self, after: After | None, step: int) -> None:
        with self.attempt("render", f"could not clean up after step {step}"):
            if after is not None:
                after()

    def _failed(self, who: str, what: str, error: BaseException) -> None:
        with self._lock:
            self.failures += 1
            if self.on_error == "raise" or (who, type(error)) not in self._seen:
                self._seen.add((who, type(error)))
                self._errors.append((f"{who} {what}", error))

    def _report(self) -> None:
        with self._lock:
            errors, self._errors = self._errors, []
        for message, error in errors:
            if self.on_error == "raise":
                error.add_note(f"lwcallbacks: {message}")
                raise error
            told = f"{message}: {type(error).__name__}: {error}"
            warnings.warn(f"{told}. Training goes on; further failures of this kind are only counted.", stacklevel=3)


def _names(keys: Mapping[str, Any], most: int = 3) -> str:
    """The first keys, and how many more there are: a model has hundreds of parameters."""
    first = ", ".join(list(keys)[:most])
    return f"{first} and {len(keys) - most} more" if len(keys) > most else first
