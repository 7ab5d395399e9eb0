"""GradientHistogram: the gradient that the optimizer used, and what it changed, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from math import inf
from typing import Any, Literal

from torch.optim import Optimizer

from lwcallbacks.callbacks.base import Entries, LoggingCallback, check_overhead, plain
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.over_steps import OverSteps
from lwcallbacks.callbacks.reading import Reader, Step, parameters_of
from lwcallbacks.callbacks.steps import Stepping, Steps
from lwcallbacks.callbacks.trainer import (
    clips_gradients,
    has,
    in_float16,
    logging_step,
    loss_of,
    refuse_hidden_gradients,
    true_loss,
)
from lwcallbacks.gradients.layers import COLUMNS, Layers, quotient
from lwcallbacks.gradients.names import Chosen, names_of
from lwcallbacks.gradients.read import Column
from lwcallbacks.lightning import LightningModule, Trainer, log_info
from lwcallbacks.media import Histogram, Table
from lwcallbacks.reductions import LogHistogram

MANY = 1000
"""Parameters up to which histograms are drawn unless asked otherwise."""

_FINE, _COARSE = LogHistogram(), LogHistogram(mantissa_bits=0)
_OWN = {
    "total", "before_clipping", "layers", "clip_coefficient", "skipped_steps", "diagnosis", "norm_by_step",
    "update_ratio_by_step", "loss_spike", "loss_spikes",
}  # fmt: skip
"""Last parts of keys that are no layer's; a layer of such a name is called `total.parameter`, and so on."""


class GradientHistogram(LoggingCallback):
    """Log norms, update ratios and histograms of every layer's gradient, every n optimizer steps.

    Read behind the optimizer's own step, so it is the gradient that was used: reduced over processes, accumulated,
    unscaled and clipped; of LBFGS that of its last closure. A step that a gradient scaler skips is counted as skipped;
    a step without any gradient, as after a ``training_step`` that returned None, logs nothing. At other steps there is
    a count and no more. Nothing stays on the model or the optimizer.

    Under DDP gradients are equal on all processes, and none talks to another. Of FSDP2 and of tensor parallelism each
    process counts its own shards, and one sum over all processes makes them those of the whole gradient. A norm of
    float16, bfloat16 or float32 is added up in float32, scaled so that it neither overflows nor vanishes.

    The update ratio is the norm of what the step changed of a parameter by its norm before. Of more than 8,192
    elements (of a shard, if it has shards) it is estimated from 4,096 or more that are spread over all of them: with
    a relative error of about 1 % where changes are normally distributed, and of about ``0.9 / sqrt(f * 4096)`` where
    only a share f of the elements changes, as of an embedding.

    ``results["train"]`` holds a `LogBins` by layer, of the epoch's last logged step of each optimizer. Of all logged
    steps so far, on each process, ``results["diagnosis"]`` lists what ``{name}/diagnosis`` shows, the worst layer
    first, each with `layer`, `illness`, `since`, `how_much` and `severity`; a healthy network has none. The rules, with
    their thresholds and sources, are in ``lwcallbacks/gradients/diagnosis.py``. ``results["loss_spikes"]`` lists losses
    of this process that stood out from the 128 before: `step`, `loss`, `usual` and `score`, a modified z-score above 10
    (Iglewicz and Hoaglin, 1993). All of it goes on after a resume.

    Args:
        every_n_train_steps: steps of an optimizer from one logged step to the next; the n-th step is the first. With
            several optimizers each counts its own steps.
        bins: bins of equal width in a histogram, 1 to 512.
        histograms: whether to draw them; None draws them of up to 1,000 parameters. Without them counts in `results`
            are by powers of two.
        update_ratio: whether to work it out, for which a copy of the parameters, or of the elements that stand for
            them, is kept during a logged step.
        include: patterns as of a shell, ``"encoder.*"``, or several: the parameters to read. None reads all.
        exclude: patterns of parameters to leave out.
        depth: how many parts of a name make a layer: with 2, ``encoder.0.weight`` and ``encoder.0.bias`` are
            ``encoder.0``. None makes each parameter a layer.
        name: what the keys begin with.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; at `setup`, under FSDP1 and DeepSpeed; when training starts, a
            pattern that fits no parameter.
        TypeError: when training starts, an optimizer is no ``torch.optim.Optimizer`` and has no hooks.

    ================================== =======================================================
    Key                                Logged data
    ================================== =======================================================
    ``{name}/{layer}``                 histogram of the gradient's elements
    ``{name}/norm/{layer}``            its 2-norm
    ``{name}/norm/total``              2-norm over all layers of the optimizer
    ``{name}/norm/before_clipping``    the same before Lightning clips, in automatic optimization with clipping
    ``{name}/clip_coefficient``        total norm by that before clipping, where there is one
    ``{name}/update_ratio/{layer}``    norm of what the step changed by norm of the parameter before, unless that is 0
    ``{name}/update_ratio/total``      the same over all layers
    ``{name}/layers``                  table of all layers: elements, norm, update ratio, largest absolute value, shares
                                       of zeros and of what is too small for float16 (below 2**-25) and bfloat16 (below
                                       2**-126, its smallest normal number), number of NaN and of infinities
    ``{name}/diagnosis``               at the end of an epoch and of fit, table of at most ten layers that look ill:
                                       what, since which step, and how much, in words
    ``{name}/norm_by_step``            at the same time, picture of each layer's norm over all logged steps, by powers
                                       of ten; more than 64 layers or 256 steps are put together
    ``{name}/update_ratio_by_step``    the same of update ratios
    ================================== =======================================================

    Once a gradient scaler has skipped a step, ``{name}/skipped_steps`` says how many so far. Where a loss stands out,
    ``{name}/loss_spike`` is its score, at the logged step behind it, and ``{name}/loss_spikes`` a table of all. A layer
    is named as its parameter; one that is called as a key above, as "total", gets ".parameter" behind its name.

    With several optimizers, the keys of what is no layer's own end with the optimizer's name as `LearningRateMonitor`
    has it, as ``gradients/norm/total/Adam-1``; so do those of a layer that several optimizers have a part of.

    >>> GradientHistogram(every_n_train_steps=100, exclude="*.bias").exclude
    '*.bias'
    >>> GradientHistogram(bins=1000)
    Traceback (most recent call last):
    ValueError: GradientHistogram: bins=1000, expected an int of 1 to 512
    """

    def __init__(
        self,
        every_n_train_steps: int = 50,
        *,
        bins: int = 64,
        histograms: bool | None = None,
        update_ratio: bool = True,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        depth: int | None = None,
        name: str = "gradients",
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        _check("every_n_train_steps", every_n_train_steps, _is_int(every_n_train_steps, 1), "an int of at least 1")
        _check("bins", bins, _is_int(bins, 1, 512), "an int of 1 to 512")
        _check("histograms", histograms, histograms in (None, True, False), "True, False or None")
        _check("update_ratio", update_ratio, update_ratio in (True, False), "True or False")
        _check("depth", depth, depth is None or _is_int(depth, 1), "an int of at least 1, or None")
        for argument, given in (("include", include), ("exclude", exclude)):
            fits = all(isinstance(pattern, str) and pattern for pattern in _several(given))
            _check(argument, given, fits, 'a pattern such as "encoder.*", several of them, or None')
        self.every_n_train_steps = every_n_train_steps
        self.bins = bins
        self.histograms = histograms
        self.update_ratio = update_ratio
        self.include = plain(include)
        self.exclude = plain(exclude)
        self.depth = depth
        self.name = name
        self.max_overhead = check_overhead("GradientHistogram", max_overhead)
        self._counts: dict[str, Any] = {}
        self._steps: Steps | None = None
        self._reader: Reader | None = None
        self._last: dict[int, Step] = {}
        self._over: OverSteps | None = None
        self._resumed: dict[str, Any] | None = None
        self._draws = True
        self._said: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Neither hooks nor what waits for a device can be copied.
        kept = dict(self.state_dict())
        own = {"_over": None, "_resumed": kept.pop("over_steps", None), "_counts": kept}
        return {**super().__getstate__(), "_steps": None, "_reader": None, "_last": {}, **own}

    def begin(self) -> None:
        super().begin()
        self._counts, self._last, self._said = {}, {}, set()
        self._over = self._resumed = None

    def describe(self, stage: str) -> str:
        return f"GradientHistogram('{self.name}')"

    # -- a fit -----------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            refuse_hidden_gradients(trainer, self.describe("train"))
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names: list[str] = []
        with Hub.of(trainer).attempt(self.describe("train"), "could not read the gradients"):
            names = list(names_of(pl_module).values())
        self._check_names(names)
        before, behind = partial(self._on_before, trainer), partial(self._on_behind, trainer)
        self._steps = steps = Steps(self.every_n_train_steps, before, behind)
        Hub.of(trainer).at_stop(self._unhook)
        self._watch(trainer)
        steps.go_on(self._counts)
        self._over = OverSteps(by_module=self.depth is None, in_float16=in_float16(trainer, pl_module))
        if self._resumed is not None:
            self._over.load_state_dict(self._resumed)
        columns: list[Column] = ["norms"]
        columns += ["before"] * clips_gradients(trainer, pl_module)
        columns += ["changes", "weights"] * self.update_ratio
        self._reader = Reader(pl_module, steps, self._chosen, self.depth, self._histogram, columns)
        if not pl_module.automatic_optimization and trainer.is_global_zero:
            self._tell("in manual optimization the norm before clipping and the clip coefficient are not available")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch(trainer)  # a callback may have made new optimizers

    def _watch(self, trainer: Trainer) -> None:
        if self._steps is not None:
            try:
                self._steps.watch(trainer.optimizers)
            except TypeError as error:
                raise TypeError(f"{self.describe('train')}: {error}") from None

    def _check_names(self, names: Sequence[str]) -> None:
        inside = next((name for name in names if "_fsdp_wrapped_module" in name), None)
        if inside is not None:
            found = f"found the parameter {inside} of a module that FSDP1 wraps"
            raise ValueError(f"{self.describe('train')}: {found}, expected `fully_shard` (FSDP2) instead of it")
        for argument in ("include", "exclude"):
            for pattern in _several(getattr(self, argument)):
                if names and not any(Chosen((pattern,)).has(name) for name in names):
                    first = ", ".join(names[:3])
                    found = f"{argument} has {pattern!r}, which no parameter fits"
                    raise ValueError(f"{self.describe('train')}: {found}, expected a pattern for names as {first}")
        number = sum(map(self._chosen.has, names))
        self._draws = number <= MANY if self.histograms is None else self.histograms

    @property
    def _histogram(self) -> LogHistogram:
        return _FINE if self._draws else _COARSE

    @property
    def _chosen(self) -> Chosen:
        return Chosen(_several(self.include), _several(self.exclude))

    def _unhook(self) -> None:
        if self._steps is not None:
            self._counts = self._steps.counts()
            self._steps.remove()
        self._steps = self._reader = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._publish_over(trainer)
        self._unhook()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unhook()
        super().on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unhook()
        super().teardown(trainer, pl_module, stage)

    # -- a step ----------------------------------------------------------------------------------------------------

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, optimizer_idx: int = 0
    ) -> None:
        # Lightning 1 gives the optimizer's index, too.
        stepping = None if self._steps is None else self._steps.find(optimizer)
        if stepping is None:
            return
        stepping.is_due = True
        if stepping.is_logged and self._reader is not None:
            hub = Hub.of(trainer)
            with hub.meter.of(self), hub.attempt(self.describe("train"), "could not read the norm before clipping"):
                self._reader.keep_unclipped(stepping)

    def _on_before(self, trainer: Trainer, stepping: Stepping) -> None:
        """Before a logged step."""
        hub = Hub.of(trainer)
        if self._reader is not None and has(trainer, self):
            with hub.meter.of(self), hub.attempt(self.describe("train"), "could not keep the parameters"):
                self._reader.keep_parameters(stepping)

    def _on_behind(self, trainer: Trainer, stepping: Stepping) -> None:
        """Behind a logged step."""
        reader, hub = self._reader, Hub.of(trainer)
        if reader is None or not has(trainer, self):  # in between, one that looks for a learning rate
            return
        waits = self.max_overhead is not None and self.can_wait(trainer)
        if waits and not reader.is_shared:
            return reader.forget(stepping)
        step = None
        with hub.meter.of(self), hub.attempt(self.describe("train"), "could not read the gradients"):
            step = reader.read(stepping)
            cost = hub.meter.of(self).cost
            cost.host_bytes += step.host_bytes
            cost.collectives += step.num_calls
        if step is None or waits:
            return
        if not step.readings:
            return self._tell("a step had no gradient, and nothing is logged of it")
        self._last[stepping.index] = step
        if self._over is not None:
            self._over.add(logging_step(trainer), step)
        several = self._steps is not None and len(self._steps.of) > 1
        self.publish(trainer, partial(self._render, step, several), logging_step(trainer), holds=step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for stepping in self._steps.of if self._steps is not None else ():
            if stepping.is_due:  # it was announced, and a scaler has left it out
                stepping.is_due = False
                stepping.skipped += any(p.grad is not None for p in parameters_of(stepping.optimizer))
                if self._reader is not None:
                    self._reader.forget(stepping)
        loss = loss_of(true_loss(trainer, outputs))
        if self._over is not None and loss is not None:
            with Hub.of(trainer).attempt(self.describe("train"), "could not read the loss"):
                self._over.hear(logging_step(trainer), loss)
        Hub.of(trainer).deliver()  # norms that are worked out by now

    def _render(self, step: Step, several: bool) -> Entries:
        # Here, in the background, the device is waited for.
        layers, skipped = step.layers(), step.num_skipped()
        behind = f"/{step.optimizer}" if several else ""
        entries = {} if layers is None else self._entries(layers.called(map(_own, layers.names)), behind)
        if self._over is not None:
            self._over.settle(step, layers)
            scores = [spike.score for spike in self._over.new_spikes() if spike.score < inf]
            entries |= {f"{self.name}/loss_spike": max(scores)} if scores else {}
        return {**entries, f"{self.name}/skipped_steps{behind}": float(skipped)} if skipped else entries

    def _entries(self, layers: Layers, behind: str) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        if self._draws:
            counts, edges = layers.bins.linear(self.bins)
            for name, of_bins, between, odd in zip(layers.names, counts, edges, layers.bins.beside(), strict=True):
                entries[f"{self.name}/{name}"] = Histogram(of_bins, between, *odd.tolist())
        entries |= {f"{self.name}/norm/{name}": norm for name, norm in zip(layers.names, layers.norms, strict=True)}
        total, before = layers.total("norms"), layers.total("before")
        ratios = dict(zip(layers.names, layers.update_ratios(), strict=True))
        numbers = {
            f"norm/total{behind}": total,
            f"norm/before_clipping{behind}": before,
            f"clip_coefficient{behind}": quotient(total, before),
            **{f"update_ratio/{name}": ratio for name, ratio in ratios.items()},
            f"update_ratio/total{behind}": quotient(layers.total("changes"), layers.total("weights")),
        }
        entries |= {f"{self.name}/{key}": value for key, value in numbers.items() if value is not None}
        return {**entries, f"{self.name}/layers{behind}": Table(COLUMNS, layers.rows())}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._publish_over(trainer, train_epoch_end=True)
        results = self.results
        results.pop("train", None)
        with Hub.of(trainer).attempt(self.describe("train"), "could not work out its results of train"):
            found = [layers for step in self._last.values() if (layers := step.layers()) is not None]
            results["train"] = {name: seen for layers in found for name, seen in layers.seen(self._histogram).items()}

    def _publish_over(self, trainer: Trainer, *, train_epoch_end: bool = False) -> None:
        """What all logged steps say, if there are new ones."""
        over = self._over
        if over is None or not over.is_new:
            return
        over.is_new = False
        with Hub.of(trainer).attempt(self.describe("train"), "could not work out its diagnosis"):
            self.results.update(over.results())
        if self.max_overhead is None or not self.can_wait(trainer):
            step = logging_step(trainer, train_epoch_end=train_epoch_end)
            self.publish(trainer, partial(over.entries, self.name), step, holds=over)

    def _tell(self, message: str) -> None:
        """Once a run, in Lightning's own log: it is nothing to be mended."""
        if message not in self._said:
            self._said.add(message)
            log_info(f"{self.describe('train')}: {message}")

    # -- a checkpoint ------------------------------------------------------------------------------------------------

    @cached_property  # Lightning asks at every hook
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name)

    def prefixes(self, stage: str) -> set[str]:
        return {self.name} if stage == "train" else set()

    def state_dict(self) -> dict[str, Any]:
        counts = self._counts if self._steps is None else self._steps.counts()
        over = self._resumed if self._over is None else self._over.state_dict()
        return {**counts, **({} if over is None else {"over_steps": over})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._counts = dict(state_dict)
        self._resumed = self._counts.pop("over_steps", None)


def _own(name: str) -> str:
    return f"{name}.parameter" if name.partition("/")[0] in _OWN else name


def _several(patterns: str | Sequence[str] | None) -> tuple[Any, ...]:
    if patterns is None:
        return ()
    return (patterns,) if isinstance(patterns, str) or not isinstance(patterns, Sequence) else tuple(patterns)


def _is_int(value: Any, low: int, high: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check(argument: str, found: Any, is_right: bool, expected: str) -> None:
    if not is_right:
        raise ValueError(f"GradientHistogram: {argument}={found!r}, expected {expected}")
