"""Gradients that are spread over processes, read by them together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.callbacks.reading import Reader, Step
from lwcallbacks.callbacks.steps import Steps
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.reductions import LogHistogram

from .modules import trainer

SHAPES = {"even": (8, 6), "uneven": (5, 3), "single": (1, 7), "whole": (4,), "plain": (3, 3), "none": (2, 2)}
"""Of parameters by name. "single" leaves most processes an empty shard, "none" has no gradient."""
ALL = ("norms", "before", "changes", "weights")


def values() -> dict[str, torch.Tensor]:
    """Gradients by name, of powers of two and some that are odd."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for name, shape in SHAPES.items():
        found[name] = 2.0 ** torch.randint(-3, 4, shape, generator=generator)
    found["even"][0, :4] = torch.tensor([0.0, 2.0**-26, 2.0**-130, -1.0])
    found["uneven"][3, 0] = float("inf")
    found["single"][0, 2] = float("nan")
    return found


def having(parameters: dict[str, Any]) -> nn.Module:
    """A module with these parameters, in their order."""
    module = nn.Module()
    for name, x in parameters.items():
        module.register_parameter(name, nn.Parameter(x))
    return module


def observed(module: nn.Module, gradients: dict[str, Any], mantissa_bits: int = 3) -> list[Step]:
    """Two steps of SGD with these gradients, of which the second is read."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5, foreach=False)
    seen: list[Step] = []
    steps = Steps(2, lambda s: reader.keep_parameters(s), lambda s: seen.append(reader.read(s)))
    steps.watch([optimizer])
    reader = Reader(module, steps, Chosen(), None, LogHistogram(mantissa_bits), ALL)
    for _ in range(2):
        for name, p in module.named_parameters():
            p.grad = None if name == "none" else gradients[name].clone()
        [stepping] = steps.of
        if stepping.is_logged:
            reader.keep_unclipped(stepping)
        for p in module.parameters():  # as one would clip
            if p.grad is not None:
                p.grad.mul_(0.5)
        optimizer.step()
    steps.remove()
    return seen


def alone(mantissa_bits: int = 3) -> Layers | None:
    """What one process finds that has everything."""
    gradients = values()
    module = having({name: torch.ones_like(x) for name, x in gradients.items()})
    [step] = observed(module, gradients, mantissa_bits)
    return step.layers()


@contextmanager
def spreading(mesh_shape: tuple[int, ...], placements: dict[str, list[str]]) -> Iterator[Any]:
    """With a mesh of this shape over all processes, what makes a DTensor of a tensor, by its name's placements."""
    from torch.distributed.device_mesh import init_device_mesh

    from .spreading import Replicate, Shard, distribute_tensor

    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    try:
        mesh = init_device_mesh("cpu", mesh_shape, mesh_dim_names=("a", "b")[: len(mesh_shape)])

        def spread(name: str, x: torch.Tensor) -> Any:
            if name not in placements:
                return x
            how = placements[name]
            of = mesh if len(how) == len(mesh_shape) else mesh[mesh.mesh_dim_names[-1]]
            return distribute_tensor(x, of, [Replicate() if p == "R" else Shard(int(p)) for p in how])

        yield spread
    finally:
        dist.destroy_process_group()


def together(mesh_shape: tuple[int, ...], placements: dict[str, list[str]], mantissa_bits: int = 3) -> Any:
    """The same on processes with meshes of this shape; on each the layers, and in how many calls they met.

    Args:
        placements: by name of the parameter "0", "1" or "R" for each dimension of the mesh; a parameter without is no
            DTensor.
    """
    with spreading(mesh_shape, placements) as spread:
        whole = values()
        gradients = {name: spread(name, x) for name, x in whole.items()}
        module = having({name: spread(name, torch.ones_like(x)) for name, x in whole.items()})
        [step] = observed(module, gradients, mantissa_bits)
        return step.layers(), step.num_calls


INPUTS = torch.tensor([0.0, 0.5, -1.0, 2.0**-20, 4.0])
"""Each sample. The gradient of each row of the weight is this, by however many processes it is averaged."""


class Sums(pl.LightningModule):
    """A layer whose outputs are added up."""

    def __init__(self, is_sharded: bool) -> None:
        super().__init__()
        self.net = nn.Linear(5, 6)
        self.is_sharded = is_sharded

    def configure_model(self) -> None:
        if self.is_sharded:
            from .spreading import fully_shard

            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])
            self.is_sharded = False

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(batch).sum() / len(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def fitted(strategy: str, root: str) -> tuple[dict[str, Any], dict[str, float], int]:
    """What the callback holds and, on process 0, has logged of the last step; and how often processes met for it."""
    from .recorded import scalars

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    plan: Any = strategy
    if strategy == "fsdp2":
        from pytorch_lightning.strategies import ModelParallelStrategy

        plan = ModelParallelStrategy(data_parallel_size=world_size, tensor_parallel_size=1)
    callback = lw.GradientHistogram(2, max_overhead=1e-9)  # nothing but the first may be drawn
    torch.manual_seed(0)
    t = trainer(callbacks=[callback], strategy=plan, devices=world_size, default_root_dir=root)
    t.fit(Sums(strategy == "fsdp2"), DataLoader(INPUTS.expand(12, 5), 1))
    logged = [row for row in scalars(Path(root)) if "gradients/norm/total" in row] if t.is_global_zero else [{}]
    return callback.results["train"], logged[0], callback.cost.collectives
