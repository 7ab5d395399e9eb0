"""What is published of the logged steps of a fit, and what `results` have of them.

logged = Logged("gradients", every=50, num_bins=64, say=print)       # num_bins=None draws no histograms
logged.add(0, step, 20, dict)            # a hook: a `Step` of the optimizer 0, and the number to log it at
logged.entries(step, 20)                 # in the background: its numbers and histograms by key
logged.tables()                          # a hook: tables that have not been published yet
logged.results(LogHistogram())           # waits for the device
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from lwcallbacks.callbacks import drawn
from lwcallbacks.callbacks.activations import StepOutputs
from lwcallbacks.callbacks.base import Entries, LoggingCallback
from lwcallbacks.callbacks.over_steps import OverSteps
from lwcallbacks.callbacks.reading import Step
from lwcallbacks.lightning import Trainer
from lwcallbacks.reductions import LogHistogram

TABLE_EVERY = 10
"""Logged steps from one table to the next: a table costs as much as many numbers, and W&B makes a version of each."""

Drawing = tuple[Callable[[], Entries], int, Any]
"""What `publish` takes: a call that draws, the step to log it at, and what is held for it."""


def draw(callback: LoggingCallback, trainer: Trainer, drawings: Iterable[Drawing]) -> None:
    """Publish them."""
    for render, at, holds in drawings:
        callback.publish(trainer, render, at, holds=holds)


class Logged:
    """See the module's synopsis.

    Args:
        name: what the keys begin with.
        every: steps of an optimizer from one logged step to the next.
        num_bins: of a histogram; None draws none.
        over: what all logged steps say together.
        say: tells something once.
    """

    def __init__(
        self, name: str, every: int, num_bins: int | None, over: OverSteps, say: Callable[[str], object]
    ) -> None:
        self.over = over
        self._name = name
        self._every = every
        self._num_bins = num_bins
        self._say = say
        self._last: dict[int, Step] = {}
        self._untabled: dict[int, tuple[Step, int]] = {}
        self._outputs: StepOutputs | None = None

    # -- in a hook -------------------------------------------------------------------------------------------------

    def add(self, index: int, step: Step, at: int, beside: Callable[[], Entries]) -> list[Drawing]:
        """A logged step of an optimizer: what is to be drawn of it. `beside` has more entries, in the background."""
        self._last[index] = step
        self._untabled[index] = step, at
        self.over.add(at, step)
        is_tabled = (step.number // self._every) % TABLE_EVERY == 1
        return [(lambda: {**self.entries(step, at), **beside()}, at, step), *(self.tables(index) if is_tabled else ())]

    def tables(self, *optimizers: int) -> list[Drawing]:
        """Of the last logged step of these optimizers or of all, where it has none yet."""
        due = [self._untabled.pop(index) for index in optimizers or list(self._untabled)]
        return [(partial(self._table, step), at, step) for step, at in due]

    def add_outputs(self, found: StepOutputs) -> Drawing:
        """Outputs of modules in the batches of a logged step."""
        self._outputs = found
        self.over.add(found.number, found)
        return partial(self._render_outputs, found), found.number, found

    # -- where the device may be waited for ------------------------------------------------------------------------

    def entries(self, step: Step, at: int) -> Entries:
        layers, counts, skipped = step.layers(), step.counts(), step.num_skipped()
        entries = {} if layers is None else drawn.step(self._name, layers, counts, self._num_bins, step.suffix)
        self.over.settle(step, layers)
        entries |= {f"{self._name}/skipped_steps{step.suffix}": float(skipped)} if skipped else {}
        return {**entries, **self.over.scores(self._name, at)}

    def _table(self, step: Step) -> Entries:
        layers = step.layers()
        return {} if layers is None else drawn.table(self._name, layers, step.suffix)

    def _render_outputs(self, found: StepOutputs) -> Entries:
        seen = found.seen()
        if not seen and not found.is_skipped:
            self._say("in a logged step no call of a module was seen, and activations= draws nothing of it")
        return drawn.outputs(self._name, seen, self._num_bins)

    def results(self, histogram: LogHistogram) -> dict[str, Any]:
        """Counts by layer of the last logged step of each optimizer, and what else was counted."""
        steps: Sequence[Step] = list(self._last.values())
        found = [layers for step in steps if (layers := step.layers()) is not None]
        results = {drawn.own(name): bins for of in found for name, bins in of.seen(histogram).items()}
        if self._outputs is not None:
            results |= {f"activations/{name}": of.activation.bins for name, of in self._outputs.seen().items()}
        more = [counts for step in steps if (counts := step.counts()) is not None]
        return results | {drawn.of_kind(key): bins for of in more for key, bins in of.seen(histogram).items()}
