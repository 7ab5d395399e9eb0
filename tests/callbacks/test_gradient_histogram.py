"""The gradient that the optimizer uses, at its cadence."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from support.modules import Classifier, loader, trainer
from support.versions import needs_simulated_device

import lwcallbacks as lw
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing.same import difference

SUPPORT = Path(__file__).resolve().parent.parent


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
        key = "gradients/norm/net.1.weight"
        return [(int(row["step"]), float(row[key])) for row in csv.DictReader(file) if row.get(key)]


def test_norms_reach_the_logger_as_soon_as_they_are_worked_out(tmp_path: Path) -> None:
    """Not only when the next histogram is due: at the end of the same batch, where the background has been so fast."""
    logger, numbers = CSVLogger(tmp_path), list[int]()

    class Waits(pl.Callback):
        def on_train_batch_end(self, t: Any, *args: Any) -> None:
            Hub.of(t).outlet.publisher._jobs.join()

    class Looks(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            numbers.append(sum("gradients/norm/total" in row for row in logger.experiment.metrics))

    trainer(callbacks=[Waits(), lw.GradientHistogram(3), Looks()], logger=logger, max_epochs=1).fit(
        Classifier(), loader()
    )
    assert numbers == [0, 0, 1, 1, 1]


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

    with patch.object(LogHistogram, "look_at_each", autospec=True, side_effect=LogHistogram.look_at_each) as look:
        trainer(callbacks=[lw.GradientHistogram(3)]).fit(Classifier(), loader(40))
    assert look.call_count == 1, "one logged step in five"


@pytest.mark.parametrize("arguments", [{"every_n_train_steps": 0}, {"bins": 513}, {"bins": 2.5}, {"include": []}])
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


class Halves(Classifier):
    """Has parameters of many kinds: large and small, float16 and float64, complex, frozen, shared, without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.large = torch.nn.Parameter(torch.linspace(-1, 1, 5000))
        self.narrow = torch.nn.Parameter(torch.full((300,), 2.0, dtype=torch.float16))
        self.wide = torch.nn.Parameter(torch.tensor([1e-60, 0.5], dtype=torch.float64))
        self.phase = torch.nn.Parameter(torch.tensor([3.0 + 4.0j, 1.0j]))
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = torch.nn.Parameter(torch.ones(3))
        self.shared = self.large

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        parts = (self.large**2).sum() + (self.narrow.float() ** 2).sum() + (self.wide**2).sum() + self.phase.abs().sum()
        return super().training_step(batch, batch_idx) + parts


def fitted(folder: Path, on_device: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The results, and what was written by file."""
    torch.manual_seed(0)
    callback = lw.GradientHistogram(2)
    with as_on_a_device() if on_device else nullcontext():
        trainer(callbacks=[callback], default_root_dir=folder).fit(Halves(), loader(32))
    # Times are never the same.
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("cost.js", "run.js")]
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return callback.results["train"], written


def test_a_device_and_the_cpu_log_the_same(tmp_path: Path) -> None:
    """Results and all that is written have the same bytes, though the kernels differ."""
    (results, written), (of_device, by_device) = (fitted(tmp_path / str(way), way) for way in (False, True))
    assert results.keys() == {"net.1.weight", "net.1.bias", "large", "narrow", "wide", "phase"}
    assert difference(results, of_device) is None
    assert len(written) > 2
    assert written == by_device


@needs_simulated_device
def test_reading_gradients_of_devices_does_not_wait() -> None:
    """Of two devices at one step: nothing is waited for until it is drawn, and then it is what the CPU has."""
    code = """
import torch
from lwcallbacks.callbacks.reading import Reader
from lwcallbacks.callbacks.steps import Steps
from lwcallbacks.gradients.names import Chosen
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.testing import simulated_device
from lwcallbacks.testing.same import difference
sim = simulated_device()

def module(*devices):
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.ParameterDict()
    for i, size in enumerate([3, 5000, 3000, 7]):
        values = torch.randn(size, generator=generator)
        device = devices[i % len(devices)]
        module[f"p{i}"] = torch.nn.Parameter(values.to(device))
        module[f"p{i}"].grad = (2 * values).to(device)
    return module

class Descent(torch.optim.Optimizer):
    def step(self):
        with torch.no_grad():
            [p.sub_(0.1 * p.grad) for group in self.param_groups for p in group["params"]]

def layers(*devices):
    of, seen = module(*devices), []
    optimizer = Descent(of.parameters(), {})
    optimizer.found_inf = torch.zeros(1).to(devices[0])  # as a scaler leaves it
    steps = Steps(1, lambda s: reader.keep_parameters(s), lambda s: seen.append(reader.read(s)))
    steps.watch([optimizer])
    reader = Reader(of, steps, Chosen(), None, LogHistogram(), ("norms", "before", "changes", "weights"))
    sim.waits.clear()
    reader.keep_unclipped(*steps.of)
    optimizer.step()
    assert sim.waits == [], sim.waits
    return seen[0].layers()

expected, found = layers("cpu"), layers("sim:0", "sim:1")
assert sim.waits
assert sorted(found.names) == sorted(expected.names) == ["p0", "p1", "p2", "p3"]
order = [found.names.index(name) for name in expected.names]
assert difference([found.rows()[i] for i in order], expected.rows()) is None
assert difference(found.before[order], expected.before) is None
assert difference({name: found.seen()[name] for name in expected.names}, expected.seen()) is None
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
