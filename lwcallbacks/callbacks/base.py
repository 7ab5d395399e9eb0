"""What every callback here is made of.

`LoggingCallback` opens the writers and publishes; `StateCallback` adds what is remembered over a stage. A subclass
says what it needs (`remembered`), what is kept (`result`) and which media are published (`entries`); the hooks are all
here.

Each argument of a callback is an attribute of the same name, with the value given as `plain` makes it, so that
`type(callback)(**{name: getattr(callback, name) for name in its signature})` is an equal callback.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import lcm
from typing import Any, Literal
from weakref import WeakKeyDictionary

from torch import Tensor

from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.left import LeftBehind
from lwcallbacks.callbacks.need import STAGES, Need
from lwcallbacks.callbacks.report import CONTENT
from lwcallbacks.callbacks.trainer import logging_step
from lwcallbacks.capture import Source
from lwcallbacks.lightning import Callback, LightningModule, Trainer
from lwcallbacks.media import Entry
from lwcallbacks.writers import Publisher

Entries = Mapping[str, Entry | float]
"""Media and numbers to publish, by key."""

MAX_STATE_KEY = 99

_PUBLISHERS: WeakKeyDictionary[Callback, Publisher] = WeakKeyDictionary()
"""Who writes for a callback; not on the callback, which is pickled and copied."""


def plain(value: Any) -> Any:
    """An argument in built-in types, for callbacks are pickled, copied and compared: sequences as tuples, mappings as
    dicts, at any depth. A configuration file makes lists of tuples, and Hydra gives containers of its own.

    >>> plain({"mean": [0.5, 0.5]})
    {'mean': (0.5, 0.5)}
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(map(plain, value))
    return value


class LoggingCallback(Callback):
    """A callback that publishes entries to every logger and to the run's folder, from process 0.

    Args:
        on_error: what happens when something cannot be drawn or written while training runs: "warn" once and go on,
            or "raise".
    """

    def __init__(self, *, on_error: Literal["warn", "raise"] = "warn") -> None:
        if on_error not in ("warn", "raise"):
            raise ValueError(f"{type(self).__name__}: on_error={on_error!r}, expected 'warn' or 'raise'")
        self.on_error = on_error
        self._results: dict[str, Any] = {}
        self._left = LeftBehind()

    @property
    def results(self) -> dict[str, Any]:
        """The last epoch's value by stage ("train", "val", "test", "predict"), on every process; with several loaders
        by "val/dataloader_idx_0" and so on. They begin anew with the next `fit` or the next Trainer. After a run in
        processes that the Trainer started (`ddp_spawn`, `ddp_notebook`) they are those of process 0."""
        left = self._left.take()
        if left is not None:
            self._results = left
        return self._results

    def begin(self) -> None:
        """A new run: forget the last one's results. Called at `setup` of a fit, and of any first run of a Trainer."""
        self._results = {}

    def needs(self, stage: str) -> Mapping[str, Need]:
        """What is to be remembered of a stage, by a name of the callback's own."""
        return {}

    def label(self, stage: str, name: str) -> str:
        """How one of its needs is called in a message; equal on every process."""
        return self.describe(stage)

    def note(self, text: str) -> None:
        """Say something about what is drawn, once; it may be called in the background."""
        publisher = _PUBLISHERS.get(self)
        if publisher is not None:
            publisher.say(self.describe("val"), text)

    def take_resumed(self, stage: str) -> list[tuple[str, Any]]:
        """What a checkpoint held of a stage that was under way, by the name of the need; given once."""
        return []

    def describe(self, stage: str) -> str:
        """How the callback is called in a message."""
        return type(self).__name__

    def prefixes(self, stage: str) -> set[str]:
        """What its keys begin with in a stage. No other callback's may: the one would overwrite the other."""
        return set()

    def publish(
        self,
        trainer: Trainer,
        render: Callable[[], Entries],
        step: int,
        after: Callable[[], object] | None = None,
        stage: str = "train",
    ) -> None:
        """Draw and write in the background, then call `after`; nothing happens on other processes than 0."""
        publisher = Hub.of(trainer).publisher
        if publisher is not None:
            _PUBLISHERS[self] = publisher
            publisher.publish(render, step, after, owner=self.describe(stage))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        hub = Hub.of(trainer)
        if stage == "fit" or not hub.knows(self):
            self.begin()
            self._leave(trainer)
        hub.attach(self, trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        Hub.of(trainer).detach(self, trainer)
        self._leave(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        Hub.of(trainer).detach(self, trainer, exception)
        self._leave(trainer)

    def _leave(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            with Hub.of(trainer).attempt(self.describe("train"), "could not leave its results to the caller"):
                self._left.leave(self._results)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("train", "val")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("predict")


class StateCallback(LoggingCallback):
    """A callback whose entries are made from all samples of an epoch.

    Args:
        name: the last part of its keys, as in "val/name".
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; `results` are there after each.
        on_error: as for `LoggingCallback`.
    """

    takes_parts = False
    """Whether `result` and `entries` can do without what could not be worked out."""

    def __init__(
        self,
        *,
        name: str,
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        for method in ("remembered", "result", "entries"):
            if getattr(getattr(type(self), method), "__isabstractmethod__", False):
                raise TypeError(
                    f"{type(self).__name__} has no method {method}, expected one: see docs/write-your-own.md"
                )
        unknown = [stage for stage in stages if stage not in STAGES]
        if unknown or isinstance(stages, str) or not stages:
            raise ValueError(f"{type(self).__name__}: stages={stages!r}, expected some of {STAGES}, as in ('val',)")
        if not isinstance(every_n_epochs, int) or every_n_epochs < 1:
            raise ValueError(f"{type(self).__name__}: every_n_epochs={every_n_epochs!r}, expected an int of at least 1")
        self.name = name
        self.stages = plain(stages)
        self.every_n_epochs = every_n_epochs
        self._resumed: dict[str, Any] = {}

    @property
    def source(self) -> Source:
        """Where fields are: what `inputs`, `preds`, `targets`, `ids`, `forward` say, those of them that it takes."""
        names = [field.name for field in fields(Source) if field.name != "more"]
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

    def needs(self, stage: str) -> Mapping[str, Need]:
        return self.remembered(stage) if stage in self.stages else {}

    def describe(self, stage: str) -> str:
        return f"{type(self).__name__}('{stage}/{self.name}')"

    def prefixes(self, stage: str) -> set[str]:
        return {f"{stage}/{self.name}"} if stage in self.stages else set()

    def begin(self) -> None:
        super().begin()
        self._resumed = {}

    @property
    def state_key(self) -> str:
        return short_key(self._generate_state_key(name=self.name, stages=self.stages))

    def state_dict(self) -> dict[str, Any]:
        """The training epoch under way, if any: plain tensors and numbers, merged over all processes."""
        hub = Hub.holding(self)
        if hub is None:
            return {}
        under_way, labels = hub.under_way(), hub.labels("train", self)
        ways = [(name + way, label + way) for name, label in labels.items() for way in ("", CONTENT)]
        return {name: under_way[label] for name, label in ways if label in under_way}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = dict(state_dict)

    def take_resumed(self, stage: str) -> list[tuple[str, Any]]:
        resumed, self._resumed = self._resumed, {}
        return list(resumed.items()) if stage in self.stages else []

    def _epoch_start(self, stage: str, trainer: Trainer) -> None:
        if stage in self.stages:
            Hub.of(trainer).epoch_start(stage, trainer)

    def _batch_start(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if stage in self.stages:
            Hub.of(trainer).batch_start(stage, pl_module)

    def _batch_end(self, stage: str, trainer: Trainer, outputs: Any, batch: Any, batch_idx: int, loader: int) -> None:
        if stage in self.stages:
            Hub.of(trainer).batch_end(stage, trainer, outputs, batch, batch_idx, loader)

    def _epoch_end(self, stage: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if stage not in self.stages or trainer.sanity_checking:
            return
        hub = Hub.of(trainer)
        if stage == "train":
            # A progress bar asks for these on process 0 alone, and what a user logs with sync_dist is then synced
            # inside the question. Asked on every process first, the order of collectives is the same everywhere.
            _ = trainer.callback_metrics
        labels, ended = hub.labels(stage, self), hub.epoch_end(stage)
        for place, suffix in ended.names.items():
            by_label, rows = ended.values.get(place, {}), ended.rows.get(place, {})
            values = {name: by_label[label] for name, label in labels.items() if label in by_label}
            read = {name for name, label in labels.items() if rows.get(label)}
            self._results.pop(stage + suffix, None)
            if values and (self.takes_parts or len(values) == len(labels)):
                with hub.attempt(self.describe(stage), f"could not work out its results of {stage}{suffix}"):
                    self._results[stage + suffix] = self.result(values)
                    self._publish_epoch(stage, suffix, trainer, values)
            with hub.attempt(self.describe(stage), f"could not log its numbers of {stage}{suffix}"):
                self.log_result(pl_module, stage, suffix, read)

    def _publish_epoch(self, stage: str, suffix: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        if trainer.state.fn == "fit" and (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        step = logging_step(trainer, train_epoch_end=stage == "train")
        self.publish(trainer, self._render(f"{stage}/{self.name}", suffix, values), step, stage=stage)

    def _render(self, key: str, suffix: str, values: Mapping[str, Any]) -> Callable[[], Entries]:
        return lambda: {k + suffix: entry for k, entry in self.entries(key, values).items()}

    def log_result(self, pl_module: LightningModule, stage: str, suffix: str, read: set[str]) -> None:
        """Give `results` to the Trainer as scalars, where that is what the callback is for.

        `read` has the names of the needs that some batch of the epoch was read for.
        """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        validates = getattr(trainer, "check_val_every_n_epoch", None) or 1
        both = lcm(self.every_n_epochs, validates)
        if "val" in self.stages and "train" not in self.stages and both > max(self.every_n_epochs, validates):
            both_told = f"every_n_epochs={self.every_n_epochs} and the Trainer's check_val_every_n_epoch={validates}"
            Hub.of(trainer).say(
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
        self._epoch_end("train", trainer, pl_module)

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
        self._epoch_end("val", trainer, pl_module)

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
        self._epoch_end("test", trainer, pl_module)

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
        self._epoch_end("predict", trainer, pl_module)


def short_key(key: str) -> str:
    """A key of a callback's state below 100 characters, which some places that keep checkpoints want.

    >>> len(short_key("ScalarMetrics" + "x" * 200))
    99
    """
    if len(key) <= MAX_STATE_KEY:
        return key
    checksum = f"-{zlib.crc32(key.encode()):08x}"
    return key[: MAX_STATE_KEY - len(checksum)] + checksum
