"""Media in MLflow: a server, or a local database with no server at all.

    writer = MLflowWriter(MLFlowLogger(tracking_uri="sqlite:///mlflow.db"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

    Value           What the run gets
    Image           an image <key> with its step, its caption drawn below it
    list of Image   one such image: a grid with the captions below the tiles
    Table           the artifact <key>/00000120/table.json, as `log_table` writes one; an image cell is a PNG beside it
    Matrix          an image: the labelled heatmap; and the counts as a table
    Histogram       an image: the bars; <key>/00000120/histogram.json; metrics <key>/nan, /posinf and /neginf when not 0
    File            the artifact <name>/00000120/<file>, with its aliases and metadata in <file>.json; for each alias a
                    tag <name>/<alias> of the run, which says where the file is that carries it now

What MLflow does not allow in a name becomes `_`, and a checksum keeps two such names apart.
"""

from __future__ import annotations

import json
import re
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwcallbacks.media import (
    Entry,
    File,
    Histogram,
    Image,
    Matrix,
    Table,
    captioned_grid,
    draw_histogram,
    draw_matrix,
    to_pil,
    with_caption,
)
from lwcallbacks.writers.base import Writer, prefixed
from lwcallbacks.writers.folder import folder_of, plain

ALLOWED = r"a-zA-Z0-9_. -"  # and "/", in names of images and metrics
MAX_KEY = 120  # a key is part of a file's name, beside some 100 characters of MLflow's own
TABLES_TAG, MAX_TAG = "mlflow.loggedArtifacts", 5000
OWN_TABLE = re.compile(r".+/\d{8,}/table\.json")


class MLflowWriter(Writer):
    """Writes through the client of a Lightning MLFlowLogger, into its run. The client may be used from any thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._client = logger.experiment  # starts the run here: on the main thread and not on a worker's
        self._run_id = logger.run_id

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            staged = _Staged(Path(folder), step)
            for key, entry in entries.items():
                name = key_of(prefixed(self._logger, key))
                match entry:
                    case Image():
                        self._log_image(name, with_caption(entry, unless=key), step)
                    case list() | tuple():
                        if entry:
                            self._log_image(name, captioned_grid(entry), step)
                    case Table():
                        staged.table(name, entry)
                    case Matrix():
                        self._log_image(name, draw_matrix(entry, title=key), step)
                        staged.table(name, _counts(entry))
                    case Histogram():
                        self._log_image(name, draw_histogram(entry, title=key), step)
                        staged.json(name, "histogram.json", vars(entry))
                        self._log_odd(name, entry, step)
                    case File():
                        pass  # below: a missing file costs no picture
                    case _:
                        raise self.unsupported(key, entry)
            if any(staged.folder.iterdir()):
                self._client.log_artifacts(self._run_id, folder)
            if staged.tables:
                self._show_as_tables(staged.tables)
        for entry in entries.values():
            if isinstance(entry, File):
                self._log_file(entry, step)

    def close(self) -> None:
        pass  # every write is complete when it returns; the run is the logger's to finish

    def _log_image(self, name: str, image: Image, step: int) -> None:
        self._client.log_image(self._run_id, to_pil(image), key=name, step=step, synchronous=True)

    def _log_odd(self, name: str, histogram: Histogram, step: int) -> None:
        for odd in ("nan", "posinf", "neginf"):
            if count := getattr(histogram, odd):
                self._client.log_metric(self._run_id, f"{name}/{odd}", float(count), step=step)

    def _show_as_tables(self, paths: list[str]) -> None:
        """List the tables where MLflow's page looks for what is one. A tag is short: our oldest are left out again.

        MLflow's `log_table` only appends; with one table an epoch it would cut the tag's JSON in two one day, and raise
        from then on.
        """
        tags = self._client.get_run(self._run_id).data.tags
        listed = [item for item in json.loads(tags.get(TABLES_TAG, "[]")) if item["path"] not in paths]
        listed += [{"path": path, "type": "table"} for path in paths]
        ours = [item for item in listed if OWN_TABLE.fullmatch(item["path"])]
        while ours and len(json.dumps(listed)) > MAX_TAG:
            listed.remove(ours.pop(0))
        self._client.set_tag(self._run_id, TABLES_TAG, json.dumps(listed))

    def _log_file(self, file: File, step: int) -> None:
        content, name = file.content or file.path, key_of(file.name)
        place = f"{name}/{step:08d}"
        if content.is_dir():
            self._client.log_artifacts(self._run_id, str(content), f"{place}/{content.name}")
        else:
            self._client.log_artifact(self._run_id, str(content), place)
        described = {"type": file.type, "aliases": file.aliases, "metadata": file.metadata}
        self._client.log_dict(self._run_id, plain(described), f"{place}/{content.name}.json")
        for alias in file.aliases:
            self._client.set_tag(self._run_id, f"{name}/{key_of(alias)}", f"{place}/{content.name}")


class _Staged:
    """Files of one write below a local folder, laid out as the run's artifacts will be: they go there in one call."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.step = step
        self.tables: list[str] = []

    def json(self, name: str, file: str, value: Any) -> str:
        path = f"{name}/{self.step:08d}/{file}"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(json.dumps(plain(value)), encoding="utf-8")
        return path

    def table(self, name: str, table: Table) -> None:
        rows = [
            [self._image(name, f"{i}-{j}.png", cell) if isinstance(cell, Image) else cell for j, cell in enumerate(row)]
            for i, row in enumerate(table.rows)
        ]
        self.tables.append(self.json(name, "table.json", {"columns": list(table.columns), "data": rows}))

    def _image(self, name: str, file: str, image: Image) -> dict[str, str]:
        path = f"{name}/{self.step:08d}/{file}"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        to_pil(image).save(self.folder / path)
        return {"type": "image", "filepath": path, "compressed_filepath": path}


def key_of(key: str) -> str:
    """The key as MLflow allows it: letters, digits, `_`, `-`, `.`, blanks and "/", at most 120 characters."""
    safe = folder_of(key, ALLOWED)
    return safe if len(safe) <= MAX_KEY else f"{safe[: MAX_KEY - 9].rstrip('/ .')}-{zlib.crc32(key.encode()):08x}"


def _counts(matrix: Matrix) -> Table:
    """The counts with the true class in the first column."""
    names = [str(name) for name in matrix.class_names]
    rows = [[name, *row] for name, row in zip(names, matrix.counts.tolist(), strict=True)]
    return Table(("true / predicted", *names), rows)
