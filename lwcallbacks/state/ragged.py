"""Tensors of any number, shape and dtype, from every process to every process, in three exchanges.

everyone = yield from gathered([[tensor, ...], [], ...])     # everyone[rank][i]: that process's tensors of list i
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.state.link import AllGather, Request

DTYPES = [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
]  # fmt: skip


def gathered(lists: Sequence[Sequence[Tensor]]) -> Generator[Request, Any, list[list[list[Tensor]]]]:
    """Exchange lists of tensors, one after another in the same order on every process; CPU tensors are returned."""
    header, data = _pack(lists)
    sizes = torch.stack((yield AllGather(torch.tensor([len(header), len(data)])))).tolist()
    longest = [max(size) for size in zip(*sizes, strict=True)]
    headers = yield AllGather(_padded(header, longest[0]))
    contents = yield AllGather(_padded(data, longest[1]))
    return [
        _unpack(header[:length].tolist(), content[:num_bytes].cpu(), len(lists))
        for header, content, (length, num_bytes) in zip(headers, contents, sizes, strict=True)
    ]


def _pack(lists: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Which list, dtype, number of dimensions and shape of each tensor, int64; and the bytes of all, uint8."""
    header: list[int] = []
    data = [torch.empty(0, dtype=torch.uint8)]
    for i, tensors in enumerate(lists):
        for tensor in tensors:
            header += [i, DTYPES.index(tensor.dtype), tensor.ndim, *tensor.shape]
            data.append(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8))
    return torch.tensor(header, dtype=torch.int64), torch.cat(data)


def _unpack(header: list[int], data: Tensor, num_lists: int) -> list[list[Tensor]]:
    lists: list[list[Tensor]] = [[] for _ in range(num_lists)]
    at = start = 0
    while at < len(header):
        i, code, ndim = header[at : at + 3]
        shape = header[at + 3 : at + 3 + ndim]
        stop = start + DTYPES[code].itemsize * math.prod(shape)
        # Bytes of an odd place cannot be viewed as larger numbers: a copy begins at an even one.
        lists[i].append(data[start:stop].clone().view(DTYPES[code]).reshape(shape))
        at, start = at + 3 + ndim, stop
    return lists


def _padded(tensor: Tensor, length: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(length - len(tensor))])
