"""Which candidates win: the largest keys, of equal keys the smaller id, each id once.

    index = winners(key, ids, k)       # int64 [min(k, M)], best first; -1 where there is no winner any more
    in_order_of_ids(index, ids)        # the same places, by id
    index = winners_of_groups(key, ids, group, most=3, k=30)     # of each group at most 3, of all at most 30

On the CPU, where looking is free, that is one sort; on an accelerator stable sorts, which wait for nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MAX, INT64_MIN
from lwcallbacks.reductions.looking import may_look

NO_KEY, NO_ID, NO_GROUP = INT64_MIN, INT64_MAX, -1
"""Of a place without a sample."""


def winners(key: Tensor, ids: Tensor, k: int) -> Tensor:
    """Indices [min(k, M)] of the best of int64 key [M] and ids [M]; an id counts with its best key."""
    if may_look(key):
        return torch.from_numpy(_by_one_sort(key.numpy(), ids.numpy(), k))
    return _by_stable_sorts(key, ids, k)


def winners_of_groups(key: Tensor, ids: Tensor, group: Tensor, most: int, k: int) -> Tensor:
    """Indices [min(k, M)] of the best of int64 key [M], ids [M] and group [M]: at most `most` of each group.

    By rank within the group, then by key, id and group. An id counts once in each group, with its best key there.
    """
    if may_look(key):
        return torch.from_numpy(_of_groups_by_sorts(key.numpy(), ids.numpy(), group.numpy(), most, k))
    return _of_groups_by_stable_sorts(key, ids, group, most, k)


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


def _of_groups_by_sorts(key: np.ndarray, ids: np.ndarray, group: np.ndarray, most: int, k: int) -> np.ndarray:
    there = np.flatnonzero(key != NO_KEY)
    order = there[np.lexsort((~key[there], ids[there], group[there]))]
    repeat = (group[order[1:]] == group[order[:-1]]) & (ids[order[1:]] == ids[order[:-1]])
    order = order[np.append([True], ~repeat)[: len(order)]]
    order = order[np.lexsort((ids[order], ~key[order], group[order]))]
    place = np.arange(len(order))
    starts = np.append([True], group[order[1:]] != group[order[:-1]])[: len(order)]
    rank = place - np.maximum.accumulate(np.where(starts, place, 0))
    order, rank = order[rank < most], rank[rank < most]
    chosen = order[np.lexsort((group[order], ids[order], ~key[order], rank))][:k]
    return np.append(chosen, np.full(min(k, len(key)) - len(chosen), -1))


def _of_groups_by_stable_sorts(key: Tensor, ids: Tensor, group: Tensor, most: int, k: int) -> Tensor:
    order = key.argsort(descending=True, stable=True)
    for by in (ids, group):
        order = order[by[order].argsort(stable=True)]
    repeat = torch.zeros_like(order, dtype=torch.bool)
    repeat[1:] = (group[order[1:]] == group[order[:-1]]) & (ids[order[1:]] == ids[order[:-1]])
    best = torch.where(repeat, NO_KEY, key[order])
    # By group and key; of equal keys the smaller id stays first.
    place = best.argsort(descending=True, stable=True)
    place = place[group[order][place].argsort(stable=True)]
    order, best = order[place], best[place]
    of_group = group[order]
    position = torch.arange(len(order), device=order.device)
    starts = torch.ones_like(repeat)
    starts[1:] = of_group[1:] != of_group[:-1]
    rank = position - torch.where(starts, position, 0).cummax(0).values
    out = (best == NO_KEY) | (rank >= most)
    # By rank, key, id and group, the last of which they are in already.
    place = ids[order].argsort(stable=True)
    place = place[best[place].argsort(descending=True, stable=True)]
    place = place[torch.where(out, INT64_MAX, rank)[place].argsort(stable=True)][:k]
    return torch.where(out[place], -1, order[place])
