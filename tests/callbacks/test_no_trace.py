"""The user's model, random numbers and checkpoints are the same with and without the callbacks."""

from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.everyone import everyone
from support.modules import CLASSES, Classifier, images, loader, trainer
from support.versions import LIGHTNING_1, needs_lasting_graphs
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.testing.same import difference


def trained(callbacks: list[Any]) -> tuple[Classifier, torch.Tensor]:
    pl.seed_everything(1)
    module = Classifier()
    data = DataLoader(images(), 8, shuffle=True)
    trainer(callbacks=callbacks, max_epochs=2).fit(module, data, loader())
    return module, torch.rand(3)


def test_training_is_the_same_bit_by_bit() -> None:
    """Weights and the state of the random generator after two epochs."""
    plain, plain_random = trained([])
    module, random = trained(everyone())
    assert plain.state_dict().keys() == module.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, module.state_dict()[name]), name
    assert torch.equal(plain_random, random)


def test_no_hook_stays_on_the_module() -> None:
    """Between batches, the module pickles and has no hooks, and neither after the run."""

    class Looks(pl.Callback):
        hooks = 0

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            Looks.hooks += sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pl_module.modules())

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pickle.dumps(pl_module.net)
            self.on_train_batch_end(trainer, pl_module)

    module = Classifier()
    # The observer comes last: on_train_batch_end of ours has run.
    trainer(callbacks=[*everyone(), Looks()]).fit(module, loader(), loader())
    assert Looks.hooks == 0
    assert all(not m._forward_hooks for m in module.modules())


def test_an_exception_in_the_step_leaves_no_hook(monkeypatch: Any) -> None:
    """The user's error comes through as it is, and the module is as it was."""
    module = Classifier()
    monkeypatch.setattr(Classifier, "training_step", lambda self, batch, i: 1 / 0)
    try:
        trainer(callbacks=everyone()).fit(module, loader(), loader())
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the user's error was swallowed")
    assert all(not m._forward_hooks for m in module.modules())


class Copies(Classifier):
    """Copies and pickles itself in the middle of a step, as code for averaged weights does."""

    copies: list[Classifier] = []  # noqa: RUF012  # no tensor, and not part of a copy

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        Copies.copies = [copy.deepcopy(self), pickle.loads(pickle.dumps(self))]
        with torch.no_grad():
            self.net[1].weight.add_(1.0)
        return super().training_step(batch, batch_idx)


@pytest.mark.skipif(LIGHTNING_1, reason="Lightning 1 cannot copy a module while it fits")
def test_copies_made_in_a_step_are_modules_of_their_own() -> None:
    """A copy calls its own weights, not those of the original, whichever way its forward is called."""
    module = Copies()
    trainer(callbacks=everyone()).fit(module, loader(), loader())
    x = images().tensors[0]
    for there in Copies.copies:
        weights = nn.functional.linear(x.flatten(1), there.net[1].weight, there.net[1].bias)
        assert torch.equal(there(x), weights)
        assert torch.equal(there.forward(x), weights)
        assert not torch.equal(there(x), module(x))


def test_the_class_is_as_it_was() -> None:
    """Between batches and after the run, forward is the class's own, or inherited."""

    class Inherits(Classifier):
        def on_train_epoch_end(self) -> None:
            seen.append("forward" in vars(Inherits) or "forward" in vars(self))

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            seen_in_batch.append("forward" in vars(Inherits))

    seen: list[bool] = []
    seen_in_batch: list[bool] = []
    own = Classifier.forward
    trainer(callbacks=everyone()).fit(Inherits(), loader(), loader())
    assert seen == [False]
    assert all(seen_in_batch), "this test looks in the right place"
    assert Classifier.forward is own


def test_trainers_in_several_threads_do_not_disturb_each_other() -> None:
    """Each sees its own module's calls of a class that they share, and the class is as it was."""
    own = Classifier.forward
    modules = [Classifier() for _ in range(3)]
    matrices = [lw.ConfusionMatrix(CLASSES) for _ in modules]
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(trainer(callbacks=[matrix]).validate, module, loader(40, 2), verbose=False)
            for module, matrix in zip(modules, matrices, strict=True)
        ]
        [run.result() for run in runs]
    for module, matrix in zip(modules, matrices, strict=True):
        again = lw.ConfusionMatrix(CLASSES)
        trainer(callbacks=[again]).validate(module, loader(40, 2), verbose=False)
        assert torch.equal(matrix.results["val"], again.results["val"])
    assert Classifier.forward is own


@pytest.mark.parametrize("compiled", [pytest.param("the module", marks=needs_lasting_graphs), "a submodule"])
def test_compiling_is_as_without_callbacks(compiled: str) -> None:
    """As many graphs, no break in any of them, the same weights; and the compiled module's calls are seen."""
    torch_dynamo = pytest.importorskip("torch._dynamo")

    def fit(callbacks: list[Any]) -> tuple[int, int, torch.Tensor]:
        torch_dynamo.reset()
        torch_dynamo.utils.counters.clear()
        torch.manual_seed(0)
        module = Classifier()
        if compiled == "a submodule":
            module.net = torch.compile(module.net, backend="eager", fullgraph=True)
        whole = torch.compile(module, backend="eager") if compiled == "the module" else module
        trainer(callbacks=callbacks, max_epochs=2).fit(whole, loader(), loader())
        counters = torch_dynamo.utils.counters
        return counters["stats"]["unique_graphs"], len(counters["graph_break"]), next(module.parameters()).detach()

    graphs, breaks, weights = fit([])
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val"))
    others = [callback for callback in everyone() if not isinstance(callback, lw.ConfusionMatrix)]
    with_graphs, with_breaks, with_weights = fit([matrix, *others])
    assert (with_graphs, with_breaks) == (graphs, breaks) == (2, 0)
    assert torch.equal(with_weights, weights)
    assert int(matrix.results["train"].sum()) == int(matrix.results["val"].sum()) == 40


def test_callbacks_copy_and_pickle_after_a_run() -> None:
    """They are plain values: a deep copy works in another Trainer, and results travel by pickle."""
    callbacks = everyone()
    trainer(callbacks=[*callbacks]).fit(Classifier(), loader(), loader())  # Lightning 1 adds its own to the list
    again = copy.deepcopy(callbacks)
    trainer(callbacks=again).fit(Classifier(), loader(), loader())
    gc.collect()  # the first module is gone
    for callback in callbacks:
        assert difference(pickle.loads(pickle.dumps(callback)).results, callback.results) is None


def test_the_sanity_check_leaves_nothing() -> None:
    """No results, no files: only the epoch's own validation counts."""
    matrix = lw.ConfusionMatrix(CLASSES)

    class Sees(pl.Callback):
        results: Any = None

        def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
            self.results = dict(matrix.results)

    sees = Sees()
    trainer(callbacks=[matrix, sees], num_sanity_val_steps=2).fit(Classifier(), loader(), loader())
    assert sees.results == {}
    assert int(matrix.results["val"].sum()) == 40
