"""Which part of a batch a value comes from, by identity and by memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lwcallbacks.capture.tensors import is_array
from lwcallbacks.capture.tree import walk


def parts_with(value: Any, parts: Sequence[Any]) -> set[int]:
    """The parts, by index, that hold a tensor, array or list of `value`; or else a tensor in the same memory."""
    return _sharing(_objects, value, parts) or _sharing(_memories, value, parts)


def _sharing(marks: Callable[[Any], set[int]], value: Any, parts: Sequence[Any]) -> set[int]:
    wanted = marks(value)
    return {i for i, part in enumerate(parts) if wanted & marks(part)} if wanted else set()


def _objects(value: Any) -> set[int]:
    # Of other classes, such as dtypes, there is one object for all.
    return {id(node) for node in walk(value) if isinstance(node, (Tensor, list)) or is_array(node)}


def _memories(value: Any) -> set[int]:
    return {_memory(node) for node in walk(value) if isinstance(node, Tensor)} - {0}


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # of tensors that keep their numbers elsewhere
        return 0
