"""GradientHistogram reads the steps of optimizers that step another one, or are not quite as torch's are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from callbacks.test_gradients_used import SLOPES, Slope, logged
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import trainer
from support.versions import LIGHTNING_1
from torch.utils.data import DataLoader

import lwcallbacks as lw

NORMS = {i: float(g.norm()) for i, g in enumerate(SLOPES)}


class Duck:
    """An optimizer that is none of torch's."""

    def __init__(self, parameters: Any) -> None:
        self.param_groups = [{"params": list(parameters), "lr": 0.1}]
        self.defaults: dict[str, Any] = {}
        self.state: dict[str, Any] = {}

    def step(self, closure: Any = None) -> Any:
        return None if closure is None else closure()

    def zero_grad(self, *args: Any, **kwargs: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Wraps(Duck):
    """One that steps an optimizer of torch."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.optimizer = torch.optim.SGD(self.param_groups, lr=1.0)

    def step(self, closure: Any = None) -> Any:
        self.optimizer.zero_grad()
        return self.optimizer.step(closure)


@pytest.mark.skipif(LIGHTNING_1, reason="Lightning 1 takes torch's optimizers only")
def test_an_optimizer_without_hooks_is_refused(tmp_path: Path) -> None:
    """Before the first batch, with what to write; which then works."""

    class Quacks(Slope):
        kind: Any = Duck

        def configure_optimizers(self) -> Any:
            return self.kind(self.parameters())

    module = Quacks()
    with pytest.raises(TypeError, match=r"GradientHistogram.*found the optimizer Duck, which has no .*self.opt"):
        trainer(callbacks=[lw.GradientHistogram(1)], default_root_dir=tmp_path).fit(module, DataLoader(SLOPES))
    module.kind = Wraps
    norms = logged(tmp_path / "wraps", module, "gradients/norm/w")
    assert norms == {i: float(g.norm()) for i, g in enumerate(SLOPES)}


class Sharpness(torch.optim.Optimizer):
    """Steps along the gradient of a place near by; its methods are those of the usual code of SAM."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"rho": 1.0})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.125)
        self.param_groups = self.base_optimizer.param_groups
        self.kept: list[torch.Tensor] = []

    @property
    def own(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def first_step(self) -> None:
        self.kept = [p.clone() for p in self.own]
        for p in self.own:
            p.add_(p.grad, alpha=self.param_groups[0]["rho"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p, kept in zip(self.own, self.kept, strict=True):
            p.copy_(kept)
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()
        return loss


class InTwo(Slope):
    """The gradient is the place: `w` plus the batch."""

    kind: Any = Sharpness

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return ((self.w + batch[0]) ** 2).sum() / 2

    def configure_optimizers(self) -> Any:
        return self.kind(self.parameters())


class ByHand(InTwo):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.optimizer.first_step()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.optimizer.second_step()


@pytest.mark.parametrize("module", [InTwo, ByHand])
def test_the_gradient_near_by_is_the_one_that_is_used(tmp_path: Path, module: Any) -> None:
    """In both ways to call SAM: the second gradient is logged, which the optimizer inside uses and clears."""
    w, expected = torch.tensor([100.0, 0.0]), {}
    for i, slope in enumerate(SLOPES):
        used = w + (w + slope) + slope
        w, expected[i] = w - used / 8, float(used.norm())
    callback = lw.GradientHistogram(1)
    found = logged(tmp_path, module(), "gradients/norm/w", callback=callback)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-6)
    assert callback.results["diagnosis"] == []


class Ahead(torch.optim.Optimizer):
    """A wrapper as they are often written: it does not call the __init__ of torch's."""

    def __init__(self, parameters: Any) -> None:
        self.inner = torch.optim.SGD(parameters, lr=1.0)
        self.param_groups, self.state, self.defaults = self.inner.param_groups, self.inner.state, self.inner.defaults
        self.outer = self

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class Bare(Ahead):
    """The same, and there is nothing inside that has hooks."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        del self.inner


class Own(torch.optim.SGD):
    """A class of one's own, whose step calls that of torch. Both run the hooks of the optimizer."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=1.0)

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Two(Own):
    """Holds two others, of which it steps none."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.fast, self.slow = (torch.optim.SGD(self.param_groups, lr=lr) for lr in (1.0, 0.1))


class Beside(Own):
    """Holds one of other parameters."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


class Scaled(Ahead):
    """Has no hooks, and shows groups of its own, as a wrapper that holds copies in another precision."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.param_groups = [{"params": [p.detach() for p in parameters], "lr": 1.0}]


class Made(Slope):
    kind: Any = Own

    def configure_optimizers(self) -> Any:
        return self.kind(list(self.parameters()))


@pytest.mark.parametrize("kind", [Ahead, Own, Two, Beside, Scaled])
@pytest.mark.parametrize("every", [1, 2])
def test_each_step_of_a_wrapper_counts_once(tmp_path: Path, kind: Any, every: int) -> None:
    """Every second of its steps is every second one, though torch runs the hooks of some of them twice."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)  # from now on, torch's own class runs hooks
    module = Made()
    module.kind = kind
    norms = logged(tmp_path, module, "gradients/norm/w", callback=lw.GradientHistogram(every))
    assert norms == {i: norm for i, norm in NORMS.items() if (i + 1) % every == 0}


def test_a_wrapper_without_hooks_is_refused(tmp_path: Path) -> None:
    """In words, rather than by the attribute that torch misses."""
    module = Made()
    module.kind = Bare
    with pytest.raises(TypeError, match=r"GradientHistogram.*found the optimizer Bare, which has no .*self.opt"):
        logged(tmp_path, module, "gradients/norm/w")


class Raises(Own):
    """Its third step fails."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        if self.calls == 3:
            raise FloatingPointError
        return super().step(closure)


class Catches(Made):
    """Goes on behind a step that fails."""

    kind: Any = Raises

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward((self.w * batch[0]).sum())
        try:
            optimizer.step()
        except FloatingPointError:
            self.w.data.neg_()


def test_a_step_that_raises_does_not_hide_those_behind_it(tmp_path: Path) -> None:
    """It is no step itself."""
    norms = logged(tmp_path, Catches(), "gradients/norm/w")
    assert list(norms.values()) == [norm for i, norm in NORMS.items() if i != 2]


class Clears(Own):
    """Leaves no gradient behind."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.zero_grad()
        return loss


def test_a_step_that_clears_its_gradients_is_no_layer_without_any(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can be logged of it, which is said; the diagnosis does not call the layer one that never learns."""
    caplog.set_level(logging.INFO)
    module, callback = Made(), lw.GradientHistogram(1)
    module.kind = Clears
    trainer(callbacks=[callback], default_root_dir=tmp_path, max_epochs=2).fit(module, DataLoader(SLOPES))
    assert "gradients/norm/w" not in text_of(tmp_path)
    assert callback.results["diagnosis"] == []
    assert "Clears had no gradient behind a step(), and nothing is logged of it" in caplog.text


def text_of(folder: Path) -> str:
    """All that a run has recorded."""
    return "".join(path.read_text() for path in folder.rglob("*.js"))


class OfItsOwn(Made):
    """Steps an optimizer that it does not return."""

    returns: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.mine = Own(self.parameters())

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.mine.zero_grad()
        self.manual_backward((self.w * batch[0]).sum())
        self.mine.step()

    def configure_optimizers(self) -> Any:
        return self.returns and self.returns(self.parameters())


@pytest.mark.filterwarnings("ignore:.*configure_optimizers. returned .None.")
@pytest.mark.parametrize(
    ("returns", "said"),
    [(None, "configure_optimizers() returns no optimizer, so"), (Own, "Own has made no step() in an epoch, so")],
)
def test_an_optimizer_that_never_steps_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, returns: Any, said: str
) -> None:
    """Once, with what to write."""
    caplog.set_level(logging.INFO)
    module = OfItsOwn()
    module.returns = returns
    trainer(callbacks=[lw.GradientHistogram(1)], default_root_dir=tmp_path, max_epochs=2).fit(
        module, DataLoader(SLOPES)
    )
    assert "gradients/norm/w" not in text_of(tmp_path)
    assert caplog.text.count(said) == 1
    assert "Expected that configure_optimizers() returns the optimizers whose step() is called" in caplog.text


class Validates(Slope):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", batch.sum())


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_epoch_of_which_no_batch_is_left_names_no_optimizer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint is from the validation at the end of an epoch, which Lightning then ends without a batch."""
    caplog.set_level(logging.INFO)
    saved = tmp_path / "checkpoints"
    for ckpt_path in (None, saved / "0.ckpt"):
        keeps = ModelCheckpoint(saved, "{epoch}", auto_insert_metric_name=False, save_on_train_epoch_end=False)
        t = trainer(
            callbacks=[lw.GradientHistogram(1), keeps], default_root_dir=tmp_path, enable_checkpointing=True,
            num_sanity_val_steps=0, max_epochs=1,
        )  # fmt: skip
        t.fit(Validates(), DataLoader(SLOPES), DataLoader(SLOPES), ckpt_path=ckpt_path)
    assert "has made no step()" not in caplog.text
