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

from collections.abc import Mapping
from typing import Any

import numpy as np

from lwcallbacks.media import Entry, Histogram, Image, Picture, Text, nearest
from lwcallbacks.writers.base import Writer, each, prefixed, raise_errors

NATIVE = (Picture, Text, Histogram)  # a text and an image may have one key, so that both forms of a table have it


class TensorBoardWriter(Writer):
    """Writes through the SummaryWriter of a Lightning TensorBoardLogger; its queue takes writes from any thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._summary = logger.experiment  # made here, on the main thread

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        raise_errors(entries, each(entries, lambda name, entry: self._write_one(name, entry, step)))

    def _write_one(self, name: str, entry: Entry, step: int) -> None:
        key = prefixed(self._logger, name)
        for form in nearest(entry, name, NATIVE).values():
            match form:
                case Picture():
                    self._add_image(key, form, step)
                case Text():
                    self._summary.add_text(key, form.markdown, step)
                case Histogram():
                    self._add_histogram(key, form, step)

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
