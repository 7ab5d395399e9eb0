"""The logged steps of a fit, as they come: what is read before, in and behind each, and when.

    fit = LoggedFit(callback, trainer, 50, logged, say)      # a `Logged`, to which goes what was read
    fit.read_with(reader, activations)
    fit.watch()                            # at the start of training and of each epoch
    fit.begin(); fit.announced(optimizer); fit.end()       # a batch, as Lightning calls its hooks; new optimizers, too
    fit.say_what_is_unseen()               # at the end of an epoch
    fit.say_what_is_not_logged()           # at the end of training
    fit.close()                            # how often each optimizer has stepped; nothing is left on them

What fails costs itself, and what it takes is booked on the callback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import is_not
from typing import Any

from lwcallbacks.callbacks.activations import Activations
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.logged import Logged, draw
from lwcallbacks.callbacks.reading import Reader, Step
from lwcallbacks.callbacks.steps import Stepping, Steps
from lwcallbacks.callbacks.trainer import gradients_stay, has, is_no_optimizer, logging_step
from lwcallbacks.callbacks.watching import WatchingCallback
from lwcallbacks.gradients.further import MOMENTS
from lwcallbacks.gradients.garbage import garbage_later
from lwcallbacks.lightning import LightningModule, Trainer, is_of_lightning


class LoggedFit:
    """See the module's synopsis.

    Args:
        callback: which publishes, and watches every step.
        every: steps of an optimizer from one logged step to the next.
        logged: what becomes of what was read.
        say: tells something once.
    """

    def __init__(
        self, callback: WatchingCallback, trainer: Trainer, every: int, logged: Logged, say: Callable[[str], None]
    ) -> None:
        self.steps = Steps(every, self._before, self._behind, partial(callback.watch_step, trainer))
        self._callback = callback
        self._owner = callback.describe("train")
        self._trainer = trainer
        self._logged = logged
        self._say = say
        self._has_begun = False
        self._handed: list[Any] = []
        self._logged_at: dict[int, int] = {}
        self._reader: Reader | None = None
        self._activations: Activations | None = None

    def read_with(self, reader: Reader, activations: Activations | None) -> None:
        """From now on."""
        self._reader, self._activations = reader, activations

    def watch(self) -> None:
        """Follow the optimizers that the Trainer has now.

        Raises:
            TypeError: one of them has no hooks.
        """
        self._handed = list(self._trainer.optimizers)
        try:
            if self.steps.watch(self._handed):
                self._callback.watch_optimizers(self._trainer, self.steps)
        except TypeError as error:
            raise TypeError(f"{self._owner}: {error}") from None

    def close(self) -> dict[str, dict[int, int]]:
        counts = self.steps.counts()
        self.steps.remove()
        if self._activations is not None:
            self._activations.close()
        self._reader = self._activations = None
        return counts

    # -- a batch -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._has_begun = True
        self._watch_new()
        for stepping in self.steps.of:
            stepping.begin()
        if self._activations is not None:
            with self._attempt("watch the outputs of modules"):
                # Of several processes one alone must not leave it out.
                waits = self._trainer.world_size == 1 and self._callback.is_over(self._trainer)
                self._activations.start(self.steps.of, waits=waits)

    def announced(self, optimizer: Any) -> None:
        """Lightning says that a step is to come."""
        stepping = self.steps.find(optimizer)
        if stepping is None:  # made in the middle of this batch
            self._watch_new()
            stepping = self.steps.find(optimizer)
        if stepping is None:
            return
        is_first, stepping.is_due = not stepping.is_due, True
        if self._activations is not None:
            self._activations.evaluated()
        self._callback.watch_before_step(self._trainer, stepping)
        if is_first and stepping.is_logged and self._trainer.lightning_module.automatic_optimization:
            self._keep_parameters(stepping)
        if stepping.is_logged and self._reader is not None:
            with self._attempt("read the norm before clipping"):
                self._reader.keep_unclipped(stepping)

    def will_read(self, module: LightningModule) -> bool:
        """Whether a step of this batch is logged, and its gradients are read as this backward leaves them."""
        if len(self.steps.of) != 1 or self._reader is None:
            return False
        [stepping] = self.steps.of
        is_whole = stepping.is_logged and not self._reader.is_shared
        return is_whole and gradients_stay(self._trainer, module, stepping.optimizer)

    def end(self) -> None:
        for stepping in self.steps.left_out():
            self._callback.watch_skipped(self._trainer)
            if self._reader is not None:
                self._reader.forget(stepping)
            if self._activations is not None:
                self._activations.forget()
        if self._activations is not None:
            self._end_of_outputs(self._activations)

    def say_what_is_unseen(self) -> None:
        """Nothing is logged of an optimizer whose step is never called."""
        for stepping in self.steps.idle() if self._has_begun else ():  # a resumed epoch may have no batch left
            found = f"{stepping.name} has made no step() in an epoch"
            if is_no_optimizer(stepping.handed):
                found = "configure_optimizers() returns no optimizer"
            self._say(
                f"{found}, so nothing is logged of it. Expected that configure_optimizers() returns the optimizers "
                "whose step() is called"
            )

    def say_what_is_not_chosen(self) -> None:
        """Patterns may fit no parameter that an optimizer has by now."""
        if self._reader is not None and not any(map(self._reader.has_chosen, self.steps.of)):
            self._say(
                "no optimizer has a parameter that include= and exclude= choose and that requires a gradient, so "
                "nothing is logged as long as that is so"
            )

    def say_what_is_not_logged(self) -> None:
        """Fewer steps than from one logged step to the next."""
        for stepping in self.steps.of:
            if stepping.has_stepped and stepping.index not in self._logged_at:
                self._say(
                    f"no step of {stepping.name} was logged: it has made {stepping.count:,}, and every "
                    f"{self.steps.every:,}th is. For a short training write every_n_train_steps=1"
                )

    def _watch_new(self) -> None:
        """Follow optimizers that were made since the epoch began. What has no hooks cannot stop a training."""
        now = self._trainer.optimizers
        if len(now) != len(self._handed) or any(map(is_not, now, self._handed)):
            with self._attempt("follow the new optimizers"):
                self.watch()

    def _end_of_outputs(self, activations: Activations) -> None:
        found = None
        with self._attempt("read the outputs of modules"):
            found = activations.end()
        if found is not None:
            self._book(found.reading.host_bytes, found.num_calls)
            if not found.waits:
                draw(self._callback, self._trainer, [self._logged.add_outputs(found)])

    # -- in the optimizer's own hooks ----------------------------------------------------------------------------------

    def _before(self, stepping: Stepping) -> None:
        # In automatic optimization the step itself calls training_step, which may change parameters, too; then it is
        # announced, unless the module has a way of its own.
        module = self._trainer.lightning_module
        if stepping.is_due or not module.automatic_optimization or not is_of_lightning(module.optimizer_step):
            self._keep_parameters(stepping)

    def _keep_parameters(self, stepping: Stepping) -> None:
        if self._reader is not None and has(self._trainer, self._callback):
            with self._attempt("keep the parameters"):
                self._reader.keep_parameters(stepping)

    def _behind(self, stepping: Stepping) -> None:
        reader, callback, trainer = self._reader, self._callback, self._trainer
        if reader is None or not has(trainer, callback):  # in between, one that looks for a learning rate
            return
        callback.watch_replicas(trainer)
        waits = callback.max_overhead is not None and callback.can_wait(trainer)
        step: Step | None = None
        with self._attempt("read the gradients"):
            if waits and not reader.is_shared:
                reader.forget(stepping)
            else:
                step = reader.read(stepping)
                self._book(step.host_bytes, step.num_calls)
        callback.watch_read(trainer, step)
        if self._activations is not None:
            self._activations.logged(logging_step(trainer), step, waits)
        if step is None or waits:
            return
        if step.lacks_moments:
            names = f"{', '.join(MOMENTS[:-1])} or {MOMENTS[-1]}"
            self._say(f"{step.optimizer} keeps no {names}, so moments=True draws nothing")
        at = logging_step(trainer)
        if not step.readings:
            self._logged.over.add(at, step)
            self._logged_at.setdefault(stepping.index, -1)
            if not reader.has_chosen(stepping):  # on purpose
                return
            return self._say(
                f"{step.optimizer} had no gradient behind a step(), and nothing is logged of it: there was none before "
                "it, or step() has cleared it"
            )
        if self._logged_at.get(stepping.index) == at:
            self._say(
                f"{step.optimizer} steps several times in a batch, and several of these steps are logged: they share "
                "one number, and the last is kept. Expected every_n_train_steps to be a multiple of a batch's steps"
            )
        self._logged_at[stepping.index] = at
        drawings = self._logged.add(stepping.index, step, at, callback.watched_now(trainer))
        draw(callback, trainer, drawings)

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        hub = Hub.of(self._trainer)
        with hub.meter.of(self._callback), hub.outlet.attempt(self._owner, f"could not {what}"), garbage_later():
            yield

    def _book(self, host_bytes: int, num_calls: int) -> None:
        cost = Hub.of(self._trainer).meter.of(self._callback).cost
        cost.host_bytes += host_bytes
        cost.collectives += num_calls
