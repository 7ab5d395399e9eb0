"""What stands before all callbacks of a Trainer while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lwcallbacks.lightning import Callback, LightningModule, Trainer


class Guard(Callback):
    """Tells when a run begins to train, validate, test or predict, and when it ends, before any other callback hears.

    So a callback that raises in `on_exception` leaves nothing on the module or the loggers.
    """

    def __init__(self, begin: Callable[[Trainer, LightningModule], object], stop: Callable[[], object]) -> None:
        self._begin = begin
        self._stop = stop

    def __reduce__(self) -> Any:
        return Guard, (_nothing, _nothing)  # a copy has nothing to do with this run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":  # a fit begins after the sanity check
            self._begin(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()


def _nothing(*given: Any) -> None:
    return None
