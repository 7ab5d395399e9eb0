"""Whether a kernel may look at its data: free on the CPU, a wait for what is queued on an accelerator.

    may_look(losses)               # True on the CPU
    with as_on_a_device():         # the way of an accelerator, on CPU tensors: its law, and what waits, can be tested
        may_look(losses)           # False

A kernel that goes two ways has one law: the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_is_free: ContextVar[bool] = ContextVar("looking at data on the CPU is free", default=True)


def may_look(field: object) -> bool:
    """Whether `field` is a tensor on the CPU, and `as_on_a_device` is not in force on this thread."""
    return isinstance(field, Tensor) and field.is_cpu and _is_free.get()


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Treat the CPU as a device that is waited for.

    >>> import torch
    >>> with as_on_a_device():
    ...     may_look(torch.zeros(1))
    False
    """
    token = _is_free.set(False)
    try:
        yield
    finally:
        _is_free.reset(token)
