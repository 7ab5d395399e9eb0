"""What the real client of W&B, offline, has recorded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import wandb
from pytorch_lightning.loggers import WandbLogger

from lwcallbacks.media import Curve, File, Histogram, Image, Line, Matrix, Table, confused_block, to_pixels
from lwcallbacks.readers import OfflineRun, read_run
from lwcallbacks.writers import Writer, writers_for
from lwcallbacks.writers.base import NotWritten
from lwcallbacks.writers.wandb import artifact_name, filled_cells

GREY = Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "a ramp")
COLOUR = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


class Session:
    """A writer on a run of its own, and the run as it was recorded."""

    def __init__(self, directory: Path) -> None:
        self.logger = WandbLogger(mode="offline", save_dir=directory, settings=wandb.Settings(silent=True))
        self.writer: Writer
        (self.writer,) = writers_for([self.logger])
        self.directory = Path(self.logger.experiment.dir).parent

    def recorded(self) -> OfflineRun:
        self.writer.close()
        wandb.finish()
        return read_run(self.directory)

    def write(self, entries: dict[str, Any], step: int = 7) -> OfflineRun:
        self.writer.write(entries, step)
        return self.recorded()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name.lower()))
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield Session(tmp_path)
    wandb.finish()


def pixels_in(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def table_of(run: OfflineRun, entry: dict[str, Any]) -> dict[str, Any]:
    """A logged table, read from the media file that history points at."""
    return dict(json.loads((run.files_dir / entry["path"]).read_text()))


def test_pixels_of_the_png_are_round_255_x(session: Session) -> None:
    """A float image in [0, 1] is neither stretched nor black, a nearly black one stays nearly black."""
    x = torch.rand(2, 3, 6, 5) * 0.1
    pixels = to_pixels(x)
    mask = Image(np.array([[0, 1]], np.uint8))
    run = session.write({"one": Image(pixels[0], "first"), "many": [Image(p, "c") for p in pixels], "mask": mask})
    (row,) = run.history
    expected = np.round(255 * x.double().numpy()).astype(np.uint8).transpose(0, 2, 3, 1)
    assert row["one"]["caption"] == "first"
    assert (pixels_in(run.files_dir / row["one"]["path"]) == expected[0]).all()
    assert row["many"]["captions"] == ["c", "c"]
    for name, image in zip(row["many"]["filenames"], expected, strict=True):
        assert (pixels_in(run.files_dir / name) == image).all()
    assert pixels_in(run.files_dir / row["mask"]["path"]).tolist() == [[0, 1]]


def test_one_write_is_one_row_at_the_step_of_the_scalars(session: Session) -> None:
    """All entries share the row that `trainer/global_step` places, also when written from another thread."""
    entries = {"a": GREY, "h": Histogram(np.array([1]), np.array([0.0, 1.0])), "empty": []}
    for step in (3, 9):
        thread = threading.Thread(target=session.writer.write, args=(entries, step))
        thread.start()
        thread.join()
    run = session.recorded()
    assert [row["trainer/global_step"] for row in run.history] == [3, 9]
    assert all({"a", "h"} <= row.keys() and "empty" not in row for row in run.history)
    assert run.run_id == session.logger.version


def test_the_chart_of_a_confusion_matrix_holds_its_counts(session: Session) -> None:
    """Every cell is a row (actual, predicted, count) of the table below wandb/confusion_matrix/v1."""
    names = ("cat", "dog", "<b>")
    counts = np.array([[5, 1, 0], [0, 7, 2], [3, 0, 4]])
    run = session.write({"val/confusion": Matrix(counts, names)})
    (row,) = run.history
    table = table_of(run, row["val/confusion_table"])
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert table["data"] == [[names[i], names[j], counts[i, j]] for i in range(3) for j in range(3)]


def test_the_chart_of_a_curve_holds_its_points(session: Session) -> None:
    """Every point of every line is a row of the table below wandb/area-under-curve/v0; beyond 10,000 some are."""
    lines = [Line(name, np.arange(3) / 2, np.arange(3) / 4) for name in ("cat", "<b>")]
    long = [Line(name, np.arange(9000.0), np.arange(9000.0)) for name in ("cat", "dog")]
    run = session.write({"val/roc": Curve(lines, "x", "y"), "long": Curve(long, "x", "y"), "none": Curve([], "x", "y")})
    (row,) = run.history
    table = table_of(run, row["val/roc_table"])
    assert table["columns"] == ["class", "x", "y"]
    assert table["data"] == [[name, k / 2, k / 4] for name in ("cat", "<b>") for k in range(3)]
    rows = table_of(run, row["long_table"])["data"]
    assert len(rows) == 10_000
    assert [rows[k][1] for k in (0, 4999, 5000, -1)] == [0, 8999, 0, 8999]
    assert table_of(run, row["none_table"])["data"] == []


def test_a_matrix_too_large_for_the_chart_is_the_chart_of_a_block_and_a_table_of_what_is_not_zero(
    session: Session,
) -> None:
    """With 448 classes the chart would lose cells. Its title says what was summed; no count is lost in either."""
    counts = np.zeros((448, 448), np.int64)
    counts[3, 447], counts[447, 0] = 2, 9
    matrix = Matrix(counts, [f"c{i}" for i in range(448)])
    run = session.write({"cm": matrix})
    assert table_of(run, run.history[0]["cm_cells"])["data"] == [["c447", "c0", 9], ["c3", "c447", 2]]
    shown = table_of(run, run.history[0]["cm_table"])["data"]
    names = confused_block(matrix).class_names
    assert [row[:2] for row in shown] == [[true, pred] for true in names for pred in names]
    assert sorted(row for row in shown if row[2]) == [["c3", "c447", 2], ["c447", "c0", 9]]
    told = "cm: 39 of 448 classes, those confused most; the other 409 are summed as one"
    assert told in (run.files_dir.parent / next(run.files_dir.parent.glob("*.wandb"))).read_bytes().decode(
        errors="replace"
    )


def test_a_table_of_too_many_cells_has_the_smallest_in_its_last_row() -> None:
    """Of 202,500 filled cells 199,999 are there, and the rest as a sum that says of how many."""
    counts = np.ones((450, 450), np.int64)
    counts[449, 448], counts[0, 0] = 70, 3
    rows = filled_cells(Matrix(counts, [f"c{i}" for i in range(450)]))
    rest = "(the other 2501 cells)"
    assert len(rows) == 200_000
    assert [rows[0], rows[1], rows[-1]] == [("c449", "c448", 70), ("c0", "c0", 3), (rest, rest, 2501)]
    assert sum(row[2] for row in rows) == counts.sum()


def test_a_table_keeps_cells_and_pixels(session: Session) -> None:
    """Numbers stay numbers, a column of numbers and text becomes text, image cells hold their pixels."""
    rows: list[list[Any]] = [[GREY, 1, 0.5, "a", None], [COLOUR, 2, float("nan"), 3, True]]
    run = session.write({"worst": Table(("image", "n", "loss", "mixed", "flag"), rows)})
    entry = run.history[0]["worst"]
    data = table_of(run, entry)["data"]
    assert [row[1] for row in data] == [1, 2]
    assert data[0][2:] == [0.5, "a", None]
    assert data[1][3:] == ["3", True]
    (artifact,) = [artifact for artifact in run.artifacts if artifact.type == "run_table"]
    stored = json.loads(artifact.files["worst.table.json"].read_text())["data"]
    for (image, *_), (expected, *_) in zip(stored, rows, strict=True):
        assert (pixels_in(artifact.files[image["path"]]) == expected.pixels).all()


@pytest.mark.parametrize("first", ["list", "table"])
def test_an_image_of_a_list_and_a_table_is_one_file_of_each(session: Session, first: str) -> None:
    """As PredictionGrid publishes them; whichever is logged first, both hold the pixels and the captions."""
    images = [GREY, COLOUR]
    entries: dict[str, Any] = {"list": images, "table": Table(("image", "n"), [[image, 1] for image in images])}
    run = session.write(entries if first == "list" else dict(reversed(entries.items())))
    (row,) = run.history
    (artifact,) = [artifact for artifact in run.artifacts if artifact.type == "run_table"]
    stored = json.loads(artifact.files["table.table.json"].read_text())["data"]
    for image, name, (cell, _) in zip(images, row["list"]["filenames"], stored, strict=True):
        assert (run.files_dir / name).read_bytes() == image.png
        assert artifact.files[cell["path"]].read_bytes() == image.png
        assert cell.get("caption") == image.caption


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [["a", 1, 0.5, True, None]],
        [[None, None, None, None, None], ["a", 2**40, -0.0, False, None]],
        [["a", 1, float("inf"), None, None], ["b", 2.5, None, None, None]],
        [["a", 1, float("nan"), None, None], ["b", 2.5, 1.5, True, None]],
        [["a", np.int64(1), np.float32(0.1), None, None], ["b", 2.5, 1.5, True, None]],
    ],
)
def test_a_table_is_what_the_client_makes_of_its_rows(session: Session, rows: list[list[Any]]) -> None:
    """Cell by cell, with the types of the columns: in the file of the run and in that of the artifact."""
    columns = ["text", "n", "x", "flag", "nothing"]
    session.logger.log_metrics({"plain": wandb.Table(columns=columns, data=[list(row) for row in rows])}, step=1)
    run = session.write({"ours": Table(columns, rows)})
    plain, ours = (next(row[key] for row in run.history if key in row) for key in ("plain", "ours"))
    assert {**ours, "path": plain["path"], "artifact_path": 0} | {"_latest_artifact_path": 0} == {
        **plain, "artifact_path": 0, "_latest_artifact_path": 0
    }  # fmt: skip
    assert (run.files_dir / ours["path"]).read_text() == (run.files_dir / plain["path"]).read_text()
    tables = {name: path for a in run.artifacts for name, path in a.files.items() if a.type == "run_table"}
    assert tables["ours.table.json"].read_text() == tables["plain.table.json"].read_text()


def test_a_histogram_keeps_counts_and_edges_and_reports_what_is_not_finite(session: Session) -> None:
    """Up to 512 bins as they are, more are joined without losing a count."""
    edges = np.linspace(-1.0, 1.0, 1201)
    run = session.write({
        "small": Histogram(np.array([1, 2]), np.array([0.0, 0.5, 2.0]), nan=3),
        "large": Histogram(np.arange(1200), edges),
    })  # fmt: skip
    (row,) = run.history
    assert row["small"] == {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 2.0]}
    assert row["small/nan"] == 3
    assert "small/posinf" not in row
    assert row["large"]["values"] == np.arange(1200).reshape(400, 3).sum(axis=1).tolist()
    assert row["large"]["bins"] == edges[::3].tolist()


def test_a_file_becomes_an_artifact_with_aliases_metadata_and_content(session: Session, tmp_path: Path) -> None:
    """A copy is kept: the original may go at once. A folder keeps its files. No empty row is logged."""
    checkpoint, folder = tmp_path / "epoch=3.ckpt", tmp_path / "sharded"
    checkpoint.write_bytes(b"weights")
    folder.mkdir()
    (folder / "part0").write_bytes(b"zero")
    file = File(checkpoint, "model run/1", aliases=("latest", "best"), metadata={"loss": 0.5})
    session.writer.write({"file": file, "dir": File(folder, "sharded")}, 7)
    checkpoint.unlink()
    run = session.recorded()
    models = {artifact.name: artifact for artifact in run.artifacts if artifact.type == "model"}
    assert models[artifact_name("model run/1")].aliases == ("best", "latest")
    assert models[artifact_name("model run/1")].metadata == {"loss": 0.5}
    assert models[artifact_name("model run/1")].files["epoch=3.ckpt"].read_bytes() == b"weights"
    assert models["sharded"].files["part0"].read_bytes() == b"zero"
    assert run.history == []


def test_a_missing_file_is_an_error_and_costs_no_picture(session: Session) -> None:
    """The row is logged before the artifact is made."""
    with pytest.raises(NotWritten, match=r"file: ValueError: .*gone\.ckpt"):
        session.writer.write({"file": File(Path("gone.ckpt"), "m"), "image": GREY}, 7)
    assert "image" in session.recorded().history[0]


def test_an_image_is_a_file_once(session: Session) -> None:
    """Of the same pixels in later steps, under other keys and with other captions; others have files of their own."""
    for step in range(3):
        own = Image(GREY.pixels + np.uint8(step + 1), "own")
        session.writer.write({"a": [Image(GREY.pixels, f"step {step}"), own]}, step)
        session.writer.write({"b": Image(GREY.pixels)}, step)
    session.writer.write({"t": Table(("image",), [[Image(GREY.pixels)]])}, 3)
    run = session.recorded()
    lists = [row["a"] for row in run.history if "a" in row]
    assert [value["captions"] for value in lists] == [[f"step {step}", "own"] for step in range(3)]
    firsts, others = ({value["filenames"][i] for value in lists} for i in (0, 1))
    assert (len(firsts), len(others)) == (1, 3)
    assert {row["b"]["path"] for row in run.history if "b" in row} <= firsts
    for step, value in enumerate(lists):
        pixels = [pixels_in(run.files_dir / name) for name in value["filenames"]]
        assert (pixels[0] == GREY.pixels).all()
        assert (pixels[1] == GREY.pixels + np.uint8(step + 1)).all()
    assert len(list((run.files_dir / "media" / "images").glob("*.png"))) == 4
    [table] = [table_of(run, row["t"]) for row in run.history if "t" in row]
    assert [len(row) for row in table["data"]] == [1]


def test_images_beyond_the_limit_are_cut_with_one_warning(session: Session) -> None:
    """W&B shows 108 under a key and drops the rest silently: the warning names the key."""
    images = [GREY] * 110
    with pytest.warns(UserWarning, match="at most 108 of the 110 items of 'val/all'"):
        session.writer.write({"val/all": images}, 1)
    session.writer.write({"val/all": images}, 2)  # a second warning would be an error
    assert [row["val/all"]["count"] for row in session.recorded().history] == [108, 108]


def test_an_unknown_value_is_an_error_that_names_the_key(session: Session) -> None:
    """A tensor is no picture."""
    with pytest.raises(TypeError, match="'x' is a Tensor, expected Image"):
        session.writer.write({"x": torch.zeros(1)}, 1)


def test_artifact_names_hold_only_what_is_allowed() -> None:
    """Everything else becomes a dash, and no name is too long or empty."""
    assert artifact_name("model-a_1.b") == "model-a_1.b"
    assert artifact_name("epoch=3/val loss: ü") == "epoch-3-val-loss--24be0687"
    assert artifact_name("val/loss") != artifact_name("val loss")
    assert len(artifact_name("x" * 500)) == 128
    assert artifact_name("") == "-00000000"


def test_a_long_record_is_read_across_blocks(session: Session) -> None:
    """A value of 100 kB spans four blocks of the file and comes back whole."""
    session.logger.log_metrics({"long": "x" * 100_000}, step=1)  # type: ignore[dict-item]
    run = session.recorded()
    assert run.history[0]["long"] == "x" * 100_000


def test_a_file_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    """Neither an empty directory nor any other file is taken for a run."""
    with pytest.raises(FileNotFoundError, match=r"0 \.wandb files"):
        read_run(tmp_path)
    (tmp_path / "run-x.wandb").write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected the header"):
        read_run(tmp_path)
