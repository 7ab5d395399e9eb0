"""How one process reaches the others: what can be asked of them, and what answers. All collectives are here.

run(steps, current_link())                           # drive a coroutine of requests to its end
roll_call("fit 1", "what I have")                    # who has not come, and what others have, without a collective
"""

from __future__ import annotations

import atexit
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

ReduceOp: TypeAlias = Literal["sum", "max", "min"]


@dataclass(frozen=True, eq=False)
class AllReduce:
    """Answered by the elementwise sum, maximum or minimum of every process's tensor.

    Attributes:
        stays: whether the answer is on the tensor's own device, without a wait, where the backend can do that.
    """

    tensor: Tensor
    op: ReduceOp
    stays: bool = False


@dataclass(frozen=True, eq=False)
class AllGather:
    """Answered by the list of every process's tensor, by rank; all of one shape and dtype."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class ToRoot:
    """Bytes for process 0: uint8 [sizes[rank]]. Answered there by the list by rank, elsewhere by an empty list."""

    data: Tensor
    sizes: tuple[int, ...]


Request: TypeAlias = AllReduce | AllGather | ToRoot
Steps: TypeAlias = Generator[Request, Any, Any]


@runtime_checkable
class Link(Protocol):
    """How one process reaches the others."""

    rank: int
    world_size: int

    def perform(self, request: Request) -> Any: ...


def run(steps: Generator[Request, Any, Any], link: Link) -> Any:
    """Drive a coroutine of requests to its end over one link."""
    try:
        request = next(steps)
        while True:
            request = steps.send(link.perform(request))
    except StopIteration as stop:
        return stop.value


class Alone:
    """A world of one process."""

    rank = 0
    world_size = 1

    def perform(self, request: Request) -> Any:
        if isinstance(request, AllReduce):
            return request.tensor
        return [request.tensor] if isinstance(request, AllGather) else [request.data]


class ProcessLink:
    """A torch process group; the default group unless told otherwise."""

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.rank: int = dist.get_rank(group)
        self.world_size: int = dist.get_world_size(group)
        self._backend = backend = str(dist.get_backend(group))
        # gloo and mixed backends take CPU tensors; a pure device backend such as nccl takes only its device's.
        self.device = torch.device("cpu")
        if "gloo" not in backend and "mpi" not in backend and "cpu:" not in backend:
            self.device = _accelerator()

    def perform(self, request: Request) -> Any:
        if isinstance(request, AllReduce):
            tensor = request.tensor.to(self._place(request), copy=True)
            ops = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}
            dist.all_reduce(tensor, ops[request.op], group=self.group)
            return _sent(tensor)[0]
        if isinstance(request, AllGather):
            tensor = request.tensor.to(self.device).data
            gathered = [torch.empty_like(tensor) for _ in range(self.world_size)]
            dist.all_gather(gathered, tensor, group=self.group)
            return _sent(*gathered, tensor)[:-1]
        return self._to_root(request)

    def _place(self, request: AllReduce) -> torch.device:
        """Where it is reduced: a mixed backend, as "cpu:gloo,cuda:nccl", takes a tensor on either."""
        own = request.tensor.device
        return own if request.stays and f"{own.type}:" in self._backend else self.device

    def _to_root(self, request: ToRoot) -> list[Tensor]:
        data = request.data.to(self.device)
        if self.rank:
            if len(data):
                dist.send(data, self._global(0), group=self.group)
            return []
        received = [torch.empty(size, dtype=torch.uint8, device=self.device) for size in request.sizes]
        received[0] = data
        arriving = [
            dist.irecv(received[sender], self._global(sender), group=self.group)
            for sender in range(1, self.world_size)
            if request.sizes[sender]
        ]
        for message in filter(None, arriving):
            message.wait()
        return received

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


_latest: deque[Tensor] = deque(maxlen=8)
"""Tensors of the last calls, which a thread of gloo may still hold."""


def _sent(*tensors: Tensor) -> list[Tensor]:
    """The same data in tensors of their own. Those that were sent are kept for `_let_go`."""
    if tensors[0].device.type == "cpu":
        _latest.extend(tensors)
    return [tensor.data for tensor in tensors]


@atexit.register
def _let_go(patience: float = 1.0) -> None:
    """Before the interpreter ends, wait until gloo's threads have let go of what was sent; they are soon done.

    To do so they need the interpreter's lock, and where the process group is still there, as after a run in processes
    that the Trainer starts, a thread that asks for it too late ends the process: "terminate called without an active
    exception" (torch 2.13, in 1 of 10 runs on a busy machine).
    """
    deadline = time.monotonic() + patience
    while any(sys.getrefcount(tensor) > _OURS for tensor in _latest) and time.monotonic() < deadline:
        time.sleep(0.001)


_OURS = 3  # references to one of `_latest`, counted where that is done: the deque's, the loop's and the argument


class Counted:
    """A link that counts the calls in which processes meet; of one process there are none."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.rank, self.world_size = link.rank, link.world_size
        self.num_calls = 0

    def perform(self, request: Request) -> Any:
        self.num_calls += self.world_size > 1
        return self._link.perform(request)


def _accelerator() -> torch.device:
    # torch before 2.6 does not tell; a backend for its devices alone is nccl there.
    return torch.device((torch.accelerator.current_accelerator() or "cpu") if hasattr(torch, "accelerator") else "cuda")


def everyone_comes(occasion: str, timeout: float = 30.0, link: Link | None = None) -> bool:
    """Whether every process of a link, by default `current_link`, asks about the same occasion within `timeout`
    seconds; the same answer on all of them.

    For what should be collective but may be called by one process alone, such as saving a checkpoint: instead of
    waiting in a collective for processes that never come, the one that came goes on without. The processes meet in
    the key-value store that the process group was made with. The last to arrive writes yes, one that is tired of
    waiting writes no; whichever is written first is the answer.
    """
    store = _store_of(link)
    if store is None:
        return True
    arrived = store.add(f"{occasion}/arrived", 1)
    answer = f"{occasion}/answer"
    if arrived == dist.get_world_size():
        store.compare_set(answer, "", "yes")
    elif not _are_set(store, [answer], timeout):
        store.compare_set(answer, "", "no")
    is_yes = bool(store.get(answer) == b"yes")
    if is_yes:
        _let_others_read(store, occasion, range(dist.get_world_size()))
    return is_yes


def roll_call(occasion: str, text: str, timeout: float = 60.0, link: Link | None = None) -> tuple[list[int], list[str]]:
    """Come to `occasion` with a text and wait for the others of a link, by default `current_link`; each occasion needs
    a name of its own.

    Returns the ranks of those that have not come within `timeout` seconds; and, where all have come and texts are
    unlike, every process's text by rank. No collective: a process that never comes costs the others the time-out, and
    cannot make them hang; and but few questions to the store where all texts are equal.
    """
    store = _store_of(link)
    if store is None:
        return [], []
    ranks = range(dist.get_world_size())
    texts, unlike, here = (f"{occasion}/{what}" for what in ("text", "unlike", "here"))
    store.set(_of(dist.get_rank(), texts), text)
    if store.compare_set(f"{occasion}/first", "", text) != text.encode():
        store.set(unlike, "yes")
    store.set(_of(dist.get_rank(), here), "yes")
    missing, found = list[int](), list[str]()
    if not _are_set(store, [_of(rank, here) for rank in ranks], timeout):
        missing = [rank for rank in ranks if not _are_set(store, [_of(rank, here)], 0.05)]
    elif store.check([unlike]):
        found = [store.get(_of(rank, texts)).decode() for rank in ranks]
    if missing or found:
        _let_others_read(store, occasion, [rank for rank in ranks if rank not in missing])
    return missing, found


def _let_others_read(store: Any, occasion: str, ranks: Iterable[int], patience: float = 5.0) -> None:
    """Call when the last answer has been read: process 0, with whose end the store may go, waits for the others'.

    What is read here is often what an error says that ends each process.
    """
    rank, done = dist.get_rank(), f"{occasion}/read"
    if rank:
        with suppress(RuntimeError):  # process 0 has not waited: nothing is asked of the store any more
            store.set(_of(rank, done), "yes")
    else:
        _are_set(store, [_of(other, done) for other in ranks if other], patience)


def post(occasion: str, text: str, link: Link | None = None) -> None:
    """Leave a text for whoever asks for `posts`; waits for nobody. It stays for as long as the process group does."""
    if (store := _store_of(link)) is not None:
        store.set(_of(dist.get_rank(), occasion), text)
        store.set(f"{occasion}/any", "yes")


def posts(occasion: str, timeout: float = 2.0, link: Link | None = None) -> dict[int, str]:
    """The texts that processes have posted, by rank; empty where none has. From the first on it waits for the others,
    `timeout` seconds at most. It may be called on any thread: the store is never held for long."""
    store = _store_of(link)
    if store is None or not store.check([f"{occasion}/any"]):
        return {}
    deadline, found = time.monotonic() + timeout, dict[int, str]()
    while True:
        for rank in range(dist.get_world_size()):
            if rank not in found and store.check([_of(rank, occasion)]):
                found[rank] = store.get(_of(rank, occasion)).decode()
        if len(found) == dist.get_world_size() or time.monotonic() >= deadline:
            return found
        time.sleep(0.05)


def _of(rank: int, key: str) -> str:
    return f"{key}/{rank}"


def _are_set(store: Any, keys: list[str], timeout: float) -> bool:
    try:
        store.wait(keys, timedelta(seconds=timeout))
    except RuntimeError:  # the store's own word for a time-out
        return False
    return True


def _store_of(link: Link | None) -> Any:
    """The key-value store of a link's processes; None where there is no other one."""
    return _shared_store() if (link or current_link()).world_size > 1 else None


def _shared_store() -> Any:
    """The key-value store that the default process group was made with."""
    return dist.distributed_c10d._get_default_store()


def current_link(group: Any = None) -> Link:
    """A process group, by default that of all processes, where one is initialised; else no other process."""
    if dist.is_available() and dist.is_initialized():
        return ProcessLink(group)
    return Alone()
