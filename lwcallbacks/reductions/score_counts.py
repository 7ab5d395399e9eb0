"""Positives and negatives by score, in bins that never move: what every ROC and precision-recall curve is made of.

    counts = ScoreCounts(2, task="binary")
    seen = counts.value(counts.lift(torch.tensor([0.1, 0.8]), torch.tensor([0, 1])))
    seen.classes[0].positives                          # int64, one for each bin that holds something

No score is kept. Counts are integers, so no number of samples is too large and no order matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MIN, Scatter, Scattered, Slots, State, amounts, expect
from lwcallbacks.reductions.confusion import largest
from lwcallbacks.reductions.fitting import fitted, whole
from lwcallbacks.reductions.outside import of_labels
from lwcallbacks.reductions.score_bins import ScoreBins
from lwcallbacks.reductions.score_range import (
    RANGE,
    Decision,
    Kind,
    check_scores,
    decision,
    kind_of,
    only_label,
    question,
    reach,
)
from lwcallbacks.reductions.softmax import same_softmax

MAX_BYTES = 256 * 2**20
"""What the tables of a `ScoreCounts` may take."""

Task = Literal["multiclass", "binary", "multilabel"]


class BinnedScores:
    """Scores of one class by the bins that hold some, ascending.

    Attributes:
        low: the lower edge of each bin, a probability, float64 [F].
        high: the upper edge; a score is below it, or both edges are 1 and the score is.
        negatives: how many scores in a bin are of another class, int64 [F].
        positives: how many are of the class, int64 [F].

    >>> counts = ScoreCounts(2, task="binary", logits=False)
    >>> [binned] = counts.value(counts.lift(torch.tensor([0.5, 1.0]), torch.tensor([0, 1]))).classes
    >>> binned.low.tolist(), binned.high.tolist()
    ([0.5, 1.0], [0.500244140625, 1.0])
    """

    # No dataclass: torchmetrics reaches into those.
    def __init__(self, low: np.ndarray, high: np.ndarray, negatives: np.ndarray, positives: np.ndarray) -> None:
        self.low = low
        self.high = high
        self.negatives = negatives
        self.positives = positives

    @property
    def above(self) -> tuple[np.ndarray, np.ndarray]:
        """Positives and negatives in the highest 0, 1, 2 ... bins, int64 [F + 1]: true and false positives at each
        threshold that the bins tell apart, from none to all."""
        hits, false = (np.concatenate([[0], np.cumsum(n[::-1])]) for n in (self.positives, self.negatives))
        return hits, false

    def __repr__(self) -> str:
        return f"BinnedScores(negatives={self.negatives.sum()}, positives={self.positives.sum()})"


class SeenScores:
    """What a `ScoreCounts` saw.

    Attributes:
        kind: what scores were taken for.
        classes: the scores of each chosen class against the rest; of the label 1 for `task="binary"`.
        confidence: multiclass: the largest score of each sample, positive where it is that of the true class.

    >>> counts = ScoreCounts(3)
    >>> seen = counts.value(counts.lift(torch.tensor([[9.0, 0.0, 1.0]]), torch.tensor([0])))
    >>> seen.kind, len(seen.classes), seen.confidence.positives.tolist()
    ('logits', 3, [1])
    """

    def __init__(self, kind: Kind, classes: tuple[BinnedScores, ...], confidence: BinnedScores | None = None) -> None:
        self.kind = kind
        self.classes = classes
        self.confidence = confidence

    def __repr__(self) -> str:
        return f"SeenScores(kind={self.kind!r}, classes={self.classes})"


@dataclass(frozen=True)
class ScoreCounts(Scattered):
    """Counts of positives and negatives by score, int64; exact up to 2**63 samples.

    Args:
        num_classes: classes, or labels for `task="multilabel"`; 2 for `task="binary"`.
        ignore_index: a target that does not count.
        task: "multiclass": `lift(preds, targets)` with preds float [N, C, ...] and targets [N, ...]; each class
            against the rest. "binary": preds float [N, ...], targets [N, ...] of 0 and 1. "multilabel": preds float
            [N, L, ...], targets [N, L, ...] of 0 and 1. A channel of one is squeezed where the shapes then fit.
        logits: whether scores are logits. None decides by all scores together, as `ScoreRange` does.
        classes: the classes or labels to count, by index; None: all.
        mantissa_bits: how fine the bins are, 1 to 12: see `ScoreBins`.

    Scores of any float dtype are read as float32. Logits of several classes become probabilities by `same_softmax`,
    whose bits are the same on every device; logits of one score each are binned as they are, since sigmoid keeps
    their order.
    `value`: `SeenScores`. A target out of range, a NaN score, and one that is no probability where it should be one, is
    counted apart, and `problems` tells how many.
    State: int64, 16 bytes for each bin and class, and for multiclass as much as one class more. With 10 bits that is
    1 MiB for multiclass, twice that with `logits=None`; else 1 MiB with `logits=False`, 2.2 MiB without. Each bit less
    halves it. O(N) to lift.

    Raises:
        ValueError: an argument is not as said here, or the state takes more than 256 MiB; in `lift`, shapes that do not
            fit, or integers as preds.

    >>> counts = ScoreCounts(2, task="binary")
    >>> state = counts.lift(torch.tensor([0.25, 0.75, 0.75]), torch.tensor([0, 1, 7]))
    >>> [binned] = counts.value(state).classes
    >>> binned.low.tolist(), binned.negatives.tolist(), binned.positives.tolist()
    ([0.25, 0.75], [1, 0], [0, 1])
    >>> counts.problems(state)
    '1 labels are out of range (for example 7), expected 0 to 1; they were left out of the counts. Write \
ignore_index=7 if that is a target that does not count'
    """

    num_classes: int
    ignore_index: int | None = None
    task: Task = "multiclass"
    logits: bool | None = None
    classes: tuple[int, ...] | None = None
    mantissa_bits: int = 10

    def __post_init__(self) -> None:
        check_scores("ScoreCounts", self.task, 0.5, self.logits)
        least = 1 if self.task == "multilabel" else 2
        if not isinstance(self.num_classes, int) or self.num_classes < least:
            raise ValueError(f"ScoreCounts: num_classes={self.num_classes!r}, expected an int of at least {least}")
        if self.task == "binary" and (self.num_classes, self.classes) != (2, None):
            found = f"num_classes={self.num_classes} and classes={self.classes} with task='binary'"
            raise ValueError(f"ScoreCounts: {found}, expected num_classes=2 and classes=None")
        if not isinstance(self.mantissa_bits, int) or not 1 <= self.mantissa_bits <= 12:
            raise ValueError(f"ScoreCounts: mantissa_bits={self.mantissa_bits!r}, expected an int from 1 to 12")
        self._check_classes()
        self._check_size()

    def _check_classes(self) -> None:
        if self.classes is None:
            return
        fits = all(isinstance(c, int) and 0 <= c < self.num_classes for c in self.classes)
        if not self.classes or not fits or len(set(self.classes)) < len(self.classes):
            expected = f"expected some of 0 to {self.num_classes - 1}, each once, as in classes=(0, 1)"
            raise ValueError(f"ScoreCounts: classes={self.classes!r}, {expected}")

    def _check_size(self) -> None:
        size = _num_bytes(self.slots)
        if size <= MAX_BYTES:
            return
        cures = ["classes=(0, 1) or the like to choose some"]
        narrower = (b for b in range(self.mantissa_bits - 1, 0, -1) if _num_bytes(self._slots_with(b)) <= MAX_BYTES)
        if bits := next(narrower, None):
            cures.append(f"mantissa_bits={bits} for wider bins")
        if self.logits is None and size // 2 <= MAX_BYTES:
            cures.append("logits=True or logits=False, which halves it")
        raise ValueError(
            f"ScoreCounts: counts of {len(self.chosen)} classes take {size / 2**20:.0f} MiB, expected at most "
            f"{MAX_BYTES >> 20}: write {', or '.join(cures)}"
        )

    @cached_property
    def chosen(self) -> tuple[int, ...]:
        """The classes that are counted, by index."""
        if self.task == "binary":
            return (1,)
        return tuple(range(self.num_classes)) if self.classes is None else self.classes

    @cached_property
    def _bins(self) -> ScoreBins:
        return self._bins_with(self.mantissa_bits)

    def _bins_with(self, mantissa_bits: int) -> ScoreBins:
        return ScoreBins(mantissa_bits, logits=self.task != "multiclass" and self.logits is not False)

    @cached_property
    def _tables(self) -> dict[str, bool]:
        """The tables of counts, and whether scores go there by softmax."""
        if self.task != "multiclass":
            return {"counts": False}
        return {name: name == "softmax" for name, of in (("counts", True), ("softmax", False)) if self.logits is not of}

    @cached_property
    def _rows(self) -> int:
        return len(self.chosen) + (self.task == "multiclass")

    @cached_property
    def slots(self) -> Mapping[str, Slots]:
        return self._slots_with(self.mantissa_bits)

    def _slots_with(self, mantissa_bits: int) -> dict[str, Slots]:
        # In a row, behind the bins, is one for NaN; behind all rows, one for targets out of range.
        size = self._rows * (self._bins_with(mantissa_bits).size + 1) * 2 + 1
        tables = {name: Slots(size) for name in self._tables}
        tables |= {"example": Slots(1, "max")}
        return {**tables, "range": RANGE} if self.logits is None else tables

    def scatter(self, preds: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        preds, label, hits = self._by_row(*fitted(preds.detach(), targets, self.num_classes, self.task))
        amount = amounts(valid, label)
        if self.ignore_index is not None:
            amount = amount * (label != self.ignore_index)
        # With the sign bit flipped, negative labels are above all others: one comparison finds all that is outside.
        flipped = label ^ INT64_MIN
        outside = flipped >= INT64_MIN + self._known
        tables: dict[str, tuple[Tensor | None, Tensor]] = {}
        for name, by_softmax in self._tables.items():
            scores = self._scores(preds, by_softmax)
            row = torch.arange(self._rows, device=label.device).reshape(1, -1, *[1] * (scores.ndim - 2))
            place = (self._bins.of(scores) + row * (self._bins.size + 1)) * 2 + hits
            tables[name] = (torch.where(outside, self.slots[name].size - 1, place), amount.expand(place.shape))
        tables["example"] = (None, torch.where(amount == 0, INT64_MIN, flipped))
        if self.logits is None:
            tables["range"] = (None, reach(preds, valid))
        return tables

    def _by_row(self, preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores and labels with the classes as dimension 1, or one label for all of them, and which scores are of a
        positive: int64 [N, rows, ...]."""
        found = f"preds are {preds.dtype} {tuple(preds.shape)}"
        expect(preds.is_floating_point(), self, found, "float scores: write preds= for where the scores are")
        label = whole(targets)
        if self.task == "binary":
            return preds.unsqueeze(1), label.unsqueeze(1), label.unsqueeze(1)
        chosen = _on(label.device, self.chosen)
        if self.task == "multilabel":
            if self.classes is not None:
                preds, label = preds.index_select(1, chosen), label.index_select(1, chosen)
            return preds, label, label
        found = f"preds have one score for each target, {tuple(preds.shape)}"
        expect(preds.shape != targets.shape, self, found, "one for each class: write task='binary'")
        label = label.unsqueeze(1)
        is_class = label == chosen.reshape(1, -1, *[1] * (label.ndim - 2))
        is_right = label == largest(preds)[1].unsqueeze(1)
        return preds, label, torch.cat([is_class, is_right], dim=1).to(torch.int64)

    def _scores(self, preds: Tensor, by_softmax: bool) -> Tensor:
        """What is binned, [N, rows, ...]: of several classes those that are chosen, and the largest of all."""
        if self.task != "multiclass":
            return preds
        preds = same_softmax(preds) if by_softmax else preds
        some = preds if self.classes is None else preds.index_select(1, _on(preds.device, self.classes))
        return torch.cat([some, preds.amax(dim=1, keepdim=True)], dim=1)

    @cached_property
    def _known(self) -> int:
        """How many labels there are."""
        return self.num_classes if self.task == "multiclass" else 2

    def value(self, state: State) -> SeenScores:
        return self._read(state, self._kind(state))

    def step_value(self, lifted: State, seen: State) -> SeenScores:
        """The value of one batch, with the scores taken for what all those in `seen` tell: the epoch so far."""
        return self._read(lifted, self._kind(seen))

    def decided(self, state: State) -> Decision | None:
        """What scores were taken for, to be said; None where `logits` says it, or nothing was decided."""
        if self.logits is not None:
            return None
        return decision(state["range"], None if self.task == "multiclass" else self._only(state))

    def _only(self, state: State) -> int | None:
        """The label that all scores say as probabilities, where the targets have both."""
        rows = self.value(state).classes
        sides = [(r.low < 0.5, of) for r in rows for of in (r.negatives, r.positives)]
        return only_label(torch.tensor([[int(of[low].sum()), int(of[~low].sum())] for low, of in sides]))

    def _kind(self, state: State) -> Kind:
        if self.logits is None:
            return kind_of(state["range"])
        return "logits" if self.logits else "probabilities"

    def _name(self, kind: Kind) -> str:
        """The table that is read."""
        return "softmax" if kind == "logits" and "softmax" in self._tables else "counts"

    def _cells(self, state: State, kind: Kind) -> Tensor:
        """Counts by row, bin and target, int64 [rows, size + 1, 2] on the CPU; the last bin is that of NaN."""
        return state[self._name(kind)][:-1].cpu().reshape(self._rows, self._bins.size + 1, 2)

    def _inside(self, kind: Kind) -> slice:
        """The bins of what scores may be."""
        whole_range = kind == "logits" and self.task != "multiclass"
        return slice(0, self._bins.size) if whole_range else slice(self._bins.zero, self._bins.one + 1)

    def _read(self, state: State, kind: Kind) -> SeenScores:
        inside = self._inside(kind)
        counts = self._cells(state, kind)[:, inside].numpy()
        low, high = self._bins.edges[:-1][inside], self._bins.edges[1:][inside]
        if kind == "logits" and self.task != "multiclass":
            low, high = _sigmoid(low), _sigmoid(high)
        rows = []
        for row in counts:
            filled = np.flatnonzero(row.any(axis=1))
            rows.append(BinnedScores(low[filled], high[filled], row[filled, 0], row[filled, 1]))
        size = len(self.chosen)
        return SeenScores(kind, tuple(rows[:size]), rows[size] if len(rows) > size else None)

    def problems(self, state: State) -> str | None:
        kind = self._kind(state)
        cells = self._cells(state, kind)[: len(self.chosen)]
        outside = int(state[self._name(kind)][-1]) // (self._rows if self.task == "multiclass" else 1)
        example = int(state["example"].cpu() ^ INT64_MIN)
        inside = self._inside(kind)
        missing = int(cells[:, -1].sum())
        unfit = int(cells.sum() - cells[:, inside].sum()) - missing
        parts = [of_labels(outside, example, self._known, more=self.task == "multiclass"), self._asked(state, kind)]
        if unfit:
            advice = "" if kind == "undecided" else " (pass logits=True for logits)"
            parts.append(f"{unfit} scores are no probabilities in [0, 1]{advice}; they were left out of the counts")
        if missing:
            told = f"{missing} scores are NaN; they were left out of the counts"
            parts.append(f"{told}. Expected numbers: Trainer(detect_anomaly=True) tells where NaN comes up in training")
        return "; ".join(part for part in parts if part) or None

    def _asked(self, state: State, kind: Kind) -> str | None:
        return question(state["range"]) if kind == "undecided" else None


@lru_cache(maxsize=32)
def _on(device: torch.device, classes: tuple[int, ...]) -> Tensor:
    """Brought to a device once. The copy does not block; CUDA has read the host's memory when the call returns."""
    with torch.inference_mode(mode=False):
        return torch.tensor(classes).to(device, non_blocking=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def _num_bytes(slots: Mapping[str, Slots]) -> int:
    return sum(8 * table.size for table in slots.values())
