"""An ordinary torchmetrics metric in the one sync: what of it crosses, and how it goes on from what all processes hold.

    obstacle(metric), learnt(metric)                # why it cannot cross; what all processes must have alike
    reduced(metric, True, None), whole(metric, True)  # what crosses, as a sync's `Bundle` takes it
    states = merged(metric, tensors, lists)         # what comes back, in the same order
    value(metric, states, update_count)

A state that is summed, or reduced to a minimum or maximum, crosses as one tensor for all. Any other, such as a list of
what every batch brought, crosses whole, and the metric's own `dist_reduce_fx` puts the processes' together. Entries of
a list that are no tensors, such as texts or encoded masks, cross as bytes where nothing is to reduce them. A metric
that holds other metrics, or has its own way to sync, is left to itself: nothing of it crosses here.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_max, dim_zero_min, dim_zero_sum

from lwcallbacks.state.link import ReduceOp
from lwcallbacks.state.ragged import DTYPES, wire_dtype

_NO_PART = object()
_OPS: dict[Any, ReduceOp] = {dim_zero_sum: "sum", dim_zero_max: "max", dim_zero_min: "min"}


def joins(metric: Metric) -> bool:
    """Whether the metric's states cross in the one sync.

    The mean average precision of torchmetrics has a way of its own only for the masks, which are no tensors, and it
    fails where processes have unequal numbers of images: it joins.
    """
    holds_metrics = any(isinstance(child, Metric) for child in metric.children())
    has_own = type(metric)._sync_dist is not Metric._sync_dist and not _is_of_detection(type(metric)._sync_dist)
    return not holds_metrics and not has_own


def _is_of_detection(method: Any) -> bool:
    return str(method.__module__).startswith("torchmetrics.detection.")


def _ops(metric: Metric) -> dict[str, ReduceOp]:
    reductions = metric._reductions.items() if joins(metric) else ()
    return {name: _OPS[fx] for name, fx in reductions if fx in _OPS and isinstance(metric._defaults[name], Tensor)}


def _others(metric: Metric) -> list[str]:
    return [name for name in metric._reductions if name not in _ops(metric)] if joins(metric) else []


def identity(metric: Metric) -> str:
    """What the metric is: its class, and its states with their operation, dtype and shape at the start."""
    states = ", ".join(f"{name}: {_kind(metric, name)}" for name in sorted(metric._defaults))
    return f"{type(metric).__qualname__}({states})"


def _kind(metric: Metric, name: str) -> str:
    default, reduce_fx = metric._defaults[name], metric._reductions[name]
    op = _OPS.get(reduce_fx, getattr(reduce_fx, "__name__", "whole"))
    if not isinstance(default, Tensor):
        return f"list, {op}"
    return f"{str(default.dtype).removeprefix('torch.')} {list(default.shape)}, {op}"


def learnt(metric: Metric, contributes: bool = True) -> list[tuple[str, Tensor]]:
    """The states that are reduced elementwise, by name, whose shape and dtype may come from data."""
    states = []
    for name in _ops(metric):
        state = _held(metric, name, contributes)
        states.append((name, state if isinstance(state, Tensor) else torch.as_tensor(metric._defaults[name])))
    return states


def is_touched(metric: Metric) -> bool:
    """Whether updates have changed those states; some leave them as they are, such as those of batches without rows."""
    # Only scalars take another shape later, and only they are compared: it is cheap.
    return not all(_is_scalar_default(state, metric._defaults[name]) for name, state in learnt(metric))


def _is_scalar_default(state: Tensor, default: Any) -> bool:
    return state.ndim == 0 and state.dtype == default.dtype and torch.equal(state.cpu(), default.cpu())


def _held(metric: Metric, name: str, contributes: bool) -> Any:
    """A state, or what it is where nothing was seen."""
    if contributes:
        return getattr(metric, name)
    default = metric._defaults[name]
    return default if isinstance(default, Tensor) else []


def obstacle(metric: Metric) -> str | None:
    """Why the metric's states cannot cross; None where they can."""
    try:
        for name, op in _ops(metric).items():
            for part in _parts(metric, name):
                wire_dtype(part.dtype, op)
        for name in _others(metric):
            for part in _parts(metric, name):
                if isinstance(part, Tensor) and part.dtype not in DTYPES:
                    return f"{type(metric).__name__}.{name} holds a tensor of {part.dtype}: it cannot be synced"
    except TypeError as error:
        return str(error)
    return None


def reduced(
    metric: Metric, contributes: bool, fits: Sequence[tuple[torch.dtype, tuple[int, ...]]] | None
) -> list[tuple[Tensor, ReduceOp]]:
    """The states that are reduced elementwise.

    Args:
        metric: one process's.
        contributes: whether its samples count; else it brings what brings nothing.
        fits: dtype and shape that all processes have agreed on for each of these states.
    """
    ops = _ops(metric).values()
    states = [state for _, state in learnt(metric, contributes)]
    if fits is not None:
        states = [_fitted(s, op, *fit) for s, op, fit in zip(states, ops, fits, strict=True)]
    return list(zip(states, ops, strict=True))


def _fitted(state: Tensor, op: ReduceOp, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    try:
        state = state.expand(shape)
    except RuntimeError:  # a default that was replaced, not added to: it stands for nothing
        return _nothing(op, dtype).to(state.device).expand(shape)
    if not (dtype.is_floating_point or dtype.is_complex or bool(state.isfinite().all())):
        return _nothing(op, dtype).to(state.device).expand(shape)  # an infinite default, and integers were learnt
    return state.to(dtype)


def _nothing(op: ReduceOp, dtype: torch.dtype) -> Tensor:
    """What changes nothing."""
    if op == "sum" or dtype == torch.bool:
        return torch.tensor(op == "min").to(dtype)
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return torch.tensor(info.max if op == "min" else info.min, dtype=dtype)


def whole(metric: Metric, contributes: bool) -> list[list[Tensor]]:
    """The other states, each as a list of its tensors and a list of the bytes of all else.

    Raises:
        TypeError: a state holds something that cannot cross.
    """
    lists = []
    for name in _others(metric):
        parts = _parts(metric, name, contributes)
        tensors = [part for part in parts if isinstance(part, Tensor)]
        plain = [part for part in parts if not isinstance(part, Tensor)]
        joined = bool(tensors) and metric._reductions[name] is dim_zero_cat
        lists.append([dim_zero_cat(tensors)] if joined else tensors)
        lists.append([torch.frombuffer(bytearray(pickle.dumps(plain)), dtype=torch.uint8)] if plain else [])
    return lists


def _parts(metric: Metric, name: str, contributes: bool = True) -> list[Any]:
    state = _held(metric, name, contributes)
    parts = state if isinstance(state, list) else [state]
    others = [part for part in parts if not isinstance(part, Tensor)]
    if others and not (metric._reductions[name] is None and all(map(_is_plain, others))):
        raise TypeError(f"{type(metric).__name__}.{name} holds something that is no tensor: it cannot be synced")
    return parts


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return _is_plain(list(value.items()))
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bytes, bool, int, float)


def merged(metric: Metric, tensors: Iterator[Tensor], lists: Iterator[list[list[Tensor]]]) -> dict[str, Any]:
    """All processes' states by name.

    Args:
        metric: one process's metric.
        tensors: what `reduced` gave, reduced over all processes; as many are taken.
        lists: what `whole` gave on every process, by rank.

    Raises:
        RuntimeError: states of unlike shapes cannot be put together.
    """
    states: dict[str, Any] = {name: next(tensors) for name in _ops(metric)}
    for name in _others(metric):
        by_rank: list[list[Any]] = [list(of_rank) for of_rank in next(lists)]
        for of_rank, data in zip(by_rank, next(lists), strict=True):
            of_rank += [part for plain in data for part in pickle.loads(plain.numpy().tobytes())]
        parts = list(chain(*by_rank)) if metric._reductions[name] is dim_zero_cat else _in_turn(by_rank)
        joined = parts if isinstance(metric._defaults[name], list) else _stacked(parts)
        reduce_fx = metric._reductions[name]
        states[name] = reduce_fx(joined) if callable(reduce_fx) and len(joined) else joined
    return states


def _in_turn(by_rank: list[list[Any]]) -> list[Any]:
    """One of each process after another, as torchmetrics has them: the order in which a sampler dealt the samples."""
    turns = zip_longest(*by_rank, fillvalue=_NO_PART)
    return [part for turn in turns for part in turn if part is not _NO_PART]


def _stacked(parts: list[Tensor]) -> Tensor:
    # Some metrics start from a scalar and learn a state's shape from data, which not every process has.
    shape = max((part.shape for part in parts), key=len)
    return torch.stack([part.expand(shape) if part.ndim < len(shape) else part for part in parts])


def alone(metric: Metric, contributes: bool) -> dict[str, Any]:
    """`merged` where there is no other process: what is left out stays as the metric has it."""
    return {} if contributes or not joins(metric) else {name: _held(metric, name, False) for name in metric._defaults}


def value(metric: Metric, states: dict[str, Any], update_count: int, alone: bool) -> Any:
    """Compute from merged states, or let the metric sync itself where it does not join and there are other processes.
    To be followed by a reset."""
    if not joins(metric):
        with _apart(metric) if alone else nullcontext():
            return metric.compute()
    own = {name: getattr(metric, name) for name in states}
    for name, state in states.items():
        is_list = isinstance(state, list)
        held = [_on(metric.device, part) for part in state] if is_list else state.to(metric.device)
        setattr(metric, name, held)
    metric._update_count = update_count
    metric._computed = None
    to_sync, metric._to_sync = metric._to_sync, False
    try:
        return metric.compute()
    finally:
        metric._to_sync = to_sync
        for name, state in own.items():
            # A reset wants to find lists where there were lists.
            setattr(metric, name, state)


@contextmanager
def _apart(metric: Metric) -> Iterator[None]:
    """Have neither a metric nor those that it holds sync, though there may be a process group."""
    of = [part for part in metric.modules() if isinstance(part, Metric)]
    before = [part._to_sync for part in of]
    for part in of:
        part._to_sync = False
    try:
        yield
    finally:
        for part, to_sync in zip(of, before, strict=True):
            part._to_sync = to_sync


def _on(device: torch.device, part: Any) -> Any:
    return part.to(device) if isinstance(part, Tensor) else part


def saved(metric: Metric, states: dict[str, Any], world_size: int) -> dict[str, Any] | None:
    """Merged states as CPU tensors for a checkpoint; None for a metric that cannot go on from them.

    That is one that does not join, one that holds something else than tensors, and one with a tensor of each process,
    which only its own `compute` can combine.
    """
    if not joins(metric):
        return None
    kept: dict[str, Any] = {}
    for name, default in metric._defaults.items():
        state = states.get(name, getattr(metric, name))
        # A list of what each batch brought may have become one tensor of it all.
        parts = state if isinstance(state, list) else [state]
        combined = isinstance(default, list) or world_size == 1 or name in _ops(metric)
        if not combined or not all(isinstance(part, Tensor) for part in parts):
            return None
        copies = [part.cpu().clone() for part in parts]
        kept[name] = copies if isinstance(default, list) else copies[0]
    return kept
