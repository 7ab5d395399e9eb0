"""Read a run's folder of media: what was written at which step, and the numbers.

    folder = read_folder("lightning_logs/version_0")        # or the folder media in it
    folder.steps()                                          # {"val/confusion_matrix": [4, 9], ...}
    folder.items[-1].path                                   # a PNG, or the file with the data of a table, a matrix ...
    folder.data("val/confusion_matrix_chart")[9]["counts"]
    folder.scalars[-1]                                      # {"step": 9, "gradients_norm/total": 0.5}

The files are described in `lwcallbacks.writers.folder`. A line that a crash has cut short is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwcallbacks.readers.expand import expanded

NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(frozen=True)
class Item:
    """One thing that was written: `kind` is "image", "table", "matrix", "histogram" or "file".

    `path` is the PNG of an image; what is no image shares its file with others, and `MediaFolder.data` reads it.
    """

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
    index: Index = field(repr=False)
    cost: dict[str, Any] | None = None
    """What the last fit has cost, a table {"columns", "rows"}; None where none has come to its end."""

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

        Table: {"columns", "rows"}, an image cell is {"image", "box", "caption"}: a file in `directory`, and left, top,
        width and height in it. Matrix: {"counts", "class_names"}, rows are the truth, and with examples "examples": a
        list of image cells by (row, column). Histogram: {"counts", "edges",
        "nan", "posinf", "neginf"}. File: {"name", "type", "path", "aliases", "metadata"}. JSON has no NaN: in tables
        and metadata such numbers are "nan", "inf" and "-inf".

        Raises KeyError for a key that has none, with those that have.
        """
        items = [item for item in self.latest().values() if item.kind != "image"]
        wanted = [item for item in items if item.key == key]
        if not wanted:
            raise KeyError(f"{self.directory} has no data of {key!r}, but of {sorted({item.key for item in items})}")
        found: dict[int, dict[str, Any]] = {}
        for path in dict.fromkeys(item.path for item in wanted):
            here = {(self.index.numbers[key, item.kind], item.step): item for item in wanted if item.path == path}
            for place, value in _data(path, {number for number, _ in here}):
                if place in here:
                    item = here[place]
                    found[item.step] = expanded(item.kind, value, self.index.texts)
        return {item.step: found[item.step] for item in wanted if item.step in found}


@dataclass
class Index:
    """What `manifest.js` says: the number of each key and kind, and what stands for a number in place of texts."""

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    texts: dict[int, list[str]] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)


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
    index = _index(directory)
    scalars = tuple(_numbers(json.loads(line)) for line in _lines(directory / "scalars.jsonl"))
    return MediaFolder(directory, tuple(index.items), scalars, index, _cost(directory / "cost.js"))


def _cost(path: Path) -> dict[str, Any] | None:
    for line in _lines(path):
        table = json.loads(line.removeprefix("LW.cost(").removesuffix(");"))
        return expanded("table", table, {})
    return None


def _index(directory: Path) -> Index:
    index, keys = Index(), dict[int, tuple[str, str, str]]()
    for name, arguments in _calls(directory / "manifest.js"):
        match name, arguments:
            case "key", [number, key, kind, folder]:
                keys[number] = key, kind, folder
                index.numbers[key, kind] = number
            case "text", [number, texts]:
                index.texts[number] = texts
            case "step", [step, chunk, ranges, *captions]:
                told: Mapping[str, str] = captions[0] if captions else {}
                for low, high in zip(ranges[::2], ranges[1::2], strict=True):
                    for number in range(low, high + 1):
                        key, kind, folder = keys[number]
                        file = f"{folder}/{step:08d}.png" if kind == "image" else f"data/{chunk:05d}.js"
                        index.items.append(Item(key, step, kind, directory / file, told.get(str(number))))
    return index


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {key: NUMBERS[value] if isinstance(value, str) else value for key, value in line.items()}


def _calls(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Names and arguments of a script's calls, one call a line."""
    for line in _lines(path):
        name, bracket, arguments = line.partition("(")
        if name not in ("LW.key", "LW.text", "LW.step") or not bracket or not line.endswith(");"):
            raise ValueError(f"{path}: found the line {line[:80]!r}, expected LW.key(...);, LW.text or LW.step")
        yield name.removeprefix("LW."), json.loads(f"[{arguments.removesuffix(');')}]")


def _data(path: Path, numbers: set[int]) -> Iterator[tuple[tuple[int, int], Any]]:
    """The values of some keys in a chunk, with number and step."""
    starts = tuple(f"LW.data({number}," for number in numbers)
    for line in _lines(path):
        if line.startswith(starts):
            number, step, value = json.loads(f"[{line.removeprefix('LW.data(').removesuffix(');')}]")
            yield (number, step), value


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; none where there is no file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
