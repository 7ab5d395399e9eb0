"""What colours and lines mean, as pixels to stand above a picture.

draw_legend([("Prediction", [Key("road", (230, 159, 0)), Key("box", (0, 114, 178), "dashed")])], width=300)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lwcallbacks.media.colours import Colour
from lwcallbacks.media.lettering import line_height, width_of, wrap, write
from lwcallbacks.media.marks import frame

PATCH, SPACE = 11, 12  # the side of a patch of colour; what is between two keys


class Key(NamedTuple):
    """A patch of colour, or a frame in a "whole" or "dashed" line, and its text."""

    text: str
    colour: Colour
    line: str = ""


Legend = list[tuple[str, list[Key]]]
"""Rows of keys, each after what it is about."""


def draw_legend(legend: Legend, width: int) -> np.ndarray:
    """The rows below each other, black on white, uint8 [H, width, 3]; a row is continued on the next line.

    >>> draw_legend([], 100).shape
    (0, 100, 3)
    """
    line = line_height()
    lines = [drawn for heading, keys in legend for drawn in _lines(heading, keys, width)]
    page = np.full((len(lines) * line, width, 3), 255, np.uint8)
    for y, parts in zip(range(0, len(page), line), lines, strict=True):
        for x, text, key in parts:
            part = page[y : y + line, x:width]
            if key is not None and key.line:
                frame(part, (1, 1, 2 * PATCH - 1, line - 1), key.colour, dashed=key.line == "dashed")
            elif key is not None:
                part[(line - PATCH) // 2 :][:PATCH, :PATCH] = key.colour
            write(part, text, 0 if key is None else _indent(key), 0)
    return page


Part = tuple[int, str, Key | None]
"""Where something stands in its line, its text, and what stands before that."""


def _lines(heading: str, keys: list[Key], width: int) -> Iterator[list[Part]]:
    """A row's parts, line by line."""
    *above, last = wrap(heading + (":" if keys else ""), width, max_lines=3) or [""]
    for text in above:
        yield [(0, text, None)]
    parts: list[Part] = [(0, last, None)]
    x = width_of(last) + SPACE
    for key in keys:
        text = (wrap(key.text, max(1, width - _indent(key)), max_lines=1) or [""])[0]
        taken = _indent(key) + width_of(text)
        if x + taken > width and parts:
            yield parts
            parts, x = [], 0
        parts.append((x, text, key))
        x += taken + SPACE
    yield parts


def _indent(key: Key) -> int:
    return (2 * PATCH if key.line else PATCH) + 4
