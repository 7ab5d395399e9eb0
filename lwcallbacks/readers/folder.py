"""Read a run's folder of media: what was written at which step, and the numbers.

    folder = read_folder("lightning_logs/version_0")        # or the folder media in it
    folder.steps()                                          # {"val/confusion_matrix": [4, 9], ...}
    folder.items[-1].path                                   # a PNG, or the file with the data of a table, a matrix ...
    folder.data("val/confusion_matrix_chart")[9]["counts"]
    folder.scalars[-1]                                      # Logged(step=9, epoch=1, values={"val/loss": 0.5})
    folder.curves()["val/loss"]                             # {4: 0.7, 9: 0.5}
    folder.run["state"]                                     # "finished"

The files are described in `lwcallbacks.writers.folder`. A line that a crash has cut short is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lwcallbacks.readers.expand import expanded
from lwcallbacks.readers.inside import file_in, lines

NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


@dataclass(frozen=True)
class Item:
    """One thing that was written: `kind` is "image", "table", "matrix", "histogram", "curve" or "file".

    `path` is the PNG of an image; what is no image shares its file with others, and `MediaFolder.data` reads it.
    """

    key: str
    step: int
    kind: str
    path: Path
    caption: str | None = None
    chunk: Path | None = None
    """The file with the step's lines of data, if there are any; an image may have one, see `MediaFolder.data`."""


class Logged(NamedTuple):
    """Numbers that were logged together. The epoch is None where it is not known."""

    step: int
    epoch: int | None
    values: dict[str, float]


@dataclass(frozen=True)
class MediaFolder:
    """A folder of media as it was read. Items and numbers are in the order in which they were written."""

    directory: Path
    items: tuple[Item, ...]
    scalars: tuple[Logged, ...]
    index: Index = field(repr=False)
    cost: dict[str, Any] | None = None
    """What the last fit has cost, a table {"columns", "rows"}; None where none has come to its end."""
    run: dict[str, Any] = field(default_factory=dict)
    """What the run is: "name", "version", "started", "ended", "state", "config", "max_epochs"; "error", type and
    first line of what ended it early; and "failed", how many drawings and writes failed, by who failed; empty if
    unknown."""

    @property
    def last_step(self) -> int | None:
        """The last step at which anything was logged; None of a run that has logged nothing. Checkpoints are no part of
        it: the step of one is how many there were, one more than the number of the last."""
        files = [item.step for item in self.items if item.kind == "file"]
        others = [item.step for item in self.items if item.kind != "file"]
        return max([*others, *(logged.step for logged in self.scalars)] or files, default=None)

    def steps(self) -> dict[str, list[int]]:
        """The steps at which each key was written, twice where it was written twice."""
        steps: dict[str, list[int]] = {}
        for item in self.items:
            steps.setdefault(item.key, []).append(item.step)
        return steps

    def curves(self) -> dict[str, dict[int, float]]:
        """The values of each key that was logged, by step, in the order of steps: of those logged twice the last."""
        curves: dict[str, dict[int, float]] = {}
        for logged in self.scalars:
            for key, value in logged.values.items():
                curves.setdefault(key, {})[logged.step] = value
        return {key: dict(sorted(curve.items())) for key, curve in curves.items()}

    def latest(self) -> dict[tuple[str, int], Item]:
        """The item of each key and step: of those written twice, the last."""
        return {(item.key, item.step): item for item in self.items}

    def data(self, key: str) -> dict[int, dict[str, Any]]:
        """What a table, matrix, histogram, curve or file holds, by step; of images, what lies over them.

        Table: {"columns", "rows"}, an image cell is {"image", "box", "caption"}: a file in `directory`, and left, top,
        width and height in it. Matrix: {"counts", "class_names"}, rows are the truth, and with examples "examples": a
        list of image cells by (row, column). Histogram: {"counts", "edges", "nan", "posinf", "neginf"}. Curve: {"x",
        "y", "lines", "diagonal", "notes"}, a line is {"name", "x", "y", "text", "marks", "at", "readings"}. File:
        {"name", "type", "path", "aliases", "metadata"}. An image with masks or boxes: {"layers", "boxes"}, a layer is
        {"name", "classes", "colours", "image"}, the file of a label for each pixel, and the names and colours of
        labels; a box is {"box", "label", "style"}, left, top, width and height in pixels of the image, with "score" and
        "match" where they are known. JSON has no NaN: in tables and metadata such numbers are "nan", "inf" and "-inf".

        Raises KeyError for a key that has none, with those that have.
        """
        return {step: expanded(kind, value, self.index.texts) for step, (kind, value) in self._found(key).items()}

    def raw(self, key: str) -> dict[int, dict[str, Any]]:
        """What `data` gives, as it is in the file: `lwcallbacks.writers.compact` describes it."""
        return {step: value for step, (_, value) in self._found(key).items()}

    def _found(self, key: str) -> dict[int, tuple[str, dict[str, Any]]]:
        items = list(self.latest().values())
        wanted = [item for item in items if item.key == key and item.chunk is not None]
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        for path in dict.fromkeys(item.chunk for item in wanted if item.chunk is not None):
            here = {(self.index.numbers[key, item.kind], item.step): item for item in wanted if item.chunk == path}
            for place, value in _data(self.directory, path, {number for number, _ in here}):
                if place in here:
                    item = here[place]
                    found[item.step] = item.kind, value
        if not found and all(item.kind == "image" for item in items if item.key == key):
            others = sorted({item.key for item in items if item.kind != "image"})
            raise KeyError(f"{self.directory} has no data of {key!r}, but of {others}")
        return {item.step: found[item.step] for item in wanted if item.step in found}


@dataclass
class Index:
    """What `manifest.js` says: the number of each key and kind, and what stands for a number in place of texts."""

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    texts: dict[int, list[str]] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)


MARKS = ("manifest.js", "run.js", "scalars.js")
"""The files of which a folder of media has one at least."""


PAGE = "index.html"


def find_folders(root: str | Path, missed: Callable[[OSError], object] | None = None) -> list[Path]:
    """The folders of media at `root` or anywhere below it, sorted. Links to folders are not followed.

    Args:
        missed: called with the error of each folder that cannot be looked into: one that may not be read, or that is
            gone by now. The others are found all the same.
    """
    found = []
    for directory, _, names in os.walk(root, onerror=missed):
        # Other programs may have files of the other names.
        if MARKS[0] in names or any(_is_ours(Path(directory, name)) for name in MARKS[1:] if name in names):
            found.append(Path(directory))
    return sorted(found)


def _is_ours(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with open(file_in(path.parent, path.name), "rb") as file:
            return file.read(3) == b"LW."
    except PermissionError:
        return True  # as far as is known: reading it says what is wrong
    except (OSError, ValueError):
        return False


def read_folder(path: str | Path) -> MediaFolder:
    """The media in a folder, or in the folder `media` of a run's. The path may be that of its page, `index.html`.

    >>> import tempfile
    >>> from lwcallbacks.media import Table
    >>> from lwcallbacks.writers import FolderWriter
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     writer = FolderWriter(directory)
    ...     writer.write({"val/report": Table(("class", "recall"), [["cat", 0.5]])}, step=120)
    ...     writer.write_scalars({"norm": float("inf")}, step=120)
    ...     folder = read_folder(directory)
    ...     folder.steps(), folder.data("val/report")[120]["rows"], folder.scalars
    ({'val/report': [120]}, [['cat', 0.5]], (Logged(step=120, epoch=None, values={'norm': inf}),))

    Raises:
        FileNotFoundError: there is no such folder, or neither has been written to.
        ValueError: a line is no line of such a folder, or what it names is not in it.
    """
    path = of_page(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder, expected that of a run, as lightning_logs/version_0")
    places = [path, path / "media"]
    directory = next((d for d in places if any((d / name).exists() for name in MARKS)), None)
    if directory is None:
        below = ", ".join(map(str, find_folders(path)))
        hint = f"; below it are {below}" if below else ""
        raise FileNotFoundError(f"{path} holds none of {', '.join(MARKS)}, nor does its folder media{hint}")
    index = _index(directory)
    scalars = tuple(_logged(directory, *arguments) for _, arguments in calls(directory, "scalars.js", "scalars"))
    runs = [facts for _, [facts] in calls(directory, "run.js", "run") if isinstance(facts, dict)]
    costs = [table for _, [table] in calls(directory, "cost.js", "cost")]
    cost = expanded("table", costs[-1], {}) if costs else None
    return MediaFolder(directory, tuple(index.items), scalars, index, cost, runs[-1] if runs else {})


def of_page(path: str | Path) -> Path:
    """The folder of a page, where the path is one; else the path.

    >>> of_page("version_0/media/index.html").as_posix(), of_page("version_0").as_posix()
    ('version_0/media', 'version_0')
    """
    path = Path(path)
    return path.parent if path.name == PAGE and not path.is_dir() else path


def _index(directory: Path) -> Index:
    index, keys = Index(), dict[int, tuple[str, str, str]]()
    for name, arguments in calls(directory, "manifest.js", "key", "text", "step"):
        match name, arguments:
            case "key", [int(number), str(key), str(kind), str(folder)]:
                file_in(directory, folder)
                keys[number] = key, kind, folder
                index.numbers[key, kind] = number
            case "text", [int(number), list(texts)]:
                index.texts[number] = texts
            case "step", [int(step), (int() | None) as chunk, list(ranges), *captions]:
                told: Mapping[str, str] = captions[0] if captions else {}
                for low, high in zip(ranges[::2], ranges[1::2], strict=True):
                    for number in range(low, high + 1):
                        key, kind, folder = keys[number]
                        data = None if chunk is None else directory / f"data/{chunk:05d}.js"
                        path = directory / f"{folder}/{step:08d}.png" if data is None or kind == "image" else data
                        index.items.append(Item(key, step, kind, path, told.get(str(number)), data))
            case _:
                raise ValueError(f"{directory / 'manifest.js'}: found LW.{name} of {str(arguments)[:80]}")
    return index


def _logged(directory: Path, *arguments: Any) -> Logged:
    match arguments:
        case [int(step), (int() | None) as epoch, dict(values)]:
            return Logged(step, epoch, {key: number(value) for key, value in values.items()})
    raise ValueError(f"{directory / 'scalars.js'}: found {str(arguments)[:80]}, expected step, epoch and values")


def number(value: Any) -> float:
    """A number of JSON, which has no NaN and no infinity.

    Raises ValueError for anything else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in NUMBERS:
        raise ValueError(f"found {str(value)[:80]!r}, expected a number")
    return NUMBERS[value]


def calls(directory: Path, file: str, *names: str) -> Iterator[tuple[str, list[Any]]]:
    """Names and arguments of a script's calls, as "key" for `LW.key(...)`, one call a line.

    Raises:
        ValueError: there is another line, or the file is not in the folder.
    """
    for line in lines(directory, file):
        name, _, arguments = line.partition("(")
        if name.removeprefix("LW.") not in names or not name.startswith("LW.") or not line.endswith(");"):
            expected = " or ".join(f"LW.{name}(...);" for name in names)
            raise ValueError(f"{directory / file}: found the line {line[:80]!r}, expected {expected}")
        yield name.removeprefix("LW."), json.loads(f"[{arguments.removesuffix(');')}]", parse_constant=_no_json)


def _no_json(constant: str) -> float:
    raise ValueError(f"found {constant}, which JSON does not have")


def _data(directory: Path, path: Path, numbers: set[int]) -> Iterator[tuple[tuple[int, int], Any]]:
    """The values of some keys in a chunk, with number and step."""
    starts = tuple(f"LW.data({number}," for number in numbers)
    for line in lines(directory, path.relative_to(directory).as_posix()):
        if line.startswith(starts):
            try:
                number, step, value = json.loads(f"[{line.removeprefix('LW.data(').removesuffix(');')}]")
            except ValueError as error:
                raise ValueError(f"{path}: found the line {line[:80]!r}, which is damaged: {error}") from error
            yield (number, step), value
