"""Nested data in shares: cut along the samples, and put together again in their order.

    shares = scatter({"x": x, "names": names}, 3)      # 7 samples: shares.sizes == [3, 3, 1]
    gather(shares.parts, shares.sizes)                 # {"x": x, "names": names} again

Data is nested in mappings, lists, tuples, named tuples and dataclasses. How one tensor is cut and joined is an
argument, for it depends on the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.capture.tree import Container, open_container

Split: TypeAlias = Callable[[Tensor, int], Sequence[Tensor]]
"""Cut a tensor into n shares: along its first dimension as `torch.chunk` does; a scalar is copied n times."""

Join: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""Concatenate tensors of rank 1 or more along their first dimension."""


def split_here(tensor: Tensor, n: int) -> Sequence[Tensor]:
    """`Split` on the tensor's own device."""
    return tensor.chunk(n) if tensor.ndim else [tensor] * n


def join_here(tensors: Sequence[Tensor]) -> Tensor:
    """`Join` on the tensors' own device."""
    return torch.cat(list(tensors))


class Shares(NamedTuple):
    """What `scatter` makes of a batch."""

    parts: list[Any]
    """One batch for each replica."""

    sizes: list[int]
    """How many samples each of them has."""

    leaves: list[tuple[Tensor, Sequence[Tensor]]]
    """Each tensor of the batch with its shares."""

    def original(self, parts: Sequence[Any]) -> Tensor | None:
        """The batch's tensor that these are the shares of; None if they are something else."""
        return next((whole for whole, shares in self.leaves if _same_objects(parts, shares)), None)


def scatter(batch: Any, num_shares: int, split: Split = split_here) -> Shares:
    """Cut a batch into at most `num_shares` shares of equal size, but for a smaller last one.

    Tensors are cut along their first dimension, and lists and tuples of one string per sample, which are what a
    DataLoader makes of strings. Everything else goes to every share as it is. A batch of fewer samples makes fewer
    shares; one without any tensor that has samples makes one.

    Raises:
        ValueError: tensors of the batch differ in their number of samples.

    Examples:
        >>> shares = scatter({"x": torch.arange(5), "names": ["a", "b", "c", "d", "e"]}, 2)
        >>> shares.sizes
        [3, 2]
        >>> shares.parts[1]
        {'x': tensor([3, 4]), 'names': ['d', 'e']}
    """
    rows = {path: len(tensor) for path, tensor in _tensors(batch, "batch") if tensor.ndim}
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{size} in {path}" for path, size in rows.items())
        raise ValueError(
            f"DataParallelStrategy cuts each tensor of a batch along its first dimension; found {found}, expected one "
            "number of samples. What every replica needs as a whole cannot be a tensor with dimensions: keep it on the "
            "module as a buffer, or let the batch have it as a NumPy array or a list"
        )
    if not rows:
        return Shares([batch], [1], [])
    total = next(iter(rows.values()))
    step = max(1, -(-total // num_shares))
    bounds = [(start, min(start + step, total)) for start in range(0, total, step)] or [(0, 0)]
    leaves: list[tuple[Tensor, Sequence[Tensor]]] = []

    def cut(value: Any) -> Sequence[Any]:
        if isinstance(value, Tensor):
            leaves.append((value, split(value, len(bounds))))
            return leaves[-1][1]
        if _has_string_per_sample(value, total):
            return [value[start:stop] for start, stop in bounds]
        container = open_container(value)
        if container is None:
            return [value] * len(bounds)
        inside = [(part, cut(part)) for part in container.parts.values()]
        if all(_same_objects(shares, [part] * len(bounds)) for part, shares in inside):
            return [value] * len(bounds)
        return [container.build(parts) for parts in zip(*(shares for _, shares in inside), strict=True)]

    return Shares(list(cut(batch)), [stop - start for start, stop in bounds], leaves)


def gather(
    outputs: Sequence[Any],
    sizes: Sequence[int],
    join: Join = join_here,
    *,
    average: bool = True,
    path: str = "output",
) -> Any:
    """Put together what the replicas made of their shares.

    ============================================ ==========================================================
    In each replica                              Gathered
    ============================================ ==========================================================
    tensor with dimensions                       concatenated along the first one
    scalar tensor                                one per replica, a tensor [n]
    list or tuple of one string per sample       concatenated
    anything else without tensors                that value, if the replicas agree; else the list of theirs
    mapping, list, tuple, dataclass              one like it, of what its parts are gathered to
    ============================================ ==========================================================

    With `average`, a scalar tensor of floats and a Python float become the mean over the samples: replicas weigh as
    many samples as they had.

    Args:
        outputs: one per replica, in the order of the shares.
        sizes: how many samples each replica had.
        join: how tensors are concatenated.
        average: see above.
        path: how the outputs are called in an error.

    Raises:
        ValueError: the replicas' outputs do not fit together.

    Examples:
        >>> gather([{"preds": torch.tensor([0, 1]), "loss": 1.0}, {"preds": torch.tensor([2]), "loss": 4.0}], [2, 1])
        {'preds': tensor([0, 1, 2]), 'loss': 2.0}
    """
    first = outputs[0]
    if isinstance(first, Tensor) and all(isinstance(output, Tensor) for output in outputs):
        return _gather_tensors(outputs, sizes, join, average, path)
    if all(output is first for output in outputs) and not any(_tensors(first, path)):
        return first
    if all(_has_string_per_sample(output, size) for output, size in zip(outputs, sizes, strict=True)):
        return type(first)(string for output in outputs for string in output)
    containers = [container for container in map(open_container, outputs) if container is not None]
    if len(containers) == len(outputs) and _alike(outputs, containers):
        parts = ((key, [container.parts[key] for container in containers]) for key in containers[0].parts)
        return containers[0].build(
            [gather(part, sizes, join, average=average, path=f"{path}[{key!r}]") for key, part in parts]
        )
    if any(any(_tensors(output, path)) for output in outputs):
        raise ValueError(
            f"replicas returned unlike values as {path}: {', '.join(map(_describe, outputs))}; expected values of one "
            "type, with the same keys or of the same length"
        )
    if all(_agree(first, output) for output in outputs):
        return first
    if average and all(isinstance(output, float) for output in outputs):
        return weighted_mean(outputs, sizes)
    return list(outputs)


def weighted_mean(values: Sequence[Any], weights: Sequence[float]) -> Any:
    """Mean of numbers or tensors of one shape; keeps gradients, and does not wait for the device."""
    # What stands for no sample is left out, for it may be NaN. A value on its own stays as it is, to the bit.
    counted = [(v, w) for v, w in zip(values, weights, strict=True) if w] or [(v, 1) for v in values]
    if len(counted) == 1:
        return counted[0][0]
    total = sum(weight for _, weight in counted)
    return sum(value * (weight / total) for value, weight in counted)


def _gather_tensors(tensors: Sequence[Tensor], sizes: Sequence[int], join: Join, average: bool, path: str) -> Tensor:
    ranks = {tensor.ndim for tensor in tensors}
    if ranks == {0}:
        stacked = join([tensor.reshape(1) for tensor in tensors])
        is_number = stacked.is_floating_point() or stacked.is_complex()
        mean: Tensor = weighted_mean(stacked.unbind(), sizes) if average and is_number else stacked
        return mean
    if len(ranks) > 1 or len({tensor.shape[1:] for tensor in tensors}) > 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(
            f"replicas returned tensors of unlike shapes as {path}: {shapes}; expected them to differ in their first "
            "dimension at most. Pad them to one size in the step, or return something that has one size"
        )
    return join(tensors)


def _tensors(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif (container := open_container(value)) is not None:
        for key, part in container.parts.items():
            yield from _tensors(part, f"{path}[{key!r}]")


def _has_string_per_sample(value: Any, num_samples: int) -> bool:
    # No more than strings: of (224, 224) in a batch of two samples nobody knows what it is.
    return (
        type(value) in (list, tuple)
        and len(value) == num_samples
        and all(isinstance(entry, (str, bytes)) for entry in value)
    )


def _same_objects(values: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(values) == len(others) and all(a is b for a, b in zip(values, others, strict=True))


def _agree(value: Any, other: Any) -> bool:
    if value is other:
        return True
    try:
        return type(value) is type(other) and bool(value == other)
    except Exception:  # such as arrays, which compare to arrays
        return False


def _alike(values: Sequence[Any], containers: Sequence[Container]) -> bool:
    return all(type(value) is type(values[0]) for value in values) and all(
        container.parts.keys() == containers[0].parts.keys() for container in containers
    )


def _describe(value: Any) -> str:
    container = open_container(value)
    if container is None:
        return type(value).__name__
    return f"{type(value).__name__} of {list(container.parts)}"
