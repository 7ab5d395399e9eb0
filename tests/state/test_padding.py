"""Which samples count, and which sample is which, told from the sampler alone."""

from __future__ import annotations

import inspect
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
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lwcallbacks.state.padding import Layout, indices_of, layout_of

CPU = torch.device("cpu")


class Numbers(Dataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> int:
        return i


def drawn(loader: Any) -> list[tuple[list[int], int, list[int] | None]]:
    """For each batch of a loader what it holds, how many of it count, and their positions, as the layout says.

    That a batch holds as many indices as the layout says is asserted here.
    """
    layout = layout_of(loader)
    assert layout is not None
    batches = []
    for k, batch in enumerate(loader):
        indices = batch.reshape(-1).tolist()
        told = layout.drawn(k)
        assert told.size == len(indices)
        ids = layout.ids(told.start, told.counted, CPU)
        batches.append((indices, told.counted, None if ids is None else ids.tolist()))
    return batches


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 8])
@pytest.mark.parametrize(("n", "world_size"), [(101, 2), (1, 4), (7, 3), (12, 4), (3, 8), (5, 1)])
def test_every_sample_counts_at_most_once_over_all_processes(
    n: int, world_size: int, batch_size: int | None, shuffle: bool, drop_last: bool
) -> None:
    """What is counted over all processes is each sample once; with drop_last those that were not dropped."""
    counted: list[int] = []
    delivered: set[int] = set()
    for rank in range(world_size):
        sampler = DistributedSampler(Numbers(n), world_size, rank, shuffle=shuffle, drop_last=drop_last)
        loader = DataLoader(Numbers(n), batch_size, sampler=sampler, collate_fn=torch.as_tensor)
        layout = layout_of(loader)
        assert layout is not None
        assert layout.is_dealt == (world_size > 1)
        for batch, keep, ids in drawn(loader):
            counted += batch[:keep]
            delivered |= set(batch)
            assert shuffle == (ids is None)
            assert shuffle or ids == batch[:keep]
        assert layout.num_dropped == (max(0, n - sampler.total_size) if drop_last else 0)
    assert sorted(counted) == sorted(delivered)
    assert drop_last or sorted(counted) == list(range(n))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    "sampler",
    [
        SequentialSampler(Numbers(11)),
        RandomSampler(Numbers(11)),
        RandomSampler(Numbers(11), replacement=True, num_samples=7),
        SubsetRandomSampler(range(3, 9)),
        WeightedRandomSampler([1.0] * 11, 5),
    ],
    ids=["sequential", "random", "with replacement", "subset", "weighted"],
)
def test_the_number_of_indices_is_exact_for_the_samplers_of_torch(sampler: Any, drop_last: bool) -> None:
    """Of one process, all count; only a sequential one tells positions."""
    batches = drawn(DataLoader(Numbers(11), 4, sampler=sampler, drop_last=drop_last))
    assert all(counted == len(indices) for indices, counted, _ in batches)
    in_order = type(sampler) is SequentialSampler
    assert all(ids == (indices if in_order else None) for indices, _, ids in batches)


def test_a_loader_that_begins_again_has_the_same_batches() -> None:
    """As under a CombinedLoader that cycles."""
    layout = Layout(num_samples=7, batch_size=3, share=7, in_order=True)
    assert [layout.drawn(k).size for k in range(6)] == [3, 3, 1, 3, 3, 1]
    assert [layout.drawn(k).start for k in range(6)] == [0, 3, 6, 0, 3, 6]
    one = Layout(num_samples=3, batch_size=3, share=3, in_order=True)
    assert [one.drawn(k).start for k in range(2)] == [0, 0]
    full = layout_of(DataLoader(Numbers(7), 3, drop_last=True))
    assert full is not None
    assert [full.drawn(k).start for k in range(4)] == [0, 3, 0, 3]


class Backwards(DistributedSampler):
    def __iter__(self):  # type: ignore[no-untyped-def]
        return reversed(list(super().__iter__()))


class Named:
    """It only happens to have the attributes of a distributed sampler and of Lightning's wrappers."""

    rank, num_replicas, shuffle, drop_last, batch_size, total_size = 0, 2, False, False, 2, 6

    def __init__(self) -> None:
        self._sampler = self._batch_sampler = self.sampler = DistributedSampler(Numbers(5), 2, 0, shuffle=False)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter([[4, 3], [2]])

    def __len__(self) -> int:
        return 2


class Stream(IterableDataset):
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(range(3))


class Own(Sampler):
    def __init__(self) -> None:
        pass

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter([3, 1])

    def __len__(self) -> int:
        return 2


class Repeats(DataLoader):
    def __iter__(self):  # type: ignore[no-untyped-def]
        yield from super().__iter__()
        yield from super().__iter__()


HAS_ORDER = "in_order" in inspect.signature(DataLoader.__init__).parameters  # from torch 2.6 on


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Stream(), 2),
        lambda: DataLoader(Numbers(5), batch_sampler=type("Mine", (BatchSampler,), {})(Own(), 2, False)),
        lambda: DataLoader(Numbers(5), batch_sampler=Named()),
        lambda: DataLoader(Numbers(5), 2, sampler=Own()),
        lambda: DataLoader(Numbers(5), 2, sampler=Backwards(Numbers(5), 2, 0, shuffle=False)),
        lambda: Repeats(Numbers(5), 2),
        lambda: DataLoader(Numbers(5), 2, num_workers=2, in_order=False) if HAS_ORDER else [],
        lambda: [1, 2, 3],
    ],
    ids=[
        "iterable", "own batch sampler", "own class of that name", "own sampler", "own order", "own loader",
        "out of order", "no DataLoader",
    ],
)  # fmt: skip
def test_nothing_is_claimed_where_it_cannot_be_known(make: Any) -> None:
    """No layout: every sample counts, and samples are known by their content."""
    assert layout_of(make()) is None


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("n", "world_size", "batch_size"), [(10, 1, 4), (11, 2, 3), (3, 4, 2), (7, 3, None)])
def test_the_indices_of_a_batch_are_those_it_was_made_of(
    n: int, world_size: int, batch_size: int | None, shuffle: bool, drop_last: bool
) -> None:
    """Of each process, with padding, also where a seed and the number of the epoch say how they are shuffled."""
    for rank in range(world_size):
        sampler = DistributedSampler(Numbers(n), world_size, rank, shuffle=shuffle, drop_last=drop_last)
        for loader in (DataLoader(Numbers(n), batch_size, sampler=sampler), DataLoader(Numbers(n), batch_size)):
            sampler.set_epoch(3)
            batches = [torch.as_tensor(batch).reshape(-1).tolist() for batch in loader]
            assert [indices_of(loader, k) for k in range(len(batches))] == batches
    assert indices_of(DataLoader(Numbers(n), batch_size, shuffle=True), 0) is None
    assert indices_of([1, 2], 0) is None


@pytest.mark.parametrize(("num_workers", "in_order"), [(2, True), (0, True), (0, False)])
def test_workers_that_keep_the_order_change_nothing(num_workers: int, in_order: bool) -> None:
    """Nor does leave to change it where there is no worker."""
    if not (in_order or HAS_ORDER):
        pytest.skip("torch before 2.6 has no in_order")
    options = {} if in_order else {"in_order": False}
    assert layout_of(DataLoader(Numbers(5), 2, num_workers=num_workers, **options)) == Layout(
        num_samples=5, batch_size=2, share=5, rank=0, num_replicas=1, in_order=True, num_dropped=0, is_dealt=False
    )


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
        for batch, keep, ids in drawn(loader):
            assert ids == batch[:keep]
            seen += batch[:keep]
    assert sorted(seen) == list(range(n))


def test_a_batch_sampler_is_asked_and_not_the_loader() -> None:
    """A DistributedSampler in a batch sampler of torch's is seen; one that shuffles gives no places."""
    for shuffle in (False, True):
        sampler = DistributedSampler(Numbers(10), 3, 1, shuffle=shuffle)
        layout = layout_of(DataLoader(Numbers(10), batch_sampler=BatchSampler(sampler, 2, drop_last=False)))
        assert layout is not None
        assert (layout.num_samples, layout.rank, layout.num_replicas, layout.in_order) == (10, 1, 3, not shuffle)
    shuffled = DistributedSamplerWrapper(RandomSampler(Numbers(10)), num_replicas=3, rank=1, shuffle=False)
    layout = layout_of(DataLoader(Numbers(10), 2, sampler=shuffled))
    assert layout is not None
    assert not layout.in_order


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("wraps", [False, True])
def test_what_was_drawn_by_a_seed_is_known_again(wraps: bool, epoch: int) -> None:
    """In the midst of an epoch, without a change to it: a DistributedSampler, and Lightning's around one in order."""
    of, cls = (
        (SequentialSampler(Numbers(23)), DistributedSamplerWrapper) if wraps else (Numbers(23), DistributedSampler)
    )
    sampler = cls(of, num_replicas=3, rank=1, shuffle=True)
    sampler.set_epoch(epoch)
    loader = DataLoader(Numbers(23), 4, sampler=sampler)
    for number, batch in enumerate(loader):
        assert indices_of(loader, number) == batch.tolist()


def test_what_another_sampler_has_drawn_is_not_known() -> None:
    """Lightning's wrapper around one that shuffles, or deals without repeats: neither is asked, for it would draw."""
    from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSamplerWrapper

    shuffled = DistributedSamplerWrapper(RandomSampler(Numbers(23)), num_replicas=3, rank=1, shuffle=True)
    dealt = UnrepeatedDistributedSamplerWrapper(SequentialSampler(Numbers(23)), num_replicas=3, rank=1, shuffle=True)
    for sampler in (shuffled, dealt):
        assert indices_of(DataLoader(Numbers(23), 4, sampler=sampler), 0) is None
