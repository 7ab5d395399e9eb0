"""Checkpoints as artifacts of a run: what MLflow's own client reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import MLFlowLogger

from lwcallbacks.artifacts import Gone, Receipt, Store, Version
from lwcallbacks.writers import writers_for
from lwcallbacks.writers.mlflow_artifacts import MlflowStore


class Session:
    """The store of a run of its own, and what is in the run."""

    def __init__(self, uri: str) -> None:
        self.client = MlflowClient(uri)
        self.run_id = self.client.create_run("0").info.run_id
        self.store: Store = MlflowStore(self.client, self.run_id)

    @property
    def tags(self) -> dict[str, str]:
        found = self.client.get_run(self.run_id).data.tags
        return {name: value for name, value in found.items() if not name.startswith("mlflow.")}

    def read(self, path: str) -> bytes:
        return Path(self.client.download_artifacts(self.run_id, path)).read_bytes()

    def files(self, path: str = "") -> list[str]:
        found = []
        for item in self.client.list_artifacts(self.run_id, path or None):
            found += self.files(item.path) if item.is_dir else [item.path]
        return sorted(found)


@pytest.fixture
def session(mlflow_uri: str) -> Session:
    return Session(mlflow_uri)


def saved(epoch: int, *aliases: str) -> tuple[Version, Path]:
    """A version with its content held."""
    path = Path("held", f"id{epoch}", f"epoch={epoch}.ckpt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights of %d" % epoch)
    facts = {"epoch": epoch, "step": 10 * epoch, "score": float("nan")}
    aliases = aliases or ("latest", f"epoch-{epoch}")
    return Version(f"id{epoch}", "val/digits", f"checkpoints/epoch={epoch}.ckpt", aliases, facts), path


def test_a_version_has_its_file_its_facts_and_a_tag_for_each_alias(session: Session) -> None:
    """A tag says where the file is that has the alias now; delivered again, a version is there once."""
    receipt = session.store.deliver(*saved(0, "latest", "best", "epoch-0"))
    session.store.deliver(*saved(1))
    assert session.store.deliver(*saved(1)) == Receipt(
        "delivered", f"runs:/{session.run_id}/val/digits/00000010-id1/epoch=1.ckpt"
    )
    first, second = "val/digits/00000000-id0/epoch=0.ckpt", "val/digits/00000010-id1/epoch=1.ckpt"
    assert receipt.address == f"runs:/{session.run_id}/{first}"
    assert session.files() == [first, f"{first}.json", second, f"{second}.json"]
    assert session.read(second) == b"weights of 1"
    described = json.loads(session.read(f"{first}.json"))
    assert (described["aliases"], described["metadata"]) == (
        ["latest", "best", "epoch-0"],
        {"epoch": 0, "step": 0, "score": "nan"},
    )
    assert session.tags == {
        "val/digits/latest": second,
        "val/digits/epoch-1": second,
        "val/digits/best": first,
        "val/digits/epoch-0": first,
    }


def test_a_folder_is_delivered_and_a_link_in_it_is_refused(session: Session) -> None:
    """MLflow would copy what a link leads to."""
    folder = Path("held/id/epoch=3.ckpt")
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "__0_0.distcp").write_bytes(b"s")
    session.store.deliver(saved(3)[0], folder)
    assert session.read("val/digits/00000030-id3/epoch=3.ckpt/shards/__0_0.distcp") == b"s"
    (folder / "shards" / "link").symlink_to("/etc/hostname")
    with pytest.raises(Gone, match="link is a link"):
        session.store.deliver(saved(3)[0], folder)


def test_of_an_address_the_tags_lead_there(session: Session) -> None:
    """MLflow keeps the facts, and no content."""
    version = replace(saved(3)[0], path="s3://bucket/epoch=3.ckpt")
    session.store.deliver(version, None)
    assert session.tags["val/digits/latest"] == "s3://bucket/epoch=3.ckpt"
    assert session.files() == ["val/digits/00000030-id3/epoch=3.ckpt.json"]


def test_a_version_of_an_earlier_run(session: Session, mlflow_uri: str) -> None:
    """Of the same run at MLflow it is found by its id; one that another run has is left alone."""
    version, content = saved(0, "epoch-0")
    session.store.deliver(version, content)
    assert session.store.drop(version, "") == "deleted"
    assert session.store.drop(version, "") == "it is not there"
    other = Session(mlflow_uri)
    address = other.store.deliver(version, content).address
    assert session.store.drop(version, address) == "it is of another run"
    assert len(other.files()) == 2


def test_what_the_trainer_removed_is_deleted_with_our_tags(session: Session) -> None:
    """And once: deleted already is deleted."""
    version, content = saved(0)
    address = session.store.deliver(version, content).address
    session.store.deliver(*saved(1))
    assert [session.store.drop(version, address), session.store.drop(version, address)] == ["deleted", "deleted"]
    assert session.files() == ["val/digits/00000010-id1/epoch=1.ckpt", "val/digits/00000010-id1/epoch=1.ckpt.json"]
    assert sorted(session.tags) == ["val/digits/epoch-1", "val/digits/latest"]


def test_mlflow_deletes_at_once_or_not_at_all(session: Session) -> None:
    """Where it is asked to do so later, the version stays, and that is said."""
    version, content = saved(0)
    address = session.store.deliver(version, content).address
    session.store.deliver(*saved(1))
    session.store.retention = timedelta(days=3)
    assert session.store.drop(version, address) == "MLflow cannot delete it in 3 days, 0:00:00, only at once"
    assert session.read("val/digits/00000000-id0/epoch=0.ckpt") == b"weights of 0"


@pytest.mark.parametrize("use", ["latest", "tag", "model"])
def test_a_version_that_somebody_needs_is_kept(session: Session, use: str) -> None:
    """The newest, one that another tag leads to, one that is registered; it says which."""
    version, content = saved(0)
    address = session.store.deliver(version, content).address
    if use != "latest":
        session.store.deliver(*saved(1))
    words = {
        "latest": "it is 'val/digits/latest'",
        "tag": "it is 'production'",
        "model": "it is version 1 of the registered model 'digits'",
    }
    if use == "tag":
        session.client.set_tag(session.run_id, "production", "val/digits/00000000-id0/epoch=0.ckpt")
    if use == "model":
        session.client.create_registered_model("digits")
        session.client.create_model_version("digits", address, session.run_id)
    assert session.store.drop(version, address) == words[use]
    assert session.read("val/digits/00000000-id0/epoch=0.ckpt") == b"weights of 0"


def test_where_mlflow_cannot_delete_it_is_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every kind of storage can."""

    def cannot(self: Any, path: str) -> None:
        raise NotImplementedError

    version, content = saved(0)
    address = session.store.deliver(version, content).address
    session.store.deliver(*saved(1))
    monkeypatch.setattr(LocalArtifactRepository, "delete_artifacts", cannot)
    assert session.store.drop(version, address) == "MLflow cannot delete files there: NotImplementedError()"
    assert "val/digits/epoch-0" in session.tags


@pytest.mark.parametrize("log_model", [False, True, "all"])
def test_a_logger_that_uploads_checkpoints_itself_is_refused(mlflow_uri: str, log_model: Any) -> None:
    """Each would be there twice. The words say what to leave out."""
    (writer,) = writers_for([MLFlowLogger(tracking_uri=mlflow_uri, log_model=log_model)])
    store = writer.store()
    assert store is not None
    words = store.refuses("checkpoints/a.ckpt")
    assert words is None if not log_model else f"MLFlowLogger(log_model={log_model!r}) uploads" in str(words)
