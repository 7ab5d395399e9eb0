"""What stands in a picture, read from its pixels.

    places(page, "cat")              # [(x, y)] of each place where the word is written, its ink's upper left corner
    square(page)                     # (top, left, bottom, right) of a heatmap's cells, without their frame
    read(tile, ["5", "3"])           # "3": which of the texts a cell holds

Texts are compared with what Pillow draws, not with what our own code does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont


def drawn(text: str, size: int = 12) -> np.ndarray:
    """The ink of a text, uint8 [h, w], 255 where it is black, cut to what is inked: letter by letter, by Pillow."""
    font, x, ink = ImageFont.load_default(size), 10.0, np.zeros((3 * size, 2 * size * (len(text) + 1)), np.uint8)
    for letter in text:
        page = PIL.Image.new("L", ink.shape[::-1])
        ImageDraw.Draw(page).text((x, size // 2), letter, fill=255, font=font)
        ink, x = np.maximum(ink, np.asarray(page)), x + font.getlength(letter)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def places(page: np.ndarray, text: str, size: int = 12, up: bool = False) -> list[tuple[int, int]]:
    """Where the text stands in black on white, exactly as Pillow draws it; `up` if it is read upwards."""
    ink = np.rot90(drawn(text, size)) if up else drawn(text, size)
    pattern, grey = 255 - ink, page[..., 0]
    height, width = pattern.shape
    if height > grey.shape[0] or width > grey.shape[1]:
        return []
    found = np.ones((grey.shape[0] - height + 1, grey.shape[1] - width + 1), bool)
    for y, x in sorted(np.ndindex(height, width), key=lambda at: pattern[at]):
        found &= grey[y : y + found.shape[0], x : x + found.shape[1]] == pattern[y, x]
        if np.count_nonzero(found) <= 200:
            break
    starts = zip(*np.nonzero(found), strict=True)
    return [(int(x), int(y)) for y, x in starts if (grey[y : y + height, x : x + width] == pattern).all()]


def square(page: np.ndarray) -> tuple[int, int, int, int]:
    """The first rectangle that the longest dark lines of the page frame."""
    frame = (page == 60).all(axis=2)
    rows, columns = frame.sum(axis=1), frame.sum(axis=0)
    top, bottom = np.flatnonzero(rows == rows.max())[[0, -1]]
    left, right = np.flatnonzero(columns == columns.max())[[0, 1]]
    return int(top) + 1, int(left) + 1, int(bottom), int(right)


def read(tile: np.ndarray, texts: Iterable[str], size: int = 13) -> str:
    """Which text stands in a cell of one colour, mixed from black or white with that colour, as far as levels allow; ""
    in one that is white all over."""
    if (tile == 255).all():
        return ""
    ground = tile[0, 0].astype(int)
    ink = 0 if tile.min(axis=(0, 1)).sum() < ground.sum() else 255
    share = 255 * (tile.astype(int) - ground).sum(axis=2) / (ink - ground).sum()
    rows, columns = (np.flatnonzero((share > 12).any(axis=axis)) for axis in (1, 0))
    shape = share[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    [text] = {
        text for text in texts if shape.shape == _cut(text, size).shape and np.abs(shape - _cut(text, size)).max() < 6
    }
    return text


@cache
def _cut(text: str, size: int) -> np.ndarray:
    ink = drawn(text, size).astype(float)
    rows, columns = (np.flatnonzero((ink > 12).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
