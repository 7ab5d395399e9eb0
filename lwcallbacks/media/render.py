"""From tensors to pixels, on the CPU and without a plotting library.

    pixels = to_pixels(images)                     # [N, C, H, W] in [0, 1] -> uint8 [N, H, W] or [N, H, W, 3]
    pixels = stack(top=outputs, bottom=inputs)     # two such stacks, one above the other
    mosaic(enlarge(pixels), nrow=8)                # one Image of all N, row by row

Pixels are uint8 with 0 as black. A stack of grey images is [N, H, W], of RGB images [N, H, W, 3].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lwcallbacks.media.values import Image

BACKGROUND = 128  # what a mosaic shows where there is no tile: neither the black nor the white of most images


def to_pixels(
    images: torch.Tensor, mean: Sequence[float] | float | None = None, std: Sequence[float] | float | None = None
) -> np.ndarray:
    """Pixels of a stack of images, uint8 [N, H, W] when they are grey and [N, H, W, 3] when they are RGB.

    `images` is [N, C, H, W] with C = 1 (grey), 3 (RGB) or 4 (RGBA, whose alpha is dropped), or [N, H, W] (grey), on any
    device and of any real dtype:

    - floats: `x * std + mean` first, if given (one number, or one per channel; a missing mean is 0, a missing std 1).
      Then [0, 1] is written as `round(255 * x)`, what lies outside is clamped and NaN is black.
      Without `mean` and `std`, a stack with finite values outside [-0.01, 1.01] is plainly not meant as [0, 1]: its
      finite minimum becomes 0 and its finite maximum 255, one scale for the whole stack. Give `mean` and `std` (0 and 1
      will do) where brightness has to be comparable from one call to the next.
    - uint8: untouched. bool: 0 or 255. Other integers: clamped to 0..255. `mean` and `std` do not apply to these.

    Raises ValueError for any other shape, for complex numbers, and for a mean or std of the wrong length.
    """
    x = images.detach().cpu()
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or x.is_complex():
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}, "
            "expected real [N, H, W] or [N, C, H, W] with C = 1, 3 or 4"
        )
    x = x[:, :3]
    if x.is_floating_point():
        x = _to_bytes(x.double(), mean, std)
    elif x.dtype == torch.bool:
        x = x.to(torch.uint8) * 255
    elif x.dtype != torch.uint8:
        x = x.clamp(0, 255).to(torch.uint8)
    pixels = x.numpy()
    return np.ascontiguousarray(pixels[:, 0] if x.shape[1] == 1 else pixels.transpose(0, 2, 3, 1))


def _to_bytes(
    x: torch.Tensor, mean: Sequence[float] | float | None, std: Sequence[float] | float | None
) -> torch.Tensor:
    # In float64 the product 255 * x of a float32 is exact, so that ties are rounded alike everywhere.
    if mean is None and std is None:
        finite = x[x.isfinite()]
        if finite.numel() and (finite.min() < -0.01 or finite.max() > 1.01):
            low, high = finite.min(), finite.max()
            x = (x - low) / (high - low if high > low else 1.0)
    else:
        x = x * _per_channel("std", std, 1.0, x) + _per_channel("mean", mean, 0.0, x)
    return (x.nan_to_num(nan=0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def _per_channel(name: str, value: Sequence[float] | float | None, default: float, x: torch.Tensor) -> torch.Tensor:
    values = torch.as_tensor(default if value is None else value, dtype=x.dtype, device="cpu").reshape(-1, 1, 1)
    if len(values) not in (1, x.shape[1]):
        raise ValueError(f"{name} has {len(values)} values, expected 1 or one for each of {x.shape[1]} channels")
    return values


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


def framed(pixels: np.ndarray, colour: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """One image [H, W] or [H, W, 3] in a frame: uint8 [H + 2 width, W + 2 width, 3].

    The frame lies around the image and hides nothing. Frame all tiles of a mosaic, so that they stay equal in size.
    """
    rgb = as_rgb(pixels[None])[0]
    canvas = np.empty((rgb.shape[0] + 2 * width, rgb.shape[1] + 2 * width, 3), np.uint8)
    canvas[:] = colour
    canvas[width : width + rgb.shape[0], width : width + rgb.shape[1]] = rgb
    return canvas


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """A stack as RGB: [N, H, W] is repeated to [N, H, W, 3], RGB is returned as it is."""
    return pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, axis=3)


def _stack_shape(pixels: np.ndarray) -> tuple[int, int, int]:
    if pixels.dtype != np.uint8 or not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (N, H, W) or (N, H, W, 3)")
    n, height, width = pixels.shape[:3]
    return n, height, width
