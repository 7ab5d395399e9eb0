"""A DataParallel replica sees a share of a batch and is thrown away after the step: nothing is remembered in one.

with inside_replica():                # what DataParallelStrategy's threads run in
    core.step_end(mean=(losses,))     # ReplicaError, which says where to update instead
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from torch import nn
from torchmetrics import Metric

_inside: ContextVar[bool] = ContextVar("_inside", default=False)


class ReplicaError(RuntimeError):
    """Something that lives as long as the module was used in a replica. The message tells where to use it."""


@contextmanager
def inside_replica() -> Iterator[None]:
    """Mark what this thread runs as part of a replica."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def is_inside_replica() -> bool:
    """Whether this runs in a replica of `DataParallelStrategy`, or in a thread of torch's own `nn.DataParallel`.

    With one device, or for a batch of one sample, `nn.DataParallel` runs in the caller's thread and is not noticed.
    """
    # torch marks its threads in no way, but a running thread knows which function it was started for.
    target = getattr(threading.current_thread(), "_target", None)
    return _inside.get() or getattr(target, "__module__", None) == "torch.nn.parallel.parallel_apply"


def refuse_in_replica(what: str) -> None:
    """Raise if this runs in a replica.

    Raises:
        ReplicaError: it does; `what` is what was called, as in "StateCore.update".
    """
    if is_inside_replica():
        refuse(what)


def refuse(what: str) -> NoReturn:
    raise ReplicaError(
        f"{what} was called in a DataParallel replica, which has a share of the batch only, runs beside other replicas "
        "and is thrown away after the step. Return the predictions and targets from the step, as in "
        "return {'loss': loss, 'preds': preds, 'targets': targets}, and call it once for the whole batch: in "
        "training_step_end(self, outputs) (or validation_step_end, test_step_end), or in on_train_batch_end and its "
        "siblings; or let a callback do it, such as lw.ScalarMetrics or lw.ConfusionMatrix"
    )


def refuse_metrics(replica: nn.Module) -> None:
    """Make every metric in `replica` raise `ReplicaError` when it is used; the originals stay as they are.

    Without this, `replica.metric.update` is the original's method, which `Metric.__init__` has put into `__dict__`:
    all replicas would change the original at the same time.
    """
    for module in replica.modules():
        if isinstance(module, Metric):
            for method in ("update", "forward", "compute", "reset"):
                module.__dict__[method] = _refusing(f"{type(module).__name__}.{method}")


def _refusing(what: str) -> Callable[..., NoReturn]:
    def refusing(*args: Any, **kwargs: Any) -> NoReturn:
        refuse(what)

    return refusing
