"""What is known of each sample that is shown: what was predicted, what is true, how sure and how wrong that was.

    samples = shown(chosen, kind, "multiclass", threshold=0.5)
    table = table_of(samples, images, name_of)

Numbers are worked out here, on the CPU and in float64, of the scores of those few samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lwcallbacks.callbacks.history import Labels, strip
from lwcallbacks.labels import NO_LABEL, classify, classify_labels, known, losses_of, shares_of
from lwcallbacks.media import Cell, Image, Table
from lwcallbacks.reductions import Chosen
from lwcallbacks.reductions.fitting import whole
from lwcallbacks.reductions.score_range import Kind

TOP = 3
EXACT = 2**53
"""A whole number from here on is text in a table: a page reads numbers as float64."""


@dataclass(frozen=True)
class Sample:
    """One of them. `pred` and `truth` are sets of labels, with None for an unknown one; what is not known is None."""

    id: int
    pred: Labels
    truth: Labels | None
    confidence: float | None
    loss: float | None
    top: Sequence[tuple[int, float]] | None
    """The labels of the largest probabilities, the largest first."""
    uncounted: Labels | None
    """Labels whose truth does not count; None for all."""

    @property
    def correct(self) -> bool | None:
        if self.truth is None or self.uncounted is None:
            return None
        return set(self.pred) - {*self.uncounted} == set(self.truth) - {*self.uncounted}


def shown(chosen: Chosen, kind: Kind, task: str, threshold: float, ignore_index: int | None = None) -> list[Sample]:
    """The samples of a choice whose payload is inputs, preds and targets; none where it has no payload."""
    if not chosen.payload:
        return []
    _, preds, targets = chosen.payload
    many, has_truth = task == "multilabel", targets.numel() > 0
    pred, confidence = predicted_sets(preds, kind, task, threshold)
    number = len(chosen.ids)
    labels = known(targets, ignore_index)
    truth = sets_of(labels if many else targets, many) if has_truth else [None] * number
    losses = losses_of(preds, labels, kind, multilabel=many) if has_truth else None
    shares = shares_of(preds, kind, multilabel=many)
    uncounted = _uncounted(labels) if has_truth else [None] * number
    numbers = (_known(confidence, number), _known(losses, number), _top(shares, number), uncounted)
    return [Sample(*row) for row in zip(chosen.ids.tolist(), pred, truth, *numbers, strict=True)]


def predicted_sets(preds: Tensor, kind: Kind, task: str, threshold: float) -> tuple[list[Labels], Tensor | None]:
    """The labels that were predicted for each sample, and the confidence in them."""
    if task == "multilabel":
        labels, confidence = classify_labels(preds, kind, threshold)
        unknown = labels[:, :0].any(dim=1) if confidence is None else confidence.isnan()
    else:
        labels, confidence = classify(preds, kind, threshold)
        unknown = (labels == NO_LABEL) & (confidence is not None)
    sets = zip(sets_of(labels, task == "multilabel"), unknown.tolist(), strict=True)
    return [[None] if none else one for one, none in sets], confidence


def sets_of(labels: Tensor, many: bool) -> list[Labels]:
    """The label, or the labels that are there, of each sample."""
    if many:
        return [row.nonzero().flatten().tolist() for row in whole(labels) > 0]
    found: list[Labels] = whole(labels).reshape(-1, 1).tolist()
    return found


def table_of(
    samples: Sequence[Sample],
    images: Sequence[Image] | None,
    name_of: Callable[[int | None], str],
    histories: Sequence[Sequence[Labels]] | None = None,
    scores: Tensor | None = None,
) -> Table:
    """A row for each sample, with a column for what is known of any of them.

    Args:
        images: one for each, or None.
        name_of: what a label is called.
        histories: what was predicted of each in the epochs so far, or None.
        scores: what the user's function gave for each, [N], or None.
    """

    def names(labels: Labels) -> str:
        return names_of(labels, name_of)

    def top(sample: Sample) -> str | None:
        if sample.top is None:
            return None
        return ", ".join(f"{name_of(label)} {share:.3f}" for label, share in sample.top)

    columns: dict[str, Sequence[Cell]] = {
        "image": [None] * len(samples) if images is None else images,
        "id": id_cells([sample.id for sample in samples]),
        "score": _known(scores, len(samples)),
        "pred": [names(sample.pred) for sample in samples],
        "target": [None if sample.truth is None else names(sample.truth) for sample in samples],
        "confidence": [sample.confidence for sample in samples],
        "loss": [sample.loss for sample in samples],
        "correct": [sample.correct for sample in samples],
        f"top-{TOP}": [top(sample) for sample in samples],
    }
    if histories is not None:
        columns["history"] = [strip(map(names, history)) for history in histories]
    return without_blanks(columns)


def without_blanks(columns: Mapping[str, Sequence[Cell]]) -> Table:
    """A table of its columns by name, but for those that have nothing in any of the rows.

    >>> without_blanks({"id": [1, 2], "loss": [None, 0.5], "image": [None, None]}).columns
    ('id', 'loss')
    """
    kept = {name: cells for name, cells in columns.items() if not cells or any(cell is not None for cell in cells)}
    return Table(tuple(kept), list(zip(*kept.values(), strict=True)))


def id_cells(ids: Sequence[int]) -> list[Cell]:
    """Ids as numbers, or as text where one is too large for a page's."""
    return [*ids] if all(abs(number) < EXACT for number in ids) else [*map(str, ids)]


def names_of(labels: Labels, name_of: Callable[[int | None], str]) -> str:
    """What is written of a sample's label, or set of labels."""
    return ",".join(map(name_of, labels)) or "none"


def _uncounted(truth: Tensor) -> list[Labels | None]:
    """Of each sample the places of -1 in its labels [N] or [N, L]; None where there is nothing else."""
    rows = (truth < 0).reshape(len(truth), -1)
    return [None if row.all() else row.nonzero().flatten().tolist() for row in rows]


def _known(numbers: Tensor | None, number: int) -> list[float | None]:
    if numbers is None:
        return [None] * number
    return [None if math.isnan(x) else x for x in numbers.tolist()]


def _top(shares: Tensor | None, number: int) -> list[Sequence[tuple[int, float]] | None]:
    if shares is None:
        return [None] * number
    best, labels = (t[:, :TOP].tolist() for t in shares.sort(dim=1, descending=True, stable=True))
    return [
        None if any(map(math.isnan, of_one)) else list(zip(at, of_one, strict=True))
        for of_one, at in zip(best, labels, strict=True)
    ]
