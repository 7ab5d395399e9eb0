"""The page's program with several validation loaders runs as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from support.documented import code
from support.modules import Classifier, images, loader
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


def test_keys_of_several_loaders_are_those_of_the_page(tmp_path: Path, monkeypatch: Any) -> None:
    """The monitor finds its key, and `results` has both."""
    monkeypatch.chdir(tmp_path)
    x, y = images().tensors
    noisy = DataLoader(TensorDataset(x, (y + 1) % 5), 8)
    here: dict[str, Any] = {
        **{"lw": lw, "pl": pl, "ModelCheckpoint": ModelCheckpoint, "MulticlassAccuracy": MulticlassAccuracy},
        **{"module": Classifier(), "train_loader": loader(), "clean_loader": loader(), "noisy_loader": noisy},
    }
    source = code("loggers.md", "loaders").replace("max_epochs=1", "max_epochs=1, enable_progress_bar=False")
    exec(source, here)
    assert set(here["accuracy"].results) == {"train", "val/dataloader_idx_0", "val/dataloader_idx_1"}
    assert here["best"].best_model_score == here["accuracy"].results["val/dataloader_idx_1"]["acc"]
