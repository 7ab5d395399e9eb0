"""What a callback publishes, as plain values that need no logger.

    Image(pixels, caption="Top: output, Bottom: input")
    annotated(Image(pixels), layers=(Layer("prediction", labels, {1: "road"}, {1: (230, 159, 0)}),))
    Table(("image", "pred"), [[image, "3"]])
    Matrix(counts, ("cat", "dog"))
    Histogram(counts, edges)
    Curve([Line("cat", x, y)], "Recall", "Precision")
    File(path, name="model-x", type="model", aliases=("latest",))

A writer receives `Entry` values: one of these, or a list of images. It dispatches on the type. `Picture` and `Text` are
what `nearest` makes of them for a writer that takes less.
Everything here lives on the CPU, is immutable by convention and safe to hand to another thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwcallbacks.media.names import distinct
from lwcallbacks.media.png import encoded


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels as they are shown: uint8, [H, W] (grey) or [H, W, 3] (RGB), 0 is black.

    >>> Image(np.zeros((28, 28), np.uint8), caption="a black square").pixels.shape
    (28, 28)
    >>> Image(np.zeros((28, 28)))
    Traceback (most recent call last):
    ValueError: Image: pixels are float64 (28, 28), expected uint8 (H, W) or (H, W, 3); make them by to_pixels(images)

    Raises ValueError for any other dtype or shape.
    """

    pixels: np.ndarray
    caption: str | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            expected = "expected uint8 (H, W) or (H, W, 3); make them by to_pixels(images)"
            raise ValueError(f"Image: pixels are {dtype} {shape}, {expected}")

    @cached_property
    def png(self) -> bytes:
        """The pixels as a PNG file: encoded once, for all that keep one. Raises ValueError where there is no pixel."""
        return encoded(self.pixels)


Box = tuple[int, int, int, int]
"""Where something is in an image: left, top, width and height in pixels."""


@dataclass(frozen=True, eq=False)
class Grid(Image):
    """Images in one picture; `boxes` are the places of their pixels in it, in their order."""

    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, eq=False)
class Layer:
    """A label for each pixel of an image: uint8 [H, W].

    `classes` are the names of labels, `colours` those of labels that are drawn, `alpha` how much of a pixel is colour.

    >>> Layer("prediction", np.array([[0, 1]], np.uint8), {0: "background", 1: "road"}, {1: (230, 159, 0)}).alpha
    0.6

    Raises ValueError for labels of any other dtype or shape.
    """

    name: str
    labels: np.ndarray
    classes: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    alpha: float = 0.6

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 2:
            found = f"labels are {self.labels.dtype} {self.labels.shape}"
            raise ValueError(f"Layer {self.name!r}: {found}, expected uint8 (H, W); {NO_CLASS} is no class")


NO_CLASS = 255
"""The label of a `Layer` that stands for none."""


@dataclass(frozen=True)
class Mark:
    """A box around something in an image, that is there or was predicted.

    `box` is left, top, width and height in pixels, `label` the class and `class_id` its index. `match` tells whether a
    prediction and a truth were taken for the same; None where that was not asked.

    >>> Mark((4.0, 2.5, 10.0, 8.0), "cat", class_id=1, score=0.75, is_truth=False, match=True).style
    'prediction'
    """

    box: tuple[float, float, float, float]
    label: str
    class_id: int = 0
    score: float | None = None
    is_truth: bool = False
    match: bool | None = None

    @property
    def style(self) -> str:
        return "truth" if self.is_truth else "prediction"


@dataclass(frozen=True, eq=False)
class Annotated(Image):
    """An image with label maps and boxes, made by `annotated`. `pixels` have all of it drawn, for places that know
    neither, in panels of these names; `base` is the image alone, and `place` where it stands in `pixels`, enlarged by
    a whole number.
    """

    _: KW_ONLY
    base: np.ndarray
    place: Box
    panels: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    marks: tuple[Mark, ...] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
    """Names of the classes of boxes, of all images that are shown together."""

    @property
    def image(self) -> Image:
        """The image alone."""
        return Image(self.base, self.caption)


class Picture(Image):
    """An image that says all in its pixels, for a place that keeps no caption."""


@dataclass(frozen=True)
class Text:
    """Markdown, for a place that takes text and no table."""

    markdown: str


Cell = str | int | float | bool | None | Image


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns and rows of cells; every row has `len(columns)` cells, a cell may be an Image.

    >>> table = Table(("class", "recall"), [["cat", 0.5], ["dog", None]])
    >>> [row[0] for row in table.rows]
    ['cat', 'dog']

    Raises ValueError for a row of another length.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"Table: row {i} has {len(row)} cells, expected {len(self.columns)} {self.columns}")


@dataclass(frozen=True, eq=False)
class Matrix:
    """Counts of a confusion matrix, int64 [C, C]: rows are the truth, columns the prediction.

    `examples` are images of samples by (row, column), for places that show what lies behind a cell. Two equal names
    are told apart by the index of the second.

    >>> int(Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog")).counts[0, 1])    # cats that were predicted as dogs
    1
    >>> Matrix(np.eye(3, dtype=np.int64), ["cat", "dog", "cat"]).class_names
    ('cat', 'dog', 'cat (2)')

    Raises ValueError unless there is one name for each class, and a cell for each key of the examples.
    """

    counts: np.ndarray
    class_names: Sequence[str]
    examples: Mapping[tuple[int, int], Sequence[Image]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.class_names)
        if self.counts.shape != (size, size):
            raise ValueError(f"Matrix: counts have shape {self.counts.shape}, expected {(size, size)} for the names")
        outside = [cell for cell in self.examples if not all(0 <= index < size for index in cell)]
        if outside:
            raise ValueError(f"Matrix: examples of the cell {outside[0]}, expected two indices from 0 to {size - 1}")
        object.__setattr__(self, "class_names", distinct(self.class_names))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts int64 [B] between edges float64 [B + 1], ascending; what is not finite is counted beside it.

    >>> histogram = Histogram(np.array([3, 1]), np.array([0.0, 0.5, 1.0]), nan=2)
    >>> int(histogram.counts.sum()), histogram.nan
    (4, 2)

    Raises ValueError unless there is one edge more than counts.
    """

    counts: np.ndarray
    edges: np.ndarray
    nan: int = 0
    posinf: int = 0
    neginf: int = 0

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"Histogram: {len(self.edges)} edges for {len(self.counts)} counts, expected one more")


@dataclass(frozen=True, eq=False)
class Line:
    """A line through points (x, y), float64 [K] each, in their order.

    Args:
        name: what it is called.
        x, y: the points.
        text: a number or a few words that belong to it.
        marks: points to be seen, each with what it is: (x, y, text).
        at: a number of each point, such as the threshold that it belongs to, float64 [K]; NaN of a point that has none.
        readings: values of `at` for a slider, ascending, and x and y there, float64 [3, G]: x and y are exact at them,
            where the line has only the points that matter for a picture. NaN where y is not defined.

    >>> len(Line("cat", np.array([0.0, 1.0]), np.array([0.0, 1.0]), text="0.5000").x)
    2

    Raises ValueError unless there are as many x, y and, if given, `at`, and three rows of readings.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    text: str | None = None
    marks: Sequence[tuple[float, float, str]] = ()
    at: np.ndarray | None = None
    readings: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.readings is not None and (self.readings.ndim != 2 or len(self.readings) != 3):
            raise ValueError(f"Line: {self.name!r} has readings of shape {self.readings.shape}, expected [3, G]")
        sizes = [len(of) for of in (self.x, self.y, self.at) if of is not None]
        if len(set(sizes)) > 1:
            raise ValueError(f"Line: {self.name!r} has {sizes} numbers in x, y and at, expected as many of each")


@dataclass(frozen=True, eq=False)
class Curve:
    """Lines in one chart, such as a ROC curve for each class. Equal names are told apart by the index of the second.

    Args:
        lines: the lines, the most telling ones first: a picture has room for ten.
        x, y: what the axes are.
        diagonal: whether a line from corner to corner is drawn for comparison, as for a ROC curve.
        notes: what is to be said below it.

    >>> line = Line("cat", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    >>> [line.name for line in Curve([line, line], "Recall", "Precision").lines]
    ['cat', 'cat (1)']
    """

    lines: Sequence[Line]
    x: str
    y: str
    diagonal: bool = False
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = distinct(line.name for line in self.lines)
        lines = [replace(line, name=name) for line, name in zip(self.lines, names, strict=True)]
        object.__setattr__(self, "lines", lines)


@dataclass(frozen=True)
class File:
    """A file or folder to keep under a name, as a version that carries aliases.

    `path` is where it lies. A writer reads it from `content`, if that is given: a copy that nobody deletes meanwhile.

    >>> File(Path("epoch=3.ckpt"), "model-digits", aliases=("best",), metadata={"val_loss": 0.5}).type
    'model'
    """

    path: Path
    name: str
    type: str = "model"
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content: Path | None = None
    is_delivered: bool = False
    """Its content is delivered by the writer's `store`, and not by its `write`."""


Entry = Image | Sequence[Image] | Table | Matrix | Histogram | Curve | File
