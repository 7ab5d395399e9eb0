"""Segmentation masks in colour over their images in grey, on the CPU and without a plotting library.

classes = Classes.of([truth, guess], ("sky", "road"), plain={0})     # labels as those of a layer, with colours
tinted(pixels, classes.layer("prediction", guess))                   # uint8 [H, W, 3]
errors_layer(truth, guess, background=0)      # which pixels are right, missed, invented or of another class
in_a_row(pixels, tinted(pixels, layer))       # panels beside each other
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lwcallbacks.media.colours import BLUE, PURPLE, VERMILION, YELLOW, colour_of
from lwcallbacks.media.render import BACKGROUND, put
from lwcallbacks.media.values import NO_CLASS, Layer

_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


NOTHING, RIGHT, MISSED, INVENTED, CONFUSED = range(5)
ERRORS = {
    NOTHING: "nothing there",
    RIGHT: "right",
    MISSED: "missed",
    INVENTED: "invented",
    CONFUSED: "another class",
}
"""What a pixel of an error map is."""

# Of the sets of four hues with a blue for what is right and none of the other blue, the one whose two most alike
# differ most for people of any colour vision.
ERROR_COLOURS = {RIGHT: BLUE, MISSED: YELLOW, INVENTED: VERMILION, CONFUSED: PURPLE}


@dataclass(frozen=True)
class Classes:
    """Labels of any integer dtype as the labels of layers, of which there are at most 255; with names and colours.

    Labels below 255 are what they are. Where there is a larger one, those that are there are numbered.

    >>> classes = Classes.of([np.array([[7, 300]])], ["sky"], plain={0})
    >>> layer = classes.layer("truth", np.array([[7, -1]]))
    >>> layer.labels.tolist(), dict(layer.classes)
    ([[0, 255]], {0: '7', 1: '300'})
    """

    labels: np.ndarray
    names: Sequence[str]
    plain: Collection[int]
    left_out: int = 0
    """How many labels are beyond the 255 that a layer has room for."""

    @classmethod
    def of(cls, masks: Sequence[np.ndarray], names: Sequence[str] = (), plain: Collection[int] = ()) -> Classes:
        """Those that are in some masks and those that have names; `plain` are to have no colour."""
        seen = np.unique(np.concatenate([np.unique(mask) for mask in masks])) if masks else np.zeros(0, np.int64)
        seen = seen[seen >= 0]
        known = np.arange(max(len(names), int(seen.max(initial=-1)) + 1))
        if len(known) <= NO_CLASS:
            return cls(known, names, plain)
        return cls(seen[:NO_CLASS], names, plain, len(seen[NO_CLASS:]))

    def layer(self, name: str, mask: np.ndarray, alpha: float = 0.6) -> Layer:
        """A mask of labels [H, W] as a layer; what is negative or not known is no class."""
        place = np.searchsorted(self.labels, mask)
        known = np.append(self.labels, -1)[place] == mask
        labels = np.where(known & (mask >= 0), place, NO_CLASS).astype(np.uint8)
        by_code = list(enumerate(self.labels.tolist()))
        classes = {code: self.names[label] if label < len(self.names) else str(label) for code, label in by_code}
        colours = {code: colour_of(label) for code, label in by_code if label not in self.plain}
        return Layer(name, labels, classes, colours, alpha)


def tinted(pixels: np.ndarray, layer: Layer) -> np.ndarray:
    """The image in grey, each pixel mixed with the colour of its label, uint8 [H, W, 3].

    The image is grey, so that every colour stands for a class. A label without a colour leaves it so.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].

    Raises ValueError unless the labels have the image's height and width.
    """
    labels = layer.labels
    if labels.shape != pixels.shape[:2]:
        raise ValueError(f"labels have shape {labels.shape}, expected {pixels.shape[:2]} as the image")
    colours, share = np.zeros((256, 3)), np.zeros((256, 1))
    for label, colour in layer.colours.items():
        colours[label], share[label] = colour, layer.alpha
    grey = (pixels @ _LUMINANCE if pixels.ndim == 3 else pixels.astype(np.float64))[..., None]
    mixed = grey * (1 - share[labels]) + colours[labels] * share[labels]
    return np.asarray(mixed.round().astype(np.uint8))


def errors_layer(truth: np.ndarray, guess: np.ndarray, background: int | None = None, alpha: float = 0.6) -> Layer:
    """Where a mask is right and where it is not, from labels of any integer dtype [H, W]; a negative one is none.

    A pixel of a class is right, missed where the prediction has none or the background, and of another class
    elsewhere. One of the background with a predicted class is invented. One without a true label is not judged.
    """
    is_there, is_found = ((mask >= 0) & (mask != background) for mask in (truth, guess))
    found = np.where(
        is_there,
        np.where(truth == guess, RIGHT, np.where(is_found, CONFUSED, MISSED)),
        np.where(is_found, INVENTED, NOTHING),
    )
    labels = np.where(truth < 0, NO_CLASS, found).astype(np.uint8)
    return Layer("errors", labels, ERRORS, ERROR_COLOURS, alpha)


def in_a_row(*images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Images uint8 [H, W] or [H, W, 3] of one height beside each other, `gap` pixels of grey between them."""
    height, width = images[0].shape[0], sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    row = np.full((height, width, 3), BACKGROUND, np.uint8)
    x = 0
    for image in images:
        put(row[:, x : x + image.shape[1]], image)
        x += image.shape[1] + gap
    return row
