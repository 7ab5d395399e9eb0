"""Modules that fall ill at a known batch, alone and on several processes."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.reductions.looking import as_on_a_device

from .modules import trainer


class Roots(pl.LightningModule):
    """Two layers with a square root between; at one batch it is that of zero, whose slope is infinite."""

    def __init__(self, zero_at: int, only_on: int | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.last = nn.Linear(2, 1)
        self.zero_at = zero_at
        self.only_on = only_on
        self.seen: tuple[int, ...] = ()

    @staticmethod
    def loader() -> DataLoader:
        return DataLoader(TensorDataset(torch.ones(20, 3), torch.arange(100, 120)), 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, ids = batch
        is_zero = batch_idx == self.zero_at and self.only_on in (None, self.global_rank)
        if is_zero:
            self.seen = tuple(ids.tolist())
        hidden = self.first(x)
        hidden = (hidden - hidden.detach() if is_zero else hidden.abs()).sqrt()
        return 1 + 1e-3 * self.last(hidden).mean() * (not is_zero) + 1e-3 * hidden.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Bad(pl.LightningModule):
    """At one batch its loss is NaN, or its gradient infinite, or both."""

    def __init__(self, what: str, at: int, fused: bool = False, only_on: int | None = None) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        self.what, self.at, self.fused, self.only_on = what, at, fused, only_on

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self.w * batch[0]).sum()
        if batch_idx != self.at or self.only_on not in (None, self.global_rank):
            return loss
        if self.what == "loss":
            return loss + torch.tensor(float("nan"))
        return loss * float("nan") if self.what == "both" else loss + (self.w - self.w.detach()).sqrt().sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3, fused=self.fused)


def fit(
    module: pl.LightningModule,
    callback: Any,
    root: Path | str,
    *,
    late: bool = False,
    loader: Any = None,
    **kwargs: Any,
) -> tuple[dict[str, Any], str]:
    """What the callback has found, and its one warning."""
    t = trainer(callbacks=[callback], default_root_dir=root, **kwargs)
    with warnings.catch_warnings(record=True) as caught, as_on_a_device() if late else contextlib.nullcontext():
        warnings.simplefilter("always")
        t.fit(module, Roots.loader() if loader is None else loader)
    told = [str(w.message) for w in caught if "GradientHistogram" in str(w.message)]
    assert len(told) == (1 if t.is_global_zero else 0), told
    return callback.results.get("nonfinite", {}), told[0] if told else ""


class Normed(pl.LightningModule):
    """A layer, a batch norm and a table of constants. On one process, at one batch, something is changed by one bit."""

    def __init__(self, change: str = "", on: int = 1, at: int = 3, sharded: tuple[int, ...] = ()) -> None:
        super().__init__()
        norm = nn.Identity() if sharded else nn.BatchNorm1d(4)  # whose statistics nobody would send
        self.net = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2))
        self.register_buffer("table", torch.arange(6.0))
        self.change, self.on, self.at, self.sharded = change, on, at, sharded

    def configure_model(self) -> None:
        if self.sharded:
            from torch.distributed.device_mesh import init_device_mesh

            from .spreading import fully_shard

            names = ("replicate", "shard")[-len(self.sharded) :]
            mesh = init_device_mesh("cpu", self.sharded, mesh_dim_names=names)
            for part in (self.net[0], self.net[2]):
                fully_shard(part, mesh=mesh)
            self.sharded = ()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.change and batch_idx == self.at and self.global_rank == self.on:
            with torch.no_grad():
                tensor = self.get_parameter(self.change) if "weight" in self.change else self.get_buffer(self.change)
                local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
                first = local.view(-1)[:1]
                first.copy_(torch.nextafter(first, first + 1))
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def strategy_of(name: str) -> Any:
    from pytorch_lightning.strategies import DDPStrategy

    if name == "ddp":
        return DDPStrategy()
    if name == "ddp, own buffers":
        return DDPStrategy(broadcast_buffers=False)
    from pytorch_lightning.strategies import ModelParallelStrategy

    return ModelParallelStrategy(data_parallel_size=int(os.environ["WORLD_SIZE"]), tensor_parallel_size=1)


def replicas(strategy: str, change: str, root: str, **module: Any) -> tuple[Any, str, list[float], int]:
    """What was found to differ, what was said, the numbers that were logged, and in how many calls processes met."""
    from .recorded import scalars

    pl.seed_everything(0)
    callback = lw.GradientHistogram(2, check_replicas=True, name="g")
    kwargs = {"strategy": strategy_of(strategy), "devices": int(os.environ["WORLD_SIZE"])}
    t = trainer(callbacks=[callback], default_root_dir=root, **kwargs)
    data = DataLoader(TensorDataset(torch.rand(60, 3), torch.arange(60)), 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(Normed(change, **module), data)
    told = [str(w.message) for w in caught if "GradientHistogram" in str(w.message)]
    rows = scalars(Path(root)) if t.is_global_zero else []
    counts = [row["g/drifted"] for row in rows if "g/drifted" in row]
    return callback.results.get("drift"), " ".join(told), counts, callback.cost.collectives


def refused(strategy: str, root: str, **module: Any) -> str:
    """The error of a fit."""
    try:
        replicas(strategy, "", root, **module)
    except ValueError as error:
        return str(error)
    return ""


class Sharded(pl.LightningModule):
    """At one batch the gradient of the last row of its weight, which the last process holds, is infinite."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.net = nn.Linear(3, 6, bias=False)
        self.at = at

    def configure_model(self) -> None:
        from .spreading import fully_shard

        if not hasattr(self.net, "unshard"):
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        out = self.net(batch[0])
        loss = out.sum()
        return loss + (out - out.detach())[:, -1].sqrt().sum() if batch_idx == self.at else loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3, foreach=False)


def on_processes(strategy: str, what: str, way: str, root: str, every: int = 50) -> tuple[Any, str, str | None]:
    """What is found where process 1 falls ill at batch 2, what is said, and the folder."""
    callback = lw.GradientHistogram(every, on_nonfinite=way)  # type: ignore[arg-type]
    t = trainer(
        callbacks=[callback],
        default_root_dir=root,
        strategy=strategy_of(strategy),
        devices=int(os.environ["WORLD_SIZE"]),
    )
    module: Any = Sharded(2) if strategy == "fsdp2" else Bad(what, 2, only_on=1)
    path = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            t.fit(module, Roots.loader())
            told = " ".join(str(w.message) for w in caught if "GradientHistogram" in str(w.message))
        except lw.NonFiniteError as error:
            told, path = str(error), error.path
    return callback.results.get("nonfinite"), told, path


def trained(root: str) -> list[dict[str, torch.Tensor]]:
    """Weights after 200 steps under DDP: without a callback, with replicas compared, and ready to stop."""
    found = []
    options: list[dict[str, Any]] = [{}, {"check_replicas": True}, {"on_nonfinite": "raise"}]
    for i, kwargs in enumerate(options):
        pl.seed_everything(0)
        callbacks: list[Any] = [lw.GradientHistogram(10, **kwargs)] if i else []
        t = trainer(callbacks=callbacks, default_root_dir=root, strategy=strategy_of("ddp"), devices=2, max_steps=200,
                    max_epochs=-1)  # fmt: skip
        module = Normed()
        data = DataLoader(TensorDataset(torch.rand(80, 3), torch.arange(80)), 4, shuffle=True)
        t.fit(module, data)
        found.append({name: x.clone() for name, x in module.state_dict().items()})
        os.environ.setdefault("WORLD_SIZE", "2")
    return found
