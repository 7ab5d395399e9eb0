"""Steps that raise, are interrupted, or skip their batch: what is left on the module, and what still counts."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.everyone import everyone
from support.modules import CLASSES, Classifier, images, loader, trainer
from support.processes import run_processes
from support.together import Skips, sized, skipping
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.callbacks.guard import Guard

FORWARD = Classifier.forward


class Ends(Classifier):
    """Ends in the second step of a stage, after its forward call."""

    def __init__(self, stage: str, error: BaseException) -> None:
        super().__init__()
        self.stage, self.error = stage, error
        self.was_listened_to = False

    def _end(self, stage: str, batch_idx: int) -> None:
        if self.error is not None and stage == self.stage and batch_idx == 1:
            self.was_listened_to = "forward" in vars(Ends)
            error, self.error = self.error, None
            raise error

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self._end("train", batch_idx)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = super().validation_step(batch, batch_idx)
        self._end("val", batch_idx)
        return loss


class Raises(pl.Callback):
    """Makes it worse."""

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        raise OSError("no more log")


def is_untouched(module: Ends) -> bool:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
    mine = {"forward", "__getstate__"} & (vars(Ends).keys() | vars(module).keys())
    return not any(hooks) and not mine and Ends.forward is FORWARD


@pytest.mark.parametrize("worse", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError("a step"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["train", "val"])
def test_nothing_stays_on_the_module(stage: str, error: BaseException, worse: bool) -> None:
    """After an error or Ctrl-C in a step, also where a callback before ours raises on hearing of it."""
    module = Ends(stage, error)
    t = trainer(callbacks=[*([Raises()] if worse else []), *everyone(stages=("train", "val"))])
    # On Ctrl-C, Lightning before 2.3 lets `fit` return.
    with suppress(OSError) if worse else suppress(ZeroDivisionError, KeyboardInterrupt, SystemExit):
        t.fit(module, loader(), loader())
    assert module.was_listened_to, "this test looks in the right place"
    assert is_untouched(module)


def test_the_next_run_of_the_trainer_begins_anew() -> None:
    """Where another callback kept ours from hearing of the end, nothing of that run is in the next one."""
    matrix, worse = lw.ConfusionMatrix(CLASSES, stages=("train", "val")), Raises()
    t = trainer(callbacks=[worse, matrix])
    module = Ends("train", ZeroDivisionError("a step"))
    with pytest.raises(OSError, match="no more log"):
        t.fit(module, loader(), loader())
    t.fit(module, loader(), loader())
    assert {stage: int(counts.sum()) for stage, counts in matrix.results.items()} == {"train": 40, "val": 40}
    assert not any(isinstance(callback, Guard) for callback in t.callbacks)
    assert is_untouched(module)


# -- skipped batches --------------------------------------------------------------------------------------------------


def counted(module: Classifier, n: int, kept: list[int]) -> torch.Tensor:
    """The plain loop over the samples that count."""
    x, y = images(n).tensors
    with torch.no_grad():
        preds = module(x).argmax(1)
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for i in kept:
        counts[y[i], preds[i]] += 1
    return counts


def validated(module: Skips, *loaders: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    callbacks = everyone(stages=("val",))
    t = trainer(callbacks=callbacks)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        t.validate(module, list(loaders), verbose=False)
    results = {type(callback).__name__: callback.results for callback in callbacks}
    return results, dict(t.callback_metrics), [str(w.message) for w in said if "lwcallbacks" in str(w.message)]


@pytest.mark.parametrize("batches", [(0,), (2,), (4,), (0, 1, 2, 3)])
def test_a_skipped_batch_is_left_out(batches: tuple[int, ...]) -> None:
    """The first, a middle, the last, all but one: who needs predictions says which, all else counts every sample."""
    module = Skips(batches, (0,))
    results, logged, said = validated(module, loader())
    kept = [i for i in range(40) if i // 8 not in batches]
    expected = counted(module, 40, kept)
    assert torch.equal(results["ConfusionMatrix"]["val"], expected)
    assert float(logged["val/acc"]) == pytest.approx(float(expected.diagonal().sum() / expected.sum()))
    assert int(results["MultilabelConfusionMatrix"]["val"].sum()) == 40 * CLASSES, "it asks the batch alone"
    assert len(results["MaskGrid"]["val"].ids) == 4
    assert len(results["PredictionGrid"]["val"].ids) == 4
    assert any(
        re.search(rf"ConfusionMatrix.*batch {batches[0]} of val could not be read and is left out", m) for m in said
    )
    assert any(m.endswith(f"are left out of this val epoch: {len(batches)}") for m in said)


def test_all_batches_skipped() -> None:
    """No error, a matrix of nothing, and the key that may be monitored is NaN, with a warning."""
    results, logged, said = validated(Skips((0, 1, 2, 3, 4), (0,)), loader())
    assert int(results["ConfusionMatrix"]["val"].sum()) == 0
    assert logged["val/acc"].isnan()
    assert any("no value in this epoch and had none before, so NaN is logged" in message for message in said)
    assert int(results["MultilabelConfusionMatrix"]["val"].sum()) == 40 * CLASSES


def test_one_of_two_loaders_is_skipped() -> None:
    """The other one's values are as if it were alone."""
    module = Skips((0, 1, 2, 3, 4), (0,), loaders=(1,))
    results, logged, _ = validated(module, loader(), loader(24))
    expected = counted(module, 40, list(range(40)))
    assert torch.equal(results["ConfusionMatrix"]["val/dataloader_idx_0"], expected)
    assert float(logged["val/acc/dataloader_idx_0"]) == pytest.approx(float(expected.diagonal().sum() / 40))
    assert logged["val/acc/dataloader_idx_1"].isnan()


@pytest.mark.parametrize("batches", [(0,), (1,), (0, 1, 2)])
def test_skipped_in_training(batches: tuple[int, ...]) -> None:
    """Training goes on, and the epoch counts the other batches."""
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
    t = trainer(callbacks=[matrix], max_epochs=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        t.fit(Skips(batches, (0,)), loader(24), loader(24))
    assert t.current_epoch == 2
    assert int(matrix.results["train"].sum()) == 24 - 8 * len(batches)
    assert any(f"batch {batches[0]} of train could not be read" in str(w.message) for w in said)


@pytest.mark.parametrize("batches", [(0,), (1,), (0, 1, 2)])
def test_skipped_on_one_of_two_processes(batches: tuple[int, ...], tmp_path: Path) -> None:
    """Both have the values of all batches that were read anywhere."""
    torch.manual_seed(0)
    found = run_processes(2, skipping, str(tmp_path), batches, (1,))
    # Process 1 has every other sample, in batches of 4.
    kept = [i for i in range(24) if i % 2 == 0 or i // 2 // 4 not in batches]
    expected = counted(Skips(batches, (1,)), 24, kept)
    for process in found:
        assert torch.equal(process["matrix"], expected)
        assert process["acc"] == pytest.approx(float(expected.diagonal().sum() / expected.sum()))


# -- images of several sizes ------------------------------------------------------------------------------------------


def is_only_the_picture(found: dict[str, Any]) -> None:
    assert found["results"]["mosaic"] is None
    assert int(found["results"]["matrix"].sum()) == 12
    assert found["results"]["metrics"]["acc"] == found["results"]["matrix"].diagonal().sum() / 12


def test_images_of_several_sizes_cost_the_picture(tmp_path: Path) -> None:
    """The message names the mosaic, the shapes and what to write, which then works."""
    found = sized(str(tmp_path), [8] * 4 + [9] * 4 + [10] * 4, 4)
    is_only_the_picture(found)
    [told] = [message for message in found["said"] if "mosaic" in message]
    assert "ImageMosaic('val/mosaic') has no value" in told
    assert "(1, 8, 8) and (1, 9, 9)" in told
    assert "inputs=lambda outputs, batch: torch.nn.functional.interpolate(batch[0], size=(64, 64))" in told


def test_of_several_sizes_on_two_processes(tmp_path: Path) -> None:
    """One size on each process: found when the pictures meet."""
    first, second = run_processes(2, sized, str(tmp_path), [8, 9] * 6, 3)
    is_only_the_picture(first)
    is_only_the_picture(second)
    [told] = [message for message in first["said"] if "mosaic" in message]
    assert "ImageMosaic('val/mosaic') has no value" in told
    assert "interpolate" in told


class Silent(Classifier):
    """Returns nothing from validation, as many do, and has targets where nobody looks."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self(batch["image"])


def test_a_step_that_never_returns_anything_is_no_skipped_batch() -> None:
    """What is not found is an error before training: in the sanity check, at its second batch."""
    x, y = loader(16).dataset.tensors
    data = DataLoader([{"image": a, "species": b} for a, b in zip(x, y, strict=True)], 4)
    t = trainer(callbacks=[lw.ConfusionMatrix(CLASSES)], num_sanity_val_steps=2)
    said = pytest.warns(UserWarning, match="batch 0 of val could not be read")
    with said, pytest.raises(ValueError, match=r"ConfusionMatrix\('val/confusion_matrix'\): no targets found"):
        t.fit(Silent(), loader(), data)
    assert t.global_step == 0


def test_a_first_batch_that_is_skipped_after_its_prediction_costs_itself() -> None:
    """Also where the field has a key that only the step's output has."""

    class Skips(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            scores = self(batch[0])
            return {"scores": scores, "targets": batch[1]} if batch_idx else None

    matrix = lw.ConfusionMatrix(CLASSES, preds="scores")
    with pytest.warns(UserWarning, match="ConfusionMatrix"):
        trainer(callbacks=[matrix], num_sanity_val_steps=2).fit(Skips(), loader(), loader(24))
    assert int(matrix.results["val"].sum()) == 16
