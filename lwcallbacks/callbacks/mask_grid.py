"""MaskGrid: images with their true and their predicted segmentation mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from lwcallbacks.callbacks.base import Entries, check_ignore_index, check_overhead, plain
from lwcallbacks.callbacks.names import class_names_of
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import check_number, expect_channels_first, warn_unnamed
from lwcallbacks.callbacks.select import PLAIN, Select, check_select, sample_need
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import Extract
from lwcallbacks.labels import given, mask_labels, mask_of, one_score, truth_of
from lwcallbacks.media import (
    CONFUSED,
    INVENTED,
    MISSED,
    RIGHT,
    Annotated,
    Classes,
    Image,
    Layer,
    annotated,
    errors_layer,
    to_pixels,
)
from lwcallbacks.media.pixels import check_statistics
from lwcallbacks.reductions import Chosen, FieldError, ScoreRange
from lwcallbacks.reductions.score_range import check_scores


class MaskGrid(StateCallback):
    """Show a fixed choice of samples with their true mask, their predicted mask, and where the two differ.

    To W&B go the images with native masks "ground truth", "prediction" and "errors", each with the names of its
    classes. Elsewhere the four stand beside each other, below a legend: the input; the two masks in colours over the
    image in grey; and the errors, where a pixel of a class is right (blue), missed (yellow: the background was
    predicted, or nothing) or taken for another class (purple), and one of the background with a predicted class is
    invented (vermilion). The caption tells the share of each among those pixels. The colours differ for people of any
    colour vision.

    A pixel whose score is NaN, or no probability where it should be one, has no class and no colour. Where a target
    does not count, nothing is coloured and nothing is an error. The choice depends on ``select``, ``seed`` and the
    samples, not on how they are batched or split over processes. ``results["val"]`` is the `Chosen`, its payload
    images, predicted and true labels, int64 [N, H, W], -1 where there is none; on process 0 only.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index, a list or a dict; the indices if left out.
        background: a class that is not coloured; None colours every class.
        task: "multiclass", or "binary" for one score for each label, which "multiclass" takes, too, where there are
            two classes.
        threshold: where there is one score for each label: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores of
            the epoch together: in [0, 1] they are probabilities, any below -0.5 or above 1.5 makes them logits, and
            between the two a warning asks for this argument.
        ignore_index: a target that does not count.
        alpha: how much of a mask is colour, 0 to 1.
        select: "random" for those that ``seed`` draws; "first" for the first of the data set, which a loader tells that
            does not shuffle, and with another it is an error at the first batch; or a function of outputs and batch, or
            its name "package.module.f", for those of the largest score, of which it gives one for each sample [N].
        seed: another seed, another draw.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: float scores [N, C, H, W]; one score a pixel, [N, 1, H, W] or [N, H, W];
            or integer labels [N, H, W] or [N, 1, H, W].
        targets: where to find the true labels [N, H, W] or [N, 1, H, W], of any dtype: floats are whole numbers. While
            predicting they may be missing.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys. Two of a class in one Trainer need two names.
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
    ``{stage}/{name}``               images with masks, each with a caption like "right 93%, missed 4%, invented 3%"
    ================================ =======================================================

    >>> MaskGrid(8, ["background", "road"], task="binary", logits=True, name="roads").prefixes("val")
    {'val/roads'}
    >>> MaskGrid(alpha=60)
    Traceback (most recent call last):
    ValueError: MaskGrid: alpha=60, expected a share of 0 to 1
    """

    def __init__(
        self,
        num_samples: int = 16,
        class_names: Sequence[str] | None = None,
        *,
        background: int | None = 0,
        task: Literal["multiclass", "binary"] = "multiclass",
        threshold: float = 0.5,
        logits: bool | None = None,
        ignore_index: int | None = None,
        alpha: float = 0.6,
        select: Select = "random",
        seed: int = 0,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "masks",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        self.max_overhead = check_overhead("MaskGrid", max_overhead)
        check_number("MaskGrid", num_samples)
        check_select("MaskGrid", select, seed, PLAIN)
        if not 0 <= alpha <= 1:
            raise ValueError(f"MaskGrid: alpha={alpha!r}, expected a share of 0 to 1")
        check_scores("MaskGrid", task, threshold, logits, ("multiclass", "binary"))
        self.num_samples = num_samples
        self.class_names = class_names_of("MaskGrid", class_names)
        self.task = task
        self.threshold = threshold
        self.logits = logits
        self.background = background
        self.ignore_index = check_ignore_index("MaskGrid", ignore_index)
        self.alpha = alpha
        self.select = select
        self.seed = seed
        check_statistics("MaskGrid", mean, std)
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward
        self._said: set[str] = set()

    def remembered(self, stage: str) -> Mapping[str, Need]:
        fields, optional = ("inputs", "preds", "targets"), frozenset({"targets"} if stage == "predict" else ())
        prepare = _Masks(self.task == "binary", self.threshold, self.logits)
        needs = {
            "sample": sample_need(self.select, self.num_samples, self.seed, fields, self.source, optional, prepare)
        }
        if self.logits is None:
            needs["range"] = Need(ScoreRange(), ("preds",), self.source, prepare=one_score)
        return needs

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen = self._labelled(values)
        if self.class_names is not None:
            masks, names = (mask.numpy() for mask in chosen.payload[1:]), len(self.class_names)
            seen = [label for mask in masks for label in self._unnamed(mask, names)]
            warn_unnamed(f"MaskGrid({self.name!r})", self.class_names, seen, self._said, True, self.ignore_index)
        return chosen

    def _labelled(self, values: Mapping[str, Any]) -> Chosen:
        """The choice with labels as its masks."""
        chosen: Chosen = values["sample"]
        kind = given(self.logits) or values["range"]
        masks = (mask_labels(mask, kind) for mask in chosen.payload[1:])
        return Chosen(chosen.ids, chosen.scores, (*chosen.payload[:1], *masks))

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, *kept = self._labelled(values).payload
        pixels = to_pixels(inputs, self.mean, self.std, self.note_of_images)
        guess, *truths = (mask.numpy() for mask in kept)
        if self.ignore_index is not None:
            guess = np.where(np.any([truth == self.ignore_index for truth in truths], axis=0), -1, guess)
            truths = [np.where(truth == self.ignore_index, -1, truth) for truth in truths]
        plain = set() if self.background is None else {self.background}
        classes = Classes.of([guess, *truths], self.class_names or (), plain)
        if classes.left_out:
            self.note(
                f"there are {classes.left_out + 255} classes in the masks, expected at most 255: the rest is grey"
            )
        return {key: [self._image(Image(p), classes, *masks) for p, *masks in zip(pixels, guess, *truths, strict=True)]}

    def _image(self, image: Image, classes: Classes, guess: np.ndarray, *truths: np.ndarray) -> Annotated:
        layers = [classes.layer("ground truth", truth, self.alpha) for truth in truths]
        layers.append(classes.layer("prediction", guess, self.alpha))
        errors = [errors_layer(truth, guess, self.background, self.alpha) for truth in truths]
        return annotated(Image(image.pixels, *map(_shares, errors)), [*layers, *errors])

    def _unnamed(self, mask: np.ndarray, names: int) -> set[int]:
        """The classes of a mask that have a colour and none of so many names: few pixels, which are soon sorted."""
        return {*np.unique(mask[mask >= names]).tolist()} - {self.background, self.ignore_index}


def _shares(errors: Layer) -> str:
    """How many of the pixels that have a class, in the truth or the prediction, are right, and what the others are."""
    counts = {kind: int((errors.labels == kind).sum()) for kind in (RIGHT, MISSED, INVENTED, CONFUSED)}
    total = sum(counts.values())
    shares = {errors.classes[kind]: count / total for kind, count in counts.items() if count}
    return ", ".join(f"{name} {_percent(share)}" for name, share in shares.items()) or "nothing there, nothing found"


def _percent(share: float) -> str:
    """In whole percent; what is not all is never 100 %."""
    return "<1%" if share < 0.01 else ">99%" if 0.99 < share < 1 else f"{share:.0%}"


@dataclass(frozen=True)
class _Masks:
    """What is kept of a batch: the images, and a number for each pixel of the masks."""

    is_binary: bool
    threshold: float
    logits: bool | None

    def __call__(self, ids: Tensor, inputs: Tensor, preds: Tensor, targets: Tensor | None = None) -> tuple[Tensor, ...]:
        expect_channels_first(inputs=inputs)
        size, truths = (len(inputs), *inputs.shape[-2:]), [t for t in (targets,) if t is not None]
        channel = (size[0], 1, *size[1:])
        several = preds.is_floating_point() and not self.is_binary and preds.ndim == 4
        fits = preds.shape in (size, channel) or (several and (preds.shape[0], *preds.shape[2:]) == size)
        if inputs.ndim != 4 or not fits or any(t.shape not in (size, channel) for t in truths):
            fields = {"inputs": inputs, "preds": preds, "targets": targets}
            shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in fields.items() if t is not None)
            raise FieldError(f"found {shapes}, expected {_EXPECTED}{self._advice(preds, targets)}")
        return ids, inputs, mask_of(preds, self.threshold, self.logits), *map(truth_of, truths)

    def _advice(self, preds: Tensor, targets: Tensor | None) -> str:
        if targets is not None and targets.ndim == 4 and targets.shape[1] > 1:
            return "; for one-hot masks write targets=lambda outputs, batch: batch[1].argmax(1)"
        if self.is_binary and preds.ndim == 4 and preds.shape[1] > 1:
            return "; for several scores a pixel write task='multiclass'"
        if preds.ndim < 3 and targets is not None and targets.ndim < 3:
            return "; for a label a sample write PredictionGrid()"
        return ""


_EXPECTED = (
    "inputs (N, 1 or 3, H, W), preds (N, C, H, W) scores, (N, H, W) labels or either as (N, 1, H, W), "
    "targets (N, H, W) or (N, 1, H, W)"
)
