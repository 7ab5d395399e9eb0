"""Rendering and writing behind the back of the training loop.

    publisher = Publisher(writers)
    publisher.publish(lambda: {"val/worst": render(best), "val/accuracy": 0.9}, step=120)     # returns at once
    for scalars, step in publisher.take_scalars():                                            # on the main thread
        logger.log_metrics(scalars, step)
    publisher.close()

One worker thread renders and writes, first come first served. Media go to the writers from that thread. Scalars do not:
not every logger takes them from another thread, so they wait in a mailbox that the main thread empties.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from lwcallbacks.media import Entry
from lwcallbacks.writers.base import Writer

Render = Callable[[], Mapping[str, Entry | float]]


class Publisher:
    """Runs `render` and the writers on one background thread, at most `max_pending` calls behind.

    Nothing of it raises or warns on the worker: what fails is counted in `failures` and reported on the main thread, at
    the next `publish`, `flush` or `close`. With `on_error="warn"` that is one warning per writer class and exception
    type, with "raise" the first exception itself. Either way the other writers get their part.

    The thread is no daemon: what is queued when the interpreter exits is still written.
    """

    def __init__(
        self, writers: Sequence[Writer], on_error: Literal["warn", "raise"] = "warn", max_pending: int = 16
    ) -> None:
        if on_error not in ("warn", "raise"):
            raise ValueError(f"on_error is {on_error!r}, expected 'warn' or 'raise'")
        if max_pending < 1:
            raise ValueError(f"max_pending is {max_pending}, expected at least 1")
        self.writers = tuple(writers)
        self.on_error = on_error
        self.failures = 0
        self._slots = threading.BoundedSemaphore(max_pending)
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None
        self._lock = threading.Lock()
        self._scalars: list[tuple[dict[str, float], int]] = []
        self._errors: list[tuple[str, Exception]] = []
        self._warned: set[tuple[str, type]] = set()

    def __deepcopy__(self, memo: dict[int, Any]) -> Publisher:
        return self  # a copied callback writes to the same loggers, by the same thread

    def publish(self, render: Render, step: int) -> None:
        """Queue `render()` and the writing of what it returns. Waits only while `max_pending` calls are queued.

        `render` runs on the worker: it must hold all it needs and touch no accelerator state that training changes.
        """
        self._report()
        self._slots.acquire()
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lwcallbacks")
            self._last = self._pool.submit(self._work, render, step)
        except RuntimeError:  # the interpreter is shutting down and starts no more work: do it here
            self._work(render, step)
        except BaseException:
            self._slots.release()
            raise

    def take_scalars(self) -> list[tuple[dict[str, float], int]]:
        """The scalars rendered since the last call, each with its step, oldest first."""
        with self._lock:
            taken, self._scalars = self._scalars, []
        return taken

    def flush(self) -> None:
        """Wait until all that was queued is written, then report what failed.

        A KeyboardInterrupt ends the waiting and nothing else: the queue stays, the worker goes on, and another `flush`,
        `close` or the end of the interpreter waits for the rest.
        """
        if self._last is not None:
            self._last.result()  # first come first served by one thread: the last one done, all are done
        self._report()

    def close(self) -> None:
        """Flush, close the writers and end the thread. Closing twice does no more, publishing again starts anew."""
        pool = self._pool
        if pool is None:
            return self._report()
        if self._last is not None:
            self._last.result()
        pool.shutdown()
        self._pool = self._last = None
        for writer in self.writers:
            try:
                writer.close()
            except Exception as error:
                self._failed(type(writer).__name__, "could not be closed", error)
        self._report()

    def _work(self, render: Render, step: int) -> None:
        try:
            scalars: dict[str, float] = {}
            media: dict[str, Entry] = {}
            try:
                for key, value in render().items():
                    if isinstance(value, float | int | np.number):
                        scalars[key] = float(value)
                    else:
                        media[key] = value
            except Exception as error:
                return self._failed("render", f"failed for step {step}", error)
            if scalars:
                with self._lock:
                    self._scalars.append((scalars, step))
            for writer in self.writers if media else ():
                try:
                    writer.write(media, step)
                except Exception as error:
                    self._failed(type(writer).__name__, f"could not write {', '.join(media)} of step {step}", error)
        finally:
            self._slots.release()

    def _failed(self, who: str, what: str, error: Exception) -> None:
        with self._lock:
            self.failures += 1
            if self.on_error == "raise":
                error.add_note(f"lwcallbacks: {who} {what}")
                if not self._errors:
                    self._errors.append((who, error))
            elif (who, type(error)) not in self._warned:
                self._warned.add((who, type(error)))
                self._errors.append((f"{who} {what}: {type(error).__name__}: {error}", error))

    def _report(self) -> None:
        with self._lock:
            errors, self._errors = self._errors, []
        for message, error in errors:
            if self.on_error == "raise":
                raise error
            warnings.warn(f"{message}. Training goes on; further failures of this kind are only counted.", stacklevel=3)
