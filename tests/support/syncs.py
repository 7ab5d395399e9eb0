"""What real processes do in tests of the sync alone; each function runs in every process, without a Trainer."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torchmetrics import Metric, MinMaxMetric, SumMetric
from torchmetrics.classification import MulticlassAUROC

import lwcallbacks as lw
from lwcallbacks.state import link
from lwcallbacks.state.ragged import DTYPES, as_bytes

from .scenarios import leave


def numbers_of(dtype: torch.dtype, rank: int) -> torch.Tensor:
    """Two rows of two on process 0, three on process 1: small powers of two, which every dtype holds exactly."""
    small = 2.0 ** (torch.arange(2 * (2 + rank)) % 3) * (rank + 1)
    if dtype == torch.bool:
        return (small > 1).reshape(-1, 2)
    if dtype.is_complex:
        return torch.complex(small, small.flip(0)).to(dtype).reshape(-1, 2)
    return small.to(dtype).reshape(-1, 2)


def reduced_by_hand(dtype: torch.dtype, op: str, world_size: int) -> torch.Tensor:
    """The first two rows of every process, reduced elementwise in wide numbers."""
    wide = torch.complex128 if dtype.is_complex else torch.float64
    rows = torch.stack([numbers_of(dtype, rank)[:2].to(wide) for rank in range(world_size)])
    reduced = {"sum": rows.sum(0)} if op == "sum" else {"max": rows.amax(0), "min": rows.amin(0)}
    return reduced[op].to(dtype)


def listed(tensor: torch.Tensor) -> tuple[str, list[int]]:
    """What a tensor is, to be compared: its dtype and its bytes."""
    return str(tensor.dtype), as_bytes(tensor.cpu()).tolist()


class Held(Metric):
    """Keeps what it was last given, reduced elementwise over processes."""

    def __init__(self, op: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.add_state("held", torch.zeros((2, 2), dtype=dtype), dist_reduce_fx=op)

    def update(self, x: torch.Tensor) -> None:
        self.held = x

    def compute(self) -> torch.Tensor:
        return self.held


class Listed(Metric):
    """Keeps everything it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("held", [], dist_reduce_fx=None)

    def update(self, x: torch.Tensor) -> None:
        self.held.append(x)

    def compute(self) -> list[torch.Tensor]:
        return list(self.held)


def core_of_dtypes(rank: int) -> lw.StateCore:
    """For each dtype a metric for each operation, one that keeps a list, and a choice with a payload of that dtype."""
    from lwcallbacks.reductions import First

    core = lw.StateCore()
    for dtype in DTYPES:
        x = numbers_of(dtype, rank)
        for op in ("sum",) if dtype.is_complex else ("sum", "max", "min"):
            core.register(f"{op} {dtype}", Held(op, dtype))
            core.update({f"{op} {dtype}": (x[:2],)}, values=False)
        core.register(f"list {dtype}", Listed())
        core.register(f"payload {dtype}", First(5))
        core.update({f"list {dtype}": (x,)}, values=False)
        core.update({f"payload {dtype}": (torch.arange(len(x)) + 2 * rank, x)}, values=False)
    return core


def as_lists(values: dict[Any, Any]) -> dict[str, Any]:
    """An epoch of `core_of_dtypes`, to be compared."""
    payload = {
        name.removeprefix("payload "): listed(value.payload[0])
        for name, value in values.items()
        if name.startswith("payload") and value.payload
    }
    lists = {
        name: (str(value[0].dtype), [byte for part in value for byte in listed(part)[1]])
        for name, value in values.items()
        if name.startswith("list")
    }
    reduced = {name: listed(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
    return {"values": {**lists, **reduced}, "payload": payload}


def every_dtype() -> dict[str, Any]:
    """An epoch of `core_of_dtypes` over gloo."""
    dist.init_process_group("gloo")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ComplexHalf support is experimental")
        values = as_lists(core_of_dtypes(dist.get_rank()).epoch_end())
    leave()
    return values


def ending_of(case: str) -> tuple[str, Any]:
    """One epoch over gloo in which this process is not like the others: what it raises, or what it collects."""
    from lwcallbacks.reductions import ConfusionCounts, ExactMean, First
    from lwcallbacks.state.core import UnlikeError, collect

    dist.init_process_group("gloo")
    rank, x = dist.get_rank(), torch.tensor([1.0, 2.0])
    kinds: dict[str, Any] = {"a": ExactMean(), "b": ExactMean(), "sum": SumMetric(), "roc": MulticlassAUROC(2)}
    if rank:
        kinds = dict(reversed(kinds.items()))
    if case == "unlike names" and rank:
        kinds["c"] = kinds.pop("b")
    core = lw.StateCore(kinds)
    fields = {"a": (x,), "b": (x + 1,), "c": (x + 1,), "sum": (x,), "roc": (torch.eye(2), torch.arange(2))}
    core.update({name: fields[name] for name in kinds}, values=False)
    if case == "unlike sizes":
        core.register("counts", ConfusionCounts(2 + rank))
    if case == "one fails" and rank:
        core.fail("b", "unread")
    if case == "learnt" and rank:
        core.members["sum"].metric.sum_value = torch.tensor([3.0, 4.0], dtype=torch.float64)  # type: ignore[attr-defined]
    elif case == "learnt":
        core.members["sum"].reset()
    if case == "unlike payload":
        core.register("shown", First(2))
        core.update({"shown": (torch.tensor([rank]), torch.ones(1, 2 + rank))})
    try:
        collected = collect({0: core}, contributes=case != "quiet" or rank == 0)
    except UnlikeError as error:
        return "raised", str(error)
    finally:
        leave()
    values = {name: float(v) if name != "sum" else v.tolist() for name, v in collected.values[0].items()}
    return "collected", (values, collected.failures[0])


def in_groups() -> dict[Any, Any]:
    """Three processes; the last two sync in a group of their own, and the first alone."""
    from lwcallbacks.reductions import ExactSum, First

    dist.init_process_group("gloo")
    groups = [dist.new_group([0]), dist.new_group([1, 2])]
    rank = dist.get_rank()
    kinds: dict[str, Any] = {"sum": ExactSum(), "shown": First(3), "wrapped": MinMaxMetric(SumMetric())}
    core, x = lw.StateCore(kinds, group=groups[min(rank, 1)]), torch.tensor([10.0**rank])
    core.update({"sum": (x,), "shown": (torch.tensor([rank]), torch.tensor([rank])), "wrapped": (x,)}, values=False)
    values = core.epoch_end()
    leave()
    shown = [p.tolist() for p in values["shown"].payload]
    return {"sum": values["sum"], "shown": shown, "wrapped": float(values["wrapped"]["raw"])}


def roll_call() -> list[Any]:
    """Who is absent, where all have come, and where process 1 has not; and how long it took to find out."""
    dist.init_process_group("gloo")
    together = link.roll_call("together", "", timeout=30.0)
    start = time.monotonic()
    without = link.roll_call("without 1", "", timeout=1.0) if dist.get_rank() != 1 else ([1], [])
    took = time.monotonic() - start
    leave()
    return [together, without, took]


class SlowStore:
    """The store of a process on a busy machine: it waits before each question."""

    def __init__(self, store: Any, seconds: float) -> None:
        self._store, self._seconds = store, seconds

    def __getattr__(self, name: str) -> Any:
        time.sleep(self._seconds)
        return getattr(self._store, name)


def last_question(what: str) -> Any:
    """What a process finds that asks late, where process 0 ends with the answer and takes the store with it."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    if rank:
        slow = SlowStore(link._shared_store(), 0.2)
        link._shared_store = lambda: slow
    if what == "everyone comes":
        return link.everyone_comes("last", timeout=30.0)
    if what == "absent":
        return link.roll_call("last", "text", timeout=2.0) if rank != 2 else time.sleep(5.0)
    return link.roll_call("last", f"text {rank}", timeout=30.0)


def texts() -> dict[str, Any]:
    """What processes read of what both have posted, process 1 alone, or nobody; and what roll calls with texts say."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    told: dict[str, Any] = {"nobody": link.posts("nobody", timeout=60.0)}
    dist.barrier()
    time.sleep(0.3 * rank)
    link.post("both", f"from {rank}")
    told["both"] = link.posts("both", timeout=60.0)
    if rank == 1:
        link.post("one", "from 1")
    dist.barrier()
    told["one"] = link.posts("one", timeout=0.2)
    told["alike"] = link.roll_call("alike", "text")
    told["unlike"] = link.roll_call("unlike", f"text {rank}")
    told["absent"] = link.roll_call("absent", f"text {rank}", timeout=0.2) if rank == 0 else None
    leave()
    return told


def requests() -> list[Any]:
    """What a link answers to each request; the tensor that was sent, as it is afterwards; and whether what was sent is
    kept for a thread of gloo that may still hold it."""
    dist.init_process_group("gloo")
    there = link.ProcessLink()
    own = torch.tensor([1.0, -2.0]) * (there.rank + 1)
    answers: list[Any] = [there.perform(link.AllReduce(own, op)).tolist() for op in ("sum", "max", "min")]
    gathered = there.perform(link.AllGather(own))
    is_kept = all(any(kept.data_ptr() == tensor.data_ptr() for kept in link._latest) for tensor in gathered)
    answers.append([tensor.tolist() for tensor in gathered])
    data = torch.arange(there.rank, dtype=torch.uint8)  # nothing of process 0, one byte of process 1, two of process 2
    answers.append([tensor.tolist() for tensor in there.perform(link.ToRoot(data, (0, 1, 2)))])
    leave()
    return [answers, own.tolist(), is_kept]


def lets_go_in_the_end() -> tuple[bool, float]:
    """Process 1 comes half a second late to a call: whether gloo's thread is seen to hold the tensor of process 0
    meanwhile, and how long `_let_go` then takes."""
    dist.init_process_group("gloo")
    tensor = torch.ones(8)
    ours = sys.getrefcount(tensor)
    if dist.get_rank() == 1:
        time.sleep(0.5)
    dist.all_reduce(tensor, async_op=True)
    is_held = sys.getrefcount(tensor) > ours
    link._latest.append(tensor)
    del tensor
    began = time.monotonic()
    link._let_go(patience=30)
    took = time.monotonic() - began
    leave()
    return is_held, took
