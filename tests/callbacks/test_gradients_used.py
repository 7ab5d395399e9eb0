"""What GradientHistogram logs is the gradient that the optimizer used, in each way of training: worked out by hand."""

from __future__ import annotations

import copy
import math
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, loader, trainer
from support.recorded import scalars
from support.versions import LIGHTNING_1
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.testing.same import difference

SLOPES = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 5.0], [5.0, 12.0], [8.0, 15.0], [1.0, 0.0], [0.0, 2.0]])
"""The gradient of each of seven batches; norms 5, 10, 5, 13, 17, 1, 2."""


class Slope(pl.LightningModule):
    """Its gradient is its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([100.0, 0.0]))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self.w * batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def logged(tmp_path: Path, module: pl.LightningModule, key: str, data: Any = SLOPES, **kwargs: Any) -> dict[int, float]:
    """What one fit over the data logs under a key, by step."""
    callback = kwargs.pop("callback", None) or lw.GradientHistogram(1)
    trainer(callbacks=[callback], default_root_dir=tmp_path, **kwargs).fit(module, DataLoader(data))
    return {int(row["step"]): row[key] for row in scalars(tmp_path) if key in row}


def test_every_step_of_one_batch(tmp_path: Path) -> None:
    """The norm, and the change by the weight before it: with a rate of 1 the change is the gradient."""
    norms = logged(tmp_path, Slope(), "gradients/norm/w")
    assert norms == {i: float(g.norm()) for i, g in enumerate(SLOPES)}
    weights = torch.tensor([100.0, 0.0]) - torch.cat([torch.zeros(1, 2), SLOPES[:-1].cumsum(0)])
    expected = (SLOPES.norm(dim=1) / weights.norm(dim=1)).tolist()
    found = [row["gradients/update_ratio/w"] for row in scalars(tmp_path) if "gradients/norm/w" in row]
    assert found == pytest.approx(expected, rel=1e-6)


class Turned(pl.LightningModule):
    """A matrix, 6 by 5, whose order in memory is another from its second step on."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(30.0).reshape(6, 5))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.w.sum() * batch.mean()

    def on_before_optimizer_step(self, *args: Any) -> None:
        if self.global_step == 1:
            self.w.data = self.w.data.T.contiguous().T

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def test_a_step_in_which_memory_is_put_in_another_order_has_no_update_ratio(tmp_path: Path) -> None:
    """What was kept before it does not belong to what is there behind it; the other steps have theirs."""
    weights = torch.arange(30.0)
    expected = {i: 0.5 * 30**0.5 / float((weights - 0.5 * i).norm()) for i in (0, 2, 3)}
    found = logged(tmp_path, Turned(), "gradients/update_ratio/w", torch.ones(4, 1))
    finite = {step: ratio for step, ratio in found.items() if not math.isnan(ratio)}
    assert finite == {step: pytest.approx(ratio, rel=1e-6) for step, ratio in expected.items()}


def test_accumulated_gradients(tmp_path: Path) -> None:
    """Three batches a step, over seven batches: the last step has one. Lightning divides by three."""
    sums = [SLOPES[:3].sum(0), SLOPES[3:6].sum(0), SLOPES[6]]
    norms = logged(tmp_path, Slope(), "gradients/norm/total", accumulate_grad_batches=3)
    assert list(norms.values()) == pytest.approx([float(g.norm()) / 3 for g in sums])


class Halves(Slope):
    """Clips in a way of its own."""

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        self.w.grad.mul_(0.5)


@pytest.mark.parametrize(
    ("module", "how", "clipped"),
    [
        (Slope, {"gradient_clip_val": 6.5}, SLOPES * (6.5 / SLOPES.norm(dim=1, keepdim=True)).clamp(max=1)),
        (Slope, {"gradient_clip_val": 4.0, "gradient_clip_algorithm": "value"}, SLOPES.clamp(max=4)),
        (Halves, {}, SLOPES / 2),
    ],
    ids=["by norm", "by value", "by the module"],
)
def test_clipped_gradients(tmp_path: Path, module: Any, how: dict[str, Any], clipped: torch.Tensor) -> None:
    """The norm is of what is left; that before clipping and what was left of it are beside it."""
    used = logged(tmp_path, module(), "gradients/norm/total", **how)
    assert list(used.values()) == pytest.approx(clipped.norm(dim=1).tolist(), rel=1e-5)
    rows = [row for row in scalars(tmp_path) if "gradients/norm/total" in row]
    assert [row["gradients/norm/before_clipping"] for row in rows] == SLOPES.norm(dim=1).tolist()
    expected = (clipped.norm(dim=1) / SLOPES.norm(dim=1)).tolist()
    assert [row["gradients/clip_coefficient"] for row in rows] == pytest.approx(expected, rel=1e-5)


class Overflows(Slope):
    """Its third batch overflows."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (math.inf if batch_idx == 2 else 1.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0, fused=self.fused)


@pytest.mark.skipif(LIGHTNING_1, reason="Lightning 1 has no gradient scaler for a CPU")
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_skips(tmp_path: Path, fused: bool) -> None:
    """It is counted as skipped and nothing else; the others have their unscaled norm, under a scale of 2**16."""
    from support.versions import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    module, callback = Overflows(fused), lw.GradientHistogram(1, on_nonfinite="ignore")  # its loss is infinite
    norms = logged(tmp_path, module, "gradients/norm/w", callback=callback, plugins=[plugin])
    expected = {i: float(g.norm()) for i, g in enumerate(SLOPES) if i != 2}
    assert norms == expected
    rows = {int(row["step"]): row.get("gradients/skipped_steps") for row in scalars(tmp_path) if row.keys() - {"step"}}
    assert [rows.get(i) for i in (0, 1, 3, 6)] == [None, None, 1.0, 1.0]
    assert callback.state_dict()["skipped"] == {0: 1}
    assert callback.state_dict()["steps"] == {0: 7 if fused else 6}


class Both(pl.LightningModule):
    """Two optimizers of one class step in one batch, and share a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.g, self.d, self.both = (nn.Parameter(torch.ones(2)) for _ in range(3))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for factor, own, optimizer in zip((1.0, 2.0), (self.g, self.d), self.optimizers(), strict=True):
            optimizer.zero_grad()
            self.manual_backward(((own + self.both) * batch[0] * factor).sum())
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD([own, self.both], lr=0.0) for own in (self.g, self.d)]


def test_two_optimizers_in_one_batch(tmp_path: Path) -> None:
    """Each has totals and a table of its own, and so has the parameter that both step."""
    callback = lw.GradientHistogram(1)
    norms = logged(tmp_path, Both(), "gradients/norm/total/SGD-1", callback=callback)
    assert list(norms.values()) == pytest.approx([float(g.norm()) * 2 * 2**0.5 for g in SLOPES])
    row: dict[str, float] = {}
    for found in scalars(tmp_path):
        if found["step"] == 0:
            assert not {key for key in row if key.startswith("gradients")} & found.keys(), "a key is written twice"
            row |= found
    assert (row["gradients/norm/g"], row["gradients/norm/d"]) == (5.0, 10.0)
    assert (row["gradients/norm/both/SGD"], row["gradients/norm/both/SGD-1"]) == (5.0, 10.0)
    assert set(callback.results["train"]) == {"g", "d", "both/SGD", "both/SGD-1"}


def test_lbfgs_steps_once_for_several_closures(tmp_path: Path) -> None:
    """The gradient is that of its last closure."""
    seen: list[float] = []

    class Curved(Slope):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return ((self.w - batch[0]) ** 4).sum()

        def on_before_optimizer_step(self, *args: Any) -> None:
            last.append(float(self.w.grad.norm()))

        def on_train_batch_end(self, *args: Any) -> None:
            seen.append(last[-1])

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    last: list[float] = []
    norms = logged(tmp_path, Curved(), "gradients/norm/w")
    assert len(last) > len(seen) == 7
    assert list(norms.values()) == pytest.approx(seen, rel=1e-6)


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_step_that_returned_none_logs_nothing(tmp_path: Path) -> None:
    """It counts as a step of the optimizer, which Lightning calls."""

    class Lazy(Slope):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if batch_idx in (1, 2) else super().training_step(batch, batch_idx)

    callback = lw.GradientHistogram(1)
    norms = logged(tmp_path, Lazy(), "gradients/norm/w", callback=callback)
    assert sorted(norms.values()) == sorted(float(g.norm()) for i, g in enumerate(SLOPES) if i not in (1, 2))
    assert {key: callback.state_dict()[key] for key in ("steps", "skipped")} == {"steps": {0: 7}, "skipped": {0: 0}}


def test_sparse_frozen_and_late_parameters(tmp_path: Path) -> None:
    """Each as long as it has a gradient; a sparse one by all its elements."""

    class Mixed(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(10, 3, sparse=True)
            self.late = nn.Parameter(torch.ones(2))
            self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
            self.late.requires_grad_(False)
            self.words.again = self.words.weight

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.late.requires_grad_(batch_idx >= 4)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.words(torch.tensor([1, 1, 7])).sum() + 3 * self.late.sum() + self.frozen.sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = lw.GradientHistogram(1)
    assert logged(tmp_path, Mixed(), "gradients/norm/late", callback=callback) == pytest.approx(
        dict.fromkeys((4, 5, 6), 18**0.5)
    )
    assert set(callback.results["train"]) == {"words.weight", "late"}
    words = callback.results["train"]["words.weight"]
    assert (words.num_finite, words.num_zero) == (30, 24)
    assert scalars(tmp_path)[0]["gradients/norm/words.weight"] == pytest.approx(15**0.5)


def test_layers_that_are_called_as_our_own_keys(tmp_path: Path) -> None:
    """A parameter with the name "total" does not take the total's key."""

    class Named(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.total, self.layers = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + 2 * self.total.sum() + 4 * self.layers.sum()

    callback = lw.GradientHistogram(1)
    totals = logged(tmp_path, Named(), "gradients/norm/total", callback=callback)
    assert totals[0] == pytest.approx((25 + 4 + 16) ** 0.5)
    assert scalars(tmp_path)[0]["gradients/norm/total.parameter"] == 2
    assert scalars(tmp_path)[0]["gradients/norm/layers.parameter"] == 4


# -- optimizers ----------------------------------------------------------------------------------------------------


def hooks_of(optimizer: Any) -> int:
    return len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


class Looks(pl.Callback):
    """What other callbacks find on the optimizer, and whether it and the callbacks copy and pickle, in mid-fit."""

    def __init__(self, fails_at: int = -1) -> None:
        self.hooks: list[int] = []
        self.fails_at = fails_at

    def on_train_batch_end(self, t: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        optimizer = t.optimizers[0]
        self.hooks.append(hooks_of(optimizer))
        for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            assert hooks_of(again) == 0
        ours = next(c for c in t.callbacks if isinstance(c, lw.GradientHistogram))
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            assert difference(other.state_dict(), ours.state_dict()) is None
            assert ours.state_dict()["steps"] == {0: batch_idx + 1}
        if batch_idx == self.fails_at:
            raise KeyError("on purpose")


def test_hooks_are_there_for_a_fit_and_in_no_copy() -> None:
    """Two during the fit, whatever is copied in between; none behind it."""
    looks, module = Looks(), Slope()
    t = trainer(callbacks=[lw.GradientHistogram(2), looks])
    t.fit(module, DataLoader(SLOPES))
    assert looks.hooks == [2] * 7
    assert hooks_of(t.optimizers[0]) == 0


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "behind ours"])
def test_an_exception_leaves_no_hook(first: bool) -> None:
    """Also where another callback raises in `on_exception`, before or behind ours."""

    class Raises(Looks):
        def on_exception(self, *args: Any) -> None:
            raise RuntimeError("again")

    ours, looks = lw.GradientHistogram(2), Raises(fails_at=3)
    t = trainer(callbacks=[looks, ours] if first else [ours, looks])
    with pytest.raises(RuntimeError, match="again"):
        t.fit(Slope(), DataLoader(SLOPES))
    assert looks.hooks == [2] * 4
    assert hooks_of(t.optimizers[0]) == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("FSDPStrategy", "FSDP1"), ("DDPFullyShardedNativeStrategy", "FSDP1"), ("DeepSpeedStrategy", "DeepSpeed")],
)
def test_strategies_that_hide_gradients_are_refused(name: str, kind: str) -> None:
    """At setup, with what to write. They are called as Lightning's, which need GPUs, and may be derived from."""
    from pytorch_lightning.strategies import SingleDeviceStrategy

    strategy = type("Own", (type(name, (SingleDeviceStrategy,), {}),), {})
    t = trainer(callbacks=[lw.GradientHistogram(1)], strategy=strategy("cpu"))
    with pytest.raises(ValueError, match=rf"GradientHistogram\('gradients'\): found Own, and {kind} .*fully_shard"):
        t.fit(Slope(), DataLoader(SLOPES))


def test_a_module_that_fsdp1_wraps_is_refused() -> None:
    """When training starts, under a strategy that knows nothing of it."""

    class Wrapped(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.ModuleDict({"_fsdp_wrapped_module": nn.Linear(2, 2)})  # as FSDP1 calls it

    with pytest.raises(ValueError, match=r"found the parameter net._fsdp_wrapped_module.weight .*`fully_shard`"):
        trainer(callbacks=[lw.GradientHistogram(1)]).fit(Wrapped(), DataLoader(SLOPES))


# -- arguments -----------------------------------------------------------------------------------------------------

OPTIONS = [
    {}, {"histograms": False}, {"update_ratio": False}, {"include": "net.*"}, {"exclude": ["*.bias"]}, {"depth": 1},
]  # fmt: skip


class Adams(Classifier):
    """With momentum and a running average, of which any change would be seen."""

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def weights_after(*callbacks: Any) -> dict[str, torch.Tensor]:
    pl.seed_everything(3)
    module = Adams()
    trainer(callbacks=list(callbacks), max_steps=200, max_epochs=-1, gradient_clip_val=0.1).fit(
        module, loader(40, 8, shuffle=True)
    )
    return dict(module.state_dict())


def test_training_is_the_same_to_the_bit() -> None:
    """After 200 steps with AdamW and clipping, under each option."""
    expected = weights_after()
    for i, options in enumerate(OPTIONS):
        found = weights_after(lw.GradientHistogram(3, **options))
        assert difference(found, expected) is None, OPTIONS[i]


@pytest.mark.parametrize(
    ("arguments", "layers"),
    [
        ({"include": "*.weight"}, {"net.1.weight"}),
        ({"exclude": ("*.weight",)}, {"net.1.bias"}),
        ({"depth": 1}, {"net"}),
        ({"depth": 2}, {"net.1"}),
        ({"depth": 9}, {"net.1.weight", "net.1.bias"}),
    ],
)
@pytest.mark.parametrize("histograms", [True, False])
def test_chosen_and_grouped_layers(
    tmp_path: Path, arguments: dict[str, Any], layers: set[str], histograms: bool
) -> None:
    """Norms, ratios, results and the total are of these; the total of grouped ones is the same."""
    callback = lw.GradientHistogram(5, histograms=histograms, **arguments)
    module = Classifier()
    trainer(callbacks=[callback], default_root_dir=tmp_path).fit(module, loader())
    [row] = [row for row in scalars(tmp_path) if "gradients/norm/total" in row]
    totals = {"gradients/norm/total", "gradients/update_ratio/total"}
    own = {key for key in row if key.startswith("gradients")} - totals
    assert own == {f"gradients/{kind}/{layer}" for kind in ("norm", "update_ratio") for layer in layers}
    assert set(callback.results["train"]) == layers
    assert math.hypot(*(row[f"gradients/norm/{layer}"] for layer in layers)) == pytest.approx(row[min(totals)])
    parameters = [p for name, p in module.named_parameters() if "depth" in arguments or f"{name}" in layers]
    assert row[min(totals)] == pytest.approx(math.hypot(*(float(p.grad.norm()) for p in parameters)), rel=1e-6)
    assert sum(seen.num_finite for seen in callback.results["train"].values()) == sum(p.numel() for p in parameters)


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    """When training starts, with names that there are."""
    with pytest.raises(
        ValueError, match=r"include has 'encoder.\*', which no parameter fits, expected .* net.1.weight"
    ):
        trainer(callbacks=[lw.GradientHistogram(1, include=["net.*", "encoder.*"])]).fit(Classifier(), loader())
    with pytest.raises(
        ValueError, match=r"include=None and exclude='\*' leave none of 2 parameters, expected at least"
    ):
        trainer(callbacks=[lw.GradientHistogram(1, exclude="*")]).fit(Classifier(), loader())


@pytest.mark.parametrize(("number", "drawn"), [(1000, True), (1001, False)])
def test_many_parameters_have_no_histograms_unless_asked_for(tmp_path: Path, number: int, drawn: bool) -> None:
    """From 1,001 on; norms and the table are there."""

    class Many(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.many = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(number - 1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + sum(p.sum() for p in self.many)

    from lwcallbacks.readers import read_folder

    t = trainer(callbacks=[lw.GradientHistogram(7)], default_root_dir=tmp_path)
    t.fit(Many(), DataLoader(SLOPES))
    [file] = tmp_path.rglob("scalars.js")
    folder = read_folder(file.parent)
    over_steps = {f"gradients/{key}" for key in ("layers", "diagnosis", "norm_by_step", "update_ratio_by_step")}
    assert len(folder.steps().keys() - over_steps) == (number if drawn else 0)
    assert over_steps <= folder.steps().keys()
    [table] = folder.data("gradients/layers").values()
    assert len(table["rows"]) == number
    assert f"gradients/norm/many.{number - 2}" in folder.curves()


def tables(tmp_path: Path) -> dict[str, list[int]]:
    """At which steps there is a table, by key."""
    from lwcallbacks.readers import read_folder

    [file] = tmp_path.rglob("manifest.js")
    folder = read_folder(file.parent)
    return {key: steps for key, steps in folder.steps().items() if "/layers" in key}


def test_a_table_comes_less_often_than_numbers(tmp_path: Path) -> None:
    """At the first, the eleventh, the twenty-first logged step, and at the last of an epoch; once, where it is both."""
    callback = lw.GradientHistogram(2)
    norms = logged(tmp_path, Slope(), "gradients/norm/w", torch.ones(22, 2), callback=callback, max_epochs=2)
    assert list(norms) == list(range(1, 44, 2))
    assert tables(tmp_path) == {"gradients/layers": [1, 21, 41, 43]}


def test_after_an_error_there_is_the_last_table(tmp_path: Path) -> None:
    """It may say what was wrong; and so on Ctrl-C, with the diagnosis of all steps up to there."""

    class Fails(Slope):
        error: type[BaseException] = ValueError

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise self.error("no more")
            return super().training_step(batch, batch_idx)

    with pytest.raises(ValueError, match="no more"):
        logged(tmp_path / "a", Fails(), "gradients/norm/w")
    assert tables(tmp_path / "a") == {"gradients/layers": [0, 2]}
    module = Fails()
    module.error = KeyboardInterrupt
    with suppress(SystemExit, KeyboardInterrupt):  # which older Lightnings keep to themselves
        logged(tmp_path / "b", module, "gradients/norm/w")
    assert tables(tmp_path / "b") == {"gradients/layers": [0, 2]}
    from lwcallbacks.readers import read_folder

    for folder in ("a", "b"):
        [file] = (tmp_path / folder).rglob("manifest.js")
        found = read_folder(file.parent).steps()
        assert [found[f"gradients/{key}"] for key in ("diagnosis", "norm_by_step")] == [[3], [3]]


def test_tables_of_several_optimizers(tmp_path: Path) -> None:
    """Each has its own, by its own steps."""

    class Two(Slope):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.v = nn.Parameter(torch.ones(2))

        def training_step(self, batch: Any, batch_idx: int) -> None:
            first, second = self.optimizers()
            for optimizer in (first, second) if batch_idx % 2 else (first,):
                optimizer.zero_grad()
                self.manual_backward(((self.w + self.v) * batch[0]).sum())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD([self.w], 0.1), torch.optim.Adam([self.v])]

    trainer(callbacks=[lw.GradientHistogram(1)], default_root_dir=tmp_path).fit(Two(), DataLoader(torch.ones(14, 2)))
    found = {key: len(steps) for key, steps in tables(tmp_path).items()}
    assert found == {"gradients/layers/SGD": 3, "gradients/layers/Adam": 2}


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch")
def test_steps_are_counted_on_after_a_resume(tmp_path: Path) -> None:
    """The third step is logged, whichever fit it is in."""
    first = trainer(callbacks=[lw.GradientHistogram(3), ModelCheckpoint(tmp_path, save_last=True)], max_steps=2,
                    enable_checkpointing=True, default_root_dir=tmp_path / "a")  # fmt: skip
    first.fit(Slope(), DataLoader(SLOPES))
    [path] = tmp_path.rglob("last*.ckpt")
    callback = lw.GradientHistogram(3)
    second = trainer(callbacks=[callback], max_steps=4, max_epochs=2, default_root_dir=tmp_path / "b")
    second.fit(Slope(), DataLoader(SLOPES), ckpt_path=path)
    assert [row["step"] for row in scalars(tmp_path / "b") if "gradients/norm/w" in row] == [2]
    assert callback.state_dict()["steps"] == {0: 4}
