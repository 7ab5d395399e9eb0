"""Texts are drawn as Pillow draws them, and stay where they belong."""

from __future__ import annotations

import itertools
import random
import string
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageDraw, ImageFont
from support.fonts import planted

from lwcallbacks.media.fonts import Fonts
from lwcallbacks.media.lettering import line_height, margin, mask, width_of, wrap, write

LETTERS = [chr(code) for code in range(0x20, 0x7F)]


def by_pillow(text: str, size: int) -> np.ndarray:
    """The text in one go, on a page of the mask's size."""
    page = PIL.Image.new("L", mask(text, size).shape[::-1])
    at = (margin(size), margin(size) + size)
    ImageDraw.Draw(page).text(at, text, fill=255, font=ImageFont.load_default(size), anchor="ls")
    return np.asarray(page)


@pytest.mark.parametrize("size", [12, 13, 14])
def test_a_text_of_kept_letters_is_what_pillow_draws(size: int) -> None:
    """Of all pairs of letters: as wide, and the same but for pixels that two letters touch."""
    font = ImageFont.load_default(size)
    longer = ["".join(random.Random(i).choices(LETTERS, k=30)) for i in range(20)]
    for text in [*map("".join, itertools.product(LETTERS, repeat=2)), *longer, "cut…"]:
        ours, theirs = mask(text, size), by_pillow(text, size)
        assert width_of(text, size) == font.getlength(text) == ours.shape[1] - 2 * margin(size)
        unlike = ours != theirs
        if unlike.any():
            starts = np.cumsum([0, *(width_of(letter, size) for letter in text)])
            alone = [mask(letter, size) for letter in text]
            touched = np.zeros(ours.shape, int)
            for start, letter in zip(starts, alone, strict=False):
                touched[:, start : start + letter.shape[1]] += letter > 0
            assert (touched[unlike] > 1).all(), text


def test_a_text_is_written_where_its_anchor_says() -> None:
    """Its line starts, has its middle, or ends at x; upwards it is turned to the left, and does so at y."""

    def inked(**options: object) -> np.ndarray:
        page = np.full((100, 100, 3), 255, np.uint8)
        write(page, "Total", 50, 50, **options)  # type: ignore[arg-type]
        return (page < 255).any(axis=2)

    start, width = inked(), width_of("Total")
    assert start[50 : 50 + line_height(), 50 : 50 + width].sum() == start.sum() > 0
    assert (inked(anchor="end") == np.roll(start, -width, axis=1)).all()
    assert (inked(anchor="middle") == np.roll(start, -(width // 2), axis=1)).all()
    up = inked(up=True)
    assert (
        up[50 - width : 50, 50 : 50 + line_height()] == np.rot90(start[50 : 50 + line_height(), 50 : 50 + width])
    ).all()
    assert (inked(up=True, anchor="end") == np.roll(up, width, axis=0)).all()


@pytest.mark.parametrize(("x", "y"), [(-9, -9), (25, 20), (-500, 0), (0, -500), (500, 0), (0, 500), (-3, 5)])
@pytest.mark.parametrize("up", [False, True])
def test_what_lies_outside_is_cut_off(x: int, y: int, up: bool) -> None:
    """As if the page were a part of a larger one."""
    large = np.full((2100, 2100, 3), 255, np.uint8)
    write(large, "outside", x + 1000, y + 1000, up=up)
    page = np.full((30, 40, 3), 255, np.uint8)
    write(page, "outside", x, y, up=up)
    assert (page == large[1000:1030, 1000:1040]).all()


def test_ink_has_its_colour_and_leaves_what_is_darker() -> None:
    """Red is as black is but for its own channel; a black line below stays black."""
    red, black = np.full((30, 60, 3), 255, np.uint8), np.full((30, 60, 3), 255, np.uint8)
    red[10] = black[10] = 0
    write(red, "MMMM", 4, 4, ink=(200, 0, 0))
    write(black, "MMMM", 4, 4)
    assert (red[..., 1:] == black[..., 1:]).all()
    share = (255 - black[..., 0].astype(int)) / 255
    assert (np.abs(np.delete(red[..., 0] - (255 - 55 * share), 10, axis=0)) < 1).all()
    assert (red[10] == 0).all()


@given(st.text(string.ascii_letters + "     .…\n", max_size=80), st.integers(14, 120), st.integers(1, 4))
def test_lines_are_within_their_width_and_lose_nothing_without_an_ellipsis(text: str, width: int, most: int) -> None:
    """Whatever the text; spaces at breaks are all that is left out."""
    lines = wrap(text, width, most)
    assert len(lines) <= most
    assert all(width_of(line) <= width for line in lines)
    whole = wrap(text, width, 1000)
    assert "".join("".join(whole).split()) == "".join(text.split())
    if len(whole) <= most:
        assert lines == whole
    else:
        assert lines[:-1] == whole[: most - 1]
        assert whole[most - 1].startswith(lines[-1].removesuffix("…"))
        assert lines[-1].endswith("…")


def test_words_are_kept_whole_where_they_fit() -> None:
    """A word that does not fit is broken, and not parted from its accents."""
    assert wrap("true cat, pred dog", width_of("pred dog"), 3) == ["true cat,", "pred dog"]
    assert wrap("WWWW", width_of("WW"), 3) == ["WW", "WW"]
    assert wrap("", 50, 3) == wrap(" \n ", 50, 3) == []
    assert wrap("a\nb", 50, 3) == ["a", "b"]


def test_a_line_of_several_fonts_is_as_wide_as_they_are_together(tmp_path: Path) -> None:
    """The parts stand one after the other, on one base line; a word is not parted from its accents."""
    one, two = planted(tmp_path / "one.ttf", "猫"), planted(tmp_path / "two.ttf", "é\u0301")
    fonts = Fonts(lambda: [one, two])
    assert width_of("猫é", fonts=fonts) == width_of("AA", fonts=fonts)  # é and 猫 are drawn as A there
    pixels = mask("猫é", fonts=fonts)
    letter = mask("猫", fonts=fonts)
    assert (pixels[:, : letter.shape[1]] >= letter).all()
    assert pixels[:, letter.shape[1] :].any()
    assert wrap("éé\u0301", width_of("éé", fonts=fonts), 3, fonts=fonts) == ["é", "é\u0301"]


def test_letters_that_are_kept_cannot_be_written_to() -> None:
    """They belong to all pictures."""
    for text in ("a", "words", "…"):
        with pytest.raises(ValueError, match="read-only"):
            mask(text)[:] = 0
