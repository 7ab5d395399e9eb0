"""How a data set is cut into batches, and spread over processes.

pairs = batches_of(lambda draw, n: (draw(floats32(n)), draw(floats32(n))))      # lists of batches of uneven sizes
shares = partitions(num_samples=10)                                             # the batches of each process
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from lwcallbacks.testing.samples import Args, take

Samples: TypeAlias = Callable[[DrawFn, int], Args]
"""Draws n samples, as the arguments of one update."""


@st.composite
def batches_of(
    draw: DrawFn,
    samples: Samples,
    *,
    min_batches: int = 1,
    max_batches: int = 4,
    min_size: int = 1,
    max_size: int = 6,
) -> list[Any]:
    """Lists of batches of uneven sizes, a batch of one among them, of any kind of samples.

    Args:
        samples: `samples(draw, n)` draws n samples and returns the arguments of one update with all of them: a tuple
            in which dimension 0 of tensors and the items of lists, also in dicts, are the samples. What is true
            of a whole data set (one class only, a constant) can be drawn here.
        min_batches, max_batches: how many batches.
        min_size, max_size: of how many samples.

    Examples:
        >>> from hypothesis import given
        >>> from lwcallbacks.testing import floats32, grid
        >>> def samples(draw, n):
        ...     return {"image": draw(floats32((n, 2, 2))), "score": draw(grid(n))},
        >>> @given(batches_of(samples, max_size=3))
        ... def test(batches):
        ...     for (batch,) in batches:
        ...         assert len(batch["image"]) == len(batch["score"]) <= 3
        >>> test()
    """
    if not (0 <= min_batches <= max_batches and 1 <= min_size <= max_size):
        found = f"{min_batches} to {max_batches} batches of {min_size} to {max_size} samples"
        raise ValueError(f"batches_of: {found}, expected 0 <= min_batches <= max_batches and 1 <= min_size <= max_size")
    sizes = draw(st.lists(st.integers(min_size, max_size), min_size=min_batches, max_size=max_batches))
    if not sizes:
        return []
    # One sample of four is left out, and a batch with it where it has no other. This is for shrinking: a zero byte
    # removes any one sample of an example, where another size would shift all that come after it.
    kept = [byte % 4 > 0 for byte in draw(st.binary(min_size=sum(sizes), max_size=sum(sizes)))]
    everything = samples(draw, sum(sizes))
    batches, start, spare = [], 0, len(sizes) - min_batches
    for size in sizes:
        numbers = range(start, start + size)
        start += size
        chosen = [i for i in numbers if kept[i]]
        if not chosen and spare:
            spare -= 1
            continue
        needed = max(0, min_size - len(chosen))
        batches.append(take(everything, sorted(chosen + [i for i in numbers if not kept[i]][:needed])))
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
