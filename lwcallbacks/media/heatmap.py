"""Heatmaps of counts with names, numbers and a colour bar, drawn in milliseconds.

    draw_matrix(Matrix(counts, ("cat", "dog")), normalize="true")      # -> Image
    draw_labels(counts, ("cat", "dog"))                                # -> Image, from counts [L, 2, 2]

A cell is a whole number of pixels, so that all are alike. Beyond 1,100 rows several share a pixel, which is as dark as
the darkest of them: nothing that was counted is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lwcallbacks.media.lettering import line_height, margin, mask, width_of, wrap, write
from lwcallbacks.media.names import labels_of
from lwcallbacks.media.values import Image, Matrix

Normalize = Literal["true", "pred", "all"]

MAX_CELLS_WITH_TEXT = 25
MAX_TICKS = 40
MAX_NAME = 24
MAX_SIDE = 1100
NUMBER, TITLE = 13, 14  # sizes of letters; all others have the usual one
EDGE, TICK, GAP, BAR = 8, 4, 20, 16
FRAME = 60  # grey

# Colours of the shares 0 to 255, from nearly white to navy, ever darker.
_STOPS = ((247, 251, 255), (201, 221, 240), (125, 178, 219), (48, 122, 186), (8, 48, 107))
SCALE = np.stack([np.interp(np.arange(256), np.linspace(0, 255, 5), part) for part in zip(*_STOPS, strict=True)], 1)
SCALE = SCALE.round().astype(np.uint8)


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours uint8 [..., 3], float64 [...] in [0, 1], as WCAG 2.1 defines it."""
    parts = colours / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


# Black or white, whichever stands out more: by at least 4.58 to 1, as sqrt(1.05 * 0.05) lies between the two.
INK = np.where((luminance(SCALE) + 0.05) ** 2 > 1.05 * 0.05, 0, 255).astype(np.uint8)


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
    by = "pred" if normalize == "pred" else "true"
    texts = None
    if size <= MAX_CELLS_WITH_TEXT and normalize is None:
        texts = [[compact(count) for count in row] for row in counts.tolist()]
    elif size <= MAX_CELLS_WITH_TEXT:
        texts = [[f"{100 * share:.1f}" for share in row] for row in _shares(counts, normalize).tolist()]
    names = labels_of(matrix.class_names, MAX_NAME)
    side = _side(size, usual=50, least=320)
    return Image(
        _Board(
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
        _Board(
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


def _shares(counts: np.ndarray, normalize: Normalize | str) -> np.ndarray:
    """Float64 [C, C] in [0, 1]: each count by the sum that `normalize` names, 0 where that sum is 0."""
    axis = {"true": 1, "pred": 0, "all": (0, 1)}[normalize]
    return np.asarray(counts / np.maximum(counts.sum(axis=axis, keepdims=True, dtype=np.float64), 1.0))


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


def compact(count: int) -> str:
    """A count in at most five characters: whole below 100,000, then three digits and a unit.

    >>> compact(99_999), compact(123_456), compact(999_999)
    ('99999', '123k', '1M')
    """
    if count < 10**5:
        return str(count)
    rounded = float(f"{count:.3g}")
    power, unit = next((p, u) for p, u in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")) if rounded >= 10**p)
    return f"{rounded / 10**power:.3g}{unit}"


@dataclass(frozen=True)
class _Board:
    """A heatmap as it is to be drawn: levels uint8 [R, K], the height and width of a cell, and all that is written.

    `texts` stand in the cells, `rows` and `columns` are names along the sides (more of them than cells where cells were
    put together), `left`, `below` and `scale` what the sides and the colour bar show.
    """

    levels: np.ndarray
    cell: tuple[int, int]
    texts: Sequence[Sequence[str]] | None
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    left: str
    below: Sequence[str]
    scale: str

    def drawn(self) -> np.ndarray:
        """The picture, uint8 [H, W, 3]."""
        line = line_height()
        height, width = (n * pixels for n, pixels in zip(self.levels.shape, self.cell, strict=True))
        rows, columns = _ticks(self.rows, height), _ticks(self.columns, width)
        upright = all(width_of(name) + EDGE <= width // len(columns) for _, name in columns)
        names = line if upright else max(width_of(name) for _, name in columns)

        x = EDGE + line + EDGE + max((width_of(name) for _, name in rows), default=0) + TICK + 3
        right = x + width
        page_width = right + GAP + BAR + TICK + 3 + width_of("0.0") + EDGE + line + EDGE
        header = wrap(self.title, page_width - 2 * EDGE, max_lines=2, size=TITLE)
        y = EDGE + line_height(TITLE) * len(header) + EDGE
        bottom = y + height
        page = np.full((bottom + TICK + 3 + names + EDGE + line * len(self.below) + EDGE, page_width, 3), 255, np.uint8)

        for k, text in enumerate(header):
            middle = min(max((x + right) // 2, EDGE + width_of(text, TITLE) // 2), page_width - EDGE - width_of(text, TITLE) // 2)
            write(page, text, middle, EDGE + k * line_height(TITLE), size=TITLE, anchor="middle")
        _frame(page, x, y, right, bottom)
        self._fill(page[y:bottom, x:right])
        for place, name in rows:
            page[y + place, x - 1 - TICK : x - 1] = FRAME
            write(page, name, x - TICK - 3, y + place - line // 2, anchor="end")
        for place, name in columns:
            page[bottom + 1 : bottom + 1 + TICK, x + place] = FRAME
            if upright:
                write(page, name, x + place, bottom + TICK + 3, anchor="middle")
            else:
                write(page, name, x + place - line // 2, bottom + TICK + 3, anchor="end", up=True)
        write(page, self.left, EDGE, (y + bottom) // 2, anchor="middle", up=True)
        for k, text in enumerate(self.below):
            write(page, text, (x + right) // 2, bottom + TICK + 3 + names + EDGE + k * line, anchor="middle")
        self._bar(page, right + GAP, y, bottom)
        return page

    def _fill(self, square: np.ndarray) -> None:
        """The cells' colours, then their texts, all at once."""
        (n, k), (height, width) = self.levels.shape, self.cell
        colours = SCALE.take(self.levels, axis=0)  # `SCALE[self.levels]` takes four times as long
        strips = colours.repeat(width, axis=1) if width > 1 else colours
        square.reshape(n, height, k * width, 3)[:] = strips[:, None]
        if not self.texts or not n:
            return
        size = NUMBER
        unlike = {text: i for i, text in enumerate({text for row in self.texts for text in row})}
        masks = _centred([mask(text, size) for text in unlike])[:, :height, :width]
        share = masks[[[unlike[text] for text in row] for row in self.texts]][..., None].astype(np.int32)  # [n, k, h, w, 1]
        ground = colours.astype(np.int32)[:, :, None, None]
        ink = INK[self.levels].astype(np.int32)[:, :, None, None, None]
        mixed = (ground + ((ink - ground) * share + 127) // 255).astype(np.uint8)
        top, left = (height - masks.shape[1]) // 2, (width - masks.shape[2]) // 2
        cells = square.reshape(n, height, k, width, 3)
        cells[:, top : top + masks.shape[1], :, left : left + masks.shape[2]] = mixed.transpose(0, 2, 1, 3, 4)

    def _bar(self, page: np.ndarray, x: int, y: int, bottom: int) -> None:
        """The scale of colours from 0, below, to 1."""
        height = bottom - y
        _frame(page, x, y, x + BAR, bottom)
        page[y:bottom, x : x + BAR] = SCALE[np.linspace(255, 0, height).round().astype(int)][:, None]
        for tenth in range(0, 11, 2):
            place = bottom - 1 - round(tenth * (height - 1) / 10)
            page[place, x + BAR + 1 : x + BAR + 1 + TICK] = FRAME
            write(page, f"{tenth / 10:.1f}", x + BAR + TICK + 4, place - line_height() // 2)
        write(page, self.scale, x + BAR + TICK + 4 + width_of("0.0") + EDGE, (y + bottom) // 2, anchor="middle", up=True)


def _ticks(names: Sequence[str], length: int) -> list[tuple[int, str]]:
    """The names that have room along a side of so many pixels, at most 40, each with the middle of its cell."""
    step = -(-len(names) // max(1, min(MAX_TICKS, length // line_height()))) or 1
    return [(int((i + 0.5) * length / len(names)), names[i]) for i in range(0, len(names), step)]


def _centred(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Masks of lines of one size, [n, h, w]: each in the middle of the widest, without the rows that none has ink in."""
    width = max(mask.shape[1] for mask in masks)
    together = np.zeros((len(masks), masks[0].shape[0], width), np.uint8)
    for out, mask in zip(together, masks, strict=True):
        left = (width - mask.shape[1]) // 2
        out[:, left : left + mask.shape[1]] = mask
    edge = margin(NUMBER)
    inked = np.flatnonzero(together.any(axis=(0, 2)))
    return together[:, inked[0] : inked[-1] + 1, edge - 1 : width - edge + 1] if len(inked) else together[:, :0]


def _frame(page: np.ndarray, x: int, y: int, right: int, bottom: int) -> None:
    """A line around a rectangle, outside of it."""
    page[[y - 1, bottom], x - 1 : right + 1] = FRAME
    page[y - 1 : bottom + 1, [x - 1, right]] = FRAME
