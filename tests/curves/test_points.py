"""Curves go through the points of scikit-learn's, fewer points look the same; thresholds and calibration by loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve, roc_curve
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from lwcallbacks.curves import (
    auroc,
    average_precision,
    best_threshold,
    calibration,
    check_threshold_by,
    precision_recall,
    roc,
    simplified,
    steps,
)
from lwcallbacks.curves.points import Points
from lwcallbacks.reductions import BinnedScores, ScoreCounts


def scored(n: int, seed: int = 0, half: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and targets that agree now and then; in float16 each score has a bin of its own."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=generator)
    targets = (torch.rand(n, generator=generator) < logits.sigmoid()).long()
    return logits.sigmoid().half() if half else logits.sigmoid(), targets


def binned(scores: torch.Tensor, targets: torch.Tensor) -> BinnedScores:
    counts = ScoreCounts(2, task="binary", logits=False)
    return counts.value(counts.lift(scores, targets)).classes[0]


def area_below(points: Points) -> float:
    """By trapezoids."""
    return float((np.diff(points.x) * (points.y[1:] + points.y[:-1]) / 2).sum())


NOTHING = binned(torch.zeros(0), torch.zeros(0))
ONLY_POSITIVES = binned(torch.tensor([0.25, 0.75]), torch.tensor([1, 1]))
ONLY_NEGATIVES = binned(torch.tensor([0.25, 0.75]), torch.tensor([0, 0]))


@pytest.mark.parametrize("n", [2, 30, 700])
def test_a_roc_curve_has_the_points_of_scikit_learn(n: int) -> None:
    """Those that are no corner left out; a threshold is the score itself, for each has a bin of its own."""
    scores, targets = scored(n)
    targets[:2] = torch.tensor([0, 1])
    found = roc(binned(scores, targets))
    fpr, tpr, thresholds = roc_curve(targets, scores.double().numpy(), drop_intermediate=True)
    everywhere = np.interp(fpr, found.x, found.y, left=math.nan)
    assert {(0.0, 0.0), (1.0, 1.0)} <= set(zip(found.x.tolist(), found.y.tolist(), strict=True))
    assert set(zip(found.x, found.y, strict=True)) <= set(zip(fpr, tpr, strict=True))
    assert set(found.threshold.tolist()) <= set(thresholds.tolist())
    assert area_below(found) == pytest.approx(auroc(binned(scores, targets)).value, abs=1e-12)
    assert np.isfinite(everywhere).all()


@pytest.mark.parametrize("n", [2, 30, 700])
def test_a_precision_recall_curve_has_the_points_of_scikit_learn(n: int) -> None:
    """At each threshold that finds a positive more. The area below its steps is the average precision."""
    scores, targets = scored(n)
    targets[0] = 1
    found = precision_recall(binned(scores, targets))
    precision, recall, thresholds = (of[::-1] for of in precision_recall_curve(targets, scores.double().numpy()))
    more = np.flatnonzero(np.diff(recall) > 0)
    assert found.x.tolist() == pytest.approx(recall[more + 1].tolist(), abs=1e-12)
    assert found.y.tolist() == pytest.approx(precision[more + 1].tolist(), abs=1e-12)
    assert found.threshold.tolist() == thresholds[more].tolist()
    drawn = steps(found)
    assert drawn.x[0] == 0
    area = average_precision(binned(scores, targets)).value
    assert area_below(drawn) == pytest.approx(area, abs=1e-12)


def test_a_long_curve_has_at_most_a_thousand_points() -> None:
    """The ends among them, and the area below is hardly another."""
    seen = binned(*scored(40_000, half=False))
    found = roc(seen)
    assert 900 < len(found.x) <= 1000
    assert (found.x[0], found.y[0], found.x[-1], found.y[-1]) == (0, 0, 1, 1)
    assert abs(area_below(found) - auroc(seen).value) < 1e-4


def test_what_is_drawn_is_never_far_from_the_curve() -> None:
    """By 0.0005 at most, with a tenth of the points."""
    found = roc(binned(*scored(40_000, half=False)))
    fewer = simplified(found)
    assert len(fewer.x) < 120
    assert {0.0, 1.0} <= set(fewer.x.tolist())
    ends = np.stack([fewer.x, fewer.y], 1)
    start, way = ends[:-1], np.diff(ends, axis=0)
    for point in np.stack([found.x, found.y], 1):
        along = (((point - start) * way).sum(1) / (way**2).sum(1)).clip(0, 1)
        assert np.hypot(*(point - start - along[:, None] * way).T).min() <= 0.0005 + 1e-12


def test_a_curve_that_comes_back_is_kept() -> None:
    """A closed line has no direction; no point of it is lost for that."""
    square = Points(np.array([0.0, 1, 1, 0, 0]), np.array([0.0, 0, 1, 1, 0]), np.arange(5.0))
    assert simplified(square).threshold.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seen", [NOTHING, ONLY_POSITIVES, ONLY_NEGATIVES])
def test_one_kind_of_target_has_no_curve(seen: BinnedScores) -> None:
    """No ROC curve without both; no precision-recall curve without a positive."""
    assert len(roc(seen).x) == 0
    assert len(precision_recall(seen).x) == (1 if seen is ONLY_POSITIVES else 0) * 2
    assert len(steps(precision_recall(seen)).x) % 2 == 0


# Thresholds


def costs(false_positive: float, false_negative: float) -> dict[str, float]:
    return {"false_positive": false_positive, "false_negative": false_negative}


@pytest.mark.parametrize("by", ["f1", "youden", costs(1, 3), costs(2.5, 0.5)])
@pytest.mark.parametrize("n", [3, 50, 400])
def test_the_best_threshold_is_that_of_a_plain_loop(n: int, by: Any) -> None:
    """Over all scores; what is at least the threshold is a positive, and what is above it, too."""
    scores, targets = scored(n, seed=n)
    targets[:2] = torch.tensor([0, 1])
    found = best_threshold(binned(scores, targets), by)
    results = []
    for threshold in [math.inf, *sorted(set(scores.tolist()), reverse=True)]:
        hits = scores >= threshold
        tp, fp, fn = (int(x.sum()) for x in (hits & (targets == 1), hits & (targets == 0), ~hits & (targets == 1)))
        if by == "f1":
            results.append((2 * tp / (2 * tp + fp + fn), tp, fp, fn))
        elif by == "youden":
            results.append((tp / (tp + fn) - fp / int((targets == 0).sum()), tp, fp, fn))
        else:
            results.append((-by["false_positive"] * fp - by["false_negative"] * fn, tp, fp, fn))
    score, tp, fp, fn = max(results, key=lambda result: result[0])
    assert found.score == pytest.approx(abs(score), abs=1e-12)
    assert found.recall == pytest.approx(tp / (tp + fn))
    assert int((scores.double() >= found.value).sum()) == tp + fp


def test_a_threshold_lies_between_the_scores() -> None:
    """So that it is of no matter whether a score has to be above it or may be equal."""
    seen = binned(torch.tensor([0.25, 0.75]), torch.tensor([0, 1]))
    assert seen.high[0] <= best_threshold(seen, "f1").value <= seen.low[1]
    assert best_threshold(seen, costs(1, 0)).value == math.inf


@pytest.mark.parametrize("seen", [NOTHING, ONLY_NEGATIVES])
def test_without_a_positive_there_is_no_best_f1(seen: BinnedScores) -> None:
    """Nor a J without a negative; costs can be told from one kind of target, but not from none."""
    assert math.isnan(best_threshold(seen, "f1").value)
    assert math.isnan(best_threshold(ONLY_POSITIVES, "youden").value)
    assert math.isnan(best_threshold(NOTHING, costs(1, 1)).value)
    assert best_threshold(ONLY_NEGATIVES, costs(1, 1)).value == math.inf


@pytest.mark.parametrize("by", ["best", {"fp": 1}, {"false_positive": 1}, costs(0, 0), costs(-1, 1), None])
def test_no_way_to_choose_is_an_error(by: Any) -> None:
    """With what to write."""
    with pytest.raises(ValueError, match="expected 'f1', 'youden', or costs as in"):
        check_threshold_by("Curves", by)


# Calibration


def test_calibration_is_that_of_a_plain_loop() -> None:
    """Means and shares in 16 bins of equal width, up to half a narrow bin; the error is within its bounds."""
    scores, targets = scored(3000, half=False)
    found = calibration(binned(scores, targets), 16)
    parts = [(scores * 16).long().clamp(max=15) == k for k in range(16)]
    parts = [part for part in parts if part.any()]
    assert found.count.tolist() == [int(part.sum()) for part in parts]
    assert found.share.tolist() == pytest.approx([float(targets[part].double().mean()) for part in parts], abs=1e-12)
    means = [float(scores[part].double().mean()) for part in parts]
    assert found.confidence.tolist() == pytest.approx(means, abs=2**-13)
    error = sum(abs(float(targets[p].double().mean()) - m) * int(p.sum()) for p, m in zip(parts, means, strict=True))
    assert found.ece.low <= error / 3000 <= found.ece.high
    assert found.ece.bound <= 2**-13
    assert found.ece.value == pytest.approx(float(binary_calibration_error(scores, targets, 16)), abs=2**-13 + 1e-6)


@pytest.mark.parametrize("score", [0.25, 0.25 + 2**-12 - 2**-24, 0.5, 0.5 + 2**-12 - 2**-24])
@pytest.mark.parametrize("target", [0, 1])
def test_the_bounds_of_the_error_are_reached(score: float, target: int) -> None:
    """By scores at either end of a narrow bin, that are too low and that are too high."""
    found = calibration(binned(torch.full((5,), score), torch.full((5,), target)), 16).ece
    exact = abs(score - target)
    assert found.low <= exact <= found.high
    assert min(exact - found.low, found.high - exact) <= 2**-24
    assert found.high - found.low == 2**-12


def test_the_largest_score_has_the_error_of_torchmetrics() -> None:
    """Of several classes: how sure the model is beside how often it is right."""
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(3000, 4, generator=generator) * 2).softmax(1)
    targets = torch.randint(4, (3000,), generator=generator)
    counts = ScoreCounts(4, logits=False)
    confidence = counts.value(counts.lift(scores, targets)).confidence
    assert confidence is not None
    found = calibration(confidence, 16)
    assert found.ece.low - 1e-6 <= float(multiclass_calibration_error(scores, targets, 4, 16)) <= found.ece.high + 1e-6


def test_calibration_of_nothing() -> None:
    """No point, and no error."""
    found = calibration(NOTHING, 10)
    assert len(found.count) == 0
    assert math.isnan(found.ece.value)
