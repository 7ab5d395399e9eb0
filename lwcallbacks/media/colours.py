"""Colours of a share from 0 to 1, and of what is written over them.

SCALE[level]       # uint8 RGB of a level 0 to 255, from a pale blue, which is not the white of a blank, to navy
INK[level]         # 0 or 255: the grey of a text on it that is easy to read
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
