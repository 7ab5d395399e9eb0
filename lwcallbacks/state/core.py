"""StateCore: what is remembered of a stage, by name; a step's values at step end, all samples' at epoch end.

    core = StateCore({"loss": ExactMean(), "confusion": ConfusionCounts(10)})
    step = core.step_end(loss=(losses,), confusion=(preds, targets))   # {"loss": ..., "confusion": ...} of this batch
    epoch = core.epoch_end()                                           # one sync over all processes, then reset

It needs no Trainer: a plain loop, Fabric or a LightningModule can hold one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.reductions.base import Reduction, State
from lwcallbacks.state import ordinary
from lwcallbacks.state.link import Link, Request, current_link, run
from lwcallbacks.state.metric import ReductionMetric
from lwcallbacks.state.replica import refuse_in_replica
from lwcallbacks.state.sync import Bundle, UpdateError, synced

Entry: TypeAlias = Reduction | Metric


def _same(value: Any) -> Any:
    return value


def _nothing() -> None:
    return None


class StepValues(Mapping[Hashable, Any]):
    """The values of one batch, computed when they are looked at: looking may wait for the device."""

    def __init__(self, values: dict[Hashable, Callable[[], Any]]) -> None:
        self._values = values

    def __getitem__(self, name: Hashable) -> Any:
        return self._values[name]()

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class StateCore:
    """Reductions, and ordinary torchmetrics metrics, that are updated together and synced at once.

    Args:
        entries: what to remember, by name: a `Reduction` or a `torchmetrics.Metric`.
        on_problem: what `epoch_end` does about data that could not be counted, such as labels out of range: "warn", or
            "raise" a ValueError on every process. Either tells how many there were and shows one.

    State follows the first batch's device. A metric joins the one sync, whatever its states are. Only one that holds
    other metrics, or has its own way to sync, is left to itself, in the order of registration.
    """

    def __init__(
        self, entries: Mapping[Hashable, Entry] | None = None, *, on_problem: Literal["warn", "raise"] = "warn"
    ) -> None:
        if on_problem not in ("warn", "raise"):
            raise ValueError(f"StateCore: on_problem={on_problem!r}, expected 'warn' or 'raise'")
        self.on_problem = on_problem
        self._reductions: dict[Hashable, Reduction] = {}
        self._metrics: dict[Hashable, Metric] = {}
        self._states: dict[Hashable, State] = {}
        self._failure: str | None = None
        for name, entry in (entries or {}).items():
            self.register(name, entry)

    def register(self, name: Hashable, entry: Entry) -> None:
        """Remember `entry` under `name` from the next batch on.

        Raises:
            ValueError: the name is taken.
            TypeError: `entry` is neither a reduction nor a metric.
        """
        if name in self.names:
            raise ValueError(f"StateCore: {name!r} is registered already")
        if isinstance(entry, Reduction):
            self._reductions[name] = entry
        elif type(entry) is ReductionMetric:  # a subclass may compute something else
            self._reductions[name] = entry.reduction
        elif isinstance(entry, Metric):
            with torch.inference_mode(mode=False):  # else its states could not be updated outside of that mode
                self._metrics[name] = entry.clone()
                self._metrics[name].reset()
        else:
            raise TypeError(f"StateCore: {name!r} is a {type(entry).__name__}, expected a Reduction or a Metric")

    @property
    def names(self) -> list[Hashable]:
        return [*self._reductions, *self._metrics]

    def step_end(self, *, valid: Tensor | None = None, **fields: tuple[Any, ...]) -> StepValues:
        """Lift one batch and merge it into the epoch; return this batch's values, each computed when looked at.

        Args:
            fields: for each name to update, the tuple of arguments of its `lift` or `update`.
            valid: bool [N]; a sample whose entry is False does not count. An ordinary metric cannot take it without
                waiting for the device.

        Raises:
            ReplicaError: this runs in a DataParallel replica.
        """
        return self.update(fields, valid=valid)

    def update(
        self, fields: Mapping[Any, tuple[Any, ...]], *, valid: Tensor | None = None, values: bool = True
    ) -> StepValues:
        """`step_end` for names that are not strings; without `values` the batch's own values are not kept."""
        refuse_in_replica("StateCore.update")
        step: dict[Hashable, Callable[[], Any]] = {}
        for name, args in fields.items():
            if name in self._reductions:
                step[name] = self._update_reduction(name, args, valid, values)
            elif name in self._metrics:
                value = self._update_metric(self._metrics[name], args, valid, values)
                step[name] = partial(_same, value)
            else:
                raise KeyError(f"StateCore: {name!r} is not registered; registered are {self.names}")
        return StepValues(step if values else {})

    def _update_reduction(
        self, name: Hashable, args: tuple[Any, ...], valid: Tensor | None, values: bool
    ) -> Callable[[], Any]:
        reduction = self._reductions[name]
        state = self._states.get(name)
        # A state made under inference mode could not be overwritten outside of it: leave the mode for the update.
        outside = torch.inference_mode(mode=False) if torch.is_inference_mode_enabled() else nullcontext()
        with outside, torch.no_grad():
            if state is not None and not values:
                self._states[name] = reduction.accumulate(_on_device_of(args, state), *args, valid=valid)
                return _nothing
            lifted = reduction.lift(*args, valid=valid)
            if state is not None:
                state = _on_device_of(lifted.values(), state)
            # The state is overwritten by later batches, so the first batch's is kept apart from its value.
            self._states[name] = (
                {k: t.clone() for k, t in lifted.items()} if state is None else reduction.merge(state, lifted)
            )
        return lambda: reduction.value(lifted)

    @staticmethod
    def _update_metric(metric: Metric, args: tuple[Any, ...], valid: Tensor | None, values: bool) -> Any:
        if valid is not None:
            args = tuple(a[valid] if isinstance(a, Tensor) and len(a) == len(valid) else a for a in args)
        device = next((a.device for a in args if isinstance(a, Tensor)), None)
        # Slices of a batch need not be contiguous, and metrics of torchmetrics take a `view` of what they are given.
        args = tuple(a.contiguous() if isinstance(a, Tensor) else a for a in args)
        with torch.inference_mode(mode=False), torch.no_grad():
            if device is not None and device != metric.device:
                metric.to(device)
            if values:
                return metric(*args)
            return metric.update(*args)

    def fail(self, cause: BaseException) -> None:
        """Note that an update failed here: every process raises `UpdateError` at the next sync."""
        self._failure = self._failure or f"{type(cause).__name__}: {cause}"

    def epoch_end(self, link: Link | None = None) -> dict[Hashable, Any]:
        """Sync once over all processes, return the value of everything by name, and reset.

        Values are the same on every process, but for the payload of a `TopK` or `RandomSample`: process 0 has it.

        Raises:
            UpdateError: on every process, where an update failed on any of them.
            ValueError: with `on_problem="raise"`, on every process, where data could not be counted.
        """
        values, problems = collect({None: self}, link)
        for name, problem in problems:
            if self.on_problem == "raise":
                raise ValueError(f"StateCore: {name}: {problem}")
            warnings.warn(f"StateCore: {name}: {problem}", stacklevel=2)
        return values[None]

    def state_dict(self, link: Link | None = None) -> dict[Hashable, dict[str, Any]]:
        """What all processes have seen so far, merged, as CPU tensors and plain numbers by name.

        Every process must call it, for it syncs; the states themselves stay as they are. It is the same on every
        process, but for the payload of choices. A wrapper of other metrics is left out.

        Raises:
            UpdateError: on every process, where an update failed on any of them.
        """
        return snapshot({None: self}, link)[None]

    def load_state_dict(self, state_dict: Mapping[Any, Mapping[str, Any]], link: Link | None = None) -> None:
        """Go on from a `state_dict`, on any number of processes: process 0 takes it all, the others start empty.

        Names that are not registered here are ignored; names that are missing start empty.
        """
        self.reset()
        if (link or current_link()).rank:
            return
        with torch.inference_mode(mode=False):
            for name, saved in state_dict.items():
                if name in self._reductions:
                    self._states[name] = {key: tensor.clone() for key, tensor in saved["state"].items()}
                elif name in self._metrics:
                    metric = self._metrics[name]
                    for key, value in saved["state"].items():
                        setattr(metric, key, [v.clone() for v in value] if isinstance(value, list) else value.clone())
                    metric._update_count = saved["update_count"]

    def reset(self) -> None:
        """Forget all samples."""
        self._states.clear()
        self._failure = None
        with torch.inference_mode(mode=False):
            for metric in self._metrics.values():
                metric.reset()


@dataclass
class _Merged:
    """What all processes together hold of one core."""

    states: dict[Hashable, State]
    metrics: dict[Hashable, dict[str, Any]]
    """States of ordinary metrics."""
    counts: dict[Hashable, int]


def _merging(cores: Mapping[Any, StateCore], rank: int, world_size: int) -> Generator[Request, Any, dict[Any, _Merged]]:
    bundle = Bundle(failure=next((c._failure for c in cores.values() if c._failure), None))
    metrics = [metric for core in cores.values() for metric in core._metrics.values()]
    for core in cores.values():
        bundle.states += [(r, core._states.get(name) or r.empty()) for name, r in core._reductions.items()]
    for metric in metrics:
        # Whether anyone updated decides what a metric computes: the count is summed with its states.
        bundle.tensors += [*ordinary.reduced(metric), (torch.tensor([metric.update_count]), "sum")]
    if world_size > 1:
        try:
            bundle.lists = [state for metric in metrics for state in ordinary.whole(metric)]
        except TypeError as error:
            bundle.failure = bundle.failure or str(error)
    everyone = yield from synced(bundle, rank, world_size)
    states, tensors = iter(everyone.states), iter(everyone.tensors)
    lists = iter(everyone.lists) if world_size > 1 else None
    merged = {}
    for key, core in cores.items():
        merged[key] = _Merged({name: next(states) for name in core._reductions}, {}, {})
        for name, metric in core._metrics.items():
            merged[key].metrics[name] = ordinary.merged(metric, tensors, lists)
            merged[key].counts[name] = int(next(tensors))
    return merged


Collected: TypeAlias = tuple[dict[Any, dict[Hashable, Any]], list[tuple[Hashable, str]]]


def collect(cores: Mapping[Any, StateCore], link: Link | None = None) -> Collected:
    """End the epoch of several cores with one sync; also tell what their data held that could not be counted."""
    link = link or current_link()
    collected: Collected = run(collecting(cores, link.rank, link.world_size), link)
    return collected


def collecting(cores: Mapping[Any, StateCore], rank: int, world_size: int) -> Generator[Request, Any, Collected]:
    """`collect` as a coroutine of requests to the other processes."""
    try:
        merged = yield from _merging(cores, rank, world_size)
        values: dict[Any, dict[Hashable, Any]] = {}
        problems: list[tuple[Hashable, str]] = []
        for key, core in cores.items():
            values[key] = {}
            for name, reduction in core._reductions.items():
                state = merged[key].states[name]
                values[key][name] = reduction.value(state)
                if problem := reduction.problems(state):
                    problems.append((name, problem))
            for name, metric in core._metrics.items():
                values[key][name] = ordinary.value(metric, merged[key].metrics[name], merged[key].counts[name])
        return values, problems
    finally:
        for core in cores.values():
            core.reset()


def snapshot(cores: Mapping[Any, StateCore], link: Link | None = None) -> dict[Any, dict[Hashable, dict[str, Any]]]:
    """`StateCore.state_dict` of several cores with one sync."""
    link = link or current_link()
    merged: dict[Any, _Merged] = run(_merging(cores, link.rank, link.world_size), link)
    saved: dict[Any, dict[Hashable, dict[str, Any]]] = {}
    for key, core in cores.items():
        states = merged[key].states.items()
        saved[key] = {name: {"state": {k: t.cpu().clone() for k, t in state.items()}} for name, state in states}
        for name, metric in core._metrics.items():
            state = ordinary.saved(metric, merged[key].metrics[name], link.world_size)
            if state is not None:
                saved[key][name] = {"state": state, "update_count": merged[key].counts[name]}
    return saved


def _on_device_of(tensors: Iterable[Any], state: State) -> State:
    device = next((t.device for t in tensors if isinstance(t, Tensor)), None)
    if all(tensor.device == device for tensor in state.values()):
        return state
    return {name: tensor.to(device) for name, tensor in state.items()}


__all__ = ["Entry", "StateCore", "StepValues", "UpdateError", "collect", "collecting", "snapshot"]
