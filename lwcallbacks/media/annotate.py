"""Images with label maps and boxes: drawn for places that take pixels, and as data for those that know them.

shown = annotated(Image(pixels, "right 93%"), layers=(truth, prediction), marks=boxes)    # pixels: panels in a row
legend_of([shown])                                      # what colours and lines mean, for above a grid
over(images, captioned_grid(images))                    # labels and boxes in the pixels of that grid
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lwcallbacks.media.legend import Key, Legend
from lwcallbacks.media.marks import MATCHED, UNMATCHED, draw_marks
from lwcallbacks.media.masks import in_a_row, tinted
from lwcallbacks.media.render import as_rgb
from lwcallbacks.media.values import NO_CLASS, Annotated, Box, Grid, Image, Layer, Mark

MARKED_SIDE = 200  # about so many pixels has the shorter side of a small image with boxes, for their labels


def annotated(
    image: Image,
    layers: Sequence[Layer] = (),
    marks: Sequence[Mark] = (),
    class_names: Mapping[int, str] | None = None,
    has_marks: bool | None = None,
) -> Annotated:
    """The image with its label maps and boxes. Drawn, it is the image, one panel for each layer and one for all boxes.

    Args:
        class_names: those of all boxes that are shown together, by index; of these boxes alone if left out.
        has_marks: whether there is a panel for boxes; True where one may have none but others have.

    >>> labels = np.array([[0, 1]], np.uint8)
    >>> layer = Layer("prediction", labels, {1: "road"}, {1: (230, 159, 0)}, alpha=1.0)
    >>> annotated(Image(np.zeros((1, 2), np.uint8)), [layer]).pixels[0, -2:].tolist()
    [[0, 0, 0], [230, 159, 0]]
    """
    base, has_marks = image.pixels, bool(marks) if has_marks is None else has_marks
    panels = [base, *(tinted(base, layer) for layer in layers)]
    names, factor = ["Input", *(layer.name.capitalize() for layer in layers)], 1
    if has_marks:
        factor = max(1, MARKED_SIDE // max(1, min(base.shape[:2])))
        panels = [panel.repeat(factor, axis=0).repeat(factor, axis=1) for panel in panels]
        marked = as_rgb(panels[0][None])[0].copy()
        draw_marks(marked, marks, factor)
        panels.append(marked)
        names.append("Boxes")
    place = (0, 0, base.shape[1] * factor, base.shape[0] * factor)
    return Annotated(
        in_a_row(*panels),
        image.caption,
        base=base,
        place=place,
        panels=tuple(names),
        layers=tuple(layers),
        marks=tuple(marks),
        class_names={mark.class_id: mark.label for mark in marks} if class_names is None else class_names,
    )


def legend_of(images: Sequence[Image]) -> Legend:
    """What is drawn over the images: panels, classes that some have, by their layers, and the kinds of boxes."""
    shown = [image for image in images if isinstance(image, Annotated)]
    rows: dict[tuple[Any, ...], tuple[dict[str, None], set[int], Layer]] = {}
    for layer in (layer for image in shown for layer in image.layers):
        kind = (tuple(layer.classes.items()), tuple(layer.colours.items()))
        names, seen, _ = rows.setdefault(kind, ({}, set(), layer))
        names[layer.name] = None
        seen |= set(np.unique(layer.labels).tolist()) & layer.colours.keys()
    legend = [
        (
            ", ".join(names).capitalize(),
            [Key(layer.classes.get(label, str(label)), layer.colours[label]) for label in sorted(seen)],
        )
        for names, seen, layer in rows.values()
    ]
    panels = dict.fromkeys(" | ".join(image.panels) for image in shown)
    legend = [*((text, list[Key]()) for text in panels), *(row for row in legend if row[1])]
    kinds = {(mark.is_truth, mark.match) for image in shown for mark in image.marks}
    for is_truth, name, line in ((True, "Truth", "dashed"), (False, "Prediction", "whole")):
        texts = {None: "box", True: "found" if is_truth else "right", False: "missed" if is_truth else "invented"}
        keys = [
            Key(texts[match], UNMATCHED if match is False else MATCHED, line)
            for match in (None, True, False)
            if (is_truth, match) in kinds
        ]
        legend += [(name, keys)] if keys else []
    return legend


class Overlay(NamedTuple):
    """Labels and boxes in the pixels of a picture."""

    layers: tuple[Layer, ...]
    marks: tuple[Mark, ...]


def over(images: Sequence[Image], picture: Image) -> Overlay | None:
    """What lies over a picture of some images, each where the image alone stands in it; None where nothing can.

    The label maps have the picture's height and width, and `NO_CLASS` where there is none. Their classes are those
    that have a colour.
    """
    if not isinstance(picture, Grid):
        return None
    layers: dict[str, Layer] = {}
    marks: list[Mark] = []
    for image, box in zip(images, picture.boxes, strict=True):
        if not isinstance(image, Annotated):
            continue
        left, top, width, height = _within(image, box)
        across, down = width // image.base.shape[1], height // image.base.shape[0]
        for layer in image.layers:
            if layer.name not in layers:
                blank = np.full(picture.pixels.shape[:2], NO_CLASS, np.uint8)
                classes = {label: layer.classes.get(label, str(label)) for label in layer.colours}
                layers[layer.name] = Layer(layer.name, blank, classes, layer.colours, layer.alpha)
            large = layer.labels.repeat(down, axis=0).repeat(across, axis=1)
            layers[layer.name].labels[top : top + height, left : left + width] = large
        for mark in image.marks:
            x, y, w, h = mark.box
            moved = (left + x * across, top + y * down, w * across, h * down)
            marks.append(Mark(moved, mark.label, mark.class_id, mark.score, mark.is_truth, mark.match))
    return Overlay(tuple(layers.values()), tuple(marks)) if layers or marks else None


def _within(image: Annotated, box: Box) -> Box:
    """Where the image alone is in a picture that has all of it, enlarged by a whole number, at `box`."""
    factor = box[2] // image.pixels.shape[1]
    left, top, width, height = (edge * factor for edge in image.place)
    return box[0] + left, box[1] + top, width, height
