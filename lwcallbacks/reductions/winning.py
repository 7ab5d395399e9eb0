"""Which candidates win: the largest keys, of equal keys the smaller id, each id once.

    index = winners(key, ids, k)       # int64 [min(k, M)], best first; -1 where there is no winner any more
    in_order_of_ids(index, ids)        # the same places, by id

On the CPU, where looking is free, that is one sort; on an accelerator stable sorts, which wait for nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MAX, INT64_MIN
from lwcallbacks.reductions.looking import may_look

NO_KEY, NO_ID = INT64_MIN, INT64_MAX
"""Of a place without a sample."""


def winners(key: Tensor, ids: Tensor, k: int) -> Tensor:
    """Indices [min(k, M)] of the best of int64 key [M] and ids [M]; an id counts with its best key."""
    if may_look(key):
        return torch.from_numpy(_by_one_sort(key.numpy(), ids.numpy(), k))
    return _by_stable_sorts(key, ids, k)


def in_order_of_ids(index: Tensor, ids: Tensor) -> Tensor:
    """The indices in the order of their ids, those of no winner last."""
    if may_look(index):
        places = index.numpy()
        return torch.from_numpy(places[np.where(places < 0, NO_ID, ids.numpy()[places]).argsort(kind="stable")])
    return index[torch.where(index < 0, NO_ID, ids[index]).argsort(stable=True)]


def _by_one_sort(key: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    order = np.lexsort((ids, ~key))  # bitwise not reverses the order of integers without overflow
    first = np.unique(ids[order], return_index=True)[1]  # of each id, its best key
    first.sort()
    chosen = order[first[:k]]
    chosen[key[chosen] == NO_KEY] = -1
    return np.append(chosen, np.full(min(k, len(key)) - len(chosen), -1))


def _by_stable_sorts(key: Tensor, ids: Tensor, k: int) -> Tensor:
    order = key.argsort(descending=True, stable=True)
    order = order[ids[order].argsort(stable=True)]
    sorted_ids = ids[order]
    repeat = torch.zeros_like(sorted_ids, dtype=torch.bool)
    repeat[1:] = sorted_ids[1:] == sorted_ids[:-1]
    best = torch.where(repeat, NO_KEY, key[order])
    place = best.argsort(descending=True, stable=True)[:k]
    return torch.where(best[place] == NO_KEY, -1, order[place])
