"""What a metric's attributes hold: which of them are data, a copy of it, and how much it is.

is_data([torch.ones(3), "a"])         # True; a function, a module or a generator is none
data_bytes([torch.ones(3), "a"])      # 13
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.testing.world import contained_metrics

_SINGLE = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, Tensor, np.ndarray)
_MANY = (list, tuple, set, frozenset, deque)


def is_data(value: Any) -> bool:
    """Whether this is numbers, text, tensors or arrays, None, or containers of them."""
    if isinstance(value, dict):
        return all(map(is_data, value.values()))
    return all(map(is_data, value)) if isinstance(value, _MANY) else value is None or isinstance(value, _SINGLE)


def copied_data(value: Any) -> Any:
    """A copy that no update can reach, with its tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, list | tuple | deque):
        return [copied_data(part) for part in value]
    if isinstance(value, dict):
        return {name: copied_data(part) for name, part in value.items()}
    return copy.deepcopy(value)


def data_bytes(value: Any) -> int:
    """What numbers, texts, tensors and arrays take; containers and what is no data take nothing."""
    if isinstance(value, Tensor | np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(data_bytes(part) for pair in value.items() for part in pair)
    if isinstance(value, _MANY):
        return sum(map(data_bytes, value))
    if isinstance(value, str | bytes):
        return len(value)
    return 8 if isinstance(value, int | float | complex) else 0


BOOKS = {"update", "compute", "_update_signature", "_modules", "_defaults", "_persistent", "_reductions"}
"""What torchmetrics keeps of how a metric is made."""


def attributes(metric: Any, *, classes: bool = False) -> list[dict[str, Any]]:
    """A copy of every attribute that is data, of the metric and of all that it contains.

    Args:
        metric: the metric.
        classes: whether `of_classes` belong to it.
    """
    return [
        {
            name: copied_data(value)
            for name, value in ((of_classes(part) if classes else {}) | vars(part)).items()
            if name not in BOOKS and is_data(value)
        }
        for part in contained_metrics(metric)
    ]


def of_classes(part: Any) -> dict[str, Any]:
    """What belongs to the classes of a metric, where these are not torchmetrics' or torch's."""
    own = [cls for cls in type(part).__mro__ if cls.__module__.partition(".")[0] not in ("torchmetrics", "torch")]
    return {name: value for cls in reversed(own) for name, value in vars(cls).items() if not name.startswith("__")}
