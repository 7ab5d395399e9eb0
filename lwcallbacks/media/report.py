"""Tables that are worked out from counts, on the CPU.

    confusion_report(Matrix(counts, names))        # precision, recall, F1 and support of each class
    label_report(counts, names)                    # the same of each label, from counts [L, 2, 2]

An undefined ratio stays undefined: it is None, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwcallbacks.media.values import Matrix, Table


def confusion_report(matrix: Matrix) -> Table:
    """One row per class and one of macro averages; columns class, precision, recall, f1, support.

    A ratio 0 / 0 (a class that was never predicted, or never there) is None, and left out of the averages.
    """
    counts = matrix.counts
    return _report("class", matrix.class_names, counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1))


def label_report(counts: np.ndarray, class_names: Sequence[str]) -> Table:
    """The same of L labels, from counts int64 [L, 2, 2] with the truth as rows; the first column is label."""
    return _report("label", class_names, counts[:, 1, 1], counts[:, :, 1].sum(axis=1), counts[:, 1].sum(axis=1))


def _report(kind: str, names: Sequence[str], hits: np.ndarray, predicted: np.ndarray, there: np.ndarray) -> Table:
    columns = (_ratio(hits, predicted), _ratio(hits, there), _ratio(2 * hits, predicted + there))
    rows = [[name, *(_cell(column[c]) for column in columns), int(there[c])] for c, name in enumerate(names)]
    averages = [_cell(column[~np.isnan(column)].mean()) if not np.isnan(column).all() else None for column in columns]
    return Table(
        (kind, "precision", "recall", "f1", "support"), [*rows, ["macro average", *averages, int(there.sum())]]
    )


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return ratio


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
