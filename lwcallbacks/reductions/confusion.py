"""Confusion counts: how often a sample of class r was predicted as class c.

    counts = ConfusionCounts(3)
    counts.value(counts.lift(torch.tensor([0, 2]), torch.tensor([0, 1])))    # int64 [3, 3], rows are the truth
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    State: int64 [C * C + 2] and [1]; O(N) to lift.
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

    @property
    def _cells(self) -> int:
        return 4 * self.num_classes if self.task == "multilabel" else self.num_classes**2

    @property
    def slots(self) -> Mapping[str, Slots]:
        # Behind the cells: one slot for what is out of range, one for what is not to be counted.
        return {"counts": Slots(self._cells + 2), "example": Slots(1, "max")}

    def scatter(self, preds: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        expect(not targets.is_floating_point(), self, f"targets are {targets.dtype}", "integer labels")
        classes = self.num_classes if self.task == "multiclass" else 2
        labels, unfit = self._labels(preds, targets)
        row = targets.detach().to(torch.int64)
        counted = None if valid is None else amounts(valid, row) != 0
        if self.ignore_index is not None:
            kept = row != self.ignore_index
            counted = kept if counted is None else counted & kept
        bad_row = (row < 0) | (row >= classes)
        outside = bad_row | (labels < 0) | (labels >= classes)
        if unfit is not None:
            outside = outside | unfit
        cell = row * classes + labels
        if self.task == "multilabel":
            label = torch.arange(self.num_classes, device=row.device)
            cell = cell + 4 * label.reshape(1, -1, *[1] * (row.ndim - 2))
        cell = torch.where(outside, self._cells, cell)
        example = torch.where(outside, torch.where(bad_row, row, labels), INT64_MIN)
        if counted is not None:
            cell = torch.where(counted, cell, self._cells + 1)
            example = torch.where(counted, example, INT64_MIN)
        cell, example = cell.reshape(-1), example.reshape(-1)
        # One maximum by hand: scattering N times into a single slot is slow on the CPU and contended on a GPU.
        worst = torch.cat([example, example.new_full((1,), INT64_MIN)]).amax().reshape(1)
        return {"counts": (cell, torch.ones_like(cell)), "example": (torch.zeros_like(worst), worst)}

    def _labels(self, preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Predicted labels int64 in the targets' shape, and where a score was no probability."""
        preds = preds.detach()
        found = f"preds are {preds.dtype} {tuple(preds.shape)} and targets {tuple(targets.shape)}"
        if self.task == "multiclass":
            if preds.is_floating_point():
                shape = (*targets.shape[:1], self.num_classes, *targets.shape[1:])
                expect(preds.shape == shape, self, found, f"float scores {shape} or integer labels")
                return preds.argmax(dim=1), None
            expect(preds.shape == targets.shape, self, found, "labels of one shape, or float scores (N, C, ...)")
            return preds.to(torch.int64), None
        expect(preds.shape == targets.shape, self, found, "one shape")
        if self.task == "multilabel":
            expect(preds.ndim >= 2 and preds.shape[1] == self.num_classes, self, found, f"(N, {self.num_classes}, ...)")
        if not preds.is_floating_point():
            return preds.to(torch.int64), None
        if self.logits:
            return (preds.sigmoid() > self.threshold).to(torch.int64), preds.isnan()
        return (preds > self.threshold).to(torch.int64), ~((preds >= 0) & (preds <= 1))

    def value(self, state: State) -> Tensor:
        cells = state["counts"][: self._cells].cpu()
        shape = (self.num_classes, 2, 2) if self.task == "multilabel" else (self.num_classes, self.num_classes)
        return cells.reshape(shape).clone()

    def problems(self, state: State) -> str | None:
        count = int(state["counts"][self._cells])
        if not count:
            return None
        what = f"{count} of the labels or scores are out of range"
        example = int(state["example"])
        classes = self.num_classes if self.task == "multiclass" else 2
        if not 0 <= example < classes:
            return f"{what} (for example {example}), expected 0 to {classes - 1}; they were left out of the counts"
        return f"{what}: scores must be probabilities in [0, 1], or pass logits=True; they were left out of the counts"
