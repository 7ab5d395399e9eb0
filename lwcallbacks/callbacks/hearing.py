"""Numbers that anybody logs, heard while a run goes on: `self.log`, a logger's `log_metrics`, other callbacks.

    hearing = Hearing(trainer, keep, ignores, around)
    hearing.start()                     # stands before `log_metrics` of the Trainer's connector and of its loggers
    ...
    hearing.stop()                      # both are as they were

The Trainer hands what is logged to its loggers in one place, which it also comes to without a logger. Each number is
heard once, with the step that the loggers get. Values of a device are copied there without a wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.callbacks.trainer import connector_of, logging_step
from lwcallbacks.lightning import Trainer
from lwcallbacks.reductions.to_host import soon_on_host

Around = Callable[[], AbstractContextManager[Any]]


@dataclass
class Heard:
    """What was logged in one call.

    Attributes:
        step: None where it is the value "step", as Lightning allows.
        host_bytes: what moves from an accelerator to the host.
    """

    step: int | None
    epoch: int
    values: dict[str, float]
    later: list[tuple[list[str], Callable[[], Tensor]]] = field(default_factory=list)
    host_bytes: int = 0

    def settled(self) -> tuple[int, int, dict[str, float]]:
        """Step, epoch and values, in the background: waits for the device."""
        values = dict(self.values)
        for keys, wait in self.later:
            values |= zip(keys, map(float, wait().tolist()), strict=True)
        return int(values.pop("step")) if self.step is None else self.step, self.epoch, values


def heard(metrics: Mapping[str, Any], step: int | None, epoch: int) -> Heard:
    """What of `metrics` is a number, on whatever device, as it is now.

    >>> heard({"n": 3, "loss": torch.tensor(0.5), "note": "text"}, 120, 4).settled()
    (120, 4, {'n': 3.0, 'loss': 0.5})
    """
    found = Heard(step, epoch, {})
    by_kind: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
    for key, value in metrics.items():
        if isinstance(value, Tensor):
            if value.numel() != 1 or value.is_complex():
                continue
            if value.device.type == "cpu":  # nothing is waited for
                found.values[str(key)] = float(value.item())
            else:
                by_kind.setdefault((value.device, value.dtype), {})[str(key)] = value.detach().reshape(())
        elif isinstance(value, Real):
            found.values[str(key)] = float(value)
    for tensors in by_kind.values():
        together = torch.stack(list(tensors.values()))  # a copy: the Trainer goes on adding to what it has given
        found.later.append((list(tensors), soon_on_host(together)))
        found.host_bytes += together.numel() * together.element_size()
    return found


class Hearing:
    """See the module's synopsis.

    Args:
        keep: called with what was heard, on the thread that logs.
        ignores: whether what is logged now is none of the run's, or is kept already.
        around: a context for all that is done here while somebody logs. No exception comes out of it.
    """

    def __init__(
        self, trainer: Trainer, keep: Callable[[Heard], object], ignores: Callable[[], bool], around: Around
    ) -> None:
        self._trainer = trainer
        self._keep = keep
        self._ignores = ignores
        self._around = around
        self._inside: set[int] = set()
        self._ears: list[_Ear] = []

    def start(self) -> None:
        for owner in (connector_of(self._trainer), *self._trainer.loggers):
            with suppress(Exception):  # of a logger that has no such method, nothing is to be heard
                self._ears.append(_Ear(self, owner))

    def stop(self) -> None:
        ears, self._ears = self._ears, []
        for ear in ears:
            ear.take_off()

    @contextmanager
    def only_once(self, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Hear a call, and not what the Trainer hands on to its loggers inside."""
        thread = threading.get_ident()
        if thread in self._inside:
            yield
            return
        self._inside.add(thread)
        try:
            if not self._ignores():
                given = {**dict(zip(("metrics", "step"), args, strict=False)), **kwargs}
                self._hear(owner, given.get("metrics"), given.get("step"))
            yield
        finally:
            self._inside.discard(thread)

    def _hear(self, owner: Any, metrics: Any, step: Any) -> None:
        with self._around():
            if not metrics:
                return
            is_value = step is None and owner is connector_of(self._trainer) and "step" in metrics
            at = None if is_value else logging_step(self._trainer) if step is None else int(step)
            self._keep(heard(metrics, at, self._trainer.current_epoch))


class _Ear:
    """Stands in place of a method of one object, and calls it. A copy or a pickle of the object has its own method."""

    def __init__(self, hearing: Hearing, owner: Any, name: str = "log_metrics") -> None:
        self._hearing: Hearing | None = hearing
        self._owner, self._name = owner, name
        self._before = vars(owner).get(name)
        self._method = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hearing is None:
            return self._method(*args, **kwargs)
        with self._hearing.only_once(self._owner, args, kwargs):
            return self._method(*args, **kwargs)

    def __reduce__(self) -> Any:
        return getattr, (self._owner, self._name)

    def take_off(self) -> None:
        self._hearing = None
        if vars(self._owner).get(self._name) is not self:
            return  # somebody has put something over it, which goes on to call it
        if self._before is None:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._before)
