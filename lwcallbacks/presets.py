"""What one would choose for a usual task, as a list of callbacks to add to or to leave out from.

    trainer = pl.Trainer(logger=..., callbacks=lw.presets.classification(num_classes=10))
    trainer = pl.Trainer(logger=..., callbacks=[*lw.presets.segmentation(num_classes=21), my_callback])

Each number is worked out from the counts that the matrix shows: one state for all, updated once a batch. It is there
for each step that is logged, and over all samples of an epoch. Every preset ends with these two:

- ``GradientHistogram(every_n_train_steps)``, and
- ``CheckpointArtifact(missing_ok=True)``, which does nothing where the Trainer has no ``ModelCheckpoint``;
  ``checkpoints=False`` leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from torchmetrics import Metric
from torchmetrics.regression import MeanSquaredError

from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.checkpoint_artifact import CheckpointArtifact
from lwcallbacks.callbacks.confusion_matrix import ConfusionMatrix
from lwcallbacks.callbacks.gradient_histogram import GradientHistogram
from lwcallbacks.callbacks.image_mosaic import ImageMosaic
from lwcallbacks.callbacks.mask_grid import MaskGrid
from lwcallbacks.callbacks.multilabel_confusion_matrix import MultilabelConfusionMatrix
from lwcallbacks.callbacks.prediction_grid import PredictionGrid
from lwcallbacks.callbacks.scalar_metrics import ScalarMetrics
from lwcallbacks.callbacks.select import Select
from lwcallbacks.capture import Extract
from lwcallbacks.reductions import ConfusionCounts, Derived, accuracy, macro_f1, mean_iou, micro_f1, psnr

__all__ = ["classification", "multilabel", "reconstruction", "segmentation"]


class _Preset(list[LoggingCallback]):
    """A list of callbacks. Lightning takes one that stands in another list for a callback: then it says what to write.

    >>> classification(10).on_exception
    Traceback (most recent call last):
    AttributeError: a preset is a list of callbacks and not a callback: found no on_exception; write callbacks=...
    """

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a preset is a list of callbacks and not a callback: found no {name}; write callbacks="
            "lw.presets.classification(...), or with others callbacks=[*lw.presets.classification(...), other]"
        )


def classification(
    num_classes: int,
    class_names: Sequence[str] | None = None,
    *,
    task: Literal["multiclass", "binary"] = "multiclass",
    threshold: float = 0.5,
    logits: bool | None = None,
    ignore_index: int | None = None,
    examples_per_cell: int = 3,
    num_samples: int = 32,
    select: Select = "hardest",
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    every_n_epochs: int = 1,
    every_n_train_steps: int = 50,
    checkpoints: bool = True,
    max_overhead: float | None = None,
    inputs: Extract | None = None,
    preds: Extract | None = None,
    targets: Extract | None = None,
    ids: Extract | None = None,
    forward: str | None = None,
    prefix: str = "",
) -> list[LoggingCallback]:
    """Images of one class each: float scores [N, C] or labels [N], against labels [N]; of two, one score will do.

    - ``ScalarMetrics``: ``acc``, the share of right predictions, and ``f1``, the mean over the classes, under
      ``train/acc_step``, ``train/acc_epoch``, ``val/acc``, ``test/acc`` and so on
    - ``ConfusionMatrix``: ``val/confusion_matrix`` in percent of each true class, ``val/confusion_matrix_chart``,
      ``val/confusion_matrix_report``, ``val/confusion_matrix_pairs`` and ``val/confusion_matrix_examples``.
      The numbers of the matrix are ``val/confusion_matrix_accuracy``, ``val/confusion_matrix_balanced_accuracy``,
      ``val/confusion_matrix_cohen_kappa``, ``val/confusion_matrix_matthews_corrcoef``,
      ``val/confusion_matrix_macro_f1`` and ``val/confusion_matrix_mean_iou``.
    - ``PredictionGrid`` of the hardest samples: ``val/predictions`` and ``val/predictions_table``

    Args:
        num_classes, class_names, task, threshold, logits, ignore_index: as for ``ConfusionMatrix``.
        examples_per_cell: as for ``ConfusionMatrix``.
        num_samples, select, mean, std: as for ``PredictionGrid``. The hardest need scores: where preds are labels,
            write ``select="wrong"``.
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        every_n_train_steps: as for ``GradientHistogram``.
        checkpoints: whether checkpoints become artifacts.
        max_overhead: as for ``PredictionGrid`` and ``GradientHistogram``.
        inputs, preds, targets: where to find them, if not in the usual places.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        prefix: what comes before each name in the keys, as ``"lw_"`` for ``val/lw_acc``.

    Raises:
        ValueError: an argument is not as said here.

    >>> [type(callback).__name__ for callback in classification(10)]
    ['ScalarMetrics', 'ConfusionMatrix', 'PredictionGrid', 'GradientHistogram', 'CheckpointArtifact']
    """
    counts = _counts("classification", num_classes, ignore_index, task, threshold, logits)
    scores = {"acc": Derived(counts, accuracy), "f1": Derived(counts, macro_f1)}
    found: dict[str, Any] = {"preds": preds, "targets": targets, "ids": ids, "forward": forward}
    drawn = {**found, "task": task, "threshold": threshold, "logits": logits, "every_n_epochs": every_n_epochs}
    return _Preset(
        [
            ScalarMetrics(scores, prefix=prefix, **found),
            ConfusionMatrix(
                num_classes,
                class_names,
                ignore_index=ignore_index,
                normalize="true",
                examples_per_cell=examples_per_cell,
                mean=mean,
                std=std,
                inputs=inputs,
                **drawn,
            ),
            PredictionGrid(
                num_samples,
                class_names,
                select=select,
                ignore_index=ignore_index,
                mean=mean,
                std=std,
                inputs=inputs,
                max_overhead=max_overhead,
                **drawn,
            ),
            *_always(every_n_train_steps, checkpoints, max_overhead),
        ]
    )


def multilabel(
    num_labels: int,
    class_names: Sequence[str] | None = None,
    *,
    threshold: float = 0.5,
    logits: bool | None = None,
    ignore_index: int | None = None,
    num_samples: int = 32,
    select: Select = "hardest",
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    every_n_epochs: int = 1,
    every_n_train_steps: int = 50,
    checkpoints: bool = True,
    max_overhead: float | None = None,
    inputs: Extract | None = None,
    preds: Extract | None = None,
    targets: Extract | None = None,
    ids: Extract | None = None,
    forward: str | None = None,
    prefix: str = "",
) -> list[LoggingCallback]:
    """Images of any number of labels each: float scores or 0 and 1 [N, L], against 0 and 1 [N, L].

    - ``ScalarMetrics``: ``f1``, the mean over the labels, ``f1_micro``, of all labels' decisions together, and ``acc``,
      the share of right decisions, under ``train/f1_step``, ``train/f1_epoch``, ``val/f1``, ``test/f1`` and so on
    - ``MultilabelConfusionMatrix``: ``val/confusion_matrix``, a row for each label, and
      ``val/confusion_matrix_report``.
      The numbers of the matrix are ``val/confusion_matrix_accuracy``, ``val/confusion_matrix_balanced_accuracy``,
      ``val/confusion_matrix_cohen_kappa``, ``val/confusion_matrix_matthews_corrcoef``,
      ``val/confusion_matrix_macro_f1`` and ``val/confusion_matrix_mean_iou``.
    - ``PredictionGrid`` of the hardest samples: ``val/predictions`` and ``val/predictions_table``, with sets of labels

    Args:
        num_labels, class_names, threshold, logits, ignore_index: as for ``MultilabelConfusionMatrix``.
        num_samples, select, mean, std: as for ``PredictionGrid``. The hardest need scores: where preds are labels,
            write ``select="wrong"``.
        every_n_epochs, every_n_train_steps, checkpoints, max_overhead: as for ``classification``.
        inputs, preds, targets, ids, forward, prefix: as for ``classification``.

    Raises:
        ValueError: an argument is not as said here.

    >>> [type(callback).__name__ for callback in multilabel(5)]
    ['ScalarMetrics', 'MultilabelConfusionMatrix', 'PredictionGrid', 'GradientHistogram', 'CheckpointArtifact']
    """
    counts = _counts("multilabel", num_labels, ignore_index, "multilabel", threshold, logits)
    scores = {"f1": Derived(counts, macro_f1), "f1_micro": Derived(counts, micro_f1), "acc": Derived(counts, accuracy)}
    found: dict[str, Any] = {"preds": preds, "targets": targets, "ids": ids, "forward": forward}
    drawn = {**found, "threshold": threshold, "logits": logits, "every_n_epochs": every_n_epochs}
    return _Preset(
        [
            ScalarMetrics(scores, prefix=prefix, **found),
            MultilabelConfusionMatrix(num_labels, class_names, ignore_index=ignore_index, **drawn),
            PredictionGrid(
                num_samples,
                class_names,
                select=select,
                ignore_index=ignore_index,
                task="multilabel",
                mean=mean,
                std=std,
                inputs=inputs,
                max_overhead=max_overhead,
                **drawn,
            ),
            *_always(every_n_train_steps, checkpoints, max_overhead),
        ]
    )


def segmentation(
    num_classes: int,
    class_names: Sequence[str] | None = None,
    *,
    task: Literal["multiclass", "binary"] = "multiclass",
    threshold: float = 0.5,
    logits: bool | None = None,
    background: int | None = 0,
    ignore_index: int | None = None,
    num_samples: int = 16,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    every_n_epochs: int = 1,
    every_n_train_steps: int = 50,
    checkpoints: bool = True,
    max_overhead: float | None = None,
    inputs: Extract | None = None,
    preds: Extract | None = None,
    targets: Extract | None = None,
    ids: Extract | None = None,
    forward: str | None = None,
    prefix: str = "",
) -> list[LoggingCallback]:
    """A class for each pixel: float scores [N, C, H, W] or labels [N, H, W], against labels [N, H, W].

    Of two classes, one score a pixel will do: [N, 1, H, W] or [N, H, W]. Targets may be [N, 1, H, W], and floats.

    - ``ScalarMetrics``: ``iou`` and ``dice``, the means over the classes, and ``acc``, the share of right pixels, under
      ``train/iou_step``, ``train/iou_epoch``, ``val/iou``, ``test/iou`` and so on. They are of all pixels of all
      samples, not means over images.
    - ``ConfusionMatrix`` of pixels: ``val/confusion_matrix`` in percent of each true class,
      ``val/confusion_matrix_chart``, ``val/confusion_matrix_report`` and ``val/confusion_matrix_pairs``.
      The numbers of the matrix are ``val/confusion_matrix_accuracy``, ``val/confusion_matrix_balanced_accuracy``,
      ``val/confusion_matrix_cohen_kappa``, ``val/confusion_matrix_matthews_corrcoef``,
      ``val/confusion_matrix_macro_f1`` and ``val/confusion_matrix_mean_iou``.
    - ``MaskGrid``: ``val/masks``

    Args:
        num_classes, class_names: as for ``ConfusionMatrix``; the background is a class that counts like any other.
        task, threshold, logits: as for ``ConfusionMatrix`` and ``MaskGrid``.
        background: a class that is not coloured; None colours every class.
        ignore_index: a target that does not count.
        num_samples, mean, std: as for ``MaskGrid``.
        every_n_epochs, every_n_train_steps, checkpoints, max_overhead: as for ``classification``.
        inputs, preds, targets, ids, forward, prefix: as for ``classification``.

    Raises:
        ValueError: an argument is not as said here.

    >>> [type(callback).__name__ for callback in segmentation(21, checkpoints=False)]
    ['ScalarMetrics', 'ConfusionMatrix', 'MaskGrid', 'GradientHistogram']
    """
    counts = _counts("segmentation", num_classes, ignore_index, task, threshold, logits)
    scores = {"iou": Derived(counts, mean_iou), "dice": Derived(counts, macro_f1), "acc": Derived(counts, accuracy)}
    found: dict[str, Any] = {"preds": preds, "targets": targets, "ids": ids, "forward": forward}
    read = {"task": task, "threshold": threshold, "logits": logits, "ignore_index": ignore_index}
    drawn = {**found, **read, "every_n_epochs": every_n_epochs}
    return _Preset(
        [
            ScalarMetrics(scores, prefix=prefix, **found),
            ConfusionMatrix(num_classes, class_names, normalize="true", **drawn),
            MaskGrid(
                num_samples,
                class_names,
                background=background,
                mean=mean,
                std=std,
                inputs=inputs,
                max_overhead=max_overhead,
                **drawn,
            ),
            *_always(every_n_train_steps, checkpoints, max_overhead),
        ]
    )


def reconstruction(
    *,
    data_range: float = 1.0,
    num_samples: int = 32,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    every_n_epochs: int = 1,
    every_n_train_steps: int = 50,
    checkpoints: bool = True,
    max_overhead: float | None = None,
    inputs: Extract | None = None,
    preds: Extract | None = None,
    ids: Extract | None = None,
    forward: str | None = None,
    prefix: str = "",
) -> list[LoggingCallback]:
    """Images that should come out as they went in: float [N, 1 or 3, H, W] against inputs of that shape.

    - ``ScalarMetrics``: ``mse``, the squared error per pixel and channel, and ``psnr``, the same in decibels, under
      ``train/mse_step``, ``train/mse_epoch``, ``val/mse``, ``test/mse`` and so on
    - ``ImageMosaic``: ``val/mosaic``, output on top of input

    Args:
        data_range: the distance from black to white in the inputs: 1 for [0, 1], 2 for [-1, 1].
        num_samples, mean, std: as for ``ImageMosaic``.
        every_n_epochs, every_n_train_steps, checkpoints, max_overhead: as for ``classification``.
        inputs, preds, ids, forward, prefix: as for ``classification``. Where a network is to give something else than
            it was given, as in denoising, let ``inputs`` be that.

    Raises:
        ValueError: an argument is not as said here.

    >>> [type(callback).__name__ for callback in reconstruction(data_range=2)]
    ['ScalarMetrics', 'ImageMosaic', 'GradientHistogram', 'CheckpointArtifact']
    """
    decibels = partial(psnr, data_range=data_range)
    scores: dict[str, Metric | Derived] = {"mse": MeanSquaredError(), "psnr": Derived(MeanSquaredError(), decibels)}
    found: dict[str, Any] = {"inputs": inputs, "preds": preds, "ids": ids, "forward": forward}
    return _Preset(
        [
            ScalarMetrics(scores, fields=("preds", "inputs"), prefix=prefix, **found),
            ImageMosaic(
                num_samples, mean=mean, std=std, every_n_epochs=every_n_epochs, max_overhead=max_overhead, **found
            ),
            *_always(every_n_train_steps, checkpoints, max_overhead),
        ]
    )


def _counts(preset: str, *args: Any) -> ConfusionCounts:
    try:
        return ConfusionCounts(*args)
    except ValueError as error:
        told = str(error).removeprefix("ConfusionCounts: ")
        told = told.replace("num_classes", "num_labels") if preset == "multilabel" else told
        raise ValueError(f"presets.{preset}: {told}") from error


def _always(every_n_train_steps: int, checkpoints: bool, max_overhead: float | None) -> list[LoggingCallback]:
    artifact = [CheckpointArtifact(missing_ok=True)] if checkpoints else []
    return [GradientHistogram(every_n_train_steps, max_overhead=max_overhead), *artifact]
