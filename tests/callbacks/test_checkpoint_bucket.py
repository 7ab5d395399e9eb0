"""Checkpoints in an object store: saved to s3:// by a Trainer, referred to by W&B, dropped, gone on from."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from support.bucket import BucketServer
from support.modules import Classifier, loader, trainer
from support.shelf import Shelf, ShelfLogger
from support.wandb_online import online
from support.wandb_server import WandbServer

import lwcallbacks as lw
from lwcallbacks.artifacts.ledger import Entry, read
from lwcallbacks.readers import read_run

pytest.importorskip("moto", reason="moto is not installed here; the extra dev of pyproject.toml has it")
pytest.importorskip("s3fs", reason="s3fs is not installed here; the extra dev of pyproject.toml has it")


class Improves(Classifier):
    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(float(self.current_epoch)))


@pytest.fixture(scope="module")
def servers() -> Iterator[BucketServer]:
    with BucketServer() as server:
        yield server


@pytest.fixture
def bucket(servers: BucketServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a bucket of the test's own."""
    servers.use(monkeypatch)
    name = f"bucket-{zlib.crc32(request.node.name.encode())}"
    servers.make(name)
    yield name
    wandb.finish()


def made(tmp_path: Path, *callbacks: Any, logger: Any = None, max_epochs: int = 3, **kwargs: Any) -> Any:
    if logger is None:
        logger = WandbLogger(project="digits", id="r1", save_dir=tmp_path)
    return trainer(
        callbacks=[lw.CheckpointArtifact(on_error="raise"), *callbacks], logger=logger, default_root_dir=tmp_path,
        enable_checkpointing=True, max_epochs=max_epochs, log_every_n_steps=1, **kwargs,
    )  # fmt: skip


def best(bucket: str, kind: type[ModelCheckpoint] = ModelCheckpoint, **kwargs: Any) -> ModelCheckpoint:
    return kind(f"s3://{bucket}/ck", **({"monitor": "score", "mode": "max", "filename": "{epoch}"} | kwargs))


def entries(tmp_path: Path) -> list[Entry]:
    [ledger] = tmp_path.rglob("ledger.jsonl")
    return read(ledger.parent)


def test_what_an_offline_run_refers_to(servers: BucketServer, bucket: str, tmp_path: Path) -> None:
    """Every save is in the ledger; the run's file refers to what is still there, and there is nothing on this disk."""
    t = made(tmp_path, best(bucket, save_top_k=2, save_last=True))
    t.fit(Improves(), loader(), loader())
    wandb.finish()
    assert servers.names(bucket) == ["ck/epoch=1.ckpt", "ck/epoch=2.ckpt", "ck/last.ckpt"]
    saved = [f"s3://{bucket}/ck/epoch={n}.ckpt" for n in range(3)]
    ours = next(c for c in t.callbacks if isinstance(c, lw.CheckpointArtifact))
    assert ours.results["train"] == [e.version.path for e in entries(tmp_path)] == saved
    assert [e.is_removed for e in entries(tmp_path)] == [True, False, False]
    [directory] = tmp_path.glob("wandb/offline-run-*")
    versions = [a for a in read_run(directory).artifacts if a.type == "model"]
    assert [(a.files, a.references) for a in versions] == [({}, {Path(p).name: p}) for p in saved[1:]]
    assert [a.metadata["epoch"] for a in versions] == [1, 2]
    assert {"best", "last", "latest", "epoch-2"} <= set(versions[-1].aliases)
    assert list(tmp_path.rglob("*.ckpt")) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as started, online(started, tmp_path):
        yield started


def test_what_an_online_run_refers_to(server: WandbServer, servers: BucketServer, bucket: str, tmp_path: Path) -> None:
    """W&B has the address and the store's own digest; what save_top_k has removed is dropped there, too."""
    made(tmp_path, best(bucket)).fit(Improves(), loader(), loader())
    wandb.finish()
    address = f"s3://{bucket}/ck/epoch=2.ckpt"
    assert servers.names(bucket) == ["ck/epoch=2.ckpt"]
    assert [version.metadata["epoch"] for version in server.collection("model-r1")] == [2]
    there = wandb.Api().artifact("someone/digits/model-r1:best")
    assert [(name, entry.ref, entry.digest) for name, entry in there.manifest.entries.items()] == [
        ("epoch=2.ckpt", address, servers.etag(address))
    ]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_going_on_from_the_bucket(servers: BucketServer, bucket: str, tmp_path: Path) -> None:
    """The resumed run delivers what it saves; what it removes of the first one is dropped."""
    shelf = Shelf()
    for max_epochs, path in [(2, None), (4, f"s3://{bucket}/ck/epoch=1.ckpt")]:
        t = made(tmp_path, best(bucket), logger=ShelfLogger(tmp_path / "logs", shelf), max_epochs=max_epochs)
        t.fit(Improves(), loader(), loader(), ckpt_path=path)
    came = {kept.version.metadata["epoch"]: id for id, kept in shelf.there.items()}
    assert sorted(came) == [0, 1, 2, 3]
    assert shelf.dropped == [came[0], came[1], came[2]]
    assert servers.names(bucket) == ["ck/epoch=3.ckpt"]


class Own(ModelCheckpoint):
    """Names its files itself, and saves one more."""

    def format_checkpoint_name(self, metrics: Any, filename: Any = None, ver: Any = None, **more: Any) -> str:
        name: str = super().format_checkpoint_name(metrics, filename, ver, **more)
        return name.replace("=", "-")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_end(trainer, pl_module)
        trainer.save_checkpoint(f"{self.dirpath}/end.ckpt")


@pytest.mark.parametrize("plugins", [[], [AsyncCheckpointIO()]], ids=["at once", "asynchronous"])
def test_a_subclass_with_names_of_its_own(
    servers: BucketServer, bucket: str, tmp_path: Path, plugins: list[Any]
) -> None:
    """Beside another ModelCheckpoint in the same bucket: each has an artifact of its own, with its own facts."""
    shelf = Shelf()
    second = ModelCheckpoint(f"s3://{bucket}/every", every_n_epochs=2, save_top_k=-1)
    logger = ShelfLogger(tmp_path / "logs", shelf)
    made(tmp_path, best(bucket, Own, save_last=True), second, logger=logger, plugins=plugins, max_epochs=4).fit(
        Improves(), loader(), loader()
    )
    came: dict[str, list[int]] = {}
    for kept in shelf.there.values():
        came.setdefault(kept.version.name[:13], []).append(kept.version.metadata["epoch"])
    assert came == {"model-run-sco": [0, 1, 2, 3, 4], "model-run-las": [1, 3]}
    assert servers.names(bucket) == [
        "ck/end.ckpt", "ck/epoch-3.ckpt", "ck/last.ckpt", "every/epoch=1-step=10.ckpt", "every/epoch=3-step=20.ckpt",
    ]  # fmt: skip
    assert {kept.version.metadata["epoch"] for id, kept in shelf.there.items() if id in shelf.dropped} == {0, 1, 2}


def test_one_object_that_is_written_again_and_again(servers: BucketServer, bucket: str, tmp_path: Path) -> None:
    """Nobody removes it, and nobody holds it: no version is delivered with what a later save has put there."""

    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(f"s3://{bucket}/mine.ckpt")

    shelf = Shelf(is_live=False)
    t = made(tmp_path, best(bucket), Saves(), logger=ShelfLogger(tmp_path / "logs", shelf))
    next(c for c in t.callbacks if isinstance(c, lw.CheckpointArtifact)).on_error = "warn"
    with pytest.warns(UserWarning, match=r"mine.ckpt was not delivered to shelf: a later checkpoint was saved"):
        t.fit(Improves(), loader(), loader())
    came = [kept.version for kept in shelf.there.values()]
    assert {version.metadata["filename"]: version.metadata["epoch"] for version in came} == {
        "epoch=2.ckpt": 2, "mine.ckpt": 2,
    }  # fmt: skip
    states = {
        e.version.metadata["epoch"]: e.fates["shelf"].state for e in entries(tmp_path) if "Saves" in e.version.name
    }
    assert states == {0: "failed", 1: "failed", 2: "delivered"}
