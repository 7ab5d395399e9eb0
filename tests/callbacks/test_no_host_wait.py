"""No batch hook of ours waits for the device: training goes on issuing work while earlier work still runs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import pytorch_lightning as pl
from support.everyone import everyone
from support.modules import Classifier, images, loader, trainer
from torch.utils.data import DataLoader

from lwcallbacks.testing import HostSync, forbid_host_sync

BATCH_HOOKS = (
    "on_train_batch_start", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end",
    "on_validation_batch_start", "on_validation_batch_end",
)  # fmt: skip


def around(callbacks: list[pl.Callback]) -> tuple[list[pl.Callback], list[int]]:
    """The callbacks between two guards: waiting is forbidden in their batch hooks, and nowhere else; and a count."""
    stack = ExitStack()

    def enter(*args: Any, **kwargs: Any) -> None:
        stack.enter_context(forbid_host_sync())

    def leave(*args: Any, **kwargs: Any) -> None:
        guarded.append(1)
        stack.close()

    guarded: list[int] = []
    before, behind = pl.Callback(), pl.Callback()
    for hook in BATCH_HOOKS:
        setattr(before, hook, enter)
        setattr(behind, hook, leave)
    return [before, *callbacks, behind], guarded


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
def test_no_batch_hook_waits(shuffle: bool) -> None:
    """All callbacks on training and validation; samples known by position or, where shuffled, by content."""
    callbacks, guarded = around(everyone(stages=("train", "val")))
    data = DataLoader(images(40), 8, shuffle=shuffle)
    trainer(callbacks=callbacks, log_every_n_steps=100).fit(Classifier(), data, loader())
    assert len(guarded) == 5 * 5 + 5 * 2


def test_the_guard_sees_a_wait() -> None:
    """A callback that reads one number in a batch hook is caught."""

    class Reads(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            with pytest.raises(HostSync, match="item"):
                outputs["loss"].item()

    callbacks, guarded = around([Reads()])
    trainer(callbacks=callbacks).fit(Classifier(), loader(), loader())
    assert guarded
