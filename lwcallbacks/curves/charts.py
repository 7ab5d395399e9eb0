"""What is shown of curves: three charts and a table.

charts("val/curves", found, "f1")                # {"val/curves_roc": Curve, ..., "val/curves_report": Table}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lwcallbacks.curves.areas import Bounded, mean_of
from lwcallbacks.curves.calibration import Calibration
from lwcallbacks.curves.points import Points, simplified, steps
from lwcallbacks.curves.readings import counted, round_thresholds
from lwcallbacks.curves.summary import AREAS, Summaries, Summary
from lwcallbacks.curves.thresholds import ThresholdBy
from lwcallbacks.media import Cell, Curve, Entry, Line, Table

WORST = "the worst classes come first"
LARGEST = "largest score of each sample"
IN_ORDER, MAX_LINES = 7, 100
"""Classes that stand in their own order, as many as there are colours, and that are drawn."""
MOST_NAMED = 10
READINGS, FEWER_READINGS, MANY = 200, 50, 10
"""Values of each line for a slider, and of each where there are more than so many lines."""
DRAWN = 5  # digits behind the point: far finer than what can be seen


def charts(key: str, found: Summaries, threshold_by: ThresholdBy) -> dict[str, Entry]:
    """A chart of ROC, of precision-recall and of calibration, each with a line for each class, and the report.

    Of more than 7 classes those with the smallest area, or the largest calibration error, come first, and of more than
    100 the others are left to the report. Lines hold the points that matter; what is printed of areas comes from the
    counts.
    """
    summaries, areas = found.classes, found.areas
    best = {summary.name: _best(summary, threshold_by) for summary in summaries}

    def roc_line(summary: Summary, wanted: np.ndarray) -> Line:
        mark = (summary.threshold.false_positive_rate, summary.threshold.recall)
        at, hits, false = counted(summary.binned, wanted)
        read = np.stack([at, _ratio(false, summary.negatives), _ratio(hits, summary.positives)])
        return _line(summary.name, summary.roc, f"AUROC {summary.auroc}", mark, best[summary.name], read)

    def pr_line(summary: Summary, wanted: np.ndarray) -> Line:
        mark = (summary.threshold.recall, summary.threshold.precision)
        at, hits, false = counted(summary.binned, wanted)
        read = np.stack([at, _ratio(hits, summary.positives), _ratio(hits, hits + false)])
        drawn = steps(summary.precision_recall)
        return _line(summary.name, drawn, f"AP {summary.ap}", mark, best[summary.name], read)

    by_roc = _ordered(summaries, "auroc")
    by_pr = _ordered(summaries, "ap")
    by_ece = _ordered(summaries, "auroc", lambda one: -one.ece.value)
    calibrated = [(one.name, one.calibration) for one in by_ece]
    if found.confidence is not None:
        calibrated.insert(0, (LARGEST, found.confidence))
    return {
        f"{key}_roc": Curve(
            [roc_line(one, _wanted(by_roc)) for one in by_roc],
            "False positive rate",
            "True positive rate",
            diagonal=True,
            notes=_notes("AUROC", areas["auroc"], summaries, by_roc),
        ),
        f"{key}_pr": Curve(
            [pr_line(one, _wanted(by_pr)) for one in by_pr],
            "Recall",
            "Precision",
            notes=_notes("average precision", areas["ap"], summaries, by_pr),
        ),
        f"{key}_calibration": Curve(
            [_calibration_line(*one) for one in calibrated],
            "Mean score",
            "Share of positives",
            diagonal=True,
            notes=[f"expected calibration error {areas['ece']}", *([WORST] if len(by_ece) > IN_ORDER else [])],
        ),
        f"{key}_report": report(found),
    }


def report(found: Summaries) -> Table:
    """A row for each class, one of means, and one of the largest scores: each area with how far off it is at most, and
    the best threshold."""
    of_areas = [column for area in AREAS for column in (area, f"{area} off by")]
    columns = ("class", *of_areas, "threshold", "precision", "recall", "positives", "negatives")
    rows: list[list[Cell]] = []
    for one in found.classes:
        numbers = [_cell(number) for area in AREAS for number in _both(getattr(one, area))]
        there = [_cell(number) for number in (one.threshold.value, one.threshold.precision, one.threshold.recall)]
        rows.append([one.name, *numbers, *there, one.positives, one.negatives])
    rest: list[Cell] = [None] * (len(columns) - 1 - len(of_areas))
    if len(found.classes) > 1:
        means = (mean_of(getattr(one, area) for one in found.classes) for area in AREAS)
        rows.append(["mean", *(_cell(n) for mean in means for n in _both(mean)), *rest])
    if found.confidence is not None:
        rows.append([LARGEST, *[None] * (len(of_areas) - 2), *map(_cell, _both(found.confidence.ece)), *rest])
    return Table(columns, rows)


def _wanted(shown: Sequence[Summary]) -> np.ndarray:
    most = FEWER_READINGS if len(shown) > MANY else READINGS
    return round_thresholds([one.binned for one in shown], most)


def _ratio(part: np.ndarray, whole: int | np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    of = np.asarray(whole, np.float64)
    return np.asarray(np.divide(part, of, out=np.full(len(part), np.nan), where=of > 0))


def _line(
    name: str, points: Points, text: str, mark: tuple[float, float], best: str | None, readings: np.ndarray
) -> Line:
    shown = simplified(points)
    rounded = np.stack([readings[0], *readings[1:].round(DRAWN)])
    marks = [(*mark, best)] if best and all(map(math.isfinite, mark)) else []
    return Line(name, shown.x.round(DRAWN), shown.y.round(DRAWN), text, marks, shown.threshold, rounded)


def _calibration_line(name: str, found: Calibration) -> Line:
    return Line(name, found.confidence.round(DRAWN), found.share.round(DRAWN), f"ECE {found.ece}")


def _best(summary: Summary, by: ThresholdBy) -> str | None:
    found = summary.threshold
    if not math.isfinite(found.value):
        return None
    what = {"f1": "F1", "youden": "Youden's J"}[by] if isinstance(by, str) else "cost"
    return f"best {what} {found.score:.4g} at {found.value:.4g}"


def _ordered(summaries: Sequence[Summary], area: str, rank: Callable[[Summary], float] | None = None) -> list[Summary]:
    """Those that have a curve, as they come or, of many, the worst ones: by `rank`, else by that area."""
    defined = [one for one in summaries if not math.isnan(getattr(one, area).value)]
    if len(defined) > IN_ORDER:  # the page draws the first of many
        defined.sort(key=rank or (lambda one: float(getattr(one, area).value)))
    return defined[:MAX_LINES]


def _notes(what: str, mean: Bounded, summaries: Sequence[Summary], shown: Sequence[Summary]) -> list[str]:
    notes = [f"mean {what} {mean}"] if len(summaries) > 1 else []
    if len(shown) > IN_ORDER:
        notes.append(WORST)
    undefined = [one.name for one in summaries if not (one.positives and (one.negatives or what != "AUROC"))]
    if undefined:
        more = f" and {len(undefined) - MOST_NAMED} more" if len(undefined) > MOST_NAMED else ""
        notes.append(f"not defined for {', '.join(undefined[:MOST_NAMED])}{more}: one kind of target only")
    rest = len(summaries) - len(undefined) - len(shown)
    return [*notes, f"{rest} classes more are in the report"] if rest else notes


def _both(area: Bounded) -> tuple[float, float]:
    return area.value, area.bound


def _cell(number: float) -> float | None:
    return number if math.isfinite(number) else None
