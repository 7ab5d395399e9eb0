"""PredictionGrid: images with what was predicted and what is true, wrong ones marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lwcallbacks.callbacks.base import Entries, check_overhead, plain
from lwcallbacks.callbacks.names import class_names_of
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import check_sample, sample_need, warn_unnamed
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import Extract
from lwcallbacks.labels import NO_LABEL, classify, classify_labels, given, is_one_score, one_score, several_scores
from lwcallbacks.media import Cell, Image, Table, framed, to_pixels
from lwcallbacks.reductions import Chosen, FieldError, ScoreRange
from lwcallbacks.reductions.fitting import whole
from lwcallbacks.reductions.score_range import check_scores

WRONG, RIGHT = (214, 39, 40), (200, 200, 200)


class PredictionGrid(StateCallback):
    """Show a fixed choice of samples with predicted and true label.

    A wrong prediction has a red frame, a right one a grey one. One of a score that is NaN, or no probability where it
    should be one, is shown as "?". With scores the table holds the confidence, for a set of labels that in its least
    sure one; of several scores [N, C] it is their softmax, unless they are probabilities: all in [0, 1], or about, with
    rows of sum 1. The choice depends on ``seed`` and the samples, not on
    how they are batched or split over processes. ``results["val"]`` is the `Chosen`; its images are on process 0 only.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index, a list or a dict; the indices if left out.
        seed: another seed, another choice. None takes the first samples of the data set instead, which a loader tells
            that does not shuffle; with another it is an error at the first batch.
        frame: whether images have their frame of two pixels.
        task: "multiclass" for one label a sample (also of two classes); "binary" for one score a sample, which
            "multiclass" takes, too; or "multilabel" for a set of labels.
        threshold: where there is one score for each label: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores of
            the epoch together: in [0, 1] they are probabilities, any below -0.5 or above 1.5 makes them logits, and
            between the two a warning asks for this argument.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: integer labels [N] or float scores [N, C]; binary [N] or [N, 1];
            multilabel 0 or 1, or float scores, [N, L].
        targets: where to find the true labels [N] or [N, 1]; multilabel 0 or 1 [N, L]; of any dtype. While predicting
            they may be missing.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, a field was not found or does not have this
            shape.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               images, each with the caption "Pred:3, Label:5" (multilabel: "Pred:1,3, Label:3")
    ``{stage}/{name}_table``         table: image, pred, target, confidence
    ================================ =======================================================

    >>> PredictionGrid(32, ["cat", "dog"], seed=1).prefixes("val")
    {'val/predictions'}
    >>> PredictionGrid(0)
    Traceback (most recent call last):
    ValueError: PredictionGrid: num_samples=0, expected an int of at least 1
    """

    def __init__(
        self,
        num_samples: int = 32,
        class_names: Sequence[str] | None = None,
        *,
        seed: int | None = 0,
        frame: bool = True,
        task: Literal["multiclass", "binary", "multilabel"] = "multiclass",
        threshold: float = 0.5,
        logits: bool | None = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "predictions",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        self.max_overhead = check_overhead("PredictionGrid", max_overhead)
        check_sample("PredictionGrid", num_samples, seed)
        check_scores("PredictionGrid", task, threshold, logits)
        self.num_samples = num_samples
        self.frame = frame
        self.task = task
        self.threshold = threshold
        self.logits = logits
        self.class_names = class_names_of("PredictionGrid", class_names)
        self.seed = seed
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward
        self._said: set[str] = set()

    def remembered(self, stage: str) -> Mapping[str, Need]:
        # What is predicted may have no target yet.
        fields, optional = ("inputs", "preds", "targets"), frozenset({"targets"} if stage == "predict" else ())
        prepare = _as_sets if self.task == "multilabel" else _as_labels
        needs = {"sample": sample_need(self.num_samples, self.seed, fields, self.source, optional, prepare)}
        if self.logits is not None:
            return needs
        if self.task == "multilabel":
            return {**needs, "range": Need(ScoreRange(), ("preds",), self.source)}
        # Only one score a sample is read in one of two ways. Of several, the largest wins, and no one need be asked.
        needs["range"] = Need(ScoreRange(), ("preds",), self.source, prepare=one_score)
        if self.task == "multiclass":
            needs["spread"] = Need(ScoreRange(asks=False), ("preds",), self.source, prepare=several_scores)
        return needs

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        seen = [label for of_each in self._shown(chosen.payload[1:], values) for label in of_each if label is not None]
        warn_unnamed(f"PredictionGrid({self.name!r})", self.class_names, seen, self._said)
        return chosen

    def _shown(self, fields: Sequence[Tensor], values: Mapping[str, Any]) -> list[list[int | None]]:
        """The labels of each sample's prediction and truth, one after another; None for an unknown one."""
        if not fields:
            return []
        sets = [self._predicted(fields[0], values)[0], *map(self._sets, fields[1:])]
        return [labels for of_field in sets for labels in of_field]

    def _predicted(self, preds: Tensor, values: Mapping[str, Any]) -> tuple[list[list[int | None]], Tensor | None]:
        """The labels that were predicted for each sample, and the confidence in them."""
        several = preds.is_floating_point() and not is_one_score(preds) and self.task == "multiclass"
        kind = given(self.logits) or values["spread" if several else "range"]
        if self.task == "multilabel":
            labels, confidence = classify_labels(preds, kind, self.threshold)
            unknown = labels[:, :0].any(dim=1) if confidence is None else confidence.isnan()
        else:
            labels, confidence = classify(preds, kind, self.threshold)
            unknown = (labels == NO_LABEL) & (confidence is not None)
        sets = zip(self._sets(labels), unknown.tolist(), strict=True)
        return [[None] if none else one for one, none in sets], confidence

    def _sets(self, labels: Tensor) -> list[list[int | None]]:
        """The label, or the labels that are there, of each sample."""
        if self.task == "multilabel":
            return [row.nonzero().flatten().tolist() for row in whole(labels) > 0]
        return whole(labels).reshape(-1, 1).tolist()

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, preds, *rest = values["sample"].payload
        sets, confidence = self._predicted(preds, values)
        guesses = self._names(sets)
        truths: list[str] | list[None] = self._names(self._sets(rest[0])) if rest else [None] * len(guesses)
        sure = (
            [None] * len(guesses) if confidence is None else [None if math.isnan(c) else c for c in confidence.tolist()]
        )
        images: list[Image] = []
        rows: list[list[Cell]] = []
        for pixels, pred, target, share in zip(
            to_pixels(inputs, self.mean, self.std, self.note), guesses, truths, sure, strict=True
        ):
            caption = f"Pred:{pred}" if target is None else f"Pred:{pred}, Label:{target}"
            shown = framed(pixels, RIGHT if target in (None, pred) else WRONG) if self.frame else pixels
            images.append(Image(shown, caption))
            rows.append([images[-1], pred, target, share])  # the same image, so that it is encoded once
        return {key: images, f"{key}_table": Table(("image", "pred", "target", "confidence"), rows)}

    def _names(self, sets: list[list[int | None]]) -> list[str]:
        """What is written of each sample's label, or set of labels."""
        return [",".join(map(self._name, one)) or "none" for one in sets]

    def _name(self, label: int | None) -> str:
        names = self.class_names or ()
        return "?" if label is None else names[label] if 0 <= label < len(names) else str(label)


def _as_labels(ids: Tensor, inputs: Tensor, preds: Tensor, targets: Tensor | None = None) -> tuple[Tensor, ...]:
    """Preds [N], [N, 1] or float [N, C] with targets [N] or [N, 1], in that form."""
    truths = [t.squeeze(1) if t.ndim == 2 and t.shape[1] == 1 else t for t in (targets,) if t is not None]
    labels = preds.ndim == 1 or (preds.ndim == 2 and (preds.shape[1] == 1 or preds.is_floating_point()))
    if not labels or any(t.ndim != 1 for t in truths):
        expected = "preds as float scores (N, C) or labels (N,), and targets as labels (N,)"
        raise FieldError(f"{_shapes(preds, targets)}, expected {expected}{_for_sets(preds, targets)}")
    return ids, inputs, preds, *truths


def _as_sets(ids: Tensor, inputs: Tensor, preds: Tensor, targets: Tensor | None = None) -> tuple[Tensor, ...]:
    """Preds and targets [N, L]."""
    truths = [t for t in (targets,) if t is not None]
    if preds.ndim != 2 or any(t.shape != preds.shape for t in truths):
        raise FieldError(
            f"{_shapes(preds, targets)}, expected both (N, L); for one label a sample write task='multiclass'"
        )
    return ids, inputs, preds, *truths


def _shapes(preds: Tensor, targets: Tensor | None) -> str:
    found = f"preds are {preds.dtype} {tuple(preds.shape)}"
    return found if targets is None else f"{found} and targets {targets.dtype} {tuple(targets.shape)}"


def _for_sets(preds: Tensor, targets: Tensor | None) -> str:
    if preds.ndim == 4:
        return "; for a label a pixel write MaskGrid()"
    same = targets is not None and targets.shape == preds.shape and preds.ndim == 2
    if not same:
        return ""
    one_hot = "for one-hot targets write targets=lambda outputs, batch: batch[1].argmax(1)"
    return f"; {one_hot}, for a set of labels a sample task='multilabel'"
