"""Curves: ROC, precision-recall and calibration of all samples of an epoch, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lwcallbacks.callbacks.base import Entries, check_ignore_index, plain
from lwcallbacks.callbacks.names import class_names_of, names_or_indices
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.numbers import NumberCallback
from lwcallbacks.capture import Extract
from lwcallbacks.curves import AREAS, Summaries, ThresholdBy, charts, check_threshold_by, results_of, summarised
from lwcallbacks.lightning import Trainer
from lwcallbacks.reductions import ScoreCounts
from lwcallbacks.reductions.score_range import check_scores


class Curves(NumberCallback):
    """ROC, precision-recall and calibration curves over all samples of an epoch, with areas and the best threshold.

    No score is kept: positives and negatives are counted in 65,539 bins between 0 and 1, so memory does not grow with
    the samples, and the same samples give the same bits on any number of processes. Each area comes with the most that
    it can be off, "0.9312, off by at most 0.0002": the order of scores within a bin is all that is not known. Scores in
    float16 have a bin each.

    Each class is seen against the rest. Logits of several classes become probabilities by a softmax whose bits are the
    same on every device. A score that is NaN, or a target out of range, is left out and reported at the epoch's end.

    Args:
        num_classes: number of classes C, or of labels for ``task="multilabel"``; 2 for ``task="binary"``.
        class_names: names by class index, a list or a dict; the indices if left out.
        task: "multiclass", "binary" for one score for each target, or "multilabel" for one for each label.
        classes: the classes to count, by index; all if left out.
        ignore_index: a target that does not count.
        logits: whether scores are logits. None decides by all scores of the epoch together: in [0, 1] they are
            probabilities, any below -0.5 or above 1.5 makes them logits, and between the two a warning asks for this
            argument. Of one score for each target or label, logits far from 0 have wider bins than their probabilities,
            so that the bound is larger: at -5 about 5 times.
        threshold_by: what makes a threshold the best: "f1", "youden" for true positive rate minus false positive rate,
            or what mistakes cost, as ``{"false_positive": 1, "false_negative": 5}``. A score of at least so much (>=)
            is a positive.
        n_bins: bins of the reliability diagram and of the expected calibration error. For a power of two their edges
            are exact; others are rounded to an edge of the narrow bins, by less than 0.0003.
        mantissa_bits: how fine the counts are, 1 to 12: a bin is as wide as its power of two over 2**mantissa_bits.
            Memory for each class is 1 MiB with 10, for multiclass twice that where ``logits`` is None, else 2.2 MiB
            unless it is False; each bit less halves it. More than 256 MiB is refused.
        preds: where to find the scores, if not in the usual places: float [N, C, ...]; binary [N, ...] or [N, 1, ...].
        targets: where to find the true labels [N, ...], of any dtype; multilabel 0 or 1, [N, L, ...].
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys. Two of a class in one Trainer need two names.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, preds or targets were not found or do
            not have these shapes.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}_roc``           chart: the ROC curve of each class, with its area
    ``{stage}/{name}_pr``            chart: precision over recall, with the average precision
    ``{stage}/{name}_calibration``   chart: share of positives over the mean score
    ``{stage}/{name}_report``        table: areas, best threshold and counts of each class
    ``{stage}/{name}_auroc``         mean area under the ROC curves
    ``{stage}/{name}_ap``            mean average precision
    ``{stage}/{name}_ece``           expected calibration error, multiclass: of the largest score
    ================================ =======================================================

    W&B keeps the points of a chart under ``{stage}/{name}_roc_table`` and so on.

    The three numbers can be monitored by ``ModelCheckpoint(monitor="val/curves_auroc")``; means are over the classes
    that have a value. ``results["val"]`` holds them as floats, each with its bound as ``"auroc_bound"``, and
    ``"classes"``, for each class by name the same with the curves: ``"roc"`` (false positive rate, true positive rate,
    threshold), ``"precision_recall"`` (recall, precision, threshold) and ``"calibration"`` (mean score, share of
    positives, count), float64 arrays of at most 1,000 points.

    >>> curves = Curves(task="binary", threshold_by="youden")    # in Trainer(callbacks=[curves])
    >>> curves.prefixes("val")
    {'val/curves'}
    >>> Curves(1000)    # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: Curves: counts of 1000 classes take ... MiB, expected at most 256: write classes=(0, 1) ...
    """

    def __init__(
        self,
        num_classes: int = 2,
        class_names: Sequence[str] | None = None,
        *,
        task: Literal["multiclass", "binary", "multilabel"] = "multiclass",
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        logits: bool | None = None,
        threshold_by: ThresholdBy = "f1",
        n_bins: int = 16,
        mantissa_bits: int = 10,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "curves",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        check_scores("Curves", task, 0.5, logits)
        check_threshold_by("Curves", threshold_by)
        if not isinstance(n_bins, int) or not 2 <= n_bins <= 1000:
            raise ValueError(f"Curves: n_bins={n_bins!r}, expected an int from 2 to 1000")
        self.num_classes = num_classes
        self.task = task
        self.classes = None if classes is None else plain(classes)
        self.ignore_index = check_ignore_index("Curves", ignore_index)
        self.logits = logits
        self.threshold_by = plain(threshold_by)
        self.n_bins = n_bins
        self.mantissa_bits = mantissa_bits
        try:
            self._counts = ScoreCounts(num_classes, ignore_index, task, logits, self.classes, mantissa_bits)
        except ValueError as error:
            raise ValueError(str(error).replace("ScoreCounts", "Curves", 1)) from None
        self.class_names = class_names_of("Curves", class_names, num_classes)
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward

    def remembered(self, stage: str) -> Mapping[str, Need]:
        return {"scores": Need(self._counts, ("preds", "targets"), self.source)}

    def result(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return results_of(self._found(values))

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        return charts(key, self._found(values), self.threshold_by)

    def log_result(self, trainer: Trainer, stage: str, suffix: str, read: set[str]) -> None:
        found = self._results.get(stage + suffix, {}) if read else {}
        self._log_numbers(trainer, {f"{stage}/{self.name}_{area}{suffix}": found.get(area, math.nan) for area in AREAS})

    def _found(self, values: Mapping[str, Any]) -> Summaries:
        names = names_or_indices(self.class_names, self.num_classes)
        chosen = [names[index] for index in self._counts.chosen]
        return summarised(values["scores"], chosen, self.n_bins, self.threshold_by)
