"""A logger, or the process behind it, that fails while training runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support.programs import Program
from support.recorded import in_wandb, on_page, scalars

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

EPOCHS = [4, 9, 14]
NORMS = [1, 3, 5, 7, 9, 11, 13]  # every second optimizer step
NORMS_OF_STEP_1 = (
    "could not log gradients/norm/net.1.weight, gradients/norm/net.1.bias, gradients/norm/total and 3 more of step 1"
)
PICTURES = ("val/confusion_matrix", "val/confusion_matrix_chart", "val/mosaic", "val/predictions")


def test_loggers_that_raise_on_every_call_cost_no_training(tmp_path: Path) -> None:
    """Two loggers that raise: the same weights, one warning for each reason, and all media on the page."""
    programs = [Program("fit", str(tmp_path / str(ours)), ours=ours, logger="hostile") for ours in (False, True)]
    alone, ours = (program.wait() for program in programs)
    assert ours.code == alone.code == 0
    assert ours.facts["weights"] == alone.facts["weights"]
    assert alone.warnings == []
    assert [told.split(": RuntimeError")[0] for told in ours.warnings] == [
        "The logger does not tell its folder",
        "HostileCSVLogger gets no media",
        "HostileTensorBoardLogger gets no media",
        "CheckpointArtifact could not ask the logger for the run's name",
        f"HostileCSVLogger {NORMS_OF_STEP_1}",
        f"HostileTensorBoardLogger {NORMS_OF_STEP_1}",
    ]
    page = on_page(tmp_path / "True")
    assert {key: page[key] for key in PICTURES} == dict.fromkeys(PICTURES, EPOCHS)
    assert (
        page["gradients/net.1.weight"]
        == [row["step"] for row in scalars(tmp_path / "True") if "gradients/norm/total" in row]
        == NORMS
    )
    assert len(page["model-local"]) == 3


def test_strict_callbacks_end_training_when_a_logger_raises(tmp_path: Path) -> None:
    """With on_error="raise" the logger's own exception comes, with a note of what was tried."""
    ended = Program("fit", str(tmp_path), logger="hostile", on_error="raise").wait()
    assert ended.code == 1
    assert "RuntimeError: no log_dir for you\nlwcallbacks: The logger does not tell its folder" in ended.err
    assert ended.facts["epochs"] == 0


def test_pictures_go_on_when_the_process_of_wandb_is_killed(tmp_path: Path) -> None:
    """Where nothing but our pictures and norms is logged, training goes on as with a WandbLogger alone.

    W&B's file has what that process had written, the page has everything.
    """
    programs = []
    for ours in (False, True):
        root = tmp_path / str(ours)
        root.mkdir()
        programs.append(
            Program(
                "fit", str(root), ours=ours, fault="wandb", logger="wandb", log_every_n_steps=1000,
                leave_out="ScalarMetrics ConfusionMatrix MultilabelConfusionMatrix Curves",
            )
        )  # fmt: skip
    alone, ours = (program.wait() for program in programs)
    assert (ours.code, ours.exception) == (alone.code, alone.exception)
    assert ours.facts["epochs"] == alone.facts["epochs"] == 3
    assert ours.facts["weights"] == alone.facts["weights"]
    assert ours.left == []
    wandb, waits, asked = sorted(ours.warnings, key=lambda told: ("asked again" in told, "wait to be" in told))
    assert wandb.startswith("WandbLogger ")
    assert "ConnectionResetError" in wandb
    assert re.fullmatch(r"\d checkpoints wait to be delivered: .* --deliver", waits)
    assert asked.startswith("CheckpointArtifact: wandb did not take a checkpoint, and is asked again: ")
    page = on_page(tmp_path / "True")
    assert page["val/mosaic"] == page["val/predictions"] == EPOCHS
    assert (
        page["gradients/net.1.weight"]
        == [row["step"] for row in scalars(tmp_path / "True") if "gradients/norm/total" in row]
        == NORMS
    )
    assert in_wandb(tmp_path / "True", "val/mosaic") == [4]


def test_a_module_that_logs_ends_when_the_process_of_wandb_is_killed(tmp_path: Path) -> None:
    """What goes through `self.log`, the module's numbers and those of the callbacks, is logged by the Trainer."""
    programs = []
    for ours in (False, True):
        root = tmp_path / str(ours)
        root.mkdir()
        programs.append(Program("fit", str(root), ours=ours, fault="wandb", logger="wandb", logs=True))
    alone, ours = (program.wait() for program in programs)
    assert (ours.code, ours.exception) == (alone.code, alone.exception)
    assert ours.facts["epochs"] == alone.facts["epochs"] == 1
    page = on_page(tmp_path / "True")
    assert page["val/mosaic"][0] == in_wandb(tmp_path / "True", "val/mosaic")[0] == 4
    assert ours.left == []
