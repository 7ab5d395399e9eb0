"""Runs beside each other: what is compared equals what a plain look at the folders says."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.runs import EVIL, append, written

from lwcallbacks.html import parts
from lwcallbacks.readers import read_folder
from lwcallbacks.sharing import compare, comparison
from lwcallbacks.sharing.compare import facts
from lwcallbacks.writers import FolderWriter


def given(html: str) -> dict[str, Any]:
    [text] = re.findall(r'<script type="application/json" id="lw-runs">(.*)</script>', html)
    return json.loads(text)  # type: ignore[no-any-return]


def runs_in(html: str) -> list[dict[str, Any]]:
    return given(html)["runs"]  # type: ignore[no-any-return]


def test_what_is_compared(tmp_path: Path) -> None:
    """Names, hyperparameters, curves, the last matrix, and samples by id; each file of images once for a run."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="bbb", config={"lr": 0.2})
    html = comparison([a, b])
    first, second = runs_in(html)
    assert (first["name"], first["last_step"], first["config"]) == ("digits version_0", 20, {"lr": 0.1})
    assert first["curves"] == {"lr": [[20, "nan"]], "train/loss": [[5, 0.9]], "val/loss": [[10, 0.5], [20, 0.75]]}
    matrix = {"step": 20, "class_names": ["a", "b"], "cells": [[0, 0, 1], [1, 0, 1], [1, 1, 1]], "examples": {}}
    assert first["matrices"] == {"val/matrix": matrix}
    assert second["matrices"]["val/matrix"]["cells"] == [[0, 1, 1], [1, 1, 2]]
    rows = {run: found["samples"]["val/samples"]["rows"] for run, found in (("a", first), ("b", second))}
    correct = {run: [row["correct"] for row in of.values()] for run, of in rows.items()}
    assert correct == {"a": [True, False, True], "b": [False, True, True]}
    images = {name: row["image"]["image"] for name, row in rows["a"].items()}
    assert images == dict.fromkeys(("s0", "s1", "s2"), next(iter(images.values())))
    assert images["s0"].startswith("0/val/samples/")
    assert len(given(html)["images"]) == 2
    png = base64.b64decode(given(html)["images"][images["s0"]].removeprefix("data:image/png;base64,"))
    assert png == (a / images["s0"].removeprefix("0/")).read_bytes()


@pytest.mark.parametrize(("told", "correct"), [(True, True), ("true", True), (1, True), (False, False), ("no", False)])
def test_a_table_may_say_what_is_correct(told: Any, correct: bool, tmp_path: Path) -> None:
    """In a column of its own, in place of predictions and targets."""
    folder = written(tmp_path)
    append(folder, "data/00000.js", ("data", [1, 20, {"columns": ["id", "correct"], "cells": [["x"], [told]]}]))
    assert facts(read_folder(folder))["samples"]["val/samples"]["rows"] == {"x": {"correct": correct}}


def test_long_curves_keep_their_extremes(tmp_path: Path) -> None:
    """At most 2,000 points, with the first, the last, the lowest and the highest."""
    writer = FolderWriter(tmp_path / "media")
    values = {step: float((step * 7919) % 10_007) for step in range(20_000)}
    writer.write_logged([(step, 0, {"x": value}) for step, value in values.items()])
    curve = facts(read_folder(tmp_path))["curves"]["x"]
    assert len(curve) <= 2_002
    assert all(values[step] == value for step, value in curve)
    assert {curve[0][0], curve[-1][0]} == {0, 19_999}
    assert {min(v for _, v in curve), max(v for _, v in curve)} == {0.0, 10_006.0}


def test_names_are_data(tmp_path: Path) -> None:
    """Whatever is in a key, a class, a cell, a name or a hyperparameter: no markup is in the page."""
    a = written(tmp_path / "a", name=EVIL, classes=("a", EVIL), config={EVIL: EVIL, "__proto__": {"x": 1}})
    b = written(tmp_path / "b", preds="bbb")
    append(a, "scalars.js", ("scalars", [1, 0, {EVIL: 0.5, "__proto__": 1.0}]))
    html, plain = comparison([a, b]), comparison([b, b])
    assert html.count("<script") == plain.count("<script")
    assert len(re.findall(r"<script[ >]", html)) == len(re.findall(r"<script[ >]", plain))
    assert "<img src" not in html
    assert runs_in(html)[0]["config"][EVIL] == EVIL


@pytest.mark.parametrize(
    "value",
    [
        {"class_names": ["a", "b"], "cells": [9, 1]},
        {"class_names": ["a", "b"], "cells": [1, "<b>"]},
        {"class_names": 17, "cells": []},
        {"class_names": ["a"], "cells": [-3, 1]},
    ],
)
def test_a_matrix_that_is_none_is_refused(value: Any, tmp_path: Path) -> None:
    """Cells outside, text for a count, names that are nowhere."""
    folder = written(tmp_path)
    append(folder, "data/00000.js", ("data", [0, 20, value]))
    with pytest.raises((ValueError, LookupError, TypeError)):
        comparison([folder, folder])


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "link.png", "text.png"])
def test_an_image_of_elsewhere_is_not_taken(name: str, tmp_path: Path) -> None:
    """Nor is one that is no PNG: the sample is compared without it."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="bbb")
    secret = a.parent / "secret.png"
    secret.write_bytes((a / "val/image/00000010.png").read_bytes())
    (a / "link.png").symlink_to(secret)
    (a / "text.png").write_text("<svg onload=alert(1)>")
    cells = [["s0"], [{"image": name, "box": [0, 0, 8, 8]}], ["a"], ["a"]]
    columns = ["id", "image", "pred", "target"]
    append(a, "data/00000.js", ("data", [1, 20, {"columns": columns, "cells": cells}]))
    html = comparison([a, b])
    first, second = runs_in(html)
    assert first["samples"]["val/samples"]["rows"] == {"s0": {"pred": "a", "target": "a", "correct": True}}
    assert (first["left_out"], second["left_out"]) == (1, 0)
    assert all(file.startswith("1/") for file in given(html)["images"])


def test_examples_of_a_cell_are_taken_along(tmp_path: Path) -> None:
    """Those of a file of the folder; what is no image, or of elsewhere, is left out."""
    folder = written(tmp_path / "a")
    cell = {"image": "val/image/00000010.png", "box": [0, 0, 8, 8], "caption": "id 7"}
    examples = {"1,0": [cell, {"image": "../x.png", "box": [0, 0, 8, 8]}, 7], "0,1": [{"image": 1}]}
    value = {"class_names": ["a", "b"], "cells": [2, 1], "examples": examples}
    append(folder, "data/00000.js", ("data", [0, 20, value]))
    first, _ = runs_in(comparison([folder, written(tmp_path / "b")]))
    assert first["matrices"]["val/matrix"]["examples"] == {"1,0": [{**cell, "image": "0/val/image/00000010.png"}]}
    assert first["left_out"] == 1


def test_images_of_samples_that_flipped_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for all; how many are left out is on the page."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="abb")
    cells = [["s0", "s1"], [{"image": f"{name}.png", "box": [0, 0, 8, 8]} for name in ("one", "two")]]
    for folder, preds in ((a, ["a", "a"]), (b, ["a", "b"])):
        for name in ("one", "two"):
            (folder / f"{name}.png").write_bytes((a / "val/image/00000010.png").read_bytes())
        value = {"columns": ["id", "image", "pred", "target"], "cells": [*cells, preds, ["a", "b"]]}
        append(folder, "data/00000.js", ("data", [1, 20, value]))
    size = (a / "one.png").stat().st_size
    monkeypatch.setattr(compare, "MOST_BYTES", 2 * size)
    found = given(comparison([a, b]))
    assert sorted(found["images"]) == ["0/two.png", "1/two.png"]
    assert [run["left_out"] for run in found["runs"]] == [1, 1]


def test_the_page_is_of_the_scripts_of_a_run_s_page(tmp_path: Path) -> None:
    """The browser runs these and no other, and asks for nothing."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    html = comparison([a, b])
    assert parts(compare.SHARED)[1].count("function asTable") == html.count("function asTable") == 1
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256-") == 1
