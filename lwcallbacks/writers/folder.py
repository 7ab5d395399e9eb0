"""Media as plain files in a folder, with a page to look at them: open `index.html`, no server needed.

    writer = FolderWriter(Path("media"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

    Value           What is in the folder
    Image           <key>/00000120.png
    list of Image   <key>/00000120.png: a grid with the captions below the tiles
    Annotated       as an image or a list, and a line of data: "layers", each with a name, the names and colours of its
                    labels, and a file <key>/00000120-0.png with the label of each pixel of the image; and "boxes"
    Table           a line of data; an image cell is {"image": "val/worst/00000120.png", "box": [8, 8, 84, 84]}: a file
                    of the folder, and left, top, width and height in it. The file is that of an image or a list that is
                    written with the table, else one that holds the images that are new here, named by what is in it:
                    <key>/5d3c9b1e7f20a486.png. An image that was written before under this key is referred to
    Matrix          a line of data: the counts that are not 0, and examples as image cells of a table
    Histogram       a line of data
    Curve           a line of data
    File            a line of data; the file itself stays where it is
    a number        a place in scalars.js, a line LW.scalars(120,4,{"train/loss":0.5}); for what was logged at a step:
                    step, epoch (null where it is not known), values; whether or not a logger takes it too

What a run is is in `run.js`, of which the last line `LW.run({...});` holds: "name" and "version", or null; "started"
and "ended", times of ISO 8601 or null; "state", out of "running", "finished", "interrupted" and "failed"; "config", the
hyperparameters; "error", type and first line of what ended it early, where anything did; "max_epochs" or null;
"monitor" and "mode" of a checkpoint callback, else of early stopping; "failed", how many drawings and writes failed by
who failed, where any did; "written", when a run that goes on was last written
to, to a minute. What it has cost is in `cost.js`. Both are replaced. Lines of data are in few files, `data/00000.js`
and on, with an index, `manifest.js`: a page opened from a disk may load scripts but no JSON. How many files there are
does not grow with the number of histograms and steps. The others only ever grow by whole lines: writing costs the same
in the first and in the last epoch, a folder is continued by writing into it again (the last line about a step holds),
and a crash loses at most what it interrupts. `lwcallbacks.readers.read_folder` reads them, `lwcallbacks.writers.chunks`
and `.compact` describe the lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lwcallbacks.disk import append_lines, folder_of, replace
from lwcallbacks.html import page_html
from lwcallbacks.media import (
    Annotated,
    Box,
    Curve,
    Entry,
    File,
    Grid,
    Histogram,
    Image,
    Layer,
    Mark,
    Matrix,
    Table,
    as_rgb,
    kind_of,
    nearest,
    over,
)
from lwcallbacks.writers.base import Writer, each, raise_errors
from lwcallbacks.writers.chunks import Chunks
from lwcallbacks.writers.compact import curve_json, encode, file_json, histograms_json, matrix_json, table_json

_KINDS = {Table: "table", Matrix: "matrix", Histogram: "histogram", Curve: "curve", File: "file"}
_OWN = ("cost.js", "data", "index.html", "manifest.js", "run.js", "scalars.js")

MOST_KEPT = 10_000
"""Images of which is remembered where they are."""

Places = dict[int, tuple[str, Box]]
"""The file that holds an image, and where in it, by the image's id."""


class FolderWriter(Writer):
    """Writes below `directory`, which is made if it is missing and continued if it is not. A function gives it when the
    first entry is written, and not before."""

    def __init__(self, directory: str | os.PathLike[str] | Callable[[], Path]) -> None:
        self._directory = directory
        self._has_page = False
        self._bytes = 0
        self._kept: dict[tuple[str, bytes], tuple[str, Box]] = {}
        """Where the images of tables and matrices are, by key and what is in them: no key's data hang on another's."""

    @cached_property
    def directory(self) -> Path:
        return self._directory() if callable(self._directory) else Path(self._directory)

    @cached_property
    def _chunks(self) -> Chunks:
        return Chunks(self.directory, _folder)

    @property
    def name(self) -> str:  # type: ignore[override]  # of other writers it is known from the start
        return f"The folder {self.directory}"

    @property
    def bytes_written(self) -> int:  # type: ignore[override]  # of other writers it is a plain number
        """What it has put on disk so far: pictures, lines of data, numbers and the page."""
        return self._bytes + (self._chunks.bytes_written if "_chunks" in vars(self) else 0)

    @property
    def has_page(self) -> bool:
        """Whether the page has been written; a directory that is not known yet is not made up for the question."""
        return "directory" in vars(self) and (self.directory / "index.html").exists()

    @property
    def page(self) -> str:
        """Where the page is, from here if it is below."""
        page = (self.directory / "index.html").absolute()
        return str(page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page)

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._chunks.refresh()
        places: Places = {}
        kinds: dict[str, str] = {}
        captions: dict[str, str | None] = {}
        texts: dict[str, str] = {}
        errors = each(entries, lambda key, entry: kinds.update({key: _kind(key, entry)}))
        images = {key: entries[key] for key, kind in kinds.items() if kind == "image"}
        errors |= each(images, lambda key, entry: captions.update(self._images(key, entry, step, places, texts)))
        histograms = {key: entry for key, entry in entries.items() if isinstance(entry, Histogram)}
        texts |= zip(histograms, histograms_json(list(histograms.values())), strict=True)
        rest = {key: entries[key] for key, kind in kinds.items() if kind not in ("image", "histogram")}
        errors |= each(rest, lambda key, entry: texts.update({key: self._data(key, entry, step, places)}))
        written = {key: kind for key, kind in kinds.items() if key in texts or key in captions}
        if written:
            told = {key: caption for key, caption in captions.items() if caption is not None}
            self._chunks.write(step, written, texts, told)
            self._write_page()
        raise_errors(entries, errors)

    def place_of(self, key: str, entry: Entry, step: int) -> tuple[str, Path]:
        """The kind of an entry that was just written and the file that it is in: an image's own, or the last chunk.

        Raises TypeError for a value that is no Entry.
        """
        kind = _kind(key, entry)
        return kind, self.directory / _png(key, step) if kind == "image" else self._chunks.last

    def write_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        self.write_logged([(step, None, scalars)])

    def write_logged(self, rows: Iterable[tuple[int, int | None, Mapping[str, float]]]) -> None:
        """Keep numbers as they were logged: step, epoch or None, and the values by key."""
        lines = [f"LW.scalars({step},{encode(epoch)},{encode(values)});" for step, epoch, values in rows]
        if lines:
            self._write_page()
            self._bytes += append_lines(self.directory / "scalars.js", "\n".join(lines))

    def last_step(self) -> int | None:
        """The step that was written last, in this run or an earlier one; None of none."""
        return self._chunks.last_step()

    def run(self) -> dict[str, Any]:
        """What was last written of the run; nothing before `write_run`."""
        path = self.directory / "run.js"
        if not path.exists():
            return {}
        *_, last = ["LW.run({});", *path.read_text(encoding="utf-8").split("\n")[:-1]]
        facts: dict[str, Any] = json.loads(last.removeprefix("LW.run(").removesuffix(");"))
        return facts

    def write_run(self, facts: Mapping[str, Any]) -> None:
        """Keep what the run is, in place of what was written before."""
        self._write_page()
        self._bytes += replace(self.directory / "run.js", f"LW.run({encode(facts)});\n".encode())

    def write_cost(self, table: Table) -> None:
        """Keep what a run has cost, for the page and for `read_folder(...).cost`. It is no media: it varies by run."""
        columns = {"columns": list(table.columns), "cells": [list(column) for column in zip(*table.rows, strict=True)]}
        replace(self.directory / "cost.js", f"LW.cost({encode(columns)});\n".encode())

    def _images(
        self, key: str, entry: Entry, step: int, places: Places, texts: dict[str, str]
    ) -> dict[str, str | None]:
        """Write the file of an image, or of a list: its caption by its key, nothing of a list without images."""
        entry = [entry] if isinstance(entry, Annotated) else entry  # with its legend
        for shown in nearest(entry, key, (Image,)).values():
            if isinstance(shown, Image):
                file = _png(key, step)
                self._bytes += replace(self.directory / file, shown.png)
                places |= _within(file, entry, shown)
                if isinstance(entry, list | tuple) and (overlay := over(entry, shown)) is not None:
                    layers = [self._layer(layer, _png(key, step, i)) for i, layer in enumerate(overlay.layers)]
                    texts[key] = encode({"layers": layers, "boxes": list(map(_box, overlay.marks))})
                return {key: shown.caption}
        return {}

    def _layer(self, layer: Layer, file: str) -> dict[str, object]:
        """Write a layer's labels: what the page reads of it."""
        self._bytes += replace(self.directory / file, Image(layer.labels).png)
        colours = {label: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in layer.colours.items()}
        return {"name": layer.name, "classes": layer.classes, "colours": colours, "image": file}

    def _data(self, key: str, entry: Table | Matrix | Curve | File, step: int, places: Places) -> str:
        match entry:
            case Table():
                cells = [cell for row in entry.rows for cell in row if isinstance(cell, Image)]
                places = self._with_rest(key, cells, places)
                return table_json(entry, self._chunks.texts, lambda image: _cell(image, places))
            case Matrix():
                places = self._with_rest(key, [i for shown in entry.examples.values() for i in shown], places)
                return matrix_json(entry, self._chunks.texts, lambda image: _cell(image, places))
            case Curve():
                return curve_json(entry)
            case File():
                return file_json(entry)

    def _with_rest(self, key: str, images: list[Image], places: Places) -> Places:
        """Where images are. Those of which nothing alike was written before for this key are put into a file."""
        rest = {id(image): _content(image) for image in images if id(image) not in places}
        known = {content: self._kept[key, content] for content in rest.values() if (key, content) in self._kept}
        lost = {file for file in {file for file, _ in known.values()} if not (self.directory / file).exists()}
        known = {content: place for content, place in known.items() if place[0] not in lost}
        new = {rest[id(image)]: image for image in images if id(image) in rest and rest[id(image)] not in known}
        if new:
            sheet = _sheet(list(new.values()))
            file = f"{_folder(key)}/{_content(sheet).hex()}.png"
            if not (self.directory / file).exists():
                self._bytes += replace(self.directory / file, sheet.png)
            known |= {content: (file, box) for content, box in zip(new, sheet.boxes, strict=True)}
            self._kept |= {(key, content): place for content, place in known.items()}
            for oldest in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)]:
                del self._kept[oldest]
        return places | {i: known[content] for i, content in rest.items()}

    def _write_page(self) -> None:
        if self._has_page and (self.directory / "index.html").exists():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        page, target = page_html(), self.directory / "index.html"
        if not target.exists() or target.read_bytes() != page:
            self._bytes += replace(target, page)
        self._has_page = True


def _kind(key: str, entry: Entry) -> str:
    return _KINDS.get(kind_of(key, entry), "image")


def _folder(key: str) -> str:
    """The folder of a key's images below the directory; none of a file or folder that has another use here."""
    folder = folder_of(key)
    first, slash, rest = folder.partition("/")
    return f"{first}-{zlib.crc32(first.encode()):08x}{slash}{rest}" if first.lower() in _OWN else folder


def _png(key: str, step: int, layer: int | None = None) -> str:
    return f"{_folder(key)}/{step:08d}{'' if layer is None else f'-{layer}'}.png"


def _box(mark: Mark) -> dict[str, object]:
    told = {"score": mark.score, "match": mark.match}
    known = {name: value for name, value in told.items() if value is not None}
    return {"box": mark.box, "label": mark.label, "style": mark.style, **known}


def _within(file: str, entry: Entry, shown: Image) -> Places:
    """Where the images of an entry are in the picture that was made of it."""
    if isinstance(entry, Image):
        return {id(entry): (file, (0, 0, *entry.pixels.shape[1::-1]))}
    if isinstance(entry, list | tuple) and isinstance(shown, Grid):
        return {id(image): (file, box) for image, box in zip(entry, shown.boxes, strict=True)}
    return {}


def _cell(image: Image, places: Places) -> Mapping[str, object]:
    file, box = places[id(image)]
    return {"image": file, "box": box, **({"caption": image.caption} if image.caption else {})}


def _content(image: Image) -> bytes:
    """Equal for images of the same pixels."""
    shape = repr(image.pixels.shape).encode()
    return hashlib.blake2b(shape + np.ascontiguousarray(image.pixels).tobytes(), digest_size=8).digest()


def _sheet(images: list[Image], nrow: int = 8) -> Grid:
    """The images beside each other, `nrow` to a row, without a gap; RGB where one of them is."""
    height, width = (max(image.pixels.shape[axis] for image in images) for axis in (0, 1))
    rgb = any(image.pixels.ndim == 3 for image in images)
    rows, columns = -(-len(images) // nrow), min(nrow, len(images))
    canvas = np.zeros((rows * height, columns * width, *((3,) if rgb else ())), np.uint8)
    boxes = []
    for i, image in enumerate(images):
        pixels = as_rgb(image.pixels[None])[0] if rgb else image.pixels
        top, left = i // nrow * height, i % nrow * width
        canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        boxes.append((left, top, pixels.shape[1], pixels.shape[0]))
    return Grid(canvas, boxes=tuple(boxes))
