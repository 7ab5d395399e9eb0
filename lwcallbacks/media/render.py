"""Stacks of pixels, put together on the CPU and without a plotting library.

    pixels = stack(top=outputs, bottom=inputs)     # two such stacks, one above the other
    mosaic(enlarge(pixels), nrow=8)                # one Image of all N, row by row

Pixels are uint8 with 0 as black, as `to_pixels` makes them. A stack of grey images is [N, H, W], of RGB images
[N, H, W, 3].
"""

from __future__ import annotations

import numpy as np

from lwcallbacks.media.values import Image

BACKGROUND = 128  # what a mosaic shows where there is no tile: neither the black nor the white of most images


def mosaic(pixels: np.ndarray, nrow: int = 8, padding: int = 2, caption: str | None = None) -> Image:
    """All N tiles of a stack as one Image: `nrow` to a row, row by row, `padding` pixels around each.

    What the last row leaves free is neutral grey. Raises ValueError when there is no tile.
    """
    n, height, width = _stack_shape(pixels)
    if n == 0 or nrow < 1:
        raise ValueError(f"a mosaic of {n} tiles, {nrow} to a row: expected at least one of each")
    columns = min(nrow, n)
    rows = -(-n // columns)
    size = (rows * (height + padding) + padding, columns * (width + padding) + padding)
    canvas = np.full((*size, *pixels.shape[3:]), BACKGROUND, np.uint8)
    for i, tile in enumerate(pixels):
        y = padding + (i // columns) * (height + padding)
        x = padding + (i % columns) * (width + padding)
        canvas[y : y + height, x : x + width] = tile
    return Image(canvas, caption)


def stack(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Two stacks of N images, each of `top` above its `bottom`; grey turns to RGB when only one of them is RGB.

    Raises ValueError unless both hold as many images of the same width.
    """
    (n, _, width), (other_n, _, other_width) = _stack_shape(top), _stack_shape(bottom)
    if (n, width) != (other_n, other_width):
        raise ValueError(
            f"top has {n} images {width} pixels wide, bottom {other_n} of {other_width}: expected as many of one width"
        )
    if top.ndim != bottom.ndim:
        top, bottom = as_rgb(top), as_rgb(bottom)
    return np.concatenate([top, bottom], axis=1)


def enlarge(pixels: np.ndarray, min_side: int = 84) -> np.ndarray:
    """The stack scaled up by the smallest integer that brings the shorter side to `min_side`; pixels stay square."""
    _, height, width = _stack_shape(pixels)
    factor = -(-min_side // max(1, min(height, width)))
    return pixels if factor <= 1 else pixels.repeat(factor, axis=1).repeat(factor, axis=2)


def blank(caption: str, side: int = 84) -> Image:
    """A neutral grey square, for a caption that says why there is no image.

    >>> blank("No sample was predicted wrong").pixels.shape
    (84, 84)
    """
    return Image(np.full((side, side), BACKGROUND, np.uint8), caption)


def framed(pixels: np.ndarray, colour: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """One image [H, W] or [H, W, 3] in a frame: uint8 [H + 2 width, W + 2 width, 3].

    The frame lies around the image and hides nothing. Frame all tiles of a mosaic, so that they stay equal in size.
    """
    _stack_shape(pixels[None])
    right, bottom = pixels.shape[1] + width, pixels.shape[0] + width
    canvas = np.empty((bottom + width, right + width, 3), np.uint8)
    canvas[:width] = canvas[bottom:] = canvas[:, :width] = canvas[:, right:] = colour
    put(canvas[width:bottom, width:right], pixels)
    return canvas


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """A stack as RGB: [N, H, W] is repeated to [N, H, W, 3], RGB is returned as it is."""
    if pixels.ndim == 4:
        return pixels
    rgb = np.empty((*pixels.shape, 3), np.uint8)
    put(rgb, pixels)
    return rgb


def put(canvas: np.ndarray, pixels: np.ndarray) -> None:
    """Write pixels, grey [..., H, W] or RGB [..., H, W, 3], into a canvas uint8 [..., H, W, 3]."""
    if pixels.ndim == canvas.ndim:
        canvas[:] = pixels
        return
    for channel in range(3):  # twice as fast as all three in one assignment
        canvas[..., channel] = pixels


def _stack_shape(pixels: np.ndarray) -> tuple[int, int, int]:
    if pixels.dtype != np.uint8 or not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (N, H, W) or (N, H, W, 3)")
    n, height, width = pixels.shape[:3]
    return n, height, width
