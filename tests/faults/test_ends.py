"""However a run ends, it ends as it would without the callbacks, and what was recorded is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.processes import free_port
from support.programs import Ended, Program
from support.recorded import in_wandb, offline_run, on_page, scalars
from support.versions import needs_save_on_exception

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def both(tmp_path: Path, **kwargs: Any) -> tuple[Ended, Ended]:
    """The same training without our callbacks and with them, at the same time."""
    programs = []
    for ours in (False, True):
        root = tmp_path / ("ours" if ours else "alone")
        root.mkdir()
        programs.append(Program("fit", str(root), ours=ours, **kwargs))
    alone, ours = (program.wait() for program in programs)
    return alone, ours


def same_end(alone: Ended, ours: Ended) -> None:
    assert (ours.code, ours.exception) == (alone.code, alone.exception)
    for fact in ("epochs", "weights"):
        assert ours.facts[fact] == alone.facts[fact]
    assert ours.facts["hooks"] == 0, "nothing listens to the module any more"
    assert ours.facts["threads"] == []
    assert ours.left == []


@pytest.mark.parametrize("fault", ["step", "validation", "SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_ends_as_without_the_callbacks(fault: str, tmp_path: Path) -> None:
    """Exit code, exception, weights; the first epoch's pictures and its checkpoint are delivered, once."""
    alone, ours = both(tmp_path, fault=fault, logger="wandb")
    same_end(alone, ours)
    assert ours.code == {"SIGTERM": 0}.get(fault, 1)
    assert ours.warnings == []
    page = on_page(tmp_path / "ours")
    for key in ("val/confusion_matrix", "val/mosaic", "val/predictions"):
        assert page[key] == in_wandb(tmp_path / "ours", key) == [4]
    assert page["gradients/net.1.weight"] == in_wandb(tmp_path / "ours", "gradients/net.1.weight")
    models = [artifact for artifact in offline_run(tmp_path / "ours").artifacts if artifact.type == "model"]
    assert [list(model.files) for model in models] == [["epoch=0-step=5.ckpt"]]
    assert not list(tmp_path.rglob(".lwcallbacks-*"))


def test_a_broken_sample_ends_training_with_its_own_error(tmp_path: Path) -> None:
    """A worker process of the loader raises: the loader's error is the last word, the gradients so far are there."""
    alone, ours = both(tmp_path, fault="worker")
    same_end(alone, ours)
    assert ours.exception == "OSError: sample 33 is broken"
    assert ours.warnings == []
    assert on_page(tmp_path / "ours")["gradients/net.1.weight"] == [1, 3]


@needs_save_on_exception
@pytest.mark.parametrize("fault", ["step", "SIGINT", "SIGTERM"])
def test_a_checkpoint_saved_because_of_the_end_is_delivered_once(fault: str, tmp_path: Path) -> None:
    """ModelCheckpoint(save_on_exception=True) saves after the last batch; that version is the latest."""
    ended = Program("fit", str(tmp_path), fault=fault, logger="wandb", save_on_exception=True).wait()
    assert ended.warnings == []
    assert ended.left == []
    models = [artifact for artifact in offline_run(tmp_path).artifacts if artifact.type == "model"]
    steps = [torch.load(next(iter(m.files.values())), weights_only=True)["global_step"] for m in models]
    assert steps == [5, 8 if fault == "SIGTERM" else 7]
    assert "latest" in models[-1].aliases


def test_a_killed_run_leaves_a_page_that_can_be_read(tmp_path: Path) -> None:
    """SIGKILL in the second epoch, when the first is written: its pictures and numbers are there, each line whole."""
    ended = Program("fit", str(tmp_path), fault="SIGKILL").wait()
    assert ended.code == -9
    page = on_page(tmp_path)
    assert page["val/mosaic"] == page["val/confusion_matrix"] == [4]
    assert list(dict.fromkeys(row["step"] for row in scalars(tmp_path)))[:2] == [1, 3]


def test_a_second_ctrl_c_ends_the_last_flush(tmp_path: Path) -> None:
    """While a picture hangs, Ctrl-C drops the queue with a warning; the exit code is that of the first one."""
    ended = Program("interrupted_twice", str(tmp_path)).wait()
    assert ended.code == 1
    assert ended.out.count('"begun"') == 1
    assert ended.warnings == ["On Ctrl-C the queue is dropped: 2 queued drawings were not written."]
    assert ended.facts["epochs"] == 1
    assert ended.left == []


@pytest.mark.parametrize(("fault", "ranks"), [("SIGINT", (0, 1)), ("step", (0,)), ("step", (1,))])
def test_two_processes_end_as_without_the_callbacks(fault: str, ranks: tuple[int, ...], tmp_path: Path) -> None:
    """Ctrl-C, which both get, or an exception on either: the same exit codes, and no callback makes one wait.

    Without the callbacks torch now and then aborts at the interpreter's end: gloo's thread lets go of its last tensor
    when there is no interpreter left to do it with. With them it never does: see `tests/state/test_sync_processes.py`.
    """
    programs: dict[tuple[bool, int], Program] = {}
    for ours in (False, True):
        root = tmp_path / str(ours)
        root.mkdir()
        port = str(free_port())
        for rank in (0, 1):
            env = {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank),
                "NODE_RANK": "0", "WORLD_SIZE": "2",
            }  # fmt: skip
            program = Program("fit", str(root), ours=ours, fault=fault, ranks=ranks, num_sanity_val_steps=0, env=env)
            programs[ours, rank] = program
    ended = {key: program.wait() for key, program in programs.items()}
    for rank in (0, 1):
        assert ended[True, rank].code == 1
        assert ended[False, rank].code == 1 or "terminate called without an active exception" in ended[False, rank].out
        assert ended[True, rank].facts["threads"] == []
        assert ended[True, rank].left == []
        assert ended[True, rank].warnings == []
    assert on_page(tmp_path / "True")["val/mosaic"] == [2]
