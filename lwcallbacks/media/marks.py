"""Boxes over an image, drawn on the CPU: what is there dashed, what was predicted in one line.

    draw_marks(canvas, [Mark((4, 2, 10, 8), "cat", score=0.75, match=True)], factor=3)     # onto uint8 [H, W, 3]

A box that has its match is blue, one that has none orange; lines have a dark edge, so that they show on any ground.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwcallbacks.media.colours import ORANGE, SKY_BLUE, Colour
from lwcallbacks.media.lettering import line_height, width_of, write
from lwcallbacks.media.values import Mark

MATCHED, UNMATCHED = SKY_BLUE, ORANGE
LINE, DASH, TAG = 2, 6, 11  # width of a line, length of a dash and of what is between two, size of letters
EDGE = 0  # black


def draw_marks(canvas: np.ndarray, marks: Sequence[Mark], factor: int = 1) -> None:
    """Draw boxes onto pixels uint8 [H, W, 3] of an image that was enlarged by `factor`.

    What is there comes first, then what was predicted, the surest last. A prediction has its label and score above it;
    of what is there only what was not found has its label, below it. Labels lie over all lines.
    """
    ordered = sorted(marks, key=lambda mark: (not mark.is_truth, mark.score or 0.0))
    corners = [[round(e * factor) for e in (x, y, x + w, y + h)] for x, y, w, h in (mark.box for mark in ordered)]
    colours = [UNMATCHED if mark.match is False else MATCHED for mark in ordered]
    for mark, of_box, colour in zip(ordered, corners, colours, strict=True):
        frame(canvas, of_box, colour, dashed=mark.is_truth)
    for mark, of_box, colour in zip(ordered, corners, colours, strict=True):
        if not mark.is_truth or mark.match is False:
            text = mark.label if mark.score is None else f"{mark.label} {mark.score:.2f}"
            _tag(canvas, text, of_box, colour, below=mark.is_truth)


def frame(canvas: np.ndarray, corners: Sequence[int], colour: Colour, dashed: bool) -> None:
    """A frame just inside left, top, right and bottom; what lies outside of the canvas is cut off."""
    left, top, right, bottom = corners
    for grow, ink in ((1, (EDGE,) * 3), (0, colour)):
        thick = LINE + grow
        for x, y, w, h in (
            (left - grow, top - grow, right - left + 2 * grow, thick + grow),
            (left - grow, bottom - thick, right - left + 2 * grow, thick + grow),
            (left - grow, top - grow, thick + grow, bottom - top + 2 * grow),
            (right - thick, top - grow, thick + grow, bottom - top + 2 * grow),
        ):
            for a, b, c, d in _dashes(x, y, w, h, grow) if dashed else [(x, y, w, h)]:
                canvas[max(0, b) : max(0, b + d), max(0, a) : max(0, a + c)] = ink


def _dashes(x: int, y: int, width: int, height: int, grow: int) -> list[tuple[int, int, int, int]]:
    """The parts of a line of which every second one is drawn, each longer by `grow` at both ends."""
    length = DASH + 2 * grow
    if width >= height:
        return [(x + start, y, min(length, width - start), height) for start in range(0, width, 2 * DASH)]
    return [(x, y + start, width, min(length, height - start)) for start in range(0, height, 2 * DASH)]


def _tag(canvas: np.ndarray, text: str, corners: Sequence[int], colour: Colour, below: bool) -> None:
    """A text on the colour of its box, above it or below it, inside of the box where there is no room."""
    left, top, _, bottom = corners
    height, width = line_height(TAG), width_of(text, TAG) + 4
    tag = np.full((height, width, 3), 255, np.uint8)
    write(tag, text, 2, 0, size=TAG)
    tag = (tag.astype(np.uint16) * np.array(colour, np.uint16) // 255).astype(np.uint8)
    x = max(0, min(left, canvas.shape[1] - width))
    if below:
        y = bottom if bottom + height <= canvas.shape[0] else bottom - height
    else:
        y = top - height if top >= height else top
    part = canvas[max(0, y) :, x:][:height, :width]
    part[:] = tag[: part.shape[0], : part.shape[1]]
