"""All loggers, stages, strategies and precisions in one table: the values of a plain loop, and what is in the logs."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from support import exact
from support.exact import BATCH, BIAS, EPOCHS, LOGGERS, SIZE, STAGES, STEP, WEIGHT
from support.mlflow_images import images_of
from support.modules import CLASSES
from support.processes import run_processes

from lwcallbacks import media
from lwcallbacks.media import with_caption
from lwcallbacks.readers import read_run

PRECISIONS = ("32-true", "bf16-mixed")


def scores(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    found = x.flatten(1) @ weight.T + BIAS
    assert torch.equal(found.to(torch.bfloat16).float(), found), "else bf16 would round, and the bits differ"
    best = found.topk(2, dim=1).values
    assert (best[:, 0] > best[:, 1]).all(), "else the label is a matter of taste"
    return found


def count(preds: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for pred, target in zip(preds.tolist(), targets.tolist(), strict=True):
        counts[target, pred] += 1
    return counts


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    """The plain loop: the matrix of each stage's last epoch, in float32 on one device."""
    weight = WEIGHT.clone()
    matrices = {}
    for _ in range(EPOCHS):
        x, y = exact.data("train").tensors
        preds = []
        for start in range(0, SIZE, BATCH):
            preds.append(scores(x[start : start + BATCH], weight).argmax(1))
            weight = weight - STEP
        matrices["train"] = count(torch.cat(preds), y)
    for stage in ("val", "test", "predict"):
        x, y = exact.data(stage).tensors
        matrices[stage] = count(scores(x, weight).argmax(1), y)
    return matrices


def accuracy(matrix: torch.Tensor) -> float:
    return float(matrix.diagonal().sum().float() / SIZE)


def check_values(seen: dict[str, Any], expected: dict[str, torch.Tensor], *, first: bool = True) -> None:
    """What the callbacks hold on one process, to the bit."""
    assert seen["matrix"].keys() == set(STAGES)
    for stage, matrix in expected.items():
        assert torch.equal(seen["matrix"][stage], matrix), stage
    right = {stage: accuracy(expected[stage]) for stage in ("train", "val", "test")}
    assert seen["acc"] == right
    assert seen["logged"]["train/acc_epoch"] == right["train"]
    assert {stage: seen["logged"][f"{stage}/acc"] for stage in ("val", "test")} == {
        stage: right[stage] for stage in ("val", "test")
    }
    for stage in STAGES:
        # Known by position, or by content where training shuffles: here always by position.
        x, y = exact.data(stage).tensors
        ids = seen["ids"][stage]
        assert len(set(ids.tolist())) == 6
        if first:
            inputs, preds, targets = seen["shown"][stage]
            assert torch.equal(inputs, x[ids])
            assert torch.equal(targets, y[ids])
            if stage != "train":
                assert torch.equal(count(preds.argmax(1), targets) <= expected[stage], torch.ones(5, 5).bool())


def check_logger(logger: str, folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """What was written, read back from the logger's own files; the pictures are those of the run's page."""
    page = {key: newest(folder, key) for key in ("val/confusion_matrix", "predict/mosaic")}
    right = accuracy(expected["test"])
    if logger in ("csv", "several"):
        with open(next(folder.rglob("metrics.csv"))) as file:
            assert [float(row["test/acc"]) for row in csv.DictReader(file) if row.get("test/acc")] == [
                pytest.approx(right)
            ]
    if logger in ("tensorboard", "several"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = [EventAccumulator(str(path)).Reload() for path in folder.rglob("events.out.tfevents*")]
        assert [e.value for log in events for e in values(log, "scalars", "test/acc")] == [pytest.approx(right)]
        for key, pixels in page.items():
            last = max((e for log in events for e in values(log, "images", key)), key=lambda e: e.wall_time)
            assert np.array_equal(decoded(last.encoded_image_string), captioned(key, pixels)), key
    if logger == "mlflow":
        client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
        [run] = client.search_runs(["1"], f"attributes.run_name = '{folder.name}'")
        assert [m.value for m in client.get_metric_history(run.info.run_id, "test/acc")] == [pytest.approx(right)]
        images = images_of(client, run.info.run_id)
        for key, pixels in page.items():
            found = images[max(of for of in images if of[0] == key)]
            assert np.array_equal(found, captioned(key, pixels)), key
    if logger == "wandb":
        [run_dir] = folder.glob("wandb/offline-run-*")
        written = read_run(run_dir)
        assert [row["test/acc"] for row in written.history if "test/acc" in row] == [pytest.approx(right)]
        for key, pixels in page.items():
            last = [row[key] for row in written.history if key in row][-1]
            assert np.array_equal(np.asarray(Image.open(run_dir / "files" / last["path"]).convert("RGB")), pixels), key


def captioned(key: str, pixels: np.ndarray) -> np.ndarray:
    """As a logger that keeps pixels only has it: with what is said of the picture below it."""
    caption = "Input" if key.endswith("mosaic") else None
    return with_caption(media.Image(pixels, caption)).pixels


def newest(folder: Path, key: str) -> np.ndarray:
    [media] = folder.rglob("media/index.html")
    path = max((media.parent / key).glob("*.png"))
    return np.asarray(Image.open(path).convert("RGB"))


def values(log: Any, kind: str, key: str) -> list[Any]:
    return getattr(log, kind.capitalize())(key) if key in log.Tags()[kind] else []


def decoded(png: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("strategy", ["single", "dp"])
@pytest.mark.parametrize("logger", LOGGERS)
def test_one_process(
    logger: str, strategy: str, precision: str, expected: dict[str, torch.Tensor], mlflow_uri: str, tmp_path: Path
) -> None:
    """Every stage has the values of the plain loop, and the logger has them and the pictures."""
    seen = exact.run(str(tmp_path), logger, strategy, precision)
    check_values(seen, expected)
    check_logger(logger, seen["folder"], expected)


def test_two_processes(expected: dict[str, torch.Tensor], mlflow_uri: str, tmp_path: Path) -> None:
    """The same under DDP, on both processes, for every logger and precision."""
    rows = [(logger, "ddp", precision) for logger, precision in itertools.product(LOGGERS, PRECISIONS)]
    for row, (first, second) in zip(
        rows, zip(*run_processes(2, exact.run_all, str(tmp_path), rows), strict=True), strict=True
    ):
        check_values(first, expected)
        check_values(second, expected, first=False)
        check_logger(row[0], first["folder"], expected)
