"""Media as plain files in a folder, with a page to look at them: open `index.html`, no server needed.

    writer = FolderWriter(Path("media"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

    Value           Files in <directory>/<key>/
    Image           00000120.png
    list of Image   00000120.png: a grid with the captions below the tiles
    Table           00000120.json: {"columns", "rows"}; an image cell is {"image": "00000120-<row>.png"}, relative to
                    the file (a second image in a row: "00000120-<row>-<column>.png")
    Matrix          00000120.json: {"counts", "class_names"}, rows are the truth
    Histogram       00000120.json: {"counts", "edges", "nan", "posinf", "neginf"}
    File            00000120.json: {"name", "type", "path", "aliases", "metadata"}; the file itself stays where it is

Numbers go to `scalars.jsonl`, one line {"step": 120, "gradients_norm/total": 0.5} per write, whether or not a logger
takes them too.

A page opened from a disk may load scripts but no JSON. It therefore reads `manifest.js`, one line `LW.add({...});` per
entry, and, when a card is looked at, `<key>/data.js`, one line `LW.data(key, step, {...});` per JSON file. Both only
ever grow by whole lines: writing costs the same in the first and in the last epoch, a folder is continued by writing
into it again (the last line about a step holds), and a crash loses at most the line it interrupts. JSON has no NaN:
such numbers are written as "nan", "inf" and "-inf".
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lwcallbacks.media import Entry, File, Histogram, Image, Matrix, Table, kind_of, nearest, to_pil
from lwcallbacks.writers.base import Writer, each, raise_errors

_KINDS = {Table: "table", Matrix: "matrix", Histogram: "histogram", File: "file"}


class FolderWriter(Writer):
    """Writes below `directory`, which is made if it is missing and continued if it is not. A function gives it when the
    first entry is written, and not before."""

    def __init__(self, directory: str | os.PathLike[str] | Callable[[], Path]) -> None:
        self._directory = directory

    @cached_property
    def directory(self) -> Path:
        return self._directory() if callable(self._directory) else Path(self._directory)

    @property
    def name(self) -> str:  # type: ignore[override]  # of other writers it is known from the start
        return f"The folder {self.directory}"

    @property
    def page(self) -> str:
        """Where the page is, from here if it is below."""
        page = (self.directory / "index.html").absolute()
        return str(page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page)

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        raise_errors(entries, each(entries, lambda key, entry: self._write_one(key, entry, step)))

    def _write_one(self, key: str, entry: Entry, step: int) -> None:
        kind, path = self.place_of(key, entry, step)
        match entry:
            case Image():
                self._write_image(key, step, path, entry)
            case Table():
                self._write_data(key, step, kind, path, self._table(path, entry))
            case Matrix() | Histogram():
                self._write_data(key, step, kind, path, vars(entry))
            case File():
                described = {name: value for name, value in vars(entry).items() if name != "content"}
                self._write_data(key, step, kind, path, described)
            case _:
                for grid in nearest(entry, key, (Image,)).values():
                    if isinstance(grid, Image):
                        self._write_image(key, step, path, grid)

    def place_of(self, key: str, entry: Entry, step: int) -> tuple[str, Path]:
        """The kind of an entry and the file that `write` makes of it.

        Raises TypeError for a value that is no Entry.
        """
        kind = _KINDS.get(kind_of(key, entry), "image")
        suffix = "png" if kind == "image" else "json"
        return kind, self.directory / folder_of(key) / f"{step:08d}.{suffix}"

    def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        append_lines(self.directory / "scalars.jsonl", json.dumps(jsonable({"step": step, **scalars})))

    def _write_image(self, key: str, step: int, path: Path, image: Image) -> None:
        _save_png(path, image)
        self._list(key, step, "image", path, caption=image.caption)

    def _write_data(self, key: str, step: int, kind: str, path: Path, value: Any) -> None:
        text = json.dumps(jsonable(value), separators=(",", ":"))
        _replace(path, text.encode())
        append_lines(path.with_name("data.js"), f"LW.data({json.dumps(key)}, {step}, {text});")
        self._list(key, step, kind, path)

    def _table(self, path: Path, table: Table) -> dict[str, Any]:
        rows = []
        for i, row in enumerate(table.rows):
            cells: list[Any] = []
            images = [j for j, cell in enumerate(row) if isinstance(cell, Image)]
            for j, cell in enumerate(row):
                if isinstance(cell, Image):
                    name = f"{path.stem}-{i}.png" if j == images[0] else f"{path.stem}-{i}-{j}.png"
                    _save_png(path.with_name(name), cell)
                    cells.append({"image": name, **({"caption": cell.caption} if cell.caption else {})})
                else:
                    cells.append(cell)
            rows.append(cells)
        return {"columns": list(table.columns), "rows": rows}

    def _list(self, key: str, step: int, kind: str, path: Path, **more: Any) -> None:
        line = {"key": key, "step": step, "kind": kind, "file": path.relative_to(self.directory).as_posix(), **more}
        append_lines(self.directory / "manifest.js", f"LW.add({json.dumps(line)});")
        page = files(__package__).joinpath("index.html").read_bytes()
        target = self.directory / "index.html"
        if not target.exists() or target.read_bytes() != page:
            _replace(target, page)


def reserve(parent: str | os.PathLike[str], pattern: str = "version_{}") -> Path:
    """Make the first folder `parent / pattern.format(n)` that is not there. Runs that ask at once get one each.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     [reserve(parent).name, reserve(parent).name]
    ['version_0', 'version_1']
    """
    Path(parent).mkdir(parents=True, exist_ok=True)
    for n in itertools.count():
        path = Path(parent, pattern.format(n))
        try:
            path.mkdir()  # one call that looks and makes: what another process makes meanwhile is seen
        except FileExistsError:
            continue
        return path
    raise AssertionError  # never: there is a number that is free


def folder_of(key: str, allowed: str = r"\w .+=@,()-") -> str:
    """The folder of a key below the directory: "/" nests, no key can leave the directory or take another's place.

    In each part, all but letters, digits, spaces and `_.+=@,()-` becomes `_`; a checksum keeps "a:b" and "a?b" apart.
    `allowed` are other characters, as between the brackets of a regular expression.
    """
    parts = []
    for part in key.split("/"):
        safe = re.sub(f"[^{allowed}]", "_", part).strip(" .")[:80] or "_"
        parts.append(safe if safe == part else f"{safe}-{zlib.crc32(part.encode()):08x}")
    return "/".join(parts)


def jsonable(value: Any) -> Any:
    """What JSON can hold of a value: arrays as lists, numbers that are not finite and anything unknown as text."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _save_png(path: Path, image: Image) -> None:
    content = io.BytesIO()
    to_pil(image).save(content, format="PNG")
    _replace(path, content.getvalue())


def _replace(path: Path, content: bytes) -> None:
    """Replace the file in one step: it holds the whole content or what it held before, on a full disk too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_lines(path: Path, lines: str) -> None:
    """Append whole lines or nothing: half a line, a crash's or a full disk's, would break the script for the page."""
    data = lines.encode() + b"\n"
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                end = file.read().rfind(b"\n") + 1
                file.truncate(end)
        try:
            written = file.write(data)
        except OSError:
            file.truncate(end)
            raise
        if written != len(data):
            file.truncate(end)
            raise OSError(f"{path}: only {written} of {len(data)} bytes could be written, is the disk full?")
