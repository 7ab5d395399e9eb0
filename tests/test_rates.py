"""One computation of precision, recall and F1, whoever shows them."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lwcallbacks.media import Matrix, confusion_report, label_report
from lwcallbacks.reductions import macro_f1, micro_f1

COUNTS = st.integers(1, 6).flatmap(lambda c: arrays(np.int64, (c, c), elements=st.integers(0, 50)))
LABELS = st.integers(1, 6).flatmap(lambda n: arrays(np.int64, (n, 2, 2), elements=st.integers(0, 50)))


def same(number: float, cell: object) -> bool:
    return cell is None if math.isnan(number) else number == cell


@given(COUNTS)
def test_the_logged_f1_is_that_of_the_report(counts: np.ndarray) -> None:
    """To the last bit, also where classes never occur."""
    report = confusion_report(Matrix(counts, [str(i) for i in range(len(counts))]))
    assert same(macro_f1(torch.from_numpy(counts)), report.rows[-1][3])


@given(LABELS)
def test_the_logged_f1_of_labels_is_that_of_their_report(counts: np.ndarray) -> None:
    """The same of counts for each label."""
    report = label_report(counts, [str(i) for i in range(len(counts))])
    assert same(macro_f1(torch.from_numpy(counts)), report.rows[-1][3])


def test_the_values_by_hand() -> None:
    """Three cats of four found, and all four dogs: precision 1 and 4/5, recall 3/4 and 1, F1 6/7 and 8/9."""
    counts = np.array([[3, 1], [0, 4]])
    cat, dog, _ = confusion_report(Matrix(counts, ("cat", "dog"))).rows
    assert cat == ["cat", 1.0, 3 / 4, 6 / 7, 4]
    assert dog == ["dog", 4 / 5, 1.0, 8 / 9, 4]
    assert micro_f1(torch.from_numpy(counts)) == 7 / 8
