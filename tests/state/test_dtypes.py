"""Every dtype crosses: in payloads, in lists, and where it is reduced elementwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import syncs
from support.processes import run_processes

from lwcallbacks.state.ragged import DTYPES, off_wire, on_wire, wire_dtype
from lwcallbacks.testing import World

REAL = [dtype for dtype in DTYPES if not dtype.is_complex]


def expected(dtype: torch.dtype, op: str) -> torch.Tensor:
    return syncs.reduced_by_hand(dtype, op, 2)


def cases() -> list[tuple[str, torch.dtype]]:
    return [(op, dtype) for op in ("sum", "max", "min") for dtype in (DTYPES if op == "sum" else REAL)]


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("world", ["simulated", "gloo"])
def test_every_dtype_crosses_and_comes_back_as_it_was(world: str) -> None:
    """Summed, raised and lowered as metric states; in lists; as payload. Two processes, the second with more rows."""
    if world == "gloo":
        results: list[Any] = run_processes(2, syncs.every_dtype)
    else:
        cores = [syncs.core_of_dtypes(rank) for rank in range(2)]
        results = [syncs.as_lists(values) for values in World(2).collect(cores)]
    assert results[0]["values"] == results[1]["values"]
    assert results[1]["payload"] == {}
    for op, dtype in cases():
        assert results[0]["values"][f"{op} {dtype}"] == syncs.listed(expected(dtype, op)), (op, dtype)
    for dtype in DTYPES:
        rows = torch.cat([syncs.as_bytes(syncs.numbers_of(dtype, rank)) for rank in range(2)])
        assert results[0]["values"][f"list {dtype}"] == (str(dtype), rows.tolist()), dtype
        assert results[0]["payload"][str(dtype)] == (str(dtype), rows.tolist()), dtype


@pytest.mark.parametrize(("op", "dtype"), cases())
def test_no_bit_of_a_number_is_lost_on_the_way(op: Any, dtype: torch.dtype) -> None:
    """The largest number of its dtype, and the next after one."""
    if dtype == torch.bool:
        x = torch.tensor([True, False])
    elif dtype.is_floating_point or dtype.is_complex:
        info = torch.finfo(dtype)
        x = torch.tensor([info.max, 1 + info.eps], dtype=torch.float64).to(dtype)
    else:
        x = torch.tensor([torch.iinfo(dtype).max, 1], dtype=dtype)
    assert syncs.listed(off_wire(on_wire(x, op), dtype, op)) == syncs.listed(x)


def test_the_largest_numbers_of_64_bits_keep_their_order() -> None:
    """Above the largest signed number."""
    big = [torch.tensor([v], dtype=torch.uint64) for v in (2**64 - 1, 3, 2**63)]
    for op, value in (("max", 2**64 - 1), ("min", 3), ("sum", (2**64 - 1 + 3 + 2**63) % 2**64)):
        wires = torch.stack([on_wire(b, op) for b in big])  # type: ignore[arg-type]
        reduced = {"max": wires.amax(0), "min": wires.amin(0), "sum": wires.sum(0)}[op]
        assert off_wire(reduced, torch.uint64, op).tolist() == [value]  # type: ignore[arg-type]


def test_what_has_no_order_or_no_bytes_is_refused() -> None:
    """With the dtype in the words."""
    with pytest.raises(TypeError, match=r"the max over processes of a tensor of torch.complex64 is not defined"):
        wire_dtype(torch.complex64, "max")
    with pytest.raises(TypeError, match=r"torch\.qint8"):
        wire_dtype(torch.qint8, "sum")


def test_conjugates_and_slices_are_sent_as_what_they_show() -> None:
    """Not as the memory that they view."""
    x = torch.tensor([1 + 2j, 3 - 1j])
    assert off_wire(on_wire(x.conj(), "sum"), x.dtype, "sum").tolist() == [1 - 2j, 3 + 1j]
    assert syncs.as_bytes(x.conj()).view(x.dtype).tolist() == [1 - 2j, 3 + 1j]
    assert on_wire(torch.arange(6)[::2], "sum").tolist() == [0, 2, 4]
