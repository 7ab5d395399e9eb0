"""What a run has left on the disk: its page, and W&B's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lwcallbacks.writers.wandb_file import OfflineRun, read_run


def on_page(root: Path) -> dict[str, list[int]]:
    """The steps at which the page below `root` has each key; every line is whole, and every file there."""
    [manifest] = root.rglob("media/manifest.js")
    steps: dict[str, list[int]] = {}
    for line in manifest.read_text().splitlines():
        entry = json.loads(line.removeprefix("LW.add(").removesuffix(");"))
        assert (manifest.parent / entry["file"]).stat().st_size
        steps.setdefault(entry["key"], []).append(entry["step"])
    for script in manifest.parent.rglob("data.js"):
        for line in script.read_text().splitlines():
            json.loads(f"[{line.removeprefix('LW.data(').removesuffix(');')}]")
    assert not list(manifest.parent.rglob("*.tmp"))
    return steps


def scalars(root: Path) -> list[dict[str, Any]]:
    """The numbers beside the page."""
    [file] = root.rglob("media/scalars.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def offline_run(root: Path) -> OfflineRun:
    [directory] = root.glob("wandb/offline-run-*")
    return read_run(directory, timeout=0)


def in_wandb(root: Path, key: str) -> list[int]:
    """The steps at which W&B's file has a key."""
    return [row["trainer/global_step"] for row in offline_run(root).history if key in row]
