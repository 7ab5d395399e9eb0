"""Keys that are logged through the Trainer: the module's stay the module's, and a monitored key is always there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from support.modules import CLASSES, Classifier, loader, trainer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw


class Logs(Classifier):
    """Logs a key of ours itself, at one of the hooks where one can."""

    def __init__(self, where: str, key: str, **how: Any) -> None:
        super().__init__()
        self.where, self.key, self.how = where, key, how

    def log_at(self, where: str) -> None:
        if where == self.where:
            self.log(self.key, torch.tensor(7.0), **self.how)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log_at("training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        self.log_at("validation_step")
        return super().validation_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log_at("on_train_epoch_end")

    def on_validation_epoch_end(self) -> None:
        self.log_at("on_validation_epoch_end")


def fit(module: Any, *callbacks: Any, **how: Any) -> tuple[pl.Trainer, list[str]]:
    t = trainer(callbacks=list(callbacks), **how)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(module, loader(), loader())
    return t, [str(w.message) for w in caught]


def acc(**how: Any) -> lw.ScalarMetrics:
    return lw.ScalarMetrics({"acc": MulticlassAccuracy(CLASSES, average="micro")}, **how)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(
    ("where", "key", "how", "ours"),
    [
        ("validation_step", "val/acc", {}, "val/acc"),
        ("on_validation_epoch_end", "val/acc", {}, "val/acc"),
        ("training_step", "train/acc", {"on_step": True, "on_epoch": True}, "train/acc_epoch"),
        ("training_step", "train/acc_epoch", {}, "train/acc_epoch"),
        ("on_train_epoch_end", "train/acc_epoch", {}, "train/acc_epoch"),
    ],
)
def test_a_key_that_the_module_logs_is_the_modules(
    where: str, key: str, how: dict[str, Any], ours: str, epochs: int
) -> None:
    """Whichever of the two logs first; one warning names both keys, and ours has its value under the new one."""
    scalars = acc()
    t, said = fit(Logs(where, key, **how), scalars, max_epochs=epochs)
    assert t.callback_metrics[ours] == 7
    told = [message for message in said if f"'{ours}' is logged by somebody else" in message]
    assert len(told) == 1
    assert f"'lwcallbacks/{ours}'" in told[0]
    stage = ours.partition("/")[0]
    if epochs > 1 or not where.endswith("end"):
        assert t.callback_metrics[f"lwcallbacks/{ours}"] == scalars.results[stage]["acc"]


def test_a_key_that_another_callback_logs_is_that_callbacks() -> None:
    """Behind ours in the list, or before it."""

    class Other(pl.Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.log("val/acc", 7.0)

    for callbacks in ([acc(), Other()], [Other(), acc()]):
        t, said = fit(Classifier(), *callbacks, max_epochs=2)
        assert t.callback_metrics["val/acc"] == 7
        assert sum("'val/acc' is logged by somebody else" in message for message in said) == 1


def test_a_prefix_keeps_both_keys() -> None:
    """As the warning advises."""
    scalars = acc(prefix="lw_")
    t, said = fit(Logs("validation_step", "val/acc"), scalars)
    assert t.callback_metrics["val/acc"] == 7
    assert t.callback_metrics["val/lw_acc"] == scalars.results["val"]["acc"]
    assert not [message for message in said if "logged by somebody else" in message]


def test_without_a_conflict_nothing_is_said_and_the_values_are_exact() -> None:
    """In every epoch, and in a second fit."""
    scalars = acc()
    for _ in range(2):
        t, said = fit(Logs("validation_step", "val/other"), scalars, max_epochs=2)
        assert t.callback_metrics["val/acc"] == scalars.results["val"]["acc"]
        assert t.callback_metrics["train/acc_epoch"] == scalars.results["train"]["acc"]
        assert not [message for message in said if "lwcallbacks" in message]


class Fails(Metric):
    """Computes the number of its calls, but raises at some of them."""

    def __init__(self, raises_at: tuple[int, ...]) -> None:
        super().__init__()
        self.raises_at = raises_at
        self.add_state("n", torch.tensor(0.0), "sum")
        self.calls = [0]

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.n += len(preds)

    def compute(self) -> Tensor:
        self.calls[0] += 1
        if self.calls[0] in self.raises_at:
            raise RuntimeError("no number today")
        return torch.tensor(float(self.calls[0]))


class Shared(Fails):
    """Counts its calls over all epochs, which have a copy each."""

    CALLS: list[int]

    def __init__(self, raises_at: tuple[int, ...]) -> None:
        super().__init__(raises_at)
        Shared.CALLS = [0]

    def compute(self) -> Tensor:
        self.calls = Shared.CALLS
        return super().compute()


def plateau(module: Classifier) -> None:
    def configure_optimizers() -> Any:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/m"}}

    module.configure_optimizers = configure_optimizers  # type: ignore[method-assign]


@pytest.mark.parametrize("raises_at", [(2,), (3, 4), (2, 3, 4)])
def test_an_epoch_without_a_value_keeps_the_last_one(raises_at: tuple[int, ...], tmp_path: Path) -> None:
    """EarlyStopping, ModelCheckpoint and ReduceLROnPlateau go on; nothing raises, nothing stops."""
    module = Classifier()
    plateau(module)
    metrics = lw.ScalarMetrics({"m": Shared(raises_at), "acc": MulticlassAccuracy(CLASSES)}, stages=("val",))
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/m", mode="max", save_top_k=-1)
    stopping = EarlyStopping("val/m", mode="max", patience=10)
    t, said = fit(module, metrics, stopping, checkpoint, max_epochs=4, enable_checkpointing=True)
    assert t.current_epoch == 4
    last = max(call for call in range(1, 5) if call not in raises_at)
    assert t.callback_metrics["val/m"] == last
    assert len(checkpoint.best_k_models) == 4
    assert "acc" in metrics.results["val"]
    assert any("ScalarMetrics('val/m')" in message and "no number today" in message for message in said)


@pytest.mark.parametrize("first", [True, False])
def test_without_an_earlier_value_the_key_is_there_as_nan(first: bool, tmp_path: Path) -> None:
    """In the first epoch of a fit, and of a second fit; a warning says that EarlyStopping stops on it."""
    metrics = lw.ScalarMetrics({"m": Shared((1,) if first else (2,))}, stages=("val",))
    for turn in range(1 if first else 2):
        module = Classifier()
        plateau(module)
        checkpoint = ModelCheckpoint(tmp_path / str(turn), monitor="val/m", mode="max")
        stopping = EarlyStopping("val/m", mode="max", check_finite=False)
        t, said = fit(module, metrics, stopping, checkpoint, enable_checkpointing=True)
    assert t.current_epoch == 1
    assert t.callback_metrics["val/m"].isnan()
    assert any("'val/m' has no value" in message and "stops on NaN" in message for message in said)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_after_a_resume_the_key_is_there(tmp_path: Path) -> None:
    """The Trainer's last values are in no checkpoint."""
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    metrics = lw.ScalarMetrics({"m": Shared((2,))}, stages=("val",))
    fit(Classifier(), metrics, checkpoint, enable_checkpointing=True)
    again = [lw.ScalarMetrics({"m": Shared((1,))}, stages=("val",)), EarlyStopping("val/m", check_finite=False)]
    t = trainer(callbacks=again, max_epochs=2)
    with pytest.warns(UserWarning, match="lwcallbacks") as said:
        t.fit(Classifier(), loader(), loader(), ckpt_path=checkpoint.last_model_path)
    assert any("'val/m' has no value" in str(w.message) for w in said)
    assert t.callback_metrics["val/m"].isnan()
