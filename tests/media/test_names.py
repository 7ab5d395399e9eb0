"""No two classes look the same."""

from __future__ import annotations

import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lwcallbacks.media import Matrix, confusion_report, distinct, fitted, label_report, shorten
from lwcallbacks.media.names import labels_of
from lwcallbacks.media.values import Table


@given(st.lists(st.sampled_from(["a", "a (1)", "a (2)", "b", "", "a (1) (1)"])))
def test_names_are_distinct_and_stay_so(names: list[str]) -> None:
    """As many as before; a name that is there once is kept, and a second time nothing changes."""
    told = distinct(names)
    assert len(set(told)) == len(told) == len(names)
    assert distinct(told) == told
    assert all(new == old for new, old in zip(told, names, strict=True) if names.count(old) == 1)


def width(text: str) -> int:
    """Letters that are as wide as two count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@given(st.text(st.one_of(st.characters(), st.sampled_from("abc漢字…"))), st.integers(4, 30))
def test_a_short_name_has_both_its_ends(name: str, limit: int) -> None:
    """It is as wide as it may be, and one that fits is untouched."""
    short = shorten(name, limit)
    if width(name) <= limit:
        assert short == name
        return
    assert limit - 2 <= width(short) <= limit
    start, end = short.split("…", 1) if "…" not in name else (short[: short.rindex("…")], "")
    assert name.startswith(start)
    assert name.endswith(end)
    if "…" not in name:
        assert abs(width(start) - width(end)) <= 3


def test_names_that_differ_in_the_middle_are_told_apart() -> None:
    """Both would be cut to the same."""
    names = ["x" * 20 + str(i) + "y" * 20 for i in range(3)]
    assert len(set(labels_of(names, 12))) == 3


def test_equal_names_are_told_apart_in_matrices_and_reports() -> None:
    """A row for each class, each with a name of its own, wherever they are written."""
    matrix = Matrix(np.eye(2, dtype=np.int64), ["cat", "cat"])
    assert matrix.class_names == ("cat", "cat (1)")
    [table] = fitted({"m": matrix}, (Table,)).values()
    assert isinstance(table, Table)
    assert table.columns == ("true / predicted", "cat", "cat (1)")
    assert [row[0] for row in confusion_report(matrix).rows][:3] == ["cat", "cat (1)", "macro average"]
    assert [row[0] for row in label_report(np.zeros((2, 2, 2), int), ["cat", "cat"]).rows][:2] == ["cat", "cat (1)"]
