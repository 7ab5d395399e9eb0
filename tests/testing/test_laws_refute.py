"""The kit refutes wrong metrics, each by the law that it breaks and in words, and accepts right ones."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from support.versions import needs_merge_state
from support.wrong_metrics import MeanState, RandomHalf
from torch import Tensor
from torchmetrics import CatMetric, MaxMetric, MeanMetric, Metric, MetricCollection, MinMaxMetric, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassConfusionMatrix
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef

from lwcallbacks import ReductionMetric
from lwcallbacks.reductions import ConfusionCounts, ExactMean, ExactSum, Extrema, RandomSample, Reduction, TopK
from lwcallbacks.reductions.base import Scatter, Slots, State
from lwcallbacks.testing import (
    METRIC_LAWS,
    REDUCTION_LAWS,
    LawViolation,
    check_metric,
    check_reduction,
    examine_metric,
    examine_reduction,
    floats32,
    labelled_batches,
    tensors,
    violations_of_metric,
)
from lwcallbacks.testing.law import Case
from lwcallbacks.testing.same import shown
from lwcallbacks.testing.sim_device import second_device

# test_sim_device.py has `device`, test_reference.py has `reference`, test_wrong_and_right.py the laws of other files.
HERE = [
    law
    for law in METRIC_LAWS
    if law not in ("device", "reference") and METRIC_LAWS[law].holds.__module__.endswith("laws_of_epochs")
]
BATCHES = labelled_batches(num_classes=3)


def numbers(**options: Any) -> st.SearchStrategy[list[tuple[Tensor]]]:
    """Batches of whole numbers as floats: their sums are exact."""
    values = st.integers(1, 4).flatmap(lambda n: tensors(n, torch.int64, **options)).map(Tensor.float)
    return st.lists(st.tuples(values), min_size=1, max_size=4)


NUMBERS = numbers(max_value=7)


class Total(Metric):
    """A right metric: the sum of what it is given. The wrong ones below change a line of it."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> Tensor:
        return self.total


class MeanOfBatchMeans(Metric):
    """What `on_epoch=True` with unequal batches would be, if nobody weighted them."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("means", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.means += x.mean()
        self.batches += 1

    def compute(self) -> Tensor:
        return self.means / self.batches


class MeanOfShares(Metric):
    """Right on one process; on several, a mean of means: 'mean' does not know how much each process saw."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.tensor(0.0), dist_reduce_fx="mean")
        self.add_state("seen", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.seen += len(x)
        self.mean = (self.mean * (self.seen - len(x)) + x.sum()) / self.seen

    def compute(self) -> Tensor:
        return self.mean


class Last(Metric):
    """Keeps everything, and looks at where it stands."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, x: Tensor) -> None:
        self.seen.append(x)

    def compute(self) -> Tensor:
        seen = torch.cat(self.seen) if isinstance(self.seen, list) else self.seen
        return seen[-1]


class Labels(Last):
    """Keeps integers in a list: a process without any sends an empty tensor of floats."""

    def compute(self) -> Tensor:
        seen = torch.cat(self.seen) if isinstance(self.seen, list) else self.seen
        return seen.sum()


class Restless(Total):
    """Rescales its state whenever it is looked at."""

    def compute(self) -> Tensor:
        self.total = self.total * 2
        return self.total


class RunningStep(Total):
    """Returns the epoch so far where the step's value is asked for."""

    def forward(self, x: Tensor) -> Tensor:
        self.update(x)
        self._computed = None
        return self.compute()


class Increments(Total):
    """Looks at its own state in `update`, and says that it does not."""

    def update(self, x: Tensor) -> None:
        self.total = torch.maximum(self.total + 1, x.max())


class Clamped(Total):
    """Saves an allocation."""

    def update(self, x: Tensor) -> None:
        self.total += x.clamp_(max=5).sum()


class Remembers(Total):
    """Counts in an attribute that is no state: nobody resets it."""

    seen = 0

    def update(self, x: Tensor) -> None:
        self.seen += len(x)
        self.total += x.sum()

    def compute(self) -> Tensor:
        return self.total / self.seen


class Resets(Remembers):
    """The same, with a reset: a checkpoint and other processes still do not know it."""

    def reset(self) -> None:
        super().reset()
        self.seen = 0


class Shallow(Total):
    """Copies itself without its tensors."""

    def __deepcopy__(self, memo: Any) -> Shallow:
        new = copy.copy(self)
        new.__setstate__(self.__getstate__())
        return new


class Travels(Total):
    """Leaves its data behind when it is pickled."""

    def __reduce__(self) -> Any:
        return (Travels, ())

    def __deepcopy__(self, memo: Any) -> Travels:
        new = Travels()
        new.total = self.total.clone()
        new._update_count = self._update_count
        new.compute_with_cache = self.compute_with_cache
        return new


class Unpicklable(Total):
    """Holds a function that has no name."""

    def __init__(self) -> None:
        super().__init__()
        self.transform = lambda x: x


class Reads(Total):
    """Asks for the value of every batch."""

    def update(self, x: Tensor) -> None:
        self.total += x.sum().item()


class Forgets(Total):
    """Takes the other's data and drops its own."""

    def merge_state(self, incoming_state: Any) -> None:
        self.total = incoming_state.total.clone()


class Takes(Total):
    """Takes the other's data away from it."""

    def merge_state(self, incoming_state: Any) -> None:
        self.total = self.total + incoming_state.total
        incoming_state.total = torch.tensor(0.0)


class MergedMeans(Metric):
    """What torchmetrics does to a 'mean' state: it is weighted by the number of updates of one of the two."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.tensor(0.0), dist_reduce_fx="mean")
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.batches += 1
        self.mean = self.mean + (x.mean() - self.mean) / self.batches

    def compute(self) -> Tensor:
        return self.mean


class Tokens(Metric):
    """Counts tokens in float32: from 2**24 on, adding one changes nothing."""

    full_state_update = False

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.add_state("tokens", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, lengths: Tensor) -> None:
        self.tokens += lengths.sum()

    def compute(self) -> Tensor:
        return self.tokens


LENGTHS = st.lists(st.sampled_from([1, 2**24]), min_size=1, max_size=3).map(torch.tensor)
LONG = st.lists(st.tuples(LENGTHS), min_size=1, max_size=3)
POSITIVE = numbers(min_value=1, max_value=3)

# What is wrong, the metric, its batches, the law that is about it, and whether no other law is broken thereby.
WRONG: dict[str, tuple[Callable[[], Metric], st.SearchStrategy[Any], str, bool]] = {
    "a random half": (RandomHalf, POSITIVE, "repeatable", False),
    "a mean of batch means": (MeanOfBatchMeans, NUMBERS, "batch_size", False),
    "a mean over processes of unequal shares": (
        MeanOfShares,
        NUMBERS.map(lambda batches: [(x.repeat(4)[:4],) for (x,) in batches[:2]]),  # a running mean that is exact
        "shards",
        False,
    ),
    "a value that depends on order": (Last, NUMBERS, "order", False),
    "a list of integers": (Labels, NUMBERS.map(lambda all: [(x.long(),) for (x,) in all]), "empty_process", True),
    "a float32 counter beyond 2**24": (Tokens, LONG, "batch_size", False),
    "compute changes the state": (Restless, POSITIVE, "compute_is_pure", False),
    "forward gives the epoch so far": (RunningStep, NUMBERS, "step_value", True),
    "update looks at the state": (Increments, NUMBERS, "forward_accumulates", False),
    "a mean merged by merge_state": (MergedMeans, POSITIVE, "merge_state", False),
    "a merge that forgets": (Forgets, POSITIVE, "merge_state", True),
    "a merge that takes away": (Takes, POSITIVE, "merge_state", True),
    "update writes into the batch": (Clamped, NUMBERS, "inputs_unchanged", True),
    "a count that is no state": (Remembers, POSITIVE, "reset", False),
    "a count that no checkpoint has": (Resets, POSITIVE, "state_dict_round_trip", False),
    "a clone that shares": (Shallow, POSITIVE, "clone_is_independent", True),
    "a pickle without data": (Travels, POSITIVE, "pickle_round_trip", True),
    "a value read in every update": (Reads, NUMBERS, "no_host_wait", True),
}


def when_there_is_what_they_need(names: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=[needs_merge_state] if WRONG[n][2] == "merge_state" else []) for n in names]


@pytest.mark.parametrize("name", when_there_is_what_they_need(WRONG))
def test_a_wrong_metric_is_refuted(name: str) -> None:
    """By the law that is about its fault, and where that is possible by no other."""
    factory, batches, law, alone = WRONG[name]
    with pytest.raises(LawViolation, match=f"law {law} is broken"):
        check_metric(factory, batches, laws=[law], examples=50)
    if alone:
        check_metric(factory, batches, laws=[other for other in HERE if other != law], examples=5)


def test_each_law_of_metrics_refutes_something() -> None:
    """No law is there that never fails."""
    assert {law for _, _, law, _ in WRONG.values()} == set(HERE)


def test_a_failure_says_which_law_what_it_means_and_the_smallest_example() -> None:
    """The whole message, as a user gets it."""
    with pytest.raises(LawViolation) as failure:
        check_metric(MeanOfBatchMeans, NUMBERS)
    assert str(failure.value).startswith(
        """\
MeanOfBatchMeans: in batches of 1, 2 you report 0.25 where one batch of all samples reports 0.333
  law batch_size is broken: the value of an epoch depends on the batch size: \
with another batch_size you report another value
  found: in these batches, and all in one: 0.25 and 0.3333333432674408
  smallest example found:
    batches = [(float32 [0.0],), (float32 [0.0, 1.0],)]"""
    )


RIGHT: dict[str, tuple[Callable[[], Any], st.SearchStrategy[Any]]] = {
    "micro accuracy": (lambda: MulticlassAccuracy(3, average="micro"), BATCHES),
    "macro accuracy": (lambda: MulticlassAccuracy(3), BATCHES),
    "confusion matrix": (lambda: MulticlassConfusionMatrix(3), labelled_batches(3, scores=False)),
    "maximum": (MaxMetric, NUMBERS),
    "integer sum": (SumMetric, NUMBERS),
    "mean of integers": (MeanMetric, NUMBERS),
    "an int64 counter": (lambda: Tokens(torch.int64), LONG),
    "a right sum": (Total, NUMBERS),
    "our own": (lambda: ReductionMetric(ConfusionCounts(3)), labelled_batches(3, out_of_range=True)),
    "our mean of any floats": (lambda: ReductionMetric(ExactMean()), st.lists(st.tuples(floats32(3)), min_size=1)),
    "a collection": (
        lambda: MetricCollection({"a": MulticlassAccuracy(3), "b": MulticlassConfusionMatrix(3)}),
        BATCHES,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_metric_is_accepted(name: str) -> None:
    """By every law about values."""
    factory, batches = RIGHT[name]
    check_metric(factory, batches, examples=10)


def test_float_sums_are_close_but_not_equal() -> None:
    """Exactness tells them apart from integers; a tolerance accepts what rounding alone does."""
    errors = st.lists(st.tuples(*[tensors(3, nan=False, infinite=False, huge=False)] * 2), min_size=1, max_size=3)
    found = violations_of_metric(MeanSquaredError, errors, laws=["batch_size"], examples=100)
    assert "; exact=False, rtol=1e-5 takes this for rounding\n" in found["batch_size"]
    check_metric(MeanSquaredError, errors, exact=False, atol=1e-6, rtol=1e-5, laws=["batch_size", "shards"])


def test_a_tolerance_and_exactness_exclude_each_other() -> None:
    """The error says what to write."""
    with pytest.raises(ValueError, match="exact=False, expected atol=1e-6, or rtol="):
        check_metric(Total, NUMBERS, exact=False)
    with pytest.raises(ValueError, match="exact=True, expected no atol and rtol"):
        check_metric(Total, NUMBERS, atol=1e-6)


def test_laws_are_chosen_by_name() -> None:
    """Only those are tried; those about speed only if they are named; an unknown one is an error."""
    check_metric(MeanOfBatchMeans, NUMBERS, laws=["inputs_unchanged", "reset"])
    check_metric(Reads, NUMBERS, examples=3)
    with pytest.raises(LawViolation, match="law no_host_wait is broken"):
        check_metric(Reads, NUMBERS, laws=["no_host_wait"])
    with pytest.raises(ValueError, match=r"^laws: 'batchsize' is no law, did you mean 'batch_size'\?$"):
        check_metric(Total, NUMBERS, laws=["batchsize"])
    with pytest.raises(
        ValueError, match=r"^laws: 'xyz' is no law; expected some of \['repeatable', 'inputs_unchanged', "
    ):
        check_metric(Total, NUMBERS, laws=["xyz"])


def test_what_does_not_apply_is_told() -> None:
    """Rather than counted as kept: no samples to cut, no merging of metrics that need their whole state."""
    scalars = st.lists(st.tuples(st.floats(0, 1)), min_size=1, max_size=3)
    findings = examine_metric(MaxMetric, scalars, examples=5)
    assert findings["batch_size"].outcome == "not applicable"
    assert "neither a tensor with a dimension of samples nor a list" in findings["batch_size"].message
    assert findings["merge_state"].outcome == "not applicable"
    assert findings["device"].outcome == "not applicable"
    assert findings["order"].outcome == "kept"
    assert findings["shards"].outcome == "kept"


def test_samples_may_be_strings_in_lists() -> None:
    """Arguments of text metrics are cut and joined like tensors."""

    class Words(Total):
        def update(self, texts: list[str]) -> None:  # type: ignore[override]
            self.total += sum(len(text.split()) for text in texts)

    texts = st.lists(st.tuples(st.lists(st.sampled_from(["", "a", "a b"]), min_size=1)), min_size=1, max_size=3)
    check_metric(Words, texts, examples=25, laws=["batch_size", "order", "shards", "inputs_unchanged"])


def test_wrappers_are_examined_as_a_whole() -> None:
    """A running minimum over epochs is no value of the samples: torchmetrics' MinMaxMetric, by design."""
    laws = ["compute_is_pure", "reset"]
    found = examine_metric(lambda: MinMaxMetric(MeanMetric()), NUMBERS, laws=laws, examples=25)
    assert found["compute_is_pure"].outcome == "known"
    assert found["compute_is_pure"].message.startswith("known: MinMaxMetric: it keeps the extremes of what compute")
    assert "computed in between, and only at the end" in found["compute_is_pure"].message
    assert found["reset"].outcome == "broken"  # which its docstring promises


def test_scores_that_leave_the_unit_interval_in_one_batch_only() -> None:
    """torchmetrics takes a batch for logits if any of its scores is no probability: AUROC depends on the batch size."""
    batches = labelled_batches(3).map(lambda batches: [(preds * 1.5, targets) for preds, targets in batches])
    with pytest.raises(LawViolation, match="law batch_size is broken"):
        check_metric(lambda: MulticlassAUROC(3, thresholds=5), batches, laws=["batch_size"])


def test_a_metric_that_is_not_deterministic_is_refuted() -> None:
    """Another result for the same example is reported as such."""

    class Dice(Total):
        calls = 0

        def compute(self) -> Tensor:
            Dice.calls += 1
            return torch.tensor(float(Dice.calls % 97))

    assert "batch_size" in violations_of_metric(Dice, NUMBERS, laws=["batch_size"], examples=5)


def test_a_strategy_that_fails_is_an_error_of_its_own() -> None:
    """Not a fault of the metric."""
    for sizes in ([3], [1, 2, 3]):  # at once, and after some examples
        least = st.sampled_from(sizes)
        with pytest.raises(InvalidArgument):
            check_metric(
                Total, least.flatmap(lambda n: st.lists(st.tuples(tensors(3, nan=False)), min_size=n, max_size=2))
            )

    def unread(number: int) -> Any:
        raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        check_metric(Total, st.integers().map(unread))


def test_examples_are_the_same_each_time_unless_seeded() -> None:
    """A failure in CI is a failure here; another seed draws others."""
    drawn: list[list[str]] = []
    batches = NUMBERS.map(lambda value: drawn[-1].append(str(value)) or value)
    for seed in (None, None, 1, 1, 2):
        drawn.append([])
        check_metric(Total, batches, laws=["order"], examples=10, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3] != drawn[4]


# Reductions


class Biased(ExactSum):
    """An identity that is none."""

    def empty(self) -> State:
        return {"sums": super().empty()["sums"] + 1}


class First(ExactSum):
    """Keeps the first that it gets."""

    def merge(self, a: State, b: State) -> State:
        return {"sums": torch.where(a["sums"] != 0, a["sums"], b["sums"])}


TENTHS = tensors(3, torch.int64, max_value=100).map(lambda x: x / 10)  # of which many sums round


class FloatSum(ExactSum):
    """What every framework does: float32 addition is commutative, and not associative."""

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"sums": Slots(1)}

    def empty(self) -> State:
        return {"sums": torch.zeros(1)}

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        x = fields[0] if valid is None else torch.where(valid, fields[0], 0)
        return {"sums": x.sum().reshape(1)}

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        return self.merge(state, self.lift(*fields, valid=valid))

    def value(self, state: State) -> float:
        return float(state["sums"])


class CountsBatches(ExactSum):
    """Adds something for every batch that has samples."""

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        index, amount = super().scatter(values, valid=valid)["sums"]
        first = torch.zeros_like(amount)
        first[:1] = 1
        return {"sums": (index, amount + (first if valid is None else first * valid[:1]))}


class Positional(ExactSum):
    """Weighs a sample by its place."""

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        return super().scatter(values * torch.arange(len(values), device=values.device), valid=valid)


class NeverEmpty(ExactSum):
    """Counts a batch of nothing as one of something."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        lifted = super().lift(*fields, valid=valid)
        lifted["sums"][0] += len(fields[0]) == 0
        return lifted


class Padded(ExactSum):
    """Does not look at `valid`."""

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        return super().scatter(values)


class Twice(ExactSum):
    """Accumulates a batch twice."""

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        return super().accumulate(super().accumulate(state, *fields, valid=valid), *fields, valid=valid)


class Unsynced(ExactSum):
    """Tells the sync another operation than it merges by."""

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"sums": Slots(259, "max")}

    def empty(self) -> State:
        return ExactSum().empty()

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        return ExactSum().lift(*fields, valid=valid)

    def merge(self, a: State, b: State) -> State:
        return ExactSum().merge(a, b)

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        return ExactSum().accumulate(state, *fields, valid=valid)


class InPlace(ExactSum):
    """Merges into what it was given."""

    def merge(self, a: State, b: State) -> State:
        a["sums"] += b["sums"]
        return a


class Overwrites(ExactSum):
    """Writes into the batch."""

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        return super().scatter(values.nan_to_num_(), valid=valid)


class Grows(ExactSum):
    """Keeps everything, in order of value."""

    def empty(self) -> State:
        return {"sums": torch.zeros(0)}

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        return {"sums": (fields[0] if valid is None else fields[0][valid]).sort().values}

    def merge(self, a: State, b: State) -> State:
        return {"sums": torch.cat([a["sums"], b["sums"]]).sort().values}

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        return self.merge(state, self.lift(*fields, valid=valid))

    def value(self, state: State) -> Tensor:
        return state["sums"]


class Restive(ExactSum):
    """Gives another value each time."""

    calls = 0

    def value(self, state: State) -> float:
        Restive.calls += 1
        return float(Restive.calls)


class Unequal(ExactSum):
    """Is equal to itself only."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Odd(Tensor):
    """A tensor that `weights_only=True` does not load."""


class Unsaved(ExactSum):
    """Has such a tensor for a state."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        return {"sums": super().lift(*fields, valid=valid)["sums"].as_subclass(Odd)}


class Waits(Extrema):
    """Picks numbers out by a mask."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        x, counted = fields[0], torch.ones(len(fields[0]), dtype=torch.bool) if valid is None else valid
        return super().lift(x[counted])


class Tied(TopK):
    """Lets the order decide among equal scores."""

    def merge(self, a: State, b: State) -> State:
        joined = {name: torch.cat([a[name], b[name]]) for name in ("key", "id")}
        place = joined["key"].argsort(descending=True, stable=True)[: self.k]
        return {name: tensor[place] for name, tensor in joined.items()}


class Places(RandomSample):
    """Keeps where in its batch each sample was."""

    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        return super().split(*fields, torch.arange(len(fields[0])))


IDS = st.tuples(st.permutations(range(4)).map(torch.tensor))
SOME = st.tuples(st.integers(0, 4).flatmap(floats32))
FEW = st.tuples(tensors(4, torch.int64, max_value=3).map(Tensor.float), st.permutations(range(4)).map(torch.tensor))
# The reduction, its fields, the law that is about its fault, and whether no other law is broken thereby.
WRONG_REDUCTIONS: list[tuple[Reduction, st.SearchStrategy[Any], str, bool]] = [
    (Biased(), SOME, "identity", False),
    (First(), SOME, "commutativity", False),
    (Tied(2), FEW, "commutativity", False),
    (FloatSum(), st.tuples(TENTHS), "associativity", False),
    (CountsBatches(), SOME, "cuts", False),
    (Positional(), SOME, "order", False),
    (NeverEmpty(), SOME, "empty_batch", False),
    (Padded(), SOME, "valid", False),
    (Twice(), SOME, "accumulate", True),
    (Unsynced(), SOME, "shards", True),
    (Places(4), IDS, "shards", False),
    (InPlace(), SOME, "inputs_unchanged", False),
    (Overwrites(), SOME, "inputs_unchanged", False),
    (Grows(), SOME, "fixed_shape", False),
    (Restive(), SOME, "value_is_pure", False),
    (Unequal(), SOME, "equality", True),
    (Unsaved(), SOME, "checkpoint", False),
    (Waits(), SOME, "no_host_wait", True),
]
ON_CPU = [law for law in REDUCTION_LAWS if law != "device"]


@pytest.mark.parametrize(("reduction", "fields", "law", "alone"), WRONG_REDUCTIONS, ids=str)
def test_a_wrong_reduction_is_refuted(
    reduction: Reduction, fields: st.SearchStrategy[Any], law: str, alone: bool
) -> None:
    """By the law that is about its fault, and where that is possible by no other."""
    with pytest.raises(LawViolation, match=f"law {law} is broken"):
        check_reduction(reduction, fields, laws=[law], examples=200)
    if alone:
        check_reduction(reduction, fields, laws=[other for other in ON_CPU if other != law], examples=10)


def test_what_wrote_into_a_state_is_told() -> None:
    """A merge, a look at the value, or an accumulation into what another merge gave."""

    class Empties(ExactSum):
        """Takes its numbers out when it is looked at."""

        def value(self, state: State) -> float:
            value = super().value(state)
            state["sums"].zero_()
            return value

    class Passes(ExactSum):
        """A merge with nothing gives the other state itself."""

        def merge(self, a: State, b: State) -> State:
            return a if not b["sums"].any() else super().merge(a, b)

    for reduction, words in (
        (InPlace(), "a state after it was merged and looked at, and before: the state's sums"),
        (Empties(), "a state after it was merged and looked at, and before: the state's sums"),
        (Passes(), "a state after a merge with it was accumulated into, and before: the state's sums"),
    ):
        finding = examine_reduction(reduction, SOME, laws=["inputs_unchanged"])["inputs_unchanged"]
        assert f"  found: {words}" in finding.message


def test_problems_are_the_same_twice() -> None:
    """As the value is."""

    class Grumbles(ExactSum):
        times = 0

        def problems(self, state: State) -> str:
            Grumbles.times += 1
            return f"found {Grumbles.times}"

    with pytest.raises(LawViolation, match=r"the problems, and the problems again: 'found \d+' and 'found \d+'"):
        check_reduction(Grumbles(), SOME, laws=["value_is_pure"])


def test_each_law_of_reductions_refutes_something() -> None:
    """No law is there that never fails; the device's has its own process."""
    assert {law for _, _, law, _ in WRONG_REDUCTIONS} == set(ON_CPU)


def test_a_broken_reduction_is_told_like_a_broken_metric() -> None:
    """Its name, the law, what it means, and the smallest example."""
    with pytest.raises(LawViolation) as failure:
        check_reduction(FloatSum(), st.tuples(TENTHS), laws=["associativity"], examples=200, seed=8)
    first, law, found, head, fields, parts, *_ = str(failure.value).splitlines()  # on a CI, how to have it again, too
    assert first.startswith("FloatSum(): the result depends on how merges are grouped")
    assert law == "  law associativity is broken"
    assert found.startswith("  found: merge(merge(a, b), c), and merge(a, merge(b, c)): the state's sums[0]: ")
    assert head == "  smallest example found:"
    assert fields.startswith("    fields = (float32 [")
    assert parts in ("    part of each sample = [0, 1, 2]", "    part of each sample = [0, 2, 1]")


# What is known


class Declares(MeanOfBatchMeans):
    """Says of itself what it breaks."""

    known_violations = {"batch_size": "a mean of batch means, issue 7"}  # noqa: RUF012


def test_what_is_known_to_be_broken_is_told_and_not_raised() -> None:
    """By `known=` or by the metric itself; each other law is held."""
    known = {"order": "the last one, issue 2022"}
    check_metric(Last, NUMBERS, laws=["order", "reset"], known=known)
    check_metric(Declares, NUMBERS, laws=["batch_size", "reset"])
    finding = examine_metric(Last, NUMBERS, laws=["order"], known=known)["order"]
    assert (finding.outcome, finding.how) == ("known", "value")
    assert finding.message.startswith(
        "known: the last one, issue 2022\nin another order of the same samples you report"
    )
    with pytest.raises(LawViolation, match="law batch_size is broken"):
        check_metric(MeanOfBatchMeans, NUMBERS, known=known)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"ordre": "ties"}, "'ordre' is no law, did you mean 'order'?"),
        ({"order": " "}, "={'order': ' '}, expected the reason in words, as 'ties, issue 7'"),
        (["order"], "=['order'], expected laws with reasons, as {'order': 'ties'}"),
    ],
)
def test_what_is_known_names_laws_and_reasons(said: Any, words: str) -> None:
    """In `known=` and in the attribute of a metric, or of what it contains."""

    class Says(Last):
        known_violations = said

    with pytest.raises(ValueError, match=re.escape(words)) as failure:
        check_metric(Last, NUMBERS, known=said)
    assert str(failure.value).startswith("known")
    for factory in (Says, lambda: MetricCollection([Says()])):
        with pytest.raises(ValueError, match=re.escape(words)) as failure:
            check_metric(factory, NUMBERS, laws=["reset"])
        assert str(failure.value).startswith("Says.known_violations")


def test_a_law_that_is_kept_though_it_is_known_is_an_error() -> None:
    """After all laws were tried; one that is broken comes first, and within a test of hypothesis nothing is said."""
    known = {"order": "ties, issue 7", "reset": "issue 8", "device": "on a GPU"}
    with pytest.raises(AssertionError) as failure:
        check_metric(Total, NUMBERS, laws=["order", "reset", "shards", "device"], known=known)
    assert str(failure.value) == (
        "law order is kept by Total, and known= says that it is broken (ties, issue 7): delete its entry, "
        "known={'order': ...}; law reset is kept by Total, and known= says that it is broken (issue 8): delete its "
        "entry, known={'reset': ...}"
    )
    assert not isinstance(failure.value, LawViolation)
    with pytest.raises(LawViolation, match="law order is broken"):
        check_metric(Last, NUMBERS, laws=["reset", "order"], known={"reset": "issue 8"})

    @settings(max_examples=2, deadline=None)
    @given(st.integers(1, 3))
    def outer(scale: int) -> None:
        check_metric(Total, NUMBERS, laws=["order"], known={"order": "for other arguments"}, examples=3)

    outer()


def test_what_is_known_and_does_not_happen_is_told() -> None:
    """So that a list of known faults does not outlive them."""
    finding = examine_metric(Total, NUMBERS, laws=["order"], known={"order": "issue 2022"}, examples=5)["order"]
    assert finding.outcome == "kept"
    assert finding.message == "said to be broken (issue 2022), but no example broke it"

    class Mended(Total):
        known_violations: ClassVar = {"order": "issue 2023"}

    finding = examine_metric(Mended, NUMBERS, laws=["order"], examples=5)["order"]
    assert finding.message == "said to be broken (issue 2023), but no example broke it"


def test_a_lambda_inside_is_told_and_breaks_no_law() -> None:
    """Python cannot pickle it, whatever a metric does."""
    usual = [law.name for law in METRIC_LAWS.selected(None)]
    findings = examine_metric(Unpicklable, NUMBERS, laws=usual, examples=5)
    assert [name for name, finding in findings.items() if finding.outcome not in ("kept", "not applicable")] == []
    for law in ("pickle_round_trip", "pickle_mid_epoch"):
        assert "<lambda>" in findings[law].message


def test_another_order_has_all_samples() -> None:
    """Both data sets of a counterexample hold the same numbers, however many batches there are."""
    with pytest.raises(LawViolation) as failure:
        check_metric(Last, NUMBERS.filter(lambda batches: len(batches) > 2), laws=["order"], seed=3)
    rows = dict(line.strip().split(" = ") for line in str(failure.value).splitlines() if " = [" in line)
    sorts = [sorted(re.findall(r"\d+\.\d", rows[name])) for name in ("batches", "in another order")]
    assert sorts[0] == sorts[1] != []
    assert rows["batches"] != rows["in another order"]


def test_values_of_each_sample_may_come_in_another_order() -> None:
    """As those of `CatMetric`, compared as multisets; the last one alone may not."""
    check_metric(CatMetric, NUMBERS, laws=["order"])
    with pytest.raises(LawViolation, match="law order is broken"):
        check_metric(Last, NUMBERS, laws=["order"])


def test_a_metric_that_writes_into_its_batch_is_not_blamed_for_another_law() -> None:
    """The law about that comes first, and in the others each use has data of its own."""
    with pytest.raises(LawViolation, match="law inputs_unchanged is broken"):
        check_metric(Clamped, NUMBERS)
    check_metric(Clamped, NUMBERS, laws=["batch_size", "order", "shards", "merge_state"])

    class Both(MeanOfBatchMeans):
        def update(self, x: Tensor) -> None:
            super().update(x.clamp_(max=5))

    with pytest.raises(LawViolation, match="law inputs_unchanged is broken"):
        check_metric(Both, NUMBERS, laws=["batch_size", "inputs_unchanged"])


def test_what_is_drawn_twice_under_one_name_is_shown_twice() -> None:
    """No draw hides another."""
    case = Case("batches", [(torch.ones(1),)], lambda strategy: 7)
    assert [case.draw("cut", st.just(7)) for _ in range(3)] == [7, 7, 7]
    assert case.drawn == {"batches": "[(float32 [1.0],)]", "cut": "7", "cut (2)": "7", "cut (3)": "7"}


def test_numbers_are_not_cut_off_below_2000() -> None:
    """Beyond, a tensor is shown by its shape; a text by its beginning and its length."""
    assert shown(torch.arange(2000)).endswith(" 1998, 1999]")
    assert shown([torch.zeros(2001), "a" * 2001]).startswith("[float32 tensor (2001,), 'aaa")
    assert shown("a" * 1998) == repr("a" * 1998)
    assert shown("a" * 3000).endswith("... (3002 characters)")


def test_rounding_is_told_from_a_fault_in_float64() -> None:
    """A correlation far from zero loses its digits in float32: known by none of them being lost in float64."""
    drawn = st.lists(st.integers(0, 255), min_size=3, max_size=6)
    numbers = drawn.map(lambda x: 10_000 + torch.tensor(x) / 256)
    pairs = numbers.flatmap(lambda x: st.permutations(range(len(x))).map(lambda p: (x, x[torch.tensor(p)])))
    batches = st.lists(pairs, min_size=1, max_size=3)
    options: Any = {"laws": ["batch_size"], "examples": 25}
    finding = examine_metric(PearsonCorrCoef, batches, exact=False, rtol=1e-4, **options)["batch_size"]
    assert finding.outcome == "rounding"
    assert "with floats of 32 bits the values differ" in finding.message
    check_metric(PearsonCorrCoef, batches, exact=False, rtol=1e-4, **options)
    with pytest.raises(LawViolation, match="law batch_size is broken"):
        check_metric(MeanOfBatchMeans, NUMBERS, exact=False, rtol=1e-4, laws=["batch_size"])


class FirstLacks(ExactSum):
    """A batch of nothing has no state."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        return super().lift(*fields, valid=valid) if len(fields[0]) else {}


class MarksValid(ExactSum):
    """Takes what is not a number for padding, in the caller's mask."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        lifted = super().lift(*fields, valid=valid)
        if valid is not None:
            valid.fill_(False)
        return lifted


class Strided(ExactSum):
    """A state with gaps."""

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        sums = super().lift(*fields, valid=valid)["sums"]
        return {"sums": torch.stack([sums, sums], dim=1)[:, 0]}


class LeftBiased(ExactSum):
    """Loses the first of two states where that is empty, and counts the other twice."""

    def merge(self, a: State, b: State) -> State:
        return super().merge(a if a["sums"].any() else b, b)


class BeginsTwice(ExactSum):
    """Counts the first batch of all twice."""

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        first = not state["sums"].any()
        return super().accumulate(self.lift(*fields) if first else state, *fields, valid=valid)


class LikeAll(ExactSum):
    """Is equal to anything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("reduction", "law", "told"),
    [
        (Restive(), "order", r": the value: \d+\.0 and \d+\.0"),
        (FirstLacks(), "empty_batch", "a state lacks sums"),
        (MarksValid(), "inputs_unchanged", "valid was changed"),
        (Strided(), "fixed_shape", "a tensor of the state is not contiguous"),
        (LikeAll(), "equality", "it is equal to anything"),
        (LeftBiased(), "identity", r"merge\(empty, s\), and s: the state's sums\["),
        (BeginsTwice(), "accumulate", r"accumulated into empty, and lifted: the state's sums\["),
    ],
)
def test_what_was_found_of_a_wrong_reduction(reduction: Reduction, law: str, told: str) -> None:
    """In words that say what to look for."""
    finding = examine_reduction(reduction, SOME, laws=[law])[law]
    assert finding.outcome == "broken"
    assert re.search(told, finding.message), finding.message


def test_without_a_second_device_the_law_about_it_says_nothing() -> None:
    """But how to have one."""
    if second_device() is not None:
        pytest.skip("there is a second device")
    finding = examine_reduction(ExactSum(), SOME, laws=["device"])["device"]
    assert finding.outcome == "not applicable"
    assert "lwcallbacks.testing.simulated_device() makes one" in finding.message


def test_payloads_are_only_asked_of_the_first_process() -> None:
    """Other processes have a choice without its pictures."""
    fields = st.tuples(tensors(4, torch.int64, max_value=3).map(Tensor.float), st.just(torch.arange(4)), tensors(4))
    batches = st.lists(fields, min_size=2, max_size=2)
    check_metric(lambda: ReductionMetric(TopK(2)), batches, laws=["shards", "empty_process"])


@needs_merge_state
def test_what_fails_with_new_metrics_alone_is_told_of_them_alone() -> None:
    """Merging two that saw data is a law of its own."""
    broken = violations_of_metric(MeanState, POSITIVE, laws=["merge_state", "merge_with_fresh"])
    assert list(broken) == ["merge_with_fresh"]
