"""Confusion counts: how often a sample of class r was predicted as class c.

    counts = ConfusionCounts(3)
    counts.value(counts.lift(torch.tensor([0, 2]), torch.tensor([0, 1])))    # int64 [3, 3], rows are the truth

The counts are integers, so no number of samples is too large and no order matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MIN, FieldError, Scatter, Scattered, Slots, State, amounts
from lwcallbacks.reductions.fitting import fitted, whole
from lwcallbacks.reductions.outside import of_labels
from lwcallbacks.reductions.score_range import (
    BEYOND,
    CODES,
    RANGE,
    Decision,
    Kind,
    check_scores,
    coded,
    decision,
    kind_of,
    only_label,
    question,
    reach,
    readings,
)

Task = Literal["multiclass", "binary", "multilabel"]


@dataclass(frozen=True)
class ConfusionCounts(Scattered):
    """Counts of (truth, prediction) over all samples, int64; exact up to 2**63 samples.

    Args:
        num_classes: classes, or labels for `task="multilabel"`; 2 for `task="binary"`.
        ignore_index: a target that does not count.
        task: "multiclass": `lift(preds, targets)` with preds int [N, ...] labels, or float [N, C, ...] scores of
            which the largest wins, and targets [N, ...]. Of two classes, one score [N, ...] or [N, 1, ...] will do.
            "binary": preds int (0 or 1) or float [N, ...], targets [N, ...].
            "multilabel": preds int or float [N, L, ...], targets [N, L, ...].
            A channel of one, as in targets [N, 1, ...], is squeezed where the shapes then fit.
        threshold: for binary and multilabel scores: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores
            together, as `ScoreRange` does: both are counted, and `value` chooses.
        top_k: for multiclass scores, of more than two classes: a prediction counts as right where the target is among
            the k best scores. The cell is then that of the true class, else that of the best. Of equal scores the first
            class is the better one.

    Targets, and predicted labels, are of any integer dtype or bool; targets also floats that are whole numbers.
    `value`: int64 CPU tensor [C, C] (multilabel [L, 2, 2]), rows are the truth. What is out of range never lands in a
    cell: a label, a score that is NaN (multiclass: a sample with any), or no probability where it should be one. It is
    counted apart, and `problems` tells how many.
    State: int64 [(C + 1) * S] with S the odd one of C + 2 and C + 3 (two classes or multilabel: [L * 33]), [1], and
    with `logits=None` and two classes or labels [2]. O(N) to lift.

    Raises:
        ValueError: an argument is not as said here; in `lift`, shapes that do not fit.

        >>> counts = ConfusionCounts(3)
        >>> state = counts.lift(torch.tensor([0, 2, 2]), torch.tensor([0, 1, 7]))
        >>> counts.value(state)
        tensor([[1, 0, 0],
                [0, 0, 1],
                [0, 0, 0]])
        >>> counts.problems(state)
        '1 labels are out of range (for example 7), expected 0 to 2; they were left out of the counts. Write \
ignore_index=7 if that is a target that does not count, or num_classes=8 if it is a class'
    """

    num_classes: int
    ignore_index: int | None = None
    task: Task = "multiclass"
    threshold: float = 0.5
    logits: bool | None = None
    top_k: int = 1

    def __post_init__(self) -> None:
        check_scores("ConfusionCounts", self.task, self.threshold, self.logits)
        least = 1 if self.task == "multilabel" else 2
        if not isinstance(self.num_classes, int) or self.num_classes < least:
            raise ValueError(f"ConfusionCounts: num_classes={self.num_classes!r}, expected an int of at least {least}")
        if self.task == "binary" and self.num_classes != 2:
            raise ValueError(f"ConfusionCounts: num_classes={self.num_classes} with task='binary', expected 2")
        check_top_k("ConfusionCounts", self.top_k, self._classes)

    @cached_property
    def _classes(self) -> int:
        return self.num_classes if self.task == "multiclass" else 2

    @cached_property
    def _decides(self) -> bool:
        """Whether scores may come that are read in one of two ways."""
        return self.logits is None and self._classes == 2

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        # Row and column C take labels out of range: clamping does all the checking. Column C + 1 takes NaN; for two
        # classes these are two of the codes of a score. The number of columns is odd: see `scatter`.
        columns = CODES | 1 if self._classes == 2 else (self._classes + 2) | 1
        return (self.num_classes if self.task == "multilabel" else 1, self._classes + 1, columns)

    @cached_property
    def slots(self) -> Mapping[str, Slots]:
        tables = {"counts": Slots(math.prod(self._shape)), "example": Slots(1, "max")}
        return {**tables, "range": RANGE} if self._decides else tables

    def scatter(self, preds: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        preds, targets = self._fitted(preds.detach(), targets)
        # With the sign bit flipped, labels are in the order of unsigned numbers: negative ones above all others, so
        # that one clamp finds all that is out of range, and one maximum an example of it.
        row = whole(targets)
        amount = self._amounts(row, valid)
        row = row ^ INT64_MIN
        columns, outside = self._shape[-1], INT64_MIN + self._classes
        if preds.is_floating_point():
            example = row
            # A column from scores is in range. Here the sign bit of the row is left: flip it back.
            cell = torch.add(self._columns(preds, targets), row.clamp(max=outside), alpha=columns)
            cell ^= INT64_MIN
        else:
            column = whole(preds) ^ INT64_MIN
            example = torch.maximum(row, column)
            # Integers wrap, and the number of columns is odd: the sign bits of row and column cancel.
            cell = torch.add(column.clamp(max=outside), row.clamp(max=outside), alpha=columns)
        if self.task == "multilabel":
            label = torch.arange(self.num_classes, device=row.device)
            cell += math.prod(self._shape[1:]) * label.reshape(1, -1, *[1] * (row.ndim - 2))
        if valid is not None or self.ignore_index is not None:
            example = torch.where(amount == 0, INT64_MIN, example)
        tables: dict[str, tuple[Tensor | None, Tensor]] = {"counts": (cell, amount), "example": (None, example)}
        if self._decides:
            # Scores of several channels are compared with one another: no matter whether they are logits.
            tables["range"] = (None, reach(preds if preds.shape == targets.shape else row, valid))
        return tables

    def tally(  # type: ignore[override]
        self, state: State, preds: Tensor, targets: Tensor, *, valid: Tensor | None = None
    ) -> State:
        labels = self._labels(preds, targets, valid)
        if labels is None:
            return super().tally(state, preds, targets, valid=valid)
        column, row, amount, largest_label = labels
        cell = torch.add(column, row, alpha=self._shape[-1])
        if cell.ndim != 1:
            cell, amount = cell.reshape(-1), amount.reshape(-1)
        state["counts"].scatter_add_(0, cell, amount)
        if largest_label + INT64_MIN > state["example"].item():
            state["example"].fill_(largest_label + INT64_MIN)
        return state

    def _labels(
        self, preds: Tensor, targets: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, int] | None:
        """Predicted and true labels of a batch on the CPU, all of them found to be in range; how much each counts; and
        the largest that is not from scores. None where one is out of range, a score is NaN, or there is one score for
        each target."""
        preds, targets = self._fitted(preds, targets)
        of_scores = preds.is_floating_point()
        if self.task == "multilabel" or not targets.numel() or (of_scores and preds.shape == targets.shape):
            return None
        if of_scores:
            scores = preds.detach()
            best, column = largest(scores)
            if math.isnan(best.max().item()):
                return None
        else:
            column = whole(preds)
        row = whole(targets)
        if self.top_k > 1:
            column = _right_within(self.top_k, scores, column, row)
        if valid is None and self.ignore_index is None:
            amount = torch.ones_like(row)
        else:
            amount = self._amounts(row, valid)
            row, column = row * amount, column * amount  # what does not count may be anything: make it class 0
        largest_label = _last(row) if of_scores else max(_last(row), _last(column))
        return (column, row, amount, largest_label) if largest_label < self._classes else None

    def _fitted(self, preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        preds, targets = fitted(preds, targets, self.num_classes, self.task)
        if self.top_k > 1 and not preds.is_floating_point():
            found = f"preds are {preds.dtype} {tuple(preds.shape)}"
            shape = (*preds.shape[:1], self.num_classes, *preds.shape[1:])
            cure = "write top_k=1, or preds= for where the scores are"
            raise FieldError(f"{found}, expected float scores {shape} for top_k={self.top_k}: {cure}")
        return preds, targets

    def _amounts(self, row: Tensor, valid: Tensor | None) -> Tensor:
        amount = amounts(valid, row)
        return amount if self.ignore_index is None else amount * (row != self.ignore_index)

    def _columns(self, preds: Tensor, targets: Tensor) -> Tensor:
        """The column of float scores, int64 in the targets' shape."""
        if preds.shape == targets.shape:
            return coded(preds, self.threshold, self.logits).to(torch.int64)
        best, label = largest(preds)
        if self.top_k > 1:
            label = _right_within(self.top_k, preds, label, whole(targets))
        return label.masked_fill_(best != best, self._classes + 1)  # only NaN is unlike itself

    def value(self, state: State) -> Tensor:
        return self._read(state, self._kind(state))

    def step_value(self, lifted: State, seen: State) -> Tensor:
        """The value of one batch, with the scores taken for what all those in `seen` tell: the epoch so far."""
        return self._read(lifted, self._kind(seen))

    def decided(self, state: State) -> Decision | None:
        """What scores were taken for, to be said; None where `logits` says it, or nothing was decided."""
        return decision(state["range"], only_label(self.value(state))) if self._decides else None

    def _kind(self, state: State) -> Kind:
        return kind_of(state["range"]) if self._decides else "probabilities"

    def _read(self, state: State, kind: Kind) -> Tensor:
        cells = state["counts"].cpu().reshape(self._shape)[:, : self._classes]
        if self._classes == 2:
            labels = torch.tensor([*readings(kind), -1])
            cells = torch.stack([cells[..., labels == label].sum(-1) for label in (0, 1)], dim=-1)
        counts = cells[..., : self._classes].clone()
        return counts if self.task == "multilabel" else counts[0]

    def problems(self, state: State) -> str | None:
        kind = self._kind(state)
        cells = state["counts"].cpu().reshape(self._shape)
        left_out = int(cells.sum() - self._read(state, kind).sum())
        rows = cells[:, : self._classes]
        missing = int(rows[..., self._classes + 1].sum())
        unfit = int(rows[..., BEYOND:].sum()) if self._classes == 2 and kind != "logits" else 0
        example = int(state["example"].cpu() ^ INT64_MIN)
        labels = of_labels(left_out - missing - unfit, example, self._classes, more=self.task == "multiclass")
        parts = [labels, self._of_unfit(unfit, kind, state)]
        if missing:
            told = f"{missing} predictions are NaN; they were left out of the counts"
            parts.append(f"{told}. Expected numbers: Trainer(detect_anomaly=True) tells where NaN comes up in training")
        return "; ".join(part for part in parts if part) or None

    def _of_unfit(self, count: int, kind: Kind, state: State) -> str | None:
        found = f"{count} scores are no probabilities in [0, 1]"
        if kind == "undecided":
            asked = question(state["range"])
            return f"{asked}; {found}; they were left out of the counts" if count else asked
        return f"{found} (pass logits=True for logits); they were left out" if count else None


def _last(labels: Tensor) -> int:
    """The largest of int64 labels on the CPU, as unsigned numbers: a negative one is above all others.

    NumPy's, which is several times as fast as torch's and knows unsigned numbers.
    """
    return int(labels.numpy().view("uint64").max())


def largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of float scores [N, C, ...] and its index int64 [N, ...], the first of equal ones; NaN if any is."""
    scores = scores.to(torch.float32) if scores.element_size() == 1 else scores
    best, label = scores.max(dim=1)
    return best, label


def _right_within(k: int, scores: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """The target where it is among the `k` best of scores [N, C, ...], else the label; int64 [N, ...].

    By counting what is better, since `topk` says nothing about the order of equal scores.
    """
    classes = scores.shape[1]
    at = target.clamp(0, classes - 1).unsqueeze(1)  # what is out of range has a row of its own, whatever its column
    index = torch.arange(classes, device=scores.device).reshape(1, -1, *[1] * (scores.ndim - 2))
    scores = scores.to(torch.float32) if scores.element_size() == 1 else scores
    own = scores.gather(1, at)
    better = (scores > own) | ((scores == own) & (index < at))
    return torch.where(better.sum(dim=1) < k, at.squeeze(1), label)


def check_top_k(owner: str, top_k: object, num_classes: int) -> None:
    """Raise ValueError where all predictions, or none, would count as right."""
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k < num_classes:
        expected = "expected 1" if num_classes == 2 else f"expected an int of 1 to {num_classes - 1}"
        raise ValueError(f"{owner}: top_k={top_k!r}, {expected}: fewer than the {num_classes} classes")
