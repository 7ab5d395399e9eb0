"""GradientHistogram where training changes what it trains: what joins, is frozen, or is written into gradients."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.ill import Roots
from support.modules import trainer
from support.recorded import scalars
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw

BATCHES = [torch.arange(4.0).repeat(3, 1) + i for i in range(8)]
NAN = math.nan


class Net(pl.LightningModule):
    """Two layers and AdamW; keeps what each step was given and changed, by hand."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)
        self.norms: list[float] = []
        self.ratios: list[float] = []

    def loss(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.last(self.first(batch)).square().mean()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        return self.loss(batch, batch_idx)

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """The last that is called before the step."""
        self.norms.append(float(self.first.weight.grad.norm()))
        self.before = self.first.weight.detach().clone()

    def on_train_batch_end(self, *args: Any) -> None:
        self.ratios.append(float((self.first.weight.detach() - self.before).norm() / self.before.norm()))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def fit(module: pl.LightningModule, root: Path, data: Any = None, **options: Any) -> Any:
    """What was not finite; what is said of it is not looked at here."""
    callback = lw.GradientHistogram(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        t = trainer(callbacks=[callback], default_root_dir=root)
        t.fit(module, DataLoader(BATCHES, batch_size=None) if data is None else data)
    return callback.results.get("nonfinite")


def logged(module: pl.LightningModule, root: Path, key: str, **options: Any) -> list[float]:
    callback = lw.GradientHistogram(1, **options)
    trainer(callbacks=[callback], default_root_dir=root).fit(module, DataLoader(BATCHES, batch_size=None))
    return [row[key] for row in scalars(root) if key in row]


class Nesterov(Net):
    """Its step adds the momentum to `.grad`."""

    def __init__(self, **more: Any) -> None:
        super().__init__()
        self.options = {"momentum": 0.9, "nesterov": True, "foreach": True, **more}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3, **self.options)


@pytest.mark.parametrize(
    "more", [{}, {"foreach": False}, {"weight_decay": 0.1}, {"maximize": True}, {"nesterov": False}]
)
def test_the_gradient_is_that_before_momentum(tmp_path: Path, more: dict[str, Any]) -> None:
    """Whether or not the step writes into it."""
    module = Nesterov(**more)
    found = logged(module, tmp_path, "gradients/norm/first.weight")
    assert found == pytest.approx(module.norms, rel=1e-5)
    assert len(found) == len(BATCHES)


class Clamps(Net):
    """As a critic of a WGAN does, in the step, before its loss."""

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        with torch.no_grad():
            self.first.weight.clamp_(-0.1, 0.1)
        return super().training_step(batch, batch_idx)


def test_what_training_step_changes_is_no_change_of_the_optimizers(tmp_path: Path) -> None:
    """In automatic optimization it is called by the step."""
    module = Clamps()
    found = logged(module, tmp_path, "gradients/update_ratio/first.weight")
    assert found == pytest.approx(module.ratios, rel=1e-4)


class StepsBare(Net):
    """Hands Lightning's closure to torch's own optimizer, so that nobody announces a step."""

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        closure: Any = kwargs.get("optimizer_closure") or args[-1]

        def and_notes() -> Any:
            loss = closure()
            self.configure_gradient_clipping(None)
            return loss

        self.optimizers(use_pl_optimizer=False).step(and_notes)


def test_a_step_that_nobody_announces_has_an_update_ratio(tmp_path: Path) -> None:
    """Of all that it has changed."""
    module = StepsBare()
    found = logged(module, tmp_path, "gradients/update_ratio/first.weight")
    assert found == pytest.approx(module.ratios, rel=1e-4)
    assert len(found) == len(BATCHES)


class Freezes(Net):
    """With gradients that are made zero, and not None: momentum goes on."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 4:
            self.first.requires_grad_(False)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any) -> None:
        optimizer.zero_grad(set_to_none=False)


def test_what_is_frozen_and_still_stepped_has_an_update_ratio(tmp_path: Path) -> None:
    """And no diagnosis that its weights vanish."""
    module = Freezes()
    found = logged(module, tmp_path, "gradients/update_ratio/first.weight")
    assert found == pytest.approx(module.ratios, rel=1e-4)
    assert min(found[4:]) > 0


class Joins(Net):
    """A layer that is unfrozen at its third batch, and falls ill at `ill_at`."""

    def __init__(self, ill_at: int) -> None:
        super().__init__()
        self.ill_at = ill_at
        self.first.requires_grad_(False)

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if self.global_step == self.ill_at:
            assert self.first.weight.grad is not None

    def on_train_batch_end(self, *args: Any) -> None:
        pass

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            self.first.requires_grad_(True)
            self.optimizers(use_pl_optimizer=False).add_param_group({"params": list(self.first.parameters())})

    def loss(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        hidden = self.first(batch)
        if batch_idx == self.ill_at:
            hidden.register_hook(lambda gradient: gradient * NAN)
        return self.last(hidden).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.last.parameters(), lr=0.01)


@pytest.mark.parametrize("ill_at", [2, 5, 7])
@pytest.mark.parametrize("every", [1, 10**6])
def test_parameters_that_join_an_optimizer_are_looked_at(tmp_path: Path, ill_at: int, every: int) -> None:
    """From their first step on, as `BackboneFinetuning` adds them; with "raise" their first bad step does not come."""
    found = fit(Joins(ill_at), tmp_path, every_n_train_steps=every)
    assert (found["step"], found["batch"], found["num_layers"]) == (ill_at, ill_at, 4)
    assert found["layers"] == {"first.bias": "NaN", "first.weight": "NaN"}
    module = Joins(ill_at)
    t = trainer(callbacks=[lw.GradientHistogram(every, on_nonfinite="raise")], default_root_dir=tmp_path)
    with pytest.raises(lw.NonFiniteError, match=f"at step {ill_at} "):
        t.fit(module, DataLoader(BATCHES, batch_size=None))
    assert all(bool(p.isfinite().all()) for p in module.parameters())


class ThrownAway(Roots):
    """Two batches fall ill, one behind the other; with the first no step is made, and its gradients are cleared."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__(zero_at=-1)
        self.automatic_optimization = not by_hand

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.zero_at = batch_idx if batch_idx in (3, 4) else -1
        loss = super().training_step(batch, batch_idx)
        if self.automatic_optimization:
            return loss
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        if batch_idx != 3:
            optimizer.step()
        return None

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        closure: Any = kwargs.get("optimizer_closure") or args[-1]
        if args[1] == 3:
            closure()
        else:
            self.optimizers(use_pl_optimizer=False).step(closure)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("every", [1, 10**6])
def test_the_batch_that_is_named_and_saved_is_the_one_that_is_used(tmp_path: Path, by_hand: bool, every: int) -> None:
    """Not one before it, whose gradients were thrown away."""
    found = fit(ThrownAway(by_hand), tmp_path / "a", Roots.loader(), every_n_train_steps=every)
    assert (found["batch"], found["samples"]) == (4, (8, 9))
    t = trainer(callbacks=[lw.GradientHistogram(every, on_nonfinite="raise")], default_root_dir=tmp_path / "b")
    with pytest.raises(lw.NonFiniteError) as caught:
        t.fit(ThrownAway(by_hand), Roots.loader())
    assert lw.replay(str(caught.value.path)).batch[1].tolist() == [108, 109]


def test_a_loss_that_is_not_finite_counts_without_a_step(tmp_path: Path) -> None:
    """From the fifth batch on it is infinite, and no step is made any more."""

    class Stops(Net):
        def loss(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return super().loss(batch, batch_idx) * (math.inf if batch_idx >= 4 else 1.0)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss := self.loss(batch, batch_idx))
            if bool(loss.isfinite()):
                optimizer.step()

        def on_train_batch_end(self, *args: Any) -> None:
            pass

    module = Stops()
    module.automatic_optimization = False
    found = fit(module, tmp_path, every_n_train_steps=1)
    assert (found["batch"], found["losses"], found["is_used"]) == (4, (math.inf,), False)


class TwoLosses(Net):
    """Manual optimization, with a second backward pass that Lightning does not see; `ill_at` is that of the second."""

    def __init__(self, ill_at: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ill_at = ill_at

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch, batch_idx))
        hidden = self.first(batch)
        if batch_idx == self.ill_at:
            hidden.register_hook(lambda gradient: gradient * NAN)
        self.last(hidden).sum().backward()
        optimizer.step()

    def on_train_batch_end(self, *args: Any) -> None:
        pass

    configure_gradient_clipping = pl.LightningModule.configure_gradient_clipping


@pytest.mark.parametrize("ill_at", [3, 7])
@pytest.mark.parametrize("every", [1, 10**6])
def test_a_backward_that_lightning_does_not_see_is_looked_at(tmp_path: Path, ill_at: int, every: int) -> None:
    """In the step that uses it, also the last one."""
    found = fit(TwoLosses(ill_at), tmp_path, every_n_train_steps=every)
    assert (found["step"], found["batch"], found["layers"]) == (
        ill_at,
        ill_at,
        {"first.bias": "NaN", "first.weight": "NaN"},
    )


class Zeroed(Net):
    """Its optimizer has a hook of the user's, which makes gradients zero in place behind a step."""

    def configure_optimizers(self) -> Any:
        return zeroed(self)


def test_gradients_are_read_before_hooks_of_the_users(tmp_path: Path) -> None:
    """Which were there first."""
    module = Zeroed()
    found = logged(module, tmp_path, "gradients/norm/first.weight")
    assert found == module.norms
    assert min(found) > 0


class TwoOptimizers(Net):
    """One backward pass for both; that of the first layer falls ill at the fourth batch, and may be left out then."""

    def __init__(self, leaves_out: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.leaves_out = leaves_out

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        of_first, of_last = self.optimizers()
        of_first.zero_grad()
        of_last.zero_grad()
        hidden = self.first(batch)
        if batch_idx == 3:
            hidden.register_hook(lambda gradient: gradient * NAN)
        self.manual_backward(self.last(hidden).square().mean())
        of_last.step()
        if batch_idx != 3 or not self.leaves_out:
            of_first.step()

    def on_train_batch_end(self, *args: Any) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=1e-3) for part in (self.first, self.last)]


@pytest.mark.parametrize("every", [1, 10**6])
def test_a_bad_gradient_is_used_by_its_own_optimizer(tmp_path: Path, every: int) -> None:
    """Where that one makes no step, it is no illness, and training goes on."""
    assert fit(TwoOptimizers(leaves_out=True), tmp_path, every_n_train_steps=every) is None
    assert fit(TwoOptimizers(leaves_out=True), tmp_path, every_n_train_steps=every, on_nonfinite="raise") is None
    module = TwoOptimizers(leaves_out=False)
    with pytest.raises(lw.NonFiniteError, match=r"\(epoch 0, batch 3\) .* no optimizer has stepped with it"):
        fit(module, tmp_path, every_n_train_steps=every, on_nonfinite="raise")
    assert all(bool(p.isfinite().all()) for p in module.first.parameters())
    callback = lw.GradientHistogram(every)
    t = trainer(callbacks=[callback], default_root_dir=tmp_path, limit_train_batches=4)
    with pytest.warns(UserWarning, match="the gradient of 2 of 4 layers"):
        t.fit(TwoOptimizers(leaves_out=False), DataLoader(BATCHES, batch_size=None))
    assert (callback.results["nonfinite"]["batch"], callback.results["nonfinite"]["is_used"]) == (3, True)
    assert callback.state_dict()["nonfinite_steps"] == 1


def zeroed(module: Net) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    optimizer.register_step_post_hook(lambda *args: optimizer.zero_grad(set_to_none=False))
    return optimizer


def repaired(module: Net) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    step = optimizer.step

    def repairs(closure: Any = None) -> Any:
        def and_repairs() -> Any:
            loss = closure()
            for p in module.parameters():
                if p.grad is not None:
                    p.grad.nan_to_num_()
            return loss

        return step(and_repairs)

    optimizer.step = repairs  # type: ignore[method-assign]
    return optimizer


@pytest.mark.parametrize("make", [zeroed, repaired])
def test_what_is_found_is_the_same_where_an_optimizer_was_changed(tmp_path: Path, make: Callable[[Net], Any]) -> None:
    """At a logged step and at any other."""

    class Changed(Joins):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.first.requires_grad_(True)

        configure_gradient_clipping = pl.LightningModule.configure_gradient_clipping

        def configure_optimizers(self) -> Any:
            return make(self)

    found = [fit(Changed(3), tmp_path / str(every), every_n_train_steps=every) for every in (1, 10**6)]
    assert found[0] == found[1]
    assert (found[0]["batch"], len(found[0]["layers"])) == (3, 2)


def test_it_is_said_that_a_hook_may_come_between(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lightning calls the module's own hook behind those of callbacks, and clips then."""

    class Scales(Roots):
        def on_before_optimizer_step(self, *args: Any) -> None:
            for p in self.parameters():
                p.grad.mul_(0.01)

    for module, number in ((Scales(99), 1), (Roots(99), 0)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            t = trainer(callbacks=[lw.GradientHistogram(1)], default_root_dir=tmp_path, gradient_clip_val=1.0)
            t.fit(module, Roots.loader())
        assert sum("the module's own on_before_optimizer_step" in r.message for r in caplog.records) == number
