"""What a CSVLogger records of media."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import CSVLogger

from lwcallbacks.media import Curve, File, Histogram, Image, Line, Matrix, Table
from lwcallbacks.writers import FolderWriter, writers_for

IMAGE = Image(np.zeros((8, 8), np.uint8))
ENTRIES: dict[str, Any] = {
    "val/image": IMAGE,
    "val/images": [IMAGE],
    "none": [],
    "val/table": Table(("a",), [[1]]),
    "acc@5/matrix": Matrix(np.eye(2, dtype=np.int64), ("a", "b")),
    "histogram": Histogram(np.array([1]), np.array([0.0, 1.0])),
    "curve": Curve([Line("cat", np.array([0.0, 1.0]), np.array([0.0, 0.5]))], "x", "y"),
    "model": File(Path("some") / "a.ckpt", "model"),
}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("media", ["logs/lightning_logs/version_0/media", "elsewhere/media"])
def test_every_file_is_listed_and_is_there(media: str, tmp_path: Path) -> None:
    """A line per entry and step, with a path from the list to the file, wherever the folder lies."""
    logger = CSVLogger(tmp_path / "logs")
    writers = writers_for([logger], tmp_path / media)
    for step in (1, 2):
        for writer in writers:
            writer.write(ENTRIES, step)
    found = rows(Path(logger.log_dir, "media.csv"))
    kinds = ["image", "image", "table", "matrix", "histogram", "curve", "file"]
    keys = [key for key in ENTRIES if key != "none"]
    assert [(row["step"], row["key"], row["kind"]) for row in found] == [
        (step, key, kind) for step in ("1", "2") for key, kind in zip(keys, kinds, strict=True)
    ]
    for row in found:
        if row["kind"] == "file":
            assert Path(row["file"]) == Path("some") / "a.ckpt"
        else:
            assert not Path(row["file"]).is_absolute()
            assert Path(logger.log_dir, row["file"]).is_file()


def test_the_loggers_own_file_is_left_alone(tmp_path: Path) -> None:
    """Numbers go to metrics.csv as ever, also when media come first; a prefix stands before both keys."""
    logger = CSVLogger(tmp_path, prefix="fold1")
    _ = logger.experiment
    for writer in writers_for([logger], Path(logger.log_dir, "media")):
        writer.write({"val/image": IMAGE}, 1)
    logger.log_metrics({"val/acc": 0.5}, 1)
    logger.save()
    assert rows(Path(logger.log_dir, "metrics.csv")) == [{"fold1-val/acc": "0.5", "step": "1"}]
    assert [row["key"] for row in rows(Path(logger.log_dir, "media.csv"))] == ["fold1-val/image"]


def test_a_remote_folder_gets_no_list(tmp_path: Path) -> None:
    """Where the log folder is an address there is no file to write to: the media folder alone is used."""

    class Remote(CSVLogger):
        @property
        def log_dir(self) -> str:
            return "memory://logs"

    assert [type(writer) for writer in writers_for([Remote(tmp_path)], tmp_path)] == [FolderWriter]
    assert writers_for([CSVLogger(tmp_path)]) == []
