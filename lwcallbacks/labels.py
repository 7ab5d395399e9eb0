"""Labels from what a network gave, and how sure it was; by the one rule for scores.

    labels, confidence = classify(preds, "logits")     # of one class each: [N, C] or [N] scores, or [N] labels
    chosen, confidence = classify_labels(preds, kind)  # of a set of labels each: [N, L]
    shares = shares_of(preds, kind)                    # the probability of each class or label
    losses = losses_of(preds, targets, kind)           # the cross-entropy of each sample
    truth = known(targets, ignore_index=255)           # int64, -1 for what does not count
    mask = mask_of(preds)                              # of each pixel: [N, C, H, W] or [N, 1, H, W] scores, labels

`kind` is what all scores of an epoch are, as `ScoreRange` tells, or what `given` says. Torch only, on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwcallbacks.reductions.confusion import largest
from lwcallbacks.reductions.fitting import whole
from lwcallbacks.reductions.hardness import NO_LABEL as NO_LABEL
from lwcallbacks.reductions.hardness import is_one_score as is_one_score
from lwcallbacks.reductions.score_range import Kind, coded, decoded


def known(targets: Tensor, ignore_index: int | None = None) -> Tensor:
    """Labels of any real dtype as int64; -1 where one does not count: what is negative, and `ignore_index`.

    >>> known(torch.tensor([3.0, -100.0, 255.0]), ignore_index=255)
    tensor([ 3, -1, -1])
    """
    labels = whole(targets)
    counts = labels >= 0 if ignore_index is None else (labels >= 0) & (labels != ignore_index)
    return torch.where(counts, labels, NO_LABEL)


def given(logits: bool | None) -> Kind | None:
    """What scores are by the user's word; None where all of them have to tell."""
    return None if logits is None else "logits" if logits else "probabilities"


def one_score(preds: Tensor) -> tuple[Tensor]:
    """The scores of which there is one for each label, [N], [N, 1, ...] or [N, H, W]; of others, and labels, none.

    Whether they are logits decides what is predicted.
    """
    return (preds if is_one_score(preds) else nothing(preds),)


def several_scores(preds: Tensor) -> tuple[Tensor]:
    """The scores of which there are several for each label, [N, C, ...]: the largest wins, be they logits or not."""
    return (nothing(preds) if is_one_score(preds) else preds,)


def nothing(like: Tensor) -> Tensor:
    """Rows without numbers, [N, 0], for a field that is missing or not meant."""
    return like.new_zeros((len(like), 0))


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
    shares = _shares_of_classes(preds.to(torch.float32), kind)
    return labels.masked_fill(best.isnan(), NO_LABEL), shares.amax(dim=1)


def _are_probabilities(scores: Tensor, kind: Kind) -> bool:
    """Whether float scores [N, C] are those of classes, for all that is known of their kind."""
    undecided = kind == "undecided" and len(scores) > 0
    return kind == "probabilities" or (undecided and bool(((scores.sum(dim=1) - 1).abs() <= 1e-2).all()))


def _shares_of_classes(scores: Tensor, kind: Kind) -> Tensor:
    return scores if _are_probabilities(scores, kind) else scores.softmax(dim=1)


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


def shares_of(preds: Tensor, kind: Kind, *, multilabel: bool = False) -> Tensor | None:
    """The probabilities of classes or labels, float64 [N, C]; None of labels, and of one score for each sample.

    Args:
        preds, kind: as for `classify`; with `multilabel` as for `classify_labels`.

        >>> shares_of(torch.tensor([[0.25, 0.75]]), "probabilities").tolist()
        [[0.25, 0.75]]
    """
    if not preds.is_floating_point() or (is_one_score(preds) and not multilabel):
        return None
    scores = preds.to(torch.float64)
    if multilabel:
        return scores.sigmoid() if kind == "logits" else scores
    return _shares_of_classes(scores, kind)


def losses_of(preds: Tensor, targets: Tensor, kind: Kind, *, multilabel: bool = False) -> Tensor | None:
    """The cross-entropy of each sample, float64 [N]; of several labels their mean. None where there are no scores.

    Args:
        preds, kind: as for `classify`; with `multilabel` as for `classify_labels`.
        targets: labels [N]; with `multilabel` 0 and 1, [N, L].

    NaN where a label is none or a score is not of its kind. Of a probability of 0 it is 100, as for `torch.nn.BCELoss`.

        >>> losses_of(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), "probabilities")
        tensor([0.6931], dtype=torch.float64)
    """
    if not preds.is_floating_point():
        return None
    scores, truth = preds.to(torch.float64), whole(targets)
    if multilabel:
        return _losses_of_labels(scores, truth, kind).mean(dim=1)
    if is_one_score(preds):
        return _losses_of_labels(scores.reshape(len(scores)), truth, kind)
    known = (truth >= 0) & (truth < scores.shape[1])
    logs = _log(scores) if _are_probabilities(scores, kind) else scores.log_softmax(dim=1)
    own = logs.gather(1, truth.where(known, torch.zeros_like(truth))[:, None]).squeeze(1)
    return (0.0 - own).masked_fill(~known, torch.nan)  # never -0.0


def _losses_of_labels(scores: Tensor, truth: Tensor, kind: Kind) -> Tensor:
    if kind == "logits":
        losses = nn.functional.softplus(torch.where(truth == 1, -scores, scores))
    else:
        losses = 0.0 - _log(torch.where(truth == 1, scores, 1 - scores))
    return losses.masked_fill((truth != 0) & (truth != 1), torch.nan)


def _log(shares: Tensor) -> Tensor:
    return shares.masked_fill((shares < 0) | (shares > 1), torch.nan).log().clamp(min=-100)


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
