"""Nested data: the parts of a container, and one like it with other parts.

    container = open_container({"a": x, "b": y})
    container.parts                               # {"a": x, "b": y}
    container.build([x + 1, y + 1])               # {"a": x + 1, "b": y + 1}

Containers are mappings, lists, tuples, named tuples and dataclasses, frozen ones too. A copy is filled instead of
calling the class, whose constructor nobody knows: `lightning_utilities.apply_to_collection` calls it, deep-copies the
rest of a dataclass, and leaves a frozen one as it is.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

_NO_OBJECTS = (Tensor, nn.Module, type, FunctionType, ModuleType, str, bytes, int, float, complex)


class Container(NamedTuple):
    """An opened container."""

    parts: dict[Any, Any]
    """Its parts by key, index or name."""

    build: Callable[[Sequence[Any]], Any]
    """Makes one like it of other parts, in the same order."""


def open_container(value: Any) -> Container | None:
    """The parts of a container, and how one like it is built of other parts; None for anything else."""
    if isinstance(value, Mapping):
        return Container(dict(value), lambda parts: _mapping_like(value, parts))
    if isinstance(value, list):
        return Container(dict(enumerate(value)), lambda parts: _list_like(value, parts))
    if isinstance(value, tuple):
        if hasattr(value, "_fields") and hasattr(value, "_make"):
            return Container(dict(zip(value._fields, value, strict=True)), lambda parts: type(value)._make(parts))
        return Container(dict(enumerate(value)), lambda parts: type(value)(parts))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        held = {name: getattr(value, name) for name in names if hasattr(value, name)}
        return Container(held, lambda parts: _dataclass_like(value, list(held), parts))
    return None


def _mapping_like(value: Mapping[Any, Any], parts: Sequence[Any]) -> Mapping[Any, Any]:
    # A copy keeps what a constructor would ask for: a default factory, or the class of a model's output.
    like: MutableMapping[Any, Any] = copy.copy(value) if isinstance(value, MutableMapping) else dict(value)
    for key, part in zip(value, parts, strict=True):
        like[key] = part
    return like


def _list_like(value: list[Any], parts: Sequence[Any]) -> list[Any]:
    like = copy.copy(value)
    like[:] = parts
    return like


def _dataclass_like(value: Any, names: Sequence[str], parts: Sequence[Any]) -> Any:
    like = copy.copy(value)
    for name, part in zip(names, parts, strict=True):
        object.__setattr__(like, name, part)  # a frozen one, too
    return like


def open_object(value: Any) -> dict[str, Any]:
    """The attributes that an object of any other class holds itself; nothing of a module, a function or a tensor."""
    return {} if isinstance(value, _NO_OBJECTS) else dict(getattr(value, "__dict__", {}))


def walk(value: Any) -> Iterator[Any]:
    """The value and everything in it, through containers and objects of any class; each object once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if not isinstance(node, Tensor):
            container = open_container(node)
            waiting += (container.parts if container is not None else open_object(node)).values()


def detached(value: Any) -> Any:
    """The same value in containers of the same classes, with every tensor detached from its graph.

    What cannot be copied is left as it is: a step must not fail because of what it returns.
    """
    try:
        return _detached(value)
    except Exception:  # a copy runs code of the user's; and a list may hold itself
        return value


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    container = open_container(value)
    if container is not None:
        return container.build([_detached(part) for part in container.parts.values()])
    if any(isinstance(node, Tensor) and node.requires_grad for node in walk(value)):
        return _object_like(value, {name: _detached(part) for name, part in open_object(value).items()})
    return value


def _object_like(value: Any, attributes: dict[str, Any]) -> Any:
    like = copy.copy(value)
    like.__dict__.update(attributes)
    return like
