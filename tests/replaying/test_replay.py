"""A batch that is run again says which module made what is not finite, without a Trainer."""

from __future__ import annotations

import inspect
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from support.modules import trainer
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.replaying.hooks import Hooked
from lwcallbacks.testing.same import difference

DATA = torch.linspace(-1, 1, 96).reshape(32, 3)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(x, self.name)()


class Net(pl.LightningModule):
    """Falls ill at its fourth batch, in one of several ways."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        inner = nn.Sequential(Apply("abs"), Apply("sqrt"))
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), inner, nn.Linear(4, 1))
        self.log_of = Apply("log")
        self.dropped: list[torch.Tensor] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
        self.log("seen", 1.0)
        is_ill = batch_idx == 3
        if self.kind == "batch" and is_ill:
            batch = batch * float("inf")
        middle = self.net[1](self.net[0](batch).exp())
        self.dropped.append(middle.detach())
        if self.kind == "function" and is_ill:
            middle = middle.log() * 0
        # Without dropped elements, whose root has an infinite slope, unless that is what makes it ill.
        out = self.net[3](self.net[2](middle if self.kind == "root" and is_ill else middle.abs() + 1))
        if self.kind == "module" and is_ill:
            out = self.log_of(-1 - out.abs())
        if self.kind == "step" and is_ill:
            return (-1 - out.abs()).log().mean()
        if self.kind == "behind" and is_ill:
            return (out - out.detach()).sqrt().mean()
        return out.mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def saved(root: Path, module: pl.LightningModule, data: Any = DATA) -> str:
    """The folder that a fit leaves."""
    torch.manual_seed(5)
    t = trainer(callbacks=[lw.GradientHistogram(50, on_nonfinite="raise")], default_root_dir=root)
    with pytest.raises(lw.NonFiniteError) as raised:
        t.fit(module, data if isinstance(data, DataLoader) else DataLoader(data, 4))
    return str(raised.value.path)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "module",
            "log_of (Apply): its output is the first that is not finite (NaN in 4 of 4); its inputs are finite, from",
        ),
        ("function", "the input of net.2 (Sequential) is the first that is not finite (NaN in "),
        (
            "batch",
            "the input of net.0 (Linear) is the first that is not finite (Inf in 12 of 12): it was made in the step",
        ),
        ("step", "the loss is nan: the outputs of all modules are finite, so the step itself made it"),
        ("root", "net.2.1 (Apply): the gradient of its output is finite, and it makes one that is not"),
        ("behind", "the gradient of the output of net.3 (Linear) is the first that is not finite (Inf in 4 of 4)"),
    ],
)
def test_the_module_is_named(tmp_path: Path, kind: str, told: str) -> None:
    """With the same bits of loss and dropout as in the fit; in a module that is new."""
    first, again = Net(kind), Net(kind)
    found = lw.replay(saved(tmp_path, first), again)
    assert any(sentence.startswith(told) for sentence in found.found), str(found)
    assert difference(again.dropped[0], first.dropped[-1]) is None
    assert str(found).startswith("step 3, epoch 0, batch 3 of process 0\n")
    if kind == "root":
        line = inspect.getsource(Apply).splitlines()[-1].strip()
        assert found.found[-1].startswith("where it first is NaN: Function 'AbsBackward0' returned nan values")
        assert found.found[-1].endswith(line)


class Logs(pl.LightningModule):
    """Takes the logarithm of its inputs, of which one is zero: in the step, or by a module."""

    def __init__(self, *, by_module: bool) -> None:
        super().__init__()
        self.log_of = Apply("log") if by_module else torch.log
        self.net = nn.Linear(3, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(self.log_of(batch)).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.mark.parametrize("by_module", [False, True])
def test_the_sample_is_named(tmp_path: Path, by_module: bool) -> None:
    """Of a batch that is finite itself, the rows behind the first value that is not, and whose they are."""
    data = DATA.abs() + 1
    data[14, 1] = 0
    found = lw.replay(saved(tmp_path, Logs(by_module=by_module), data), Logs(by_module=by_module))
    assert "of 4 rows of the batch, these are not finite there: 2 (sample 14)" in found.found


def test_a_batch_that_is_not_finite_itself_is_to_blame(tmp_path: Path) -> None:
    """And not the step."""
    data = DATA.clone()
    data[14, 1] = float("nan")
    found = lw.replay(saved(tmp_path, Net("none"), data), Net("none")).found
    assert found[0] == "the batch is not finite (NaN in 1 of 12)"
    assert found[1] == (
        "the input of net.0 (Linear) is the first that is not finite (NaN in 1 of 12): no module has made it"
    )


@pytest.mark.parametrize("kind", ["batch", "module", "root"])
def test_no_sample_is_named_where_all_are_ill(tmp_path: Path, kind: str) -> None:
    """Or where only a gradient is."""
    found = lw.replay(saved(tmp_path, Net(kind)), Net(kind))
    assert not any("rows of the batch" in sentence for sentence in found.found)


def test_nothing_is_left_on_the_module_or_the_random_state(tmp_path: Path) -> None:
    """No hooks, no gradients; it has the saved weights."""
    path, module = saved(tmp_path, Net("root")), Net("root")
    torch.manual_seed(9)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    found = lw.replay(path, module)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
    assert all(p.grad is None and not p._backward_hooks for p in module.parameters())
    assert all(torch.equal(x, module.state_dict()[name]) for name, x in found.weights.items())


def test_a_batch_that_is_well_is_called_so(tmp_path: Path) -> None:
    """Another one is given."""
    found = lw.replay(saved(tmp_path, Net("batch")), Net("root"), batch=DATA[:4], loss=lambda m, b: m.net[0](b).mean())
    assert found.found == [
        f"the loss is finite, {float(found.found[0].split(', ')[1])}",
        "all gradients are finite: with these weights, on this device, this batch alone does not do it",
    ]


@dataclass
class Sample:
    """A batch of a class of its own."""

    x: torch.Tensor

    def to(self, *args: Any, **kwargs: Any) -> Sample:
        return self


def test_a_batch_of_another_class_has_to_be_given(tmp_path: Path) -> None:
    """The error of the fit says so, and that of the replay."""

    class Takes(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch.x, batch_idx)

    loader = DataLoader(DATA, 4, collate_fn=lambda rows: Sample(torch.stack(rows)))
    torch.manual_seed(0)
    t = trainer(callbacks=[lw.GradientHistogram(50, on_nonfinite="raise")], default_root_dir=tmp_path)
    with pytest.raises(lw.NonFiniteError, match=r"batch: a .*Sample could not be saved") as raised:
        t.fit(Takes("module"), loader)
    path = str(raised.value.path)
    with pytest.raises(ValueError, match=r"a .*Sample of the batch could not be saved. Give the batch: replay\(path, "):
        lw.replay(path, Takes("module"))
    found = lw.replay(path, Takes("module"), batch=Sample(DATA[12:16]))
    assert found.found[0].startswith("log_of (Apply)")


def test_another_module_is_refused(tmp_path: Path) -> None:
    """With the names that differ; and a folder that is none."""
    path = saved(tmp_path, Net("module"))
    with pytest.raises(RuntimeError, match=r"(?s)replay: the module is not made as .*net\.0\.weight"):
        lw.replay(path, nn.Linear(2, 2))
    with pytest.raises(FileNotFoundError, match=r"found no process-3\.json in "):
        lw.replay(path, process=3)


def test_a_step_that_needs_a_trainer_says_what_to_give(tmp_path: Path) -> None:
    """As a note on its own error."""

    class Asks(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) * self.trainer.world_size

    path = saved(tmp_path, Asks("module"))
    with pytest.raises(RuntimeError) as raised:
        lw.replay(path, Asks("module"))
    assert "loss=lambda module, batch: ..." in raised.value.__notes__[0]


def test_a_step_for_each_optimizer_says_what_to_give(tmp_path: Path) -> None:
    """As Lightning 1 has them; what it says to write works."""

    class Several(Net):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            return super().training_step(batch, batch_idx + 2 + optimizer_idx)

    path, module = saved(tmp_path, Net("module")), Several("module")
    with pytest.raises(ValueError, match=r"Several\.training_step takes optimizer_idx") as raised:
        lw.replay(path, module)
    [advice] = re.findall(r"loss=(lambda .*)\)$", str(raised.value))
    assert "the loss is nan" in str(lw.replay(path, module, loss=eval(advice)))


def test_a_mask_of_minus_infinity_is_no_illness() -> None:
    """An input that is -Inf on purpose is passed over, and what becomes of it is judged."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.soft = Scores()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.soft(x, torch.tensor([0.0, -float("inf")]))

    class Scores(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return (x + mask).softmax(-1)

    module = Masked()
    with Hooked(module) as hooked:
        module(torch.ones(2)).sum()
    assert hooked.of_forward() is None


def test_the_innermost_module_is_named() -> None:
    """Those around it are given a finite gradient and make one that is not, too."""
    module = nn.Sequential(nn.Sequential(nn.Sequential(Apply("sqrt"), nn.Identity())))
    with Hooked(module) as hooked:
        module(torch.zeros(2, requires_grad=True)).sum().backward()
    assert str(hooked.of_backward()).startswith("0.0.0 (Apply)")
