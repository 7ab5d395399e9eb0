"""Norms that neither overflow nor vanish, added up in float32.

    pairs = norms_of([torch.full((1000,), 1e20)])      # float32 [1, 2], on the tensors' device
    in_float64(pairs.numpy())                          # [3.16e21], once it is on the host

The square of 1e20 is no float32 any more, and that of 1e-30 is zero. So there is a second and a third norm of the same
tensor, made smaller or larger by a power of two, which costs no bit; the first one tells which of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from lwcallbacks.reductions.bits import parts
from lwcallbacks.reductions.looking import may_look

_LOW, _HIGH = 2.0**-40, 2.0**60
"""Between these, the squares of a tensor of float32 are added up as they are."""
_SMALLER, _LARGER = 2.0**-80, 2.0**85


def norms_of(tensors: Sequence[Tensor]) -> Tensor:
    """2-norms of dense, real tensors [P] of one device, there: float32 [P, 2], the scaled tensor's norm and its scale.

    float64 is added up as it is, anything else in float32.
    """
    if not tensors:
        return torch.zeros(0, 2)
    dtypes = dict.fromkeys(x.dtype for x in tensors)
    if len(dtypes) == 1:
        return _of_one_dtype(list(tensors))
    found: list[Tensor | None] = [None] * len(tensors)
    for dtype in dtypes:
        rows = [i for i, x in enumerate(tensors) if x.dtype == dtype]
        for row, pair in zip(rows, _of_one_dtype([tensors[i] for i in rows]), strict=True):
            found[row] = pair
    return torch.stack([pair for pair in found if pair is not None])


def in_float64(pairs: np.ndarray) -> np.ndarray:
    """Norms, float64 [...], of pairs float32 [..., 2]; where there is none, both numbers are zero, and so is it."""
    norms, scales = pairs[..., 0].astype(np.float64), pairs[..., 1].astype(np.float64)
    return norms / np.where(scales == 0, 1, scales)


def joined(norms: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The norm of several tensors together from their norms, float64 [...], along an axis.

    >>> float(joined(np.array([3.0, 4.0])))
    5.0
    """
    largest = np.max(norms, axis=axis, initial=0.0, keepdims=True)
    scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
    total: np.ndarray = np.sqrt(np.sum((norms / scale) ** 2, axis=axis, keepdims=True)) * scale
    return np.squeeze(total, axis=axis)


def peaks_of(tensors: Sequence[Tensor]) -> Tensor:
    """The largest absolute value of each tensor [P], none of them empty, float32 on their device; NaN if it has one."""
    if may_look(tensors[0]):  # of a CPU the norm's kernel is many times slower
        ends = [end.to(torch.float32) for x in tensors for end in torch.aminmax(x)]
        return torch.stack(ends).view(-1, 2).abs().amax(1)
    found: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(x.dtype for x in tensors):
        rows = [i for i, x in enumerate(tensors) if x.dtype == dtype]
        found |= zip(rows, torch._foreach_norm([tensors[i] for i in rows], float("inf")), strict=True)
    return torch.stack([found[i].to(torch.float32) for i in range(len(tensors))])


def _of_one_dtype(tensors: list[Tensor]) -> Tensor:
    if tensors[0].dtype == torch.float64:
        wide = torch.stack(torch._foreach_norm(tensors))
        return _chosen(wide, wide * _SMALLER, wide * _LARGER)
    norms = torch.stack(torch._foreach_norm(tensors, 2, torch.float32))
    if not may_look(norms):
        return _chosen(norms, *_scaled(tensors, _SMALLER, _LARGER))
    pairs = torch.stack([norms, torch.ones_like(norms)], 1)
    for scale, is_odd in ((_SMALLER, norms > _HIGH), (_LARGER, norms < _LOW)):  # the other one would be slow: subnormal
        odd = torch.nonzero(is_odd)[:, 0]
        if len(odd):
            [again] = _scaled([tensors[i] for i in odd.tolist()], scale)
            pairs[odd] = torch.stack([again, torch.full_like(again, scale)], 1)
    return pairs


def _chosen(norms: Tensor, smaller: Tensor, larger: Tensor) -> Tensor:
    """By the norms as they are [P] the ones that are right, with their scales: [P, 2]."""
    is_high, is_low = norms > _HIGH, norms < _LOW
    right = torch.where(is_high, smaller, torch.where(is_low, larger, norms))
    one = torch.ones_like(right)
    scales = torch.where(is_high, _SMALLER * one, torch.where(is_low, _LARGER * one, one))
    return torch.stack([right, scales], 1).to(torch.float32)


def _scaled(tensors: list[Tensor], *scales: float) -> list[Tensor]:
    """For each scale the norms [P] of tensors of one dtype times the scale; no more than a few are copied at once."""
    rows: list[int] = []
    found: list[Tensor] = []
    for part in parts(tensors):
        flat = _flatten_dense_tensors([piece for _, piece in part]).to(torch.float32)  # type: ignore[no-untyped-call]
        sizes = [piece.numel() for _, piece in part]
        pieces = [piece for scale in scales for piece in torch.split(flat * scale, sizes)]
        found.append(torch.stack(torch._foreach_norm(pieces)).view(len(scales), -1))
        rows += [row for row, _ in part]
    norms = list(torch.cat(found, 1).unbind())
    if len(rows) == len(tensors):
        return norms
    ends = np.searchsorted(rows, np.arange(1, len(tensors) + 1)).tolist()
    return [
        torch.stack([torch.linalg.vector_norm(of[start:end]) for start, end in pairwise([0, *ends])]) for of in norms
    ]
