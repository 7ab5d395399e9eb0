"""Read back what an offline W&B run has written, with no account and no network.

    run = read_run("wandb/offline-run-20260101_120000-abc")     # or the run-abc.wandb file in it
    run.history[0]["val/worst"]["filenames"]                    # relative to run.files_dir
    [a.files for a in run.artifacts if a.type == "model"]

A `.wandb` file is a 7-byte header and then LevelDB's log format: blocks of 32 KiB, records cut into chunks at their
borders.
"""

from __future__ import annotations

import importlib
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<4sHB")  # b":W&B", 0xBEE1, version
CHUNK = struct.Struct("<IHB")  # crc, length, type
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
BLOCK = 32_768


@dataclass(frozen=True)
class OfflineArtifact:
    """One logged version: its files are the local copies that a later `wandb sync` would upload, and its references the
    addresses of what stays where it is, both by their names in the version.

    Aliases are sorted, since the client records them in an order that changes from run to run.
    """

    name: str
    type: str
    aliases: tuple[str, ...]
    metadata: dict[str, Any]
    files: dict[str, Path]
    references: dict[str, str]


@dataclass(frozen=True)
class OfflineRun:
    """A run as it was recorded: one dict per row of history, media paths relative to `files_dir`.

    `project` and `entity` are where `wandb sync` sends it; empty for the client's default.
    """

    run_id: str
    project: str
    entity: str
    history: list[dict[str, Any]]
    artifacts: list[OfflineArtifact]
    files_dir: Path


def read_run(path: str | Path, timeout: float = 5.0) -> OfflineRun:
    """The run in a `.wandb` file, or in the `offline-run-*` directory that holds one.

    The last records may reach the disk a moment after `wandb.finish()`: waits up to `timeout` seconds for the record of
    the run's end, then returns what is there. Tables and charts appear in `artifacts` too, with the type "run_table".

    Raises FileNotFoundError without a `.wandb` file and ValueError when it is no such file.
    """
    file = Path(path)
    if file.is_dir():
        found = sorted(file.glob("*.wandb"))
        if len(found) != 1:
            raise FileNotFoundError(f"{file}: {len(found)} .wandb files, expected one")
        file = found[0]
    deadline = time.monotonic() + timeout
    while True:
        records = _parse(file)
        if any(record.HasField("exit") for record in records) or time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    run = next((record.run for record in records if record.HasField("run")), None)
    return OfflineRun(
        run_id=run.run_id if run is not None else "",
        project=run.project if run is not None else "",
        entity=run.entity if run is not None else "",
        history=[_row(record.history) for record in records if record.HasField("history")],
        artifacts=[_artifact(record.artifact) for record in records if record.HasField("artifact")],
        files_dir=file.parent / "files",
    )


def _parse(file: Path) -> list[Any]:
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    return [messages.Record.FromString(payload) for payload in _payloads(file)]


def _payloads(file: Path) -> Iterator[bytes]:
    data = file.read_bytes()
    if len(data) < HEADER.size:
        return  # not even the header has reached the disk yet
    if HEADER.unpack_from(data)[:2] != (b":W&B", 0xBEE1):
        raise ValueError(f"{file} starts with {data[: HEADER.size]!r}, expected the header of a .wandb file")
    position, parts = HEADER.size, b""
    while position + CHUNK.size <= len(data):
        left = BLOCK - position % BLOCK
        if left < CHUNK.size:
            position += left
            continue
        _, length, kind = CHUNK.unpack_from(data, position)
        position += CHUNK.size
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position + length > len(data):
            return  # still being written
        parts = (b"" if kind in (FULL, FIRST) else parts) + data[position : position + length]
        position += length
        if kind in (FULL, LAST):
            yield parts


def _row(history: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for item in history.item:
        *outer, name = list(item.nested_key) or [item.key]
        place = row
        for key in outer:
            place = place.setdefault(key, {})
        place[name] = json.loads(item.value_json)
    return row


def _artifact(record: Any) -> OfflineArtifact:
    return OfflineArtifact(
        name=record.name,
        type=record.type,
        aliases=tuple(sorted(record.aliases)),
        metadata=json.loads(record.metadata or "{}"),
        files={entry.path: Path(entry.local_path) for entry in record.manifest.contents if not entry.ref},
        references={entry.path: entry.ref for entry in record.manifest.contents if entry.ref},
    )
