"""Tables of counts: what each row says, and what changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lwcallbacks.media import Matrix, confused_pairs, confusion_report, label_report

COUNTS = st.integers(2, 6).flatmap(lambda c: st.tuples(*[arrays(np.int64, (c, c), elements=st.integers(0, 9))] * 2))


def named(counts: np.ndarray) -> Matrix:
    return Matrix(counts, [f"c{i}" for i in range(len(counts))])


def test_the_rows_after_those_of_the_classes() -> None:
    """Averages have rates, numbers have a value; a class may have the name of one of them."""
    report = confusion_report(Matrix(np.array([[3, 1], [0, 4]]), ("accuracy", "dog")), cost=[[0, 1], [10, 0]])
    assert report.columns == ("class", "precision", "recall", "f1", "iou", "support", "value")
    assert report.rows[0] == ["accuracy", 1.0, 3 / 4, 6 / 7, 3 / 4, 4, None]
    averages = {row[0]: row[1:] for row in report.rows[2:5]}
    assert averages["macro average"] == [0.9, 7 / 8, pytest.approx((6 / 7 + 8 / 9) / 2), pytest.approx(0.775), 8, None]
    assert averages["micro average"] == [7 / 8, 7 / 8, 7 / 8, 7 / 9, 8, None]
    assert list(averages) == ["macro average", "weighted average", "micro average"]
    assert [[row[0], row[-1]] for row in report.rows[5:]] == [
        ["accuracy", 7 / 8], ["balanced accuracy", 7 / 8], ["Cohen's kappa", 3 / 4],
        ["Matthews", pytest.approx(0.7746, abs=1e-4)], ["mean cost", 1 / 8], ["total cost", 1.0],
    ]  # fmt: skip
    assert all(row[1:-1] == [None] * 4 + [8] for row in report.rows[5:])


@given(COUNTS)
def test_a_change_is_the_difference_of_two_tables(counts: tuple[np.ndarray, np.ndarray]) -> None:
    """Of F1 where a row has rates, of the value where it has one; None where one of the two is undefined."""
    new, old = (confusion_report(named(table)) for table in counts)
    both = confusion_report(named(counts[0]), before=counts[1])
    assert both.columns == (*new.columns, "change")
    for row, now, was in zip(both.rows, new.rows, old.rows, strict=True):
        place = 6 if row[0] in ("accuracy", "balanced accuracy", "Cohen's kappa", "Matthews") else 3
        assert row[:-1] == now
        assert row[-1] == (None if None in (now[place], was[place]) else now[place] - was[place])


def test_labels_change_as_classes_do() -> None:
    """From counts [L, 2, 2]."""
    counts = np.array([[[3, 1], [2, 4]], [[10, 0], [0, 0]]])
    rows = label_report(counts, ("cat", "dog"), before=counts[::-1]).rows
    assert [row[-1] for row in rows[:2]] == [None, None]
    assert [row[-1] for row in rows[2:]] == [0.0] * 7
    assert label_report(counts, ("cat", "dog"), before=counts).rows[0][-1] == 0


@given(COUNTS)
def test_the_pairs_are_the_cells_beside_the_diagonal(counts: tuple[np.ndarray, np.ndarray]) -> None:
    """The most frequent first; each with its share of the true class, and by how much it is more than it was."""
    now, was = counts
    table = confused_pairs(named(now), before=was)
    assert table.columns == ("true", "predicted", "count", "share of true", "change")
    found = [(int(t[1:]), int(p[1:]), *rest) for t, p, *rest in table.rows]
    size = len(now)
    expected = {(i, j) for i in range(size) for j in range(size) if i != j and (now[i, j] or was[i, j])}
    assert [(i, j) for i, j, *_ in found] == sorted(expected, key=lambda at: (-now[at], -max(now[at], was[at]), at))
    for i, j, count, share, change in found:
        assert (count, change) == (now[i, j], now[i, j] - was[i, j])
        assert share == now[i, j] / max(now[i].sum(), 1)


def test_at_most_50_pairs_are_shown() -> None:
    """A pair that was confused most and is no longer is one of them, with what it lost."""
    now, was = np.ones((30, 30), np.int64), np.zeros((30, 30), np.int64)
    now[3, 4], now[7, 8], was[7, 8] = 9, 0, 40
    rows = confused_pairs(named(now), before=was).rows
    assert len(rows) == 50
    assert rows[0] == ["c3", "c4", 9, 9 / 38, 9]
    assert rows[1] == ["c0", "c1", 1, 1 / 30, 1]
    assert rows[-1] == ["c7", "c8", 0, 0.0, -40]


def test_with_costs_the_dearest_pair_is_first() -> None:
    """One that costs nothing is last."""
    counts = np.array([[5, 3, 1], [0, 5, 2], [4, 0, 5]])
    table = confused_pairs(Matrix(counts, "abc"), cost=[[0, 1, 100], [0, 0, 2.5], [0, 0, 0]])
    assert table.columns == ("true", "predicted", "count", "share of true", "cost")
    assert [(row[0], row[1], row[4]) for row in table.rows] == [
        ("a", "c", 100.0), ("b", "c", 5.0), ("a", "b", 3.0), ("c", "a", 0.0),
    ]  # fmt: skip


def test_a_perfect_model_has_no_pairs() -> None:
    """The table is empty, and not the one of the last epoch."""
    assert confused_pairs(named(np.eye(3, dtype=np.int64))).rows == []
