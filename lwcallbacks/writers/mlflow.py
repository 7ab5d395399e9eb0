"""Media in MLflow: a server, or a local database with no server at all.

    writer = MLflowWriter(MLFlowLogger(tracking_uri="sqlite:///mlflow.db"))
    writer.write({"val/confusion": Matrix(...), "val/worst": [Image(...), ...]}, step=120)

    Value           What the run gets
    Image           an image <key> with its step, its caption drawn below it
    list of Image   one such image: a grid with the captions below the tiles
    Table           the artifact <key>/00000120/table.json, as `log_table` writes one; an image cell is a PNG beside it
    Matrix          an image: the labelled heatmap; and the counts as a table
    Histogram       an image: the bars; <key>/00000120/histogram.json; metrics <key>/nan, /posinf and /neginf when not 0
    Curve           an image: the lines; <key>/00000120/curve.json, as in the run's folder
    File            the artifact <name>/00000120/<file>, with its aliases and metadata in <file>.json; for each alias a
                    tag <name>/<alias> of the run, which says where the file is that carries it now

What MLflow does not allow in a name becomes `_`, and a checksum keeps two such names apart.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lwcallbacks.artifacts import Store
from lwcallbacks.media import Curve, Entry, File, Histogram, Image, Picture, Table, nearest, to_pil
from lwcallbacks.writers.base import Writer, each, prefixed, raise_errors, uploads_itself
from lwcallbacks.writers.compact import curve_json, jsonable
from lwcallbacks.writers.mlflow_artifacts import MlflowStore, key_of

NATIVE = (Picture, Table)  # an image and a table may have one key, so that both forms of a matrix have it
TABLES_TAG, MAX_TAG = "mlflow.loggedArtifacts", 5000
OWN_TABLE = re.compile(r".+/\d{8,}/table\.json")


class MLflowWriter(Writer):
    """Writes through the client of a Lightning MLFlowLogger, into its run. The client may be used from any thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._client = logger.experiment  # starts the run here: on the main thread and not on a worker's
        self._run_id = logger.run_id

    def write(self, entries: Mapping[str, Entry], step: int) -> None:
        files = {key: entry for key, entry in entries.items() if isinstance(entry, File)}
        with tempfile.TemporaryDirectory() as folder:
            staged = _Staged(Path(folder), step)
            drawn = {key: entry for key, entry in entries.items() if key not in files}
            errors = each(drawn, lambda key, entry: self._stage(staged, key, entry))
            self._send(staged)
        apart = {key: file for key, file in files.items() if not file.is_delivered}
        errors |= each(apart, lambda key, file: self._log_file(file, step))  # last: a missing file costs no picture
        raise_errors(entries, errors)

    def store(self) -> Store:
        return MlflowStore(self._client, self._run_id, refusal=uploads_itself(self._logger))

    def _stage(self, staged: _Staged, key: str, entry: Entry) -> None:
        """Draw an entry and put its files where one call sends them from."""
        name = key_of(prefixed(self._logger, key))
        for form in nearest(entry, key, NATIVE).values():
            match form:
                case Table():
                    staged.table(name, form)
                case Image():
                    staged.images.append((name, form))
        if isinstance(entry, Histogram):
            staged.json(name, "histogram.json", vars(entry))
            odd = {f"{name}/{kind}": getattr(entry, kind) for kind in ("nan", "posinf", "neginf")}
            staged.numbers |= {name: float(count) for name, count in odd.items() if count}

        if isinstance(entry, Curve):
            staged.json(name, "curve.json", json.loads(curve_json(entry)))

    def _send(self, staged: _Staged) -> None:
        for name, image in staged.images:
            self._log_image(name, image, staged.step)
        for name, number in staged.numbers.items():
            self._client.log_metric(self._run_id, name, number, step=staged.step)
        if any(staged.folder.iterdir()):
            self._client.log_artifacts(self._run_id, str(staged.folder))
        if staged.tables:
            self._show_as_tables(staged.tables)

    def _log_image(self, name: str, image: Image, step: int) -> None:
        self._client.log_image(self._run_id, to_pil(image), key=name, step=step, synchronous=True)

    def _show_as_tables(self, paths: list[str]) -> None:
        """List the tables where MLflow's page looks for what is one. A tag is short: our oldest are left out again.

        MLflow's `log_table` only appends: with one table an epoch, the tag's JSON grows beyond what a tag holds. It is
        cut, and `log_table` raises from then on.
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
        self._client.log_dict(self._run_id, jsonable(described), f"{place}/{content.name}.json")
        for alias in file.aliases:
            self._client.set_tag(self._run_id, f"{name}/{key_of(alias)}", f"{place}/{content.name}")


class _Staged:
    """Files of one write below a local folder, laid out as the run's artifacts will be: they go there in one call."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.step = step
        self.tables: list[str] = []
        self.images: list[tuple[str, Image]] = []
        self.numbers: dict[str, float] = {}

    def json(self, name: str, file: str, value: Any) -> str:
        path = f"{name}/{self.step:08d}/{file}"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(json.dumps(jsonable(value)), encoding="utf-8")
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
