"""Labels from what a network gave, and how sure it was; by the one rule for scores.

    labels, confidence = classify(preds, "logits")     # of one class each: [N, C] or [N] scores, or [N] labels
    chosen, confidence = classify_labels(preds, kind)  # of a set of labels each: [N, L]
    mask = mask_of(preds)                              # of each pixel: [N, C, H, W] or [N, 1, H, W] scores, labels

`kind` is what all scores of an epoch are, as `ScoreRange` tells, or what `given` says. Torch only, on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwcallbacks.reductions.confusion import largest
from lwcallbacks.reductions.fitting import whole
from lwcallbacks.reductions.hardness import NO_LABEL as NO_LABEL
from lwcallbacks.reductions.hardness import is_one_score as is_one_score
from lwcallbacks.reductions.score_range import Kind, coded, decoded


def given(logits: bool | None) -> Kind | None:
    """What scores are by the user's word; None where all of them have to tell."""
    return None if logits is None else "logits" if logits else "probabilities"


def one_score(preds: Tensor) -> tuple[Tensor]:
    """The scores of which there is one for each label, [N], [N, 1, ...] or [N, H, W]; of others, and labels, none.

    Whether they are logits decides what is predicted.
    """
    return (preds if is_one_score(preds) else _nothing(preds),)


def several_scores(preds: Tensor) -> tuple[Tensor]:
    """The scores of which there are several for each label, [N, C, ...]: the largest wins, be they logits or not."""
    return (_nothing(preds) if is_one_score(preds) else preds,)


def _nothing(preds: Tensor) -> Tensor:
    return preds.new_zeros((len(preds), 0))


def classify(preds: Tensor, kind: Kind, threshold: float = 0.5) -> tuple[Tensor, Tensor | None]:
    """Predicted labels int64 [N], and the confidence in them float32 [N] where scores tell.

    Args:
        preds: integer labels [N] or [N, 1]; scores [N, C], of which the largest wins; or one score each, [N] or [N, 1],
            of class 1.
        kind: whether scores are probabilities or logits. Where that is not decided, several scores are probabilities
            if each row is of sum 1, as after an upsampling that left [0, 1].
        threshold: a probability of class 1 above it is a 1.

    The label is -1, and the confidence NaN, where a score is NaN or not of its kind.

        >>> classify(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), "logits")
        (tensor([0, 1]), tensor([0.8808, 0.7311]))
    """
    if not preds.is_floating_point():
        return whole(preds).reshape(len(preds)), None
    if is_one_score(preds):
        preds = preds.reshape(len(preds))
        labels = decoded(coded(preds, threshold), kind)
        return labels, _sureness(preds, kind).masked_fill(labels == NO_LABEL, torch.nan)
    best, labels = largest(preds)
    scores = preds.to(torch.float32)
    if kind == "undecided" and len(scores) and ((scores.sum(dim=1) - 1).abs() <= 1e-2).all():
        kind = "probabilities"
    shares = scores if kind == "probabilities" else scores.softmax(dim=1)
    return labels.masked_fill(best.isnan(), NO_LABEL), shares.amax(dim=1)


def classify_labels(preds: Tensor, kind: Kind, threshold: float = 0.5) -> tuple[Tensor, Tensor | None]:
    """Which labels were predicted, bool [N, L], and the confidence in the least sure of them, float32 [N].

    Args:
        preds: integers 0 or 1, or float scores, [N, L].
        kind: whether scores are probabilities or logits.
        threshold: a probability above it is a label.

    The confidence is NaN where a score is NaN or not of its kind, which is no label.

        >>> chosen, confidence = classify_labels(torch.tensor([[0.9, 0.25]]), "probabilities")
        >>> chosen.tolist(), confidence.tolist()
        ([[True, False]], [0.75])
    """
    if not preds.is_floating_point():
        return whole(preds) > 0, None
    labels = decoded(coded(preds, threshold), kind)
    return labels == 1, _sureness(preds, kind).masked_fill(labels == NO_LABEL, torch.nan).amin(dim=1)


def _sureness(scores: Tensor, kind: Kind) -> Tensor:
    share = scores.to(torch.float32)
    share = share.sigmoid() if kind == "logits" else share
    return torch.maximum(share, 1 - share)


def mask_of(preds: Tensor, threshold: float = 0.5, logits: bool | None = None) -> Tensor:
    """What is kept of predicted masks, [N, H, W]: labels int32, or codes uint8 that `mask_labels` reads.

    Args:
        preds: float scores [N, C, H, W], of which the largest wins; one score a pixel, [N, 1, H, W] or [N, H, W];
            labels [N, H, W] or [N, 1, H, W].
        threshold, logits: how to read one score a pixel.

    A number for each pixel, and not one for each of its classes.
    """
    if is_one_score(preds):
        return coded(_without_channel(preds), threshold, logits)
    if not preds.is_floating_point():
        return as_int32(whole(_without_channel(preds)))
    best, labels = largest(preds.detach())
    return labels.masked_fill(best.isnan(), NO_LABEL).to(torch.int32)


def mask_labels(mask: Tensor, kind: Kind) -> Tensor:
    """The labels int64 of a mask that `mask_of` or `truth_of` made; -1 where there is none."""
    return decoded(mask, kind) if mask.dtype == torch.uint8 else mask.to(torch.int64)


def truth_of(targets: Tensor) -> Tensor:
    """True masks [N, H, W] as int32, from labels [N, H, W] or [N, 1, H, W] of any dtype; floats are whole numbers."""
    return as_int32(whole(_without_channel(targets)))


def as_int32(labels: Tensor) -> Tensor:
    """int64 labels as int32; what does not fit is no class, and stays as far from one as can be."""
    return labels.clamp(-(2**31), 2**31 - 1).to(torch.int32)


def _without_channel(mask: Tensor) -> Tensor:
    return mask.squeeze(1) if mask.ndim == 4 else mask
