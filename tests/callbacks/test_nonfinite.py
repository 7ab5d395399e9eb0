"""A gradient or a loss that is not finite is named once: layer, step, batch, process and samples."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import pytorch_lightning.strategies
import torch
from support import ill
from support.ill import Bad, Roots, fit
from support.modules import trainer
from support.processes import run_processes
from support.recorded import data_on_page, scalars
from support.versions import LIGHTNING_1, needs_fsdp2
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.gradients.finite import held, oddities_of
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing.same import difference

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_oddities_are_the_same_on_a_device(dtype: torch.dtype) -> None:
    """NaN before infinity before zero; what overflows a norm is finite."""
    big = torch.finfo(dtype).max
    tensors = [torch.tensor(x, dtype=dtype) for x in ([1.0, -2.0], [big, big], [-INF, 1.0], [-INF, NAN], [0.0])]
    expected = torch.tensor([0.0, 0.0, INF, NAN, 0.0])
    assert torch.equal(oddities_of(tensors).nan_to_num(nan=-1), expected.nan_to_num(nan=-1))
    with as_on_a_device():
        assert torch.equal(oddities_of(tensors).nan_to_num(nan=-1), expected.nan_to_num(nan=-1))


def test_what_is_held_of_sparse_and_complex_gradients() -> None:
    """The elements that are there, as real numbers."""
    sparse = torch.sparse_coo_tensor(torch.tensor([[1, 1]]), torch.tensor([1.0, NAN]), (3,), check_invariants=True)
    assert oddities_of([held(sparse)]).isnan().all()
    assert oddities_of([held(torch.tensor([1 + 2j, complex(1, INF)]))]).isinf().all()


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
def test_the_layer_the_batch_and_the_samples(tmp_path: Path, clip: float | None, late: bool) -> None:
    """At a step that is not logged; before clipping, which makes all layers NaN."""
    callback = lw.GradientHistogram(50)
    found, message = fit(Roots(zero_at=3), callback, tmp_path, late=late, gradient_clip_val=clip)
    assert found["layers"] == {"first.bias": "Inf", "first.weight": "Inf"}
    assert (found["step"], found["epoch"], found["batch"], found["process"]) == (3, 0, 3, 0)
    assert (found["samples"], found["samples_by"], found["num_layers"]) == ((6, 7), "position", 4)
    assert math.isfinite(found["losses"][0])
    assert found["is_used"]
    assert "the gradient of 2 of 4 layers is not finite, in backward first first.bias (Inf)" in message
    assert "at step 3 (epoch 0, batch 3) the loss is finite" in message
    assert "samples of the batch: 6, 7" in message
    [table] = data_on_page(tmp_path, "gradients/nonfinite").values()
    assert table["rows"][0][:4] == [0, 3, 0, 3]
    assert table["rows"][0][5:] == ["first.bias", 2, 4, "6, 7"]
    assert max(row.get("gradients/nonfinite_steps", 0) for row in scalars(tmp_path)) >= 1


def test_it_can_be_ignored(tmp_path: Path) -> None:
    """Then nobody looks."""
    callback = lw.GradientHistogram(50, on_nonfinite="ignore")
    trainer(callbacks=[callback], default_root_dir=tmp_path).fit(Roots(zero_at=3), Roots.loader())
    assert "nonfinite" not in callback.results
    with pytest.raises(ValueError, match="on_nonfinite='stop', expected 'warn', 'raise' or 'ignore'"):
        lw.GradientHistogram(on_nonfinite="stop")  # type: ignore[arg-type]


def test_the_batch_among_those_that_are_accumulated(tmp_path: Path) -> None:
    """The second of three; its loss is that of the step, not the third of it."""
    callback = lw.GradientHistogram(50)
    found, _ = fit(Roots(zero_at=4), callback, tmp_path, accumulate_grad_batches=3)
    assert (found["batch"], found["step"], found["samples"]) == (4, 1, (8, 9))
    assert found["losses"] == pytest.approx((1.0,))


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """Where its gradient is."""
    found, message = fit(Bad("loss", at=2), lw.GradientHistogram(2), tmp_path)
    assert (found["batch"], found["layers"]) == (2, {})
    assert "the loss is nan; samples of the batch: 4, 5; the gradients are finite" in message


class Masked(Roots):
    """With a mask, as attention has one."""

    def __init__(self, zero_at: int, weight: float) -> None:
        super().__init__(zero_at=zero_at)
        self.register_buffer("mask", torch.full((2, 2), -INF).triu(1))
        self.register_buffer("steps", torch.tensor(3))
        with torch.no_grad():
            self.first.weight[0, 0] = weight


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
def test_a_model_that_was_not_finite_before_is_to_blame(tmp_path: Path, late: bool) -> None:
    """As one of a checkpoint that holds NaN; the infinities of a mask are none."""
    found, message = fit(Masked(99, NAN), lw.GradientHistogram(50), tmp_path / "a", late=late)
    assert (found["batch"], found["model"]) == (0, {"first.weight": "NaN"})
    assert "a parameter or buffer was not finite before training began, first first.weight (NaN): look at" in message
    assert "samples of the batch" not in message
    found, message = fit(Masked(3, 0.5), lw.GradientHistogram(50), tmp_path / "b", late=late)
    assert (found["batch"], found["model"]) == (3, {})
    assert "samples of the batch: 6, 7" in message


def test_steps_that_were_not_finite_are_counted_over_a_resume(tmp_path: Path) -> None:
    """Those before it and those after it; of a copy too, and none of another run."""
    callback, path = lw.GradientHistogram(50), tmp_path / "a.ckpt"
    run = trainer(callbacks=[callback], default_root_dir=tmp_path)
    with pytest.warns(UserWarning, match="at step 3"):
        run.fit(Roots(zero_at=3), Roots.loader())
    run.save_checkpoint(path)
    assert callback.state_dict()["nonfinite_steps"] == 7
    for copied in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert copied.state_dict()["nonfinite_steps"] == 7
    again = lw.GradientHistogram(50)
    longer = trainer(callbacks=[again], default_root_dir=tmp_path, max_epochs=2)
    with pytest.warns(UserWarning, match="3 parameters and buffers were not finite before training began"):
        longer.fit(Roots(zero_at=3), Roots.loader(), ckpt_path=path)
    assert again.state_dict()["nonfinite_steps"] == 17
    fit(Roots(zero_at=3), callback, tmp_path / "b")
    assert callback.state_dict()["nonfinite_steps"] == 7


@pytest.mark.skipif(LIGHTNING_1, reason="Lightning 1 has no gradient scaler for a CPU")
@pytest.mark.parametrize("fused", [False, True])
def test_what_a_scaler_skips_is_no_illness(tmp_path: Path, fused: bool) -> None:
    """An infinite gradient of a finite loss is how it finds its scale; a loss that is NaN is no matter of scales."""
    from support.versions import MixedPrecision

    def plugins() -> Any:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        return [MixedPrecision("16-mixed", "cpu", scaler=scaler)]

    callback = lw.GradientHistogram(2)
    module = Bad("gradient", at=2, fused=fused)
    trainer(callbacks=[callback], default_root_dir=tmp_path, plugins=plugins()).fit(module, Roots.loader())
    assert callback.state_dict()["skipped"] == {0: 1}
    assert "nonfinite" not in callback.results
    found, message = fit(Bad("both", at=2, fused=fused), lw.GradientHistogram(2), tmp_path / "b", plugins=plugins())
    assert (found["batch"], found["layers"]) == (2, {})
    assert "the loss is nan" in message


class ByHand(Roots):
    """Manual optimization, in a way of its own."""

    def __init__(self, way: str) -> None:
        super().__init__(zero_at=3)
        self.automatic_optimization = False
        self.way = way

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers(use_pl_optimizer=self.way != "raw")
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        if self.way == "announced":
            self.manual_backward(loss)
        else:
            loss.backward()
        if self.way == "thrown away" and batch_idx == 3:
            return
        if self.way != "clipped":
            optimizer.step()
            return
        self.clip_gradients(optimizer, 1.0, "norm")
        optimizer.step()


@pytest.mark.parametrize("way", ["announced", "not announced", "raw"])
def test_manual_optimization(tmp_path: Path, way: str) -> None:
    """Also with `loss.backward()` and torch's own optimizer; then the loss is not known."""
    found, message = fit(ByHand(way), lw.GradientHistogram(50), tmp_path)
    assert (found["batch"], list(found["layers"])) == (3, ["first.bias", "first.weight"])
    assert ("the loss is not known" in message) is (way != "announced")


class OwnScaler(Bad):
    """Manual optimization with a gradient scaler of the module's own."""

    def __init__(self, fused: bool) -> None:
        super().__init__("gradient", at=2, fused=fused)
        self.automatic_optimization = False
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        self.skipped: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.manual_backward(self.scaler.scale(super().training_step(batch, batch_idx)))
        self.scaler.step(optimizer)
        before = self.scaler.get_scale()
        self.scaler.update()
        self.skipped.append(self.scaler.get_scale() < before)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("way", ["warn", "raise"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
def test_a_scaler_of_the_modules_own(tmp_path: Path, fused: bool, way: Any, late: bool) -> None:
    """What it skips is no illness either, also if a fused optimizer leaves the step out on its device."""
    module, callback = OwnScaler(fused), lw.GradientHistogram(50, on_nonfinite=way)
    with as_on_a_device() if late else contextlib.nullcontext():
        trainer(callbacks=[callback], default_root_dir=tmp_path).fit(module, Roots.loader())
    assert module.skipped == [i == 2 for i in range(10)]
    assert "nonfinite" not in callback.results


def test_a_gradient_that_nobody_uses_is_no_illness(tmp_path: Path) -> None:
    """The module has seen it, and does not step."""
    callback = lw.GradientHistogram(50)
    trainer(callbacks=[callback], default_root_dir=tmp_path).fit(ByHand("thrown away"), Roots.loader())
    assert "nonfinite" not in callback.results


def test_lbfgs(tmp_path: Path) -> None:
    """One of its closures is enough: it goes on from there."""

    class Curved(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0]))
            self.calls = 0

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.calls += 1
            return (self.w**4 if self.calls != 7 else (self.w - self.w.detach()).sqrt()).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    found, _ = fit(Curved(), lw.GradientHistogram(50), tmp_path)
    assert (found["batch"], found["layers"], found["losses"]) == (1, {"w": "Inf"}, (0.0,))


@pytest.mark.parametrize(
    ("ids", "loader", "samples", "by"),
    [
        (None, {"shuffle": True}, None, "the loader does not tell. Give ids="),
        (1, {"shuffle": True}, "drawn", "ids"),
        (None, {"sampler": "distributed"}, "drawn", "position"),
        (lambda outputs, batch: outputs["ids"], {}, None, "could not be read: "),
    ],
)
def test_which_samples_it_was(tmp_path: Path, ids: Any, loader: dict[str, Any], samples: Any, by: str) -> None:
    """Those that ids= gives; else positions, if the sampler says them again."""
    data = torch.utils.data.TensorDataset(torch.ones(20, 3), torch.arange(100, 120))
    if loader:
        torch.manual_seed(0)
    if loader.get("sampler"):
        loader = {"sampler": torch.utils.data.DistributedSampler(data, 2, 1, shuffle=True)}
    module = Roots(zero_at=3)
    found, _ = fit(module, lw.GradientHistogram(50, ids=ids), tmp_path, loader=DataLoader(data, 2, **loader))
    drawn = module.seen if ids is not None else tuple(i - 100 for i in module.seen)
    assert found["samples"] == (drawn if samples else None)
    assert by in found["samples_by"]


def test_training_is_the_same_to_the_bit() -> None:
    """After 200 steps, with each way of looking."""

    def weights(*callbacks: Any) -> Any:
        pl.seed_everything(1)
        module = Roots(zero_at=-1)
        trainer(callbacks=list(callbacks), max_steps=200, max_epochs=-1).fit(module, Roots.loader())
        return module.state_dict()

    expected = weights()
    for way in ("warn", "raise", "ignore"):
        assert difference(weights(lw.GradientHistogram(7, on_nonfinite=way)), expected) is None  # type: ignore[arg-type]


def test_it_copies_and_pickles_in_a_fit(tmp_path: Path) -> None:
    """In the middle of a batch."""

    class Copies(pl.Callback):
        def on_after_backward(self, t: Any, module: Any) -> None:
            for again in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
                assert again.on_nonfinite == "warn"

    callback = lw.GradientHistogram(2)
    trainer(callbacks=[callback, Copies()], default_root_dir=tmp_path).fit(Roots(zero_at=-1), Roots.loader())


# -- "raise" ---------------------------------------------------------------------------------------------------------


def stopped(tmp_path: Path, module: pl.LightningModule, **kwargs: Any) -> tuple[lw.NonFiniteError, Any]:
    callback = lw.GradientHistogram(50, on_nonfinite="raise")
    with pytest.raises(lw.NonFiniteError) as raised:
        trainer(callbacks=[callback], default_root_dir=tmp_path, **kwargs).fit(module, Roots.loader())
    return raised.value, callback


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on a device"])
def test_training_ends_before_the_step(tmp_path: Path, late: bool) -> None:
    """The error says all of it, and where the batch is; weights, batch and facts are those from before the step."""
    module = Roots(zero_at=3)
    with as_on_a_device() if late else contextlib.nullcontext():
        error, callback = stopped(tmp_path, module)
    assert error.path is not None
    assert error.path.endswith("/nonfinite/step-3")
    assert str(error).startswith("GradientHistogram('gradients'): at step 3 (epoch 0, batch 3) the loss is finite")
    assert "in backward first first.bias (Inf); samples of the batch: 6, 7; no optimizer has stepped with it" in str(
        error
    )
    assert f"lw.replay({error.path!r}, module)" in str(error)
    assert callback.results["nonfinite"]["batch"] == 3
    saved = lw.replay(error.path)
    assert torch.equal(saved.batch[1], torch.tensor([106, 107]))
    assert difference(saved.weights, dict(module.state_dict())) is None
    assert all(bool(x.isfinite().all()) for x in saved.weights.values())
    assert saved.facts["weights"] == "before"
    assert saved.found == []
    [table] = data_on_page(tmp_path, "gradients/nonfinite").values()
    assert table["rows"][0][:4] == [0, 3, 0, 3]


def test_the_batch_that_was_accumulated_is_saved(tmp_path: Path) -> None:
    """And not the last before the step."""
    error, _ = stopped(tmp_path, Roots(zero_at=4), accumulate_grad_batches=3)
    saved = lw.replay(str(error.path))
    assert (saved.facts["batch"], saved.batch[1].tolist()) == (4, [108, 109])


@pytest.mark.parametrize("way", ["announced", "not announced", "raw"])
def test_manual_optimization_ends_too(tmp_path: Path, way: str) -> None:
    """Behind the step where nobody announces it; the file says so."""
    error, _ = stopped(tmp_path, ByHand(way))
    saved = lw.replay(str(error.path))
    assert saved.facts["weights"] == ("after" if way == "raw" else "before")
    with pytest.raises(ValueError, match=r"ByHand optimizes by hand.*loss=lambda module, batch"):
        lw.replay(str(error.path), ByHand(way))


def test_what_a_scaler_skips_does_not_end_training(tmp_path: Path) -> None:
    """It is how it finds its scale."""
    if LIGHTNING_1:
        pytest.skip("Lightning 1 has no gradient scaler for a CPU")
    from support.versions import MixedPrecision

    plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**16))
    callback = lw.GradientHistogram(2, on_nonfinite="raise")
    t = trainer(callbacks=[callback], default_root_dir=tmp_path, plugins=[plugin])
    t.fit(Bad("gradient", at=2), Roots.loader())
    assert callback.state_dict()["skipped"] == {0: 1}


def test_a_fast_dev_run_leaves_nothing(tmp_path: Path) -> None:
    """It ends all the same."""
    error, _ = stopped(tmp_path, Roots(zero_at=0), fast_dev_run=True)
    assert error.path is None
    assert "Nothing was saved" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_does_not_hide_the_error(tmp_path: Path, monkeypatch: Any) -> None:
    """A warning says why nothing is there."""
    from lwcallbacks.callbacks import offence

    def full(*args: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(offence, "write", full)
    with pytest.warns(UserWarning, match="could not save the batch: OSError: no space left"):
        error, _ = stopped(tmp_path, Roots(zero_at=0))
    assert error.path is None


# -- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("way", ["warn", "raise"])
def test_the_process_is_named_by_its_loss(tmp_path: Path, processes: int, way: str) -> None:
    """Under DDP all have the gradient of all; one has the loss. Every process ends, and keeps its own batch."""
    run = partial(ill.on_processes, "ddp", "loss", way, str(tmp_path))
    answers = run_processes(processes, run)
    results, told, paths = zip(*answers, strict=True)
    assert [r["batch"] if r else None for r in results] == [None, 2, None][:processes]
    others = {2: "process 0", 3: "processes 0, 2"}[processes]
    text = told[0]
    assert "the loss is nan on process 1" in text
    assert f"{others} found nothing or did not answer" in text
    assert "samples of the batch of process 1: " in text
    if way == "warn":
        assert list(told[1:]) == [""] * (processes - 1)
        return
    assert len(set(paths)) == 1
    assert told[0] == told[1] == told[-1]
    saved = [lw.replay(paths[0], process=rank) for rank in range(processes)]
    batches = [tuple(s.batch[1].tolist()) for s in saved]
    assert len(set(batches)) == processes
    assert [tuple(i + 100 for i in s.facts["samples"]) for s in saved] == batches
    assert lw.replay(paths[0]).facts["process"] == 1


@pytest.mark.parametrize("every", [1, 50])
def test_a_gradient_of_all_processes_is_no_ones(tmp_path: Path, every: int) -> None:
    """Where all losses are finite, it is said that it is not known; at a logged step, and at any other."""
    answers = run_processes(2, partial(ill.on_processes, "ddp", "gradient", "warn", str(tmp_path), every))
    assert [result["layers"] for result, *_ in answers] == [{"w": "Inf"}] * 2
    assert "the loss is finite on processes 0, 1, so it is not known whose part" in answers[0][1]
    assert "samples of the batch of process 0: " in answers[0][1]
    assert "samples of the batch of process 1: " in answers[0][1]


@needs_fsdp2
@pytest.mark.parametrize(("way", "every"), [("warn", 1), ("warn", 50), ("raise", 50)])
def test_a_shard_of_one_process(tmp_path: Path, way: str, every: int) -> None:
    """FSDP2: the process that has it says so, process 0 reports it; the whole weights are saved."""
    answers = run_processes(2, partial(ill.on_processes, "fsdp2", "gradient", way, str(tmp_path), every))
    results, told, paths = zip(*answers, strict=True)
    assert results[1]["layers"]
    assert "the gradient of 1 of " in told[0]
    if way == "raise":
        assert told[0] == told[1]
        saved = lw.replay(paths[0])
        assert saved.weights["net.weight"].shape == (6, 3)
