"""What every callback here is made of: `LoggingCallback` opens the writers and publishes. `StateCallback` is beside it.

Each argument of a callback is an attribute of the same name, with the value given as `plain` makes it, so that
`type(callback)(**{name: getattr(callback, name) for name in its signature})` is an equal callback.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any, Literal
from weakref import WeakKeyDictionary

from lwcallbacks.callbacks.cost import Cost
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.left import LeftBehind
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.size import size_of
from lwcallbacks.capture.messages import filled
from lwcallbacks.lightning import Callback, LightningModule, Trainer
from lwcallbacks.media import Entry
from lwcallbacks.sharing import Page
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


def check_overhead(owner: str, max_overhead: Any) -> float | None:
    """The share as it is, if it is one.

    Raises:
        ValueError: neither None nor a number above 0 and below 1.
    """
    is_number = isinstance(max_overhead, int | float) and not isinstance(max_overhead, bool)
    if max_overhead is not None and not (is_number and 0 < max_overhead < 1):
        raise ValueError(
            f"{owner}: max_overhead={max_overhead!r}, expected a share between 0 and 1, as 0.02 for 2 %, or None"
        )
    return None if max_overhead is None else float(max_overhead)


def check_ignore_index(owner: str, ignore_index: Any) -> int | None:
    """The label as it is, if it can be one.

    Raises:
        ValueError: neither None nor an int.
    """
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
        raise ValueError(f"{owner}: ignore_index={ignore_index!r}, expected an int, as 255, or None")
    return ignore_index


def short_key(key: str) -> str:
    """A key of a callback's state below 100 characters, which some places that keep checkpoints want.

    >>> len(short_key("ScalarMetrics" + "x" * 200))
    99
    """
    if len(key) <= MAX_STATE_KEY:
        return key
    checksum = f"-{zlib.crc32(key.encode()):08x}"
    return key[: MAX_STATE_KEY - len(checksum)] + checksum


class LoggingCallback(Callback):
    """A callback that publishes entries to every logger and to the run's folder, from process 0.

    Args:
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    >>> class Weights(LoggingCallback):
    ...     def on_train_end(self, trainer, pl_module):
    ...         total = sum(p.numel() for p in pl_module.parameters())
    ...         self.publish(trainer, lambda: {"weights/total": float(total)}, trainer.global_step)
    >>> Weights(on_error="ignore")
    Traceback (most recent call last):
    ValueError: Weights: on_error='ignore', expected 'warn' or 'raise'
    """

    max_overhead: float | None = None
    """The share of the run from which on what can be left out waits: see `can_wait`."""

    def __init__(self, *, on_error: Literal["warn", "raise"] = "warn") -> None:
        if on_error not in ("warn", "raise"):
            raise ValueError(f"{type(self).__name__}: on_error={on_error!r}, expected 'warn' or 'raise'")
        self.on_error = on_error
        self._results: dict[str, Any] = {}
        self._cost = Cost()
        self._page: str | None = None
        self._has_drawn = False
        self._left = LeftBehind()
        self._codes: dict[str, str] = {}
        """Where the fields of the last epoch were, as `batch[1]`, for what is said about what is drawn."""

    def __getstate__(self) -> dict[str, Any]:
        self._take_left()
        # Lightning 1 sets `log` and `log_dict` to methods of the module, which it holds weakly: it may be gone.
        lent = {name for name in ("log", "log_dict") if isinstance(vars(self).get(name), MethodType)}
        return {name: value for name, value in vars(self).items() if name not in lent}

    @property
    def results(self) -> dict[str, Any]:
        """The last epoch's value by stage ("train", "val", "test", "predict"), on every process; with several loaders
        by "val/dataloader_idx_0" and so on. They begin again with the next `fit` or the next Trainer. After a run in
        processes that the Trainer started (`ddp_spawn`, `ddp_notebook`) they are those of process 0."""
        self._take_left()
        return self._results

    @property
    def cost(self) -> Cost:
        """What the callback has cost on this process, see `Cost`: in the run under way, else in the last fit, or, where
        there was none, in the last other run."""
        self._take_left()
        hub = Hub.holding(self)
        return self._cost if hub is None else hub.meter.cost(self)

    def _take_left(self) -> None:
        left = self._left.take()
        if left is not None:
            self._results, self._cost, self._page = left["results"], left["cost"], left["page"]

    def page_directory(self) -> str | None:
        """The folder of the page of the run that the callback takes part in, or of the last one; None without one."""
        self._take_left()
        hub = Hub.holding(self)
        return self._page if hub is None else hub.outlet.page_directory()

    def _repr_html_(self) -> str | None:
        """In a notebook, the page of the run; the callback itself where there is none."""
        directory = self.page_directory()
        return None if directory is None else Page(directory)._repr_html_()

    def begin(self) -> None:
        """A new run: forget the last one's results. Called at `setup` of a fit, and of any first run of a Trainer."""
        self._take_left()
        self._results = {}
        self._has_drawn = False

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
            publisher.say(self.describe("val"), filled(text, self._codes))

    def note_of_images(self, text: str) -> None:
        """The same of values of images, once for all callbacks that draw them: what helps one helps the others."""
        publisher = _PUBLISHERS.get(self)
        if publisher is not None:
            publisher.say(self.describe("val"), filled(text, self._codes), for_all=True)

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
        holds: Any = None,
    ) -> None:
        """Draw and write in the background, then call `after`; nothing happens on other processes than 0.

        Args:
            holds: the tensors and arrays that `render` holds, in any containers. What waits in the background may hold
                256 MiB together; then this waits.
        """
        publisher = Hub.of(trainer).outlet.publisher
        if publisher is not None:
            _PUBLISHERS[self] = publisher
            meter = Hub.of(trainer).meter
            with meter.of(self):
                publisher.publish(
                    render,
                    step,
                    after,
                    owner=self.describe(stage),
                    size=size_of(holds),
                    spent=partial(meter.in_background, self),
                )

    def can_wait(self, trainer: Trainer) -> bool:
        """Whether to leave out this time what the callback draws, and say so once for all callbacks.

        The callbacks of the Trainer have cost more than `max_overhead` of the run so far, all of them together. Time
        brings the share down again, so drawings come less often. The first of a run is never left out.
        """
        hub = Hub.of(trainer)
        share = hub.meter.total().share
        is_first, self._has_drawn = not self._has_drawn, True
        if is_first or self.max_overhead is None or share <= self.max_overhead:
            return False
        found = f"the callbacks cost {share:.1%} of the run so far, and max_overhead={self.max_overhead} is allowed"
        hub.outlet.say(f"{found}: pictures and histograms come less often from now on")
        return True

    def is_over(self, trainer: Trainer) -> bool:
        """What `can_wait` would say now, without saying it to anybody."""
        share = self.max_overhead
        return share is not None and self._has_drawn and Hub.of(trainer).meter.total().share > share

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

    def booked(self, trainer: Trainer, cost: Cost) -> None:
        """The run is over and everything is written: this is what it has cost."""
        if trainer.state.fn == "fit" or not self._cost.run_seconds:
            self._cost = cost
        self._page = Hub.of(trainer).outlet.page_directory()
        self._leave(trainer)

    def _leave(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not leave its results to the caller"):
                self._left.leave({"results": self._results, "cost": self._cost, "page": self._page})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("train", "val")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("test")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Hub.of(trainer).expect_everyone("predict")
