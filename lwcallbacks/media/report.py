"""Tables that are computed from counts, on the CPU.

    confusion_report(Matrix(counts, names))        # precision, recall, F1, IoU and support of each class, and of all
    label_report(counts, names)                    # the same of each label, from counts [L, 2, 2]
    confused_pairs(Matrix(counts, names))          # what is taken for what, the most frequent first

An undefined ratio stays undefined: it is None, not 0. With `before`, the counts of an earlier epoch, each table has a
column "change".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from lwcallbacks.media.names import distinct
from lwcallbacks.media.values import Cell, Matrix, Table
from lwcallbacks.rates import Cost, averages, overall, per_class, rates

RATES = ("precision", "recall", "f1", "iou")
MAX_PAIRS = 50
_NUMBERS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "cohen_kappa": "Cohen's kappa",
    "matthews_corrcoef": "Matthews",
    "mean_cost": "mean cost",
    "total_cost": "total cost",
}
"""The numbers of `overall` that have a row of their own; the others are in the row of macro averages."""


def confusion_report(matrix: Matrix, before: np.ndarray | None = None, cost: Cost | None = None) -> Table:
    """One row for each class, then the averages over the classes, then numbers of all classes.

    The columns are class, precision, recall, f1, iou, support and value. Rows of classes, and those of the "macro
    average", "weighted average" and "micro average", have no value; "accuracy", "balanced accuracy", "Cohen's kappa",
    "Matthews" and with `cost` "mean cost" and "total cost" have only that. With `before`, the counts of the last epoch,
    a column "change" has by how much F1, or the value, is larger than it was.

    A ratio 0 / 0 (a class that was never predicted, or never there) is None, and left out of the averages:
    `lwcallbacks.rates` says how each number is defined.

    >>> report = confusion_report(Matrix(np.array([[3, 1], [0, 4]]), ("cat", "dog")))
    >>> report.rows[0]
    ['cat', 1.0, 0.75, 0.8571428571428571, 0.75, 4, None]
    >>> report.rows[-2]
    ["Cohen's kappa", None, None, None, None, 8, 0.75]
    """
    return _report("class", matrix.class_names, matrix.counts, before, cost)


def label_report(
    counts: np.ndarray, class_names: Sequence[str], before: np.ndarray | None = None, cost: Cost | None = None
) -> Table:
    """The same of L labels, from counts int64 [L, 2, 2] with the truth as rows; the first column is label.

    The numbers of all labels are those of all their decisions together; the balanced accuracy is the mean of theirs.
    """
    return _report("label", distinct(class_names), counts, before, cost)


def confused_pairs(matrix: Matrix, before: np.ndarray | None = None, cost: Cost | None = None) -> Table:
    """What is taken for what: true and predicted class, how often, and the share of the true class; at most 50 rows.

    The most frequent pair is first, and of equal ones that of the first class. With `cost` a column has what each pair
    costs, and the most expensive one is first. With `before`, the counts of the last epoch, a column "change" has by
    how much the count is larger than it was, and a pair that is no longer confused stays for one table more.

    >>> confused_pairs(Matrix(np.array([[3, 1], [4, 4]]), ("cat", "dog")), before=np.array([[2, 2], [4, 4]])).rows
    [['dog', 'cat', 4, 0.5, 0], ['cat', 'dog', 1, 0.25, -1]]
    """
    counts, names = np.asarray(matrix.counts), matrix.class_names
    seen = counts if before is None else np.maximum(counts, before)
    true, predicted = np.nonzero(seen * ~np.eye(len(counts), dtype=bool))
    found = counts[true, predicted]
    prices = np.ones(len(found)) if cost is None else np.asarray(cost, np.float64)[true, predicted]
    kept = np.argsort(-prices * seen[true, predicted], kind="stable")[:MAX_PAIRS]
    kept = kept[np.argsort(-(prices * found)[kept], kind="stable")]
    there = counts.sum(axis=1)
    columns: dict[str, list[Cell]] = {
        "true": [names[i] for i in true[kept]],
        "predicted": [names[i] for i in predicted[kept]],
        "count": found[kept].tolist(),
        "share of true": (found / np.maximum(there[true], 1))[kept].tolist(),
    }
    if cost is not None:
        columns["cost"] = (prices * found)[kept].tolist()
    if before is not None:
        columns["change"] = (found - before[true, predicted])[kept].tolist()
    return Table(tuple(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def _report(kind: str, names: Sequence[str], counts: np.ndarray, before: np.ndarray | None, cost: Cost | None) -> Table:
    rows = _rows(names, counts, cost)
    columns: tuple[str, ...] = (kind, *RATES, "support", "value")
    if before is None:
        return Table(columns, rows)
    was = _rows(names, before, cost)
    return Table((*columns, "change"), [[*row, _change(row, old)] for row, old in zip(rows, was, strict=True)])


def _rows(names: Sequence[str], counts: np.ndarray, cost: Cost | None) -> list[list[Cell]]:
    table = torch.as_tensor(np.ascontiguousarray(counts))
    there, total = per_class(table)[2], int(table.sum())
    of_class = [list(map(_cell, rates(table)[name].tolist())) for name in RATES]
    rows: list[list[Cell]] = [[*row, None] for row in zip(names, *of_class, there.tolist(), strict=True)]
    for average, of in averages(table).items():
        rows.append([f"{average} average", *(_cell(of[name]) for name in RATES), int(there.sum()), None])
    numbers = overall(table, cost)
    return rows + [
        [text, *[None] * len(RATES), total, _cell(numbers[name])] for name, text in _NUMBERS.items() if name in numbers
    ]


_F1, _VALUE = 1 + RATES.index("f1"), -1


def _change(row: Sequence[Cell], old: Sequence[Cell]) -> float | None:
    place = _F1 if row[_VALUE] is None and old[_VALUE] is None else _VALUE
    new, was = row[place], old[place]
    return new - was if isinstance(new, float) and isinstance(was, float) else None


def _cell(number: float) -> float | None:
    return None if math.isnan(number) else number
