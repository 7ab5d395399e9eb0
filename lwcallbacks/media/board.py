"""A heatmap with names along its sides, numbers in its cells and a colour bar, laid out and drawn.

    board = Board(levels, blank, (50, 50), texts, names, names, "val/confusion", "True", ["Predicted"], "share of all")
    board.drawn()      # uint8 [H, W, 3]

Names that do not fit below their columns are written upwards; where there are many, some are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwcallbacks.media.colours import INK, SCALE, Colour
from lwcallbacks.media.lettering import line_height, margin, mask, width_of, wrap, write

MAX_TICKS = 40
NUMBER, TITLE = 13, 14  # sizes of letters; all others have the usual one
EDGE, TICK, GAP, BAR = 8, 4, 20, 16
FRAME = 60  # grey


@dataclass(frozen=True)
class Board:
    """A heatmap as it is to be drawn: levels uint8 [R, K], which cells are blank whatever their level, bool [R, K], the
    height and width of a cell, and all that is written.

    `texts` stand in the cells, `rows` and `columns` are names along the sides (more of them than cells where cells were
    put together), `left`, `below` and `scale` what the sides and the colour bar show. `bar` are places on it from 0 to
    1 and what they are called, `painted` cells in a colour of their own, bool [R, K], and `ticks` how many names are
    written at most, of rows and of columns.
    """

    levels: np.ndarray
    blank: np.ndarray
    cell: tuple[int, int]
    texts: Sequence[Sequence[str]] | None
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    left: str
    below: Sequence[str]
    scale: str
    bar: Sequence[tuple[float, str]] = tuple((tenth / 10, f"{tenth / 10:.1f}") for tenth in range(0, 11, 2))
    painted: Sequence[tuple[np.ndarray, Colour]] = ()
    ticks: tuple[int, int] = (MAX_TICKS, MAX_TICKS)

    def drawn(self) -> np.ndarray:
        """The picture, uint8 [H, W, 3]."""
        line = line_height()
        height, width = (n * pixels for n, pixels in zip(self.levels.shape, self.cell, strict=True))
        rows, columns = (_ticks(*of) for of in zip((self.rows, self.columns), (height, width), self.ticks, strict=True))
        upright = all(width_of(name) + EDGE <= width // len(columns) for _, name in columns)
        names = line if upright else max(width_of(name) for _, name in columns)

        x = EDGE + line + EDGE + max((width_of(name) for _, name in rows), default=0) + TICK + 3
        right = x + width
        page_width = right + GAP + BAR + TICK + 3 + self._bar_width() + EDGE + line + EDGE
        header = wrap(self.title, page_width - 2 * EDGE, max_lines=2, size=TITLE)
        y = EDGE + line_height(TITLE) * len(header) + EDGE
        bottom = y + height
        page = np.full((bottom + TICK + 3 + names + EDGE + line * len(self.below) + EDGE, page_width, 3), 255, np.uint8)

        for k, text in enumerate(header):
            half = width_of(text, TITLE) // 2
            middle = min(max((x + right) // 2, EDGE + half), page_width - EDGE - half)
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
        colours[self.blank] = 255
        for cells, colour in self.painted:
            colours[cells] = colour
        strips = colours.repeat(width, axis=1) if width > 1 else colours
        square.reshape(n, height, k * width, 3)[:] = strips[:, None]
        if not self.texts or not n:
            return
        unlike = {text: i for i, text in enumerate({text for row in self.texts for text in row})}
        masks = _centred([mask(text, NUMBER) for text in unlike])[:, :height, :width]
        index = [[unlike[text] for text in row] for row in self.texts]
        share = masks[index][..., None].astype(np.int32)  # [n, k, h, w, 1], as those below
        ground = colours.astype(np.int32)[:, :, None, None]
        ink = INK[self.levels].astype(np.int32)[:, :, None, None, None]
        mixed = (ground + ((ink - ground) * share + 127) // 255).astype(np.uint8)
        top, left = (height - masks.shape[1]) // 2, (width - masks.shape[2]) // 2
        cells = square.reshape(n, height, k, width, 3)
        cells[:, top : top + masks.shape[1], :, left : left + masks.shape[2]] = mixed.transpose(0, 2, 1, 3, 4)

    def _bar(self, page: np.ndarray, x: int, y: int, bottom: int) -> None:
        """The scale of colours, the lowest below."""
        height = bottom - y
        _frame(page, x, y, x + BAR, bottom)
        page[y:bottom, x : x + BAR] = SCALE[np.linspace(255, 0, height).round().astype(int)][:, None]
        for share, text in self.bar:
            place = bottom - 1 - round(share * (height - 1))
            page[place, x + BAR + 1 : x + BAR + 1 + TICK] = FRAME
            write(page, text, x + BAR + TICK + 4, place - line_height() // 2)
        beside = x + BAR + TICK + 4 + self._bar_width() + EDGE
        write(page, self.scale, beside, (y + bottom) // 2, anchor="middle", up=True)

    def _bar_width(self) -> int:
        return max(width_of(text) for _, text in self.bar)


def fits(texts: Sequence[Sequence[str]], width: int) -> bool:
    """Whether all texts have room in cells of so many pixels."""
    return max((width_of(text, NUMBER) for text in {text for row in texts for text in row}), default=0) + 2 <= width


def _ticks(names: Sequence[str], length: int, most: int) -> list[tuple[int, str]]:
    """The names that have room along a side of so many pixels, so many at most, each with the middle of its cell."""
    step = -(-len(names) // max(1, min(most, length // line_height()))) or 1
    return [(int((i + 0.5) * length / len(names)), names[i]) for i in range(0, len(names), step)]


def _centred(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Masks of numbers, uint8 [n, h, w]: each in the middle of the widest, without the rows that none has ink in."""
    width = max(one.shape[1] for one in masks)
    together = np.zeros((len(masks), masks[0].shape[0], width), np.uint8)
    for out, one in zip(together, masks, strict=True):
        left = (width - one.shape[1]) // 2
        out[:, left : left + one.shape[1]] = one
    edge = margin(NUMBER)
    inked = np.flatnonzero(together.any(axis=(0, 2)))
    return together[:, inked[0] : inked[-1] + 1, edge - 1 : width - edge + 1] if len(inked) else together[:, :0]


def _frame(page: np.ndarray, x: int, y: int, right: int, bottom: int) -> None:
    """A line around a rectangle, outside of it."""
    page[[y - 1, bottom], x - 1 : right + 1] = FRAME
    page[y - 1 : bottom + 1, [x - 1, right]] = FRAME
