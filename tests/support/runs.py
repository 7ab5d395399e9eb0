"""Folders of runs as the writer leaves them, made at once, and what a stranger may have put into one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lwcallbacks.media import Image, Matrix, Table
from lwcallbacks.writers import FolderWriter

EVIL = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def grey(value: int) -> Image:
    return Image(np.full((8, 8), value, np.uint8), f"grey {value}")


def written(
    root: Path, preds: str = "aab", name: str | None = "digits", classes: tuple[str, ...] = ("a", "b"), **run: Any
) -> Path:
    """A run's folder `media`: three samples of the classes a, b, b, their matrix, and a curve of three steps."""
    writer = FolderWriter(root / "media")
    targets = "abb"
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for pred, target in zip(preds, targets, strict=True):
        counts["ab".index(target), "ab".index(pred)] += 1
    rows = [[f"s{i}", grey(50 * i), pred, target] for i, (pred, target) in enumerate(zip(preds, targets, strict=True))]
    for step in (10, 20):
        writer.write(
            {
                "val/matrix": Matrix(counts, classes),
                "val/samples": Table(("id", "image", "pred", "target"), rows),
                "val/image": grey(200),
            },
            step,
        )
    logged = [(5, 0, {"train/loss": 0.9}), (10, 0, {"val/loss": 0.5}), (20, 1, {"val/loss": 0.75, "lr": float("nan")})]
    writer.write_logged(logged)
    facts = {"name": name, "version": "version_0", "started": "2026-01-01T00:00:00+00:00", "ended": None,
             "state": "finished", "config": {"lr": 0.1}, "max_epochs": 2}  # fmt: skip
    writer.write_run({**facts, **run})
    return root / "media"


def append(folder: Path, name: str, *calls: tuple[str, list[Any]]) -> None:
    """Add calls to a script of the folder, whatever their arguments."""
    with open(folder / name, "a") as file:
        file.writelines(f"LW.{call}({json.dumps(arguments)[1:-1]});\n" for call, arguments in calls)
