"""What a process holds of a tensor that is spread over several, and whether it is the one to count it.

    local_of(parameter.grad, parameter)     # this process's shard; a tensor that is not spread, as it is
    counts_here(parameter, rank=0)          # whether this process counts what it holds

A `DTensor` is known by what it has, its `placements` on a `device_mesh`: it may be cut along some dimensions of the
mesh and repeated along others. What is repeated is counted by the first process of each dimension.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_spread(tensor: Any) -> bool:
    """Whether it is a `DTensor`."""
    return hasattr(tensor, "placements") and hasattr(tensor, "to_local")


def is_sum(tensor: Any) -> bool:
    """Whether it is a `DTensor` of which each process holds a summand, so that nobody has an element of it."""
    return is_spread(tensor) and any(placement.is_partial() for placement in tensor.placements)


def local_of(tensor: Any, like: Any) -> Tensor:
    """The part that this process holds, possibly empty. A gradient that is a sum yet to be made becomes as `like` is.

    For such a sum the processes of the mesh meet; the placements say so, which are the same on all of them.
    """
    if not is_spread(tensor):
        found: Tensor = tensor
        return found
    if is_sum(tensor):
        tensor = tensor.redistribute(placements=like.placements)
    local: Tensor = tensor.to_local()
    return local


def counts_here(tensor: Any, rank: int) -> bool:
    """Whether the process `rank` counts what it holds of `tensor`, so that each element is counted once in all.

    Processes outside of the mesh have meshes with the same tensor of their own: that of process 0 counts.
    """
    if not is_spread(tensor):
        return rank == 0
    mesh = tensor.device_mesh
    place = mesh.get_coordinate()
    if place is None or not _has_first(mesh):
        return False
    return all(at == 0 for at, placement in zip(place, tensor.placements, strict=True) if placement.is_replicate())


def place_of(tensor: Any) -> tuple[int, int]:
    """Which of its shards this process holds, from 0, and how many different ones there are. Of a tensor that is not
    spread there is one."""
    place, number = 0, 1
    if is_spread(tensor):
        mesh = tensor.device_mesh
        coordinate = mesh.get_coordinate() or [0] * mesh.ndim
        for at, size, placement in zip(coordinate, mesh.mesh.shape, tensor.placements, strict=True):
            if not placement.is_replicate():
                place, number = place * size + at, number * size
    return place, number


def _has_first(mesh: Any) -> bool:
    return 0 in mesh.mesh.flatten().tolist()
