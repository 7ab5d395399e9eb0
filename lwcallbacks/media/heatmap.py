"""Heatmaps of counts with names, numbers and a colour bar, drawn in milliseconds.

    draw_matrix(Matrix(counts, ("cat", "dog")), normalize="true")      # -> Image
    draw_labels(counts, ("cat", "dog"))                                # -> Image, from counts [L, 2, 2]

A cell is a whole number of pixels, so that all are alike. Beyond 1,100 rows several share a pixel, which is as dark as
the darkest of them: nothing that was counted is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lwcallbacks.media.board import Board
from lwcallbacks.media.names import compact, labels_of
from lwcallbacks.media.values import Image, Matrix

Normalize = Literal["true", "pred", "all"]

MAX_CELLS_WITH_TEXT = 25
MAX_NAME = 24
MAX_SIDE = 1100


def draw_matrix(matrix: Matrix, title: str | None = None, normalize: Normalize | None = None) -> Image:
    """A heatmap of a confusion matrix with the truth downwards and the prediction to the right, as an RGB Image.

    Up to 25 classes the cells hold their counts, or percentages of the row ("true"), the column ("pred") or the sum
    ("all"). Colour is the share of the row (with "pred": of the column), so that a rare class is as visible as a
    frequent one; a class that never occurs stays pale. Above 40 classes only some of the names are written.

    Raises ValueError for an unknown `normalize`.
    """
    if normalize not in (None, *_OF):
        raise ValueError(f"normalize is {normalize!r}, expected 'true', 'pred', 'all' or None")
    counts, size = matrix.counts, len(matrix.class_names)
    by: Normalize = "pred" if normalize == "pred" else "true"
    texts = None
    if size <= MAX_CELLS_WITH_TEXT:
        texts = (
            [[f"{100 * share:.1f}" for share in row] for row in _shares(counts, normalize).tolist()]
            if normalize
            else [[compact(count) for count in row] for row in counts.tolist()]
        )
    names = labels_of(matrix.class_names, MAX_NAME)
    side = _side(size, usual=40, least=320)
    return Image(
        Board(
            _levels(_shares(counts, by)),
            cell=(side, side),
            texts=texts,
            rows=names,
            columns=names,
            title=title or "",
            left="True",
            below=("Predicted", f"(cells: percent of the {_OF[normalize]})") if normalize and texts else ("Predicted",),
            scale=f"share of the {_OF[by]}",
        ).drawn(),
        title,
    )


_OF = {"true": "true class", "pred": "predicted class", "all": "total"}


def draw_labels(counts: np.ndarray, class_names: Sequence[str], title: str | None = None) -> Image:
    """A heatmap of counts int64 [L, 2, 2], the truth as rows, with a row for each of L labels, as an RGB Image.

    A row's cells count the samples where the label is there and predicted, there and missed, absent and wrongly
    predicted, absent and not predicted. Up to 25 labels they hold their counts. Colour is the share of the samples
    where the label is there, or absent: a good model has a pale second and third column. Above 40 labels only some
    names are written.
    """
    cells = counts[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    shares = (counts / np.maximum(counts.sum(axis=2, keepdims=True), 1))[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    size = len(class_names)
    return Image(
        Board(
            _levels(shares),
            cell=(_side(size, usual=35, least=160), 116),
            texts=[[compact(n) for n in row] for row in cells.tolist()] if size <= MAX_CELLS_WITH_TEXT else None,
            rows=labels_of(class_names, MAX_NAME),
            columns=("there, found", "there, missed", "absent, predicted", "absent, left out"),
            title=title or "",
            left="Label",
            below=(),
            scale="share of there / absent",
        ).drawn(),
        title,
    )


def _shares(counts: np.ndarray, normalize: Normalize) -> np.ndarray:
    """Float64 [C, C] in [0, 1]: each count by the sum that `normalize` names, 0 where that sum is 0."""
    axes: dict[Normalize, int | tuple[int, int]] = {"true": 1, "pred": 0, "all": (0, 1)}
    return np.asarray(counts / np.maximum(counts.sum(axis=axes[normalize], keepdims=True), 1))


def _levels(shares: np.ndarray) -> np.ndarray:
    """Shares [R, K] in [0, 1] as uint8; along a side of more than 1,100 the darkest of each group of neighbours."""
    levels = (shares * 255 + 0.5).astype(np.uint8)
    for axis, size in enumerate(levels.shape):
        if size > MAX_SIDE:
            levels = np.maximum.reduceat(levels, range(0, size, -(-size // MAX_SIDE)), axis=axis)
    return levels


def _side(size: int, usual: int, least: int) -> int:
    """Pixels of a cell's side, of `size` cells that together have `least` to 1,100 of them."""
    size = max(size, 1)
    return max(1, min(max(usual, least // size), MAX_SIDE // size))
