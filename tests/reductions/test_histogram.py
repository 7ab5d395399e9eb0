"""The fast ways to a LogHistogram have the bits of the plain definition, and so have linear bins of many at once."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lwcallbacks.reductions import LogBins, LogHistogram
from lwcallbacks.reductions import bits as leading_bits
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.histogram import SMALL, TOGETHER
from lwcallbacks.reductions.looking import as_on_a_device

# Zeros, the smallest and largest of the first bins, infinities, and NaNs that differ from them in one bit.
ODD = [0, 1, 0x000FFFFF, 0x00100000, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7F8FFFFF, 0x7FC00000,
       0x7FFFFFFF, 0x3F800000]  # fmt: skip
NAN, INF = math.nan, math.inf
ALL_ODD = [*ODD, *(bits | 0x80000000 for bits in ODD)]


def floats(bits: list[int]) -> Tensor:
    """float32 of such bits."""
    return torch.from_numpy(np.array(bits, dtype=np.uint32).view(np.int32)).view(torch.float32)


PATTERNS = st.lists(st.sampled_from(ALL_ODD) | st.integers(0, 2**32 - 1), max_size=40).map(floats)


def plain(x: Tensor, mantissa_bits: int) -> list[int]:
    """The table, one float after the other: negative bins, positive bins, then zero, NaN, +inf and -inf."""
    half = 2 ** (8 + mantissa_bits)
    table = [0] * (2 * half + 4)
    for bits in x.detach().to(torch.float32).reshape(-1).view(torch.int32).tolist():
        [value] = struct.unpack("<f", struct.pack("<i", bits))
        if value == 0:
            slot = 2 * half
        elif math.isnan(value):
            slot = 2 * half + 1
        elif math.isinf(value):
            slot = 2 * half + (2 if value > 0 else 3)
        else:
            slot = ((bits & 0x7FFFFFFF) >> (23 - mantissa_bits)) + (half if bits >= 0 else 0)
        table[slot] += 1
    return table


def lifted(histogram: LogHistogram, x: Tensor) -> Tensor:
    return histogram.lift(x)["counts"]


def accumulated(histogram: LogHistogram, x: Tensor) -> Tensor:
    return histogram.accumulate(histogram.accumulate(histogram.empty(), x[:1]), x[1:])["counts"]


def each(histogram: LogHistogram, x: Tensor) -> Tensor:
    [table] = histogram.lift_each([x])().tables()
    return torch.from_numpy(table)


def as_on_device(way: Callable[[LogHistogram, Tensor], Tensor]) -> Callable[[LogHistogram, Tensor], Tensor]:
    def run(histogram: LogHistogram, x: Tensor) -> Tensor:
        with as_on_a_device():
            return way(histogram, x)

    return run


WAYS = {
    "lift": lifted,
    "accumulate": accumulated,
    "each": each,
    "lift on a device": as_on_device(lifted),
    "each on a device": as_on_device(each),
}
by_each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
many = settings(max_examples=60, deadline=None)


@by_each_way
@many
@example(x=floats(ALL_ODD), mantissa_bits=3)
@given(x=PATTERNS, mantissa_bits=st.sampled_from([0, 3, 10]))
def test_it_is_the_plain_definition(way: Any, x: Tensor, mantissa_bits: int) -> None:
    """For floats of any 32 bits; counts are int64."""
    found = way(LogHistogram(mantissa_bits), x)
    assert found.dtype == torch.int64
    assert found.tolist() == plain(x, mantissa_bits)


@by_each_way
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_is_that_of_every_16_bits(way: Any, dtype: torch.dtype) -> None:
    """Each float16 and each bfloat16 that there is, read exactly."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    assert way(LogHistogram(), x).tolist() == plain(x, 3)


@by_each_way
def test_float64_is_rounded_to_float32(way: Any) -> None:
    """To zero and to infinity, too."""
    x = torch.tensor([1e-50, -1e-50, 1e-45, 1e300, -1e300, 0.1, 1 - 2**-40, float("nan")], dtype=torch.float64)
    assert way(LogHistogram(), x).tolist() == plain(x, 3)


@by_each_way
def test_any_layout_is_counted(way: Any) -> None:
    """Transposed, strided, expanded, empty, and a leaf that wants a gradient."""
    x = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))
    for view in (x.transpose(0, 2), x[::2, 1:, ::2], x[:, :1].expand(6, 5, 3), x[:0], torch.nn.Parameter(x.clone())):
        assert way(LogHistogram(), view).tolist() == plain(view, 3)


@by_each_way
def test_more_than_is_counted_at_once(way: Any) -> None:
    """Odd bits at the end of a tensor of several parts; the whole is the sum of its halves."""
    x = torch.randn(2**19 + 17, generator=torch.Generator().manual_seed(0))
    x[-len(ALL_ODD) :] = floats(ALL_ODD)
    half = len(x) // 2
    whole = way(LogHistogram(), x)
    assert whole.tolist() == (way(LogHistogram(), x[:half]) + way(LogHistogram(), x[half:])).tolist()
    assert whole.tolist() == LogHistogram().scatter(x)["counts"][0].bincount(minlength=4100).tolist()


@many
@given(PATTERNS, st.randoms(use_true_random=False))
def test_what_is_not_valid_does_not_count(x: Tensor, random: Any) -> None:
    """On the CPU as on a device."""
    valid = torch.tensor([random.random() < 0.5 for _ in x], dtype=torch.bool)
    expected = plain(x[valid], 3)
    assert LogHistogram().lift(x, valid=valid)["counts"].tolist() == expected
    with as_on_a_device():
        assert LogHistogram().lift(x, valid=valid)["counts"].tolist() == expected


@pytest.mark.parametrize("on_device", [False, True])
def test_each_of_many_tensors_has_its_table(on_device: bool) -> None:
    """Small and large ones, of mixed dtypes, with and without odd bits; more than are counted at once."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(i % 7, generator=generator) for i in range(TOGETHER + 5)]
    tensors += [floats(ALL_ODD), torch.randn(SMALL + 1, generator=generator), torch.ones(3, 2, dtype=torch.float16)]
    tensors += [torch.tensor([1e-50, 2.0], dtype=torch.float64), floats(ALL_ODD * 100), torch.zeros(())]
    with as_on_a_device() if on_device else nullcontext():
        filled = LogHistogram().lift_each(tensors)()
    for x, table, beside in zip(tensors, filled.tables(), filled.beside(), strict=True):
        assert table.tolist() == plain(x, 3)
        assert beside.tolist() == plain(x, 3)[-3:]
    assert (filled.count > 0).all()


def test_bins_of_several_are_put_below_each_other() -> None:
    """The rows of each in order, also of one without rows."""
    parts = [[floats(ALL_ODD), torch.ones(3)], [], [torch.zeros(2)]]
    below = FilledBins.below([LogHistogram().lift_each(tensors)() for tensors in parts])
    assert [table.tolist() for table in below.tables()] == [plain(x, 3) for tensors in parts for x in tensors]


def test_flattened_are_views_and_what_has_gaps_is_left_alone() -> None:
    """Nothing is copied, whatever the order in memory."""
    whole = torch.arange(6.0).reshape(2, 3)
    image = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    given = [whole, whole.T, whole[:, 0], whole[0], whole[:, :2], whole.expand(2, 2, 3), image]
    flat = leading_bits.flattened(given)
    assert [x.shape for x in flat] == [(6,), (6,), (2,), (3,), (2, 2), (2, 2, 3), (24,)]
    assert [x.data_ptr() for x in flat] == [x.data_ptr() for x in given]
    assert [sorted(x.flatten().tolist()) for x in flat] == [sorted(x.flatten().tolist()) for x in given]


def test_rows_of_a_group_are_added() -> None:
    """Also in the last slots, those of zero, NaN and infinities."""
    tensors = [floats(ALL_ODD), torch.tensor([NAN, INF, -INF]), torch.tensor([-0.0, 3.0]), floats(ALL_ODD)]
    tables = [plain(x, 1) for x in tensors]
    added = LogHistogram(mantissa_bits=1).lift_each(tensors)().added(np.array([2, 0, 0, 2]), 3)
    expected = [np.add(tables[1], tables[2]), np.zeros(len(tables[0])), np.add(tables[0], tables[3])]
    assert [table.tolist() for table in added.tables()] == [table.tolist() for table in expected]


def test_the_smallest_size_of_all_rows() -> None:
    """The lower edge of its bin, of either sign: zeros, infinities and NaN have none."""
    bins = LogHistogram(mantissa_bits=0).lift_each([torch.tensor([0.0, -0.75, 3.0]), torch.tensor([5.0])])()
    assert bins.smallest() == 0.5
    assert LogHistogram().lift_each([torch.tensor([0.0, NAN, -INF])])().smallest() == INF
    assert LogHistogram().lift_each([torch.zeros(0)])().smallest() == INF
    [tiny] = floats([1])
    assert LogHistogram().lift_each([tiny.reshape(1), torch.ones(1)])().smallest() == 0


def test_a_tensor_is_not_read_by_the_type_of_its_neighbour() -> None:
    """Half precision does not hold 70,000, which a tensor of integers beside it has."""
    tensors = [torch.ones(2, dtype=torch.float16), torch.tensor([70_000, 3])]
    for context in (nullcontext(), as_on_a_device()):
        with context:
            tables = list(LogHistogram().lift_each(tensors)().tables())
            both = LogHistogram().tables(tensors)
        assert [table.tolist() for table in tables] == both.tolist() == [plain(x, 3) for x in tensors]


def largest(x: Tensor) -> str:
    """The plain definition: the largest absolute value, NaN if there is one, 0 of nothing; a float32 as text."""
    sizes = [abs(value) for value in x.detach().to(torch.float32).reshape(-1).tolist()]
    return "nan" if any(map(math.isnan, sizes)) else str(max(sizes, default=0.0))


@many
@example(tensors=[floats(ALL_ODD), floats([0x80000001]), floats([0xFF800000, 0x00000002]), torch.zeros(0)], num_more=0)
@given(tensors=st.lists(PATTERNS, min_size=1, max_size=6), num_more=st.integers(0, 3))
def test_a_look_finds_the_largest_value(tensors: list[Tensor], num_more: int) -> None:
    """Of any 32 bits, of small tensors and of large ones, in any part of them; counts are those of `lift_each`."""
    of = [*tensors, *(x.repeat(SMALL) for x in tensors), *tensors[:num_more]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leading_bits, "_CHUNK", 2**12)
        filled, peaks = LogHistogram().look_at_each(of)
    assert [str(peak) for peak in peaks.tolist()] == [largest(x) for x in [*tensors, *tensors, *tensors[:num_more]]]
    assert [table.tolist() for table in filled.tables()] == [
        table.tolist() for table in LogHistogram().lift_each(of)().tables()
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("repeats", [1, SMALL])
def test_a_look_finds_the_largest_value_of_any_float(dtype: torch.dtype, repeats: int) -> None:
    """Rounded to float32, also to infinity and to zero; also where it is negative, and where there is NaN."""
    tensors = [torch.tensor(x, dtype=dtype) for x in ([0.1, -3.7], [1e-50], [-1e300], [float("nan"), 1.0])]
    _, peaks = LogHistogram().look_at_each([x.repeat(repeats) for x in tensors])
    assert [str(peak) for peak in peaks.tolist()] == [largest(x) for x in tensors]


@settings(max_examples=60)
@given(
    st.lists(PATTERNS, min_size=1, max_size=6),
    st.lists(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]), min_size=6, max_size=6),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_on_a_device_elements_are_counted_in_pieces_and_into_copies(
    tensors: list[Tensor], dtypes: list[torch.dtype], at_once: int, num_copies: int
) -> None:
    """Wherever the pieces are cut, and however many copies of the tables there are."""
    of = [x.to(dtype) for x, dtype in zip(tensors, dtypes, strict=False)]
    with pytest.MonkeyPatch.context() as patch, as_on_a_device():
        patch.setattr(leading_bits, "_AT_ONCE", at_once)
        patch.setattr(leading_bits, "_COPIES", num_copies)
        tables = list(LogHistogram().lift_each(of)().tables())
    assert [table.tolist() for table in tables] == [plain(x, 3) for x in of]


def test_of_no_tensor_there_is_no_table() -> None:
    """Nor a bin."""
    filled = LogHistogram().lift_each([])()
    assert list(filled.tables()) == []
    assert filled.linear(4)[0].shape == (0, 4)
    assert filled.linear()[0].shape == (0, 64)
    assert LogHistogram().tables([]).shape == (0, 4100)


# Linear bins


def plain_linear(seen: LogBins, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """One logarithmic bin after the other is spread over the linear ones."""
    half = len(seen.counts) // 2
    low = np.concatenate([seen.edges[:half], [0.0], seen.edges[half:-1]])
    high = np.concatenate([seen.edges[1 : half + 1], [0.0], seen.edges[half + 1 :]])
    counts = np.concatenate([seen.counts[:half], [seen.num_zero], seen.counts[half:]])
    low, high, counts = low[counts > 0], high[counts > 0], counts[counts > 0]
    if not len(counts):
        return np.zeros(bins, dtype=np.int64), np.linspace(0.0, 1.0, bins + 1)
    start, stop = low[0], high[-1]
    if start == stop:
        start, stop = start - 0.5, stop + 0.5
    edges = np.linspace(start, stop, bins + 1)
    below = np.zeros(bins + 1)
    for lo, hi, count in zip(low, high, counts, strict=True):
        below += count * (np.clip((edges - lo) / (hi - lo), 0, 1) if hi > lo else (edges > lo))
    below[0], below[-1] = 0, counts.sum()
    return np.diff(np.rint(below).astype(np.int64)), edges


def some_tensors() -> list[Tensor]:
    """Of many scales; one sign, one value, zeros alone, nothing, and the ends of what a float32 can be."""
    generator = torch.Generator().manual_seed(0)
    scales = [10.0**e for e in range(-44, 38, 3)]
    tensors = [scale * torch.randn(n, generator=generator) for scale in scales for n in (1, 2, 5, 300, 3000)]
    tensors += [x.abs() for x in tensors[::7]] + [-x.abs() for x in tensors[::5]]
    tensors += [torch.cat([x, torch.zeros(5), torch.ones(3)]) for x in tensors[::9]]
    tensors += [torch.cat([-x.abs(), torch.zeros(2)]) for x in tensors[::9]]
    return [*tensors, torch.zeros(4), torch.zeros(0), floats(ALL_ODD), floats(ODD), floats([0x7F800000, 0x7FC00000])]


@pytest.mark.parametrize("mantissa_bits", [0, 3, 6])
@pytest.mark.parametrize("bins", [1, 3, 64, 512])
def test_linear_bins_of_many_are_those_of_each(bins: int, mantissa_bits: int) -> None:
    """Counts and the bits of edges are those of the plain definition, by row and one by one."""
    histogram = LogHistogram(mantissa_bits)
    tensors = some_tensors()
    counts, edges = histogram.lift_each(tensors)().linear(bins)
    assert (counts.dtype, edges.dtype) == (np.int64, np.float64)
    for row, x in enumerate(tensors):
        seen = histogram.value(histogram.lift(x))
        expected = plain_linear(seen, bins)
        for found in ((counts[row], edges[row]), seen.linear(bins)):
            np.testing.assert_array_equal(found[0], expected[0])
            assert found[1].tobytes() == expected[1].tobytes()


@many
@given(st.lists(PATTERNS, max_size=4), st.integers(1, 9))
def test_linear_bins_of_any_floats(tensors: list[Tensor], bins: int) -> None:
    """For floats of any 32 bits."""
    counts, edges = LogHistogram().lift_each(tensors)().linear(bins)
    for row, x in enumerate(tensors):
        expected = plain_linear(LogHistogram().value(LogHistogram().lift(x)), bins)
        assert counts[row].tolist() == expected[0].tolist()
        assert edges[row].tobytes() == expected[1].tobytes()


def test_what_is_counted_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By elements; a tensor larger than that is alone."""
    monkeypatch.setattr(leading_bits, "_AT_ONCE", 10)
    assert list(leading_bits.runs([20, 20, 3, 3, 3, 3, *[1] * 12, 0, 0])) == [
        (20, 1), (20, 1), (3, 3), (3, 1), (1, 10), (1, 2), (0, 2),
    ]  # fmt: skip
    sizes = [[(row, len(x)) for row, x in part] for part in leading_bits.parts([torch.ones(n) for n in (4, 6, 1, 23)])]
    assert sizes == [[(0, 4), (1, 6)], [(2, 1)], [(3, 10)], [(3, 10)], [(3, 3)]]
