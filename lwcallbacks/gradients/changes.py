"""What a step changes of parameters, worked out from a copy that is kept before it.

    kept = Kept(parameters)              # a copy of each, or of a sample of it
    kept.norms(parameters, device)       # behind the step: of what has changed, and of what was there
    kept.copies()                        # {id(parameter): the copy}

Copies of one kind of number lie behind each other, those of one size side by side: a few operations do for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.gradients.norms import norms_of_pieces
from lwcallbacks.gradients.sample import SAMPLE, Samples, weight_of
from lwcallbacks.gradients.shards import local_of


class Kept:
    """See the module's synopsis. `samples` has the views of the parameters, which are made once."""

    @torch.no_grad()
    def __init__(self, parameters: Sequence[Tensor] = (), samples: Samples | None = None) -> None:
        self._samples = samples or Samples()
        views = self._samples.of(parameters)
        order = sorted(range(len(views)), key=lambda i: views[i].numel())
        self._parts = [
            _Part([parameters[i] for i in of], [views[i] for i in of])
            for of in _by_kind(order, [(x.dtype, x.device) for x in views])
        ]

    def copies(self) -> dict[int, Tensor]:
        """By the `id` of the parameter, flat, of those that can be compared with what is there now."""
        return {id(p): copy for part in self._parts for p, copy in part.comparable(self._samples)[0].pairs()}

    @torch.no_grad()
    def norms(self, parameters: Sequence[Tensor], device: torch.device) -> Tensor:
        """Of the whole of each parameter [P], all of one device: what has changed, and what was there, as `norms_of`
        gives them, float32 [2, P, 2]. Zeros where nothing was kept."""
        parts = [part.comparable(self._samples) for part in self._parts if part.device == device]
        found = [part.norms(now) for part, now in parts]
        row = {id(p): i for i, p in enumerate(p for part, _ in parts for p in part.parameters)}
        wanted = [row.get(id(p), len(row)) for p in parameters]
        pairs = torch.cat([*found, torch.zeros((2, 1, 2), device=device)], 1)
        return pairs.index_select(1, torch.tensor(wanted, dtype=torch.int64).to(device, non_blocking=True))


class _Part:
    """Parameters of one kind, and of each the same elements as its view has, one behind the other."""

    def __init__(self, parameters: list[Tensor], views: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.device = views[0].device
        self._views = views
        self._layouts = list(map(_layout, parameters))
        self._sizes = [x.numel() for x in views]
        self._copy = torch.cat(list(views))

    def pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        return zip(self.parameters, torch.split(self._copy, self._sizes), strict=True)

    def comparable(self, samples: Samples) -> tuple[_Part, list[Tensor]]:
        """Without parameters of another shape or order in memory by now, which cannot be told from a change; and what
        the views of those that are left show now."""
        now = samples.of(self.parameters)
        if all(map(is_, now, self._views)):
            return self, now
        there = [i for i, p in enumerate(self.parameters) if _layout(p) == self._layouts[i]]
        if len(there) == len(now):
            return self, now
        pieces = torch.split(self._copy, self._sizes)
        left = _Part([self.parameters[i] for i in there], [pieces[i] for i in there] or [self._copy[:0]])
        return left, [now[i] for i in there]

    def norms(self, now: Sequence[Tensor]) -> Tensor:
        """Of each parameter, float32 [2, P, 2]."""
        if not self.parameters:
            return torch.zeros((2, 0, 2), device=self.device)
        before = wide(self._copy)
        changed = wide(torch.cat(list(now))) - before
        pairs = norms_of_pieces(torch.stack([changed, before]), self._sizes)
        pairs[..., 0] *= torch.tensor(self._factors()).to(self.device, non_blocking=True)
        return pairs

    def _factors(self) -> list[float]:
        """By which a sample's norm is made that of the whole."""
        sizes = zip(self.parameters, self._sizes, strict=True)
        return [1.0 if n < SAMPLE else weight_of(local_of(p, p)) ** 0.5 for p, n in sizes]  # below, it is all of it


def _by_kind(order: Iterable[int], kinds: Sequence[Any]) -> Iterable[list[int]]:
    """The numbers of what is of one kind together, in their order."""
    found: dict[Any, list[int]] = {}
    for i in order:
        found.setdefault(kinds[i], []).append(i)
    return found.values()


def _layout(x: Tensor) -> tuple[Any, ...]:
    return x.shape, x.stride(), x.dtype


def wide(x: Tensor) -> Tensor:
    """float64 as it is, anything else as float32."""
    return x if x.dtype == torch.float64 else x.to(torch.float32)
