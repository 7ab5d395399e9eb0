"""The table in docs/loggers.md is what the real loggers hold, kind by kind, read back from their files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lwcallbacks.media import Curve, File, Histogram, Image, Layer, Line, Mark, Matrix, Table, annotated
from lwcallbacks.readers import read_folder, read_run
from lwcallbacks.writers import writers_for

PAGE = Path(__file__).parents[2] / "docs" / "loggers.md"
IMAGE = Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "a ramp")
LAYER = Layer("prediction", np.eye(8, dtype=np.uint8), {0: "background", 1: "road"}, {1: (230, 159, 0)})
MASKED = annotated(IMAGE, [LAYER], [Mark((1, 1, 4, 4), "cat")])


def documented() -> dict[str, dict[str, set[str]]]:
    """The bold words of each cell, by kind and by logger."""
    section = PAGE.read_text(encoding="utf-8").split("## What each gets")[1].split("\n\n")[1]
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return {
        kind: {logger: set(re.findall(r"\*\*(\w+)\*\*", cell)) for logger, cell in zip(header[1:], cells, strict=True)}
        for kind, *cells in lines
    }


def entries(folder: Path) -> dict[str, Any]:
    """One of each kind; each is also its own key."""
    checkpoint = folder / "a.ckpt"
    checkpoint.write_text("weights")
    return {
        "number": 0.5,
        "image": IMAGE,
        "list of images": [IMAGE, IMAGE],
        "images with masks or boxes": [MASKED, MASKED],
        "table": Table(("image", "pred"), [[IMAGE, "3"], [IMAGE, "4"]]),
        "confusion matrix": Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog")),
        "histogram": Histogram(np.array([1, 2]), np.array([0.0, 0.5, 1.0]), nan=3),
        "curve": Curve([Line("cat", np.array([0.0, 1.0]), np.array([0.0, 0.5]))], "x", "y"),
        "checkpoint": File(checkpoint, "checkpoint", aliases=("best",), metadata={"loss": 0.5}),
    }


def write(logger: Any, media: Path | None, everything: dict[str, Any]) -> None:
    """As the callbacks do: numbers by the logger itself and to the folder, the rest by its writer."""
    for key, entry in everything.items():
        if isinstance(entry, float):
            logger.log_metrics({key: entry}, step=7)
            for writer in writers_for([logger], media):
                writer.write_scalars({key: entry}, 7)
            continue
        for writer in writers_for([logger], media):
            writer.write({key: entry}, 7)
            writer.close()


Found = Iterator[tuple[str, str]]  # key and what is there


def wandb_holds(folder: Path, everything: dict[str, Any]) -> Found:
    logger = WandbLogger(mode="offline", save_dir=folder)
    run_dir = Path(logger.experiment.dir).parent
    write(logger, None, everything)
    wandb.finish()
    run = read_run(run_dir)
    words = {"image-file": "image", "images/separated": "images", "table-file": "table", "histogram": "histogram"}
    for row in run.history:
        assert row["trainer/global_step"] == 7
        for key, value in row.items():
            if key.startswith("_") or key == "trainer/global_step":
                continue
            if key in ("confusion matrix_table", "curve_table"):  # what a chart is drawn from
                yield key.removesuffix("_table"), "chart"
            else:
                yield key, words[value["_type"]] if isinstance(value, dict) else "number"
    yield from ((artifact.name, "artifact") for artifact in run.artifacts if artifact.type == "model")


def tensorboard_holds(folder: Path, everything: dict[str, Any]) -> Found:
    logger = TensorBoardLogger(folder)
    write(logger, None, everything)
    logger.experiment.flush()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    tags = events.Tags()
    for kind, word in (("scalars", "number"), ("images", "image"), ("histograms", "histogram"), ("tensors", "text")):
        yield from ((tag.removesuffix("/text_summary"), word) for tag in tags[kind])


def mlflow_holds(folder: Path, everything: dict[str, Any], uri: str) -> Found:
    logger = MLFlowLogger(tracking_uri=uri)
    write(logger, None, everything)
    client, run_id = logger.experiment, str(logger.run_id)
    data = client.get_run(run_id).data
    yield from ((key, "number") for key in data.metrics)
    yield from ((tag.split("/")[0], "tag") for tag in data.tags if tag.endswith("/best"))
    tables = [item["path"] for item in json.loads(data.tags["mlflow.loggedArtifacts"])]
    for item in client.list_artifacts(run_id):
        if item.path == "images":
            names = [image.path for image in client.list_artifacts(run_id, "images")]
            yield from ((name.removeprefix("images/").split("+")[0], "image") for name in names)
            continue
        for file in client.list_artifacts(run_id, f"{item.path}/00000007"):
            if file.path in tables:
                yield item.path, "table"
            elif file.path.endswith(("histogram.json", "curve.json")):
                yield item.path, "JSON"
            elif item.path == "checkpoint":
                yield item.path, "artifact"


def csv_holds(folder: Path, everything: dict[str, Any]) -> Found:
    logger = CSVLogger(folder)
    write(logger, folder / "media", everything)
    logger.save()
    for name, word in (("metrics.csv", "number"), ("media.csv", "path")):
        with open(Path(logger.log_dir, name), newline="") as file:
            for row in csv.DictReader(file):
                yield (row["key"] if word == "path" else next(key for key in row if key != "step")), word


class Own(Logger):
    """No more than Lightning demands."""

    name = version = None

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics |= metrics

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("not ours to call")


def own_holds(folder: Path, everything: dict[str, Any]) -> Found:
    logger = Own()
    write(logger, None, everything)
    yield from ((key, "number") for key in logger.metrics)


def folder_holds(folder: Path, everything: dict[str, Any]) -> Found:
    write(Own(), folder / "media", everything)
    for path in (folder / "media").rglob("*.png"):
        yield path.parent.name, "PNG"
    for item in read_folder(folder / "media").items:
        if item.chunk is not None:
            assert read_folder(folder / "media").data(item.key).keys() == {7}
            yield item.key, "data"
    yield from ((key, "number") for key in read_folder(folder / "media").curves())


LOGGERS: dict[str, Callable[..., Found]] = {
    "W&B": wandb_holds,
    "TensorBoard": tensorboard_holds,
    "MLflow": mlflow_holds,
    "CSV": csv_holds,
    "any other": own_holds,
    "the folder": folder_holds,
}


@pytest.mark.parametrize("logger", LOGGERS)
def test_each_logger_holds_what_the_page_says(logger: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """No more and no less, for each kind of entry."""
    everything = entries(tmp_path)
    more = {"uri": request.getfixturevalue("mlflow_uri")} if logger == "MLflow" else {}
    found: dict[str, set[str]] = {kind: set() for kind in everything}
    for key, word in LOGGERS[logger](tmp_path, everything, **more):
        found[key.split("/")[0]].add(word)
    assert found == {kind: cells[logger] for kind, cells in documented().items()}


def test_the_page_has_every_kind_and_every_logger(tmp_path: Path) -> None:
    """A kind or a logger that is missing from the table would not be looked at above."""
    table = documented()
    assert list(table) == list(entries(tmp_path))
    assert all(list(cells) == list(LOGGERS) for cells in table.values())
