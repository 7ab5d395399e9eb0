"""`make demo TASK=...` on shapes that the example draws: it trains, says where to look, and has its pictures there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lwcallbacks.readers import read_folder

ROOT = Path(__file__).parent.parent
KEYS = {
    "segmentation": {"val/masks", "val/confusion_matrix", "val/confusion_matrix_report"},
    "multilabel": {"val/predictions", "val/predictions_table", "val/confusion_matrix"},
    "boxes": {"val/boxes"},
}


@pytest.mark.parametrize("task", KEYS)
def test_a_task_ends_by_saying_where_to_look(task: str, tmp_path: Path) -> None:
    """One epoch without a logger: the page is where it says, with the task's pictures; masks and boxes as data, too."""
    command = [sys.executable, ROOT / "examples" / "demo.py", "--task", task, "--epochs", "1", "--logger", "none"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True).stdout
    found = re.search(r"^Local page  (.+)$", printed, re.MULTILINE)
    assert found
    page = Path(found[1])
    assert page.is_relative_to(tmp_path / "runs" / "shapes" / task)
    folder = read_folder(page.parent)
    assert set(folder.steps()) >= KEYS[task]
    if task == "segmentation":
        [data] = folder.data("val/masks").values()
        assert data["layers"][0]["classes"] == {"1": "circle", "2": "square", "3": "triangle"}
    if task == "boxes":
        [data] = folder.data("val/boxes").values()
        assert {box["style"] for box in data["boxes"]} >= {"truth"}
        assert {box["label"] for box in data["boxes"]} <= {"circle", "square", "triangle"}


def test_the_makefile_passes_the_task_on() -> None:
    """`make demo TASK=boxes` runs the example with that task."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "TASK ?= digits" in text
    assert "examples/demo.py --task $(TASK)" in text
