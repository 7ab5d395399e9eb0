"""Devices that are not there: real values on "sim:0", "sim:1", ..., and a log of what makes the host wait.

    sim = simulated_device()
    x = torch.ones(3, device="sim:0")
    x + torch.ones(3, device="sim:1")     # RuntimeError: two devices
    x.sum().item()                        # 3.0
    sim.waits                             # ["aten::_local_scalar_dense"]

It registers torch's one free backend (PrivateUse1) under the name "sim", for the rest of the process: call it in a
process of its own, such as a test that runs `python -c`. A tensor there wraps a CPU tensor, on which its operators are
computed. So it has the CPU's bits and the CPU's operators; what it adds is what a device is strict about, namely which
tensors may meet, and when the host waits.

What it cannot do: `torch.save` of its tensors, in-place operators that change a shape (`unsqueeze_`, `resize_`), random
numbers of a generator of its own, and `backward`: the autograd engine asks a backend how many devices it has, and one
written in Python cannot say. It needs torch 2.9 or newer, and names of torch that are not public.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from lwcallbacks.testing.host_sync import waits


class SimulatedDevice:
    """The simulated devices of this process.

    Attributes:
        waits: the operators that made the host wait, in order; clear it as you like.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []


_active: SimulatedDevice | None = None
_libraries: list[torch.library.Library] = []  # registrations live as long as these
_RESIZED = ["arange", "arange.start", "arange.start_step", "linspace", "eye", "eye.m", "randperm"]


def simulated_device(count: int = 4) -> SimulatedDevice:
    """Make the devices "sim:0" to "sim:{count - 1}" known to torch; the same object each time.

    Raises:
        RuntimeError: this torch has no Python backends, or another one was registered.

    Examples:
        In a process of its own:

        >>> sim = simulated_device()
        >>> torch.ones(3, device="sim:0").sum().item()
        3.0
        >>> sim.waits
        ['aten::_local_scalar_dense']
    """
    global _active
    if _active is not None:
        return _active
    try:
        from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend
    except ImportError:
        raise RuntimeError(f"simulated_device: torch {torch.__version__}, expected torch 2.9 or newer") from None

    class Backend(_DummyBackendModule):
        def device_count(self) -> int:
            return count

    _setup_privateuseone_for_python_backend("sim", backend_module=Backend())
    # Operators that see a SimTensor go to its __torch_dispatch__. Those that make a tensor come here: most by way of
    # the fallback, and those by name for which torch would make an empty one first and resize it.
    fallback = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    fallback.fallback(_made, "PrivateUse1")  # type: ignore[no-untyped-call]
    factories = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name in _RESIZED:
        packet, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, packet), overload or "default")
        factories.impl(name, partial(_made, op), "PrivateUse1")  # type: ignore[no-untyped-call]
    # `torch.tensor(data, device=...)` shuts __torch_dispatch__ off while it copies, and the fallback does not serve it.
    factories.impl("copy_", partial(_made, torch.ops.aten.copy_.default), "PrivateUse1")  # type: ignore[no-untyped-call]
    _libraries.extend([fallback, factories])
    _active = SimulatedDevice()
    return _active


_READ_BY_PYTHON = {Tensor.tolist, Tensor.__repr__, Tensor.__format__}


class SimTensor(Tensor):
    """A tensor on a simulated device: the shape and device of one, and a CPU tensor with the values."""

    _inner: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> SimTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=device,
        )
        made._inner = values
        return made

    def __init__(self, values: Tensor, device: torch.device) -> None:
        pass

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READ_BY_PYTHON:  # torch refuses these for subclasses
            return func(args[0].cpu(), *args[1:], **(kwargs or {}))
        # Not Tensor's own, which would make a SimTensor of what has come to the CPU.
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _computed(func, args, kwargs or {})


def _made(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _computed(func, args, kwargs)


_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
_ANY_DEVICES = {"aten::copy_", "aten::_to_copy", *_INDEXED}


def _computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compute an operator on the CPU and put the results where a device would have them."""
    name = func._schema.name
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    if name not in _ANY_DEVICES:
        _expect_one_device(name, tensors)
    if name in _INDEXED:
        _expect_index_beside(args[0], args[1])
    if _active is not None and waits(func, args, kwargs):
        _active.waits.append(name)
    device = next((t.device for t in tensors if isinstance(t, SimTensor)), torch.device("cpu"))
    if name == "aten::copy_":
        device = args[0].device
    if kwargs.get("device") is not None:
        device = _numbered(torch.device(kwargs["device"]))
        kwargs = {**kwargs, "device": torch.device("cpu")}
        if name == "aten::_to_copy":
            kwargs.pop("pin_memory", None)
    wrapped = {id(t._inner): t for t in tensors if isinstance(t, SimTensor)}
    args, kwargs = tree_map_only(SimTensor, lambda t: t._inner, (args, kwargs))
    result = func(*args, **kwargs)

    def put(t: Tensor) -> Tensor:
        if id(t) in wrapped:  # an in-place operator returns the tensor that it was given
            if wrapped[id(t)].shape != t.shape:
                raise NotImplementedError(f"simulated device: {name} changes a tensor's shape in place")
            return wrapped[id(t)]
        return t if device.type == "cpu" else SimTensor(t, device)

    return tree_map_only(Tensor, put, result)


def _numbered(device: torch.device) -> torch.device:
    return torch.device("sim", device.index or 0) if device.type == "sim" else device


def _expect_one_device(name: str, tensors: list[Tensor]) -> None:
    # As on a real device, a CPU tensor of no dimensions may take part: it is passed by value.
    devices = {t.device for t in tensors if t.ndim or t.device.type != "cpu"}
    if len(devices) > 1:
        found = " and ".join(sorted(map(str, devices)))
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found {found}")


def _expect_index_beside(indexed: Tensor, indices: Sequence[Tensor | None]) -> None:
    """As CUDA: an index on the CPU is brought to the tensor, one on a device does not leave it."""
    for index in indices:
        if index is not None and index.device.type != "cpu" and index.device != indexed.device:
            raise RuntimeError(
                f"indices should be either on cpu or on the same device as the indexed tensor ({indexed.device})"
            )


def second_device() -> torch.device | None:
    """A device that is not the CPU: a simulated one where there are some, else the accelerator, if any."""
    if _active is not None:
        return torch.device("sim", 1)
    if not hasattr(torch, "accelerator"):  # torch before 2.6
        return torch.device("cuda") if torch.cuda.is_available() else None
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
