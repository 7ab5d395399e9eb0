"""The report about torchmetrics tells what is known of a few metrics."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.versions import needs_merge_state, needs_simulated_device

from lwcallbacks.testing import METRIC_LAWS

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "torchmetrics_report.py"
LAWS = len(METRIC_LAWS)


def _report(folder: Path, *names: str) -> str:
    page = folder / "report.md"
    options = ["--only", ",".join(names), "--output", str(page), "--examples", "6"]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return page.read_text(encoding="utf-8")


def _symbols(page: str, metric: str) -> dict[str, str]:
    """The symbol in each column of a metric's row."""
    lines = page.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith(f"| {metric} |"))
    head = next(line for line in reversed(lines[:row]) if line.startswith("|  |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in (head, lines[row])]
    assert len(cells[1]) == len(METRIC_LAWS)
    return dict(zip(*cells, strict=True))


@needs_merge_state
@needs_simulated_device
def test_the_report_tells_what_is_known_of_torchmetrics(tmp_path: Path) -> None:
    """A float mean rounds, an accuracy is exact, both wait for the device; CatMetric merges in the wrong order.

    A window is about updates by design; that no checkpoint has its place is a violation.
    """
    names = ("BinaryAccuracy", "CatMetric", "MeanMetric", "MetricTracker", "Running")
    page = _report(tmp_path, *names)
    accuracy, mean, cat = (_symbols(page, name) for name in ("BinaryAccuracy", "MeanMetric", "CatMetric"))
    assert {column for column, symbol in accuracy.items() if symbol not in "=·"} == {"wait", "stale", "count"}
    assert mean["batch"] == "≈"
    assert mean["merge"] in ("=", "≈")
    assert mean["wait"] == "✗"
    assert cat["order"] == "="  # all of the same values
    assert re.search(r"### merge_state: 1\n(.|\n)*- aggregation.CatMetric: `merged from two, and of one", page)
    window = _symbols(page, "Running")
    assert (window["batch"], window["ckpt"]) == ("○", "✗")
    assert re.search(
        r"## By design\n(.|\n)*- wrappers.Running \(`batch_size`.*\): Running: it is about the last updates", page
    )
    assert "- wrappers.MetricTracker: `keeps a metric for each epoch" in page
    assert "Classes exported: 5. Examined: 4." in page
