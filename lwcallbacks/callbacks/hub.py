"""What the callbacks of one Trainer share: one capture per batch, one sync per epoch, one publisher.

    hub = Hub.of(trainer)
    hub.attach(callback, trainer)                      # setup
    hub.batch_end("val", trainer, outputs, batch, 0)   # the first callback that asks does the work for all
    hub.epoch_end("val")                               # {loader: {need.key: value}}, the same on every process

It is found by the Trainer and held by nobody else, so callbacks stay plain values: they pickle and deep-copy.
"""

from __future__ import annotations

import re
import signal
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from torch import Tensor

from lwcallbacks.callbacks.trainer import (
    is_debugging,
    loaders_of,
    logs_this_step,
    refuse_mixture,
    run_directory,
    samples_done,
    unused_directory,
)
from lwcallbacks.capture import CaptureError, ForwardCalls, Source, Step
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.reductions.hashing import content_ids
from lwcallbacks.state.core import Entry, StateCore, StepValues, UpdateError, collect, snapshot
from lwcallbacks.state.link import everyone_comes
from lwcallbacks.state.padding import Layout, layout_of
from lwcallbacks.writers import Publisher, writers_for

if TYPE_CHECKING:
    from lwcallbacks.callbacks.base import LoggingCallback


STAGES = ("train", "val", "test", "predict")


@dataclass(frozen=True)
class Need:
    """What a callback wants remembered: an entry of the core, and the fields of a batch that update it.

    Args:
        entry: a reduction, or an ordinary metric.
        names: out of "inputs", "preds", "targets", "loss", "ids" and "position", in the order in which `entry` takes
            them. "position" is the place in the data set, and an error where only the sampler knows it.
        optional: those of them that may be missing.
        source: where to find the fields.
        prepare: made of the fields before `entry` takes them, a function with a tuple as result.
        owner: what keeps this need apart from others; None lets equal needs share one state.
    """

    entry: Entry
    names: tuple[str, ...]
    source: Source = field(default_factory=Source)
    optional: frozenset[str] = frozenset()
    prepare: Callable[..., tuple[Tensor, ...]] | None = None
    owner: Hashable = None

    @property
    def key(self) -> Hashable:
        # The hash of a torchmetrics.Metric changes with its state, so an owned need goes by its owner alone.
        return (self.entry, self.names, self.source, self.prepare) if self.owner is None else self.owner


class Hub:
    """Shared by all callbacks of a Trainer; see the module's synopsis."""

    _hubs: ClassVar[WeakKeyDictionary[Trainer, Hub]] = WeakKeyDictionary()

    @classmethod
    def of(cls, trainer: Trainer) -> Hub:
        return cls._hubs.setdefault(trainer, cls())

    @classmethod
    def holding(cls, callback: LoggingCallback) -> Hub | None:
        """The hub of the run that `callback` takes part in."""
        return next((hub for hub in cls._hubs.values() if callback in hub._callbacks), None)

    def __init__(self) -> None:
        self._callbacks: list[LoggingCallback] = []
        self._calls: dict[str | None, ForwardCalls] = {}
        self._batch_open = False
        self._needs: dict[str, list[tuple[str, Need]]] = {}
        self._forwards: dict[str, set[str | None]] = {}
        self._cores: dict[str, dict[int, StateCore]] = {}
        self._layouts: dict[tuple[str, int], Layout | None] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._num_runs = 0
        self._num_batches = 0
        self._saved: dict[Hashable, Any] | None = None
        self._goes_on = False
        self._proven: set[tuple[str, int]] = set()
        self._ended: dict[str, dict[int, dict[Hashable, Any]]] = {}
        self._directory: Path | None = None
        self._warned: set[str] = set()
        self.step_values = StepValues({})
        self.publisher: Publisher | None = None

    # -- a run of the Trainer ------------------------------------------------------------------------------------

    def attach(self, callback: LoggingCallback, trainer: Trainer) -> None:
        """Take part from `setup` on. On process 0 the first callback opens the writers.

        Raises:
            TypeError: the Trainer has parts of both Lightning packages that do not fit.
            ValueError: another callback has the same keys.
        """
        refuse_mixture(trainer)
        if not self._callbacks:
            self._num_runs += 1
            self._num_batches = 0
        _refuse_same_keys(callback, [other for other in self._callbacks if other is not callback])
        if callback not in self._callbacks:
            self._callbacks.append(callback)
        if self.publisher is None and trainer.is_global_zero:
            self.publisher = self._open(trainer)
        if self.publisher is not None and self._is_strict():
            self.publisher.on_error = "raise"

    def detach(self, callback: LoggingCallback, exception: BaseException | None = None) -> None:
        """Leave at `teardown` or on an exception; the last one to leave waits until everything is written."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)
            if not self._callbacks:
                self.close(exception)

    def close(self, exception: BaseException | None = None) -> None:
        """Leave nothing behind: no hook on the module, nothing unwritten. `exception` is what ended the run early."""
        self._stop_listening()
        self._batch_open = False
        self._cores.clear()
        self._saved = None
        self._ended.clear()
        self._proven.clear()
        self._goes_on = False
        if self.publisher is not None:
            publisher, self.publisher = self.publisher, None
            if exception is not None:
                publisher.on_error = "warn"  # what ended the run is what shall be seen to have ended it
            try:
                with heeding_interrupts(exception):
                    publisher.close()
            finally:
                publisher.drop()  # nothing is left, unless Ctrl-C came before there was a wait to interrupt

    def _open(self, trainer: Trainer) -> Publisher:
        """The publisher of this run. A place that cannot be opened is reported, the others get their part."""
        publisher = Publisher(loggers=trainer.loggers)
        if is_debugging(trainer):
            return publisher  # renders all the same, so that a fault is found, but leaves nothing behind
        if self._directory is None:  # settled once, so that fit and test of one Trainer share it
            with publisher.attempt("The logger", "does not tell its folder"):
                self._directory = run_directory(trainer) / "media"
        if self._directory is None:
            self._directory = unused_directory(trainer) / "media"
        publisher.writers += writers_for(trainer.loggers, self._directory, publisher.attempt)
        return publisher

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
            if self._is_strict():
                raise
            self.warn_once(f"lwcallbacks: {who} {what}: {type(error).__name__}: {error}")

    def warn_once(self, message: str) -> None:
        """Warn, unless the same was said before with other numbers."""
        words = re.sub(r"\d+", "#", message)
        if words not in self._warned:
            self._warned.add(words)
            warnings.warn(message, stacklevel=3)

    # -- a stage -------------------------------------------------------------------------------------------------

    def epoch_start(self, stage: str, trainer: Trainer) -> None:
        """Begin a stage's epoch. There is one state per loader, also on a process that will see no batch of it."""
        if stage == "train" and self._goes_on:
            return  # Lightning before 2.5 starts an epoch that it resumes in the middle
        self._ended.pop(stage, None)
        self._saved = None
        needs: dict[Hashable, tuple[str, Need]] = {}
        for callback in self._callbacks:
            for need in callback.needs(stage).values():
                needs.setdefault(need.key, (callback.describe(stage), need))
        self._needs[stage] = list(needs.values())
        listening = [need.source for _, need in needs.values() if need.source.asks_forward(need.names)]
        self._forwards[stage] = {source.forward for source in listening}
        loaders = loaders_of(trainer, stage)
        self._cores[stage] = {i: StateCore({k: n.entry for k, (_, n) in needs.items()}) for i in range(len(loaders))}
        for i, loader in enumerate(loaders):
            self._positions[stage, i] = 0
            self._layouts[stage, i] = layout = layout_of(loader)
            if layout is not None and layout.num_dropped and stage != "train":
                told = f"{layout.num_dropped} of {layout.num_samples} samples (drop_last=True)"
                self.warn_once(f"lwcallbacks: the {stage} sampler leaves out {told}, and so do the values of an epoch")

    def resume(self, trainer: Trainer) -> None:
        """Begin to fit: go on with the training epoch that was under way when the checkpoint was saved, if any."""
        if "train" in self._cores:
            return
        self.epoch_start("train", trainer)
        saved = {n.key: state for c in self._callbacks for n, state in c.take_resumed("train")}
        if saved:
            for loader, core in self._cores["train"].items():
                core.load_state_dict(saved)
                self._positions["train", loader] = samples_done(trainer)
            self._goes_on = True

    def under_way(self) -> dict[Hashable, Any]:
        """State by need of the training epoch under way, merged over all processes; one sync for all callbacks.

        Empty between epochs; also, with a warning, where the other processes do not come to save: see
        `everyone_comes`.
        """
        if self._saved is None:
            self._saved = {}
            cores = self._cores.get("train", {})
            if cores and self._num_batches:
                if everyone_comes(f"lwcallbacks/{self._num_runs}/{self._num_batches}"):
                    self._saved = next(iter(snapshot(cores).values()))
                else:
                    self.warn_once(
                        "lwcallbacks: one process saves a checkpoint alone, so this epoch's metrics are not in it"
                    )
        return self._saved

    def batch_start(self, stage: str, module: LightningModule) -> None:
        """Listen to the forward calls that a callback takes its predictions from, until the end of the batch."""
        if self._batch_open:
            return
        self._batch_open = True
        for name in self._forwards.get(stage, ()):
            # That there is no such submodule is told at the end of the batch, with what was there.
            with suppress(AttributeError):
                listened = module if name is None else module.get_submodule(name)
                self._calls.setdefault(name, ForwardCalls()).start(listened, direct=name is None)

    def _stop_listening(self) -> None:
        for calls in self._calls.values():
            calls.stop()

    def batch_end(self, stage: str, trainer: Trainer, outputs: Any, batch: Any, loader: int) -> None:
        """Capture the batch and update every state once, whichever callback comes first.

        Raises:
            ValueError: on the first batch of a loader, what a callback needs is not there or has the wrong shape.
        """
        if not self._batch_open:
            return
        self._batch_open = False
        self._stop_listening()
        # Validation may give processes unlike numbers of batches; training does not.
        self._num_batches += stage == "train"
        self._goes_on &= stage != "train"
        self._saved = None
        self.step_values = StepValues({})
        if self.publisher is not None:
            self.publisher.deliver()
        core = self._cores[stage].get(loader)
        if core is None:
            return
        try:
            seen = Step(outputs, batch, {name: r.calls for name, r in self._calls.items() if r.calls})
            arguments = self._arguments(stage, loader, seen)
            values = stage == "train" and logs_this_step(trainer)
            self.step_values = core.update(arguments, values=values)
            self._proven.add((stage, loader))
        except Exception as error:
            # A first batch that cannot be read is a mistake in the set-up; later, training must not stop for us.
            if (stage, loader) not in self._proven:
                raise
            core.fail(error)
        finally:
            for recorded in self._calls.values():
                recorded.calls.clear()
            if trainer.sanity_checking:
                core.reset()

    def epoch_end(self, stage: str) -> dict[int, dict[Hashable, Any]]:
        """Values by loader and need; the first callback that asks syncs for all. Empty where an update had failed."""
        if stage not in self._ended:
            self._ended[stage] = {}
            cores = self._cores.pop(stage, {})
            try:
                self._ended[stage], problems = collect(cores)
                for _, problem in problems:
                    if self._is_strict():
                        raise ValueError(f"lwcallbacks, {stage} data: {problem}")
                    self.warn_once(f"lwcallbacks, {stage} data: {problem}")
            except UpdateError as error:
                if self._is_strict():
                    raise
                self.warn_once(f"lwcallbacks: nothing is logged for this {stage} epoch: {error}")
        return self._ended[stage]

    def _is_strict(self) -> bool:
        return any(callback.on_error == "raise" for callback in self._callbacks)

    def _arguments(self, stage: str, loader: int, step: Step) -> dict[Hashable, tuple[Tensor, ...]]:
        """The arguments of every need's update, with what the sampler repeated cut off."""
        found = {need.key: (owner, need, _find(owner, need, step)) for owner, need in self._needs[stage]}
        sizes = {
            len(t): f"{name} of {owner}" for owner, _, fields in found.values() for name, t in fields.items() if t.ndim
        }
        if len(sizes) > 1:
            told = " but ".join(f"{size} samples in {name}" for size, name in sizes.items())
            raise CaptureError(f"found {told}, expected one number of samples in a batch")
        size = next(iter(sizes)) if sizes else _batch_size(step, found)
        start, layout = self._positions[stage, loader], self._layouts[stage, loader]
        self._positions[stage, loader] += size
        counted = layout.num_counted(start, size) if layout else size
        if not counted:
            return {}

        def argument(name: str, need: Need, fields: dict[str, Tensor]) -> Tensor:
            if name in fields:
                # One number for the whole batch, such as the loss, counts once for each of its samples.
                return fields[name][:counted] if fields[name].ndim else fields[name].expand(counted)
            content = step.find("inputs", need.source)
            content = next(iter(fields.values())) if content is None else content
            ids = layout.ids(start, counted, content.device) if layout else None
            if ids is None and name == "position":
                owner = found[need.key][0]
                raise CaptureError(
                    f"{owner}: seed=None asks for the first samples of the data set, and the {stage} loader does not"
                    " tell which they are; give it shuffle=False and a data set with a length, or pass seed=0"
                )
            return content_ids(content[:counted]) if ids is None else ids

        def arguments(need: Need, fields: dict[str, Tensor]) -> tuple[Tensor, ...]:
            names = (name for name in need.names if name in fields or name in _MADE)
            made = tuple(argument(name, need, fields) for name in names)
            return need.prepare(*made) if need.prepare else made

        return {key: arguments(need, fields) for key, (_, need, fields) in found.items()}


_MADE = ("ids", "position")


def _refuse_same_keys(callback: LoggingCallback, others: list[LoggingCallback]) -> None:
    for stage in STAGES:
        for other in others:
            if same := callback.prefixes(stage) & other.prefixes(stage):
                found = f"another {type(other).__name__} logs {min(same)!r}, too"
                told = 'expected keys of its own. Give one of them another name, as in name="mine"'
                raise ValueError(f"{callback.describe(stage)}: {found}, {told}")


def _find(owner: str, need: Need, step: Step) -> dict[str, Tensor]:
    fields = {}
    for name in need.names:
        if name in _MADE:
            continue
        tensor = step.find(name, need.source)
        if tensor is not None:
            fields[name] = tensor
        elif name not in need.optional:
            raise CaptureError(f"{owner}: {step.missing(name, need.source)}")
    return fields


def _batch_size(step: Step, found: Mapping[Hashable, tuple[str, Need, dict[str, Tensor]]]) -> int:
    """The number of samples where no callback needs more than one number of the batch."""
    for owner, need, _ in found.values():
        for name in ("inputs", "targets", "preds"):
            tensor = step.find(name, need.source)
            if tensor is not None and tensor.ndim:
                return len(tensor)
        raise CaptureError(f"{owner}: how many samples does a batch hold? {step.missing('inputs', need.source)}")
    return 0


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
