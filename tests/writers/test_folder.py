"""A folder of plain files and a page that shows them."""

from __future__ import annotations

import json
import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lwcallbacks.disk import folder_of, reserve
from lwcallbacks.media import Curve, File, Histogram, Image, Line, Matrix, Table, confusion_report
from lwcallbacks.readers import read_folder
from lwcallbacks.writers import chunks
from lwcallbacks.writers.folder import FolderWriter

RAMP = Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "a ramp")
COLOUR = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
ENTRIES: dict[str, Any] = {
    "val/image": RAMP,
    "val/images": [RAMP, COLOUR],
    "val/table": Table(("image", "loss", "other"), [[RAMP, float("nan"), COLOUR], [None, 0.5, "text"]]),
    "val/matrix": Matrix(np.array([[5, 1], [0, 7]]), ("</script><b>cat</b>", "dog")),
    "grad/histogram": Histogram(np.array([1, 2]), np.array([0.0, 0.5, 1.0]), nan=3, posinf=4, neginf=5),
    "val/roc": Curve(
        [
            Line(
                "<b>cat</b>",
                np.array([0.0, 0.5]),
                np.array([0.0, 1.0]),
                "0.5",
                [(0.5, 1.0, "best")],
                np.array([np.inf, 0.25]),
            )
        ],
        "x",
        "y",
        diagonal=True,
    ),
    "model": File(
        Path("some") / "epoch=1.ckpt", "model-a", aliases=("best",), metadata={"loss": float("inf"), "at": Path("p")}
    ),
}


def pixels_in(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def lines_of(path: Path) -> list[tuple[str, list[Any]]]:
    """Name and arguments of every line of a script, each parsed as strict JSON: no NaN, no Infinity."""
    found = [re.fullmatch(r"LW\.(\w+)\((.*)\);", line) for line in path.read_text().splitlines()]
    assert all(found)
    return [
        (line[1], json.loads(f"[{line[2]}]", parse_constant=lambda name: pytest.fail(f"{path}: {name}")))
        for line in found
        if line
    ]


def cut_out(directory: Path, cell: dict[str, Any]) -> np.ndarray:
    """The pixels that an image cell names."""
    left, top, width, height = cell["box"]
    return pixels_in(directory / cell["image"])[top : top + height, left : left + width]


def test_every_kind_holds_its_values(tmp_path: Path) -> None:
    """Pixels, cells, counts and edges come back as they were written."""
    FolderWriter(tmp_path).write(ENTRIES, 120)
    assert (pixels_in(tmp_path / "val/image/00000120.png") == RAMP.pixels).all()
    assert pixels_in(tmp_path / "val/images/00000120.png").shape == (8 + 88 + 8 + 15, 2 * (88 + 8) + 8, 3)
    assert sorted((line for _, line in lines_of(tmp_path / "data/00000.js")), key=lambda line: int(line[0])) == [
        [
            2,
            120,
            {
                "columns": ["image", "loss", "other"],
                "cells": [
                    [{"image": "val/images/00000120.png", "box": [8, 8, 88, 88], "caption": "a ramp"}, None],
                    ["nan", 0.5],
                    [{"image": "val/images/00000120.png", "box": [104, 8, 88, 88]}, "text"],
                ],
            },
        ],
        [3, 120, {"class_names": ["</script><b>cat</b>", "dog"], "cells": [1, 5, 1, 1, 2, 7]}],
        [4, 120, {"counts": ["u1", "AQI="], "edges": [0.0, 1.0], "nan": 3, "posinf": 4, "neginf": 5}],
        [
            5,
            120,
            {
                "x": "x",
                "y": "y",
                "lines": [
                    {
                        "x": [0.0, 0.5],
                        "y": [0.0, 1.0],
                        "name": "<b>cat</b>",
                        "text": "0.5",
                        "marks": [[0.5, 1.0, "best"]],
                        "at": ["inf", 0.25],
                    }
                ],
                "diagonal": True,
            },
        ],
        [
            6,
            120,
            {
                "path": str(Path("some") / "epoch=1.ckpt"),
                "name": "model-a",
                "type": "model",
                "aliases": ["best"],
                "metadata": {"loss": "inf", "at": "p"},
            },
        ],
    ]


def test_the_index_lists_every_entry_and_every_file_it_names_exists(tmp_path: Path) -> None:
    """A key with its kind once, a step once, whatever the number of keys; the files are few."""
    writer = FolderWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(ENTRIES, step)
    index = lines_of(tmp_path / "manifest.js")
    assert [arguments[:3] for name, arguments in index if name == "key"] == [
        [number, key, kind]
        for number, (key, kind) in enumerate(
            zip(ENTRIES, ["image", "image", "table", "matrix", "histogram", "curve", "file"], strict=True)
        )
    ]
    assert [arguments for name, arguments in index if name == "step"] == [
        [step, 0, [0, 6], {"0": "a ramp"}] for step in (1, 2, 3)
    ]
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    images = {f"val/{key}/0000000{step}.png" for key in ("image", "images") for step in (1, 2, 3)}
    assert files == {"index.html", "manifest.js", "data/00000.js", *images}


def test_images_of_a_table_are_in_one_file(tmp_path: Path) -> None:
    """Those that nothing else shows: grey beside RGB, of unlike size, one of them twice; the pixels are exact."""
    tall = Image(np.arange(60, dtype=np.uint8).reshape(20, 3))
    table = Table(("a", "b"), [[RAMP, COLOUR], [tall, RAMP], *([Image(RAMP.pixels), None] for _ in range(9))])
    FolderWriter(tmp_path).write({"shown": COLOUR, "table": table}, 1)
    first, second = next(arguments[2]["cells"] for _, arguments in lines_of(tmp_path / "data/00000.js"))
    assert second[0] == {"image": "shown/00000001.png", "box": [0, 0, 8, 8]}
    assert first[0] == second[1]
    assert len({cell["image"] for cell in first}) == 1
    assert len({tuple(cell["box"]) for cell in first}) == 2, "equal images are one"
    for cell, image in zip(first, [RAMP, tall, *[RAMP] * 9], strict=True):
        assert (cut_out(tmp_path, cell) == image.pixels).all()
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_an_image_is_written_once(tmp_path: Path) -> None:
    """Later steps of a key and a run that goes on refer to the file; one that was deleted is written again."""
    writer, ramp = FolderWriter(tmp_path), RAMP.pixels
    for step in range(3):
        new = Image(ramp + np.uint8(step + 1))
        matrix = Matrix(np.eye(2, dtype=int), ("a", "b"), {(0, 1): [Image(ramp, f"loss {step}")]})
        writer.write({"t": Table(("image",), [[Image(ramp)], [new]]), "m": matrix}, step)
    folder = read_folder(tmp_path)
    cells = [row[0] for table in folder.data("t").values() for row in table["rows"]]
    places = [(cell["image"], tuple(cell["box"])) for cell in cells]
    assert len(set(places[::2])) == 1
    assert len(set(places[1::2])) == 3
    for cell, step in zip(cells[1::2], range(3), strict=True):
        assert (cut_out(tmp_path, cell) == ramp + np.uint8(step + 1)).all()
    examples = [value["examples"][0, 1][0] for value in folder.data("m").values()]
    assert [(cell["image"], tuple(cell["box"]), cell["caption"]) for cell in examples] == [
        (examples[0]["image"], (0, 0, 8, 8), f"loss {step}") for step in range(3)
    ]
    assert (cut_out(tmp_path, examples[0]) == ramp).all()
    before = set(tmp_path.rglob("*.png"))
    assert len(before) == 4
    FolderWriter(tmp_path).write({"t": Table(("image",), [[Image(ramp)], [Image(ramp + np.uint8(1))]])}, 3)
    assert set(tmp_path.rglob("*.png")) == before
    (tmp_path / places[0][0]).unlink()
    writer.write({"t": Table(("image",), [[Image(ramp)]])}, 4)
    assert (cut_out(tmp_path, read_folder(tmp_path).data("t")[4]["rows"][0][0]) == ramp).all()


def test_files_do_not_grow_with_keys_and_steps(tmp_path: Path) -> None:
    """100 steps of 300 histograms: the index has a line per key and one per step, the chunks stay few."""
    writer, counts = FolderWriter(tmp_path), np.arange(64) * 12345
    keys = [f"gradients/{i}" for i in range(300)]
    for step in range(100):
        writer.write({key: Histogram(counts, np.linspace(-step, 1, 65)) for key in keys}, step)
    assert len(lines_of(tmp_path / "manifest.js")) == 300 + 100
    chunks = sorted((tmp_path / "data").iterdir())
    assert sum(path.stat().st_size for path in chunks) > 8 * 2**20
    assert len(chunks) <= 32
    assert read_folder(tmp_path).data("gradients/7").keys() == set(range(100))


def test_chunks_grow_with_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that their number grows as the logarithm of the size: at first by the least size, then by a share."""
    monkeypatch.setattr(chunks, "MIN_CHUNK", 1000)
    writer = FolderWriter(tmp_path)
    for step in range(3000):
        writer.write({"t": Table(("text",), [["x" * 200]])}, step)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "data").iterdir())]
    assert sum(sizes) > 600_000
    share = chunks.SHARE
    assert len(sizes) < share + 1 + (share + 0.5) * math.log(sum(sizes) / (1000 * share))
    assert read_folder(tmp_path).data("t").keys() == set(range(3000))


def test_class_names_are_written_once(tmp_path: Path) -> None:
    """The second time they are met they get a number; a run that continues goes on with it."""
    names = [f"class {i}" for i in range(20)]
    entries = {"m": Matrix(np.eye(20, dtype=np.int64), names), "t": Table(("name",), [[name] for name in names])}
    for writer in (FolderWriter(tmp_path), FolderWriter(tmp_path)):
        for step in (1, 2):
            writer.write(entries, step)
    index = (tmp_path / "manifest.js").read_text() + (tmp_path / "data/00000.js").read_text()
    assert index.count("class 19") == 2
    for step in (1, 2):
        assert read_folder(tmp_path).data("m")[step]["class_names"] == names
        assert read_folder(tmp_path).data("t")[step]["rows"] == [[name] for name in names]


def test_a_matrix_of_many_classes_is_as_long_as_its_filled_cells(tmp_path: Path) -> None:
    """1,000 classes, 10,000 cells, with its report: at most 0.15 MiB an epoch."""
    rng = np.random.default_rng(0)
    counts = np.zeros(10**6, np.int64)
    counts[rng.choice(10**6, 10_000, replace=False)] = rng.integers(1, 50, 10_000)
    matrix = Matrix(counts.reshape(1000, 1000), [f"n{i:08d}" for i in range(1000)])
    writer = FolderWriter(tmp_path)
    sizes = [0]
    for step in range(3):
        writer.write({"chart": matrix, "report": confusion_report(matrix)}, step)
        sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*.js")))
    assert max(np.diff(sizes)) <= 0.15 * 2**20
    assert read_folder(tmp_path).data("chart")[2]["counts"] == matrix.counts.tolist()


@pytest.mark.parametrize(
    "edges",
    [
        np.linspace(-0.1, 0.7, 5),
        np.array([0.0, 0.1, 0.2, 0.30000000000000004, 0.4]),  # evenly, but for a bit
        np.array([-0.0, 1.0, 2.0, 3.0, 4.0]),
        np.array([5e-324, 1e-300, 1.0, 1e300, np.inf]),
        np.array([-1.5e308, -1.0, 0.0, 1.0, 1.5e308]),  # their difference is infinite
        np.linspace(-1, 1, 5).astype(np.float32),
    ],
)
def test_edges_come_back_to_the_bit(edges: np.ndarray, tmp_path: Path) -> None:
    """Whether they are written as two numbers or as all."""
    FolderWriter(tmp_path).write({"h": Histogram(np.array([0, 1, 0, 2**60]), edges)}, 1)
    found = read_folder(tmp_path).data("h")[1]
    back = [float(edge) for edge in found["edges"]]
    assert [edge.hex() for edge in back] == [float(edge).hex() for edge in edges]
    assert found["counts"] == [0, 1, 0, 2**60]


def test_numbers_of_a_table_are_exact(tmp_path: Path) -> None:
    """As Python's repr; what is not finite is a word, since JSON has none for it."""
    values = [-0.0, 0.1 + 0.2, 5e-324, 2**63 + 1, True, np.float32(0.1), np.int64(7), math.nan, math.inf, -math.inf]
    FolderWriter(tmp_path).write({"t": Table(("x",), [[value] for value in values])}, 1)
    found = [row[0] for row in read_folder(tmp_path).data("t")[1]["rows"]]
    assert list(map(repr, found)) == [
        "-0.0", "0.30000000000000004", "5e-324", "9223372036854775809", "True", "0.10000000149011612", "7",
        "'nan'", "'inf'", "'-inf'",
    ]  # fmt: skip


def test_a_folder_is_continued_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    """After a crash within a line, the next run's lines follow the last whole one, under numbers of their own."""
    FolderWriter(tmp_path).write({"a": ENTRIES["val/matrix"]}, 1)
    for script in (tmp_path / "manifest.js", tmp_path / "data/00000.js"):
        with script.open("a") as file:
            file.write('LW.key(1,"torn","matr')
    FolderWriter(tmp_path).write({"b": ENTRIES["val/table"], "a": ENTRIES["val/matrix"]}, 2)
    lines_of(tmp_path / "data/00000.js")
    folder = read_folder(tmp_path)
    assert folder.steps() == {"a": [1, 2], "b": [2]}
    assert folder.data("a")[1] == folder.data("a")[2]
    assert folder.data("b")[2]["columns"] == ["image", "loss", "other"]


def test_data_without_an_index_line_are_nothing(tmp_path: Path) -> None:
    """After a crash between the two: the next run writes over it, maybe with the number of another key."""
    FolderWriter(tmp_path).write({"a": ENTRIES["val/matrix"]}, 1)
    with open(tmp_path / "data/00000.js", "a") as file:
        file.write('LW.data(0,2,{"class_names":["x"],"cells":[1,9]});\nLW.data(1,2,{"counts":[9],"edges":[0,1]});\n')
    assert read_folder(tmp_path).data("a").keys() == {1}
    FolderWriter(tmp_path).write({"a": ENTRIES["val/matrix"], "b": Histogram(np.array([3]), np.array([0.0, 1.0]))}, 2)
    folder = read_folder(tmp_path)
    assert folder.data("a")[2] == folder.data("a")[1]
    assert folder.data("b")[2]["counts"] == [3]


def test_two_writers_that_take_turns_share_the_numbers(tmp_path: Path) -> None:
    """A fit and a test of one Trainer may write into one folder; and a folder that is deleted begins again."""
    one, two = FolderWriter(tmp_path / "media"), FolderWriter(tmp_path / "media")
    histogram = ENTRIES["grad/histogram"]
    one.write({"a": histogram}, 1)
    two.write({"b": ENTRIES["val/matrix"]}, 2)
    one.write({"c": histogram, "b": histogram}, 3)
    folder = read_folder(tmp_path)
    assert folder.steps() == {"a": [1], "b": [2, 3], "c": [3]}
    assert "class_names" in folder.data("b")[2]
    assert folder.data("c")[3] == folder.data("b")[3] == folder.data("a")[1]
    shutil.rmtree(tmp_path / "media")
    one.write({"d": histogram}, 4)
    assert read_folder(tmp_path).data("d").keys() == {4}


def test_a_file_that_may_not_grow_keeps_whole_lines(tmp_path: Path) -> None:
    """At a quota a write ends in the middle of a line: an error, no half line, and later lines are written again."""
    resource = pytest.importorskip("resource")
    writer, file = FolderWriter(tmp_path), tmp_path / "scalars.js"
    writer.write_scalars({"a": 0.5}, 1)
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write_scalars({"a": 0.5}, 2)
        with pytest.raises(OSError, match="File too large"):
            writer.write({"m": ENTRIES["val/matrix"]}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    writer.write_scalars({"a": 0.5}, 3)
    assert file.read_text() == 'LW.scalars(1,null,{"a":0.5});\nLW.scalars(3,null,{"a":0.5});\n'
    writer.write({"m": ENTRIES["val/matrix"]}, 3)
    assert read_folder(tmp_path).data("m").keys() == {3}


OWN = ["data", "data/00000.js", "Index.html"]  # files and folders that the writer has of its own
HOSTILE = [
    "ä/日本 1.w",
    "..",
    "../../x",
    "/etc/x",
    "a/../../x",
    "\\\\host\\x",
    "C:\\x",
    "",
    ".",
    "a//b",
    "a\0b",
    "x" * 300,
    "ä/日本 1.w",
]


@pytest.mark.parametrize("key", OWN + HOSTILE)
def test_no_key_leaves_the_directory(tmp_path: Path, key: str) -> None:
    """Whatever a key is called, its picture lies below the directory and the page finds it."""
    root = tmp_path / "media"
    FolderWriter(root).write({key: RAMP}, 1)
    [item] = read_folder(root).items
    file = item.path.resolve()
    assert file.is_file()
    assert file.is_relative_to(root.resolve())
    assert item.key == key
    FolderWriter(root).write({key: ENTRIES["val/matrix"]}, 2)
    assert read_folder(root).data(key).keys() == {2}
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


def test_keys_that_look_alike_keep_folders_of_their_own() -> None:
    """What is replaced in a name does not make two names one; a plain name stays as it is."""
    assert folder_of("val/layer1.weight") == "val/layer1.weight"
    assert len({folder_of(key) for key in ("a:b", "a?b", "a_b", "a\\b", "a b.", "a b")}) == 6


def test_keys_that_look_alike_keep_their_values(tmp_path: Path) -> None:
    """Of two that differ only in what no file may be called, each has its own image and its own data."""
    keys = ("a:b", "a?b", "a_b")
    for step, entries in enumerate((dict.fromkeys(keys, RAMP), {key: Table((key,), [[RAMP]]) for key in keys})):
        FolderWriter(tmp_path).write(entries, step)
    folder = read_folder(tmp_path)
    assert len({item.path for item in folder.items if item.kind == "image"}) == 3
    for key in keys:
        assert folder.data(key)[1]["columns"] == [key]
    cells = [folder.data(key)[1]["rows"][0][0] for key in keys]
    assert all((cut_out(tmp_path, cell) == RAMP.pixels).all() for cell in cells)


def test_an_unknown_value_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    """A tensor is no picture."""
    with pytest.raises(TypeError, match="'x' is a dict, expected Image"):
        FolderWriter(tmp_path).write({"x": {}}, 1)  # type: ignore[dict-item]


def test_runs_that_reserve_a_folder_at_once_get_one_each(tmp_path: Path) -> None:
    """Whatever is there already, and whichever comes first."""
    (tmp_path / "logs" / "version_1").mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: reserve(tmp_path / "logs"), range(40)))
    assert sorted(int(f.name.removeprefix("version_")) for f in folders) == [0, *range(2, 41)]
    assert all(folder.is_dir() for folder in folders)
    assert reserve(tmp_path / "new", "run-{}") == tmp_path / "new" / "run-0"
