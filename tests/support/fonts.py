"""Fonts for tests: Pillow's own, which is ASCII, with its letters under other characters.

planted(tmp_path / "one.ttf", "猫é")      # a font file that draws these two, and nothing else
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from PIL import ImageFont


def own_font() -> bytes:
    """The font that Pillow carries."""
    return bytes(ImageFont.load_default(12).font_bytes)


BLANK = 3  # the glyph of the space


def planted(path: Path, chars: str, leave_out: tuple[bytes, ...] = (), first: int = 36) -> Path:
    """A font file for some characters, drawn as A (glyph 36), B, C and so on; without some of its tables."""
    glyphs = {ord(char): first + i for i, char in enumerate(dict.fromkeys(chars))}
    tables = {tag: data for tag, data in tables_of(own_font()).items() if tag not in leave_out}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(font_of({**tables, b"cmap": cmap(12, format_12(glyphs))}))
    return path


def collection(font: bytes) -> bytes:
    """A collection (.ttc) of one font, whose offsets count from the file's beginning."""
    head = struct.pack(">4sIII", b"ttcf", 0x10000, 1, 16)
    return head + font_of(tables_of(font), before=len(head))


def tables_of(font: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">H", font, 4)
    entries = [struct.unpack_from(">4sIII", font, 12 + 16 * i) for i in range(count)]
    return {tag: font[offset : offset + length] for tag, _, offset, length in entries}


def font_of(tables: Mapping[bytes, bytes], before: int = 0) -> bytes:
    """A TrueType file of these tables."""
    head, body = struct.pack(">IHHHH", 0x10000, len(tables), 0, 0, 0), b""
    start = before + len(head) + 16 * len(tables)
    for tag, data in sorted(tables.items()):
        head += struct.pack(">4sIII", tag, 0, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    return head + body


def cmap(kind: int, subtable: bytes) -> bytes:
    """A table `cmap` with one subtable for Windows: of all characters (12), or of the first 65,536 (4)."""
    return struct.pack(">HHHHI", 0, 1, 3, {4: 1, 12: 10}[kind], 12) + subtable


def format_12(glyphs: Mapping[int, int]) -> bytes:
    groups = b"".join(struct.pack(">III", code, code, glyph) for code, glyph in sorted(glyphs.items()))
    return struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(glyphs)) + groups
