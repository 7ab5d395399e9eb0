"""Whether two values are the same, and if not, where they differ.

    difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))     # "[1]: 2.0 and 2.5"
    difference(0.1 + 0.2, 0.3, Closeness(atol=1e-9))                   # None

The same means the same bits, type by type: shapes and dtypes are equal, 0.0 is not -0.0, and a NaN is a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Closeness:
    """Floats a and b are close where |a - b| <= atol + rtol |b|; infinities and NaN only to themselves."""

    atol: float = 0.0
    rtol: float = 0.0


def difference(a: Any, b: Any, close: Closeness | None = None, *, nan_bits: bool = False) -> str | None:
    """Say where `a` and `b` differ; None where they are the same.

    Args:
        a, b: numbers, tensors, arrays, strings, containers of them, or objects with such attributes.
        close: how far floats may be apart; without it, they must have the same bits.
        nan_bits: whether the bits of NaNs must be the same too.
    """
    if isinstance(a, np.ndarray | np.generic):
        a = torch.from_numpy(np.array(a))
    if isinstance(b, np.ndarray | np.generic):
        b = torch.from_numpy(np.array(b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensor_difference(a.detach().cpu(), b.detach().cpu(), close, nan_bits)
    if type(a) is not type(b):
        return f"{shown(a)} and {shown(b)}"
    if isinstance(a, float):
        return None if _same_float(a, b, close) else f"{a!r} and {b!r}"
    if isinstance(a, Mapping):
        if a.keys() != b.keys():
            return f"keys {sorted(map(str, a))} and {sorted(map(str, b))}"
        return _first({f"[{k!r}]": (a[k], b[k]) for k in a}, close, nan_bits)
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{len(a)} and {len(b)} items"
        return _first({f"[{i}]": pair for i, pair in enumerate(zip(a, b, strict=True))}, close, nan_bits)
    if hasattr(a, "__dict__") and not callable(a):
        return _first({f".{name}": (value, vars(b).get(name)) for name, value in vars(a).items()}, close, nan_bits)
    return None if a == b else f"{shown(a)} and {shown(b)}"


def _first(pairs: Mapping[str, tuple[Any, Any]], close: Closeness | None, nan_bits: bool) -> str | None:
    for place, (a, b) in pairs.items():
        if found := difference(a, b, close, nan_bits=nan_bits):
            return f"{place}{'' if found[0] in '[.' else ': '}{found}"
    return None


def _same_float(a: float, b: float, close: Closeness | None) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if close is not None and math.isfinite(a) and math.isfinite(b):
        return abs(a - b) <= close.atol + close.rtol * abs(b)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


def _tensor_difference(a: Tensor, b: Tensor, close: Closeness | None, nan_bits: bool) -> str | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    same = a == b
    if a.is_floating_point():
        nans = a.isnan() & b.isnan()
        same = (same & (a.signbit() == b.signbit())) | nans
        if nan_bits:
            same &= _bits(a) == _bits(b)
        elif close is not None:
            x, y = a.double(), b.double()
            same |= x.isfinite() & y.isfinite() & ((x - y).abs() <= close.atol + close.rtol * y.abs())
    if bool(same.all()):
        return None
    place = tuple((~same).nonzero()[0].tolist())
    index = f"[{', '.join(map(str, place))}]: " if place else ""
    return f"{index}{a[place].item()!r} and {b[place].item()!r}"


def _bits(x: Tensor) -> Tensor:
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(words[x.element_size()])


def shown(value: Any, limit: int = 400) -> str:
    """A value on a line or two, shapes and dtypes with it; cut off where it is long."""
    text = _text(value)
    return text if len(text) <= limit else f"{text[:limit]} ... (cut off)"


def _text(value: Any) -> str:
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype} {value.tolist()}" if value.numel() <= 64 else f"{dtype} tensor {tuple(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + ", ".join(map(_text, value)) + (",)" if len(value) == 1 else ")")
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return repr(value)
