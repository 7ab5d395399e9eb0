"""Batches taken apart into samples and put together again, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lwcallbacks.testing.same import difference
from lwcallbacks.testing.samples import (
    Indivisible,
    backwards,
    copied,
    count,
    cut_evenly,
    join,
    num_samples,
    pieces,
    take,
)

X = torch.arange(8.0).reshape(4, 2)
BATCH = (X, {"texts": ["a", "b", "c", "d"], "real": True}, torch.tensor(3), torch.arange(7))


def expect(found: Any, expected: Any) -> None:
    assert difference(found, expected) is None


def test_samples_are_taken_and_what_belongs_to_the_batch_stays() -> None:
    """A flag, a number, a tensor of another length."""
    expect(take(BATCH, [3, 0]), (X[[3, 0]], {"texts": ["d", "a"], "real": True}, torch.tensor(3), torch.arange(7)))
    expect(take((X,), []), (X[:0],))
    taken = take((X,), [0, 1, 2, 3])
    taken[0][0] = -1
    assert X[0, 0] == 0, "a tensor of its own"


def test_parts_are_joined_to_the_whole() -> None:
    """In order, and backwards, as often as they are cut."""
    for sizes in ([4], [1, 3], [0, 2, 0, 2], [1, 1, 1, 1]):
        parts = pieces(BATCH, sizes)
        assert [count(part) for part in parts] == sizes
        assert num_samples(parts) == 4
        expect(join(parts), BATCH)
        expect(backwards(parts), take(BATCH, [3, 2, 1, 0]))


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [4]), (4, [4]), (5, [4])])
def test_what_is_left_over_goes_to_the_last_batch(size: int, sizes: list[int]) -> None:
    """So that none has fewer samples than asked for, unless there are no more."""
    assert [count(part) for part in cut_evenly(BATCH, size)] == sizes


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([(X, True), (X, False)], "batches have different arguments that are not made of samples"),
        ([(X, torch.tensor(1)), (X, torch.tensor(2))], "batches have different arguments that are not made of samples"),
        ([(X,), (torch.zeros(4, 3),)], r"batches have tensors of shapes \[\(4, 2\), \(4, 3\)\]"),
        ([(1.0,), (2.0,)], "neither a tensor with a dimension of samples nor a list"),
    ],
)
def test_what_does_not_fit_together(batches: Any, told: str) -> None:
    """It says why there is no batch of all samples."""
    with pytest.raises(Indivisible, match=told):
        join(batches)


def test_numbers_alone_are_no_samples() -> None:
    """Nobody knows how many there are."""
    assert num_samples([(1.0,), (2.0,)]) == num_samples([(X,), (2.0,)]) == 0
    assert num_samples([]) == 0


def test_a_copy_shares_nothing_that_can_be_written() -> None:
    """Tensors and lists, also in each other."""
    original = (X.clone(), [{"boxes": X.clone()}], "text", 2)
    copy = copied(original)
    expect(copy, original)
    copy[0][:] = -1
    copy[1][0]["boxes"][:] = -1
    copy[1].append(3)
    expect(original, (X, [{"boxes": X}], "text", 2))
