"""Tensors of any number, shape and dtype, from every process to every process, in three exchanges.

everyone = yield from gathered([[tensor, ...], [], ...])     # everyone[rank][i]: that process's tensors of list i
texts = yield from gathered_texts("what this one says")      # by rank, in two exchanges

Numbers that are reduced elementwise cross in a dtype that every backend can reduce:

    on_wire(tensor, "sum")                                   # bfloat16 as float32, bool and int16 as int32, ...
    off_wire(reduced, tensor.dtype, "sum")
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.state.link import AllGather, ReduceOp, Request

_NAMES = (
    "uint8", "int8", "int16", "int32", "int64", "bool", "float16", "bfloat16", "float32", "float64", "complex64",
    "complex128", "uint16", "uint32", "uint64", "complex32", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
    "float8_e5m2fnuz", "float8_e8m0fnu",
)  # fmt: skip
DTYPES: list[torch.dtype] = [getattr(torch, name) for name in _NAMES if hasattr(torch, name)]
"""What can cross, as bytes. Processes name a dtype by its place here: they must have one version of torch."""

_INT32 = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32}
_INT64 = {torch.int64, torch.uint32, torch.uint64}
_FLOAT64 = {torch.float64, torch.complex128}


def wire_dtype(dtype: torch.dtype, op: ReduceOp) -> torch.dtype:
    """The dtype in which tensors of `dtype` are reduced over processes: gloo and nccl cannot reduce every dtype.

    Raises:
        TypeError: there is no such reduction.
    """
    if dtype not in DTYPES or (dtype.is_complex and op != "sum"):
        raise TypeError(f"the {op} over processes of a tensor of {dtype} is not defined")
    if dtype in _INT32:
        return torch.int32
    if dtype in _INT64:
        return torch.int64
    return torch.float64 if dtype in _FLOAT64 else torch.float32


def on_wire(tensor: Tensor, op: ReduceOp) -> Tensor:
    """The tensor as a vector of numbers to be reduced elementwise."""
    wire = wire_dtype(tensor.dtype, op)
    flat = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    if flat.dtype.is_complex:
        return torch.view_as_real(flat.to(torch.complex128 if wire == torch.float64 else torch.complex64)).reshape(-1)
    if flat.dtype == torch.uint64:
        # The same bits are a signed number; flipping the highest keeps the order.
        signed = flat.contiguous().view(torch.int64)
        return signed if op == "sum" else signed ^ _HIGHEST_BIT
    return flat.to(wire)


def off_wire(numbers: Tensor, dtype: torch.dtype, op: ReduceOp) -> Tensor:
    """What `on_wire` made numbers of, a vector of `dtype`. A sum of bool tells whether any was true."""
    if dtype.is_complex:
        return torch.view_as_complex(numbers.reshape(-1, 2).contiguous()).to(dtype)
    if dtype == torch.uint64:
        return (numbers if op == "sum" else numbers ^ _HIGHEST_BIT).contiguous().view(torch.uint64)
    return numbers.to(dtype)


_HIGHEST_BIT = -(2**63)


def as_bytes(tensor: Tensor) -> Tensor:
    """The tensor's memory: uint8, one dimension."""
    return tensor.detach().resolve_conj().resolve_neg().reshape(-1).contiguous().view(torch.uint8)


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


def gathered_texts(text: str) -> Generator[Request, Any, list[str]]:
    """Exchange a text of any length."""
    data = torch.tensor(list(text.encode()), dtype=torch.uint8)
    sizes = torch.stack((yield AllGather(torch.tensor([len(data)])))).reshape(-1).tolist()
    answers = yield AllGather(_padded(data, max(sizes)))
    return [bytes(answer[:size].tolist()).decode() for answer, size in zip(answers, sizes, strict=True)]


def _pack(lists: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Which list, dtype, number of dimensions and shape of each tensor, int64; and the bytes of all, uint8."""
    header: list[int] = []
    data = [torch.empty(0, dtype=torch.uint8)]
    for i, tensors in enumerate(lists):
        for tensor in tensors:
            header += [i, DTYPES.index(tensor.dtype), tensor.ndim, *tensor.shape]
            data.append(as_bytes(tensor.cpu()))
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
