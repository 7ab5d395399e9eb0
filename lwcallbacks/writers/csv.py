"""Media beside a CSVLogger: a table of where they are, since a CSV file cannot hold a picture.

    writer = CSVWriter(CSVLogger("logs"), FolderWriter(Path("media")))
    writer.write({"val/confusion": Matrix(...)}, step=120)

Adds a line per entry to `media.csv`, beside the logger's `metrics.csv`, with which it shares keys and steps:

    step,key,kind,file
    120,val/confusion,image,media/val/confusion/00000120.png
    120,val/confusion_chart,matrix,media/data/00000.js

`file` is where the `FolderWriter` has just put the entry, relative to the folder of `media.csv`: the file of an image,
or the one that holds its line of data among others; of a File, its own path.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwcallbacks.disk import append_lines
from lwcallbacks.media import Entry, File
from lwcallbacks.writers.base import Writer, prefixed
from lwcallbacks.writers.folder import FolderWriter

COLUMNS = ("step", "key", "kind", "file")


class CSVWriter(Writer):
    """Writes to a file of its own, so that it needs nothing of the logger, which another thread may be using."""

    def __init__(self, logger: Any, folder: FolderWriter) -> None:
        self._logger = logger
        self._folder = folder
        self.path = Path(logger.log_dir, "media.csv")

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        rows = []
        for key, entry in entries.items():
            if isinstance(entry, (list, tuple)) and not entry:
                continue
            kind, file = self._folder.place_of(key, entry, step)
            place = str(entry.path) if isinstance(entry, File) else self._relative(file)
            rows.append((step, prefixed(self._logger, key), kind, place))
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        started = self.path.exists() and self.path.stat().st_size
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(rows if started else [COLUMNS, *rows])
        append_lines(self.path, lines.getvalue().removesuffix("\n"))

    def _relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.path.parent)).as_posix()
