"""Which forward calls are seen, and what stays of the listening: nothing."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from support import direct
from support.modules import Classifier, loader, trainer
from support.processes import run_processes
from support.versions import LIGHTNING_1
from torch import Tensor, nn

import lwcallbacks as lw
from lwcallbacks.capture import ForwardCalls


@pytest.mark.parametrize(("entry", "sanity"), [("fit", 0), ("fit", 1), ("validate", 0)])
# Lightning 1 gives every step its batch's number.
@pytest.mark.parametrize("cls", [direct.Direct] if LIGHTNING_1 else [direct.Direct, direct.OneArgument])
def test_forward_called_directly_is_seen_under_ddp(cls: type[Classifier], entry: str, sanity: int) -> None:
    """Every sample counts on 2 processes, with the predictions of one; module and class are as they were."""
    alone = direct.run(cls, "validate", 0)
    for there in run_processes(2, direct.run, cls, entry, sanity):
        assert there["sums"] == {"val": 41} | ({"train": 41} if entry == "fit" else {})
        assert there["clean"]
        if entry == "validate":
            assert torch.equal(there["val"], alone["val"])


class Net(nn.Module):
    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        return x * scale


def heard(module: nn.Module, run: Callable[[], Any]) -> list[Any]:
    calls = ForwardCalls()
    calls.start(module, direct=True)
    try:
        run()
    finally:
        calls.stop()
    return calls.calls


def test_a_step_that_runs_as_a_call_of_its_module_is_no_forward_call() -> None:
    """A redirected call, as strategies make it, gives what the step itself called, whatever it was given."""
    module, x = Net(), torch.ones(2)

    def redirected(step: Callable[..., Any]) -> None:
        original = module.forward

        def wrapped(*args: Any) -> Any:
            module.forward = original
            return step(*args)

        module.forward = wrapped
        module(x)

    for step, expected in {
        lambda x: module.forward(x) * 0: [2.0],
        lambda x: module(x) * 0: [2.0],
        lambda x: (module(x), module.forward(x, 3.0), module(x, 4.0))[0] * 0: [2.0, 3.0, 4.0],
        lambda x: x: [],
    }.items():
        assert [float(output[0]) for _, output in heard(module, lambda s=step: redirected(s))] == expected
    assert "forward" not in vars(module)


def test_a_call_with_keywords_only_has_its_first_one_as_argument() -> None:
    """As of `self(**batch)`."""
    module, x = Net(), torch.ones(2)
    calls = heard(module, lambda: (module(x=x, scale=1.0), module.forward(scale=3.0, x=x)))
    assert calls[0][0] is x
    assert calls[1][0] == 3.0


def test_other_hooks_have_the_last_word_on_what_a_call_returned() -> None:
    """A hook of the user's that changes the output: what was returned is recorded, once."""
    module = Net()
    module.register_forward_hook(lambda *_: torch.full((2,), 7.0))
    [(_, output)] = heard(module, lambda: module(torch.ones(2)))
    assert output.tolist() == [7.0, 7.0]


class Pair(NamedTuple):
    recon: Tensor
    z: Tensor


@dataclass(frozen=True)
class Frozen:
    recon: Tensor


class Own:
    def __init__(self, recon: Tensor) -> None:
        self.recon = recon
        self.parts = [{"recon": recon}]


NESTED: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda t: t,
    "dict of dicts": lambda t: {"out": {"recon": t}},
    "tuple of dicts": lambda t: ({"recon": t}, None, "text"),
    "list of lists": lambda t: [[t], [t, 3]],
    "named tuple": lambda t: Pair(t, t),
    "frozen dataclass": Frozen,
    "namespace": lambda t: SimpleNamespace(recon=t, more=[t]),
    "object": Own,
    "distribution": lambda t: torch.distributions.Normal(t, t.abs() + 1),
}


def tensors_of(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    inside = list(vars(value).values()) if inside is None and hasattr(value, "__dict__") else inside or ()
    return [tensor for part in inside for tensor in tensors_of(part)]


@pytest.mark.parametrize("kind", NESTED)
def test_outputs_keep_their_containers_and_lose_their_graph(kind: str) -> None:
    """The same classes at any depth, with equal tensors that require no gradient; the user's own are untouched."""

    class Nested(nn.Module):
        def forward(self, x: Tensor) -> Any:
            self.made = NESTED[kind](x * 2)
            return self.made

    module, x = Nested(), torch.ones(2, requires_grad=True)
    [(first, output)] = heard(module, lambda: module(x))
    assert type(output) is type(module.made)
    assert [t.tolist() for t in tensors_of(output)] == [t.tolist() for t in tensors_of(module.made)]
    assert not any(t.requires_grad for t in [first, *tensors_of(output)])
    assert all(t.requires_grad for t in tensors_of(module.made))


def test_an_output_that_cannot_be_copied_is_kept_as_it_is() -> None:
    """A list that holds itself, or a class that refuses: the step goes on."""

    class Refuses:
        def __init__(self, t: Tensor) -> None:
            self.t = t

        def __copy__(self) -> Any:
            raise RuntimeError("no")

    def endless(t: Tensor) -> Any:
        made = [t]
        made.append(made)
        return made

    class Module(nn.Module):
        def forward(self, make: Any) -> Any:
            self.made = make(torch.ones(2, requires_grad=True) * 2)
            return self.made

    module = Module()
    for make in (Refuses, endless):
        [(_, output)] = heard(module, lambda make=make: module(make))
        assert output is module.made


def test_what_is_changed_after_the_call_was_recorded_before() -> None:
    """A dict that the step takes apart is seen whole."""

    class Module(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"logits": x}

    module = Module()
    [(_, output)] = heard(module, lambda: module(torch.ones(2)).pop("logits"))
    assert output["logits"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_made_in_a_step_has_nothing_of_the_listening(how: Any) -> None:
    """No hook on the copy, whether the module or its parent is copied; the user's own hooks are copied along."""
    module = Net()
    parent = nn.Sequential(module)
    module.register_forward_hook(_mine)
    calls = ForwardCalls()
    calls.start(module, direct=True)
    try:
        there = how(module) if how is copy.copy else how(parent)[0]
    finally:
        calls.stop()
    assert list(there._forward_hooks.values()) == [_mine]
    assert not there._forward_pre_hooks
    assert not there._forward_hooks_with_kwargs
    assert "forward" not in vars(there)
    assert there(torch.ones(1)).tolist() == [2.0]
    assert calls.calls == []
    assert "__getstate__" not in vars(Net)
    assert list(module._forward_hooks.values()) == [_mine]


def _mine(*_: Any) -> None:
    """A hook of the user's."""


def test_a_base_and_its_subclass_are_listened_to_at_once() -> None:
    """Each call is seen once, and both classes are as they were."""

    class Sub(Net):
        pass

    base, sub = Net(), Sub()
    outer, inner = ForwardCalls(), ForwardCalls()
    own = Net.forward
    outer.start(base, direct=True)
    inner.start(sub, direct=True)
    sub.forward(torch.ones(1))
    base(torch.ones(1))
    outer.stop()
    inner.stop()
    assert len(outer.calls) == len(inner.calls) == 1
    assert Net.forward is own
    assert not {"forward", "__getstate__"} & vars(Sub).keys()


class Reconstructs(Classifier):
    """Returns nothing; its forward returns a nest without usual names."""

    def forward(self, x: Tensor) -> Any:
        return ({"z": x.flatten(1)[:, :2]}, [{"recon": x}])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self(batch[0])


def test_a_function_reaches_into_a_nest(monkeypatch: pytest.MonkeyPatch) -> None:
    """`f(outputs, batch, returned)` in a run of a Trainer: the reconstruction equals the input."""
    from torchmetrics import MeanSquaredError

    def recon(outputs: Any, batch: Any, returned: Any) -> Tensor:
        assert outputs is None
        return returned[1][0]["recon"]

    metrics = lw.ScalarMetrics({"mse": MeanSquaredError()}, fields=("preds", "inputs"), preds=recon)
    trainer(callbacks=[metrics]).validate(Reconstructs(), loader(), verbose=False)
    assert float(metrics.results["val"]["mse"]) == 0.0


def test_a_trainer_leaves_nothing_after_a_step_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks and class are as they were, and the module pickles."""

    class Fails(pl.Callback):
        def on_before_zero_grad(self, *_: Any) -> None:
            raise ZeroDivisionError

    module = Classifier()
    own = Classifier.forward
    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[lw.ConfusionMatrix(5, stages=("train",)), Fails()]).fit(module, loader())
    assert Classifier.forward is own
    assert "__getstate__" not in vars(Classifier)
    assert not module._forward_hooks
    assert not module._forward_pre_hooks
    assert "forward" not in vars(module)
