"""Training that somebody else starts: torchrun on two nodes, Ray Train, srun."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import scenarios
from support.processes import free_port, run_processes
from support.recorded import data_on_page
from support.versions import needs_loader_states

EXAMPLES = Path(__file__).parent.parent / "examples" / "engines"
NUM_SAMPLES = 1001


def run(command: list[str], folder: Path, **environment: str) -> None:
    """Run in a folder of its own, with all its processes gone afterwards."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PL_")}
    process = subprocess.Popen(
        command, cwd=folder, env=inherited | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, printed


def totals_are_right(folder: Path) -> None:
    """One run folder with one page; both stages' matrices count each sample once, and the accuracy is theirs."""
    [run_folder] = folder.rglob("version_*")
    [page] = folder.rglob("index.html")
    assert page.parent == run_folder / "media"
    for stage in ("train", "val"):
        matrices = data_on_page(folder, f"{stage}/confusion_matrix_chart").values()
        counts = [torch.tensor(matrix["counts"]) for matrix in matrices]
        assert [int(c.sum()) for c in counts] == [NUM_SAMPLES, NUM_SAMPLES]
        with open(run_folder / "metrics.csv") as file:
            rows = list(csv.DictReader(file))
        key = "train/acc_epoch" if stage == "train" else "val/acc"
        logged = [float(row[key]) for row in rows if row[key]]
        assert logged == pytest.approx([int(c.diagonal().sum()) / NUM_SAMPLES for c in counts], rel=1e-6)
    assert len(list((page.parent / "val" / "mosaic").glob("*.png"))) == 2
    assert len(list(run_folder.rglob("*.ckpt"))) == 1


@pytest.mark.engines
def test_torchrun_on_two_nodes(tmp_path: Path) -> None:
    """Two agents that meet at an address; process 0 alone writes, and padding does not count."""
    script = str(EXAMPLES / "torchrun_two_nodes.sh")
    run(["bash", script], tmp_path, PYTHON=sys.executable, PORT=str(free_port()))
    totals_are_right(tmp_path)


@pytest.mark.engines
@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed; `make test-engines` does it")
def test_ray_train(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two workers on one machine; nothing of Ray's is left running, or outside of the folder it was given."""
    folder = tmp_path_factory.mktemp("ray")  # a short name: Ray puts sockets below it
    environment = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    run([sys.executable, str(EXAMPLES / "ray_train.py")], folder, **environment)
    totals_are_right(folder / "runs")
    assert (folder / "ray").is_dir()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in running


@pytest.mark.engines
@needs_loader_states
def test_a_job_that_slurm_requeues_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks with srun's variables get SLURM's signal in mid-epoch and are started again: the epoch counts all."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    scontrol.chmod(0o755)
    path = os.pathsep.join((str(scontrol.parent), os.environ["PATH"]))
    n = 39
    assert run_processes(2, scenarios.slurm_job, n, str(tmp_path), path, 3) == [{"batches": 4}, {"batches": 4}]
    assert (tmp_path / "requeued").read_text() == "requeue 1234\n"
    assert [p.name for p in tmp_path.glob("*.ckpt")] == ["hpc_ckpt_1.ckpt"]
    first, second = run_processes(2, scenarios.slurm_job, n, str(tmp_path), path, None)
    assert first["batches"] == second["batches"] == 2  # of five
    assert int(first["matrix"].sum()) == n
    assert torch.equal(first["matrix"], scenarios.train(n, str(tmp_path / "alone"))["matrix"])
    assert torch.equal(first["matrix"], second["matrix"])
