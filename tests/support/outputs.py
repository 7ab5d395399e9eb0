"""Outputs of modules that are read on several processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw

from .modules import trainer
from .recorded import scalars

INPUTS = torch.arange(12.0)
"""Each sample. No two have a unit of `Ramps` in common."""


class Ramps(pl.LightningModule):
    """Its unit i is above zero for sample i alone, out of 14; it learns nothing. Sometimes a module is not called."""

    def __init__(self, is_sharded: bool = False) -> None:
        super().__init__()
        self.is_sharded = is_sharded
        self.net = nn.Sequential(nn.Linear(1, 14), nn.ReLU())
        self.rare = nn.ReLU()
        with torch.no_grad():
            self.net[0].weight.fill_(0.0)
            self.net[0].bias.fill_(0.0)

    def configure_model(self) -> None:
        if self.is_sharded:
            from .spreading import fully_shard

            fully_shard(self.net[0], mesh=self.device_mesh["data_parallel"])
            self.is_sharded = False

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        near = 0.5 - (batch[:, None] - torch.arange(14.0)).abs()
        if (batch == 0).any():  # on one process alone
            self.rare(near)
        return self.net[1](self.net[0](batch[:, None]) + near).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fitted(root: str, strategy: str = "auto") -> tuple[dict[str, Any], list[dict[str, float]], int]:
    """Six samples a step, over all processes; what is found, what process 0 has logged, and how often they met."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    plan: Any = strategy
    if strategy == "fsdp2":
        from pytorch_lightning.strategies import ModelParallelStrategy

        plan = ModelParallelStrategy(data_parallel_size=world_size, tensor_parallel_size=1)
    callback = lw.GradientHistogram(1, activations=True, weights=True, updates=True, moments=True)
    t = trainer(callbacks=[callback], strategy=plan, devices=world_size, default_root_dir=root)
    t.fit(Ramps(strategy == "fsdp2"), DataLoader(INPUTS, 6 // world_size, sampler=shares(world_size)))
    rows = scalars(Path(root)) if t.is_global_zero else []
    kept = [{k: v for k, v in row.items() if "activation" in k or "dead" in k or k == "step"} for row in rows]
    seen = {key: value for key, value in callback.results["train"].items() if "/" in key}
    return seen, [row for row in kept if len(row) > 1], callback.cost.collectives


def shares(world_size: int) -> Any:
    from torch.utils.data import DistributedSampler, SequentialSampler

    if world_size == 1:
        return SequentialSampler(INPUTS)
    return DistributedSampler(INPUTS, world_size, int(os.environ["RANK"]), shuffle=False)


def unlike(root: str) -> str:
    """What is said where a process has other modules."""
    module = Ramps()
    if os.environ["RANK"] == "1":
        module.further = nn.Tanh()
    try:
        trainer(callbacks=[lw.GradientHistogram(1, activations=True)], strategy="ddp", devices=2,
                default_root_dir=root).fit(module, DataLoader(INPUTS, 3))  # fmt: skip
    except ValueError as error:
        return str(error)
    return "nothing"


def tensor_parallel(root: str) -> str:
    """What is said under tensor parallelism."""
    from pytorch_lightning.strategies import ModelParallelStrategy

    plan = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2)
    try:
        trainer(callbacks=[lw.GradientHistogram(1, activations=True)], strategy=plan, devices=2,
                default_root_dir=root).fit(Ramps(), DataLoader(INPUTS, 3))  # fmt: skip
    except ValueError as error:
        return str(error)
    return "nothing"
