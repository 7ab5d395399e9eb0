"""Tables that are computed from counts, and labels from scores, on the CPU.

    confusion_report(Matrix(counts, names))        # precision, recall, F1 and support of each class
    label_report(counts, names)                    # the same of each label, from counts [L, 2, 2]
    labels, confidence = classify(scores)          # [N, C] logits or probabilities, or [N] labels

An undefined ratio stays undefined: it is None, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
    columns = (ratio(hits, predicted), ratio(hits, there), ratio(2 * hits, predicted + there))
    rows = [[name, *(_cell(column[c]) for column in columns), int(there[c])] for c, name in enumerate(names)]
    averages = ["macro average", *(_cell(mean(column)) for column in columns), int(there.sum())]
    return Table((kind, "precision", "recall", "f1", "support"), [*rows, averages])


def _cell(value: Tensor | float) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number


def classify(preds: Tensor) -> tuple[Tensor, Tensor | None]:
    """Predicted labels int64 [N], and the confidence in them float32 [N] where scores tell.

    Args:
        preds: integer labels [N]; or scores [N, C], of which the largest wins. Rows that are probabilities already
            (within [0, 1], of sum 1) give the confidence as they are, others by softmax. Scores [N] or [N, 1] are of
            a binary task, a logit or, if all are in [0, 1], a probability.
    """
    if not preds.is_floating_point():
        return preds.to(torch.int64), None
    scores = preds.to(torch.float32)
    inside = ((scores >= 0) & (scores <= 1)).all()
    if scores.ndim == 1 or scores.shape[1] == 1:
        positive = scores.reshape(-1) if inside else scores.reshape(-1).sigmoid()
        return (positive > 0.5).to(torch.int64), torch.maximum(positive, 1 - positive)
    sums_to_one = torch.allclose(scores.sum(dim=1), torch.ones(len(scores)), atol=1e-2)
    shares = scores if inside and sums_to_one else scores.softmax(dim=1)
    confidence, labels = shares.max(dim=1)
    return labels, confidence


def classify_labels(preds: Tensor, threshold: float = 0.5, logits: bool = False) -> tuple[Tensor, Tensor | None]:
    """Which labels were predicted, bool [N, L], and the confidence in the least sure of them, float32 [N].

    Args:
        preds: integers 0 or 1, or float scores, [N, L].
        threshold: a probability above it is a label.
        logits: whether scores are logits.
    """
    if not preds.is_floating_point():
        return preds > 0, None
    scores = preds.to(torch.float32)
    scores = scores.sigmoid() if logits else scores
    return scores > threshold, torch.maximum(scores, 1 - scores).amin(dim=1)
