"""Counting what a step is made of beside the gradients: parameters, what was changed of them, moments of the optimizer.

    items = [Item("weights/net.0.weight", parameter, parameter)]
    counted(count(items, LogHistogram()))                      # a `Counts`; waits for the device

    steps = count_shared(items, LogHistogram(), rank=0, world_size=2)     # of spread tensors, a coroutine

As in `read`, nothing looks at a value before it is on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.gradients.changes import wide
from lwcallbacks.gradients.read import dense
from lwcallbacks.gradients.sample import sample_of, stride_of
from lwcallbacks.gradients.shards import counts_here, local_of
from lwcallbacks.reductions import LogBins, LogHistogram
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.to_host import soon_on_host

MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg")
"""What an optimizer remembers of a parameter's gradients, as torch's own call it in their state."""


@dataclass(frozen=True, eq=False)
class Item:
    """A tensor to count.

    Attributes:
        name: what its counts are called; those of one name are added.
        tensor: None where there is none, though there may be on another process.
        like: the parameter that it belongs to, which says how it is spread over processes.
        kept: what `Kept` has of the tensor, for its change since then to be counted.
    """

    name: str
    tensor: Tensor | None
    like: Tensor
    kept: Tensor | None = None

    def local(self) -> Tensor | None:
        """What this process holds of what there is to count, real and dense, possibly empty."""
        if self.tensor is None:
            return None
        here = local_of(self.tensor, self.like)
        return dense(here) if self.kept is None else wide(sample_of(here)) - wide(self.kept)

    def weight(self) -> int:
        """How many elements each one of `local` stands for."""
        return 1 if self.tensor is None or self.kept is None else stride_of(local_of(self.tensor, self.like))


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts on the host: a row of `bins` for each of `names`."""

    names: tuple[str, ...]
    bins: FilledBins

    def seen(self, histogram: LogHistogram) -> dict[str, LogBins]:
        """By name; `histogram` is what has counted."""
        tables = map(torch.from_numpy, self.bins.tables())
        return {name: histogram.value({"counts": table}) for name, table in zip(self.names, tables, strict=True)}


@dataclass(frozen=True, eq=False)
class Counting:
    """Some items of one step. `finish` waits for the device."""

    finish: Callable[[], Counts]
    host_bytes: int = 0
    """What moves to the host."""
    nbytes: int = 0
    """Of host memory, until it is finished."""


# -- what there is to count --------------------------------------------------------------------------------------------


def weights(named: Iterable[tuple[Tensor, str]]) -> list[Item]:
    """The parameters as they are."""
    return [Item(f"weights/{name}", p.detach(), p) for p, name in named]


def updates(named: Iterable[tuple[Tensor, str]], before: Mapping[int, Tensor]) -> list[Item]:
    """What has changed of parameters that have a gradient, from what `Kept` has of them, by `id`."""
    return [
        Item(f"updates/{name}", None if kept is None or p.grad is None else p.detach(), p, kept)
        for p, name in named
        for kept in (before.get(id(p)),)
    ]


def moments(named: Iterable[tuple[Tensor, str]], optimizer: Any, *, shared: bool) -> list[Item]:
    """What the optimizer's state holds of `MOMENTS`, of the shape of its parameter.

    Args:
        shared: whether the names have to be the same on every process, whatever the state holds here: then they are
            those that the optimizer's settings tell.
    """
    told = {name for group in optimizer.param_groups for name in _told(group)}
    items = []
    for name in MOMENTS:
        for p, layer in named:
            found = optimizer.state.get(p, {}).get(name)
            fits = isinstance(found, Tensor) and found.shape == p.shape and _is_float(found)
            if fits or (shared and name in told):
                items.append(Item(f"{name}/{layer}", found.detach() if fits else None, p))
    return [item for item in items if not shared or item.name.partition("/")[0] in told]


def _told(group: Mapping[str, Any]) -> list[str]:
    """The moments that an optimizer of torch keeps for a group of such settings."""
    signs = {"betas": ("exp_avg", "exp_avg_sq"), "momentum": ("momentum_buffer",), "alpha": ("square_avg",)}
    return [name for sign, names in signs.items() if group.get(sign) for name in names]


def _is_float(x: Tensor) -> bool:
    return x.is_floating_point() or x.is_complex()


# -- counting it -------------------------------------------------------------------------------------------------------


def count(items: Sequence[Item], histogram: LogHistogram) -> list[Counting]:
    """Count tensors that are whole on this process: one `Counting` for each device."""
    local = [(item, x) for item in items if (x := item.local()) is not None and x.numel()]
    return [
        _of_device([pair for pair in local if pair[1].device == device], histogram)
        for device in dict.fromkeys(x.device for _, x in local)
    ]


def counted(countings: Sequence[Counting]) -> Counts | None:
    """All items of one step, those of one name added; None of none."""
    parts = [part for part in (counting.finish() for counting in countings) if part.names]
    return _grouped([name for part in parts for name in part.names], [part.bins for part in parts]) if parts else None


def _of_device(local: Sequence[tuple[Item, Tensor]], histogram: LogHistogram) -> Counting:
    tensors = [x for _, x in local]
    bins = histogram.lift_each(tensors)
    factors = np.array([item.weight() for item, _ in local])
    tables = len(local) * 4 * histogram.slots["counts"].size
    on_host = may_look(tensors[0])

    def finish() -> Counts:
        return Counts(tuple(item.name for item, _ in local), _times(bins(), factors))

    return Counting(
        finish,
        host_bytes=0 if tensors[0].device.type == "cpu" else tables,
        nbytes=bins().nbytes if on_host else tables,
    )


def _times(bins: FilledBins, factors: np.ndarray) -> FilledBins:
    return FilledBins(bins.mantissa_bits, bins.num_rows, bins.row, bins.slot, bins.count * factors[bins.row])


def _grouped(names: Sequence[str], bins: Sequence[FilledBins]) -> Counts:
    groups = {name: i for i, name in enumerate(dict.fromkeys(names))}
    together = FilledBins.below(bins)
    if len(groups) == len(names):
        return Counts(tuple(names), together)
    return Counts(tuple(groups), together.added(np.array([groups[name] for name in names]), len(groups)))


def count_shared(
    items: Sequence[Item], histogram: LogHistogram, *, rank: int, world_size: int
) -> Generator[Tensor, Tensor, Counting]:
    """Count tensors of which processes hold shards. Yields one tensor of integers, and is sent its sum over all.

    Its shape depends on the items, which are the same everywhere, and not on what a process holds of them. If one
    process cannot count its own, none has any, and that process raises after the sum.
    """
    device = next((local_of(item.like.detach(), item.like).device for item in items), None)
    size = histogram.slots["counts"].size
    dtype = torch.int64 if any(item.like.numel() >= 2**30 for item in items) else torch.int32
    zero, one = torch.zeros(1, dtype=dtype, device=device), torch.ones(1, dtype=dtype, device=device)
    there, counts = [zero] * len(items), torch.zeros((len(items), size), dtype=dtype, device=device)
    failure: Exception | None = None
    try:
        there = [zero if item.tensor is None else one for item in items]
        held = {i: x for i, item in enumerate(items) if (x := _held(item, rank, device)) is not None}
        if held:
            tables = histogram.tables(list(held.values())).to(dtype)
            torch._foreach_mul_(list(tables.unbind()), [items[i].weight() for i in held])
            place = {i: k for k, i in enumerate(held)}
            counts = torch.stack([tables[place[i]] if i in place else counts[i] for i in range(len(items))])
    except Exception as error:
        failure = error
    pack = torch.cat([*there, zero if failure is None else one, counts.flatten()])
    summed = yield pack
    if failure is not None:
        raise failure
    arrived = soon_on_host(summed)

    def finish() -> Counts:
        flags, tables = np.split(arrived().numpy(), [len(items) + 1])
        chosen = np.flatnonzero(flags[:-1]) if not flags[-1] else np.zeros(0, int)
        found = FilledBins.of_tables(histogram.mantissa_bits, tables.reshape(len(items), size)[chosen])
        return Counts(tuple(items[i].name for i in chosen.tolist()), found)

    nbytes = pack.numel() * pack.element_size()
    return Counting(finish, host_bytes=0 if pack.device.type == "cpu" else nbytes, nbytes=nbytes)


def _held(item: Item, rank: int, device: torch.device | None) -> Tensor | None:
    local = item.local()  # on every process: some may have to meet for it
    return None if local is None or not local.numel() or not counts_here(item.like, rank) else local.to(device)
