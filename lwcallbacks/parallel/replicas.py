"""Replicas of a module, run side by side: on CUDA by the parts of `nn.DataParallel`, on the CPU in threads.

replicas = CpuReplicas(3)
copies = replicas.replicate(module, 2)             # their gradients arrive at `module`
outcomes = replicas.run([here(partial(copy, share), "cpu") for copy, share in zip(copies, shares)])
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from lwcallbacks.parallel.shares import join_here, split_here
from lwcallbacks.state.replica import inside_replica

Net = TypeVar("Net", bound=nn.Module)


@dataclass
class Outcome:
    """What a call returned, or what it raised."""

    value: Any = None
    error: BaseException | None = None


class Replicas(Protocol):
    """What DataParallel asks of the devices."""

    def split(self, tensor: Tensor, n: int) -> Sequence[Tensor]:
        """Cut a tensor [N, ...] into n shares, one on each device; a scalar is copied."""

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """Concatenate tensors [n, ...] on the first device."""

    def replicate(self, module: Net, n: int) -> list[Net]:
        """n copies of a module; the first shares the original's tensors, the others have tensors of their own."""

    def run(self, calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
        """Make the calls at the same time; none of them raises."""


class TorchReplicas:
    """On several devices, by what `nn.DataParallel` is made of."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = list(devices)

    def split(self, tensor: Tensor, n: int) -> Sequence[Tensor]:
        if not tensor.ndim:
            return [tensor.to(device) for device in self._devices[:n]]
        shares: Sequence[Tensor] = nn.parallel.scatter(tensor, self._devices[:n])
        return shares

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        # What a step has moved to the CPU stays there.
        if any(tensor.device.type == "cpu" for tensor in tensors):
            return torch.cat([tensor.cpu() for tensor in tensors])
        joined: Tensor = nn.parallel.gather(list(tensors), self._devices[0])
        return joined

    def replicate(self, module: Net, n: int) -> list[Net]:
        return nn.parallel.replicate(module, self._devices[:n], detach=not torch.is_grad_enabled())

    def run(self, calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
        # Calls stand in for modules, which are only ever called there.
        modules: Any = calls
        return nn.parallel.parallel_apply(modules, [()] * len(calls), None, self._devices[: len(calls)])


class CpuReplicas:
    """Several replicas on the CPU, so that code for DataParallel can be tried without a second device."""

    split = staticmethod(split_here)
    join = staticmethod(join_here)

    def replicate(self, module: Net, n: int) -> list[Net]:
        return [_replica(module, copied=i > 0) for i in range(n)]

    def run(self, calls: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
        outcomes = [Outcome() for _ in calls]

        def work(i: int) -> None:
            outcomes[i] = calls[i]()

        threads = [
            threading.Thread(target=work, args=(i,), name=f"replica {i}", daemon=True) for i in range(len(calls))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes


def here(call: Callable[[], Any], device_type: str) -> Callable[[], Outcome]:
    """`call`, to be run in another thread with this one's modes of autograd and autocast, and as part of a replica."""
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    enabled, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)

    def run() -> Outcome:
        # Leaving inference mode sets the mode of gradients too, so that one comes second.
        with torch.inference_mode(inference), torch.set_grad_enabled(grad), inside_replica():
            try:
                with torch.autocast(device_type, dtype=dtype, enabled=enabled):
                    return Outcome(call())
            except BaseException as error:
                return Outcome(error=error)

    return run


def _replica(module: Net, *, copied: bool) -> Net:
    """What `torch.nn.parallel.replicate` does; that broadcasts to devices, which the CPU does not count as."""

    def replicated(tensor: Tensor) -> Tensor:
        if copied:
            return tensor.clone() if tensor.requires_grad else tensor.detach().clone()
        # No longer a leaf, as in any other replica. A buffer stays itself, so that running statistics are recorded.
        return tensor.view_as(tensor) if tensor.requires_grad else tensor

    tensors = {id(tensor): replicated(tensor) for tensor in (*module.parameters(), *module.buffers())}
    children: list[Any] = list(module.modules())
    copies = {id(child): child._replicate_for_data_parallel() for child in children}
    for original in children:
        copy = copies[id(original)]
        copy._former_parameters = OrderedDict()
        for name, child in original._modules.items():
            if child is None:
                copy._modules[name] = None
            else:
                setattr(copy, name, copies[id(child)])
        for name, parameter in original._parameters.items():
            if parameter is None:
                copy._parameters[name] = None
            else:
                setattr(copy, name, tensors[id(parameter)])
                copy._former_parameters[name] = tensors[id(parameter)]
        for name, buffer in original._buffers.items():
            setattr(copy, name, None if buffer is None else tensors[id(buffer)])
    replica: Net = copies[id(module)]
    return replica
