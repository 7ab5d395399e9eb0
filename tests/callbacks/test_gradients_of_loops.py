"""GradientHistogram in loops that change: groups in any order, new optimizers, several steps, too few of them."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.modules import trainer
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.callbacks.over_steps import OverSteps
from lwcallbacks.readers import read_folder

BATCHES = [torch.full((3, 4), float(i)) for i in range(12)]


def ignore(*_: Any) -> None:
    """Before a batch."""


class Deep(pl.LightningModule):
    """Linear layers with ReLUs between, in groups that are given by their numbers."""

    def __init__(self, groups: Sequence[int] = range(7), before: Callable[[Deep, int], object] = ignore) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(*[part for _ in range(6) for part in (nn.Linear(4, 4), nn.ReLU())], nn.Linear(4, 2))
        self.groups = groups
        self.before = before

    @property
    def linear(self) -> list[nn.Linear]:
        return [part for part in self.net if isinstance(part, nn.Linear)]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.before(self, batch_idx)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        return self.net(batch + 1).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([{"params": list(self.linear[i].parameters())} for i in self.groups], lr=1e-3)


class Often(Deep):
    """Four steps in each batch."""

    automatic_optimization = False
    is_announced = True

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers(use_pl_optimizer=self.is_announced)
        for _ in range(4):
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()


def fit(module: pl.LightningModule, callback: lw.GradientHistogram, tmp_path: Path) -> Any:
    """The folder of the run; None where nothing was drawn."""
    trainer(callbacks=[callback], default_root_dir=tmp_path).fit(module, DataLoader(BATCHES, batch_size=None))
    return next((read_folder(file.parent) for file in tmp_path.rglob("manifest.js")), None)


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.message for record in caplog.records)


# -- the order of layers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [range(7), range(6, -1, -1), (3, 1, 6, 0, 2, 5, 4)])
def test_the_layer_that_passes_nothing_on_is_named_first(groups: Sequence[int], tmp_path: Path) -> None:
    """Whatever groups an optimizer has, as those of layer-wise learning rates, from the head to the input."""
    module = Deep(groups)
    nn.init.constant_(module.linear[4].bias, -1000.0)
    callback = lw.GradientHistogram(1)
    found = fit(module, callback, tmp_path)
    assert [one.layer for one in callback.results["diagnosis"]] == [f"net.{2 * i}" for i in (4, 3, 2, 1, 0)]
    layers = [f"net.{2 * i}.{kind}" for i in range(7) for kind in ("weight", "bias")]
    [*_, table] = found.data("gradients/layers").values()
    assert [row[0] for row in table["rows"]] == layers
    assert [key for key in found.curves() if key.startswith("gradients/norm/net")] == [
        f"gradients/norm/{layer}" for layer in layers
    ]


@pytest.mark.parametrize("groups", [range(7), range(6, -1, -1)])
def test_so_is_the_layer_that_cuts_the_gradient_off(groups: Sequence[int], tmp_path: Path) -> None:
    """A `detach()` behind the fourth."""

    class Cut(Deep):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.net[8:](self.net[:8](batch + 1).detach()).square().mean()

    callback = lw.GradientHistogram(1)
    fit(Cut(groups), callback, tmp_path)
    assert [one.layer for one in callback.results["diagnosis"]] == [f"net.{2 * i}" for i in (3, 2, 1, 0)]


def test_layers_that_learn_later_have_their_place() -> None:
    """Rows of a picture, and who is named first, are in the order of the module."""
    import numpy as np

    from lwcallbacks.gradients.history import History

    over = OverSteps(by_module=True, in_float16=False)
    over.start(("a.w", "b.w", "c.w"), None)
    assert list(over.state_dict()["diagnosis"]["names"]) == ["a", "b", "c"]
    history = History()
    history.know(("a.w", "b.w", "c.w"))
    history.add(1, ("c.w", "other"), np.array([3.0, 9.0]))
    history.add(2, ("a.w", "c.w"), np.array([1.0, 4.0]))
    assert history.names == ["a.w", "c.w", "other"]
    assert np.array_equal(history.table(), [[np.nan, 1.0], [3.0, 4.0], [9.0, np.nan]], equal_nan=True)


# -- optimizers --------------------------------------------------------------------------------------------------------


def made_again(module: Deep, batch_idx: int) -> None:
    if batch_idx == 4:
        module.trainer.strategy.optimizers = [module.configure_optimizers()]


def spoils(module: Deep, batch_idx: int) -> None:
    made_again(module, batch_idx)
    if batch_idx == 9:
        module.net.register_forward_hook(lambda part, args, output: output * float("nan"))


@pytest.mark.parametrize("kind", [Deep, Often])
def test_an_optimizer_that_is_made_in_the_middle_of_an_epoch_is_seen(kind: type[Deep], tmp_path: Path) -> None:
    """From its first step on; its steps are counted on from those of the other."""
    steps = 4 if kind is Often else 1
    norms = fit(kind(before=made_again), lw.GradientHistogram(3 * steps), tmp_path).curves()["gradients/norm/total"]
    assert list(norms) == [2, 5, 8, 11]


@pytest.mark.parametrize("kind", [Deep, Often])
def test_what_is_not_finite_is_stopped_before_its_step(kind: type[Deep], tmp_path: Path) -> None:
    """The optimizer was made in the same epoch."""
    module = kind(before=spoils)
    with pytest.raises(lw.NonFiniteError, match=r"at step 9 .*no optimizer has stepped"):
        fit(module, lw.GradientHistogram(1, on_nonfinite="raise"), tmp_path)
    assert all(bool(p.isfinite().all()) for p in module.parameters())


def test_an_optimizer_that_is_made_within_a_batch_is_seen(tmp_path: Path) -> None:
    """Just before its step, in manual optimization."""

    class Within(Often):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            made_again(self, batch_idx)
            super().training_step(batch, batch_idx)

    norms = fit(Within(), lw.GradientHistogram(4), tmp_path).curves()["gradients/norm/total"]
    assert list(norms) == list(range(12))


def test_one_whose_steps_are_not_announced_is_seen_from_the_next_batch_on(tmp_path: Path) -> None:
    """A plain optimizer of torch, in manual optimization."""
    module = Often(before=made_again)
    module.is_announced = False
    norms = fit(module, lw.GradientHistogram(4), tmp_path).curves()["gradients/norm/total"]
    assert list(norms) == [i for i in range(12) if i != 4]


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "number"), [(1, 1), (3, 1), (4, 0), (8, 0)])
def test_several_steps_of_a_batch_share_a_number(
    every: int, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, where two of them are logged."""
    with caplog.at_level(logging.INFO):
        fit(Often(), lw.GradientHistogram(every), tmp_path)
    assert told(caplog, "SGD steps several times in a batch") == number


@pytest.mark.parametrize(("every", "number"), [(12, 0), (13, 1)])
def test_a_training_too_short_for_a_logged_step_is_told(
    every: int, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what to write; and there is a diagnosis, which has nothing."""
    callback = lw.GradientHistogram(every)
    with caplog.at_level(logging.INFO):
        fit(Deep(), callback, tmp_path)
    assert told(caplog, f"no step of SGD was logged: it has made 12, and every {every}th is.") == number
    assert callback.results["diagnosis"] == []


@pytest.mark.parametrize(("include", "number"), [("net.0.*", 1), (("net.0.*", "net.2.*"), 0)])
def test_parameters_that_nobody_trains_are_told(
    include: Any, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All that are chosen are in no optimizer."""
    with caplog.at_level(logging.INFO):
        fit(Deep(range(1, 7)), lw.GradientHistogram(1, include=include), tmp_path)
    assert told(caplog, "no optimizer has a parameter that include= and exclude= choose") == number
    assert told(caplog, "had no gradient behind a step()") == 0


def test_patterns_that_leave_one_of_two_optimizers_out_are_meant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said of the other one."""

    class Two(Deep):
        automatic_optimization = False

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            self.manual_backward(super().training_step(batch, batch_idx))
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.linear[i].parameters(), lr=1e-3) for i in (0, 1)]

    with caplog.at_level(logging.INFO):
        found = fit(Two(), lw.GradientHistogram(1, include="net.0.*"), tmp_path)
    assert "gradients/norm/net.0.weight" in found.curves()
    assert told(caplog, "no gradient") == told(caplog, "no optimizer") == 0


def test_a_refusal_names_what_learns(tmp_path: Path) -> None:
    """And not what is frozen."""
    module = Deep(range(5, 7))
    for part in module.linear[:5]:
        part.requires_grad_(False)
    with pytest.raises(ValueError, match=r"which no parameter fits, expected a pattern for names as net\.10\.weight"):
        fit(module, lw.GradientHistogram(1, include="lora"), tmp_path)


# -- copies ------------------------------------------------------------------------------------------------------------


def test_a_copy_that_is_made_in_a_logged_batch_is_the_users_own(tmp_path: Path) -> None:
    """What it holds does nothing, and a file of it is loaded where this package is not installed."""
    file = tmp_path / "net.pt"

    class Copies(Deep):
        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            torch.save(self.net, file)
            self.target = [copy.deepcopy(self.net)]
            return super().training_step(batch, batch_idx)

    module = Copies()
    fit(module, lw.GradientHistogram(1, activations=True), tmp_path)
    assert torch.equal(module.target[0](BATCHES[1]), copy.deepcopy(module.target[0])(BATCHES[1]))
    code = (
        "import sys, torch; sys.modules['lwcallbacks'] = None; "
        f"print(torch.load({str(file)!r}, weights_only=False)(torch.ones(3, 4)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "torch.Size([3, 2])", done.stderr
