"""BoxGrid: images with the boxes that are there and those that were predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from lwcallbacks.callbacks.base import Entries, check_overhead, plain
from lwcallbacks.callbacks.boxes import Reading, compared
from lwcallbacks.callbacks.names import class_names_of
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import (
    both,
    check_number,
    check_size,
    expect_channels_first,
    full_sizes,
    sized,
    warn_unnamed,
)
from lwcallbacks.callbacks.select import PLAIN, Select, check_select, sample_need
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import FORMATS, Extract, ImagesForm, drawn_size
from lwcallbacks.media import Image, annotated, to_pixels
from lwcallbacks.media.pixels import check_statistics
from lwcallbacks.reductions import Chosen, FieldError

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]


class BoxGrid(StateCallback):
    """Show a fixed choice of samples with their true and their predicted boxes.

    To W&B go the images with native boxes "ground truth" and "predictions". Elsewhere each image stands beside itself
    with its boxes: true ones dashed, predicted ones in one line with label and score. Those that belong together are
    blue: predictions are asked in the order of their scores, and each takes the true box of its label with the largest
    IoU that none has taken before, if that is at least ``iou_threshold``. All others are orange: a true box that was
    missed, and a prediction without such an object. This is for the colours only, and no metric.

    Images and boxes may be as detection code has them: a list of images of unlike sizes, or a tensor; and for each
    image a mapping of "boxes" [n, 4], "labels" [n] and "scores" [n], as torchvision gives them, or padded tensors [N,
    M, 4] and [N, M]. The choice depends on ``select``, ``seed`` and the samples, not on how they are batched or split
    over processes. ``results["val"]`` is the `Chosen`, on process 0 only with its payload: images [N, C, H, W], their
    sizes int32 [N, 2], and predicted and true boxes float32 [N, ``max_boxes`` + 1, 6], as `BoxesForm` describes them.
    Memory: that of this payload.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index, a list or a dict; the indices if left out.
        box_format: "xyxy", two corners; "xywh", the upper left corner, width and height; "cxcywh", the centre, width
            and height.
        normalized: whether boxes are in parts of the image's width and height, and not in pixels.
        target_format: the format of true boxes, if it is another.
        target_normalized: whether true boxes are normalised, if they are otherwise than the predicted ones.
        min_score: a prediction of a lower score is not drawn; the caption tells how many.
        iou_threshold: from which IoU on two boxes belong together.
        max_boxes: for each image so many predictions of the largest scores are kept, of equal scores the first, and so
            many true boxes, the first. How many are left out is said once.
        size: height and width, or both in one number, of the place that an image of a list has. A larger one is drawn
            smaller. Images in a tensor are kept as they are.
        select: "random" for those that ``seed`` draws; "first" for the first of the data set, which a loader tells that
            does not shuffle, and with another it is an error at the first batch; or a function of outputs and batch, or
            its name "package.module.f", for those of the largest score, of which it gives one for each sample [N].
        seed: another seed, another draw.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predicted boxes, in one of these layouts.
        targets: where to find the true boxes, in one of these layouts. While predicting they may be missing.
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
            form.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               images with boxes, each with a caption like "3 right, 1 missed, 2 invented"
    ================================ =======================================================

    >>> BoxGrid(8, ["background", "car"], box_format="cxcywh", normalized=True, name="cars").prefixes("val")
    {'val/cars'}
    >>> BoxGrid(box_format="yxyx")
    Traceback (most recent call last):
    ValueError: BoxGrid: box_format='yxyx', expected 'xyxy', 'xywh' or 'cxcywh'
    """

    def __init__(
        self,
        num_samples: int = 16,
        class_names: Sequence[str] | None = None,
        *,
        box_format: BoxFormat = "xyxy",
        normalized: bool = False,
        target_format: BoxFormat | None = None,
        target_normalized: bool | None = None,
        min_score: float = 0.25,
        iou_threshold: float = 0.5,
        max_boxes: int = 100,
        size: int | tuple[int, int] = 320,
        select: Select = "random",
        seed: int = 0,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "boxes",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        self.max_overhead = check_overhead("BoxGrid", max_overhead)
        check_number("BoxGrid", num_samples)
        check_select("BoxGrid", select, seed, PLAIN)
        for argument, value in {"box_format": box_format, "target_format": target_format or box_format}.items():
            if value not in FORMATS:
                raise ValueError(f"BoxGrid: {argument}={value!r}, expected 'xyxy', 'xywh' or 'cxcywh'")
        if not isinstance(max_boxes, int) or max_boxes < 1:
            raise ValueError(f"BoxGrid: max_boxes={max_boxes!r}, expected an int of at least 1")
        if not 0 < iou_threshold <= 1:
            raise ValueError(f"BoxGrid: iou_threshold={iou_threshold!r}, expected a number above 0 and at most 1")
        self.num_samples = num_samples
        self.class_names = class_names_of("BoxGrid", class_names)
        self.box_format = box_format
        self.normalized = normalized
        self.target_format = target_format
        self.target_normalized = target_normalized
        self.min_score = min_score
        self.iou_threshold = iou_threshold
        self.max_boxes = max_boxes
        self.size = check_size("BoxGrid", plain(size))
        self.select = select
        self.seed = seed
        check_statistics("BoxGrid", mean, std)
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward
        self._said: set[str] = set()

    def remembered(self, stage: str) -> Mapping[str, Need]:
        forms = {
            "inputs": ImagesForm(both(self.size)),
            **{name: read.form for name, read in zip(("preds", "targets"), self._readings, strict=True)},
        }
        fields, unknown = ("inputs", "inputs.size", "preds", "targets"), {"targets"} if stage == "predict" else set()
        source = replace(self.source, forms=tuple(forms.items()))
        optional = frozenset({"inputs.size", *unknown})
        return {"sample": sample_need(self.select, self.num_samples, self.seed, fields, source, optional, _images)}

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        labels = [int(n) for boxes in chosen.payload[2:] for n in boxes[:, 1:, 4].flatten().tolist() if n >= 0]
        warn_unnamed(f"BoxGrid({self.name!r})", self.class_names, labels, self._said)
        return chosen

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, sizes, *kept = values["sample"].payload
        pixels = to_pixels(inputs, self.mean, self.std, self.note_of_images)
        packed = [boxes.numpy() for boxes in kept]
        for name, read, boxes in zip(("preds", "targets"), self._readings, packed, strict=False):
            for text in read.doubts(name, boxes, sizes.numpy()):
                self.note(text)
        shown = []
        for i, (image, (high, wide)) in enumerate(zip(pixels, sizes.tolist(), strict=True)):
            height, width = drawn_size((high, wide), (image.shape[0], image.shape[1]))
            found = [
                read.boxes(boxes[i], (high, wide), (height, width))
                for read, boxes in zip(self._readings, packed, strict=False)
            ]
            preds, truths = found[0], found[1] if len(found) > 1 else None
            marks, caption = compared(preds, truths, self.class_names or (), self.min_score, self.iou_threshold)
            shown.append((Image(image[:height, :width], caption), marks))
        names = {mark.class_id: mark.label for _, marks in shown for mark in marks}
        return {key: [annotated(image, (), marks, names, has_marks=True) for image, marks in shown]}

    @property
    def _readings(self) -> tuple[Reading, Reading]:
        """How predicted and true boxes are read."""
        is_normalized = self.normalized if self.target_normalized is None else self.target_normalized
        truths = Reading(self.target_format or self.box_format, is_normalized, self.max_boxes)
        return Reading(self.box_format, self.normalized, self.max_boxes), truths


def _images(ids: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
    (inputs, sizes), *boxes = sized(fields)
    expect_channels_first(inputs=inputs)
    if inputs.ndim != 4:
        found = f"inputs {tuple(inputs.shape)}"
        raise FieldError(f"found {found}, expected images (N, 1 or 3, H, W), or a list of (1 or 3, H, W)")
    return ids, inputs, full_sizes(inputs) if sizes is None else sizes, *(packed for packed, _ in boxes)
