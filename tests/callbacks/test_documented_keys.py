"""What a docstring's table says is logged is what is logged, read back from a real offline W&B run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from support.everyone import examples, public_callbacks
from support.modules import Classifier, loader, trainer

import lwcallbacks as lw
from lwcallbacks.readers import read_run

CALLBACKS = public_callbacks()


def documented(callback: type, instance: Any) -> list[re.Pattern[str]]:
    """One pattern per key of the docstring's table `Key | Logged data`."""
    rows = re.findall(r"^ {4}(``.+?``)(?:  |$)", str(callback.__doc__), re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"``(.+?)``", row)]
    kinds = {
        "{stage}": "(val|test)",
        "{name}": "acc" if callback is lw.ScalarMetrics else str(getattr(instance, "name", "")),
        "{layer}": r"net\.1\.(weight|bias)",
        "{moment}": "momentum_buffer",
        "{module}": r"net\.\d",
        "{run id}": r"\w+",
    }
    for placeholder, pattern in kinds.items():
        keys = [key.replace(placeholder, pattern) for key in keys]
    return [re.compile(key) for key in keys]


class Remembers(Classifier):
    """Its optimizer keeps a moment, and it has units that can be dead."""

    def __init__(self) -> None:
        super().__init__()
        self.net.append(torch.nn.ReLU())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


@pytest.mark.parametrize("name", CALLBACKS)
def test_the_table_is_what_is_logged(name: str, tmp_path: Path) -> None:
    """Every logged key is in the table, and every key of the table is logged."""
    callback, instance = CALLBACKS[name], examples()[name]()
    logger = WandbLogger(mode="offline", save_dir=tmp_path)
    t = trainer(
        logger=logger,
        callbacks=[instance, *([ModelCheckpoint()] if callback is lw.CheckpointArtifact else [])],
        enable_checkpointing=callback is lw.CheckpointArtifact,
        log_every_n_steps=2,
        gradient_clip_val=0.5,
    )
    t.fit(Remembers(), loader(), loader())
    t.test(Remembers(), loader(), verbose=False)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    keys = {key for row in run.history for key in row if not key.startswith("_")} - {"trainer/global_step", "epoch"}
    # A custom chart is a setting of the run; what is in the history is the table that W&B draws it from.
    keys = {re.sub(r"_(chart|roc|pr|calibration)_table$", r"_\1", key) for key in keys}
    keys |= {artifact.name for artifact in run.artifacts if artifact.type == "model"}
    patterns = documented(callback, instance)
    assert patterns
    assert {key for key in keys if not any(p.fullmatch(key) for p in patterns)} == set()
    assert [p.pattern for p in patterns if not any(p.fullmatch(key) for key in keys)] == []
