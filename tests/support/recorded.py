"""What a run has left on the disk: its page, and W&B's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lwcallbacks.readers import OfflineRun, find_folders, read_folder, read_run


def on_page(root: Path) -> dict[str, list[int]]:
    """The steps at which the page below `root` has each key; every line is whole, and every file there."""
    [directory] = find_folders(root)
    folder = read_folder(directory)
    for item in folder.items:
        assert item.path.stat().st_size
        if item.kind != "image":
            assert item.step in folder.data(item.key)
    for script in directory.rglob("*.js"):
        assert script.read_bytes().endswith(b"\n")
    assert not list(directory.rglob("*.tmp"))
    return folder.steps()


def data_on_page(root: Path, key: str) -> dict[int, dict[str, Any]]:
    """What the page below `root` holds of a table, matrix, histogram or file, by step; nothing where it has none."""
    [directory] = find_folders(root)
    folder = read_folder(directory)
    return folder.data(key) if any(item.key == key and item.kind != "image" for item in folder.items) else {}


def scalars(root: Path) -> list[dict[str, float]]:
    """The numbers beside the page, with the step, as they were logged."""
    [file] = root.rglob("scalars.js")
    return [{"step": logged.step, **logged.values} for logged in read_folder(file.parent).scalars]


def offline_run(root: Path) -> OfflineRun:
    [directory] = root.glob("wandb/offline-run-*")
    return read_run(directory, timeout=0)


def in_wandb(root: Path, key: str) -> list[int]:
    """The steps at which W&B's file has a key."""
    return [row["trainer/global_step"] for row in offline_run(root).history if key in row]
