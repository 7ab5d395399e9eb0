"""Layers of a mosaic, such as output, input and their difference, as tiles and a caption that says how they are drawn.

    scaled = Scaled(mean=0.5, std=0.25)
    tiles, caption = arranged(("output", "difference"), {"output": outputs, "input": inputs}, scaled)
    mosaic(same_size(tiles), caption=caption)

Images are tensors [C, H, W] of any sizes. 1, 3 and 4 channels are grey, RGB and RGBA; of another number three channels
are drawn as red, green and blue: false colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.media.pixels import Note, Statistic, scale_of, to_pixels, values_of
from lwcallbacks.media.render import BACKGROUND, as_rgb

Images = Sequence[Tensor]

DIFFERENCE = "difference"
FIELDS = {"output": "preds", "input": "inputs", "target": "targets"}
"""Layers that are captured, by name, and the field of each."""


@dataclass(frozen=True)
class Scaled:
    """How values become pixels.

    Args:
        mean, std: as for `to_pixels`.
        same: whether all layers that have no pixels share what is black and what is white.
        bands: the channels that are drawn as red, green and blue where there are not 1, 3 or 4 of them.
        note: called with a text for each thing that one may not expect.
        made: whether a function of the user's, `sample=`, has made the images: texts then say so.
    """

    mean: Statistic = None
    std: Statistic = None
    same: bool = True
    bands: tuple[int, int, int] | None = None
    note: Note | None = None
    made: bool = False


def arranged(
    layers: Sequence[str],
    images: Mapping[str, Images],
    scaled: Scaled,
    minuend: str = "output",
    subtrahend: str = "input",
) -> tuple[list[np.ndarray], str]:
    """A tile for each sample, its layers below each other, and the caption.

    Tiles are uint8 [H, W], or [H, W, 3] where a layer has colours. A layer that is narrower than another has neutral
    grey to its right.

    Args:
        layers: names of images, or "difference", from the top.
        images: by name.
        scaled: how they are drawn.
        minuend, subtrahend: the names of the images whose difference is drawn.

    >>> images = {"output": [torch.full((1, 2, 3), 0.5)], "input": [torch.zeros(1, 2, 3)]}
    >>> tiles, caption = arranged(("output", "input", "difference"), images, Scaled())
    >>> tiles[0].shape, caption
    ((6, 3), 'From top: Output, Input, Difference; difference: |output - input|, black 0, white 0.5')
    """
    counts: Counter[str] = Counter()
    drawn, told = _drawn({name: images[name] for name in layers if name != DIFFERENCE}, scaled, counts)
    if DIFFERENCE in layers:
        drawn[DIFFERENCE], text = _difference((minuend, subtrahend), images, scaled)
        told.append(f"{DIFFERENCE}: {text}")
    if counts["cut"]:
        told.append(f"{counts['cut']:,} of {counts['values']:,} values are below black or above white")
    if counts["not finite"]:
        told.append(
            f"{counts['not finite']:,} of {counts['values']:,} values are not finite: infinities cut, NaN black"
        )
    columns = zip(*(drawn[name] for name in layers), strict=True)
    return [_below_each_other(column) for column in columns], "; ".join([_heading(list(layers)), *told])


def _heading(names: Sequence[str]) -> str:
    titles = [name.capitalize() for name in names]
    if len(titles) == 2:
        return f"Top: {titles[0]}, Bottom: {titles[1]}"
    return titles[0] if len(titles) == 1 else f"From top: {', '.join(titles)}"


def _drawn(
    images: Mapping[str, Images], scaled: Scaled, counts: Counter[str]
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
    """The pixels of each layer, and what is to be said of their scales and colours."""
    joined = {name: _joined([image[None] for image in given]) for name, given in images.items()}
    chosen = {name: _coloured(stack, scaled.bands) for name, stack in joined.items()}
    undone = scaled.mean is not None or scaled.std is not None
    scales = {
        name: scale_of(stack)
        for name, stack in chosen.items()
        if not stack.is_complex() and not (undone and stack.is_floating_point())  # of complex ones no pixels are made
    }
    odd = [name for name, (_, is_plain) in scales.items() if not is_plain]
    kinds = {chosen[name].is_floating_point() for name in scales}
    spans = [span for span, _ in scales.values()]
    shared = (min(low for low, _ in spans), max(high for _, high in spans)) if odd and len(kinds) == 1 else None
    span = shared if scaled.same and len(scales) > 1 else None
    drawn = {
        name: _apart(
            to_pixels(
                chosen[name],
                _of_bands(scaled.mean, joined[name].shape[1], scaled.bands),
                _of_bands(scaled.std, joined[name].shape[1], scaled.bands),
                scaled.note,
                "sample" if scaled.made else FIELDS.get(name, name),
                span if name in scales else None,
                counts,
            ),
            given,
        )
        for name, given in images.items()
    }
    told = []
    if odd and span is not None:
        told.append(f"one scale: black {span[0]:.4g}, white {span[1]:.4g}")
    elif odd:
        told.append("scales: " + ", ".join(f"{n} {low:.4g} to {high:.4g}" for n, ((low, high), _) in scales.items()))
    for number in dict.fromkeys(stack.shape[1] for stack in joined.values()):
        if number not in (1, 3, 4):
            red, green, blue = _bands(number, scaled.bands)
            told.append(f"false colour of {number} channels: red {red}, green {green}, blue {blue}")
    return drawn, told


def _difference(names: tuple[str, str], images: Mapping[str, Images], scaled: Scaled) -> tuple[list[np.ndarray], str]:
    """The mean over the channels of what two layers differ by: the largest is white, and nothing is black."""
    left, right = (
        values_of(_joined([image[None] for image in images[name]]), scaled.mean, scaled.std) for name in names
    )
    colours = slice(3 if left.shape[1] == 4 else None)  # without alpha
    with np.errstate(invalid="ignore"):  # of infinities
        apart = np.abs(left[:, colours] - right[:, colours]).mean(axis=1)
    finite = np.isfinite(apart)
    most = float(apart[finite].max(initial=0.0))
    shares = np.where(finite, apart, 0.0) / (most or 1.0)
    pixels = np.rint(255 * shares).astype(np.uint8)
    return _apart(pixels, images[names[0]]), f"|{names[0]} - {names[1]}|, black 0, white {most:.4g}"


def _joined(images: Images) -> Tensor:
    """Images [1, C, H, W] as a stack; those of unlike sizes as one long image [1, C, 1, pixels]."""
    if len({image.shape for image in images}) == 1:
        return torch.cat(list(images))
    return torch.cat([image.flatten(2) for image in images], dim=2)[:, :, None]


def _apart(pixels: np.ndarray, images: Images) -> list[np.ndarray]:
    """The pixels of each image of a stack that `_joined` made."""
    if len(pixels) == len(images) and pixels.shape[1:3] == images[0].shape[1:]:
        return list(pixels)
    sizes = [image.shape[1] * image.shape[2] for image in images]
    parts = np.split(pixels[0, 0], np.cumsum(sizes)[:-1])
    return [part.reshape(*image.shape[1:], *part.shape[1:]) for part, image in zip(parts, images, strict=True)]


def _bands(channels: int, bands: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """The channels that are red, green and blue. Of two, the first is magenta and the second green."""
    return bands or ((0, 1, 0) if channels == 2 else (0, 1, 2))


def _coloured(stack: Tensor, bands: tuple[int, int, int] | None) -> Tensor:
    number = stack.shape[1]
    return stack[:, :3] if number in (1, 3, 4) else stack[:, list(_bands(number, bands))]


def _of_bands(statistic: Statistic, channels: int, bands: tuple[int, int, int] | None) -> Statistic:
    """A mean or std of the channels that are drawn."""
    values = np.ravel(np.asarray([] if statistic is None else statistic, dtype=np.float64))
    if channels in (1, 3, 4) or len(values) != channels:
        return statistic
    return [float(values[band]) for band in _bands(channels, bands)]


def _below_each_other(parts: Sequence[np.ndarray]) -> np.ndarray:
    if any(part.ndim == 3 for part in parts):
        parts = [as_rgb(part[None])[0] for part in parts]
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_padded(part, part.shape[0], width) for part in parts])


def _padded(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    canvas = np.full((height, width, *pixels.shape[2:]), BACKGROUND, np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


def same_size(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles as one stack: smaller ones have neutral grey to their right and below them."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    return np.stack([_padded(tile, height, width) for tile in tiles])
