"""The strategies draw what they promise, and the odd cases among it often enough."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwcallbacks.testing import floats32, labelled_batches, partitions, tensors

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
thorough = settings(max_examples=300, deadline=None, derandomize=True, database=None)
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_odd_floats_are_common(dtype: torch.dtype) -> None:
    """Of 300 tensors many hold a NaN, an infinity, a zero of either sign, a subnormal, the largest, a tie."""
    seen: Counter[str] = Counter()

    @thorough
    @given(tensors(8, dtype))
    def look(x: torch.Tensor) -> None:
        assert (x.dtype, x.shape) == (dtype, (8,))
        info = torch.finfo(dtype)
        kinds = {
            "nan": x.isnan(),
            "inf": x == float("inf"),
            "-inf": x == -float("inf"),
            "0.0": (x == 0) & ~x.signbit(),
            "-0.0": (x == 0) & x.signbit(),
            "subnormal": (x != 0) & (x.abs() < info.tiny),
            "largest": x.abs() == info.max,
            "tie": torch.tensor(len(x.unique()) < len(x)),
        }
        seen.update(name for name, found in kinds.items() if found.any())

    look()
    assert set(seen) == {"nan", "inf", "-inf", "0.0", "-0.0", "subnormal", "largest", "tie"}
    assert min(seen.values()) >= 30


@quick
@given(tensors((4, 2), nan=False, infinite=False, subnormal=False, huge=False))
def test_what_is_switched_off_is_not_drawn(x: torch.Tensor) -> None:
    """Only tame floats are left."""
    assert x.isfinite().all()
    assert (x.abs() <= 1000).all()
    assert ((x == 0) | (x.abs() >= torch.finfo(torch.float32).tiny)).all()


@quick
@given(tensors(st.integers(0, 3), torch.int16, min_value=-2, max_value=1), tensors((0, 3), torch.bool), floats32(2))
def test_integers_keep_their_range(x: torch.Tensor, empty: torch.Tensor, floats: torch.Tensor) -> None:
    """Shapes may come from a strategy, and may be empty."""
    assert x.dtype == torch.int16
    assert len(x) <= 3
    assert ((x >= -2) & (x <= 1)).all()
    assert (empty.dtype, empty.shape) == (torch.bool, (0, 3))
    assert (floats.dtype, floats.shape) == (torch.float32, (2,))


def test_a_range_without_integers_is_an_error() -> None:
    """Which names both ends."""

    @given(tensors(1, torch.int64, min_value=3, max_value=2))
    def look(x: torch.Tensor) -> None:
        pass

    with pytest.raises(ValueError, match="max_value=2 is less than min_value=3"):
        look()


@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("out_of_range", [True, False])
def test_batches_are_uneven_and_labelled(scores: bool, out_of_range: bool) -> None:
    """Scores are probabilities; labels are in range, or just outside where that is asked for."""
    seen: Counter[str] = Counter()

    @thorough
    @given(labelled_batches(3, scores=scores, out_of_range=out_of_range))
    def look(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        sizes = [len(targets) for _, targets in batches]
        assert 1 <= len(sizes) <= 4
        assert all(1 <= size <= 6 for size in sizes)
        for preds, targets in batches:
            assert targets.dtype == torch.int64
            labels = targets if scores else torch.cat([preds, targets])
            assert ((labels >= -1) & (labels <= 3)).all()
            assert preds.shape == ((len(targets), 3) if scores else targets.shape)
            if scores:
                assert ((preds >= 0) & (preds <= 1)).all()
            seen["low"] += bool((labels < 0).any())
            seen["high"] += bool((labels > 2).any())
        seen["uneven"] += len(set(sizes)) > 1
        seen["one"] += 1 in sizes

    look()
    assert min(seen["uneven"], seen["one"]) > 30
    assert (min(seen["low"], seen["high"]) > 30) if out_of_range else (seen["low"] + seen["high"] == 0)


@pytest.mark.parametrize("options", [{}, {"empty": False}, {"shuffled": False}, {"max_batch": 1}])
def test_a_partition_holds_every_sample_once(options: dict[str, Any]) -> None:
    """On one to four processes, some of them without samples unless that is switched off."""
    seen: Counter[str] = Counter()

    @thorough
    @given(partitions(10, **options))
    def look(shares: list[list[torch.Tensor]]) -> None:
        flat = [int(i) for share in shares for batch in share for i in batch]
        assert sorted(flat) == list(range(10))
        assert 1 <= len(shares) <= 4
        assert all(1 <= len(batch) <= options.get("max_batch", 6) for share in shares for batch in share)
        seen["empty"] += any(not share for share in shares)
        seen["uneven"] += len({sum(map(len, share)) for share in shares}) > 1
        seen["shuffled"] += flat != list(range(10))

    look()
    assert seen["uneven"] > 30
    assert (seen["empty"] > 30) is options.get("empty", True)
    assert (seen["shuffled"] > 30) is options.get("shuffled", True)


@quick
@given(partitions(7, padded=True, min_processes=3, shuffled=False))
def test_padding_repeats_the_first_samples_at_the_end_of_shares(shares: list[list[torch.Tensor]]) -> None:
    """As a DistributedSampler does: equal shares, dealt out in turn."""
    size = -(-7 // len(shares))
    for rank, share in enumerate(shares):
        flat = [int(i) for batch in share for i in batch]
        assert flat == [(rank + i * len(shares)) % 7 for i in range(size)]


def test_fewer_samples_than_processes_need_empty_shares() -> None:
    """The error says which argument allows that."""

    @given(partitions(1, min_processes=2, empty=False))
    def look(shares: Any) -> None:
        pass

    with pytest.raises(ValueError, match=r"1 samples for \d processes, expected empty=True"):
        look()
