"""A few samples of each confused pair of classes, as thumbnails: what lies behind a cell of a confusion matrix.

    needs = example_needs(3, num_classes=10, task="multiclass", threshold=0.5, logits=None, ...)
    examples, thumbnails = examples_of(values, 10, logits=None)     # by pair, the hardest first
    examples_table(examples, images, matrix)                        # a row for each

Whether scores are logits decides how hard a sample is: see `select`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.select import READINGS, images_or_nothing, meant
from lwcallbacks.callbacks.shown import id_cells, without_blanks
from lwcallbacks.capture import Source
from lwcallbacks.labels import known, one_score, several_scores
from lwcallbacks.media import Image, Matrix, Table
from lwcallbacks.reductions import FieldError, PerGroup, ScoreRange, TopK
from lwcallbacks.reductions.hardness import hardness, predicted

SIDE = 32
"""Pixels of a thumbnail's longer side, at most."""
PLACES = 1024
"""Samples that are kept of all pairs, at most."""
EXAMPLES = frozenset({*READINGS, "sample", "range", "spread"})
"""The names of needs that `example_needs` may have."""


@dataclass(frozen=True)
class Example:
    """One of the samples; `loss` is None where there is none, as where preds are labels."""

    true: int
    predicted: int
    id: int
    loss: float | None


def example_needs(
    number: int,
    *,
    num_classes: int,
    task: str,
    threshold: float,
    logits: bool | None,
    ignore_index: int | None,
    source: Source,
) -> dict[str, Need]:
    """What keeps `number` samples of each confused pair. `ScoreRange` tells which of two readings was meant."""
    choice = PerGroup(TopK(number), min(number * num_classes * (num_classes - 1), PLACES))
    fields, optional = ("ids", "inputs", "preds", "targets"), frozenset({"inputs"})
    ways = READINGS if logits is None else {"sample": logits}
    needs = {
        name: Need(choice, fields, source, optional, _Confused(num_classes, threshold, reading, ignore_index))
        for name, reading in ways.items()
    }
    needs["range"] = Need(ScoreRange(asks=False), ("preds",), source, prepare=one_score)
    if task == "multiclass":
        needs["spread"] = Need(ScoreRange(asks=False), ("preds",), source, prepare=several_scores)
    return needs


def examples_of(
    values: Mapping[str, Any], num_classes: int, logits: bool | None
) -> tuple[list[Example], Tensor | None]:
    """The samples, by pair and hardest first, and their thumbnails [N, ...]; none where those could not be kept."""
    found = meant(values, logits)
    if found is None or not values[found[0]].payload:
        return [], None
    name, is_logits = found
    chosen = values[name]
    several = values.get("spread", "none seen") != "none seen"
    has_scores = several or values.get("range", "none seen") != "none seen"
    losses = _losses(chosen.scores, several, is_logits).tolist() if has_scores else [math.nan] * len(chosen.ids)
    rows = zip(chosen.groups.tolist(), chosen.ids.tolist(), losses, strict=True)
    examples = [
        Example(pair // num_classes, pair % num_classes, number, None if math.isnan(loss) else loss)
        for pair, number, loss in rows
    ]
    [thumbnails] = chosen.payload
    return examples, thumbnails if thumbnails.ndim > 2 else None


def captioned(examples: Sequence[Example], pixels: Sequence[np.ndarray]) -> list[Image]:
    """The image of each, with its id and loss."""
    losses = ("" if example.loss is None else f", loss {example.loss:.4g}" for example in examples)
    captions = [f"id {example.id}{loss}" for example, loss in zip(examples, losses, strict=True)]
    return [Image(shown, caption) for shown, caption in zip(pixels, captions, strict=True)]


def by_cell(examples: Sequence[Example], images: Sequence[Image]) -> dict[tuple[int, int], list[Image]]:
    """The images by true and predicted class; none where there are no images."""
    cells: dict[tuple[int, int], list[Image]] = {}
    for example, image in zip(examples, images, strict=False):
        cells.setdefault((example.true, example.predicted), []).append(image)
    return cells


def examples_table(examples: Sequence[Example], images: Sequence[Image], matrix: Matrix) -> Table:
    """A row for each example, those of the largest cells first; without images where there are none."""
    order = sorted(range(len(examples)), key=lambda i: -matrix.counts[examples[i].true, examples[i].predicted])
    names, ordered = matrix.class_names, [examples[i] for i in order]
    return without_blanks(
        {
            "true": [names[example.true] for example in ordered],
            "predicted": [names[example.predicted] for example in ordered],
            "image": [images[i] if images else None for i in order],
            "id": id_cells([example.id for example in ordered]),
            "loss": [example.loss for example in ordered],
        }
    )


@dataclass(frozen=True)
class _Confused:
    """Makes of the fields of a batch a group for each pair of classes, hardness, ids, and thumbnails."""

    num_classes: int
    threshold: float
    logits: bool
    ignore_index: int | None

    def __call__(self, ids: Tensor, inputs: Tensor | None, preds: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        targets = targets.squeeze(1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
        if preds.ndim > 2 or targets.ndim != 1:
            found = f"preds are {tuple(preds.shape)} and targets {tuple(targets.shape)}"
            raise FieldError(
                f"{found}, and examples_per_cell takes one label for each sample: write examples_per_cell=0"
            )
        truth = known(targets, self.ignore_index)
        labels = predicted(preds, logits=self.logits, threshold=self.threshold)
        counts = (labels != truth) & (labels >= 0) & (truth >= 0)
        counts &= (labels < self.num_classes) & (truth < self.num_classes)
        pairs = torch.where(counts, truth * self.num_classes + labels, -1)
        return pairs, self._hardness(preds, truth), ids, thumbnails(inputs, preds)

    def _hardness(self, preds: Tensor, truth: Tensor) -> Tensor:
        if preds.is_floating_point():
            return hardness(preds, truth, logits=self.logits)
        return torch.zeros_like(truth, dtype=torch.float32)  # then smaller ids go first


def thumbnails(inputs: Tensor | None, preds: Tensor) -> Tensor:
    """Images of at most `SIDE` pixels a side: every n-th pixel, as it is, so that no device rounds it in its own way.

    Of inputs that are no images [N, H, W] or [N, 1, 3 or 4, H, W], rows without numbers.
    """
    images = images_or_nothing(inputs, preds)
    is_drawn = images.ndim == 3 or (images.ndim == 4 and images.shape[1] in (1, 3, 4))
    if not is_drawn or images.is_complex():
        return images_or_nothing(None, preds)
    step = max(1, -(-max(images.shape[-2:]) // SIDE))
    top, left = (min(step // 2, (size - 1) // 2) for size in images.shape[-2:])
    return images[..., top::step, left::step]


def _losses(scores: Tensor, several: bool, logits: bool) -> Tensor:
    """The cross-entropy of which `hardness` [N] has the order."""
    if not logits:
        return 0.0 - (0.0 - scores).log().clamp(min=-100)
    return scores if several else torch.nn.functional.softplus(scores)
