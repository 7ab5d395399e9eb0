"""The JSON in which the folder's page keeps values: short, exact, and made for many at once.

    Kind        JSON
    Table       {"columns": [...], "cells": [[...], ...]}, column by column
    Matrix      {"class_names": [...], "cells": [3, 5, 40, 1, ...]}: for each count that is not 0, row by row, how many
                cells it is further than the one before (the first: than none), and the count
    Histogram   {"counts": [...], "edges": [low, high]}; all edges where they are not low + i * ((high - low) / bins);
                "nan", "posinf" and "neginf" where they are not 0
    File        {"name", "type", "path", "aliases", "metadata"}

A list of texts that was written before, such as the names of the classes, is a number in place of the list: see
`Texts`. A float is written as Python's repr, which reads back to the same bits. JSON has no NaN: such numbers are
written as "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lwcallbacks.media import Cell, File, Histogram, Image, Matrix, Table

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


def matrix_json(matrix: Matrix, texts: Texts) -> str:
    counts = np.asarray(matrix.counts).ravel()
    filled = np.flatnonzero(counts)
    cells = np.stack([np.diff(filled, prepend=-1), counts[filled]], axis=1).ravel()
    return encode({"class_names": texts.short(list(matrix.class_names)), "cells": cells.tolist()})


def histograms_json(histograms: Sequence[Histogram]) -> list[str]:
    """Of many at once: a model has thousands of parameters."""
    even = _are_even(histograms)
    return [_histogram_json(histogram, short) for histogram, short in zip(histograms, even, strict=True)]


def _histogram_json(histogram: Histogram, even: bool) -> str:
    counts, edges = np.asarray(histogram.counts).tolist(), np.asarray(histogram.edges)
    odd = {"nan": histogram.nan, "posinf": histogram.posinf, "neginf": histogram.neginf}
    if even and not any(odd.values()):  # as nearly always; lists of numbers are JSON as Python writes them
        return f'{{"counts":{counts},"edges":[{edges[0].item()!r},{edges[-1].item()!r}]}}'.replace(" ", "")
    ends = edges[:: len(edges) - 1] if even else edges
    value = {"counts": counts, "edges": ends.tolist()}
    return encode(value | {name: int(count) for name, count in odd.items() if count})


def _are_even(histograms: Sequence[Histogram]) -> list[bool]:
    """Whether all edges are finite, and have the bits that a reader works out from the first and the last."""
    by_size: dict[int, list[int]] = {}
    for i, histogram in enumerate(histograms):
        by_size.setdefault(len(histogram.counts), []).append(i)
    even = [False] * len(histograms)
    for bins, indices in by_size.items():
        if bins == 0:
            continue
        edges = np.stack([histograms[i].edges for i in indices]).astype(np.float64)
        low, high = edges[:, :1], edges[:, -1:]
        with np.errstate(over="ignore", invalid="ignore"):
            expected = low + np.arange(bins + 1) * ((high - low) / bins)
        expected[:, -1:] = high
        same = (expected.view(np.int64) == edges.view(np.int64)).all(axis=1) & np.isfinite(edges).all(axis=1)
        for i, is_even in zip(indices, same.tolist(), strict=True):
            even[i] = is_even
    return even


def file_json(file: File) -> str:
    return encode(jsonable({name: value for name, value in vars(file).items() if name != "content"}))


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
