"""What replicas log, logged once for the whole batch: `self.log` is not made for several threads.

replica.__dict__["log"] = logged[i] = Logged()      # before the step
log_once(module, logged, sizes)                     # after it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from numbers import Number
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lwcallbacks.parallel.shares import weighted_mean
from lwcallbacks.state.replica import refuse


class _Call(NamedTuple):
    value: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Logged:
    """Stands for `log` in one replica, and takes its arguments."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, int], _Call] = {}
        self._times: Counter[str] = Counter()

    def __call__(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if callable(getattr(value, "compute", None)):
            refuse(f"self.log({name!r}, {type(value).__name__})")
        self.calls[name, self._times[name]] = _Call(value, args, kwargs)
        self._times[name] += 1


def log_once(module: Any, logged: Sequence[Logged], sizes: Sequence[int]) -> None:
    """Call `module.log` once for every name (and every time that it was logged) with one value for all replicas.

    Args:
        module: the original LightningModule.
        logged: what each replica logged.
        sizes: how many samples each had.
    """
    for name, time in dict.fromkeys(key for replica in logged for key in replica.calls):
        pairs = zip(logged, sizes, strict=True)
        calls = [(replica.calls[name, time], size) for replica, size in pairs if (name, time) in replica.calls]
        first = calls[0][0]
        kwargs = dict(first.kwargs)
        given_sizes = [call.kwargs.get("batch_size") for call, _ in calls]
        weights = [size if given is None else given for given, (_, size) in zip(given_sizes, calls, strict=True)]
        if len(calls) < len(logged) or any(given is not None for given in given_sizes):
            # Else the Trainer takes the size of the whole batch.
            kwargs["batch_size"] = sum(weights)
        value = _combine([call.value for call, _ in calls], weights, kwargs.get("reduce_fx", "mean"), module.device)
        module.log(name, value, *first.args, **kwargs)


def _combine(values: Sequence[Any], weights: Sequence[float], reduce_fx: Any, device: torch.device) -> Any:
    if len(values) == 1 or not all(_is_scalar(value) for value in values):
        return values[0]  # a value that cannot be logged is refused by `log` itself
    dtype = torch.get_default_dtype()
    scalars = [torch.as_tensor(value, device=device).reshape(()) for value in values]
    # Lightning keeps float32 or more; a mean of rounder numbers would be rounder than that of one device.
    scalars = [s if s.dtype in (torch.float32, torch.float64) else s.to(dtype) for s in scalars]
    functions: dict[str, Any] = {"sum": torch.sum, "max": torch.max, "min": torch.min}
    for name, function in functions.items():
        if reduce_fx in (name, function):
            return function(torch.stack(scalars))
    return weighted_mean(scalars, weights)


def _is_scalar(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, Number)
