"""What counts as a field, and the plain tensor that it becomes.

as_tensor(Parameter), as_tensor(array), as_tensor([2, 0, 1])       # tensors of no other class, detached
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.capture.errors import CaptureError

_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}
"""The largest numbers that torch knows, by NumPy's kind."""


def is_field(value: Any) -> bool:
    """Whether it is a tensor, an array of numbers, or a list of them: something that `as_tensor` takes."""
    return isinstance(value, Tensor) or _is_numeric_array(value) or (type(value) is list and _are_numbers(value))


def has_samples(value: Any) -> bool:
    """Whether it is a field with at least one dimension."""
    return is_field(value) and getattr(value, "ndim", 1) > 0


def as_tensor(value: Any) -> Tensor | None:
    """The value as a plain tensor without a graph; None for what is not made of numbers.

    Tensors stay on their device; arrays, lists and tuples of numbers become tensors on the CPU.

    Raises:
        CaptureError: it is a sparse or nested tensor, or a DTensor of which this process has a part only.
    """
    if isinstance(value, Tensor):
        return _plain(value)
    if _is_numeric_array(value):
        return torch.from_numpy(value.copy())  # of arrays that are read-only or reversed, too
    if isinstance(value, (list, tuple)) and _are_numbers(value):
        numbers = [number.detach() if isinstance(number, Tensor) else number for number in value]
        return torch.stack(numbers) if isinstance(numbers[0], Tensor) else torch.tensor(numbers)
    return torch.tensor(value) if isinstance(value, (bool, int, float)) else None


def is_array(value: Any) -> bool:
    """Whether it is an array of NumPy, which is not imported for the question."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def are_strings(value: Any) -> bool:
    """Whether it is a string, or a list or an array of them."""
    if is_array(value):
        return value.dtype.kind in "US" or (value.dtype.kind == "O" and are_strings(value.tolist()))
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(entry, str) for entry in value)
    return isinstance(value, str)


def _plain(tensor: Tensor) -> Tensor:
    if type(tensor) is Tensor and tensor.layout == torch.strided and not tensor.is_nested:
        return tensor.detach()
    if _is_distributed(tensor):
        return _plain(_local(tensor))
    if tensor.is_nested:
        raise CaptureError("it is a nested tensor, expected one of fixed shape: take .to_padded_tensor(0) of it")
    if tensor.layout != torch.strided:
        raise CaptureError(f"it is a tensor of layout {tensor.layout}, expected a dense one: take .to_dense() of it")
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return tensor.detach()  # it keeps its numbers in a way of its own, and a plain tensor would have none
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.detach().as_subclass(Tensor)


def _is_distributed(tensor: Tensor) -> bool:
    # By name: torch.distributed.tensor is slow to import, and whoever has such a tensor has imported it.
    return any(c.__name__ == "DTensor" and c.__module__.startswith("torch.distributed") for c in type(tensor).__mro__)


def _local(tensor: Any) -> Tensor:
    placements = tensor.placements
    if not all(placement.is_replicate() for placement in placements):
        raise CaptureError(
            f"it is a DTensor placed as {tuple(placements)}, of which this process holds a part only, expected a whole"
            " tensor: take .full_tensor() of it, on every process"
        )
    local: Any = tensor.detach().to_local()
    # What is still on its way has a class of its own.
    whole: Tensor = local.wait() if type(local).__name__ == "AsyncCollectiveTensor" else local
    return whole


def _is_numeric_array(value: Any) -> bool:
    return is_array(value) and value.dtype.isnative and value.dtype.itemsize <= _BYTES.get(value.dtype.kind, 0)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether they are Python's or NumPy's numbers, or tensors of one number."""
    if not values:
        return False
    if isinstance(values[0], Tensor):
        return all(isinstance(value, Tensor) and value.ndim == 0 for value in values)
    return all(isinstance(value, (bool, int, float)) or _is_numpy_number(value) for value in values)


def _is_numpy_number(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.number, numpy.bool_))
