"""docs/write-your-own.md: its callback, picture, reduction and writer, run as they stand."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.documented import DOCS
from support.modules import CLASSES, Classifier, images, trainer
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.readers import read_folder
from lwcallbacks.testing import LawViolation
from lwcallbacks.writers import registry

PAGE = "write-your-own.md"
BLOCKS = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", (DOCS / PAGE).read_text(encoding="utf-8"), re.DOTALL)
N = 40


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's files, as a reader saves them, where they can be imported."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name, written in BLOCKS:
        (folder / f"{name}.py").write_text(written)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(registry, "_registered", {})
    yield
    for name, _ in BLOCKS:
        sys.modules.pop(name, None)


def validated(callback: Any, root: Path, *, batch_size: int = 8, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Validate a seeded classifier; its logits and the labels of the whole data set."""
    module, data = Classifier.seeded(), images(N)
    t = trainer(callbacks=[callback], default_root_dir=root, **kwargs)
    t.validate(module, DataLoader(data, batch_size), verbose=False)
    with torch.no_grad():
        return torch.cat([module(x) for x in data.tensors[0].split(batch_size)]), data.tensors[1]


def folder_of(root: Path) -> Any:
    [manifest] = root.glob("**/media/manifest.js")
    return read_folder(manifest.parent)


def test_every_file_of_the_page_is_known_here() -> None:
    """A new one needs a test."""
    assert [name for name, _ in BLOCKS] == ["hardest", "reliability", "calibration", "test_calibration", "notes"]


def test_the_callback(tmp_path: Path) -> None:
    """The eight largest losses of a plain loop, with their labels as captions, in the order of the losses."""
    callback = import_module("hardest").HardestSamples(8)
    logits, labels = validated(callback, tmp_path)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    largest, places = losses.topk(8)
    assert torch.equal(callback.results["val"], largest)
    folder = folder_of(tmp_path)
    assert set(folder.steps()) == {"val/hardest", "val/hardest_table"}
    told = [f"label {labels[i]}, loss {losses[i]:.2f}" for i in places]
    assert list(folder.data("val/hardest_table")[0]["rows"]) == [[caption] for caption in told]


def test_a_missing_method_is_an_error_when_a_callback_is_made() -> None:
    """The message has its name."""
    half = type("Half", (lw.StateCallback,), {"remembered": lambda self, stage: {}})
    with pytest.raises(TypeError, match="Half has no method result"):
        half(name="half")


def test_the_picture(tmp_path: Path) -> None:
    """Counts by bin as a plain loop has them, for any batch size, and bars as high as their share of right ones."""
    reliability = import_module("reliability")
    callback = reliability.ReliabilityDiagram(5)
    logits, labels = validated(callback, tmp_path)
    expected = np.zeros((5, 2), np.int64)
    for row, label in zip(logits.softmax(1).tolist(), labels.tolist(), strict=True):
        expected[min(int(max(row) * 5), 4), int(row.index(max(row)) == label)] += 1
    assert np.array_equal(callback.results["val"].numpy(), expected)
    assert set(folder_of(tmp_path).steps()) == {"val/reliability"}
    pixels = reliability.diagram([[0, 0], [3, 1]])
    assert pixels.shape == (40, 40, 3)
    assert (pixels[:, :19] == (31, 119, 180)).all(-1).sum() == 0
    assert (pixels[:, 30] == (31, 119, 180)).all(-1).sum() == 10


def test_the_reduction_keeps_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the page's own test, which fails where padding counts."""
    calibration, test = import_module("calibration"), import_module("test_calibration")
    test.test_calibration_is_about_the_samples()
    monkeypatch.setattr(calibration, "amounts", lambda valid, like: torch.ones_like(like))
    with pytest.raises(LawViolation, match="law valid is broken"):
        test.test_calibration_is_about_the_samples()


def test_the_reduction_as_a_metric() -> None:
    """Two of three right, of which one was sure."""
    metric = lw.ReductionMetric(import_module("calibration").Calibration(2))
    metric.update(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), torch.tensor([0, 1, 1]))
    assert metric.compute().tolist() == [[0, 0], [1, 2]]


def lines(path: Path) -> dict[str, Any]:
    return {key: value for line in path.read_text().splitlines() for key, value in json.loads(line).items()}


def test_the_writer(tmp_path: Path) -> None:
    """A logger that no one has heard of gets an image as it is, and the matrix and the table as what it takes."""
    notes = import_module("notes")
    logger = notes.NotesLogger(tmp_path / "notes.jsonl")
    validated(lw.ConfusionMatrix(CLASSES), tmp_path, logger=logger)
    written = lines(tmp_path / "notes.jsonl")
    assert written["val/confusion_matrix"].startswith("(")
    assert "| precision |" in written["val/confusion_matrix_report"]
    assert "val/confusion_matrix_chart" in written


def test_the_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's lines in a package's metadata do what the call does."""
    group, line = re.findall(r'\[project.entry-points."(.+?)"\]\n(.+)\n', (DOCS / PAGE).read_text())[0]
    info = tmp_path / "site" / "notes-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    logger = import_module("notes").NotesLogger(tmp_path / "notes.jsonl")
    registry._registered.clear()
    monkeypatch.syspath_prepend(str(info.parent))
    validated(lw.ConfusionMatrix(CLASSES), tmp_path, logger=logger)
    assert "val/confusion_matrix" in lines(tmp_path / "notes.jsonl")
