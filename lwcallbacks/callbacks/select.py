"""Which samples a callback shows: by a word or by a function of the user's; as needs, and what was kept by them.

    needs = select_needs("hardest", 32, seed=0, task="multiclass", threshold=0.5, logits=None, source=source)
    chosen = meant(values, logits=None)         # a Chosen with the payload inputs, preds, targets
    need = sample_need(score, 16, 0, ("inputs",), source, frozenset(), prepare)     # without labels

How hard a sample is depends on whether scores are logits. Where nobody says it, all scores of an epoch decide, which is
known at its end: so both choices are kept until then. Inputs that are no images are not kept, nor is what is missing:
such a payload has rows without numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.refused import LabelsFound
from lwcallbacks.callbacks.sample import expect_channels_first
from lwcallbacks.capture import Source
from lwcallbacks.labels import is_one_score, known, nothing
from lwcallbacks.reductions import Choice, FieldError, First, PerGroup, RandomSample, TopK
from lwcallbacks.reductions.hardness import doubt, hardness, predicted

# In this order, and with Any: see `Extract`.
Select: TypeAlias = str | Callable[..., Any]

WORDS = ("first", "random", "hardest", "easiest", "wrong", "least_confident", "per_class")
PLAIN = ("random", "first")
"""Those that depend on no prediction and no target."""
STAYING = ("first", "random", "per_class")
"""Words by which the same samples are shown in every epoch."""
_NEEDING_SCORES = ("hardest", "easiest", "least_confident")
_NEEDING_TARGETS = ("hardest", "easiest", "wrong", "per_class")
_BY_READING = ("hardest", "easiest", "wrong", "least_confident")
READINGS = {"as_probabilities": False, "as_logits": True}
"""Names of needs of which one is meant, and whether scores are logits for it."""


def check_select(owner: str, select: object, seed: object, words: Sequence[str] = WORDS) -> None:
    """Raise ValueError for a choice or a seed that is none. `words` are those that the owner knows."""
    if not callable(select) and not (isinstance(select, str) and (select in words or "." in select)):
        told = ", ".join(map(repr, words))
        expected = f"one of {told}, or a function of outputs and batch that gives a score for each sample"
        raise ValueError(f"{owner}: select={select!r}, expected {expected}")
    if not isinstance(seed, int):
        first = "; for the first samples of the data set write select='first'" if seed in (None, "first") else ""
        raise ValueError(f"{owner}: seed={seed!r}, expected an int{first}")


def sample_need(
    select: Select,
    num_samples: int,
    seed: int,
    fields: tuple[str, ...],
    source: Source,
    optional: frozenset[str],
    prepare: Callable[..., tuple[Tensor, ...]],
) -> Need:
    """What `prepare` makes of ids and fields of samples that need no labels to be chosen: `PLAIN` or by a score."""
    if select in PLAIN:
        name = "position" if select == "first" else "ids"
        return Need(_choice(select, num_samples, seed), (name, *fields), source, optional, prepare)
    scored = _with_score(source, select)
    return Need(TopK(num_samples), ("ids", *fields, "select"), scored, optional, _Scored(prepare))


def select_needs(
    select: Select,
    num_samples: int,
    *,
    seed: int,
    task: str,
    threshold: float,
    logits: bool | None,
    source: Source,
    ignore_index: int | None = None,
    optional: frozenset[str] = frozenset(),
) -> dict[str, Need]:
    """One need, "sample", or those of `READINGS`, which keep inputs, preds and targets of the chosen samples.

    Args:
        ignore_index: a target that does not count.
        optional: which of the fields may be missing.
    """
    rated = Rated(select if select in WORDS else "score", task, threshold, bool(logits), ignore_index)
    fields: tuple[str, ...] = ("position" if select == "first" else "ids", "inputs", "preds", "targets")
    if rated.select == "score":
        fields, source = (*fields, "select"), _with_score(source, select)
    choice = _choice(rated.select, num_samples, seed)
    by_reading = rated.select in _BY_READING and logits is None
    ways = READINGS if by_reading else {"sample": rated.logits}
    return {
        name: Need(choice, fields, source, optional, replace(rated, logits=reading)) for name, reading in ways.items()
    }


def meant(values: Mapping[str, Any], logits: bool | None) -> tuple[str, bool] | None:
    """The name of the need that was meant, and whether it took scores for logits; None where it has no value.

    `values` hold what `ScoreRange` says of scores of which there is one for each label, "range", and of others,
    "spread". Where it leaves that open, scores of classes are logits, as of a network that has just begun; a single
    one is a probability, as everywhere here.
    """
    several = values.get("spread", "none seen")
    kind = values.get("range", "none seen") if several == "none seen" else several
    is_logits = logits if logits is not None else kind == "logits" or several == "undecided"
    reading = "as_logits" if is_logits else "as_probabilities"
    name = reading if reading in values else "sample"
    return (name, is_logits) if name in values else None


@dataclass(frozen=True)
class Rated:
    """Makes of the fields of a batch what a choice takes: what samples go by, their ids, inputs, preds and targets."""

    select: str
    task: str
    threshold: float
    logits: bool
    ignore_index: int | None = None

    def __call__(
        self,
        ids: Tensor,
        inputs: Tensor | None,
        preds: Tensor,
        targets: Tensor | None = None,
        score: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        preds, targets = (of_sets if self.task == "multilabel" else of_labels)(preds, targets)
        if self.task == "binary" and not is_one_score(preds) and preds.is_floating_point():
            expected = f"one score for each sample: preds have {preds.shape[1]} classes, so write task='multiclass'"
            raise FieldError(f"{_shapes(preds, targets)}, expected {expected}")
        self._expect_all(preds, targets)
        expect_channels_first(inputs=inputs)
        kept = (images_or_nothing(inputs, preds), preds, nothing(preds) if targets is None else targets)
        truth = None if targets is None else known(targets, self.ignore_index)
        return (*self._order(preds, truth, score), ids, *kept)

    def _expect_all(self, preds: Tensor, targets: Tensor | None) -> None:
        if targets is None and self.select in _NEEDING_TARGETS:
            raise FieldError(f"select={self.select!r} needs targets, and none were found: write select='random'")
        if self.select in _NEEDING_SCORES and not preds.is_floating_point():
            found = f"select={self.select!r} needs scores, and preds are {preds.dtype} {tuple(preds.shape)}"
            raise LabelsFound(
                f"{found}: give the scores, as in preds=lambda outputs, batch: ..., or a score of your own, as in "
                "select=lambda outputs, batch: ..., or write select='wrong'"
            )

    def _order(self, preds: Tensor, truth: Tensor | None, score: Tensor | None) -> tuple[Tensor, ...]:
        """What comes before the ids: a score, a group, or nothing."""
        many = self.task == "multilabel"
        match self.select:
            case "hardest" | "easiest":
                assert truth is not None
                return (hardness(preds, truth, logits=self.logits, multilabel=many),)
            case "least_confident":
                return (doubt(preds, logits=self.logits, multilabel=many),)
            case "wrong":
                assert truth is not None
                labels = predicted(preds, logits=self.logits, threshold=self.threshold, multilabel=many)
                unlike = (labels != truth) & (truth >= 0)  # -1 is no label, of which none can be right
                return ((unlike.any(dim=1) if many else unlike).to(torch.int64) - 1,)
            case "per_class":
                assert truth is not None
                return (truth,)
            case "score":
                assert score is not None
                return (_one_each(score, len(preds)),)
            case _:
                return ()


def _choice(select: Select, num_samples: int, seed: int) -> Choice:
    match select:
        case "first":
            return First(num_samples)
        case "random":
            return RandomSample(num_samples, seed)
        case "easiest":
            return TopK(num_samples, largest=False)
        case "wrong" | "per_class":
            return PerGroup(RandomSample(num_samples, seed), num_samples)
        case _:
            return TopK(num_samples)


def _with_score(source: Source, select: Select) -> Source:
    # The field is called as the argument is, so that what is said of it names the argument.
    return replace(source, more=(*source.more, ("select", select)))


@dataclass(frozen=True)
class _Scored:
    """What `prepare` makes of a batch, behind the score of each sample, which comes last."""

    prepare: Callable[..., tuple[Tensor, ...]]

    def __call__(self, ids: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        *fields_of_sample, score = fields
        return (_one_each(score, len(ids)), *self.prepare(ids, *fields_of_sample))


def _one_each(score: Tensor, number: int) -> Tensor:
    score = score.squeeze(1) if score.ndim == 2 and score.shape[1] == 1 else score
    # One number for a whole batch comes expanded to all its rows.
    if score.ndim != 1 or score.is_complex() or (number > 1 and score.stride(0) == 0):
        found = "one number for the whole batch" if score.ndim == 1 else f"{score.dtype} {tuple(score.shape)}"
        raise FieldError(f"select gives {found}, expected a number for each sample, as a loss with reduction='none'")
    return score


def of_labels(preds: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Preds [N], [N, 1] or float [N, C] with targets [N], for which [N, 1] will do."""
    if targets is not None and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    labels = preds.ndim == 1 or (preds.ndim == 2 and (preds.shape[1] == 1 or preds.is_floating_point()))
    if not labels or (targets is not None and targets.ndim != 1):
        expected = "preds as float scores (N, C) or labels (N,), and targets as labels (N,)"
        raise FieldError(f"{_shapes(preds, targets)}, expected {expected}{_for_sets(preds, targets)}")
    return preds, targets


def of_sets(preds: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Preds and targets [N, L]."""
    if preds.ndim != 2 or (targets is not None and targets.shape != preds.shape):
        raise FieldError(
            f"{_shapes(preds, targets)}, expected both (N, L); for one label a sample write task='multiclass'"
        )
    return preds, targets


def images_or_nothing(inputs: Tensor | None, preds: Tensor) -> Tensor:
    """Inputs [N, H, W] or [N, C, H, W], also of a number of channels that no image has; else rows without numbers."""
    return nothing(preds) if inputs is None or inputs.ndim < 3 else inputs


def _shapes(preds: Tensor, targets: Tensor | None) -> str:
    found = f"preds are {preds.dtype} {tuple(preds.shape)}"
    return found if targets is None else f"{found} and targets {targets.dtype} {tuple(targets.shape)}"


def _for_sets(preds: Tensor, targets: Tensor | None) -> str:
    if preds.ndim == 4:
        return "; for a label a pixel write MaskGrid()"
    same = targets is not None and targets.shape == preds.shape and preds.ndim == 2
    if not same:
        return ""
    one_hot = "for one-hot targets write targets=lambda outputs, batch: batch[1].argmax(1)"
    numbers = (
        ", for numbers that are no labels ScalarMetrics" if targets is not None and targets.is_floating_point() else ""
    )
    return f"; {one_hot}, for a set of labels a sample task='multilabel'{numbers}"
