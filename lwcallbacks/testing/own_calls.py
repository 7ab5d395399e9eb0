"""What code asks of `torch.distributed` by itself, or of the variables that a launcher sets: no `World` answers that.

    with own_calls() as calls:
        metric.update(preds, targets)
    calls       # ["torch.distributed.get_rank() at my_metric.py:12"]

That torchmetrics asks whether there are processes is no such call: a metric's own sync is what a `World` simulates.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_DISTRIBUTED = f"{_TORCH}distributed{os.sep}"
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_SAME_ANYWHERE = {
    *("is_available", "is_backend_available", "is_gloo_available", "is_mpi_available", "is_nccl_available"),
    *("is_ucc_available", "is_xccl_available", "WORLD"),
}
"""What is no other on several processes."""
VARIABLES = frozenset(
    ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS")
)
"""Variables of the environment that tell processes apart."""


@contextmanager
def own_calls() -> Iterator[list[str]]:
    """The calls that are made in here, on this thread and on those that it starts: each line of code once."""
    calls: dict[str, str] = {}

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call" and (name := _asked(frame)) and (place := _place(frame)):
            calls.setdefault(place, name)

    found: list[str] = []
    before, before_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(before_threads)
        found += [f"{name} at {place}" for place, name in calls.items()]


def _asked(frame: FrameType) -> str:
    """What a call asks for; empty where it says nothing about processes."""
    code = frame.f_code
    if code is type(os.environ).__getitem__.__code__:
        key = frame.f_locals.get("key")
        return f"os.environ[{key!r}]" if key in VARIABLES else ""
    if not code.co_filename.startswith(_DISTRIBUTED):
        return ""
    name = getattr(frame.f_locals.get("func"), "__name__", code.co_name)  # of a wrapper, that of what it wraps
    return "" if name in _SAME_ANYWHERE else f"torch.distributed.{name}()"


def _place(frame: FrameType) -> str:
    """Whose call it is; empty where torch itself, a sync of torchmetrics or of this package asks."""
    caller = frame.f_back
    while caller is not None and _passes_on(caller.f_code.co_filename):
        if caller.f_code.co_name in _SAME_ANYWHERE:
            return ""
        caller = caller.f_back
    if caller is None:
        return ""
    code = caller.f_code
    is_sync = code.co_name == "jit_distributed_available" and caller.f_globals["__name__"] == "torchmetrics.metric"
    if is_sync or code.co_filename.startswith((_TORCH, _OURS, "<frozen importlib")):
        return ""
    return f"{code.co_filename}:{caller.f_lineno}"


def _passes_on(filename: str) -> bool:
    return filename.startswith(_DISTRIBUTED) or filename in (os.__file__, "<frozen os>", "<frozen _collections_abc>")
