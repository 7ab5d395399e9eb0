"""Every kind of media arrives wherever something near it is taken."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwcallbacks.media import (
    EVERY_KIND,
    Curve,
    File,
    Histogram,
    Image,
    Line,
    Matrix,
    Picture,
    Table,
    Text,
    captioned_grid,
    draw_curve,
    draw_matrix,
    drawn_once,
    fitted,
    kind_of,
    nearest,
    with_caption,
)

GREY = Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "a ramp")
ENTRIES: dict[str, Any] = {
    "image": GREY,
    "images": [GREY, GREY],
    "table": Table(("image", "pred"), [[GREY, "a|b"], [GREY, None]]),
    "matrix": Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog")),
    "histogram": Histogram(np.array([1, 0, 2]), np.array([0.0, 0.5, 1.0, 1.5]), nan=3),
    "curve": Curve([Line("cat", np.array([0.0, 1.0]), np.array([0.0, 0.5]))], "x", "y"),
    "file": File(Path("a.ckpt"), "model-a", aliases=("best",), metadata={"loss": 0.5}),
}
KINDS = (*EVERY_KIND, Picture, Text)


@pytest.mark.parametrize("takes", [*itertools.combinations(KINDS, 1), *itertools.combinations(KINDS, 2), EVERY_KIND])
def test_only_what_is_taken_arrives(takes: tuple[type, ...]) -> None:
    """Whatever a writer takes, alone or with another; a kind that is taken arrives as it is."""
    for key, entry in ENTRIES.items():
        forms = nearest(entry, key, takes)
        assert all(isinstance(form, takes) for form in forms.values())
        if isinstance(entry, takes):
            assert forms == {"": entry}


@pytest.mark.parametrize("kind", [Image, Picture, list, Table, Text])
def test_one_kind_is_enough_for_nearly_all(kind: type) -> None:
    """Pictures take everything; tables and texts all but images."""
    left_out = {key for key, entry in ENTRIES.items() if "" not in nearest(entry, key, (kind,))}
    assert left_out == ({"image", "images"} if kind in (Table, Text) else set())


def test_a_picture_has_its_caption_in_its_pixels() -> None:
    """Unless that is the key, which stands beside it anyway; a list is a captioned grid."""
    assert (nearest(GREY, "k", (Picture,))[""].pixels == with_caption(GREY).pixels).all()  # type: ignore[union-attr]
    assert nearest(GREY, "a ramp", (Picture,))[""].pixels is GREY.pixels  # type: ignore[union-attr]
    grid = nearest([GREY, GREY], "k", (Picture,))[""]
    assert (grid.pixels == captioned_grid([GREY, GREY]).pixels).all()  # type: ignore[union-attr]
    assert nearest(GREY, "k", (list,)) == {"": [GREY]}


def test_a_matrix_is_its_heatmap_and_its_counts() -> None:
    """Beside each other where both are taken, under a key of their own."""
    matrix = ENTRIES["matrix"]
    forms: dict[str, Any] = fitted({"val/m": matrix}, (Image, Table))
    assert list(forms) == ["val/m", "val/m_counts"]
    assert (forms["val/m"].pixels == draw_matrix(matrix, title="val/m").pixels).all()
    assert forms["val/m_counts"].rows == [["cat", 5, 1], ["dog", 0, 7]]


def test_a_curve_is_its_chart_or_its_points() -> None:
    """A row for each point of each line; what belongs to a point stands beside it."""
    curve = ENTRIES["curve"]
    assert (nearest(curve, "c", (Image, Table))[""].pixels == draw_curve(curve, title="c").pixels).all()  # type: ignore[union-attr]
    table: Any = nearest(curve, "c", (Table,))[""]
    assert (table.columns, table.rows) == (("line", "x", "y"), [["cat", 0.0, 0.0], ["cat", 1.0, 0.5]])
    line = Line("dog", np.array([1.0]), np.array([2.0]), at=np.array([0.25]))
    table = nearest(Curve([*curve.lines, line], "x", "y"), "c", (Table,))[""]
    assert table.columns == ("line", "x", "y", "at")
    assert [row[3] for row in table.rows] == [None, None, 0.25]


def test_a_table_is_markdown_and_a_numbered_grid() -> None:
    """A bar in a cell breaks no column, and an image is found by its number."""
    forms: dict[str, Any] = nearest(ENTRIES["table"], "t", (Text, Picture))
    assert forms[""].markdown.splitlines()[2:] == ["| (image 1) | a\\|b |", "| (image 2) |  |"]
    tiles = [Image(GREY.pixels, "1. a ramp"), Image(GREY.pixels, "2. a ramp")]
    assert (forms["images"].pixels == captioned_grid(tiles).pixels).all()
    assert list(nearest(ENTRIES["table"], "t", (Text,))) == [""]


def test_a_table_can_be_drawn_whatever_its_size() -> None:
    """Of 1,000 rows the first are drawn, and a picture of no column is a picture."""
    long = Table(("a", "b"), [[i, "x" * 500] for i in range(1000)])
    [image] = nearest(long, "val/long", (Image,)).values()
    assert image.pixels.shape[0] < 1300  # type: ignore[union-attr]
    assert image.pixels.shape[1] < 700  # type: ignore[union-attr]
    for odd in (Table((), []), Table(("a",), []), Table(("",), [[None]])):
        assert nearest(odd, "", (Image,))


def test_a_histogram_without_pictures_is_a_table_of_its_bins() -> None:
    """Empty bins are left out, and what is not finite is named."""
    [table] = nearest(ENTRIES["histogram"], "h", (Table,)).values()
    assert table.rows == [[0.0, 0.5, 1], [1.0, 1.5, 2], ["NaN", None, 3]]  # type: ignore[union-attr]


def test_within_a_publish_each_form_is_made_once() -> None:
    """Writers that take different kinds share what they have in common, and each entry keeps its own."""
    for key, entry in ENTRIES.items():
        with drawn_once():
            first, second = (nearest(entry, key, takes)[""] for takes in ((Picture,), (Picture, Histogram)))
            same = first is second
            other = nearest(entry, key + "!", (Picture,))[""]
        assert same or isinstance(entry, Histogram), key
        assert other is not first
        assert nearest(entry, key, (Picture,))[""] is not first


def test_two_entries_with_one_key_are_told_apart() -> None:
    """Also where the first is gone, and the second may have its address."""
    with drawn_once():
        for count in (1, 2, 3):
            table = Table(("n",), [[count]])
            assert nearest(table, "t", (Text,))[""].markdown.endswith(f"| {count} |")  # type: ignore[union-attr]
            del table


def test_a_picture_of_the_same_pixels_shares_its_png() -> None:
    """The page has encoded the heatmap; a logger that takes pictures does not do so again."""
    image = Image(GREY.pixels, "k")
    _ = image.png
    assert nearest(image, "k", (Picture,))[""].png is image.png  # type: ignore[union-attr]


def test_a_grid_says_where_its_tiles_are() -> None:
    """Each box holds its image, enlarged by a whole number and centred in its place."""
    tall = Image(np.arange(360, dtype=np.uint8).reshape(30, 4, 3), "tall")
    grid = captioned_grid([GREY, tall, GREY], nrow=2, title="a title")
    for image, (left, top, width, height) in zip((GREY, tall, GREY), grid.boxes, strict=True):
        cut = grid.pixels[top : top + height, left : left + width]
        factor = height // image.pixels.shape[0]
        expected = image.pixels.repeat(factor, axis=0).repeat(factor, axis=1)
        assert (cut == (expected if expected.ndim == 3 else expected[..., None])).all()


def test_an_empty_list_is_nothing() -> None:
    """There is no picture of no image."""
    assert nearest([], "k", EVERY_KIND) == {}


@pytest.mark.parametrize(
    ("value", "found"), [("text", "a str"), (None, "a NoneType"), ([GREY, "x"], "a list with a str in it")]
)
def test_what_is_no_media_is_an_error_that_says_what_is(value: Any, found: str) -> None:
    """The message names the key, the type found and those that are media."""
    with pytest.raises(TypeError, match=f"'k' is {found}, expected Image, a list of Image, Table"):
        kind_of("k", value)
