"""What `GradientHistogram` does at every step, logged or not: it sees whether gradients and losses are finite.

A subclass calls the methods that begin with `watch`; the rest are hooks of Lightning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from lwcallbacks.callbacks.base import Entries, LoggingCallback
from lwcallbacks.callbacks.finite_watch import FiniteWatch
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.keys import checked_name
from lwcallbacks.callbacks.nonfinite import NonFinite, earliest, table, words
from lwcallbacks.callbacks.offence import NonFiniteError, Stop
from lwcallbacks.callbacks.reading import Step
from lwcallbacks.callbacks.replicas import Drift, Replicas
from lwcallbacks.callbacks.steps import Stepping, Steps
from lwcallbacks.callbacks.trainer import has, logging_step, sends_buffers
from lwcallbacks.capture import Source
from lwcallbacks.capture.source import Extract
from lwcallbacks.gradients.garbage import garbage_later
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.lightning import LightningModule, Trainer, log_info
from lwcallbacks.state.link import Counted, Link, post, posts, run

OnNonfinite = Literal["warn", "raise", "ignore"]
_ADVICE = 'on_nonfinite="raise" stops before the step and saves the batch for lw.replay'


class WatchingCallback(LoggingCallback):
    """See the module's synopsis.

    Args:
        name: what the keys begin with.
        on_nonfinite: "warn", "raise" or "ignore".
        ids: where the ids of a batch's samples are.
        check_replicas: whether to compare copies behind each logged step.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.
    """

    def __init__(
        self,
        name: str,
        on_nonfinite: OnNonfinite,
        ids: Extract | None,
        check_replicas: bool,
        on_error: Literal["warn", "raise"],
    ) -> None:
        super().__init__(on_error=on_error)
        if on_nonfinite not in ("warn", "raise", "ignore"):
            raise ValueError(
                f"{type(self).__name__}: on_nonfinite={on_nonfinite!r}, expected 'warn', 'raise' or 'ignore'"
            )
        if check_replicas not in (True, False):
            raise ValueError(f"{type(self).__name__}: check_replicas={check_replicas!r}, expected True or False")
        self.name = checked_name(type(self).__name__, name)
        self.on_nonfinite = on_nonfinite
        self.ids = ids
        self.check_replicas = check_replicas
        self._replicas: Replicas | None = None
        self._checks: list[tuple[int, Callable[[], Drift | None]]] = []
        self._finite: FiniteWatch | None = None
        self._first: NonFinite | None = None
        self._num_nonfinite = 0
        self._stop: Stop | None = None
        self._occasion = ""
        self._is_found = self._is_said = self._has_drifted = self._may_stop = False

    def __getstate__(self) -> dict[str, Any]:
        return {
            **super().__getstate__(),
            "_finite": None,
            "_replicas": None,
            "_checks": [],
        }  # it knows the module and the Trainer

    def will_read(self, trainer: Trainer, module: LightningModule) -> bool:
        """Whether the gradients that this backward leaves will be read as they are, behind a step. For a subclass."""
        return False

    # -- called by the subclass ------------------------------------------------------------------------------------

    def watch_fit(self, trainer: Trainer, module: nn.Module, chosen: Chosen) -> None:
        """Training starts."""
        self._finite, self._is_found, self._is_said, self._has_drifted = None, False, False, False
        self._stop, self._first = None, None
        self._occasion = Hub.of(trainer).occasion(f"{self.name}/nonfinite")
        if self.on_nonfinite != "ignore":
            self._finite = FiniteWatch(trainer, module, chosen, Source(ids=self.ids), self._num_nonfinite)
        if self.on_nonfinite == "raise":
            self._stop = Stop(trainer, Hub.of(trainer).link, self.describe("train"), self._occasion)
        self._replicas, self._checks = None, []
        if self.check_replicas and trainer.world_size == 1:
            log_info(f"{self.describe('train')}: check_replicas=True, and one process has nothing to compare")
        elif self.check_replicas:
            self._compare(trainer, module)

    def _compare(self, trainer: Trainer, module: nn.Module) -> None:
        """Raises ValueError where no two processes hold the same."""
        are_sent = sends_buffers(trainer)
        if are_sent and trainer.is_global_zero and any(True for _ in module.buffers()):
            told = (
                "buffers are not compared: DDP makes them those of process 0 at each forward (broadcast_buffers=True)"
            )
            log_info(f"{self.describe('train')}: check_replicas=True, and {told}")
        try:
            rank, world_size = trainer.global_rank, trainer.world_size
            self._replicas = Replicas(module, rank=rank, world_size=world_size, buffers=not are_sent)
        except ValueError as error:
            raise ValueError(f"{self.describe('train')}: {error}") from None

    def watch_replicas(self, trainer: Trainer) -> None:
        """Behind a logged step: processes meet, if copies are to be compared."""
        replicas, hub = self._replicas, Hub.of(trainer)
        if replicas is None:
            return
        with hub.meter.of(self), hub.outlet.attempt(self.describe("train"), "could not compare replicas"):
            link, step = Counted(hub.link), logging_step(trainer)
            drift = cache(run(replicas.checking(), link))
            hub.meter.of(self).cost.collectives += link.num_calls
            self._checks.append((step, drift))
            self.publish(trainer, partial(self._drifted, drift, step, trainer.world_size), step)

    def _drifted(self, drift: Callable[[], Drift | None], step: int, world_size: int) -> Entries:
        """In the background: what is not equal. What is found first is said."""
        found = drift()
        entries: dict[str, Any] = {f"{self.name}/drifted": float(0 if found is None else len(found.tensors))}
        if found is not None and not self._has_drifted:
            self._has_drifted = True
            self.note(found.words(step, world_size))
            entries[f"{self.name}/drift"] = found.table(step)
        return entries

    def watch_optimizers(self, trainer: Trainer, steps: Steps) -> None:
        """There may be others than before."""
        self._watched(trainer, lambda watch: watch.take(steps))

    def watch_before_step(self, trainer: Trainer, stepping: Stepping) -> None:
        """Lightning announces a step."""
        self._watched(trainer, FiniteWatch.before_step)
        if self._finite is not None:
            self._stop_if_ill(trainer, self._finite, stepping, "before")

    def watch_step(self, trainer: Trainer, stepping: Stepping) -> None:
        """Behind a step; and whether it was announced."""
        self._may_stop = self._stop is not None  # the error says it, and no warning before it
        try:
            self._watched(trainer, lambda watch: watch.stepped(stepping.optimizer))
            if self._finite is not None and not stepping.is_due:
                self._stop_if_ill(trainer, self._finite, stepping, "after")
        finally:
            self._may_stop = False

    def watch_read(self, trainer: Trainer, step: Step | None) -> None:
        """What was read of a step, or that nothing was."""
        self._watched(trainer, lambda watch: watch.was_read([] if step is None else step.peaks))

    def watch_skipped(self, trainer: Trainer) -> None:
        """A step that was announced has not come."""
        self._watched(trainer, FiniteWatch.skipped)

    def watch_batch_end(self, trainer: Trainer) -> None:
        self._watched(trainer, FiniteWatch.end)

    def watch_epoch_end(self, trainer: Trainer) -> None:
        """Wait for what is on its way, and for what other processes have found."""
        self._watched(trainer, FiniteWatch.end_epoch)
        checks, self._checks = self._checks, []
        for step, drift in checks:
            found = drift()
            if found is not None and "drift" not in self.results:
                self.results["drift"] = {"step": step, **asdict(found)}
        watch = self._finite
        if watch is not None and (watch.count or trainer.world_size > 1):
            step = logging_step(trainer, train_epoch_end=True)
            self.publish(trainer, partial(self.watched, watch, Hub.of(trainer).link), step)

    def watch_no_more(self) -> None:
        """The fit ends."""
        self._num_nonfinite, self._first = self.watched_count(), self.watched_first()
        self._finite = self._stop = self._replicas = None

    def watched_count(self) -> int:
        """Steps that were not finite, those before a resume too."""
        return self._num_nonfinite if self._finite is None else self._finite.count

    def watched_first(self) -> NonFinite | None:
        """What was not finite at first in this fit or, behind it, in the last one, as far as is known by now."""
        return self._first if self._finite is None else self._finite.first

    def watched_now(self, trainer: Trainer) -> Callable[[], Entries]:
        """`watched`, of this fit."""
        return partial(self.watched, self._finite, Hub.of(trainer).link)

    def watched(self, watch: FiniteWatch | None, link: Link) -> Entries:
        """In the background of process 0: what is to be shown by now. What is found is said once."""
        if watch is None:
            return {}
        entries: dict[str, Any] = {f"{self.name}/nonfinite_steps": float(watch.count)} if watch.count else {}
        first = watch.first  # asked for before whether training may end with it
        if self._is_said or self._may_stop:
            return entries
        texts = posts(self._occasion, link=link)
        found = {rank: NonFinite.of_text(text) for rank, text in texts.items()}
        found |= {} if found or first is None else {0: first}
        if found:
            self._is_said = True
            at_first = earliest(found)
            self.note(f"{words(at_first, link.world_size)}. {_ADVICE}")
            entries[f"{self.name}/nonfinite"] = table(at_first)
        return entries

    # -- Lightning's hooks -----------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._watched(trainer, lambda watch: watch.begin(batch, batch_idx))
        if self._stop is not None:
            self._stop.begin(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._watched(trainer, lambda watch: watch.note_loss(loss))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_warned = self.on_nonfinite == "warn"
        self._watched(trainer, lambda watch: watch.look(later=is_warned and self.will_read(trainer, pl_module)))

    # ----------------------------------------------------------------------------------------------------------------

    def _stop_if_ill(
        self, trainer: Trainer, watch: FiniteWatch, stepping: Stepping, weights: Literal["before", "after"]
    ) -> None:
        """With "raise": save and end, on all processes, if any has found something."""
        if self._stop is None or not has(trainer, self):
            return
        hub = Hub.of(trainer)
        try:
            self._stop.check(
                watch.found_for(stepping.optimizer),
                watch.here,
                weights,
                partial(_place, hub, logging_step(trainer)),
                partial(hub.outlet.attempt, self.describe("train")),
            )
        except NonFiniteError as error:
            self._is_said, mine = True, error.found.get(trainer.global_rank)
            if mine is not None:
                self.results["nonfinite"] = asdict(mine)
            shown = {f"{self.name}/nonfinite": table(error.found)}
            self.publish(trainer, lambda: shown, logging_step(trainer))
            raise

    def _watched(self, trainer: Trainer, call: Callable[[FiniteWatch], object]) -> None:
        watch, hub = self._finite, Hub.of(trainer)
        if watch is None or not has(trainer, self):  # in between, one that looks for a learning rate
            return
        with (
            hub.meter.of(self),
            hub.outlet.attempt(self.describe("train"), "could not see whether gradients are finite"),
            garbage_later(),
        ):
            call(watch)
            if self._stop is not None:
                watch.advance(wait=True)
                return self._stop.keep(watch.candidate or watch.first)
            if watch.first is not None and not self._is_found:
                self._is_found = True
                self.results["nonfinite"] = asdict(watch.first)
                post(self._occasion, watch.first.as_text(), hub.link)
                self.publish(trainer, partial(self.watched, watch, hub.link), watch.first.step)


def _place(hub: Hub, step: int) -> Path | None:
    """A folder that is not there yet, of the run on process 0; None where it leaves nothing behind."""
    if hub.outlet.folder is None:
        return None
    parent = hub.outlet.run_directory() / "nonfinite"
    return next(p for i in count() if not (p := parent / (f"step-{step}-{i}" if i else f"step-{step}")).exists())
