"""torch's own DataParallel, made to run on the CPU: its replicate and parallel_apply are the real ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn


def run_torch_parts_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what needs a device: the copies to and from it, its streams, and the look-up of its index."""
    if not hasattr(torch, "accelerator"):
        pytest.skip("torch before 2.6 asks CUDA itself for what is replaced here")
    replicate = sys.modules["torch.nn.parallel.replicate"]
    apply = sys.modules["torch.nn.parallel.parallel_apply"]

    def copies(tensors: Sequence[torch.Tensor], devices: Sequence[Any], detach: bool = False) -> Any:
        # As on devices, the first copy shares the original's memory.
        def copied(tensor: torch.Tensor, i: int) -> torch.Tensor:
            copy = tensor.view_as(tensor) if i == 0 else tensor.clone()
            return copy.detach() if detach else copy

        return [[copied(tensor, i) for tensor in tensors] for i in range(len(devices))]

    monkeypatch.setattr(replicate, "_get_device_index", lambda device, optional: device)
    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", copies)
    monkeypatch.setattr(apply, "_get_device_index", lambda device, optional: device)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device: nullcontext())
    monkeypatch.setattr(torch.accelerator, "device_index", lambda device: nullcontext())
    monkeypatch.setattr(nn.parallel, "scatter", lambda tensor, devices: tensor.chunk(len(devices)))


class DataParallelOnCpu(nn.DataParallel):
    """`nn.DataParallel` with n replicas on the CPU; wants `run_torch_parts_on_cpu`."""

    def __init__(self, module: nn.Module, replicas: int) -> None:
        super().__init__(module)
        self.device_ids = [torch.device("cpu")] * replicas
        self.src_device_obj = self.output_device = torch.device("cpu")
        self.dim = 0

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Any) -> Any:
        [tensor] = inputs
        return [(chunk,) for chunk in tensor.chunk(len(device_ids))], [{}] * len(tensor.chunk(len(device_ids)))

    def gather(self, outputs: Any, output_device: Any) -> Any:
        return torch.cat(outputs)
