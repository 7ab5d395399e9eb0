"""One packed exchange of any number of states.

    merged = run(synced(Bundle(states=[(ExactMean(), state), ...]), link.rank, link.world_size), link)

`synced` is a coroutine: it yields what it wants from the other processes (`AllReduce`, `AllGather`, `ToRoot`) and is
sent the answer. So the algorithm is written once, and runs over a torch process group (`ProcessLink`), over no other
process at all (`Alone`), or over hundreds of simulated ones that move in lock step (`lwcallbacks.testing.World`).

What is exchanged, in this order, whatever the data:
1. where ordinary metrics take part: one `AllReduce` of their shapes;
2. one `AllReduce` for each (dtype, operation) that occurs; int64 sums always do, for they carry who failed;
3. where an ordinary metric has a state that is not reduced elementwise: three `AllGather` of all such states;
4. where a choice is registered: one `AllGather` of the keys and the shapes of the payload, then one `ToRoot` of the
   winners' payload.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.reductions.base import Reduction, Scattered, State
from lwcallbacks.reductions.choice import PAYLOAD, Choice, payload_names
from lwcallbacks.reductions.compose import Product
from lwcallbacks.state.link import AllGather, AllReduce, ReduceOp, Request, ToRoot
from lwcallbacks.state.ragged import DTYPES, gathered


class UpdateError(RuntimeError):
    """An update failed on some process; raised by every process at the next sync."""


@dataclass
class Bundle:
    """What one process brings to a sync."""

    states: list[tuple[Reduction, State]] = field(default_factory=list)
    tensors: list[tuple[Tensor, ReduceOp]] = field(default_factory=list)
    """States of ordinary metrics, each reduced elementwise."""
    lists: list[list[Tensor]] = field(default_factory=list)
    """States of ordinary metrics that everyone shall have from everyone: any number of tensors each, of any shape."""
    failure: str | None = None


@dataclass
class Merged:
    """The same on every process, but for the payload of choices, which process 0 alone has."""

    states: list[State]
    tensors: list[Tensor]
    lists: list[list[list[Tensor]]]
    """For each of a bundle's lists: every process's, by rank."""


def synced(bundle: Bundle, rank: int, world_size: int) -> Generator[Request, Any, Merged]:
    """Merge every process's bundle; the bundles must hold equal reductions in equal order.

    Raises:
        UpdateError: on every process, if any of them brought a failure.
    """
    # Leaves are what crosses: tensors to be reduced elementwise, and choices.
    leaves: list[tuple[Tensor, ReduceOp]] = []
    choices: list[tuple[Choice, State]] = []
    rebuild = [_plan(reduction, state, leaves, choices) for reduction, state in bundle.states]
    first_tensor = len(leaves)
    leaves.extend((yield from _of_one_shape(bundle.tensors)) if bundle.tensors else [])

    failed = torch.zeros(world_size, dtype=torch.int64)
    failed[rank] = bundle.failure is not None
    leaves.append((failed, "sum"))
    reduced = yield from _reduce_packed(leaves)
    if reduced[-1].any():
        yield from _fail_together(bundle.failure, reduced[-1].tolist())
    everyone = (yield from gathered(bundle.lists)) if bundle.lists else []
    chosen = (yield from _choose(choices, rank)) if choices else []
    lists = [list(of_each) for of_each in zip(*everyone, strict=True)]
    return Merged([build(reduced, chosen) for build in rebuild], reduced[first_tensor:-1], lists)


def _of_one_shape(
    tensors: list[tuple[Tensor, ReduceOp]],
) -> Generator[Request, Any, list[tuple[Tensor, ReduceOp]]]:
    """Give each tensor the shape that it has elsewhere: some metrics start from a scalar and learn it from data."""
    shapes = torch.zeros((len(tensors), 1 + MAX_DIMS), dtype=torch.int64)
    for i, (tensor, _) in enumerate(tensors):
        shapes[i, : 1 + tensor.ndim] = torch.tensor([tensor.ndim, *tensor.shape])
    largest = yield AllReduce(shapes, "max")
    return [
        (tensor.expand(tuple(shape[1 : 1 + shape[0]])) if tensor.ndim < shape[0] else tensor, op)
        for (tensor, op), shape in zip(tensors, largest.tolist(), strict=True)
    ]


Build: TypeAlias = Callable[[list[Tensor], list[State]], State]


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
        return lambda _, chosen: chosen[place]
    if isinstance(reduction, Product):
        parts = {n: _plan(r, reduction.part(state, n), leaves, choices) for n, r in reduction.reductions.items()}
        return lambda reduced, chosen: reduction.join({n: build(reduced, chosen) for n, build in parts.items()})
    raise TypeError(f"{type(reduction).__name__} cannot be synced, expected a Scattered, a Choice or a Product of them")


def _reduce_packed(leaves: list[tuple[Tensor, ReduceOp]]) -> Generator[Request, Any, list[Tensor]]:
    buckets: dict[tuple[str, ReduceOp], list[int]] = {}
    for i, (tensor, op) in enumerate(leaves):
        buckets.setdefault((str(tensor.dtype), op), []).append(i)
    device = _one_device([tensor for tensor, _ in leaves])
    reduced: dict[int, Tensor] = {}
    for (_, op), members in sorted(buckets.items()):
        packed = torch.cat([leaves[i][0].reshape(-1).to(device) for i in members])
        answer = yield AllReduce(packed, op)
        sizes = [leaves[i][0].numel() for i in members]
        for i, part in zip(members, answer.split(sizes), strict=True):
            reduced[i] = part.reshape(leaves[i][0].shape)
    return [reduced[i] for i in range(len(leaves))]


def _one_device(tensors: Sequence[Tensor]) -> torch.device:
    """The accelerator, if any tensor is on one: a process that saw no data holds CPU tensors."""
    return next((t.device for t in tensors if t.device.type != "cpu"), torch.device("cpu"))


_MESSAGE_BYTES = 1024


def _fail_together(failure: str | None, failed: list[int]) -> Generator[Request, Any, None]:
    text = (failure or "").encode()[:_MESSAGE_BYTES]
    message = torch.tensor(list(text.ljust(_MESSAGE_BYTES, b"\0")), dtype=torch.uint8)
    messages = yield AllGather(message)
    causes = [
        f"process {rank}: {bytes(messages[rank].tolist()).rstrip(bytes(1)).decode(errors='replace')}"
        for rank, flag in enumerate(failed)
        if flag
    ]
    raise UpdateError(f"an update failed on {len(causes)} of {len(failed)} processes; " + "; ".join(causes))


MAX_FIELDS, MAX_DIMS = 8, 6
_FIELD = 2 + MAX_DIMS


def _describe(choice: Choice, state: State) -> Tensor:
    """Shapes and dtypes of the payload, int64 [1 + MAX_FIELDS * _FIELD]: a process that saw nothing has none."""
    header = [0] * (1 + MAX_FIELDS * _FIELD)
    names = payload_names(state)
    if len(names) > MAX_FIELDS or any(state[name].ndim - 1 > MAX_DIMS for name in names):
        raise ValueError(f"{type(choice).__name__}: at most {MAX_FIELDS} payload tensors of {MAX_DIMS} dimensions")
    header[0] = len(names)
    for i, name in enumerate(names):
        shape = state[name].shape[1:]
        header[1 + i * _FIELD : 1 + i * _FIELD + 2 + len(shape)] = [
            DTYPES.index(state[name].dtype),
            len(shape),
            *shape,
        ]
    return torch.tensor(header, dtype=torch.int64)


def _fields(header: list[int]) -> list[tuple[torch.dtype, tuple[int, ...]]]:
    fields = [header[1 + i * _FIELD : 1 + (i + 1) * _FIELD] for i in range(header[0])]
    return [(DTYPES[code], tuple(dims[:ndim])) for code, ndim, *dims in fields]


def _choose(choices: list[tuple[Choice, State]], rank: int) -> Generator[Request, Any, list[State]]:
    """Agree on the winners of each choice, then bring their payload to process 0."""
    packed = [torch.cat([state["key"].cpu(), state["id"].cpu(), _describe(choice, state)]) for choice, state in choices]
    answers = yield AllGather(torch.cat(packed))
    everyone = torch.split(torch.stack(answers).cpu(), [len(p) for p in packed], dim=1)

    merged: list[State] = []
    sources: list[list[tuple[int, int]]] = []  # for each choice and place: who holds the payload, and where
    layouts: list[list[tuple[torch.dtype, tuple[int, ...]]]] = []
    for (choice, _), packs in zip(choices, everyone, strict=True):
        k = choice.k
        keys, ids = packs[:, :k].reshape(-1), packs[:, k : 2 * k].reshape(-1)
        # A header of nothing but zeros is that of a process that saw no payload.
        headers = {tuple(header) for header in torch.unique(packs[:, 2 * k :], dim=0).tolist() if any(header)}
        if len(headers) > 1:
            shapes = sorted(str([shape for _, shape in _fields(list(h))]) for h in headers)
            raise UpdateError(f"{type(choice).__name__}: processes hold payloads of unlike shapes: {', '.join(shapes)}")
        layouts.append(_fields(list(headers.pop())) if headers else [])
        places = choice.winners(keys, ids).tolist()
        sources.append([divmod(p, k) for p in places if p >= 0])
        merged.append(choice.take({"key": keys, "id": ids}, torch.tensor(places)))

    # Every process knows who sends how much, so nothing is asked twice and nobody waits for an empty message. What
    # process 0 holds itself need not travel.
    senders = {owner: _parcels(owner, sources, layouts) for source in sources for owner, _ in source if owner}
    sizes = tuple(senders[owner][-1].end if senders.get(owner) else 0 for owner in range(len(answers)))
    data = torch.empty(sizes[rank], dtype=torch.uint8)
    for parcel in senders.get(rank, []):
        payload = choices[parcel.choice][1][f"{PAYLOAD}{parcel.field}"]
        rows = [payload[slot] for slot in parcel.slots]
        if payload.device == data.device:
            torch.stack(rows, out=parcel.rows(data))
        else:
            parcel.rows(data).copy_(torch.stack(rows))
    received = yield ToRoot(data, sizes)
    if rank == 0:
        _place(received, senders, choices, sources, layouts, merged)
    return merged


@dataclass(frozen=True)
class _Parcel:
    """The rows of one choice's winners in one field that a process sends: where they lie in its bytes."""

    choice: int
    field: int
    slots: list[int]
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int

    def rows(self, data: Tensor) -> Tensor:
        """Those bytes as the rows that they are: a view."""
        size = len(self.slots) * self.dtype.itemsize * math.prod(self.shape)
        return data[self.start : self.start + size].view(self.dtype).reshape(len(self.slots), *self.shape)


_ALIGNMENT = 16  # bytes; the itemsize of every dtype divides it


def _parcels(
    owner: int, sources: list[list[tuple[int, int]]], layouts: list[list[tuple[torch.dtype, tuple[int, ...]]]]
) -> list[_Parcel]:
    parcels: list[_Parcel] = []
    end = 0
    for c, (source, layout) in enumerate(zip(sources, layouts, strict=True)):
        slots = [slot for o, slot in source if o == owner]
        for f, (dtype, shape) in enumerate(layout if slots else []):
            start, size = end, len(slots) * dtype.itemsize * math.prod(shape)
            end = start + -(-size // _ALIGNMENT) * _ALIGNMENT
            parcels.append(_Parcel(c, f, slots, dtype, shape, start, end))
    return parcels


def _place(
    received: list[Tensor],
    senders: dict[int, list[_Parcel]],
    choices: list[tuple[Choice, State]],
    sources: list[list[tuple[int, int]]],
    layouts: list[list[tuple[torch.dtype, tuple[int, ...]]]],
    merged: list[State],
) -> None:
    """On process 0: put every winner's rows in its place, each copied once."""
    arrived = {
        (owner, parcel.choice, parcel.field): iter(parcel.rows(received[owner].cpu()).unbind())
        for owner, parcels in senders.items()
        for parcel in parcels
    }
    for c, (source, layout, state) in enumerate(zip(sources, layouts, merged, strict=True)):
        for f, (dtype, shape) in enumerate(layout):
            name = f"{PAYLOAD}{f}"
            own = choices[c][1][name].cpu().unbind() if any(owner == 0 for owner, _ in source) else ()
            rows = [next(arrived[owner, c, f]) if owner else own[slot] for owner, slot in source]
            rows += [torch.zeros(shape, dtype=dtype)] * (len(state["key"]) - len(rows))
            state[name] = torch.stack(rows)
