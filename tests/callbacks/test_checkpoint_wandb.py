"""CheckpointArtifact and a W&B server: what is refused, dropped later, and gone on from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from support.modules import Classifier, loader, trainer
from support.versions import needs_fit_with_weights_only
from support.wandb_online import online
from support.wandb_server import WandbServer

import lwcallbacks as lw


class Improves(Classifier):
    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(float(self.current_epoch)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as made, online(made, tmp_path):
        yield made


def made(tmp_path: Path, *callbacks: Any, log_model: bool = False, **kwargs: Any) -> Any:
    logger = WandbLogger(project="digits", id="r1", resume="allow", save_dir=tmp_path, log_model=log_model)
    return trainer(
        callbacks=[*callbacks], logger=logger, default_root_dir=tmp_path, enable_checkpointing=True, **kwargs
    )


def best(tmp_path: Path) -> ModelCheckpoint:
    return ModelCheckpoint(tmp_path / "ck", monitor="score", mode="max", save_top_k=1)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.parametrize("weights_only", [None, pytest.param(False, marks=needs_fit_with_weights_only)])
def test_a_fit_goes_on_from_an_address(weights_only: bool | None, server: WandbServer, tmp_path: Path) -> None:
    """The version is downloaded and used; the strategy is as it was, and so it is after validation."""
    t = made(tmp_path, lw.CheckpointArtifact(), best(tmp_path), max_epochs=2)
    t.fit(Improves(), loader(), loader())
    assert server.version("model-r1:best").metadata["epoch"] == 1
    how = {} if weights_only is None else {"weights_only": weights_only}
    for task in ("fit", "validate"):
        wandb.finish()
        again = made(tmp_path, lw.CheckpointArtifact(), best(tmp_path), max_epochs=3)
        module, loaders = Improves(), (loader(),) if task == "validate" else (loader(), loader())
        getattr(again, task)(module, *loaders, ckpt_path="wandb://someone/digits/model-r1:best", **how)
        assert "load_checkpoint" not in vars(again.strategy)
        if task == "fit":
            assert (again.current_epoch, again.global_step) == (3, 15), "one epoch more than the checkpoint has"
    assert "UseArtifact" in server.calls


def test_log_model_beside_it_is_an_error(server: WandbServer, tmp_path: Path) -> None:
    """Before training, with what to leave out."""
    t = made(tmp_path, lw.CheckpointArtifact(), best(tmp_path), log_model=True, max_epochs=1)
    with pytest.raises(ValueError, match=r"log_model=True\) uploads checkpoints, too.* leave out log_model, or Check"):
        t.fit(Improves(), loader(), loader())
    assert t.global_step == 0


def test_two_of_them_are_an_error(tmp_path: Path) -> None:
    """A preset has one, too."""
    more = [lw.CheckpointArtifact(), *lw.presets.classification(4)]
    t = trainer(callbacks=[*more, best(tmp_path)], enable_checkpointing=True, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=r"found 2 of them, expected one.*checkpoints=False"):
        t.fit(Improves(), loader(), loader())


@pytest.mark.parametrize(("keep", "left"), [("ranked", [2]), ("all", [0, 1, 2])])
def test_what_is_kept(keep: Any, left: list[int], server: WandbServer, tmp_path: Path) -> None:
    """With save_top_k=1 each save removes the one before."""
    made(tmp_path, lw.CheckpointArtifact(keep=keep), best(tmp_path), max_epochs=3).fit(Improves(), loader(), loader())
    assert sorted(version.metadata["epoch"] for version in server.collection("model-r1")) == left


def test_what_is_kept_for_a_time(server: WandbServer, tmp_path: Path) -> None:
    """W&B deletes later what was removed."""
    ours = lw.CheckpointArtifact(keep=timedelta(days=3))
    made(tmp_path, ours, best(tmp_path), max_epochs=3).fit(Improves(), loader(), loader())
    assert {v.metadata["epoch"]: v.ttl for v in server.collection("model-r1")} == {0: 259_200, 1: 259_200, 2: None}


@pytest.mark.parametrize("fault", [None, "CreateArtifactFiles", "CommitArtifact"])
def test_versions_that_are_given_ahead_keep_their_order(fault: str | None, server: WandbServer, tmp_path: Path) -> None:
    """By a server that is slower than training, and that fails now and then: each is there once, and what is "latest"
    or "best" is the newest that is there."""
    server.delay = 0.05
    if fault is not None:
        server.break_next(fault, "500")
    seen: list[tuple[int, ...]] = []

    class Looks(pl.Callback):
        def on_train_end(self, *args: Any) -> None:
            threading.Thread(target=look, daemon=True).start()

    def look() -> None:
        while not over.wait(0.01):
            newest = {a: v.metadata["epoch"] for v in list(server.collection("model-r1")) for a in v.aliases}
            seen.append(tuple(newest[alias] for alias in ("latest", "best") if alias in newest))

    over = threading.Event()
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="score", mode="max", save_top_k=2)
    t = made(tmp_path, lw.CheckpointArtifact(on_error="raise"), Looks(), checkpoint, max_epochs=5)
    t.fit(Improves(), loader(), loader())
    over.set()
    assert [v.metadata["epoch"] for v in server.versions if v.type == "model" and v.metadata] == [0, 1, 2, 3, 4]
    assert sorted(v.metadata["epoch"] for v in server.collection("model-r1")) == [3, 4]
    assert {v.metadata["epoch"] for v in server.collection("model-r1") if {"latest", "best"} & set(v.aliases)} == {4}
    latest = [epochs[0] for epochs in seen if epochs]
    assert latest == sorted(latest), "never an older one"
