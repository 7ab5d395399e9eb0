"""Every logger, several, none and debugging runs: training runs, and what each gets is there."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from support.modules import CLASSES, Classifier, loader, trainer
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


def six() -> list[Any]:
    return [
        lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)}),
        lw.ConfusionMatrix(CLASSES),
        lw.ImageMosaic(4),
        lw.PredictionGrid(4),
        lw.GradientHistogram(2),
        lw.CheckpointArtifact(),
    ]


def fit(tmp_path: Path, logger: Any, **kwargs: Any) -> Any:
    t = trainer(
        logger=logger,
        callbacks=six(),
        default_root_dir=tmp_path,
        enable_checkpointing=True,
        log_every_n_steps=2,
        **kwargs,
    )
    t.fit(Classifier(), loader(), loader())
    return t


@pytest.mark.parametrize("kind", ["none", "csv", "tensorboard", "both"])
def test_the_pages_are_there_with_any_logger(kind: str, tmp_path: Path) -> None:
    """The run's folder has the page and the pictures, whatever the logger."""
    loggers = {"csv": CSVLogger(tmp_path), "tensorboard": TensorBoardLogger(tmp_path)}
    logger = {"none": False, "both": list(loggers.values())}.get(kind, loggers.get(kind))
    fit(tmp_path, logger)
    [page] = tmp_path.rglob("media/index.html")
    for key in ("confusion_matrix", "mosaic", "predictions"):
        assert len(list((page.parent / "val" / key).glob("*.png"))) == 1, key
    assert list((page.parent / "gradients").rglob("*.json"))


def test_csv_gets_the_numbers(tmp_path: Path) -> None:
    """Norms that were worked out in the background arrive in the file, with their step."""
    t = fit(tmp_path, CSVLogger(tmp_path))
    with open(Path(t.logger.log_dir) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row.get("gradients_norm/total")] == ["1", "3"]
    assert [row["step"] for row in rows if row.get("val/acc")] == ["4"]
    assert [row["step"] for row in rows if row.get("train/acc_step")] == ["1", "3"]


def test_a_debugging_run_writes_nothing(tmp_path: Path) -> None:
    """fast_dev_run goes through all hooks and leaves no file."""
    fit(tmp_path, False, fast_dev_run=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_a_second_run_does_not_overwrite_the_first(tmp_path: Path) -> None:
    """Without a logger each run gets a folder of its own."""
    fit(tmp_path, False)
    fit(tmp_path, False)
    assert len(list(tmp_path.rglob("media/index.html"))) == 2


def test_fit_and_test_share_a_folder(tmp_path: Path) -> None:
    """One Trainer, one page."""
    t = fit(tmp_path, False)
    t.test(Classifier(), loader(), verbose=False)
    [page] = tmp_path.rglob("media/index.html")
    assert (page.parent / "test" / "confusion_matrix").is_dir()
    assert (page.parent / "val" / "confusion_matrix").is_dir()
