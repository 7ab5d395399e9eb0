"""Charts of lines: right way up, told apart, legible, and nothing left out in silence."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import places

from lwcallbacks.media import Curve, Line, draw_curve
from lwcallbacks.media.colours import luminance
from lwcallbacks.media.lines import COLOURS, FRAME, GREY

RISING = Line("rising", np.array([0.0, 1.0]), np.array([0.0, 0.5]), at=np.array([1.0, 0.0]))


def plot(pixels: np.ndarray) -> np.ndarray:
    """The square between the axes, without its frame."""
    framed = (pixels == FRAME).all(axis=2)
    rows, columns = framed.sum(axis=1), framed.sum(axis=0)
    top, bottom = np.flatnonzero(rows >= 300)[[0, -1]]
    left, right = np.flatnonzero(columns >= 300)[[0, -1]]
    return pixels[top + 1 : bottom, left + 1 : right]


def inked(pixels: np.ndarray, k: int = 0) -> np.ndarray:
    return (np.abs(pixels.astype(int) - COLOURS[k]).sum(axis=2)) < 30


def test_a_line_goes_from_its_first_to_its_last_point() -> None:
    """x to the right and y upwards: from the lower left corner to the middle of the right side."""
    square = plot(draw_curve(Curve([RISING], "x", "y")).pixels)
    y, x = np.nonzero(inked(square))
    size = len(square)
    assert x.min() <= 1
    assert x.max() >= size - 2
    first, last = y[x == x.min()].mean(), y[x == x.max()].mean()
    assert abs(first - size) < 3
    assert abs(last - size / 2) < 3
    assert np.abs(y - (size - x / 2)).max() < 3


def test_the_axes_say_what_they_are() -> None:
    """Their names, round numbers, the title, and the name of each line are written."""
    pixels = draw_curve(Curve([RISING], "Recall", "Precision"), title="val/pr").pixels
    for text in ("Recall", "val/pr", "rising", "0.25", "0.75"):
        assert places(pixels, text), text
    assert places(pixels, "Precision", up=True)


def test_axes_beyond_one_show_all_points() -> None:
    """From the least to the most, with round numbers."""
    line = Line("loss", np.array([0.0, 300.0]), np.array([-2.0, 4.0]))
    pixels = draw_curve(Curve([line], "epoch", "loss")).pixels
    assert all(places(pixels, text) for text in ("100", "200", "300", "-2", "4"))
    y, x = np.nonzero(inked(plot(pixels)))
    assert y[x == x.max()].min() < 5


def test_marks_and_the_diagonal_are_drawn() -> None:
    """A mark is a dot in the line's colour; the diagonal runs from corner to corner, and only where asked for."""
    mark = Line("rising", RISING.x, RISING.y, marks=[(0.25, 0.75, "best")], at=RISING.at)
    square = plot(draw_curve(Curve([mark], "x", "y")).pixels)
    size = len(square)
    assert inked(square)[size // 4, size // 4]
    assert not inked(plot(draw_curve(Curve([RISING], "x", "y")).pixels))[size // 4, size // 4]
    with_diagonal = plot(draw_curve(Curve([], "x", "y", diagonal=True)).pixels)
    dark = with_diagonal.min(axis=2) < 200
    off = np.abs(np.add.outer(np.arange(len(dark)), np.arange(len(dark))) - len(dark)) < 3
    assert dark[off].sum() > 100
    assert not dark[~off].any()
    assert not (plot(draw_curve(Curve([], "x", "y")).pixels).min(axis=2) < 200).any()


def test_few_measured_points_are_seen() -> None:
    """Of a line without `at`, such as a reliability diagram: a dot wider than the line."""
    flat = Line("flat", np.array([0.0, 0.5, 1.0]), np.full(3, 0.5))
    dotted, plain = (
        inked(plot(draw_curve(Curve([line], "x", "y")).pixels)).sum(axis=0)
        for line in (flat, Line("flat", flat.x, flat.y, at=flat.x))
    )
    assert dotted[len(dotted) // 2] > plain[len(plain) // 2] == np.median(plain)


def test_more_lines_than_there_is_room_for_are_named() -> None:
    """Ten are drawn, the others stand below, and the notes of the curve, too."""
    lines = [Line(f"class {k}", RISING.x, RISING.y * k / 12) for k in range(13)]
    pixels = draw_curve(Curve(lines, "x", "y", notes=["mean 0.5"])).pixels
    assert places(pixels, "class 9")
    assert not places(pixels, "class 10")
    grey = (pixels == GREY).all(axis=2)
    below = grey[places(pixels, "x")[-1][1] :]
    assert below.any()
    fewer = draw_curve(Curve(lines[:10], "x", "y", notes=["mean 0.5"])).pixels
    assert pixels.shape[0] > fewer.shape[0]


def test_colours_stand_out() -> None:
    """Lines by more than 3 to 1 and grey letters by more than 4.5 to 1 from white, as WCAG's level AA asks."""
    assert all(1.05 / (luminance(np.array(colour)) + 0.05) > 3 for colour in (*COLOURS, FRAME))
    assert 1.05 / (luminance(np.array(GREY)) + 0.05) > 4.5
    assert len(set(COLOURS)) == len(COLOURS)


def test_the_sixth_line_is_dashed() -> None:
    """It has the colour of the first."""
    lines = [Line(str(k), np.array([0.0, 1.0]), np.full(2, 0.1 + k / 8), at=np.zeros(2)) for k in range(6)]
    square = inked(plot(draw_curve(Curve(lines, "x", "y")).pixels))
    whole, dashed = (square[len(square) - 1 - round(len(square) * (0.1 + k / 8)) - 3 :][:7].any(axis=0) for k in (0, 5))
    assert whole.mean() > 0.99
    assert 0.3 < dashed.mean() < 0.7


@pytest.mark.parametrize(
    "line",
    [
        Line("nothing", np.zeros(0), np.zeros(0)),
        Line("one", np.array([0.5]), np.array([0.5])),
        Line("odd", np.array([0.0, np.nan, 1.0]), np.array([0.0, np.inf, 1.0])),
        Line("equal", np.full(3, 7.0), np.full(3, 7.0)),
        Line("still", np.full(3, 0.5), np.full(3, 0.5)),
        Line("huge", np.array([-1e300, 1e300]), np.array([0.0, 1.0])),
        Line("mark", np.zeros(2), np.zeros(2), marks=[(np.nan, 0.5, "none")]),
        Line("a name that is far too long to be written in full anywhere", np.zeros(2), np.zeros(2)),
    ],
    ids=lambda line: line.name,
)
@pytest.mark.parametrize("place", [0, 7])
def test_odd_lines_are_drawn(line: Line, place: int) -> None:
    """Without an error, dashed ones too."""
    lines = [RISING] * place + [line]
    assert draw_curve(Curve(lines, "x", "y")).pixels.ndim == 3


def test_a_line_has_as_many_x_as_y() -> None:
    """And as many numbers in `at`."""
    with pytest.raises(ValueError, match=r"Line: 'cat' has \[2, 2, 3\] numbers in x, y and at"):
        Line("cat", np.zeros(2), np.zeros(2), at=np.zeros(3))


def test_equal_names_are_told_apart() -> None:
    """By the index of the second."""
    assert [line.name for line in Curve([RISING, RISING], "x", "y").lines] == ["rising", "rising (1)"]
