"""Layers that do not learn are named: without a gradient, not updated, in no optimizer, beside one that explodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.idle import LATE, Idle, Kind, Late
from support.modules import loader, trainer
from support.recorded import data_on_page

import lwcallbacks as lw

EXPECTED: dict[Kind, list[tuple[str, str, int]]] = {
    "sound": [],
    "detach": [("rnn", "no gradient", 0), ("norm", "no gradient", 0)],
    "detach_late": [("rnn", "no gradient", LATE), ("norm", "no gradient", LATE)],
    "detach_early": [],
    "lr_late": [("mid", "not updated", LATE)],
    "lr_zero": [("mid", "not updated", 0)],
    "not_in_opt": [("mid", "in no optimizer", 0)],
    "frozen": [],
    "third": [],
}


def fitted(kind: Kind, root: Path, callback: Any = None, **how: Any) -> Any:
    callback = callback or lw.GradientHistogram(1, histograms=False)
    torch.manual_seed(0)
    callbacks = [callback, Late()]
    trainer(callbacks=callbacks, max_steps=40, max_epochs=-1, default_root_dir=root, **how).fit(Idle(kind), loader(160))
    return callback


def found(callback: Any) -> list[tuple[str, str, int]]:
    return [(one.layer, one.illness, one.since) for one in callback.results["diagnosis"]]


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_layer_that_does_not_learn_is_named(kind: Kind, tmp_path: Path) -> None:
    """With the first step; what is frozen on purpose, or used at every third step, is not."""
    assert found(fitted(kind, tmp_path)) == EXPECTED[kind]


def test_a_layer_that_has_a_gradient_again_has_passed(tmp_path: Path) -> None:
    """With its last step without one; in `results` and in the table."""
    callback = fitted("detach_early", tmp_path)
    assert [str(one) for one in callback.results["passed"]] == [
        f"{layer}: no gradient in 20 logged steps, steps 0 to {LATE - 1}" for layer in ("rnn", "norm")
    ]
    [*_, table] = data_on_page(tmp_path, "gradients/diagnosis").values()
    assert table["rows"][1] == ["rnn", "no gradient", 0, f"until step {LATE - 1}: no gradient in 20 logged steps"]


def test_the_layer_that_explodes_is_named_and_not_those_beside_it(tmp_path: Path) -> None:
    """Clipping and Adam keep its steps small; others are small beside it."""
    [finding] = fitted("large", tmp_path, gradient_clip_val=0.5).results["diagnosis"]
    assert (finding.layer, finding.illness) == ("rnn", "explodes")
    assert "its norm before clipping is " in finding.how_much


def test_layers_that_are_left_out_are_not_judged(tmp_path: Path) -> None:
    """Whether they are in an optimizer or not."""
    for kind in ("detach", "not_in_opt"):
        callback = lw.GradientHistogram(1, histograms=False, exclude=("norm.*", "rnn.*", "mid.*"))
        assert found(fitted(kind, tmp_path / kind, callback)) == []


def test_depth_names_layers_as_keys_do(tmp_path: Path) -> None:
    """The first part of their names."""
    callback = lw.GradientHistogram(1, histograms=False, depth=1)
    assert found(fitted("not_in_opt", tmp_path, callback)) == [("mid", "in no optimizer", 0)]


class Spoilt(Idle):
    """The loss is NaN in step 5."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step == 5 else loss


@pytest.mark.filterwarnings("ignore:lwcallbacks. GradientHistogram.*the loss is nan")
def test_what_is_not_finite_has_the_step_at_which_it_was_seen(tmp_path: Path) -> None:
    """By the look at every step; only every fourth is logged."""
    callback = lw.GradientHistogram(4, histograms=False)
    trainer(callbacks=[callback], max_epochs=1, default_root_dir=tmp_path).fit(Spoilt("sound"), loader(80))
    assert callback.results["nonfinite"]["step"] == 5
    assert {(one.illness, one.since) for one in callback.results["diagnosis"]} == {("not finite", 5)}


class Passing(Idle):
    """The loss is once a thousand times as large."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (1000.0 if self.global_step == 38 else 1.0)


def test_what_has_passed_and_losses_that_stood_out_are_in_the_table(tmp_path: Path) -> None:
    """Below the line that says that no layer looks ill."""
    callback = lw.GradientHistogram(1, histograms=False)

    class Slow(Late):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step in (10, 20):
                trainer.optimizers[0].param_groups[1]["lr"] = 0.0 if trainer.global_step == 10 else 1e-3

    t = trainer(callbacks=[callback, Slow()], max_steps=40, max_epochs=-1, default_root_dir=tmp_path)
    t.fit(Passing("sound"), loader(160))
    assert found(callback) == []
    [past] = callback.results["passed"]
    assert (past.layer, past.illness, past.since, past.until) == ("mid", "not updated", 10, 19)
    [*_, table] = data_on_page(tmp_path, "gradients/diagnosis").values()
    healthy, row, spike = table["rows"]
    assert healthy == ["", "no layer looks ill", None, ""]
    assert row == ["mid", "not updated", 10, f"until step 19: {past.how_much}"]
    assert spike[1:3] == ["loss spike", 38]
