"""Losses that stand out from those before them, in NumPy.

spikes = Spikes()
spikes.feed(120, 2.5)      # the Spike, or None
spikes.found               # the last ones
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

WINDOW, KNOWN = 128, 32
"""Losses that the next one is compared with, and how many there have to be."""
SCORE = 10.0
"""Modified z-score from which on a loss is a spike; Iglewicz and Hoaglin take 3.5 of normally distributed values, and
losses of batches have longer tails."""
ABOVE = 2.0
"""So many times the largest of the window a spike has to be as well, if that is above zero: a single hard batch among
easy ones comes again and again."""
LEAST = 1e-3
"""Part of the median's size that the median deviation counts as at least: losses that hardly differ are no measure."""
KEPT = 20


@dataclass(frozen=True)
class Spike:
    """A loss that stood out: at which step, how large, the median of those before it, and its modified z-score,
    infinity where the loss was not finite.
    """

    step: int
    loss: float
    usual: float
    score: float


class Spikes:
    """Finds losses that stand out from the last 128.

    The modified z-score of x is ``0.6745 (x - median) / MAD``, MAD being the median of the absolute deviations from the
    median, and 0.6745 that of a normal distribution with a standard deviation of 1: B. Iglewicz and D. Hoaglin, "How to
    detect and handle outliers", ASQC, 1993, section 3.

    >>> spikes = Spikes()
    >>> losses = [1.0, 1.2, 0.8, 1.1, 0.9] * 8
    >>> found = [spikes.feed(step, loss) for step, loss in enumerate([*losses, 5.0, 1.0])]
    >>> [(spike.step, spike.loss, spike.usual, round(spike.score)) for spike in found if spike]
    [(40, 5.0, 1.0, 27)]
    """

    def __init__(self) -> None:
        self.found: list[Spike] = []
        self._window = np.zeros(0)
        self._was_odd = False

    def feed(self, step: int, loss: float) -> Spike | None:
        window, spike = self._window, None
        if not math.isfinite(loss):
            if not self._was_odd:
                spike = Spike(step, loss, float(np.median(window)) if len(window) else math.nan, math.inf)
        elif len(window) >= KNOWN:
            median, largest = float(np.median(window)), float(window.max())
            deviation = max(float(np.median(np.abs(window - median))), LEAST * abs(median), 1e-30)
            score = 0.6745 * (loss - median) / deviation
            if score > SCORE and (largest <= 0 or loss > ABOVE * largest):
                spike = Spike(step, loss, median, score)
        self._was_odd = not math.isfinite(loss)
        if not self._was_odd:
            self._window = np.append(window, loss)[-WINDOW:]
        if spike is not None:
            self.found = [*self.found, spike][-KEPT:]
        return spike

    def state_dict(self) -> dict[str, Any]:
        """Numbers alone, of a size that does not grow with steps."""
        return {
            "window": self._window.copy(),
            "was_odd": self._was_odd,
            "found": [list(astuple(spike)) for spike in self.found],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._window, self._was_odd = np.array(state["window"], float), bool(state["was_odd"])
        self.found = [Spike(*numbers) for numbers in state["found"]]
