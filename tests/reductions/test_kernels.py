"""The way of the CPU, which looks at the data, and that of an accelerator, which does not, give the same bits."""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lawful import EXAMPLES, LAWFUL
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lwcallbacks.reductions import (
    ConfusionCounts,
    ExactMean,
    ExactSum,
    First,
    PayloadError,
    RandomSample,
    Reduction,
    State,
    TopK,
    content_ids,
)
from lwcallbacks.reductions.floats import EXACT_SLOTS, exact_sums, exact_terms
from lwcallbacks.reductions.looking import as_on_a_device, may_look
from lwcallbacks.reductions.rows import joined, picked, taken
from lwcallbacks.testing import forbid_host_sync
from lwcallbacks.testing.reduction_laws import ReductionSubject
from lwcallbacks.testing.samples import count


def test_looking_is_free_on_the_cpu_alone() -> None:
    """But not where a wait is forbidden, and not yet after the inner one of two guards; afterwards it is again."""
    x = torch.zeros(1)
    assert may_look(x)
    with as_on_a_device():
        with forbid_host_sync():
            assert not may_look(x)
        assert not may_look(x)
    assert may_look(x)
    assert not may_look(torch.zeros(1, device="meta"))
    assert not may_look([0.0])


@pytest.mark.parametrize("name", LAWFUL)
def test_both_ways_have_the_same_bits(name: str) -> None:
    """Batch by batch, with and without `valid`; and both have those of `lift` and `merge`."""
    reduction, fields = LAWFUL[name]
    subject = ReductionSubject(reduction)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(st.lists(fields, max_size=3), st.randoms(use_true_random=False))
    def check(batches: list[Any], random: Any) -> None:
        masks = [torch.tensor([random.random() < 0.7 for _ in range(count(batch))]).bool() for batch in batches]
        for valid in ([None] * len(batches), masks):
            accumulated = [reduction.empty(), reduction.empty(), reduction.empty()]
            for batch, mask in zip(batches, valid, strict=True):
                accumulated[0] = subject.accumulate(accumulated[0], batch, mask)
                lifted = subject.lift(batch, mask)
                with as_on_a_device():
                    accumulated[1] = subject.accumulate(accumulated[1], batch, mask)
                    subject.expect_same(subject.lift(batch, mask), lifted, "lifted as on a device, and on the CPU")
                accumulated[2] = reduction.merge(accumulated[2], lifted)
            subject.expect_same(accumulated[0], accumulated[1], "accumulated on the CPU, and as on a device")
            subject.expect_same(accumulated[0], accumulated[2], "accumulated, and merged")

    check()


def test_a_subclass_says_what_a_batch_does() -> None:
    """The faster way of a base is not taken for one that overrides `scatter` alone."""

    class OfSquares(ExactSum):
        def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Any:  # type: ignore[override]
            return super().scatter(values * values, valid=valid)

    squares, x = OfSquares(), torch.tensor([1.0, 2.0, 3.0])
    assert squares.value(squares.accumulate(squares.lift(x), x, valid=torch.tensor([True, False, True]))) == 24.0


# Exact sums

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
PLACES = 1 << 12


def odd_floats(size: int, dtype: torch.dtype, finite: bool, seed: int = 0) -> Tensor:
    """Random bits: every exponent, subnormals, zeros of both signs; NaNs of every payload and infinities."""
    generator = torch.Generator().manual_seed(seed)
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    info = torch.iinfo(words)
    x = torch.randint(info.min, info.max, (size,), dtype=words, generator=generator).view(dtype)
    if dtype == torch.float64:  # few random ones are in the range of float32
        x = torch.where(torch.arange(size) % 8 > 0, x.sign() * 2.0 ** (torch.arange(size).double() % 300 - 160), x)
    x[: min(size, 4)] = torch.tensor([0.0, -0.0, torch.finfo(dtype).tiny / 2, -1.0])[: min(size, 4)].to(dtype)
    return torch.where(x.to(torch.float32).isfinite(), x, 1.5) if finite else x


def plain_sums(x: Tensor) -> list[int]:
    """By slot, number by number, in Python's integers."""
    sums = [0] * EXACT_SLOTS
    for number in x.to(torch.float32).reshape(-1).tolist():
        bits = struct.unpack("<I", struct.pack("<f", number))[0]
        exponent, fraction = (bits >> 23) & 255, bits & 0x7FFFFF
        if exponent == 255:
            sums[256 if fraction else 258 if bits >> 31 else 257] += 1
        else:
            sums[exponent] += (-1 if bits >> 31 else 1) * (fraction | (0x800000 if exponent else 0))
    return sums


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 7, 5000])
def test_sums_are_those_of_python_integers(size: int, dtype: torch.dtype, finite: bool) -> None:
    """In slots, on both ways; of a tensor that is not contiguous, too."""
    x = odd_floats(size, dtype, finite)
    assert ExactSum().lift(x)["sums"].tolist() == plain_sums(x)
    mean = plain_sums(x) + plain_sums(torch.ones(size))
    assert ExactMean().lift(x)["sums"].tolist() == mean
    strided = torch.stack([x, x.flip(0)], dim=1)[:, 0].reshape(-1, 1).expand(-1, 2)
    twice = [2 * number for number in mean]
    assert ExactMean().lift(strided)["sums"].tolist() == twice
    with as_on_a_device():
        assert ExactMean().lift(strided)["sums"].tolist() == twice


@pytest.mark.parametrize("special", [[], [float("nan")], [float("inf"), -float("inf"), float("nan")]])
def test_weights_and_valid(special: list[float]) -> None:
    """Of products and weights, those that count; what does not count may be anything."""
    x, weights = odd_floats(999, torch.float32, True), odd_floats(999, torch.float32, True, seed=1)
    x, weights = torch.cat([x * 1e-20, torch.tensor(special)]), torch.cat([weights * 1e-20, torch.ones(len(special))])
    valid = torch.arange(len(x)) % 3 > 0
    expected = plain_sums((x * weights)[valid]) + plain_sums(weights[valid])
    assert ExactMean().lift(x, weights, valid=valid)["sums"].tolist() == expected
    with as_on_a_device():
        assert ExactMean().lift(x, weights, valid=valid)["sums"].tolist() == expected
    rest = x.masked_fill(valid, float("nan"))
    assert ExactMean().lift(rest, valid=~valid)["sums"].tolist() == plain_sums(x[~valid]) + plain_sums(
        torch.ones(int((~valid).sum()))
    )


def test_a_slot_takes_many_numbers_without_rounding() -> None:
    """A million of the largest mantissa in one slot, and as many of the smallest beside it."""
    x = torch.cat([torch.full((10**6,), 2.0 - 2.0**-23), torch.full((10**6,), -(1.0 + 2.0**-23))])
    sums = exact_sums(x)
    slot, amount = exact_terms(x[[0, -1]])
    assert sums is not None
    assert slot.tolist() == [127, 127]
    assert sums[127].item() == 10**6 * amount.sum().item()
    assert exact_sums(torch.tensor([1.0, math.inf])) is None
    assert exact_sums(torch.tensor([math.nan])) is None


# Counts of labels


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.uint64, torch.float32])
@pytest.mark.parametrize("ignore_index", [None, 255, 2, -1])
@pytest.mark.parametrize("spoiled", [False, True])
def test_labels_of_every_dtype(dtype: torch.dtype, ignore_index: int | None, spoiled: bool) -> None:
    """Maps of labels and of scores, some that do not count, none or some out of range or NaN: as on a device."""
    generator = torch.Generator().manual_seed(0)
    counts = ConfusionCounts(5, ignore_index=ignore_index)
    targets = torch.randint(5, (40, 6, 7), generator=generator)
    preds, scores = torch.randint(5, (40, 7, 6), generator=generator).mT, torch.rand(40, 5, 6, 7, generator=generator)
    if ignore_index is not None and ignore_index >= 0:
        targets[::2, 3] = ignore_index
    if spoiled:
        targets[1, 0, :3] = torch.tensor([5, 200, 77])
        preds[2, 0, 0] = 9
        scores[3, 1, 1, 1] = math.nan
    targets = targets.to(dtype)
    valid = torch.arange(40) % 5 != 1
    for given_preds, mask in ((preds, None), (preds.to(torch.int16), valid), (scores, None), (scores.half(), valid)):
        found = counts.accumulate(counts.lift(given_preds, targets), given_preds, targets, valid=mask)
        with as_on_a_device():
            expected = counts.accumulate(counts.lift(given_preds, targets), given_preds, targets, valid=mask)
            empty = counts.lift(given_preds[:0], targets[:0])
        assert all(found[name].equal(expected[name]) for name in expected)
        assert all(tensor.equal(empty[name]) for name, tensor in counts.lift(given_preds[:0], targets[:0]).items())
    pairs = zip(targets.long().flatten().tolist(), preds.flatten().tolist(), strict=True)
    plain = torch.zeros(5, 5, dtype=torch.int64)
    for truth, predicted in pairs:
        if truth != ignore_index and truth < 5 and predicted < 5:
            plain[truth, predicted] += 1
    assert counts.value(counts.lift(preds, targets)).equal(plain)
    best = ConfusionCounts(5, ignore_index=ignore_index, top_k=3)
    for given_scores, mask in ((scores, None), (scores.half(), valid), ((scores * 3).round(), None)):
        found = best.lift(given_scores, targets, valid=mask)
        with as_on_a_device():
            expected = best.lift(given_scores, targets, valid=mask)
        assert all(found[name].equal(expected[name]) for name in expected)


@pytest.mark.parametrize("label", [-1, 3, 2**63 - 1, -(2**63), 2**32, 2**40 + 1])
def test_one_label_out_of_range_is_never_in_a_cell(label: int) -> None:
    """Whatever it would be, cut to fewer bits or multiplied."""
    counts, good, one = ConfusionCounts(3), torch.tensor([0, 1, 2]), torch.tensor([0, label, 2])
    for preds, targets in ((good, one), (one, good)):
        state = counts.lift(preds, targets)
        assert counts.value(state).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
        assert str(label) in str(counts.problems(state))


# What is made on the way


class Made(TorchDispatchMode):
    """The most bytes that an operator's result takes which is not a view of what it was given, nor is that itself."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return result


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "part of a larger one": lambda x: torch.cat([x, x], dim=3)[..., : x.shape[3]],
    "rows far apart": lambda x: torch.stack([x, x], dim=1)[:, 1],
    "transposed": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_naming_takes_no_memory_that_grows_with_the_image(layout: str, dtype: torch.dtype) -> None:
    """1,024 words of 8 bytes of each sample, in any layout, and one copy of an image is more than all of these."""
    x = (torch.rand(3, 3, 160, 160, generator=torch.Generator().manual_seed(0)) * 255).to(dtype)
    same = LAYOUTS[layout](x)
    with Made() as made:
        ids = content_ids(same, torch.arange(3))
    assert ids.equal(content_ids(x, torch.arange(3)))
    assert made.bytes == 3 * 1024 * 8


def test_naming_an_image_that_is_one_number_everywhere() -> None:
    """Expanded: its memory is one number."""
    one = torch.full((2, 1, 1, 1), 7.0)
    assert content_ids(one.expand(2, 3, 64, 64)).equal(content_ids(torch.full((2, 3, 64, 64), 7.0)))


CHOICES: dict[str, tuple[Reduction, bool]] = {
    "random sample": (RandomSample(4), False),
    "first": (First(4), False),
    "largest": (TopK(4), True),
    "smallest": (TopK(4, largest=False), True),
}


def batch_of(ids: Tensor, scored: bool) -> tuple[Tensor, ...]:
    images = ids.double().reshape(-1, 1, 1).expand(-1, 16, 32).contiguous()
    payload = (ids, images, (ids % 200).to(torch.uint16))
    return (-ids.float(), *payload) if scored else payload


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_stays_is_not_written_to(name: str) -> None:
    """The state itself comes back, and nothing as large as one image is made on the way."""
    choice, scored = CHOICES[name]
    ids = torch.arange(200)
    state = choice.lift(*batch_of(ids, scored))
    kept = set(state["id"].tolist())
    others = batch_of(torch.tensor([i for i in ids.tolist() if i not in kept][:64]), scored)
    again = batch_of(state["id"].flip(0), scored)
    before, versions = copy.deepcopy(state), {key: tensor._version for key, tensor in state.items()}
    with Made() as made:
        same = choice.accumulate(state, *others)
        same = choice.accumulate(same, *again)
        same = choice.accumulate(same, *others, valid=torch.zeros(64, dtype=torch.bool))
        same = choice.accumulate(same, *(field[:0] for field in others))
    assert all(same[key] is state[key] for key in before)
    assert {key: tensor._version for key, tensor in state.items()} == versions
    assert all(tensor.equal(before[key]) for key, tensor in state.items() if tensor.dtype != torch.uint16)
    assert made.bytes < 16 * 32 * 8


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_never_copies_the_batch(name: str) -> None:
    """Of 64 images at most k = 4 are read at once, also where all places change; on a device, too."""
    choice, scored = CHOICES[name]
    for way in (as_on_a_device, torch.no_grad):
        state = choice.empty()
        with way(), Made() as made:
            for start in (128, 64, 0):
                state = choice.accumulate(state, *batch_of_views(start, scored))
        lifts = [choice.lift(*batch_of(torch.arange(start, start + 64), scored)) for start in (0, 64, 128)]
        expected = choice.merge(choice.merge(lifts[0], lifts[1]), lifts[2])
        ReductionSubject(choice).expect_same(state, expected, "accumulated, and merged")
        assert made.bytes <= 4 * 16 * 32 * 8


ALL = {scored: batch_of(torch.arange(192), scored) for scored in (False, True)}


def batch_of_views(start: int, scored: bool) -> tuple[Tensor, ...]:
    return tuple(field[start : start + 64] for field in ALL[scored])


def test_what_a_choice_showed_does_not_change_with_later_batches() -> None:
    """A state may be overwritten, its value may not."""
    choice = TopK(2)
    state = choice.lift(torch.tensor([1.0, 2.0]), torch.arange(2), torch.tensor([10, 20]))
    chosen = choice.value(state)
    choice.accumulate(state, torch.tensor([3.0, 4.0]), torch.tensor([2, 3]), torch.tensor([30, 40]))
    assert (chosen.ids.tolist(), chosen.payload[0].tolist()) == ([1, 0], [20, 10])


def test_samples_of_another_shape_are_refused_even_where_none_wins() -> None:
    """Or it would depend on the order of batches whether an error comes."""
    choice = First(1)
    for way in (as_on_a_device, torch.no_grad):
        state: State = choice.lift(torch.tensor([0]), torch.zeros(1, 8))
        with way(), pytest.raises(PayloadError, match=r"shapes \(8,\) and \(9,\)"):
            choice.accumulate(state, torch.tensor([5]), torch.zeros(1, 9))


@pytest.mark.parametrize("index", [[0, 1, 2], [5, -1, 0], [4, 3, 2], [-1, -1, -1]])
def test_rows_of_two_tensors(index: list[int]) -> None:
    """Picked as if they were joined first."""
    kept, more = torch.arange(6.0).reshape(3, 2), -torch.arange(6.0).reshape(3, 2)
    at = torch.tensor(index)
    assert picked(kept, more, at, 7).equal(taken(joined(kept, more), at, 7))
