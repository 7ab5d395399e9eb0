"""The pack: one exchange of any number of states, whose number of collectives does not depend on how many there are.

    merged = run(synced(Bundle(states=[(ExactMean(), state), ...]), link.rank, link.world_size), link)
    merged.state(0)

`synced` is a coroutine: it yields what it wants from the other processes (`AllReduce`, `AllGather`, `ToRoot`) and is
sent the answer. So the algorithm is written once, and runs over a torch process group (`ProcessLink`), over no other
process at all (`Alone`), or over hundreds of simulated ones that move in lock step (`lwcallbacks.testing.World`).

What is exchanged, in this order, whatever the data:
1. one `AllReduce` for each (dtype on the way, operation) that occurs;
2. where an ordinary metric has a state that is not reduced elementwise: three `AllGather` of all such states;
3. where a choice is registered: one `AllGather` of the keys and the shapes of the payload, then one `ToRoot` of the
   winners' payload.

All processes must bring alike bundles: `agree.py` makes sure of that before a `StateCore` packs anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.reductions.base import Reduction, Scattered, State
from lwcallbacks.reductions.choice import PAYLOAD, RESIZE, Choice, payload_names
from lwcallbacks.reductions.compose import Product
from lwcallbacks.reductions.winning import NO_KEY
from lwcallbacks.state.link import AllGather, AllReduce, ReduceOp, Request, ToRoot
from lwcallbacks.state.ragged import DTYPES, as_bytes, gathered, off_wire, on_wire, wire_dtype


class UpdateError(RuntimeError):
    """A state of this process and those of others cannot be put together; the same on every process."""


@dataclass
class Bundle:
    """What one process brings to a sync."""

    states: list[tuple[Reduction, State]] = field(default_factory=list)
    tensors: list[tuple[Tensor, ReduceOp]] = field(default_factory=list)
    """States of ordinary metrics, each reduced elementwise; of one shape and dtype on every process."""
    lists: list[list[Tensor]] = field(default_factory=list)
    """States of ordinary metrics that everyone gets from everyone: any number of tensors each, of any shape."""


@dataclass
class Merged:
    """The same on every process, but for the payload of choices, which process 0 alone has."""

    builds: list[Build]
    reduced: list[Tensor]
    chosen: list[State | str]
    tensors: list[Tensor]
    lists: list[list[list[Tensor]]]
    """For each of a bundle's lists: every process's, by rank."""

    def state(self, i: int) -> State:
        """The i-th of the bundle's states, merged.

        Raises:
            UpdateError: the processes hold payloads of unlike shapes.
        """
        return self.builds[i](self.reduced, self.chosen)

    @property
    def states(self) -> list[State]:
        return [self.state(i) for i in range(len(self.builds))]


def synced(bundle: Bundle, rank: int, world_size: int) -> Generator[Request, Any, Merged]:
    """Merge every process's bundle; the bundles must hold equal reductions in equal order."""
    # Leaves are what crosses: tensors to be reduced elementwise, and choices.
    leaves: list[tuple[Tensor, ReduceOp]] = []
    choices: list[tuple[Choice, State]] = []
    builds = [_plan(reduction, state, leaves, choices) for reduction, state in bundle.states]
    first_tensor = len(leaves)
    leaves.extend(bundle.tensors)
    reduced = yield from _reduce_packed(leaves)
    everyone = (yield from gathered(bundle.lists)) if bundle.lists else []
    chosen = (yield from _choose(choices, rank)) if choices else []
    lists = [list(of_each) for of_each in zip(*everyone, strict=True)]
    return Merged(builds, reduced, chosen, reduced[first_tensor:], lists)


Build: TypeAlias = Callable[[list[Tensor], "list[State | str]"], State]


def _plan(
    reduction: Reduction, state: State, leaves: list[tuple[Tensor, ReduceOp]], choices: list[tuple[Choice, State]]
) -> Build:
    """Add what crosses of one state; return how to put it together again."""
    if isinstance(reduction, Scattered):
        first = len(leaves)
        slots = reduction.slots
        leaves.extend((state[name], slots[name].op) for name in slots)
        return lambda reduced, _: dict(zip(slots, reduced[first:], strict=False))
    if isinstance(reduction, Choice):
        choices.append((reduction, state))
        place = len(choices) - 1
        return lambda _, chosen: _chosen(chosen[place])
    if isinstance(reduction, Product):
        parts = {n: _plan(r, reduction.part(state, n), leaves, choices) for n, r in reduction.reductions.items()}
        return lambda reduced, chosen: reduction.join({n: build(reduced, chosen) for n, build in parts.items()})
    raise TypeError(_cannot_be_synced(reduction))


def _chosen(state: State | str) -> State:
    if isinstance(state, str):
        raise UpdateError(state)
    return state


def _cannot_be_synced(reduction: Reduction) -> str:
    return f"{type(reduction).__name__} cannot be synced, expected a Scattered, a Choice or a Product of them"


def layout(reduction: Reduction) -> list[str]:
    """What crosses of a reduction's states, in words: equal on all processes, or they cannot be synced.

    Raises:
        TypeError: it cannot be synced at all.
    """
    if isinstance(reduction, Scattered):
        return [f"{name}: {slots.op} [{slots.size}]" for name, slots in reduction.slots.items()]
    if isinstance(reduction, Choice):
        return [f"best {reduction.k}"]
    if isinstance(reduction, Product):
        return [f"{name}.{text}" for name, part in reduction.reductions.items() for text in layout(part)]
    raise TypeError(_cannot_be_synced(reduction))


def obstacle(reduction: Reduction, state: State) -> str | None:
    """Why a state cannot be brought to a sync; None where it can."""
    if isinstance(reduction, Choice):
        return _payload_obstacle(reduction, state)
    if isinstance(reduction, Product):
        parts = (obstacle(part, reduction.part(state, name)) for name, part in reduction.reductions.items())
        return next(filter(None, parts), None)
    return None


def _payload_obstacle(choice: Choice, state: State) -> str | None:
    payload = [state[name] for name in payload_names(state)]
    if len(payload) > MAX_FIELDS or any(tensor.ndim - 1 > MAX_DIMS for tensor in payload):
        shapes = [tuple(tensor.shape[1:]) for tensor in payload]
        return f"{type(choice).__name__}: a sample has {shapes}, at most {MAX_FIELDS} tensors of {MAX_DIMS} dimensions"
    for tensor in payload:
        if tensor.dtype not in DTYPES:
            return f"{type(choice).__name__}: a payload of {tensor.dtype} cannot be sent to another process"
    return None


def _reduce_packed(leaves: list[tuple[Tensor, ReduceOp]]) -> Generator[Request, Any, list[Tensor]]:
    buckets: dict[tuple[str, ReduceOp], list[int]] = {}
    for i, (tensor, op) in enumerate(leaves):
        buckets.setdefault((str(wire_dtype(tensor.dtype, op)), op), []).append(i)
    device = _one_device([tensor for tensor, _ in leaves])
    reduced: dict[int, Tensor] = {}
    for (_, op), members in sorted(buckets.items()):
        packed = [on_wire(leaves[i][0], op).to(device) for i in members]
        answer = yield AllReduce(torch.cat(packed), op)
        for i, part in zip(members, answer.split([len(p) for p in packed]), strict=True):
            reduced[i] = off_wire(part, leaves[i][0].dtype, op).reshape(leaves[i][0].shape)
    return [reduced[i] for i in range(len(leaves))]


def _one_device(tensors: Sequence[Tensor]) -> torch.device:
    """The accelerator, if any tensor is on one: a process that saw no data holds CPU tensors."""
    return next((t.device for t in tensors if t.device.type != "cpu"), torch.device("cpu"))


MAX_FIELDS, MAX_DIMS = 8, 6
_FIELD = 2 + MAX_DIMS
Layout: TypeAlias = list[tuple[torch.dtype, tuple[int, ...]]]


def _describe(state: State) -> Tensor:
    """Dtype, number of dimensions and shape of each field of the payload, int64 [MAX_FIELDS * _FIELD]; zeros where
    there is none, as of a process that saw nothing."""
    header = torch.zeros(MAX_FIELDS, _FIELD, dtype=torch.int64)
    for of_field, name in zip(header, payload_names(state), strict=False):
        shape = state[name].shape[1:]
        of_field[: 2 + len(shape)] = torch.tensor([1 + DTYPES.index(state[name].dtype), len(shape), *shape])
    return header.reshape(-1)


def _fields(header: Sequence[int]) -> Layout:
    fields = [header[at : at + _FIELD] for at in range(0, len(header), _FIELD)]
    return [(DTYPES[code - 1], tuple(dims[:ndim])) for code, ndim, *dims in fields if code]


def _common(choice: Choice, keys: Tensor, headers: Tensor) -> Layout | str:
    """The payload's layout from every process's header; words where they are unlike."""
    ranks: dict[tuple[int, ...], list[int]] = {}
    for rank, (key, header) in enumerate(zip(keys, headers.tolist(), strict=True)):
        # A process that saw nothing has neither a key nor a payload.
        if any(header) or bool((key != NO_KEY).any()):
            ranks.setdefault(tuple(header), []).append(rank)
    if len(ranks) <= 1:
        return _fields(next(iter(ranks), ()))
    held = [f"{_words(_fields(header))} on {on_processes(members)}" for header, members in ranks.items()]
    return (
        f"{type(choice).__name__}: processes hold payloads of unlike shapes: {', '.join(held)}; "
        f"bring the samples to one size and dtype before they are shown, {RESIZE}"
    )


def _words(fields: Layout) -> str:
    return " and ".join(f"{str(dtype).removeprefix('torch.')} {list(shape)}" for dtype, shape in fields) or "nothing"


def on_processes(ranks: Sequence[int]) -> str:
    """Some ranks in words: "process 0", "processes 1, 2"."""
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"process {shown}" if len(ranks) == 1 else f"processes {shown}"


def _choose(choices: list[tuple[Choice, State]], rank: int) -> Generator[Request, Any, list[State | str]]:
    """Agree on the winners of each choice, then bring their payload to process 0; words for one that cannot be."""
    packed = [torch.cat([*(state[m].cpu() for m in choice.marks), _describe(state)]) for choice, state in choices]
    answers = yield AllGather(torch.cat(packed))
    everyone = torch.split(torch.stack(answers).cpu(), [len(p) for p in packed], dim=1)

    merged: list[State | str] = []
    sources: list[list[tuple[int, int]]] = []  # for each choice and place: who holds the payload, and where
    layouts: list[Layout] = []
    for (choice, _), packs in zip(choices, everyone, strict=True):
        k = choice.k
        marks = dict(zip(choice.marks, torch.split(packs[:, : len(choice.marks) * k], k, dim=1), strict=True))
        common = _common(choice, marks["key"], packs[:, len(marks) * k :])
        if isinstance(common, str):
            merged.append(common)
            sources.append([])
            layouts.append([])
            continue
        candidates = {name: mark.reshape(-1) for name, mark in marks.items()}
        places = choice.winners(candidates).tolist()
        layouts.append(common)
        sources.append([divmod(p, k) for p in places if p >= 0])
        merged.append(choice.take(candidates, torch.tensor(places)))

    # Every process knows who sends how much, so nothing is asked twice and nobody waits for an empty message. What
    # process 0 holds itself need not travel.
    senders = {owner: _parcels(owner, sources, layouts) for source in sources for owner, _ in source if owner}
    sizes = tuple(sum(parcel.num_bytes for parcel in senders.get(owner, ())) for owner in range(len(answers)))
    data = torch.empty(sizes[rank], dtype=torch.uint8)
    for parcel in senders.get(rank, []):
        payload = choices[parcel.choice][1][f"{PAYLOAD}{parcel.field}"]
        held = as_bytes(payload).reshape(len(payload), parcel.row_bytes)
        parcel.rows(data).copy_(held[parcel.slots])
    received = yield ToRoot(data, sizes)
    if rank == 0:
        _place(received, senders, choices, sources, layouts, merged)
    return merged


@dataclass(frozen=True)
class _Parcel:
    """The rows of one choice's winners in one field that a process sends: where they are in its bytes."""

    choice: int
    field: int
    slots: list[int]
    row_bytes: int
    start: int

    @property
    def num_bytes(self) -> int:
        return len(self.slots) * self.row_bytes

    def rows(self, data: Tensor) -> Tensor:
        """The bytes of each row, uint8 [rows, bytes]: a view."""
        return data[self.start : self.start + self.num_bytes].reshape(len(self.slots), self.row_bytes)


def _row_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    return dtype.itemsize * math.prod(shape)


def _parcels(owner: int, sources: list[list[tuple[int, int]]], layouts: list[Layout]) -> list[_Parcel]:
    parcels: list[_Parcel] = []
    start = 0
    for c, (source, layout) in enumerate(zip(sources, layouts, strict=True)):
        slots = [slot for o, slot in source if o == owner]
        for f, (dtype, shape) in enumerate(layout if slots else []):
            parcels.append(_Parcel(c, f, slots, _row_bytes(dtype, shape), start))
            start += parcels[-1].num_bytes
    return parcels


def _place(
    received: list[Tensor],
    senders: dict[int, list[_Parcel]],
    choices: list[tuple[Choice, State]],
    sources: list[list[tuple[int, int]]],
    layouts: list[Layout],
    merged: list[State | str],
) -> None:
    """On process 0: put every winner's rows in its place, each copied once."""
    arrived = {
        (owner, parcel.choice, parcel.field): iter(parcel.rows(received[owner].cpu()).unbind())
        for owner, parcels in senders.items()
        for parcel in parcels
    }
    for c, (source, layout, state) in enumerate(zip(sources, layouts, merged, strict=True)):
        if isinstance(state, str):
            continue
        for f, (dtype, shape) in enumerate(layout):
            name = f"{PAYLOAD}{f}"
            own = choices[c][1][name].cpu().unbind() if any(owner == 0 for owner, _ in source) else ()
            rows = [next(arrived[owner, c, f]) if owner else as_bytes(own[slot]) for owner, slot in source]
            empty = torch.zeros(_row_bytes(dtype, shape), dtype=torch.uint8)
            rows += [empty] * (len(state["key"]) - len(rows))
            state[name] = torch.cat(rows).view(dtype).reshape(len(rows), *shape)
