"""Boxes that were kept of a sample: where they are in its picture, which belong together, and what is odd about them.

read = Reading("xyxy", normalized=False, most=100)
preds, truths = read.boxes(packed, size=(480, 640), drawn=(240, 320)), ...
marks, caption = compared(preds, truths, class_names, min_score=0.25, iou_threshold=0.5)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lwcallbacks.capture import BoxesForm
from lwcallbacks.media import Mark, ltwh, matches


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image, left, top, width and height in pixels of its picture; with labels, and scores or NaN."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Reading:
    """How boxes are read."""

    box_format: str
    normalized: bool
    most: int

    @property
    def form(self) -> BoxesForm:
        return BoxesForm(self.most, self.box_format)

    def boxes(self, packed: np.ndarray, size: tuple[int, int], drawn: tuple[int, int]) -> Boxes:
        """Those of an image, in pixels of its picture.

        Args:
            packed: as `form` gives them, [most + 1, 6].
            size, drawn: height and width of the image, and of its picture.
        """
        rows = packed[1:][~np.isnan(packed[1:, 0])]
        down, across = (new / old for new, old in zip(drawn, size, strict=True))
        boxes = ltwh(rows[:, :4], self.box_format, self.normalized, size) * [across, down, across, down]
        return Boxes(boxes, rows[:, 4].astype(int), rows[:, 5].astype(np.float64))

    def doubts(self, name: str, packed: np.ndarray, sizes: np.ndarray) -> Iterator[str]:
        """What is left out of a field "preds" or "targets" [N, most + 1, 6], and what looks like another form."""
        counts, none = packed[:, 0, 0].astype(int), int(packed[:, 0, 1].sum())
        beyond, prefix = int((counts - self.most).clip(0).sum()), "" if name == "preds" else "target_"
        if beyond:
            which = "those of the smallest scores" if name == "preds" else "the last of each image"
            yield (
                f"{beyond} of {counts.sum()} boxes in {name} are not drawn, {which}: an image has up to "
                f"{counts.max()}, and max_boxes={self.most} are kept. Write max_boxes={counts.max()} to see all"
            )
        if none:
            yield (
                f"entries of {name} have no area, a number that is not finite or a negative label: {none} are not "
                f"drawn. Boxes are read as {self.box_format!r}; if they are others, write {prefix or 'box_'}format="
            )
        shown = packed[:, 1:, :4][np.isfinite(packed[:, 1:, 0])]
        if len(shown) and not self.normalized and shown.max() <= 1 and sizes.min() > 2:
            yield (
                f"all boxes in {name} are within the first pixel. If they are parts of the image, write "
                f"{prefix}normalized=True"
            )
        if len(shown) and self.normalized and np.median(shown.max(axis=1)) > 2:
            yield (
                f"most boxes in {name} reach beyond twice their image. If they are in pixels, write "
                f"{prefix}normalized=False"
            )


def compared(
    preds: Boxes, truths: Boxes | None, names: Sequence[str], min_score: float, iou_threshold: float
) -> tuple[list[Mark], str]:
    """The boxes of one image as they are drawn, and in words how many are right; `truths` are None where none is known.

    Predictions with a score below `min_score` are counted only.
    """
    sure = ~(preds.scores < min_score)  # NaN is not known to be low
    few = int((~sure).sum())
    preds = Boxes(preds.boxes[sure], preds.labels[sure], preds.scores[sure])
    below = f", {few} below {min_score:g} not drawn" if few else ""
    if truths is None:
        return _marks(preds, names, [None] * len(preds.boxes), is_truth=False), f"{len(preds.boxes)} predicted{below}"
    found = matches(preds.boxes, preds.labels.tolist(), truths.boxes, truths.labels.tolist(), iou_threshold)
    hit = {index for index in found if index is not None}
    counts = {"right": len(hit), "missed": len(truths.boxes) - len(hit), "invented": len(found) - len(hit)}
    caption = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing there"
    there = _marks(truths, names, [index in hit for index in range(len(truths.boxes))], is_truth=True)
    return [*there, *_marks(preds, names, [index is not None for index in found], is_truth=False)], caption + below


def _marks(boxes: Boxes, names: Sequence[str], match: Sequence[bool | None], is_truth: bool) -> list[Mark]:
    columns = boxes.boxes.tolist(), boxes.labels.tolist(), boxes.scores.tolist(), match
    return [
        Mark(tuple(box), names[c] if c < len(names) else str(c), c, None if np.isnan(s) else s, is_truth, is_match)
        for box, c, s, is_match in zip(*columns, strict=True)
    ]
