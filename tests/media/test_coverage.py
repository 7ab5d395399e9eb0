"""Which characters a font has is read as FreeType reads it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ImageFont
from support.fonts import cmap, collection, font_of, format_12, own_font, tables_of

from lwcallbacks.media.coverage import characters


def read(font: bytes) -> list[int]:
    return list(characters(io.BytesIO(font)))


def with_cmap(table: bytes) -> bytes:
    return font_of({b"cmap": table, b"glyf": b""})


@pytest.mark.parametrize("font", [own_font(), collection(own_font())], ids=["alone", "in a collection"])
def test_a_character_is_there_where_freetype_draws_no_box(font: bytes) -> None:
    """Of every character below U+10000, compared with the box that stands for what is missing."""
    drawn = ImageFont.truetype(io.BytesIO(font), 20, layout_engine=ImageFont.Layout.BASIC)
    box = bytes(drawn.getmask("\u2fff"))
    codes = [*range(0x20, 0xD800), *range(0xE000, 0xFFFF)]  # those between are halves of pairs
    has = [code for code in codes if bytes(drawn.getmask(chr(code))) != box]
    assert [code for code in read(font) if code >= 0x20] == has
    assert ord("…") in has


def test_format_4_has_deltas_and_arrays() -> None:
    """Segments by hand: 'A' to 'C' by a delta; 'a' to 'c' by an array whose second glyph is the box; the last one."""
    last, first, delta = (67, 99, 0xFFFF), (65, 97, 0xFFFF), (0x10000 - 60, 0, 1)
    offset = (0, 4, 0)  # from its own place: over itself and one more
    words = (4, 0, 0, 6, 0, 0, 0, *last, 0, *first, *delta, *offset, 7, 0, 9)
    assert read(with_cmap(cmap(4, struct.pack(f">{len(words)}H", *words)))) == [65, 66, 67, 97, 99]


def test_format_12_reaches_beyond_the_first_65536_and_glyph_0_is_the_box() -> None:
    """A group that begins with glyph 0 begins one later."""
    assert read(with_cmap(cmap(12, format_12({0x41: 0, 0x1F600: 3})))) == [0x1F600]


def test_a_font_of_bitmaps_has_nothing_that_can_be_scaled() -> None:
    """Neither has one without Unicode characters, or in a format that fonts of today do not have alone."""
    tables = tables_of(own_font())
    assert read(font_of({tag: data for tag, data in tables.items() if tag != b"glyf"})) == []
    assert read(font_of({tag: data for tag, data in tables.items() if tag != b"cmap"})) == []
    assert read(with_cmap(struct.pack(">HHHHI", 0, 1, 3, 1, 12) + struct.pack(">HHH", 6, 10, 0))) == []


@given(
    st.binary(max_size=200) | st.builds(lambda end: own_font()[:end], st.integers(0, 13_000)), st.binary(max_size=60)
)
@example(b"", b"")
@example(b"ttcf", b"")
def test_what_is_no_font_is_an_error_of_three_kinds_or_has_nothing(data: bytes, table: bytes) -> None:
    """Also where the file ends early, or the table of characters holds anything at all."""
    for font in (data, with_cmap(table), with_cmap(struct.pack(">HHHHI", 0, 1, 3, 1, 12) + table)):
        try:
            found = characters(io.BytesIO(font))
        except (struct.error, ValueError, IndexError):
            continue
        assert (np.diff(found) > 0).all()
