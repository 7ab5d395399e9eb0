"""Float labels 0.0 and 1.0, as BCEWithLogitsLoss takes them, are labels for a metric that checks its arguments."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support.modules import trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
    MulticlassJaccardIndex,
)

import lwcallbacks as lw

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, :1] > 0).float()


class Binary(pl.LightningModule):
    """One logit a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)
        nn.init.constant_(self.net.weight, 0.5)
        nn.init.zeros_(self.net.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())


def values(labels: Tensor, metric: type[Metric], **kwargs: Any) -> Any:
    callback = lw.ScalarMetrics({"m": metric()}, **kwargs)
    trainer(callbacks=[callback]).validate(Binary(), DataLoader(TensorDataset(X, labels), 4), verbose=False)
    return callback.results["val"]["m"]


@pytest.mark.parametrize("metric", [BinaryAveragePrecision, BinaryAUROC, BinaryCalibrationError])
@pytest.mark.parametrize("kwargs", [{}, {"task": "binary", "logits": True}, {"task": "binary"}], ids=str)
def test_float_labels_give_the_number_of_integer_labels(metric: type[Metric], kwargs: Any) -> None:
    """The same bits, whatever is said of the scores."""
    assert torch.equal(values(Y, metric, **kwargs), values(Y.long(), metric, **kwargs))


@pytest.mark.parametrize(("kind", "cure"), [(float, "batch[1].long().squeeze(1)"), (int, "batch[1].squeeze(1)")])
def test_masks_with_a_dimension_of_channels_are_told(kind: type, cure: str) -> None:
    """[N, 1, H, W] beside scores [N, C, H, W]: what the message says to write works."""

    class Masks(pl.LightningModule):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"preds": batch[0]}

    scores, masks = torch.rand(8, 3, 4, 4), torch.randint(3, (8, 1, 4, 4)).to(torch.tensor(kind(0)).dtype)
    data = DataLoader(TensorDataset(scores, masks), 4)

    def validated(**targets: Any) -> Any:
        callback = lw.ScalarMetrics({"iou": MulticlassJaccardIndex(3)}, **targets)
        trainer(callbacks=[callback]).validate(Masks(), data, verbose=False)
        return callback.results["val"]["iou"]

    with pytest.raises(ValueError, match="without the dimension of channels") as caught:
        validated()
    assert str(caught.value).endswith(f"targets=lambda outputs, batch: {cure}")
    assert "('The" not in str(caught.value), "torchmetrics gives its words as two"
    found = validated(targets=eval(f"lambda outputs, batch: {cure}"))
    assert torch.equal(found, MulticlassJaccardIndex(3)(scores, masks.long().squeeze(1)))


def test_a_float_label_that_is_not_whole_stays_an_error() -> None:
    """The message says to make labels of it, and that works."""
    soft = Y * 0.8 + 0.1
    with pytest.raises(ValueError, match="labels are integers") as caught:
        values(soft, BinaryAveragePrecision, task="binary", logits=True)
    [cure] = re.findall(r"targets=(lambda outputs, batch: \(batch\[1\] > 0\.5\)\.long\(\))", str(caught.value))
    assert "write BinaryAveragePrecision()" not in str(caught.value)
    given: dict[str, Any] = {"task": "binary", "logits": True}
    cured = values(soft, BinaryAveragePrecision, targets=eval(cure), **given)
    assert torch.equal(cured, values(Y.long(), BinaryAveragePrecision, **given))
