"""Colours of a share from 0 to 1 and of what is written over them, and those of classes.

SCALE[level]       # uint8 RGB of a level 0 to 255, from a pale blue, which is not the white of a blank, to navy
INK[level]         # 0 or 255: the grey of a text on it that is easy to read
colour_of(3)       # RGB of a class

Colours of classes are those of Okabe and Ito ("Color Universal Design", 2008), which people of any colour vision can
tell apart, but for those that errors have; then light and dark shades of all. From class 17 on they repeat.
"""

from __future__ import annotations

import numpy as np

_STOPS = ((226, 238, 250), (186, 212, 236), (125, 178, 219), (48, 122, 186), (8, 48, 107))  # never lighter than before
SCALE = np.stack([np.interp(np.arange(256), np.linspace(0, 255, 5), part) for part in zip(*_STOPS, strict=True)], 1)
SCALE = SCALE.round().astype(np.uint8)


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours uint8 [..., 3], float64 [...] in [0, 1], as WCAG 2.1 defines it."""
    parts = colours / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


# Black or white, whichever stands out more: by sqrt(1.05 / 0.05) = 4.58 to 1 or better; WCAG's level AA asks for 4.5.
INK = np.where((luminance(SCALE) + 0.05) ** 2 > 1.05 * 0.05, 0, 255).astype(np.uint8)

Colour = tuple[int, int, int]

ORANGE: Colour = (230, 159, 0)
SKY_BLUE: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
BLUE: Colour = (0, 114, 178)
VERMILION: Colour = (213, 94, 0)
PURPLE: Colour = (204, 121, 167)


def _light(hue: Colour) -> Colour:
    red, green, blue = ((part + 255) // 2 for part in hue)
    return red, green, blue


def _dark(hue: Colour) -> Colour:
    red, green, blue = (part // 2 for part in hue)
    return red, green, blue


# Without the four hues that errors have: see `ERROR_COLOURS`. Light and dark ones in turn, the most unlike first.
_PALETTE = (
    *(ORANGE, SKY_BLUE, GREEN),
    *(_light(VERMILION), _dark(VERMILION), _light(SKY_BLUE), _dark(GREEN), _light(GREEN), _dark(BLUE)),
    *(_light(PURPLE), _dark(ORANGE), _light(ORANGE), _dark(SKY_BLUE), _light(BLUE), _dark(PURPLE)),
    *(_light(YELLOW), _dark(YELLOW)),
)


def colour_of(label: int) -> Colour:
    """The colour of a class, RGB.

    >>> colour_of(0), colour_of(17)
    ((230, 159, 0), (230, 159, 0))
    """
    return _PALETTE[label % len(_PALETTE)]
