"""The gradient that the optimizer uses, at its cadence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger
from support.modules import Classifier, loader, trainer

import lwcallbacks as lw


class Records(Classifier):
    """Keeps the gradient that its optimizer is about to use, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def on_before_optimizer_step(self, optimizer: Any, *index: int) -> None:
        self.seen.append(self.net[1].weight.grad.clone())


def norms(t: Any) -> list[tuple[int, float]]:
    """(step, norm) as CSVLogger wrote them."""
    import csv

    with open(Path(t.logger.log_dir) / "metrics.csv") as file:
        key = "gradients_norm/net.1.weight"
        return [(int(row["step"]), float(row[key])) for row in csv.DictReader(file) if row.get(key)]


def test_it_is_the_gradient_of_the_step(tmp_path: Path) -> None:
    """With accumulation over two batches: norms of the summed gradient, at every second optimizer step."""
    module = Records()
    t = trainer(
        callbacks=[callback := lw.GradientHistogram(2)],
        accumulate_grad_batches=2,
        logger=CSVLogger(tmp_path),
        max_epochs=2,
    )
    t.fit(module, loader(64))
    wanted = module.seen[1::2]
    found = norms(t)
    assert [step for step, _ in found] == [1, 3, 5, 7]
    assert [norm for _, norm in found] == pytest.approx([float(g.norm()) for g in wanted], rel=1e-6)
    last = callback.results["train"]["net.1.weight"]
    assert last.num_finite == wanted[-1].numel()
    assert last.quantile(0.5) == pytest.approx(float(wanted[-1].quantile(0.5)), rel=0.1, abs=1e-3)


def test_nan_and_infinity_are_counted_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The finite part is drawn, the rest is counted beside it."""

    def poisoned(self: Any) -> None:
        if self.global_step == 1:
            self.net[1].weight.grad[0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])

    monkeypatch.setattr(Classifier, "on_after_backward", poisoned)
    callback = lw.GradientHistogram(1)
    t = trainer(callbacks=[callback])
    t.fit(Classifier(), loader(16))
    seen = callback.results["train"]["net.1.weight"]
    assert (seen.num_nan, seen.num_posinf, seen.num_neginf) == (1, 1, 1)
    assert t.global_step == 2


def test_nothing_is_computed_between_logged_steps() -> None:
    """Between two logged steps no histogram is made."""
    from unittest.mock import patch

    from lwcallbacks.reductions import LogHistogram

    with patch.object(LogHistogram, "lift", autospec=True, side_effect=LogHistogram.lift) as lift:
        trainer(callbacks=[lw.GradientHistogram(3)]).fit(Classifier(), loader(40))
    assert lift.call_count == 2, "one logged step in five, for a weight and a bias"


@pytest.mark.parametrize("arguments", [{"every_n_train_steps": 0}, {"bins": 513}, {"bins": 2.5}])
def test_wrong_arguments(arguments: dict[str, Any]) -> None:
    """Each is refused when the callback is made, and named."""
    [name] = arguments
    with pytest.raises(ValueError, match=f"GradientHistogram: {name}="):
        lw.GradientHistogram(**arguments)


def test_the_histogram_has_every_element() -> None:
    """Bins of equal width lose no count."""
    callback = lw.GradientHistogram(1)
    trainer(callbacks=[callback]).fit(Classifier(), loader(8))
    for seen in callback.results["train"].values():
        counts, edges = seen.linear(64)
        assert counts.sum() == seen.num_finite
        assert np.all(np.diff(edges) > 0)
