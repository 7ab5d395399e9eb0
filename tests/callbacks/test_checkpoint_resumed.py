"""A run that goes on from a checkpoint knows the versions before it, wherever it goes on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from support.modules import Classifier, loader, trainer
from support.shelf import Shelf, ShelfLogger
from support.versions import KEEPS_WHAT_IT_GOES_ON_FROM

import lwcallbacks as lw
from lwcallbacks.artifacts.ledger import Entry, Ledger, read
from lwcallbacks.artifacts.lineage import MOST, remembered, take_over
from lwcallbacks.artifacts.version import Version

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


class Improves(Classifier):
    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(float(self.current_epoch)))


def fitted(tmp_path: Path, shelf: Shelf, version: str, max_epochs: int, path: Any = None, **kwargs: Any) -> Any:
    """A fit that keeps the best, logged to a folder by its version."""
    ours = lw.CheckpointArtifact(on_error="raise")
    checkpoint = ModelCheckpoint(
        str(tmp_path / "ck"), **({"monitor": "score", "mode": "max", "filename": "{epoch}"} | kwargs)
    )
    t = trainer(
        callbacks=[ours, checkpoint], logger=ShelfLogger(tmp_path / version, shelf, version=version),
        default_root_dir=tmp_path, enable_checkpointing=True, max_epochs=max_epochs, log_every_n_steps=1,
    )  # fmt: skip
    t.fit(Improves(), loader(), loader(), ckpt_path=path)
    return t


def ledger_of(tmp_path: Path, version: str) -> Path:
    [path] = (tmp_path / version).rglob("ledger.jsonl")
    return path.parent


def epochs(shelf: Shelf, ids: Any) -> list[int]:
    return [shelf.there[id].version.metadata["epoch"] for id in ids]


def state_in(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)["callbacks"]["CheckpointArtifact"]
    return found


@pytest.mark.parametrize("folder", ["one", "another"])
def test_what_the_first_run_has_saved_is_dropped_by_who_goes_on(folder: str, tmp_path: Path) -> None:
    """In the same folder and in another one; each version was delivered once."""
    shelf = Shelf()
    fitted(tmp_path, shelf, "one", 3, save_top_k=2)
    assert epochs(shelf, shelf.dropped) == [0]
    fitted(tmp_path, shelf, folder, 5, tmp_path / "ck" / "epoch=2.ckpt", save_top_k=2)
    assert epochs(shelf, shelf.there) == [0, 1, 2, 3, 4]
    assert epochs(shelf, shelf.dropped) == ([0, 1] if KEEPS_WHAT_IT_GOES_ON_FROM else [0, 1, 2])
    entries = read(ledger_of(tmp_path, folder))
    own = [e.version.metadata["epoch"] for e in entries if not e.is_earlier]
    assert own == ([3, 4] if folder == "another" else [0, 1, 2, 3, 4])


def test_what_a_checkpoint_says(tmp_path: Path) -> None:
    """The versions that are still there: the digest and the address of those that were delivered. It is plain."""
    shelf = Shelf()
    fitted(tmp_path, shelf, "one", 3, save_top_k=2)
    before, itself = state_in(tmp_path / "ck" / "epoch=2.ckpt")["versions"][-2:]
    assert [v["version"]["metadata"]["epoch"] for v in (before, itself)] == [1, 2]
    assert itself["version"]["digest"] is None, "it is being written"
    assert itself["stores"] == {"shelf": ""}
    assert before["version"]["path"] == str(tmp_path / "ck" / "epoch=1.ckpt")
    t = fitted(tmp_path, shelf, "another", 3, tmp_path / "ck" / "epoch=2.ckpt", save_top_k=2)
    t.save_checkpoint(tmp_path / "later.ckpt")
    there = {v["version"]["id"]: v for v in state_in(tmp_path / "later.ckpt")["versions"]}
    assert epochs(shelf, there) == [0, 1, 2], "none was removed since: the state before the last removal"


def test_the_state_of_a_run_that_is_over(tmp_path: Path) -> None:
    """A checkpoint that is saved after `fit` lists its versions, with all that has become of them."""
    shelf = Shelf()
    t = fitted(tmp_path, shelf, "one", 2)
    t.save_checkpoint(tmp_path / "end.ckpt")
    [found] = state_in(tmp_path / "end.ckpt")["versions"]
    [kept] = [kept for id, kept in shelf.there.items() if id not in shelf.dropped]
    assert found["version"]["digest"] == kept.digest
    assert found["stores"] == {"shelf": f"shelf/{kept.version.id}"}
    ours = next(c for c in t.callbacks if isinstance(c, lw.CheckpointArtifact))
    told: dict[str, Any] = {}
    copy.deepcopy(ours).on_save_checkpoint(t, t.lightning_module, told)
    assert told["callbacks"]["CheckpointArtifact"]["versions"][0] == found


def test_twice_from_one_checkpoint(tmp_path: Path) -> None:
    """Each run delivers what it has saved; what both remove is dropped, and that is no error."""
    shelf = Shelf()
    fitted(tmp_path, shelf, "one", 3, save_top_k=2)
    for folder in ("another", "third"):
        (tmp_path / "ck" / "epoch=3.ckpt").unlink(missing_ok=True)
        fitted(tmp_path, shelf, folder, 4, tmp_path / "ck" / "epoch=2.ckpt", save_top_k=2)
    assert epochs(shelf, shelf.there) == [0, 1, 2, 3, 3]
    assert epochs(shelf, shelf.dropped) == [0, 1]


def test_from_a_checkpoint_that_says_nothing(tmp_path: Path) -> None:
    """One of a run without the callback, or of an older release: what that run has saved is not ours to drop."""
    shelf = Shelf()
    fitted(tmp_path, shelf, "one", 3, save_top_k=2)
    path = tmp_path / "ck" / "epoch=2.ckpt"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["callbacks"]["CheckpointArtifact"]
    torch.save(checkpoint, path)
    fitted(tmp_path, shelf, "another", 4, path, save_top_k=2)
    assert not (tmp_path / "ck" / "epoch=1.ckpt").exists()
    assert epochs(shelf, shelf.dropped) == [0]


@pytest.mark.parametrize(
    "versions", [{"a": 1}, [3], [{"version": {}, "stores": {}}], [{"version": {"id": 3}, "stores": None}]]
)
def test_from_a_checkpoint_that_says_something_else(versions: Any, tmp_path: Path) -> None:
    """It is reported, and the run goes on with a ledger of its own."""
    with Ledger(tmp_path) as ledger:
        with pytest.raises(ValueError, match=r"found .* in "):
            take_over({"versions": versions}, ledger)
        assert ledger.entries == []


def test_a_run_that_does_not_go_on_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    """The same callback in another Trainer, without a checkpoint."""
    shelf = Shelf()
    t = fitted(tmp_path, shelf, "one", 2)
    ours = next(c for c in t.callbacks if isinstance(c, lw.CheckpointArtifact))
    checkpoint = ModelCheckpoint(tmp_path / "other", monitor="score", mode="max")
    logger = ShelfLogger(tmp_path / "another", shelf, version="another")
    again = trainer(callbacks=[ours, checkpoint], logger=logger, enable_checkpointing=True, max_epochs=1)
    again.fit(Improves(), loader(), loader())
    assert [e.is_earlier for e in read(ledger_of(tmp_path, "another"))] == [False]


def test_the_state_is_bounded(tmp_path: Path) -> None:
    """Of many versions the newest are remembered, without their metadata: 100 of them in less than 64 KiB."""
    with Ledger(tmp_path) as ledger:
        for n in range(MOST + 20):
            facts = {"epoch": n, "step": n, "hparams": {"text": "x" * 10_000}}
            version = Version(f"{n:016x}", "model-1a2b3c4d", f"/runs/digits/ck/epoch={n}.ckpt", ("latest",), facts)
            ledger.saved(version, ["shelf"])
        state = remembered(ledger)
    torch.save(state, tmp_path / "state")
    assert (tmp_path / "state").stat().st_size < 2**16
    with Ledger(tmp_path / "x") as other:
        take_over(torch.load(tmp_path / "state", weights_only=True), other)
        take_over(state, other)
        entries: list[Entry] = other.entries
    assert [e.version.metadata for e in entries] == [{"epoch": n, "step": n} for n in range(20, MOST + 20)]
    assert [e.waiting for e in entries] == [()] * MOST


def test_the_best_of_the_run_before_is_found(tmp_path: Path) -> None:
    """By the folder of the run that goes on, where it has saved nothing better; beside the first run's as well."""

    class Worse(Improves):
        def on_validation_epoch_end(self) -> None:
            self.log("score", torch.tensor(1.0 - self.current_epoch))

    shelf = Shelf()
    fitted(tmp_path, shelf, "one", 1, save_last=True)
    best = (tmp_path / "ck" / "epoch=0.ckpt").read_bytes()
    ours = lw.CheckpointArtifact(on_error="raise")
    checkpoint = ModelCheckpoint(str(tmp_path / "ck"), monitor="score", mode="max", filename="{epoch}", save_last=True)
    logger = ShelfLogger(tmp_path / "another", shelf, version="another")
    t = trainer(callbacks=[ours, checkpoint], logger=logger, enable_checkpointing=True, max_epochs=2)
    t.fit(Worse(), loader(), loader(), ckpt_path=tmp_path / "ck" / "last.ckpt")
    for folder in ("one", "."):
        found = lw.checkpoint_path(tmp_path / folder, "best", cache=tmp_path / "cache")
        assert Path(found).read_bytes() == best


def test_a_folder_of_runs_that_was_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are kept as absolute ones. What lies beside the ledger as it did before is found."""
    ours = lw.CheckpointArtifact(on_error="raise")
    t = trainer(
        callbacks=[ours, ModelCheckpoint(monitor="score", mode="max")], logger=ShelfLogger(Path("logs"), Shelf()),
        default_root_dir=".", enable_checkpointing=True, max_epochs=2,
    )  # fmt: skip
    t.fit(Improves(), loader(), loader())
    [_, entry] = read(ledger_of(tmp_path, "logs"))
    best = Path(entry.version.path)
    assert best.is_absolute()
    assert best.is_file()
    content = best.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").rename(tmp_path / "elsewhere" / "logs")
    monkeypatch.chdir("/")
    found = lw.checkpoint_path(tmp_path / "elsewhere", "best", cache=tmp_path / "cache")
    assert Path(found).read_bytes() == content
