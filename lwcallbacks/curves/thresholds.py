"""The best threshold of one class: by F1, by Youden's J or by what mistakes cost.

best_threshold(binned, "f1").value                              # a score of at least so much is a positive
best_threshold(binned, {"false_positive": 1, "false_negative": 5})
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lwcallbacks.reductions import BinnedScores

ThresholdBy: TypeAlias = Literal["f1", "youden"] | Mapping[str, float]
COSTS = ("false_positive", "false_negative")


@dataclass(frozen=True)
class Threshold:
    """A threshold and what comes of it.

    Attributes:
        value: a score of at least so much is a positive. It lies between the scores on its two sides where there is
            room between their bins. inf where nothing is to be a positive; NaN where none is better than another.
        score: F1, Youden's J, or what the mistakes cost together.
        precision, recall, false_positive_rate: there.
    """

    value: float
    score: float
    precision: float
    recall: float
    false_positive_rate: float


UNDEFINED = Threshold(*[math.nan] * 5)


def check_threshold_by(owner: str, by: object) -> None:
    """Raise ValueError for what is no way to choose a threshold."""
    if isinstance(by, Mapping):
        costs = list(by.values())
        fits = set(by) == set(COSTS) and all(isinstance(c, int | float) and math.isfinite(c) and c >= 0 for c in costs)
        if fits and any(costs):
            return
    elif by in ("f1", "youden"):
        return
    expected = "expected 'f1', 'youden', or costs as in {'false_positive': 1, 'false_negative': 5}"
    raise ValueError(f"{owner}: threshold_by={by!r}, {expected}")


def best_threshold(binned: BinnedScores, by: ThresholdBy) -> Threshold:
    """The best of the thresholds that the bins tell apart; of equal ones the highest.

    F1 is 2 TP / (2 TP + FP + FN) and is not defined without a positive. Youden's J is TPR - FPR and needs a negative,
    too. Costs are `false_positive` for each FP and `false_negative` for each FN. Source of J: W. J. Youden, Index for
    rating diagnostic tests, Cancer 3 (1950), 32-35.
    """
    hits, false = binned.above
    there, others = int(hits[-1]), int(false[-1])
    if not there + others or (not there and by == "f1") or (by == "youden" and not (there and others)):
        return UNDEFINED
    if isinstance(by, Mapping):
        score = by["false_positive"] * false + by["false_negative"] * (there - hits)
        best = int(score.argmin())
    else:
        score = 2 * hits / (hits + false + there) if by == "f1" else hits / there - false / others
        best = int(score.argmax())
    tp, fp = int(hits[best]), int(false[best])
    return Threshold(
        _between(binned, best),
        float(score[best]),
        tp / (tp + fp) if tp + fp else math.nan,
        tp / there if there else math.nan,
        fp / others if others else math.nan,
    )


def _between(binned: BinnedScores, taken: int) -> float:
    """The threshold above which so many bins are, from the highest on."""
    if taken == 0:
        return math.inf
    place = len(binned.low) - taken
    low = float(binned.low[place])
    below = float(binned.high[place - 1]) if place else 0.0  # no score is less
    return (low + below) / 2
