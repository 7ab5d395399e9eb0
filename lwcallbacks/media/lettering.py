"""Texts as pixels, drawn onto arrays.

    page = np.full((40, 200, 3), 255, np.uint8)
    write(page, "true 3, pred 5", x=8, y=4)                   # black, its line's upper left corner at (8, 4)
    write(page, "True", x=4, y=20, up=True, anchor="middle")  # from below upwards
    wrap("a long caption", width=84)                          # lines of at most 84 pixels

A line is `line_height(size)` pixels high. Pillow takes 5 us a letter, so that the letters of its own font, which has no
kerning, are kept, and texts put together from them; where two touch, the darker counts. Texts that need another font
are kept whole.
"""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import Literal

import numpy as np

from lwcallbacks.media.fonts import SYSTEM, Fonts, Run, face, is_drawn, is_plain

Anchor = Literal["start", "middle", "end"]
Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
SIZE = 12


def line_height(size: int = SIZE) -> int:
    """From one line to the next, in pixels."""
    return round(1.25 * size)


def width_of(text: str, size: int = SIZE, fonts: Fonts = SYSTEM) -> int:
    """Pixels that a line of text takes."""
    if is_plain(text):
        return sum(_letter(char, size)[1] for char in text)
    return _drawn(text, size, fonts)[1]


def mask(text: str, size: int = SIZE, fonts: Fonts = SYSTEM) -> np.ndarray:
    """The ink of a line of text, uint8 [rows, `margin(size)` + width + `margin(size)`], read-only.

    The line's upper edge is row `margin(size)`; accents and what hangs over are in the margins.
    """
    if is_plain(text):
        return _composed(text, size)
    return _drawn(text, size, fonts)[0]


def margin(size: int = SIZE) -> int:
    """Pixels around a line that its letters may reach into."""
    return max(2, size // 3)


def write(
    page: np.ndarray,
    text: str,
    x: int,
    y: int,
    *,
    size: int = SIZE,
    ink: Colour = BLACK,
    anchor: Anchor = "start",
    up: bool = False,
    fonts: Fonts = SYSTEM,
) -> None:
    """Draw one line onto a white page uint8 [H, W, 3]; what lies outside is cut off, what is darker already stays.

    (x, y) is the corner of the line where `anchor` is: upper left of a line to the right, which ends, or has its
    middle, at x instead; of a line upwards (`up`) x is its left edge, and y where it starts, has its middle or ends.
    """
    if not text:
        return
    line, edge = _on_white(text, size, ink, up, fonts), margin(size)
    length = line.shape[0 if up else 1] - 2 * edge
    back = {"start": 0, "middle": length // 2, "end": length}[anchor]
    x, y = (x - edge, y + back - length - edge) if up else (x - back - edge, y - edge)
    line = line[max(0, -y) : max(0, page.shape[0] - y), max(0, -x) : max(0, page.shape[1] - x)]
    part = page[max(0, y) :, max(0, x) :][: line.shape[0], : line.shape[1]]
    np.minimum(part, line, out=part)


@lru_cache(maxsize=2048)
def _on_white(text: str, size: int, ink: Colour, up: bool, fonts: Fonts) -> np.ndarray:
    """A line of text in a colour on white, uint8 [h, w, 3]."""
    share = mask(text, size, fonts)
    page = np.empty((*share.shape, 3), np.uint8)
    for channel, part in enumerate(ink):
        page[..., channel] = 255 - (share.astype(np.uint16) * np.uint16(255 - part) + 127) // 255
    return np.ascontiguousarray(np.rot90(page)) if up else page


def wrap(text: str, width: int, max_lines: int, size: int = SIZE, fonts: Fonts = SYSTEM) -> list[str]:
    """Lines no wider than `width` pixels, broken between words where possible and inside a word where not.

    What is left out after `max_lines` is marked by an ellipsis.
    """
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if width_of(joined, size, fonts) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            while len(lines) <= max_lines and width_of(word, size, fonts) > width:
                cut = _cut(word, width, size, fonts)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        if line:
            lines.append(line)
        if len(lines) > max_lines:
            break
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    room = width - width_of("…", size, fonts)
    if width_of(last, size, fonts) > room:
        last = last[: _cut(last, room, size, fonts)]
    if width_of(last, size, fonts) > room:  # one letter, too wide beside the ellipsis
        last = ""
    return [*lines[: max_lines - 1], f"{last}…"]


def _cut(word: str, width: int, size: int, fonts: Fonts) -> int:
    """How many characters fit, at least one; a mark is not parted from its letter."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_of(word[:middle], size, fonts) <= width else (low, middle - 1)
    while low > 1 and low < len(word) and unicodedata.category(word[low])[0] == "M":
        low -= 1
    return low


@lru_cache(maxsize=2048)
def _letter(char: str, size: int) -> tuple[np.ndarray, int]:
    """A letter of Pillow's own font, and its width: there, a text is as wide as its letters together."""
    return _inked(((char, None),), size)


@lru_cache(maxsize=4096)
def _composed(text: str, size: int) -> np.ndarray:
    ink = np.zeros((line_height(size) + 2 * margin(size), width_of(text, size) + 2 * margin(size)), np.uint8)
    x = 0
    for char in text:
        pixels, width = _letter(char, size)
        part = ink[:, x : x + pixels.shape[1]]
        np.maximum(part, pixels, out=part)
        x += width
    ink.setflags(write=False)
    return ink


@lru_cache(maxsize=1024)
def _drawn(text: str, size: int, fonts: Fonts) -> tuple[np.ndarray, int]:
    return _inked(fonts.runs("".join(map(_shown, text))), size)


def _shown(char: str) -> str:
    """A control character or an end of a line as a space, half of a surrogate pair as what stands for it."""
    category = unicodedata.category(char)
    return " " if category in ("Cc", "Zl", "Zp") else "�" if category == "Cs" else char


def _inked(runs: tuple[Run, ...], size: int) -> tuple[np.ndarray, int]:
    """Runs of text one after the other on one base line, by Pillow."""
    import PIL.Image
    from PIL import ImageDraw

    parts, x = [], 0.0
    for text, font in runs:
        drawn = face(font, size)
        if drawn.layout_engine == 0:  # without raqm, marks that join are drawn as boxes
            text = "".join(char for char in text if char.isspace() or is_drawn(char))
        parts.append((x, text, drawn))
        x += drawn.getlength(text)
    width, edge = math.ceil(x), margin(size)
    ink = PIL.Image.new("L", (width + 2 * edge, line_height(size) + 2 * edge))
    draw = ImageDraw.Draw(ink)
    for left, text, drawn in parts:
        draw.text((edge + left, edge + size), text, fill=255, font=drawn, anchor="ls")
    pixels = np.asarray(ink)
    pixels.setflags(write=False)
    return pixels, width
