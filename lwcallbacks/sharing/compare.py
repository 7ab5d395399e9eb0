"""Runs beside each other: their numbers, the difference of their last matrices, the samples that flipped.

    comparison([Path("lightning_logs/version_0"), Path("lightning_logs/version_1")])    # HTML, for one file

The first run is what the others are compared with. The page sets `LW.runs`, a list of

    {"name", "path", "run", "last_step", "curves": {key: [[step, value], ...]},
     "matrices": {key: {"step", "class_names", "cells": [[true, predicted, count], ...]}},
     "samples": {key: {"step", "rows": {id: {...}}}}}

where a sample has "pred", "target", "correct" and, where they are known, "confidence", "loss" and "image", a data: URL.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lwcallbacks.readers import MediaFolder, read_folder
from lwcallbacks.readers.expand import filled_cells
from lwcallbacks.readers.inside import content
from lwcallbacks.sharing.safe import inline, script_json, with_policy

MOST_POINTS = 2_000
MOST_IMAGES = 500
MOST_IMAGE_BYTES = 2**22
_PNG = b"\x89PNG\r\n\x1a\n"


def comparison(paths: Iterable[Path]) -> str:
    """A page of HTML that compares runs with the first of them.

    Raises:
        FileNotFoundError, ValueError: as `read_folder`.
    """
    folders = [read_folder(path) for path in paths]
    runs = [facts(folder) for folder in folders]
    flipped = _flipped(runs)
    left = MOST_IMAGES
    for folder, run in zip(folders, runs, strict=True):
        for key, samples in run["samples"].items():
            for name, row in samples["rows"].items():
                image = row.pop("image", None)
                if (
                    left
                    and image is not None
                    and (key, name) in flipped
                    and (found := _cropped(folder.directory, image))
                ):
                    row["image"] = found
                    left -= 1
    return page(runs)


def page(runs: list[dict[str, Any]]) -> str:
    """The page of runs as `facts` gives them."""
    here = files(__package__)
    html, code = (here.joinpath(f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    data = f"globalThis.LW = {{runs: JSON.parse({script_json(script_json(runs))})}};"
    return with_policy(html.replace("<!-- scripts -->", f"<script>{data}</script>\n<script>\n{inline(code)}</script>"))


def facts(folder: MediaFolder) -> dict[str, Any]:
    """What is compared of one run."""
    last = _last(folder)
    curves = {key: _thinned(list(curve.items())) for key, curve in sorted(folder.curves().items())}
    steps = [*(item.step for item in folder.items), *(logged.step for logged in folder.scalars)]
    name = " ".join(str(folder.run[part]) for part in ("name", "version") if folder.run.get(part) is not None)
    return {
        "name": name or folder.directory.absolute().parent.name,
        "path": str(folder.directory),
        "run": {part: folder.run.get(part) for part in ("state", "started", "ended", "config", "max_epochs")},
        "last_step": max(steps, default=None),
        "curves": {key: [[step, _finite(value)] for step, value in curve] for key, curve in curves.items()},
        "matrices": {key: _matrix(folder, key, step) for (key, kind), step in last.items() if kind == "matrix"},
        "samples": _samples(folder, {key: step for (key, kind), step in last.items() if kind == "table"}),
    }


def _last(folder: MediaFolder) -> dict[tuple[str, str], int]:
    """The last step of each key and kind that is no image."""
    last: dict[tuple[str, str], int] = {}
    for item in folder.items:
        if item.kind != "image":
            last[item.key, item.kind] = max(item.step, last.get((item.key, item.kind), item.step))
    return last


def _thinned(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Not more points than can be seen: the first and last, and of each part the lowest and the highest."""
    if len(curve) <= MOST_POINTS:
        return curve
    size = -(-len(curve) // (MOST_POINTS // 2))
    kept = {0, len(curve) - 1}
    for start in range(0, len(curve), size):
        part = range(start, min(start + size, len(curve)))
        finite = [i for i in part if curve[i][1] == curve[i][1]] or [start]
        kept |= {min(finite, key=lambda i: curve[i][1]), max(finite, key=lambda i: curve[i][1])}
    return [curve[i] for i in sorted(kept)]


def _finite(value: float) -> float | str:
    return value if value - value == 0 else str(value)


def _matrix(folder: MediaFolder, key: str, step: int) -> dict[str, Any]:
    value = folder.raw(key)[step]
    names, cells = filled_cells(value, folder.index.texts)
    return {"step": step, "class_names": names, "cells": cells}


def _samples(folder: MediaFolder, tables: Mapping[str, int]) -> dict[str, Any]:
    """Of the tables that are of samples, by id: those that say what was right."""
    found = {}
    for key, step in tables.items():
        table = folder.data(key).get(step, {"columns": [], "rows": []})
        columns = table["columns"]
        if "id" in columns and ("correct" in columns or {"pred", "target"} <= set(columns)):
            rows = [dict(zip(columns, row, strict=True)) for row in table["rows"]]
            found[key] = {"step": step, "rows": {str(row["id"]): _sample(row) for row in rows}}
    return found


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in ("pred", "target", "confidence", "loss", "image") if row.get(name) is not None}
    told = row.get("correct")
    # A table may keep a truth as text.
    correct = row.get("pred") == row.get("target") if told is None else str(told).lower() in ("true", "1", "1.0", "yes")
    return {**known, "correct": correct}


def _flipped(runs: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Table and id of samples that are right in the first run and wrong in another, or the other way round."""
    found = set()
    for other in runs[1:]:
        for key, samples in other["samples"].items():
            before = runs[0]["samples"].get(key, {"rows": {}})["rows"]
            for name, row in samples["rows"].items():
                if name in before and before[name]["correct"] != row["correct"]:
                    found.add((key, name))
    return found


def _cropped(directory: Path, cell: Any) -> dict[str, Any] | None:
    """The image of a cell, and where in it the sample is; None where there is no such PNG in the folder."""
    match cell:
        case {"image": str(name), "box": [int(), int(), int(), int()] as box}:
            try:
                found = content(directory, name)
            except (OSError, ValueError):
                return None
            if found is not None and found.startswith(_PNG) and len(found) <= MOST_IMAGE_BYTES:
                return {"url": f"data:image/png;base64,{base64.b64encode(found).decode()}", "box": box}
    return None
