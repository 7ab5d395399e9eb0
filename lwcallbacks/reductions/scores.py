"""Numbers that are computed from what a reduction or a metric gives.

    counts = ConfusionCounts(10)
    Derived(counts, accuracy), Derived(counts, macro_f1)      # two numbers, one state
    accuracy(torch.tensor([[3, 1], [0, 4]]))                  # 0.875

The scores of `lwcallbacks.rates` take counts int64 [C, C] with the truth as rows, or [L, 2, 2] for each of L labels;
pixels count as samples do. A class that was neither there nor predicted has no score, and is left out of a mean. A
score of nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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


def psnr(mse: Tensor, data_range: float = 1.0) -> Tensor:
    """The peak signal-to-noise ratio in decibels of a mean squared error; infinite without an error.

    >>> psnr(torch.tensor(0.01))
    tensor(20.)
    """
    return 10 * torch.log10(data_range**2 / mse)
