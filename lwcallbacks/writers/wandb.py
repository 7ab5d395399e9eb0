"""Media in Weights & Biases, online or offline.

    writer = WandbWriter(WandbLogger(mode="offline"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)     # one row of history

    Value           What is logged under its key
    Image           wandb.Image
    list of Image   list of wandb.Image, at most 108
    Table           wandb.Table, at most 200,000 rows
    Matrix          the chart wandb/confusion_matrix/v1; above 447 classes a wandb.Table of the cells that are not 0
    Histogram       wandb.Histogram of at most 512 bins; <key>/nan, <key>/posinf and <key>/neginf when not 0
    File            no key: an artifact with its name, type, aliases and metadata

What goes beyond a limit of W&B is cut, with one warning per key.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from lwcallbacks.media import Cell, Entry, File, Histogram, Image, Matrix, Table, kind_of, to_pil
from lwcallbacks.writers.base import Writer, each, raise_errors

MAX_IMAGES = 108
MAX_ROWS = 200_000
MAX_BINS = 512


class WandbWriter(Writer):
    """Writes through a Lightning WandbLogger, whose `log_metrics` puts media on the same step axis as scalars."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._run = logger.experiment  # starts the run here: on the main thread and not on a worker's
        self._cut: set[str] = set()

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        row: dict[str, Any] = {}
        files = {key: entry for key, entry in entries.items() if isinstance(entry, File)}
        shown = {key: entry for key, entry in entries.items() if key not in files}
        errors = each(shown, lambda key, entry: row.update(self._converted(key, entry)))
        if row:
            self._logger.log_metrics(row, step=step)
        errors |= each(files, lambda key, file: self._log_artifact(file))  # last: a missing file costs no picture
        raise_errors(entries, errors)

    def _converted(self, key: str, entry: Entry) -> dict[str, Any]:
        """What is logged of an entry: W&B's own objects, by key."""
        match entry:
            case Image():
                return {key: _image(entry)}
            case list() | tuple():  # W&B cannot keep an empty list
                return {key: [_image(image) for image in self._at_most(MAX_IMAGES, key, entry)]} if entry else {}
            case Table():
                return {key: _table(entry.columns, self._at_most(MAX_ROWS, key, entry.rows))}
            case Matrix():
                return {key: self._matrix(key, entry)}
            case Histogram():
                return _histogram(key, entry)
            case _:
                raise NotImplementedError(f"a {kind_of(key, entry).__name__}")  # of what is no media, `kind_of` says so

    def _at_most(self, limit: int, key: str, items: Sequence[Any]) -> Sequence[Any]:
        if len(items) > limit and key not in self._cut:
            self._cut.add(key)
            warnings.warn(
                f"W&B keeps at most {limit} of the {len(items)} items of {key!r}; the rest is cut", stacklevel=2
            )
        return items[:limit]

    def _matrix(self, key: str, matrix: Matrix) -> Any:
        import wandb

        names, counts = matrix.class_names, matrix.counts
        columns = ("Actual", "Predicted", "nPredictions")
        if counts.size > MAX_ROWS:
            true, pred = np.nonzero(counts)
            order = np.argsort(-counts[true, pred], kind="stable")  # what is cut is the smallest
            rows = [(names[i], names[j], int(counts[i, j])) for i, j in zip(true[order], pred[order], strict=True)]
            return _table(columns, self._at_most(MAX_ROWS, key, rows))
        rows = [
            (true, pred, count)
            for true, row in zip(names, counts.tolist(), strict=True)
            for pred, count in zip(names, row, strict=True)
        ]
        return wandb.plot_table(
            "wandb/confusion_matrix/v1", _table(columns, rows), {name: name for name in columns}, {"title": key}
        )

    def _log_artifact(self, file: File) -> None:
        import wandb

        artifact = wandb.Artifact(artifact_name(file.name), file.type, metadata=dict(file.metadata))
        content = file.content or file.path
        if content.is_dir():
            artifact.add_dir(str(content))
        else:
            artifact.add_file(str(content))
        self._run.log_artifact(artifact, aliases=list(file.aliases) or None)


def artifact_name(name: str) -> str:
    """The name as W&B allows it: letters, digits, `_`, `-` and `.` stay, the rest becomes dashes, at most 128."""
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", name)[:128] or "-"


def _image(image: Image) -> Any:
    """Always by PIL: what wandb.Image makes of an array differs between its versions, a PIL image passes untouched."""
    import wandb

    return wandb.Image(to_pil(image), caption=image.caption)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Any:
    """A wandb.Table. W&B wants one type per column, so that the numbers of a column that also has text are text too."""
    import wandb

    kinds = [{_kind(cell) for cell in column} - {type(None)} for column in zip(*rows, strict=True)]

    def convert(cell: Cell, kinds: set[type]) -> Any:
        if isinstance(cell, Image):
            return _image(cell)
        return str(cell) if cell is not None and len(kinds) > 1 else cell

    data = [[convert(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in rows]
    return wandb.Table(columns=list(columns), data=data)


def _kind(cell: Cell) -> type:
    return next((kind for kind in (Image, str, bool, Real) if isinstance(cell, kind)), type(cell))


def _histogram(key: str, histogram: Histogram) -> dict[str, Any]:
    import wandb

    group = math.ceil(len(histogram.counts) / MAX_BINS) or 1
    starts = np.arange(0, len(histogram.counts), group)
    counts = np.add.reduceat(histogram.counts, starts) if group > 1 else histogram.counts
    edges = np.append(histogram.edges[starts], histogram.edges[-1]) if group > 1 else histogram.edges
    odd = {"nan": histogram.nan, "posinf": histogram.posinf, "neginf": histogram.neginf}
    return {
        key: wandb.Histogram(np_histogram=(counts, edges)),
        **{f"{key}/{name}": count for name, count in odd.items() if count},
    }
