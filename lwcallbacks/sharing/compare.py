"""Runs beside each other: their numbers, the difference of their last matrices, the samples that flipped.

    comparison([Path("lightning_logs/version_0"), Path("lightning_logs/version_1")])    # HTML, for one file

The first run is what the others are compared with. The page is made of the scripts of a run's page and of those beside
this file. It is given {"runs": [...], "images": {file: a data: URL}}, where a run is

    {"name", "path", "state", "started", "last_step", "config", "monitor", "mode", "cost", "left_out", "missing",
     "shown": [key], "epochs": [[last step, epoch], ...],
     "curves": {key: [[step, value], ...]},
     "matrices": {key: {"step", "class_names", "cells": [[true, predicted, count], ...], "examples": {"0,1": [image]}}},
     "samples": {key: {"step", "falling", "rows": {id: {...}}}},
     "reports": {key: {"step", "columns", "cells"}}}

and a sample has "correct" and, where they are known, "pred", "target", "confidence", "loss" and "image". An image is
{"image": file, "box", "caption"}. "cost" is what the callbacks have cost, in percent of the run; "left_out" counts the
images that are not on the page; "missing" says which data could not be read, and of which step others are there in
their place; "shown" are the keys of pictures, tables and the like; "falling" is whether the losses of a table fall, so
that the hardest were chosen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lwcallbacks.html import parts
from lwcallbacks.readers import Item, MediaFolder, read_folder
from lwcallbacks.readers.expand import filled_cells
from lwcallbacks.readers.inside import content
from lwcallbacks.sharing.safe import inline, script_json, with_policy

MOST_POINTS = 2_000
MOST_IMAGE_BYTES = 2**22
MOST_BYTES = 2**25
"""Of all images together."""

SHARED = (
    "text", "numbers", "store", "expand", "dom", "section", "theme", "time", "panel", "tile", "overlay", "samples",
    "matrix", "confusion", "curves", "gradients", "tables", "answers", "about",
)  # fmt: skip
OTHER_NAMES = {"true": "target", "predicted": "pred"}
"""What a table of the samples behind a matrix calls them."""
OWN = ("compare", "compare_matrix", "compare_reports", "compare_samples")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Compared:
    """A page in one file. `left_out` says what of the runs could not be read: data and images, with their files."""

    html: str
    left_out: list[str]


def comparison(paths: Iterable[Path]) -> str:
    """A page of HTML that compares runs with the first of them.

    Raises:
        FileNotFoundError, ValueError: as `read_folder`.
    """
    return compared(paths).html


def compared(paths: Iterable[Path]) -> Compared:
    """The page, and what is missing on it.

    Raises:
        FileNotFoundError, ValueError: as `read_folder`.
    """
    folders = [read_folder(path) for path in paths]
    runs = [facts(folder) for folder in folders]
    images, missing = _taken_along(folders, runs)
    return Compared(page(runs, images), [told for run in runs for told in run["missing"]] + missing)


def page(runs: list[dict[str, Any]], images: Mapping[str, str]) -> str:
    """The page of runs as `facts` gives them."""
    here = files(__package__)
    html = here.joinpath("compare.html").read_text(encoding="utf-8")
    styles, scripts = parts(SHARED)
    own = [here.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in OWN]
    start = 'LW.compare(JSON.parse(document.getElementById("lw-runs").textContent));'
    filled = {
        "{{styles}}": styles,
        "{{scripts}}": inline("\n".join([scripts, *own, start])),
        "{{runs}}": script_json({"runs": runs, "images": images}),
    }
    for place, text in filled.items():  # what data hold stays as it is: they come last
        html = html.replace(place, text, 1)
    return with_policy(html)


def facts(folder: MediaFolder) -> dict[str, Any]:
    """What is compared of one run."""
    last, missing = _last(folder)
    curves = {key: _thinned(list(curve.items())) for key, curve in sorted(folder.curves().items())}
    name = " ".join(str(folder.run[part]) for part in ("name", "version") if folder.run.get(part) is not None)
    return {
        "name": name or folder.directory.absolute().parent.name,
        "path": str(folder.directory),
        **{part: folder.run.get(part) for part in ("state", "started", "config", "monitor", "mode")},
        "last_step": folder.last_step,
        "cost": _cost(folder),
        "left_out": 0,
        "shown": sorted({item.key for item in folder.items if item.kind != "histogram"}),
        "missing": missing,
        "epochs": _epochs(folder),
        "curves": {key: [[step, _finite(value)] for step, value in curve] for key, curve in curves.items()},
        "matrices": {key: _matrix(folder, key, step) for (key, kind), step in last.items() if kind == "matrix"},
        "samples": _samples(folder, {key: step for (key, kind), step in last.items() if kind == "table"}),
        "reports": _reports(folder, {key: step for (key, kind), step in last.items() if kind == "table"}),
    }


def _last(folder: MediaFolder) -> tuple[dict[tuple[str, str], int], list[str]]:
    """The last step of each matrix and table of which there are data; and what is missing after it."""
    written: dict[tuple[str, str], dict[int, Item]] = {}
    for item in folder.items:
        if item.kind in ("matrix", "table"):
            written.setdefault((item.key, item.kind), {})[item.step] = item
    last, missing = {}, []
    for (key, kind), items in written.items():
        there = folder.raw(key)
        if found := [step for step in items if step in there]:
            last[key, kind] = max(found)
        if max(items) not in there:
            instead = f"; compared is step {max(found)}" if found else ""
            missing.append(f"{items[max(items)].path}: has no whole line of {key} at step {max(items)}{instead}")
    return last, missing


def _epochs(folder: MediaFolder) -> list[list[int]]:
    """The last step of each epoch, both ascending; a test after a fit is of no epoch of it."""
    ends: list[list[int]] = []
    for logged in sorted(folder.scalars, key=lambda logged: logged.step):
        is_test = ends and all("test" in re.split("[/_]", key) for key in logged.values)
        if logged.epoch is None or is_test:
            continue
        if ends and ends[-1][1] == logged.epoch:
            ends[-1][0] = logged.step
        elif not ends or (ends[-1][0] < logged.step and ends[-1][1] < logged.epoch):
            ends.append([logged.step, logged.epoch])
    return ends


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
    examples = {str(pair): [_image(cell) for cell in kept] for pair, kept in value.get("examples", {}).items()}
    return {"step": step, "class_names": list(map(str, names)), "cells": cells, "examples": examples}


def _cost(folder: MediaFolder) -> float | None:
    """The share of the run that all callbacks have cost, in percent."""
    table = folder.cost or {"columns": [], "rows": []}
    for row in table["rows"]:
        named = dict(zip(table["columns"], row, strict=True))
        if next(iter(row), None) == "total":
            found = [value for name, value in named.items() if str(name).startswith("share")]
            return found[0] if found and isinstance(found[0], int | float) and found[0] - found[0] == 0 else None
    return None


def _samples(folder: MediaFolder, tables: Mapping[str, int]) -> dict[str, Any]:
    """Of the tables that are of samples, by id: those that say what was right."""
    found = {}
    for key, step in tables.items():
        table = folder.data(key).get(step, {"columns": [], "rows": []})
        columns = [OTHER_NAMES.get(column, column) for column in table["columns"]]
        if len(set(columns)) < len(columns):
            columns = table["columns"]
        if "id" in columns and ("correct" in columns or {"pred", "target"} <= set(columns)):
            rows = [dict(zip(columns, row, strict=True)) for row in table["rows"]]
            losses = [row["loss"] for row in rows if isinstance(row.get("loss"), int | float)]
            falling = len(losses) > 4 and losses == sorted(losses, reverse=True) and losses[0] > losses[-1]
            found[key] = {
                "step": step,
                "falling": falling,
                "rows": {str(row["id"]): _sample(row) for row in rows},
            }
    return found


def _reports(folder: MediaFolder, tables: Mapping[str, int]) -> dict[str, Any]:
    """Of the tables those with a row for each class or label: of several labels a sample there is no matrix."""
    found = {}
    for key, step in tables.items():
        table = folder.data(key).get(step, {"columns": [], "rows": []})
        columns = table["columns"]
        if columns[:1] in (["class"], ["label"]) and {"f1", "recall", "support"} <= set(columns):
            cells = [[row[i] for row in table["rows"]] for i in range(len(columns))]
            found[key] = {"step": step, "columns": columns, "cells": cells}
    return found


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in ("pred", "target", "confidence", "loss") if row.get(name) is not None}
    image = _image(row.get("image"))
    told = row.get("correct")
    # A table may keep a truth as text.
    correct = row.get("pred") == row.get("target") if told is None else str(told).lower() in ("true", "1", "1.0", "yes")
    return {**known, **({"image": image} if image else {}), "correct": correct}


def _image(cell: Any) -> dict[str, Any] | None:
    """The image that a cell names, None where it names none."""
    match cell:
        case {"image": str(name), "box": [int(), int(), int(), int()] as box}:
            caption = cell.get("caption")
            return {"image": name, "box": box, **({"caption": caption} if isinstance(caption, str) else {})}
    return None


def _taken_along(folders: list[MediaFolder], runs: list[dict[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """The files of the images, as data: URLs; those of samples that flipped first. Images then name them. One that is
    not in its folder, or for which there is no room, is taken out; the former are said, too."""
    taken: dict[str, str] = {}
    missing: list[str] = []
    room = MOST_BYTES
    tried: dict[str, bool] = {}
    for i, holder, name in _images(runs):
        image = holder[name]
        file = f"{i}/{image['image']}"
        if file not in tried:
            found = _png(folders[i].directory, image["image"])
            tried[file] = found is not None and len(found) <= room
            if found is None:
                missing.append(f"{folders[i].directory / image['image']}: is missing, or no PNG of at most 4 MiB")
            if found is not None and tried[file]:
                taken[file] = f"data:image/png;base64,{base64.b64encode(found).decode()}"
                room -= len(found)
        if tried[file]:
            holder[name] = {**image, "image": file}
        else:
            holder[name] = None
            runs[i]["left_out"] += 1
    for run in runs:
        for matrix in run["matrices"].values():
            matrix["examples"] = {
                pair: [x for x in kept if x] for pair, kept in matrix["examples"].items() if any(kept)
            }
        for samples in run["samples"].values():
            for row in samples["rows"].values():
                if "image" in row and row["image"] is None:
                    del row["image"]
    return taken, missing


def _images(runs: list[dict[str, Any]]) -> Iterator[tuple[int, Any, Any]]:
    """All images, in the order in which they are wanted: the run, and what holds it under which name."""
    flips = _flipped(runs)
    rows = [
        ((key, name) in flips, i, row)
        for i, run in enumerate(runs)
        for key, samples in run["samples"].items()
        for name, row in samples["rows"].items()
        if "image" in row
    ]
    yield from ((i, row, "image") for flips, i, row in rows if flips)
    for i, run in enumerate(runs):
        for matrix in run["matrices"].values():
            for kept in matrix["examples"].values():
                yield from ((i, kept, at) for at, image in enumerate(kept) if image)
    yield from ((i, row, "image") for flips, i, row in rows if not flips)


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


def _png(directory: Path, name: str) -> bytes | None:
    """The content of a PNG of the folder; None where there is none, or a very large one."""
    try:
        found = content(directory, name)
    except (OSError, ValueError):
        return None
    return found if found is not None and found.startswith(_PNG) and len(found) <= MOST_IMAGE_BYTES else None
