"""`StateCallback`: a callback that remembers something of all samples of a stage. All its hooks are here.

A subclass says what it needs (`remembered`), what is kept (`result`) and which media are published (`entries`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from math import lcm
from typing import Any, Literal

from torch import Tensor

from lwcallbacks.callbacks.apart import is_whole, set_apart
from lwcallbacks.callbacks.base import Entries, LoggingCallback, plain, short_key
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.keys import checked_name
from lwcallbacks.callbacks.need import STAGES, Need
from lwcallbacks.callbacks.report import CONTENT, EPOCH
from lwcallbacks.callbacks.trainer import logging_step
from lwcallbacks.capture import Source
from lwcallbacks.capture.messages import filled
from lwcallbacks.lightning import LightningModule, Trainer

_TO_WRITE = {
    "remembered": "def remembered(self, stage)",
    "result": "def result(self, values)",
    "entries": "def entries(self, key, values)",
}
"""The methods that a subclass of `StateCallback` has to have."""


class StateCallback(LoggingCallback):
    """A callback whose entries are made from all samples of an epoch.

    Args:
        name: the last part of the keys. Two of a class in one Trainer need two names.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        on_error: as for `LoggingCallback`.

    >>> from lwcallbacks.reductions import ExactMean
    >>> class MeanLoss(StateCallback):
    ...     def __init__(self):
    ...         super().__init__(name="mean_loss", stages=("train", "val"))
    ...     def remembered(self, stage):
    ...         return {"loss": Need(ExactMean(), ("loss",), self.source)}
    ...     def result(self, values):
    ...         return values["loss"]
    ...     def entries(self, key, values):
    ...         return {key: values["loss"]}
    >>> MeanLoss().describe("val"), MeanLoss().entries("val/mean_loss", {"loss": 0.5})
    ("MeanLoss('val/mean_loss')", {'val/mean_loss': 0.5})
    """

    takes_parts = False
    """Whether `result` and `entries` can do without what could not be worked out."""
    can_miss: frozenset[str] = frozenset()
    """Names of `remembered` that `result` and `entries` can do without; the callback itself has to have the others."""

    def __init__(
        self,
        *,
        name: str,
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        for method, signature in _TO_WRITE.items():
            if getattr(getattr(type(self), method), "__isabstractmethod__", False):
                told = f"{type(self).__name__} has no method {method}, expected one"
                raise TypeError(f"{told}: write {signature}, as in docs/write-your-own.md")
        unknown = [stage for stage in stages if stage not in STAGES]
        if unknown or isinstance(stages, str) or not stages:
            expected = f"expected some of {STAGES}, as in stages=('val',)"
            raise ValueError(f"{type(self).__name__}: stages={stages!r}, {expected}")
        if not isinstance(every_n_epochs, int) or every_n_epochs < 1:
            raise ValueError(f"{type(self).__name__}: every_n_epochs={every_n_epochs!r}, expected an int of at least 1")
        self.name = checked_name(type(self).__name__, name)
        self.stages = plain(stages)
        self.every_n_epochs = every_n_epochs
        self._resumed: dict[str, Any] = {}

    @property
    def source(self) -> Source:
        """Where fields are: what `inputs`, `preds`, `targets`, `ids`, `forward` say, those of them that it takes."""
        names = [field.name for field in fields(Source) if field.name not in ("more", "forms")]
        places: dict[str, Any] = {name: getattr(self, name, None) for name in names}
        return Source(**places)

    @abstractmethod
    def remembered(self, stage: str) -> Mapping[str, Need]:
        """What is remembered of one of its stages, by a name of its own."""

    @abstractmethod
    def result(self, values: Mapping[str, Any]) -> Any:
        """What goes into `results`, from the values by the names of `remembered`."""

    @abstractmethod
    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        """Media to publish, by key; `key` is "stage/name". Runs in the background, on process 0 only."""

    def of_epoch(self, place: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `entries` is given beside the values. Called once an epoch, after `result`, also where none is drawn.

        Args:
            place: the stage and what is appended to its keys, as "val" or "val/dataloader_idx_1".
            values: as for `result`.
        """
        return {}

    @property
    def is_made(self) -> bool:
        """Whether `made` gives values at the end of an epoch, beside what is remembered or instead of it."""
        return False

    def made(self, module: LightningModule) -> Mapping[str, Any]:
        """Values that are made of the module after an epoch that is published, for `result` and `entries`.

        Called on process 0 only, so it must not wait for others; in eval mode, without gradients, with a random state
        of its own.
        """
        return {}

    def needs(self, stage: str) -> Mapping[str, Need]:
        return self.remembered(stage) if stage in self.stages else {}

    def describe(self, stage: str) -> str:
        return f"{type(self).__name__}('{stage}/{self.name}')"

    def prefixes(self, stage: str) -> set[str]:
        return {f"{stage}/{self.name}"} if stage in self.stages else set()

    def begin(self) -> None:
        super().begin()
        self._resumed = {}

    @cached_property  # Lightning asks at every hook
    def state_key(self) -> str:
        return short_key(self._generate_state_key(name=self.name, stages=self.stages))

    def state_dict(self) -> dict[str, Any]:
        """The training epoch under way, if any: plain tensors and numbers, merged over processes; and its number."""
        hub = Hub.holding(self)
        if hub is None:
            return {}
        under_way, labels = hub.under_way(), hub.labels("train", self)
        ways = [(name + way, label + way) for name, label in labels.items() for way in ("", CONTENT)]
        saved = {name: under_way[label] for name, label in ways if label in under_way}
        return {**saved, EPOCH: hub.epoch_number} if saved else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = dict(state_dict)

    def take_resumed(self, stage: str) -> list[tuple[str, Any]]:
        resumed, self._resumed = self._resumed, {}
        return list(resumed.items()) if stage in self.stages else []

    def _epoch_start(self, stage: str, trainer: Trainer) -> None:
        if stage in self.stages:
            hub = Hub.of(trainer)
            with hub.meter.of(None):
                hub.epoch_start(stage, trainer)

    def _batch_start(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if stage in self.stages:
            Hub.of(trainer).batch_start(stage, pl_module)

    def _batch_end(self, stage: str, trainer: Trainer, outputs: Any, batch: Any, batch_idx: int, loader: int) -> None:
        if stage in self.stages:
            Hub.of(trainer).batch_end(stage, trainer, outputs, batch, batch_idx, loader)

    def _epoch_end(self, stage: str, trainer: Trainer) -> None:
        if stage not in self.stages or trainer.sanity_checking:
            return
        hub = Hub.of(trainer)
        with hub.meter.of(self):
            self._end_epoch(hub, stage, trainer)

    def _end_epoch(self, hub: Hub, stage: str, trainer: Trainer) -> None:
        if stage == "train":
            # A progress bar asks for these on process 0 alone, and what a user logs with sync_dist is then synced
            # inside the question. Asked on every process first, the order of collectives is the same everywhere.
            _ = trainer.callback_metrics
        labels, ended = hub.labels(stage, self), hub.epoch_end(stage)
        self._codes = {name: code for label in labels.values() for name, code in ended.codes.get(label, {}).items()}
        for place, suffix in ended.names.items():
            by_label, rows = ended.values.get(place, {}), ended.rows.get(place, {})
            # Of no rows a metric computes what it started with, which is no number of this epoch.
            nothing = {label for label in by_label if self.takes_parts and not rows.get(label)}
            values = {n: by_label[label] for n, label in labels.items() if label in by_label.keys() - nothing}
            read = {name for name, label in labels.items() if rows.get(label)}
            self._results.pop(stage + suffix, None)
            if labels and (self.takes_parts or labels.keys() - values.keys() <= self.can_miss):
                with hub.outlet.attempt(self.describe(stage), f"could not work out its results of {stage}{suffix}"):
                    self._results[stage + suffix] = self.result(values)
                    beside = self.of_epoch(stage + suffix, values)
                    if values.keys() <= read:  # where no batch could be read, that is what was said
                        self._publish_epoch(stage, suffix, trainer, {**values, **beside})
            with hub.outlet.attempt(self.describe(stage), f"could not log its numbers of {stage}{suffix}"):
                self.log_result(trainer, stage, suffix, read)

        if self.is_made:
            with hub.outlet.attempt(self.describe(stage), f"could not make its pictures of {stage}"):
                self._make(stage, trainer)

    def _make(self, stage: str, trainer: Trainer) -> None:
        self._results.pop(stage, None)
        module = trainer.lightning_module
        if not is_whole(module):
            told = "the module's parameters are sharded, expected a whole module on process 0: nothing is made of it"
            Hub.of(trainer).outlet.say(
                f"{self.describe(stage)}: {told}. Use a strategy such as ddp, or call it in your module"
            )
        elif trainer.is_global_zero and self._is_due(trainer):
            seed = getattr(self, "seed", None) or 0
            with set_apart(module, seed), trainer.precision_plugin.val_step_context():
                values = self.made(module)
            self._results[stage] = self.result(values)
            self._publish_values(stage, "", trainer, values)

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether this epoch is one that is published."""
        if trainer.state.fn == "fit" and (trainer.current_epoch + 1) % self.every_n_epochs:
            return False
        return self.max_overhead is None or not self.can_wait(trainer)

    def _publish_epoch(self, stage: str, suffix: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        if self._is_due(trainer):
            self._publish_values(stage, suffix, trainer, values)

    def _publish_values(self, stage: str, suffix: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        step = logging_step(trainer, train_epoch_end=stage == "train")
        render = self._render(f"{stage}/{self.name}", suffix, values)
        self.publish(trainer, render, step, stage=stage, holds=values)

    def _render(self, key: str, suffix: str, values: Mapping[str, Any]) -> Callable[[], Entries]:
        codes = self._codes

        def render() -> Entries:
            try:
                return {k + suffix: entry for k, entry in self.entries(key, values).items()}
            except ValueError as error:
                error.args = tuple(filled(arg, codes) if isinstance(arg, str) else arg for arg in error.args)
                raise

        return render

    def log_result(self, trainer: Trainer, stage: str, suffix: str, read: set[str]) -> None:
        """Give `results` to the Trainer as scalars, where that is what the callback is for.

        `read` has the names of the needs that some batch of the epoch was read for.
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if fault := self.source.fault():
            raise ValueError(f"{type(self).__name__}: {fault}")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        validates = getattr(trainer, "check_val_every_n_epoch", None) or 1
        both = lcm(self.every_n_epochs, validates)
        if "val" in self.stages and "train" not in self.stages and both > max(self.every_n_epochs, validates):
            both_told = f"every_n_epochs={self.every_n_epochs} and the Trainer's check_val_every_n_epoch={validates}"
            Hub.of(trainer).outlet.say(
                f"{self.describe('val')}: {both_told} meet at every {both}th epoch only, where something is published. "
                f"Take every_n_epochs={validates} or a multiple of it"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not at the epoch's start: Lightning leaves that out when it resumes in the middle of one.
        if "train" in self.stages:
            Hub.of(trainer).resume(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start("train", trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._batch_start("train", trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batch_end("train", trainer, outputs, batch, batch_idx, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_end("train", trainer)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start("val", trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch_start("val", trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batch_end("val", trainer, outputs, batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_end("val", trainer)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start("test", trainer)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch_start("test", trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batch_end("test", trainer, outputs, batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_end("test", trainer)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start("predict", trainer)

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._batch_start("predict", trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # What the step returns is what it predicts, whatever self(x) gave before.
        preds = {"preds": outputs} if isinstance(outputs, Tensor) else outputs
        self._batch_end("predict", trainer, preds, batch, batch_idx, dataloader_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule, *outputs: Any) -> None:
        # Lightning 1 gives all outputs, too.
        self._epoch_end("predict", trainer)
