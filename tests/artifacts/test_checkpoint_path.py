"""lw.checkpoint_path gives what was saved, or refuses; from W&B, by the real client, and from a run's ledger."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from support.lying import LyingServer, address, digest, saved
from support.wandb_answers import ENTITY

import lwcallbacks as lw
from lwcallbacks.artifacts import Receipt, Version
from lwcallbacks.artifacts.checkpoint_path import origin, resolve
from lwcallbacks.artifacts.holding import digest_of, hold
from lwcallbacks.artifacts.ledger import FILE, Ledger

# The client of wandb 0.19 leaves sockets open.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
STATE = {"state_dict": {"weight": torch.arange(6.0).reshape(2, 3)}, "epoch": 3}
CONTENT = saved(STATE)


class Evil:
    """Makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sign",)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LWCALLBACKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_outside(cache: Path) -> list[str]:
    """What is there, but for the cache, the client's log and its staging folder."""
    parent = cache.parent
    own = {cache, parent / "wandb", parent / "artifacts"}
    return sorted(p.relative_to(parent).as_posix() for p in parent.rglob("*") if not {p, *p.parents} & own)


def contents(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.name not in ("locks", "uses")]


# What is got


def test_a_version_is_downloaded_once(server: LyingServer, cache: Path) -> None:
    """It is the file that was saved, with its name; asked for again it is not downloaded again."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    for _ in range(2):
        path = Path(lw.checkpoint_path(address()))
        assert (path.name, path.read_bytes()) == ("epoch=3.ckpt", CONTENT)
        assert path.is_relative_to(cache)
    assert server.calls.count("GET blobs") == 1


@pytest.mark.parametrize(
    "said", [f"wandb://{ENTITY}/digits/model:v0", "wandb://digits/model:latest", "wandb://model:best"]
)
def test_what_is_left_out_is_the_clients_default(
    said: str, server: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entity, or that and the project; the alias may be an argument of its own."""
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    path = lw.checkpoint_path(said)
    assert lw.checkpoint_path(*said.rsplit(":", 1)) == path
    assert origin(path) == f"wandb://{ENTITY}/digits/model:v0"


def test_a_folder_of_shards_is_got_whole(server: LyingServer) -> None:
    """With the name that it was saved by."""
    files = {"epoch=3.ckpt/meta.pt": saved({"epoch": 3}), "epoch=3.ckpt/more/latest": b"text"}
    server.shelve("model", files)
    path = Path(lw.checkpoint_path(address()))
    assert path.name == "epoch=3.ckpt"
    assert {f"{path.name}/{file}": (path / file).read_bytes() for file in ("meta.pt", "more/latest")} == files


def test_an_alias_that_has_moved_gives_the_other_version(server: LyingServer) -> None:
    """The older one is still there for who has its path."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    older = Path(lw.checkpoint_path(address()))
    server.shelve("model", {"epoch=4.ckpt": saved({"epoch": 4})})
    newer = lw.checkpoint_path(address())
    assert torch.load(newer, weights_only=True) == {"epoch": 4}
    assert older.read_bytes() == CONTENT
    assert lw.checkpoint_path(address("model:v0")) == str(older)


def test_what_others_have_delivered_is_got_by_its_md5(server: LyingServer, cache: Path) -> None:
    """As WandbLogger(log_model=True) does; no SHA-256 is in its metadata."""
    made = server.shelve("model", {"model.ckpt": CONTENT}, lwcallbacks_id=None, digest=None)
    path = Path(lw.checkpoint_path(address()))
    assert path.read_bytes() == CONTENT
    assert lw.checkpoint_path(address()) == str(path)
    server.blob(next(iter(made.files.values()))).write_bytes(CONTENT[:-1] + b"x")
    path.parents[1].rename(cache.parent / "away")
    with pytest.raises(ValueError, match="is not what W&B says: the MD5 is another one"):
        lw.checkpoint_path(address())


def test_a_run_that_is_active_has_used_it(server: LyingServer) -> None:
    """W&B then draws where a run's weights come from."""
    made = server.shelve("model", {"epoch=3.ckpt": CONTENT})
    lw.checkpoint_path(address())
    assert made.used_by == []
    with wandb.init(project="digits", id="resumed"):
        lw.checkpoint_path(address())
    assert made.used_by == ["resumed"]


def test_a_run_that_is_offline_is_no_obstacle(server: LyingServer) -> None:
    """W&B cannot note it there."""
    made = server.shelve("model", {"epoch=3.ckpt": CONTENT})
    for mode in ("offline", "disabled"):
        with wandb.init(project="digits", mode=mode):
            lw.checkpoint_path(address())
    assert made.used_by == []


def test_the_cache_is_where_one_says(server: LyingServer, tmp_path: Path, cache: Path) -> None:
    """And no larger than one says."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    path = lw.checkpoint_path(address(), cache="mine", max_bytes=len(CONTENT))
    assert Path(path).is_relative_to(tmp_path / "mine")
    assert not cache.exists()
    with pytest.raises(ValueError, match=r"^lw\.checkpoint_path: .*model:v0: it has .*, and the cache .* takes"):
        lw.checkpoint_path(address(), cache="other", max_bytes=len(CONTENT) - 1)


# What is refused

LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a name that leads out": ({"name": "../../epoch=3.ckpt"}, "expected one in this folder"),
    "an absolute name": ({"name": "/tmp/lwcallbacks-epoch=3.ckpt"}, "expected one in this folder"),
    "a name of Windows": ({"name": "C:\\epoch=3.ckpt"}, "expected one in this folder"),
    "a file of this machine": ({"directUrl": "file:///etc/hostname"}, "is not at W&B, which only refers to 'file:"),
    "a bucket": ({"directUrl": "s3://bucket/epoch=3.ckpt"}, "is not at W&B, which only refers to 's3:"),
    "a larger file": ({"sizeBytes": len(CONTENT) - 1}, "sends more than the"),
    "a negative size": ({"sizeBytes": -1}, "expected a size"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_refused(lie: str, server: LyingServer, cache: Path) -> None:
    """And nothing is written outside of the cache, nor kept in it."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    before = files_outside(cache)
    server.lies["epoch=3.ckpt"], told = LIES[lie]
    with pytest.raises(ValueError, match=f"^lw.checkpoint_path: .*{told}"):
        lw.checkpoint_path(address())
    assert files_outside(cache) == before
    assert contents(cache) == []


def test_files_in_each_others_place_are_refused(server: LyingServer) -> None:
    """One that comes twice, and one that is a folder, too."""
    server.shelve("model", {"a/b": CONTENT, "a/c": CONTENT})
    for name, told in (("a/b", "one file twice"), ("a/b/d", "which is a folder, too")):
        server.lies["a/c"] = {"name": name}
        with pytest.raises(ValueError, match=told):
            lw.checkpoint_path(address())


def test_content_of_another_digest_is_refused(server: LyingServer, cache: Path) -> None:
    """Also where W&B's own digest agrees with it."""
    other = digest({"epoch=3.ckpt": saved({"epoch": 4})})
    server.shelve("model", {"epoch=3.ckpt": CONTENT}, digest=other)
    with pytest.raises(ValueError, match=rf"model:v0: found the digest sha256:.*, expected {other}: it is not what"):
        lw.checkpoint_path(address())
    assert contents(cache) == []


def test_a_download_that_is_not_what_was_uploaded_is_refused(server: LyingServer, cache: Path) -> None:
    """One other bit on the way."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    server.break_next("GET blobs", "wrong")
    with pytest.raises(ValueError, match="it is not what was saved"):
        lw.checkpoint_path(address())
    assert contents(cache) == []
    lw.checkpoint_path(address())


@pytest.mark.parametrize("said", ["../../../etc", "sha256:" + "0" * 63 + "/", "md5:" + "0" * 64, ""])
def test_a_digest_is_no_path(said: str, server: LyingServer) -> None:
    """It names the folder in the cache."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT}, digest=said)
    with pytest.raises(ValueError, match="expected 'sha256:' and 64 hexadecimal digits"):
        lw.checkpoint_path(address())


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:9", "https://example.invalid", "file://"])
def test_a_server_that_redirects_is_refused(elsewhere: str, server: LyingServer, cache: Path) -> None:
    """To another host, or to a file."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    server.elsewhere = elsewhere
    server.break_next("GET blobs", "redirect")
    with pytest.raises(ValueError, match="expected no other host"):
        lw.checkpoint_path(address())
    assert contents(cache) == []


def test_code_is_refused_until_one_says_otherwise(server: LyingServer, tmp_path: Path) -> None:
    """The message names what is asked for and says what to write; nothing is run, and no run has used it."""
    made = server.shelve("model", {"epoch=3.ckpt": saved({"evil": Evil()})})
    with (
        wandb.init(project="digits", id="resumed"),
        pytest.raises(ValueError, match=r"mkdir.* write weights_only=False"),
    ):
        lw.checkpoint_path(address())
    assert made.used_by == []
    path = lw.checkpoint_path(address(), weights_only=False)
    assert not (tmp_path / "sign").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "sign").exists()


@pytest.mark.parametrize("how", ["changed", "link", "folder is a link", "link inside"])
def test_what_was_changed_in_the_cache_is_fetched_again(how: str, server: LyingServer, tmp_path: Path) -> None:
    """And what a link leads to is neither given nor changed."""
    server.shelve("model", {"a.ckpt/epoch=3.ckpt": CONTENT})
    path = Path(lw.checkpoint_path(address()), "epoch=3.ckpt")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / path.name).write_bytes(CONTENT)
    place = path if how in ("changed", "link") else path.parent if how == "link inside" else path.parents[1]
    place.rename(tmp_path / "away")
    if how == "changed":
        path.write_bytes(CONTENT[:-1] + b"x")
    else:
        place.symlink_to(outside / path.name if place == path else outside, target_is_directory=place != path)
    with pytest.warns(UserWarning, match=r"lwcallbacks: checkpoint_path: fetched once more, since"):
        again = Path(lw.checkpoint_path(address()))
    assert (again / path.name).read_bytes() == CONTENT
    assert not any(part.is_symlink() for part in (again / path.name, again, again.parent))
    assert (outside / path.name).read_bytes() == CONTENT


# What is not there


@pytest.mark.parametrize("said", ["model:v7", "model:worst", "other:best"])
def test_a_version_that_is_not_there_is_said(said: str, server: LyingServer) -> None:
    """With what to write."""
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    with pytest.raises(
        LookupError, match=rf"^lw\.checkpoint_path: W&B gives no version '{ENTITY}/digits/{said}': .*as in"
    ):
        lw.checkpoint_path(address(said))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("wandb://model", "expected an alias or a version, as in 'wandb://model:best'"),
        ("wandb://a/b/c/model:best", "expected 'wandb://entity/project/name:alias'"),
        ("wandb:///model:best", "expected 'wandb://entity/project/name:alias'"),
        ("runs/1", r"or the folder of a run and an alias, as in lw\.checkpoint_path\('runs/1', 'best'\)"),
    ],
)
def test_a_wrong_address_is_said(said: str, told: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(ValueError, match=told):
        lw.checkpoint_path(said)


def test_what_is_no_address_stays_as_it_is(server: LyingServer) -> None:
    """`resolve` stands where a Trainer looks at ckpt_path."""
    for path in (None, "epoch=3.ckpt", Path("a"), "best", "s3://bucket/a.ckpt"):
        assert resolve(path) is path
    server.shelve("model", {"epoch=3.ckpt": CONTENT})
    assert Path(resolve(address())).read_bytes() == CONTENT


# From a run's ledger


class Run:
    """A run whose versions are on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "artifacts"
        directory.mkdir()

    def save(
        self, number: int, *aliases: str, name: str = "model", held: bool = True, sealed: bool = True, **more: Any
    ) -> Path:
        """The path of a checkpoint that the Trainer has saved."""
        path = self.directory.parent / f"epoch={number}.ckpt"
        path.write_bytes(saved({"epoch": number}))
        version = Version(f"{name}-{number}", name, str(path), aliases)
        with Ledger(self.directory) as ledger:
            ledger.saved(version, ["wandb"])
            if held:
                ledger.held(version.id, hold(path, self.directory / "held" / version.id))
            if sealed:
                ledger.sealed(version.id, *digest_of(path))
            if "delivered" in more:
                ledger.delivered(version.id, "wandb", Receipt("delivered", more["delivered"]))
                ledger.released(version.id)
        return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


def epoch_of(*arguments: str) -> int:
    return int(torch.load(lw.checkpoint_path(*arguments), weights_only=True)["epoch"])


def test_a_run_gives_what_it_holds(run: Run) -> None:
    """By the alias, of the version that had it last; also when the Trainer has removed its file."""
    for number, aliases in enumerate([("best", "latest"), ("latest",), ("best", "latest", "epoch-2"), ("latest",)]):
        run.save(number, *aliases, sealed=number != 3).unlink()
    directory = str(run.directory.parent)
    assert [epoch_of(directory, alias) for alias in ("best", "latest", "epoch-2", "model:best")] == [2, 3, 2, 2]
    assert epoch_of(str(run.directory), "best") == 2


def test_a_path_stays_when_the_run_lets_go(run: Run, cache: Path) -> None:
    """As a run does that goes on and delivers. No second copy is made."""
    original = run.save(1, "best")
    path = Path(lw.checkpoint_path(run.directory.parent, "best"))
    assert path.stat().st_ino == original.stat().st_ino
    for file in run.directory.parent.rglob("*.ckpt"):
        file.unlink()
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def test_what_is_no_longer_held_is_looked_for(run: Run, server: LyingServer) -> None:
    """Where the Trainer has saved it, if that is still the same; then at W&B, if it was delivered there."""
    path = run.save(1, "best", delivered=f"{ENTITY}/digits/model:v0")
    assert epoch_of(str(run.directory.parent), "best") == 1
    path.unlink()
    server.shelve("model", {"epoch=1.ckpt": saved({"epoch": 1})})
    assert epoch_of(str(run.directory.parent), "best") == 1
    assert "GET blobs" not in server.calls  # the content is in the cache
    run.save(2, "best", held=False, sealed=False)  # a kill has cut it short: the one before it is still the best
    assert epoch_of(str(run.directory.parent), "best") == 1
    run.save(3, "best", held=False).unlink()
    with pytest.raises(LookupError, match=r"the content of 'best' of .* is no longer on this machine, nor at W&B"):
        lw.checkpoint_path(run.directory.parent, "best")


def test_a_checkpoint_that_was_written_over_is_refused(run: Run) -> None:
    """The ledger says what it was."""
    path = run.save(1, "best", held=False)
    path.write_bytes(saved({"epoch": 2}))
    with pytest.raises(ValueError, match="it is not what was saved"):
        lw.checkpoint_path(run.directory.parent, "best")


def test_several_artifacts_are_told_apart(run: Run, tmp_path: Path) -> None:
    """The message names them."""
    run.save(1, "best", name="model-a")
    run.save(2, "best", name="model-b")
    with pytest.raises(
        ValueError, match=r"several checkpoints 'best': model-a:best in .*, model-b:best in .*artifacts"
    ):
        lw.checkpoint_path(tmp_path / "run", "best")
    assert epoch_of(str(tmp_path / "run"), "model-b:best") == 2
    with pytest.raises(LookupError, match="no checkpoint 'worst', expected one of model-a:best, model-b:best"):
        lw.checkpoint_path(tmp_path / "run", "worst")
    with pytest.raises(LookupError, match="has no ledger of checkpoints"):
        lw.checkpoint_path(tmp_path / "elsewhere", "best")


def outside(directory: Path) -> str:
    return "held/../../secret"


def absolute(directory: Path) -> str:
    return str(directory.parent / "secret")


def link(directory: Path) -> str:
    (directory / "held" / "link").symlink_to(directory.parent / "secret")
    return "held/link"


def through_a_link(directory: Path) -> str:
    (directory / "held" / "up").symlink_to(directory.parent)
    return "held/up/secret"


@pytest.mark.parametrize("name", [outside, absolute, link, through_a_link])
def test_a_ledger_of_somebody_else_leads_nowhere(name: Callable[[Path], str], run: Run, cache: Path) -> None:
    """It names a file outside of its folder, by its name or a link."""
    run.save(1, "best")
    (run.directory.parent / "secret").write_bytes(CONTENT)
    ledger = run.directory / FILE
    ledger.write_text(ledger.read_text().replace("held/model-1/epoch=1.ckpt", name(run.directory)))
    with pytest.raises(ValueError, match=r"^lw\.checkpoint_path: .*(expected one|is a link)"):
        lw.checkpoint_path(run.directory.parent, "best")
    assert not cache.exists() or contents(cache) == []


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"event":"held","id":"?","content":"a"}'])
def test_a_ledger_that_is_none_is_said(line: str, run: Run) -> None:
    """And not taken for an empty one."""
    run.save(1, "best")
    with (run.directory / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"^lw\.checkpoint_path: "):
        lw.checkpoint_path(run.directory.parent, "best")


def test_code_in_ones_own_run_is_refused_too(run: Run) -> None:
    """The folder may come from somebody else."""
    path = run.save(1, "best", sealed=False)
    (held,) = run.directory.glob("held/*/*")
    held.unlink()
    held.write_bytes(saved(Evil()))
    with pytest.raises(ValueError, match="could run code when it is loaded"):
        lw.checkpoint_path(run.directory.parent, "best")
    assert path.exists()
