"""The exact area is always within the bounds, and is the value where each bin holds equal scores only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from support.lawful import EXAMPLES
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_auroc,
    multiclass_average_precision,
    multilabel_auroc,
)

from lwcallbacks.curves import Bounded, auroc, average_precision, best_threshold, calibration, mean_of
from lwcallbacks.reductions import BinnedScores, ScoreCounts
from lwcallbacks.testing import floats32, tensors

EPS = 1e-12  # of float64


def binned(scores: Tensor, targets: Tensor, mantissa_bits: int = 10, logits: bool = False) -> BinnedScores:
    counts = ScoreCounts(2, task="binary", logits=logits, mantissa_bits=mantissa_bits)
    return counts.value(counts.lift(scores, targets)).classes[0]


def of_parts(low: list[float], negatives: list[int], positives: list[int]) -> BinnedScores:
    edges = np.array(low)
    return BinnedScores(edges, edges + 0.01, np.array(negatives), np.array(positives))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, bool]:
    """Scores with ties, clusters in one bin and extremes; targets, perhaps all of one kind; how fine bins are."""
    n = draw(st.integers(1, 40))
    whole = draw(tensors(n, torch.int64, min_value=0, max_value=draw(st.sampled_from([1, 7, 100, 10**6]))))
    scores = whole / max(1, int(whole.max()))
    close = draw(tensors(n, torch.int64, min_value=0, max_value=3))
    scores = torch.where(close == 0, scores, torch.tensor([0.0, 0.3, 0.9, 0.9999])[close] + scores * 1e-4).clamp(0, 1)
    logits = draw(st.booleans())
    if logits:
        scores = draw(st.sampled_from([scores * 20 - 10, draw(floats32(n))])).nan_to_num(nan=0.5)
    targets = draw(tensors(n, torch.int64, min_value=draw(st.integers(0, 1)), max_value=draw(st.integers(1, 1))))
    if draw(st.booleans()) and n > 2:
        targets = targets * (torch.arange(n) % 3 > 0)
    return scores, targets, draw(st.sampled_from([1, 2, 5, 10])), logits


@settings(max_examples=20 * EXAMPLES, deadline=None, derandomize=True, database=None)
@given(labelled())
def test_the_exact_area_is_within_the_bounds(drawn: tuple[Tensor, Tensor, int, bool]) -> None:
    """That of scikit-learn, for any scores, one target and bins however wide; NaN where none is defined."""
    scores, targets, mantissa_bits, logits = drawn
    found = binned(scores, targets, mantissa_bits, logits)
    exact = scores.double().clamp(-1e300, 1e300).numpy()
    roc, ap = auroc(found), average_precision(found)
    if 0 < int(targets.sum()) < len(targets):
        assert roc.low - EPS <= roc_auc_score(targets, exact) <= roc.high + EPS
        assert roc.low <= roc.value <= roc.high
    else:
        assert math.isnan(roc.value)
    if targets.any():
        assert ap.low - EPS <= average_precision_score(targets, exact) <= ap.high + EPS
        assert ap.low <= ap.value <= ap.high
    else:
        assert math.isnan(ap.value)


@settings(max_examples=20 * EXAMPLES, deadline=None, derandomize=True, database=None)
@given(labelled(), st.sampled_from([2, 10, 16, 1000]))
def test_the_exact_calibration_error_is_within_the_bounds(drawn: tuple[Tensor, Tensor, int, bool], n_bins: int) -> None:
    """That of a plain loop over bins of equal width, also where narrow bins lie across an edge of theirs."""
    scores, targets, mantissa_bits, logits = drawn
    scores = scores * (scores.abs() > 1e-9)  # of a smaller logit, float64 has the sigmoid of 0
    found = calibration(binned(scores, targets, mantissa_bits, logits), n_bins).ece
    shares = (scores.double().sigmoid() if logits else scores.double()).tolist()
    gaps = [0.0] * n_bins
    for share, target in zip(shares, targets.tolist(), strict=True):
        gaps[min(int(share * n_bins), n_bins - 1)] += target - share
    exact = sum(map(abs, gaps)) / len(shares)
    assert found.low <= found.value <= found.high
    assert found.low - 1e-9 <= exact <= found.high + 1e-9


@pytest.mark.parametrize("logits", [False, True])
def test_a_threshold_that_takes_all_is_below_all(logits: bool) -> None:
    """Not at an edge, where the rounding of a sigmoid would decide."""
    scores = torch.tensor([0.25, 0.5, 0.75])
    found = best_threshold(binned(scores, torch.ones(3, dtype=torch.int64), logits=logits), "f1")
    assert found.recall == 1
    least = float(scores.sigmoid().min() if logits else scores.min())
    assert 0 < found.value < least - 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_16_bits_the_areas_are_exact(dtype: torch.dtype) -> None:
    """Each number has a bin of its own, so that ties are ties: the value is that of scikit-learn."""
    generator = torch.Generator().manual_seed(0)
    for logits in (False, True):
        scores = torch.randn(3000, generator=generator) * 3
        targets = (torch.rand(3000, generator=generator) < scores.sigmoid()).long()
        scores = (scores if logits else scores.sigmoid()).to(dtype)
        found = binned(scores, targets, logits=logits)
        exact = scores.double().numpy()
        assert auroc(found).value == pytest.approx(roc_auc_score(targets, exact), abs=EPS)
        assert average_precision(found).value == pytest.approx(average_precision_score(targets, exact), abs=EPS)


def test_the_bounds_are_narrow() -> None:
    """Of 50,000 scores in float32, by 10 bits: the areas of torchmetrics are within less than 0.0002."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50_000, generator=generator) * 2
    targets = (torch.rand(50_000, generator=generator) < logits.sigmoid()).long()
    for scores, is_logits in ((logits, True), (logits.sigmoid(), False)):
        found = binned(scores, targets, logits=is_logits)
        roc, ap = auroc(found), average_precision(found)
        assert max(roc.bound, ap.bound) < 2e-4
        exact = logits.double().sigmoid() if is_logits else scores.double()
        assert roc.low - 1e-6 <= float(binary_auroc(exact, targets)) <= roc.high + 1e-6  # torchmetrics adds in float32
        assert ap.low - 1e-6 <= float(binary_average_precision(exact, targets)) <= ap.high + 1e-6


@pytest.mark.parametrize("logits", [True, False])
def test_several_classes_are_those_of_torchmetrics(logits: bool) -> None:
    """One against the rest, and the means."""
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.randn(4000, 5, generator=generator) * 2, torch.randint(5, (4000,), generator=generator)
    scores[torch.arange(4000), targets] += 2
    scores = scores.double() if logits else scores.double().softmax(1)
    counts = ScoreCounts(5, logits=logits)
    classes = counts.value(counts.lift(scores, targets)).classes
    exact = scores.softmax(1) if logits else scores
    rocs = multiclass_auroc(exact, targets, 5, average=None)
    aps = multiclass_average_precision(exact, targets, 5, average=None)
    for one, roc, ap in zip(classes, rocs.tolist(), aps.tolist(), strict=True):
        assert auroc(one).low - 1e-6 <= roc <= auroc(one).high + 1e-6
        assert average_precision(one).low - 1e-6 <= ap <= average_precision(one).high + 1e-6
    mean = mean_of(map(auroc, classes))
    assert mean.low - 1e-6 <= float(rocs.mean()) <= mean.high + 1e-6


def test_labels_are_those_of_torchmetrics() -> None:
    """Each for itself."""
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(2000, 3, generator=generator), torch.randint(2, (2000, 3), generator=generator)
    counts = ScoreCounts(3, task="multilabel")
    classes = counts.value(counts.lift(scores, targets)).classes
    for one, exact in zip(classes, multilabel_auroc(scores, targets, 3, average=None).tolist(), strict=True):
        assert auroc(one).low - 1e-6 <= exact <= auroc(one).high + 1e-6


def test_the_bounds_are_reached() -> None:
    """Worked out by hand: two positives and two negatives in one bin, above one negative."""
    found = of_parts([0.1, 0.5], [1, 2], [0, 2])
    assert auroc(found) == Bounded(value=4 / 6, low=2 / 6, high=1.0)
    ap = average_precision(found)
    assert (ap.value, ap.high) == (0.5, 1.0)
    assert ap.low == pytest.approx((1 / 3 + 2 / 4) / 2, abs=EPS)


@pytest.mark.parametrize("positives", [65, 1000, 10**6])
def test_many_positives_in_a_bin(positives: int) -> None:
    """Below their negatives, one by one: the lower bound is not above the sum, and lower by less than 2 in 100,000."""
    found = of_parts([0.5, 0.9], [100, 7], [positives, 3])
    i = np.arange(1, positives + 1)
    first = np.array([1 / 8, 2 / 9, 3 / 10])
    exact = (first.sum() + ((3 + i) / (3 + 7 + 100 + i)).sum()) / (positives + 3)
    assert exact - 2e-5 < average_precision(found).low <= exact + EPS


def test_counts_beyond_63_bits_of_pairs() -> None:
    """Whole numbers of any size: 2**40 of each."""
    found = of_parts([0.1, 0.5], [2**40, 2**40], [0, 2**40])
    assert auroc(found) == Bounded(value=0.75, low=0.5, high=1.0)


@pytest.mark.parametrize(
    ("area", "text"),
    [
        (Bounded(0.93118, 0.93105, 0.93131), "0.9312, off by at most 0.0002"),
        (Bounded(0.9, 0.89999999, 0.9), "0.9000, off by at most 0.0001"),
        (Bounded(0.93124, 0.93124, 0.93124), "0.9312"),
        (Bounded(1.0, 1.0, 1.0), "1.0000"),
        (Bounded(math.nan, math.nan, math.nan), "not defined"),
    ],
)
def test_the_text_is_true(area: Bounded, text: str) -> None:
    """The rounding of what is shown is part of what it can be off."""
    assert str(area) == text
    if "off" in text:
        shown, off = float(text[:6]), float(text[-6:])
        assert shown - off <= area.low + EPS <= area.high <= shown + off + EPS


def test_a_mean_is_of_what_is_defined() -> None:
    """NaN is left out; nothing but NaN stays NaN."""
    nan: Any = Bounded(math.nan, math.nan, math.nan)
    assert mean_of([Bounded(0.5, 0.25, 1.0), nan, Bounded(1.0, 0.75, 1.0)]) == Bounded(0.75, 0.5, 1.0)
    assert math.isnan(mean_of([nan]).value)
