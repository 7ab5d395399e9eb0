"""What all logged steps together say: pictures over steps, which layer looks ill, and losses that stand out.

over = OverSteps(by_module=True, in_float16=False)
over.start(layers, weights)            # before the first step: all layers in order, and what `Reader.weights` gives
over.hear(step, loss)                  # a hook: keeps the loss as it is on its device, and waits for nothing
over.add(step, read)                   # a hook: the `Step` that was read behind a logged step, or its `StepOutputs`
over.settle(read, layers)              # in the background, once its layers are there
over.entries("gradients")              # media of everything so far
over.state_dict()                      # waits for the device
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.callbacks.activations import StepOutputs
from lwcallbacks.callbacks.reading import Step, Weights
from lwcallbacks.gradients.diagnosis import Diagnosis
from lwcallbacks.gradients.finding import Finding
from lwcallbacks.gradients.history import History
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.spikes import Spike, Spikes
from lwcallbacks.media import Cell, Entry, Table, draw_over_steps
from lwcallbacks.reductions.to_host import soon_on_host

MOST_PENDING = 16
"""Steps that wait for the background. On processes without one, so many steps later a device has long done its part."""
TOGETHER = 64
"""Losses that are copied to the host at once."""


class OverSteps:
    """See the module's synopsis.

    Args:
        by_module: whether layers are parameters, of which a module's together are judged.
        in_float16: whether gradients are worked out in float16.
    """

    def __init__(self, *, by_module: bool, in_float16: bool) -> None:
        self._diagnosis = Diagnosis(by_module=by_module, in_float16=in_float16)
        self._norms, self._ratios, self._spikes = History(), History(), Spikes()
        self._lock = threading.RLock()
        self._pending: deque[tuple[int, Step | StepOutputs]] = deque()
        self._losses: list[tuple[int, Tensor]] = []
        self._coming: deque[tuple[list[int], Callable[[], Tensor]]] = deque()
        self._new_spikes: list[Spike] = []
        self._start: Callable[[], Weights] | None = None
        self.is_new = False
        """Whether a step was added since `entries` were asked for."""

    @property
    def nbytes(self) -> int:
        """What is drawn, until it is."""
        return self._norms.nbytes + self._ratios.nbytes

    # -- in a hook ---------------------------------------------------------------------------------------------------

    def start(self, layers: Sequence[str], weights: Callable[[], Weights] | None) -> None:
        """Before the first step, the layers that may come, in the order of the module; and parameters, where they are
        known."""
        with self._lock:
            for part in (self._diagnosis, self._norms, self._ratios):
                part.know(layers)
        self._start = weights

    def hear(self, step: int, loss: Tensor) -> None:
        """A loss, of one number."""
        self._losses.append((step, loss.detach()))
        if len(self._losses) >= TOGETHER:
            self.send()

    def send(self) -> None:
        """Begin to copy what was heard."""
        if self._losses:
            steps, losses = zip(*self._losses, strict=True)
            together = torch.stack([loss.reshape(()).to(torch.float32) for loss in losses])
            self._coming.append((list(steps), soon_on_host(together)))
            self._losses = []

    def add(self, step: int, read: Step | StepOutputs) -> None:
        """What was read of a logged step, by the number it is to be named by."""
        self.is_new = True
        self.send()
        self._pending.append((step, read))
        if len(self._pending) > MOST_PENDING:
            self.settle(self._pending[0][1])

    # -- where the device may be waited for --------------------------------------------------------------------------

    def settle(self, until: Step | StepOutputs | None = None, layers: Layers | None = None) -> None:
        """Take in what was added, in its order, up to a step, or all of it. `layers` are those of that step."""
        with self._lock:
            if self._start is not None:
                weights, self._start = self._start(), None
                self._diagnosis.feed_start(*weights)
            while self._coming:
                steps, losses = self._coming.popleft()
                found = [self._spikes.feed(*pair) for pair in zip(steps, losses().tolist(), strict=True)]
                self._new_spikes += [spike for spike in found if spike is not None]
            while self._pending and (until is None or any(read is until for _, read in list(self._pending))):
                step, read = self._pending.popleft()
                if isinstance(read, StepOutputs):
                    self._diagnosis.feed_units(step, read.dead_units())
                    continue
                found_layers = layers if read is until and layers is not None else read.layers()
                if found_layers is not None:
                    self._take(step, found_layers)
                if not read.is_skipped and not read.has_cleared:
                    names = () if found_layers is None else found_layers.names
                    self._diagnosis.feed_members(step, read.members, names, read.optimizer)

    def _take(self, step: int, layers: Layers) -> None:
        self._diagnosis.feed(step, layers)
        self._norms.add(step, layers.names, np.where(np.isfinite(layers.norms), layers.norms, np.inf))
        if layers.changes is not None and layers.weights is not None:
            ratios = np.divide(
                layers.changes, layers.weights, where=layers.weights != 0, out=0 * layers.weights + np.nan
            )
            odd = ~np.isfinite(layers.changes) | ~np.isfinite(layers.weights)
            self._ratios.add(step, layers.names, np.where(odd, np.inf, ratios))

    def not_finite(self, step: int, layers: Iterable[str]) -> None:
        """The first step, logged or not, at which gradients of these layers were not finite."""
        with self._lock:
            self.send()
            self.settle()
            self._diagnosis.feed_nonfinite(step, layers)

    def scores(self, name: str, step: int) -> dict[str, float]:
        """The score of the worst loss that stands out up to a step, and was not asked for before.

        A step that is drawn late comes after losses of later ones, which wait for the next.
        """
        with self._lock:
            new = [spike for spike in self._new_spikes if spike.step <= step]
            self._new_spikes = [spike for spike in self._new_spikes if spike.step > step]
        scores = [spike.score for spike in new if spike.score < math.inf]
        return {f"{name}/loss_spike": max(scores)} if scores else {}

    def results(self) -> dict[str, Any]:
        """What was found up to now."""
        with self._lock:
            self.send()
            self.settle()
            return {
                "diagnosis": self._diagnosis.findings(),
                "passed": self._diagnosis.passed(),
                "loss_spikes": list(self._spikes.found),
            }

    def entries(self, name: str) -> dict[str, Entry]:
        """Media of all steps up to now; nothing of none."""
        with self._lock:
            self.settle()
            findings, passed = self._diagnosis.findings(), self._diagnosis.passed()
            spikes = list(self._spikes.found)
            pictures = [
                (f"{name}/{key}", (history.table(), history.names, history.steps.tolist()), scale)
                for key, history, scale in (
                    ("norm_by_step", self._norms, "norm of the gradient"),
                    ("update_ratio_by_step", self._ratios, "update ratio"),
                )
                if len(history.steps)
            ]
        if not pictures and not findings:
            return {}
        found: dict[str, Entry] = {f"{name}/diagnosis": _in_words(findings, passed, spikes)}
        if spikes:
            cells = [[spike.step, spike.loss, spike.usual, spike.score] for spike in spikes]
            found[f"{name}/loss_spikes"] = Table(("step", "loss", "median before", "score"), cells)
        return found | {key: draw_over_steps(*of, scale=scale, title=key) for key, of, scale in pictures}

    # -- a checkpoint ------------------------------------------------------------------------------------------------

    def _parts(self) -> dict[str, Any]:
        return {"diagnosis": self._diagnosis, "norms": self._norms, "ratios": self._ratios, "spikes": self._spikes}

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and names, of a size that does not grow with steps."""
        with self._lock:
            self.send()
            self.settle()
            return {name: _tensors(part.state_dict()) for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name, part in self._parts().items():
            part.load_state_dict(_arrays(state[name]))


HEALTHY: tuple[Cell, ...] = ("", "no layer looks ill", None, "")


def _in_words(findings: Sequence[Finding], passed: Sequence[Finding], spikes: Sequence[Spike]) -> Table:
    """What is ill, then what has passed, then losses that stood out."""
    rows: list[Sequence[Cell]] = [[one.layer, one.illness, one.since, one.how_much] for one in findings]
    rows = rows or [HEALTHY]
    rows += [[one.layer, one.illness, one.since, f"until step {one.until:,}: {one.how_much}"] for one in passed]
    if spikes:
        worst = max(spikes, key=lambda spike: spike.score)
        text = f"the loss was {worst.loss:.3g}, the median before {worst.usual:.3g}"
        if len(spikes) > 1:
            text += f"; the worst of the last {len(spikes)}"
        rows.append(["", "loss spike", worst.step, text])
    return Table(("layer", "what", "since step", "how much"), rows)


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in state.items()}


def _arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x.numpy() if isinstance(x, Tensor) else x for name, x in state.items()}
