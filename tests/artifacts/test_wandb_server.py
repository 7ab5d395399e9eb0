"""The W&B server of the tests is one for the real client: what it stores, and what it can be made to do wrong."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import wandb
from support.wandb_online import online, start_run
from support.wandb_server import WandbServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    (tmp_path / "wandb").mkdir()
    with WandbServer() as server, online(server, tmp_path / "wandb"):
        yield server


def log(run: Any, content: bytes, *aliases: str) -> Any:
    """A version of "digits" that is there."""
    Path("a.ckpt").write_bytes(content)
    artifact = wandb.Artifact("digits", "model", metadata={"size": len(content)})
    artifact.add_file("a.ckpt")
    return run.log_artifact(artifact, aliases=list(aliases)).wait()


def test_what_was_logged_is_found_by_number_and_alias_and_downloaded(server: WandbServer) -> None:
    """An alias leaves the older version; "latest" is the newest, also where nobody has asked for it."""
    run = start_run()
    names = [log(run, b"first", "best").name, log(run, b"second", "last").name]
    assert names == ["digits:v0", "digits:v1"]
    assert [version.aliases for version in server.collection("digits")] == [["best"], ["last", "latest"]]
    used = run.use_artifact("digits:best")
    assert (used.version, used.metadata, used.type) == ("v0", {"size": 5}, "model")
    assert Path(used.download(), "a.ckpt").read_bytes() == b"first"
    api = wandb.Api()
    assert [run.id for run in api.artifact("someone/digits/digits:v0").used_by()] == [run.id]
    assert api.artifact("someone/digits/digits:latest").logged_by().id == run.id
    assert [found.name for found in api.artifacts("model", "someone/digits/digits")] == ["digits:v1", "digits:v0"]
    assert server.unknown == []


def test_changes_of_a_version_are_kept(server: WandbServer) -> None:
    """Aliases, a time to live, metadata."""
    log(start_run(), b"first", "best")
    found = wandb.Api().artifact("someone/digits/digits:v0")
    found.aliases.append("mine")
    found.aliases.remove("best")
    found.ttl = timedelta(days=1)
    found.metadata["more"] = [1]
    found.save()
    there = server.version("digits:mine")
    assert (there.aliases, there.ttl, there.metadata) == (["latest", "mine"], 86400, {"size": 5, "more": [1]})


def test_a_deleted_version_is_gone_and_its_number_is_not_used_again(server: WandbServer) -> None:
    """One that has aliases is deleted with them only when that is said."""
    run = start_run()
    artifact = log(run, b"first", "best")
    with pytest.raises(Exception, match="has aliases"):
        artifact.delete()
    artifact.delete(delete_aliases=True)
    with pytest.raises(wandb.errors.CommError, match="not found"):
        wandb.Api().artifact("someone/digits/digits:v0")
    assert log(run, b"second").name == "digits:v1"


def test_the_same_content_is_no_second_version_and_is_not_sent_again(server: WandbServer) -> None:
    """Of an artifact that has it; another artifact gets a version, and no upload."""
    run = start_run()
    log(run, b"first", "best")
    uploads = server.calls.count("PUT blobs")
    assert log(run, b"first", "epoch-2").name == "digits:v0"
    other = wandb.Artifact("other", "model")
    other.add_file("a.ckpt")
    assert run.log_artifact(other).wait().name == "other:v0"
    assert server.calls.count("PUT blobs") == uploads + 1  # the manifest
    assert server.version("digits:v0").aliases == ["best", "epoch-2", "latest"]


def test_a_resumed_run_is_the_same_run(server: WandbServer) -> None:
    """Its versions go on in the same artifact."""
    log(start_run(run_id="r1"), b"first")
    wandb.finish()
    log(start_run(run_id="r1", resume="must"), b"second")
    assert [(version.name, version.run) for version in server.versions] == [("digits:v0", "r1"), ("digits:v1", "r1")]


def ask(server: WandbServer, path: str, content: bytes | None = None) -> bytes:
    request = urllib.request.Request(server.url + path, content, method="PUT" if content else "GET")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def test_each_fault_is_met_once_by_the_call_that_it_is_for() -> None:
    """A status of 500, a connection that is cut, another byte, another address; then all is well again."""
    key = "8b04d5e3775d298e78455efc5ca404d5"  # the MD5 of b"first"
    with WandbServer() as server, WandbServer() as other:
        server.elsewhere = other.url
        for how in ("500", "cut"):
            server.break_next("PUT blobs", how)
            with pytest.raises((urllib.error.URLError, ConnectionError)):
                ask(server, f"/blobs/{key}", b"first")
            assert not server.blob(key).exists()
        ask(server, f"/blobs/{key}", b"first")
        server.break_next("GET blobs", "wrong")
        assert [ask(server, f"/blobs/{key}"), ask(server, f"/blobs/{key}")] == [b"girst", b"first"]
        server.break_next("GET blobs", "redirect")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(server, f"/blobs/{key}")
        assert other.calls == ["GET blobs"]
        assert server.calls == ["PUT blobs"] * 3 + ["GET blobs"] * 3


def test_content_that_is_not_what_its_name_says_is_not_kept() -> None:
    """As real storage refuses another MD5."""
    with WandbServer() as server:
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(server, f"/blobs/{'0' * 32}", b"first")
        assert list(server.folder.iterdir()) == []


def test_a_question_that_it_does_not_know_is_an_error_and_remembered() -> None:
    """A client that asks for more than this server has is noticed."""
    with WandbServer() as server:
        body = json.dumps({"query": "query Weather { weather }", "variables": {}}).encode()
        with urllib.request.urlopen(server.url + "/graphql", body, timeout=10) as answer:
            assert "does not know Weather" in json.load(answer)["errors"][0]["message"]
        assert server.unknown == ["Weather"]


def test_a_server_that_was_down_is_back_at_the_same_address_with_all_that_it_had() -> None:
    """What was under way is cut."""
    with WandbServer() as server:
        key = "8b04d5e3775d298e78455efc5ca404d5"
        ask(server, f"/blobs/{key}", b"first")
        url = server.url
        server.down()
        with pytest.raises(urllib.error.URLError):
            ask(server, f"/blobs/{key}")
        server.up()
        assert (server.url, ask(server, f"/blobs/{key}")) == (url, b"first")
