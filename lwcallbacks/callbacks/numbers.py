"""`NumberCallback`: a callback whose epoch values are logged through the Trainer, so that they can be monitored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.callbacks.trainer import logging_step
from lwcallbacks.lightning import LightningModule, Trainer


class NumberCallback(StateCallback):
    """A `StateCallback` that gives numbers to the Trainer.

    A key that the module or another callback logs, too, stays theirs, and ours is renamed: see `LoggedKeys`.
    """

    own_key = "name='mine'"
    """The argument that gives it keys of its own, for a message."""
    prog_bar = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._had: set[str] = set()

    def begin(self) -> None:
        super().begin()
        self._had = set()

    def _log(self, trainer: Trainer, key: str, value: Tensor, *, on_step: bool = False) -> None:
        """Log the value of a step, or of an epoch: then it is what stays where a later epoch has none."""
        self._give(trainer, key, value, on_step)
        if not on_step:
            self._had.add(key)

    def _give(self, trainer: Trainer, key: str, value: Tensor, on_step: bool) -> None:
        hub, owner = Hub.of(trainer), (type(self).__name__, self.own_key)
        number = value.to(torch.float32)
        renamed = hub.keys.log(trainer, key, number, on_step=on_step, prog_bar=self.prog_bar, owner=owner)
        if renamed is not None:
            hub.outlet.say(str(renamed))

    def _log_numbers(self, trainer: Trainer, numbers: Mapping[str, float]) -> None:
        """Log an epoch's numbers by key; of one that is NaN, which is not defined, nothing is logged."""
        for key, number in numbers.items():
            if math.isnan(number):
                self._log_nothing(trainer, [key])
            else:
                self._log(trainer, key, torch.tensor(number))

    def _log_nothing(self, trainer: Trainer, keys: Iterable[str]) -> None:
        """Keep the last value for whoever monitors it; without one, NaN, so that the key is there."""
        for key in sorted(set(keys) - self._had - trainer.callback_metrics.keys()):
            Hub.of(trainer).without_value.append((type(self).__name__, key))
            self._give(trainer, key, torch.tensor(float("nan")), on_step=False)

    def _check_keys(self, trainer: Trainer, stage: str) -> None:
        """After the module has logged, too: a key that it took is its own, and our value goes elsewhere."""
        if stage not in self.stages or trainer.sanity_checking:
            return
        hub = Hub.of(trainer)
        hub.tell_without_value()
        lost: dict[str, float] = {}
        for renamed in hub.keys.check(trainer, stage):
            hub.outlet.say(str(renamed))
            lost |= {renamed.new: float(renamed.value)} if renamed.value is not None else {}
        if lost:
            self.publish(trainer, lambda: lost, logging_step(trainer, train_epoch_end=stage == "train"), stage=stage)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_keys(trainer, "train")
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_keys(trainer, "train")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_keys(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_keys(trainer, "test")
