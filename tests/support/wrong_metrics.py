"""Metrics as people write them: each wrong one beside a right one that differs in the line with the mistake.

The mistakes are of public issues: torchmetrics #597 and pytorch-lightning #4493 (means of batch means), torchmetrics
#337 (list states on several processes), #1510 and #708 (sums in narrow types), #2492 and #1949 (memory), deepinv #908
(statistics of a batch), pytorch-lightning #3728 (states that are not the metric's own), composer #2116 (the number of
updates after a restart), ganslate #74, poutyne #72 (no reset) and others of their kind.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lwcallbacks.testing import Finding, examine_metric, labelled_batches, tensors


def numbers(low: int = 0, high: int = 7, most: int = 4) -> st.SearchStrategy[list[tuple[Tensor]]]:
    """Batches of whole numbers as floats: their sums are exact."""
    values = st.integers(1, most).flatmap(lambda n: tensors(n, torch.int64, min_value=low, max_value=high))
    return st.lists(st.tuples(values.map(Tensor.float)), min_size=1, max_size=4)


NUMBERS = numbers()
POSITIVE = numbers(low=1)
LARGE = numbers(low=4096, high=8192)
LABELS = labelled_batches(3, scores=False)
SCORES = labelled_batches(3)
IDENTIFIED = NUMBERS.map(lambda batches: _with_ids([x for (x,) in batches]))


def _with_ids(batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    ids = torch.arange(sum(map(len, batches))).split([len(x) for x in batches])
    return list(zip(batches, ids, strict=True))


class Sums(Metric):
    """A metric whose states add up; a list is concatenated."""

    full_state_update = False

    def __init__(self, **states: Tensor | list[Tensor]) -> None:
        super().__init__()
        for name, default in states.items():
            self.add_state(name, default, dist_reduce_fx="cat" if isinstance(default, list) else "sum")


class Mean(Sums):
    """Right: the mean of all numbers. What many wrong ones below would like to be."""

    def __init__(self) -> None:
        super().__init__(total=torch.tensor(0.0), number=torch.tensor(0))

    def update(self, x: Tensor) -> None:
        self.total += x.sum()
        self.number += x.numel()

    def compute(self) -> Tensor:
        return self.total / self.number


class Kept(Sums):
    """Right: the sum of all numbers, of a list of them."""

    def __init__(self) -> None:
        super().__init__(seen=[])

    def update(self, x: Tensor) -> None:
        self.seen.append(x)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.seen).sum()


# Batches taken for samples.


class MeanOfMeans(Mean):
    def update(self, x: Tensor) -> None:
        self.total += x.mean()
        self.number += 1


class CountsBatches(Mean):
    def update(self, x: Tensor) -> None:
        self.total += x.sum()
        self.number += 1


class MeanOfRoots(Mean):
    def update(self, x: Tensor) -> None:
        self.total += (x**2).mean().sqrt() * len(x)
        self.number += len(x)


class RootOfMean(Mean):
    def update(self, x: Tensor) -> None:
        super().update(x**2)

    def compute(self) -> Tensor:
        return super().compute().sqrt()


class MeanOfVariances(Mean):
    def update(self, x: Tensor) -> None:
        self.total += x.var(correction=0) * len(x)
        self.number += len(x)


class Variance(Sums):
    def __init__(self) -> None:
        super().__init__(total=torch.tensor(0.0), squares=torch.tensor(0.0), number=torch.tensor(0))

    def update(self, x: Tensor) -> None:
        self.total += x.sum()
        self.squares += (x**2).sum()
        self.number += len(x)

    def compute(self) -> Tensor:
        return self.squares / self.number - (self.total / self.number) ** 2


class ByBatchMaximum(Mean):
    def update(self, x: Tensor) -> None:
        super().update(x / x.max())


class ByLargest(Mean):
    def update(self, x: Tensor) -> None:
        super().update(x / 8)


class AboveBatchMedian(Mean):
    def update(self, x: Tensor) -> None:
        super().update((x > x.median()).float())


class AboveThree(Mean):
    def update(self, x: Tensor) -> None:
        super().update((x > 3).float())


class DropsIncomplete(Mean):
    def update(self, x: Tensor) -> None:
        if len(x) >= 2:
            super().update(x)


class UniqueOfBatch(Kept):
    def update(self, x: Tensor) -> None:
        self.seen.append(x.unique())


class Unique(Kept):
    def compute(self) -> Tensor:
        return dim_zero_cat(self.seen).unique().sum()


class SoftmaxOfBatch(Mean):
    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update((preds.softmax(0) > 0.4).float())


class SoftmaxOfClasses(Mean):
    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update((preds.softmax(1) > 0.4).float())


class PresentInBatch(Mean):
    """Averages over the classes that the batch has."""

    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        present = [(preds[targets == k] == k).float().mean() for k in range(3) if (targets == k).any()]
        self.total += torch.stack(present).mean() * len(targets)
        self.number += len(targets)


class PresentInAll(Sums):
    def __init__(self) -> None:
        super().__init__(hits=torch.zeros(3), number=torch.zeros(3))

    def update(self, preds: Tensor, targets: Tensor) -> None:
        hot = torch.nn.functional.one_hot(targets, 3)
        self.hits += (hot * (preds == targets)[:, None]).sum(0)
        self.number += hot.sum(0)

    def compute(self) -> Tensor:
        present = self.number > 0
        return (self.hits[present] / self.number[present]).mean()


class F1OfBatches(Mean):
    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        hits, all_of_it = ((preds == 1) & (targets == 1)).sum(), (preds == 1).sum() + (targets == 1).sum()
        self.total += 2 * hits / all_of_it.clamp(min=1) * len(preds)
        self.number += len(preds)


class F1(Sums):
    def __init__(self) -> None:
        super().__init__(hits=torch.tensor(0), all_of_it=torch.tensor(0))

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.hits += ((preds == 1) & (targets == 1)).sum()
        self.all_of_it += (preds == 1).sum() + (targets == 1).sum()

    def compute(self) -> Tensor:
        return 2 * self.hits / self.all_of_it.clamp(min=1)


class RandomHalf(Mean):
    def update(self, x: Tensor) -> None:
        super().update(x[torch.randperm(len(x))[: (len(x) + 1) // 2]])


class EvenHalf(Mean):
    """A part of the data that is chosen by the sample itself."""

    def update(self, x: Tensor) -> None:
        super().update(x[x % 2 == 0])


# Order.


class MovingAverage(Sums):
    def __init__(self) -> None:
        super().__init__(average=torch.tensor(0.0))

    def update(self, x: Tensor) -> None:
        for value in x:
            self.average = 0.5 * self.average + 0.5 * value

    def compute(self) -> Tensor:
        return self.average


class FirstOfTheBest(Sums):
    """The id of the sample with the highest loss: among equal ones, the one that came first."""

    def __init__(self) -> None:
        super().__init__(losses=[], ids=[])

    def update(self, losses: Tensor, ids: Tensor) -> None:
        self.losses.append(losses)
        self.ids.append(ids.float())

    def compute(self) -> Tensor:
        return dim_zero_cat(self.ids)[dim_zero_cat(self.losses).argmax()]


class SmallestOfTheBest(FirstOfTheBest):
    def compute(self) -> Tensor:
        losses, ids = dim_zero_cat(self.losses), dim_zero_cat(self.ids)
        return ids[losses == losses.max()].min()


class TopTwo(FirstOfTheBest):
    """Ids of the two best, as a sum: ties at the second place fall by order."""

    def compute(self) -> Tensor:
        losses, ids = dim_zero_cat(self.losses), dim_zero_cat(self.ids)
        return ids[losses.topk(min(2, len(losses))).indices].sum()


class TopTwoById(FirstOfTheBest):
    def compute(self) -> Tensor:
        ids, by_id = dim_zero_cat(self.ids).sort()
        losses = dim_zero_cat(self.losses)[by_id]
        return ids[losses.argsort(descending=True, stable=True)[:2]].sum()


class SizedByFirst(Metric):
    """As many classes as the first batch has."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("classes", torch.tensor(0), dist_reduce_fx="max")

    def update(self, preds: Tensor, targets: Tensor) -> None:
        if self.classes == 0:
            self.classes = targets.max() + 1
        self.counts += torch.bincount(targets[targets < self.classes], minlength=3)

    def compute(self) -> Tensor:
        return self.counts


class SizedByArgument(SizedByFirst):
    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.counts += torch.bincount(targets, minlength=3)


# Processes.


class ReducedBy(Metric):
    """A sum that processes reduce by something."""

    full_state_update = False

    def __init__(self, reduction: Any) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx=reduction)

    def update(self, x: Tensor) -> None:
        self.total = self.total + x.sum()

    def compute(self) -> Tensor:
        return self.total


class PlainAttribute(Metric):
    """Its total is no state."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.tensor(0.0)

    def update(self, x: Tensor) -> None:
        self.total = self.total + x.sum()

    def compute(self) -> Tensor:
        return self.total

    def reset(self) -> None:
        super().reset()
        self.total = torch.tensor(0.0)


class CatOfList(Kept):
    """After a sync the state is no list any more."""

    def compute(self) -> Tensor:
        return torch.cat(self.seen).sum()


class IntegersInList(Kept):
    def update(self, x: Tensor) -> None:
        self.seen.append(x.long())


class LocalSteps(Mean):
    """Leaves dist_sync_on_step out of account."""

    def forward(self, x: Tensor) -> Tensor:
        self.update(x)
        return x.mean()


# What stays between calls.


class Halves(Mean):
    """Divides in place."""

    def compute(self) -> Tensor:
        self.total /= self.number
        return self.total


class ForwardOfEpoch(Mean):
    def forward(self, x: Tensor) -> Tensor:
        self.update(x)
        self._computed = None
        return self.compute()


class Shifted(Metric):
    """A mean that is stable: all numbers less the first one, which `update` finds in the state."""

    full_state_update: bool | None = True

    def __init__(self) -> None:
        super().__init__()
        for name in ("first", "total", "number"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx=None)

    def update(self, x: Tensor) -> None:
        self.first = torch.where(self.number == 0, x[0], self.first)
        self.total = self.total + (x - self.first).sum()
        self.number = self.number + len(x)

    def compute(self) -> Tensor:
        return (self.total + self.first * self.number).sum() / self.number.sum()


class ShiftedUnsaid(Shifted):
    full_state_update = False


class ForgetsToReset(Mean):
    def reset(self) -> None:
        number = self.number
        super().reset()
        self.number = number


class ResetByHand(Mean):
    """New tensors, of the default dtype, on the CPU."""

    def reset(self) -> None:
        super().reset()
        self.total, self.number = torch.tensor(0.0), torch.tensor(0)


class HistoryForPlots(Mean):
    """Keeps the best value, for a plot, and does not drop it."""

    best = 0.0

    def compute(self) -> Tensor:
        value = super().compute()
        self.best = max(self.best, float(value))
        return value


class HistoryDropped(HistoryForPlots):
    def reset(self) -> None:
        super().reset()
        self.__dict__.pop("best", None)


class CountsDown(Mean):
    """A number that is neither saved nor reset with the states."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("late", torch.tensor(0), persistent=False)

    def update(self, x: Tensor) -> None:
        self.late += x.numel()
        super().update(x)

    def compute(self) -> Tensor:
        return self.total / self.late

    def reset(self) -> None:
        super().reset()
        self.late = torch.zeros_like(self.late)


class PythonFloats(PlainAttribute):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def update(self, x: Tensor) -> None:
        self.total += float(x.sum())

    def compute(self) -> Tensor:
        return torch.tensor(self.total)

    def reset(self) -> None:
        super().reset()
        self.total = 0.0


class Centred(Mean):
    """Takes the mean away, in place."""

    def update(self, x: Tensor) -> None:
        x -= 1
        super().update(x)


class CentredCopy(Mean):
    def update(self, x: Tensor) -> None:
        super().update(x - 1)


SHARED_ZERO = torch.tensor(0.0)


class SharedDefault(ReducedBy):
    """One tensor is the state of every metric of this class."""

    def __init__(self, zero: Callable[[], Tensor] = lambda: SHARED_ZERO) -> None:
        Metric.__init__(self)
        self.add_state("total", zero(), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum()


class SharesItsList(Kept):
    """A list that belongs to the class."""

    everything: list[Tensor] = []  # noqa: RUF012, the mistake

    def __init__(self) -> None:
        super().__init__()
        self.seen = SharesItsList.everything

    def reset(self) -> None:
        super().reset()
        self.seen = []


class ListOfTheClass(Metric):
    """Its state is a list that was made with the class."""

    full_state_update = True
    seen: list[Tensor] = []  # noqa: RUF012, the mistake

    def update(self, x: Tensor) -> None:
        self.seen.append(x)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.seen).sum()


class TensorOfTheClass(Metric):
    """Its state is a tensor that was made with the class, and is added to in place."""

    full_state_update = True
    total = torch.tensor(0.0)

    def update(self, x: Tensor) -> None:
        self.total.add_(x.sum())

    def compute(self) -> Tensor:
        return self.total.clone()


class ListOfTheSignature(Metric):
    """A list that was made with the function."""

    full_state_update = True

    def __init__(self, kept: list[Tensor] = []) -> None:  # noqa: B006, the mistake
        super().__init__()
        self.kept = kept

    def update(self, x: Tensor) -> None:
        self.kept.append(x)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.kept).sum()


class KeepsCopies(Kept):
    def update(self, x: Tensor) -> None:
        self.seen.append(x.clone())


class ShallowCopy(Kept):
    def __deepcopy__(self, memo: Any) -> ShallowCopy:
        new = copy.copy(self)
        new.__setstate__(self.__getstate__())
        return new


class PicklesHalf(Mean):
    """Too much to send, so it is left out, and made again."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "number": torch.tensor(0)}

    def __deepcopy__(self, memo: Any) -> PicklesHalf:
        new = type(self)()
        new.total, new.number = self.total.clone(), self.number.clone()
        new._update_count, new.compute_with_cache = self._update_count, self.compute_with_cache
        return new


class ForgetsSteps(Sums):
    """Weighs by the number of updates, which pickling sets back."""

    def __init__(self) -> None:
        super().__init__(total=torch.tensor(0.0))

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> Tensor:
        return self.total

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.total = torch.zeros_like(self.total) if self._forward_cache is not None else self.total


class OwnCache(Mean):
    """Remembers its value until the next update."""

    remembered: Tensor | None = None

    def update(self, x: Tensor) -> None:
        self.remembered = None
        super().update(x)

    def compute(self) -> Tensor:
        if self.remembered is None:
            self.remembered = super().compute()
        return self.remembered

    def reset(self) -> None:
        super().reset()
        self.remembered = None


class OwnCacheForgotten(OwnCache):
    """And until anything else that changes its state."""

    def compute(self) -> Tensor:
        self.remembered = None
        return super().compute()


# Merging and loading.


class MergesHalf(Mean):
    def merge_state(self, incoming_state: Any) -> None:
        self.total += incoming_state.total


class MergesMeans(Mean):
    """The mean of two means."""

    def merge_state(self, incoming_state: Any) -> None:
        mean = (self.compute() + incoming_state.compute()) / 2
        self.number += incoming_state.number
        self.total = mean * self.number


class MeanState(Metric):
    """A sum, and a constant that is kept as a state."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("scale", torch.tensor(1.0), dist_reduce_fx="mean")

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> Tensor:
        return self.total * self.scale


class ConstantScale(MeanState):
    def __init__(self) -> None:
        Metric.__init__(self)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.scale = 1.0


class StepMean(Metric):
    """The mean of the batches' highest numbers, kept as a mean: `forward` weighs it by the number of updates."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.tensor(0.0), dist_reduce_fx="mean")

    def update(self, x: Tensor) -> None:
        self.mean = self.mean + (x.max() - self.mean) / self._update_count

    def compute(self) -> Tensor:
        return self.mean


class AppendsOnLoad(Kept):
    """Adds what is loaded to what is there."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        there = list(self.seen)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.seen = there + list(self.seen)


class OutOfPlace(Mean):
    def update(self, x: Tensor) -> None:
        self.total = self.total + x.sum()
        self.number = self.number + x.numel()


class Complete(OutOfPlace):
    """What torchmetrics leaves out: the number of updates in the checkpoint, and no value from before."""

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self._update_count)

    def set_extra_state(self, state: Tensor) -> None:
        self._update_count = int(state)
        self._computed = None

    def merge_state(self, incoming_state: Any) -> None:
        super().merge_state(incoming_state)
        self._update_count += incoming_state.update_count
        self._computed = None


class DrainedByPickling(OutOfPlace):
    """What is sent away is gone."""

    def __getstate__(self) -> dict[str, Any]:
        sent = super().__getstate__()
        if self._forward_cache is not None:
            self.total, self.number = torch.tensor(0.0), torch.tensor(0)
        return sent


class StepsDiffer(OutOfPlace):
    """A step counts twice from then on, in what it returns."""

    moved = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.moved = True

    def forward(self, x: Tensor) -> Tensor:
        step: Tensor = super().forward(x)
        return 2 * step if self.moved else step


# Much data, and labels that are none.


class CountsIn(Sums):
    """Counts in some type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(total=torch.zeros((), dtype=dtype))

    def update(self, x: Tensor) -> None:
        self.total += x.sum().to(self.total.dtype)

    def compute(self) -> Tensor:
        return self.total.to(torch.float64)


class NarrowCompute(Mean):
    """Narrows what it has, at the very end."""

    def compute(self) -> Tensor:
        return self.total.half() / self.number.half()


class History(Mean):
    """Keeps every batch's mean, and nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[float] = []

    def update(self, x: Tensor) -> None:
        super().update(x)
        self.history.append(float(x.mean()))

    def reset(self) -> None:
        super().reset()
        self.history = []


class GrowingTensor(Metric):
    """A tensor that is concatenated, and is no list."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", torch.zeros(0), dist_reduce_fx=None)

    def update(self, x: Tensor) -> None:
        self.seen = torch.cat([self.seen, x])

    def compute(self) -> Tensor:
        return self.seen.sum()


class Cells(Sums):
    """A matrix of counts, rows are the truth."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__(cells=torch.zeros(9, dtype=torch.int64))

    def update(self, preds: Tensor, targets: Tensor) -> None:
        index = (targets * 3 + preds).clamp(0, 8)
        self.cells += torch.bincount(index, minlength=9)

    def compute(self) -> Tensor:
        return self.cells.reshape(3, 3)


class CellsRefused(Cells):
    def update(self, preds: Tensor, targets: Tensor) -> None:
        if ((preds < 0) | (preds > 2) | (targets < 0) | (targets > 2)).any():
            raise ValueError("labels out of 0 to 2")
        super().update(preds, targets)


class PaddingCounted(Mean):
    """Every target counts, also one that is none."""

    num_classes = 3

    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update((preds == targets).float())


class PaddingIgnored(PaddingCounted):
    def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        real = (targets >= 0) & (targets < 3) & (preds >= 0) & (preds < 3)
        super().update(preds[real], targets[real])


class IgnoredAsZero(Cells):
    """Padding becomes class 0, so that nothing breaks."""

    def update(self, preds: Tensor, targets: Tensor) -> None:
        super().update(preds.clamp(0, 2), targets.clamp(0, 2))


class Reads(Mean):
    def update(self, x: Tensor) -> None:
        self.total += x.sum().item()
        self.number += x.numel()


class Pair(NamedTuple):
    """A wrong metric and a right one, the law that tells them apart, and what is said of the wrong one."""

    wrong: Callable[[], Metric]
    right: Callable[[], Metric]
    batches: st.SearchStrategy[Any]
    law: str
    words: str = ""


PAIRS: dict[str, Pair] = {
    "a mean of batch means": Pair(MeanOfMeans, Mean, NUMBERS, "batch_size"),
    "batches counted as samples": Pair(CountsBatches, Mean, POSITIVE, "batch_size"),
    "a mean of roots": Pair(MeanOfRoots, RootOfMean, NUMBERS, "batch_size"),
    "a mean of variances": Pair(MeanOfVariances, Variance, NUMBERS, "batch_size"),
    "scaled by the batch's maximum": Pair(ByBatchMaximum, ByLargest, POSITIVE, "batch_size"),
    "thresholded at the batch's median": Pair(AboveBatchMedian, AboveThree, NUMBERS, "batch_size"),
    "the last incomplete batch dropped": Pair(DropsIncomplete, Mean, POSITIVE, "batch_size"),
    "unique within a batch": Pair(UniqueOfBatch, Unique, POSITIVE, "batch_size"),
    "softmax over the batch": Pair(SoftmaxOfBatch, SoftmaxOfClasses, SCORES, "batch_size"),
    "macro over the classes of a batch": Pair(PresentInBatch, PresentInAll, LABELS, "batch_size"),
    "a mean of F1 scores": Pair(F1OfBatches, F1, LABELS, "batch_size"),
    "a random half": Pair(RandomHalf, EvenHalf, POSITIVE, "repeatable", "in a second new metric the same batches give"),
    "a list of the class for a state": Pair(
        ListOfTheClass, Kept, POSITIVE, "repeatable", "both hold ListOfTheClass.seen, a list of its class, which all"
    ),
    "a tensor of the class for a state": Pair(
        TensorOfTheClass, Mean, POSITIVE, "repeatable", "hold TensorOfTheClass.total, a tensor of its class, which all"
    ),
    "a list as a default argument": Pair(
        ListOfTheSignature, Kept, POSITIVE, "repeatable", "both hold ListOfTheSignature.kept, a list which all metrics"
    ),
    "a moving average": Pair(MovingAverage, Mean, NUMBERS, "order"),
    "the first of equal ones": Pair(FirstOfTheBest, SmallestOfTheBest, IDENTIFIED, "order"),
    "the first of equal ones at the second place": Pair(TopTwo, TopTwoById, IDENTIFIED, "order"),
    "as many classes as the first batch has": Pair(SizedByFirst, SizedByArgument, LABELS, "order"),
    "reduced by a mean": Pair(lambda: ReducedBy("mean"), lambda: ReducedBy("sum"), POSITIVE, "shards"),
    "reduced by a maximum": Pair(lambda: ReducedBy("max"), lambda: ReducedBy("sum"), POSITIVE, "shards"),
    "reduced by nothing": Pair(lambda: ReducedBy(None), lambda: ReducedBy("sum"), POSITIVE, "shards"),
    "a total that is no state": Pair(PlainAttribute, lambda: ReducedBy("sum"), POSITIVE, "shards"),
    "a list state read as a list": Pair(CatOfList, Kept, NUMBERS, "shards"),
    "integers in a list": Pair(IntegersInList, Kept, NUMBERS, "empty_process"),
    "a process without data weighs as much": Pair(
        lambda: ReducedBy("mean"),
        lambda: ReducedBy("sum"),
        POSITIVE,
        "empty_process",
        "beside a process without data process 0 reports",
    ),
    "step values of one process": Pair(
        LocalSteps, Mean, NUMBERS, "sync_on_step", "with dist_sync_on_step=True on 2 processes, step 0 reports"
    ),
    "compute divides in place": Pair(Halves, Mean, POSITIVE, "compute_is_pure"),
    "forward gives the epoch so far": Pair(ForwardOfEpoch, Mean, NUMBERS, "step_value"),
    "update looks at the state": Pair(ShiftedUnsaid, Shifted, POSITIVE, "forward_accumulates"),
    "a state that is not reset": Pair(ForgetsToReset, Mean, POSITIVE, "reset"),
    "reset by hand": Pair(ResetByHand, Mean, NUMBERS, "reset_is_fresh", "after reset ResetByHand."),
    "a best value of all epochs": Pair(
        HistoryForPlots, HistoryDropped, POSITIVE, "reset_is_fresh", "after reset HistoryForPlots.best is not as in"
    ),
    "a buffer that is not saved": Pair(CountsDown, Mean, POSITIVE, "state_dict_round_trip"),
    "a total of Python's": Pair(PythonFloats, lambda: ReducedBy("sum"), POSITIVE, "state_dict_round_trip"),
    "the batch centred in place": Pair(Centred, CentredCopy, NUMBERS, "inputs_unchanged"),
    "a default that all share": Pair(
        SharedDefault,
        lambda: SharedDefault(lambda: torch.tensor(0.0)),
        POSITIVE,
        "instances_are_independent",
        "both hold SharedDefault.total, a tensor which all metrics of it share",
    ),
    "a list of the class": Pair(SharesItsList, Kept, POSITIVE, "instances_are_independent", "both hold SharesItsList."),
    "batches kept as they are": Pair(
        Kept, KeepsCopies, POSITIVE, "buffers_reused", "are used again after each update you report"
    ),
    "a shallow copy": Pair(ShallowCopy, Kept, POSITIVE, "clone_is_independent"),
    "half of it pickled": Pair(PicklesHalf, Mean, POSITIVE, "pickle_round_trip"),
    "pickled after a step": Pair(
        ForgetsSteps, lambda: ReducedBy("sum"), POSITIVE, "pickle_mid_epoch", "pickled in mid-epoch you report 0 where"
    ),
    "merged but for the number": Pair(MergesHalf, Mean, POSITIVE, "merge_state"),
    "merged by the mean of means": Pair(
        MergesMeans, Mean, POSITIVE, "merge_with_fresh", "merged into a new metric you report nan where the data alone"
    ),
    "a scale that is a state": Pair(
        MeanState, ConstantScale, POSITIVE, "merge_with_fresh", "merged into a new metric you report nan where the data"
    ),
    "a cache over a merge": Pair(
        OwnCache, OwnCacheForgotten, POSITIVE, "merge_after_compute", "asked for a value before it is merged, a metric"
    ),
    "a cache over a restart": Pair(
        OwnCache, OwnCacheForgotten, NUMBERS, "load_replaces", "after loading a checkpoint into a metric in use you"
    ),
    "a list that loading appends to": Pair(
        AppendsOnLoad, Kept, POSITIVE, "load_replaces", "where the run that saved it reported"
    ),
    "a mean that forward weighs": Pair(
        StepMean, Mean, POSITIVE, "resume_with_forward", "after a restart, with step values logged, you report"
    ),
    "an update in the checkpoint's tensors": Pair(
        Mean, OutOfPlace, POSITIVE, "checkpoint_unchanged", "updating a metric changed the checkpoint that it was"
    ),
    "a value from before": Pair(OutOfPlace, Complete, POSITIVE, "stale_value", "the value from before, where the"),
    "updates that are not counted on": Pair(
        OutOfPlace, Complete, NUMBERS, "update_count", "after a restart from a checkpoint update_count is [0] where it"
    ),
    "counts of 8 bits": Pair(
        lambda: CountsIn(torch.int8), lambda: CountsIn(torch.int64), POSITIVE, "no_saturation", "int8 cannot hold"
    ),
    "counts of 8 bits without a sign": Pair(
        lambda: CountsIn(torch.uint8), lambda: CountsIn(torch.int64), POSITIVE, "no_saturation", "uint8 cannot hold"
    ),
    "pixels counted in 32 bits": Pair(
        lambda: CountsIn(torch.int32), lambda: CountsIn(torch.int64), LARGE, "no_saturation", "int32 cannot hold"
    ),
    "a sum in half precision": Pair(
        lambda: CountsIn(torch.float16), lambda: CountsIn(torch.float64), POSITIVE, "no_saturation", "adds 0: float16"
    ),
    "a sum in bfloat16": Pair(
        lambda: CountsIn(torch.bfloat16), lambda: CountsIn(torch.float64), POSITIVE, "no_saturation", "bfloat16 cannot"
    ),
    "divided in half precision": Pair(
        NarrowCompute, Mean, POSITIVE, "no_saturation", "times the same batch you report"
    ),
    "a history": Pair(History, Mean, NUMBERS, "memory", "bytes to History.history, which is neither a list state nor"),
    "a tensor that grows": Pair(GrowingTensor, Kept, NUMBERS, "memory", "adds 4 bytes to GrowingTensor."),
    "a label in another cell": Pair(Cells, CellsRefused, LABELS, "labels_in_range", "beside 3 classes you report"),
    "padding counted": Pair(PaddingCounted, PaddingIgnored, LABELS, "labels_in_range", "beside 3 classes you report"),
    "padding as class 0": Pair(IgnoredAsZero, CellsRefused, LABELS, "labels_in_range", "as if it were"),
    "a value read in every update": Pair(Reads, Mean, NUMBERS, "no_host_wait"),
}


def forget() -> None:
    """What two of the wrong metrics share is as it was."""
    SHARED_ZERO.zero_()
    SharesItsList.everything.clear()
    ListOfTheClass.seen.clear()
    TensorOfTheClass.total.zero_()
    ListOfTheSignature().kept.clear()


def examined(name: str, examples: int) -> Finding:
    """What examining a wrong one under the law that is about its mistake gives."""
    pair = PAIRS[name]
    try:
        return examine_metric(pair.wrong, pair.batches, laws=[pair.law], examples=examples)[pair.law]
    finally:
        forget()


@functools.cache
def found(name: str) -> Finding:
    """With 50 examples, once for all tests."""
    return examined(name, 50)
