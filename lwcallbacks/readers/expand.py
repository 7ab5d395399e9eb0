"""Values as they were published, from the short JSON that `lwcallbacks.writers.compact` describes."""

from __future__ import annotations

import binascii
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_INTEGERS = {"u1": "B", "u2": "H", "u4": "I"}


def expanded(kind: str, value: Mapping[str, Any], texts: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    """The value of a "table", "matrix", "histogram", "curve" or "file"; `texts` are those that numbers stand for.

    >>> expanded("matrix", {"class_names": ["cat", "dog"], "cells": [1, 5, 3, 7]}, {})
    {'counts': [[5, 0], [0, 7]], 'class_names': ['cat', 'dog']}
    >>> histogram = expanded("histogram", {"counts": ["u1", "AwE="], "edges": [0.0, 1.0]}, {})
    >>> histogram["counts"], histogram["edges"]
    ([3, 1], [0.0, 0.5, 1.0])
    """
    match kind:
        case "table":
            cells = [list(texts[column]) if isinstance(column, int) else column for column in value["cells"]]
            return {"columns": value["columns"], "rows": [list(row) for row in zip(*cells, strict=True)]}
        case "matrix":
            matrix = _matrix(value, texts)
            return matrix | ({"examples": _by_cell(value["examples"])} if "examples" in value else {})
        case "histogram":
            odd = {name: value.get(name, 0) for name in ("nan", "posinf", "neginf")}
            counts = _counts(value["counts"])
            return {"counts": counts, "edges": _edges(value["edges"], len(counts)), **odd}
        case "curve":
            lines = [{"text": None, "marks": [], "at": None, **line} for line in value["lines"]]
            return {"diagonal": False, "notes": [], **value, "lines": lines}
        case _:
            return dict(value)


def filled_cells(value: Mapping[str, Any], texts: Mapping[int, Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """Of a "matrix" the names of its classes and [row, column, count] of the cells that are not 0.

    >>> filled_cells({"class_names": ["cat", "dog"], "cells": [1, 5, 3, 7]}, {})
    (['cat', 'dog'], [[0, 0, 5], [1, 1, 7]])

    Raises:
        ValueError: a cell is none of the matrix.
    """
    names, cells = value["class_names"], value["cells"]
    names = list(texts[names]) if isinstance(names, int) else names
    places = itertools.accumulate(cells[::2], initial=-1)
    next(places)
    filled = []
    for place, count in zip(places, cells[1::2], strict=True):
        if not 0 <= place < len(names) ** 2 or not isinstance(count, int | float):
            raise ValueError(f"found the cell {place!r} with {count!r} in a matrix of {len(names)} classes")
        filled.append([*divmod(place, len(names)), count])
    return names, filled


def _matrix(value: Mapping[str, Any], texts: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    names, cells = filled_cells(value, texts)
    counts = [[0] * len(names) for _ in names]
    for row, column, count in cells:
        counts[row][column] = count
    more = {name: item for name, item in value.items() if name not in ("class_names", "cells")}
    return {"counts": counts, "class_names": names, **more}


def _by_cell(examples: Mapping[str, Any]) -> dict[tuple[int, ...], Any]:
    return {tuple(map(int, cell.split(","))): images for cell, images in examples.items()}


def _counts(counts: list[Any]) -> list[int]:
    """As a list; they may be Base64 of unsigned integers, after the name of their type."""
    match counts:
        case [str(name), str(text)] if name in _INTEGERS:  # two numbers that are not finite are texts, too
            return [count for (count,) in struct.iter_unpack(f"<{_INTEGERS[name]}", binascii.a2b_base64(text))]
        case _:
            return counts


def _edges(edges: list[float], bins: int) -> list[float]:
    """All of them, from the first and the last where there are but two."""
    if len(edges) == bins + 1:
        return edges
    low, high = edges
    return [low + i * ((high - low) / bins) for i in range(bins)] + [high]
