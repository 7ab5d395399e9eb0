"""`benchmarks/gpu.py` runs in its small form where there is no CUDA device, with little installed, and finds faults."""

from __future__ import annotations

import inspect
import itertools
import json
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.everyone import public_callbacks
from support.versions import needs_simulated_device

import lwcallbacks as lw
from lwcallbacks import reductions
from lwcallbacks.callbacks.hub import Hub

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NOT_NEEDED = ("pytest", "hypothesis", "wandb", "mlflow", "tensorboard")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu as script

    return script


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Code in a new process that finds the scripts."""
    code = f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)


def test_the_small_form_passes_and_says_what_it_could_not_look_at() -> None:
    """One JSON object; without a device a check is either passed or not run, with the reason."""
    done = run(f"""
import runpy
sys.modules |= dict.fromkeys({NOT_NEEDED})
sys.argv = ["gpu.py", "--quick", "--json", "--repeats", "1"]
runpy.run_path({str(BENCHMARKS / "gpu.py")!r}, run_name="__main__")
""")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["units"].keys() == result["ours"].keys() == result["peer"].keys() == result["ratio"].keys()
    assert {row.split(",")[0] for row in result["units"]} == {"gradients", "counts", "choices"}
    by_name = {check["name"]: check for check in result["checks"]}
    assert by_name["replicas"]["passed"]
    assert all(check["passed"] or (check["passed"] is None and "CUDA" in check["found"]) for check in by_name.values())
    if not torch.cuda.is_available():
        assert result["device"] == "no CUDA device: the small form, on the CPU"
        not_run = {name for name, check in by_name.items() if check["passed"] is None}
        assert not_run == {
            f"{what}, {how}" for what in ("results", "waits", "places") for how in ("in order", "shuffled")
        }


@needs_simulated_device
def test_the_laws_hold_between_the_cpu_and_a_simulated_device() -> None:
    """So the script has been run with a device that is as strict as a real one."""
    done = run("""
import torch
from lwcallbacks.testing import simulated_device
simulated_device()
from _gpu_laws import LAWFUL, broken_laws, broken_names, broken_orders
devices = [torch.device("sim:0")]
print([said for name in LAWFUL for said in broken_laws(name, devices, 1, 50)], list(broken_names(devices, 1, 50)))
print(list(broken_orders(devices, 1, 50)))
""")
    assert done.stdout == "[] []\n[]\n", done.stdout + done.stderr


def test_every_reduction_and_every_callback_is_in_it(gpu: ModuleType) -> None:
    """Those that the package exports."""
    exported = {value for value in vars(reductions).values() if inspect.isclass(value)}
    named = {cls for cls in exported if issubclass(cls, reductions.Reduction) and not inspect.isabstract(cls)}
    assert named == {type(reduction) for reduction, _ in gpu.LAWFUL.values()}
    assert gpu.EVERYONE.keys() == public_callbacks().keys()


@dataclass(frozen=True)
class FloatSum(reductions.ExactSum):
    """A sum that rounds on its way."""

    def lift(self, values: torch.Tensor, *, valid: torch.Tensor | None = None) -> reductions.State:
        values = values.nan_to_num().float().clamp(-10, 10)
        return {"sum": (values if valid is None else values[valid]).sum()[None]}

    def merge(self, a: reductions.State, b: reductions.State) -> reductions.State:
        return {"sum": a["sum"] + b["sum"]}

    def accumulate(self, state: reductions.State, *fields: Any, valid: Any = None) -> reductions.State:
        return self.merge(state, self.lift(*fields, valid=valid))

    def value(self, state: reductions.State) -> float:
        return float(state["sum"])


def test_a_reduction_that_is_not_exact_is_found(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It fails its check, which says where, and the script ends with 1."""
    monkeypatch.setitem(gpu.LAWFUL, "float sum", (FloatSum(), gpu.LAWFUL["sum"][1]))
    for name in gpu.LAWFUL.keys() - {"float sum", "sum"}:
        monkeypatch.delitem(gpu.LAWFUL, name)
    for rows in ("gradients", "counts", "choices"):
        monkeypatch.setattr(gpu, rows, lambda *_: iter([("row", {"ours": 1.0, "peer": 1.0})]))
    monkeypatch.setattr(gpu, "unlike_results", lambda *_, **__: [])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--json"])
    with pytest.raises(SystemExit, match="1"):
        gpu.main()
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["laws, sum"]["passed"]
    assert not checks["laws, float sum"]["passed"]
    assert "float32, 200 samples, seed 0, cpu, merged: sum differs in" in checks["laws, float sum"]["found"]


class Waits(pl.Callback):
    """Says what torch says at a wait, in a batch hook and outside of one."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)

    on_train_epoch_end = on_train_batch_end


@pytest.mark.filterwarnings("ignore:called a synchronizing CUDA operation:UserWarning")
def test_a_wait_in_a_batch_hook_is_counted(gpu: ModuleType) -> None:
    """At the first call and later ones: 6 batches in each of two epochs."""
    found = gpu.waits([Waits()], False, accelerator="cpu", devices=1)
    assert (sum(found.at_first.values()), sum(found.later.values())) == (1, 11)
    assert found.num_hooks == 2 * (6 * 5 + 6 * 2) + 6 * 2


def test_while_waits_are_errors_the_background_rests(gpu: ModuleType) -> None:
    """The mode is set after everything that was queued is done, and taken back before more is begun."""
    import _gpu_runs

    said: list[str] = []

    class Draws(lw.LoggingCallback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            self.publish(trainer, lambda: said.append("drawn") or {}, trainer.global_step)
            time.sleep(0.05)

    watch = _gpu_runs.NoWaits(said.append)
    _gpu_runs.watched(watch, [Draws()], False, accelerator="cpu", devices=1)
    assert said.count("drawn") == 12
    assert said.count("error") == said.count("default") == 2 * (6 * 5 + 6 * 2) + 6 * 2
    assert ("error", "drawn") not in itertools.pairwise(said)


def test_where_waits_are_errors_a_callback_that_waits_is_found(gpu: ModuleType) -> None:
    """What torch raises there ends the run, also where a callback of ours would only have warned."""

    class Reads(lw.LoggingCallback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            with Hub.of(trainer).outlet.attempt("Reads", "could not read"):
                raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        gpu.forbid_waits([Reads()], False, accelerator="cpu", devices=1)
