"""Media in Weights & Biases, online or offline.

    writer = WandbWriter(WandbLogger(mode="offline"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)     # one row of history

    Value           What is logged under its key
    Image           wandb.Image; pixels that the run has a file of are referred to, and not uploaded again
    list of Image   list of wandb.Image, at most 108; the same
    Annotated       wandb.Image of the image alone, with native masks, one for each layer, and native boxes,
                    "predictions" and "ground truth"; in lists and tables, too
    Table           wandb.Table, at most 200,000 rows
    Matrix          the chart wandb/confusion_matrix/v1. Above 447 classes it is that of `media.confused_block`, whose
                    last class is the sum of the others, as its title says; and <key>_cells is a wandb.Table of the
                    cells that are not 0. Where they are more than 200,000, its last row is the sum of the smallest
    Histogram       wandb.Histogram of at most 512 bins; <key>/nan, <key>/posinf and <key>/neginf when not 0
    Curve           the chart wandb/area-under-curve/v0, of at most 10,000 points
    File            no key: an artifact with its name, type, aliases and metadata

A table is an artifact, in which W&B keeps all its images in each version. What goes beyond a limit of W&B is cut, with
one warning per key.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from lwcallbacks.artifacts import Store
from lwcallbacks.media import (
    NO_CLASS,
    Annotated,
    Cell,
    Curve,
    Entry,
    File,
    Histogram,
    Image,
    Layer,
    Mark,
    Matrix,
    Table,
    confused_block,
    kind_of,
    to_pil,
)
from lwcallbacks.warn import warn
from lwcallbacks.writers.base import Writer, each, raise_errors, uploads_itself
from lwcallbacks.writers.wandb_artifacts import WandbStore, artifact_name

MAX_IMAGES = 108
MAX_ROWS = 200_000
MAX_BINS = 512
MAX_POINTS = 10_000  # that a chart draws
MOST_KEPT = 10_000
"""Images of which is remembered in which file of the run they are."""


class WandbWriter(Writer):
    """Writes through a Lightning WandbLogger, whose `log_metrics` puts media on the same step axis as scalars."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._run = logger.experiment  # starts the run here: on the main thread and not on a worker's
        self._cut: set[str] = set()
        self._kept: dict[bytes, Any] = {}
        """The wandb.Image of what the run has a file of, by its pixels."""

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        row: dict[str, Any] = {}
        files = {key: entry for key, entry in entries.items() if isinstance(entry, File)}
        shown = {key: entry for key, entry in entries.items() if key not in files}
        made: dict[bytes, Any] = {}
        image = _images(self._kept, made)
        errors = each(shown, lambda key, entry: row.update(self._converted(key, entry, image)))
        if row:
            self._logger.log_metrics(row, step=step)
            self._keep(made)
        apart = {key: file for key, file in files.items() if not file.is_delivered}
        errors |= each(apart, lambda key, file: self._log_artifact(file))  # last: a missing file costs no picture
        raise_errors(entries, errors)

    def store(self) -> Store | None:
        return None if self._run.disabled else WandbStore(self._run, refusal=uploads_itself(self._logger))

    def _keep(self, made: Mapping[bytes, Any]) -> None:
        """Remember the images that have come into a file of the run."""
        for content, image in made.items():
            if content not in self._kept and image.is_bound():
                self._kept[content] = kept = copy.copy(image)
                kept._image = None  # its file has the pixels
        for content in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[content]

    def _converted(self, key: str, entry: Entry, image: Callable[[Image], Any]) -> dict[str, Any]:
        """What is logged of an entry: W&B's own objects, by key."""
        match entry:
            case Image():
                return {key: image(entry)}
            case list() | tuple():  # W&B cannot keep an empty list
                return {key: [image(one) for one in self._at_most(MAX_IMAGES, key, entry)]} if entry else {}
            case Table():
                return {key: _table(entry.columns, self._at_most(MAX_ROWS, key, entry.rows), image)}
            case Matrix():
                return _matrix(key, entry, image)
            case Histogram():
                return _histogram(key, entry)
            case Curve():
                return {key: _curve(key, entry, image)}
            case _:
                raise NotImplementedError(f"a {kind_of(key, entry).__name__}")  # of what is no media, `kind_of` says so

    def _at_most(self, limit: int, key: str, items: Sequence[Any]) -> Sequence[Any]:
        if len(items) > limit and key not in self._cut:
            self._cut.add(key)
            warn(f"W&B keeps at most {limit} of the {len(items)} items of {key!r}; the rest is cut")
        return items[:limit]

    def _log_artifact(self, file: File) -> None:
        import wandb

        artifact = wandb.Artifact(artifact_name(file.name), file.type, metadata=dict(file.metadata))
        content = file.content or file.path
        if content.is_dir():
            artifact.add_dir(str(content))
        else:
            artifact.add_file(str(content))
        self._run.log_artifact(artifact, aliases=list(file.aliases) or None)


def _matrix(key: str, matrix: Matrix, image: Callable[[Image], Any]) -> dict[str, Any]:
    import wandb

    columns = ("Actual", "Predicted", "nPredictions")
    title, more = key, {}
    if matrix.counts.size > MAX_ROWS:
        more[f"{key}_cells"] = _table(columns, filled_cells(matrix), image)
        size, matrix = len(matrix.class_names), confused_block(matrix)
        shown = len(matrix.class_names) - 1
        title = f"{key}: {shown} of {size} classes, those confused most; the other {size - shown} are summed as one"
    names = matrix.class_names
    rows = [
        (t, p, n) for t, row in zip(names, matrix.counts.tolist(), strict=True) for p, n in zip(names, row, strict=True)
    ]
    table = _table(columns, rows, image)
    fields = {name: name for name in columns}
    return {key: wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": title}), **more}


def filled_cells(matrix: Matrix) -> list[tuple[str, str, int]]:
    """The cells that are not 0, the largest first; of too many the smallest are summed in the last row."""
    names, (true, predicted) = np.array(matrix.class_names, dtype=object), np.nonzero(matrix.counts)
    counts = matrix.counts[true, predicted]
    order = np.argsort(-counts, kind="stable")
    kept = order[: MAX_ROWS - 1] if len(order) > MAX_ROWS else order
    rows = list(zip(names[true[kept]], names[predicted[kept]], counts[kept].tolist(), strict=True))
    if len(kept) < len(order):
        rest = f"(the other {len(order) - len(kept)} cells)"
        rows.append((rest, rest, int(counts.sum() - counts[kept].sum())))
    return rows


def _images(kept: Mapping[bytes, Any], made: dict[bytes, Any]) -> Callable[[Image], Any]:
    """Makes the wandb.Image of each Image, one for all places of a write that show it.

    Always by PIL: what wandb.Image makes of an array differs between its versions, a PIL image passes untouched.

    Args:
        kept: images that have a file in the run, by their pixels. One of the same pixels refers to that file.
        made: is filled with the others.
    """
    import wandb

    of_write: dict[int, Any] = {}

    def image(shown: Image) -> Any:
        if id(shown) not in of_write:
            of_write[id(shown)] = new(shown)
        return of_write[id(shown)]

    def new(shown: Image) -> Any:
        if isinstance(shown, Annotated):
            return wandb.Image(to_pil(shown.image), caption=shown.caption, **_over(shown))
        content = hashlib.sha256(repr(shown.pixels.shape).encode() + shown.pixels.tobytes()).digest()
        if content in kept:
            return _again(kept[content], shown)
        made[content] = wandb.Image(to_pil(shown), caption=shown.caption)
        return made[content]

    return image


def _again(kept: Any, shown: Image) -> Any:
    """An image that has a file in the run, with another caption. W&B would copy the file for each time it is logged."""
    image = copy.copy(kept)
    image._image, image._caption = to_pil(shown), shown.caption
    image.bind_to_run = lambda *args, **kwargs: None
    return image


def _over(image: Annotated) -> dict[str, Any]:
    """The masks and boxes of an image as `wandb.Image` takes them."""
    masks = {layer.name: _mask(layer) for layer in image.layers}
    boxes = {
        name: _boxes([mark for mark in image.marks if mark.is_truth is is_truth], image.class_names)
        for name, is_truth in (("predictions", False), ("ground truth", True))
        if any(mark.is_truth is is_truth for mark in image.marks)
    }
    return {name: value for name, value in (("masks", masks), ("boxes", boxes)) if value}


def _mask(layer: Layer) -> dict[str, Any]:
    none = {NO_CLASS: "no class"} if (layer.labels == NO_CLASS).any() else {}
    return {"mask_data": layer.labels, "class_labels": {**layer.classes, **none}}


def _boxes(marks: Sequence[Mark], class_names: Mapping[int, str]) -> dict[str, Any]:
    data = []
    for mark in marks:
        left, top, width, height = mark.box
        box: dict[str, Any] = {
            "position": {"minX": left, "minY": top, "maxX": left + width, "maxY": top + height},
            "domain": "pixel",
            "class_id": mark.class_id,
            "box_caption": mark.label if mark.score is None else f"{mark.label} {mark.score:.2f}",
        }
        data.append(box | ({} if mark.score is None else {"scores": {"score": mark.score}}))
    return {"box_data": data, "class_labels": dict(class_names)}


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], image: Callable[[Image], Any]) -> Any:
    """A wandb.Table. W&B wants one type per column, so that the numbers of a column that also has text are text too.

    W&B works out the types from one row that holds each column's first value; then all rows are set as they are, since
    its look at each of them takes most of the time.
    """
    import wandb

    types = [{type(cell): cell for cell in column} for column in zip(*rows, strict=True)]

    def converted(column: Sequence[Cell], types: Mapping[type, Cell]) -> list[Any]:
        kinds = set(map(_kind, types.values())) - {type(None)}
        if len(kinds) > 1:
            return [image(c) if isinstance(c, Image) else c if c is None else str(c) for c in column]
        return [image(c) if isinstance(c, Image) else c for c in column] if kinds == {Image} else list(column)

    made = [converted(*column) for column in zip(zip(*rows, strict=True), types, strict=True)]
    typical = [next((cell for cell in column if not _is_missing(cell)), None) for column in made]
    table: Any = wandb.Table(columns=list(columns), data=[typical] if rows else [])
    table.data = list(map(list, zip(*made, strict=True)))
    if all(_PLAIN.issuperset(of) for of in types) and all(cell == cell for column in made for cell in column):
        table.to_json = partial(_plain_json, table)  # no cell is an image, a scalar of numpy or NaN
    return table


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell))


_PLAIN = {str, int, bool, float, type(None)}


def _plain_json(table: Any, target: Any) -> Any:
    """What `to_json` makes of a table for an artifact, without its look at each cell, which takes the most time."""
    import wandb

    whole, rows = type(table).to_json, table.data
    if not isinstance(target, wandb.Artifact):
        return whole(table, target)
    table.data = []
    try:
        empty = whole(table, target)
    finally:
        table.data = rows
    as_expected = empty.get("data") == [] and empty.get("nrows") == 0 and len(rows) <= table.MAX_ARTIFACT_ROWS
    return empty | {"data": rows, "nrows": len(rows)} if as_expected else whole(table, target)


def _kind(cell: Cell) -> type:
    return next((kind for kind in (Image, str, bool, Real) if isinstance(cell, kind)), type(cell))


def _curve(key: str, curve: Curve, image: Callable[[Image], Any]) -> Any:
    """The chart that W&B has for ROC and precision-recall curves; of more points than it draws, some of each line."""
    import wandb

    rows: list[tuple[str, float, float]] = []
    room = MAX_POINTS // max(1, len(curve.lines))
    for line in curve.lines:
        points = np.arange(len(line.x))
        if len(points) > room:
            points = np.unique(np.linspace(0, len(points) - 1, room).round().astype(int))
        rows += zip([line.name] * len(points), line.x[points].tolist(), line.y[points].tolist(), strict=True)
    table = _table(("class", "x", "y"), rows, image)
    texts = {"title": key, "x-axis-title": curve.x, "y-axis-title": curve.y}
    return wandb.plot_table("wandb/area-under-curve/v0", table, {"x": "x", "y": "y", "class": "class"}, texts)


def _histogram(key: str, histogram: Histogram) -> dict[str, Any]:
    import wandb

    counts, edges = histogram.counts, histogram.edges
    if len(counts) > MAX_BINS:
        starts = np.arange(0, len(counts), math.ceil(len(counts) / MAX_BINS))
        counts, edges = np.add.reduceat(counts, starts), np.append(edges[starts], edges[-1])
    odd = {"nan": histogram.nan, "posinf": histogram.posinf, "neginf": histogram.neginf}
    return {
        key: wandb.Histogram(np_histogram=(counts, edges)),
        **{f"{key}/{name}": count for name, count in odd.items() if count},
    }
