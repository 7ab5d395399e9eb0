"""A disk of two megabytes that is full from the second epoch to the fourth."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

import PIL.Image
import pytest
import torch
from support.programs import Ended, Program
from support.recorded import offline_run, on_page

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")


def both(tmp_path: Path, what: str) -> tuple[Ended, Ended]:
    """The same training without our callbacks and with them."""
    programs = []
    for ours in (False, True):
        root = tmp_path / str(ours)
        root.mkdir()
        programs.append(Program("fit_on_tiny_disk", str(root), ours=ours, what=what))
    alone, ours = (program.wait() for program in programs)
    if "skip" in ours.facts:
        pytest.skip(ours.facts["skip"])
    assert ours.code == alone.code == 0, ours.err
    assert ours.facts == alone.facts, "four epochs, the same weights"
    return alone, ours


def pictures(paths: Iterable[Path]) -> set[bytes]:
    """The pixels of those that can be read."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError), PIL.Image.open(path) as image:
            found.add(image.tobytes())
    return found


def test_no_room_for_the_page(tmp_path: Path) -> None:
    """One warning of each; what was written stays whole, and writing goes on once there is room again.

    The ledger of the checkpoints is there, too: what can't be entered is not delivered.
    """
    _, ours = both(tmp_path, "media")
    assert {told.split(" ")[0] for told in ours.warnings} == {"The", "CheckpointArtifact"}
    assert [told for told in ours.warnings if "No space left on device" not in told] == []
    page = on_page(tmp_path / "True" / "seen")
    for key in ("val/confusion_matrix", "val/mosaic", "val/predictions"):
        assert page[key] == [4, 19]


def test_no_room_for_the_files_of_wandb(tmp_path: Path) -> None:
    """The page and W&B's pictures lie on that disk: one warning each, and both go on once there is room again.

    W&B's own process does not take up its record of the run again, with our callbacks or without; it can be read.
    """
    _, ours = both(tmp_path, "wandb")
    assert {told.split(" ")[0] for told in ours.warnings} == {"The", "WandbLogger", "CheckpointArtifact"}, ours.warnings
    assert [told for told in ours.warnings if "No space left on device" not in told] == []
    seen = tmp_path / "True" / "seen"
    for key in ("val/confusion_matrix", "val/mosaic", "val/predictions"):
        assert on_page(seen)[key] == [4, 19]
    kept = pictures(offline_run(seen).files_dir.glob("media/images/val/confusion_matrix*.png"))
    shown = pictures(seen.rglob("val/confusion_matrix/*.png"))
    assert shown <= kept
    assert len(shown) == 2, "of unlike epochs"


def test_no_names_beside_the_checkpoints(tmp_path: Path) -> None:
    """They are held in the run's folder, on another disk, and nothing is written beside them."""
    _, ours = both(tmp_path, "checkpoints")
    assert ours.warnings == []
    page = on_page(tmp_path / "True")
    assert sum(map(len, (steps for key, steps in page.items() if key.startswith("model-")))) == 4
    seen = tmp_path / "True" / "seen"
    assert len([torch.load(path, weights_only=True) for path in seen.glob("*.ckpt")]) == 4
    assert len(list(seen.iterdir())) == 4


def test_strict_callbacks_end_training_on_a_full_disk(tmp_path: Path) -> None:
    """With on_error="raise" it is the OSError that comes. Data may find room at the end of a chunk, pictures none."""
    ended = Program("fit_on_tiny_disk", str(tmp_path), on_error="raise").wait()
    if "skip" in ended.facts:
        pytest.skip(ended.facts["skip"])
    assert ended.code == 1
    assert "OSError: [Errno 28] No space left on device" in ended.err
    assert "lwcallbacks: The folder " in ended.err
    assert ended.facts["epochs"] in (1, 2), "at once, or at the start of the next"
