"""What is registered under one name, with its state: a reduction, or an ordinary torchmetrics metric.

    member = member_of("loss", ExactMean())
    step = member.update((losses,), valid=None, values=True)     # this batch's value, computed when called
    read = member.bring(bundle, contributes=True, fits=None)     # what crosses to the other processes
    value, problem = member.ended(read(merged), updates)

`StateCore` treats both alike; what differs between them is here.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.reductions.base import Reduction, State
from lwcallbacks.reductions.choice import PAYLOAD
from lwcallbacks.state import ordinary
from lwcallbacks.state.metric import ReductionMetric
from lwcallbacks.state.sync import Bundle, Merged, layout, obstacle

Remembered: TypeAlias = Reduction | Metric
Fits: TypeAlias = Sequence[tuple[torch.dtype, tuple[int, ...]]] | None
StepValue: TypeAlias = Callable[[], Any]
Read: TypeAlias = Callable[[Merged], Any]
"""From what came back to this entry's state of all processes."""


class Member(ABC):
    """One entry and its state on this process.

    Attributes:
        owner: who registered it.
        identity: what it is, in words: must be equal on all processes, and in a checkpoint that is loaded.
    """

    owner: str | None
    identity: str
    num_updates = 1
    """How many batches an ordinary metric has seen here: a metric without any computes in another way."""

    @abstractmethod
    def update(self, args: tuple[Any, ...], valid: Tensor | None, values: bool) -> StepValue | None:
        """Merge one batch, all of it or, if that raises, nothing; return how to get its own value, if wanted."""

    @abstractmethod
    def held(self) -> list[Tensor]:
        """All tensors of its state, as they are now."""

    def learnt(self, contributes: bool) -> list[tuple[str, Tensor]]:
        """States whose shape or dtype may come from data."""
        return []

    def is_touched(self) -> bool:
        """Whether those states hold anything but what they start with."""
        return True

    @abstractmethod
    def obstacle(self, world_size: int) -> str | None:
        """Why it cannot take part in a sync; None where it can."""

    @abstractmethod
    def bring(self, bundle: Bundle, contributes: bool, fits: Fits, world_size: int) -> Read:
        """Add what crosses to the bundle; return how to find it again in what comes back."""

    @abstractmethod
    def ended(self, state: Any, updates: int) -> tuple[Any, str | None]:
        """The value of a merged state, and what the data held that could not be counted. To be followed by a reset."""

    def decided(self, state: Any) -> Any:
        """How a merged state's data was read, where that was not said: what the reduction's `decided` tells."""
        return None

    @abstractmethod
    def saved(self, state: Any, updates: int, world_size: int) -> dict[str, Any] | None:
        """A merged state as CPU tensors and plain values; None where nothing can go on from it."""

    @abstractmethod
    def load(self, saved: Mapping[str, Any]) -> Callable[[], None]:
        """Return what puts a saved state in place, after all of it was found right.

        Raises:
            ValueError: it does not fit.
        """

    @abstractmethod
    def set_aside(self) -> Callable[[], None]:
        """Return what brings back the state of now, whatever is updated until then."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all samples."""


def member_of(name: object, entry: Remembered, *, owner: str | None = None, group: Any = None) -> Member:
    """The member for what a user registers.

    Raises:
        TypeError: it is neither a reduction that can be synced nor a metric.
    """
    if type(entry) is ReductionMetric:  # a subclass may compute something else
        entry = entry.reduction
    if isinstance(entry, Reduction):
        return ReductionMember(entry, owner)
    if isinstance(entry, Metric):
        return MetricMember(entry, owner, group)
    raise TypeError(f"StateCore: {name!r} is a {type(entry).__name__}, expected a Reduction or a Metric")


def stable(value: object) -> str:
    """Its `repr` without addresses in memory, such as a function's, which differ between processes."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


class ReductionMember(Member):
    _state: State | None
    _may_overwrite: bool

    def __init__(self, reduction: Reduction, owner: str | None) -> None:
        self.reduction = reduction
        self.owner = owner
        self.identity = f"{stable(reduction)} ({', '.join(layout(reduction))})"
        self._set(None)

    def update(self, args: tuple[Any, ...], valid: Tensor | None, values: bool) -> StepValue | None:
        # A state made under inference mode could not be overwritten outside of it: leave the mode.
        with torch.inference_mode(mode=False), torch.no_grad():
            state = None if self._state is None else _on_device_of(args, self._state)
            if state is not None and self._may_overwrite and not values:
                self._state = self.reduction.accumulate(state, *args, valid=valid)
                return None
            lifted = self.reduction.lift(*args, valid=valid)
            if state is None:
                self._state = lifted
            else:
                self._state = self.reduction.merge(_on_device_of(lifted.values(), state), lifted)
            step_value = getattr(self.reduction, "step_value", None)
            # What a step's value is computed from, perhaps much later, must not change with later batches.
            self._may_overwrite = not values or (state is not None and step_value is None)
        if step_value is not None:
            return partial(step_value, lifted, self._state)
        return partial(self.reduction.value, lifted)

    def held(self) -> list[Tensor]:
        return list((self._state or {}).values())

    def decided(self, state: State) -> Any:
        decided = getattr(self.reduction, "decided", None)
        return None if decided is None else decided(state)

    def obstacle(self, world_size: int) -> str | None:
        return None if self._state is None else obstacle(self.reduction, self._state)

    def bring(self, bundle: Bundle, contributes: bool, fits: Fits, world_size: int) -> Read:
        state = self._state if contributes else None
        place = len(bundle.states)
        bundle.states.append((self.reduction, self.reduction.empty() if state is None else state))
        return lambda merged: merged.state(place)

    def ended(self, state: State, updates: int) -> tuple[Any, str | None]:
        return self.reduction.value(state), self.reduction.problems(state)

    def saved(self, state: State, updates: int, world_size: int) -> dict[str, Any]:
        return {"of": self.identity, "state": {key: tensor.cpu().clone() for key, tensor in state.items()}}

    def load(self, saved: Mapping[str, Any]) -> Callable[[], None]:
        state = saved["state"]
        _expect_same(self.identity, saved)
        empty = self.reduction.empty()
        for name in sorted({*empty, *state}):
            _expect_fits(name, empty.get(name), state.get(name))
        return partial(self._set, {key: tensor.clone() for key, tensor in state.items()})

    def _set(self, state: State | None, may_overwrite: bool = True) -> None:
        self._state, self._may_overwrite = state, may_overwrite

    def set_aside(self) -> Callable[[], None]:
        back = partial(self._set, self._state, self._may_overwrite)
        self._may_overwrite = False
        return back

    def reset(self) -> None:
        self._set(None)


class MetricMember(Member):
    def __init__(self, metric: Metric, owner: str | None, group: Any) -> None:
        with torch.inference_mode(mode=False):  # else its states could not be updated outside of that mode
            self.metric = metric.clone()
            self.metric.reset()
        self.owner = owner
        self.identity = ordinary.identity(self.metric)
        self.joins = ordinary.joins(self.metric)
        self._paused = self._alone = False
        for part in self.metric.modules():  # one that holds others lets each sync itself
            if isinstance(part, Metric) and part.process_group is None:
                part.process_group = group

    @property
    def num_updates(self) -> int:  # type: ignore[override]
        return self.metric.update_count

    def update(self, args: tuple[Any, ...], valid: Tensor | None, values: bool) -> StepValue | None:
        if self._paused:
            return _nothing
        if valid is not None:
            args = tuple(_counted_rows(a, valid) for a in args)
        device = next((tensor.device for tensor in _tensors_in(args)), None)
        # Slices of a batch need not be contiguous, and metrics of torchmetrics take a `view` of what they are given.
        args = tuple(a.contiguous() if isinstance(a, Tensor) else a for a in args)
        if device is not None and device != self.metric.device:
            with torch.inference_mode(mode=False):
                self.metric.to(device, non_blocking=_need_not_wait(device))
        if values:
            return self._counted_with_value(args)
        self._counted(args)
        return None

    def _counted(self, args: tuple[Any, ...]) -> None:
        before = _Before(self.metric)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                self.metric.update(*args)
        except Exception:
            before.bring_back()
            raise

    def _counted_with_value(self, args: tuple[Any, ...]) -> StepValue:
        before = _Before(self.metric, clone=True)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                return partial(_same, self.metric(*args))
        except Exception as error:
            # A batch whose own value cannot be computed, such as one without positive samples, counts all the same.
            before.bring_back()
            self._counted(args)
            return partial(_raised, error)

    def held(self) -> list[Tensor]:
        states = [state for _, state in _states_of(self.metric)]
        return [t for state in states for t in (state if isinstance(state, list) else [state]) if isinstance(t, Tensor)]

    def learnt(self, contributes: bool) -> list[tuple[str, Tensor]]:
        return ordinary.learnt(self.metric, contributes)

    def is_touched(self) -> bool:
        return self.num_updates > 0 and ordinary.is_touched(self.metric)

    def obstacle(self, world_size: int) -> str | None:
        # Alone, any metric computes from its own states, whatever they are.
        return ordinary.obstacle(self.metric) if world_size > 1 else None

    def bring(self, bundle: Bundle, contributes: bool, fits: Fits, world_size: int) -> Read:
        first_tensor, first_list = len(bundle.tensors), len(bundle.lists)
        alone = self._alone = world_size == 1
        if not alone:
            bundle.tensors += ordinary.reduced(self.metric, contributes, fits)
            bundle.lists += ordinary.whole(self.metric, contributes)

        def read(merged: Merged) -> dict[str, Any]:
            if alone:
                return ordinary.alone(self.metric, contributes)
            return ordinary.merged(self.metric, iter(merged.tensors[first_tensor:]), iter(merged.lists[first_list:]))

        return read

    def ended(self, state: dict[str, Any], updates: int) -> tuple[Any, str | None]:
        return ordinary.value(self.metric, state, updates, self._alone), None

    def saved(self, state: dict[str, Any], updates: int, world_size: int) -> dict[str, Any] | None:
        kept = ordinary.saved(self.metric, state, world_size)
        return None if kept is None else {"of": self.identity, "state": kept, "update_count": updates}

    def load(self, saved: Mapping[str, Any]) -> Callable[[], None]:
        _expect_same(self.identity, saved)
        state, count = saved["state"], int(saved["update_count"])
        if state.keys() != self.metric._defaults.keys():
            raise ValueError(f"it holds {sorted(state)}, expected {sorted(self.metric._defaults)}")
        copies = {k: [t.clone() for t in v] if isinstance(v, list) else v.clone() for k, v in state.items()}
        return partial(self._set, copies, count)

    def _set(self, state: Mapping[str, Any], count: int) -> None:
        for name, value in state.items():
            setattr(self.metric, name, value)
        self.metric._update_count = count

    def set_aside(self) -> Callable[[], None]:
        before = _Before(self.metric, clone=self.joins)
        # What holds other metrics cannot be copied cheaply, and is not saved either: it sees nothing in the meantime.
        paused, self._paused = self._paused, not self.joins

        def back() -> None:
            self._paused = paused
            before.bring_back()

        return back

    def reset(self) -> None:
        with torch.inference_mode(mode=False):
            self.metric.reset()


def _counted_rows(arg: Any, valid: Tensor) -> Any:
    if isinstance(arg, list) and len(arg) == len(valid):
        return list(compress(arg, valid.tolist()))
    return arg[valid] if isinstance(arg, Tensor) and arg.shape[:1] == valid.shape else arg


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(part)


class _Before:
    """A metric as it was before something that may fail half-way; what it adds in place is undone only if cloned."""

    _FLAGS = ("_update_count", "_computed", "_to_sync", "_should_unsync", "_enable_grad", "_is_synced", "_cache",
              "compute_on_cpu")  # fmt: skip

    def __init__(self, metric: Metric, clone: bool = False) -> None:
        self.metric = metric
        self.flags = {name: metric.__dict__[name] for name in self._FLAGS if name in metric.__dict__}
        # An update appends to a list, which need not be copied for that; `forward` and `reset` empty it.
        self.lengths = {n: len(s) for n, s in _states_of(metric) if isinstance(s, list)}
        self.states = {n: _copied(s) if clone else s for n, s in _states_of(metric)}

    def bring_back(self) -> None:
        for name, state in self.states.items():
            setattr(self.metric, name, state[: self.lengths[name]] if name in self.lengths else state)
        for name, flag in self.flags.items():
            setattr(self.metric, name, flag)


def _states_of(metric: Metric) -> list[tuple[str, Any]]:
    return [(name, getattr(metric, name)) for name in metric._defaults]


def _copied(state: Any) -> Any:
    return list(state) if isinstance(state, list) else state.clone()


def _expect_same(identity: str, saved: Mapping[str, Any]) -> None:
    found = saved.get("of", "something else")
    if found != identity:
        raise ValueError(f"it was saved for {found}, and {identity} is registered")


def _expect_fits(name: str, empty: Tensor | None, tensor: Tensor | None) -> None:
    if tensor is None:
        raise ValueError(f"its tensor {name!r} is missing")
    if empty is None:
        if not name.rpartition(".")[2].startswith(PAYLOAD):
            raise ValueError(f"it has a tensor {name!r}, which is not expected")
    elif (tensor.shape, tensor.dtype) != (empty.shape, empty.dtype):
        found, expected = (f"{t.dtype} {list(t.shape)}" for t in (tensor, empty))
        raise ValueError(f"its tensor {name!r} is {found}, expected {expected}")


def _same(value: Any) -> Any:
    return value


def _raised(error: Exception) -> Any:
    raise error


def _nothing() -> None:
    return None


def _on_device_of(tensors: Iterable[Any], state: State) -> State:
    device = next((tensor.device for tensor in tensors if isinstance(tensor, Tensor)), None)
    if device is None:
        return state
    for tensor in state.values():
        if tensor.device != device:
            return {name: tensor.to(device, non_blocking=_need_not_wait(device)) for name, tensor in state.items()}
    return state


def _need_not_wait(device: torch.device) -> bool:
    """Whether a copy to the device may return before it is done: what comes next there is behind it in the queue.

    From pageable memory this is safe too: CUDA has read the host's memory when the call returns.
    """
    return device.type != "cpu"
