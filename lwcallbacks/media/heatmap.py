"""Heatmaps of counts with names, numbers and a colour bar, drawn in milliseconds.

    draw_matrix(Matrix(counts, ("cat", "dog")), normalize="true")      # -> Image
    draw_labels(counts, ("cat", "dog"))                                # -> Image, from counts [L, 2, 2]

A cell is a whole number of pixels, so that all are alike, and one of no count is blank. Above 100 classes the ones
that are confused most are drawn, and all others summed as one. Of more than 1,100 labels several share a row of pixels,
which is as dark as the darkest of them. Nothing that was counted is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lwcallbacks.media.block import SIZE, confused_block
from lwcallbacks.media.board import Board, fits
from lwcallbacks.media.names import compact, labels_of
from lwcallbacks.media.values import Image, Matrix

Normalize = Literal["true", "pred", "all"]

MAX_CLASSES = 100
MAX_CELLS_WITH_TEXT = 25
MAX_NAME = 24
MAX_SIDE = 1100


def draw_matrix(matrix: Matrix, title: str | None = None, normalize: Normalize | None = None) -> Image:
    """A heatmap of a confusion matrix with the truth downwards and the prediction to the right, as an RGB Image.

    Up to 25 classes, and above that where they fit, the cells hold their counts, or percentages of the row ("true"),
    the column ("pred") or the sum ("all"). A cell of no count is blank. Colour is the share of the row (with "pred": of
    the column), so that a rare class is as visible as a frequent one. Above 40 classes only some of the names are
    written; above 100 it is the picture of `confused_block(matrix)`, and says so.

    Raises ValueError for an unknown `normalize`.
    """
    if normalize not in (None, *_OF):
        raise ValueError(f"normalize is {normalize!r}, expected 'true', 'pred', 'all' or None")
    size = len(matrix.class_names)
    below = ["Predicted"]
    others = size - SIZE + 1 if size > MAX_CLASSES else 0
    if others:
        matrix = confused_block(matrix)
        below.append(f"({SIZE - 1} of {size} classes: those confused most; the other {others} are summed as one)")
    counts, size = matrix.counts, len(matrix.class_names)
    side = _side(size, usual=40, least=320)
    texts = [[compact(count) if count else "" for count in row] for row in counts.tolist()]
    if normalize:
        shares = _shares(counts, normalize).tolist()
        texts = [[_percent(share) for share in row] for row in shares]
    if others:
        texts[-1][-1] = ""  # what is among the others is of no matter here, and longer than all the rest
    is_written = size <= MAX_CELLS_WITH_TEXT or fits(texts, side)
    if normalize and is_written:
        below.insert(1, f"(cells: percent of the {_OF[normalize]})")
    by: Normalize = "pred" if normalize == "pred" else "true"
    names = labels_of(matrix.class_names, MAX_NAME)
    return Image(
        Board(
            *_cells(_shares(counts, by)),
            cell=(side, side),
            texts=texts if is_written else None,
            rows=names,
            columns=names,
            title=title or "",
            left="True",
            below=below,
            scale=f"share of the {_OF[by]}",
        ).drawn(),
        title,
    )


_OF = {"true": "true class", "pred": "predicted class", "all": "total"}


def draw_labels(counts: np.ndarray, class_names: Sequence[str], title: str | None = None) -> Image:
    """A heatmap of counts int64 [L, 2, 2], the truth as rows, with a row for each of L labels, as an RGB Image.

    A row's cells count the samples where the label is there and predicted, there and missed, absent and wrongly
    predicted, absent and not predicted. Up to 25 labels they hold their counts, and one of none is
    blank. Colour is the share of the samples where the label is there, or absent: a good model has a pale second and
    third column. Above 40 labels only some names are written.
    """
    cells = counts[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    shares = (counts / np.maximum(counts.sum(axis=2, keepdims=True), 1))[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    size = len(class_names)
    return Image(
        Board(
            *_cells(shares),
            cell=(_side(size, usual=35, least=160), 116),
            texts=[[compact(n) if n else "" for n in row] for row in cells.tolist()]
            if size <= MAX_CELLS_WITH_TEXT
            else None,
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


def _percent(share: float) -> str:
    """A share in percent, and never "0.0" for something: that is nothing."""
    return f"{100 * share:.1f}" if share >= 0.0005 else "<0.1" if share else ""


def _cells(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares [R, K] in [0, 1] as levels uint8, and which are blank; of more than 1,100 rows each group of neighbours
    is as the darkest of them."""
    levels, blank = (shares * 255 + 0.5).astype(np.uint8), shares == 0
    size = len(shares)
    if size > MAX_SIDE:
        starts = range(0, size, -(-size // MAX_SIDE))
        levels, blank = np.maximum.reduceat(levels, starts, axis=0), np.logical_and.reduceat(blank, starts, axis=0)
    return levels, blank


def _side(size: int, usual: int, least: int) -> int:
    """Pixels of a cell's side, of `size` cells that together have `least` to 1,100 of them."""
    size = max(size, 1)
    return max(1, min(max(usual, least // size), MAX_SIDE // size))
