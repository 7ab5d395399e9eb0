"""The library in examples/property_tests passes its own tests, with the plugin, as its CI runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "property_tests"


def test_the_example_library_passes(tmp_path: Path) -> None:
    """In a copy, with its own configuration and two real processes; what is by design is no failure."""
    library = tmp_path / "errorrates"
    shutil.copytree(EXAMPLE, library, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--metric-laws-processes", "2", "--metric-laws-json", "laws.json"]
    env = {**os.environ, "LWCALLBACKS_EXAMPLES": "15"}  # the laws have tests of their own
    done = subprocess.run(command, cwd=library, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout
    rows = json.loads((library / "laws.json").read_text())["laws"]
    outcomes = {(row["metric"], row["law"]): row["outcome"] for row in rows}
    assert {law for (metric, law), outcome in outcomes.items() if outcome == "known"} == {"batch_size"}
    assert outcomes["ClassErrorRates", "reference"] == outcomes["ErrorRate", "real_processes"] == "kept"
