"""Whether two values are the same, and if not, where they differ.

    difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))     # "[1]: 2.0 and 2.5"
    difference(0.1 + 0.2, 0.3, Closeness(atol=1e-9))                   # None

The same means the same bits, type by type: shapes and dtypes are equal, 0.0 is not -0.0, and a NaN is a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Closeness:
    """Floats a and b are close where |a - b| <= atol + rtol |b|; infinities and NaN only to themselves."""

    atol: float = 0.0
    rtol: float = 0.0


class Difference(NamedTuple):
    """The first place where two values differ, such as "[0]" or ".ids[2]", and what each has there."""

    place: str
    found: Any
    expected: Any

    def __str__(self) -> str:
        told = f"{_at_place(self.found)} and {_at_place(self.expected)}"
        return f"{self.place}: {told}" if self.place else told

    def shortly(self) -> tuple[str, str]:
        """Both as a person says them: floats with three digits, or as many as it takes to tell them apart."""
        if isinstance(self.found, float) and isinstance(self.expected, float):
            return _floats_shortly(self.found, self.expected)
        return _at_place(self.found), _at_place(self.expected)


class _Told(str):
    """What is there, in words already."""


def _at_place(value: Any) -> str:
    return str(value) if isinstance(value, _Told) else shown(value)


def _floats_shortly(a: float, b: float) -> tuple[str, str]:
    for digits in range(3, 17):
        told = f"{a:.{digits}g}", f"{b:.{digits}g}"
        if told[0] != told[1]:
            return told
    return repr(a), repr(b)


def difference(a: Any, b: Any, close: Closeness | None = None, *, nan_bits: bool = False) -> str | None:
    """Say where `a` and `b` differ; None where they are the same. `differing` in words."""
    found = differing(a, b, close, nan_bits=nan_bits)
    return None if found is None else str(found)


def differing(a: Any, b: Any, close: Closeness | None = None, *, nan_bits: bool = False) -> Difference | None:
    """Where `a` and `b` differ first; None where they are the same.

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
        return _tensors_differing(a.detach().cpu(), b.detach().cpu(), close, nan_bits)
    if type(a) is not type(b):
        return Difference("", a, b)
    if isinstance(a, float):
        return None if _same_float(a, b, close) else Difference("", a, b)
    if isinstance(a, Mapping):
        if a.keys() != b.keys():
            return Difference("", _Told(f"keys {sorted(map(str, a))}"), _Told(f"keys {sorted(map(str, b))}"))
        return _first({f"[{k!r}]": (a[k], b[k]) for k in a}, close, nan_bits)
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return Difference("", _Told(f"{len(a)} items"), _Told(f"{len(b)} items"))
        return _first({f"[{i}]": pair for i, pair in enumerate(zip(a, b, strict=True))}, close, nan_bits)
    if hasattr(a, "__dict__") and not callable(a):
        return _first({f".{n}": (vars(a).get(n), vars(b).get(n)) for n in vars(a) | vars(b)}, close, nan_bits)
    return None if a == b else Difference("", a, b)


def _first(pairs: Mapping[str, tuple[Any, Any]], close: Closeness | None, nan_bits: bool) -> Difference | None:
    for place, (a, b) in pairs.items():
        if found := differing(a, b, close, nan_bits=nan_bits):
            return found._replace(place=place + found.place)
    return None


def _same_float(a: float, b: float, close: Closeness | None) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if close is not None and math.isfinite(a) and math.isfinite(b):
        return abs(a - b) <= close.atol + close.rtol * abs(b)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


def _tensors_differing(a: Tensor, b: Tensor, close: Closeness | None, nan_bits: bool) -> Difference | None:
    if a.dtype != b.dtype or a.shape != b.shape:
        return Difference("", _Told(_shape(a)), _Told(_shape(b)))
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
    index = f"[{', '.join(map(str, place))}]" if place else ""
    return Difference(index, a[place].item(), b[place].item())


def _shape(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def _bits(x: Tensor) -> Tensor:
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(words[x.element_size()])


def same_in_another_order(
    found: Any, expected: Any, n: int, close: Closeness | None, turned: Callable[[], Any]
) -> bool:
    """Whether two values are the same but for the order of the n samples in them.

    Args:
        found, expected: the values. Entries of samples are in tensors, arrays and lists with n of them; all of these
            have to be in one and the same order.
        n: how many samples there are.
        close: how far floats may be apart.
        turned: makes the value of the same samples from the last to the first. What it leaves where it is, is no entry
            of a sample, though there may be n of them, as of n classes. It may raise.
    """
    ours, theirs = _of_samples(found, n), _of_samples(expected, n)
    if n < 2 or not theirs or ours.keys() != theirs.keys():
        return False
    try:
        backwards = _of_samples(turned(), n)
    except Exception:
        backwards = {}
    moved = [
        place
        for place, entries in theirs.items()
        if differing(ours[place], entries, close) or differing(backwards.get(place, entries), entries, close)
    ]
    left = list(range(n))
    order = []  # for each entry that is expected, where it was found
    for i in range(n):
        row = [theirs[place][i] for place in moved]
        at = next((j for j in left if differing([ours[place][j] for place in moved], row, close) is None), None)
        if at is None:
            return False
        left.remove(at)
        order.append(at)
    return differing(_ordered(found, frozenset(moved), order), expected, close) is None


def _of_samples(value: Any, n: int, place: str = "") -> dict[str, Any]:
    """What has n entries, by its place."""
    if isinstance(value, Mapping):
        parts = {f"{place}[{name!r}]": part for name, part in value.items()}
    elif isinstance(value, list) and len(value) == n:
        return {place: value}
    elif isinstance(value, list | tuple):
        parts = {f"{place}[{i}]": part for i, part in enumerate(value)}
    else:
        return {place: value} if isinstance(value, Tensor | np.ndarray) and value.ndim and len(value) == n else {}
    return {key: entries for where, part in parts.items() for key, entries in _of_samples(part, n, where).items()}


def _ordered(value: Any, places: frozenset[str], order: Sequence[int], place: str = "") -> Any:
    """A value with its entries at these places in this order."""
    if place in places:
        return [value[i] for i in order] if isinstance(value, list) else value[list(order)]
    if isinstance(value, Mapping):
        return {name: _ordered(part, places, order, f"{place}[{name!r}]") for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_ordered(part, places, order, f"{place}[{i}]") for i, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


_MOST = 2000  # numbers that are written out, and characters of a text


def shown(value: Any) -> str:
    """A value in words, shapes and dtypes with it. A tensor of more than 2,000 numbers is its shape only."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{dtype} {value.tolist()}" if value.numel() <= _MOST else f"{dtype} tensor {tuple(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + ", ".join(map(shown, value)) + (",)" if len(value) == 1 else ")")
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    text = repr(value)
    return text if len(text) <= _MOST else f"{text[:_MOST]} ... ({len(text)} characters)"


def plainly(value: Any) -> str:
    """A number with the digits that a person reads; anything else as `shown` shows it."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    return f"{value:.6g}" if isinstance(value, float) else shown(value)
