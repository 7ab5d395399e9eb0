"""Tensors with every kind of float, and numbers on a grid, which have ties.

    @given(tensors((5, 3)))
    def test(scores): ...

A tensor is drawn as a few bytes rather than number by number, so thousands of examples are cheap. It shrinks to zeros.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

_WORDS = {2: np.int16, 4: np.int32, 8: np.int64}


@functools.cache
def _notable(dtype: torch.dtype) -> Tensor:
    """Floats at which arithmetic turns a corner; the simplest first, since examples shrink to the front."""
    info = torch.finfo(dtype)
    tiny, subnormal, huge = info.tiny, info.smallest_normal * info.eps, info.max
    inf, nan = float("inf"), float("nan")
    values = [0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 3.0, -0.0, 1 + info.eps, 0.1, 100.0, -7.0]
    values += [tiny, -tiny, subnormal, -subnormal, huge, -huge, inf, -inf, nan, -nan]
    return torch.tensor(values, dtype=torch.float64).to(dtype)


@functools.cache
def _bytes(n: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=n, max_size=n)


@st.composite
def tensors(
    draw: DrawFn,
    shape: int | Sequence[int] | SearchStrategy[Any],
    dtype: torch.dtype = torch.float32,
    *,
    min_value: int = 0,
    max_value: int = 255,
    nan: bool = True,
    infinite: bool = True,
    subnormal: bool = True,
    huge: bool = True,
) -> Tensor:
    """Tensors of one shape and dtype.

    Three floats of four are of a list of notable ones (zeros of both signs, one, halves, subnormals, the largest,
    infinities, NaN), which makes ties likely; the others are random bits.

    Args:
        shape: an int, a shape, or a strategy for one. Hypothesis allows 8,192 bytes an example, 5 for each float32 and
            2 for each integer; `noise` is for more.
        dtype: a float, integer or bool dtype.
        min_value, max_value: the range of integers, both ends included.
        nan, infinite, subnormal: whether floats may be those; what may not be becomes zero.
        huge: whether floats may be of more than 1000.

    Examples:
        >>> from hypothesis import given
        >>> @given(tensors((2, 3), torch.int64, max_value=9))
        ... def test(x):
        ...     assert x.shape == (2, 3) and 0 <= x.min() and x.max() <= 9
        >>> test()
    """
    drawn = draw(shape) if isinstance(shape, SearchStrategy) else shape
    size = (drawn,) if isinstance(drawn, int) else tuple(drawn)
    n = int(np.prod(size))
    if not dtype.is_floating_point:
        low, high = (0, 1) if dtype == torch.bool else (min_value, max_value)
        if high < low:
            raise ValueError(f"tensors: max_value={high} is less than min_value={low}")
        offsets = np.frombuffer(draw(_bytes(2 * n)), ">u2").astype(np.int64)
        return torch.from_numpy(low + offsets % (high - low + 1)).to(dtype).reshape(size)

    # One draw for everything: n bytes say of which kind each number is, the others are bits.
    raw = np.frombuffer(draw(_bytes(n * (1 + dtype.itemsize))), np.uint8)
    notable, kinds = _notable(dtype), torch.from_numpy(raw[:n].astype(np.int64))
    random = torch.from_numpy(raw[n:].copy().view(_WORDS[dtype.itemsize])).view(dtype)
    values = torch.where(kinds < 192, notable[kinds % len(notable)], random)
    if not nan:
        values[values.isnan()] = 0
    if not infinite:
        values[values.isinf()] = 0
    if not subnormal:
        values[values.abs() < torch.finfo(dtype).tiny] = 0
    if not huge:
        values[values.isfinite() & (values.abs() > 1000)] = 0
    return values.reshape(size)


def floats32(size: int | Sequence[int] | SearchStrategy[Any], **kinds: bool) -> SearchStrategy[Tensor]:
    """`tensors` of float32: every kind of float but those that `nan=`, `infinite=`, ... switch off.

    Examples:
        >>> from hypothesis import given
        >>> @given(floats32(4, nan=False))
        ... def test(x):
        ...     assert x.dtype == torch.float32 and not x.isnan().any()
        >>> test()
    """
    return tensors(size, torch.float32, **kinds)


@st.composite
def grid(
    draw: DrawFn,
    shape: int | Sequence[int],
    *,
    low: float = -5.0,
    high: float = 5.0,
    step: float = 0.1,
    nan: bool = False,
) -> Tensor:
    """float32 tensors of multiples of a step, so that ties are common and examples are easy to read.

    Sums of multiples of 0.1 round, as sums of real data do. A power of two as the step, such as 1/8, keeps them exact.

    Args:
        shape: an int or a shape.
        low, high: the range, both ends included. Values shrink to 0, or to `low` where 0 is not in the range.
        step: what values are multiples of.
        nan: whether one value of eight is NaN.

    Raises:
        ValueError: no multiple of `step` is between `low` and `high`.

    Examples:
        >>> from hypothesis import given
        >>> @given(grid((2, 3), low=0, high=1, step=0.25))
        ... def test(x):
        ...     assert x.shape == (2, 3) and set(x.flatten().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
        >>> test()
    """
    first, last = (math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))) if step > 0 else (0, -1)
    if last < first:
        raise ValueError(f"grid: no multiple of step={step} is in low={low} to high={high}")
    # Counted from zero, around the end of the range, so that zero is the simplest value.
    start = min(max(first, 0), last)
    drawn = draw(tensors(shape, torch.int64, max_value=last - first)) + (start - first)
    values = ((drawn % (last - first + 1) + first).double() * step).float()
    if nan:
        values[draw(tensors(shape, torch.int64, max_value=7)) == 7] = float("nan")
    return values


@st.composite
def noise(
    draw: DrawFn, shape: int | Sequence[int], *, low: float = 0.0, high: float = 1.0, levels: int = 256
) -> Tensor:
    """float32 tensors of uniform random numbers, for what is too large to be drawn number by number.

    The seed is drawn, so an example is repeated, and its numbers do not shrink.

    Args:
        shape: an int or a shape.
        low, high: the range, both ends included.
        levels: how many different values there are; 256 as in an image of 8 bits.

    Examples:
        >>> from hypothesis import given
        >>> @given(noise((3, 16, 16)))
        ... def test(x):
        ...     assert x.shape == (3, 16, 16) and 0 <= x.min() and x.max() <= 1
        >>> test()
    """
    size = (shape,) if isinstance(shape, int) else tuple(shape)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    drawn = torch.randint(levels, size, generator=generator)
    return (low + drawn.double() * ((high - low) / (levels - 1))).float()
