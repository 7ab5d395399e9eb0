"""docs/existing-projects.md: its six small programs, run as they stand, give the numbers of a plain loop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support import existing
from support.documented import DOCS
from support.existing import LOOPS, ran
from support.processes import run_processes

# The callbacks count `val_data`, which has 21 samples: two processes read one of them twice.
MATRIX = {f"val/confusion_matrix{kind}" for kind in ("", "_chart", "_report", "_pairs")}
TWICE = ("token_classification", "graphs", "several_crops")


def matrix(found: dict[str, Any], stage: str = "val", callback: int = 0) -> torch.Tensor:
    counts: torch.Tensor = found["results"][callback][stage]
    return counts


def test_every_program_of_the_page_is_run() -> None:
    """Each that trains, and each has a row in the table and a heading."""
    page = (DOCS / existing.PAGE).read_text()
    programs = re.findall(r"```python\n# (\w+)\.py\n(.+?)^```", page, re.DOTALL | re.MULTILINE)
    assert [name for name, written in programs if "trainer.fit(" in written] == list(LOOPS)
    headings = re.findall(r"^### (.+)", page, re.MULTILINE)
    assert re.findall(r"^\| \[.+?\]\(#(.+?)\)", page, re.MULTILINE) == [h.lower().replace(" ", "-") for h in headings]


def test_binary_segmentation(tmp_path: Path) -> None:
    """Every pixel of 21 masks, one score each: the counts, the intersection over union, and eight pictures."""
    found = ran("binary_segmentation", tmp_path)
    assert torch.equal(matrix(found), found["truth"])
    assert matrix(found).sum() == 21 * 16 * 16
    assert matrix(found).diagonal().min() > 0
    assert found["logged"]["val/iou"] == float(found["iou"])
    assert found["results"][2]["val"]["shapes"] == [(8, 3, 16, 16), (8, 16, 16), (8, 16, 16)]
    assert found["keys"] == {*MATRIX, "val/masks"}
    assert found["said"] == []


@pytest.mark.parametrize("name", TWICE)
@pytest.mark.parametrize("devices", [1, 2])
def test_rows_that_are_no_samples(name: str, devices: int, tmp_path: Path) -> None:
    """Tokens, nodes and crops count once each on one process and on two, in both stages, and nothing is warned of."""
    roots = tmp_path / str(devices)
    of_each = run_processes(devices, ran, name, roots, devices) if devices > 1 else [ran(name, roots)]
    for found in of_each:
        assert torch.equal(matrix(found), found["truth"])
        assert matrix(found).diagonal().sum() < matrix(found).sum()
        assert found["said"] == []
    assert of_each[0]["keys"] >= MATRIX


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("name", "callback"), [("token_classification", 1), ("graphs", 0)])
def test_rows_of_training_count_too(name: str, callback: int, devices: int, tmp_path: Path) -> None:
    """As many rows of each class as the training data has labels, whatever was predicted."""
    roots = tmp_path / str(devices)
    of_each = run_processes(devices, ran, name, roots, devices) if devices > 1 else [ran(name, roots)]
    for found in of_each:
        assert torch.equal(matrix(found, "train", callback).sum(1), found["labels"])


@pytest.mark.parametrize(
    ("name", "ids"), [("token_classification", ", ids=sentence_of_each_token"), ("graphs", ', ids="graph"')]
)
def test_without_ids_the_repeated_sample_is_warned_of(name: str, ids: str, tmp_path: Path) -> None:
    """On two processes its rows count twice, and the warning says so and names `ids=`; on one nothing is wrong."""
    assert ran(name, tmp_path / "1", 1, ids)["said"] == []
    first, second = run_processes(2, ran, name, tmp_path / "2", 2, ids)
    assert torch.equal(matrix(first), matrix(second))
    more = int(matrix(first).sum() - first["truth"].sum())
    [said] = first["said"]
    most, rows = map(int, re.findall(r"\d+", said)[:2])
    assert 0 < more <= most < rows == matrix(first).sum()
    assert "of the val loader, at most" in said
    assert "Pass ids= to the callback" in said


def test_several_crops(tmp_path: Path) -> None:
    """42 crops are counted, and the grid shows six images, none twice."""
    found = ran("several_crops", tmp_path)
    assert matrix(found).sum() == 42
    assert found["logged"]["val/acc"] == float(found["acc"])
    shown = found["results"][2]["val"]["ids"]
    assert len(shown) == len(set(shown)) == 6
    assert set(shown) <= set(range(21))
    assert {"val/predictions", "val/predictions_table"} <= found["keys"]


def test_gan(tmp_path: Path) -> None:
    """Both networks' numbers, six generated images, and the gradients of both optimizers."""
    found = ran("gan", tmp_path)
    assert found["logged"]["val/real_found"] == float(found["real_found"])
    assert found["logged"]["val/fake_score"] == float(found["fake_score"])
    assert 0 < found["real_found"] < 1
    assert torch.isfinite(found["results"][3]["train"]["train_real_score"])
    assert found["results"][0]["val"]["shapes"][0] == (6, 1, 8, 8)
    assert {"val/generated", "gradients/generator.0.weight", "gradients/discriminator.1.weight"} <= found["keys"]
    assert found["said"] == []


def test_steps_that_return_nothing(tmp_path: Path) -> None:
    """Every reading is counted in training and in validation."""
    found = ran("returns_nothing", tmp_path)
    assert torch.equal(matrix(found), found["truth"])
    assert torch.equal(matrix(found, "train").sum(1), found["labels"])
    assert found["logged"]["val/acc"] == float(found["acc"])
    assert found["said"] == []
