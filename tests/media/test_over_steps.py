"""A number of each layer over all steps, as a picture."""

from __future__ import annotations

import numpy as np
import pytest

from lwcallbacks.media import draw_over_steps
from lwcallbacks.media.colours import SCALE, VERMILION
from lwcallbacks.media.over_steps import NOTHING


def count(pixels: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((pixels == np.array(colour, np.uint8)).all(-1).sum())


def test_colours_are_powers_of_ten() -> None:
    """The least and the largest power have the ends of the scale, one in the middle the colour in the middle."""
    values = np.array([[1e-4, 1e-2, 1.0]])
    pixels = draw_over_steps(values, ["net"], [1, 2, 3], scale="norm").pixels
    row = next(line for line in pixels if count(line, tuple(SCALE[128])) >= 24 and count(line, tuple(SCALE[255])) >= 24)
    shown = [tuple(cell) for cell in row.tolist()]
    places = [shown.index(tuple(SCALE[level].tolist())) for level in (0, 128, 255)]
    assert np.diff(places).tolist() == [24, 24], "cells of 24 pixels beside each other, from the least to the largest"


def test_what_is_not_finite_and_what_is_nothing_have_colours_of_their_own() -> None:
    """And a legend that names them; a picture without either has neither."""
    values = np.array([[1.0, np.inf, np.nan, 0.0, 2.0]])
    pixels = draw_over_steps(values, ["net"], range(5), scale="norm").pixels
    assert count(pixels, VERMILION) > 24 * 24
    assert count(pixels, NOTHING) > 2 * 24 * 24  # and a few pixels of letters
    sound = draw_over_steps(np.ones((1, 5)), ["net"], range(5), scale="norm").pixels
    assert count(sound, VERMILION) == 0
    assert count(sound, NOTHING) < 24
    assert len(pixels) > len(sound)


@pytest.mark.parametrize("shape", [(1, 1), (64, 256), (2, 256), (64, 1)])
@pytest.mark.parametrize("value", [1.0, 0.0, np.nan, np.inf, 1e-300, 1e300])
def test_any_table_is_drawn(shape: tuple[int, int], value: float) -> None:
    """Of whatever size and value, in a picture of bounded size."""
    values = np.full(shape, value)
    values[0, 0] = 1e-7
    names = ["one.very.long.name." * 5 + str(i) for i in range(shape[0])]
    pixels = draw_over_steps(values, names, range(0, 50 * shape[1], 50), scale="norm", title="t" * 300).pixels
    assert pixels.shape[0] <= 1400
    assert pixels.shape[1] <= 1300
