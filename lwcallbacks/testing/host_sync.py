"""Find what makes the host wait for the device, without a device.

    with forbid_host_sync():
        metric.update(preds, targets)        # HostSync, where it calls .item(), nonzero, a boolean mask, ...

A GPU computes while Python runs ahead. An operation whose result Python has to see, or whose output's shape depends on
the data, stops Python until the GPU has caught up. So does a copy from the host to the device without
`non_blocking=True`. This finds them on CPU tensors, by treating every tensor as if it were on a device. Making tensors
from Python data is allowed where no device is named. It cannot see waits inside of kernels, nor `.to(device)` with
a device object that is the CPU, since on CPU tensors that is no wait but what code for any device does. With tensors of
`simulated_device()` it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing.errors import HostSync

_READ = "Python asks for a value; keep it a tensor, and read it at the end of the epoch"
_SHAPE = "the result's shape depends on the data; use torch.where, or multiply by a mask"
_COPY = "it copies to the host; keep the tensor on its device until the end of the epoch"
_FROM_HOST = "it copies from the host, once all queued work is done; pass non_blocking=True"
_MIXED = "a tensor of the host among those of a device is copied there; bring it with .to(device, non_blocking=True)"
_MADE = (
    "what Python has is copied from the host; write torch.full((), number, device=device) for one number, "
    "torch.tensor(data).to(device, non_blocking=True) for several"
)
_LIST = "a list as an index is copied from the host; index with a tensor that is on the device"

WAITING_OPS: Mapping[str, str] = {
    "aten::_local_scalar_dense": _READ,
    "aten::equal": _READ,
    "aten::is_nonzero": _READ,
    "aten::allclose": _READ,
    "aten::nonzero": _SHAPE,
    "aten::nonzero_numpy": _SHAPE,
    "aten::argwhere": _SHAPE,
    "aten::masked_select": _SHAPE,
    "aten::unique_dim": _SHAPE,
    "aten::unique_consecutive": _SHAPE,
    "aten::unique_dim_consecutive": _SHAPE,
    "aten::_unique": _SHAPE,
    "aten::_unique2": _SHAPE,
    "aten::bincount": "its length depends on the data; use index_add_ into a tensor of fixed length",
    "aten::tensor_split.tensor_indices_or_sections": _READ,
}
"""Operators of aten that wait wherever their input lives, and what to write instead."""

_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}

_COPIES_SCALARS = {"aten::where"}
"""Operators that copy a host's tensor without dimensions to the device; most others pass it by value."""

_MAKERS = {torch.tensor, torch.as_tensor, torch.asarray}

_WAITING_METHODS: dict[Callable[..., Any], str] = {
    Tensor.tolist: _READ,
    Tensor.item: _READ,
    Tensor.__bool__: _READ,
    Tensor.__int__: _READ,
    Tensor.__float__: _READ,
    Tensor.__index__: _READ,
    Tensor.__contains__: _READ,
    Tensor.__repr__: _READ,
    Tensor.__format__: _READ,
    Tensor.cpu: _COPY,
    Tensor.numpy: _COPY,
    Tensor.__array__: _COPY,
}


def waits(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why an aten operator called with these arguments waits; None where it does not."""
    schema = func._schema
    name = schema.name
    if name in WAITING_OPS:
        return WAITING_OPS[name]
    if name in _INDEXING and any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        # Where one value is put, torch fills by mask: that has a fixed shape.
        filled = name != "aten::index" and args[2].numel() == 1 and not (len(args) > 3 and args[3])
        return None if filled else _SHAPE
    if name == "aten::repeat_interleave" and kwargs.get("output_size") is None:
        return "its length depends on the data; pass output_size"
    if name in _INDEXING | _COPIES_SCALARS and len({t.device.type == "cpu" for t in _tensors(args)}) > 1:
        return _MIXED
    if name in ("aten::_to_copy", "aten::copy_"):
        source = args[1] if name == "aten::copy_" else args[0]
        target = args[0].device if name == "aten::copy_" else torch.device(kwargs.get("device") or source.device)
        if source.device.type != "cpu" and target.type == "cpu":
            return _COPY
        # copy_(self, src, non_blocking). Nothing to copy is nothing to wait for.
        may_block = not kwargs.get("non_blocking", name == "aten::copy_" and any(args[2:]))
        if source.device.type == "cpu" and target.type != "cpu" and may_block and source.numel():
            return _FROM_HOST
    return None


def _tensors(args: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(args)[0] if isinstance(leaf, Tensor)]


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what reaches a kernel."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if reason := waits(func, args, kwargs):
            raise _host_sync(func._schema.name.replace("aten::", "torch."), reason)
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    """Sees what never becomes a kernel on CPU tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _WAITING_METHODS:
            raise _host_sync(f"Tensor.{func.__name__}", _WAITING_METHODS[func])
        if reason := _brings_python_data(func, args, kwargs):
            raise _host_sync(f"{'torch' if func in _MAKERS else 'Tensor'}.{func.__name__}", reason)
        if func is Tensor.to and any(isinstance(a, str) and a.startswith("cpu") for a in (*args, *kwargs.values())):
            raise _host_sync("Tensor.to('cpu')", _COPY)
        return func(*args, **kwargs)


def _brings_python_data(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why a function waits that copies numbers of Python or NumPy to a device: to any that is not called "cpu"."""
    if func in (Tensor.__getitem__, Tensor.__setitem__):
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        lists = [part for part in index if isinstance(part, list)]
        return _LIST if any(isinstance(number, int) for part in lists for number in part) else None
    if func in _MAKERS:
        data = args[0] if args else next((kwargs[name] for name in ("data", "obj") if name in kwargs), None)
        device = kwargs.get("device")
    elif func is Tensor.new_tensor:
        data, device = args[1] if len(args) > 1 else kwargs["data"], kwargs.get("device", args[0].device)
    else:
        return None
    is_empty = isinstance(data, Sequence) and not data  # nothing is copied
    return None if device in (None, "cpu") or isinstance(data, Tensor) or is_empty else _MADE


def _host_sync(operation: str, reason: str) -> HostSync:
    return HostSync(f"{operation} waits for the device: {reason}")


@contextmanager
def forbid_host_sync() -> Iterator[None]:
    """Raise `HostSync` at an operation that would wait for the device, naming it and what to write instead.

    Raises:
        HostSync: for `.item()`, `bool(tensor)`, `.tolist()`, `.cpu()`, `.to("cpu")`, `.numpy()`, `nonzero`, indexing
            with a boolean mask or a list, `unique`, `bincount`, `masked_select`, `torch.equal`, `torch.tensor(1.0,
            device=x.device)` and similar, on this thread. With tensors on a device, real or of `simulated_device()`,
            also for `.to(device)` and `copy_` from the host without `non_blocking=True`.

    Reductions of this package look at data that is on the CPU, where nothing is waited for. In here they take the way
    that they take on an accelerator.

    Examples:
        >>> x = torch.arange(4)
        >>> with forbid_host_sync():
        ...     total = torch.where(x > 1, x, 0).sum()     # the shapes are known beforehand
        >>> with forbid_host_sync():
        ...     total = x[x > 1].sum()
        Traceback (most recent call last):
            ...
        lwcallbacks.testing.errors.HostSync: torch.index waits for the device: the result's shape depends on ...
    """
    with as_on_a_device(), _Methods(), _Operators():  # type: ignore[no-untyped-call]
        yield
