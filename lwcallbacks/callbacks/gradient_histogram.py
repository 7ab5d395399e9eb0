"""GradientHistogram: the gradient that the optimizer uses, parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from lwcallbacks.callbacks.base import Entries, LoggingCallback, check_overhead
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.trainer import logging_step
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.media import Histogram
from lwcallbacks.reductions import LogBins, LogHistogram
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.to_host import soon_on_host

_BINS = LogHistogram()
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class _Read:
    """Gradients of one device at one step. What is called waits for the device."""

    names: tuple[str, ...]
    bins: Callable[[], FilledBins]
    norms: Callable[[], Tensor]
    host_bytes: int
    """What moves to the host: of an accelerator a table of int32 and a norm for each parameter."""
    nbytes: int
    """Of host memory, until it is drawn."""

    def seen(self) -> dict[str, LogBins]:
        tables = map(torch.from_numpy, self.bins().tables())
        return {name: _BINS.value({"counts": table}) for name, table in zip(self.names, tables, strict=True)}


class GradientHistogram(LoggingCallback):
    """Log a histogram and the norm of every parameter's gradient, every n optimizer steps.

    Read just before the optimizer's step: after the reduction over processes and accumulation, before clipping, and
    unscaled under mixed precision (except where a fused optimizer unscales inside its own step). Nothing is hooked onto
    the model, and nothing is computed between logged steps. NaN and infinities are counted beside the bins. The norm of
    a float16 or bfloat16 gradient is added up in float32, so that it does not overflow.
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
        self._last: list[_Read] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_last": []}  # what waits for a device cannot be copied

    def begin(self) -> None:
        super().begin()
        self._steps, self._last = {}, []

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
        if self.max_overhead is not None and self.can_wait(trainer):
            return
        render, hub = None, Hub.of(trainer)
        with hub.meter.of(self), hub.attempt("GradientHistogram", "could not read the gradients"):
            render = self._read(pl_module, optimizer)
            hub.meter.of(self).cost.host_bytes += sum(read.host_bytes for read in self._last)
        if render is not None:
            self.publish(trainer, render, logging_step(trainer), holds=self._last)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        Hub.of(trainer).deliver()  # norms that are worked out by now

    def _read(self, pl_module: LightningModule, optimizer: Optimizer) -> Callable[[], Entries]:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        by_device: dict[torch.device, dict[str, Tensor]] = {}
        with torch.no_grad():
            for name, p in pl_module.named_parameters():
                if id(p) in own and (gradient := p.grad) is not None:
                    by_device.setdefault(gradient.device, {})[name] = _dense(gradient)
            self._last = [_read(of, device) for device, of in by_device.items()]
        return self._render(self._last)

    def _render(self, reads: Sequence[_Read]) -> Callable[[], Entries]:
        def render() -> Entries:
            # Here, in the background, the device is waited for.
            entries: dict[str, Any] = {}
            norms: dict[str, float] = {}
            for read in reads:
                filled = read.bins()
                counts, edges = filled.linear(self.bins)
                beside = filled.beside()
                odd = {row: beside[row].tolist() for row in np.flatnonzero(beside.any(axis=1)).tolist()}
                for row, (name, of_bins, between) in enumerate(zip(read.names, counts, edges, strict=True)):
                    entries[f"{self.name}/{name}"] = Histogram(of_bins, between, *odd.get(row, ()))
                of_read = (f"{self.name}_norm/{name}" for name in read.names)
                norms |= zip(of_read, read.norms().tolist(), strict=True)
            total = sum(norm**2 for norm in norms.values()) ** 0.5
            return {**entries, **norms, f"{self.name}_norm/total": total}

        return render

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        results = self.results
        results.pop("train", None)
        with Hub.of(trainer).attempt(self.describe("train"), "could not work out its results of train"):
            results["train"] = {name: seen for read in self._last for name, seen in read.seen().items()}

    @cached_property  # Lightning asks at every hook
    def state_key(self) -> str:
        return self._generate_state_key(name=self.name)

    def prefixes(self, stage: str) -> set[str]:
        return {self.name} if stage == "train" else set()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": dict(self._steps)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps = dict(state_dict["steps"])


def _read(gradients: Mapping[str, Tensor], device: torch.device) -> _Read:
    """Begin to read gradients of one device."""
    of = list(gradients.values())
    bins = _BINS.lift_each(of)
    tables = len(of) * 4 * (_BINS.slots["counts"].size + 1)
    return _Read(
        tuple(gradients),
        bins,
        soon_on_host(norms_of(of)),
        host_bytes=0 if device.type == "cpu" else tables,
        nbytes=bins().nbytes if may_look(of[0]) else tables,
    )


def _dense(gradient: Tensor) -> Tensor:
    dense = gradient.to_dense() if gradient.is_sparse else gradient
    return torch.view_as_real(dense) if dense.dtype.is_complex else dense


def norms_of(gradients: Sequence[Tensor]) -> Tensor:
    """2-norms [P] of dense, real gradients [P] of one device, there. float16 and bfloat16 are added up in float32."""
    half = [g.dtype in _HALF for g in gradients]
    found = {}
    for is_half in set(half):
        of_kind = [g for g, kind in zip(gradients, half, strict=True) if kind == is_half]
        found[is_half] = iter(torch._foreach_norm(of_kind, 2, torch.float32 if is_half else None))
    return torch.stack([next(found[kind]) for kind in half])
