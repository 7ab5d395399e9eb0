"""Media in TensorBoard.

    writer = TensorBoardWriter(TensorBoardLogger("logs"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

Value           What appears under its key
Image           an image, its caption drawn below it
list of Image   one image: a grid with the captions below the tiles
Table           a text in Markdown; of image cells, "(image 1)" and so on, an image: a grid of them, numbered
Matrix          an image: the labelled heatmap
Histogram       a histogram; scalars <key>/nan, <key>/posinf and <key>/neginf when not 0
File            a text: name, path, aliases and metadata
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from lwcallbacks.media import (
    Cell,
    Entry,
    File,
    Histogram,
    Image,
    Matrix,
    Table,
    captioned_grid,
    draw_matrix,
    with_caption,
)
from lwcallbacks.writers.base import Writer, prefixed


class TensorBoardWriter(Writer):
    """Writes through the SummaryWriter of a Lightning TensorBoardLogger; its queue takes writes from any thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._summary = logger.experiment  # made here, on the main thread

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        for name, entry in entries.items():
            key = prefixed(self._logger, name)
            match entry:
                case Image():
                    self._add_image(key, with_caption(entry, unless=name), step)
                case list() | tuple():
                    if entry:
                        self._add_image(key, captioned_grid(entry), step)
                case Table():
                    self._summary.add_text(key, markdown(entry), step)
                    if tiles := numbered(entry):
                        self._add_image(key, captioned_grid(tiles), step)
                case Matrix():
                    self._add_image(key, draw_matrix(entry, title=name), step)
                case Histogram():
                    self._add_histogram(key, entry, step)
                case File():
                    details = {"path": str(entry.path), "aliases": ", ".join(entry.aliases), **entry.metadata}
                    rows = [(str(name), str(value)) for name, value in details.items()]
                    self._summary.add_text(key, markdown(Table((entry.type, entry.name), rows)), step)
                case _:
                    raise self.unsupported(name, entry)

    def close(self) -> None:
        self._summary.flush()

    def _add_image(self, key: str, image: Image, step: int) -> None:
        self._summary.add_image(key, image.pixels, step, dataformats="HWC" if image.pixels.ndim == 3 else "HW")

    def _add_histogram(self, key: str, histogram: Histogram, step: int) -> None:
        for name in ("nan", "posinf", "neginf"):
            if count := getattr(histogram, name):
                self._summary.add_scalar(f"{key}/{name}", count, step)
        counts, edges = histogram.counts, histogram.edges
        filled = np.flatnonzero(counts)
        if not len(filled):
            return
        middles = (edges[:-1] + edges[1:]) / 2  # the sums TensorBoard stores are therefore as fine as the bins
        self._summary.add_histogram_raw(
            key,
            min=float(edges[filled[0]]),
            max=float(edges[filled[-1] + 1]),
            num=int(counts.sum()),
            sum=float(counts @ middles),
            sum_squares=float(counts @ middles**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )


def markdown(table: Table) -> str:
    """The table in Markdown; what would break its lines and columns is escaped. Its images are counted row by row."""
    number = itertools.count(1)

    def text(cell: Cell) -> str:
        if isinstance(cell, Image):
            return f"(image {next(number)})"
        return "" if cell is None else " ".join(str(cell).split()).replace("|", "\\|")

    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(text(cell) for cell in line) + " |" for line in lines)


def numbered(table: Table) -> list[Image]:
    """The images of a table, each with the number that `markdown` gives it before its caption."""
    images = [cell for row in table.rows for cell in row if isinstance(cell, Image)]
    return [Image(image.pixels, f"{n}. {image.caption or ''}".rstrip()) for n, image in enumerate(images, start=1)]
