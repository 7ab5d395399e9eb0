"""Where looking at a tensor's values is free, and how to get them to the host where it is not.

    on_host(torch.zeros(3))            # True: the kernel that looks at the data is the faster one
    values = soon_on_host(tensor)      # in a batch hook: begins to copy, waits for nothing
    values()                           # on another thread, or later: waits, and gives the copy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_AS_ON_DEVICE = ContextVar("lwcallbacks_as_on_device", default=False)


def on_host(x: Tensor) -> bool:
    """Whether nothing is waited for where Python looks at the values: `x` lies on the CPU."""
    return x.device.type == "cpu" and not _AS_ON_DEVICE.get()


@contextmanager
def as_on_device() -> Iterator[None]:
    """Take the accelerator's way for tensors of the CPU, too, on this thread: so it can be tried without one."""
    token = _AS_ON_DEVICE.set(True)
    try:
        yield
    finally:
        _AS_ON_DEVICE.reset(token)


def soon_on_host(x: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; calling what is returned waits for the copy and gives it.

    On CUDA devices the copy goes to pinned memory, behind the work that is queued, and frees the device's memory. Other
    devices keep the tensor until it is called for.
    """
    if x.device.type != "cuda":
        return x.cpu
    copy = x.to(torch.device("cpu"), non_blocking=True)  # pinned, since it does not block
    copied = torch.cuda.Event(blocking=True)  # the thread that waits sleeps
    copied.record(torch.cuda.current_stream(x.device))

    def wait() -> Tensor:
        copied.synchronize()
        return copy

    return wait
