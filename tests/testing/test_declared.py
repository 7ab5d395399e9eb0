"""What a metric of torchmetrics is by design is known, and hides no fault of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from support.wrong_metrics import POSITIVE, Mean, RandomHalf
from testing.test_laws_refute import NUMBERS
from torchmetrics import MeanSquaredError, MetricCollection, SumMetric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import CriticalSuccessIndex
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, Running

from lwcallbacks.testing import Finding, LawViolation, check_metric, examine_metric, tensors


def pictures(*shape: int, scale: float = 1.0) -> st.SearchStrategy[Any]:
    """Batches of one to three pairs of pictures, of tenths of which each batch has another scale."""

    def batch(n: int) -> st.SearchStrategy[Any]:
        pixels = tensors((n, *shape), torch.int64, max_value=10).map(lambda x: x / 10)
        return st.tuples(pixels, pixels)

    return st.lists(st.integers(1, 3).flatmap(batch), min_size=1, max_size=3)


def examined(factory: Callable[[], Any], batches: st.SearchStrategy[Any], *laws: str, n: int = 10) -> list[Finding]:
    found = examine_metric(factory, batches, laws=laws, exact=False, rtol=1e-3, atol=1e-4, examples=n)
    return [found[law] for law in laws]


PAIRS = NUMBERS.map(lambda batches: [(x, x * 0) for (x,) in batches])


def test_a_score_over_the_samples_of_a_batch_is_about_batches() -> None:
    """PeakSignalNoiseRatio with 0 in `dim`; without it, it is about samples, in any order."""
    batches = pictures(2, 2)
    [known] = examined(lambda: PeakSignalNoiseRatio(data_range=1.0, dim=0), batches, "batch_size")
    assert known.outcome == "known"
    assert known.message.startswith("known: PeakSignalNoiseRatio: dim contains 0, so a score is taken over the samples")

    def each() -> PeakSignalNoiseRatio:
        return PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2), reduction="none")

    assert [f.outcome for f in examined(each, batches, "batch_size", "order")] == ["kept", "kept"]


def test_a_range_that_is_taken_from_each_batch_is_about_batches() -> None:
    """StructuralSimilarityIndexMeasure without data_range; the message says what to give."""
    dim = st.tuples(*[tensors((1, 1, 11, 11), torch.int64, max_value=1).map(lambda x: x / 10)] * 2)
    bright = st.tuples(*[tensors((1, 1, 11, 11), torch.int64, max_value=10).map(lambda x: x / 1)] * 2)
    batches = st.tuples(dim, bright).map(list)
    [known] = examined(StructuralSimilarityIndexMeasure, batches, "batch_size", n=5)
    assert known.outcome == "known"
    assert "give data_range, as data_range=1.0" in known.message
    [kept] = examined(lambda: StructuralSimilarityIndexMeasure(data_range=10.0), batches, "batch_size", n=5)
    assert kept.outcome in ("kept", "rounding")


def test_a_sequence_along_the_samples_may_come_in_another_order() -> None:
    """CriticalSuccessIndex with keep_sequence_dim=0; with 1 it appends one for each batch: a fault."""
    sequences = pictures(3, 2)
    laws = ["batch_size", "order", "shards"]
    along = examined(lambda: CriticalSuccessIndex(0.5, keep_sequence_dim=0), sequences, *laws)
    assert {finding.outcome for finding in along} == {"kept"}
    [across] = examined(lambda: CriticalSuccessIndex(0.5, keep_sequence_dim=1), sequences, "batch_size")
    assert across.outcome == "broken"
    assert (
        "you report float32 of shape (6,) where one batch of all samples reports float32 of shape (3,)"
        in across.message
    )


def test_chance_excuses_another_value_and_no_lost_data() -> None:
    """BootStrapper draws in each update; that `forward` drops all batches but the last is another matter."""
    laws = ["repeatable", "compute_is_pure", "clone_is_independent", "pickle_round_trip", "forward_accumulates"]
    found = examined(lambda: BootStrapper(MeanSquaredError(), num_bootstraps=2), PAIRS, *laws)
    assert [finding.outcome for finding in found] == ["known", "kept", "kept", "kept", "broken"]


def test_what_is_declared_of_a_part_holds_for_the_whole() -> None:
    """A collection with a window in it."""
    [batch_size, reset] = examined(
        lambda: MetricCollection({"sum": SumMetric(), "last": Running(SumMetric(), window=1)}),
        NUMBERS,
        "batch_size",
        "reset",
    )
    assert (batch_size.outcome, reset.outcome) == ("known", "kept")


@pytest.mark.parametrize("law", ["reset", "state_dict_round_trip"])
def test_extremes_that_are_not_reset_are_a_fault(law: str) -> None:
    """MinMaxMetric is known for its computes alone."""
    [pure, fault] = examined(lambda: MinMaxMetric(MeanSquaredError()), PAIRS, "compute_is_pure", law)
    assert (pure.outcome, fault.outcome) == ("known", "broken")


def test_another_value_is_excused_and_no_exception() -> None:
    """What is by design ends no training."""

    class Raises(Running):
        def compute(self) -> Any:
            if self._num_vals_seen > 1:
                raise RuntimeError("no value")
            return super().compute()

    [finding] = examined(lambda: Raises(SumMetric(), window=1), NUMBERS.map(lambda batches: batches[:1]), "batch_size")
    assert (finding.outcome, finding.how) == ("broken", "exception")
    assert finding.message.startswith("in batches of ")
    assert "it raises RuntimeError: no value" in finding.message


def test_whoever_said_that_it_is_about_batches_has_said_that_it_draws() -> None:
    """What draws at random depends on the batch size, too: who declares that need not declare both."""

    class Says(RandomHalf):
        known_violations = {"batch_size": "a random half of each batch"}  # noqa: RUF012

    [finding] = examined(Says, POSITIVE, "repeatable")
    assert (finding.outcome, finding.how) == ("known", "value")
    assert finding.message.startswith(
        "known: a random half of each batch\nin a second new metric the same batches give"
    )
    laws = ["repeatable", "batch_size"]
    check_metric(Says, POSITIVE, laws=laws, examples=20)
    check_metric(RandomHalf, POSITIVE, laws=laws, known={"batch_size": "a random half"}, examples=20)
    with pytest.raises(LawViolation, match="law repeatable is broken"):
        check_metric(RandomHalf, POSITIVE, laws=laws, known={"order": "a random half"}, examples=20)
    known = {"batch_size": "so it is", "reset": "it is not"}
    found = examine_metric(Mean, NUMBERS, laws=["repeatable", "batch_size", "reset"], known=known, examples=5)
    assert {law: finding.message for law, finding in found.items()} == {
        "repeatable": "",  # nobody has said anything of it
        "batch_size": "said to be broken (so it is), but no example broke it",
        "reset": "said to be broken (it is not), but no example broke it",
    }
    [kept] = examined(lambda: Running(SumMetric(), window=1), NUMBERS, "repeatable")
    assert (kept.outcome, kept.message) == ("kept", "")
