"""Rows of tensors of any dtype, by their bits: taken, joined, picked out of two tensors, or replaced in place.

    taken(images, index, blank=0)               # [len(index), ...]; `blank` where the index is negative
    picked(kept, images, index, blank=0)        # the same of both tensors, as if joined, which they are not
    replace({"ids": kept}, {"ids": more}, index)    # the same in place; on the CPU, for it looks at the index

Few operations know unsigned integers and float8, and a NaN keeps what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lwcallbacks.reductions.hashing import as_integers


def zeros(like: Tensor, number: int) -> Tensor:
    """So many rows of zeros."""
    made = torch.zeros((number, *like.shape[1:], like.element_size()), dtype=torch.uint8, device=like.device)
    return made.view(like.dtype).squeeze(-1)


def joined(left: Tensor, right: Tensor) -> Tensor:
    """The rows of both."""
    return _of_dtype(torch.cat([as_integers(left), as_integers(right)]), left)


def taken(tensor: Tensor, index: Tensor, blank: int) -> Tensor:
    """The rows at `index`, contiguous; `blank` where that is negative."""
    bits = as_integers(tensor)
    rows = torch.where(_per_row(index >= 0, bits), bits[index.clamp(min=0)], blank)
    return _of_dtype(rows.to(bits.dtype).contiguous(), tensor)


def picked(kept: Tensor, more: Tensor, index: Tensor, blank: int) -> Tensor:
    """`taken(joined(kept, more), index, blank)`, of which each gives as many rows as there are indices."""
    old, new = as_integers(kept), as_integers(more)
    of_new = _per_row(index >= len(old), old)
    rows = torch.where(of_new, new[(index - len(old)).clamp(min=0)], old[index.clamp(min=0, max=len(old) - 1)])
    rows = torch.where(_per_row(index >= 0, old), rows, blank)
    return _of_dtype(rows.to(old.dtype).contiguous(), kept)


def replace(kept: Mapping[str, Tensor], more: Mapping[str, Tensor], index: Tensor) -> None:
    """Write into each tensor of `kept` [len(index), ...], on the CPU, what `picked` makes of it and the one in `more`.

    Only rows that change are written. A place with a negative index stays as it is.
    """
    sources = index.tolist()
    size = len(sources)
    moved = [(place, source) for place, source in enumerate(sources) if 0 <= source < size and source != place]
    new = [(place, source - size) for place, source in enumerate(sources) if source >= size]
    moves, additions = (torch.tensor(pairs).unbind(1) if pairs else None for pairs in (moved, new))
    for name, tensor in kept.items():
        rows = as_integers(tensor)
        if moves is not None:
            rows[moves[0]] = rows[moves[1]]  # all are read before any is written
        if additions is not None:
            rows[additions[0]] = as_integers(more[name])[additions[1]]


def _per_row(flags: Tensor, bits: Tensor) -> Tensor:
    return flags.reshape(-1, *[1] * (bits.ndim - 1))


def _of_dtype(bits: Tensor, like: Tensor) -> Tensor:
    """Undo `as_integers`."""
    return bits.view(like.dtype).squeeze(-1) if like.is_complex() else bits.view(like.dtype)
