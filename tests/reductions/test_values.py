"""What a reduction's value is, by oracles that share no code with it: fsum, fractions, numpy, sorting by hand."""

from __future__ import annotations

import math
import os
from collections import Counter
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lwcallbacks.reductions import (
    ConfusionCounts,
    Derived,
    ExactMean,
    ExactSum,
    Extrema,
    First,
    LogHistogram,
    MinMax,
    PerClass,
    PerGroup,
    Product,
    RandomSample,
    TopK,
    accuracy,
    macro_f1,
    mean_iou,
    micro_f1,
    psnr,
)
from lwcallbacks.reductions.floats import from_orderable, orderable, ratio
from lwcallbacks.reductions.hashing import content_ids, splitmix64
from lwcallbacks.testing import floats32, tensors

SIZES = st.integers(0, 12)
FINITE = floats32(SIZES, nan=False, infinite=False)
ANY = floats32(SIZES)
many = settings(
    max_examples=int(os.environ.get("LWCALLBACKS_EXAMPLES", "100")), deadline=None, derandomize=True, database=None
)
NAN, INF = float("nan"), float("inf")


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))


# Sums and means


@many
@given(FINITE)
def test_a_sum_is_that_of_fsum(x: Tensor) -> None:
    """The correctly rounded sum, as Python's own exact summation has it."""
    assert ExactSum().value(ExactSum().lift(x)) == math.fsum(x.tolist())


@many
@given(FINITE)
def test_a_mean_is_the_float_nearest_to_the_true_mean(x: Tensor) -> None:
    """A fraction of exact integers, rounded once."""
    found = ExactMean().value(ExactMean().lift(x))
    if len(x):
        assert found == float(sum(map(Fraction, x.tolist())) / len(x))
    else:
        assert math.isnan(found)


@many
@given(tensors((6, 2), nan=False, infinite=False, huge=False))
def test_a_weighted_mean_is_the_ratio_of_exact_sums(pairs: Tensor) -> None:
    """Products are rounded to float32, all else is exact."""
    x, weights = pairs.unbind(1)
    total = sum(map(Fraction, weights.tolist()))
    found = ExactMean().value(ExactMean().lift(x, weights))
    if total:
        assert found == float(sum(map(Fraction, (x * weights).tolist())) / total)
    else:
        assert math.isnan(found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), 0.0),
        ((NAN, 1.0), NAN),
        ((INF, 1.0), INF),
        ((-INF, 1.0), -INF),
        ((INF, -INF), NAN),
        ((3.0e38, 3.0e38, -3.0e38), float(np.float32(3.0e38))),  # a float32 sum would overflow on the way
        ((16777216.0, 1.0, 1.0), 16777218.0),  # beyond 2**24 a float32 counter stands still
        ((1e30, 1.0, -1e30), 1.0),
        ((2.0**-149, 2.0**-149), 2.0**-148),
    ],
)
def test_a_sum_is_exact_or_as_ieee_has_it(values: tuple[float, ...], expected: float) -> None:
    """Large and small numbers, subnormals, infinities and NaN."""
    assert same(ExactSum().value(ExactSum().lift(t(*values))), expected)


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ((1.0, 4.0), (3.0, 1.0), 1.75),
        ((1.0, 4.0), (0.0, 0.0), NAN),
        ((1.0, 4.0), (1.0, -1.0), NAN),
        ((INF, 1.0), (1.0, 1.0), INF),
        ((INF, 1.0), (-1.0, -1.0), INF),  # the mean of what is weighted, whatever the weights' common sign
        ((INF, 1.0), (1.0, -3.0), -INF),
        ((-INF, 1.0), (1.0, 1.0), -INF),
        ((INF, -INF), (1.0, 1.0), NAN),
        ((1.0, 2.0), (NAN, 1.0), NAN),
        ((0.0, 2.0), (INF, 1.0), NAN),
        ((1.0, 2.0), (INF, 1.0), NAN),
        ((NAN, 2.0), (1.0, 1.0), NAN),
        ((3.0e38, 3.0e38), (1.0, 1.0), float(np.float32(3.0e38))),
    ],
)
def test_a_mean_of_special_values(values: tuple[float, ...], weights: tuple[float, ...], expected: float) -> None:
    """Zero weight, infinities and NaN have a documented place."""
    assert same(ExactMean().value(ExactMean().lift(t(*values), t(*weights))), expected)


def test_a_mean_needs_weights_of_the_values_shape() -> None:
    """The error says what was found and expected."""
    with pytest.raises(ValueError, match=r"ExactMean: weights have shape \(1,\), expected \(2,\) as the values"):
        ExactMean().lift(t(1.0, 2.0), t(1.0))


def test_a_quotient_of_huge_integers_overflows_to_infinity() -> None:
    """As a division of floats does, with its sign."""
    assert [ratio(10**400, 1), ratio(-(10**400), 1), ratio(10**400, -1), ratio(1, 4)] == [INF, -INF, -INF, 0.25]


# Extremes and histograms


@many
@given(ANY)
def test_extremes_are_those_of_numpy_without_nan(x: Tensor) -> None:
    """The least and the largest number, and how many are none."""
    found = Extrema().value(Extrema().lift(x))
    numbers = x[~x.isnan()].numpy()
    assert found.num_nan == len(x) - len(numbers)
    if len(numbers):
        assert (found.min, found.max) == (numbers.min(), numbers.max())
    else:
        assert math.isnan(found.min)
        assert math.isnan(found.max)


def test_extremes_tell_zeros_apart() -> None:
    """-0.0 is smaller than 0.0."""
    found = Extrema().value(Extrema().lift(t(0.0, -0.0)))
    assert same(found.min, -0.0)
    assert same(found.max, 0.0)
    assert Extrema().value(Extrema().lift(t(NAN, -INF, 2.0))) == MinMax(-INF, 2.0, 1)


@many
@given(ANY)
def test_the_order_of_keys_is_the_order_of_floats(x: Tensor) -> None:
    """And a key leads back to its float."""
    x = x[~x.isnan()]
    keys = orderable(x)
    assert torch.equal(from_orderable(keys).view(torch.int32), x.view(torch.int32))
    assert torch.equal(x[keys.argsort()], x.sort().values)


@many
@given(ANY, st.integers(0, 5))
def test_a_histogram_counts_every_value_in_its_bin(x: Tensor, mantissa_bits: int) -> None:
    """Between its edges, found by bisection; what has no bin has a counter."""
    reduction = LogHistogram(mantissa_bits)
    found = reduction.value(reduction.lift(x))
    values = x.double().numpy()
    finite = values[np.isfinite(values)]
    expected = np.zeros_like(found.counts)
    for value in finite[finite != 0]:
        # Bins of positive numbers include their lower edge, bins of negative ones their upper: nearest to zero.
        side = "right" if value > 0 else "left"
        expected[int(np.searchsorted(found.edges, value, side=side)) - 1] += 1
    # The first bin on either side of zero begins at zero: its edge is the start of the second.
    assert found.counts.sum() == expected.sum()
    half = len(found.counts) // 2
    inner = slice(half - 1, half + 1)
    np.testing.assert_array_equal(np.delete(found.counts, inner), np.delete(expected, inner))
    assert found.num_zero == int((finite == 0).sum())
    assert (found.num_nan, found.num_posinf, found.num_neginf) == (
        int(np.isnan(values).sum()),
        int((values == INF).sum()),
        int((values == -INF).sum()),
    )
    assert found.num_finite == len(finite)


@many
@given(floats32(SIZES, nan=False, infinite=False, subnormal=False), st.integers(0, 3), st.floats(0, 1))
def test_a_quantile_is_within_its_bound(x: Tensor, mantissa_bits: int, q: float) -> None:
    """The relative error to the sample of rank ceil(q n) is at most 1 / (2**(m + 1) + 1)."""
    found = LogHistogram(mantissa_bits).value(LogHistogram(mantissa_bits).lift(x)).quantile(q)
    if not len(x):
        assert math.isnan(found)
        return
    ranked = sorted(x.tolist())
    true = ranked[max(math.ceil(q * len(x)), 1) - 1]
    assert abs(found - true) <= abs(true) / (2 ** (mantissa_bits + 1) + 1) * (1 + 1e-12)


@many
@given(FINITE, st.integers(1, 9))
def test_linear_bins_hold_everything(x: Tensor, bins: int) -> None:
    """No value is lost or counted twice, and edges ascend."""
    counts, edges = LogHistogram().value(LogHistogram().lift(x)).linear(bins)
    assert counts.sum() == len(x)
    assert (counts >= 0).all()
    assert len(edges) == bins + 1
    assert (np.diff(edges) > 0).all()


# Confusion counts


def counted(pairs: list[tuple[int, int]], classes: int) -> list[list[int]]:
    """(truth, prediction) pairs by hand; what is out of range counts nowhere."""
    seen = Counter(pairs)
    return [[seen[r, c] for c in range(classes)] for r in range(classes)]


LABELS = tensors((8, 2), torch.int64, min_value=-2, max_value=4)


@many
@given(LABELS, st.sampled_from([None, 1, -2]))
def test_labels_are_counted_by_truth_and_prediction(pairs: Tensor, ignore_index: int | None) -> None:
    """Rows are the truth; what is out of range is in no cell but is reported, what is ignored is not."""
    preds, targets = pairs.unbind(1)
    reduction = ConfusionCounts(3, ignore_index=ignore_index)
    state = reduction.lift(preds, targets)
    kept = [(int(r), int(p)) for p, r in pairs if r != ignore_index]
    assert reduction.value(state).tolist() == counted(kept, 3)
    outside = [(r, p) for r, p in kept if not (0 <= r < 3 and 0 <= p < 3)]
    told = reduction.problems(state)
    if outside:
        assert told is not None
        assert told.startswith(f"{len(outside)} labels are out of range (for example ")
        example = int(told.split("for example ")[1].split(")")[0])
        assert example not in range(3)
        assert example in {label for pair in outside for label in pair}
        assert "expected 0 to 2" in told
    else:
        assert told is None


@many
@given(tensors((5, 3), nan=False), tensors(5, torch.int64, max_value=2))
def test_the_largest_score_is_the_prediction(scores: Tensor, targets: Tensor) -> None:
    """The first of equal ones."""
    pairs = [(int(r), row.index(max(row))) for row, r in zip(scores.tolist(), targets, strict=True)]
    assert ConfusionCounts(3).value(ConfusionCounts(3).lift(scores, targets)).tolist() == counted(pairs, 3)


@many
@given(tensors((6, 5), torch.int64, min_value=0, max_value=3), tensors(6, torch.int64, max_value=4), st.integers(1, 4))
def test_a_target_among_the_best_scores_counts_as_predicted(scores: Tensor, targets: Tensor, top_k: int) -> None:
    """Else it is the best that is predicted; of equal scores the first is the better one."""
    ranked = [sorted(range(5), key=lambda c, row=row: (-row[c], c)) for row in scores.tolist()]
    right = [int(r) in best[:top_k] for best, r in zip(ranked, targets, strict=True)]
    pairs = [(int(r), int(r) if hit else best[0]) for best, r, hit in zip(ranked, targets, right, strict=True)]
    reduction = ConfusionCounts(5, top_k=top_k)
    assert reduction.value(reduction.lift(scores.float(), targets)).tolist() == counted(pairs, 5)


def test_the_best_scores_of_a_pixel() -> None:
    """As of a sample; what is ignored, NaN or out of range is in no cell, whatever is best there."""
    scores = torch.tensor([[[3.0, 2.0, 1.0, NAN]], [[2.0, 3.0, 2.0, 1.0]], [[1.0, 1.0, 3.0, 2.0]]])[None]
    targets = torch.tensor([[[1, 2, 9, 0]], [[1, 2, 255, 0]]])
    reduction = ConfusionCounts(3, ignore_index=255, top_k=2)
    state = reduction.lift(scores.expand(2, -1, -1, -1), targets)
    assert reduction.value(state).tolist() == [[0, 0, 0], [0, 2, 0], [0, 2, 0]]
    told = str(reduction.problems(state))
    assert told.startswith("1 labels are out of range (for example 9)")
    assert "2 predictions are NaN" in told


def test_the_best_of_labels_is_an_error() -> None:
    """Labels have no second best; the message has the shape that scores would have."""
    with pytest.raises(
        ValueError, match=r"preds are torch.int64 \(1, 2\), expected float scores \(1, 3, 2\) for top_k=2"
    ):
        ConfusionCounts(3, top_k=2).lift(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (2, 1, 3), (2, 1, 2, 3)])
@pytest.mark.parametrize("top_k", [1, 2])
def test_any_trailing_shape_is_that_of_its_elements(shape: tuple[int, ...], top_k: int) -> None:
    """Scores [N, C, ...] and targets [N, ...] count as those of all elements in one row; so do labels [N, ...]."""
    generator = torch.Generator().manual_seed(0)
    scores, targets = (
        torch.randn(5, 3, *shape, generator=generator),
        torch.randint(-1, 3, (5, *shape), generator=generator),
    )
    reduction = ConfusionCounts(3, ignore_index=-1, top_k=top_k)
    flat = scores.movedim(1, -1).reshape(-1, 3)
    expected = reduction.value(reduction.lift(flat, targets.reshape(-1)))
    assert reduction.value(reduction.lift(scores, targets)).equal(expected)
    assert int(expected.sum()) == int((targets >= 0).sum())
    if top_k == 1:
        assert reduction.value(reduction.lift(scores.argmax(1), targets)).equal(expected)


def test_every_pixel_counts() -> None:
    """Scores [N, C, H, W] and targets [N, H, W] are N H W samples."""
    scores = torch.eye(3)[torch.tensor([[[0, 1], [2, 2]]])].permute(0, 3, 1, 2)
    targets = torch.tensor([[[0, 2], [2, 1]]])
    value = ConfusionCounts(3).value(ConfusionCounts(3).lift(scores, targets))
    assert value.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]


TO_FIND_NAN = "Expected numbers: Trainer(detect_anomaly=True) tells where NaN comes up in training"


@pytest.mark.parametrize("logits", [False, True])
def test_a_score_above_the_threshold_is_a_one(logits: bool) -> None:
    """The threshold itself is a zero; what is no probability is counted apart."""
    scores = t(0.25, 0.3, 0.0, 1.0, NAN, 1.5, -0.5)
    targets = ids(1, 1, 0, 0, 1, 1, 1)
    reduction = ConfusionCounts(2, task="binary", threshold=0.25, logits=logits)
    state = reduction.lift(scores.logit() if logits else scores, targets)
    told = reduction.problems(state)
    assert reduction.value(state).tolist() == [[1, 1], [1, 1]]
    unfit = "2 scores are no probabilities in [0, 1] (pass logits=True for logits); they were left out; "
    missing = f"{3 if logits else 1} predictions are NaN; they were left out of the counts. {TO_FIND_NAN}"
    assert told == (missing if logits else unfit + missing)


def test_each_label_has_its_own_matrix() -> None:
    """Multilabel preds and targets [N, L] give [L, 2, 2]."""
    preds, targets = torch.tensor([[1, 0], [1, 1], [0, 1]]), torch.tensor([[1, 1], [0, 1], [0, 0]])
    value = ConfusionCounts(2, task="multilabel").value(ConfusionCounts(2, task="multilabel").lift(preds, targets))
    assert value.tolist() == [[[1, 1], [0, 1]], [[0, 1], [1, 1]]]


def test_problems_show_a_label_rather_than_a_score() -> None:
    """Each kind is counted apart; of labels, one is shown."""
    reduction = ConfusionCounts(2, task="binary")
    told = reduction.problems(reduction.lift(t(NAN, 0.5), ids(0, 7)))
    label = "1 labels are out of range (for example 7), expected 0 to 1; they were left out of the counts. "
    advice = "Write ignore_index=7 if that is a target that does not count"
    missing = f"1 predictions are NaN; they were left out of the counts. {TO_FIND_NAN}"
    assert told == f"{label}{advice}; {missing}"
    several = ConfusionCounts(2)  # which may be more
    assert several.problems(several.lift(ids(0, 1), ids(0, 7))) == f"{label}{advice}, or num_classes=8 if it is a class"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes=1, expected an int of at least 2"),
        ({"num_classes": 2.0}, "num_classes=2.0, expected an int of at least 2"),
        ({"num_classes": 0, "task": "multilabel"}, "num_classes=0, expected an int of at least 1"),
        ({"num_classes": 3, "task": "binary"}, "num_classes=3 with task='binary', expected 2"),
        ({"num_classes": 3, "task": "multi"}, "task='multi', expected 'multiclass', 'binary' or 'multilabel'"),
        ({"num_classes": 5, "top_k": 5}, "top_k=5, expected an int of 1 to 4: fewer than the 5 classes"),
        ({"num_classes": 5, "top_k": 0}, "top_k=0, expected an int of 1 to 4"),
        ({"num_classes": 5, "top_k": True}, "top_k=True, expected an int of 1 to 4"),
        ({"num_classes": 5, "task": "multilabel", "top_k": 2}, "top_k=2, expected 1: fewer than the 2 classes"),
        ({"num_classes": 2, "threshold": 1.0}, r"threshold=1.0, expected a probability in \(0, 1\)"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    """What was found and what was expected."""
    with pytest.raises(ValueError, match=message):
        ConfusionCounts(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reduction", "preds", "targets", "message"),
    [
        (
            ConfusionCounts(3),
            torch.zeros(4, 2),
            ids(0, 0, 0, 0),
            r"expected float scores \(4, 3\) or integer labels",
        ),
        (ConfusionCounts(3), ids(0, 0), ids(0), "expected one shape, or multiclass float scores.*: give a prediction"),
        (ConfusionCounts(2, task="multilabel"), ids(0), ids(0), r"expected \(N, 2, ...\)"),
        (ConfusionCounts(2, task="multilabel"), torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.int64), r"\(N, 2"),
    ],
)
def test_fields_that_do_not_fit_are_named(
    reduction: ConfusionCounts, preds: Tensor, targets: Tensor, message: str
) -> None:
    """By shape and dtype: the data is not looked at."""
    with pytest.raises(ValueError, match=message):
        reduction.lift(preds, targets)


# Choices


def best(scores: list[float], numbers: list[int], k: int, largest: bool) -> tuple[list[int], list[float]]:
    """Sorting by hand: numbers before NaN, the best first, the smaller id among equals, each id once."""
    order = sorted(
        range(len(scores)),
        key=lambda i: (math.isnan(scores[i]), 0 if math.isnan(scores[i]) else -scores[i] if largest else scores[i],
                       numbers[i]),
    )  # fmt: skip
    seen: dict[int, float] = {}
    for i in order:
        seen.setdefault(numbers[i], scores[i])
    return list(seen)[:k], list(seen.values())[:k]


@many
@given(floats32(9), tensors(9, torch.int64, min_value=-3, max_value=6), st.integers(1, 12), st.booleans())
def test_the_best_are_those_of_sorting(scores: Tensor, numbers: Tensor, k: int, largest: bool) -> None:
    """Ties, infinities, NaN, zeros of both signs and repeated ids have their place."""
    reduction = TopK(k, largest)
    found = reduction.value(reduction.lift(scores, numbers, numbers.unsqueeze(1) * 10))
    expected_ids, expected_scores = best(scores.tolist(), numbers.tolist(), k, largest)
    assert found.ids.tolist() == expected_ids
    assert found.scores is not None
    # -0.0 and 0.0 tie, and either is reported as 0.0.
    assert all(same(a, b + 0.0) for a, b in zip(found.scores.tolist(), expected_scores, strict=True))
    assert found.payload[0].tolist() == [[10 * i] for i in expected_ids]


def test_a_random_sample_is_the_same_however_data_is_split() -> None:
    """The hash of an id decides, so k of n are drawn, in order of id, each equally often."""
    reduction = RandomSample(4, seed=1)
    numbers = torch.arange(100)
    whole = reduction.value(reduction.lift(numbers, numbers * 2))
    assert whole.ids.tolist() == sorted(whole.ids.tolist())
    assert whole.payload[0].tolist() == (whole.ids * 2).tolist()
    assert whole.scores is None
    assert reduction.value(reduction.lift(numbers.flip(0))).ids.tolist() == whole.ids.tolist()
    draws = [RandomSample(4, seed=s).value(RandomSample(4, seed=s).lift(numbers)).ids.tolist() for s in range(500)]
    often = Counter(number for draw in draws for number in draw)
    # 20 times each on average; a binomial count of 5 standard deviations is below 43.
    assert len(often) == 100
    assert max(often.values()) < 43


@many
@given(tensors(9, torch.int64), st.integers(1, 12))
def test_the_first_are_those_of_the_smallest_ids(numbers: Tensor, k: int) -> None:
    """Of any int64, each once, with its payload."""
    reduction = First(k)
    found = reduction.value(reduction.lift(numbers, numbers ^ 1))
    assert found.ids.tolist() == sorted(set(numbers.tolist()))[:k]
    assert torch.equal(found.payload[0], found.ids ^ 1)
    assert found.scores is None


def test_splitmix_is_that_of_its_authors() -> None:
    """The first numbers of the published generator with seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    step = 0x9E3779B97F4A7C15
    states = [(1234567 + i * step) % 2**64 for i in range(4)]
    signed = ids(*(s - 2**64 if s >= 2**63 else s for s in states))
    assert [n % 2**64 for n in splitmix64(signed, 0).tolist()] == published


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.float32, torch.int64, torch.complex64])
def test_content_tells_samples_apart(dtype: torch.dtype) -> None:
    """Equal content has an equal id wherever it stands; other content, and other order, another."""
    samples = torch.tensor([[0, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]).to(dtype)
    a, b, c, d = content_ids(samples).tolist()
    assert a == c
    assert len({a, b, d}) == 3
    assert content_ids(samples[2:]).tolist() == [c, d]


@pytest.mark.parametrize("k", [0, -1, 2.0])
def test_k_is_at_least_one(k: object) -> None:
    """The error names k."""
    for kind in (TopK, RandomSample, First, partial(PerGroup, TopK(1))):
        with pytest.raises(ValueError, match=f"k={k!r}, expected an int of at least 1"):
            kind(k)  # type: ignore[arg-type]


def by_ranks(groups: list[int], scores: list[float], numbers: list[int], most: int, k: int) -> list[tuple[int, int]]:
    """Group and id of those that win, by the rule in words: one rank of all groups after the other."""
    best_of: dict[tuple[int, int], float] = {}
    for group, score, number in zip(groups, scores, numbers, strict=True):
        best_of[group, number] = max(score, best_of.get((group, number), -math.inf))
    of_group: dict[int, list[tuple[float, int]]] = {}
    for (group, number), score in best_of.items():
        if group >= 0:
            of_group.setdefault(group, []).append((-score, number))
    taken: list[tuple[int, int]] = []
    for rank in range(most):
        of_rank = [(*sorted(found)[rank], group) for group, found in of_group.items() if len(found) > rank]
        taken += [(group, number) for _, number, group in sorted(of_rank)]
    return taken[:k]


@many
@given(
    tensors(12, torch.int64, min_value=-1, max_value=4),
    tensors(12, torch.int64, max_value=3),
    tensors(12, torch.int64, min_value=-3, max_value=6),
    st.integers(1, 4),
    st.integers(1, 14),
)
def test_of_each_group_those_that_its_choice_takes(
    groups: Tensor, scores: Tensor, numbers: Tensor, most: int, k: int
) -> None:
    """With ties, repeated ids, groups that do not count, and places for a part of all groups."""
    reduction = PerGroup(TopK(most), k)
    state = reduction.lift(groups, scores.float(), numbers, numbers * 10)
    expected = by_ranks(groups.tolist(), scores.tolist(), numbers.tolist(), most, k)
    places = list(zip(state["group"].tolist(), state["id"].tolist(), strict=True))
    assert places == expected + [(-1, 2**63 - 1)] * (k - len(expected))
    found = reduction.value(state)
    assert found.groups is not None
    assert found.groups.tolist() == sorted(found.groups.tolist())
    assert sorted(zip(found.groups.tolist(), found.ids.tolist(), strict=True)) == sorted(expected)
    assert found.payload[0].equal(found.ids * 10)
    for group in set(found.groups.tolist()):
        of_group = found.groups == group
        ranked = [number for g, number in expected if g == group]
        assert found.ids[of_group].tolist() == ranked
        alone = TopK(most)
        kept = groups == group
        assert alone.value(alone.lift(scores.float()[kept], numbers[kept])).ids.tolist()[: len(ranked)] == ranked


def test_a_choice_by_group_says_what_it_cannot_take() -> None:
    """Another reduction, a choice by group itself, and groups that are not one for each sample."""
    for wrong in (ExactMean(), PerGroup(TopK(1), 1)):
        with pytest.raises(
            ValueError, match=r"PerGroup: choice is .*, expected a choice of samples, such as TopK\(3\)"
        ):
            PerGroup(wrong, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"PerGroup: groups have shape \(1,\), expected \(2,\), one for each sample"):
        PerGroup(TopK(1), 3).lift(ids(0), t(1.0, 2.0), ids(0, 1))


def test_fields_of_a_choice_have_one_length() -> None:
    """And payloads of one shape."""
    with pytest.raises(ValueError, match=r"fields have \[1, 2\] samples, expected one number of samples"):
        TopK(1).lift(t(1.0, 2.0), ids(0))
    states = [TopK(1).lift(t(1.0), ids(0), torch.zeros(1, width)) for width in (2, 3)]
    with pytest.raises(ValueError, match=r"samples have shapes \(2,\) and \(3,\), .*: pad them, as in inputs="):
        TopK(1).merge(*states)


# Compositions


def test_each_class_has_a_value_of_its_own() -> None:
    """As if its samples were alone; a class out of range is reported, and in no value."""
    classes, losses = ids(0, 2, 0, 5, -1), t(1.0, 7.0, 2.0, 100.0, 100.0)
    reduction = PerClass(ExactMean(), 3)
    state = reduction.lift(classes, losses)
    first, second, third = reduction.value(state)
    assert (first, third) == (1.5, 7.0)
    assert math.isnan(second)
    assert reduction.problems(state) == "2 classes are out of range, expected 0 to 2"
    assert reduction.problems(reduction.lift(classes[:3], losses[:3])) is None


def test_a_class_may_have_many_values_per_sample() -> None:
    """Fields [N, H, W] go to the class of their sample, through several reductions."""
    classes = ids(1, 0)
    targets = torch.tensor([[[0, 1]], [[1, 1]]])
    preds = torch.tensor([[[0, 0]], [[1, 0]]])
    confusion = PerClass(ConfusionCounts(2), 2)
    found = confusion.value(confusion.lift(classes, preds, targets))
    assert [m.tolist() for m in found] == [[[0, 0], [1, 1]], [[1, 0], [1, 0]]]
    weighted = PerClass(ExactMean(), 2)
    values, weights = torch.tensor([[1.0, 3.0], [5.0, 7.0]]), torch.tensor([[1.0, 3.0], [1.0, 1.0]])
    assert weighted.value(weighted.lift(classes, values, weights)) == [6.0, 2.5]
    ends = PerClass(Extrema(), 2)
    assert ends.value(ends.lift(classes, values)) == [MinMax(5.0, 7.0, 0), MinMax(1.0, 3.0, 0)]


def test_per_class_says_what_it_cannot_take() -> None:
    """A choice, no classes, classes of two dimensions, fields of other samples."""
    with pytest.raises(ValueError, match="reduction is TopK, expected a Scattered reduction"):
        PerClass(TopK(1), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_classes=0, expected at least 1"):
        PerClass(ExactMean(), 0)
    with pytest.raises(ValueError, match=r"classes have shape \(1, 1\), expected \(N,\)"):
        PerClass(ExactMean(), 3).lift(ids(0).reshape(1, 1), t(1.0))
    with pytest.raises(ValueError, match="fields have 2 samples, expected 1, as there are classes"):
        PerClass(ExactMean(), 3).lift(ids(0), t(1.0, 2.0))


def test_a_product_has_the_values_of_its_members() -> None:
    """By name; members' problems are reported with their name."""
    reduction = Product(loss=ExactMean(), seen=ConfusionCounts(2))
    state = reduction.lift(loss=(t(1.0, 2.0),), seen=(ids(0, 3), ids(0, 1)))
    assert reduction.value(state)["loss"] == 1.5
    assert reduction.value(state)["seen"].tolist() == [[1, 0], [0, 0]]
    assert reduction.problems(state) == f"seen: {ConfusionCounts(2).problems(reduction.part(state, 'seen'))}"
    assert reduction.problems(reduction.empty()) is None
    assert repr(Product(loss=ExactMean())) == "Product(loss=ExactMean())"
    assert Product(loss=ExactMean()) == Product(loss=ExactMean()) != Product(loss=Extrema())
    for fields in ({"loss": (t(1.0),)}, {"loss": (t(1.0),), "seen": (), "more": ()}):
        with pytest.raises(ValueError, match=r"fields for .*, expected fields for \['loss', 'seen'\]"):
            reduction.lift(**fields)
        with pytest.raises(ValueError, match=r"fields for .*, expected fields for \['loss', 'seen'\]"):
            reduction.accumulate(reduction.empty(), **fields)
    with pytest.raises(ValueError, match="expected a Reduction"):
        Product(loss=ExactMean)  # type: ignore[arg-type]


def test_histograms_have_up_to_ten_mantissa_bits() -> None:
    """The error names the argument; a quantile is asked for between 0 and 1."""
    for mantissa_bits in (-1, 11):
        with pytest.raises(ValueError, match=f"mantissa_bits={mantissa_bits}, expected 0 to 10"):
            LogHistogram(mantissa_bits)
    with pytest.raises(ValueError, match=r"quantile: q=1.5, expected a value in \[0, 1\]"):
        LogHistogram().value(LogHistogram().lift(t(1.0))).quantile(1.5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bins", [1, 2, 4, 8])
def test_linear_bins_that_meet_the_edges_are_those_of_numpy(bins: int, sign: int) -> None:
    """Between 1 and 2 the eight bins of three mantissa bits have one width, so nothing has to be split."""
    # Off the edges, at which the two sides of zero differ in which bin is meant.
    x = sign * (1 + (np.arange(200) % 64 + 0.5) / 64)
    counts, edges = LogHistogram().value(LogHistogram().lift(torch.tensor(x, dtype=torch.float32))).linear(bins)
    expected, expected_edges = np.histogram(x, bins=bins, range=(1, 2) if sign > 0 else (-2, -1))
    assert counts.tolist() == expected.tolist()
    assert edges.tolist() == expected_edges.tolist()


def test_a_bin_that_crosses_edges_is_split_evenly() -> None:
    """Sixteen bins over eight: each half gets half, and cumulative rounding loses nothing."""
    x = torch.cat([torch.full((6,), 1.05), torch.full((4,), 1.95)])
    counts, edges = LogHistogram().value(LogHistogram().lift(x)).linear(16)
    assert counts.tolist() == [3, 3, *[0] * 12, 2, 2]
    assert edges[0] == 1
    assert edges[-1] == 2
    odd, _ = LogHistogram().value(LogHistogram().lift(x[:1])).linear(2)
    assert sorted(odd.tolist()) == [0, 1]


def test_linear_bins_around_zero() -> None:
    """Zeros are counted in the bin that they begin or are in, between what is negative and what is positive."""
    seen = LogHistogram().value(LogHistogram().lift(t(-1.9, -1.9, 0.0, -0.0, 0.0, 1.9)))
    counts, edges = seen.linear(4)
    assert edges.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert counts.tolist() == [2, 0, 3, 1]
    only, around = LogHistogram().value(LogHistogram().lift(torch.zeros(5))).linear(3)
    assert only.tolist() == [0, 5, 0]
    assert (around[0], around[-1]) == (-0.5, 0.5)


def test_linear_bins_of_nothing() -> None:
    """Counts of zero between 0 and 1, and as many as were asked for; 64 unless told."""
    nothing = LogHistogram().value(LogHistogram().lift(t(float("nan"))))
    counts, edges = nothing.linear(4)
    assert counts.tolist() == [0, 0, 0, 0]
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert len(nothing.linear()[0]) == 64
    assert counts.dtype == np.int64


def test_quantiles_by_hand() -> None:
    """Rank ceil(q n) of the finite values; the ends are the smallest and the largest bin; a zero is exactly zero."""
    seen = LogHistogram().value(LogHistogram().lift(t(-4.0, 0.0, 1.0, 1.0, 8.0, float("inf"))))
    middle = 2 * 1.0 * 1.125 / 2.125
    assert [seen.quantile(q) for q in (0.0, 0.2, 0.21, 0.4, 0.41, 0.8)] == [
        *[-4 * middle] * 2,
        *[0.0] * 2,
        *[middle] * 2,
    ]
    assert seen.quantile(0.81) == seen.quantile(1.0) == 8 * middle
    assert np.isnan(LogHistogram().value(LogHistogram().empty()).quantile(0.5))


def test_what_has_no_bin_is_counted_by_kind() -> None:
    """One NaN, two of +inf, three of -inf, four zeros of either sign and five others."""
    x = t(NAN, *[INF] * 2, *[-INF] * 3, *[0.0, -0.0] * 2, 1.0, -1.0, 1e-45, -1e-45, 3e38)
    for bits in (0, 3, 10):
        seen = LogHistogram(bits).value(LogHistogram(bits).lift(x))
        assert (seen.num_nan, seen.num_posinf, seen.num_neginf, seen.num_zero) == (1, 2, 3, 4)
        assert seen.num_finite == 9
        assert seen.counts.sum() == 5
        assert len(seen.counts) == 2 * 255 * 2**bits


@pytest.mark.parametrize("weight", [INF, -INF, NAN])
def test_a_weight_that_is_not_finite_gives_no_mean(weight: float) -> None:
    """Nor does it hide behind other samples."""
    mean = ExactMean()
    assert math.isnan(mean.value(mean.lift(t(1.0, 2.0, 0.0), t(1.0, weight, 1.0))))


def test_classes_out_of_range_are_counted_apart() -> None:
    """One below and two at the end of the range, one of which is not valid."""
    per_class = PerClass(ExactMean(), 3)
    classes, values = torch.tensor([0, 2, 3, -1, 3]), t(1.0, 2.0, 30.0, 40.0, 50.0)
    state = per_class.lift(classes, values, valid=torch.tensor([True, True, True, True, False]))
    assert per_class.value(state)[0] == 1.0
    assert math.isnan(per_class.value(state)[1])
    assert per_class.value(state)[2] == 2.0
    assert str(per_class.problems(state)).startswith("2 classes are out of range")
    assert per_class.problems(per_class.lift(classes[:2], values[:2])) is None


FOUR = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("lift", "told"),
    [
        (
            lambda: PerClass(ExactMean(), 3).lift(FOUR.reshape(2, 2), t(1.0, 2.0)),
            r"PerClass: classes have shape \(2, 2\)",
        ),
        (lambda: ConfusionCounts(2, task="binary").lift(t(1.0), FOUR[:2]), "expected one shape"),
        (lambda: ExactMean().lift(t(1.0), t(1.0, 2.0)), r"ExactMean: weights have shape \(2,\), expected \(1,\)"),
    ],
)
def test_unfit_shapes_are_told(lift: object, told: str) -> None:
    """The error names the reduction, what was found and what was expected."""
    with pytest.raises(ValueError, match=told):
        lift()  # type: ignore[operator]


def mean_of(parts: list[Fraction]) -> float:
    return float(sum(parts) / len(parts)) if parts else NAN


@many
@given(tensors((4, 4), torch.int64, min_value=0, max_value=3))
def test_scores_are_those_of_fractions(counts: Tensor) -> None:
    """Of classes that were there or predicted; a class of neither has no part in a mean."""
    cells = counts.tolist()
    hits = [cells[c][c] for c in range(4)]
    missed = [sum(cells[c]) - cells[c][c] for c in range(4)]
    extra = [sum(row[c] for row in cells) - cells[c][c] for c in range(4)]
    seen = [c for c in range(4) if hits[c] + missed[c] + extra[c]]
    total = sum(map(sum, cells))
    right = float(Fraction(sum(hits), total)) if total else NAN
    f1 = mean_of([Fraction(2 * hits[c], 2 * hits[c] + extra[c] + missed[c]) for c in seen])
    iou = mean_of([Fraction(hits[c], hits[c] + extra[c] + missed[c]) for c in seen])
    assert same(accuracy(counts), right)
    assert same(micro_f1(counts), right)
    assert macro_f1(counts) == pytest.approx(f1, rel=1e-15, nan_ok=True)
    assert mean_iou(counts) == pytest.approx(iou, rel=1e-15, nan_ok=True)


def test_scores_of_labels() -> None:
    """By hand: one label with 4 hits, 2 missed and 1 extra of 10; another with 1 hit, 1 extra, 8 left out."""
    counts = torch.tensor([[[3, 1], [2, 4]], [[8, 1], [0, 1]], [[0, 0], [0, 0]]])
    assert accuracy(counts) == 16 / 20
    assert micro_f1(counts) == 10 / 14
    assert macro_f1(counts) == pytest.approx((8 / 11 + 2 / 3) / 2)
    assert mean_iou(counts) == pytest.approx((4 / 7 + 1 / 2) / 2)


def test_decibels_of_an_error() -> None:
    """A tenth of the range is 20 dB, a hundredth 40; no error is infinitely many."""
    assert psnr(torch.tensor([0.01, 1e-4])).tolist() == pytest.approx([20, 40])
    assert psnr(torch.tensor(0.04), data_range=2.0) == pytest.approx(20)
    assert psnr(torch.tensor(0.0)) == INF


def test_derived_from_equal_reductions_are_equal() -> None:
    """By reduction and function."""
    assert Derived(ConfusionCounts(3), accuracy) == Derived(ConfusionCounts(3), accuracy)
    assert Derived(ConfusionCounts(3), accuracy) != Derived(ConfusionCounts(3), mean_iou)
