"""Reading the gradients of one optimizer at one step: begun at once, finished on the host.

    readings = read([Row("net.weight", parameter)], LogHistogram(), ["norms"])
    finished(readings)                                  # waits for the device

    steps = read_shared(rows, LogHistogram(), ["norms"], rank=0, world_size=2)      # of spread tensors, a coroutine

Nothing in here looks at a value before it is on the host, so it may be called where nothing may be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.norms import in_float64, joined, norms_of, peaks_of
from lwcallbacks.gradients.sample import Samples, weight_of
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
        weights: that of `kept_each` before the step.
        before: the norm of its gradient before clipping, as `norms_of` gives it, float32 [2].
    """

    name: str
    parameter: Tensor
    weights: Tensor | None = None
    before: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """Some rows of one step. `finish` waits for the device; what it gives is for rows that have a gradient."""

    finish: Callable[[], Layers]
    host_bytes: int = 0
    """What moves to the host."""
    nbytes: int = 0
    """Of host memory, until it is finished."""


def dense(gradient: Tensor) -> Tensor:
    """A gradient as real numbers, all of them."""
    whole = gradient.to_dense() if gradient.is_sparse else gradient
    return torch.view_as_real(whole) if whole.is_complex() else whole


@torch.no_grad()
def kept_each(parameters: Sequence[Tensor], samples: Samples | None = None) -> list[Tensor]:
    """A copy of what each one's `changes` are worked out from: of this process's shard, or of a sample of it."""
    views = (samples or Samples()).of(parameters)
    found: dict[int, Tensor] = {}
    for rows in _by_kind(views):
        copy = torch.cat([views[i] for i in rows])
        found |= zip(rows, torch.split(copy, [views[i].numel() for i in rows]), strict=True)
    return [found[i] for i in range(len(views))]


@torch.no_grad()
def gradient_norms(parameters: Sequence[Tensor]) -> dict[int, Tensor]:
    """The norms of the gradients as they are now, as `norms_of` gives them, by the `id` of the parameter."""
    found: dict[int, Tensor] = {}
    local = {id(p): dense(local_of(p.grad, p)) for p in parameters if p.grad is not None}
    for device in dict.fromkeys(x.device for x in local.values()):
        here = {key: x for key, x in local.items() if x.device == device}
        found |= zip(here, norms_of(list(here.values())), strict=True)
    return found


@torch.no_grad()
def read(
    rows: Sequence[Row], histogram: LogHistogram, columns: Sequence[Column], samples: Samples | None = None
) -> list[Reading]:
    """Read gradients that are whole on this process: one reading for each device.

    `samples` are those of `kept_each`.
    """
    local = [(row, dense(row.parameter.grad)) for row in rows if row.parameter.grad is not None]
    local = [(row, x) for row, x in local if x.numel()]
    devices = dict.fromkeys(x.device for _, x in local)
    return [
        _of_device([pair for pair in local if pair[1].device == device], histogram, columns, samples or Samples())
        for device in devices
    ]


def finished(readings: Sequence[Reading]) -> Layers | None:
    """All rows of one step; None if no parameter had a gradient."""
    parts = [reading.finish() for reading in readings]
    return _concatenated([part for part in parts if part.names])


def _of_device(
    local: Sequence[tuple[Row, Tensor]], histogram: LogHistogram, columns: Sequence[Column], samples: Samples
) -> Reading:
    rows, gradients = [row for row, _ in local], flattened([x for _, x in local])
    bins, peaks = _counted(gradients, histogram)
    numbers = _numbers(rows, gradients, columns, peaks, samples)
    floats = soon_on_host(numbers)
    names, elements = tuple(row.name for row in rows), np.array([x.numel() for x in gradients])

    def finish() -> Layers:
        return Layers(names, elements, bins(), **_named(floats().numpy()[None], columns))

    tables = len(rows) * 4 * (histogram.slots["counts"].size + numbers.shape[1])
    return Reading(
        finish,
        host_bytes=0 if numbers.device.type == "cpu" else tables,
        nbytes=bins().nbytes + 4 * numbers.numel() if may_look(gradients[0]) else tables,
    )


def _counted(gradients: Sequence[Tensor], histogram: LogHistogram) -> tuple[Callable[[], FilledBins], Tensor]:
    """Counts, and the largest absolute values, float32 [P], there. On the CPU one look gives both."""
    if not may_look(gradients[0]):
        return histogram.lift_each(gradients), peaks_of(gradients)
    filled, peaks = histogram.look_at_each(gradients)
    return lambda: filled, peaks


def _numbers(
    rows: Sequence[Row], gradients: Sequence[Tensor], columns: Sequence[Column], peaks: Tensor, samples: Samples
) -> Tensor:
    """Of rows that have a gradient here: the largest value, then a pair for each column, float32 [P, 1 + 2 C]."""
    moved = _moved(rows if "changes" in columns else [], samples)
    norms = norms_of([*gradients, *moved.changes, *moved.weights])  # one call for all: it is many kernels
    found: dict[Column, Tensor] = {"norms": norms[: len(rows)]}
    if "before" in columns:
        nothing = torch.zeros(2, device=norms.device)
        found["before"] = torch.stack([nothing if row.before is None else row.before for row in rows])
    if "changes" in columns:
        of_rows = moved.norms_by_row(norms[len(rows) :].view(2, -1, 2), len(rows))
        found["changes"], found["weights"] = of_rows.unbind()
    return torch.cat([peaks[:, None], *(found[column] for column in columns)], 1)


@dataclass(frozen=True, eq=False)
class _Moved:
    """What a step changed of samples [n] of parameters, and what was there, of the rows of these numbers."""

    rows: list[int]
    changes: list[Tensor]
    weights: list[Tensor]
    factors: list[float]
    """By which a sample's norm is made that of the whole."""

    def norms_by_row(self, pairs: Tensor, num_rows: int) -> Tensor:
        """Norms of the whole of each parameter, of samples' [2, R, 2]: [2, P, 2], zeros where there is no sample."""
        pairs[..., 0] *= torch.tensor(self.factors).to(pairs.device, non_blocking=True)
        if self.rows == list(range(num_rows)):
            return pairs
        place = torch.tensor(self.rows, dtype=torch.int64).to(pairs.device, non_blocking=True)
        return torch.zeros((2, num_rows, 2), device=pairs.device).index_copy_(1, place, pairs)


def _moved(rows: Sequence[Row], samples: Samples) -> _Moved:
    """Of rows that have weights; those of one kind of number are subtracted in one call."""
    known = [(i, row.parameter, row.weights) for i, row in enumerate(rows) if row.weights is not None]
    views = samples.of([parameter for _, parameter, _ in known])
    found = _Moved([], [], [], [])
    for of_kind in _by_kind(views):
        sizes = [views[k].numel() for k in of_kind]
        before = wide(torch.cat([known[k][2] for k in of_kind]))
        changes = wide(torch.cat([views[k] for k in of_kind])) - before
        found.rows.extend(known[k][0] for k in of_kind)
        found.changes.extend(torch.split(changes, sizes))
        found.weights.extend(torch.split(before, sizes))
        found.factors.extend(weight_of(local_of(p, p)) ** 0.5 for p in (known[k][1] for k in of_kind))
    return found


def _by_kind(tensors: Sequence[Tensor]) -> Iterable[list[int]]:
    """The numbers of the tensors of one dtype and device: they are joined up in one call."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for i, x in enumerate(tensors):
        kinds.setdefault((x.dtype, x.device), []).append(i)
    return kinds.values()


def wide(x: Tensor) -> Tensor:
    """float64 as it is, anything else as float32."""
    return x if x.dtype == torch.float64 else x.to(torch.float32)


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
    samples: Samples | None = None,
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
        there = [zero if row.parameter.grad is None else one for row in rows]
        held = {i: x for i, row in enumerate(rows) if (x := _held(row, rank, device)) is not None}
        if held:
            gradients = flattened(list(held.values()))
            tables = histogram.tables(gradients).to(dtype)
            numbers = _numbers([rows[i] for i in held], gradients, columns, peaks_of(gradients), samples or Samples())
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
            np.array([_num_real(row.parameter) for row in its_rows], dtype=np.int64),
            FilledBins.of_tables(histogram.mantissa_bits, tables.reshape(len(rows), size)[chosen]),
            **_named(by_process[:, chosen], columns),
        )

    nbytes = pack.numel() * pack.element_size()
    return Reading(finish, host_bytes=0 if pack.device.type == "cpu" else nbytes, nbytes=nbytes)


def _device_of(rows: Sequence[Row]) -> torch.device | None:
    return next((local_of(row.parameter.detach(), row.parameter).device for row in rows), None)


def _held(row: Row, rank: int, device: torch.device | None) -> Tensor | None:
    """What this process counts of a gradient; None where that is nothing."""
    gradient = row.parameter.grad
    if gradient is None:
        return None
    local = local_of(gradient.detach(), row.parameter)  # on every process: some may have to meet for it
    return dense(local).to(device) if counts_here(row.parameter, rank) and local.numel() else None


def _num_real(parameter: Tensor) -> int:
    return parameter.numel() * (2 if parameter.is_complex() else 1)
