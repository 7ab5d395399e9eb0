"""What the benchmarks share: variants in processes of their own, turn by turn, and one JSON object at the end.

A benchmark is a script that runs alone. With `--variant NAME` it measures once and prints one JSON object as its last
line; without, it calls itself like that for every variant in turn, several times, and reports medians. Turn by turn
because a machine's speed drifts: what slows one variant down should slow down its neighbours too.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PACKAGES = ("lwcallbacks", "torch", "pytorch-lightning", "torchmetrics", "wandb")


def peak_memory_mib() -> float:
    """The most physical memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere


def measure(script: str, variants: Sequence[str], repeats: int, *arguments: str) -> dict[str, list[dict[str, float]]]:
    """Run each variant `repeats` times, interleaved, each in a fresh process and an empty folder.

    Raises:
        RuntimeError: a run failed; the message ends with what it printed.
    """
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for repeat in range(repeats):
        for variant in variants:
            print(f"run {repeat + 1} of {repeats}: {variant}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="lwcallbacks-bench-", ignore_cleanup_errors=True) as folder:
                command = [sys.executable, str(Path(script).resolve()), "--variant", variant, *arguments]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{variant} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
            runs[variant].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return runs


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each quantity over the runs of a variant."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def versions() -> dict[str, str]:
    """What was measured, and with what."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def report(result: Mapping[str, Any], as_json: bool) -> None:
    """Print one JSON object, or the same as a table for people: a row per quantity."""
    if as_json:
        print(json.dumps(result))
        return
    columns = [column for column in ("none", "ours", "peer") if column in result]
    print(f"\n{result['name']}, medians of {result['repeats']} runs each\n")
    print(f"  {'':<24}" + "".join(f"{column:>12}" for column in columns) + f"{'ours / peer':>14}")
    for quantity, unit in result["units"].items():
        values = "".join(f"{result[column][quantity]:>12.2f}" for column in columns)
        print(f"  {quantity + ' [' + unit + ']':<24}{values}{result['ratio'][quantity]:>14.2f}")
    print("\n  " + ", ".join(f"{name} {number}" for name, number in result["versions"].items()))
