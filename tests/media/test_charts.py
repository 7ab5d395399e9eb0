"""Pictures with text: sizes, colours and what must not happen to them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from lwcallbacks.media import Histogram, Image, Matrix, captioned_grid, draw_histogram, draw_matrix, with_caption


def texts_of(monkeypatch: pytest.MonkeyPatch, matrix: Matrix, **options: Any) -> tuple[Image, Any]:
    """The picture and the axes it was drawn from."""
    from matplotlib.figure import Figure

    made: list[Any] = []
    add = Figure.add_subplot

    def remember(self: Figure, *args: Any, **kwargs: Any) -> Any:
        made.append(add(self, *args, **kwargs))
        return made[-1]

    monkeypatch.setattr(Figure, "add_subplot", remember)
    return draw_matrix(matrix, **options), made[0]


def test_rows_are_the_truth_and_columns_the_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cat called a dog is written in the cat's row and the dog's column; the first class is at the top."""
    _, axes = texts_of(monkeypatch, Matrix(np.array([[5, 3], [0, 7]]), ("cat", "dog")), title="val/confusion")
    cells = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (0, 1): "3", (1, 0): "0", (1, 1): "7"}
    assert axes.get_xlabel() == "Predicted"
    assert axes.get_ylabel() == "True"
    assert axes.get_title() == "val/confusion"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("true", ["75.0", "25.0", "0.0", "100.0"]),
        ("pred", ["100.0", "12.5", "0.0", "87.5"]),
        ("all", ["27.3", "9.1", "0.0", "63.6"]),
    ],
)
def test_normalized_cells_hold_percentages(
    monkeypatch: pytest.MonkeyPatch, normalize: str, expected: list[str]
) -> None:
    """By row, by column, by the total, as in scikit-learn."""
    _, axes = texts_of(monkeypatch, Matrix(np.array([[3, 1], [0, 7]]), ("a", "b")), normalize=normalize)
    assert [text.get_text() for text in axes.texts] == expected


def test_colour_is_the_share_of_the_true_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of two samples is as dark as a class of a million; a class that never occurs is pale and no NaN."""
    counts = np.array([[1_000_000, 0, 0], [0, 2, 0], [0, 0, 0]])
    _, axes = texts_of(monkeypatch, Matrix(counts, ("a", "b", "c")))
    assert axes.images[0].get_array().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert [text.get_color() for text in axes.texts] == ["white", *["black"] * 3, "white", *["black"] * 4]


def test_many_classes_get_fewer_names_and_no_cell_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty names would run into each other."""
    _, axes = texts_of(monkeypatch, Matrix(np.eye(60, dtype=np.int64), [f"class {i}" for i in range(60)]))
    assert len(axes.texts) == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"class {i}" for i in range(0, 60, 2)]


def test_the_picture_grows_with_the_classes_within_bounds() -> None:
    """Two classes are legible, a thousand still a picture of moderate size."""
    sizes = [
        draw_matrix(Matrix(np.eye(c, dtype=np.int64), [str(i) for i in range(c)])).pixels.shape for c in (2, 20, 1000)
    ]
    assert 300 < sizes[0][0] < sizes[1][0] < sizes[2][0] < 1600


def test_any_class_name_is_text() -> None:
    """Dollars, backslashes and markup are names and no formulas."""
    names = (r"$\frac{", "a_b^c $x$", "<b>cat</b>", "x" * 200)
    assert draw_matrix(Matrix(np.eye(4, dtype=np.int64), names), title="$\\bad").pixels.dtype == np.uint8


def test_an_unknown_normalize_is_an_error() -> None:
    """The error lists what is known."""
    with pytest.raises(ValueError, match="'row', expected 'true', 'pred', 'all' or None"):
        draw_matrix(Matrix(np.eye(2, dtype=np.int64), "ab"), normalize="row")  # type: ignore[arg-type]


def test_pyplot_is_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn on another thread, where the user's pyplot state has no business."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert draw_matrix(Matrix(np.eye(2, dtype=np.int64), "ab")).pixels.ndim == 3


def test_a_captioned_grid_enlarges_tiles_and_keeps_their_pixels() -> None:
    """28 x 28 becomes 84 x 84, row by row, and every pixel is found again."""
    digits = [Image(np.full((28, 28), 20 * i, np.uint8), f"digit {i}") for i in range(10)]
    grid = captioned_grid(digits, nrow=8).pixels
    assert grid.shape[1] == 8 * (84 + 8) + 8
    pitch = (grid.shape[0] - 8) // 2
    for i in range(10):
        y, x = 8 + (i // 8) * pitch, 8 + (i % 8) * 92
        assert (grid[y : y + 84, x : x + 84] == 20 * i).all()


def test_a_caption_never_reaches_its_neighbour() -> None:
    """Below a tile with a short caption nothing of the long one beside it is seen; the gap between them is white."""
    tile = np.zeros((84, 84), np.uint8)
    grid = captioned_grid([Image(tile, "W" * 500), Image(tile), Image(tile, "many words " * 40)]).pixels
    below = grid[8 + 84 :]
    assert (below[:, : 8 + 84] < 100).any()
    assert (below[:, 8 + 84 : 2 * 92 + 8] == 255).all()
    assert (below[:, 2 * 92 + 8 :] < 100).any()
    assert len(below) < 84


def test_a_title_is_written_above_and_moves_the_tiles_down() -> None:
    """The first rows hold the title and no tile."""
    tile = Image(np.zeros((84, 84), np.uint8))
    plain, titled = captioned_grid([tile]).pixels, captioned_grid([tile], title="val").pixels
    added = len(titled) - len(plain)
    assert added > 10
    assert (titled[added + 8 :] == plain[8:]).all()
    assert (titled[:added] < 100).any()


def test_a_grid_of_nothing_is_an_error() -> None:
    """There is no picture of no image."""
    with pytest.raises(ValueError, match="0 images"):
        captioned_grid([])


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


def test_only_a_caption_that_says_something_is_drawn() -> None:
    """Without one, or with one that is known already, the pixels stay as they are."""
    tile = np.zeros((84, 84), np.uint8)
    for caption in (None, "", "val/m"):
        image = Image(tile, caption)
        assert with_caption(image, unless="val/m") is image
    assert (with_caption(Image(tile, "a")).pixels == captioned_grid([Image(tile, "a")]).pixels).all()
