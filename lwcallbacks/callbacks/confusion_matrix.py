"""ConfusionMatrix: counts over all samples of an epoch, seen as a heatmap, a chart, tables and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lwcallbacks.callbacks.base import Entries, check_ignore_index, plain
from lwcallbacks.callbacks.counting import CountingCallback, cost_of
from lwcallbacks.callbacks.examples import (
    EXAMPLES,
    by_cell,
    captioned,
    example_needs,
    examples_of,
    examples_table,
)
from lwcallbacks.callbacks.names import class_names_of, names_or_indices
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import Extract
from lwcallbacks.media import Entry, Matrix, confused_pairs, confusion_report, draw_matrix, to_pixels
from lwcallbacks.media.pixels import check_statistics
from lwcallbacks.reductions import ConfusionCounts
from lwcallbacks.reductions.confusion import check_top_k
from lwcallbacks.reductions.score_range import check_scores


class ConfusionMatrix(CountingCallback):
    """Count predictions against truth over all samples of an epoch, in constant memory.

    Samples of several classes or of two, or pixels, tokens and the like, of any shape. What the counts say of each
    class and of all is a table and numbers: see ``lwcallbacks.rates`` for how each is defined, and what is 0 / 0.

    Rows are the truth, columns the prediction. A label out of range, or a score that is NaN, never lands in a cell: it
    is reported at the epoch's end. ``results["val"]`` is the int64 CPU tensor [C, C], the same on every process.

    Args:
        num_classes: number of classes C, at least 2.
        class_names: names by class index, a list or a dict; the indices if left out.
        ignore_index: a target that does not count.
        task: "multiclass", or "binary" for one score for each label, which "multiclass" takes, too, where there are
            two classes.
        threshold: where there is one score for each label: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores of
            the epoch together: in [0, 1] they are probabilities, any below -0.5 or above 1.5 makes them logits, and
            between the two a warning asks for this argument.
        top_k: a prediction counts as right where the target is among the k best scores. The cell is then that of the
            true class, else that of the best; of equal scores the first class is the better one. It takes scores [N, C,
            ...] of more than k classes.
        cost_matrix: what a sample costs, by its true class and then by the class that was predicted, [C][C]; below 0
            it is a gain. Then the cost of a sample and of all are in the report and logged, and the pairs have theirs.
        normalize: what the heatmap's cells show: None counts, "true" shares of each row, "pred" of each column,
            "all" of everything. The chart, the table and ``results`` always hold counts.
        examples_per_cell: how many samples to show of each confused pair, the hardest first by their cross-entropy, the
            same for any batch size, order and number of processes; 0 for none. It takes one label for each sample. See
            below for the memory that it takes.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images of examples. Where there are none, examples are a table of ids.
        preds: where to find the predictions, if not in the usual places: integer labels [N, ...], or float scores
            (logits or probabilities) [N, C, ...]; binary [N, ...] or [N, 1, ...].
        targets: where to find the true labels [N, ...], of any dtype: floats are whole numbers.
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
    ``{stage}/{name}``                       heatmap, an image
    ``{stage}/{name}_chart``                 W&B's interactive confusion chart, made from the counts
    ``{stage}/{name}_report``                table: precision, recall, f1, iou and support of each
                                             class, the macro, weighted and micro averages, and the
                                             numbers below; and how each has changed
    ``{stage}/{name}_pairs``                 table: the 50 pairs of classes that are confused most,
                                             with count, share of the true class, and change
    ``{stage}/{name}_examples``              with ``examples_per_cell``, a table: true, predicted,
                                             image, id, loss
    ``{stage}/{name}_accuracy``              share of right predictions
    ``{stage}/{name}_balanced_accuracy``     mean recall of the classes that were there
    ``{stage}/{name}_cohen_kappa``           Cohen's kappa
    ``{stage}/{name}_matthews_corrcoef``     Matthews' correlation coefficient
    ``{stage}/{name}_macro_f1``              mean F1 (Dice) over the classes
    ``{stage}/{name}_mean_iou``              mean IoU (Jaccard) over the classes
    ``{stage}/{name}_mean_cost``             with ``cost_matrix``: the mean cost of a sample
    ``{stage}/{name}_total_cost``            with ``cost_matrix``: that of all samples
    ======================================== =======================================================

    The numbers are of each epoch, and can be monitored: ``ModelCheckpoint(monitor="val/confusion_matrix_macro_f1")``.
    While predicting, Lightning logs none. A column "change" compares with the table before, from the second on, also
    after a resume: by how much F1, the value or the count is larger.

    Above 100 classes the heatmap is of the 39 that are confused most, with all others summed as one class; with SciPy
    (``pip install "lwcallbacks[order]"``) in an order in which classes that are confused are neighbours. W&B keeps the
    rows of its chart under ``{stage}/{name}_chart_table``; above 447 classes that is the same block, and
    ``{stage}/{name}_chart_cells`` is a table of all cells that are not 0.

    Examples are thumbnails: every n-th pixel, so that the longer side has at most 32. At most
    ``examples_per_cell * C * (C - 1)`` of them are kept, and never more than 1,024: as float32 RGB these take 12.6 MB,
    twice that where ``logits`` is None, and twice that where a loader's order may turn out to be unknown. Where
    more pairs come up than there are places, each pair in turn gets its hardest sample, those with the hardest ones
    first: see `PerGroup`. Where preds are labels, the samples of the smallest ids are shown.

    >>> import torch
    >>> matrix = ConfusionMatrix(2, ["cat", "dog"], preds="scores", stages=("val",))    # in Trainer(callbacks=[matrix])
    >>> matrix.prefixes("val")
    {'val/confusion_matrix'}
    >>> entries = matrix.entries("val/confusion_matrix", {"counts": torch.tensor([[5, 1], [0, 7]]), "before": None})
    >>> entries["val/confusion_matrix_pairs"].rows
    [['cat', 'dog', 1, 0.16666666666666666]]
    """

    def __init__(
        self,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        *,
        ignore_index: int | None = None,
        task: Literal["multiclass", "binary"] = "multiclass",
        threshold: float = 0.5,
        logits: bool | None = None,
        top_k: int = 1,
        cost_matrix: Sequence[Sequence[float]] | None = None,
        normalize: Literal["true", "pred", "all"] | None = None,
        examples_per_cell: int = 0,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
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
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(f"ConfusionMatrix: num_classes={num_classes!r}, expected an int of at least 2")
        if str(task) == "multilabel":  # what it is not annotated to be
            told = "expected 'multiclass' or 'binary'; for a set of labels a sample write"
            raise ValueError(f"ConfusionMatrix: task='multilabel', {told} MultilabelConfusionMatrix({num_classes})")
        check_scores("ConfusionMatrix", task, threshold, logits, ("multiclass", "binary"))
        if task == "binary" and num_classes != 2:
            raise ValueError(f"ConfusionMatrix: num_classes={num_classes} with task='binary', expected 2")
        check_top_k("ConfusionMatrix", top_k, num_classes)
        self._counts = ConfusionCounts(num_classes, ignore_index, task, threshold, logits, top_k)
        self.num_classes = num_classes
        self.ignore_index = check_ignore_index("ConfusionMatrix", ignore_index)
        self.task = task
        self.threshold = threshold
        self.logits = logits
        self.top_k = top_k
        self.cost_matrix = cost_of("ConfusionMatrix", cost_matrix, num_classes)
        self.class_names = class_names_of("ConfusionMatrix", class_names, num_classes)
        if normalize not in (None, "true", "pred", "all"):
            raise ValueError(f"ConfusionMatrix: normalize={normalize!r}, expected 'true', 'pred', 'all' or None")
        self.normalize = normalize
        if not isinstance(examples_per_cell, int) or examples_per_cell < 0:
            found = f"ConfusionMatrix: examples_per_cell={examples_per_cell!r}"
            raise ValueError(f"{found}, expected an int of at least 0")
        if examples_per_cell and top_k > 1:
            found = f"examples_per_cell={examples_per_cell} with top_k={top_k}"
            raise ValueError(f"ConfusionMatrix: {found}, expected one of them: write top_k=1, or examples_per_cell=0")
        self.examples_per_cell = examples_per_cell
        check_statistics("ConfusionMatrix", mean, std)
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward

    can_miss = EXAMPLES  # counts do not suffer from pictures

    @property
    def counts(self) -> ConfusionCounts:
        return self._counts

    def remembered(self, stage: str) -> Mapping[str, Need]:
        needs = super().remembered(stage)
        if not self.examples_per_cell:
            return needs
        examples = example_needs(
            self.examples_per_cell,
            num_classes=self.num_classes,
            task=self.task,
            threshold=self.threshold,
            logits=self.logits,
            ignore_index=self.ignore_index,
            source=self.source,
        )
        return {**needs, **examples}

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        names = names_or_indices(self.class_names, self.num_classes)
        examples, thumbnails = examples_of(values, self.num_classes, self.logits)
        images = []
        if thumbnails is not None and examples:
            images = captioned(examples, list(to_pixels(thumbnails, self.mean, self.std, self.note_of_images)))
        matrix, before = Matrix(values["counts"].numpy(), names, by_cell(examples, images)), values["before"]
        entries: dict[str, Entry | float] = {
            key: draw_matrix(matrix, title=key, normalize=self.normalize),
            f"{key}_chart": matrix,
            f"{key}_report": confusion_report(matrix, before, self.cost_matrix),
            f"{key}_pairs": confused_pairs(matrix, before, self.cost_matrix),
        }
        if not self.examples_per_cell:
            return entries
        return {**entries, f"{key}_examples": examples_table(examples, images, matrix)}
