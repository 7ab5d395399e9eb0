"""Which font draws which part of a text.

    SYSTEM.runs("dog 3")       # [("dog 3", None)]                 Pillow's own font, which has ASCII only
    SYSTEM.runs("Bär")         # [("Bär", ".../DejaVuSans.ttf")]   the first font file here that has all of it
    SYSTEM.runs("犬 é")        # a font for each part, where none has all

Fonts are looked for in the system's and the user's folders and in matplotlib's wheel, which carries DejaVu Sans, when
the first text comes that needs one. A character that no font has is drawn as a box, and a warning says which, and what
to install.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lwcallbacks.media.coverage import NONE, characters
from lwcallbacks.warn import warn

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Run = tuple[str, str | None]

SECONDS = 2.0  # the search ends after them, with what it has found
FOLDERS = {
    "linux": ("~/.local/share/fonts", "~/.fonts", "/usr/local/share/fonts", "/usr/share/fonts"),
    "darwin": ("~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"),
    "win32": (r"~\AppData\Local\Microsoft\Windows\Fonts", r"%WINDIR%\Fonts"),
}
ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
PLAIN = ("dejavusans", "notosans", "liberationsans", "freesans", "arial", "segoeui", "helvetica")
STYLES = (
    "bold", "italic", "oblique", "light", "thin", "black", "medium", "heavy", "cond", "narrow", "mono", "serif", "math",
    "display", "-bd", "-it",
)  # fmt: skip
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC")
CURES = {
    "east asian": "Noto Sans CJK (Debian, Ubuntu: fonts-noto-cjk)",
    "letters": "Noto Sans of their script (Debian, Ubuntu: fonts-noto-core)",
    "symbols": "Symbola (Debian, Ubuntu: fonts-symbola); one of coloured bitmaps alone does not do",
}


class Fonts:
    """Font files in order of preference, read as texts need them.

    Args:
        files: called once, when the first text comes that Pillow's own font cannot draw.
        seconds: how long, in all, files are looked for and read.
    """

    def __init__(self, files: Callable[[], Iterable[Path]], seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._list = files
        self._files: list[str] | None = None
        self._has: dict[str, np.ndarray] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self.runs = lru_cache(4096)(self._runs)

    def _runs(self, text: str) -> tuple[Run, ...]:
        """The text in parts, each with the font file that draws it; None is Pillow's own font.

        One part where one font has all of it, so that no word changes its face.
        """
        needed = {ord(char) for char in text if is_drawn(char)}
        if needed <= _own():
            return ((text, None),)
        with self._lock:
            chosen = self._choose(needed)
            missing = needed - _own() - set().union(*chosen.values())
            news = {_kind(chr(code)) for code in missing} - self._said
            self._said |= news
        for kind in sorted(news):
            self._say("".join(sorted(chr(code) for code in missing if _kind(chr(code)) == kind)), kind)
        fonts: list[tuple[str | None, set[int] | frozenset[int]]] = [*chosen.items(), (None, _own())]
        owners: list[str | None] = []
        for char in text:
            owner = next((font for font, has in fonts if ord(char) in has), None)
            owners.append(owners[-1] if owners and not is_drawn(char) else owner)
        groups = itertools.groupby(zip(text, owners, strict=True), key=lambda pair: pair[1])
        return tuple(("".join(char for char, _ in group), owner) for owner, group in groups)

    def _choose(self, needed: set[int]) -> dict[str, set[int]]:
        """The first font that has all of `needed`; else those that together have the most, the larger share first."""
        shares: dict[str, set[int]] = {}
        for font in self._known():
            has = self._share(font, needed)
            if has == needed:
                return {font: has}
            if has:
                shares[font] = has
        chosen: dict[str, set[int]] = {}
        rest = set(needed)
        while shares and (best := max(shares, key=lambda font: len(shares[font] & rest))) and shares[best] & rest:
            chosen[best] = shares.pop(best)
            rest -= chosen[best]
        return chosen

    def _known(self) -> Iterable[str]:
        if self._files is None:
            begun = time.monotonic()
            self._files = [str(path) for path in sorted(self._list(), key=_preference)]
            self.seconds -= time.monotonic() - begun
        return self._files

    def _share(self, font: str, needed: set[int]) -> set[int]:
        """Those of the characters that the font draws."""
        if font not in self._has:
            if self.seconds <= 0:
                return set()
            begun = time.monotonic()
            try:
                with open(font, "rb") as file:
                    self._has[font] = characters(file)
                face(font, 12)
            except (OSError, struct.error, ValueError, IndexError):  # a file that is broken, or no font
                self._has[font] = NONE
            self.seconds -= time.monotonic() - begun
        has = self._has[font]
        codes = np.fromiter(needed, np.int64)
        places = np.searchsorted(has, codes)
        found = codes[places < len(has)][has[places[places < len(has)]] == codes[places < len(has)]]
        return {code for code in found.tolist() if _kind(chr(code)) != "symbols" or _has_ink(font, chr(code))}

    @staticmethod
    def _say(missing: str, kind: str) -> None:
        shown = f"{missing[:20]}…" if len(missing) > 20 else missing
        folder = FOLDERS.get(sys.platform, FOLDERS["linux"])[0]
        warn(
            f"lwcallbacks: no font here has characters such as {shown!r}: pictures show boxes in their place. "
            f"Install a font that has them, such as {CURES[kind]}, or put its .ttf or .otf file into {folder}"
        )


def is_drawn(char: str) -> bool:
    """Whether a character has ink: no space, no mark that only tells how others are joined."""
    return not (char.isspace() or unicodedata.category(char) in ("Cc", "Cf") or "\ufe00" <= char <= "\ufe0f")


def _kind(char: str) -> str:
    if unicodedata.name(char, "").startswith(EAST_ASIAN):
        return "east asian"
    return "letters" if unicodedata.category(char)[0] in "LM" else "symbols"


@lru_cache(maxsize=4096)
def _has_ink(font: str, char: str) -> bool:
    """Fonts with colours may have an outline that is empty, below layers or a bitmap that are not drawn here."""
    return face(font, 12).getmask(char).getbbox() is not None


@lru_cache(maxsize=256)
def face(font: str | None, size: int) -> FreeTypeFont:
    """A font at a size in pixels; None is Pillow's own. Raises OSError for a file that FreeType cannot open."""
    from PIL import ImageFont

    # Pillow shapes texts by raqm where it is built with it, which Arabic and Devanagari need.
    return ImageFont.truetype(font, size) if font else ImageFont.load_default(size)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _own() -> frozenset[int]:
    return frozenset(code for code in characters(io.BytesIO(face(None, 12).font_bytes)).tolist() if code >= 0x20)


def is_plain(text: str) -> bool:
    """Whether Pillow's own font has all of a text: ASCII, an ellipsis and little more."""
    return (text.isascii() and text.isprintable()) or _own().issuperset(map(ord, text))


def system_fonts() -> list[Path]:
    """The font files of this machine, and matplotlib's DejaVu Sans."""
    found = [
        Path(root, name)
        for folder in FOLDERS.get(sys.platform, FOLDERS["linux"])
        for root, _, names in os.walk(os.path.expandvars(os.path.expanduser(folder)))
        for name in names
        if name.lower().endswith(ENDINGS)
    ]
    try:
        spec = find_spec("matplotlib")  # found, not imported
    except ValueError:
        spec = None
    places = (spec.submodule_search_locations if spec else None) or ()
    return [*found, *(path for place in places if (path := Path(place, "mpl-data/fonts/ttf/DejaVuSans.ttf")).is_file())]


def _preference(path: Path) -> tuple[int, int, int, str]:
    """Upright sans serifs of regular weight first, then by name, so that the choice does not depend on the disk."""
    stem = path.stem.lower()
    known = next((i for i, name in enumerate(PLAIN) if stem.startswith(name)), len(PLAIN))
    return sum(style in stem for style in STYLES), known, len(stem), str(path)


SYSTEM = Fonts(system_fonts)
