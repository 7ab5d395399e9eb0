"""Reading the gradients of one optimizer at one step: begun at once, finished on the host.

    readings = read([Row("net.weight", parameter)], LogHistogram(), ["norms"])
    finished(readings)                                  # waits for the device

    steps = read_shared(rows, LogHistogram(), ["norms"], rank=0, world_size=2)      # of spread tensors, a coroutine

Nothing in here looks at a value before it is on the host, so it may be called where nothing may be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.norms import in_float64, joined, norms_of, peaks_of
from lwcallbacks.gradients.sample import num_real
from lwcallbacks.gradients.shards import counts_here, local_of
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.bits import flattened
from lwcallbacks.reductions.filled import FilledBins
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.to_host import soon_on_host

Column = Literal["norms", "before", "changes", "weights"]
"""Norms that are read of each row, called as in `Layers`."""


@dataclass(frozen=True, eq=False)
class Row:
    """A parameter, and what was kept of it.

    Attributes:
        name: as the user calls it.
        parameter: with its gradient in `.grad`, or without one.
        before: the norm of its gradient before clipping, as `norms_of` gives it, float32 [2].
        used: the gradient that was used, where it is no more in `.grad`.
    """

    name: str
    parameter: Tensor
    before: Tensor | None = None
    used: Tensor | None = None

    @property
    def gradient(self) -> Tensor | None:
        return self.parameter.grad if self.used is None else self.used


@dataclass(frozen=True, eq=False)
class Reading:
    """Some rows of one step. `finish` waits for the device; what it gives is for rows that have a gradient."""

    finish: Callable[[], Layers]
    host_bytes: int = 0
    """What moves to the host."""
    nbytes: int = 0
    """Of host memory, until it is finished."""
    peaks: tuple[Sequence[int], Tensor] | None = None
    """The `id` of its parameters, and the largest absolute values [P] of their gradients, float32, there. None where
    these are spread over processes, or of float64, whose largest values may be no float32."""


def dense(gradient: Tensor) -> Tensor:
    """A gradient as real numbers, all of them."""
    whole = gradient.to_dense() if gradient.is_sparse else gradient
    return torch.view_as_real(whole) if whole.is_complex() else whole


@torch.no_grad()
def gradient_norms(parameters: Sequence[Tensor]) -> dict[int, Tensor]:
    """The norms of the gradients as they are now, as `norms_of` gives them, by the `id` of the parameter."""
    found: dict[int, Tensor] = {}
    local = {id(p): dense(local_of(p.grad, p)) for p in parameters if p.grad is not None}
    for device in dict.fromkeys(x.device for x in local.values()):
        here = {key: x for key, x in local.items() if x.device == device}
        found |= zip(here, norms_of(flattened(list(here.values()))), strict=True)
    return found


@torch.no_grad()
def read(
    rows: Sequence[Row], histogram: LogHistogram, columns: Sequence[Column], kept: Kept | None = None
) -> list[Reading]:
    """Read gradients that are whole on this process: one reading for each device.

    `kept` is what changes are worked out from.
    """
    local = [(row, dense(of)) for row in rows if (of := row.gradient) is not None]
    local = [(row, x) for row, x in local if x.numel()]
    devices = dict.fromkeys(x.device for _, x in local)
    return [
        _of_device([pair for pair in local if pair[1].device == device], histogram, columns, kept or Kept())
        for device in devices
    ]


def finished(readings: Sequence[Reading]) -> Layers | None:
    """All rows of one step; None if no parameter had a gradient."""
    parts = [reading.finish() for reading in readings]
    return _concatenated([part for part in parts if part.names])


def _of_device(
    local: Sequence[tuple[Row, Tensor]], histogram: LogHistogram, columns: Sequence[Column], kept: Kept
) -> Reading:
    rows, gradients = [row for row, _ in local], flattened([x for _, x in local])
    bins, peaks = _counted(gradients, histogram)
    numbers = _numbers(rows, gradients, columns, peaks, kept)
    floats = soon_on_host(numbers)
    names, elements = tuple(row.name for row in rows), np.array([x.numel() for x in gradients])

    def finish() -> Layers:
        return Layers(names, elements, bins(), **_named(floats().numpy()[None], columns))

    may_overflow = any(x.dtype == torch.float64 for x in gradients)
    tables = len(rows) * 4 * (histogram.slots["counts"].size + numbers.shape[1])
    return Reading(
        finish,
        host_bytes=0 if numbers.device.type == "cpu" else tables,
        nbytes=bins().nbytes + 4 * numbers.numel() if may_look(gradients[0]) else tables,
        peaks=None if may_overflow else ([id(row.parameter) for row in rows], peaks),
    )


def _counted(gradients: Sequence[Tensor], histogram: LogHistogram) -> tuple[Callable[[], FilledBins], Tensor]:
    """Counts, and the largest absolute values, float32 [P], there. On the CPU one look gives both."""
    if not may_look(gradients[0]):
        return histogram.lift_each(gradients), peaks_of(gradients)
    filled, peaks = histogram.look_at_each(gradients)
    return lambda: filled, peaks


def _numbers(
    rows: Sequence[Row], gradients: Sequence[Tensor], columns: Sequence[Column], peaks: Tensor, kept: Kept
) -> Tensor:
    """Of rows that have a gradient here: the largest value, then a pair for each column, float32 [P, 1 + 2 C]."""
    norms = norms_of(gradients)
    found: dict[Column, Tensor] = {"norms": norms}
    if "before" in columns:
        nothing = torch.zeros(2, device=norms.device)
        found["before"] = torch.stack([nothing if row.before is None else row.before for row in rows])
    if "changes" in columns:
        found["changes"], found["weights"] = kept.norms([row.parameter for row in rows], norms.device).unbind()
    return torch.cat([peaks[:, None], *(found[column] for column in columns)], 1)


def _named(floats: np.ndarray, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Arrays of `Layers` from the numbers [W, P, 1 + 2 C] of W processes, each of what it alone counts."""
    pairs = floats[..., 1:].reshape(*floats.shape[:2], len(columns), 2)
    norms = in_float64(pairs)
    found = {str(name): joined(norms[..., i], axis=0) for i, name in enumerate(columns)}
    return {"largest": floats[..., 0].max(0).astype(np.float64), **found}


def _concatenated(parts: Sequence[Layers]) -> Layers | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    arrays: dict[str, Any] = {}
    for name in ("elements", "norms", "largest", "before", "changes", "weights"):
        of_parts = [getattr(part, name) for part in parts]
        arrays[name] = None if any(a is None for a in of_parts) else np.concatenate(of_parts)
    names, bins = tuple(name for part in parts for name in part.names), FilledBins.below([part.bins for part in parts])
    return Layers(names, bins=bins, **arrays)


# -- tensors that are spread over processes ----------------------------------------------------------------------------


def read_shared(
    rows: Sequence[Row],
    histogram: LogHistogram,
    columns: Sequence[Column],
    kept: Kept | None = None,
    *,
    rank: int,
    world_size: int,
) -> Generator[Tensor, Tensor, Reading]:
    """Read gradients of which processes hold shards. Yields one tensor of integers, and is sent its sum over all.

    Floats are not added: each process puts the bits of its own into a place of its own. The shape depends on the rows,
    the columns and the number of processes, and not on what a process holds. A process that cannot read its gradients
    says so in it, and raises after the sum: then no process has any.
    """
    device = _device_of(rows)
    size, width = histogram.slots["counts"].size, 1 + 2 * len(columns)
    dtype = torch.int64 if any(row.parameter.numel() >= 2**31 for row in rows) else torch.int32
    failure: Exception | None = None
    counts = torch.zeros((len(rows), size), dtype=dtype, device=device)
    floats = torch.zeros((len(rows), width), dtype=torch.float32, device=device)
    zero, one = torch.zeros(1, dtype=dtype, device=device), torch.ones(1, dtype=dtype, device=device)
    there = [zero] * len(rows)
    try:
        there = [zero if row.gradient is None else one for row in rows]
        held = {i: x for i, row in enumerate(rows) if (x := _held(row, rank, device)) is not None}
        if held:
            gradients = flattened(list(held.values()))
            tables = histogram.tables(gradients).to(dtype)
            numbers = _numbers([rows[i] for i in held], gradients, columns, peaks_of(gradients), kept or Kept())
            place = torch.tensor(list(held)).to(device, non_blocking=True)
            counts.index_copy_(0, place, tables)
            floats.index_copy_(0, place, numbers)
    except Exception as error:
        failure = error
    bits = floats.view(torch.int32).to(dtype)
    of_all = torch.stack([bits if process == rank else torch.zeros_like(bits) for process in range(world_size)])
    pack = torch.cat([*there, zero if failure is None else one, counts.flatten(), of_all.flatten()])
    summed = yield pack
    if failure is not None:
        raise failure
    arrived = soon_on_host(summed)

    def finish() -> Layers:
        flags, tables, numbers = np.split(arrived().numpy(), [len(rows) + 1, len(rows) + 1 + counts.numel()])
        chosen = np.flatnonzero(flags[:-1]) if not flags[-1] else np.zeros(0, int)
        its_rows = [rows[i] for i in chosen.tolist()]
        by_process = numbers.astype(np.int32).view(np.float32).reshape(world_size, len(rows), width)
        return Layers(
            tuple(row.name for row in its_rows),
            np.array([num_real(row.parameter) for row in its_rows], dtype=np.int64),
            FilledBins.of_tables(histogram.mantissa_bits, tables.reshape(len(rows), size)[chosen]),
            **_named(by_process[:, chosen], columns),
        )

    nbytes = pack.numel() * pack.element_size()
    return Reading(finish, host_bytes=0 if pack.device.type == "cpu" else nbytes, nbytes=nbytes)


def _device_of(rows: Sequence[Row]) -> torch.device | None:
    return next((local_of(row.parameter.detach(), row.parameter).device for row in rows), None)


def _held(row: Row, rank: int, device: torch.device | None) -> Tensor | None:
    """What this process counts of a gradient; None where that is nothing."""
    gradient = row.gradient
    if gradient is None:
        return None
    local = local_of(gradient.detach(), row.parameter)  # on every process: some may have to meet for it
    return dense(local).to(device) if counts_here(row.parameter, rank) and local.numel() else None
