"""At a logged step the reader's look at the gradients is the only one, and finds what another one would."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.ill import Bad, Roots
from support.modules import trainer
from torch import nn

import lwcallbacks as lw
from lwcallbacks.callbacks import finite_watch
from lwcallbacks.gradients.finite import oddities_of
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing.same import difference

Found = dict[str, Any] | None


def found(module: pl.LightningModule, every: int, root: Path, late: bool = False, **kwargs: Any) -> Found:
    callback = lw.GradientHistogram(every, **kwargs.pop("of_callback", {}))
    others = kwargs.pop("callbacks", [])
    t = trainer(callbacks=[callback, *others], default_root_dir=root, **kwargs)
    with warnings.catch_warnings(), as_on_a_device() if late else contextlib.nullcontext():
        warnings.simplefilter("ignore")
        t.fit(module, Roots.loader())
    return callback.results.get("nonfinite")


def clip(module: pl.LightningModule) -> None:
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)


class ClipsBehindBackward(Roots):
    def on_after_backward(self) -> None:
        clip(self)


class ClipsBeforeTheStep(Roots):
    def on_before_optimizer_step(self, optimizer: Any, *args: Any) -> None:
        clip(self)


class ClipsInTheStep(Roots):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        closure: Any = kwargs.get("optimizer_closure") or args[-1]

        def and_clip() -> Any:
            loss = closure()
            clip(self)
            return loss

        self.optimizers(use_pl_optimizer=False).step(and_clip)


class Clipping(torch.optim.SGD):
    """Of a library that clips in its step."""

    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], 1.0)
        super().step()
        return loss


class HasOptimizerThatClips(Roots):
    def configure_optimizers(self) -> Any:
        return Clipping(self.parameters(), lr=1e-3)


class LeavesTheStepOut(Roots):
    """If a gradient is not finite."""

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        closure: Any = kwargs.get("optimizer_closure") or args[-1]
        closure()
        if all(p.grad.isfinite().all() for p in self.parameters() if p.grad is not None):
            self.optimizers(use_pl_optimizer=False).step()


class Large(Bad):
    """Gradients of float64 that are no float32."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what, at)
        self.double()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step([batch[0].double()], batch_idx)
        return loss + (self.w[0] * 1e300 if batch_idx == 1 else 0.0)


class Half(Bad):
    def __init__(self) -> None:
        super().__init__("gradient", at=2)
        self.bfloat16()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step([batch[0].bfloat16()], batch_idx)


class Curved(pl.LightningModule):
    """LBFGS, and gradients that are made zero in place."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))
        self.calls = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.calls += 1
        return (self.w**4 if self.calls != 7 else (self.w - self.w.detach()).sqrt()).sum()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any) -> None:
        optimizer.zero_grad(set_to_none=False)

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)


class ClipsByHook(pl.Callback):
    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        clip(pl_module)


class ByHand(Roots):
    """Two backward passes before a step, or one and clipping."""

    def __init__(self, clips: bool) -> None:
        super().__init__(zero_at=3)
        self.automatic_optimization = False
        self.clips = clips

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        if self.clips:
            clip(self)
        else:
            self.manual_backward(super().training_step(batch, -1))
        optimizer.step()


PROGRAMS: dict[str, tuple[Callable[[], pl.LightningModule], dict[str, Any]]] = {
    "plain": (lambda: Roots(3), {}),
    "accumulated": (lambda: Roots(4), {"accumulate_grad_batches": 3}),
    "clipped": (lambda: Roots(3), {"gradient_clip_val": 1.0}),
    "clipped by value": (lambda: Roots(3), {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}),
    "some layers": (lambda: Roots(3), {"of_callback": {"include": "*.weight"}}),
    "grouped": (lambda: Roots(3), {"of_callback": {"depth": 1}}),
    "too dear": (lambda: Roots(3), {"of_callback": {"max_overhead": 1e-9}}),
    "loss": (lambda: Bad("loss", 2), {}),
    "both": (lambda: Bad("both", 2), {}),
    "fused": (lambda: Bad("gradient", 2, fused=True), {}),
    "module clips behind backward": (lambda: ClipsBehindBackward(3), {}),
    "module clips before the step": (lambda: ClipsBeforeTheStep(3), {}),
    "module clips in the step": (lambda: ClipsInTheStep(3), {}),
    "optimizer clips": (lambda: HasOptimizerThatClips(3), {}),
    "callback clips": (lambda: Roots(3), {"callbacks": [ClipsByHook()]}),
    "no step": (lambda: LeavesTheStepOut(3), {}),
    "float64": (lambda: Large("gradient", 2), {}),
    "bfloat16": (Half, {}),
    "LBFGS": (Curved, {}),
    "by hand": (lambda: ByHand(clips=False), {}),
    "by hand, clipped": (lambda: ByHand(clips=True), {}),
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_found_is_the_same(tmp_path: Path, program: str, late: bool) -> None:
    """Layers, batch, samples and losses: a gradient that is clipped as a whole is NaN in all layers behind that."""
    module, kwargs = PROGRAMS[program]
    pair = [found(module(), every, tmp_path / str(every), late, **kwargs) for every in (1, 10**6)]
    assert difference(*pair) is None
    assert (pair[0] is None) is (program == "no step")


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
def test_gradients_are_looked_at_once(tmp_path: Path, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a logged step of a plain training; beside that the model is, before it, parameters and buffers."""
    looks: list[int] = []

    def counted(tensors: Any) -> Any:
        looks.append(len(tensors))
        return oddities_of(tensors)

    monkeypatch.setattr(finite_watch, "oddities_of", counted)
    assert found(Roots(99), 5, tmp_path, late) is None
    assert looks == [4] + [4] * 8


def test_a_look_that_waits_keeps_no_gradient(tmp_path: Path) -> None:
    """Behind the batch."""
    callback = lw.GradientHistogram(1)

    class Holds(pl.Callback):
        kept = 0

        def on_train_batch_end(self, *args: Any) -> None:
            watch = callback._finite
            assert watch is not None
            self.kept += sum(bool(event.oddities._tensors) for event in watch._events if hasattr(event, "oddities"))

    holds = Holds()
    trainer(callbacks=[callback, holds], default_root_dir=tmp_path).fit(Roots(99), Roots.loader())
    assert holds.kept == 0
