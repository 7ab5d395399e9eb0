"""Values as they were published, from the short JSON that `lwcallbacks.writers.compact` describes."""

from __future__ import annotations

import binascii
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_INTEGERS = {1: "B", 2: "H", 4: "I"}


def expanded(kind: str, value: Mapping[str, Any], texts: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    """The value of a "table", "matrix", "histogram" or "file"; `texts` are those that numbers stand for.

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
            names = value["class_names"]
            matrix = _matrix(value["cells"], list(texts[names]) if isinstance(names, int) else names)
            return matrix | ({"examples": _by_cell(value["examples"])} if "examples" in value else {})
        case "histogram":
            odd = {name: value.get(name, 0) for name in ("nan", "posinf", "neginf")}
            counts = _counts(value["counts"])
            return {"counts": counts, "edges": _edges(value["edges"], len(counts)), **odd}
        case _:
            return dict(value)


def _matrix(cells: Sequence[int], names: list[str]) -> dict[str, Any]:
    counts = [[0] * len(names) for _ in names]
    places = itertools.accumulate(cells[::2], initial=-1)
    next(places)
    for place, count in zip(places, cells[1::2], strict=True):
        counts[place // len(names)][place % len(names)] = count
    return {"counts": counts, "class_names": names}


def _by_cell(examples: Mapping[str, Any]) -> dict[tuple[int, ...], Any]:
    return {tuple(map(int, cell.split(","))): images for cell, images in examples.items()}


def _counts(counts: list[Any]) -> list[int]:
    """As a list; they may be Base64 of unsigned integers, after the name of their type."""
    match counts:
        case [str(dtype), str(text)]:
            packed, size = binascii.a2b_base64(text), int(dtype.removeprefix("u"))
            return list(struct.unpack(f"<{len(packed) // size}{_INTEGERS[size]}", packed))
        case _:
            return counts


def _edges(edges: list[float], bins: int) -> list[float]:
    """All of them, from the first and the last where there are but two."""
    if len(edges) == bins + 1:
        return edges
    low, high = edges
    return [low + i * ((high - low) / bins) for i in range(bins)] + [high]
