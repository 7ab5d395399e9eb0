"""Histograms and tables: what is written and drawn, and what must not happen to them."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import places

from lwcallbacks.media import Histogram, Image, Table, draw_histogram, draw_table


def test_bars_are_as_high_as_their_counts_and_stand_over_their_edges() -> None:
    """The largest reaches the top, half of it reaches the middle, an empty bin is white, one sample is still seen."""
    counts, edges = np.array([50, 0, 100_000, 100_000 // 2, 1]), np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    pixels = draw_histogram(Histogram(counts, edges)).pixels
    blue = (pixels == (66, 113, 174)).all(axis=2)
    left = int(np.flatnonzero(blue.any(axis=0))[0])
    heights = [int(blue[:, left + 60 * i + 30].sum()) for i in range(5)]
    assert heights == [1, 0, 138, 69, 1]
    assert int(np.flatnonzero(blue.any(axis=0))[-1]) == left + 5 * 60 - 1


def test_a_histogram_tells_what_is_not_finite_in_red() -> None:
    """And only if there is any."""
    counts, edges = np.array([1, 2]), np.array([0.0, 0.5, 1.0])
    red = (200, 0, 0)
    assert (draw_histogram(Histogram(counts, edges, nan=3)).pixels == red).all(axis=2).any()
    assert not (draw_histogram(Histogram(counts, edges)).pixels == red).all(axis=2).any()


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram(np.array([0]), np.array([0.0, 0.0]), nan=7),
        Histogram(np.array([5]), np.array([2.0, 2.0])),
        Histogram(np.array([1, 2**62]), np.array([-3e38, 0.0, 3e38])),
        Histogram(np.array([], np.int64), np.array([0.0])),
        Histogram(np.full(2000, 1), np.linspace(-1, 1, 2001)),
    ],
    ids=["empty", "one value", "huge", "no bin", "more bins than pixels"],
)
def test_any_histogram_can_be_drawn(histogram: Histogram) -> None:
    """Of one size, whatever its counts and edges."""
    assert draw_histogram(histogram, "title " * 50).pixels.shape == (220, 360, 3)


def test_a_histogram_has_its_title_its_ends_its_zero_and_its_largest_count() -> None:
    """Zero where it lies between the ends, the largest count to the left of the bars, as short as can be read."""
    page = draw_histogram(Histogram(np.array([999_999, 5]), np.array([-1.5, 0.0, 2.0]), nan=3), "gradients/w").pixels
    [(_, title)], [(left, _)], [(right, _)] = places(page, "gradients/w"), places(page, "-1.5"), places(page, "2")
    [(zero, below)], [(most, top)] = places(page, "0"), places(page, "1M")
    assert title < top < below
    assert most < left < zero < right
    assert abs(zero + 3 - (48 + 300 * 1.5 / 3.5)) < 3


def test_a_table_is_written_in_columns() -> None:
    """Numbers in six digits; an image or nothing is an empty cell; after 60 rows it says how many are left out."""
    rows = [["cat", 0.123456789, None], ["a dog", 888, Image(np.zeros((2, 2), np.uint8))]]
    page = draw_table(Table(("class", "recall", "n"), rows), "val/report").pixels
    [title], [name], [recall], [value], [three] = (
        places(page, text) for text in ("val/report", "a dog", "recall", "0.123457", "888")
    )
    assert title[1] < recall[1] < value[1] < three[1]
    assert abs(name[0] - places(page, "cat")[0][0]) <= 1 < recall[0] - name[0]
    assert abs(recall[0] - value[0]) <= 2
    long = draw_table(Table(("n",), [[i] for i in range(70)])).pixels
    assert len(places(long, "and 10 rows more")) == 1
    assert len(places(long, "60")) == 0


def test_a_cell_stays_on_its_line() -> None:
    """A long text keeps both its ends, and a line break is a space."""
    page = draw_table(Table(("text",), [["two\nlines"], ["begin" + "x" * 100 + "ending"]])).pixels
    assert len(places(page, "two lines")) == 1
    assert len(places(page, "ending")) == 1
    assert page.shape[0] == 3 * 18 + 14
    assert page.shape[1] < 400
