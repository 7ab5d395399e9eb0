"""Files that load with `weights_only=True`: tensors in containers of Python, and what cannot be one of these in words.

    write(folder, "process-0", {"batch": batch})       # folder/process-0.pt
    read(folder, "process-0")["batch"]

NumPy arrays and named tuples come back as such; a mapping of any class comes back as a dict. Nothing else of a class of
its own is written: a file that would run code when it is read is not safe to send.
"""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KIND, _LEFT_OUT = "lwcallbacks", "left out"
_PLAIN = (bool, int, float, str, type(None), torch.device, torch.Size)
# These are packed, too: torch 2.4 can't load bytes and complex numbers, nor save most unsigned integers.
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


def write(folder: Path, name: str, contents: Mapping[str, Any]) -> Path:
    """Write them, each by its name. The file is whole, or it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pt"
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        torch.save({key: _packed(value) for key, value in contents.items()}, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read(folder: Path, name: str) -> dict[str, Any]:
    """All that was written, on the CPU; where something was left out, a `LeftOut` says what it was."""
    contents = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
    return {key: _unpacked(value) for key, value in contents.items()}


class LeftOut:
    """Stands for a value that was not written."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __repr__(self) -> str:
        return f"<left out: {self.what}>"


def refusals(value: Any, place: str) -> list[str]:
    """What `write` would leave out of it, and where: "batch[1]: a Graph"."""
    return _refusals(_packed(value), place)


def _refusals(packed: Any, place: str) -> list[str]:
    if isinstance(packed, dict) and _KIND in packed:
        if packed[_KIND] == _LEFT_OUT:
            return [f"{place}: {packed['what']}"]
        return _refusals(packed["of"], place)
    parts = (
        packed.items() if isinstance(packed, dict) else enumerate(packed) if isinstance(packed, list | tuple) else ()
    )
    return [found for key, part in parts for found in _refusals(part, f"{place}[{key!r}]")]


def _packed(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return _tensor(value)
    if type(value) is bytes:
        return {_KIND: "bytes", "of": _bytes(value)}
    if type(value) is complex:
        return {_KIND: "complex", "of": (value.real, value.imag)}
    if isinstance(value, torch.dtype):
        return {_KIND: "dtype", "of": str(value).removeprefix("torch.")}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        # By its bytes: torch has no tensors of some types, as of numbers with the other order of bytes.
        return {_KIND: "array", "dtype": value.dtype.str, "shape": value.shape, "of": _bytes(value.tobytes())}
    if isinstance(value, Mapping):
        return {_key(key): _packed(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [_packed(part) for part in value]
        return {_KIND: "named tuple", "name": type(value).__name__, "fields": list(value._fields), "of": parts}
    if isinstance(value, list | tuple):
        parts = [_packed(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return {_KIND: _LEFT_OUT, "what": f"a {type(value).__module__}.{type(value).__qualname__}"}


def _key(key: Any) -> Any:
    return key if type(key) in _PLAIN else str(key)


def _tensor(x: Tensor) -> Any:
    if hasattr(x, "placements") or x.is_nested or x.is_quantized:
        kind = "a part of a distributed tensor" if hasattr(x, "placements") else "a nested or quantized tensor"
        return {_KIND: _LEFT_OUT, "what": kind}
    # A copy of its own elements: of a view, `torch.save` would write the whole that it is a part of.
    plain = x.detach() if type(x) in (Tensor, torch.nn.Parameter) else x.detach().as_subclass(Tensor)
    copied = plain.to("cpu", copy=True)
    if (signed := _SIGNED.get(copied.dtype)) is not None:
        return {_KIND: "unsigned", "of": copied.view(signed)}
    return copied


def _bytes(value: bytes) -> Tensor:
    return torch.frombuffer(bytearray(value), dtype=torch.uint8) if value else torch.empty(0, dtype=torch.uint8)


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict) and _KIND in value:
        kind = value[_KIND]
        if kind == _LEFT_OUT:
            return LeftOut(value["what"])
        return _UNPACK[kind](_unpacked(value["of"]), value)
    if isinstance(value, dict):
        return {key: _unpacked(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_unpacked(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _dtype(of: str, packed: Mapping[str, Any]) -> torch.dtype:
    found = getattr(torch, of)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"found the dtype {of!r}, expected one of torch's")
    return found


_UNPACK: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "bytes": lambda of, packed: of.numpy().tobytes(),
    "complex": lambda of, packed: complex(*of),
    "dtype": _dtype,
    "array": lambda of, packed: of.numpy().view(packed["dtype"]).reshape(packed["shape"]),
    "unsigned": lambda of, packed: of.view({signed: dtype for dtype, signed in _SIGNED.items()}[of.dtype]),
    "named tuple": lambda of, packed: namedtuple(packed["name"], packed["fields"])(*of),
}
