"""MultilabelConfusionMatrix: how often each label was there and found, over all samples of an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lwcallbacks.callbacks.base import Entries, check_ignore_index
from lwcallbacks.callbacks.counting import CountingCallback, cost_of
from lwcallbacks.callbacks.names import class_names_of, names_or_indices
from lwcallbacks.capture import Extract
from lwcallbacks.media import draw_labels, label_report
from lwcallbacks.reductions import ConfusionCounts
from lwcallbacks.reductions.score_range import check_scores


class MultilabelConfusionMatrix(CountingCallback):
    """Count, for each label, where it was there and found, missed, predicted wrongly or left out.

    Over all samples of an epoch, in constant memory. A target that is not 0 or 1, or a score that is no probability,
    is not counted but reported at the epoch's end. ``results["val"]`` is the int64 CPU tensor [L, 2, 2], rows are the
    truth, the same on every process.

    Args:
        num_labels: number of labels L, at least 1.
        class_names: names by class index, a list or a dict; the indices if left out.
        threshold: where there is one score for each label: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores of
            the epoch together: in [0, 1] they are probabilities, any below -0.5 or above 1.5 makes them logits, and
            between the two a warning asks for this argument.
        ignore_index: a target that does not count.
        cost_matrix: what a decision about a label costs, [2][2]: ``[[0, 1], [10, 0]]`` where a label that is missed
            costs ten times one that is wrongly predicted. Then the cost of a decision and of all are in the report and
            logged.
        preds: where to find the predictions, if not in the usual places: 0 or 1, or float scores, [N, L, ...].
        targets: where to find the true labels, 0 or 1 of any dtype, [N, L, ...].
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

    ======================================== =======================================================
    Key                                      Logged data
    ======================================== =======================================================
    ``{stage}/{name}``                       heatmap, an image: a row of four counts for each label
    ``{stage}/{name}_report``                table: precision, recall, f1, iou and support of each
                                             label, the macro, weighted and micro averages, and the
                                             numbers below; and how each has changed
    ``{stage}/{name}_accuracy``              share of right decisions, of all labels of all samples
    ``{stage}/{name}_balanced_accuracy``     mean over the labels: half the recall where a label is
                                             there, and half that where it is absent
    ``{stage}/{name}_cohen_kappa``           Cohen's kappa of all decisions
    ``{stage}/{name}_matthews_corrcoef``     Matthews' correlation of all decisions
    ``{stage}/{name}_macro_f1``              mean F1 over the labels
    ``{stage}/{name}_mean_iou``              mean IoU (Jaccard) over the labels
    ``{stage}/{name}_mean_cost``             with ``cost_matrix``: the mean cost of a decision
    ``{stage}/{name}_total_cost``            with ``cost_matrix``: that of all decisions
    ======================================== =======================================================

    The numbers are of each epoch, and can be monitored: ``ModelCheckpoint(monitor="val/confusion_matrix_macro_f1")``.
    While predicting, Lightning logs none. A column "change" compares with the table before, from the second on, also
    after a resume: by how much F1, or the value, is larger.

    >>> MultilabelConfusionMatrix(3, ["car", "dog", "tree"], logits=True, name="labels").prefixes("test")
    {'test/labels'}
    >>> MultilabelConfusionMatrix(3, threshold=2)
    Traceback (most recent call last):
    ValueError: MultilabelConfusionMatrix: threshold=2, ...
    """

    def __init__(
        self,
        num_labels: int,
        class_names: Sequence[str] | None = None,
        *,
        threshold: float = 0.5,
        logits: bool | None = None,
        ignore_index: int | None = None,
        cost_matrix: Sequence[Sequence[float]] | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "confusion_matrix",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        if not isinstance(num_labels, int) or num_labels < 1:
            raise ValueError(f"MultilabelConfusionMatrix: num_labels={num_labels!r}, expected an int of at least 1")
        check_scores("MultilabelConfusionMatrix", "multilabel", threshold, logits)
        self._counts = ConfusionCounts(num_labels, ignore_index, "multilabel", threshold, logits)
        self.num_labels = num_labels
        self.class_names = class_names_of("MultilabelConfusionMatrix", class_names, num_labels)
        self.threshold = threshold
        self.logits = logits
        self.ignore_index = check_ignore_index("MultilabelConfusionMatrix", ignore_index)
        self.cost_matrix = cost_of("MultilabelConfusionMatrix", cost_matrix, 2)
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward

    @property
    def counts(self) -> ConfusionCounts:
        return self._counts

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        names = names_or_indices(self.class_names, self.num_labels)
        counts = values["counts"].numpy()
        report = label_report(counts, names, values["before"], self.cost_matrix)
        return {key: draw_labels(counts, names, title=key), f"{key}_report": report}
