"""Numbers that are computed from what a reduction or a metric gives.

    counts = ConfusionCounts(10)
    Derived(counts, accuracy), Derived(counts, macro_f1)      # two numbers, one state
    accuracy(torch.tensor([[3, 1], [0, 4]]))                  # 0.875

The scores take counts int64 [C, C] with the truth as rows, or [L, 2, 2] for each of L labels; pixels count as samples
do. A class that was neither there nor predicted has no score, and is left out of a mean. A score of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.rates import mean, per_class, ratio


@dataclass(frozen=True)
class Derived:
    """A number made from the value of a state that others may use, too.

    Args:
        entry: a reduction; several numbers of equal reductions share one state. Or a torchmetrics metric.
        of: from the value of `entry` to the number, to a vector, or to a dict of such by name.

    >>> from lwcallbacks.reductions import ConfusionCounts
    >>> recall = Derived(ConfusionCounts(2), lambda counts: counts[1, 1] / counts[1].sum())
    >>> recall.of(torch.tensor([[3, 1], [1, 3]]))
    tensor(0.7500)
    """

    entry: Any
    of: Callable[[Any], Any]


def accuracy(counts: Tensor) -> float:
    """The share of samples that were predicted right; of all labels of all samples for counts [L, 2, 2].

    >>> accuracy(torch.tensor([[3, 1], [0, 4]]))
    0.875
    """
    return float(ratio(counts.diagonal(dim1=-2, dim2=-1).sum(), counts.sum()))


def micro_f1(counts: Tensor) -> float:
    """F1 of the hits, false positives and false negatives of all classes together; for counts [C, C] the accuracy.

    >>> micro_f1(torch.tensor([[[3, 1], [0, 4]], [[8, 0], [0, 0]]]))    # two labels; 4 hits, 1 false positive
    0.8888888888888888
    """
    hits, predicted, there = (n.sum() for n in per_class(counts))
    return float(ratio(2 * hits, predicted + there))


def macro_f1(counts: Tensor) -> float:
    """The mean of the classes' F1, in segmentation also called Dice: 2 hits / (2 hits + extra + missed).

    >>> macro_f1(torch.tensor([[3, 1, 0], [1, 3, 0], [0, 0, 0]]))    # the third class is nowhere: left out
    0.75
    """
    hits, predicted, there = per_class(counts)
    return mean(ratio(2 * hits, predicted + there))


def mean_iou(counts: Tensor) -> float:
    """The mean of the classes' intersection over union: hits / (hits + extra + missed).

    >>> mean_iou(torch.tensor([[3, 1], [1, 3]]))
    0.6
    """
    hits, predicted, there = per_class(counts)
    return mean(ratio(hits, predicted + there - hits))


def psnr(mse: Tensor, data_range: float = 1.0) -> Tensor:
    """The peak signal-to-noise ratio in decibels of a mean squared error; infinite without an error.

    >>> psnr(torch.tensor(0.01))
    tensor(20.)
    """
    return 10 * torch.log10(data_range**2 / mse)
