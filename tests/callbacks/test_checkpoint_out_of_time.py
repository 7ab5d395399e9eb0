"""A run that is out of time: the newest checkpoint is delivered once, and who goes on goes on from it."""

from __future__ import annotations

import os
import signal
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from support import scenarios
from support.modules import loader, trainer
from support.processes import run_processes
from support.shelf import Disk, Shelf, ShelfLogger, files_in
from support.versions import MAY_TRAIN_A_BATCH_MORE, needs_sigterm_under_slurm

import lwcallbacks as lw
from lwcallbacks.artifacts.ledger import FILE, read


def scontrol(tmp_path: Path, after: str) -> str:
    """A PATH with a program of that name first: it notes what it was asked for."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n{after}\n')
    program.chmod(0o755)
    return os.pathsep.join((str(program.parent), os.environ["PATH"]))


@pytest.mark.parametrize("folder", ["one", "another"])
@pytest.mark.parametrize(
    "killed", [pytest.param(False, marks=needs_sigterm_under_slurm), True], ids=["asked to end", "killed"]
)
def test_a_job_that_slurm_requeues(folder: str, killed: bool, tmp_path: Path) -> None:
    """SLURM's signal comes at any moment, then SIGTERM, or SIGKILL in the midst of all. The next job has the same
    folder of logs, or another one."""
    path = scontrol(tmp_path, f"(sleep 0.1; kill -{'KILL' if killed else 'TERM'} $PPID) &")
    job = partial(run_processes, 1, scenarios.out_of_time, str(tmp_path))
    if killed:
        with pytest.raises(RuntimeError, match="died with code -9"):
            job("one", path, int(signal.SIGUSR1), 400)
    else:
        [ended] = job("one", path, int(signal.SIGUSR1), 400)
        assert ended[-1] == -1, "by SIGTERM"
    assert (tmp_path / "requeued").read_text() == "requeue 1234\n"
    [saved] = tmp_path.glob("hpc_ckpt_*.ckpt")
    step = torch.load(saved, weights_only=True)["global_step"]
    epochs = step // 5 + 2

    [[begun, done]] = job(folder, path, None, epochs)
    assert begun == step
    assert done - 5 * epochs in ({0, 1} if MAY_TRAIN_A_BATCH_MORE else {0})

    entries = [entry for ledger in tmp_path.rglob(FILE) for entry in read(ledger.parent) if not entry.is_earlier]
    [hpc] = [entry for entry in entries if entry.version.path == str(saved)]
    assert (hpc.version.name, hpc.version.metadata["step"]) == ("model-run-saved", step)
    there = Disk(tmp_path / "disk").there
    paths = sorted(entry.version.path for entry in entries if entry.version.id in there)
    waiting = sorted(entry.version.path for entry in entries if entry.waiting)
    files = sorted(map(str, (saved, *(tmp_path / "ck").iterdir())))
    if killed and folder == "another":
        assert set(files) <= {*paths, *waiting}, "some wait in the ledger of the killed job"
    else:
        assert (paths, waiting) == (files, []), "each once"
    assert len([file for ledger in tmp_path.rglob(FILE) for file in files_in(ledger.parent / "held")]) == len(waiting)


class Improves(scenarios.Improves):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        torch.linalg.eigh(torch.rand(100, 100))  # takes a while
        return super().training_step(batch, batch_idx)


def test_the_time_that_a_trainer_is_given(tmp_path: Path) -> None:
    """`max_time=` ends a fit in mid-epoch: all that was saved is delivered once, and a longer fit goes on from it."""
    shelf = Shelf()

    def fitted(seconds: float, max_epochs: int, path: Path | None) -> Any:
        checkpoint = ModelCheckpoint(tmp_path / "ck", every_n_train_steps=1, save_last=True, save_top_k=1)
        t = trainer(
            callbacks=[lw.CheckpointArtifact(on_error="raise"), checkpoint],
            logger=ShelfLogger(tmp_path / "logs", shelf), enable_checkpointing=True, default_root_dir=tmp_path,
            max_time=timedelta(seconds=seconds), max_epochs=max_epochs, log_every_n_steps=1,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the loader begins with its first batch again
            t.fit(Improves(), loader(), loader(), ckpt_path=path)
        return t

    done = fitted(1.0, 10**6, None).global_step
    last = tmp_path / "ck" / "last.ckpt"
    steps = [kept.version.metadata["step"] for kept in shelf.there.values()]
    assert steps == list(range(1, done + 1))
    assert shelf.find("model-run", "latest").version.metadata["step"] == done
    again = fitted(100.0, done // 5 + 1, last)
    steps = [kept.version.metadata["step"] for kept in shelf.there.values()]
    assert steps == list(range(1, again.global_step + 1))
    assert len(shelf.dropped) == len(steps) - 1
