"""A heatmap says in its pixels what was counted, the right way up, and stays legible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.pictures import places, read, square

import lwcallbacks
from lwcallbacks.media import Matrix, confused_block, draw_labels, draw_matrix
from lwcallbacks.media.colours import INK, SCALE, luminance


def cells(page: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    """The cells' pixels."""
    top, left, bottom, right = square(page)
    height, width = divmod(bottom - top, rows), divmod(right - left, columns)
    assert height[1] == width[1] == 0
    return [
        [
            page[top + i * height[0] : top + (i + 1) * height[0], left + j * width[0] : left + (j + 1) * width[0]]
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def colours(counts: np.ndarray, axis: int = 1) -> np.ndarray:
    """The colours of the shares of each row, or column, by their definition; white of no count."""
    sums = np.maximum(counts.sum(axis=axis, keepdims=True), 1)
    return np.where(counts[..., None], SCALE[np.floor(255 * (counts / sums) + 0.5).astype(int)], 255)


def counts_of(size: int) -> np.ndarray:
    """Many right, some wrong, one class that never occurs."""
    random = np.random.default_rng(size)
    counts = random.poisson(0.6, (size, size)) + np.diag(random.poisson(90, size))
    if size > 1:
        counts[size // 2] = 0
    return counts.astype(np.int64)


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    """A cat called a dog is written in the cat's row and the dog's column; the first class is at the top."""
    page = draw_matrix(Matrix(np.array([[5, 3], [0, 7]]), ("cat", "dog")), title="val/confusion").pixels
    shown = [[read(tile, "0357") for tile in row] for row in cells(page, 2, 2)]
    assert shown == [["5", "3"], ["", "7"]]
    top, left, bottom, right = square(page)
    names = {name: sorted(places(page, name)) for name in ("cat", "dog")}  # once to the left, once below
    for i, name in enumerate(("cat", "dog")):
        beside, below = names[name]
        assert beside[0] < left < below[0]
        assert abs(beside[1] + 5 - (top + (2 * i + 1) * (bottom - top) / 4)) < 6
        assert bottom < below[1]
        assert abs(below[0] + 9 - (left + (2 * i + 1) * (right - left) / 4)) < 6
    [(_, title)], [(_, predicted)] = places(page, "val/confusion", size=14), places(page, "Predicted")
    [(true, _)] = places(page, "True", up=True)
    assert title < top < bottom < predicted
    assert true < left
    assert len(places(page, "share of the true class", up=True)) == 1
    assert all(len(places(page, f"0.{tenth}")) == 1 for tenth in (0, 2, 4, 6, 8))


@pytest.mark.parametrize(
    ("normalize", "expected", "of"),
    [
        ("true", [["75.0", "25.0"], ["", "100.0"]], "true class"),
        ("pred", [["100.0", "12.5"], ["", "87.5"]], "predicted class"),
        ("all", [["27.3", "9.1"], ["", "63.6"]], "total"),
    ],
)
def test_normalized_cells_hold_percentages(normalize: str, expected: list[list[str]], of: str) -> None:
    """By row, by column, by the total, as in scikit-learn; the picture says which."""
    page = draw_matrix(Matrix(np.array([[3, 1], [0, 7]]), ("a", "b")), normalize=normalize).pixels  # type: ignore[arg-type]
    texts = [text for row in expected for text in row if text]
    assert [[read(tile, texts) for tile in row] for row in cells(page, 2, 2)] == expected
    assert len(places(page, f"(cells: percent of the {of})")) == 1
    assert len(places(page, f"share of the {'predicted' if normalize == 'pred' else 'true'} class", up=True)) == 1


def test_colour_is_the_share_of_the_true_class() -> None:
    """A class of two samples is as dark as a class of a million; one of a million is pale, and none is blank."""
    counts = np.array([[1_000_000, 0, 1], [0, 2, 0], [0, 0, 0]])
    shown = [[tile[0, 0].tolist() for tile in row] for row in cells(draw_matrix(Matrix(counts, "abc")).pixels, 3, 3)]
    pale, dark, blank = SCALE[0].tolist(), SCALE[255].tolist(), [255, 255, 255]
    assert shown == [[dark, blank, pale], [blank, dark, blank], [blank, blank, blank]]
    by_column = draw_matrix(Matrix(np.array([[3, 1], [0, 7]]), "ab"), normalize="pred").pixels
    corners = np.array([[tile[0, 0] for tile in row] for row in cells(by_column, 2, 2)])
    assert (corners == colours(np.array([[3, 1], [0, 7]]), axis=0)).all()


@pytest.mark.parametrize("size", [1, 2, 3, 10, 25, 26, 40, 41, 100])
def test_every_cell_is_a_square_of_whole_pixels_in_its_colour(size: int) -> None:
    """No row is higher than another and none is lost; every cell has its count where all have room."""
    counts = counts_of(size)
    if size == 40:
        counts[3, 3] = 12_345  # takes more than the 27 pixels of a cell
    page = draw_matrix(Matrix(counts, [f"class {i}" for i in range(size)])).pixels
    top, left, bottom, right = square(page)
    side = (bottom - top) // size
    assert (bottom - top, right - left) == (size * side, size * side)
    tiles = page[top:bottom, left:right].reshape(size, side, size, side, 3)
    expected = colours(counts)
    assert (tiles[:, 0, :, 0] == expected).all()
    if size in (40, 100):
        assert (tiles == expected[:, None, :, None]).all()
        return
    texts = {str(count) for count in counts.ravel() if count}
    shown = [[read(tiles[i, :, j], texts) for j in range(size)] for i in range(size)]
    assert shown == [[str(count) if count else "" for count in row] for row in counts.tolist()]


@pytest.mark.parametrize("normalize", [None, "pred"])
def test_more_than_100_classes_are_those_confused_most_and_the_others_as_one(normalize: str | None) -> None:
    """The picture is that of the block, and says what was summed; only the corner, of the others, has no number."""
    counts = np.diag(np.full(101, 90))
    counts[100, 7], counts[7, 100], counts[4, 5] = 30, 20, 1
    matrix = Matrix(counts, [f"class {i}" for i in range(101)])
    block = confused_block(matrix)
    page = draw_matrix(matrix, normalize=normalize).pixels  # type: ignore[arg-type]
    tiles = cells(page, 40, 40)
    expected = colours(block.counts, axis=0 if normalize else 1)
    assert all((tile[0, 0] == expected[i, j]).all() for i, row in enumerate(tiles) for j, tile in enumerate(row))
    if normalize is None:
        shown = [[read(tile, {"90", "30", "20", "1"}) for tile in row[:-1]] for row in tiles[:-1]]
        assert shown == [[str(n) if n else "" for n in row] for row in block.counts[:-1, :-1].tolist()]
        assert (tiles[-1][-1] == SCALE[255]).all()
    assert len(places(page, "(39 of 101 classes: those confused most; the other 62 are summed as one)")) == 1
    assert [len(places(page, name)) for name in ("class 100", "class 7", "(other 62)")] == [1, 1, 1]


def test_percentages_that_round_to_nothing_are_not_0() -> None:
    """One of 10,000 is something; an empty cell is nothing."""
    page = draw_matrix(Matrix(np.array([[9999, 1], [0, 5]]), "ab"), normalize="true").pixels
    shown = [[read(tile, ["100.0", "<0.1"]) for tile in row] for row in cells(page, 2, 2)]
    assert shown == [["100.0", "<0.1"], ["", "100.0"]]


def test_a_text_stands_out_from_its_cell() -> None:
    """By 4.5 to 1 as WCAG 2.1's level AA asks for, on each of the 256 colours, which are never lighter than the one
    before; all other words are black on white. The palest colour is seen to be none that is blank."""
    light, ink = luminance(SCALE), INK / 255
    assert len(SCALE) == len(INK) == 256
    assert ((np.maximum(light, ink) + 0.05) / (np.minimum(light, ink) + 0.05)).min() >= 4.5
    assert (np.diff(light) <= 0).all()
    assert 0.9 > light[0] > 0.75
    assert light[255] < 0.05
    assert luminance(np.array([255, 255, 255])) == pytest.approx(1)


def test_many_classes_get_fewer_names_and_no_text_in_their_cells() -> None:
    """Sixty names would run into each other."""
    page = draw_matrix(Matrix(np.eye(60, dtype=np.int64), [f"class {i}" for i in range(60)])).pixels
    assert [len(places(page, f"class {i}")) for i in range(20, 60)] == [1, 0] * 20
    assert [len(places(page, f"class {i}", up=True)) for i in range(20, 60)] == [1, 0] * 20


def test_names_are_written_upwards_where_they_do_not_fit() -> None:
    """Below their columns, all inside the picture; long ones are cut in the middle and stay distinct."""
    short = draw_matrix(Matrix(np.eye(10, dtype=np.int64), "abcdefghij")).pixels
    assert len(places(short, "h")) == 2
    names = [f"n0208{i}-a long name of a class {i}" for i in range(10)]
    page = draw_matrix(Matrix(np.eye(10, dtype=np.int64), names)).pixels
    for i in range(10):
        shown = f"n0208{i}-a lon…f a class {i}"
        assert [len(places(page, shown)), len(places(page, shown, up=True))] == [1, 1]


def test_a_long_title_stays_inside() -> None:
    """It is wrapped, and cut after its second line."""
    matrix = Matrix(np.eye(3, dtype=np.int64), "abc")
    plain, titled = draw_matrix(matrix).pixels, draw_matrix(matrix, title="a title of many words " * 20).pixels
    assert titled.shape[1] == plain.shape[1]
    assert 20 < titled.shape[0] - plain.shape[0] < 50
    assert (titled[:, :8] == 255).all()
    assert (titled[:, -8:] == 255).all()


def test_the_picture_grows_with_the_classes_within_bounds() -> None:
    """None, one and two classes are legible, thousands still a picture of moderate size."""
    shapes = [
        draw_matrix(Matrix(np.eye(c, dtype=np.int64), [str(i) for i in range(c)])).pixels.shape
        for c in (0, 1, 2, 20, 1000, 3000)
    ]
    assert 300 < shapes[1][0] < shapes[3][0] < shapes[4][0] < 1600
    assert max(max(shape) for shape in shapes) < 1600


@pytest.mark.parametrize("normalize", [None, "true"])
def test_any_class_name_is_text(normalize: str | None) -> None:
    """Dollars, backslashes, markup, ends of lines, nothing, halves of characters: names and no formulas."""
    names = (r"$\frac{", "a_b^c $x$", "<b>cat</b>", "x" * 200, "two\nlines\u2029", "", "\x00\ud800", " ")
    picture = draw_matrix(Matrix(np.eye(8, dtype=np.int64), names), title="$\\bad", normalize=normalize)  # type: ignore[arg-type]
    assert picture.pixels.dtype == np.uint8
    assert len(places(picture.pixels, r"$\frac{")) == 1


def test_an_unknown_normalize_is_an_error() -> None:
    """The error lists what is known."""
    with pytest.raises(ValueError, match="'row', expected 'true', 'pred', 'all' or None"):
        draw_matrix(Matrix(np.eye(2, dtype=np.int64), "ab"), normalize="row")  # type: ignore[arg-type]


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    """What is kept of letters and words is never written to."""
    matrix = Matrix(counts_of(12), [f"class {i}" for i in range(12)])
    first = draw_matrix(matrix, title="a").pixels.copy()
    draw_matrix(matrix, title="b").pixels[:] = 0
    assert (draw_matrix(matrix, title="a").pixels == first).all()


def test_matplotlib_is_neither_needed_nor_imported() -> None:
    """The heatmaps are drawn where it is not installed, names of other alphabets among them."""
    code = (
        "import sys, types, warnings; package = sys.modules['lwcallbacks'] = types.ModuleType('lwcallbacks');"
        f"package.__path__ = [{str(Path(lwcallbacks.__file__).parent)!r}];"  # torchmetrics would import it
        "sys.modules['matplotlib'] = None; warnings.simplefilter('ignore');"
        "import numpy as np; from lwcallbacks.media import Matrix, draw_labels, draw_matrix;"
        "draw_matrix(Matrix(np.eye(2, dtype=int), ('猫', 'é')));"
        "print(draw_labels(np.ones((2, 2, 2), int), ('a', 'b')).pixels.shape[2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


LABELS = np.array([[[3, 1], [2, 4]], [[10, 0], [0, 0]]])


def test_a_picture_of_labels() -> None:
    """A row for each label: found, missed, wrongly predicted, left out; as dark as its share of its row's truth."""
    picture = draw_labels(LABELS, ("cat", "dog"), title="val/labels")
    tiles = cells(picture.pixels, 2, 4)
    assert [[read(tile, ["0", "1", "2", "3", "4", "10"]) for tile in row] for row in tiles] == [
        ["4", "2", "1", "3"],
        ["", "", "", "10"],
    ]
    shares = np.array([[4 / 6, 2 / 6, 1 / 4, 3 / 4], [0, 0, 0, 1]])
    corners = np.array([[tile[0, 0] for tile in row] for row in tiles])
    assert (corners == np.where(shares[..., None], SCALE[np.floor(255 * shares + 0.5).astype(int)], 255)).all()
    assert picture.caption == "val/labels"
    for name in ("cat", "dog", "there, found", "there, missed", "absent, predicted", "absent, left out"):
        assert len(places(picture.pixels, name)) == 1


def test_beyond_1100_labels_a_row_of_pixels_is_as_dark_as_the_darkest_of_them() -> None:
    """One missed label of 2,300 is still seen, and a row is blank only where all of its labels are."""
    counts = np.zeros((2300, 2, 2), np.int64)
    counts[3, 1, 0], counts[2299, 1] = 5, (1, 999)
    page = draw_labels(counts, [f"label {i}" for i in range(2300)]).pixels
    top, left, bottom, _ = square(page)
    assert bottom - top == 767
    column = page[top:bottom, left + 116 + 1]
    assert (column[1] == SCALE[255]).all()
    assert (column[766] == SCALE[0]).all()
    assert (np.delete(column, [1, 766], axis=0) == 255).all()


@pytest.mark.parametrize("size", [0, 1, 26, 80, 1000, 3000])
def test_a_picture_of_any_number_of_labels(size: int) -> None:
    """It stays within a screen's height, and has text only where it can be read."""
    counts = np.tile(LABELS[:1], (size, 1, 1))
    picture = draw_labels(counts, [f"label {i}" for i in range(size)])
    assert picture.pixels.shape[0] < 1400
