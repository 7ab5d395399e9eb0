"""Histograms of parameters, moments and updates, as a fit draws them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.modules import loader, trainer
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.readers import read_folder
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.testing.same import difference

HISTOGRAM = LogHistogram()
ALL = {"weights": True, "moments": True, "updates": True}


def lifted(*tensors: torch.Tensor) -> Any:
    return HISTOGRAM.value(HISTOGRAM.lift(torch.cat([x.detach().flatten() for x in tensors])))


class Two(pl.LightningModule):
    """A generator and a discriminator that step in one batch, with optimizers that remember different things."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.g = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.d = nn.Parameter(torch.tensor([4.0, 0.0, 8.0]))
        self.both = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.full((5,), 3.0), requires_grad=False)
        self.tied = self.g
        self.before: dict[str, torch.Tensor] = {}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.before = {name: p.detach().clone() for name, p in self.named_parameters()}
        for own, optimizer in zip((self.g, self.d), self.optimizers(), strict=True):
            optimizer.zero_grad()
            self.manual_backward((own * own).sum() + self.both.sum())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        adam = torch.optim.Adam([self.g, self.both], lr=0.25)
        return [adam, torch.optim.SGD([self.d, self.both, self.frozen], lr=0.5, momentum=0.5)]


def test_several_optimizers_with_frozen_and_shared_parameters() -> None:
    """Each has what it remembers; a frozen parameter has weights and no more, one of two names is there once."""
    module, callback = Two(), lw.GradientHistogram(1, **ALL)
    t = trainer(callbacks=[callback])
    t.fit(module, DataLoader(torch.zeros(3, 1)))
    adam, sgd = t.optimizers
    found = {key: seen for key, seen in callback.results["train"].items() if "/" in key}
    for key in ("both/Adam", "both/SGD"):  # both steps change it, and each has seen it then
        del found[f"updates/{key}"], found[f"weights/{key}"], found[key]
    assert found.keys() == {
        "weights/g", "weights/d", "weights/frozen", "updates/g", "updates/d", "exp_avg/g", "exp_avg_sq/g",
        "exp_avg/both/Adam", "exp_avg_sq/both/Adam", "momentum_buffer/d", "momentum_buffer/both/SGD",
    }  # fmt: skip
    expected = {f"weights/{name}": lifted(getattr(module, name)) for name in ("g", "d", "frozen")}
    expected |= {f"updates/{name}": lifted(getattr(module, name) - module.before[name]) for name in ("g", "d")}
    expected |= {f"{m}/g": lifted(adam.state[module.g][m]) for m in ("exp_avg", "exp_avg_sq")}
    expected |= {f"{m}/both/Adam": lifted(adam.state[module.both][m]) for m in ("exp_avg", "exp_avg_sq")}
    expected["momentum_buffer/d"] = lifted(sgd.state[module.d]["momentum_buffer"])
    expected["momentum_buffer/both/SGD"] = lifted(sgd.state[module.both]["momentum_buffer"])
    assert difference(found, expected) is None


def drawn(tmp_path: Path) -> dict[str, list[int]]:
    """The keys of the page with their steps."""
    [file] = tmp_path.rglob("scalars.js")
    return read_folder(file.parent).steps()


class Named(pl.LightningModule):
    """Its layers are called as parts of our keys."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.total = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
        self.net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weights.sum() + self.total.sum() + self.net(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("depth", "layers"), [(None, 6), (1, 3)])
def test_grouped_layers_and_names_of_our_own(tmp_path: Path, depth: int | None, layers: int) -> None:
    """Counts of a group are added; every histogram is drawn under its key, and no key is another's."""
    callback = lw.GradientHistogram(1, weights=True, updates=True, depth=depth)
    module = Named()
    trainer(callbacks=[callback], default_root_dir=tmp_path).fit(module, DataLoader(torch.ones(2, 2)))
    results = callback.results["train"]
    assert len(results) == 3 * layers
    assert {"weights", "weights/weights", "weights/total.parameter", "updates/total.parameter"} <= results.keys()
    if depth:
        assert difference(results["weights/net"], lifted(*module.net.parameters())) is None
    others = {"layers", "diagnosis", "norm_by_step", "update_ratio_by_step"}
    assert set(drawn(tmp_path)) == {f"gradients/{key}" for key in (*results, *others)}


def test_nothing_to_remember_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """By an optimizer without moments; there are no keys of them."""
    callback = lw.GradientHistogram(1, moments=True)
    with caplog.at_level("INFO"):
        trainer(callbacks=[callback]).fit(Named(), DataLoader(torch.ones(3, 2)))
    told = [record.message for record in caplog.records if "moments=True" in record.message]
    assert len(told) == 1
    assert "SGD keeps no exp_avg" in told[0]
    assert all("/" not in key for key in callback.results["train"])


class Trains(pl.LightningModule):
    """With everything that reading must not disturb: momentum, dropout, batch statistics."""

    def __init__(self, optimizer: Any = torch.optim.AdamW, **kwargs: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True),
                                 nn.Dropout(0.2), nn.Linear(16, 5))  # fmt: skip
        self.make = lambda: optimizer(self.parameters(), **kwargs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return self.make()


OPTIONS: list[dict[str, Any]] = [{"weights": True}, {"moments": True}, {"updates": True, "update_ratio": False},
                                 {"activations": True}]  # fmt: skip


def weights_after(*callbacks: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    pl.seed_everything(3)
    module = Trains(lr=0.01)
    trainer(callbacks=list(callbacks), max_steps=200, max_epochs=-1).fit(module, loader(40, 8, shuffle=True))
    return dict(module.state_dict()), torch.rand(3)


def test_training_is_the_same_to_the_bit() -> None:
    """Weights and random numbers after 200 steps, under each option."""
    expected = weights_after()
    for options in OPTIONS:
        found = weights_after(lw.GradientHistogram(3, **options))
        assert difference(found, expected) is None, options
