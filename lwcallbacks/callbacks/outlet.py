"""Where the results of a run go: to its loggers and its folder, on process 0; and what is said of it.

outlet = Outlet(strict=lambda: False)
outlet.open(trainer, meter, ignores=lambda: False)      # on process 0; on the others nothing is open
with outlet.attempt("ConfusionMatrix", "could not be drawn"):
    ...                                                  # what raises here stops nobody
outlet.close(exception)
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lwcallbacks.artifacts import Store
from lwcallbacks.callbacks.cost import Meter
from lwcallbacks.callbacks.receipt import folder_of, tell_cost, tell_page
from lwcallbacks.callbacks.record import Record
from lwcallbacks.callbacks.trainer import is_debugging, media_directory, new_directory
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.warn import warn
from lwcallbacks.writers import FolderWriter, Publisher, Writer, writers_for


class Outlet:
    """See the module's synopsis. One for each Trainer: its runs share a folder.

    Args:
        strict: whether what fails is raised, rather than reported.

    Attributes:
        publisher: of the run under way, None on other processes and between runs.
        folder: the writer of the last run's folder.
    """

    def __init__(self, strict: Callable[[], bool]) -> None:
        self.publisher: Publisher | None = None
        self.folder: FolderWriter | None = None
        self._strict = strict
        self._record: Record | None = None
        self._directory: Callable[[], Path] | None = None
        self._has_told = False
        self._said: set[str] = set()

    def open(self, trainer: Trainer, meter: Meter, ignores: Callable[[], bool]) -> None:
        """Open the places of this run. One that cannot be opened is reported, the others get their part.

        Args:
            ignores: whether what is logged now is none of the run's.
        """
        publisher = Publisher(loggers=trainer.loggers)
        if not is_debugging(
            trainer
        ):  # then it renders all the same, so that a fault is found, and leaves nothing behind
            self._open_places(trainer, publisher, meter, ignores)
        self.publisher = publisher

    def _open_places(self, trainer: Trainer, publisher: Publisher, meter: Meter, ignores: Callable[[], bool]) -> None:
        if self._directory is None:  # settled once, so that fit and test of one Trainer share it
            with publisher.attempt("The logger", "does not tell its folder"):
                self._directory = media_directory(trainer)
        if self._directory is None:
            self._directory = new_directory(trainer)
        publisher.writers += writers_for(trainer.loggers, self._directory, publisher.attempt)
        self.folder = next(writer for writer in publisher.writers if isinstance(writer, FolderWriter))
        with publisher.attempt("lwcallbacks", "could not keep what is logged"):
            self._record = Record(trainer, publisher, self.folder, meter, ignores)

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """The run trains, tests or predicts from now on."""
        if self._record is not None:
            self._record.begin(trainer, module)

    def stop_hearing(self) -> None:
        """Hear no more of what is logged."""
        if self._record is not None:
            self._record.stop_hearing()

    def deliver(self) -> None:
        """Give the loggers the numbers that were worked out in the background since the last call."""
        if self.publisher is not None:
            self.publisher.deliver()
        if self._record is not None:
            self._record.offer()

    def close(self, exception: BaseException | None = None) -> None:
        """Leave nothing unwritten. `exception` is what ended the run early."""
        if self.publisher is None:
            return
        publisher, self.publisher = self.publisher, None
        record, self._record = self._record, None
        if exception is not None:
            publisher.on_error = "warn"  # what ended the run is what is seen to have ended it
        try:
            with heeding_interrupts(exception):
                if record is not None:
                    record.stop()
                publisher.close()
        finally:
            publisher.drop()  # nothing is left, unless Ctrl-C came before there was a wait to interrupt
            if record is not None:
                record.end(exception)

    # -- places --------------------------------------------------------------------------------------------------

    def writers(self) -> list[Writer]:
        """Of the run under way."""
        return self.publisher.writers if self.publisher is not None else []

    def stores(self) -> list[Store]:
        """Where checkpoints of this run are delivered to."""
        return [store for store in (writer.store() for writer in self.writers()) if store is not None]

    def run_directory(self) -> Path:
        """The folder of this run, on process 0; what is written there is made first."""
        assert self._directory is not None
        return self._directory().parent

    def page_directory(self) -> str | None:
        """The folder of the page of this run or the last one; None where none was written, or by another process."""
        return str(self.folder.directory) if self.folder is not None and self.folder.has_page else None

    # -- words ---------------------------------------------------------------------------------------------------

    @contextmanager
    def attempt(self, who: str, what: str) -> Iterator[None]:
        """Do something that must not stop training; on any process. See `Publisher.attempt`."""
        if self.publisher is not None:
            with self.publisher.attempt(who, what):
                yield
            return
        try:
            yield
        except Exception as error:
            if self._strict():
                raise
            self.say(f"{who} {what}: {type(error).__name__}: {error}", everywhere=True)

    def say(self, message: str, *, everywhere: bool = False) -> None:
        """Warn, unless the same was said before with other numbers: on process 0, or on whichever it happened."""
        message = message if message.startswith("lwcallbacks") else f"lwcallbacks: {message}"
        words = re.sub(r"\d+", "#", message)
        if words not in self._said and (everywhere or self.publisher is not None):
            self._said.add(words)
            warn(message)

    def say_here(self, message: str) -> None:
        """Warn on this process."""
        self.say(message, everywhere=True)

    def tell(self, trainer: Trainer, meter: Meter, publisher: Publisher | None) -> None:
        """What a fit has cost; of another run where its page is, unless that was said before."""
        writers, failed = (publisher.writers, publisher.failed) if publisher is not None else ([], {})
        if trainer.state.fn == "fit":
            tell_cost(meter, writers, failed)
        else:
            tell_page([] if self._has_told else writers, failed)
        self._has_told = self._has_told or folder_of(writers) is not None


@contextmanager
def heeding_interrupts(exception: BaseException | None) -> Iterator[None]:
    """Let Ctrl-C end the block while Lightning, after a first Ctrl-C, ignores it until the run has ended.

    Training then ends as it would have without the block.
    """
    ignored = isinstance(exception, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
