"""Folders of runs, as the writer leaves them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lwcallbacks.media import Image
from lwcallbacks.writers import FolderWriter


@pytest.fixture
def many_runs(tmp_path: Path) -> Path:
    """300 runs with long names of keys: more than a pipe holds."""
    writer = FolderWriter(tmp_path / "many" / "0" / "media")
    for index in range(3):
        writer.write({f"val/größe_{index}_{'x' * 90}": Image(np.zeros((4, 4), np.uint8))}, index)
    for number in range(1, 300):
        shutil.copytree(tmp_path / "many" / "0", tmp_path / "many" / str(number), copy_function=os.link)
    return tmp_path / "many"
