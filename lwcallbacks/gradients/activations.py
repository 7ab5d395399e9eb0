"""Outputs of modules, counted where they are, and put together over calls, devices and processes.

    outputs = Outputs({"net.1": True}, mantissa_bits=3)        # whether its units are told apart, by name
    outputs.see("net.1", torch.relu(x), unit_dim=1)            # in a forward hook: waits for nothing
    steps = outputs.shared(rank=0, world_size=1)               # a coroutine, which asks for one sum
    reading.finish()["net.1"].activation.num_dead              # waits for the device

A unit is an entry of an output's dimension `unit_dim`, such as a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from lwcallbacks.gradients.read import dense
from lwcallbacks.reductions import Activation, ActivationCounts, LogHistogram, State
from lwcallbacks.reductions.floats import EXACT_SLOTS
from lwcallbacks.reductions.to_host import soon_on_host

ROOM = 1 << 14
"""Units that a module may have whose number is not known beforehand, where processes put theirs together."""


class Seen(NamedTuple):
    """What is known of a module's outputs.

    Attributes:
        calls: forward calls, on all processes.
        has_units: whether all of them had units that could be told apart; else `num_dead` says nothing.
    """

    calls: int
    has_units: bool
    activation: Activation

    @property
    def dead(self) -> tuple[float, float] | None:
        """The share of its units that are dead, and how many values of each were seen; None where it has none."""
        a = self.activation
        return (a.num_dead / a.num_units, a.num_values / a.num_units) if self.has_units and a.num_units else None


@dataclass(frozen=True, eq=False)
class OutputReading:
    """Outputs of one step. `finish` waits for the device, and gives the modules that were called, by name."""

    finish: Callable[[], dict[str, Seen]]
    host_bytes: int = 0
    nbytes: int = 0


_Key = tuple[str, torch.device, int]
"""The name of a module, the device, and the number of units that are told apart."""


@dataclass
class _Record:
    """States by key; calls by name, all of them, and those whose units were not told apart; modules that failed."""

    states: dict[_Key, State] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    without_units: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def add(self, other: _Record, mantissa_bits: int) -> None:
        for key, state in other.states.items():
            mine = self.states.get(key)
            self.states[key] = state if mine is None else ActivationCounts(key[2], mantissa_bits).merge(mine, state)
        for own, others in ((self.calls, other.calls), (self.without_units, other.without_units)):
            for name, number in others.items():
                own[name] = own.get(name, 0) + number
        self.failed |= other.failed


class Outputs:
    """See the module's synopsis.

    Args:
        watched: the modules by name, and whether their dead units are counted; the same on every process, in the same
            order.
        mantissa_bits: as of `LogHistogram`.
    """

    def __init__(self, watched: Mapping[str, bool], mantissa_bits: int) -> None:
        self._watched = watched
        self._bits = mantissa_bits
        self._size = LogHistogram(mantissa_bits).slots["counts"].size
        self._before, self._now = _Record(), _Record()

    def see(self, name: str, output: Tensor, unit_dim: int | None) -> None:
        """Count a call of a module. If that fails, nothing of the module is known in this step."""
        now = self._now
        now.calls[name] = now.calls.get(name, 0) + 1
        try:
            values, num_units = self._arranged(name, output.detach(), unit_dim)
            if self._watched[name] and not num_units:
                now.without_units[name] = now.without_units.get(name, 0) + 1
            if not values.numel():
                return
            counts, key = ActivationCounts(num_units, self._bits), (name, values.device, num_units)
            state = now.states.get(key)
            if state is None:
                state = {table: slots.new(values.device) for table, slots in counts.slots.items()}
            now.states[key] = counts.add(state, values)
        except Exception:
            now.failed.add(name)
            raise

    def _arranged(self, name: str, x: Tensor, unit_dim: int | None) -> tuple[Tensor, int]:
        """With samples in dimension 0 and, if they count, units in dimension 1; and the number of units."""
        if x.ndim == 0:
            x = x[None]
        if unit_dim is None or x.is_complex() or not self._watched[name] or not -x.ndim <= unit_dim < x.ndim:
            return dense(x), 0
        unit_dim %= x.ndim
        if unit_dim == 0:  # of one sample
            x, unit_dim = x[None], 1
        return x.movedim(unit_dim, 1), x.shape[unit_dim]

    def keep(self) -> None:
        """What was seen stays, whatever `again` drops."""
        self._before.add(self._now, self._bits)
        self._now = _Record()

    def again(self) -> None:
        """What was seen since `keep` is seen again: forget it."""
        self._now = _Record()

    def forget(self) -> None:
        self._before, self._now = _Record(), _Record()

    def shared(self, *, rank: int, world_size: int, device: torch.device) -> Generator[Tensor, Tensor, OutputReading]:
        """Read what was seen, and forget it. Yields one tensor int64 on `device`, and is sent its sum over all.

        Its shape depends on the modules and the number of processes; of one process alone, on what was seen, too. What
        fails on one process is known of none, and raised after the sum.
        """
        before, now, record = self._before, self._now, _Record()
        self._before, self._now = _Record(), _Record()
        failure: Exception | None = None
        try:
            record.add(before, self._bits)
            record.add(now, self._bits)
        except Exception as error:
            failure = error
            record = _Record(failed=set(self._watched))
        room = {name: _room(name, self._watched[name], record, world_size) for name in self._watched}
        sizes = [world_size, self._size, EXACT_SLOTS]
        bodies = [torch.zeros(sum(sizes) + n, dtype=torch.int64, device=device) for n in room.values()]
        try:
            for name, body in zip(room, bodies, strict=True):
                largest, *tables, live = torch.split(body, [*sizes, room[name]])
                self._fill(record, name, (largest[rank : rank + 1], *tables), live)
        except Exception as error:
            failure = error
            record.failed |= set(room)
        summed = yield torch.cat([_heads(record, list(room), rank, world_size, device), *bodies])
        if failure is not None:
            raise failure
        arrived = soon_on_host(summed)

        def finish() -> dict[str, Seen]:
            head, *parts = torch.split(arrived(), [len(room) * (3 + world_size), *map(len, bodies)])
            found = {}
            for name, numbers, part in zip(room, head.view(len(room), -1).tolist(), parts, strict=True):
                calls, without, failed, *units = numbers
                if calls and not failed:
                    largest, counts, sums, live = torch.split(part, [*sizes, room[name]])
                    state = {"counts": counts, "sums": sums, "largest": largest.max()[None], "live": live[: max(units)]}
                    activation = ActivationCounts(max(units), self._bits).value(state)
                    found[name] = Seen(calls, not without and max(units) > 0, activation)
            return found

        nbytes = summed.numel() * summed.element_size()
        return OutputReading(cache(finish), host_bytes=0 if device.type == "cpu" else nbytes, nbytes=nbytes)

    def _fill(self, record: _Record, name: str, tables: tuple[Tensor, ...], live: Tensor) -> None:
        for (of, _, num_units), state in record.states.items():
            if of != name:
                continue
            largest, counts, sums = tables
            torch.maximum(largest, state["largest"].to(largest.device), out=largest)
            counts += state["counts"].to(counts.device)
            sums += state["sums"].to(sums.device)
            if num_units <= len(live):
                live[:num_units] += state["live"].to(live.device)
            else:
                record.without_units[name] = record.without_units.get(name, 0) + 1


def _room(name: str, has_units: bool, record: _Record, world_size: int) -> int:
    if world_size > 1:
        return ROOM if has_units else 0
    return max((key[2] for key in record.states if key[0] == name), default=0)


def _heads(record: _Record, names: list[str], rank: int, world_size: int, device: torch.device) -> Tensor:
    """For each module its calls, those without units, whether it failed, and how many units each process has seen."""
    heads = torch.zeros(len(names) * (3 + world_size), dtype=torch.int64, device=device)
    numbers = []
    for name in names:
        units = [0] * world_size
        units[rank] = max((key[2] for key in record.states if key[0] == name), default=0)
        numbers += [record.calls.get(name, 0), record.without_units.get(name, 0), int(name in record.failed), *units]
    torch._foreach_add_(list(heads.unbind()), numbers)  # as arguments of a kernel they reach a device without a wait
    return heads
