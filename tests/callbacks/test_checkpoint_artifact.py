"""What ModelCheckpoint saved is a version with the right aliases, whatever happens to the file afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from support.modules import CLASSES, Classifier, loader, trainer
from support.recorded import data_on_page
from support.versions import needs_files_written_anew
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.readers import OfflineArtifact, read_run


class Scripted(Classifier):
    """Validates to a given score per epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def on_validation_epoch_end(self) -> None:
        self.log("score", torch.tensor(self.scores[self.current_epoch]))


def versions(
    tmp_path: Path, module: Any, *checkpoints: ModelCheckpoint, raises: Any = None, **kwargs: Any
) -> list[OfflineArtifact]:
    logger = WandbLogger(mode="offline", save_dir=tmp_path)
    metrics = lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES)})
    t = trainer(
        logger=logger,
        callbacks=[lw.CheckpointArtifact(aliases=()), metrics, *checkpoints],
        enable_checkpointing=True,
        default_root_dir=tmp_path,
        **kwargs,
    )
    if raises:
        with pytest.raises(raises):
            t.fit(module, loader(), loader())
    else:
        t.fit(module, loader(), loader())
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    return [a for a in read_run(run_dir).artifacts if a.type == "model"]


def test_best_and_latest(tmp_path: Path) -> None:
    """Scores 1, 3, 2, all kept: each is the latest in its turn, the first two are the best in theirs."""
    found = versions(
        tmp_path, Scripted([1.0, 3.0, 2.0]), ModelCheckpoint(monitor="score", mode="max", save_top_k=-1), max_epochs=3
    )
    assert [set(v.aliases) for v in found] == [{"latest", "best"}, {"latest", "best"}, {"latest"}]
    assert [v.metadata["score"] for v in found] == [1.0, 3.0, 2.0]
    assert [v.metadata["epoch"] for v in found] == [0, 1, 2]
    assert [v.metadata["step"] for v in found] == [5, 10, 15]
    assert all("val/acc" in v.metadata["metrics"] for v in found)


def test_best_below_a_relative_folder() -> None:
    """A logger in "." makes paths such as "./lightning_logs": the best and its score are found there, too."""
    t = trainer(
        logger=CSVLogger("."),
        callbacks=[lw.CheckpointArtifact(aliases=()), ModelCheckpoint(monitor="score", mode="max", save_top_k=-1)],
        enable_checkpointing=True,
        max_epochs=3,
    )
    t.fit(Scripted([1.0, 3.0, 2.0]), loader(), loader())
    assert t.checkpoint_callback.best_model_path.startswith("./")
    found = list(data_on_page(Path(), "model-0").values())
    assert [told["aliases"] for told in found] == [["latest", "best"], ["latest", "best"], ["latest"]]
    assert [told["metadata"]["score"] for told in found] == [1.0, 3.0, 2.0]


@needs_files_written_anew
def test_offline_what_is_still_wanted_at_the_end_is_staged(tmp_path: Path) -> None:
    """Only the best is kept, and only that is staged: by a link to the file, which takes no room."""
    [version] = versions(
        tmp_path, Scripted([1.0, 2.0, 3.0]), ModelCheckpoint(monitor="score", mode="max", save_top_k=1), max_epochs=3
    )
    [staged] = version.files.values()
    assert torch.load(staged, weights_only=True)["global_step"] == 15
    files = list(tmp_path.rglob("*.ckpt"))
    assert len({file.stat().st_ino for file in files}) == 1
    assert len(files) == 2


def test_each_model_checkpoint_has_its_own_artifact(tmp_path: Path) -> None:
    """Two monitors, two artifacts, each with a best of its own, told apart by a checksum besides."""
    checkpoints = (
        ModelCheckpoint(monitor="score", mode="max", filename="a-{epoch}"),
        ModelCheckpoint(monitor="val/acc", mode="max", filename="b-{epoch}"),
    )
    names = {v.name for v in versions(tmp_path, Scripted([1.0]), *checkpoints)}
    assert len(names) == 2
    assert {name.split("-")[-2] for name in names} == {"score", "val_acc"}


def test_last_ckpt_beside_a_ranked_one_is_no_version_of_its_own(tmp_path: Path) -> None:
    """save_last=True writes the same weights twice; they are stored once, and "last" is an alias."""
    checkpoint = ModelCheckpoint(monitor="score", mode="max", save_last=True, save_top_k=-1)
    found = versions(tmp_path, Scripted([1.0, 2.0]), checkpoint, max_epochs=2)
    assert [(list(v.files), set(v.aliases)) for v in found] == [
        (["epoch=0-step=5.ckpt"], {"latest", "best", "last"}),
        (["epoch=1-step=10.ckpt"], {"latest", "best", "last"}),
    ]


def test_last_ckpt_alone_is_a_version(tmp_path: Path) -> None:
    """With nothing ranked, last.ckpt is the latest and the last, never the best."""
    [version] = versions(tmp_path, Scripted([1.0, 2.0]), ModelCheckpoint(save_last=True, save_top_k=0), max_epochs=2)
    assert list(version.files) == ["last.ckpt"]
    assert set(version.aliases) == {"latest", "last"}


def test_an_interrupted_run_delivers_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the second epoch: the first epoch's checkpoint is there."""

    def fails(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and batch_idx == 2:
            raise RuntimeError("out of memory")
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    monkeypatch.setattr(Scripted, "training_step", fails)
    found = versions(
        tmp_path, Scripted([1.0, 2.0]), ModelCheckpoint(monitor="score"), max_epochs=2, raises=RuntimeError
    )
    assert [set(v.aliases) for v in found] == [{"latest", "best"}]


def test_a_trainer_without_checkpoints_is_told(tmp_path: Path) -> None:
    """An error at setup says what to write."""
    with pytest.raises(ValueError, match=r"the Trainer has no ModelCheckpoint.*append ModelCheckpoint"):
        trainer(callbacks=[lw.CheckpointArtifact()]).fit(Classifier(), loader())


def test_a_trainer_without_checkpoints_may_be_meant(tmp_path: Path) -> None:
    """With missing_ok=True training runs, and nothing is logged."""
    artifact = lw.CheckpointArtifact(missing_ok=True)
    trainer(callbacks=[artifact]).fit(Classifier(), loader())
    assert artifact.results == {}
