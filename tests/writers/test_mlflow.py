"""What MLflow's own client reads back, from a local database and from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pytorch_lightning.loggers import MLFlowLogger
from support.mlflow_images import images_of

from lwcallbacks.media import (
    Curve,
    File,
    Histogram,
    Image,
    Line,
    Matrix,
    Table,
    captioned_grid,
    draw_curve,
    draw_histogram,
    draw_matrix,
    with_caption,
)
from lwcallbacks.writers import Writer, writers_for
from lwcallbacks.writers.mlflow import MAX_TAG
from lwcallbacks.writers.mlflow_artifacts import MAX_KEY, key_of

GREY = Image(np.arange(64, dtype=np.uint8).reshape(8, 8))
COLOUR = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "a ramp")
MATRIX = Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog"))
HISTOGRAM = Histogram(np.array([2, 0, 3]), np.array([0.0, 1.0, 2.0, 3.0]), nan=9, neginf=1)


class Session:
    """A writer on a run of its own, and what is in the run."""

    def __init__(self, tracking_uri: str, **options: Any) -> None:
        self.logger = MLFlowLogger(tracking_uri=tracking_uri, **options)
        self.client, self.run_id = self.logger.experiment, str(self.logger.run_id)
        self.writer: Writer
        (self.writer,) = writers_for([self.logger])

    def images(self) -> dict[tuple[str, int], np.ndarray]:
        """Pixels by key and step, of the files that the page of the run shows."""
        return images_of(self.client, self.run_id)

    def download(self, path: str) -> Path:
        return Path(self.client.download_artifacts(self.run_id, path))

    def json(self, path: str) -> Any:
        return json.loads(self.download(path).read_text())

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.client.get_run(self.run_id).data.tags)

    def tables(self) -> list[str]:
        """The artifacts that the page of the run shows as tables."""
        return [item["path"] for item in json.loads(self.tags["mlflow.loggedArtifacts"]) if item["type"] == "table"]


@pytest.fixture(params=["database", "folder"])
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    if request.param == "database":
        return Session(request.getfixturevalue("mlflow_uri"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # or MLflow says to use a database
    return Session(f"file:{tmp_path}/mlruns")


def pixels_in(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def test_images_have_their_step_and_exactly_the_pixels(session: Session) -> None:
    """Two steps of a key are two images; captions, which MLflow does not keep, are drawn below."""
    entries = {"val/grey": GREY, "val/rgb": COLOUR, "val/grid": [GREY, COLOUR], "none": [], "val/m": MATRIX}
    session.writer.write(entries, 7)
    session.writer.write({"val/grey": COLOUR}, 8)
    expected = {
        ("val/grey", 7): GREY,
        ("val/rgb", 7): with_caption(COLOUR),
        ("val/grid", 7): captioned_grid([GREY, COLOUR]),
        ("val/m", 7): draw_matrix(MATRIX, title="val/m"),
        ("val/grey", 8): with_caption(COLOUR),
    }
    found = session.images()
    assert found.keys() == expected.keys()
    for key, image in expected.items():
        assert (found[key] == image.pixels).all(), key
    assert (with_caption(COLOUR).pixels.shape) != COLOUR.pixels.shape


def test_a_table_is_one_that_mlflow_loads(session: Session) -> None:
    """`load_table` gives rows and columns back, an image cell points at a PNG with its pixels."""
    session.writer.write({"val/table": Table(("image", "pred", "score"), [[GREY, "3", 0.5], [COLOUR, "4", None]])}, 7)
    assert session.tables() == ["val/table/00000007/table.json"]
    frame = session.client.load_table(
        session.logger.experiment_id, "val/table/00000007/table.json", run_ids=[session.run_id]
    )
    assert list(frame.columns) == ["image", "pred", "score"]
    assert next(iter(frame["score"])) == 0.5
    table = session.json("val/table/00000007/table.json")
    assert [row[1:] for row in table["data"]] == [["3", 0.5], ["4", None]]
    for row, image in zip(table["data"], (GREY, COLOUR), strict=True):
        assert row[0]["type"] == "image"
        assert (pixels_in(session.download(row[0]["filepath"])) == image.pixels).all()


def test_a_matrix_keeps_its_counts(session: Session) -> None:
    """Beside the heatmap, a table with a row for each true class."""
    session.writer.write({"val/m": MATRIX}, 7)
    table = session.json(session.tables()[0])
    assert table == {"columns": ["true / predicted", "cat", "dog"], "data": [["cat", 5, 1], ["dog", 0, 7]]}


def test_a_histogram_is_drawn_and_kept(session: Session) -> None:
    """Bars to look at, counts and edges to compute with, NaN and Inf as metrics and only if there are any."""
    session.writer.write({"g/w": HISTOGRAM}, 7)
    assert (session.images()["g/w", 7] == draw_histogram(HISTOGRAM, title="g/w").pixels).all()
    assert session.json("g/w/00000007/histogram.json") == {
        "counts": [2, 0, 3], "edges": [0.0, 1.0, 2.0, 3.0], "nan": 9, "posinf": 0, "neginf": 1,
    }  # fmt: skip
    metrics = session.client.get_run(session.run_id).data.metrics
    assert metrics == {"g/w/nan": 9.0, "g/w/neginf": 1.0}
    assert [metric.step for metric in session.client.get_metric_history(session.run_id, "g/w/nan")] == [7]


def test_a_curve_is_drawn_and_kept(session: Session) -> None:
    """Lines to look at, and their points as in the run's folder."""
    curve = Curve([Line("cat", np.array([0.0, 1.0]), np.array([0.0, 0.5]), at=np.array([np.inf, 0.5]))], "x", "y")
    session.writer.write({"val/roc": curve}, 7)
    assert (session.images()["val/roc", 7] == draw_curve(curve, title="val/roc").pixels).all()
    line = {"name": "cat", "x": [0.0, 1.0], "y": [0.0, 0.5], "at": ["inf", 0.5]}
    assert session.json("val/roc/00000007/curve.json") == {"x": "x", "y": "y", "lines": [line]}


def test_a_checkpoint_is_found_by_its_alias(session: Session, tmp_path: Path) -> None:
    """The tag of an alias says where the newest file lies that carries it; no version overwrites another."""
    for step, aliases in ((3, ("best", "latest")), (5, ("latest",))):
        content = tmp_path / f"copy{step}" / "a=1.ckpt"
        content.parent.mkdir()
        content.write_text(f"weights {step}")
        file = File(tmp_path / "a=1.ckpt", "model-a", aliases=aliases, metadata={"loss": float("nan")}, content=content)
        session.writer.write({"model-a": file}, step)
    read = {alias: session.download(session.tags[f"model-a/{alias}"]).read_text() for alias in ("best", "latest")}
    assert read == {"best": "weights 3", "latest": "weights 5"}
    described = session.json(session.tags["model-a/best"] + ".json")
    assert described == {"type": "model", "aliases": ["best", "latest"], "metadata": {"loss": "nan"}}


def test_a_sharded_checkpoint_is_kept_whole(session: Session, tmp_path: Path) -> None:
    """A folder arrives with all its files."""
    folder = tmp_path / "sharded.ckpt"
    folder.mkdir()
    for name in ("0.distcp", "1.distcp"):
        (folder / name).write_text(name)
    session.writer.write({"m": File(folder, "m", aliases=("latest",))}, 1)
    there = session.download(session.tags["m/latest"])
    assert {path.name: path.read_text() for path in there.iterdir()} == {"0.distcp": "0.distcp", "1.distcp": "1.distcp"}


def test_odd_keys_are_written_and_kept_apart(session: Session) -> None:
    """Whatever a key holds, it is written; neither the name of a file nor that of a metric can be too long."""
    keys = ["acc@5", "acc?5", "../up", "/abs", "größe", "a b", "x" * 300, "x" * 301, "a/" * 200 + "b", ""]
    session.writer.write(dict.fromkeys(keys, HISTOGRAM), 1)
    session.writer.write(dict.fromkeys(keys, Table(("a",), [[1]])), 1)
    names = {key_of(key) for key in keys}
    assert len(names) == len(keys)
    assert max(map(len, names)) <= MAX_KEY
    assert {key for key, _ in session.images()} == names
    assert {path.rsplit("/", 2)[0] for path in session.tables()} == names
    assert key_of("gradients/net.1.weight") == "gradients/net.1.weight"


def test_a_long_run_lists_its_last_tables_and_the_users_own(mlflow_uri: str) -> None:
    """The tag in which MLflow lists tables stays valid JSON of bounded length, whatever their number."""
    session = Session(mlflow_uri)
    session.client.log_dict(session.run_id, {"columns": ["a"], "data": [[1]]}, "own.json")
    session.client.set_tag(session.run_id, "mlflow.loggedArtifacts", '[{"path": "own.json", "type": "table"}]')
    key = "val/" + "k" * 80
    for step in range(40):
        session.writer.write({key: Table(("a",), [[step]])}, step)
    assert len(session.tags["mlflow.loggedArtifacts"]) <= MAX_TAG
    own, *ours = session.tables()
    assert own == "own.json"
    assert ours == [f"{key}/{step:08d}/table.json" for step in range(40 - len(ours), 40)]
    assert 30 < len(ours) < 40
    assert session.json(f"{key}/00000000/table.json")["data"] == [[0]]


def test_a_prefix_stands_before_media_too(mlflow_uri: str) -> None:
    """Keys of pictures carry the logger's prefix, as its metrics do."""
    session = Session(mlflow_uri, prefix="fold1")
    session.logger.log_metrics({"val/acc": 0.5}, 7)
    session.writer.write({"val/grey": GREY}, 7)
    assert set(session.client.get_run(session.run_id).data.metrics) == {"fold1-val/acc"}
    assert set(session.images()) == {("fold1-val/grey", 7)}


def test_an_unknown_value_is_an_error_that_names_the_key(session: Session) -> None:
    """A string is no media."""
    with pytest.raises(TypeError, match="'x' is a str, expected Image"):
        session.writer.write({"x": "text"}, 1)  # type: ignore[dict-item]
