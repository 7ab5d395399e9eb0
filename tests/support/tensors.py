"""Fields that are spread over processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from lwcallbacks.capture import CaptureError, Source, Step


def distributed_fields() -> dict[str, Any]:
    """What is found of a DTensor by its placement, or what is said of it."""
    from torch.distributed.device_mesh import init_device_mesh

    from .spreading import DTensor, Partial, Replicate, Shard, distribute_tensor

    dist.init_process_group("gloo")
    try:
        mesh = init_device_mesh("cpu", (2,))
        whole = torch.arange(8.0)
        sharded = distribute_tensor(whole, mesh, [Shard(0)])
        return {
            "replicated": _found(distribute_tensor(whole, mesh, [Replicate()])),
            "sharded": _found(sharded),
            "partial": _found(DTensor.from_local(whole, mesh, [Partial()])),
            "full": _found(sharded.full_tensor()),
        }
    finally:
        dist.destroy_process_group()


def _found(field: torch.Tensor) -> Any:
    try:
        return Step(None, (torch.zeros(8), field)).find("targets", Source())
    except CaptureError as error:
        return str(error)
