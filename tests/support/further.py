"""Parameters, moments and updates that are spread over processes, counted by them together."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from lwcallbacks.callbacks.reading import Reader, Step
from lwcallbacks.callbacks.steps import Steps
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.reductions import LogBins, LogHistogram

from .spread import having, spreading, values

MORE = ("weights", "moments", "updates")
HISTOGRAM = LogHistogram()


def observed(module: nn.Module, gradients: dict[str, Any], depth: int | None = None) -> Step:
    """One step of SGD with momentum and these gradients."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.5, foreach=False)
    seen: list[Step] = []
    steps = Steps(1, lambda s: reader.keep_parameters(s), lambda s: seen.append(reader.read(s)))
    steps.watch([optimizer])
    reader = Reader(module, steps, Chosen(), depth, HISTOGRAM, ["norms"], MORE)
    for name, p in module.named_parameters():
        p.grad = gradients[name].clone() if name in gradients else None
    optimizer.step()
    steps.remove()
    return seen[0]


def alone() -> dict[str, LogBins]:
    """What one process counts that has everything."""
    whole = values()
    module = having({name: torch.ones_like(x) for name, x in whole.items()})
    counts = observed(module, {name: x for name, x in whole.items() if name != "none"}).counts()
    assert counts is not None
    return counts.seen(HISTOGRAM)


def together(mesh_shape: tuple[int, ...], placements: dict[str, list[str]]) -> Any:
    """The same on processes with meshes of this shape; on each the counts, and in how many calls they met."""
    with spreading(mesh_shape, placements) as spread:
        whole = values()
        gradients = {name: spread(name, x) for name, x in whole.items() if name != "none"}
        step = observed(having({name: spread(name, torch.ones_like(x)) for name, x in whole.items()}), gradients)
        counts = step.counts()
        assert counts is not None
        return counts.seen(HISTOGRAM), step.num_calls


def partial_gradient(world_size: int) -> Any:
    """A gradient that is a sum yet to be made, of a repeated and of a cut parameter; what is found of its elements."""
    from torch.distributed.device_mesh import init_device_mesh

    from .spreading import DTensor, Partial, Replicate, Shard, distribute_tensor

    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        mesh = init_device_mesh("cpu", (world_size,))
        ones = torch.ones(4, 2)
        module = having({"a": distribute_tensor(ones, mesh, [Replicate()]),
                         "b": distribute_tensor(ones, mesh, [Shard(0)])})  # fmt: skip
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
        seen: list[Step] = []
        steps = Steps(1, lambda s: None, lambda s: seen.append(reader.read(s)))
        steps.watch([optimizer])
        reader = Reader(module, steps, Chosen(), None, HISTOGRAM, ["norms"])
        for p in module.parameters():
            p.grad = DTensor.from_local(ones * (rank + 1), mesh, [Partial()])
        reader_step = reader.read(*steps.of)
        steps.remove()
        layers = reader_step.layers()
        assert layers is not None
        return layers.names, layers.norms, layers.seen()
    finally:
        dist.destroy_process_group()


def partial_parameter(world_size: int) -> str:
    """What is said of a parameter that is a sum yet to be made."""
    import pytorch_lightning as pl
    from torch.distributed.device_mesh import init_device_mesh

    import lwcallbacks as lw

    from .spreading import DTensor, Partial

    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=world_size)
    try:
        mesh = init_device_mesh("cpu", (world_size,))
        module = pl.LightningModule()
        module.odd = nn.Parameter(DTensor.from_local(torch.ones(2), mesh, [Partial()]))
        try:
            lw.GradientHistogram().on_train_start(pl.Trainer(logger=False, accelerator="cpu"), module)
        except ValueError as error:
            return str(error)
        return "nothing"
    finally:
        dist.destroy_process_group()
