"""What a step changes of parameters, worked out from a copy that is kept before it.

    kept = Kept(parameters)              # a copy of each, or of a sample of it
    kept.norms(parameters, device)       # behind the step: of what has changed, and of what was there
    kept.copies()                        # {id(parameter): the copy}

Copies of one kind of number lie behind each other, those of one size side by side: a few operations do for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.gradients.norms import norms_of_pieces
from lwcallbacks.gradients.sample import Samples, weight_of
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
        return {id(p): copy for part in self._parts for p, copy in part.comparable().pairs()}

    @torch.no_grad()
    def norms(self, parameters: Sequence[Tensor], device: torch.device) -> Tensor:
        """Of the whole of each parameter [P], all of one device: what has changed, and what was there, as `norms_of`
        gives them, float32 [2, P, 2]. Zeros where nothing was kept."""
        parts = [part.comparable() for part in self._parts if part.device == device]
        found = [part.norms(self._samples) for part in parts]
        row = {id(p): i for i, p in enumerate(p for part in parts for p in part.parameters)}
        wanted = [row.get(id(p), len(row)) for p in parameters]
        pairs = torch.cat([*found, torch.zeros((2, 1, 2), device=device)], 1)
        return pairs.index_select(1, torch.tensor(wanted, dtype=torch.int64).to(device, non_blocking=True))


class _Part:
    """Parameters of one kind, and of each the same elements as its view has, one behind the other."""

    def __init__(self, parameters: list[Tensor], views: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.device = views[0].device
        self._layouts = list(map(_layout, parameters))
        self._sizes = [x.numel() for x in views]
        self._copy = torch.cat(list(views))

    def pairs(self) -> Iterable[tuple[Tensor, Tensor]]:
        return zip(self.parameters, torch.split(self._copy, self._sizes), strict=True)

    def comparable(self) -> _Part:
        """Without parameters of another shape or order in memory by now: these cannot be told from a change."""
        if all(_layout(p) == layout for p, layout in zip(self.parameters, self._layouts, strict=True)):
            return self
        layout = {id(p): of for p, of in zip(self.parameters, self._layouts, strict=True)}
        kept = [(p, copy) for p, copy in self.pairs() if _layout(p) == layout[id(p)]]
        return _Part([p for p, _ in kept], [copy for _, copy in kept] or [self._copy[:0]])

    def norms(self, samples: Samples) -> Tensor:
        """Of each parameter, float32 [2, P, 2]."""
        if not self.parameters:
            return torch.zeros((2, 0, 2), device=self.device)
        before = wide(self._copy)
        changed = wide(torch.cat(samples.of(self.parameters))) - before
        pairs = norms_of_pieces(torch.stack([changed, before]), self._sizes)
        pairs[..., 0] *= torch.tensor(self._factors()).to(self.device, non_blocking=True)
        return pairs

    def _factors(self) -> list[float]:
        """By which a sample's norm is made that of the whole."""
        local = [local_of(p, p) for p in self.parameters]
        return [1.0 if n >= x.numel() else weight_of(x) ** 0.5 for x, n in zip(local, self._sizes, strict=True)]


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
