"""Imports run one way, heavy packages stay where they are made for, and no file is outside of a listed room."""

from __future__ import annotations

from pathlib import Path

from support.layers import faults, read

import lwcallbacks

PACKAGE = Path(lwcallbacks.__file__).parent


def test_every_import_is_allowed() -> None:
    """No arrow that must not be, no room that nobody listed, no circle."""
    assert faults(PACKAGE) == []


def test_every_file_was_looked_at() -> None:
    """The test above sees the files, and sees their imports."""
    files = read(PACKAGE)
    seen = {found.module.split(".")[0] for file in files.values() for found in file.imports}
    assert {"lwcallbacks", "torch", "wandb", "PIL", "pytorch_lightning", "torchmetrics"} <= seen
    assert len(files) == len([path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts])
