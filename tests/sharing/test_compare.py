"""Runs beside each other: what is compared equals what a plain look at the folders says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.runs import EVIL, append, written

from lwcallbacks.readers import read_folder
from lwcallbacks.sharing import comparison
from lwcallbacks.sharing.compare import facts
from lwcallbacks.writers import FolderWriter


def runs_in(html: str) -> list[dict[str, Any]]:
    [text] = re.findall(r"LW = \{runs: JSON\.parse\((.*)\)\};", html)
    return json.loads(json.loads(text))  # type: ignore[no-any-return]


def test_what_is_compared(tmp_path: Path) -> None:
    """Names, hyperparameters, curves, the last matrix, and samples by id; images of those that flipped."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="bbb", config={"lr": 0.2})
    first, second = runs_in(comparison([a, b]))
    assert (first["name"], first["last_step"], first["run"]["config"]) == ("digits version_0", 20, {"lr": 0.1})
    assert first["curves"] == {"lr": [[20, "nan"]], "train/loss": [[5, 0.9]], "val/loss": [[10, 0.5], [20, 0.75]]}
    matrix = {"step": 20, "class_names": ["a", "b"], "cells": [[0, 0, 1], [1, 0, 1], [1, 1, 1]]}
    assert first["matrices"] == {"val/matrix": matrix}
    assert second["matrices"]["val/matrix"]["cells"] == [[0, 1, 1], [1, 1, 2]]
    rows = {run: found["samples"]["val/samples"]["rows"] for run, found in (("a", first), ("b", second))}
    correct = {run: [row["correct"] for row in of.values()] for run, of in rows.items()}
    assert correct == {"a": [True, False, True], "b": [False, True, True]}
    assert [name for name, row in rows["a"].items() if "image" in row] == ["s0", "s1"]
    assert all(row["image"]["url"].startswith("data:image/png;base64,") for row in rows["a"].values() if "image" in row)


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
    assert html.count("<script") == plain.count("<script") == 2
    assert "<img" not in html
    assert runs_in(html)[0]["run"]["config"][EVIL] == EVIL


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


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "link.png"])
def test_an_image_of_elsewhere_is_not_taken(name: str, tmp_path: Path) -> None:
    """The sample is compared without it."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", preds="bbb")
    secret = a.parent / "secret.png"
    secret.write_bytes((a / "val/image/00000010.png").read_bytes())
    (a / "link.png").symlink_to(secret)
    cells = [["s0"], [{"image": name, "box": [0, 0, 8, 8]}], ["a"], ["a"]]
    columns = ["id", "image", "pred", "target"]
    append(a, "data/00000.js", ("data", [1, 20, {"columns": columns, "cells": cells}]))
    first, _ = runs_in(comparison([a, b]))
    assert first["samples"]["val/samples"]["rows"] == {"s0": {"pred": "a", "target": "a", "correct": True}}
