"""GradientHistogram: the gradient that the optimizer used, and what it changed, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Literal

from torch.optim import Optimizer

from lwcallbacks.callbacks.activations import Activations, watch
from lwcallbacks.callbacks.base import Entries, check_overhead, plain
from lwcallbacks.callbacks.gradient_arguments import check_arguments, check_parameters, several
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.logged import Logged, draw
from lwcallbacks.callbacks.logged_fit import LoggedFit
from lwcallbacks.callbacks.over_steps import OverSteps
from lwcallbacks.callbacks.reading import More, Reader
from lwcallbacks.callbacks.steps import Steps, nothing
from lwcallbacks.callbacks.trainer import (
    clips_gradients,
    in_float16,
    logging_step,
    loss_of,
    refuse_hidden_gradients,
    true_loss,
)
from lwcallbacks.callbacks.watching import WatchingCallback
from lwcallbacks.capture.source import Extract
from lwcallbacks.gradients.names import Chosen, layer_of, names_of
from lwcallbacks.gradients.read import Column
from lwcallbacks.lightning import LightningModule, Trainer, is_of_lightning, log_info
from lwcallbacks.reductions import LogHistogram

MANY = 1000
"""Parameters up to which histograms are drawn unless asked otherwise."""

_FINE, _COARSE = LogHistogram(), LogHistogram(mantissa_bits=0)


class GradientHistogram(WatchingCallback):
    """Log norms, update ratios and histograms of every layer's gradient, every n optimizer steps.

    Read behind the optimizer's own step, so it is the gradient that was used: reduced over processes, accumulated,
    unscaled and clipped; of LBFGS that of its last closure; of SGD with ``nesterov=True``, whose step may add the
    momentum to it, that before, to rounding. A step that a gradient scaler skips is counted as skipped;
    a step without any gradient, as after a ``training_step`` that returned None, logs nothing. At other steps there is
    a count and no more. Logged steps of one batch share a number, by which the last of them is kept. Nothing stays on
    the model or the optimizer. Of an optimizer that steps another one of the same parameters, as a wrapper or SAM does,
    the steps of the one inside are read.

    Under DDP gradients are equal on all processes, and none talks to another. Of FSDP2 and of tensor parallelism each
    process counts its own shards, and one sum over all processes makes them those of the whole gradient. A norm of
    float16, bfloat16 or float32 is added up in float32, scaled so that it neither overflows nor vanishes.

    The update ratio is the norm of what the step changed of a parameter by its norm before; in automatic optimization
    that is behind the backward pass, so what `training_step` itself changes is no part of it. Of more than 8,192
    elements (of a shard, if it has shards) it is estimated from 4,096 or more that are spread over all of them: with
    a relative error of about 1 % where changes are normally distributed, and of about ``0.9 / sqrt(f * 4096)`` where
    only a share f of the elements changes, as of an embedding.

    Outputs of modules (``activations=``) are those of all forward calls in the batches that a logged step was made
    of: all that were accumulated, and of LBFGS those of its last closure; what a checkpoint works out again in the
    backward pass does not count. Where optimizers step several times in a batch, all calls of the batch count,
    once. They are of all processes, by one sum at a logged step. Of a nested output it is the first tensor of
    floats. What is inside of a compiled module cannot be seen. Hooks are on modules in such batches and at no other
    time.

    A unit is a channel, or a feature of a linear layer. It is dead if an activation such as `torch.nn.ReLU` gives
    zero for it in all these calls, for all samples and positions. Of a module that is called in several places a
    unit is dead if it is in each. Functions such as ``F.relu`` are no modules. With several processes a module may
    have up to 16,384 units. Where 40 % of a module's units are dead or more, the diagnosis says so.

    ``results["train"]`` holds a `LogBins` by layer, of the epoch's last logged step of each optimizer, and one by
    ``weights/{layer}`` and so on, of what else is counted. Bins are the same in every run: counts can be added.

    Of all logged steps so far, on each process, ``results["diagnosis"]`` lists what ``{name}/diagnosis`` shows, the
    worst layer first, each with `layer`, `illness`, `since`, `how_much` and `severity`; a healthy network has none.
    Layers that do not learn are listed, too: an optimizer has them and they have no gradient, or a step changes
    nothing, or they have a gradient and no optimizer has them; and layers whose steps are 200 times smaller or larger
    than those of the others, or whose weights began far larger. ``results["passed"]`` lists what was found and has
    passed, with the last step in `until`. The rules, with their thresholds and sources, are in
    ``lwcallbacks/gradients/diagnosis.py`` and, of what is compared with other layers, ``unlike.py``.
    ``results["loss_spikes"]`` lists losses of this process that stood out from the 128 before: `step`, `loss`, `usual`
    and `score`, a modified z-score above 10 (Iglewicz and Hoaglin, 1993). All of it goes on after a resume.

    At every step, logged or not, it is seen whether gradients and losses are finite: behind each backward, so
    before gradients are clipped, and without a wait for the device. The first that is not, and that an optimizer
    uses, is named once: layer, step, epoch, batch, process and samples. The layer that comes first in backward is
    taken to be the one that the module lists last. Under DDP a gradient is a sum over processes by then, and only a
    loss says whose it is. What a gradient scaler skips is no illness; with a scaler only losses are looked at.
    ``results["nonfinite"]`` holds what this process knows: "process", "step", "epoch", "batch", "losses", "layers"
    ("NaN" or "Inf" by layer), "num_layers", "samples", "samples_by", "is_used", and "model": what was not finite before
    training began, by name, as where a checkpoint holds NaN.

    With ``on_nonfinite="raise"`` the batch and the state before the step are saved on every process, in
    ``nonfinite/step-N`` of the run's folder, and all end with `NonFiniteError`; `replay` runs the batch again. Only
    then is a device waited for at each step, and processes meet there for a few bytes.

    Args:
        every_n_train_steps: steps of an optimizer from one logged step to the next; the n-th step is the first. With
            several optimizers each counts its own steps.
        bins: bins of equal width in a histogram, 1 to 512.
        histograms: whether to draw them; None draws them of up to 1,000 parameters. Without them counts in `results`
            are by powers of two.
        update_ratio: whether to work it out, for which a copy of the parameters, or of the elements that stand for
            them, is kept during a logged step.
        weights: whether to draw histograms of the optimizer's parameters, frozen ones too, as they are behind the step.
        moments: whether to draw histograms of what the optimizer remembers behind the step: of Adam and its kin exp_avg
            and exp_avg_sq, of SGD and RMSprop momentum_buffer, of RMSprop square_avg.
        updates: whether to draw histograms of what the step changed. Where the update ratio is estimated they are of
            the same elements, each counted as often as it stands for others.
        activations: whose outputs to read in the batches of a logged step: True for every module without others inside,
            but for losses, metrics and those that only reshape; or patterns of names of modules, ``"*.relu"``.
        include: patterns as of a shell, ``"encoder.*"``, or several: the parameters to read. None reads all.
        exclude: patterns of parameters to leave out.
        depth: how many parts of a name make a layer: with 2, ``encoder.0.weight`` and ``encoder.0.bias`` are
            ``encoder.0``. None makes each parameter a layer.
        on_nonfinite: what to do when a gradient, before it is clipped, or a loss is NaN or infinite, at any step:
            "warn" once, "raise", or "ignore", which does not look.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        check_replicas: whether to compare, behind each logged step, the bits of parameters and buffers over processes
            that hold copies of them. Parameters that are sharded are compared where shards are repeated (HSDP). Buffers
            are compared unless DDP sends them to all at each forward (``broadcast_buffers=True``, its default).
        name: what the keys begin with.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; at `setup`, under FSDP1 and DeepSpeed; when training starts, a
            pattern that fits no parameter or no module, or ``activations=`` under tensor parallelism, or
            `check_replicas` where no two processes hold the same.
        NonFiniteError: in a step, with ``on_nonfinite="raise"``.
        TypeError: when training starts, an optimizer is no ``torch.optim.Optimizer`` and has no hooks.

    ===================================== =======================================================
    Key                                   Logged data
    ===================================== =======================================================
    ``{name}/{layer}``                    histogram of the gradient's elements
    ``{name}/norm/{layer}``               its 2-norm
    ``{name}/norm/total``                 2-norm over all layers of the optimizer
    ``{name}/norm/before_clipping``       the same before Lightning clips, in automatic optimization with clipping, and
                                          before the module's own ``on_before_optimizer_step``
    ``{name}/clip_coefficient``           total norm by that before clipping, where there is one
    ``{name}/update_ratio/{layer}``       norm of what the step changed by norm of the parameter before, if not 0
    ``{name}/update_ratio/total``         the same over all layers
    ``{name}/weights/{layer}``            with ``weights=True``: histogram of the parameter's elements behind the step
    ``{name}/updates/{layer}``            with ``updates=True``: of what the step changed
    ``{name}/{moment}/{layer}``           with ``moments=True``: of what the optimizer remembers, as ``exp_avg``
    ``{name}/activations/{module}``       with ``activations=``: histogram of the elements of a module's output
    ``{name}/activation_mean/{module}``   their mean
    ``{name}/activation_max/{module}``    their largest absolute value
    ``{name}/activation_zero/{module}``   share of them that is zero
    ``{name}/dead_units/{module}``        share of its units that are dead
    ``{name}/modules``                    table of these modules, with numbers of calls, elements, NaN, infinities
    ``{name}/layers``                     table of all layers: elements, norm, update ratio, largest absolute value,
                                          shares of zeros and of what is too small for float16 (below 2**-25) and
                                          bfloat16 (below 2**-126, its smallest normal number), number of NaN and of
                                          infinities. At the first logged step, every tenth from there, an epoch's
                                          last, and the last before an error
    ``{name}/diagnosis``                  at the end of an epoch and of fit, also where it ends early, table of at
                                          most ten layers that look ill: what, since which step, and how much, in
                                          words; then of what has passed, and the worst loss that stood out
    ``{name}/norm_by_step``               at the same time, picture of each layer's norm over all logged steps, by
                                          powers of ten; more than 64 layers or 256 steps are put together
    ``{name}/update_ratio_by_step``       the same of update ratios
    ===================================== =======================================================

    Once a gradient scaler has skipped a step, ``{name}/skipped_steps`` says how many so far. Once something was not
    finite, ``{name}/nonfinite`` is a table of what each process knows of the first time, and ``{name}/nonfinite_steps``
    says in how many steps so far. With `check_replicas`, ``{name}/drifted`` is the number of tensors that differ, 0 if
    all are well; once one does, ``{name}/drift`` is a table, and ``results["drift"]`` says the same. Where a loss
    stands out, ``{name}/loss_spike`` is its score, at the logged step behind it, and ``{name}/loss_spikes`` a table of
    all. A layer is named as its parameter; one that is called as a key above, as "total", gets ".parameter" behind its
    name.

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
        weights: bool = False,
        moments: bool = False,
        updates: bool = False,
        activations: bool | str | Sequence[str] = False,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        depth: int | None = None,
        on_nonfinite: Literal["warn", "raise", "ignore"] = "warn",
        ids: Extract | None = None,
        check_replicas: bool = False,
        name: str = "gradients",
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name, on_nonfinite, ids, check_replicas, on_error)
        check_arguments(
            every_n_train_steps=every_n_train_steps, bins=bins, histograms=histograms, update_ratio=update_ratio,
            weights=weights, moments=moments, updates=updates, activations=activations, depth=depth, include=include,
            exclude=exclude,
        )  # fmt: skip
        self.every_n_train_steps = every_n_train_steps
        self.bins = bins
        self.histograms = histograms
        self.update_ratio = update_ratio
        self.weights = weights
        self.moments = moments
        self.updates = updates
        self.activations = plain(activations)
        self.include = plain(include)
        self.exclude = plain(exclude)
        self.depth = depth
        self.max_overhead = check_overhead("GradientHistogram", max_overhead)
        self._counts: dict[str, Any] = {}
        self._fit: LoggedFit | None = None
        self._logged: Logged | None = None
        self._resumed: dict[str, Any] | None = None
        self._draws = True
        self._said: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Neither hooks nor what waits for a device can be copied.
        counts = self.state_dict()
        kept = {
            "_resumed": counts.pop("over_steps", None),
            "_num_nonfinite": counts.pop("nonfinite_steps"),
            "_counts": counts,
        }
        return {**super().__getstate__(), "_fit": None, "_logged": None, **kept}

    def begin(self) -> None:
        super().begin()
        self._counts, self._said, self._logged, self._resumed = {}, set(), None, None
        self._num_nonfinite = 0

    def describe(self, stage: str) -> str:
        return f"GradientHistogram('{self.name}')"

    # -- a fit -----------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            refuse_hidden_gradients(trainer, self.describe("train"))
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        names: list[str] = []
        with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not read the gradients"):
            names = list(names_of(pl_module).values())
        check_parameters(self.describe("train"), pl_module, names, include=self.include, exclude=self.exclude)
        self._draws = sum(map(self._chosen.has, names)) <= MANY if self.histograms is None else self.histograms
        over = OverSteps(by_module=self.depth is None, in_float16=in_float16(trainer, pl_module))
        if self._resumed is not None:
            over.load_state_dict(self._resumed)
        every, num_bins = self.every_n_train_steps, self.bins if self._draws else None
        self._logged = Logged(self.name, every, num_bins, over, self._tell)
        self._fit = LoggedFit(self, trainer, every, self._logged, self._teller(trainer))
        Hub.of(trainer).at_stop(self._unhook)
        self.watch_fit(trainer, pl_module, self._chosen)
        self._fit.watch()
        self._fit.steps.go_on(self._counts)
        reader = self._reader(trainer, pl_module, self._fit.steps)
        self._fit.read_with(reader, self._outputs(trainer, pl_module))
        with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not read the parameters"):
            layers = dict.fromkeys(layer_of(name, self.depth) for name in names if self._chosen.has(name))
            over.start(tuple(layers), reader.weights())
            self.results.update(over.results())
        self._fit.say_what_is_not_chosen()
        if not pl_module.automatic_optimization:
            self._teller(trainer)(
                "in manual optimization the norm before clipping and the clip coefficient are not available"
            )
        elif clips_gradients(trainer, pl_module) and not is_of_lightning(pl_module.on_before_optimizer_step):
            self._teller(trainer)(
                "the norm before clipping is that before the module's own on_before_optimizer_step, which may change "
                "gradients; the clip coefficient is of both"
            )

    def _reader(self, trainer: Trainer, module: LightningModule, steps: Steps) -> Reader:
        columns: list[Column] = ["norms"]
        columns += ["before"] * clips_gradients(trainer, module)
        columns += ["changes", "weights"] * self.update_ratio
        kinds: tuple[More, ...] = ("weights", "moments", "updates")
        more = [kind for kind in kinds if getattr(self, kind)]
        return Reader(module, steps, self._chosen, self.depth, self._histogram, columns, more, Hub.of(trainer).link)

    def _outputs(self, trainer: Trainer, module: LightningModule) -> Activations | None:
        if not self.activations:
            return None
        patterns = () if self.activations is True else several(self.activations)
        how = (self._histogram, self.every_n_train_steps, self.describe("train"), self._teller(trainer))
        return watch(trainer, module, self, patterns, *how)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._fit is not None:
            self._fit.watch()  # a callback may have made new optimizers

    @property
    def _histogram(self) -> LogHistogram:
        return _FINE if self._draws else _COARSE

    @property
    def _chosen(self) -> Chosen:
        return Chosen(several(self.include), several(self.exclude))

    def _unhook(self) -> None:
        if self._fit is not None:
            self._counts = self._fit.close()
        self._fit = None
        self.watch_no_more()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._fit is not None and not getattr(trainer, "fast_dev_run", False):
            self._fit.say_what_is_not_logged()
        self._publish_over(trainer)
        self._unhook()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        logged = self._logged
        if logged is not None:
            draw(self, trainer, logged.tables())
            if logged.over.is_new:
                logged.over.is_new = False
                self.publish(trainer, partial(self._last_words, logged.over), logging_step(trainer), holds=logged.over)
        self._unhook()
        super().on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unhook()
        super().teardown(trainer, pl_module, stage)

    # -- a step ----------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self._fit is not None:
            self._fit.begin()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, optimizer_idx: int = 0
    ) -> None:
        # Lightning 1 gives the optimizer's index, too.
        if self._fit is not None:
            self._fit.announced(optimizer)

    def will_read(self, trainer: Trainer, module: LightningModule) -> bool:
        return self._fit is not None and self._fit.will_read(module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._fit is not None:
            self._fit.end()
        self.watch_batch_end(trainer)
        loss = loss_of(true_loss(trainer, outputs))
        if self._logged is not None and loss is not None:
            with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not read the loss"):
                self._logged.over.hear(logging_step(trainer), loss)
        Hub.of(trainer).outlet.deliver()  # norms that are worked out by now

    # -- an epoch --------------------------------------------------------------------------------------------------

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = self._logged
        if self._fit is not None:
            self._fit.say_what_is_unseen()
        draw(self, trainer, () if logged is None else logged.tables())
        self.watch_epoch_end(trainer)
        self._publish_over(trainer, train_epoch_end=True)
        results = self.results
        results.pop("train", None)
        if logged is not None:
            with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not work out its results of train"):
                results["train"] = logged.results(self._histogram)

    def _publish_over(self, trainer: Trainer, *, train_epoch_end: bool = False) -> None:
        """What all logged steps say, if there are new ones."""
        over = None if self._logged is None else self._logged.over
        if over is None or not over.is_new:
            return
        over.is_new = False
        with Hub.of(trainer).outlet.attempt(self.describe("train"), "could not work out its diagnosis"):
            self._take_results(over)
        if self.max_overhead is None or not self.can_wait(trainer):
            at = logging_step(trainer, train_epoch_end=train_epoch_end)
            self.publish(trainer, partial(over.entries, self.name), at, holds=over)

    def _take_results(self, over: OverSteps) -> None:
        """Waits for the device."""
        first = self.watched_first()
        if first is not None:
            over.not_finite(first.step, [layer_of(name, self.depth) for name in first.layers])
        self.results.update(over.results())

    def _last_words(self, over: OverSteps) -> Entries:
        """In the background, where the run has ended early: no hook waits for a device that may be lost."""
        self._take_results(over)
        return over.entries(self.name)

    def _teller(self, trainer: Trainer) -> Callable[[str], None]:
        """What is said of a step is the same on every process."""
        return self._tell if trainer.is_global_zero else nothing

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
        counts = self._counts if self._fit is None else self._fit.steps.counts()
        over = self._resumed if self._logged is None else self._logged.over.state_dict()
        whole = {**counts, "nonfinite_steps": self.watched_count()}
        return whole if over is None else {**whole, "over_steps": over}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._counts = dict(state_dict)
        self._resumed = self._counts.pop("over_steps", None)
        self._num_nonfinite = self._counts.pop("nonfinite_steps", 0)
