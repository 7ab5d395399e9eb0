"""What the callbacks of one Trainer share: one capture per batch, one sync per epoch, one outlet.

    hub = Hub.of(trainer)
    hub.attach(callback, trainer)                               # setup
    hub.batch_end("val", trainer, module, outputs, batch, 0, 0) # the first callback that asks does the work for all
    hub.epoch_end("val").values[0]                              # by label, the same on every process

It is found by the Trainer and held by nobody else, so callbacks stay plain values: they pickle and deep-copy.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from weakref import WeakSet

from lwcallbacks.callbacks.asked import Member, ask
from lwcallbacks.callbacks.cost import Meter
from lwcallbacks.callbacks.decisions import Decisions
from lwcallbacks.callbacks.epoch import Ended, Epoch
from lwcallbacks.callbacks.guard import Guard
from lwcallbacks.callbacks.keys import LoggedKeys
from lwcallbacks.callbacks.listening import Listening
from lwcallbacks.callbacks.need import STAGES
from lwcallbacks.callbacks.outlet import Outlet
from lwcallbacks.callbacks.receipt import payers
from lwcallbacks.callbacks.report import CONTENT, EPOCH, unlike_stages
from lwcallbacks.callbacks.trainer import (
    batches_done,
    data_parallel,
    has,
    is_debugging,
    link_of,
    logs_this_step,
    places_of,
    put_first,
    refuse_mixture,
    take_out,
    true_loss,
)
from lwcallbacks.capture import Step
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.state.core import StepValues
from lwcallbacks.state.link import Alone, Counted, Link, everyone_comes, roll_call
from lwcallbacks.warn import warn


@dataclass
class _Stage:
    """One stage's epoch under way, and the last one's values."""

    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    """By callback and the callback's own name of a need."""
    paying: dict[str, Member] = field(default_factory=dict)
    """By label, who pays for a need."""
    epoch: Epoch | None = None
    ended: Ended | None = None


_PLACE = "_lwcallbacks"
"""The attribute of a Trainer that has its hub."""


class Hub:
    """Shared by all callbacks of a Trainer; see the module's synopsis."""

    _hubs: ClassVar[WeakSet[Hub]] = WeakSet()
    _hubs_lock = threading.RLock()
    _num_runs: ClassVar[int] = 0
    patience: ClassVar[float] = 60.0
    """Seconds in which every process has to come to the start of a run."""

    @classmethod
    def of(cls, trainer: Trainer) -> Hub:
        # On the Trainer itself, which a hub leads to: both are garbage at once.
        hub: Hub = vars(trainer).get(_PLACE) or vars(trainer).setdefault(_PLACE, cls())
        return hub

    @classmethod
    def holding(cls, callback: Member) -> Hub | None:
        """The hub of the run that `callback` takes part in."""
        with cls._hubs_lock:  # Trainers may be made on several threads
            hubs = list(cls._hubs)
        return next((hub for hub in hubs if callback in hub._callbacks), None)

    def __init__(self) -> None:
        with self._hubs_lock:
            self._hubs.add(self)
        self._callbacks: list[Member] = []
        self._took_part: list[Member] = []
        self._known: WeakSet[Any] = WeakSet()
        self._listening = Listening()
        self._guard = Guard(self._begin_run, self._stop_hearing)
        self.outlet = Outlet(self._is_strict)
        self._stages: dict[str, _Stage] = {}
        self._run = 0
        self._trainer: weakref.ref[Trainer] | None = None
        self.link: Link = Alone()
        """How this process reaches the others of the Trainer."""
        self._is_complete = False
        self._has_begun = False
        self._num_batches = 0
        self._saved: dict[str, Any] | None = None
        self._goes_on = False
        self._starts_again = 0
        """After so many batches of a resumed epoch, if its loader starts again with its first sample."""
        self.epoch_number = 0
        """Of the training epoch under way, as the Trainer counts."""
        self.step_values = StepValues({})
        self.keys = LoggedKeys()
        self.without_value: list[tuple[str, str]] = []
        """What is logged as NaN at this epoch's end: whose, and its key."""
        self._decisions = Decisions()
        self._stops: list[Callable[[], object]] = []
        self.meter = Meter()

    def __reduce__(self) -> tuple[type[Hub], tuple[()]]:
        """A copy of a Trainer, as in processes that it starts, has a hub of its own."""
        return Hub, ()

    # -- a run of the Trainer ------------------------------------------------------------------------------------

    def knows(self, callback: Member) -> bool:
        """Whether the callback has taken part in a run of this Trainer."""
        return callback in self._known

    @property
    def _is_running(self) -> bool:
        """Whether the run is under way, and not one that another callback has broken off at its end."""
        trainer = None if self._trainer is None else self._trainer()
        return trainer is not None and trainer.state.status == "running"

    def attach(self, callback: Member, trainer: Trainer) -> None:
        """Take part from `setup` on. On process 0 the first callback opens the writers.

        Raises:
            TypeError: the Trainer has parts of both Lightning packages that do not fit.
            ValueError: another callback has the same keys, or processes cannot reach each other.
        """
        refuse_mixture(trainer)
        elsewhere = Hub.holding(callback)
        if elsewhere is not None and elsewhere is not self and elsewhere._is_running:
            warn(
                f"{callback.describe('val')}: found in two Trainers at once, so that its results are of both, or of "
                "neither. Expected a callback of its own in each: make another one, or write copy.deepcopy(callback)"
            )
        if callback in self._callbacks:  # its last run never came to an end: another callback raised in `on_exception`
            self._callbacks.clear()
            take_out(trainer, self._guard)
            self.close()
        if not self._callbacks:
            self._trainer = weakref.ref(trainer)
            self.link = link_of(trainer, callback.describe("val"))
            # Runs are counted on all processes alike, and one of them may have some alone.
            Hub._num_runs += self.link.world_size > 1
            self._run, self._is_complete = Hub._num_runs, False
            self._has_begun = False
            self._num_batches = 0
            self.keys = LoggedKeys()
            self.without_value = []
            self._decisions = Decisions()
            self._took_part = []
            self.meter = Meter()
            put_first(trainer, self._guard)
        _refuse_same_keys(callback, self._callbacks)
        self._callbacks.append(callback)
        self._took_part.append(callback)
        self._known.add(callback)
        if self.outlet.publisher is None and trainer.is_global_zero:
            # A Trainer that looks for a learning rate trains in between, without its callbacks.
            self.outlet.open(trainer, self.meter, ignores=lambda: not has(trainer, self._guard))
        if self.outlet.publisher is not None and self._is_strict():
            self.outlet.publisher.on_error = "raise"

    def expect_everyone(self, *stages: str) -> None:
        """Raise where a process has none of our callbacks, or none in one of the stages: it would never come to a sync.

        Asked once a run; `stages` are those that the run has.

        Raises:
            RuntimeError: on every process that has a callback.
        """
        if self._is_complete:
            return
        self._is_complete = True
        named = {stage: self._synced(stage) for stage in stages}
        missing, texts = roll_call(f"lwcallbacks/{self._run}/here", json.dumps(named), self.patience, self.link)
        if missing:
            ours = ", ".join(callback.describe("val") for callback in self._callbacks)
            raise RuntimeError(
                f"{ours}: found on this process, and none of lwcallbacks on the processes {missing} within "
                f"{self.patience:g} s. Expected the same callbacks on every process, since they sync with each other: "
                "make them outside of any `if rank == 0`"
            )
        if told := unlike_stages([json.loads(text) for text in texts]):
            raise RuntimeError(told)

    def unlike(self, what: str, text: str) -> list[str]:
        """Every process's text by rank where they differ, else an empty list; asked on every process, once a run."""
        return roll_call(f"lwcallbacks/{self._run}/{what}", text, self.patience, self.link)[1]

    def _synced(self, stage: str) -> list[str]:
        """Whose values are synced at the end of a stage's epoch."""
        return sorted(c.describe(stage) for c in self._callbacks if stage in getattr(c, "stages", ()))

    def detach(self, callback: Member, trainer: Trainer, exception: BaseException | None = None) -> None:
        """Leave at `teardown` or on an exception; the last one to leave waits until everything is written."""
        self._listening.stop()
        if callback in self._callbacks:
            self._callbacks.remove(callback)
            if not self._callbacks:
                take_out(trainer, self._guard)
                publisher = self.outlet.publisher
                try:
                    with self.meter.waiting():
                        self.close(exception)
                finally:
                    for member in self._took_part:
                        member.booked(trainer, self.meter.cost(member))
                    self._took_part = []
                if self._has_begun and trainer.is_global_zero and not is_debugging(trainer):
                    self.outlet.tell(trainer, self.meter, publisher)

    def close(self, exception: BaseException | None = None) -> None:
        """Leave nothing behind: no hook on the module, nothing unwritten. `exception` is what ended the run early."""
        self._stop_hearing()
        self._stages.clear()
        self._saved = None
        self._goes_on = False
        self.outlet.close(exception)

    def _begin_run(self, trainer: Trainer, module: LightningModule) -> None:
        self._has_begun = True
        self.outlet.begin(trainer, module)

    def occasion(self, name: str) -> str:
        """A name in the key-value store that processes share, of this run alone."""
        return f"lwcallbacks/{self._run}/{name}"

    def at_stop(self, stop: Callable[[], object]) -> None:
        """Have `stop` called when the run ends, in whichever way, before any callback is notified."""
        self._stops.append(stop)

    def _stop_hearing(self) -> None:
        self._listening.stop()
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        self.outlet.stop_hearing()

    # -- a stage -------------------------------------------------------------------------------------------------

    def epoch_start(self, stage: str, trainer: Trainer) -> None:
        """Begin a stage's epoch. There is one state per loader, also on a process that will see no batch of it."""
        if stage == "train" and self._goes_on:
            return  # Lightning before 2.5 starts an epoch that it resumes in the middle
        under_way = self._stages.get(stage)
        if under_way is not None and under_way.epoch is not None and not under_way.epoch.has_begun:
            return  # another callback has begun it
        self._saved = None
        if stage == "train":
            self.epoch_number, self._starts_again = trainer.current_epoch, 0
        asked = ask(self._callbacks, stage, self._could_not_ask)
        num_replicas, contributes = data_parallel(trainer)
        places = places_of(trainer, stage)
        paying = payers(self._callbacks, asked.labels)
        epoch = Epoch(
            stage,
            asked.needs,
            places,
            num_replicas=num_replicas,
            contributes=contributes,
            say=self.outlet.say_here,
            owners=asked.owners,
            callbacks=asked.callbacks,
            booked={label: self.meter.of(callback) for label, callback in paying.items()},
        )
        epoch.miss(asked.broken)
        self._stages[stage] = _Stage(asked.labels, paying, epoch)
        self._listening.choose(stage, asked.needs.values())
        for layout in (layout for place in places for layout in place.layouts if layout is not None):
            if layout.num_dropped and stage != "train":
                told = f"{layout.num_dropped} of {layout.num_samples} samples (drop_last=True)"
                self.outlet.say(f"lwcallbacks: the {stage} sampler leaves out {told}, and so do the values of an epoch")

    def _could_not_ask(self, who: str, error: Exception) -> None:
        if self._is_strict():
            raise error
        self.outlet.say(f"{who} could not say what it needs: {type(error).__name__}: {error}", everywhere=True)

    def labels(self, stage: str, callback: Member) -> Mapping[str, str]:
        """What stands for a callback's needs in this epoch, by its own names for them."""
        return self._stages[stage].labels.get(id(callback), {}) if stage in self._stages else {}

    def resume(self, trainer: Trainer) -> None:
        """Begin to fit: go on with the training epoch that was under way when the checkpoint was saved, if any."""
        if "train" in self._stages:
            return
        self.epoch_start("train", trainer)
        stage = self._stages["train"]
        saved: dict[str, Any] = {}
        for callback in self._callbacks:
            labels = stage.labels.get(id(callback), {})
            taken = dict(callback.take_resumed("train"))
            number = taken.pop(EPOCH, trainer.current_epoch)
            if taken and number != trainer.current_epoch:
                self.outlet.say(_IS_OVER.format(number))
                continue
            for name, state in taken.items():
                own = name.removesuffix(CONTENT)
                if own in labels:
                    saved[labels[own] + name.removeprefix(own)] = state
        if saved and stage.epoch is not None:
            for message in stage.epoch.resume(saved, self.link):
                self.outlet.say(f"{message}. This training epoch counts from here on")
            done = batches_done(trainer)
            self._starts_again = done if stage.epoch.is_resumed else 0
            stage.epoch.skip_batches(done)
            self._goes_on = True

    def under_way(self) -> dict[str, Any]:
        """State by label of the training epoch under way, merged over all processes; one sync for all callbacks.

        Empty between epochs; also, with a warning, where the other processes do not come to save: see
        `everyone_comes`.
        """
        if self._saved is None:
            self._saved = {}
            epoch = self._stages["train"].epoch if "train" in self._stages else None
            if epoch is not None and self._num_batches:
                if everyone_comes(f"lwcallbacks/{self._run}/{self._num_batches}", link=self.link):
                    self._saved = epoch.snapshot(self.link)
                else:
                    self.outlet.say(
                        "lwcallbacks: one process saves a checkpoint alone, so this epoch's metrics are not in it"
                    )
        return self._saved

    def batch_start(self, stage: str, module: LightningModule) -> None:
        """Listen to the forward calls that a callback takes its predictions from, until the end of the batch."""
        self._listening.start(stage, module)

    def batch_end(self, stage: str, trainer: Trainer, outputs: Any, batch: Any, batch_idx: int, loader: int) -> None:
        """Capture the batch and update every state once, whichever callback comes first.

        Raises:
            ValueError: on the first batch of a loader, what a callback needs is not there or has the wrong shape; not
                once a fit has trained.
        """
        if not self._listening.is_open:
            return
        with self.meter.of(None):
            self._update(stage, trainer, outputs, batch, batch_idx, loader)

    def _update(self, stage: str, trainer: Trainer, outputs: Any, batch: Any, batch_idx: int, loader: int) -> None:
        calls = self._listening.stop()
        # Validation may give processes unlike numbers of batches; training does not.
        self._num_batches += stage == "train"
        if stage == "train":
            self._goes_on = False
            if self._starts_again:
                self.outlet.say(_STARTS_AGAIN.format(self._starts_again), everywhere=True)
                self._starts_again = 0
        self._saved = None
        self.step_values = StepValues({})
        self.outlet.deliver()
        epoch = self._stages[stage].epoch if stage in self._stages else None
        if epoch is None:
            return
        seen = Step(true_loss(trainer, outputs) if stage == "train" else outputs, batch, calls, self._listening.unknown)
        values = stage == "train" and logs_this_step(trainer)
        try:
            strict = self._is_before_training(stage, trainer)
            sanity = trainer.sanity_checking
            self.step_values = epoch.update(loader, batch_idx, seen, values=values, strict=strict, sanity=sanity)
        finally:
            if trainer.sanity_checking:
                epoch.forget()

    def _is_before_training(self, stage: str, trainer: Trainer) -> bool:
        """Whether nothing is lost by an error: once a fit has trained, it would cost more than what it reports."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return True
        return stage == "train" and self._num_batches <= 1

    def epoch_end(self, stage: str) -> Ended:
        """Values by place and label; the first callback that asks syncs for all.

        Raises:
            UnlikeError: on every process, where they do not remember the same.
        """
        if stage not in self._stages:
            return Ended()
        found = self._stages[stage]
        if found.epoch is not None:
            epoch, found.epoch = found.epoch, None
            with self.meter.of(None):
                link = Counted(self.link)
                for label, size in epoch.device_bytes().items():
                    self.meter.of(found.paying.get(label)).cost.host_bytes += size
                found.ended = epoch.end(link)
                self.meter.synced(link.num_calls)
            if found.ended.faults and self._is_strict():
                raise ValueError(found.ended.faults[0])
            for message in found.ended.here:
                self.outlet.say_here(message)
            for message in [*found.ended.faults, *found.ended.notes]:
                self.outlet.say(message)
            for owner, decision in found.ended.decisions if self.outlet.publisher is not None else ():
                self._decisions.hear(owner, decision)
        return found.ended or Ended()

    def tell_without_value(self) -> None:
        """Say which numbers had to be logged as NaN, all callbacks' at once: they tend to have one cause."""
        missing, self.without_value = self.without_value, []
        if not missing:
            return
        owner, key = missing[0]
        told = f"{owner}: {key!r} has" if len(missing) == 1 else f"{key!r} and {len(missing) - 1} more numbers have"
        # A warning may be an error. What made the numbers fail is then the first that is raised.
        with self.outlet.attempt("lwcallbacks", "could not say which numbers have no value"):
            self.outlet.say(
                f"{told} no value in this epoch and had none before, so NaN is logged. "
                "EarlyStopping(check_finite=True), its default, stops on NaN"
            )

    def _is_strict(self) -> bool:
        return any(callback.on_error == "raise" for callback in self._callbacks)


_IS_OVER = (
    "the checkpoint was saved behind the last batch of epoch {}, and Lightning goes on with the next one: the numbers "
    "of train of that epoch are not logged. Save at an epoch's end, as ModelCheckpoint(save_on_train_epoch_end=True)"
)
_STARTS_AGAIN = (
    "this run goes on in the middle of an epoch, after {} batches, and its loader starts again at the first sample: "
    "what it gives now counts beside what was counted before the stop, so samples may count twice, or not at all, in "
    "this epoch's numbers of train. Use a loader that keeps its place (state_dict and load_state_dict, as "
    "torchdata's StatefulDataLoader), or resume from a checkpoint of an epoch's end"
)


def _refuse_same_keys(callback: Member, others: list[Member]) -> None:
    for stage in STAGES:
        for other in others:
            if same := callback.prefixes(stage) & other.prefixes(stage):
                found = f"another {type(other).__name__} logs {min(same)!r}, too"
                told = 'expected keys of its own. Give one of them another name, as in name="mine"'
                raise ValueError(f"{callback.describe(stage)}: {found}, {told}")
