"""How much memory a value holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def size_of(value: Any) -> int:
    """The bytes of all tensors and arrays in nested containers and plain objects; shared memory counts each time.

    >>> import numpy as np
    >>> size_of({"a": np.zeros(4, np.int64), "b": [np.zeros(2, np.uint8)]})
    34
    """
    total, waiting, seen = 0, [value], set[int]()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, list | tuple | set):
            waiting += item
        elif isinstance(getattr(item, "nbytes", None), int):
            total += item.nbytes
        else:
            waiting += getattr(item, "__dict__", {}).values()
    return total
