"""Fixtures for all tests: nothing is written outside of the test's folder, and nothing leaves the machine."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

os.environ["WANDB_ERROR_REPORTING"] = "false"  # read when wandb is imported


@pytest.fixture(autouse=True)
def _hears_ctrl_c() -> None:
    """A process that a shell has started in the background ignores Ctrl-C, and hands that on. So does one in which
    Lightning has seen a Ctrl-C and could not end the run, as where a callback raises in `on_exception`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _hears_lightning() -> None:
    """Lightning's log reaches `caplog`, whatever a program that ran here before has made of the loggers."""
    logging.disable(logging.NOTSET)
    for package in ("pytorch_lightning", "lightning.pytorch"):
        log = logging.getLogger(package)
        log.disabled, log.propagate = False, True
        log.setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local database of MLflow's with nothing in it; to make one takes seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def mlflow_uri(_empty_database: Path, tmp_path: Path) -> str:
    """A tracking URI of the test's own."""
    # By its full path: MLflow keeps a connection for each URI as long as the process lives.
    return f"sqlite:///{shutil.copy(_empty_database, tmp_path / 'mlflow.db')}"
