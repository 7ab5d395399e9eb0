"""Values of a device for another thread, without a wait on this one.

values = soon_on_host(tensor)      # in a batch hook: begins to copy, waits for nothing
values()                           # in the background: waits, and gives the copy

is_here, values = arriving(tensor) # the same, and whether there is no more to wait for
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lwcallbacks.reductions.looking import may_look


def soon_on_host(x: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; calling what is returned waits for the copy and gives it.

    On CUDA devices the copy goes to pinned memory, behind the work that is queued, and frees the device's memory. Other
    devices keep the tensor until it is called for. A tensor of the CPU is given as it is.
    """
    return arriving(x)[1]


def arriving(x: Tensor) -> tuple[Callable[[], bool], Callable[[], Tensor]]:
    """As `soon_on_host`; and first whether the copy is there, which waits for nothing.

    Devices other than CUDA and the CPU do not tell, and are taken for late.
    """
    if x.device.type != "cuda":
        return partial(may_look, x), x.cpu
    copy = x.to(torch.device("cpu"), non_blocking=True)  # pinned, since it does not block
    copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # the thread that waits sleeps
    copied.record(torch.cuda.current_stream(x.device))

    def wait() -> Tensor:
        copied.synchronize()
        return copy

    return copied.query, wait
