"""What metrics that were made alike share, and an update writes into: as it is where none of them has seen data.

    with untouched(make, update):         # make() gives a metric, update(metric) shows it some data
        ...                               # what they share is empty in here, and as it was behind it

Data that belong to a class, or to the signature of `__init__`, hold what metrics saw before the examination began. Of a
maximum, or of a set, more of the same changes nothing any more, so that nobody could tell. Nothing can be known of what
was there at first: it is zeros, the lowest or the highest numbers, or no entries, whichever an update changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.testing.held import BOOKS, copied_data, is_data, of_classes
from lwcallbacks.testing.same import difference
from lwcallbacks.testing.world import contained_metrics

_MUTABLE = (Tensor, np.ndarray, list, dict, set, deque)


@contextmanager
def untouched(make: Callable[[], Any], update: Callable[[Any], object]) -> Iterator[None]:
    """See the module's synopsis."""
    found = _shared(make)
    if not found:
        yield
        return
    kept = [(value, _copy(value)) for value in found]
    try:
        for value, before in kept:
            _empty_if_written(value, before, make, update)
        yield
    finally:
        for value, before in kept:
            _put(value, before)


def _shared(make: Callable[[], Any]) -> list[Any]:
    """Data that two new metrics have in common."""
    found: dict[int, Any] = {}
    for first, second in zip(*(contained_metrics(make()) for _ in range(2)), strict=True):
        own = {name: value for name, value in vars(first).items() if vars(second).get(name) is value}
        for name, value in {**of_classes(first), **own}.items():
            if name not in BOOKS and isinstance(value, _MUTABLE) and is_data(value):
                found[id(value)] = value
    return list(found.values())


def _empty_if_written(value: Any, before: Any, make: Callable[[], Any], update: Callable[[Any], object]) -> None:
    """Leave it empty if an update writes into it then; else as it was: a table of constants is none of our business."""
    for empty in _empties(before):
        _put(value, empty)
        with suppress(Exception):
            update(make())
        is_written = bool(difference(copied_data(value), copied_data(empty)))
        _put(value, empty if is_written else before)
        if is_written:
            return


def _empties(value: Any) -> list[Any]:
    if not isinstance(value, Tensor):
        return [np.zeros_like(value)] if isinstance(value, np.ndarray) else [type(value)()]
    if value.dtype == torch.bool or value.is_complex():
        return [torch.zeros_like(value)]
    info = torch.finfo(value.dtype) if value.is_floating_point() else torch.iinfo(value.dtype)
    return [torch.zeros_like(value), torch.full_like(value, info.min), torch.full_like(value, info.max)]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value.copy()


def _put(value: Any, content: Any) -> None:
    """Make `value`, which stays the same object, hold this."""
    if isinstance(value, Tensor):
        with torch.no_grad():
            value.set_(content.clone()) if value.shape != content.shape else value.copy_(content)
    elif isinstance(value, np.ndarray):
        value[...] = content
    else:
        content = _copy(content)
        value.clear()
        value.update(content) if isinstance(value, dict | set) else value.extend(content)
