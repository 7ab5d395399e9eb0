"""Which samples of a batch count, and which sample each one is: by position, where the sampler tells.

    layout = layout_of(loader)                 # None where it cannot be known
    layout.num_counted(start, size)            # the first so many of the batch are samples, the rest is padding
    layout.ids(start, size, device)            # their positions in the data set

A `DistributedSampler` repeats samples so that every process gets equally many. It appends them after the
permutation, so the repeats are the tail of each process's share: plain arithmetic on the host, no mask, no wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, SequentialSampler


@dataclass(frozen=True)
class Layout:
    """Sample number `i` of this process is number `rank + i * num_replicas` of `num_samples`."""

    num_samples: int
    rank: int = 0
    num_replicas: int = 1
    in_order: bool = True
    """Whether those numbers are positions in the data set (else: in some permutation of it)."""
    num_dropped: int = 0
    """Samples that no process is given, so that shares are equal."""

    def num_counted(self, start: int, size: int) -> int:
        """How many of the `size` samples from this process's sample `start` on are no padding: a prefix."""
        share = -(-(self.num_samples - self.rank) // self.num_replicas)
        return max(0, min(size, share - start))

    def ids(self, start: int, size: int, device: torch.device) -> Tensor | None:
        """Positions in the data set, int64 [size]; None where only the sampler knows them."""
        if not self.in_order:
            return None
        return self.rank + self.num_replicas * torch.arange(start, start + size, device=device)


def layout_of(loader: Any) -> Layout | None:
    """The layout of a torch DataLoader; None for iterable data, custom batch samplers and anything else.

    In order are `SequentialSampler` and `DistributedSampler(shuffle=False)`. Subclasses of `DistributedSampler` are
    taken to pad like it, but to be in order only if they do not override `__iter__`, or are Lightning's wrapper of a
    sampler that is.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return None
    batch_sampler = loader.batch_sampler
    # Lightning wraps the plain batch sampler in a class of its own while it fits, and in another while it predicts;
    # what counts is the sampler within.
    for name in ("_sampler", "_batch_sampler"):
        batch_sampler = getattr(batch_sampler, name, batch_sampler)
    if batch_sampler is not None and type(batch_sampler) is not BatchSampler:
        return None
    # A loader that was given a batch sampler has another sampler of its own, which nobody asks.
    sampler = loader.sampler if batch_sampler is None else batch_sampler.sampler
    if isinstance(sampler, DistributedSampler):
        length = len(sampler.dataset)  # type: ignore[arg-type]  # torch types a Dataset without its __len__
        dropped = max(0, length - sampler.total_size)
        return Layout(length, sampler.rank, sampler.num_replicas, _goes_in_order(sampler), dropped)
    if type(sampler) is SequentialSampler:
        return Layout(len(sampler))
    return None


def _goes_in_order(sampler: DistributedSampler[Any]) -> bool:
    # What Lightning's wrapper distributes is the order of another sampler.
    wrapped = getattr(sampler.dataset, "_sampler", None)
    plain = type(sampler).__iter__ is DistributedSampler.__iter__
    return not sampler.shuffle and (plain if wrapped is None else type(wrapped) is SequentialSampler)
