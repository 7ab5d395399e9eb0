"""docs/from-hand-written.md: its hand-written callbacks and ours, in one run, give the same pictures and captions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import pytorch_lightning as pl
import torch
import wandb
from packaging.version import Version
from pytorch_lightning.loggers import WandbLogger
from support.modules import Autoencoder, Classifier, images, trainer
from torch.utils.data import DataLoader, TensorDataset

from lwcallbacks.readers import read_run

PAGE = Path(__file__).parents[2] / "docs" / "from-hand-written.md"
BATCH = 16
AUTOENCODER, CLASSIFIER = "WandbImageCallback", "WandbImagePredCallback"

pytestmark = pytest.mark.skipif(
    Version(wandb.__version__) < Version("0.29"), reason="what is written by hand is for a wandb that rescales nothing"
)

Picture = tuple[str, str, np.ndarray]
"""Caption, mode and pixels."""


class Labels(Classifier):
    """Logs its own loss."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = super().validation_step(batch, batch_idx)
        self.log("val_loss", loss)
        return loss


def data(channels: int) -> TensorDataset:
    grey, labels = images(40).tensors
    return TensorDataset(torch.cat([grey.roll(i, 2) for i in range(channels)], 1), labels)


def from_page(name: str, val_loader: DataLoader) -> tuple[pl.Callback, pl.Callback]:
    """The hand-written callback of the page and what replaces it, both made by the page's own code."""
    blocks = re.findall(r"^```python\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    at = next(i for i, block in enumerate(blocks) if f"class {name}" in block)
    made = []
    for block in blocks[at : at + 2]:
        space: dict[str, Any] = {"val_loader": val_loader}
        exec(block, space)
        made.append(next(c for c in space["trainer"].callbacks if hasattr(c, "val_imgs") or hasattr(c, "results")))
    hand, ours = made
    assert type(hand).__name__ == name
    # The page shows 32 of a batch; here a batch holds fewer.
    ours.num_samples = BATCH
    return hand, ours


def validation(channels: int) -> DataLoader:
    return DataLoader(data(channels), BATCH)


def run(name: str, root: Path, *, channels: int = 1, sanity: int = 0) -> tuple[list[Any], list[Any], Path]:
    """Two epochs with both; the rows of history that hold the pictures of each."""
    pl.seed_everything(0)
    val_loader = validation(channels)
    module = Autoencoder(channels) if name == AUTOENCODER else Labels()
    logger = WandbLogger(mode="offline", save_dir=root)
    hand, ours = from_page(name, val_loader)
    t = trainer(logger=logger, callbacks=[hand, ours], max_epochs=2, num_sanity_val_steps=sanity)
    t.fit(module, DataLoader(data(channels), 8), val_loader)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    logged = read_run(run_dir)
    rows = [row for row in logged.history if "val/examples" in row]
    by_hand = [row for row in rows if "global_step" in row]
    by_us = [row for row in rows if "global_step" not in row]
    losses = [row["trainer/global_step"] for row in logged.history if "val_loss" in row]
    assert [row["trainer/global_step"] for row in by_us] == losses
    return by_hand, by_us, logged.files_dir


def pictures(row: dict[str, Any], files: Path) -> list[Picture]:
    """The pictures in the order in which W&B shows them."""
    value = row["val/examples"]
    opened = [PIL.Image.open(files / name) for name in value["filenames"]]
    return [(c, image.mode, np.asarray(image)) for c, image in zip(value["captions"], opened, strict=True)]


def assert_same(hand: list[Picture], ours: list[Picture]) -> None:
    assert [caption for caption, _, _ in ours] == [caption for caption, _, _ in hand]
    assert [mode for _, mode, _ in ours] == [mode for _, mode, _ in hand]
    for (_, _, theirs), (_, _, pixels) in zip(hand, ours, strict=True):
        assert np.array_equal(theirs, pixels)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "RGB"])
def test_the_same_mosaics_come_out(channels: int, tmp_path: Path) -> None:
    """Output over input after each of two epochs: as many, in the same order, pixel by pixel."""
    by_hand, by_us, files = run(AUTOENCODER, tmp_path, channels=channels)
    assert len(by_hand) == len(by_us) == 2
    for hand, ours in zip(by_hand, by_us, strict=True):
        assert_same(pictures(hand, files), pictures(ours, files))
    first = pictures(by_us[0], files)
    assert len(first) == BATCH
    x = data(channels)[0][0]
    below = np.asarray((x.double() * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze())
    assert first[0][0] == "Top: Output, Bottom: Input"
    assert np.array_equal(first[0][2][8:], below)


def test_the_same_labelled_images_come_out(tmp_path: Path) -> None:
    """Images and captions after each of two epochs, of which some are right and some wrong."""
    by_hand, by_us, files = run(CLASSIFIER, tmp_path)
    assert len(by_hand) == len(by_us) == 2
    for hand, ours in zip(by_hand, by_us, strict=True):
        of_hand = [(caption.replace(", ", "\n"), *rest) for caption, *rest in pictures(hand, files)]
        assert_same(of_hand, [tuple(picture) for picture in pictures(ours, files)])
    captions = [caption for caption, _, _ in pictures(by_us[1], files)]
    labels = data(1).tensors[1][:BATCH].tolist()
    assert [int(re.fullmatch(r"Pred:(\d)\nLabel:(\d)", c)[2]) for c in captions] == labels
    assert len({re.fullmatch(r"Pred:(\d)\nLabel:(\d)", c)[1] for c in captions}) > 1


def test_by_hand_also_logs_the_sanity_check(tmp_path: Path) -> None:
    """Row 3 of the page's table: one entry more by hand, none more with ours."""
    by_hand, by_us, _ = run(AUTOENCODER, tmp_path, sanity=1)
    assert (len(by_hand), len(by_us)) == (3, 2)


def test_by_hand_is_a_step_off(tmp_path: Path) -> None:
    """Row 9: by hand the step is one more than that of `self.log` in the same validation; ours is the same."""
    by_hand, by_us, _ = run(CLASSIFIER, tmp_path)
    assert [row["global_step"] - 1 for row in by_hand] == [row["trainer/global_step"] for row in by_us]


@pytest.mark.parametrize("which", [0, 1], ids=["by hand", "ours"])
def test_by_hand_takes_a_forward_pass_more(which: int, tmp_path: Path) -> None:
    """Row 5: 3 batches of validation are 4 forward passes by hand, and 3 with ours."""
    passes: list[int] = []

    class Counts(Autoencoder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            passes.append(len(x))
            return super().forward(x)

    callback = from_page(AUTOENCODER, validation(1))[which]
    logger = WandbLogger(mode="offline", save_dir=tmp_path)
    trainer(logger=logger, callbacks=[callback]).validate(Counts(1), validation(1), verbose=False)
    logger.experiment.finish()
    assert len(passes) == (4, 3)[which]


def test_by_hand_needs_the_logger_of_wandb(tmp_path: Path) -> None:
    """Row 8: without a logger by hand is an AttributeError; ours puts the pictures into the run's folder."""
    hand, ours = from_page(AUTOENCODER, validation(1))
    with pytest.raises(AttributeError, match="experiment"):
        trainer(callbacks=[hand]).validate(Autoencoder(1), validation(1), verbose=False)
    trainer(callbacks=[ours], default_root_dir=tmp_path).validate(Autoencoder(1), validation(1), verbose=False)
    assert list(tmp_path.glob("**/media/val/examples/*.png"))


def test_by_hand_fails_where_the_output_is_no_image(tmp_path: Path) -> None:
    """Row 6: with a classifier by hand is a RuntimeError; ours shows the input alone."""
    hand, ours = from_page(AUTOENCODER, validation(1))
    with pytest.raises(RuntimeError):
        trainer(callbacks=[hand]).validate(Classifier(), validation(1), verbose=False)
    trainer(callbacks=[ours], default_root_dir=tmp_path).validate(Classifier(), validation(1), verbose=False)
    [manifest] = tmp_path.glob("**/media/manifest.js")
    assert '"val/examples"' in manifest.read_text()


def test_what_the_guide_had_is_black() -> None:
    """Row 8: W&B makes integers of a float image in [0, 1] by cutting; only a pixel that is 1 is not black."""
    wandb = pytest.importorskip("wandb")
    written = np.asarray(wandb.Image(torch.full((1, 4, 4), 0.9)).image)
    assert (written == 0).all()
