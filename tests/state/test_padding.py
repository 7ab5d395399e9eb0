"""Which samples count, and which sample is which, told from the sampler alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
from support.versions import IndexBatchSampler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from lwcallbacks.state.padding import layout_of


class Numbers(Dataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "world_size", "batch_size"), [(101, 2, 8), (1, 4, 3), (7, 3, 1), (12, 4, 5), (3, 8, 2)])
def test_every_sample_counts_at_most_once_over_all_processes(
    n: int, world_size: int, batch_size: int, shuffle: bool, drop_last: bool
) -> None:
    """What is counted over all processes is each sample once; with drop_last those that were not dropped."""
    counted: list[int] = []
    delivered: set[int] = set()
    for rank in range(world_size):
        sampler = DistributedSampler(Numbers(n), world_size, rank, shuffle=shuffle, drop_last=drop_last)
        loader = DataLoader(Numbers(n), batch_size, sampler=sampler)
        layout, start = layout_of(loader), 0
        assert layout is not None
        for batch in loader:
            keep = layout.num_counted(start, len(batch))
            counted += batch[:keep].tolist()
            delivered |= set(batch.tolist())
            ids = layout.ids(start, keep, torch.device("cpu"))
            assert shuffle == (ids is None)
            assert shuffle or torch.equal(ids, batch[:keep])
            start += len(batch)
    assert sorted(counted) == sorted(delivered)
    assert drop_last or sorted(counted) == list(range(n))
    assert layout.num_dropped == n - len(delivered)


def test_a_subclass_that_orders_its_own_way_gives_no_positions() -> None:
    """Its padding is still cut off, but only it knows which sample is which."""

    class Backwards(DistributedSampler):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return reversed(list(super().__iter__()))

    data = Numbers(5)
    layout = layout_of(DataLoader(data, 2, sampler=Backwards(data, 2, 0, shuffle=False)))
    assert layout is not None
    assert layout.ids(0, 2, torch.device("cpu")) is None


class Stream(IterableDataset):
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(range(3))


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Stream(), 2),
        DataLoader(Numbers(5), 2, sampler=RandomSampler(Numbers(5))),
        DataLoader(Numbers(5), batch_sampler=type("Own", (BatchSampler,), {})(SequentialSampler(Numbers(5)), 2, False)),
        [1, 2, 3],
    ],
    ids=["iterable", "random", "own batch sampler", "no DataLoader"],
)
def test_nothing_is_claimed_where_it_cannot_be_known(loader: object) -> None:
    """No layout: every sample counts, and samples are known by their content."""
    assert layout_of(loader) is None


@pytest.mark.parametrize("predicts", [False, True])
@pytest.mark.parametrize(("n", "world_size"), [(41, 3), (12, 4), (5, 4)])
def test_what_lightning_makes_of_a_loader(n: int, world_size: int, predicts: bool) -> None:
    """While it predicts it deals without repeats, by a batch sampler of its own: each sample counts once."""
    from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSamplerWrapper

    seen = []
    for rank in range(world_size):
        wrapper = UnrepeatedDistributedSamplerWrapper if predicts else DistributedSamplerWrapper
        sampler = wrapper(SequentialSampler(Numbers(n)), num_replicas=world_size, rank=rank, shuffle=False)
        batches: Any = BatchSampler(sampler, 4, drop_last=False)
        loader = DataLoader(Numbers(n), batch_sampler=IndexBatchSampler(batches) if predicts else batches)
        layout, start = layout_of(loader), 0
        assert layout is not None
        for batch in loader:
            keep = layout.num_counted(start, len(batch))
            ids = layout.ids(start, keep, torch.device("cpu"))
            assert ids is not None
            assert torch.equal(ids, batch[:keep])
            seen += ids.tolist()
            start += len(batch)
    assert sorted(seen) == list(range(n))


def test_a_batch_sampler_is_asked_and_not_the_loader() -> None:
    """A DistributedSampler in a batch sampler of the user's own making is seen; one that shuffles gives no places."""
    for shuffle in (False, True):
        sampler = DistributedSampler(Numbers(10), 3, 1, shuffle=shuffle)
        layout = layout_of(DataLoader(Numbers(10), batch_sampler=BatchSampler(sampler, 2, drop_last=False)))
        assert layout is not None
        assert (layout.num_samples, layout.rank, layout.num_replicas, layout.in_order) == (10, 1, 3, not shuffle)
    shuffled = DistributedSamplerWrapper(RandomSampler(Numbers(10)), num_replicas=3, rank=1, shuffle=False)
    layout = layout_of(DataLoader(Numbers(10), 2, sampler=shuffled))
    assert layout is not None
    assert not layout.in_order
