"""Take batches apart into samples and put samples together again, whatever the arguments of an update are.

    args = join([(preds_a, targets_a), (preds_b, targets_b)])     # one batch of all samples
    take(args, [0, 2])                                            # samples 0 and 2 of it

Samples are counted by dimension 0 of tensors, and by the length of lists (of strings, of dictionaries). Arguments of
another length, and those that are neither, belong to the batch and are the same for all its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.testing.same import difference

Args: TypeAlias = Any
"""Arguments of an update: a tuple or a dict of them, or either of those nested (as `Product` takes them)."""


class Indivisible(Exception):
    """These arguments cannot be taken apart into samples."""


def leaves(args: Args) -> list[Any]:
    """What is in tuples and dicts, depth first."""
    if isinstance(args, tuple | dict):
        return [leaf for part in (args.values() if isinstance(args, dict) else args) for leaf in leaves(part)]
    return [args]


def rebuilt(args: Args, change: Callable[[Any], Any]) -> Args:
    """The same tuples and dicts around changed leaves."""
    if isinstance(args, dict):
        return {name: rebuilt(part, change) for name, part in args.items()}
    if isinstance(args, tuple):
        return tuple(rebuilt(part, change) for part in args)
    return change(args)


def _is_sequence(leaf: Any) -> bool:
    return (isinstance(leaf, Tensor) and leaf.ndim > 0) or isinstance(leaf, list)


def count(args: Args) -> int:
    """How many samples there are.

    Raises:
        Indivisible: there is no tensor of a dimension, and no list.
    """
    for leaf in leaves(args):
        if _is_sequence(leaf):
            return len(leaf)
    raise Indivisible("the arguments have neither a tensor with a dimension of samples nor a list")


def num_samples(batches: Sequence[Args]) -> int:
    """How many samples there are in all batches; 0 where one of these is not made of samples."""
    try:
        return sum(map(count, batches))
    except Indivisible:
        return 0


def take(args: Args, index: Sequence[int]) -> Args:
    """The samples at `index`, in that order, in new tensors."""
    n = count(args)

    def taken(leaf: Any) -> Any:
        if not _is_sequence(leaf) or len(leaf) != n:
            return leaf
        if isinstance(leaf, Tensor):
            return leaf[torch.tensor(index, dtype=torch.int64)]
        return [leaf[i] for i in index]

    return rebuilt(args, taken)


def join(batches: Sequence[Args]) -> Args:
    """One batch of all samples.

    Raises:
        Indivisible: what belongs to a batch differs between batches, or tensors do not fit together.
    """
    counts = [count(args) for args in batches]
    columns = iter(zip(*(leaves(args) for args in batches), strict=True))

    def joined(leaf: Any) -> Any:
        column = next(columns)
        if all(_is_sequence(part) and len(part) == n for part, n in zip(column, counts, strict=True)):
            if not isinstance(leaf, Tensor):
                return [sample for part in column for sample in part]
            if len({part.shape[1:] for part in column}) > 1:
                raise Indivisible(f"batches have tensors of shapes {sorted({tuple(p.shape) for p in column})}")
            return torch.cat(column)
        if any(difference(part, leaf) for part in column):
            raise Indivisible("batches have different arguments that are not made of samples")
        return leaf

    return rebuilt(batches[0], joined)


def backwards(batches: Sequence[Args]) -> Args:
    """One batch of all samples, the last one first.

    Raises:
        Indivisible: there is no such thing.
    """
    samples = join(batches)
    return take(samples, range(count(samples))[::-1])


def pieces(args: Args, sizes: Sequence[int]) -> list[Args]:
    """Cut into batches of these sizes, whose sum is the number of samples."""
    parts, start = [], 0
    for size in sizes:
        parts.append(take(args, range(start, start + size)))
        start += size
    return parts


def cut_evenly(args: Args, size: int) -> list[Args]:
    """Batches of that size, the last one with what is left over; of fewer samples, the one batch that there is."""
    n = count(args)
    return pieces(args, [*[size] * (n // size - 1), size + n % size]) if n >= size else [args]


def copied(args: Args) -> Args:
    """Tensors and lists of their own, as far as an update could write into them."""

    def copy(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return leaf.clone()
        if isinstance(leaf, list):
            return [rebuilt(item, copy) for item in leaf]
        return leaf

    return rebuilt(args, copy)


def on_device(args: Args, device: torch.device) -> Args:
    """The same with every tensor on a device."""

    def move(leaf: Any) -> Any:
        if isinstance(leaf, list):
            return [rebuilt(item, move) for item in leaf]
        return leaf.to(device) if isinstance(leaf, Tensor) else leaf

    return rebuilt(args, move)


def in_float64(value: Any) -> Any:
    """The same with every tensor of floats of fewer bits in float64, in lists of batches, too."""

    def double(leaf: Any) -> Any:
        if isinstance(leaf, list):
            return [in_float64(item) for item in leaf]
        return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return rebuilt(value, double)
