"""Rows whose samples the user tells apart, by ids: which of them are padding, and which several processes have read.

given = GivenIds([(0, "counts")])
given.add((0, "counts"), ids)                       # int64 [N], of one batch
overlap = yield from given.overlap(rank, contributes)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.state.ragged import gathered

Key: TypeAlias = tuple[int, str]
"""A place, and the label of a need."""


class GivenIds:
    """The ids of one process's rows, where processes may have read the same samples: 8 bytes a row.

    Args:
        keys: what to keep ids of, the same on every process.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._ids: dict[Key, list[Tensor]] = {key: [] for key in keys}

    def __contains__(self, key: object) -> bool:
        return key in self._ids

    def __bool__(self) -> bool:
        return bool(self._ids)

    def add(self, key: Key, ids: Tensor) -> None:
        """Keep a batch's ids, if they are wanted."""
        if key in self._ids:
            self._ids[key].append(ids)

    def clear(self) -> None:
        for ids in self._ids.values():
            ids.clear()

    def overlap(self, rank: int, contributes: bool) -> Generator[Any, Any, tuple[dict[Key, int], list[Key]]]:
        """How many rows several processes have read; and where all have read the same, what this process leaves out."""
        nothing = torch.zeros(0, dtype=torch.int64)
        mine = [torch.cat(ids) if ids and contributes else nothing for ids in self._ids.values()]
        everyone = yield from gathered([[ids] for ids in mine])
        overlap: dict[Key, int] = {}
        leaves: list[Key] = []
        for i, key in enumerate(self._ids):
            of_each = [process[i][0].sort().values for process in everyone]
            having = [r for r, ids in enumerate(of_each) if len(ids)]
            if len(having) > 1 and all(torch.equal(of_each[r], of_each[having[0]]) for r in having):
                leaves += [key] if rank != having[0] else []
                continue
            distinct = torch.cat([torch.unique(ids) for ids in of_each])
            overlap[key] = len(distinct) - len(torch.unique(distinct))
        return overlap, leaves


def numbered(ids: Tensor) -> Tensor:
    """Number different ids in the order in which they first appear: int64 [N]. It waits for no device.

    >>> numbered(torch.tensor([7, 7, 3, 7, 9]))
    tensor([0, 0, 1, 0, 2])
    """
    order = ids.argsort(stable=True)
    ordered = ids[order]
    starts = torch.ones_like(ids, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    group = starts.cumsum(0) - 1
    # Where each group of equal ids first appears; of a stable sort that is its first entry.
    first = torch.full_like(ids, len(ids)).scatter_reduce_(0, group, order, "amin")
    appears = torch.zeros_like(ids).scatter_add_(0, first.clamp(max=len(ids) - 1), (first < len(ids)).to(torch.int64))
    number = torch.empty_like(ids)
    number[order] = (appears.cumsum(0) - 1)[first[group]]
    return number
