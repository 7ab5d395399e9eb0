"""Everything that is said of one class's scores, and of all classes together.

found = summarised(seen, names=["cat", "dog"], n_bins=16, threshold_by="f1")
found.areas["auroc"], found.classes[0].threshold.value
results_of(found)                                  # numbers and arrays by name, for `results`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lwcallbacks.curves.areas import Bounded, auroc, average_precision, mean_of
from lwcallbacks.curves.calibration import Calibration, calibration
from lwcallbacks.curves.points import Points, precision_recall, roc
from lwcallbacks.curves.thresholds import Threshold, ThresholdBy, best_threshold
from lwcallbacks.reductions import BinnedScores, SeenScores

AREAS = ("auroc", "ap", "ece")


@dataclass(frozen=True, eq=False)
class Summary:
    """The curves of one class against the rest, and what follows from its counts, `binned`."""

    name: str
    binned: BinnedScores
    positives: int
    negatives: int
    auroc: Bounded
    ap: Bounded
    roc: Points
    precision_recall: Points
    calibration: Calibration
    threshold: Threshold

    @property
    def ece(self) -> Bounded:
        return self.calibration.ece


@dataclass(frozen=True, eq=False)
class Summaries:
    """All classes.

    Attributes:
        classes: each class against the rest.
        confidence: multiclass: the calibration of the largest score of each sample.
        areas: by the names in `AREAS`: means over the classes that have a value; the calibration error is that of
            `confidence`, where there is one.
    """

    classes: tuple[Summary, ...]
    confidence: Calibration | None
    areas: Mapping[str, Bounded]


def summarised(seen: SeenScores, names: Sequence[str], n_bins: int, threshold_by: ThresholdBy) -> Summaries:
    """What counts of scores say, of classes with these names."""
    classes = tuple(
        Summary(
            name,
            binned,
            int(binned.positives.sum()),
            int(binned.negatives.sum()),
            auroc(binned),
            average_precision(binned),
            roc(binned),
            precision_recall(binned),
            calibration(binned, n_bins),
            best_threshold(binned, threshold_by),
        )
        for name, binned in zip(names, seen.classes, strict=True)
    )
    areas = {area: mean_of(getattr(one, area) for one in classes) for area in AREAS}
    if seen.confidence is None:
        return Summaries(classes, None, areas)
    confidence = calibration(seen.confidence, n_bins)
    return Summaries(classes, confidence, areas | {"ece": confidence.ece})


def results_of(found: Summaries) -> dict[str, Any]:
    """Numbers, and curves as float64 arrays, by name."""
    return {**_with_bounds(found.areas), "classes": {one.name: _of_class(one) for one in found.classes}}


def _of_class(summary: Summary) -> dict[str, Any]:
    found, curve = summary.calibration, {"roc": summary.roc, "precision_recall": summary.precision_recall}
    return {
        **_with_bounds({area: getattr(summary, area) for area in AREAS}),
        "positives": summary.positives,
        "negatives": summary.negatives,
        "threshold": summary.threshold.value,
        "score_at_threshold": summary.threshold.score,
        **{name: (points.x, points.y, points.threshold) for name, points in curve.items()},
        "calibration": (found.confidence, found.share, found.count),
    }


def _with_bounds(areas: Mapping[str, Bounded]) -> dict[str, float]:
    return {
        key: number for area, of in areas.items() for key, number in ((area, of.value), (f"{area}_bound", of.bound))
    }
