"""The user's model, random numbers and checkpoints are the same with and without the callbacks."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytorch_lightning as pl
import torch
from support.modules import CLASSES, Classifier, images, loader, trainer
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


def all_callbacks() -> list[pl.Callback]:
    return [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)}),
        lw.ConfusionMatrix(CLASSES),
        lw.ImageMosaic(4),
        lw.PredictionGrid(4),
        lw.GradientHistogram(2),
    ]


def trained(callbacks: list[Any]) -> tuple[Classifier, torch.Tensor]:
    pl.seed_everything(1, verbose=False)
    module = Classifier()
    data = DataLoader(images(), 8, shuffle=True)
    trainer(callbacks=callbacks, max_epochs=2).fit(module, data, loader())
    return module, torch.rand(3)


def test_training_is_the_same_bit_by_bit() -> None:
    """Weights and the state of the random generator after two epochs."""
    plain, plain_random = trained([])
    module, random = trained(all_callbacks())
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
    trainer(callbacks=[*all_callbacks(), Looks()]).fit(module, loader(), loader())
    assert Looks.hooks == 0
    assert all(not m._forward_hooks for m in module.modules())


def test_an_exception_in_the_step_leaves_no_hook(monkeypatch: Any) -> None:
    """The user's error comes through as it is, and the module is as it was."""
    module = Classifier()
    monkeypatch.setattr(Classifier, "training_step", lambda self, batch, i: 1 / 0)
    try:
        trainer(callbacks=all_callbacks()).fit(module, loader(), loader())
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the user's error was swallowed")
    assert all(not m._forward_hooks for m in module.modules())


def test_callbacks_copy_and_pickle_after_a_run() -> None:
    """They are plain values: a deep copy works in another Trainer, and results travel by pickle."""
    callbacks = all_callbacks()
    trainer(callbacks=callbacks).fit(Classifier(), loader(), loader())
    again = copy.deepcopy(callbacks)
    trainer(callbacks=again).fit(Classifier(), loader(), loader())
    restored = pickle.loads(pickle.dumps(callbacks[1]))
    assert torch.equal(restored.results["val"], callbacks[1].results["val"])


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
