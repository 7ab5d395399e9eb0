"""Which characters a font file can draw: a small reader of the table `cmap` of TrueType and OpenType.

    with open("DejaVuSans.ttf", "rb") as file:
        characters(file)          # sorted code points, int64 [n]

Pillow draws a box for a character that a font does not have, and cannot be asked beforehand. The formats are those of
the OpenType specification, "cmap - Character to Glyph Index Mapping Table": 4 has the first 65,536 characters, 12 all
of them. Fonts for Unicode carry one of the two.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

OUTLINES = {b"glyf", b"CFF ", b"CFF2"}  # a font of bitmaps only, as for coloured emoji, has one size
NONE = np.zeros(0, np.int64)


def characters(file: BinaryIO) -> np.ndarray:
    """The code points that a font has an outline for, ascending, int64 [n]; of a collection, those of its first font.

    None where the font has bitmaps only, or no table of Unicode characters in format 4 or 12.
    Raises struct.error, ValueError or IndexError for a file that is no font, or ends early.
    """
    tables = _tables(file)
    if not OUTLINES & tables.keys() or b"cmap" not in tables:
        return NONE
    offset, length = tables[b"cmap"]
    file.seek(offset)
    cmap = file.read(length)
    found = {}
    for i in range(struct.unpack_from(">H", cmap, 2)[0]):
        platform, encoding, start = struct.unpack_from(">HHI", cmap, 4 + 8 * i)
        if platform == 0 or (platform == 3 and encoding in (1, 10)):  # Unicode's, and Windows' two of Unicode
            found[struct.unpack_from(">H", cmap, start)[0]] = start
    if 12 in found:
        return _format_12(cmap, found[12])
    return _format_4(cmap, found[4]) if 4 in found else NONE


def _tables(file: BinaryIO) -> dict[bytes, tuple[int, int]]:
    """The tables of the file's first font by tag: where each begins, and its length."""
    start = 0
    if file.read(4) == b"ttcf":
        file.seek(12)
        (start,) = struct.unpack(">I", file.read(4))
    file.seek(start)
    _, count = struct.unpack(">IH6x", file.read(12))
    entries = struct.iter_unpack(">4sIII", file.read(16 * count))
    return {tag: (offset, length) for tag, _, offset, length in entries}


def _format_12(cmap: bytes, start: int) -> np.ndarray:
    """Groups (first character, last character, glyph of the first)."""
    (count,) = struct.unpack_from(">I", cmap, start + 12)
    groups = np.frombuffer(cmap, ">u4", 3 * count, start + 16).astype(np.int64).reshape(count, 3)
    codes, group = _ranges(groups[:, 0], groups[:, 1])
    return np.unique(codes[groups[group, 2] + codes - groups[group, 0] > 0])  # glyph 0 is the box


def _format_4(cmap: bytes, start: int) -> np.ndarray:
    """Segments of characters whose glyph is `character + delta`, or stands in an array behind the segments."""
    words = np.frombuffer(cmap, ">u2", (len(cmap) - start) // 2, start).astype(np.int64)
    n = int(words[3]) // 2
    last, first, delta, offset = words[7 : 7 + n], words[8 + n : 8 + 2 * n], words[8 + 2 * n :], words[8 + 3 * n :]
    codes, segment = _ranges(first, last)
    place = 8 + 3 * n + segment + offset[segment] // 2 + codes - first[segment]  # an offset counts from its own place
    inside = np.where((offset[segment] > 0) & (place < len(words)), place, 0)
    glyphs = np.where(offset[segment] > 0, np.where(inside > 0, words[inside], 0), (codes + delta[segment]) & 0xFFFF)
    return np.unique(codes[(glyphs > 0) & (codes < 0xFFFF)])


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers from each `first` to its `last`, and the index of the range of each."""
    sizes = np.maximum(last - first + 1, 0)
    if sizes.sum() > 0x110000:
        raise ValueError("more characters than Unicode has")
    index = np.repeat(np.arange(len(first)), sizes)
    return np.arange(len(index)) + (first - (np.cumsum(sizes) - sizes))[index], index
