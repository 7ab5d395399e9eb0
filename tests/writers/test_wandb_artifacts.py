"""Checkpoints as versions of artifacts: the real W&B client, online at a server on loopback, and offline."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import support
import wandb
from pytorch_lightning.loggers import WandbLogger
from support.wandb_online import environment, online, start_run
from support.wandb_server import WandbServer

from lwcallbacks.artifacts import Gone, Version
from lwcallbacks.artifacts.ledgers import is_synced
from lwcallbacks.artifacts.version import dumps
from lwcallbacks.readers import read_run
from lwcallbacks.writers import writers_for
from lwcallbacks.writers.wandb_artifacts import WandbStore, resumed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as server, online(server, tmp_path / "wandb"):
        (tmp_path / "wandb").mkdir(exist_ok=True)
        yield server


def saved(epoch: int, *aliases: str, **more: Any) -> tuple[Version, Path]:
    """A version with its content held."""
    path = Path("held", f"id{epoch}", f"epoch={epoch}.ckpt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"weights of {epoch}".encode() * 1000)
    version = Version(
        f"id{epoch}", "digits", f"checkpoints/epoch={epoch}.ckpt", aliases or ("latest", f"epoch-{epoch}"),
        {"epoch": epoch, "score": float("inf")}, digest="sha256:" + "0" * 64, size=path.stat().st_size,
    )  # fmt: skip
    return replace(version, **more), path


def deliver_in_the_end(store: WandbStore, version: Version, content: Path) -> None:
    """As the delivery does: what raises is asked for again."""
    for _ in range(20):
        try:
            store.deliver(version, content)
        except Exception:
            continue
        return
    raise AssertionError("it is not there")


def wait_for_the_end_of_what_inherits(mark: str) -> None:
    """W&B's process lives on for as long as it has something to send."""

    def processes() -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark.encode() in (path / "environ").read_bytes():
                    yield int(path.name)

    deadline = time.monotonic() + 20
    while any(processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in processes():
        os.kill(pid, signal.SIGKILL)


def test_a_version_is_there_with_its_content_facts_and_aliases(server: WandbServer) -> None:
    """What `deliver` returns is its address; W&B has all of it, and what "best" left behind is the older one."""
    store = WandbStore(start_run())
    first = store.deliver(*saved(0, "latest", "best", "epoch-0"))
    second = store.deliver(*saved(1))
    assert [(receipt.state, receipt.address) for receipt in (first, second)] == [
        ("delivered", "someone/digits/digits:v0"),
        ("delivered", "someone/digits/digits:v1"),
    ]
    assert [version.aliases for version in server.collection("digits")] == [["best", "epoch-0"], ["epoch-1", "latest"]]
    best = server.version("digits:best")
    assert server.content(best) == {"epoch=0.ckpt": b"weights of 0" * 1000}
    assert (best.type, best.metadata) == (
        "model",
        {"epoch": 0, "score": "inf", "lwcallbacks_id": "id0", "digest": "sha256:" + "0" * 64, "size": 12000},
    )
    assert server.unknown == []


def test_nothing_is_copied_on_this_machine(server: WandbServer, tmp_path: Path) -> None:
    """W&B uploads the content from where it is held: neither its staging folder nor its cache has a file of it."""
    store = WandbStore(start_run())
    version, content = saved(0)
    content.write_bytes(os.urandom(2**20))
    store.deliver(version, content)
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= 2**20]
    assert others == [content.absolute()]


def test_a_folder_is_delivered_with_the_folders_in_it(server: WandbServer) -> None:
    """It is the only entry of its artifact, under its own name; a hidden file is a file like any other."""
    folder = Path("held/id/epoch=3.ckpt")
    (folder / "shards").mkdir(parents=True)
    (folder / ".metadata").write_bytes(b"m")
    (folder / "shards" / "__0_0.distcp").write_bytes(b"s")
    WandbStore(start_run()).deliver(saved(3)[0], folder)
    assert server.content(server.version("digits:latest")) == {
        "epoch=3.ckpt/.metadata": b"m",
        "epoch=3.ckpt/shards/__0_0.distcp": b"s",
    }


@pytest.mark.parametrize("target", ["/etc/hostname", "shards"])
def test_a_link_in_a_folder_is_refused(server: WandbServer, target: str) -> None:
    """`Artifact.add_dir` follows links, and takes along what they lead to. Nothing is uploaded instead."""
    folder = Path("held/id/epoch=3.ckpt")
    (folder / "shards").mkdir(parents=True)
    (folder / "link").symlink_to(target)
    with pytest.raises(Gone, match="link is a link"):
        WandbStore(start_run()).deliver(saved(3)[0], folder)
    assert server.versions == []


def test_an_address_is_a_reference(server: WandbServer) -> None:
    """W&B notes where the content is, under its name, and uploads nothing."""
    version = replace(saved(3)[0], path="memory://bucket/epoch=3.ckpt", digest=None)
    store = WandbStore(start_run())
    assert store.refuses(version.path) is None
    store.deliver(version, None)
    found = wandb.Api().artifact("someone/digits/digits:latest")
    assert [(name, entry.ref) for name, entry in found.manifest.entries.items()] == [("epoch=3.ckpt", version.path)]
    assert server.content(server.version("digits:latest")) == {}


def test_what_w_and_b_cannot_refer_to_is_refused_in_words(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what to write."""
    monkeypatch.setattr("lwcallbacks.writers.wandb_artifacts.find_spec", lambda name: None)
    store = WandbStore(start_run(mode="offline"))
    assert store.refuses("checkpoints/a.ckpt") is None
    for path, word in [
        ("file:///tmp/a.ckpt", "write '/tmp/a.ckpt'"),
        ("s3://bucket/a.ckpt", "pip install 'wandb[aws]'"),
        ("gcs://bucket/a.ckpt", "pip install 'wandb[gcp]'"),
    ]:
        assert word in str(store.refuses(path))


def test_a_version_that_w_and_b_does_not_take_is_not_tried_again(server: WandbServer) -> None:
    """The client's own reason is given."""
    with pytest.raises(Gone, match="W&B does not take it: Path is not a file"):
        WandbStore(start_run()).deliver(saved(0)[0], Path("nowhere"))


def test_a_checkpoint_with_nothing_in_it_is_no_version(server: WandbServer) -> None:
    """A folder without files; W&B would take it, and it would be the latest."""
    Path("held/epoch=0.ckpt/shards").mkdir(parents=True)
    with pytest.raises(Gone, match=r"there is nothing at checkpoints/epoch=0\.ckpt"):
        WandbStore(start_run()).deliver(saved(0)[0], Path("held/epoch=0.ckpt"))
    assert server.versions == []


def test_an_artifact_of_another_type_is_left_alone(server: WandbServer) -> None:
    """Somebody has a data set of that name: what W&B says is handed on, and it is not tried again."""
    run = start_run()
    run.log_artifact(wandb.Artifact("digits", "dataset")).wait()
    with pytest.raises(Gone, match="already exists with type 'dataset'"):
        WandbStore(run).deliver(*saved(0))
    assert [there.type for there in server.versions] == ["dataset"]


@pytest.mark.parametrize(
    ("call", "how"),
    [
        ("CreateArtifact", "500"),
        ("PUT blobs", "cut"),
        ("CommitArtifact", "500"),
        ("CommitArtifact", "cut"),
        ("ArtifactByID", "cut"),
        ("ProjectArtifacts", "500"),
    ],
)
def test_a_fault_of_the_server_costs_nothing(server: WandbServer, call: str, how: str) -> None:
    """Whichever request fails, the version is there once, and whole, in the end."""
    store = WandbStore(start_run())
    server.break_next(call, how)
    version, content = saved(0)
    deliver_in_the_end(store, version, content)
    (there,) = server.collection("digits")
    assert there.aliases == ["epoch-0", "latest"]
    assert server.content(there) == {"epoch=0.ckpt": content.read_bytes()}


def test_a_version_whose_answer_was_lost_is_found(server: WandbServer) -> None:
    """It was committed, and then W&B gave up. The next call asks, whatever the ones before it have delivered."""
    server.deduplicates = False
    store = WandbStore(start_run())
    store.deliver(*saved(0))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("on_ArtifactByID", "on_ArtifactByIDShort"):
            patch.setattr(server, name, lambda of: 1 // 0)
        with pytest.raises(Exception, match="ZeroDivisionError"):
            store.deliver(*saved(1))
    assert store.deliver(*saved(1)).address == "someone/digits/digits:v1"
    assert server.calls.count("CreateArtifact") == 2


def test_an_alias_moves_when_the_version_is_whole(server: WandbServer) -> None:
    """While the content of a newer one is on its way, "latest" is the older one; asked again, it is waited for."""
    store = WandbStore(start_run(), patience=1)
    store.deliver(*saved(0))
    server.break_next("PUT blobs", "hang")
    with pytest.raises(TimeoutError, match="still being uploaded to W&B after 1 s"):
        store.deliver(*saved(1))
    assert server.version("digits:latest").name == "digits:v0"
    server.go_on.set()
    assert store.deliver(*saved(1)).address == "someone/digits/digits:v1"
    assert server.calls.count("CreateArtifact") == 2
    assert server.version("digits:latest").name == "digits:v1"


@pytest.mark.parametrize("deduplicates", [True, False])
def test_a_version_that_is_there_is_found_and_not_delivered_again(server: WandbServer, deduplicates: bool) -> None:
    """A process that ended before it had heard so: the next one asks. It does not count on W&B's own comparison."""
    server.deduplicates = deduplicates
    run = start_run()
    first = WandbStore(run).deliver(*saved(0))
    again = WandbStore(run)
    assert again.deliver(*saved(0)) == first
    assert again.deliver(*saved(1)).address == "someone/digits/digits:v1"
    assert [version.aliases for version in server.collection("digits")] == [["epoch-0"], ["epoch-1", "latest"]]


def test_what_an_earlier_process_has_sent_meanwhile_is_no_second_version(server: WandbServer) -> None:
    """W&B's own process outlives the one that was killed, and ends its upload after we have looked."""
    store = WandbStore(start_run(), patience=1)
    server.break_next("PUT blobs", "hang")
    with pytest.raises(TimeoutError):
        store.deliver(*saved(0))
    (ours,) = server.versions
    theirs = replace(ours, id="theirs", state="COMMITTED", index=0, aliases=["epoch-0", "latest"])
    server.versions.append(theirs)
    server.go_on.set()
    assert store.deliver(*saved(0)).address == "someone/digits/digits:v1"
    assert [(there.id, there.aliases) for there in server.collection("digits")] == [(ours.id, ["epoch-0", "latest"])]


def test_a_killed_upload_is_delivered_once_by_the_next_process(server: WandbServer, tmp_path: Path) -> None:
    """SIGKILL in the middle of an upload. No half of it is ever the latest."""
    version, content = saved(0)
    code = """
import json, sys
from pathlib import Path
from lwcallbacks.artifacts import Version
from lwcallbacks.writers.wandb_artifacts import WandbStore
from support.wandb_online import start_run
WandbStore(start_run()).deliver(Version.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""
    told = [dumps(version.to_json()), str(content)]
    server.break_next("PUT blobs", "hang")
    path = os.pathsep.join([str(Path(support.__file__).parent.parent), *sys.path])
    mark = f"child-of-{tmp_path}"
    env = environment(server, tmp_path) | {"PYTHONPATH": path, "LWCALLBACKS_TEST_PROGRAM": mark}
    child = subprocess.Popen([sys.executable, "-c", code, *told], env=env)
    while "PUT blobs" not in server.calls and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert server.collection("digits") == []
    server.go_on.set()
    WandbStore(start_run()).deliver(version, content)
    (there,) = server.collection("digits")
    assert there.aliases == ["epoch-0", "latest"]
    assert server.content(there) == {"epoch=0.ckpt": content.read_bytes()}
    wait_for_the_end_of_what_inherits(mark)


def test_a_server_that_dies_in_the_middle_of_an_upload_has_it_when_it_is_back(server: WandbServer) -> None:
    """The client asks again for as long as it takes."""
    store = WandbStore(start_run(), patience=1)
    store.deliver(*saved(0))
    server.break_next("PUT blobs", "hang")
    with pytest.raises(TimeoutError):
        store.deliver(*saved(1))
    server.down()
    time.sleep(0.2)
    server.up()
    deliver_in_the_end(store, *saved(1))
    assert [there.aliases for there in server.collection("digits")] == [["epoch-0"], ["epoch-1", "latest"]]


def test_the_same_content_saved_again_has_the_facts_of_the_later_save(server: WandbServer) -> None:
    """W&B makes no second version of it. Dropping the earlier save then deletes nothing."""
    store = WandbStore(start_run())
    first, content = saved(0)
    address = store.deliver(first, content).address
    later = replace(first, id="later", aliases=("latest", "epoch-7"), metadata={"epoch": 7})
    assert store.deliver(later, content).address == address
    (there,) = server.collection("digits")
    assert (there.metadata["epoch"], there.metadata["lwcallbacks_id"]) == (7, "later")
    assert store.drop(first, address).startswith("it is 'epoch-7'")
    store.deliver(*saved(8))
    assert store.drop(replace(first, aliases=("epoch-0", "epoch-7")), address) == "a later save has the same content"


def test_what_the_trainer_removed_is_deleted_with_our_aliases(server: WandbServer) -> None:
    """And once: deleted already is deleted."""
    store = WandbStore(start_run())
    version, content = saved(0)
    address = store.deliver(version, content).address
    store.deliver(*saved(1))
    assert [store.drop(version, address), store.drop(version, address)] == ["deleted", "deleted"]
    assert [there.name for there in server.collection("digits")] == ["digits:v1"]


@pytest.mark.parametrize("use", ["latest", "best", "alias", "link", "run"])
def test_a_version_that_somebody_needs_is_kept(server: WandbServer, use: str) -> None:
    """The newest, the best, one with an alias of somebody's, a registry's, an input of another run; it says which."""
    store = WandbStore(start_run())
    version, content = saved(0, "latest", "best", "epoch-0") if use == "best" else saved(0)
    address = store.deliver(version, content).address
    if use != "latest":
        store.deliver(*saved(1))
    there = server.collection("digits")[0]
    words = {
        "latest": "it is 'latest'",
        "best": "it is 'best'",
        "alias": "it is 'production'",
        "link": "it is linked to a registry",
        "run": "the run other has used it",
    }
    if use == "alias":
        there.aliases.append("production")
    if use == "link":
        there.links.append(("wandb-registry-model", "digits"))
    if use == "run":
        server.runs["other"] = "digits"
        there.used_by += [there.run, "other"]
    assert store.drop(version, address) == words[use]
    assert there.state == "COMMITTED"


def test_a_version_that_only_its_own_run_has_used_is_deleted(server: WandbServer) -> None:
    """A resumed run downloads what it goes on from, and that is its own."""
    store = WandbStore(start_run())
    version, content = saved(0)
    address = store.deliver(version, content).address
    store.deliver(*saved(1))
    server.collection("digits")[0].used_by.append(server.collection("digits")[0].run)
    assert store.drop(version, address) == "deleted"


def test_a_time_to_live_instead_of_deleting(server: WandbServer) -> None:
    """W&B is told when to delete it, and the aliases stay."""
    store = WandbStore(start_run())
    store.retention = timedelta(days=3)
    version, content = saved(0)
    address = store.deliver(version, content).address
    store.deliver(*saved(1))
    assert store.drop(version, address) == "W&B deletes it after 3 days, 0:00:00"
    assert (server.collection("digits")[0].ttl, server.collection("digits")[0].aliases) == (259200, ["epoch-0"])


def test_a_version_of_an_earlier_run_is_found_by_its_id(server: WandbServer) -> None:
    """That run did not know yet that it is there; what is not, and what another project has, is left alone."""
    version, content = saved(0)
    run = start_run()
    WandbStore(run).deliver(version, content)
    WandbStore(run).deliver(*saved(1))
    wandb.finish()
    store = WandbStore(start_run())
    assert store.drop(version, "") == "deleted"
    assert store.drop(version, "") == "it is not there"
    assert store.drop(replace(version, id="other"), "") == "it is not there"
    assert store.drop(version, "someone/else/digits:v0") == "it is not of someone/digits"
    assert [there.metadata["epoch"] for there in server.collection("digits")] == [1]


def test_an_offline_run_has_the_version_and_sync_delivers_it(server: WandbServer, tmp_path: Path) -> None:
    """The run's file refers to the content where it is held; nothing is copied. `wandb sync` sends it from there."""
    run = start_run(mode="offline")
    store = WandbStore(run)
    version, content = saved(0)
    content.write_bytes(os.urandom(2**20))
    receipt = store.deliver(version, content)
    wandb.finish()
    assert (receipt.state, store.is_live, store.can_drop) == ("staged", False, False)
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= 2**20]
    assert others == [content.absolute()]
    (staged,) = read_run(receipt.address).artifacts
    assert (staged.name, staged.aliases) == ("digits", ("epoch-0", "latest"))
    assert staged.metadata["lwcallbacks_id"] == "id0"
    assert [path.read_bytes() for path in staged.files.values()] == [content.read_bytes()]
    assert not is_synced(receipt.address)

    sync(server, receipt.address, tmp_path)
    (there,) = server.collection("digits")
    assert there.aliases == ["epoch-0", "latest"]
    assert server.content(there) == {"epoch=0.ckpt": content.read_bytes()}
    assert is_synced(receipt.address)
    server.versions[0].run = "as it was"
    with resumed(run.id, "digits") as online_store:
        assert online_store.deliver(version, content).address == "someone/digits/digits:v0"
    assert len(server.versions) == 1


def test_what_sync_could_not_deliver_is_delivered_later(server: WandbServer, tmp_path: Path) -> None:
    """`wandb sync` marks the run as synced though the server took no artifact of it."""
    run = start_run(mode="offline")
    version, content = saved(0)
    receipt = WandbStore(run).deliver(version, content)
    wandb.finish()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "on_CreateArtifact", lambda of: 1 // 0)
        sync(server, receipt.address, tmp_path)
    assert is_synced(receipt.address)
    assert server.collection("digits") == []
    found = read_run(receipt.address)
    with resumed(found.run_id, found.project) as store:
        assert store.deliver(version, content).address == "someone/digits/digits:v0"
    assert server.collection("digits")[0].run == run.id


def sync(server: WandbServer, run_dir: str, folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", run_dir]
    subprocess.run(command, env=environment(server, folder), check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize("log_model", [False, True, "all"])
def test_a_logger_that_uploads_checkpoints_itself_is_refused(tmp_path: Path, log_model: Any) -> None:
    """Each would be there twice. The words say what to leave out."""
    logger = WandbLogger(mode="offline", save_dir=tmp_path, log_model=log_model, settings=wandb.Settings(silent=True))
    (writer,) = writers_for([logger])
    store = writer.store()
    wandb.finish()
    assert isinstance(store, WandbStore)
    assert not store.is_live
    words = store.refuses("checkpoints/a.ckpt")
    assert words is None if not log_model else f"WandbLogger(log_model={log_model!r}) uploads" in str(words)


def test_a_run_that_is_switched_off_has_no_store(tmp_path: Path) -> None:
    """Nothing is kept for a delivery that never comes."""
    (writer,) = writers_for([WandbLogger(mode="disabled", save_dir=tmp_path)])
    assert writer.store() is None


def test_any_name_of_a_file_is_delivered(server: WandbServer) -> None:
    """Letters of any kind, blanks, an equals sign; and a file of 0 bytes. W&B takes no colon and no backslash."""
    store = WandbStore(start_run())
    for i, name in enumerate(("épôque=1 val loss=0.5.ckpt", "%2e%2e ü?#&.ckpt", "a:b\\c.ckpt")):
        version, content = saved(i, path=f"checkpoints/{name}")
        content.write_bytes(b"" if i == 0 else name.encode())
        store.deliver(version, content)
        kept = name.replace(":", "-").replace("\\", "-")
        assert server.content(server.version("digits:latest")) == {kept: content.read_bytes()}
