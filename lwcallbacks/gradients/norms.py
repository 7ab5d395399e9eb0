"""Norms that neither overflow nor vanish, added up in float32.

    pairs = norms_of([torch.full((1000,), 1e20)])      # float32 [1, 2], on the tensors' device
    in_float64(pairs.numpy())                          # [3.16e21], once it is on the host

The square of 1e20 is no float32 any more, and that of 1e-30 is zero. So there is a second and a third norm of the same
tensor, made smaller or larger by a power of two, which costs no bit; the first one tells which of them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.bits import joined_up, parts, runs
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
    return by_dtype(tensors, _of_one_dtype)


def norms_of_pieces(flat: Tensor, sizes: Sequence[int]) -> Tensor:
    """`norms_of` pieces of float32 or float64 [..., N] that lie behind each other, of ascending sizes [P], which add up
    to N: float32 [..., P, 2].

    >>> norms_of_pieces(torch.tensor([2.0, 3.0, 4.0]), [1, 2])
    tensor([[2., 1.],
            [5., 1.]])
    """
    shapes = list(runs(sizes))
    of_runs = torch.split(flat, [size * number for size, number in shapes], -1)
    rows = [x.view(*x.shape[:-1], number, size) for x, (size, number) in zip(of_runs, shapes, strict=True)]

    def times(scale: float) -> Tensor:
        found = [torch.linalg.vector_norm(x if scale == 1 else x * scale, dim=-1) for x in rows]
        return torch.cat(found, -1)

    norms = times(1)
    if norms.dtype == torch.float64:
        return _chosen(norms, norms * _SMALLER, norms * _LARGER)
    # Where one may look, what nobody needs is not worked out: what becomes subnormal is slow.
    looks = may_look(norms)
    smaller = norms if looks and not (norms > _HIGH).any() else times(_SMALLER)
    larger = norms if looks and not (norms < _LOW).any() else times(_LARGER)
    return _chosen(norms, smaller, larger)


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
    return by_dtype(tensors, lambda of: torch.stack(torch._foreach_norm(of, float("inf"))).to(torch.float32))


def by_dtype(tensors: Sequence[Tensor], of_one: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """What `of_one` gives of tensors of one dtype, a row for each, in the order of the tensors."""
    dtypes = [x.dtype for x in tensors]
    parts = [[i for i, dtype in enumerate(dtypes) if dtype == one] for one in dict.fromkeys(dtypes)]
    found = [of_one([tensors[i] for i in rows]) for rows in parts]
    order = [i for rows in parts for i in rows]
    if order == sorted(order):
        return found[0] if len(found) == 1 else torch.cat(found)
    return torch.cat(found).index_select(0, torch.tensor(order).argsort().to(found[0].device, non_blocking=True))


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
    """By the norms as they are [..., P] the ones that are right, with their scales: [..., P, 2]."""
    is_high, is_low = norms > _HIGH, norms < _LOW
    right = torch.where(is_high, smaller, torch.where(is_low, larger, norms))
    one = torch.ones_like(right)
    scales = torch.where(is_high, _SMALLER * one, torch.where(is_low, _LARGER * one, one))
    return torch.stack([right, scales], -1).to(torch.float32)


def _scaled(tensors: list[Tensor], *scales: float) -> list[Tensor]:
    """For each scale the norms [P] of tensors of one dtype times the scale; no more than a few are copied at once."""
    rows: list[int] = []
    found: list[Tensor] = []
    for part in parts(tensors):
        flat = joined_up([piece for _, piece in part]).to(torch.float32)
        sizes = [piece.numel() for _, piece in part]
        pieces = [piece for scale in scales for piece in torch.split(flat * scale, sizes)]
        found.append(torch.stack(torch._foreach_norm(pieces)).view(len(scales), -1))
        rows += [row for row, _ in part]
    norms = list(torch.cat(found, 1).unbind())
    return norms if len(rows) == len(tensors) else [_of_wholes(of, rows) for of in norms]


def _of_wholes(norms: Tensor, rows: list[int]) -> Tensor:
    """The norms of tensors from those of their pieces [n]; `rows` are the pieces' tensors, ascending."""
    runs: list[int] = []  # lengths: of one tensor in pieces, or of neighbours that are whole
    whole: list[bool] = []
    for size in np.bincount(rows).tolist():
        if size == 1 and whole and whole[-1]:
            runs[-1] += 1
        else:
            runs.append(size)
            whole.append(size == 1)
    parts_of = zip(torch.split(norms, runs), whole, strict=True)
    return torch.cat([x if is_whole else torch.linalg.vector_norm(x)[None] for x, is_whole in parts_of])
