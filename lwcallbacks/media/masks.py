"""Segmentation masks in colour over their images in grey, on the CPU and without a plotting library.

    truth = overlay(pixels, labels, background=0)      # uint8 [N, H, W, 3] from pixels and labels [N, H, W]
    side_by_side(pixels, truth, prediction)            # the three in a row, one picture for each of N
    name_of(2)                                         # "bluish green": for a legend

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people of any colour vision can tell
apart; then their light and dark shades. From class 21 on they repeat.
"""

from __future__ import annotations

import numpy as np

from lwcallbacks.media.render import BACKGROUND, as_rgb

_HUES = {
    "orange": (230, 159, 0),
    "sky blue": (86, 180, 233),
    "bluish green": (0, 158, 115),
    "yellow": (240, 228, 66),
    "blue": (0, 114, 178),
    "vermilion": (213, 94, 0),
    "purple": (204, 121, 167),
}


def _shade(colour: tuple[int, ...], towards: int) -> tuple[int, ...]:
    return tuple((part + towards) // 2 for part in colour)


_PALETTE = {
    **_HUES,
    **{f"light {name}": _shade(colour, 255) for name, colour in _HUES.items()},
    **{f"dark {name}": _shade(colour, 0) for name, colour in _HUES.items()},
}
_NAMES = list(_PALETTE)
_COLOURS = np.array(list(_PALETTE.values()), np.uint8)
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


def name_of(label: int) -> str:
    """What the colour of a class is called."""
    return _NAMES[label % len(_NAMES)]


def overlay(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    alpha: float = 0.6,
    background: int | None = None,
    ignore_index: int | None = None,
) -> np.ndarray:
    """The images in grey, each pixel mixed with the colour of its class, uint8 [N, H, W, 3].

    The image is grey, so that every colour stands for a class.

    Args:
        pixels: uint8 [N, H, W] or [N, H, W, 3].
        labels: integers [N, H, W].
        alpha: how much of the mixture is colour, 0 to 1.
        background: a class that stays grey.
        ignore_index: a label that is no class, and stays grey. So does a negative label.

    Raises ValueError when there is not one label for each pixel.
    """
    if labels.shape != pixels.shape[:3]:
        raise ValueError(f"labels have shape {labels.shape}, expected {pixels.shape[:3]} as the images")
    grey = (pixels @ _LUMINANCE if pixels.ndim == 4 else pixels.astype(np.float64))[..., None]
    mixed = grey * (1 - alpha) + _COLOURS[labels % len(_COLOURS)] * alpha
    plain = labels < 0
    for label in (background, ignore_index):
        if label is not None:
            plain = plain | (labels == label)
    return np.where(plain[..., None], grey, mixed).round().astype(np.uint8)


def side_by_side(*stacks: np.ndarray, gap: int = 2) -> np.ndarray:
    """Stacks of N images of one height in a row, `gap` pixels of grey between them, uint8 [N, H, sum of W, 3]."""
    rgb = [as_rgb(pixels) for pixels in stacks]
    between = np.full((*rgb[0].shape[:2], gap, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for pixels in rgb for part in (between, pixels)][1:], axis=2)
