"""Of many classes those that are confused most are kept, and nothing that was counted is lost."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lwcallbacks.media import Matrix, confused_block

COUNTS = st.integers(4, 12).flatmap(lambda c: arrays(np.int64, (c, c), elements=st.integers(0, 4) | st.just(2**40)))


def named(counts: np.ndarray) -> Matrix:
    return Matrix(counts, [f"c{i}" for i in range(len(counts))])


def kept(block: Matrix) -> list[int]:
    return [int(name.removeprefix("c")) for name in block.class_names[:-1]]


@given(COUNTS, st.integers(2, 4))
def test_no_count_is_lost(counts: np.ndarray, size: int) -> None:
    """The block between the classes that are kept, their rows and columns, and all together are as they were."""
    block = confused_block(named(counts), size)
    classes = kept(block)
    assert len(set(classes)) == size - 1
    assert block.class_names[-1] == f"(other {len(counts) - size + 1})"
    assert (block.counts[:-1, :-1] == counts[np.ix_(classes, classes)]).all()
    assert (block.counts.sum(axis=1)[:-1] == counts.sum(axis=1)[classes]).all()
    assert (block.counts.sum(axis=0)[:-1] == counts.sum(axis=0)[classes]).all()
    assert block.counts.sum() == counts.sum()


@given(COUNTS, st.integers(3, 4))
def test_the_pair_that_is_confused_most_is_in_it(counts: np.ndarray, size: int) -> None:
    """Both ways together; the same counts give the same classes in the same order."""
    both = np.triu(counts + counts.T, 1)
    classes = kept(confused_block(named(counts), size))
    assert both.max() in (counts + counts.T)[np.ix_(classes, classes)]
    assert kept(confused_block(named(counts.copy()), size)) == classes


def grouped(seed: int) -> tuple[np.ndarray, list[set[int]]]:
    """200 classes of which three groups of four are confused among themselves, wherever they are; and those groups."""
    random = np.random.default_rng(seed)
    counts = np.diag(np.full(200, 50))
    classes = random.permutation(200)[:12].reshape(3, 4)
    for group in classes:
        for i in group:
            counts[i, [j for j in group if j != i]] = random.integers(5, 9, 3)
    for i, j in random.integers(0, 200, (100, 2)):
        counts[i, j] += i != j
    return counts, [set(group.tolist()) for group in classes]


@pytest.mark.parametrize("seed", range(5))
def test_classes_that_are_confused_are_neighbours(seed: int) -> None:
    """Each group stands together, by SciPy's optimal order of leaves."""
    counts, groups = grouped(seed)
    classes = kept(confused_block(named(counts), 13))
    assert set(classes) == set.union(*groups)
    assert sorted(map(sorted, groups)) == sorted(sorted(classes[i : i + 4]) for i in (0, 4, 8))


def test_without_scipy_they_are_in_the_order_of_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most first, those of equally many by class; the classes are the same."""
    counts, groups = grouped(0)
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    classes = kept(confused_block(named(counts), 13))
    assert set(classes) == set.union(*groups)
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    assert classes == sorted(classes, key=lambda i: (-errors[i], i))
    assert len({int(errors[i]) for i in classes}) > 3


def test_classes_that_are_confused_with_none_follow_by_frequency() -> None:
    """A model without a mistake has a block, too."""
    counts = np.diag(np.arange(1, 151))
    assert set(kept(confused_block(named(counts)))) == set(range(111, 150))
