"""Boxes in one form, and which predicted box goes with which true one.

    ltwh(boxes, "cxcywh", normalized=True, size=(480, 640))      # left, top, width and height in pixels
    matches(preds, truths, threshold=0.5)                        # by label and IoU, greedily

For colours only: numbers such as mAP match boxes again at each threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ltwh(boxes: np.ndarray, box_format: str, normalized: bool, size: tuple[int, int]) -> np.ndarray:
    """Boxes [n, 4] as left, top, width and height in pixels, float64.

    Args:
        box_format: "xyxy", two corners; "xywh", the upper left corner and the size; "cxcywh", the centre and the size.
        normalized: whether the image's width and height are 1.
        size: the image's height and width in pixels.

    >>> ltwh(np.array([[0.5, 0.5, 0.5, 1.0]]), "cxcywh", normalized=True, size=(10, 40)).tolist()
    [[10.0, 0.0, 20.0, 10.0]]
    """
    a, b, c, d = boxes.astype(np.float64).T
    if box_format == "xyxy":
        c, d = c - a, d - b
    elif box_format == "cxcywh":
        a, b = a - c / 2, b - d / 2
    pixels = np.stack([a, b, c, d], axis=1)
    height, width = size
    return np.asarray(pixels * [width, height, width, height]) if normalized else pixels


def ious(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The area that two boxes share by the area that they cover together, float64 [n, m], of boxes as `ltwh` gives.

    >>> ious(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2], [0, 0, 2, 2], [9, 9, 1, 1]])).round(3).tolist()
    [[0.333, 1.0, 0.0]]
    """
    a, b = left[:, None], right[None]
    ends = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = (ends - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(axis=2)
    together = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - shared
    return np.asarray(np.divide(shared, together, out=np.zeros_like(shared), where=together > 0))


def matches(
    preds: np.ndarray, pred_labels: Sequence[int], truths: np.ndarray, labels: Sequence[int], threshold: float = 0.5
) -> list[int | None]:
    """For each prediction the index of the true box that it is matched with, or None.

    Predictions are asked in their order, the surest first. Each takes the true box of its label with the largest IoU
    among those that none has taken before, if that IoU is at least the threshold; of equal ones the first.

    >>> box = np.array([[0.0, 0, 4, 4]])
    >>> matches(np.concatenate([box, box]), [1, 1], box, [1])
    [0, None]
    """
    overlap, taken = ious(preds, truths), set[int]()
    found: list[int | None] = []
    for row, label in zip(overlap, pred_labels, strict=True):
        free = [j for j, other in enumerate(labels) if other == label and j not in taken and row[j] >= threshold]
        best = max(free, key=lambda j: row[j], default=None)
        found.append(best)
        taken |= set() if best is None else {best}
    return found
