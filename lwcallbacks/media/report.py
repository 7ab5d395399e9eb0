"""Tables that are computed from counts, on the CPU.

    confusion_report(Matrix(counts, names))        # precision, recall, F1 and support of each class
    label_report(counts, names)                    # the same of each label, from counts [L, 2, 2]

An undefined ratio stays undefined: it is None, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from lwcallbacks.media.names import distinct
from lwcallbacks.media.values import Matrix, Table
from lwcallbacks.rates import mean, per_class, ratio


def confusion_report(matrix: Matrix) -> Table:
    """One row per class and one of macro averages; columns class, precision, recall, f1, support.

    A ratio 0 / 0 (a class that was never predicted, or never there) is None, and left out of the averages.

    >>> report = confusion_report(Matrix(np.array([[3, 1], [0, 4]]), ("cat", "dog")))
    >>> report.rows[0]
    ['cat', 1.0, 0.75, 0.8571428571428571, 4]
    """
    return _report("class", matrix.class_names, matrix.counts)


def label_report(counts: np.ndarray, class_names: Sequence[str]) -> Table:
    """The same of L labels, from counts int64 [L, 2, 2] with the truth as rows; the first column is label."""
    return _report("label", distinct(class_names), counts)


def _report(kind: str, names: Sequence[str], counts: np.ndarray) -> Table:
    hits, predicted, there = per_class(torch.as_tensor(counts))
    ratios = [ratio(hits, predicted), ratio(hits, there), ratio(2 * hits, predicted + there)]
    cells = [list(map(_cell, column.tolist())) for column in ratios]
    rows = [list(row) for row in zip(names, *cells, there.tolist(), strict=True)]
    averages = ["macro average", *(_cell(float(mean(column))) for column in ratios), int(there.sum())]
    return Table((kind, "precision", "recall", "f1", "support"), [*rows, averages])


def _cell(number: float) -> float | None:
    return None if math.isnan(number) else number
