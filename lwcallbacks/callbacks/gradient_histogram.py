"""GradientHistogram: the gradient that the optimizer uses, parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from lwcallbacks.callbacks.base import Entries, LoggingCallback, check_overhead
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.trainer import logging_step
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.media import Histogram
from lwcallbacks.reductions import LogBins, LogHistogram
from lwcallbacks.reductions.base import State

_BINS = LogHistogram()


class GradientHistogram(LoggingCallback):
    """Log a histogram and the norm of every parameter's gradient, every n optimizer steps.

    Read just before the optimizer's step: after the reduction over processes and accumulation, before clipping, and
    unscaled under mixed precision (except where a fused optimizer unscales inside its own step). Nothing is hooked onto
    the model, and nothing is computed between logged steps. NaN and infinities are counted beside the bins.
    ``results["train"]`` holds a `LogBins` per parameter, of the epoch's last logged step.

    Args:
        every_n_train_steps: steps of an optimizer from one histogram to the next; the n-th step is the first. With
            several optimizers each counts its own steps.
        bins: bins of equal width in a histogram, 1 to 512.
        name: what the keys begin with.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{name}/{parameter}``           histogram of the gradient's elements
    ``{name}_norm/{parameter}``      its 2-norm
    ``{name}_norm/total``            2-norm over all the optimizer's parameters
    ================================ =======================================================

    >>> GradientHistogram(every_n_train_steps=100, bins=32).bins
    32
    >>> GradientHistogram(bins=1000)
    Traceback (most recent call last):
    ValueError: GradientHistogram: bins=1000, expected an int of 1 to 512
    """

    def __init__(
        self,
        every_n_train_steps: int = 50,
        *,
        bins: int = 64,
        name: str = "gradients",
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        if not isinstance(every_n_train_steps, int) or every_n_train_steps < 1:
            found = f"every_n_train_steps={every_n_train_steps!r}"
            raise ValueError(f"GradientHistogram: {found}, expected an int of at least 1")
        if not isinstance(bins, int) or not 1 <= bins <= 512:
            raise ValueError(f"GradientHistogram: bins={bins!r}, expected an int of 1 to 512")
        self.every_n_train_steps = every_n_train_steps
        self.bins = bins
        self.name = name
        self.max_overhead = check_overhead("GradientHistogram", max_overhead)
        self._steps: dict[int, int] = {}
        self._last: dict[str, State] = {}

    def begin(self) -> None:
        super().begin()
        self._steps, self._last = {}, {}

    def describe(self, stage: str) -> str:
        return f"GradientHistogram('{self.name}')"

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, optimizer_idx: int = 0
    ) -> None:
        # Lightning 1 gives the optimizer's index, too.
        index = next((i for i, o in enumerate(trainer.optimizers) if o is optimizer), 0)
        self._steps[index] = self._steps.get(index, 0) + 1
        if self._steps[index] % self.every_n_train_steps:
            return
        if self.max_overhead is not None and self.can_wait(trainer, "train", "histograms"):
            return
        render, hub = None, Hub.of(trainer)
        with hub.meter.of(self), hub.attempt("GradientHistogram", "could not read the gradients"):
            render = self._read(pl_module, optimizer)
        if render is not None:
            self.publish(trainer, render, logging_step(trainer))

    def _read(self, pl_module: LightningModule, optimizer: Optimizer) -> Callable[[], Entries]:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        gradients = {n: p.grad for n, p in pl_module.named_parameters() if id(p) in own and p.grad is not None}
        with torch.no_grad():
            self._last = {name: _BINS.lift(_dense(gradient)) for name, gradient in gradients.items()}
            norms = dict(zip(gradients, torch._foreach_norm(list(map(_dense, gradients.values()))), strict=True))
        return self._render(self._last, norms)

    def _render(self, states: dict[str, State], norms: dict[str, Tensor]) -> Callable[[], Entries]:
        def render() -> Entries:
            # Here, in the background, the device is waited for.
            entries: dict[str, Any] = {
                f"{self.name}/{n}": _histogram(_BINS.value(s), self.bins) for n, s in states.items()
            }
            sizes = {f"{self.name}_norm/{name}": float(norm) for name, norm in norms.items()}
            total = sum(size**2 for size in sizes.values()) ** 0.5
            return {**entries, **sizes, f"{self.name}_norm/total": total}

        return render

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        results = self.results
        results.pop("train", None)
        with Hub.of(trainer).attempt(self.describe("train"), "could not work out its results of train"):
            results["train"] = {name: _BINS.value(state) for name, state in self._last.items()}

    @property
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name)

    def prefixes(self, stage: str) -> set[str]:
        return {self.name} if stage == "train" else set()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": dict(self._steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = dict(state_dict["steps"])


def _dense(gradient: Tensor) -> Tensor:
    dense = gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
    return torch.view_as_real(dense) if dense.is_complex() else dense


def _histogram(seen: LogBins, bins: int) -> Histogram:
    counts, edges = seen.linear(bins)
    return Histogram(counts, edges, nan=seen.num_nan, posinf=seen.num_posinf, neginf=seen.num_neginf)
