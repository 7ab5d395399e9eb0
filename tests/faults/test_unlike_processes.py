"""Processes that have not the same callbacks, or not the same to remember: no hang, and the same error on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import together
from support.modules import CLASSES
from support.processes import run_processes

UNLIKE: dict[str, tuple[list[list[str]], list[str]]] = {
    "one more": ([["matrix", "mosaic"], ["matrix"]], ["ImageMosaic('val/mosaic') is", "missing on process 1"]),
    "other arguments": (
        [["matrix"], ["matrix but for a label"]],
        ["ConfusionMatrix('val/confusion_matrix') is", f"ConfusionCounts(num_classes={CLASSES}, ignore_index=0"],
    ),
    "another metric": (
        [["metrics"], ["recall"]],
        ["is MulticlassAccuracy", "on process 0, MulticlassRecall", "on process 1"],
    ),
    "another stage": (
        [["matrix of training"], ["matrix"]],
        ["ConfusionMatrix('train/confusion_matrix') on process 0, and no callback that remembers train on process 1"],
    ),
    "nothing to remember": (
        [["matrix", "gradients"], ["gradients"]],
        ["ConfusionMatrix('val/confusion_matrix') on process 0, and no callback that remembers val on process 1"],
    ),
}


def test_a_process_without_callbacks_is_missed(tmp_path: Path) -> None:
    """Those that have one raise within the time limit, naming it, the process and what to write."""
    having, without = run_processes(2, together.fit, str(tmp_path), [["matrix"], []], 2.0, timeout=60)
    assert "ConfusionMatrix('val/confusion_matrix'): found on this process, and none of lwcallbacks" in having["error"]
    assert "on the processes [1] within 2 s" in having["error"]
    assert "make them outside of any `if rank == 0`" in having["error"]
    assert having["took"] < 30
    assert without["error"], "its own collective fails when the other process has left"


@pytest.mark.parametrize("case", UNLIKE)
def test_unlike_callbacks_are_the_same_error_on_both(case: str, tmp_path: Path) -> None:
    """It names the callback, what it remembers and the processes; nobody waits."""
    of_each, told = UNLIKE[case]
    first, second = run_processes(2, together.fit, str(tmp_path), of_each, timeout=60)
    assert first["error"] == second["error"]
    for words in (*told, "Give every process the same callbacks"):
        assert words in first["error"]


def test_another_order_gives_the_same_values(tmp_path: Path) -> None:
    """Which callback comes first on a process does not matter."""
    names = ["matrix", "mosaic", "metrics", "gradients"]
    found: dict[str, list[Any]] = {}
    for order in (names, names[::-1]):
        found[order[0]] = run_processes(2, together.fit, str(tmp_path), [names, order], timeout=60)
    for alike, unlike in zip(*found.values(), strict=True):
        assert alike["error"] == unlike["error"] == ""
        assert torch.equal(alike["results"]["matrix"], unlike["results"]["matrix"])
        assert torch.equal(alike["results"]["mosaic"].ids, unlike["results"]["mosaic"].ids)
        assert alike["metrics"] == unlike["metrics"]
        assert int(alike["results"]["matrix"].sum()) == 21
