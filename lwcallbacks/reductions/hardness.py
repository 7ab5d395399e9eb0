"""How hard samples are, and how unsure a network was of them: float32 [N] with the same bits on every device.

    hardness(preds, targets, logits=True)     # the larger, the larger the cross-entropy
    doubt(preds, logits=True)                 # the larger, the smaller the confidence

These are orders for a choice, larger ones first: `TopK` keeps the samples, and what is shown as their loss is
worked out of their scores at the end.

Libraries add and exponentiate in an order of their own on each device and for each shape of a batch. So here are only
single additions, multiplications and divisions, which IEEE 754 rounds alike everywhere, and sums in one fixed order.
`exp` reduces its argument by multiples of ln 2 in two parts, `log1p` takes the series of the inverse hyperbolic tangent
(W. J. Cody, W. Waite, Software Manual for the Elementary Functions, 1980); both are within 3e-7 of the true value.
Nothing looks at a value, so a device is not waited for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwcallbacks.reductions.confusion import largest
from lwcallbacks.reductions.fitting import whole
from lwcallbacks.reductions.floats import as_float32
from lwcallbacks.reductions.score_range import positives

NO_LABEL = -1
"""Of a score that is NaN, or no probability where it should be one."""

_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the first has 9 bits: its product with an exponent is exact
_EXP = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
_ATANH = (2 / 9, 2 / 7, 2 / 5, 2 / 3)
_ROOT_OF_HALF = 0x3F3504F3
"""The bits of 0.70710678."""
_MOST = 100.0
"""The loss of a label whose probability is 0, as `torch.nn.BCELoss` has it."""


def is_one_score(preds: Tensor) -> bool:
    """Whether a float field has one score for each label: [N], [N, 1, ...] or [N, H, W]."""
    return preds.is_floating_point() and (preds.ndim in (1, 3) or preds.shape[1] == 1)


def predicted(preds: Tensor, *, logits: bool, threshold: float = 0.5, multilabel: bool = False) -> Tensor:
    """The predicted labels, int64 [N]; with `multilabel` 0 and 1, [N, L]. -1 where a score tells nothing.

    Args:
        preds: integer labels [N] or [N, 1]; scores [N, C], of which the largest wins; or one score each, [N] or [N, 1].
            With `multilabel` integers 0 or 1, or one score each, [N, L].
        logits: whether scores are logits; else they are probabilities.
        threshold: where there is one score for each label: a probability above it is a 1.

    >>> predicted(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), logits=True)
    tensor([0, 1])
    """
    if not preds.is_floating_point():
        labels = whole(preds)
        return (labels > 0).to(torch.int64) if multilabel else labels.reshape(len(preds))
    if multilabel or is_one_score(preds):
        scores = preds if multilabel else preds.reshape(len(preds))
        return positives(scores, threshold, logits).to(torch.int64).masked_fill(_is_unfit(scores, logits), NO_LABEL)
    best, labels = largest(preds.detach())
    return labels.masked_fill(best.isnan(), NO_LABEL)


def hardness(preds: Tensor, targets: Tensor, *, logits: bool, multilabel: bool = False) -> Tensor:
    """In the order of the cross-entropy of float scores with the true labels; NaN where there is none.

    Args:
        preds: float scores [N, C]; one score each [N] or [N, 1]; with `multilabel` [N, L].
        targets: labels [N]; with `multilabel` 0 and 1, [N, L].
        logits: whether scores are logits, else probabilities.

    Of logits [N, C] it is the cross-entropy. Of several labels it is the sum of theirs.

        >>> hardness(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]), logits=True)
        tensor([0.1269, 2.1269])
    """
    scores, targets = as_float32(preds), whole(targets)
    if multilabel:
        return _folded(_loss_of_label(scores, targets, logits))
    if is_one_score(preds):
        return _against(scores.reshape(len(scores)), targets, logits)
    known = (targets >= 0) & (targets < scores.shape[1])
    own = scores.gather(1, torch.where(known, targets, 0)[:, None]).squeeze(1)
    if logits:
        best, rest = _best_and_rest(scores)
        loss = log1p(rest) + (best - own)
    else:
        loss = -own
    return torch.where(known, loss, torch.nan)


def doubt(preds: Tensor, *, logits: bool, multilabel: bool = False) -> Tensor:
    """In the order of falling confidence, of several labels in the least sure one; NaN where there is none.

    Args:
        preds, logits: as for `hardness`.

        >>> doubt(torch.tensor([0.1, 0.6]), logits=False).tolist()
        [-0.4000000059604645, -0.10000002384185791]
    """
    scores = as_float32(preds)
    if multilabel or is_one_score(preds):
        unsure = -(scores.abs() if logits else (scores - 0.5).abs())
        unsure = unsure.masked_fill(_is_unfit(scores, logits), torch.nan)
        return unsure.amax(dim=1) if multilabel else unsure.reshape(len(scores))
    if logits:
        return _best_and_rest(scores)[1]
    return -(scores.amax(dim=1) + 0.0)  # of 0.0 and -0.0, devices take one or the other


def _is_unfit(scores: Tensor, logits: bool) -> Tensor:
    return scores.isnan() if logits else ~((scores >= 0) & (scores <= 1))


def _against(scores: Tensor, targets: Tensor, logits: bool) -> Tensor:
    """How far each score speaks against its label, 0 or 1: its loss grows with it."""
    margin = torch.where(targets == 1, -scores, scores if logits else scores - 1)
    return margin.masked_fill((targets < 0) | (targets > 1) | _is_unfit(scores, logits), torch.nan)


def _loss_of_label(scores: Tensor, targets: Tensor, logits: bool) -> Tensor:
    """The cross-entropy of each of many labels [N, L]."""
    margin = _against(scores, targets, logits)
    if logits:
        return margin.clamp(min=0) + log1p(exp(-margin.abs()))
    return (-_log(-margin)).masked_fill(margin == 0, _MOST)


def _best_and_rest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of logits [N, C], and the sum of exp(score - largest) over all others: [N] each."""
    best, place = scores.max(dim=1, keepdim=True)
    powers = exp(scores - best).scatter(1, place, 0.0)
    rest = torch.where(best.isnan() | best.isinf(), torch.nan, _folded(powers)[:, None])
    return best.squeeze(1), rest.squeeze(1)


def _folded(terms: Tensor) -> Tensor:
    """The sum over [N, C], of halves that are laid upon each other: one order of additions, whatever the device."""
    while terms.shape[1] > 1:
        half = (terms.shape[1] + 1) // 2
        left, right = terms[:, :half], terms[:, half:]
        terms = left + torch.nn.functional.pad(right, (0, half - right.shape[1]))
    return terms.sum(dim=1)  # of one, or of none


def exp(x: Tensor) -> Tensor:
    """e to the power of float32 x, where x is at most 0; 0 below -87, where it is no normal number; of NaN, NaN.

    >>> exp(torch.tensor([0.0, -1.0, -100.0, float("nan")]))
    tensor([1.0000, 0.3679, 0.0000,    nan])
    """
    small = x < -87
    x = x.masked_fill(small, 0.0)
    exponent = (x * 1.4426950408889634).round()
    rest = x - exponent * _LN2_HIGH
    rest = rest - exponent * _LN2_LOW
    power = _polynomial(rest, _EXP)
    scale = ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)
    return (power * scale).masked_fill(small, 0.0)


def log1p(x: Tensor) -> Tensor:
    """The logarithm of 1 + x of float32 x, where x is at least 0.

    >>> log1p(torch.tensor([0.0, 1e-9, 1.0]))
    tensor([0.0000e+00, 1.0000e-09, 6.9315e-01])
    """
    exponent, mantissa = _parted(x + 1)
    # Near 1 the sum has lost what x is.
    return _log_of(exponent, torch.where(exponent == 0, x, mantissa - 1))


def _log(x: Tensor) -> Tensor:
    """The logarithm of float32 x, where x is at least 0; of a number that is not normal, that of the smallest one."""
    exponent, mantissa = _parted(x.clamp(min=2.0**-126))
    return _log_of(exponent, mantissa - 1)


def _parted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Exponent and mantissa of positive float32 x: x = mantissa * 2**exponent, from 0.707 to 1.414; NaN stays NaN."""
    bits = x.contiguous().view(torch.int32)
    exponent = (bits - _ROOT_OF_HALF) >> 23
    mantissa = (bits - (exponent << 23)).view(torch.float32)
    return exponent, torch.where(x.isnan(), x, mantissa)


def _log_of(exponent: Tensor, above_one: Tensor) -> Tensor:
    """The logarithm of (1 + above_one) * 2**exponent."""
    s = above_one / (above_one + 2)
    square = s * s
    series = s * 2 + s * square * _polynomial(square, _ATANH)
    exponent = exponent.to(torch.float32)
    return exponent * _LN2_HIGH + (exponent * _LN2_LOW + series)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """By Horner's rule, the coefficient of the highest power first."""
    total = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x
        total = total + coefficient
    return total
