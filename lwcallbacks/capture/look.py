"""Looking into what steps return and loaders give: parts by name, and all of it in words.

    part({"x": x}, "x"), part(graph, "x")         # by key, or by attribute
    describe((x, {"y": y}))                       # "(float32[8, 5], {'y': int64[8]})"

Nothing here raises: a property that does is a part that is not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from lwcallbacks.capture.names import USUAL
from lwcallbacks.capture.tensors import is_array

_LEAVES = (Tensor, nn.Module, type, str, bytes, int, float, complex, type(None))
_NAMELESS = (tuple, list, Tensor, type(None))
_MANY = 6
_DEEP = 4


def part(container: Any, name: Any) -> Any:
    """The part of that key, field or attribute; None where there is none."""
    if type(container) is dict:
        return container.get(name)
    if isinstance(container, Mapping):
        found = _tried(lambda: container[name] if name in container else None)  # noqa: SIM401  # a defaultdict's get
        if found is not None:
            return found
    if not isinstance(name, str) or isinstance(container, _LEAVES) or is_array(container):
        return None
    found = _tried(lambda: getattr(container, name, None))
    if found is None and name in _own_keys(container):
        found = _tried(lambda: container[name])
    return None if callable(found) and not isinstance(found, Tensor) else found


def may_have(container: Any, names: Iterable[Any]) -> bool:
    """Whether a part of one of those names may be there. It is a look at types and keys: most batches have no names."""
    if type(container) is dict:
        return not container.keys().isdisjoint(names)
    return type(container) not in _NAMELESS


def names_of(container: Any) -> dict[Any, Any]:
    """The parts that have names, as far as they can be listed."""
    if isinstance(container, Mapping):
        return _tried(lambda: dict(container)) or {}
    if isinstance(container, (tuple, list)):
        names: Iterable[str] = getattr(container, "_fields", ())
    elif isinstance(container, _LEAVES) or is_array(container):
        names = ()
    elif dataclasses.is_dataclass(container):
        names = [field.name for field in dataclasses.fields(container)]
    else:
        held = [name for name in getattr(container, "__dict__", ()) if not name.startswith("_")]
        names = dict.fromkeys([*held, *_own_keys(container), *USUAL])
    found = {name: part(container, name) for name in names}
    # What is None is listed where it is a field, and not where it was only asked for.
    return found if dataclasses.is_dataclass(container) else {k: v for k, v in found.items() if v is not None}


def describe(value: Any, depth: int = 0) -> str:
    """Dtypes, shapes and names, in words."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if is_array(value):
        return f"numpy {value.dtype}{list(value.shape)}"
    if depth < _DEEP and (named := names_of(value)):
        told = [f"{name!r}: {describe(inside, depth + 1)}" for name, inside in list(named.items())[: 4 * _MANY]]
        told += ["..."] if len(named) > len(told) else []
        return ("" if type(value) is dict else type(value).__name__) + "{" + ", ".join(told) + "}"
    if isinstance(value, (tuple, list)) and depth < _DEEP:
        return _describe_parts(value, depth + 1)
    return "None" if value is None else type(value).__name__


def _describe_parts(parts: tuple[Any, ...] | list[Any], depth: int) -> str:
    alike = {type(inside) for inside in parts}
    if len(parts) > 1 and len(alike) == 1 and alike <= {str, int, float, bool}:
        return f"{type(parts).__name__} of {len(parts)} {alike.pop().__name__}"
    if len(parts) > _MANY:
        return f"{type(parts).__name__} of {len(parts)}, the first {describe(parts[0], depth)}"
    return "(" + ", ".join(describe(inside, depth) for inside in parts) + ")"


def _own_keys(container: Any) -> list[str]:
    """What an object that is no mapping tells as its `keys()`, as graphs and dictionaries of tensors do."""
    keys = _tried(lambda: getattr(container, "keys", None))
    found = _tried(lambda: list(keys() if callable(keys) else keys or ()))
    return [key for key in found or () if isinstance(key, str)]


def _tried(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception:  # whatever a class of the user's does
        return None
