"""A reduction as a torchmetrics.Metric, wherever one is accepted.

    metric = ReductionMetric(ConfusionCounts(3))
    metric.update(preds, targets)      # [N] labels or [N, C] scores, [N] labels
    metric.compute()                   # int64 [C, C], rows are the truth
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lwcallbacks.reductions.base import Reduction, State
from lwcallbacks.state.sync import Bundle, current_link, run, synced


class ReductionMetric(Metric):
    """Hold a reduction's state as a metric's.

    Args:
        reduction: any `Reduction`.
        kwargs: arguments of `torchmetrics.Metric`, such as `process_group` or `sync_on_compute`.

    `update(*fields, valid=None)` takes what `reduction.lift` takes; `compute` gives `reduction.value`. The step value
    that `forward` returns comes from the same single lift that is merged into the state.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, reduction: Reduction, **kwargs: Any) -> None:
        if not isinstance(reduction, Reduction):
            raise TypeError(f"ReductionMetric: reduction is a {type(reduction).__name__}, expected a Reduction")
        super().__init__(**kwargs)
        self.reduction = reduction
        for name, tensor in reduction.empty().items():
            self.add_state(name.replace(".", "__"), tensor, dist_reduce_fx=None, persistent=True)

    def _state(self) -> State:
        return {name.replace("__", "."): getattr(self, name) for name in self._defaults}

    def _set_state(self, state: State) -> None:
        for name, tensor in state.items():
            attribute = name.replace(".", "__")
            if attribute not in self._defaults:
                # A choice learns its payload's shape from the first batch.
                self.add_state(attribute, torch.zeros_like(tensor), dist_reduce_fx=None, persistent=True)
            setattr(self, attribute, tensor)

    def update(self, *fields: Any, valid: Tensor | None = None) -> None:
        """Merge one batch; the arguments of `reduction.lift`."""
        lifted = self.reduction.lift(*fields, valid=valid)
        device = next(iter(lifted.values())).device
        state = {name: tensor.to(device) for name, tensor in self._state().items()}
        self._set_state(self.reduction.merge(state, lifted))

    def compute(self) -> Any:
        """Return `reduction.value` of all samples."""
        return self.reduction.value(self._state())

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        # Called by `forward` and `merge_state` with the state that is to be merged into this one.
        incoming = {name.replace("__", "."): tensor for name, tensor in incoming_state.items()}
        self._set_state(self.reduction.merge(self._state(), incoming))

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        if dist_sync_fn is gather_all_tensors:
            link = current_link(process_group or self.process_group)
            steps = synced(Bundle(states=[(self.reduction, self._state())]), link.rank, link.world_size)
            self._set_state(run(steps, link).states[0])
            return
        gathered = {name: dist_sync_fn(t, group=process_group) for name, t in self._state().items()}
        states = [dict(zip(gathered, tensors, strict=True)) for tensors in zip(*gathered.values(), strict=True)]
        merged = states[0]
        for state in states[1:]:
            merged = self.reduction.merge(merged, state)
        self._set_state(merged)
