"""Tiles keep their pixels, and captions their places."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import places

from lwcallbacks.media import Image, captioned_grid, with_caption
from lwcallbacks.media.grid import _lines
from lwcallbacks.media.lettering import width_of


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


@pytest.mark.parametrize(
    "name", ["W" * 40, "a name of several words that is long enough for many lines", "n02085620-Chihuahua"]
)
def test_each_line_of_a_caption_keeps_both_ends(name: str) -> None:
    """Prediction and truth are both there, however long they are, in two lines of the tile's width each at most."""
    lines = _lines(f"Pred:{name}x\nLabel:{name}y", width=84)
    assert all(width_of(line) <= 84 for line in lines)
    pred, label = ("".join(lines[:2]), "".join(lines[2:]))
    assert len(lines) == 4
    for text, begins, ends in ((pred, f"Pred:{name}", f"{name}x"), (label, f"Label:{name}", f"{name}y")):
        assert text.replace(" ", "").startswith(begins.replace(" ", "")[:7])
        assert text.replace(" ", "").endswith(ends.replace(" ", "")[-4:])
    assert _lines("Pred:cat\nLabel:dog\n1 of all 3 wrong", width=84) == ["Pred:cat", "Label:dog", "1 of all 3 wrong"]


def test_what_is_left_out_of_a_caption_is_left_out_between_its_lines() -> None:
    """The beginning is on the first line and the end on the second, so that neither is broken again."""
    name = "n000000 / 0 a very long thing, 3th kind"
    first, second = _lines(f"Pred:{name}\nLabel:cat", 84)[:2]
    assert f"Pred:{name}".startswith(first)
    assert second.startswith("…")
    assert name.endswith(second[1:])
    assert min(len(first), len(second)) > 10


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


def test_only_a_caption_that_says_something_is_drawn() -> None:
    """Without one, or with one that is known already, the pixels stay as they are."""
    tile = np.zeros((84, 84), np.uint8)
    for caption in (None, "", "val/m"):
        image = Image(tile, caption)
        assert with_caption(image, unless="val/m") is image
    assert (with_caption(Image(tile, "a")).pixels == captioned_grid([Image(tile, "a")]).pixels).all()


def test_a_caption_is_written_below_the_middle_of_its_tile() -> None:
    """Each below its own, grey and coloured tiles alike."""
    tiles = [Image(np.full((84, 84), 9, np.uint8), "first"), Image(np.full((84, 84, 3), (9, 8, 7), np.uint8), "second")]
    page = captioned_grid(tiles).pixels
    for i, image in enumerate(tiles):
        [(x, y)] = places(page, str(image.caption))
        assert 8 + 84 <= y < 8 + 84 + 15
        assert 8 + 92 * i < x < 8 + 92 * i + 42
    assert (page[8:92, 8:92] == 9).all()
    assert (page[8:92, 100:184] == (9, 8, 7)).all()
