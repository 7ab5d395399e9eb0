"""The JSON in which the folder's page keeps values: short, exact, and made for many at once.

    Kind        JSON
    Table       {"columns": [...], "cells": [[...], ...]}, column by column
    Matrix      {"class_names": [...], "cells": [3, 5, 40, 1, ...]}: for each count that is not 0, row by row, how many
                cells it is further than the one before (the first: than none), and the count; with examples also
                "examples": {"3,5": [image cell, ...], ...} by the indices of the true and the predicted class
    Histogram   {"counts": ["u1", "AAEC..."], "edges": [low, high]}: little-endian unsigned integers of 1, 2 or 4 bytes,
                in Base64; a list of numbers where a count needs more; all edges where they are not
                low + i * ((high - low) / bins); "nan", "posinf" and "neginf" where they are not 0
    Curve       {"x", "y", "lines": [{"name", "x": [...], "y": [...], "text", "marks": [[x, y, text], ...],
                "at": [...], "readings": [[at, ...], [x, ...], [y, ...]]}, ...], "diagonal": true, "notes": [...]},
                without what there is none of
    File        {"name", "type", "path", "aliases", "metadata"}

A list of texts that was written before, such as the names of the classes, is a number in place of the list: see
`Texts`. A float is written as Python's repr, which reads back to the same bits. JSON has no NaN: such numbers are
written as "nan", "inf" and "-inf".
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lwcallbacks.media import Cell, Curve, File, Histogram, Image, Matrix, Table

SHORT = 8  # texts: a list of so many is written as it is

_plain = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class Texts:
    """Lists of texts by number. One that is met a second time gets a number, and is `new` until it is written down."""

    def __init__(self, known: Mapping[int, Sequence[str]]) -> None:
        self._numbers = {tuple(texts): number for number, texts in known.items()}
        self._met: set[int] = set()
        self.new: dict[int, Sequence[str]] = {}

    def short(self, texts: Sequence[Any]) -> Sequence[Any] | int:
        """The number of a list of texts, or the list."""
        if len(texts) <= SHORT or not all(isinstance(text, str) for text in texts):
            return texts
        key = tuple(texts)
        if key not in self._numbers:
            if hash(key) not in self._met:
                self._met.add(hash(key))
                return texts
            self._numbers[key] = max(self._numbers.values(), default=-1) + 1
            self.new[self._numbers[key]] = texts
        return self._numbers[key]


def table_json(table: Table, texts: Texts, place: Callable[[Image], Mapping[str, Any]]) -> str:
    """`place` says where the pixels of an image cell are: {"image": file, "box": [left, top, width, height]}."""

    def cell_of(cell: Cell) -> Any:
        return place(cell) if isinstance(cell, Image) else cell

    columns = zip(*table.rows, strict=True) if table.rows else ([] for _ in table.columns)
    cells = [texts.short([cell_of(cell) for cell in column]) for column in columns]
    return encode({"columns": list(table.columns), "cells": cells})


def matrix_json(matrix: Matrix, texts: Texts, place: Callable[[Image], Mapping[str, Any]]) -> str:
    """`place` as for `table_json`."""
    counts = np.asarray(matrix.counts).ravel()
    filled = np.flatnonzero(counts)
    cells = np.stack([np.diff(filled, prepend=-1), counts[filled]], axis=1).ravel()
    value: dict[str, Any] = {"class_names": texts.short(list(matrix.class_names)), "cells": cells.tolist()}
    if matrix.examples:
        value["examples"] = {f"{t},{p}": [place(image) for image in shown] for (t, p), shown in matrix.examples.items()}
    return encode(value)


def histograms_json(histograms: Sequence[Histogram]) -> list[str]:
    """Of many at once: a model has thousands of parameters."""
    texts = [""] * len(histograms)
    by_kind: dict[tuple[int, np.dtype], list[int]] = {}
    for i, histogram in enumerate(histograms):
        by_kind.setdefault((len(histogram.counts), np.asarray(histogram.counts).dtype), []).append(i)
    for indices in by_kind.values():
        alike = [histograms[i] for i in indices]
        counts = _counts_json(np.stack([histogram.counts for histogram in alike]))
        edges = _edges_json(np.stack([histogram.edges for histogram in alike]).astype(np.float64))
        for i, histogram, of_bins, between in zip(indices, alike, counts, edges, strict=True):
            odd = f',"nan":{histogram.nan}' if histogram.nan else ""
            odd += f',"posinf":{histogram.posinf}' if histogram.posinf else ""
            odd += f',"neginf":{histogram.neginf}' if histogram.neginf else ""
            texts[i] = f'{{"counts":{of_bins},"edges":{between}{odd}}}'
    return texts


def _counts_json(counts: np.ndarray) -> list[str]:
    """Of each row of numbers [P, B]."""
    num_rows, bins = counts.shape
    if not bins or counts.dtype.kind not in "iu" or counts.min() < 0:
        return [encode(row) for row in counts.tolist()]
    texts = [""] * num_rows
    widths, most = (1, 2, 4), counts.max(axis=1)
    width = np.select([most < 1 << 8 * size for size in widths], widths, 0)
    for size in widths:
        rows = np.flatnonzero(width == size)
        packed = np.zeros((len(rows), -(-bins * size // 3) * 3), np.uint8)  # three bytes are four characters
        packed[:, : bins * size] = counts[rows].astype(f"<u{size}").view(np.uint8)
        text = binascii.b2a_base64(packed.tobytes(), newline=False).decode()
        padding = packed.shape[1] - bins * size
        length = packed.shape[1] // 3 * 4
        for i, start in zip(rows.tolist(), range(0, len(text), length), strict=True):
            texts[i] = f'["u{size}","{text[start : start + length - padding]}{"=" * padding}"]'
    return [text or encode(row.tolist()) for text, row in zip(texts, counts, strict=True)]


def _edges_json(edges: np.ndarray) -> list[str]:
    """Of each row of float64 [P, B + 1]: first and last, where a reader works out the bits of the others from them."""
    bins = edges.shape[1] - 1
    if bins == 0:
        return [encode(row) for row in edges.tolist()]
    low, high = edges[:, :1], edges[:, -1:]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = low + np.arange(bins + 1) * ((high - low) / bins)
    expected[:, -1:] = high
    even = (expected.view(np.int64) == edges.view(np.int64)).all(axis=1) & np.isfinite(edges).all(axis=1)
    ends = edges[:, ::bins].tolist()
    return [
        f"[{ends[i][0]!r},{ends[i][1]!r}]" if is_even else encode(edges[i].tolist())
        for i, is_even in enumerate(even.tolist())
    ]


def curve_json(curve: Curve) -> str:
    lines = [{name: of for name, of in vars(line).items() if of is not None and len(of)} for line in curve.lines]
    whole = {"x": curve.x, "y": curve.y, "lines": [jsonable({"x": [], "y": [], **line}) for line in lines]}
    beside = {"diagonal": curve.diagonal, "notes": list(curve.notes)}
    return encode(whole | {name: of for name, of in beside.items() if of})


def file_json(file: File) -> str:
    return encode(
        jsonable({name: value for name, value in vars(file).items() if name not in ("content", "is_delivered")})
    )


def encode(value: Any) -> str:
    """JSON without blanks. What it cannot hold becomes text: `jsonable`."""
    try:
        return _plain.encode(value)
    except (TypeError, ValueError):  # something else is in it, or a number that is not finite
        return _plain.encode(jsonable(value))


def jsonable(value: Any) -> Any:
    """What JSON can hold of a value: arrays as lists, numbers that are not finite and anything unknown as text."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
