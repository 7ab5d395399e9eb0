"""Which indices of a data set a batch holds, by the loader's own arithmetic; and which of them are padding.

    layout = layout_of(loader)                 # None where it cannot be known
    drawn = layout.drawn(3)                    # of the loader's fourth batch: start, size, counted
    layout.ids(drawn.start, drawn.counted, device)    # their positions in the data set

An index is what a sampler drew. A batch may hold more or fewer rows than indices: tokens, crops, graph nodes, samples
that a collate function drops. So indices are never counted by rows: batch k of a loader with batch size b holds
`min(b, n - k * b)` of the process's n indices, and one where the data set gives ready-made batches.

A `DistributedSampler` repeats samples so that every process gets equally many. It appends them after the permutation,
so the repeats are the tail of each process's share: plain arithmetic on the host, no mask, no wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler


@dataclass(frozen=True)
class Drawn:
    """The indices of one batch: `size` of them from the process's index `start` on; the first `counted` are no
    padding."""

    start: int
    size: int
    counted: int


@dataclass(frozen=True)
class Layout:
    """Index number `i` of this process is number `rank + i * num_replicas` of `num_samples`."""

    num_samples: int
    batch_size: int | None
    """None where the data set gives ready-made batches, one for each index."""
    share: int
    """How many indices this process draws in an epoch, padding included."""
    in_order: bool
    """Whether those numbers are positions in the data set (else: in some permutation of it)."""
    rank: int = 0
    num_replicas: int = 1
    num_dropped: int = 0
    """Samples that no process is given, so that shares are equal."""
    is_dealt: bool = False
    """Whether the sampler deals its indices to the processes; else each process draws all of them."""

    def drawn(self, batch: int) -> Drawn:
        """The indices of batch number `batch`, counted from the loader's own start. A loader that has come to its end
        begins again."""
        size = self.batch_size or 1
        start = batch % max(1, -(-self.share // size)) * size
        size = min(size, self.share - start)
        own = -(-(self.num_samples - self.rank) // self.num_replicas)
        return Drawn(start, size, max(0, min(size, own - start)))

    def ids(self, start: int, size: int, device: torch.device) -> Tensor | None:
        """Positions in the data set, int64 [size]; None where only the sampler knows them."""
        if not self.in_order:
            return None
        return self.rank + self.num_replicas * torch.arange(start, start + size, device=device)


def layout_of(loader: Any) -> Layout | None:
    """The layout of a torch DataLoader over a map-style data set with torch's or Lightning's own samplers.

    None for iterable data, batch samplers and samplers of one's own, loaders that iterate in a way of their own, and
    `DataLoader(in_order=False)`: what these draw, or in which order, only they know. In order are `SequentialSampler`,
    `DistributedSampler(shuffle=False)`, and Lightning's wrapper of a sampler that is.
    """
    if not isinstance(loader, DataLoader) or not _is_known(loader):
        return None
    if loader.num_workers and not getattr(loader, "in_order", True):
        return None
    batch_sampler = _unwrapped(loader.batch_sampler)
    if batch_sampler is not None and type(batch_sampler) is not BatchSampler:
        return None
    sampler = _asked(loader)
    if not _is_known(sampler) or not hasattr(sampler, "__len__"):
        return None
    batch_size = None if batch_sampler is None else batch_sampler.batch_size
    share = len(sampler)
    if batch_sampler is not None and batch_sampler.drop_last:
        share -= share % batch_sampler.batch_size
    if isinstance(sampler, DistributedSampler):
        length = len(sampler.dataset)  # type: ignore[arg-type]  # torch types a Dataset without its __len__
        dropped = max(0, length - sampler.total_size)
        in_order = _goes_in_order(sampler)
        return Layout(
            length, batch_size, share, in_order, sampler.rank, sampler.num_replicas, dropped, sampler.num_replicas > 1
        )
    return Layout(share, batch_size, share, type(sampler) is SequentialSampler)


def indices_of(loader: Any, batch: int) -> list[int] | None:
    """Positions in the data set of what this process drew for batch number `batch`, padding included; None where only
    the sampler knows them. A `DistributedSampler` shuffles by its seed and epoch, and says the same again; so does
    Lightning's around one that goes in order, which Lightning 1 shuffles in training all the same.

    >>> indices_of(DataLoader(range(10), 4), 2), indices_of(DataLoader(range(10), 4, shuffle=True), 2)
    ([8, 9], None)
    """
    layout = layout_of(loader)
    if layout is None:
        return None
    drawn = layout.drawn(batch)
    if _says_it_again(sampler := _asked(loader)):
        return list(DistributedSampler.__iter__(sampler))[drawn.start : drawn.start + drawn.size]
    ids = layout.ids(drawn.start, drawn.size, torch.device("cpu"))
    return None if ids is None else (ids % layout.num_samples).tolist()


_KNOWN = ("torch.utils.data.", "lightning_fabric.", "pytorch_lightning.", "lightning.")


def _is_known(iterable: Any) -> bool:
    """Whether torch or Lightning wrote how it iterates, and how long it is."""
    for method in ("__iter__", "__len__"):
        owner = next((cls for cls in type(iterable).__mro__ if method in vars(cls)), None)
        if owner is not None and not f"{owner.__module__}.".startswith(_KNOWN):
            return False
    return True


def _asked(loader: Any) -> Any:
    """The sampler that is asked. A loader that was given a batch sampler has another one of its own, which is not."""
    batch_sampler = _unwrapped(loader.batch_sampler)
    return loader.sampler if batch_sampler is None else batch_sampler.sampler


def _unwrapped(batch_sampler: Any) -> Any:
    """Lightning wraps the plain batch sampler in a class of its own while it fits, and in another while it predicts."""
    for name in ("_sampler", "_batch_sampler"):
        if _is_lightnings(batch_sampler):
            batch_sampler = getattr(batch_sampler, name, batch_sampler)
    return batch_sampler


def _goes_in_order(sampler: DistributedSampler[Any]) -> bool:
    return not sampler.shuffle and type(_wrapped(sampler)) in (type(None), SequentialSampler)


def _says_it_again(sampler: Any) -> bool:
    is_wrapper = type(sampler).__bases__ == (DistributedSampler,)
    return type(sampler) is DistributedSampler or (is_wrapper and type(_wrapped(sampler)) is SequentialSampler)


def _wrapped(sampler: DistributedSampler[Any]) -> Any:
    """The sampler whose order Lightning's wrapper distributes."""
    return getattr(sampler.dataset, "_sampler", None) if _is_lightnings(sampler.dataset) else None


def _is_lightnings(value: Any) -> bool:
    return f"{type(value).__module__}.".startswith(_KNOWN[1:])
