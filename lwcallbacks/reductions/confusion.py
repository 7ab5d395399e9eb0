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

from lwcallbacks.reductions.base import INT64_MIN, Scatter, Scattered, Slots, State, amounts, expect

Task = Literal["multiclass", "binary", "multilabel"]


@dataclass(frozen=True)
class ConfusionCounts(Scattered):
    """Counts of (truth, prediction) over all samples, int64; exact up to 2**63 samples.

    Args:
        num_classes: classes, or labels for `task="multilabel"`; 2 for `task="binary"`.
        ignore_index: a target that does not count.
        task: "multiclass": `lift(preds, targets)` with preds int [N, ...] labels, or float [N, C, ...] scores of
            which the largest wins, and targets int [N, ...].
            "binary": preds int (0 or 1) or float [N, ...], targets [N, ...].
            "multilabel": preds int or float [N, L, ...], targets [N, L, ...].
        threshold: for binary and multilabel scores: a probability above it is a 1.
        logits: whether binary and multilabel scores are logits. It cannot be guessed from the data: a guess would
            depend on how samples fall into batches.

    `value`: int64 CPU tensor [C, C] (multilabel [L, 2, 2]), rows are the truth. A label, or a probability, that is
    out of range never lands in a cell: it is counted apart, and `problems` tells how many and shows one.
    State: int64 [S * S] with S the odd one of C + 1 and C + 2 (multilabel [L * 9]), and [1]; O(N) to lift.
    """

    num_classes: int
    ignore_index: int | None = None
    task: Task = "multiclass"
    threshold: float = 0.5
    logits: bool = False

    def __post_init__(self) -> None:
        if self.task not in ("multiclass", "binary", "multilabel"):
            raise ValueError(f"ConfusionCounts: task={self.task!r}, expected 'multiclass', 'binary' or 'multilabel'")
        least = 1 if self.task == "multilabel" else 2
        if not isinstance(self.num_classes, int) or self.num_classes < least:
            raise ValueError(f"ConfusionCounts: num_classes={self.num_classes!r}, expected an int of at least {least}")
        if self.task == "binary" and self.num_classes != 2:
            raise ValueError(f"ConfusionCounts: num_classes={self.num_classes} with task='binary', expected 2")
        if not 0 < self.threshold < 1:
            raise ValueError(f"ConfusionCounts: threshold={self.threshold}, expected a probability in (0, 1)")

    @cached_property
    def _classes(self) -> int:
        return self.num_classes if self.task == "multiclass" else 2

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        # Row and column C take what is out of range: clamping does all the checking. The side is odd: see `scatter`.
        side = (self._classes + 1) | 1
        return (self.num_classes, side, side) if self.task == "multilabel" else (side, side)

    @cached_property
    def slots(self) -> Mapping[str, Slots]:
        return {"counts": Slots(math.prod(self._shape)), "example": Slots(1, "max")}

    def scatter(self, preds: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        # With the sign bit flipped, labels are in the order of unsigned numbers: negative ones above all others, so
        # that one clamp finds all that is out of range, and one maximum an example of it.
        row = self._true_labels(targets) ^ INT64_MIN
        side, outside = self._shape[-1], INT64_MIN + self._classes
        if preds.is_floating_point():
            example = row
            # A label from scores is in range, or the one beyond. Here the sign bit of the row is left: flip it back.
            cell = torch.add(self._scored_labels(preds, targets), row.clamp(max=outside), alpha=side)
            cell ^= INT64_MIN
        else:
            column = self._predicted_labels(preds, targets) ^ INT64_MIN
            example = torch.maximum(row, column)
            # Integers wrap, and the side is odd: the sign bits of row and column cancel.
            cell = torch.add(column.clamp(max=outside), row.clamp(max=outside), alpha=side)
        if self.task == "multilabel":
            label = torch.arange(self.num_classes, device=row.device)
            cell += side**2 * label.reshape(1, -1, *[1] * (row.ndim - 2))
        amount = amounts(valid, row)
        if self.ignore_index is not None:
            amount = amount * (row != self.ignore_index ^ INT64_MIN)
        if valid is not None or self.ignore_index is not None:
            example = torch.where(amount == 0, INT64_MIN, example)
        return {"counts": (cell, amount), "example": (None, example)}

    def _true_labels(self, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            expect(False, self, f"targets are {targets.dtype}", "integer labels")
        return _as_int64(targets)

    def _predicted_labels(self, preds: Tensor, targets: Tensor) -> Tensor:
        """Integer predictions as int64, as they are."""
        self._expect_one_shape(preds, targets, "one shape, or multiclass float scores (N, C, ...)")
        return _as_int64(preds)

    def _scored_labels(self, preds: Tensor, targets: Tensor) -> Tensor:
        """Labels from float scores, int64 in the targets' shape; a score that is no probability becomes the label 2."""
        preds = preds.detach()
        if self.task == "multiclass":
            shape = (*targets.shape[:1], self.num_classes, *targets.shape[1:])
            if preds.shape != shape:
                expect(False, self, _found(preds, targets), f"float scores {shape} or integer labels")
            return preds.argmax(dim=1)
        self._expect_one_shape(preds, targets, "one shape")
        unfit = preds.isnan() if self.logits else ~((preds >= 0) & (preds <= 1))
        scores = preds.sigmoid() if self.logits else preds
        return torch.where(unfit, 2, scores > self.threshold)

    def _expect_one_shape(self, preds: Tensor, targets: Tensor, expected: str) -> None:
        # The words are put together only when they are needed: this runs for every batch.
        if preds.shape != targets.shape:
            expect(False, self, _found(preds, targets), expected)
        if self.task == "multilabel" and (preds.ndim < 2 or preds.shape[1] != self.num_classes):
            expect(False, self, f"preds have shape {tuple(preds.shape)}", f"(N, {self.num_classes}, ...)")

    def value(self, state: State) -> Tensor:
        return state["counts"].cpu().reshape(self._shape)[..., : self._classes, : self._classes].clone()

    def problems(self, state: State) -> str | None:
        cells = state["counts"].cpu().reshape(self._shape)
        count = int(cells.sum() - cells[..., : self._classes, : self._classes].sum())
        if not count:
            return None
        example = int(state["example"].cpu() ^ INT64_MIN)
        if 0 <= example < self._classes:
            return f"{count} scores are no probabilities in [0, 1] (pass logits=True for logits); they were left out"
        expected = f"expected 0 to {self._classes - 1}"
        return f"{count} labels are out of range (for example {example}), {expected}; they were left out of the counts"


def _found(preds: Tensor, targets: Tensor) -> str:
    return f"preds are {preds.dtype} {tuple(preds.shape)} and targets {tuple(targets.shape)}"


def _as_int64(labels: Tensor) -> Tensor:
    return labels if labels.dtype == torch.int64 else labels.to(torch.int64)
