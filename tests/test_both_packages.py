"""`lightning.pytorch` and `pytorch_lightning`: the same callbacks under either Trainer, a clear error for a mixture.

What is imported first is what matters, so each program runs in a fresh interpreter: support/packages.py.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

OLD, NEW = "pytorch_lightning", "lightning.pytorch"
HERE = {package: find_spec(package.partition(".")[0]) is not None for package in (OLD, NEW)}
BOTH = pytest.mark.skipif(not all(HERE.values()), reason="needs both packages, and only one is installed here")
EACH = [pytest.param(p, marks=pytest.mark.skipif(not HERE[p], reason=f"{p} is not installed here")) for p in (OLD, NEW)]
TRAINER_AND_OTHER = [(OLD, NEW), (NEW, OLD)]


@functools.cache
def run(first: str) -> Any:
    """What a program prints that starts with the lines `first`."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{first}\nfrom support.packages import main\nmain()"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def alone(package: str) -> Any:
    """With the other package as good as not installed."""
    other = NEW.partition(".")[0] if package == OLD else OLD
    return run(f"import sys; sys.modules[{other!r}] = None")


def imported(package: str) -> Any:
    """With both installed and this one imported before lwcallbacks."""
    return run(f"import {package}")


@pytest.mark.parametrize("package", EACH)
def test_one_package_alone_is_enough(package: str) -> None:
    """With the other package not installed, callbacks and strategy run, and nothing asks for the other one."""
    result = alone(package)
    assert result["package"] == package
    assert result["installed"] == result["imported"] == [package]
    fit = result[package]
    assert fit["base"] == package
    # All 10 samples; the gradients of 12 weights and 3 biases; a file of each epoch.
    assert (sum(map(sum, fit["train"])), sum(map(sum, fit["val"]))) == (10, 10)
    assert fit["gradients"] == {"net.weight": 12, "net.bias": 3}
    assert fit["files"] == ["epoch=0-step=3.ckpt", "epoch=1-step=6.ckpt"]
    assert sum(map(sum, result[f"{package} replicas"])) == 10


@BOTH
@pytest.mark.parametrize("package", [OLD, NEW])
def test_the_package_that_the_program_has_imported_is_used_and_the_other_is_not_imported(package: str) -> None:
    """The base classes are of the package that was there; who uses one does not pay for the other."""
    result = imported(package)
    assert result["package"] == package
    assert result["imported"] == [package]


@BOTH
def test_of_both_or_neither_imported_it_is_pytorch_lightning() -> None:
    """The choice does not depend on which of two imported packages came first."""
    code = "import lwcallbacks.lightning; print(lwcallbacks.lightning.PACKAGE)"
    for before in ("", f"import {NEW}, {OLD};"):
        done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [OLD]


@BOTH
@pytest.mark.parametrize("first", [OLD, NEW])
@pytest.mark.parametrize("trainer", [OLD, NEW])
def test_either_trainer_runs_the_callbacks(first: str, trainer: str) -> None:
    """Whichever package the base class is of, a Trainer gives the values that it gives with its own base class."""
    fit = imported(first)[trainer]
    assert fit["base"] == first
    assert fit | {"base": trainer} == imported(trainer)[trainer]


@BOTH
@pytest.mark.parametrize("first", [OLD, NEW])
@pytest.mark.parametrize(("trainer", "other"), TRAINER_AND_OTHER)
def test_a_checkpoint_callback_or_logger_of_the_other_package_is_an_error_at_setup(
    first: str, trainer: str, other: str
) -> None:
    """It says what was found, of which package, and the import to write instead; for a subclass, that of its base."""
    mixtures = imported(first)[f"{other} in {trainer}"]
    for part, found, base in (
        ("checkpoint", "ModelCheckpoint", "callbacks import ModelCheckpoint"),
        ("own checkpoint", "Mine", "callbacks import ModelCheckpoint"),
        ("logger", "CSVLogger", "loggers import CSVLogger"),
    ):
        assert mixtures[part] == (
            f"TypeError: found {found} of {other} under a Trainer of {trainer}, expected both of one package: write "
            f"`from {trainer}.{base}`"
        )


@BOTH
@pytest.mark.parametrize(("trainer", "other"), TRAINER_AND_OTHER)
def test_other_callbacks_of_the_other_package_are_no_error(trainer: str, other: str) -> None:
    """Lightning runs them, so nothing of ours is in the way: EarlyStopping stops at the second epoch."""
    assert imported(trainer)[f"{other} in {trainer}"]["early stopping"] == 2


@BOTH
@pytest.mark.parametrize(("trainer", "other"), TRAINER_AND_OTHER)
def test_a_module_of_the_other_package_is_an_error_of_lightnings_own(trainer: str, other: str) -> None:
    """Lightning refuses it before any callback is asked, and clearly enough."""
    assert "must be a `LightningModule`" in imported(trainer)[f"{other} in {trainer}"]["module"]


@BOTH
@pytest.mark.parametrize(("trainer", "other"), TRAINER_AND_OTHER)
def test_the_strategy_fits_the_package_that_was_imported_first(trainer: str, other: str) -> None:
    """The other Trainer refuses it by its representation, which says of which package it is and what to do."""
    assert sum(map(sum, imported(trainer)[f"{trainer} replicas"])) == 10
    error = imported(other)[f"{trainer} replicas"]
    assert f"DataParallelStrategy of {other}; " in error
    assert "import the Trainer's package before lwcallbacks" in error
