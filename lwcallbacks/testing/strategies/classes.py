"""What metrics of classification take: scores or labels, and the true labels.

    binary_batches()                     # (float32 [N], int64 [N])
    multiclass_batches(num_classes=3)    # (float32 [N, C] that sum to 1, int64 [N])
    multilabel_batches(num_labels=3)     # (float32 [N, L], int64 [N, L])

Scores are of few values, so ties are common. In some data sets there is one class only, or a class is missing, or
all scores are equal, or all are right: what a curve or an average of classes makes of that is where metrics differ.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lwcallbacks.testing.samples import Args
from lwcallbacks.testing.strategies.numbers import grid, tensors
from lwcallbacks.testing.strategies.splitting import batches_of

Preds: TypeAlias = Literal["probs", "logits", "labels"]
Batches: TypeAlias = SearchStrategy[list[tuple[Tensor, Tensor]]]

# Of a whole data set. The ordinary comes first, since examples shrink to the front. All kinds draw the same things, and
# change them: an example that needs fewer draws would be smaller, and could not shrink to an ordinary one.
_KINDS = (*["ordinary"] * 4, "one class", "a missing class", "constant preds", "perfect preds")


@st.composite
def labelled_batches(
    draw: DrawFn,
    num_classes: int,
    *,
    scores: bool = True,
    out_of_range: bool = False,
    min_batches: int = 1,
    max_batches: int = 4,
    max_size: int = 6,
) -> list[tuple[Tensor, Tensor]]:
    """Batches (preds, targets) of uneven sizes, a batch of one among them, as a metric's `update` takes them.

    Args:
        num_classes: C; targets are int64 [N] in 0 to C - 1.
        scores: whether preds are float32 probabilities [N, C], multiples of 1/256, so that ties and exact sums are
            likely; else labels, int64 [N].
        out_of_range: whether labels may also be -1 or C.
        min_batches, max_batches, max_size: how many batches, and of how many samples at most.

    Examples:
        >>> from hypothesis import given
        >>> @given(labelled_batches(num_classes=3))
        ... def test(batches):
        ...     for preds, targets in batches:
        ...         assert preds.shape == (len(targets), 3) and targets.max() < 3
        >>> test()
    """
    low, high = (-1, num_classes) if out_of_range else (0, num_classes - 1)
    batches = []
    for _ in range(draw(st.integers(min_batches, max_batches))):
        n = draw(st.integers(1, max_size))
        labels = tensors(n, torch.int64, min_value=low, max_value=high)
        preds = draw(tensors((n, num_classes), torch.int64, max_value=256)) / 256 if scores else draw(labels)
        batches.append((preds, draw(labels)))
    return batches


def binary_batches(
    *,
    preds: Preds = "probs",
    shape: tuple[int, ...] = (),
    step: float = 0.05,
    ignore_index: int | None = None,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of two classes.

    Args:
        preds: "probs", float32 in 0 to 1; "logits", float32 in -5 to 5; or "labels", int64 0 or 1.
        shape: of a sample, as (2,) for metrics with `multidim_average`; both tensors are [N, *shape].
        step: scores are multiples of it.
        ignore_index: a label that some targets have beside 0 and 1.
        nan: whether scores may be NaN.
        degenerate: whether there are data sets of one class, or with equal or perfect preds.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from torchmetrics.classification import BinaryF1Score
        >>> from lwcallbacks.testing import check_metric
        >>> check_metric(BinaryF1Score, binary_batches(), laws=["batch_size", "order", "shards"], examples=10)
    """
    _checked(preds)

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from(_KINDS)) if degenerate else "ordinary"
        target = _target(draw, kind, (n, *shape), 2)
        return _preds(draw, kind, preds, target, 2, step, nan), _ignored(draw, target, ignore_index)

    return batches_of(samples, **sizes)


def multiclass_batches(
    num_classes: int = 3,
    *,
    preds: Preds = "probs",
    shape: tuple[int, ...] = (),
    step: float = 0.05,
    ignore_index: int | None = None,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of C classes, of which each sample has one.

    `labelled_batches` is for exact sums and labels out of range; these are probabilities as a softmax gives them.

    Args:
        num_classes: C.
        preds: "probs", float32 [N, C, *shape] that sum to 1 over C; "logits", of the same shape in -5 to 5; or
            "labels", int64 [N, *shape] in 0 to C - 1.
        shape: of a sample; target is int64 [N, *shape].
        step: scores are multiples of it.
        ignore_index: a label that some targets have beside 0 to C - 1.
        nan: whether scores may be NaN.
        degenerate: whether there are data sets of one class, without one of the classes, or with equal or perfect
            preds.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(multiclass_batches(4))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert preds.shape == (len(target), 4) and torch.allclose(preds.sum(1), torch.ones(len(target)))
        >>> test()
    """
    _checked(preds)

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from(_KINDS)) if degenerate else "ordinary"
        target = _target(draw, kind, (n, *shape), num_classes)
        if preds == "labels":
            found = _preds(draw, kind, preds, target, num_classes, step, nan)
        else:
            size = (n, *shape, num_classes)
            found = draw(grid(size, step=step)) if preds == "logits" else _simplex(draw, size, step)
            if kind == "perfect preds":
                found = torch.nn.functional.one_hot(target, num_classes).float()
            found = _with_nan(draw, _constant(found, kind).movedim(-1, 1), nan)
        return found, _ignored(draw, target, ignore_index)

    return batches_of(samples, **sizes)


def multilabel_batches(
    num_labels: int = 3,
    *,
    preds: Preds = "probs",
    shape: tuple[int, ...] = (),
    step: float = 0.05,
    ignore_index: int | None = None,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of L labels, of which each sample has any number; both are [N, L, *shape].

    Args:
        num_labels: L.
        preds: "probs", float32 in 0 to 1; "logits", float32 in -5 to 5; or "labels", int64 0 or 1.
        shape: of a label of a sample.
        step: scores are multiples of it.
        ignore_index: a value that some targets have beside 0 and 1.
        nan: whether scores may be NaN.
        degenerate: whether there are data sets in which all targets are the same, in which no sample has the first
            label, or with equal or perfect preds.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(multilabel_batches(2, preds="labels"))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert preds.shape == target.shape == (len(target), 2) and target.max() <= 1
        >>> test()
    """
    _checked(preds)

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from(_KINDS)) if degenerate else "ordinary"
        target = _target(draw, "ordinary" if kind == "a missing class" else kind, (n, num_labels, *shape), 2)
        if kind == "a missing class":
            target[:, 0] = 0
        return _preds(draw, kind, preds, target, 2, step, nan), _ignored(draw, target, ignore_index)

    return batches_of(samples, **sizes)


def _target(draw: DrawFn, kind: str, size: tuple[int, ...], classes: int) -> Tensor:
    target = _labels(draw, size, classes)
    if kind == "one class" and len(target):
        target[:] = target.flatten()[0]
    if kind == "a missing class" and classes > 2 and len(target):
        missing = target.flatten()[0].item()
        target[target == missing] = (missing + 1) % classes
    return target


def _checked(preds: Any) -> None:
    if preds not in get_args(Preds):
        raise ValueError(f"preds={preds!r}, expected 'probs', 'logits' or 'labels'")


def _preds(draw: DrawFn, kind: str, form: Preds, target: Tensor, classes: int, step: float, nan: bool) -> Tensor:
    """Labels of any number of classes, or the score of the second of two."""
    if form == "labels":
        found = _constant(_labels(draw, target.shape, classes), kind)
        return target.clone() if kind == "perfect preds" else found
    low, high = (0.0, 1.0) if form == "probs" else (-5.0, 5.0)
    found = _constant(draw(grid(target.shape, low=low, high=high, step=step)), kind)
    if kind == "perfect preds":
        found = torch.where(target > 0, high, low)
    return _with_nan(draw, found, nan)


def _labels(draw: DrawFn, size: tuple[int, ...], classes: int) -> Tensor:
    return draw(tensors(size, torch.int64, max_value=classes - 1))


def _constant(found: Tensor, kind: str) -> Tensor:
    return found[:1].expand_as(found).clone() if kind == "constant preds" else found


def _with_nan(draw: DrawFn, found: Tensor, nan: bool) -> Tensor:
    if nan:
        found[draw(tensors(found.shape, torch.int64, max_value=7)) == 7] = float("nan")
    return found


def _ignored(draw: DrawFn, target: Tensor, ignore_index: int | None) -> Tensor:
    if ignore_index is None:
        return target
    return torch.where(draw(tensors(target.shape, torch.int64, max_value=3)) == 3, ignore_index, target)


def _simplex(draw: DrawFn, size: tuple[int, ...], step: float) -> Tensor:
    """Multiples of a step that sum to 1 over the last dimension: the distances between sorted cuts of 0 to 1."""
    whole = round(1 / step)
    cuts = draw(tensors((*size[:-1], size[-1] - 1), torch.int64, max_value=whole)).sort(-1).values
    ends = torch.nn.functional.pad(cuts, (0, 1), value=whole)
    return (torch.diff(ends, dim=-1, prepend=torch.zeros_like(ends[..., :1])).double() / whole).float()
