"""What the callbacks of a run cost, measured by themselves.

    meter = Meter()
    with meter.of(callback):                # on the training thread; a block inside of another is not counted twice
        ...
    meter.in_background(callback, seconds=0.1, disk_bytes=4096)
    meter.cost(callback).share              # of the run so far

What all callbacks do together, such as the sync at the end of an epoch, is booked on nobody: `meter.of(None)`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from lwcallbacks.callbacks.need import STAGES
from lwcallbacks.media import Table

MIB = 2**20
SHORT_SECONDS = 60.0
MOST_KEYS = 4
"""Of the keys by which callbacks of one name are told apart."""


@dataclass
class Cost:
    """What a callback has cost in a run, on this process.

    Attributes:
        training_seconds: time that the training thread was in its hooks, waiting included.
        background_seconds: processor time of the thread that draws and writes.
        host_bytes: what was moved from an accelerator to the host; 0 where there is none.
        collectives: calls in which processes meet; those of the shared sync are booked on nobody.
        disk_bytes: what was written to the run's folder.
        run_seconds: how long the run has taken so far.

    >>> Cost(training_seconds=1.0, background_seconds=2.0, run_seconds=100.0).share
    0.03
    """

    training_seconds: float = 0.0
    background_seconds: float = 0.0
    host_bytes: int = 0
    collectives: int = 0
    disk_bytes: int = 0
    run_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Time of both threads by the time of the run: what the run would save at most without the callback."""
        return (self.training_seconds + self.background_seconds) / self.run_seconds if self.run_seconds else 0.0


class Meter:
    """See the module's synopsis. Blocks are those of one thread; `in_background` may be called from another."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._blocks: dict[int | None, _Block] = {None: _Block(self, None)}
        self._inside: list[Cost] = []
        self._mark = 0.0
        self._lock = threading.Lock()
        self.num_epochs = 0
        """Epochs of any stage that have ended with a sync."""

    def of(self, callback: object | None) -> _Block:
        """A context in which time on the training thread is the callback's; None is all of them together."""
        key = None if callback is None else id(callback)
        found = self._blocks.get(key)
        return found or self._blocks.setdefault(key, _Block(self, callback))

    def enter(self, cost: Cost) -> None:
        now = time.perf_counter()
        if self._inside:
            self._inside[-1].training_seconds += now - self._mark
        self._inside.append(cost)
        self._mark = now

    def leave(self) -> None:
        now = time.perf_counter()
        self._inside.pop().training_seconds += now - self._mark
        self._mark = now

    def in_background(self, callback: object | None, seconds: float, disk_bytes: int) -> None:
        with self._lock:
            cost = self.of(callback).cost
            cost.background_seconds += seconds
            cost.disk_bytes += disk_bytes

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For the end of a run, when the training thread waits for the other one: what that works is not told twice."""
        began, before = time.perf_counter(), self.total().background_seconds
        try:
            yield
        finally:
            worked = self.total().background_seconds - before
            self.of(None).cost.training_seconds += max(0.0, time.perf_counter() - began - worked)

    def synced(self, num_calls: int) -> None:
        """An epoch has ended with a sync of so many calls."""
        self.num_epochs += 1
        self.of(None).cost.collectives += num_calls

    def cost(self, callback: object | None) -> Cost:
        """What the callback has cost so far."""
        return replace(self.of(callback).cost, run_seconds=time.perf_counter() - self._began)

    def total(self) -> Cost:
        """What all callbacks have cost so far."""
        return _total([block.cost for block in list(self._blocks.values())], time.perf_counter() - self._began)

    def table(self) -> Table:
        """A row for each callback, in the order in which they first cost something."""
        columns = ("callback", "share of the run, %", "training thread, s", "background, s", "to the host, MiB",
                   "collectives", "on disk, MiB")  # fmt: skip
        run_seconds = time.perf_counter() - self._began
        blocks = list(self._blocks.values())
        costs = [replace(block.cost, run_seconds=run_seconds) for block in blocks]
        total = _total(costs, run_seconds)
        rows = [*zip(titles([block.callback for block in blocks]), costs, strict=True), ("total", total)]
        return Table(columns, [_row(name, cost) for name, cost in rows])

    def line(self, page: str | None) -> str:
        """What is said at the end of a fit."""
        total = self.total()
        told = [f"{100 * total.share:.2g} % of {_of_run(total)}"]
        if total.collectives:
            told.append(f"{total.collectives / max(1, self.num_epochs):.3g} collectives an epoch")
        if page is not None:
            told.append(f"{total.disk_bytes / MIB:.1f} MiB in {page}")
        return f"lwcallbacks: {', '.join(told)}"


def _total(costs: Sequence[Cost], run_seconds: float) -> Cost:
    sums: dict[str, Any] = {field.name: sum(getattr(cost, field.name) for cost in costs) for field in fields(Cost)}
    return Cost(**{**sums, "run_seconds": run_seconds})


def _of_run(cost: Cost) -> str:
    """Of a short run the seconds, too: a share of it says little about a long one.

    >>> _of_run(Cost(training_seconds=0.5, background_seconds=0.6, run_seconds=4.0)), _of_run(Cost(run_seconds=60.0))
    ('a short run (1.1 of 4.0 s)', 'the run')
    """
    if cost.run_seconds >= SHORT_SECONDS:
        return "the run"
    return f"a short run ({cost.training_seconds + cost.background_seconds:.1f} of {cost.run_seconds:.1f} s)"


class _Block:
    """Books the time inside on one cost. It may be entered again inside of itself."""

    __slots__ = ("_meter", "callback", "cost")

    def __init__(self, meter: Meter, callback: object | None) -> None:
        self._meter = meter
        self.callback = callback
        self.cost = Cost()

    def __enter__(self) -> None:
        self._meter.enter(self.cost)

    def __exit__(self, *exception: object) -> None:
        self._meter.leave()


def _row(name: str, cost: Cost) -> list[Any]:
    times = (cost.training_seconds, cost.background_seconds)
    return [
        name,
        round(100 * cost.share, 2),
        *(round(seconds, 3) for seconds in times),
        round(cost.host_bytes / MIB, 3),
        cost.collectives,
        round(cost.disk_bytes / MIB, 3),
    ]


def titles(callbacks: Sequence[Any]) -> list[str]:
    """What each callback's row is called, no two alike: by kind and name, else by what it logs, else by a number.

    >>> titles([None, "a", "b", 7])
    ['shared by all', 'str 1', 'str 2', 'int']
    """
    found = [title(callback) for callback in callbacks]
    for other in (_by_keys, _by_number):
        common = Counter(found)
        seen = Counter[str]()
        for i, name in enumerate(list(found)):
            seen[name] += 1
            found[i] = other(callbacks[i], name, seen[name]) if common[name] > 1 else name
    return found


def _by_keys(callback: Any, name: str, number: int) -> str:
    """Kind and keys; the name alone of one that cannot say its keys."""
    keys: dict[str, None] = {}
    with suppress(Exception):  # a user's own may fail, and the others keep their rows
        for stage in STAGES:
            keys |= {key.removeprefix(f"{stage}/"): None for key in sorted(callback.prefixes(stage))}
    told = [*list(keys)[:MOST_KEYS], *(["..."] if len(keys) > MOST_KEYS else [])]
    return f"{type(callback).__name__}({', '.join(told)})" if keys else name


def _by_number(callback: Any, name: str, number: int) -> str:
    return f"{name} {number}"


def title(callback: Any) -> str:
    """A callback as a row of a table is called, of any stage; None is what all of them share."""
    if callback is None:
        return "shared by all"
    kind, name = type(callback).__name__, getattr(callback, "name", None)
    return f"{kind}({name!r})" if isinstance(name, str) else kind
