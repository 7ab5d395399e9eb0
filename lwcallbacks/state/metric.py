"""A reduction as a torchmetrics.Metric, wherever one is accepted.

    metric = ReductionMetric(ConfusionCounts(3))
    metric.update(preds, targets)      # [N] labels or [N, C] scores, [N] labels
    metric.compute()                   # int64 [C, C], rows are the truth

It is a torchmetrics.Metric in every respect; this is the one file that subclasses it.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lwcallbacks.reductions.base import Reduction, Scattered, State
from lwcallbacks.reductions.choice import PAYLOAD
from lwcallbacks.state.link import Link, current_link, run
from lwcallbacks.state.replica import refuse_in_replica, refuse_metrics
from lwcallbacks.state.sync import Bundle, synced


class ReductionMetric(Metric):
    """Hold a reduction's state as a metric's.

    Args:
        reduction: any `Reduction`.
        kwargs: arguments of `torchmetrics.Metric`, such as `process_group` or `sync_on_compute`.

    `update(*fields, valid=None)` takes what `reduction.lift` takes; `compute` gives `reduction.value`. The step value
    that `forward` returns comes from the same single lift that is merged into the state.

    >>> from lwcallbacks.reductions import ConfusionCounts
    >>> metric = ReductionMetric(ConfusionCounts(2))
    >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> metric.compute()
    tensor([[1, 1],
            [0, 1]])
    """

    full_state_update = False

    def __init__(self, reduction: Reduction, **kwargs: Any) -> None:
        if not isinstance(reduction, Reduction):
            raise TypeError(f"ReductionMetric: reduction is a {type(reduction).__name__}, expected a Reduction")
        super().__init__(**kwargs)
        self.reduction = reduction
        self._tables = tuple(reduction.slots) if isinstance(reduction, Scattered) else ()
        empty = reduction.empty()
        self._own = frozenset(empty)
        for name, tensor in empty.items():
            self.add_state(name, tensor, dist_reduce_fx=None, persistent=True)
        # MetricCollection lets metrics share one state if their states have equal names and, once, equal values. So
        # the reduction is part of the names; and a checkpoint is not loaded into a metric of another reduction.
        fingerprint = zlib.crc32(repr(reduction).encode())
        self.add_state(f"of_{fingerprint:08x}", torch.zeros(0), dist_reduce_fx=None, persistent=True)

    def _state(self) -> State:
        return self._present({name: getattr(self, name) for name in self._defaults})

    def _present(self, state: State) -> State:
        """Without a payload that has no rows, and without the name of the reduction."""
        return {name: tensor for name, tensor in state.items() if name in self._own or len(tensor)}

    def _set_state(self, state: State) -> None:
        for name, tensor in state.items():
            if name not in self._defaults:
                # A choice learns its payload's shape from the first batch. No rows stand for no payload.
                self.add_state(name, tensor[:0], dist_reduce_fx=None, persistent=True)
            setattr(self, name, tensor)
        for name in self._defaults.keys() - state.keys():
            # After a sync only process 0 has a payload.
            setattr(self, name, getattr(self, name)[:0])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = {name.removeprefix(prefix): t for name, t in state_dict.items() if name.startswith(prefix)}
        for name in saved.keys() - self._defaults.keys():
            if name.rpartition(".")[2].startswith(PAYLOAD):
                self.add_state(name, saved[name][:0], dist_reduce_fx=None, persistent=True)
        for name in self._defaults.keys() - saved.keys():
            if name.rpartition(".")[2].startswith(PAYLOAD):
                setattr(self, name, getattr(self, name)[:0])
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in self._defaults:
            # The loaded tensors are still the caller's, and a state is overwritten.
            setattr(self, name, getattr(self, name).clone())

    def get_extra_state(self) -> Tensor:
        """The number of updates: torchmetrics keeps it out of its checkpoints, and warns of a metric that has none."""
        return torch.tensor(self._update_count)

    def set_extra_state(self, state: Tensor) -> None:
        self._update_count = int(state)
        self._computed = None

    def update(self, *fields: Any, valid: Tensor | None = None) -> None:
        """Merge one batch; the arguments of `reduction.lift`."""
        tables = {name: getattr(self, name) for name in self._tables}
        if tables and _may_overwrite(tables, fields):
            self.reduction.accumulate(tables, *fields, valid=valid)
            return
        # A state that is made under inference mode could not be overwritten outside of it: leave the mode.
        with torch.inference_mode(mode=False):
            lifted = self.reduction.lift(*fields, valid=valid)
            device = next(iter(lifted.values())).device
            state = {name: tensor.to(device) for name, tensor in self._state().items()}
            self._set_state(self.reduction.merge(state, lifted))

    def forward(self, *fields: Any, **kwargs: Any) -> Any:
        """Merge one batch, and return its own value.

        Raises:
            ReplicaError: this runs in a DataParallel replica, and so for `update`, and for `compute` and `reset` of a
                replicated metric.
        """
        # Checked before torchmetrics takes the state away and counts the update.
        refuse_in_replica(f"{type(self).__name__}.forward")
        return super().forward(*fields, **kwargs)

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_update(update)

        @functools.wraps(update)
        def checked(*fields: Any, **kwargs: Any) -> None:
            refuse_in_replica(f"{type(self).__name__}.update")
            wrapped(*fields, **kwargs)

        return checked

    def _replicate_for_data_parallel(self) -> Any:
        # Called by torch for every replica. The checks above know one by its thread, and not every one has its own.
        replica = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        refuse_metrics(replica)
        return replica

    def compute(self) -> Any:
        """Return `reduction.value` of all samples."""
        state = self._state()
        if not self._tables:
            # What a choice shows are views of its state, and torchmetrics clones only what it knows.
            state = {name: tensor.clone() for name, tensor in state.items()}
        return self.reduction.value(state)

    def merge_state(self, incoming_state: Any) -> None:
        """Merge another metric of this reduction, or its state; torchmetrics would keep the value from before."""
        super().merge_state(incoming_state)
        self._computed = None
        if isinstance(incoming_state, Metric):
            self._update_count += incoming_state.update_count

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        # Called by `forward` and `merge_state` with the state that is to be merged into this one.
        self._set_state(self.reduction.merge(self._state(), self._present(incoming_state)))

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        # A `dist_sync_fn` that is a link can do more than gather; torchmetrics' own stands for the process group.
        link, group = dist_sync_fn if isinstance(dist_sync_fn, Link) else None, process_group or self.process_group
        if dist_sync_fn is gather_all_tensors:
            link = current_link(group)
        if link is not None:
            steps = synced(Bundle(states=[(self.reduction, self._state())]), link.rank, link.world_size)
            self._set_state(run(steps, link).state(0))
            return
        gathered = {name: dist_sync_fn(t, group=group) for name, t in self._state().items()}
        states = [dict(zip(gathered, tensors, strict=True)) for tensors in zip(*gathered.values(), strict=True)]
        merged = states[0]
        for state in states[1:]:
            merged = self.reduction.merge(merged, state)
        self._set_state(merged)


def _may_overwrite(tables: State, fields: tuple[Any, ...]) -> bool:
    """Whether a batch can be added in place: to tables that lie where the batch does, and are no inference tensors.

    Nobody else holds them: torchmetrics clones its defaults at a reset, and the states that it keeps aside during
    `forward` and between `sync` and `unsync`.
    """
    device = next((field.device for field in fields if isinstance(field, Tensor)), None)
    return all(table.device == device and not table.is_inference() for table in tables.values())
