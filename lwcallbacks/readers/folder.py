"""Read a run's folder of media: what was written at which step, and the numbers.

    folder = read_folder("lightning_logs/version_0")        # or the folder media in it
    folder.steps()                                          # {"val/confusion_matrix": [4, 9], ...}
    folder.items[-1].path                                   # a PNG, or the JSON of a table, a matrix or a histogram
    folder.data("val/confusion_matrix_chart")[9]["counts"]
    folder.scalars[-1]                                      # {"step": 9, "gradients_norm/total": 0.5}

The files are described in `lwcallbacks.writers.folder`. A line that a crash has cut short is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(frozen=True)
class Item:
    """One thing that was written: `kind` is "image", "table", "matrix", "histogram" or "file"."""

    key: str
    step: int
    kind: str
    path: Path
    caption: str | None = None


@dataclass(frozen=True)
class MediaFolder:
    """A folder of media as it was read. Items and numbers are in the order in which they were written."""

    directory: Path
    items: tuple[Item, ...]
    scalars: tuple[dict[str, float], ...]

    def steps(self) -> dict[str, list[int]]:
        """The steps at which each key was written, twice where it was written twice."""
        steps: dict[str, list[int]] = {}
        for item in self.items:
            steps.setdefault(item.key, []).append(item.step)
        return steps

    def latest(self) -> dict[tuple[str, int], Item]:
        """The item of each key and step: of those written twice, the last."""
        return {(item.key, item.step): item for item in self.items}

    def data(self, key: str) -> dict[int, dict[str, Any]]:
        """What a table, matrix, histogram or file holds, by step.

        Raises KeyError for a key that has none, with those that have.
        """
        items = [item for item in self.items if item.path.suffix == ".json"]
        script = next((item.path.with_name("data.js") for item in items if item.key == key), None)
        if script is None:
            raise KeyError(f"{self.directory} has no data of {key!r}, but of {sorted({item.key for item in items})}")
        calls = (json.loads(f"[{call}]") for call in _calls(script, "LW.data"))
        return {step: value for _, step, value in calls}


def find_folders(root: str | Path) -> list[Path]:
    """The folders of media at `root` or anywhere below it, sorted."""
    return sorted(path.parent for path in Path(root).rglob("manifest.js"))


def read_folder(path: str | Path) -> MediaFolder:
    """The media in a folder, or in the folder `media` of a run's.

    >>> import tempfile
    >>> from lwcallbacks.media import Table
    >>> from lwcallbacks.writers import FolderWriter
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     writer = FolderWriter(directory)
    ...     writer.write({"val/report": Table(("class", "recall"), [["cat", 0.5]])}, step=120)
    ...     writer.write_scalars({"norm": float("inf")}, step=120)
    ...     folder = read_folder(directory)
    ...     folder.steps(), folder.data("val/report")[120]["rows"], folder.scalars
    ({'val/report': [120]}, [['cat', 0.5]], ({'step': 120, 'norm': inf},))

    Raises:
        FileNotFoundError: neither has been written to.
        ValueError: a line is no line of such a folder.
    """
    places = [Path(path), Path(path, "media")]
    directory = next((d for d in places if any((d / name).exists() for name in ("manifest.js", "scalars.jsonl"))), None)
    if directory is None:
        below = ", ".join(map(str, find_folders(path)))
        hint = f"; below it are {below}" if below else ""
        raise FileNotFoundError(f"{path} holds no manifest.js and no scalars.jsonl, nor does its folder media{hint}")
    items = tuple(_item(directory, json.loads(call)) for call in _calls(directory / "manifest.js", "LW.add"))
    scalars = tuple(_numbers(json.loads(line)) for line in _lines(directory / "scalars.jsonl"))
    return MediaFolder(directory, items, scalars)


def _item(directory: Path, line: dict[str, Any]) -> Item:
    return Item(line["key"], line["step"], line["kind"], directory / line["file"], line.get("caption"))


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: NUMBERS[value] if isinstance(value, str) else value for key, value in line.items()}


def _calls(path: Path, function: str) -> Iterator[str]:
    """The arguments of a script's calls, one call a line."""
    for line in _lines(path):
        if not (line.startswith(f"{function}(") and line.endswith(");")):
            raise ValueError(f"{path}: found the line {line[:80]!r}, expected {function}(...);")
        yield line.removeprefix(f"{function}(").removesuffix(");")


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; none where there is no file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
