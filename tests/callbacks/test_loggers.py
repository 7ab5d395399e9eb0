"""Every logger, several, none and debugging runs: training runs, and what each gets is there."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger
from support.everyone import everyone
from support.modules import Classifier, loader, trainer
from support.recorded import on_page
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lwcallbacks.readers import read_run


def fit(tmp_path: Path, logger: Any, checkpoints: bool = True, **kwargs: Any) -> Any:
    t = trainer(
        logger=logger,
        callbacks=everyone(),
        default_root_dir=tmp_path,
        enable_checkpointing=checkpoints,
        log_every_n_steps=2,
        **kwargs,
    )
    t.fit(Classifier(), loader(), loader())
    return t


@pytest.mark.parametrize("kind", ["none", "csv", "tensorboard", "mlflow", "both"])
def test_the_pages_are_there_with_any_logger(kind: str, tmp_path: Path, mlflow_uri: str) -> None:
    """The run's folder has the page and the pictures, whatever the logger."""
    loggers = {
        "csv": CSVLogger(tmp_path),
        "tensorboard": TensorBoardLogger(tmp_path),
        "mlflow": MLFlowLogger(tracking_uri=mlflow_uri),
    }
    logger = {"none": False, "both": list(loggers.values())}.get(kind, loggers.get(kind))
    fit(tmp_path, logger)
    [page] = tmp_path.rglob("media/index.html")
    for key in ("confusion_matrix", "mosaic", "predictions"):
        assert len(list((page.parent / "val" / key).glob("*.png"))) == 1, key
    assert any(key.startswith("gradients/") for key in on_page(tmp_path))


def test_csv_gets_the_numbers(tmp_path: Path) -> None:
    """Norms that were worked out in the background arrive in the file, with their step."""
    t = fit(tmp_path, CSVLogger(tmp_path))
    with open(Path(t.logger.log_dir) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row.get("gradients/norm/total")] == ["1", "3"]
    assert [row["step"] for row in rows if row.get("val/acc")] == ["4"]
    assert [row["step"] for row in rows if row.get("train/acc_step")] == ["1", "3"]


def test_all_loggers_together_each_get_their_part(tmp_path: Path, mlflow_uri: str) -> None:
    """MLflow, TensorBoard, W&B offline and CSV of one Trainer: the same keys at the same steps, in the form of each."""
    wandb_logger = WandbLogger(mode="offline", save_dir=tmp_path)
    mlflow_logger = MLFlowLogger(tracking_uri=mlflow_uri)
    loggers = [mlflow_logger, TensorBoardLogger(tmp_path / "tb"), wandb_logger, CSVLogger(tmp_path / "csv")]
    fit(tmp_path, loggers)
    run_dir = Path(wandb_logger.experiment.dir).parent
    wandb.finish()

    pictures = {
        ("gradients/norm_by_step", 4),
        ("gradients/update_ratio_by_step", 4),
        ("val/boxes", 4),
        ("val/confusion_matrix", 4),
        ("val/confusion_matrix_chart", 4),
        ("val/curves_calibration", 4),
        ("val/curves_pr", 4),
        ("val/curves_roc", 4),
        ("val/labels", 4),
        ("val/masks", 4),
        ("val/mosaic", 4),
        ("val/predictions", 4),
    }
    kinds = ("net.1.weight", "net.1.bias")
    kinds += (*(f"{kind}/{layer}" for kind in ("weights", "updates") for layer in kinds), "activations/net.1")
    gradients = {(f"gradients/{kind}", step) for kind in kinds for step in (1, 3)}
    tables = {(f"val/confusion_matrix_{name}", 4) for name in ("report", "pairs", "examples")}
    tables |= {("val/curves_report", 4), ("gradients/layers", 1), ("gradients/layers", 3)}
    tables |= {("gradients/diagnosis", 4)}
    tables |= {("val/labels_report", 4), ("val/predictions_table", 4)}
    tables |= {("gradients/modules", 1), ("gradients/modules", 3)}
    norms = {("gradients/norm/total", 1), ("gradients/norm/total", 3)}

    client, run_id = mlflow_logger.experiment, str(mlflow_logger.run_id)
    run = client.get_run(run_id)
    images = {tuple(item.path.split("/")[1].split("+step+")) for item in client.list_artifacts(run_id, "images")}
    assert {(key.replace("~", "/"), int(rest.split("+")[0])) for key, rest in images} == pictures | gradients
    listed = [item["path"].rsplit("/", 2) for item in json.loads(run.data.tags["mlflow.loggedArtifacts"])]
    assert {(key, int(step)) for key, step, _ in listed} == tables | {("val/confusion_matrix_chart", 4)}
    assert {(m.key, m.step) for m in client.get_metric_history(run_id, "gradients/norm/total")} == norms
    best = client.download_artifacts(run_id, run.data.tags[f"model-{run_id}/best"])
    assert set(torch.load(best, weights_only=True)["state_dict"]) == {"net.1.weight", "net.1.bias"}
    assert run.info.status == "FINISHED"

    events = EventAccumulator(loggers[1].log_dir, size_guidance={"histograms": 0})  # all of them, not the last
    events.Reload()
    tags = events.Tags()
    of_tables = {("val/predictions_table", 4), ("val/confusion_matrix_examples", 4)}  # a grid, beside the text
    pictures_there = {(tag, event.step) for tag in tags["images"] for event in events.Images(tag)}
    assert pictures_there == pictures | of_tables
    assert {(tag, e.step) for tag in tags["histograms"] for e in events.Histograms(tag)} == gradients
    texts = {(tag.removesuffix("/text_summary"), e.step) for tag in tags["tensors"] for e in events.Tensors(tag)}
    assert texts == tables | {(f"model-{run_id}", 5)}
    assert {("gradients/norm/total", e.step) for e in events.Scalars("gradients/norm/total")} == norms

    offline = read_run(run_dir)
    there = {
        (key, row["trainer/global_step"]) for row in offline.history for key in row if "trainer/global_step" in row
    }
    there = {(re.sub(r"_(chart|roc|pr|calibration)_table$", r"_\1", key), step) for key, step in there}
    assert there >= pictures | gradients | tables | norms
    assert [a.aliases for a in offline.artifacts if a.type == "model"] == [("best", "epoch-0", "latest", "step-5")]

    with open(Path(loggers[3].log_dir, "media.csv")) as file:
        rows = [(row["key"], int(row["step"]), row["file"]) for row in csv.DictReader(file)]
    assert {row[:2] for row in rows} == pictures | gradients | tables | {(f"model-{run_id}", 5)}
    assert all(Path(loggers[3].log_dir, file).is_file() for *_, file in rows)
    with open(Path(loggers[3].log_dir, "metrics.csv")) as file:
        assert {int(row["step"]) for row in csv.DictReader(file) if row["gradients/norm/total"]} == {1, 3}


class Minimal(Logger):
    """A user's own logger: no more than Lightning demands, and it takes nothing but numbers."""

    def __init__(self, name: str | None, version: int | str | None, save_dir: Path | None = None) -> None:
        super().__init__()
        self._name, self._version, self._save_dir = name, version, save_dir
        self.numbers: list[tuple[str, int]] = []

    @property
    def name(self) -> str | None:
        return self._name

    @property
    def version(self) -> int | str | None:
        return self._version

    @property
    def save_dir(self) -> Any:
        return self._save_dir

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        for key, value in metrics.items():
            self.numbers.append((key, step))
            assert isinstance(value, float | int), key

    def log_hyperparams(self, params: Any) -> None:
        assert not params


@pytest.mark.parametrize(
    ("logger", "media"),
    [
        (Minimal(None, None), "lwcallbacks_logs/version_0/media"),
        (Minimal("own", 3), "own/version_3/media"),
        (Minimal("own", "run-a", Path("there")), "there/own/run-a/media"),
        (Minimal("own", 0, "s3://bucket/logs"), "own/version_0/media"),  # type: ignore[arg-type]
    ],
    ids=["no name", "number", "folder", "address"],
)
def test_a_logger_of_ones_own_gets_the_numbers(logger: Minimal, media: str, tmp_path: Path) -> None:
    """Six callbacks run with it; nothing reaches it that it could choke on; the pictures lie beside the checkpoints."""
    fit(tmp_path, logger, checkpoints=not str(logger.save_dir).startswith("s3"))
    assert [entry for entry in logger.numbers if entry[0] == "gradients/norm/total"] == [
        ("gradients/norm/total", 1),
        ("gradients/norm/total", 3),
    ]
    assert ("val/acc", 4) in logger.numbers
    [page] = tmp_path.rglob("media/index.html")
    assert page.parent == tmp_path / media
    if logger.version is not None and logger.save_dir != "s3://bucket/logs":
        assert list((page.parents[1] / "checkpoints").glob("*.ckpt"))


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
