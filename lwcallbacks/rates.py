"""What counts of hits and misses say of each class: the one computation behind every precision, recall, F1 and IoU.

    hits, predicted, there = per_class(counts)     # int64 [C] each
    ratio(hits, predicted)                         # precision, float64 [C]
    ratio(2 * hits, predicted + there)             # F1
    mean(ratio(hits, there))                       # macro recall

A ratio 0 / 0 is NaN, and left out of a mean. Works on the CPU; torch is all that is imported.
"""

from __future__ import annotations

import torch
from torch import Tensor


def per_class(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How often each class is rightly predicted, predicted at all, and there, int64 [C] each.

    Args:
        counts: int64 [C, C] with the truth as rows, or [L, 2, 2] for each of L labels.

    >>> [n.tolist() for n in per_class(torch.tensor([[3, 1], [0, 4]]))]
    [[3, 4], [3, 5], [4, 4]]
    """
    if counts.ndim == 3:
        return counts[:, 1, 1], counts[:, :, 1].sum(dim=1), counts[:, 1].sum(dim=1)
    return counts.diagonal(), counts.sum(dim=0), counts.sum(dim=1)


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above / below` in float64, NaN where `below` is 0.

    >>> ratio(torch.tensor([1, 0]), torch.tensor([2, 0]))
    tensor([0.5000,    nan], dtype=torch.float64)
    """
    return torch.where(below > 0, above.double() / below, torch.nan)


def mean(ratios: Tensor) -> float:
    """The mean of those that are not NaN; NaN where there is none.

    >>> mean(torch.tensor([0.5, torch.nan, 1.0]))
    0.75
    """
    return float(ratios[~ratios.isnan()].mean())
