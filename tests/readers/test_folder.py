"""What the folder's writer has written, its reader reads."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lwcallbacks
from lwcallbacks.media import Curve, File, Histogram, Image, Line, Matrix, Table
from lwcallbacks.readers import find_folders, read_folder
from lwcallbacks.writers import FolderWriter

IMAGE = Image(np.zeros((4, 4), np.uint8), "black")
ENTRIES: dict[str, Any] = {
    "val/image": IMAGE,
    "val/images": [IMAGE, IMAGE],
    "val/table": Table(("image", "a\nb"), [[IMAGE, "größe\u2028"]]),
    "acc@5/matrix": Matrix(np.eye(2, dtype=np.int64), ("a", "b")),
    "histogram": Histogram(np.array([1]), np.array([0.0, 1.0]), nan=2),
    "roc": Curve([Line("a", np.array([0.0, 0.5]), np.array([0.0, 1.0]))], "x", "y", notes=["mean 0.5"]),
    "model": File(Path("a.ckpt"), "model", aliases=("best",), metadata={"loss": float("nan")}),
}


def written(directory: Path) -> Path:
    """A run's folder with two steps."""
    writer = FolderWriter(directory / "media")
    for step in (1, 2):
        writer.write(ENTRIES, step)
        writer.write_scalars({"norm": step / 2, "bad": float("nan"), "big": float("-inf")}, step)
    return directory


def test_every_entry_is_read_back(tmp_path: Path) -> None:
    """Keys as given, steps in order, and a file for each."""
    folder = read_folder(written(tmp_path))
    assert folder.steps() == {key: [1, 2] for key in ENTRIES}
    histogram = {"counts": [1], "edges": [0.0, 1.0], "nan": 2, "posinf": 0, "neginf": 0}
    assert folder.data("histogram") == {1: histogram, 2: histogram}
    line = {"name": "a", "x": [0.0, 0.5], "y": [0.0, 1.0], "text": None, "marks": [], "at": None}
    curve = {"x": "x", "y": "y", "lines": [line], "diagonal": False, "notes": ["mean 0.5"]}
    assert folder.data("roc") == {1: curve, 2: curve}
    assert [item.kind for item in folder.items][:7] == [
        "image",
        "image",
        "table",
        "matrix",
        "histogram",
        "curve",
        "file",
    ]
    assert all(item.path.stat().st_size for item in folder.items)
    assert folder.latest()["val/image", 2].caption == "black"
    matrix = {"counts": [[1, 0], [0, 1]], "class_names": ["a", "b"]}
    assert folder.data("acc@5/matrix") == {1: matrix, 2: matrix}
    assert folder.data("val/table")[1]["rows"] == [
        [{"image": "val/images/00000001.png", "box": [100, 8, 84, 84], "caption": "black"}, "größe\u2028"]
    ]


COUNTS: dict[str, Any] = {
    "one byte": [0, 1, 255],
    "two bytes": [0, 1, 256, 258, 65_535],
    "four bytes": [65_536, 0, 16_909_060, 2**32 - 1],
    "more": [2**32, 3, 2**53 + 1, 2**63 - 1, 0, 0],
    "one more than a byte": [256],
    "one more than two": [0, 2**16, 0, 0, 0, 0, 0],
    "one more than four": [0, 0, 0, 0, 0, 0, 0, 2**32],
    "negative": [-1, 300],
    "float": [0.5, 300.0],
    "not finite": [float("nan"), float("inf")],
    "empty": [],
}


def test_counts_of_any_size_are_read_back(tmp_path: Path) -> None:
    """Those that fit into unsigned integers are packed, many histograms at once; the others are lists."""
    histograms = {
        name: Histogram(np.array(of, None if of else int), np.arange(len(of) + 1.0)) for name, of in COUNTS.items()
    }
    FolderWriter(tmp_path / "media").write(histograms, 1)
    folder = read_folder(tmp_path)
    read = {name: folder.data(name)[1]["counts"] for name in COUNTS}
    assert read == COUNTS | {"not finite": ["nan", "inf"]}
    assert [folder.data(name)[1]["edges"] for name in COUNTS] == [list(range(len(of) + 1)) for of in COUNTS.values()]
    written = (tmp_path / "media" / "data" / "00000.js").read_text()
    assert [written.count(f'"counts":["{name}",') for name in ("u1", "u2", "u4")] == [1, 2, 2]


def test_numbers_are_numbers_again(tmp_path: Path) -> None:
    """JSON has no NaN and no infinity; what is read has."""
    first, second = read_folder(written(tmp_path)).scalars
    assert (first.step, first.epoch, first.values["norm"], second.values["norm"]) == (1, None, 0.5, 1.0)
    assert first.values["big"] == -math.inf
    assert math.isnan(first.values["bad"])


def test_what_is_written_twice_is_read_twice_and_the_last_holds(tmp_path: Path) -> None:
    """A resumed run writes a step again."""
    written(tmp_path)
    FolderWriter(tmp_path / "media").write({"val/image": Image(IMAGE.pixels, "again")}, 2)
    folder = read_folder(tmp_path / "media")
    assert folder.steps()["val/image"] == [1, 2, 2]
    assert folder.latest()["val/image", 2].caption == "again"


def test_a_line_that_a_crash_has_cut_is_left_out(tmp_path: Path) -> None:
    """All lines before it are read."""
    before = read_folder(written(tmp_path))
    for script in ("manifest.js", "scalars.js", "run.js", "data/00000.js"):
        with open(tmp_path / "media" / script, "a") as file:
            file.write('LW.data(3,1,{"key": "val/im')
    assert read_folder(tmp_path) == before
    assert read_folder(tmp_path).data("acc@5/matrix") == before.data("acc@5/matrix")


def test_what_is_no_such_folder_is_an_error_that_helps(tmp_path: Path) -> None:
    """It names the folders below, the keys there are, and the line that is none of ours."""
    written(tmp_path / "version_0")
    assert find_folders(tmp_path) == [tmp_path / "version_0" / "media"]
    with pytest.raises(FileNotFoundError, match=r"below it are .*version_0/media"):
        read_folder(tmp_path)
    with pytest.raises(KeyError, match=r"no data of 'val/image', but of \['acc@5/matrix', 'histogram', 'model', "):
        read_folder(tmp_path / "version_0").data("val/image")
    with open(tmp_path / "version_0" / "media" / "manifest.js", "a") as file:
        file.write("alert(1)\n")
    with pytest.raises(ValueError, match=r"found the line 'alert\(1\)', expected LW.key"):
        read_folder(tmp_path / "version_0")


def test_readers_start_without_torch() -> None:
    """They are for machines that look at runs, too."""
    code = (
        "import sys, types; package = sys.modules['lwcallbacks'] = types.ModuleType('lwcallbacks'); "
        f"package.__path__ = [{str(Path(lwcallbacks.__file__).parent)!r}]; import lwcallbacks.readers; "
        "print([m for m in ('torch', 'numpy', 'wandb', 'PIL', 'pytorch_lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
