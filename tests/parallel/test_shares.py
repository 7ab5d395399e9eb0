"""Nested data is cut along its samples and put together in their order, whatever it is nested in."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lwcallbacks.parallel.shares import gather, scatter, weighted_mean
from lwcallbacks.testing.same import difference

Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass(frozen=True)
class Record:
    image: Any
    label: Any


def tensors(n: int) -> st.SearchStrategy[torch.Tensor]:
    shapes = st.lists(st.integers(0, 3), max_size=2).map(lambda rest: (n, *rest))
    dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool])
    return st.builds(lambda shape, dtype: torch.rand(shape).mul(9).to(dtype), shapes, dtypes)


def nested(n: int) -> st.SearchStrategy[Any]:
    """Data of n samples, with at least one tensor, and much that is none."""
    plain = st.sampled_from([None, "a word", 3, 2.5, True, b"bytes", ("of", "three", "words"), [1, 2], {}, ()])
    per_sample = st.builds(lambda kind: kind(f"name {i}" for i in range(n)), st.sampled_from([list, tuple]))
    leaf = st.one_of(tensors(n), tensors(n), per_sample, plain)
    tree = st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda parts: [*parts, None]),
            st.tuples(inner, inner, st.just("end")),
            st.builds(Pair, inner, inner),
            st.builds(Record, inner, inner),
            st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
            st.builds(lambda a: OrderedDict(a=a), inner),
            st.builds(lambda a: defaultdict(list, a=a), inner),
        ),
        max_leaves=8,
    )
    return st.builds(lambda x, rest: {"x": x, "rest": rest}, tensors(n), tree)


@given(data=st.data(), n=st.integers(0, 12), num_shares=st.integers(1, 8))
@settings(max_examples=80, deadline=None)
def test_what_is_cut_and_gathered_is_what_it_was(data: Any, n: int, num_shares: int) -> None:
    """Values, order, types and containers, for any number of samples and shares."""
    batch = data.draw(nested(n))
    shares = scatter(batch, num_shares)
    assert len(shares.parts) == len(shares.sizes) <= num_shares
    assert sum(shares.sizes) == n
    assert shares.sizes == [len(chunk) for chunk in torch.zeros(max(n, 1)).chunk(num_shares)] or n == 0
    assert difference(gather(shares.parts, shares.sizes), batch) is None


@given(data=st.data(), n=st.integers(1, 12), num_shares=st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_a_share_holds_its_own_samples(data: Any, n: int, num_shares: int) -> None:
    """Tensors and lists of one string per sample are cut at the same places."""
    x = data.draw(tensors(n))
    names = [f"{i}" for i in range(n)]
    shares = scatter((x, {"names": names}), num_shares)
    start = 0
    for (part, rest), size in zip(shares.parts, shares.sizes, strict=True):
        assert torch.equal(part, x[start : start + size])
        assert rest["names"] == names[start : start + size]
        start += size


def test_a_batch_without_samples_makes_one_share() -> None:
    """Nothing tells how to cut it: no tensor, or scalars only."""
    for batch in (3, None, ["a", "b"], {"t": torch.tensor(1.0)}):
        shares = scatter(batch, 4)
        assert shares.parts == [batch]
        assert shares.parts[0] is batch


def test_a_scalar_of_the_batch_goes_to_every_share() -> None:
    """As a scalar."""
    shares = scatter((torch.arange(4), torch.tensor(7)), 2)
    assert [part[1].item() for part in shares.parts] == [7, 7]


def test_unlike_numbers_of_samples_are_an_error() -> None:
    """It names each tensor by its place, and what to do."""
    with pytest.raises(ValueError, match=r"found 8 in batch\['x'\], 5 in batch\['weights'\], expected one number"):
        scatter({"x": torch.zeros(8, 2), "weights": torch.zeros(5)}, 2)


def test_scalars_are_averaged_by_samples_or_stacked() -> None:
    """Floats; a scalar of another type has no mean and is stacked in any case."""
    outputs = [
        {"loss": torch.tensor(1.0), "count": torch.tensor(3), "took": 1.0},
        {"loss": torch.tensor(5.0), "count": torch.tensor(1), "took": 3.0},
    ]
    averaged = gather(outputs, [3, 1])
    assert difference(averaged, {"loss": torch.tensor(2.0), "count": torch.tensor([3, 1]), "took": 1.5}) is None
    stacked = gather(outputs, [3, 1], average=False)
    expected = {"loss": torch.tensor([1.0, 5.0]), "count": torch.tensor([3, 1]), "took": [1.0, 3.0]}
    assert difference(stacked, expected) is None
    assert difference(gather([torch.tensor(0.1)], [3]), torch.tensor(0.1)) is None
    assert difference(gather([torch.tensor(0.1)], [3], average=False), torch.tensor([0.1])) is None


def test_other_values_are_theirs_if_they_agree_and_else_a_list() -> None:
    """Strings, numbers, arrays, lists that are not of samples."""
    assert gather(["a", "a"], [2, 1]) == "a"
    assert gather(["a", "b"], [2, 1]) == ["a", "b"]
    assert gather([True, 1], [2, 1]) == [True, 1]
    assert gather([None, None], [2, 1]) is None
    assert gather([["a", "b"], ["c"]], [2, 1]) == ["a", "b", "c"]
    assert gather([["a", "b", "c"], ["d"]], [2, 1]) == [["a", "b", "c"], ["d"]]
    assert gather([[1, 2], [3]], [2, 1]) == [[1, 2], [3]]
    arrays = [torch.arange(2).numpy(), torch.arange(2).numpy()]
    assert gather(arrays, [2, 2]) == arrays


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([{"a": torch.ones(2)}, {"b": torch.ones(2)}], r"unlike values as output: dict of \['a'\], dict of \['b'\]"),
        ([torch.ones(2), None], "unlike values as output: Tensor, NoneType"),
        ([[torch.ones(2)], [torch.ones(2)] * 2], r"unlike values as output: list of \[0\], list of \[0, 1\]"),
        ([[torch.ones(2)], (torch.ones(2),)], r"list of \[0\], tuple of \[0\]"),
        ([{"a": torch.ones(2, 7)}, {"a": torch.ones(2, 9)}], r"as output\['a'\]: \(2, 7\), \(2, 9\).*Pad them"),
        ([torch.ones(2), torch.ones(())], r"unlike shapes as output: \(2,\), \(\)"),
    ],
)
def test_outputs_that_do_not_fit_together_are_an_error(outputs: Any, message: str) -> None:
    """It says what each replica returned, and where in the output."""
    with pytest.raises(ValueError, match=message):
        gather(outputs, [2, 2])


def test_a_value_of_no_sample_has_no_weight() -> None:
    """A mean over nothing is NaN; it does not spoil the others. One value keeps its bits."""
    assert weighted_mean([float("nan"), 2.0], [0, 3]) == 2.0
    assert weighted_mean([0.1, 0.7], [0, 0]) == pytest.approx(0.4)
    assert weighted_mean([0.1], [3]) == 0.1
