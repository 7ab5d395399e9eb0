"""What a callback wants a person to see, as plain values that no logger is needed for.

    Image(pixels, caption="Top: output, Bottom: input")
    Table(("image", "pred"), [[image, "3"]])
    Matrix(counts, ("cat", "dog"))
    Histogram(counts, edges)
    File(path, name="model-x", type="model", aliases=("latest",))

A writer receives `Entry` values: one of these, or a list of images. It dispatches on the type.
Everything here lives on the CPU, is immutable by convention and safe to hand to another thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels as they will be seen: uint8, [H, W] (grey) or [H, W, 3] (RGB), 0 is black."""

    pixels: np.ndarray
    caption: str | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise ValueError(f"Image: pixels are {dtype} {shape}, expected uint8 (H, W) or (H, W, 3)")


Cell = str | int | float | bool | None | Image


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns and rows of cells; every row has `len(columns)` cells, a cell may be an Image."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"Table: row {i} has {len(row)} cells, expected {len(self.columns)} {self.columns}")


@dataclass(frozen=True, eq=False)
class Matrix:
    """Counts of a confusion matrix, int64 [C, C]: rows are the truth, columns the prediction."""

    counts: np.ndarray
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        size = len(self.class_names)
        if self.counts.shape != (size, size):
            raise ValueError(f"Matrix: counts have shape {self.counts.shape}, expected {(size, size)} for the names")


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts int64 [B] between edges float64 [B + 1], ascending; what is not finite is counted beside it."""

    counts: np.ndarray
    edges: np.ndarray
    nan: int = 0
    posinf: int = 0
    neginf: int = 0

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"Histogram: {len(self.edges)} edges for {len(self.counts)} counts, expected one more")


@dataclass(frozen=True)
class File:
    """A file or folder to keep under a name, as a version that carries aliases.

    `path` is where it lies. A writer reads it from `content`, if that is given: a copy that nobody deletes meanwhile.
    """

    path: Path
    name: str
    type: str = "model"
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content: Path | None = None


Entry = Image | Sequence[Image] | Table | Matrix | Histogram | File
