"""Hypothesis strategies for metrics: tensors with every kind of float, labelled batches, shares of a data set.

    @given(tensors((5, 3)), labelled_batches(num_classes=3), partitions(num_samples=10))
    def test(scores, batches, shares): ...

A tensor is drawn as a few bytes rather than number by number, so thousands of examples are cheap. Everything shrinks
towards few samples, zeros and one process.
"""

from __future__ import annotations

import functools
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
        shape: an int, a shape, or a strategy for one.
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
def labelled_batches(
    draw: DrawFn,
    num_classes: int,
    *,
    scores: bool = True,
    out_of_range: bool = False,
    min_batches: int = 1,
    max_batches: int = 4,
    max_size: int = 6,
) -> list[tuple[Tensor, Tensor]]:
    """Batches (preds, targets) of uneven sizes, a batch of one among them, as a metric's `update` takes them.

    Args:
        num_classes: C; targets are int64 [N] in 0 to C - 1.
        scores: whether preds are float32 probabilities [N, C], multiples of 1/256, so that ties and exact sums are
            likely; else labels, int64 [N].
        out_of_range: whether labels may also be -1 or C.
        min_batches, max_batches, max_size: how many batches, and of how many samples at most.

    Examples:
        >>> from hypothesis import given
        >>> @given(labelled_batches(num_classes=3))
        ... def test(batches):
        ...     for preds, targets in batches:
        ...         assert preds.shape == (len(targets), 3) and targets.max() < 3
        >>> test()
    """
    low, high = (-1, num_classes) if out_of_range else (0, num_classes - 1)
    batches = []
    for _ in range(draw(st.integers(min_batches, max_batches))):
        n = draw(st.integers(1, max_size))
        labels = tensors(n, torch.int64, min_value=low, max_value=high)
        preds = draw(tensors((n, num_classes), torch.int64, max_value=256)) / 256 if scores else draw(labels)
        batches.append((preds, draw(labels)))
    return batches


@st.composite
def partitions(
    draw: DrawFn,
    num_samples: int,
    *,
    min_processes: int = 1,
    max_processes: int = 4,
    shuffled: bool = True,
    empty: bool = True,
    padded: bool = False,
    max_batch: int = 6,
) -> list[list[Tensor]]:
    """Ways to spread a data set: for each process its batches, each an int64 tensor of sample numbers.

    Every sample is in one batch of one process.

    Args:
        shuffled: whether samples may come in any order.
        empty: whether a process may go without samples.
        padded: whether samples are repeated at the end of shares until all are of one size, as a
            `DistributedSampler` does.
        max_batch: the most samples in a batch.

    Raises:
        ValueError: there are fewer samples than processes, and `empty=False` asks for one on each.

    Examples:
        >>> from hypothesis import given
        >>> @given(partitions(num_samples=10))
        ... def test(processes):
        ...     seen = [i for batches in processes for batch in batches for i in batch.tolist()]
        ...     assert sorted(seen) == list(range(10))
        >>> test()
    """
    processes = draw(st.integers(min_processes, max_processes))
    if num_samples < processes and not (empty or padded):
        raise ValueError(f"partitions: {num_samples} samples for {processes} processes, expected empty=True")
    order = draw(st.permutations(range(num_samples))) if shuffled else list(range(num_samples))
    if padded:
        size = -(-num_samples // processes)
        repeated = [order[i % num_samples] for i in range(size * processes)] if num_samples else []
        shares = [repeated[rank::processes] for rank in range(processes)]
    else:
        # Where each share begins, between the samples: with equal cuts, a process goes without.
        kept = num_samples if empty else num_samples - processes
        cuts = sorted(draw(st.integers(0, max(kept, 0))) for _ in range(processes - 1))
        least = 0 if empty else 1
        ends = [cut + least * (i + 1) for i, cut in enumerate(cuts)] + [num_samples]
        shares = [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [[torch.tensor(batch, dtype=torch.int64) for batch in _batches(draw, s, max_batch)] for s in shares]


def _batches(draw: DrawFn, samples: list[int], max_batch: int) -> list[list[int]]:
    batches = []
    while samples:
        size = draw(st.integers(1, max_batch))
        batches.append(samples[:size])
        samples = samples[size:]
    return batches
