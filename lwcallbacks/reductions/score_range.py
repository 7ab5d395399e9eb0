"""One rule for scores: which of them are a 1, and whether they are probabilities or logits.

    positives(scores, threshold=0.5, logits=True)      # bool, where the argument tells
    seen = ScoreRange()
    seen.value(seen.lift(scores))                      # "probabilities", "logits", "undecided" or "none seen"

Where nobody tells, all scores of an epoch decide together, never those of a batch. So each score is kept as a code that
says what it is as a probability and what it is as a logit, and one of the two is read once the range is known:

    codes = coded(scores, threshold=0.5, logits=None)  # uint8, one of `CODES` values
    decoded(codes, "logits")                           # 0 and 1; -1 where a score is neither

Every score is compared in float32, whatever its dtype.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MIN, Scatter, Scattered, Slots, State
from lwcallbacks.reductions.floats import as_float32, from_orderable, orderable

Kind = Literal["probabilities", "logits", "undecided", "none seen"]

NAN, INSIDE, BEYOND = 3, 4, 8
"""Codes: 0 and 1 are decided, 2 is a label out of range. Then NaN; a score in [0, 1], `INSIDE + 2 * p + l`; else
`BEYOND + l`. p and l say whether the score is a 1 as a probability and as a logit."""
CODES = 10

_LABELS = {"probabilities": (0, 1, -1, -1, 0, 0, 1, 1, -1, -1), "logits": (0, 1, -1, -1, 0, 1, 0, 1, 0, 1)}


def readings(kind: Kind) -> tuple[int, ...]:
    """The label behind each code: 0, 1, or -1 for none. What is not decided is read as probabilities."""
    return _LABELS["logits" if kind == "logits" else "probabilities"]


def positives(scores: Tensor, threshold: float = 0.5, logits: bool = False) -> Tensor:
    """Which scores are a 1, bool in the shape of `scores`: probability > threshold, or sigmoid(logit) > threshold.

    In float32, and for logits by one comparison with the largest float32 whose sigmoid is not above the threshold, so
    that devices and memory layouts agree to the bit.

        >>> positives(torch.tensor([-1.0, 0.0, 0.2]), 0.5, logits=True)
        tensor([False, False,  True])
        >>> positives(torch.tensor([0.4, 0.5, 0.6]))
        tensor([False, False,  True])
    """
    return as_float32(scores) > (logit_cut(threshold) if logits else _rounded(threshold))


def coded(scores: Tensor, threshold: float = 0.5, logits: bool | None = None) -> Tensor:
    """What each float score says: codes uint8 in the shape of `scores`, as at `NAN`, for `decoded`."""
    scores = as_float32(scores)
    high = positives(scores, threshold, bool(logits)).view(torch.uint8)  # small integers are quick
    if not logits:
        inside = (scores >= 0) & (scores <= 1)
        high = torch.where(inside, high if logits is False else high * 2 + INSIDE, BEYOND)
    if logits is None:
        high = high + positives(scores, threshold, logits=True).view(torch.uint8)
    return high.masked_fill(scores.isnan(), NAN)


def decoded(codes: Tensor, kind: Kind) -> Tensor:
    """The labels behind codes, int64 in the shape of `codes`; -1 where there is none."""
    return torch.tensor(readings(kind), device=codes.device)[codes.to(torch.int64)]


def _rounded(value: float) -> float:
    """The nearest float32; an infinity beyond them."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) with every operation rounded to float32."""
    power = math.inf if x < -700 else _rounded(math.exp(-x))
    return _rounded(1 / _rounded(1 + power))


@cache
def logit_cut(threshold: float) -> float:
    """The largest float32 whose sigmoid is not above `threshold`: a logit is a 1 exactly where it is larger."""
    low, high = (int(orderable(torch.tensor(x))) for x in (-math.inf, math.inf))
    limit = _rounded(threshold)
    while low < high:
        middle = (low + high + 1) // 2
        at_most = _sigmoid(float(from_orderable(torch.tensor(middle)))) <= limit
        low, high = (middle, high) if at_most else (low, middle - 1)
    return float(from_orderable(torch.tensor(low)))


RANGE = Slots(2, "max")
"""The table of a range: how far the scores reach down (negated) and up, as `orderable` integers."""


def reach(scores: Tensor, valid: Tensor | None = None) -> Tensor:
    """What each sample of scores [N, ...] adds to a table `RANGE`: int64 [N, 2]. NaN takes no part, nor do labels."""
    nothing = scores.new_full((len(scores), 2), INT64_MIN, dtype=torch.int64)
    if not scores.is_floating_point() or not scores.numel():
        return nothing
    scores = as_float32(scores).reshape(len(scores), -1)
    missing = scores.isnan()
    ends = [torch.where(missing, -math.inf, side).amax(dim=1) + 0.0 for side in (-scores, scores)]  # -0.0 + 0.0 is 0.0
    counts = ~missing.all(dim=1) if valid is None else ~missing.all(dim=1) & valid
    return torch.where(counts[:, None], orderable(torch.stack(ends, dim=1)), nothing)


def extent(table: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest score of a table `RANGE`; None where there was none. Waits for the device."""
    down, up = table.cpu().tolist()
    if up == INT64_MIN:
        return None
    low, high = from_orderable(torch.tensor([down, up])).tolist()
    return 0.0 - low, high


def kind_of(table: Tensor) -> Kind:
    """What the scores of a table `RANGE` are: the rule of this package, applied to all of an epoch."""
    ends = extent(table)
    if ends is None:
        return "none seen"
    low, high = ends
    if low >= 0 and high <= 1:
        return "probabilities"
    return "logits" if low < -0.5 or high > 1.5 else "undecided"


def question(table: Tensor) -> str | None:
    """What to ask the user where it is not decided; else None."""
    if kind_of(table) != "undecided":
        return None
    return f"{_lie(table)}, which may be logits or probabilities; pass logits=True, or clamp probabilities to [0, 1]"


class Decision(NamedTuple):
    """What scores are taken for where nobody told."""

    kind: Kind
    text: str
    """The same in words, with the range that was found and how to say it."""
    doubt: str | None = None
    """What speaks against it, and what to write."""


def decision(table: Tensor, only: int | None = None) -> Decision | None:
    """What the scores of a table `RANGE` are taken for; None where there were none, or where it is not decided.

    Args:
        table: of all scores.
        only: the label that all of them were predicted to be, where the targets have both. Logits in [0, 1] would be.
    """
    kind = kind_of(table)
    if kind not in ("probabilities", "logits"):
        return None
    taken = f"{_lie(table)} and are taken for {kind}"
    if kind == "logits":
        return Decision(kind, f"{taken}; pass logits=True to say so")
    doubt = None
    if only is not None:
        doubt = f"{taken}: all predictions are {only}, expected some of 0 and of 1, as the targets are. {_EITHER}"
    return Decision(kind, f"{taken}; pass logits=False to say so, or logits=True if they are logits", doubt)


_EITHER = "Write logits=True if they are logits, logits=False if they are probabilities"


def only_label(cells: Tensor) -> int | None:
    """The one label that was predicted, where there are both: of counts [..., 2, 2], rows are the truth."""
    truths, predicted = cells.reshape(-1, 2, 2).sum(dim=(0, 2)), cells.reshape(-1, 2, 2).sum(dim=(0, 1))
    return int(predicted.argmax()) if bool((truths > 0).all()) and not bool(predicted.all()) else None


def _lie(table: Tensor) -> str:
    low, high = extent(table) or (math.nan, math.nan)
    return f"scores are in [{low:.3g}, {high:.3g}]"


@dataclass(frozen=True)
class ScoreRange(Scattered):
    """Whether scores are probabilities or logits, decided from all of them, and mergeable.

    Args:
        asks: whether `problems` asks the user where it is not decided.

    `lift(scores)`: float [N, ...] of any dtype, read as float32; labels and NaN take no part. `value`: "probabilities"
    where all are in [0, 1]; "logits" where any is below -0.5 or above 1.5, infinities included; "undecided" between the
    two, as probabilities are that were upsampled; "none seen". State: int64 [2].

        >>> seen = ScoreRange()
        >>> few, more = seen.lift(torch.tensor([0.1, 0.9])), seen.lift(torch.tensor([-3.0, 0.5]))
        >>> seen.value(few), seen.value(seen.merge(few, more)), seen.value(seen.empty())
        ('probabilities', 'logits', 'none seen')
    """

    asks: bool = True

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"range": RANGE}

    def scatter(self, scores: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        return {"range": (None, reach(scores.detach(), valid))}

    def value(self, state: State) -> Kind:
        return kind_of(state["range"])

    def step_value(self, lifted: State, seen: State) -> Kind:
        """What one batch's scores are taken for: what all scores so far are, `seen`, which the batch is part of."""
        return self.value(seen)

    def problems(self, state: State) -> str | None:
        return question(state["range"]) if self.asks else None

    def decided(self, state: State) -> Decision | None:
        """What scores are taken for, to be said; None where nothing is decided, or it is of no matter."""
        return decision(state["range"]) if self.asks else None


TASKS = ("multiclass", "binary", "multilabel")


def check_scores(owner: str, task: object, threshold: object, logits: object, tasks: tuple[str, ...] = TASKS) -> None:
    """Raise ValueError for a task, threshold or `logits` that is none."""
    if task not in tasks:
        expected = f"{', '.join(map(repr, tasks[:-1]))} or {tasks[-1]!r}"
        raise ValueError(f"{owner}: task={task!r}, expected {expected}")
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise ValueError(f"{owner}: threshold={threshold!r}, expected a probability in (0, 1)")
    if logits not in (None, True, False):
        raise ValueError(f"{owner}: logits={logits!r}, expected True, False or None to tell by all scores")
