"""What a choice keeps of its samples, whatever their dtype; and what it says of samples that do not go together."""

from __future__ import annotations

import pytest
import torch
from reductions.test_hashing import EVERY_DTYPE

from lwcallbacks.reductions import First, RandomSample


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
def test_rows_of_every_dtype(dtype: torch.dtype) -> None:
    """They come back bit by bit, out of two batches and beside places that are empty."""
    numbers = torch.arange(12).reshape(6, 2) % 5  # torch 2.4 does not index all dtypes
    rows = numbers.to(dtype)
    ids, choice = torch.tensor([4, 2, 0, 5, 1, 3]), First(4)
    state = choice.merge(choice.lift(ids[:3], rows[:3]), choice.lift(ids[3:], rows[3:]))
    kept = choice.value(state).payload[0]
    assert kept.dtype == dtype
    assert kept.to(torch.complex64).equal(numbers[ids.argsort()][:4].to(dtype).to(torch.complex64))
    more = First(9)
    assert len(more.value(more.merge(more.lift(ids, rows), more.empty())).payload[0]) == 6


def test_bits_are_kept() -> None:
    """The sign of a zero, and what a NaN holds."""
    bits = torch.tensor([[-(2**31)], [0x7FC00001]], dtype=torch.int32)
    choice = First(2)
    kept = choice.value(choice.lift(torch.arange(2), bits.view(torch.float32))).payload[0]
    assert torch.equal(kept.view(torch.int32), bits)


def test_samples_of_unlike_shapes_say_what_to_write() -> None:
    """In the user's terms: no state, no payload."""
    choice, ids = First(2), torch.arange(1)
    states = [choice.lift(ids, torch.zeros(1, 3, size, size)) for size in (8, 12)]
    told = r"^samples have shapes \(3, 8, 8\) and \(3, 12, 12\), .*: resize them, as in inputs=lambda outputs, batch: "
    with pytest.raises(ValueError, match=told):
        choice.merge(*states)
    states = [choice.lift(ids, torch.zeros(1, dtype=dtype)) for dtype in (torch.float32, torch.uint8)]
    with pytest.raises(ValueError, match=r"samples are torch\.float32 in one batch and torch\.uint8 in another"):
        choice.merge(*states)


def test_the_usual_draw_is_that_of_seed_0() -> None:
    """So that two callbacks that say nothing draw the same samples."""
    assert RandomSample(2) == RandomSample(2, seed=0) != RandomSample(2, seed=1)
