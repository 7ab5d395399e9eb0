"""Tiles with captions, as one picture.

captioned_grid([Image(pixels, "true 3, pred 5"), ...], nrow=8)     # -> Grid
with_caption(Image(pixels, "true 3, pred 5"))                      # -> Image
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lwcallbacks.media.annotate import legend_of
from lwcallbacks.media.legend import draw_legend
from lwcallbacks.media.lettering import line_height, width_of, wrap, write
from lwcallbacks.media.render import enlarge, put
from lwcallbacks.media.values import Annotated, Grid, Image

GAP = 8
MAX_WIDTH = 1600  # of a picture of images that stand in panels; one image is never cut


def with_caption(image: Image, unless: str | None = None) -> Image:
    """The image with its caption drawn below it, for a place that keeps pixels only.

    Untouched where there is no caption, or where it equals `unless`; but one with masks or boxes has its legend.
    """
    silent = image.caption in (None, "", unless)
    if isinstance(image, Annotated):
        return captioned_grid([image if not silent else replace(image, caption=None)])
    return image if silent else captioned_grid([image])


def captioned_grid(images: Sequence[Image], nrow: int = 8, title: str | None = None, min_side: int = 84) -> Grid:
    """The images as one RGB picture, `nrow` to a row, each with its caption below it.

    Small images are enlarged by an integer so that their shorter side has at least `min_side` pixels. A caption is
    wrapped to the width of its tile, so that it never reaches its neighbour: at most three lines, and what is cut is
    marked by an ellipsis. Of a caption with lines of its own each has at most two: if need be its beginning and its
    end. Above images with masks or boxes stands what their colours mean; they take no more than 1,600 pixels.
    Raises ValueError when there is no image.
    """
    if not images or nrow < 1:
        raise ValueError(f"a grid of {len(images)} images, {nrow} to a row: expected at least one of each")
    line = line_height()
    tiles = [enlarge(image.pixels[None], min_side)[0] for image in images]
    width, height = max(tile.shape[1] for tile in tiles), max(tile.shape[0] for tile in tiles)
    legend = legend_of(images)
    nrow = min(nrow, max(1, (MAX_WIDTH - GAP) // (width + GAP))) if legend else nrow
    columns = min(nrow, len(tiles))
    rows = -(-len(tiles) // columns)

    captions = [_lines(image.caption or "", width) for image in images]
    header = wrap(title or "", columns * (width + GAP) - GAP, max_lines=2)
    pitch = height + GAP + line * max(len(caption) for caption in captions)
    top = GAP + (line * len(header) + GAP // 2 if header else 0)
    told = draw_legend(legend, columns * (width + GAP) - GAP)
    start, top = top, top + len(told) + (GAP // 2 if legend else 0)

    page = np.full((top + rows * pitch, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    page[start : start + len(told), GAP : GAP + told.shape[1]] = told
    for k, text in enumerate(header):
        write(page, text, GAP, GAP + k * line)
    boxes = []
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = GAP + (i % columns) * (width + GAP), top + (i // columns) * pitch
        left, above = x + (width - tile.shape[1]) // 2, y + (height - tile.shape[0]) // 2
        boxes.append((left, above, tile.shape[1], tile.shape[0]))
        put(page[above : above + tile.shape[0], left : left + tile.shape[1]], tile)
        for k, text in enumerate(caption):
            write(page, text, x + width // 2, y + height + 1 + k * line, anchor="middle")
    return Grid(page, title, tuple(boxes))


def _lines(caption: str, width: int) -> list[str]:
    """The lines of a caption, none wider than `width` pixels."""
    own = caption.splitlines()
    if len(own) < 2:
        return wrap(caption, width, max_lines=3)
    return [line for text in own for line in _both_ends(text, width)]


def _both_ends(text: str, width: int) -> list[str]:
    """A text in at most two lines; where it does not fit, its beginning and, behind an ellipsis, its end."""
    lines = wrap(text, width, max_lines=3)
    if len(lines) <= 2:
        return lines
    start = _fitting(len(text), lambda number: width_of(text[:number].rstrip()) <= width)
    end = _fitting(len(text), lambda number: width_of(f"…{text[len(text) - number :].lstrip()}") <= width)
    return [text[:start].rstrip(), f"…{text[len(text) - end :].lstrip()}"]


def _fitting(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number that fits, at least 1."""
    low = 1
    while low < most:
        middle = (low + most + 1) // 2
        low, most = (middle, most) if fits(middle) else (low, middle - 1)
    return low
