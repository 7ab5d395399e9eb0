"""Lightning 1 steps several optimizers in one batch of automatic optimization: what GradientHistogram logs of each.

Each number is worked out by hand. From Lightning 2 on several optimizers are for manual optimization only, of which
test_gradients_used.py has a pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.modules import trainer
from support.recorded import scalars
from support.versions import LIGHTNING_1
from torch import nn
from torch.utils.data import DataLoader

import lwcallbacks as lw

pytestmark = pytest.mark.skipif(
    not LIGHTNING_1, reason="from Lightning 2 on, automatic optimization takes one optimizer only"
)

SLOPES = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 5.0], [5.0, 12.0], [8.0, 15.0], [1.0, 0.0], [0.0, 2.0]])
"""Of seven batches; norms 5, 10, 5, 13, 17, 1, 2."""
NORMS = SLOPES.norm(dim=1).tolist()
KINDS = ("norm/total", "norm/before_clipping", "clip_coefficient", "update_ratio/total")


class Pair(pl.LightningModule):
    """The gradient of `g` is its batch, that of `d` twice that; `both` is stepped by either, with its gradient."""

    def __init__(self, rate: float = 0.0, frequencies: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.g, self.d, self.both = (nn.Parameter(torch.tensor([100.0, 0.0])) for _ in range(3))
        self.rate = rate
        self.frequencies = frequencies

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        own = (self.g, self.d)[optimizer_idx]
        return ((own + self.both) * batch[0]).sum() * (optimizer_idx + 1)

    def configure_optimizers(self) -> Any:
        found = [torch.optim.SGD([own, self.both], lr=self.rate) for own in (self.g, self.d)]
        if not self.frequencies:
            return found
        return [{"optimizer": o, "frequency": n} for o, n in zip(found, self.frequencies, strict=True)]


def logged(tmp_path: Path, module: Pair, callback: Any = None, **kwargs: Any) -> dict[int, dict[str, float]]:
    """What one fit over the seven batches logs of gradients, by step; no key twice at one step."""
    trainer(callbacks=[callback or lw.GradientHistogram(1)], default_root_dir=tmp_path, **kwargs).fit(
        module, DataLoader(SLOPES)
    )
    rows: dict[int, dict[str, float]] = {}
    for found in scalars(tmp_path):
        row = {key.removeprefix("gradients/"): x for key, x in found.items() if key.startswith("gradients/")}
        at = rows.setdefault(int(found["step"]), {})
        assert not at.keys() & row.keys(), "a key is written twice"
        at |= row
    return {step: row for step, row in rows.items() if row}


def of(rows: dict[int, dict[str, float]], key: str) -> dict[int, float]:
    return {step: row[key] for step, row in rows.items() if key in row}


def close(*numbers: Any) -> Any:
    return pytest.approx([float(x) for x in numbers], rel=1e-6)


def test_each_has_its_own_numbers(tmp_path: Path) -> None:
    """Totals, layers and counts are of one optimizer; what both step is there for each."""
    callback = lw.GradientHistogram(1)
    rows = logged(tmp_path, Pair(), callback)
    assert list(of(rows, "norm/g").items()) == list(enumerate(NORMS))
    assert list(of(rows, "norm/both/SGD").values()) == NORMS
    assert list(of(rows, "norm/d").values()) == [2 * x for x in NORMS]
    assert list(of(rows, "norm/both/SGD-1").values()) == [2 * x for x in NORMS]
    assert list(of(rows, "norm/total/SGD").values()) == close(*(x * 2**0.5 for x in NORMS))
    assert list(of(rows, "norm/total/SGD-1").values()) == close(*(2 * x * 2**0.5 for x in NORMS))
    assert {key for row in rows.values() for key in row} == {
        *("norm/g", "norm/d", "norm/both/SGD", "norm/both/SGD-1", "norm/total/SGD", "norm/total/SGD-1"),
        *("update_ratio/g", "update_ratio/d", "update_ratio/both/SGD", "update_ratio/both/SGD-1"),
        *("update_ratio/total/SGD", "update_ratio/total/SGD-1"),
    }
    assert set(callback.results["train"]) == {"g", "d", "both/SGD", "both/SGD-1"}
    assert {key: callback.state_dict()[key] for key in ("steps", "skipped")} == {
        "steps": {0: 7, 1: 7}, "skipped": {0: 0, 1: 0}
    }  # fmt: skip


def test_what_each_has_changed(tmp_path: Path) -> None:
    """The parameter of both is changed twice in a batch: each ratio is by the weight before that step."""
    rows = logged(tmp_path, Pair(rate=1.0))
    g = d = both = torch.tensor([100.0, 0.0])
    for step, slope in enumerate(SLOPES):
        assert [rows[step]["update_ratio/g"], rows[step]["update_ratio/both/SGD"]] == close(
            slope.norm() / g.norm(), slope.norm() / both.norm()
        )
        both = both - slope
        assert [rows[step]["update_ratio/d"], rows[step]["update_ratio/both/SGD-1"]] == close(
            2 * slope.norm() / d.norm(), 2 * slope.norm() / both.norm()
        )
        g, d, both = g - slope, d - 2 * slope, both - 2 * slope


def test_accumulated_gradients(tmp_path: Path) -> None:
    """Three batches a step, the last has one. What both step has what the other one has added since it was zeroed.

    Lightning zeroes the gradients of an optimizer before its own backward of the first batch. So of the parameter that
    both step, the second optimizer throws away what the first one has added in that batch.
    """
    rows = logged(tmp_path, Pair(), accumulate_grad_batches=3)
    groups = [SLOPES[0:3], SLOPES[3:6], SLOPES[6:7]]
    assert list(of(rows, "norm/g").values()) == close(*(x.sum(0).norm() / 3 for x in groups))
    assert list(of(rows, "norm/d").values()) == close(*(2 * x.sum(0).norm() / 3 for x in groups))
    # At the first optimizer's step: twice all batches but the last, and once all batches but the first.
    first = [2 * x[:-1].sum(0) + x[1:].sum(0) if len(x) > 1 else x.sum(0) for x in groups]
    second = [2 * x.sum(0) + x[1:].sum(0) for x in groups]
    assert list(of(rows, "norm/both/SGD").values()) == close(*(x.norm() / 3 for x in first))
    assert list(of(rows, "norm/both/SGD-1").values()) == close(*(x.norm() / 3 for x in second))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipped_gradients(tmp_path: Path, algorithm: str) -> None:
    """Each by its own norm; the other one's gradients are no part of it."""
    limit = 12.0
    rows = logged(tmp_path, Pair(), gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    for optimizer, factor in (("SGD", 1.0), ("SGD-1", 2.0)):
        before = factor * SLOPES.norm(dim=1) * 2**0.5
        left = (limit / before).clamp(max=1) * before
        if algorithm == "value":
            left = (factor * SLOPES).clamp(max=limit).norm(dim=1) * 2**0.5
        assert list(of(rows, f"norm/before_clipping/{optimizer}").values()) == close(*before)
        assert list(of(rows, f"norm/total/{optimizer}").values()) == pytest.approx(left.tolist(), rel=1e-5)
        assert list(of(rows, f"clip_coefficient/{optimizer}").values()) == pytest.approx(
            (left / before).tolist(), rel=1e-5
        )


def test_frequencies(tmp_path: Path) -> None:
    """One batch for the first optimizer, then two for the second."""
    callback = lw.GradientHistogram(1)
    rows = logged(tmp_path, Pair(frequencies=(1, 2)), callback, gradient_clip_val=8.0)
    assert of(rows, "norm/before_clipping/SGD") == pytest.approx({i: NORMS[i] * 2**0.5 for i in (0, 3, 6)})
    assert of(rows, "norm/before_clipping/SGD-1") == pytest.approx({i: 2 * NORMS[i] * 2**0.5 for i in (1, 2, 4, 5)})
    assert of(rows, "norm/total/SGD") == pytest.approx({0: 50**0.5, 3: 8.0, 6: 8**0.5}, rel=1e-5)
    assert of(rows, "norm/total/SGD-1") == pytest.approx({1: 8.0, 2: 8.0, 4: 8.0, 5: 8**0.5}, rel=1e-5)
    assert callback.state_dict()["steps"] == {0: 3, 1: 4}


def test_every_nth_step_is_one_of_the_optimizers_own(tmp_path: Path) -> None:
    """With frequencies of 1 and 2 the second step of each is in another batch."""
    rows = logged(tmp_path, Pair(frequencies=(1, 2)), lw.GradientHistogram(2))
    assert of(rows, "norm/g") == {3: NORMS[3]}
    assert of(rows, "norm/d") == {2: 2 * NORMS[2], 5: 2 * NORMS[5]}


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_an_optimizer_whose_step_returned_none(tmp_path: Path) -> None:
    """Nothing is logged of it in that batch; the other one is as ever."""

    class Lazy(Pair):
        def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
            skips = optimizer_idx == 0 and batch_idx % 2 == 0
            return None if skips else super().training_step(batch, batch_idx, optimizer_idx)

    rows = logged(tmp_path, Lazy())
    assert of(rows, "norm/g") == {i: NORMS[i] for i in (1, 3, 5)}
    assert of(rows, "norm/d") == {i: 2 * x for i, x in enumerate(NORMS)}


def test_a_module_that_steps_one_of_them_less_often(tmp_path: Path) -> None:
    """By an `optimizer_step` of its own; what it leaves out is no skipped step."""

    class Often(Pair):
        def optimizer_step(
            self, epoch: int, batch_idx: int, optimizer: Any, optimizer_idx: int, optimizer_closure: Any, **kwargs: Any
        ) -> None:
            if optimizer_idx == 0 and batch_idx % 2:
                optimizer_closure()
            else:
                optimizer.step(closure=optimizer_closure)

    callback = lw.GradientHistogram(1)
    rows = logged(tmp_path, Often(), callback)
    assert of(rows, "norm/g") == {i: NORMS[i] for i in (0, 2, 4, 6)}
    assert of(rows, "norm/d") == {i: 2 * x for i, x in enumerate(NORMS)}
    assert {key: callback.state_dict()[key] for key in ("steps", "skipped")} == {
        "steps": {0: 4, 1: 7}, "skipped": {0: 0, 1: 0}
    }  # fmt: skip
