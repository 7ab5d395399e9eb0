"""Every way in which a Trainer saves is seen as what it is, with what was true at that moment, and nothing is left."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder, ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.plugins.io.wrapper import _WrappingCheckpointIO
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.tuner.tuning import Tuner
from support.modules import Classifier, loader, trainer
from support.shelf import Kept, Shelf, ShelfLogger, files_in
from support.versions import (
    HAS_VERSION_COUNTER,
    OnExceptionCheckpoint,
    needs_files_written_anew,
    needs_save_on_exception,
)

import lwcallbacks as lw
from lwcallbacks.artifacts.ledger import read
from lwcallbacks.callbacks import life, saves

ONE_PATH: dict[str, Any] = {"enable_version_counter": False} if HAS_VERSION_COUNTER else {}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


class Scored(Classifier):
    """Validates to a score for each epoch."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = scores or (1.0, 2.0, 3.0)

    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(self.scores[self.current_epoch]))


def fitted(tmp_path: Path, shelf: Shelf, *callbacks: Any, module: Any = None, **kwargs: Any) -> Any:
    t = made(tmp_path, shelf, *callbacks, **kwargs)
    t.fit(module or Scored(), loader(), loader())
    return t


def made(tmp_path: Path, shelf: Shelf, *callbacks: Any, metadata: Any = None, **kwargs: Any) -> Any:
    ours = lw.CheckpointArtifact(missing_ok=True, on_error="raise", metadata=metadata)
    return trainer(
        callbacks=[ours, *callbacks], logger=ShelfLogger(tmp_path / "logs", shelf), default_root_dir=tmp_path,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        **({"max_epochs": 3, "log_every_n_steps": 1} | kwargs),
    )  # fmt: skip


def best(tmp_path: Path, **kwargs: Any) -> ModelCheckpoint:
    return ModelCheckpoint(tmp_path / "ck", **({"monitor": "score", "mode": "max", "save_top_k": -1} | kwargs))


def came(shelf: Shelf) -> list[Kept]:
    return list(shelf.there.values())


def epochs(shelf: Shelf) -> list[int]:
    return [kept.version.metadata["epoch"] for kept in came(shelf)]


def held(tmp_path: Path) -> list[Path]:
    return [path for path in files_in(tmp_path) if "held" in path.parts]


def facts_of(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    """Of files that are there: what is delivered goes at any time."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.stat()


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert held(tmp_path) == []
    deadline = time.monotonic() + 10
    while [t for t in threading.enumerate() if t.name in ("lwcallbacks-shelf", "lwcallbacks-sealing")]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- the moment -------------------------------------------------------------------------------------------------------


class SlowIO(TorchCheckpointIO):
    seconds = 0.25

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(self.seconds)
        super().save_checkpoint(*args, **kwargs)


@pytest.mark.parametrize("save_top_k", [1, -1])
def test_five_improving_epochs_with_a_writer_slower_than_an_epoch(
    save_top_k: int, shelf: Shelf, tmp_path: Path
) -> None:
    """Five versions, each with its own epoch, score and weights; the best having been each in turn."""
    module = Scored(*[0.1 * n for n in range(5)])
    fitted(tmp_path, shelf, best(tmp_path, save_top_k=save_top_k), module=module, max_epochs=5,
           plugins=[AsyncCheckpointIO(SlowIO())])  # fmt: skip
    assert epochs(shelf) == [kept.checkpoint["epoch"] for kept in came(shelf)] == [0, 1, 2, 3, 4]
    assert [k.checkpoint["global_step"] for k in came(shelf)] == [5, 10, 15, 20, 25]
    for kept, score in zip(came(shelf), module.scores, strict=True):
        assert kept.version.metadata["score"] == kept.version.metadata["metrics"]["score"] == torch.tensor(score).item()
        assert {"latest", "best"} <= set(kept.aliases)
    weights = [kept.checkpoint["state_dict"]["net.1.weight"] for kept in came(shelf)]
    assert all(not torch.equal(a, b) for a, b in pairwise(weights))
    assert torch.equal(weights[-1], module.net[1].weight)
    dropped = [shelf.there[id].version.metadata["epoch"] for id in shelf.dropped]
    assert dropped == ([0, 1, 2, 3] if save_top_k == 1 else [])
    assert shelf.find("model-run", "best") is shelf.find("model-run", "latest") is came(shelf)[-1]


@pytest.mark.parametrize("wrap", [AsyncCheckpointIO, lambda io: _WrappingCheckpointIO(AsyncCheckpointIO(io))],
                         ids=["as it is", "within another"])  # fmt: skip
def test_an_asynchronous_save_holds_the_weights_of_its_own_step(wrap: Any, shelf: Shelf, tmp_path: Path) -> None:
    """They are changed in place by every step that follows; also where the CheckpointIO does not copy them."""

    class Counts(Scored):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

        def on_train_batch_end(self, *args: Any) -> None:
            self.count += 1

    fitted(tmp_path, shelf, best(tmp_path), module=Counts(), plugins=[wrap(SlowIO())])
    assert epochs(shelf) == [0, 1, 2]
    for kept in came(shelf):
        assert int(kept.checkpoint["state_dict"]["count"]) == kept.checkpoint["global_step"]


def test_a_copy_that_is_written_late_drops_nothing_that_was_saved_after_it(shelf: Shelf, tmp_path: Path) -> None:
    """Its version is that of its twin; what was at its path before is dropped, and what comes later is not."""

    class Lasts(ModelCheckpoint):
        """Writes last.ckpt at the end of every epoch, as Lightning 1 does, whether there is a better one or not."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    lasts = Lasts(tmp_path / "ck", monitor="score", mode="max", save_top_k=1, save_last=True)
    fitted(tmp_path, shelf, lasts, module=Scored(1.0, 0.0), max_epochs=2, plugins=[AsyncCheckpointIO(SlowIO())])
    found = [(kept.version.metadata["epoch"], kept.version.metadata["filename"]) for kept in came(shelf)]
    assert found == [(0, "epoch=0-step=5.ckpt"), (1, "last.ckpt")]
    assert shelf.dropped == []


class WritesAndLingers(TorchCheckpointIO):
    """The file is there for a while before this returns."""

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.1)
        super().save_checkpoint(*args, **kwargs)
        time.sleep(0.3)


def test_a_file_that_is_removed_as_soon_as_it_is_there(shelf: Shelf, tmp_path: Path) -> None:
    """The next save is the better one, and its ModelCheckpoint removes it before the writer has returned."""

    class SlowEnough(Scored):
        def on_train_epoch_end(self) -> None:
            deadline = time.monotonic() + 20
            while not (tmp_path / "ck" / f"epoch={self.current_epoch - 1}-step={self.current_epoch * 5}.ckpt").exists():
                if self.current_epoch == 0:
                    return
                assert time.monotonic() < deadline
                time.sleep(0.005)

    fitted(tmp_path, shelf, best(tmp_path, save_top_k=1), module=SlowEnough(),
           plugins=[AsyncCheckpointIO(WritesAndLingers())])  # fmt: skip
    assert epochs(shelf) == [0, 1, 2]
    assert [kept.checkpoint["epoch"] for kept in came(shelf)] == [0, 1, 2]


def test_two_saves_to_one_path_that_wait_for_their_writer(shelf: Shelf, tmp_path: Path) -> None:
    """The first one's file appears while the second is handed over: it is not taken for the second one's."""

    class HandsOver(AsyncCheckpointIO):
        calls = 0

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            self.calls += 1
            while self.calls == 2 and not Path(path).exists():
                time.sleep(0.005)

    class SavesTwice(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx < 2:
                trainer.save_checkpoint(tmp_path / "mine.ckpt")

    fitted(tmp_path, shelf, SavesTwice(), max_epochs=1, plugins=[HandsOver(WritesAndLingers())])
    assert [kept.checkpoint["global_step"] for kept in came(shelf)] == [1, 2]
    assert [kept.version.metadata["step"] for kept in came(shelf)] == [1, 2]


def test_a_metric_that_is_not_finite(shelf: Shelf, tmp_path: Path) -> None:
    """It is text in the metadata; NaN is never called the best, infinity is if it is."""
    fitted(tmp_path, shelf, best(tmp_path), module=Scored(float("nan"), float("inf"), 3.0))
    assert [kept.version.metadata["score"] for kept in came(shelf)] == ["nan", "inf", 3.0]
    assert [("best" in kept.aliases) for kept in came(shelf)] == [False, True, False]


def test_metadata_of_ones_own_is_beside_the_facts(shelf: Shelf, tmp_path: Path) -> None:
    """In the place of a fact it is refused: every version would be of epoch 99."""
    fitted(tmp_path, shelf, best(tmp_path), metadata={"a": 1})
    assert [(kept.version.metadata["a"], kept.version.metadata["epoch"]) for kept in came(shelf)] == [
        (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip
    told = r"metadata has 'epoch', 'step', which each save fills in. Expected other keys than callback, epoch, "
    with pytest.raises(ValueError, match=told):
        lw.CheckpointArtifact(metadata={"epoch": 99, "step": -1, "a": 1})
    facts = came(shelf)[0].version.metadata.keys() - {"a"}
    for fact in facts:
        with pytest.raises(ValueError, match=f"metadata has '{fact}'"):
            lw.CheckpointArtifact(metadata={fact: 1})


def test_an_alias_without_a_value_costs_no_version(shelf: Shelf, tmp_path: Path) -> None:
    """As that of a score, of a checkpoint that has none; the message lists what there is."""
    ours = lw.CheckpointArtifact(aliases=["acc-{score:.1f}", "{epoch.wrong}", "{scor}", "e{epoch}"])
    t = trainer(
        callbacks=[ours, best(tmp_path), SavesNow(tmp_path / "mine.ckpt")], max_epochs=2,
        logger=ShelfLogger(tmp_path / "logs", shelf), default_root_dir=tmp_path, enable_checkpointing=True,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="the alias") as caught:
        t.fit(Scored(), loader(), loader())
    aliases = {(kept.version.name[:10], kept.aliases[-2:]) for kept in came(shelf)}
    assert len(came(shelf)) == 4
    assert {alias for _, pair in aliases for alias in pair} >= {"acc-1.0", "acc-2.0", "e0", "e1"}
    told = [str(w.message) for w in caught if "has no value for" in str(w.message)]
    assert any("'acc-{score:.1f}' has no value for" in text and "goes without it: TypeError" in text for text in told)
    assert any("There are: callback, epoch, filename, " in text and "'{scor}'" in text for text in told)


def test_no_room_to_hold_a_checkpoint(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint stays where it was saved, and the ledger says why it is not delivered; training goes on."""

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(life, "hold", full)
    t = trainer(
        callbacks=[lw.CheckpointArtifact(), best(tmp_path)], max_epochs=2, default_root_dir=tmp_path,
        logger=ShelfLogger(tmp_path / "logs", shelf), enable_checkpointing=True,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="No space left on device"):
        t.fit(Scored(), loader(), loader())
    assert t.current_epoch == 2
    assert came(shelf) == []
    [ledger] = {path.parent for path in files_in(tmp_path) if path.name == "ledger.jsonl"}
    entries = read(ledger)
    assert [entry.why.partition(": ")[0] for entry in entries] == ["could not be held"] * 2
    assert all(Path(entry.version.path).is_file() for entry in entries)


def test_checkpoints_in_mid_epoch(shelf: Shelf, tmp_path: Path) -> None:
    """By every_n_train_steps: each step has a version of its own, with its own alias."""
    fitted(tmp_path, shelf, ModelCheckpoint(tmp_path / "ck", every_n_train_steps=2, save_top_k=-1), max_epochs=2)
    assert [kept.checkpoint["global_step"] for kept in came(shelf)] == [2, 4, 6, 8, 10]
    assert [kept.aliases[-1] for kept in came(shelf)] == [f"step-{n}" for n in (2, 4, 6, 8, 10)]


# -- who saves --------------------------------------------------------------------------------------------------------


class SavesNow(pl.Callback):
    """A callback of the user's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


def test_a_callback_of_the_users_that_saves(shelf: Shelf, tmp_path: Path) -> None:
    """It has an artifact of its own, called by its class."""
    fitted(tmp_path, shelf, SavesNow(tmp_path / "mine.ckpt"))
    [name] = {kept.version.name for kept in came(shelf)}
    assert name.startswith("model-run-SavesNow-")
    assert epochs(shelf) == [0, 1, 2]
    assert shelf.dropped == [], "nobody has removed one"


def test_a_module_that_saves(shelf: Shelf, tmp_path: Path) -> None:
    """And any code that is no callback: one artifact for all of it."""

    class Saves(Scored):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                self.trainer.save_checkpoint(str(tmp_path / f"{self.current_epoch}.ckpt"), weights_only=True)
            return super().training_step(batch, batch_idx)

    fitted(tmp_path, shelf, module=Saves())
    assert {kept.version.name for kept in came(shelf)} == {"model-run-saved"}
    assert epochs(shelf) == [0, 1, 2]


class SavesItself(ModelCheckpoint):
    """With a way of its own to save, by a callback within."""

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        trainer.save_checkpoint(f"{filepath}.too", weights_only=True)


def test_a_subclass_of_model_checkpoint(shelf: Shelf, tmp_path: Path) -> None:
    """What it saves besides is a version of its artifact, and never the best."""
    fitted(tmp_path, shelf, SavesItself(tmp_path / "ck", monitor="score", mode="max"))
    assert [Path(kept.version.path).suffix for kept in came(shelf)] == [".ckpt", ".too"] * 3
    assert ["best" in kept.aliases for kept in came(shelf)] == [True, False] * 3
    assert {kept.version.name for kept in came(shelf)} == {"model-run"}


def test_a_callback_around_another_one(shelf: Shelf, tmp_path: Path) -> None:
    """A callback that makes a ModelCheckpoint save: the nearest one is who asks."""

    class Around(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            within.on_train_epoch_end(trainer, pl_module)

    within = SavesNow(tmp_path / "mine.ckpt")
    fitted(tmp_path, shelf, Around())
    assert all(kept.version.name.startswith("model-run-SavesNow-") for kept in came(shelf))


def test_two_of_one_monitor_and_names_that_look_alike(shelf: Shelf, tmp_path: Path) -> None:
    """Four artifacts, told apart by a checksum, and the same ones in another run."""

    def run(version: str) -> set[str]:
        shelf.there.clear()
        checkpoints = [
            ModelCheckpoint(tmp_path / version / str(i), monitor=monitor, mode=mode)
            for i, (monitor, mode) in enumerate([("a/b", "min"), ("a/b", "max"), ("a b", "min"), ("a_b", "min")])
        ]
        logger = ShelfLogger(tmp_path / "logs", shelf, version=version)
        trainer(
            callbacks=[lw.CheckpointArtifact("m"), *checkpoints], logger=logger, enable_checkpointing=True,
        ).fit(Keyed(), loader(), loader())  # fmt: skip
        return {kept.version.name for kept in came(shelf)}

    class Keyed(Classifier):
        def on_validation_epoch_end(self) -> None:
            for key in ("a/b", "a b", "a_b"):
                self.log(key, torch.tensor(1.0))

    names = run("one")
    assert len(names) == 4
    assert names == run("two")


@needs_save_on_exception
@pytest.mark.filterwarnings("ignore:.*fit.ckpt_path=")  # Lightning looks for a checkpoint to go on from
def test_a_checkpoint_on_an_exception_beside_one_that_asks_others(shelf: Shelf, tmp_path: Path) -> None:
    """Both are saved after the hooks of other callbacks, and delivered once."""

    class Breaks(Scored):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.current_epoch == 1 and batch_idx == 2:
                raise RuntimeError("boom")
            return super().training_step(batch, batch_idx)

    with pytest.raises(RuntimeError, match="boom"):
        fitted(tmp_path, shelf, best(tmp_path, save_on_exception=True), OnExceptionCheckpoint(tmp_path / "ex"),
               module=Breaks())  # fmt: skip
    assert sorted((kept.version.metadata["epoch"], kept.version.name[:30]) for kept in came(shelf)) == [
        (0, "model-run"), (1, "model-run"), (1, "model-run-OnExceptionCheckpoin"),
    ]  # fmt: skip


# -- what is no save of the user's ------------------------------------------------------------------------------------


def test_a_search_for_a_learning_rate_leaves_no_version(shelf: Shelf, tmp_path: Path) -> None:
    """By the Tuner before the fit, and by the callback in mid-fit: the file that it goes back to is none."""

    class FindsLater(LearningRateFinder):
        def on_fit_start(self, *args: Any) -> None:
            return None

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                self.lr_find(trainer, pl_module)

    class Tuned(Scored):
        lr = 0.1

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    module = Tuned()
    t = made(tmp_path, shelf, best(tmp_path), FindsLater(num_training_steps=3))
    Tuner(made(tmp_path / "tuner", Shelf())).lr_find(module, loader(), loader(), num_training=3)
    t.fit(module, loader(), loader())
    assert epochs(shelf) == [0, 1, 2]
    assert [read(path.parent) for path in (tmp_path / "tuner").rglob("ledger.jsonl")] == []


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_validation_and_test_deliver_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """Before and after a fit; a second fit goes on with the same ledger."""
    t = made(tmp_path, shelf, best(tmp_path), max_epochs=1)
    module = Scored()
    t.validate(module, loader(), verbose=False)
    t.fit(module, loader(), loader())
    t.test(module, loader(), verbose=False)
    t.fit_loop.max_epochs = 2
    t.fit(module, loader(), loader())
    assert epochs(shelf) == [0, 1]
    [ledger] = tmp_path.rglob("ledger.jsonl")
    assert len(read(ledger.parent)) == 2


def test_a_trial_run_saves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """fast_dev_run has no checkpoints and no ledger."""
    fitted(tmp_path, shelf, best(tmp_path), fast_dev_run=True)
    assert came(shelf) == []
    assert list(tmp_path.rglob("ledger.jsonl")) == []


# -- how it is written ------------------------------------------------------------------------------------------------


class OwnStrategy(SingleDeviceStrategy):
    """Writes a folder itself, without a CheckpointIO, into the files that are there, as sharded strategies do."""

    def save_checkpoint(self, checkpoint: Any, filepath: Any, storage_options: Any = None) -> None:
        Path(filepath).mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint["state_dict"], Path(filepath, "shard"))
        Path(filepath, "meta").write_text(str(checkpoint["epoch"]))


def test_a_strategy_that_writes_folders_itself(tmp_path: Path) -> None:
    """Each version has its own content, though the next one is written into the same files before it is delivered."""

    class Reads(Shelf):
        def deliver(self, version: Any, content: Any) -> Any:
            deliveries.wait()
            seen.append((content / "meta").read_text())
            return super().deliver(version, content)

    deliveries, seen = threading.Event(), list[str]()
    t = made(tmp_path, Reads(), ModelCheckpoint(tmp_path / "ck", filename="same", **ONE_PATH),
             strategy=OwnStrategy("cpu"), accelerator="auto")  # fmt: skip

    class Opens(pl.Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            deliveries.set()

    t.callbacks.append(Opens())
    t.fit(Scored(), loader(), loader())
    assert seen == ["0", "1", "2"]


def test_remote_paths(shelf: Shelf, tmp_path: Path) -> None:
    """A version for each save, at its address; the store gets no content. Removed ones are dropped."""

    class Waits(pl.Callback):
        """What is removed before it was delivered is not delivered any more."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            end = time.monotonic() + 60
            while len(shelf.there) < trainer.current_epoch and time.monotonic() < end:
                time.sleep(0.01)

    fitted(tmp_path, shelf, ModelCheckpoint("memory://bucket", monitor="score", mode="max"), Waits())
    assert epochs(shelf) == [0, 1, 2]
    assert all(kept.version.path.startswith("memory://") and kept.version.content is None for kept in came(shelf))
    assert len(shelf.dropped) == 2


def test_a_writer_that_fails_is_the_users_to_see(shelf: Shelf, tmp_path: Path) -> None:
    """The error comes through, the ledger says why there is no version, and the others are delivered."""

    class Breaks(TorchCheckpointIO):
        calls = 0

        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls == 2:
                raise OSError("disk full")
            super().save_checkpoint(*args, **kwargs)

    with pytest.raises(OSError, match="disk full"):
        fitted(tmp_path, shelf, best(tmp_path), plugins=[Breaks()])
    assert epochs(shelf) == [0]
    [ledger] = tmp_path.rglob("ledger.jsonl")
    assert [entry.why for entry in read(ledger.parent)] == ["", "could not be saved: OSError: disk full"]


def test_a_writer_that_never_writes_costs_the_patience_and_a_warning(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on, its end does not hang, and it is said."""

    class Nothing(TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            pass

    monkeypatch.setattr(saves, "_SETTLED", 0.05)
    t = trainer(
        callbacks=[lw.CheckpointArtifact(patience=0.3), best(tmp_path)], logger=ShelfLogger(tmp_path, shelf),
        enable_checkpointing=True, plugins=[Nothing()],
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"the checkpoint .* is not delivered: it was not there in time"):
        t.fit(Scored(), loader(), loader())
    assert came(shelf) == []


# -- nothing is left, and copies are of the user's objects ------------------------------------------------------------


class Copies(pl.Callback):
    """Copies the Trainer's CheckpointIO and our callback while it fits."""

    made: dict[str, Any]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        io = trainer.strategy.checkpoint_io
        assert "save_checkpoint" in vars(io)
        self.made = {"io": copy.deepcopy(io), "pickled io": pickle.loads(pickle.dumps(io))}
        ours = next(c for c in trainer.callbacks if isinstance(c, lw.CheckpointArtifact))
        self.made |= {"ours": copy.deepcopy(ours), "pickled ours": pickle.loads(pickle.dumps(ours))}


def test_copies_in_mid_fit_are_as_without_the_callback(shelf: Shelf, tmp_path: Path) -> None:
    """A copied CheckpointIO writes by itself, and nothing of it is a version."""
    copies = Copies()
    fitted(tmp_path, shelf, copies, best(tmp_path))
    for name in ("io", "pickled io"):
        copies.made[name].save_checkpoint({"x": 1}, tmp_path / f"{name}.ckpt")
        assert torch.load(tmp_path / f"{name}.ckpt", weights_only=True) == {"x": 1}
    assert epochs(shelf) == [0, 1, 2]


def test_a_copied_trainer_saves_for_itself(shelf: Shelf, tmp_path: Path) -> None:
    """A deep copy in mid-fit is of the Trainer without the callback's part in it."""

    class CopiesTrainer(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            assert "save_checkpoint" in vars(trainer)
            copied.append(copy.deepcopy(trainer))

    copied: list[Any] = []
    t = made(tmp_path, shelf, best(tmp_path), max_epochs=1)
    t.callbacks.append(CopiesTrainer())
    t.fit(Scored(), loader(), loader())
    assert not {"save_checkpoint", "load_checkpoint", "remove_checkpoint"} & {
        name for name, method in vars(copied[0].strategy).items() if type(method).__name__ == "_Instead"
    }
    copied[0].save_checkpoint(tmp_path / "copied.ckpt")
    assert (tmp_path / "copied.ckpt").exists()
    assert epochs(shelf) == [0]


@pytest.mark.filterwarnings("ignore:.*an earlier run is there")
def test_a_fit_that_another_callback_breaks_at_its_end_does_not_cost_the_next(shelf: Shelf, tmp_path: Path) -> None:
    """It raises in `on_exception`, so ours is never told: the next fit ends what is left, and delivers its own."""

    class Breaks(Scored):
        broken = True

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.current_epoch == 1 and self.broken:
                raise RuntimeError("boom")
            return super().training_step(batch, batch_idx)

    class Worse(pl.Callback):
        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            raise KeyError("worse")

    t, module = made(tmp_path, shelf, Worse(), best(tmp_path)), Breaks()
    with pytest.raises(KeyError, match="worse"):
        t.fit(module, loader(), loader())
    module.broken = False
    other = made(tmp_path, shelf, best(tmp_path / "x"))
    ours = next(c for c in t.callbacks if isinstance(c, lw.CheckpointArtifact))
    other.callbacks = [c for c in other.callbacks if not isinstance(c, lw.CheckpointArtifact)] + [ours]
    other.fit(module, loader(), loader())
    assert epochs(shelf) == [0, 0, 1, 2]
    for owner in (t, t.strategy, t.strategy.checkpoint_io):
        assert not {"save_checkpoint", "remove_checkpoint"} & vars(owner).keys()


def test_what_cannot_begin_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """A CheckpointIO that takes no attribute: it is said, training goes on, and the ledger is free."""

    class Sealed(TorchCheckpointIO):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError("sealed")

    t = trainer(
        callbacks=[lw.CheckpointArtifact(), best(tmp_path)], logger=ShelfLogger(tmp_path / "logs", shelf),
        enable_checkpointing=True, plugins=[Sealed()],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="CheckpointArtifact cannot deliver checkpoints: AttributeError: sealed"):
        t.fit(Scored(), loader(), loader())
    assert not {"save_checkpoint", "remove_checkpoint"} & (vars(t).keys() | vars(t.strategy).keys())
    fitted(tmp_path, shelf, best(tmp_path / "x"))
    assert epochs(shelf) == [0, 1, 2]


# -- what is on the disk ----------------------------------------------------------------------------------------------


@needs_files_written_anew
@pytest.mark.parametrize("is_live", [True, False])
def test_the_disk_holds_no_second_copy(is_live: bool, tmp_path: Path) -> None:
    """Ten improving epochs of 2 MB with save_top_k=2: at most 1.05 times what ModelCheckpoint keeps, at every time."""

    class Large(Scored):
        def __init__(self) -> None:
            super().__init__(*map(float, range(10)))
            self.register_buffer("large", torch.zeros(2**19))

    class Weighs(pl.Callback):
        def __init__(self) -> None:
            self.most: list[float] = []

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            kept = sum(path.stat().st_size for path in (tmp_path / "ck").glob("*.ckpt"))
            until_nothing_waits(trainer)
            there = facts_of(path for path in files_in(tmp_path) if path.suffix == ".ckpt")
            inodes = {found.st_ino: found.st_size for found in there}
            self.most += [sum(inodes.values()) / kept] if kept else []

    def until_nothing_waits(trainer: Any) -> None:
        deadline = time.monotonic() + 20
        while [found for found in facts_of(held(tmp_path)) if found.st_nlink == 1]:
            assert time.monotonic() < deadline, held(tmp_path)
            time.sleep(0.01)

    weighs = Weighs()
    fitted(tmp_path, Shelf(is_live=is_live), weighs, best(tmp_path, save_top_k=2), module=Large(), max_epochs=10)
    assert len(weighs.most) == 9
    assert max(weighs.most) <= 1.05
    assert len(list((tmp_path / "ck").iterdir())) == 2
    # The page and its data are not of the checkpoints, and have one size whatever these have.
    sizes = {p.stat().st_ino: p.stat().st_size for p in files_in(tmp_path) if "media" not in p.parts}
    assert sum(sizes.values()) <= 1.05 * sum(p.stat().st_size for p in (tmp_path / "ck").iterdir())
    assert os.listdir(tmp_path / "ck")


def test_a_background_writer_that_is_slower_than_the_saves_to_one_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What appears may be of either save: none of both is delivered as the other, and it is said."""
    monkeypatch.setattr(saves, "_SETTLED", 0.05)
    monkeypatch.setattr(saves, "_MOMENT", 0.1)

    class Late(TorchCheckpointIO):
        threads: list[threading.Thread]

        def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
            def write() -> None:
                go_on.wait()
                TorchCheckpointIO().save_checkpoint(checkpoint, path)

            threads.append(threading.Thread(target=write))
            threads[-1].start()

    class Opens(pl.Callback):
        def on_train_end(self, *args: Any) -> None:
            go_on.set()

    go_on, threads, shelf = threading.Event(), list[threading.Thread](), Shelf()
    t = trainer(
        callbacks=[lw.CheckpointArtifact(missing_ok=True, patience=0.5), SavesNow(tmp_path / "mine.ckpt"), Opens()],
        logger=ShelfLogger(tmp_path / "logs", shelf), max_epochs=3, plugins=[Late()],
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"mine.ckpt is not delivered: it was not there in time"):
        t.fit(Scored(), loader(), loader())
    for thread in threads:
        thread.join()
    assert came(shelf) == []
