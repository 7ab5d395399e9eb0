"""Shares of wrong predictions, of all samples and of each class."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class ErrorRate(Metric):
    """The share of wrong predictions.

    `update` takes scores [N, C] and labels [N]; `compute` gives a number between 0 and 1.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.wrong += (preds.argmax(dim=1) != target).sum()
        self.seen += len(target)

    def compute(self) -> Tensor:
        return self.wrong / self.seen


class ClassErrorRates(Metric):
    """The share of each class's samples that is predicted wrong, [C]; zero for a class without samples."""

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("wrong", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        one_hot = torch.nn.functional.one_hot(target, self.num_classes)
        self.wrong += (one_hot * (preds.argmax(dim=1) != target)[:, None]).sum(0)
        self.seen += one_hot.sum(0)

    def compute(self) -> Tensor:
        return self.wrong / self.seen.clamp(min=1)


class WorstBatch(Metric):
    """The largest error rate of a batch so far. It is about batches, and says so."""

    full_state_update = False
    known_violations: ClassVar = {"batch_size": "it is about batches"}

    def __init__(self) -> None:
        super().__init__()
        self.add_state("worst", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.worst = torch.maximum(self.worst, (preds.argmax(dim=1) != target).float().mean())

    def compute(self) -> Tensor:
        return self.worst
