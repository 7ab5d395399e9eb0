"""What a run says of the checkpoints that an earlier one has left: what can be done about it, and once."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, loader, trainer

import lwcallbacks as lw
from lwcallbacks.artifacts import Receipt, Version
from lwcallbacks.artifacts.ledger import Ledger

OFFLINE = "wandb/offline-run-20260101_120000-1a2b"


def said(root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Of checkpoints of an earlier run, in a fit beside it."""
    caplog.clear()
    callbacks = [lw.CheckpointArtifact(), ModelCheckpoint()]
    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        runner = trainer(callbacks=callbacks, default_root_dir=root, limit_train_batches=1, enable_checkpointing=True)
        runner.fit(Classifier(), loader())
    told = [*(str(w.message) for w in heard), *(record.getMessage() for record in caplog.records)]
    return [text for text in told if "of an earlier run" in text]


def test_what_earlier_runs_have_left_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What --deliver can deliver, with that; what an offline run of W&B holds, with `wandb sync`, as information."""
    directory = tmp_path / "lwcallbacks_logs" / "version_0" / "artifacts"
    with Ledger(directory) as ledger:
        for number in "12":
            ledger.saved(Version(number, "model-0", "s3://bucket/a.ckpt", ("latest",), {}), ["wandb"])
        ledger.delivered("2", "wandb", Receipt("staged", OFFLINE))
    assert said(tmp_path, caplog) == [
        "lwcallbacks: CheckpointArtifact: 1 checkpoints of an earlier run wait to be delivered: "
        f"python -m lwcallbacks artifacts {directory} --deliver",
        f"lwcallbacks: 1 checkpoints of an earlier run are in its offline run of W&B: wandb sync {OFFLINE}",
    ]
    assert said(tmp_path, caplog) == []
