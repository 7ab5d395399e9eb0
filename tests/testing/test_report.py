"""The report about torchmetrics tells what is known of a few metrics."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.versions import needs_merge_state, needs_simulated_device

from lwcallbacks.testing import METRIC_LAWS
from lwcallbacks.testing.confirm import run_program

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "torchmetrics_report.py"
NAMES = ("BinaryAccuracy", "BootStrapper", "CatMetric", "MeanMetric", "MetricTracker", "Running")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a few classes, and the programs."""
    folder = tmp_path_factory.mktemp("report")
    options = ["--only", ",".join(NAMES), "--output", str(folder / "page.md"), "--programs", str(folder)]
    options += ["--examples", "15", "--jobs", "1"]
    _run(*options, seconds=2000)
    return folder


def _run(*options: str, seconds: float) -> None:
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stderr


def _symbols(page: str, metric: str) -> dict[str, str]:
    """The symbol in each column of a metric's row."""
    lines = page.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith(f"| {metric} |"))
    head = next(line for line in reversed(lines[:row]) if line.startswith("|  |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in (head, lines[row])]
    assert len(cells[1]) == len([law for law in METRIC_LAWS.values() if not law.asked])
    return dict(zip(*cells, strict=True))


@needs_merge_state
@needs_simulated_device
def test_the_report_of_one_class(tmp_path: Path) -> None:
    """An accuracy is exact and agrees with its reference; it waits for the device."""
    page = tmp_path / "page.md"
    _run("--only", "BinaryAccuracy", "--plain", "--examples", "3", "--jobs", "1", "--output", str(page), seconds=250)
    accuracy = _symbols(page.read_text(encoding="utf-8"), "BinaryAccuracy")
    assert {column for column, symbol in accuracy.items() if symbol not in "=·"} == {"wait", "stale", "count"}
    assert accuracy["ref"] == "="


@pytest.mark.long
@needs_merge_state
@needs_simulated_device
def test_the_report_tells_what_is_known_of_torchmetrics(folder: Path) -> None:
    """A float mean rounds, an accuracy is exact, both wait for the device; CatMetric has its samples in any order."""
    page = (folder / "page.md").read_text(encoding="utf-8")
    accuracy, mean, cat = (_symbols(page, name) for name in ("BinaryAccuracy", "MeanMetric", "CatMetric"))
    assert {column for column, symbol in accuracy.items() if symbol not in "=·"} == {"wait", "stale", "count"}
    assert accuracy["ref"] == "="
    assert mean["batch"] == "≈"
    assert mean["merge"] in ("=", "≈")
    assert mean["wait"] == "✗"
    assert cat["order"] == "="  # all of the same values
    assert cat["merge"] == "="
    assert "- wrappers.MetricTracker: `keeps a metric for each epoch" in page
    assert "Classes exported: 6. Examined: 5, in " in page


@pytest.mark.long
@needs_merge_state
@needs_simulated_device
def test_what_is_by_design_hides_no_fault(folder: Path) -> None:
    """A window is about updates, and no checkpoint has its place; a bootstrap is random, and `forward` loses data."""
    page = (folder / "page.md").read_text(encoding="utf-8")
    window = _symbols(page, "Running(SumMetric)")
    assert (window["batch"], window["ckpt"]) == ("○", "✗")
    assert re.search(
        r"## By design\n(.|\n)*- wrappers.Running\(SumMetric\) \(`batch_size`.*\): Running: it is about the last", page
    )
    bootstrap = _symbols(page, "BootStrapper(MeanSquaredError, multinomial)")
    assert bootstrap["forward"] == "✗"
    assert re.search(r"### forward_accumulates: 1\n(.|\n)*- wrappers.BootStrapper", page)


@pytest.mark.long
@needs_merge_state
@needs_simulated_device
def test_other_arguments_have_rows_of_their_own(folder: Path) -> None:
    """A number in place of NaN is written into the batch."""
    page = (folder / "page.md").read_text(encoding="utf-8")
    assert re.search(r"\| aggregation.MeanMetric \| `nan_strategy=0.0` \| .*`inputs_unchanged`", page)
    ran = run_program((folder / "aggregation.MeanMetric_nan_strategy=0.0_-inputs_unchanged.py").read_text())
    assert ran.status == 0
    assert ran.out.splitlines() == ["[(tensor([0.]),)]", "[(tensor([nan]),)]"]
    assert "MeanMetric" in page.partition("## Silently wrong values")[2].partition("## Violations")[0]
