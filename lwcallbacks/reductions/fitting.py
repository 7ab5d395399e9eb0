"""Predictions and targets as they come, brought to one another's shape, or refused with what to write.

    preds, targets = fitted(preds, targets, num_classes=5, task="multiclass")
    labels = whole(targets)                            # int64 of any dtype

Only shapes and dtypes decide, never the data, so a device is not waited for; but for `are_whole`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MAX, FieldError

FRACTION = -(2**62) - 1
"""Stands for a float label that is no whole number: out of range, as every negative label is."""


def whole(labels: Tensor) -> Tensor:
    """Labels of any real dtype as int64; a float that is not whole as `FRACTION`, a huge uint64 as the last one."""
    if labels.dtype == torch.int64:
        return labels
    labels = labels.detach()
    if labels.is_floating_point():
        labels = labels.to(torch.float64 if labels.dtype == torch.float64 else torch.float32)
        is_whole = (labels == labels.floor()) & (labels.abs() < 2.0**62)
        return torch.where(is_whole, labels, 0).to(torch.int64).masked_fill(~is_whole, FRACTION)
    if labels.dtype == torch.uint64:
        labels = labels.view(torch.int64)
        return torch.where(labels < 0, INT64_MAX, labels)
    return labels.to(torch.int64)


def are_whole(labels: Tensor) -> bool:
    """Whether all are whole numbers. Of floats the data is looked at, for which a device is waited for.

    >>> are_whole(torch.tensor([0.0, 1.0])), are_whole(torch.tensor([0.0, 0.3]))
    (True, False)
    """
    if labels.is_complex():
        return False
    return not labels.is_floating_point() or not bool((whole(labels) == FRACTION).any())


def fitted(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> tuple[Tensor, Tensor]:
    """`preds` and `targets` [N, ...] in shapes that fit; a channel of one is squeezed where they then do.

    They fit where the shapes are equal, [N, L, ...] for `task="multilabel"`; or where multiclass float scores are
    [N, C, ...] and targets [N, ...].

    Raises:
        ValueError: they do not fit in one way only; with what was found, what was expected and what to write.
    """
    if _fit(preds, targets, num_classes, task):
        if _may_be_one_hot(preds, targets, num_classes, task):
            raise FieldError(_complaint(preds, targets, num_classes, task))
        return preds, targets
    one_label = task == "multilabel" and num_classes == 1
    scores, labels = (preds.unsqueeze(1), targets.unsqueeze(1)) if one_label else (preds, targets)
    for p, t in ((scores, labels), (scores, _squeezed(labels)), (_squeezed(scores), labels)):
        if _fit(p, t, num_classes, task):
            return p, t
    raise FieldError(_complaint(preds, targets, num_classes, task))


def _squeezed(tensor: Tensor) -> Tensor:
    return tensor.squeeze(1) if tensor.ndim > 1 else tensor


def _fit(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> bool:
    if task == "multilabel":
        return preds.shape == targets.shape and preds.shape[1:2] == (num_classes,)
    if task == "binary" or not preds.is_floating_point():
        return preds.shape == targets.shape
    if preds.shape == (*targets.shape[:1], num_classes, *targets.shape[1:]):
        return True
    return num_classes == 2 and preds.shape == targets.shape  # one score a target is that of class 1


def _may_be_one_hot(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> bool:
    """Whether two scores a target could be meant, and a target could be the one that is not 0."""
    if task != "multiclass" or num_classes != 2 or not preds.is_floating_point():
        return False
    return preds.shape == targets.shape and preds.shape[1:2] == (2,)


def _complaint(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> str:
    found = f"preds are {preds.dtype} {tuple(preds.shape)} and targets {targets.dtype} {tuple(targets.shape)}"
    return (
        f"{found}, expected {_expected(preds, targets, num_classes, task)}{_advice(preds, targets, num_classes, task)}"
    )


def _expected(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> str:
    if task == "multilabel":
        return f"(N, {num_classes}, ...) of both"
    if task == "binary":
        return "one shape"
    if not preds.is_floating_point():
        return "one shape, or multiclass float scores (N, C, ...)"
    shape = (*targets.shape[:1], num_classes, *targets.shape[1:])
    one = ", one score for each target" if num_classes == 2 else ""
    return f"float scores {shape}{one} or integer labels"


def _advice(preds: Tensor, targets: Tensor, num_classes: int, task: str) -> str:
    """What to write instead, where the shapes tell what was meant."""
    p, t = tuple(preds.shape), tuple(targets.shape)
    if not p or not t or p[0] != t[0]:
        return ": give a prediction for each target"
    channels = p[1] if len(p) > 1 else None
    if p == t and task == "multilabel":
        return f": preds have {channels} labels, so write num_labels={channels}" if channels else ""
    if p == t and task == "multiclass" and channels == num_classes:
        return ": for one-hot or soft targets write targets=lambda outputs, batch: batch[1].argmax(1)" + (
            ", for a score a target task='binary'" if num_classes == 2 else ""
        )
    if p == t:
        return ": for scores of two classes write num_classes=2, for labels preds=lambda outputs, batch: ....long()"
    if p == (t[0], channels, *t[1:]):
        return _of_channels(preds, channels, num_classes, task)
    if len(p) == len(t) + 1 and p[:-1] == t:
        order = ".squeeze(-1)" if p[-1] == 1 else ".movedim(-1, 1)"
        return f": write preds=lambda outputs, batch: ...{order}"
    if len(t) == len(p) + 1 and t[:-1] == p and t[-1] == 1:
        return ": write targets=lambda outputs, batch: ....squeeze(-1)"
    return ""


def _of_channels(preds: Tensor, channels: int | None, num_classes: int, task: str) -> str:
    if not preds.is_floating_point():
        return ": write preds=lambda outputs, batch: ....argmax(1)"
    if task == "binary":
        return f": preds have {channels} classes, so write task='multiclass' with num_classes={channels}"
    if task == "multilabel":
        return f": each sample has one target, so write ConfusionMatrix({channels})"
    if channels == 1:
        return ": preds have one channel, so write num_classes=2"
    return f": preds have {channels} classes, so write num_classes={channels}, as in ConfusionMatrix({channels})"
