"""Images whose channels come last are refused before training, with what to write."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.modules import trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw

IMAGES = torch.randint(256, (8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 2
BOXES = {"boxes": torch.tensor([[1.0, 1.0, 9.0, 9.0]]), "labels": torch.tensor([0]), "scores": torch.tensor([0.5])}


class Own(pl.LightningModule):
    """Moves the channels itself; it returns what every callback here takes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.float().mean(dim=(1, 2)) / 255)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        n = len(batch[0])
        return {
            "preds": self(batch[0]),
            "seen": batch[0][..., 0] % 2,
            "boxes": [BOXES] * n,
            "outputs": batch[0].float() / 255,
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


CALLBACKS = {
    "PredictionGrid": (lw.PredictionGrid, {"select": "random"}),
    "ImageMosaic": (lw.ImageMosaic, {}),
    "MaskGrid": (lw.MaskGrid, {"preds": "seen", "targets": "seen"}),
    "BoxGrid": (lw.BoxGrid, {"preds": "boxes", "targets": "boxes"}),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_channels_last_are_an_error_before_training(name: str) -> None:
    """At the sanity check. What the message says to write is a program that works."""
    kind, kwargs = CALLBACKS[name]
    data = DataLoader(TensorDataset(IMAGES, LABELS), 4)
    module = Own()
    told = r"found inputs \(\d, 32, 32, 3\), expected images \(N, C, H, W\)\. Channels go first: inputs="
    settings: dict[str, Any] = {"max_epochs": 1, "num_sanity_val_steps": 1}
    with pytest.raises(ValueError, match=told) as caught:
        trainer(callbacks=[kind(4, stages=("val",), **kwargs)], **settings).fit(module, data, data)
    assert module.steps == 0
    [cure] = re.findall(r"inputs=(lambda outputs, batch: batch\[0\]\.movedim\(-1, 1\))", str(caught.value))
    cured = kind(4, stages=("val",), on_error="raise", **kwargs, inputs=eval(cure))
    module = Own()
    trainer(callbacks=[cured], **settings).fit(module, data, data)
    assert module.steps == 2
    assert cured.results["val"].payload[0].shape[1] == 3


def test_a_mosaic_names_every_layer_whose_channels_come_last() -> None:
    """Outputs, too: moved inputs beside outputs that are not would be drawn alone."""
    data = DataLoader(TensorDataset(IMAGES, LABELS), 4)
    with pytest.raises(ValueError, match=re.escape("preds=lambda outputs, batch: outputs['outputs'].movedim(-1, 1)")):
        trainer(callbacks=[lw.ImageMosaic(2, preds="outputs")]).validate(Own(), data, verbose=False)


def test_whoever_names_bands_is_taken_at_their_word() -> None:
    """Images of 32 channels, three pixels wide."""
    mosaic = lw.ImageMosaic(2, bands=(0, 1, 2), on_error="raise")
    trainer(callbacks=[mosaic]).validate(Own(), DataLoader(TensorDataset(IMAGES, LABELS), 4), verbose=False)
    assert mosaic.results["val"].payload[0].shape[1:] == (32, 32, 3)
