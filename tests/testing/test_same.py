"""What `difference` says of two values: the first place and what each has there, by bits or by closeness."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from lwcallbacks.testing.same import Closeness, difference, differing, plainly, same_in_another_order, shown

NAN, INF = float("nan"), float("inf")


def t(*values: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


SAME = [
    (1.5, 1.5), (NAN, NAN), (t(NAN, 1.0), t(NAN, 1.0)), (t(1 + 2j), t(1 + 2j)), ("a", "a"), (None, None),
    ({"a": [1, (t(2),)]}, {"a": [1, (t(2),)]}), (np.ones(2), torch.ones(2, dtype=torch.float64)), (t(), t()),
    (np.float64(2.0), np.float64(2.0)), (SimpleNamespace(x=t(1.0)), SimpleNamespace(x=t(1.0))), (len, len),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_bits_are_no_difference(a: Any, b: Any) -> None:
    """Whatever holds them; a NaN is a NaN."""
    assert difference(a, b) is None


UNLIKE = [
    (1.5, 2.5, "1.5 and 2.5"),
    (0.0, -0.0, "0.0 and -0.0"),
    (NAN, 1.0, "nan and 1.0"),
    (1.0, NAN, "1.0 and nan"),
    (1, 1.0, "1 and 1.0"),
    (True, 1, "True and 1"),
    (t(1.0, 0.0), t(1.0, -0.0), "[1]: 0.0 and -0.0"),
    (t(1.0, NAN), t(1.0, 2.0), "[1]: nan and 2.0"),
    (t([1, 2], [3, 4]), t([1, 2], [5, 6]), "[1, 0]: 3 and 5"),
    (torch.tensor(1.0), torch.tensor(2.0), "1.0 and 2.0"),
    (t(1 + 2j), t(1 + 3j), "[0, 1]: 2.0 and 3.0"),
    (t(1), t(1, 2), "int64 of shape (1,) and int64 of shape (2,)"),
    (t(1), t(1.0), "int64 of shape (1,) and float32 of shape (1,)"),
    (t(1.0), [1.0], "float32 [1.0] and [1.0]"),
    ([1.0], np.ones(1), "[1.0] and float64 [1.0]"),
    ({"a": 1}, {"b": 1}, "keys ['a'] and keys ['b']"),
    ({"a": {2: 1.0}}, {"a": {2: 3.0}}, "['a'][2]: 1.0 and 3.0"),
    ([1, 2], [1], "2 items and 1 items"),
    ([1, (2, 3)], [1, (2, 4)], "[1][1]: 3 and 4"),
    ((1,), [1], "(1,) and [1]"),
    (SimpleNamespace(x=1, y=2), SimpleNamespace(x=1, y=3), ".y: 2 and 3"),
    (SimpleNamespace(x=1), SimpleNamespace(x=1, y=3), ".y: None and 3"),
    (len, max, "<built-in function len> and <built-in function max>"),
]


@pytest.mark.parametrize(("a", "b", "told"), UNLIKE)
def test_the_first_difference_is_told_with_its_place(a: Any, b: Any, told: str) -> None:
    """Types, dtypes, shapes and signs of zero count."""
    assert difference(a, b) == told


def test_floats_may_be_close() -> None:
    """Within atol + rtol |b|; infinities and NaN are close to themselves alone, integers to nothing."""
    close = Closeness(atol=0.5, rtol=0.1)
    for make in (float, lambda x: torch.tensor(x, dtype=torch.float64)):
        for a, b, is_close in [
            (10.0, 11.5, True), (11.5, 10.0, True), (10.0, 11.75, False), (11.75, 10.0, False), (0.0, -0.5, True),
            (INF, INF, True), (INF, 1e300, False), (1.0, INF, False), (INF, -INF, False), (NAN, NAN, True),
            (NAN, 1.0, False),
        ]:  # fmt: skip
            assert (difference(make(a), make(b), close) is None) == is_close, (a, b)
    assert difference({"a": [1.0]}, {"a": [1.25]}, close) is None
    assert difference(SimpleNamespace(x=1.0), SimpleNamespace(x=1.25), close) is None
    assert difference(10, 11, close) == "10 and 11"


@pytest.mark.parametrize(
    ("dtype", "words"), [(torch.float16, torch.int16), (torch.float32, torch.int32), (torch.float64, torch.int64)]
)
def test_the_bits_of_nans_count_where_they_are_asked_for(dtype: torch.dtype, words: torch.dtype) -> None:
    """Of every width of floats, in whatever holds them."""
    nan = t(NAN, dtype=dtype)
    other = (nan.view(words) + 1).view(dtype)
    for a, b in [(nan, other), ({"a": nan}, {"a": other}), ([nan], [other])]:
        assert difference(a, b) is None
        assert difference(a, b, nan_bits=True) is not None
        assert difference(a, a, nan_bits=True) is None
    assert difference(SimpleNamespace(x=nan), SimpleNamespace(x=other), nan_bits=True) is not None


def test_a_difference_is_shortened_to_what_tells_two_floats_apart() -> None:
    """Three digits, or as many as it takes; anything else as it is shown."""
    assert differing(2 / 3, 0.5).shortly() == ("0.667", "0.5")  # type: ignore[union-attr]
    assert differing(0.123456, 0.123467).shortly() == ("0.12346", "0.12347")  # type: ignore[union-attr]
    assert differing(0.0, -0.0).shortly() == ("0", "-0")  # type: ignore[union-attr]
    assert differing(0.1, 0.1 + 2**-56).shortly() == ("0.1", "0.10000000000000002")  # type: ignore[union-attr]
    assert differing(t(1), t(2)).shortly() == ("1", "2")  # type: ignore[union-attr]
    assert differing([1], []).shortly() == ("1 items", "0 items")  # type: ignore[union-attr]


IDS, SCORES = t(1, 2, 3), t(0.5, NAN, 0.25)
ROWS = t([2, 0], [1, 9], [1, 3])


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (t(3, 1, 2), IDS, True),
        (t(3, 1, 1), IDS, False),
        (t(3.0, 1.0, 2.0), IDS, False),
        (ROWS.flip(0), ROWS, True),
        (["c", "a", "b"], ["a", "b", "c"], True),
        ([{"x": t(2)}, {"x": t(1)}, {"x": t(1)}], [{"x": t(1)}, {"x": t(2)}, {"x": t(1)}], True),
        ([{"x": t(2)}, {"x": t(2)}, {"x": t(1)}], [{"x": t(1)}, {"x": t(2)}, {"x": t(1)}], False),
        ({"id": t(3, 1, 2), "score": t(0.25, 0.5, NAN)}, {"id": IDS, "score": SCORES}, True),
        ({"id": t(3, 1, 2), "score": SCORES}, {"id": IDS, "score": SCORES}, False),
        ({"id": t(3, 1, 2), "of all": 1.0}, {"id": IDS, "of all": 2.0}, False),
        ((t(3, 1, 2), "x"), (IDS, "x"), True),
        (t(2.0, 1.0), t(1.0, 2.0), False),
        ((1, 3, 2), (1, 2, 3), False),
    ],
)
def test_values_of_samples_may_be_in_another_order(found: Any, expected: Any, same: bool) -> None:
    """All of them in one and the same; what has another number of entries stays where it is."""

    def turned() -> Any:
        return tree_map(lambda x: x.flip(0) if isinstance(x, torch.Tensor) and x.ndim else x, expected)

    assert same_in_another_order(found, expected, 3, None, turned) is same


def test_what_does_not_move_with_the_samples_is_not_theirs() -> None:
    """Three classes beside three samples, and sorted numbers; it has to be the same as it is."""
    expected = {"id": IDS, "by class": t(7, 8, 9)}
    turned = {"id": IDS.flip(0), "by class": t(7, 8, 9)}
    moved = {"id": t(3, 1, 2), "by class": t(7, 8, 9)}
    assert same_in_another_order(moved, expected, 3, None, lambda: turned)
    assert not same_in_another_order({**moved, "by class": t(9, 8, 7)}, expected, 3, None, lambda: turned)
    assert same_in_another_order(t(3.0, 1.1), t(1.0, 3.1), 2, Closeness(atol=0.2), lambda: t(3.1, 1.0))
    assert not same_in_another_order(t(3.0), t(1.0), 1, None, lambda: t(1.0))


def test_what_is_shown_of_a_value() -> None:
    """Up to 2,000 numbers of a tensor and 2,000 characters of a text; dtypes with them."""
    assert shown(t(1, 2)) == "int64 [1, 2]"
    assert shown(torch.zeros(2000)).startswith("float32 [0.0, ")
    assert shown(torch.zeros(2001)) == "float32 tensor (2001,)"
    assert shown({"a": (1,), "b": [(1, "x")]}) == "{'a': (1,), 'b': [(1, 'x')]}"
    assert shown("x" * 1998) == repr("x" * 1998)
    assert shown("x" * 1999) == f"'{'x' * 1999} ... (2001 characters)"
    assert (plainly(torch.tensor(2 / 3)), plainly(1234567.0), plainly(3)) == ("0.666667", "1.23457e+06", "3")
    assert plainly(t(1)) == "int64 [1]"
