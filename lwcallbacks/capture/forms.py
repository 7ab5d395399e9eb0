"""Fields that are no tensor, as tensors of fixed shape: images of unlike sizes, and boxes as detection code has them.

    ImagesForm((320, 320)).read([image_a, image_b])             # [2, C, 320, 320], each in the upper left corner
    ImagesForm((320, 320)).read([image_a, image_b], "size")     # int32 [2, 2]: the height and width of each
    BoxesForm(100).read([{"boxes": boxes, "labels": labels, "scores": scores}, ...])        # float32 [N, 101, 6]

Shapes are known on the host, so nothing here waits for a device. What is made of a sample depends on that sample alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from lwcallbacks.capture.errors import CaptureError
from lwcallbacks.capture.look import describe, part
from lwcallbacks.capture.tensors import as_tensor, has_samples

FORMATS = ("xyxy", "xywh", "cxcywh")
_BOXES = ("boxes", "bboxes", "bbox")
_LABELS = ("labels", "label", "class_labels", "classes", "category_ids")
_SCORES = ("scores", "score", "confidences")


class Form(ABC):
    """How to read a field. Implementations are frozen dataclasses: equal forms read alike."""

    is_tensor_too = False
    """Whether a tensor in the usual places is the field as it is."""

    is_first = False
    """Whether what `fits` goes before such a tensor."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value may be the field; a look at types, keys and shapes."""

    @abstractmethod
    def read(self, value: Any, part: str = "") -> Any:
        """The field as a tensor [N, ...], or as `Items`; `part` is a further one that belongs to it, or None.

        Raises:
            CaptureError: it is nothing of the kind.
        """


@dataclass(frozen=True)
class ImagesForm(Form):
    """Images as one tensor [N, C, H, W], or as a list of [C, H, W] or [H, W] of unlike sizes.

    Those of a list become [N, C, *size]. Each stands in the upper left corner and keeps its pixels; one that is larger
    is made smaller until it fits, by taking the pixel that is nearest. The rest of the place is the value of its first
    pixel, so that it has no values that the image has not. Part "size" is the height and width that each of a list had.

    >>> form = ImagesForm((4, 4))
    >>> form.read([torch.ones(1, 2, 3), torch.zeros(1, 8, 4)]).shape
    torch.Size([2, 1, 4, 4])
    >>> form.read([torch.ones(1, 2, 3), torch.zeros(1, 8, 4)], "size").tolist(), drawn_size((8, 4), (4, 4))
    ([[2, 3], [8, 4]], (4, 2))
    """

    size: tuple[int, int]

    is_tensor_too = True

    def fits(self, value: Any) -> bool:
        return _is_sequence(value) and bool(value) and all(getattr(image, "ndim", 0) == 3 for image in value)

    def read(self, value: Any, part: str = "") -> Tensor | None:
        tensor = None if _is_sequence(value) and all(map(has_samples, value)) else as_tensor(value)
        if tensor is not None:
            return None if part else tensor
        images = [as_tensor(image) for image in value] if _is_sequence(value) else []
        images = [image[None] if image is not None and image.ndim == 2 else image for image in images]
        kinds = {(image.shape[0], image.dtype) if image is not None and image.ndim == 3 else None for image in images}
        if len(kinds) != 1 or None in kinds:
            raise CaptureError(
                f"it is {describe(value)}, expected images [N, C, H, W] or a list of [C, H, W] of one dtype and number "
                "of channels"
            )
        found = [image for image in images if image is not None]
        sizes = torch.tensor([image.shape[1:] for image in found], dtype=torch.int32)
        if part:
            return sizes.to(found[0].device, non_blocking=True)
        return torch.stack([self._placed(image) for image in found])

    def _placed(self, image: Tensor) -> Tensor:
        height, width = drawn_size((image.shape[1], image.shape[2]), self.size)
        if (height, width) != tuple(image.shape[1:]):
            rows, columns = (
                (2 * torch.arange(new, device=image.device) + 1) * old // (2 * new)
                for new, old in ((height, image.shape[1]), (width, image.shape[2]))
            )
            image = image[:, rows][:, :, columns]
        place = image[:, :1, :1].expand(-1, *self.size).clone()
        place[:, :height, :width] = image
        return place


def drawn_size(size: tuple[int, int], within: tuple[int, int]) -> tuple[int, int]:
    """The height and width at which an image stands in a place: its own, or smaller in one ratio so that it fits."""
    (height, width), (most_high, most_wide) = size, within
    if height <= most_high and width <= most_wide:
        return size
    if height * most_wide >= width * most_high:
        return most_high, max(1, width * most_high // height)
    return max(1, height * most_wide // width), most_wide


@dataclass(frozen=True)
class BoxesForm(Form):
    """Boxes with labels and scores, as detection code has them: for each image those of the largest score.

    A list of mappings, one for each image, with "boxes" [n, 4], "labels" [n] and "scores" [n], as torchvision gives
    them; one mapping with padded tensors [N, M, 4] and [N, M]; or a tensor [N, M, 4] of boxes alone. Where there are no
    scores, the first boxes are taken; where there are no labels, all have the label 0.

    Read, it is float32 [N, most + 1, 6]. Row 0 of each image has two numbers: how many boxes there are, and how many
    entries of a list are none. The others are four numbers of a box, its label, and its score or NaN; NaN where there
    is no box. An entry is none where a number is not finite, where it has no area or where its label is negative, as
    padding has it. Of equal scores the earlier goes before, and NaN comes last. Labels are exact up to 2**24.

    >>> form = BoxesForm(1)
    >>> boxes, scores = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 4]]), torch.tensor([0.25, 0.75])
    >>> form.read([{"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": scores}])[0, 1].tolist()
    [1.0, 1.0, 3.0, 4.0, 2.0, 0.75]
    """

    most: int
    box_format: str = "xyxy"

    def fits(self, value: Any) -> bool:
        if _is_sequence(value):
            return all(_of(entry, _BOXES) is not None for entry in value)
        return _of(value, _BOXES) is not None or (isinstance(value, Tensor) and value.ndim == 3 and value.shape[2] == 4)

    def read(self, value: Any, part: str = "") -> Tensor:
        is_list = _is_sequence(value)
        boxes, labels, scores = _padded(value) if is_list else _stacked(value)
        rows = torch.cat([boxes, labels[..., None], scores[..., None]], dim=2)
        real = _are_real(boxes, labels, self.box_format)
        rank = torch.where(scores.isnan(), -torch.inf, scores)
        order = rank.sort(dim=1, descending=True, stable=True).indices
        order = order.gather(1, real.gather(1, order).to(torch.uint8).sort(dim=1, descending=True, stable=True).indices)
        rows = torch.where(real[..., None], rows, torch.nan).gather(1, order[..., None].expand(-1, -1, 6))
        rows = rows[:, : self.most]
        rows = pad(rows, (0, 0, 0, self.most - rows.shape[1]), value=torch.nan)
        count = real.sum(dim=1, dtype=torch.float32)
        given = (~labels.isnan()).sum(dim=1, dtype=torch.float32) if is_list else count
        head = torch.stack([count, given - count], dim=1)
        return torch.cat([pad(head, (0, 4))[:, None], rows], dim=1)


def _are_real(boxes: Tensor, labels: Tensor, box_format: str) -> Tensor:
    """Which entries are boxes and no padding."""
    a, b, c, d = boxes.unbind(2)
    width, height = (c - a, d - b) if box_format == "xyxy" else (c, d)
    return boxes.isfinite().all(dim=2) & (width > 0) & (height > 0) & (labels >= 0)


def boxes_by_image(value: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    """Of padded tensors, the boxes, labels and scores of each image, as torchvision gives them. It waits for a device.

    What is no box whatever the format is padding: a number is not finite, the last two are 0, or the label is negative.

    >>> boxes, labels = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 0, 0]]]), torch.tensor([[3, 0]])
    >>> boxes_by_image({"boxes": boxes, "labels": labels})
    [{'boxes': tensor([[0., 0., 2., 2.]]), 'labels': tensor([3])}]
    """
    boxes, labels, scores = _stacked(value)
    real = _are_real(boxes, labels, "xywh")
    has_scores = _of(value, _SCORES) is not None
    return [
        {"boxes": b[r], "labels": n[r].long(), **({"scores": s[r]} if has_scores else {})}
        for b, n, s, r in zip(boxes, labels, scores, real, strict=True)
    ]


Columns = tuple[Tensor, Tensor, Tensor]
"""Boxes [N, M, 4], labels [N, M], NaN where there is no entry, and scores [N, M], NaN where they are not known."""


def _padded(value: Sequence[Any]) -> Columns:
    """Of a list of mappings."""
    columns: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for entry in value:
        boxes = _as_floats(entry, _BOXES)
        if boxes is None or (boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 4)):
            raise CaptureError(f"it is {describe(value)}, {_EXPECTED}")
        boxes = boxes.reshape(-1, 4)
        labels, scores = _as_floats(entry, _LABELS), _as_floats(entry, _SCORES)
        labels = boxes.new_zeros(len(boxes)) if labels is None else labels.reshape(-1)
        scores = boxes.new_full((len(boxes),), torch.nan) if scores is None else scores.reshape(-1)
        if not len(boxes) == len(labels) == len(scores):
            found = f"{len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores"
            raise CaptureError(f"an image has {found}, expected one label and one score for each box")
        for column, found_here in zip(columns, (boxes, labels, scores), strict=True):
            column.append(found_here)
    if not columns[0]:
        raise CaptureError(f"it is {describe(value)}, {_EXPECTED}")
    of_boxes, of_labels, of_scores = (
        pad_sequence(column, batch_first=True, padding_value=torch.nan) for column in columns
    )
    return of_boxes, of_labels, of_scores


def _stacked(value: Any) -> Columns:
    """Of padded tensors."""
    boxes = _as_floats(value, _BOXES) if not isinstance(value, Tensor) else as_tensor(value.to(torch.float32))
    if boxes is None or boxes.ndim != 3 or boxes.shape[2] != 4:
        raise CaptureError(f"it is {describe(value)}, {_EXPECTED}")
    labels, scores = (None, None) if isinstance(value, Tensor) else (_as_floats(value, n) for n in (_LABELS, _SCORES))
    labels = boxes.new_zeros(boxes.shape[:2]) if labels is None else labels.reshape(len(boxes), -1)
    scores = boxes.new_full(boxes.shape[:2], torch.nan) if scores is None else scores.reshape(len(boxes), -1)
    if not boxes.shape[:2] == labels.shape == scores.shape:
        found = f"boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)} and scores {tuple(scores.shape)}"
        raise CaptureError(f"it has {found}, expected one label and one score for each box")
    return boxes, labels, scores


_EXPECTED = (
    "expected boxes: a list with a mapping of 'boxes' [n, 4], 'labels' [n] and 'scores' [n] for each image, a mapping "
    "of padded tensors [N, M, 4] and [N, M], or a tensor [N, M, 4]"
)


def _of(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, Mapping) and (isinstance(value, Tensor) or _is_sequence(value)):
        return None
    return next((found for name in names if (found := part(value, name)) is not None), None)


def _as_floats(value: Any, names: Sequence[str]) -> Tensor | None:
    found = _of(value, names)
    tensor = torch.zeros(0) if _is_sequence(found) and not len(found) else as_tensor(found)
    if tensor is None and _is_sequence(found):
        rows = [as_tensor(row) for row in found]
        tensor = torch.stack([row for row in rows if row is not None]) if all(r is not None for r in rows) else None
    if tensor is None and found is not None:
        cure = ": map names to indices of classes" if names is _LABELS else ""
        raise CaptureError(f"{names[0]!r} is {describe(found)}, expected numbers{cure}")
    return None if tensor is None else tensor.to(torch.float32)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple))
