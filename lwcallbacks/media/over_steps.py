"""A number of each layer over all steps as a heatmap: a row for each layer, the steps to the right.

draw_over_steps(norms, ("net.0.weight", "net.2.weight"), steps, scale="norm")      # -> Image
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lwcallbacks.media.board import Board
from lwcallbacks.media.colours import VERMILION, Colour
from lwcallbacks.media.legend import Key, draw_legend
from lwcallbacks.media.names import labels_of
from lwcallbacks.media.values import Image

MAX_NAME = 36
NOTHING: Colour = (200, 200, 200)
WIDTH, LEAST, MOST = 768, 3, 24  # pixels of all columns, and of one
LINE, EDGE = 16, 8  # pixels of a row that has a name, and around the legend
MAX_STEPS = 9
MAX_POWERS = 12


def draw_over_steps(
    values: np.ndarray, names: Sequence[str], steps: Sequence[int], *, scale: str, title: str | None = None
) -> Image:
    """Colours by powers of ten, darker for more, with their bar at the right; an RGB Image.

    What is not finite, and where there is nothing or zero, have colours of their own, which stand below. A name is
    shortened in its middle.

    Args:
        values: of R rows and K columns, float64 [R, K], none negative; NaN where there is nothing, infinity for what is
            not finite.
        names: of the rows.
        steps: the first step of each column.
        scale: what the values are.

    >>> draw_over_steps(np.array([[1e-3, np.inf], [np.nan, 1e-9]]), ["a", "b"], [50, 100], scale="norm").pixels.ndim
    3
    """
    is_odd, is_known = np.isinf(values), np.isfinite(values) & (values > 0)
    power = np.log10(values, where=is_known, out=np.zeros(values.shape))
    known = power[is_known]
    low, high = (math.floor(known.min()), math.ceil(known.max())) if len(known) else (-1, 0)
    high = max(high, low + 1)
    levels = np.where(is_known, 255 * (power - low) / (high - low), 0)
    step = -(-(high - low) // MAX_POWERS)
    nothing = ~is_odd & ~is_known
    rows, columns = values.shape
    page = Board(
        (levels + 0.5).astype(np.uint8),
        np.zeros(values.shape, bool),
        cell=(max(LINE, min(MOST, 240 // max(rows, 1))), max(LEAST, min(MOST, WIDTH // max(columns, 1)))),
        texts=None,
        rows=labels_of(names, MAX_NAME),
        columns=[f"{first:,}" for first in steps],
        title=title or "",
        left="Layer",
        below=["Step"],
        scale=scale,
        bar=[((at - low) / (high - low), f"1e{at}") for at in range(low, high + 1, step)],
        painted=[(is_odd, VERMILION), (nothing, NOTHING)],
        ticks=(rows, MAX_STEPS),
    ).drawn()
    others = [("NaN or Inf", VERMILION, is_odd), ("no gradient, or zero", NOTHING, nothing)]
    keys = [Key(text, colour) for text, colour, cells in others if cells.any()]
    if keys:
        legend = draw_legend([("Other colours", keys)], page.shape[1] - 2 * EDGE)
        page = np.concatenate([page, np.pad(legend, ((0, EDGE), (EDGE, EDGE), (0, 0)), constant_values=255)])
    return Image(page, title)
