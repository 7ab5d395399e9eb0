"""What a table of counts says, of each class and of all: the one computation behind every such number.

    hits, predicted, there = per_class(counts)     # int64 [C] each
    ratio(hits, predicted)                         # precision, float64 [C]
    rates(counts)["recall"]                        # of each class, float64 [C]
    averages(counts)["macro"]["f1"]                # over the classes: "macro", "weighted" and "micro"
    overall(counts)["cohen_kappa"]                 # one number of all

Counts are int64 [C, C] with the truth as rows, or [L, 2, 2] for each of L labels. Integers stay integers up to the last
division, so that 2**40 samples are as exact as ten.

A ratio 0 / 0 is NaN, and left out of a mean, as `zero_division=nan` says it to scikit-learn. What differs there and in
torchmetrics stands with each function. Works on the CPU; torch is all that is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Cost = Sequence[Sequence[float]]
"""What one sample costs, by its true class and then by the class that was predicted."""


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


_RATES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "precision": lambda hits, predicted, there: ratio(hits, predicted),
    "recall": lambda hits, predicted, there: ratio(hits, there),
    "f1": lambda hits, predicted, there: ratio(2 * hits, predicted + there),
    "iou": lambda hits, predicted, there: ratio(hits, predicted + there - hits),
}


def rates(counts: Tensor) -> dict[str, Tensor]:
    """Precision, recall, F1 (Dice) and IoU (Jaccard) of each class, by these names in lower case: float64 [C] each.

    Precision is NaN for a class that was never predicted, recall for one that was never there, F1 and IoU for one that
    was neither. scikit-learn gives the same with `zero_division=nan`, and without it 0, as torchmetrics does.

    >>> rates(torch.tensor([[3, 1], [0, 4]]))["f1"]
    tensor([0.8571, 0.8889], dtype=torch.float64)
    """
    return {name: of(*per_class(counts)) for name, of in _RATES.items()}


def averages(counts: Tensor) -> dict[str, dict[str, float]]:
    """The rates of all classes in one number each, by "macro", "weighted" or "micro" and then by the rate's name.

    - "macro": the mean over the classes. A class whose rate is NaN is left out, as in scikit-learn with
      `zero_division=nan`. (torchmetrics leaves out classes that are neither there nor predicted, and takes other rates
      of 0 / 0 for 0.)
    - "weighted": the same mean with each class weighing as often as it was there. NaN where all that weigh are NaN.
      (scikit-learn then takes the plain mean of the others.)
    - "micro": the rate of the hits, predictions and truths of all classes together. Of counts [C, C] precision, recall
      and F1 are then the accuracy.

    >>> averages(torch.tensor([[3, 1], [0, 4]]))["micro"]
    {'precision': 0.875, 'recall': 0.875, 'f1': 0.875, 'iou': 0.7777777777777778}
    """
    of_class, there = rates(counts), per_class(counts)[2].double()
    together = [n.sum() for n in per_class(counts)]
    return {
        "macro": {name: mean(column) for name, column in of_class.items()},
        "weighted": {name: _weighted(column, there) for name, column in of_class.items()},
        "micro": {name: float(of(*together)) for name, of in _RATES.items()},
    }


def _weighted(ratios: Tensor, weights: Tensor) -> float:
    known = ~ratios.isnan()
    return float((ratios * weights)[known].sum() / weights[known].sum())


def accuracy(counts: Tensor) -> float:
    """The share of samples that were predicted right; of all labels of all samples for counts [L, 2, 2].

    >>> accuracy(torch.tensor([[3, 1], [0, 4]]))
    0.875
    """
    total, hits, _, _ = _sums(counts)
    return hits / total if total else math.nan


def balanced_accuracy(counts: Tensor) -> float:
    """The mean recall of the classes that were there; of counts [L, 2, 2] the mean over the labels of theirs.

    That is scikit-learn's `balanced_accuracy_score`. torchmetrics' accuracy with `average="macro"` takes a class that
    was predicted and never there for one of recall 0.

    >>> balanced_accuracy(torch.tensor([[3, 1], [0, 4]]))
    0.875
    """
    if counts.ndim == 2:
        return mean(rates(counts)["recall"])
    recall = ratio(counts.diagonal(dim1=1, dim2=2), counts.sum(dim=2))
    return mean(recall.nanmean(dim=1))


def cohen_kappa(counts: Tensor) -> float:
    """Cohen's kappa: by how much the accuracy is above that of the same predictions in any order, 1 for all right.

    (accuracy - chance) / (1 - chance) with chance the sum over the classes of share predicted times share there
    (Cohen 1960, doi:10.1177/001316446002000104). NaN where that is 0 / 0: one class alone was there and predicted.
    Counts [L, 2, 2] are those of yes and no, all labels together.

    >>> cohen_kappa(torch.tensor([[3, 1], [0, 4]]))
    0.75
    """
    total, hits, there, predicted = _sums(counts)
    chance = sum(n * m for n, m in zip(there, predicted, strict=True))  # Python's integers: no product is too large
    below = total * total - chance
    return (total * hits - chance) / below if below else math.nan


def matthews_corrcoef(counts: Tensor) -> float:
    """Matthews' correlation of predictions and truth, in [-1, 1], for any number of classes.

    (Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006.) 0 where the predictions, or the truths, are all of one
    class, as in scikit-learn, since that is the limit; NaN where there is no sample. Counts [L, 2, 2] are those of yes
    and no, all labels together, as in torchmetrics.

    >>> matthews_corrcoef(torch.tensor([[3, 1], [0, 4]]))
    0.7745966692414834
    """
    total, hits, there, predicted = _sums(counts)
    if not total:
        return math.nan
    covariance = total * hits - sum(n * m for n, m in zip(there, predicted, strict=True))
    spreads = [total * total - sum(n * n for n in side) for side in (there, predicted)]
    return covariance / math.sqrt(spreads[0] * spreads[1]) if all(spreads) else 0.0


def macro_f1(counts: Tensor) -> float:
    """The mean of the classes' F1, in segmentation also called Dice: 2 hits / (2 hits + extra + missed).

    >>> macro_f1(torch.tensor([[3, 1, 0], [1, 3, 0], [0, 0, 0]]))    # the third class is nowhere: left out
    0.75
    """
    return mean(rates(counts)["f1"])


def micro_f1(counts: Tensor) -> float:
    """F1 of the hits, false positives and false negatives of all classes together; for counts [C, C] the accuracy.

    >>> micro_f1(torch.tensor([[[3, 1], [0, 4]], [[8, 0], [0, 0]]]))    # two labels; 4 hits, 1 false positive
    0.8888888888888888
    """
    return averages(counts)["micro"]["f1"]


def mean_iou(counts: Tensor) -> float:
    """The mean of the classes' intersection over union: hits / (hits + extra + missed).

    >>> mean_iou(torch.tensor([[3, 1], [1, 3]]))
    0.6
    """
    return mean(rates(counts)["iou"])


def total_cost(counts: Tensor, cost: Cost) -> float:
    """What all samples cost together: each count times the cost of its cell.

    Args:
        cost: [C][C], or of counts [L, 2, 2] [2][2], the same for each label.

    >>> total_cost(torch.tensor([[3, 1], [2, 4]]), [[0, 1], [10, 0]])    # a missed one costs ten times a false alarm
    21.0
    """
    counts = _pooled(counts)
    filled = counts.nonzero(as_tuple=True)
    prices = torch.tensor(cost, dtype=torch.float64)[filled]
    return math.fsum((counts[filled] * prices).tolist())  # in any order, to the bit


def overall(counts: Tensor, cost: Cost | None = None) -> dict[str, float]:
    """One number each of all classes, by the names of the functions here; with `cost` also per sample and in total.

    >>> overall(torch.tensor([[3, 1], [0, 4]]), cost=[[0, 1], [10, 0]])
    {'accuracy': 0.875, 'balanced_accuracy': 0.875, 'cohen_kappa': 0.75, 'matthews_corrcoef': 0.7745966692414834, \
'macro_f1': 0.873015873015873, 'mean_iou': 0.775, 'mean_cost': 0.125, 'total_cost': 1.0}
    """
    numbers = {
        of.__name__: of(counts)
        for of in (accuracy, balanced_accuracy, cohen_kappa, matthews_corrcoef, macro_f1, mean_iou)
    }
    if cost is not None:
        total, samples = total_cost(counts, cost), int(counts.sum())
        numbers |= {"mean_cost": total / samples if samples else math.nan, "total_cost": total}
    return numbers


def _pooled(counts: Tensor) -> Tensor:
    """Counts [K, K]; those of all labels together."""
    return counts.sum(dim=0) if counts.ndim == 3 else counts


def _sums(counts: Tensor) -> tuple[int, int, list[int], list[int]]:
    """The samples, those that are right, and how often each class is there and predicted, in Python's integers."""
    hits, predicted, there = (n.tolist() for n in per_class(_pooled(counts)))
    return sum(there), sum(hits), there, predicted
