"""A folder of plain files and a page that shows them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lwcallbacks.media import File, Histogram, Image, Matrix, Table
from lwcallbacks.writers.folder import FolderWriter, folder_of, reserve

RAMP = Image(np.arange(64, dtype=np.uint8).reshape(8, 8), "a ramp")
COLOUR = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
ENTRIES: dict[str, Any] = {
    "val/image": RAMP,
    "val/images": [RAMP, COLOUR],
    "val/table": Table(("image", "loss", "other"), [[RAMP, float("nan"), COLOUR], [None, 0.5, "text"]]),
    "val/matrix": Matrix(np.array([[5, 1], [0, 7]]), ("</script><b>cat</b>", "dog")),
    "grad/histogram": Histogram(np.array([1, 2]), np.array([0.0, 0.5, 1.0]), nan=3, posinf=4, neginf=5),
    "model": File(
        Path("some") / "epoch=1.ckpt", "model-a", aliases=("best",), metadata={"loss": float("inf"), "at": Path("p")}
    ),
}


def pixels_in(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def calls(path: Path, name: str) -> list[Any]:
    """The arguments of every line of a script, each parsed as JSON."""
    lines = path.read_text().splitlines()
    assert all(line.startswith(f"LW.{name}(") and line.endswith(");") for line in lines)
    return [json.loads(f"[{line[len(name) + 4 : -2]}]") for line in lines]


def read(path: Path) -> Any:
    """Strict JSON: no NaN, no Infinity."""
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{path}: {name}"))


def test_every_kind_is_a_file_that_holds_its_values(tmp_path: Path) -> None:
    """Pixels, cells, counts and edges come back as they were written."""
    FolderWriter(tmp_path).write(ENTRIES, 120)
    assert (pixels_in(tmp_path / "val/image/00000120.png") == RAMP.pixels).all()
    assert pixels_in(tmp_path / "val/images/00000120.png").shape == (8 + 88 + 8 + 15, 2 * (88 + 8) + 8, 3)
    table = read(tmp_path / "val/table/00000120.json")
    first, second = {"image": "00000120-0.png", "caption": "a ramp"}, {"image": "00000120-0-2.png"}
    assert table == {"columns": ["image", "loss", "other"], "rows": [[first, "nan", second], [None, 0.5, "text"]]}
    assert (pixels_in(tmp_path / "val/table/00000120-0.png") == RAMP.pixels).all()
    assert (pixels_in(tmp_path / "val/table/00000120-0-2.png") == COLOUR.pixels).all()
    assert read(tmp_path / "val/matrix/00000120.json") == {
        "counts": [[5, 1], [0, 7]],
        "class_names": ["</script><b>cat</b>", "dog"],
    }
    assert read(tmp_path / "grad/histogram/00000120.json") == {
        "counts": [1, 2],
        "edges": [0.0, 0.5, 1.0],
        "nan": 3,
        "posinf": 4,
        "neginf": 5,
    }
    assert read(tmp_path / "model/00000120.json") == {
        "path": str(Path("some") / "epoch=1.ckpt"),
        "name": "model-a",
        "type": "model",
        "aliases": ["best"],
        "metadata": {"loss": "inf", "at": "p"},
    }


def test_the_manifest_lists_every_entry_and_every_file_it_names_exists(tmp_path: Path) -> None:
    """And the script of a key holds for each step what the JSON file holds."""
    writer = FolderWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(ENTRIES, step)
    entries = [entry for (entry,) in calls(tmp_path / "manifest.js", "add")]
    assert [(entry["key"], entry["step"]) for entry in entries] == [
        (key, step) for step in (1, 2, 3) for key in ENTRIES
    ]
    assert [entry["kind"] for entry in entries[:6]] == ["image", "image", "table", "matrix", "histogram", "file"]
    for entry in entries:
        file = tmp_path / entry["file"]
        assert file.is_file()
        if entry["kind"] != "image":
            data = {step: value for key, step, value in calls(file.with_name("data.js"), "data") if key == entry["key"]}
            assert data[entry["step"]] == read(file)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_is_continued_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    """After a crash within a line, the next run's lines follow the last whole one."""
    FolderWriter(tmp_path).write({"a": ENTRIES["val/matrix"]}, 1)
    for script in (tmp_path / "manifest.js", tmp_path / "a/data.js"):
        with script.open("a") as file:
            file.write('LW.add({"key": "a", "st')
    FolderWriter(tmp_path).write({"a": ENTRIES["val/matrix"]}, 2)
    assert [entry["step"] for (entry,) in calls(tmp_path / "manifest.js", "add")] == [1, 2]
    assert [step for _, step, _ in calls(tmp_path / "a/data.js", "data")] == [1, 2]


def test_a_file_that_may_not_grow_keeps_whole_lines(tmp_path: Path) -> None:
    """At a quota a write ends in the middle of a line: an error, no half line, and later lines are written again."""
    resource = pytest.importorskip("resource")
    writer, file = FolderWriter(tmp_path), tmp_path / "scalars.jsonl"
    writer.write_scalars({"a": 0.5}, 1)
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="only 5 of 22 bytes could be written"):
            writer.write_scalars({"a": 0.5}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    writer.write_scalars({"a": 0.5}, 3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 3]


@pytest.mark.parametrize(
    "key",
    ["..", "../../x", "/etc/x", "a/../../x", "\\\\host\\x", "C:\\x", "", ".", "a//b", "a\0b", "x" * 300, "ä/日本 1.w"],
)
def test_no_key_leaves_the_directory(tmp_path: Path, key: str) -> None:
    """Whatever a key is called, its picture lies below the directory and the page finds it."""
    root = tmp_path / "media"
    FolderWriter(root).write({key: RAMP}, 1)
    ((entry,),) = calls(root / "manifest.js", "add")
    file = (root / entry["file"]).resolve()
    assert file.is_file()
    assert file.is_relative_to(root.resolve())
    assert entry["key"] == key
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


def test_keys_that_look_alike_keep_folders_of_their_own() -> None:
    """What is replaced in a name does not make two names one; a plain name stays as it is."""
    assert folder_of("val/layer1.weight") == "val/layer1.weight"
    assert len({folder_of(key) for key in ("a:b", "a?b", "a_b", "a\\b", "a b.", "a b")}) == 6


def test_an_unknown_value_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    """A tensor is no picture."""
    with pytest.raises(TypeError, match="'x' is a dict, expected Image"):
        FolderWriter(tmp_path).write({"x": {}}, 1)  # type: ignore[dict-item]


def test_the_page_makes_no_html_of_what_it_shows() -> None:
    """Class names come from users' data: the page inserts text only, and it loads nothing from elsewhere."""
    page = (Path(__file__).parents[2] / "lwcallbacks/writers/index.html").read_text()
    assert "textContent" in page
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(", page)
    assert re.findall(r"https?://[^\"' ]+", page) == ["http://www.w3.org/2000/svg"]


@pytest.mark.skipif(
    not (browser := shutil.which("chromium") or shutil.which("google-chrome")), reason="needs a browser"
)
def test_the_page_shows_every_kind_from_the_disk(tmp_path: Path) -> None:
    """Opened as a file, each card is filled from the side scripts, and markup in a class name is shown as text."""
    writer = FolderWriter(tmp_path / "media #1")
    for step in (1, 20):
        writer.write(ENTRIES, step)
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    page = subprocess.run(
        [str(browser), *switches.split(), f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,3000",
         "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "media #1/index.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert re.findall(r"<h3>(.*?)</h3>", page) == sorted(ENTRIES, key=lambda key: (not key.startswith("val/"), key)), (
        "val first"
    )
    assert page.count("step 20</output>") == 1 + len(ENTRIES)
    assert "13 samples, 92.3 % on the diagonal" in page
    assert "&lt;/script&gt;&lt;b&gt;cat&lt;/b&gt;" in page
    assert "3 finite values, 3 NaN, 4 +Inf, 5 −Inf. Between 0 and 1." in page
    assert "<dd>model-a</dd>" in page
    assert "00000020-0-2.png" in page
    assert not re.search(r"<p[^>]*>No data of", page)


def test_runs_that_reserve_a_folder_at_once_get_one_each(tmp_path: Path) -> None:
    """Whatever is there already, and whichever comes first."""
    (tmp_path / "logs" / "version_1").mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: reserve(tmp_path / "logs"), range(40)))
    assert sorted(int(f.name.removeprefix("version_")) for f in folders) == [0, *range(2, 41)]
    assert all(folder.is_dir() for folder in folders)
    assert reserve(tmp_path / "new", "run-{}") == tmp_path / "new" / "run-0"
