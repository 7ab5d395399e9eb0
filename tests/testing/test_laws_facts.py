"""What the laws of `laws_of_state.py` and `laws_of_data.py` say beside a violation, and what they let pass."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from support.versions import needs_merge_state
from support.wrong_metrics import (
    LABELS,
    NUMBERS,
    POSITIVE,
    SCORES,
    Cells,
    Complete,
    CountsIn,
    DrainedByPickling,
    IntegersInList,
    Kept,
    Mean,
    OutOfPlace,
    OwnCache,
    PaddingCounted,
    PaddingIgnored,
    RandomHalf,
    ReducedBy,
    StepsDiffer,
    Sums,
)
from torch import Tensor
from torchmetrics import MaxMetric, MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
)

from lwcallbacks.testing import METRIC_LAWS, LawViolation, World, check_metric, examine_metric, tensors
from lwcallbacks.testing.examining import examine
from lwcallbacks.testing.held import copied_data, data_bytes, is_data
from lwcallbacks.testing.law import Broken, Case, Law, NotApplicable, Subject
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.same import plainly

SINGLES = NUMBERS.map(lambda batches: [(x[:1],) for (x,) in batches])


def finding(factory: Any, batches: st.SearchStrategy[Any], law: str, examples: int = 10) -> tuple[str, str]:
    found = examine_metric(factory, batches, laws=[law], examples=examples)[law]
    return found.outcome, found.message


def test_what_a_list_state_grows_by_is_a_fact() -> None:
    """Memory that is declared breaks no law, and is reported in bytes a sample."""
    fours = NUMBERS.map(lambda batches: [(x.repeat(4)[:4],) for (x,) in batches])
    for batches in (fours, SINGLES):
        assert finding(Kept, batches, "memory") == ("kept", "grows by 4 bytes a sample: Kept.seen, declared as growing")
    assert finding(Mean, fours, "memory") == ("kept", "")
    scalars = st.lists(st.tuples(st.floats(0, 1)), min_size=1, max_size=3)
    assert finding(MeanMetric, scalars, "memory") == ("kept", "")


def test_what_is_concatenated_is_declared_as_growing() -> None:
    """A tensor that says so, and a list whatever is done with it."""

    class Joined(Metric):
        full_state_update = False

        def __init__(self, default: Any, reduced: Any) -> None:
            super().__init__()
            self.add_state("seen", default, dist_reduce_fx=reduced)

        def update(self, x: Tensor) -> None:
            self.seen = [*self.seen, x] if isinstance(self.seen, list) else torch.cat([self.seen, x])

        def compute(self) -> Tensor:
            return (torch.cat(self.seen) if isinstance(self.seen, list) else self.seen).sum()

    for default, reduced in ((torch.zeros(0), "cat"), ([], None), ([], "cat")):
        found = finding(lambda default=default, reduced=reduced: Joined(default, reduced), SINGLES, "memory")
        assert found == ("kept", "grows by 4 bytes a sample: Joined.seen, declared as growing")


def test_a_strict_law_is_tried_where_it_is_named() -> None:
    """torchmetrics' own Metric breaks three, and the fourth is about data that the strategy does not give."""
    strict = {name for name, law in METRIC_LAWS.items() if law.strict}
    assert strict == {"checkpoint_unchanged", "stale_value", "update_count", "labels_in_range"}
    check_metric(Mean, NUMBERS, examples=3)
    for law in ("checkpoint_unchanged", "stale_value", "update_count"):
        with pytest.raises(LawViolation, match=law):
            check_metric(Mean, POSITIVE, laws=[law], examples=30)
        check_metric(Complete, POSITIVE, laws=[law], examples=30)


def test_a_list_state_keeps_the_batch_by_design() -> None:
    """So the law about buffers that are used again is tried where it is named, and nowhere else."""
    assert [name for name, law in METRIC_LAWS.items() if law.asked] == ["buffers_reused"]
    assert examine_metric(Kept, NUMBERS, examples=3).keys() == METRIC_LAWS.keys() - {"buffers_reused"}
    with pytest.raises(LawViolation, match="law buffers_reused is broken"):
        check_metric(Kept, NUMBERS, laws=["buffers_reused"])
    texts = st.just([(["a", "b"],), (["c"],)])
    assert finding(Told, texts, "buffers_reused") == ("kept", "")
    zeros = st.just([(torch.zeros(2),)])
    assert finding(Kept, zeros, "buffers_reused")[0] == "broken"
    boxes = st.just([([{"boxes": torch.ones(1, 4)}],)])
    assert finding(KeepsBoxes, boxes, "buffers_reused")[0] == "broken"


class Told(Sums):
    """Counts texts."""

    def __init__(self) -> None:
        super().__init__(total=torch.tensor(0))

    def update(self, texts: list[str]) -> None:
        self.total += len(texts)

    def compute(self) -> Tensor:
        return self.total


class KeepsBoxes(Kept):
    def update(self, preds: Any) -> None:  # type: ignore[override]
        self.seen += [image["boxes"] for image in preds]


def test_a_list_of_the_class_is_told_where_no_value_says_it() -> None:
    """A list that each new metric empties: two that live at once share it. One that is a cache alone breaks no law."""
    with pytest.raises(LawViolation) as failure:
        check_metric(EmptiedByTheNext, POSITIVE, laws=["repeatable", "instances_are_independent"])
    first, law, *_ = str(failure.value).splitlines()
    assert "until the other saw data: both hold EmptiedByTheNext.seen, a list of its class, which all" in first
    assert law.startswith("  law instances_are_independent is broken")
    check_metric(Cached, POSITIVE, examples=5)
    _, message = finding(CountsLooks, POSITIVE, "repeatable")
    assert "both hold CountsLooks.looks, a list of its class, which all metrics of it share" in message
    _, message = finding(RandomHalf, POSITIVE, "repeatable", examples=50)
    assert "in a second new metric the same batches give" in message
    assert "both hold" not in message


class EmptiedByTheNext(Metric):
    full_state_update = True
    seen: list[Tensor] = []  # noqa: RUF012, the mistake

    def __init__(self) -> None:
        super().__init__()
        self.seen.clear()

    def update(self, x: Tensor) -> None:
        self.seen.append(x)

    def compute(self) -> Tensor:
        return torch.cat(self.seen).sum()


class CountsLooks(Mean):
    """Is changed by each look at a value, its own or another's."""

    looks: list[int] = []  # noqa: RUF012, the mistake

    def compute(self) -> Tensor:
        self.looks.append(1)
        return super().compute() + len(self.looks)


def test_an_example_says_what_processes_read_wrongly() -> None:
    """Where a process gets the bits of integers as floats, beside the batches."""

    class Int32InList(Kept):
        def update(self, x: Tensor) -> None:
            self.seen.append(x.int())

    outcome, message = finding(Int32InList, POSITIVE, "empty_process")
    assert outcome == "broken"
    assert "    read as numbers of one's own dtype = state 'seen': process 0 gathers float32 with 1 dim" in message


class Cached(Mean):
    """Remembers for all its metrics how long batches were, which is in no value."""

    lengths: dict[int, str] = {}  # noqa: RUF012

    def update(self, x: Tensor) -> None:
        self.lengths[len(x)] = "seen"
        super().update(x)


@needs_merge_state
def test_a_value_from_before_is_told_of_loading_first() -> None:
    """With both values."""
    _, message = finding(Mean, POSITIVE, "stale_value")
    assert message.startswith("after load_state_dict you still report ")


def test_a_value_from_before_is_told_of_merging_too() -> None:
    """A metric that forgets its value when it is loaded may keep it when another is merged."""

    class LoadsWell(Complete):
        def merge_state(self, incoming_state: Any) -> None:
            Metric.merge_state(self, incoming_state)

    outcome, message = finding(LoadsWell, POSITIVE, "stale_value", examples=50)
    assert outcome == "broken"
    assert "after merge_state you still report" in message
    outcome, message = finding(LoadsWell, NUMBERS, "update_count")
    assert "after merging update_count is [1] where the two had seen [2] together" in message


def test_what_cannot_be_merged_is_no_violation() -> None:
    """Three laws do not apply, and the two that also are about checkpoints are kept."""

    class Whole(Complete):
        full_state_update = True

        def merge_state(self, incoming_state: Any) -> None:
            raise NotImplementedError("merging is not supported")

    for law in ("merge_with_fresh", "merge_after_compute"):
        assert finding(Whole, NUMBERS, law) == ("not applicable", "merging is not supported")
    for law in ("stale_value", "update_count"):
        assert finding(Whole, NUMBERS, law) == ("kept", "")

    class Fails(Complete):
        def merge_state(self, incoming_state: Any) -> None:
            raise RuntimeError("shapes do not fit")

    outcome, message = finding(Fails, NUMBERS, "merge_with_fresh")
    assert outcome == "broken"
    assert "shapes do not fit" in message


@needs_merge_state
def test_two_new_metrics_merge_to_a_new_one() -> None:
    """They report what one new metric reports, and go on as one."""

    class Counts(OutOfPlace):
        def merge_state(self, incoming_state: Any) -> None:
            if self.number == 0 and incoming_state.number == 0:
                self.spoil()
            else:
                super().merge_state(incoming_state)

    class Reports(Counts):
        def spoil(self) -> None:
            self.total, self.number = torch.tensor(1.0), torch.tensor(1)

    class Raises(Counts):
        def spoil(self) -> None:
            self.total = torch.zeros(2, 3) @ torch.zeros(3, 2)
            self.number = torch.zeros(3)

    class Later(Counts):
        def spoil(self) -> None:
            self.offset = 1

        def update(self, x: Tensor) -> None:
            super().update(x + getattr(self, "offset", 0))

    for metric, words in (
        (Reports, "merged from two that saw nothing you report 1 where one new metric reports nan"),
        (Raises, "two new metrics, merged: compute raises RuntimeError where that of one new metric reports"),
        (Later, "merged from two that saw nothing, then updated, you report"),
    ):
        outcome, message = finding(metric, NUMBERS, "merge_with_fresh")
        assert outcome == "broken"
        assert words in message

    class Spoilt(OutOfPlace):
        """A metric without data leaves a mark on what it is merged into."""

        def merge_state(self, incoming_state: Any) -> None:
            super().merge_state(incoming_state)
            if incoming_state.number == 0 and self.number > 0:
                self.total = self.total + 1

    class Unready(OutOfPlace):
        """Knows only after an update that there is something."""

        ready = False

        def update(self, x: Tensor) -> None:
            self.ready = True
            super().update(x)

        def compute(self) -> Tensor:
            if not self.ready:
                raise ValueError("no data")
            return super().compute()

    for metric, words in (
        (Spoilt, "after merging a metric that saw no data you report"),
        (Unready, "merged into a new metric: compute raises ValueError where the data alone gives 0"),
    ):
        outcome, message = finding(metric, NUMBERS, "merge_with_fresh")
        assert outcome == "broken"
        assert words in message

    class Refuses(Kept):
        def compute(self) -> Tensor:
            if not len(self.seen):
                raise ValueError("no data")
            return super().compute()

    assert finding(Refuses, NUMBERS, "merge_with_fresh") == ("kept", "")


@needs_merge_state
def test_merging_takes_what_is_there_and_not_what_was_reported() -> None:
    """Of the one that is merged, and of the one that goes on."""

    class TakesReported(OwnCache):
        def merge_state(self, incoming_state: Any) -> None:
            reported = incoming_state.remembered
            super().merge_state(incoming_state)
            if reported is not None:
                self.total = self.total + reported
            self.remembered = None

    class Closed(OutOfPlace):
        """Takes nothing more, once it was asked and merged."""

        asked = closed = False

        def compute(self) -> Tensor:
            self.asked = True
            return super().compute()

        def merge_state(self, incoming_state: Any) -> None:
            super().merge_state(incoming_state)
            self.closed = self.asked

        def update(self, x: Tensor) -> None:
            if not self.closed:
                super().update(x)

    class Unmerged(OutOfPlace):
        """As a metric of an older torchmetrics."""

        @property
        def merge_state(self) -> Any:
            raise AttributeError

    for metric, words in (
        (TakesReported, "asked for a value before it is merged, a metric reports"),
        (Closed, "asked before and after merging, then updated, a metric reports"),
    ):
        outcome, message = finding(metric, POSITIVE, "merge_after_compute", examples=50)
        assert outcome == "broken"
        assert words in message
    assert finding(Unmerged, NUMBERS, "merge_with_fresh") == ("not applicable", "it has no merge_state")


def test_a_restart_goes_on_where_the_run_was() -> None:
    """What comes after the checkpoint counts, in a metric that was in use before it."""

    class OnlyOnce(Mean):
        """Ignores what comes after it was loaded."""

        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            self.loaded = True

        def update(self, x: Tensor) -> None:
            if not self.__dict__.get("loaded"):
                super().update(x)

    outcome, message = finding(OnlyOnce, NUMBERS, "load_replaces", examples=50)
    assert outcome == "broken"
    assert "after a restart from a checkpoint you report" in message
    assert "where an uninterrupted run reports" in message


def test_what_came_first_before_the_checkpoint_was_loaded_is_forgotten() -> None:
    """As what came last is: the data from before differs at both ends."""

    class FromTheFirst(OutOfPlace):
        """Counts from the first number that it saw, and does not forget that."""

        start: float | None = None

        def update(self, x: Tensor) -> None:
            if self.start is None:
                self.start = float(x[0])
            super().update(x - self.start)

        def compute(self) -> Tensor:
            return self.total + self.number * (self.start or 0)

    outcome, message = finding(FromTheFirst, POSITIVE, "load_replaces", examples=50)
    assert outcome == "broken"
    assert "after loading a checkpoint into a metric in use you report" in message


def test_the_checkpoint_serves_twice() -> None:
    """Also where what it is loaded into writes to it in a way that cannot be seen in it."""

    class Claims(OutOfPlace):
        """The first that is loaded takes it."""

        claimed = False

        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            if Claims.claimed:
                self.total = self.total + 1
            Claims.claimed = True

    outcome, message = finding(Claims, NUMBERS, "checkpoint_unchanged", examples=2)
    assert outcome == "broken"
    assert "loaded a second time from one checkpoint you report" in message


def test_pickling_leaves_the_original_alone() -> None:
    """What is sent is a copy, and what stays goes on; steps after the move are those that would have been."""

    outcome, message = finding(DrainedByPickling, POSITIVE, "pickle_mid_epoch", examples=50)
    assert outcome == "broken"
    assert "once a copy of it was pickled, the metric itself reports" in message
    outcome, message = finding(StepsDiffer, POSITIVE, "pickle_mid_epoch", examples=50)
    assert outcome == "broken"
    assert "pickled in mid-epoch, a step reports" in message


class Locked(OutOfPlace):
    """Holds what cannot be sent, and does not leave it out."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def test_a_metric_that_cannot_be_sent_is_refuted() -> None:
    """Unless it is for a lambda, or for a class that has no place in a module."""
    outcome, message = finding(Locked, NUMBERS, "pickle_round_trip", examples=2)
    assert outcome == "broken"
    assert message.startswith("when pickled it raises TypeError: cannot pickle '_thread.lock' object")


def test_a_metric_made_later_is_as_good_as_the_first() -> None:
    """State that the class keeps for whoever comes next is found, though the first ones do not see it."""
    seen: list[int] = []

    class Passes(OutOfPlace):
        """Begins with what others of its class have counted."""

        def __init__(self) -> None:
            super().__init__()
            self.bonus = len(seen)

        def update(self, x: Tensor) -> None:
            super().update(x)
            seen.append(1)

        def compute(self) -> Tensor:
            return self.total + self.bonus

    outcome, message = finding(Passes, NUMBERS, "instances_are_independent")
    assert outcome == "broken"
    assert "made after another metric of its class you report" in message


def test_a_metric_made_earlier_does_not_hear_of_later_ones() -> None:
    """State that one metric writes into others is found, though those that come later begin well."""
    made: list[Any] = []

    class Tells(OutOfPlace):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

        def update(self, x: Tensor) -> None:
            super().update(x)
            for other in made[:-1]:
                other.total = other.total + 1

    outcome, message = finding(Tells, NUMBERS, "instances_are_independent", examples=3)
    assert outcome == "broken"
    assert "beside another metric of its class you report" in message


def test_reset_restores_what_is_no_state_too() -> None:
    """Lists, numbers and arrays; but not what only was learnt of a shape, nor functions and modules."""

    class Learns(OutOfPlace):
        def update(self, x: Tensor) -> None:
            self.shape = torch.zeros(0, 3)
            self.help = lambda: x
            super().update(x)

    assert finding(Learns, NUMBERS, "reset_is_fresh") == ("kept", "")

    for value in (np.ones(2), [torch.ones(2)], {"a": 1.0}, "text", deque([1])):

        class Leaves(OutOfPlace):
            left: Any = None

            def update(self, x: Tensor, value: Any = value) -> None:
                self.left = value
                super().update(x)

        outcome, message = finding(Leaves, NUMBERS, "reset_is_fresh", examples=3)
        assert outcome == "broken"
        assert "after reset Leaves.left is not as in a metric that was just made" in message


def test_only_what_works_in_float64_is_tried_in_it() -> None:
    """A metric that refuses float64 states is not refuted by that."""

    class Single(OutOfPlace):
        def update(self, x: Tensor) -> None:
            if self.total.dtype != torch.float32:
                raise TypeError("float32 only")
            super().update(x)

    assert finding(Single, NUMBERS, "reset_is_fresh") == ("kept", "")


def test_buffers_and_parameters_are_tried_in_float64_too() -> None:
    """Rounding is rounding where a metric holds a module."""

    class Weighs(OutOfPlace):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(1, 1, bias=False).requires_grad_(False)
            self.inner.weight.fill_(0.1)
            self.inner.register_buffer("scale", torch.tensor([[0.3]]))
            self.inner.register_buffer("none", None)

        def update(self, x: Tensor) -> None:
            scaled = torch.nn.functional.linear(x[:, None] / 3, self.inner.scale)  # which takes no two dtypes
            super().update(self.inner(scaled))

    found = examine_metric(Weighs, NUMBERS, laws=["batch_size"], exact=False, rtol=1e-9, examples=100)["batch_size"]
    assert found.outcome == "rounding", found.message


def test_a_law_may_find_no_example_that_fits() -> None:
    """Where parts of the data alone have no value: nothing is said of the law."""

    class Two(Mean):
        def compute(self) -> Tensor:
            if self.number < 4:
                raise ValueError("four samples at least")
            return super().compute()

    threes = st.just([(torch.tensor([1.0, 2.0, 3.0]),), (torch.tensor([4.0]),)])
    outcome, message = finding(Two, threes, "stale_value")
    assert outcome == "not applicable"
    assert message == "no example fits: there are too few samples, or a part of them alone has no value"


def test_an_inner_metric_is_reset_too() -> None:
    """Of a wrapper, what is inside must be as it was."""

    class Around(OutOfPlace):
        def __init__(self) -> None:
            super().__init__()
            self.inner = MeanMetric()

        def update(self, x: Tensor) -> None:
            self.inner.update(x)
            super().update(x)

    outcome, message = finding(Around, NUMBERS, "reset_is_fresh")
    assert outcome == "broken"
    assert "after reset MeanMetric." in message


def test_a_synced_step_is_that_of_all_processes() -> None:
    """A metric that cannot be synced at all is left to the law about shares; the epoch counts as well as the steps."""
    assert finding(IntegersInList, SINGLES, "sync_on_step") == ("kept", "")

    class Unsyncable(Sums):
        def __init__(self) -> None:
            super().__init__(seen=[])

        def update(self, x: Tensor) -> None:
            self.seen.append(x)

        def compute(self) -> Tensor:
            return torch.cat(self.seen).sum()

    assert finding(Unsyncable, NUMBERS, "sync_on_step") == ("kept", "")

    class OnStepOnly(OutOfPlace):
        """Fails where a step is synced, and there alone."""

        def forward(self, x: Tensor) -> Tensor:
            if self.dist_sync_on_step:
                raise ValueError("not with dist_sync_on_step")
            return super().forward(x)

    outcome, message = finding(OnStepOnly, NUMBERS, "sync_on_step")
    assert outcome == "broken"
    assert "not with dist_sync_on_step" in message

    class EpochLost(OutOfPlace):
        def forward(self, x: Tensor) -> Tensor:
            step = super().forward(x)
            if self.dist_sync_on_step:
                self.number = self.number + 1
            return step

    outcome, message = finding(EpochLost, POSITIVE, "sync_on_step")
    assert outcome == "broken"
    assert "with dist_sync_on_step=True on 2 processes, the epoch reports" in message


def test_something_is_done_on_each_process() -> None:
    """`World.each` calls with the metric and the rank, and lets metrics gather from each other."""
    metrics = [MeanMetric(), MeanMetric()]
    for rank, metric in enumerate(metrics):
        metric.update(float(rank))

    def both(metric: Any, rank: int) -> tuple[int, float]:
        return rank, float(metric.compute())

    assert World(2).each(metrics, both) == [(0, 0.5), (1, 0.5)]


def test_a_long_epoch_is_left_to_what_adds_up() -> None:
    """Without a sum the law does not apply; sums that do not grow, or not evenly, are left alone."""
    for metric in (Kept, MaxMetric):
        outcome, message = finding(metric, NUMBERS, "no_saturation")
        assert (outcome, message) == ("not applicable", "it has no state that is merged as a sum")
    zeros = st.lists(st.tuples(st.just(torch.zeros(2))), min_size=1, max_size=2)
    assert finding(lambda: CountsIn(torch.int8), zeros, "no_saturation") == ("kept", "")

    class Uneven(Sums):
        def __init__(self) -> None:
            super().__init__(squares=torch.tensor(0, dtype=torch.int16))

        def update(self, x: Tensor) -> None:
            self.squares += (self.squares + 1).clamp(max=100)

        def compute(self) -> Tensor:
            return self.squares

    assert finding(Uneven, NUMBERS, "no_saturation") == ("kept", "")
    mixed = MetricCollection([MulticlassAccuracy(3), MulticlassConfusionMatrix(3)])
    assert finding(mixed.clone, SCORES, "no_saturation") == ("kept", "")


def test_a_value_of_more_than_sums_is_not_made_up() -> None:
    """Where a metric keeps something beside its sums, a million batches cannot be put in its place."""

    class Beside(Sums):
        def __init__(self) -> None:
            super().__init__(number=torch.tensor(0))
            self.beside = np.zeros(0)

        def update(self, x: Tensor) -> None:
            self.number += len(x)
            self.beside = np.append(self.beside, x.numpy())

        def compute(self) -> Tensor:
            return torch.tensor(self.beside.sum()) / self.number

    assert finding(Beside, POSITIVE, "no_saturation") == ("kept", "")


def test_a_long_epoch_is_as_long_as_it_says() -> None:
    """The number of batches that is reported is where the type ends."""
    ones = st.just([(torch.ones(1),)])
    for dtype, number in ((torch.int8, 127), (torch.uint8, 255), (torch.int16, 2**15 - 1), (torch.float16, 2048)):
        outcome, message = finding(lambda dtype=dtype: CountsIn(dtype), ones, "no_saturation", examples=2)
        assert outcome == "broken"
        assert f"after {number} batches" in message
    for dtype in (torch.int32, torch.float32):
        assert finding(lambda dtype=dtype: CountsIn(dtype), ones, "no_saturation", examples=2) == ("kept", "")
    assert finding(lambda: ReducedBy("sum"), ones, "no_saturation", examples=2) == ("kept", "")


def test_what_grows_only_later_is_no_narrow_type() -> None:
    """A metric that leaves out the beginning of an epoch adds nothing at first, and loses nothing later."""

    class AfterTheFirst(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, x: Tensor) -> None:
            self.seen += len(x)
            if self.seen > 100:
                super().update(x)

    assert finding(AfterTheFirst, POSITIVE, "no_saturation") == ("kept", "")


def test_a_state_that_is_widened_in_time_is_wide_enough() -> None:
    """A metric may count in 8 bits for as long as the number fits."""

    class Widened(CountsIn):
        def __init__(self) -> None:
            super().__init__(torch.int8)

        def update(self, x: Tensor) -> None:
            total = self.total.long() + x.sum().long()
            self.total = total if total > 127 else total.to(torch.int8)

    assert finding(Widened, POSITIVE, "no_saturation") == ("kept", "")


def test_labels_are_known_where_the_metric_says_how_many_there_are() -> None:
    """By num_classes, num_labels or threshold; and only integers that are in range count as labels."""
    outcome, message = finding(Mean, NUMBERS, "labels_in_range")
    assert outcome == "not applicable"
    assert message.startswith("it has no num_classes, num_labels or threshold")
    pairs = st.just([(torch.tensor([0.2, 0.8, 0.6]), torch.tensor([0, 1, 1]))])
    assert finding(BinaryAccuracy, pairs, "labels_in_range") == ("kept", "")

    class Share(Mean):
        def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
            super().update((targets == (preds > 0.5)).float())

    for name, value, classes in (
        ("threshold", 0.5, 2),
        ("threshold", None, 2),
        ("num_labels", 3, 2),
        ("n_classes", 4, 4),
        ("num_classes", 2, 2),
    ):
        known = type("Known", (Share,), {name: value})
        outcome, message = finding(known, pairs, "labels_in_range", examples=50)
        assert outcome == "broken"
        assert f"with a label {classes} beside {classes} classes you report" in message
    for name, value in (("num_classes", None), ("num_classes", 0), ("num_labels", None)):
        unknown = type("Unknown", (Share,), {name: value})
        assert finding(unknown, pairs, "labels_in_range")[0] == "not applicable"
    one = LABELS.map(lambda batches: [(preds[:1], targets[:1]) for preds, targets in batches[:1]])
    assert finding(Cells, one, "labels_in_range") == ("kept", "")
    floats = LABELS.map(lambda batches: [(preds.float(), targets.float()) for preds, targets in batches])
    assert finding(PaddingCounted, floats, "labels_in_range") == ("kept", "")
    other = LABELS.map(lambda batches: [(preds + 3, targets + 3) for preds, targets in batches])
    padded = st.just([(torch.tensor([0, 3]), torch.tensor([3, 1]))])
    assert finding(PaddingCounted, padded, "labels_in_range", examples=50) == ("kept", "")
    assert finding(PaddingCounted, other, "labels_in_range") == ("kept", "")


def test_only_labels_are_planted() -> None:
    """Not into texts, numbers of a batch, floats and truth values."""

    class Mixed(PaddingIgnored):
        def update(self, preds: Tensor, targets: Tensor, *others: Any) -> None:
            right = [torch.tensor(1), "text", True, torch.ones(len(preds)), torch.ones(len(preds)).bool()]
            assert [str(other) for other in others] == [str(other) for other in right]
            super().update(preds, targets)

    def with_others(batches: Any) -> Any:
        return [
            (*args, torch.tensor(1), "text", True, torch.ones(len(args[0])), torch.ones(len(args[0])).bool())
            for args in batches
        ]

    assert finding(Mixed, LABELS.map(with_others), "labels_in_range", examples=50) == ("kept", "")


def test_parts_of_an_example_have_a_value_or_it_is_passed_over() -> None:
    """Each batch alone, all up to it, and all from it on."""

    class NeedsTwo(MeanMetric):
        def compute(self) -> Tensor:
            if self.weight < 2:
                raise ValueError("two samples at least")
            return super().compute()

    def defined(*sizes: int) -> bool:
        case = Case("batches", [(torch.ones(n),) for n in sizes], lambda strategy: None)
        return MetricSubject(NeedsTwo, None).defined_in_parts(case)

    assert defined(2)
    assert defined(2, 3, 2)
    for sizes in ((1,), (1, 2), (2, 1), (2, 1, 2), (2, 2, 1), (1, 2, 2)):
        assert not defined(*sizes)


def test_a_metric_may_have_one_class() -> None:
    """Then label 1 is none."""

    class Same(Mean):
        num_classes = 1

        def update(self, preds: Tensor, targets: Tensor) -> None:  # type: ignore[override]
            super().update((preds == targets).float())

    zeros = st.just([(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))])
    outcome, message = finding(Same, zeros, "labels_in_range", examples=50)
    assert outcome == "broken"
    assert "with a label 1 beside 1 classes you report 0.5 where the other samples give 1" in message


def test_a_value_may_be_numbers_and_texts_of_python() -> None:
    """The law about labels applies to it."""

    class Reported(PaddingIgnored):
        def compute(self) -> Any:
            return {"share": float(super().compute()), "of": ("kept", [int(self.number) > 0])}

    assert finding(Reported, LABELS, "labels_in_range", examples=20) == ("kept", "")


def test_a_value_for_each_sample_has_no_place_for_a_sample_less() -> None:
    """The law about labels does not apply to it."""

    class Each(Sums):
        num_classes = 3

        def __init__(self) -> None:
            super().__init__(right=[])

        def update(self, preds: Tensor, targets: Tensor) -> None:
            self.right.append((preds == targets).float())

        def compute(self) -> Any:
            return {"each": [torch.cat(list(self.right))]}

    outcome, message = finding(Each, LABELS, "labels_in_range", examples=50)
    assert (outcome, message) == ("not applicable", "its value has a part for each sample")


def test_a_label_is_said_to_be_another_where_only_one_gives_the_same() -> None:
    """Else it is said to count."""

    class Last(Cells):
        def update(self, preds: Tensor, targets: Tensor) -> None:
            super().update(preds.clamp(0, 2), targets.clamp(0, 2))

    _, message = finding(Last, LABELS, "labels_in_range", examples=50)
    assert "with a label 3 beside 3 classes you report" in message
    assert "it counts, as if it were 2" in message
    _, message = finding(Cells, LABELS, "labels_in_range", examples=50)
    assert "it counts" in message
    assert "as if" not in message


def test_a_label_that_is_refused_is_none_that_counts() -> None:
    """Where the metric takes some classes and not others."""

    class Choosy(Cells):
        def update(self, preds: Tensor, targets: Tensor) -> None:
            if 0 in targets:
                raise ValueError("no class 0, please")
            super().update(preds.clamp(0, 2), targets.clamp(0, 2))

    some = LABELS.map(lambda batches: [(preds, targets.clamp(1, 2)) for preds, targets in batches])
    _, message = finding(Choosy, some, "labels_in_range", examples=50)
    assert "it counts, as if it were 2" in message


def test_what_an_attribute_holds() -> None:
    """Data is numbers, text, tensors and arrays, in containers too; what it takes is counted without them."""
    data = [1, 2.0, "four", torch.ones(3), np.ones(2), {"a": deque([True])}, (None, b"12"), {3}]
    assert is_data(data)
    assert not is_data([print])
    assert not is_data({"a": (torch.nn.Linear(1, 1),)})
    assert data_bytes(data) == 8 + 8 + 4 + 12 + 16 + (1 + 8) + 2 + 8
    assert data_bytes(print) == data_bytes(None) == 0
    inner = torch.zeros(1)
    held: dict[str, Any] = {"a": [inner, (inner,)], "b": np.zeros(1)}
    copied = copied_data(held)
    inner += 1
    held["b"] += 1
    assert copied == {"a": [torch.zeros(1), [torch.zeros(1)]], "b": np.zeros(1)}


def test_numbers_are_shown_as_a_person_reads_them() -> None:
    """Six digits, or as many as tell two numbers apart; whatever is no number as the kit shows it."""
    assert plainly(torch.tensor(1 / 3)) == "0.333333"
    assert plainly(0.25) == "0.25"
    assert plainly(torch.tensor(7)) == "7"
    assert plainly(torch.tensor([1])) == "int64 [1]"

    class Nearly(Mean):
        """Another value by less than six digits show."""

        calls = 0

        def __deepcopy__(self, memo: Any) -> Any:
            raise NotImplementedError

        def reset(self) -> None:
            super().reset()

        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            self.total = self.total * (1 + 2e-7)

    _, message = finding(Nearly, POSITIVE, "load_replaces")
    assert "you report 1.0000002 where the run that saved it reported 1\n" in message


def test_a_tolerance_is_kept_by_the_laws_about_state() -> None:
    """What is within it is no violation."""

    class Nearly(Mean):
        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            self.total = self.total * (1 + 2e-7)

    check_metric(Nearly, POSITIVE, laws=["load_replaces"], exact=False, rtol=1e-5, examples=10)
    with pytest.raises(LawViolation):
        check_metric(Nearly, POSITIVE, laws=["load_replaces"], examples=10)


def test_whole_samples_are_planted() -> None:
    """A label that is none fills all of a sample; the others stay as they are."""

    class Pixels(Cells):
        planted: Any = None

        def update(self, preds: Tensor, targets: Tensor) -> None:
            bad = ((targets < 0) | (targets > 2)) | ((preds < 0) | (preds > 2))
            if bad.any():
                assert bad.flatten(1).all(1).sum() == 1
                assert bad.sum() == bad[0].numel()
            super().update(preds[~bad], targets[~bad])

    images = st.lists(st.tuples(*[tensors((2, 2, 2), torch.uint8, max_value=2)] * 2), min_size=1, max_size=2)
    assert finding(Pixels, images, "labels_in_range", examples=50) == ("kept", "")


def test_a_law_that_says_nothing_is_tried_once() -> None:
    """And one that was found broken is not excused by a smaller example of which it says nothing."""
    tried: list[int] = []

    def law(name: str, holds: Any) -> Law[Any]:
        return Law(name, "it is wrong", lambda subject, case: holds(case.sample))

    def says_nothing(sample: int) -> None:
        tried.append(sample)
        raise NotApplicable("nothing to say")

    options: dict[str, Any] = {"name": "n", "examples": 50, "seed": None}
    assert examine(law("quiet", says_nothing), Subject(), st.integers(0, 99), **options).outcome == "not applicable"
    assert len(tried) == 1

    for error in (Broken("large"), ValueError("large")):

        def large_is_broken(sample: int, error: Exception = error) -> None:
            if sample > 45:
                raise error
            if sample > 40:
                raise NotApplicable("nothing to say")

        found = examine(law("large", large_is_broken), Subject(), st.integers(0, 10_000), **options)
        assert found.outcome == "broken"
        assert "n = 46" in found.message


def test_of_two_faults_one_is_told() -> None:
    """As it was raised, with its own smallest example."""

    def holds(subject: Subject, case: Case) -> None:
        if case.sample > 45:
            raise KeyError("large")
        if case.sample > 5:
            raise ValueError("middling")

    found = examine(Law("small", "it is wrong", holds), Subject(), st.integers(0, 99), name="n", examples=50, seed=None)
    told = found.message.splitlines()
    assert told[2:5] in (
        ["  found: raised KeyError: 'large'", "  smallest example found:", "    n = 46"],
        ["  found: raised ValueError: middling", "  smallest example found:", "    n = 6"],
    )


def test_laws_whose_verdict_hardly_depends_on_data_try_half() -> None:
    """But no fewer than 20, where so many are asked for."""
    assert [METRIC_LAWS["reset"].examples(number) for number in (1, 20, 30, 50, 1500)] == [1, 20, 20, 25, 750]
    assert METRIC_LAWS["order"].examples(50) == 50
