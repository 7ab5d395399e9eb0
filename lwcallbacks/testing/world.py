"""A world of simulated processes: one thread of control, lock step, no sockets, hundreds of processes.

    world = World(4)
    world.compute(MeanMetric, shards)      # shards[rank]: a list of update-argument tuples; the value on each rank
    world.collect(cores)                   # end the epoch of one StateCore for each rank
    world.log                              # what was exchanged, in order

A process is a generator that yields what it wants from the others (`lwcallbacks.state.sync.Request`, or a `Gather`)
and is sent the answer. In each round every process moves on to its next request; the requests must fit together, as
they must for real processes. Where they do not, there is one of three ends, as with real processes on gloo:

- they wait for each other forever: `WouldHang`, which names them and what each asked for;
- they send each other tensors of unlike sizes in bytes, and one is aborted: `WouldAbort`;
- they send each other tensors of unlike dtypes and equal sizes: each reads the other's bits as its own dtype. That is
  silent, and it is what is computed with here, too; `World.mixed` says of which states.

A dtype that gloo does not send, as int16, raises what gloo raises. Messages name the state, as "state 'total'".

Another backend may end differently where gloo aborts: NCCL may hang, or hand out what is no data at all.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.data import dim_zero_cat

from lwcallbacks.state.core import StateCore, collecting
from lwcallbacks.state.ending import reported
from lwcallbacks.state.link import AllGather, AllReduce, Request, ToRoot
from lwcallbacks.testing.errors import WouldAbort, WouldHang
from lwcallbacks.testing.own_calls import own_calls
from lwcallbacks.warn import warn

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Gather:
    """Like torchmetrics' `gather_all_tensors`: one number of dimensions and bytes per number, sizes may differ.

    Attributes:
        tensor: what a process sends.
        state: which state of a metric that is, as "state 'total'"; empty where it is none.
    """

    tensor: Tensor
    state: str = ""


Ask: TypeAlias = Request | Gather


class Exchange(NamedTuple):
    """One collective: its kind, operation, dtype, shape (process 0's), and the bytes all processes brought."""

    kind: str
    op: str | None
    dtype: torch.dtype
    shape: tuple[int, ...]
    bytes: int


class World:
    """`size` simulated processes.

    Attributes:
        size: how many.
        log: the `Exchange`s so far.
        mixed: what processes read as numbers of another dtype than it was sent in, in words.

    >>> from torchmetrics import MeanMetric
    >>> World(3).compute(MeanMetric, [[(1.0,), (2.0,)], [(6.0,)], []])    # the third process has no data
    [tensor(3.), tensor(3.), tensor(3.)]
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"World: size={size!r}, expected a number of processes, 1 at least, as World(2)")
        self.size = size
        self.log: list[Exchange] = []
        self.mixed: list[str] = []

    def run(self, steps: Callable[[int], Generator[Any, Any, T]]) -> list[T]:
        """Drive `steps(rank)` of every rank to its end, in lock step; return their results by rank.

        Raises:
            WouldHang: processes ask for different things, or some end while others wait for them.
            WouldAbort: processes gather tensors of which one does not fit into another's memory.
            Exception: what a process raised, where no other is left waiting; a note names the process.
        """
        processes = [_Process(rank, steps(rank)) for rank in range(self.size)]
        answers: Sequence[Any] = [None] * self.size
        try:
            while True:
                for process, answer in zip(processes, answers, strict=True):
                    process.advance(answer)
                waiting = [process for process in processes if process.request is not None]
                failed = next((process for process in processes if process.error is not None), None)
                if not waiting:
                    if failed is not None and failed.error is not None:
                        raise failed.error
                    return [process.result for process in processes]
                requests = [process.request for process in processes]
                gathers = all(isinstance(request, Gather) for request in requests)
                if not gathers and len({process.asks for process in processes}) > 1:
                    raise _would_hang(processes) from (failed.error if failed else None)
                if gathers and not _fit_together(requests):
                    raise _would_abort(processes)
                if gathers and len({request.tensor.dtype for request in requests}) > 1:
                    self.mixed.append(_gathering(processes))
                self.log.append(_logged(requests))
                answers = _gathered(requests) if gathers else _performed(requests)
        finally:
            for process in processes:
                process.steps.close()

    def compute(self, factory: Callable[[], Any], shards: Sequence[Sequence[tuple[Any, ...]]]) -> list[Any]:
        """Update a metric on each process with its share, then compute it on all; return the values by rank.

        Args:
            factory: makes a torchmetrics `Metric`, a wrapper of metrics or a `MetricCollection`.
            shards: for each rank, the argument tuples of its updates; an empty list for a process without data.

        Raises:
            ValueError: another number of shards, something else than lists of tuples, or a factory that does not make
                a new metric each time.
        """
        _check_shards(shards, self.size)
        metrics: list[Any] = []
        with own_calls() as calls:
            for shard in shards:
                metric = _made_by(factory, self.size)
                if metrics and (shared := in_common(metrics[0], metric)):
                    told = f"the factory gives the same {' and '.join(shared)} to each process, expected a new metric"
                    raise ValueError(f"World({self.size}): {told}: write lambda: {type(metric).__name__}(...)")
                for args in shard:
                    metric.update(*args)
                metrics.append(metric)
            values = self.compute_all(metrics)
        if calls:
            warn(
                f"lwcallbacks: World: {type(metrics[0]).__name__} asks for its process itself: {'; '.join(calls)}; "
                "no World answers that, so real processes may report another value"
            )
        return values

    def compute_all(self, metrics: Sequence[Any]) -> list[Any]:
        """`compute()` of one metric on each process, as if they were the processes' shares of one metric."""
        return self.each(metrics, lambda metric, rank: metric.compute())

    def each(self, metrics: Sequence[Any], call: Callable[[Any, int], T]) -> list[T]:
        """`call(metric, rank)` on each process, by rank; what they gather is from each other."""

        def process(rank: int) -> Generator[Any, Any, Any]:
            def body(ask: Callable[[Ask], Any]) -> Any:
                parts = contained_metrics(metrics[rank])
                for metric in parts:
                    metric.dist_sync_fn = _Link(rank, self.size, ask, metric, alone=len(parts) == 1)
                    metric.distributed_available_fn = _yes
                return call(metrics[rank], rank)

            return _in_thread(body)

        with warnings.catch_warnings():
            # torchmetrics warns of this on its process 0 only, and a process without data is what worlds are for.
            warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
            return self.run(process)

    def collect(self, cores: Sequence[StateCore]) -> list[dict[Hashable, Any]]:
        """End the epoch of one `StateCore` on each process; return their values by rank, as `epoch_end` does."""
        ended = self.run(lambda rank: collecting({None: cores[rank]}, rank, self.size))
        for core, collected in zip(cores, ended, strict=True):
            reported(collected, core.on_problem)
        return [collected.values[None] for collected in ended]


def contained_metrics(metric: Any) -> list[Metric]:
    """The metric itself, and all that a wrapper or collection contains."""
    return [module for module in metric.modules() if isinstance(module, Metric)]


def in_common(one: Any, other: Any) -> list[str]:
    """Classes of the metrics that are parts of both, which are then not two."""
    parts = {id(part) for part in contained_metrics(other)}
    return [type(part).__name__ for part in contained_metrics(one) if id(part) in parts]


def _made_by(factory: Callable[[], Any], size: int) -> Any:
    wanted = "expected a function that makes a new metric: write lambda: "
    if isinstance(factory, Metric | MetricCollection) or not callable(factory):
        raise ValueError(f"World({size}): the factory is a {type(factory).__name__}, {wanted}{_class_of(factory)}(...)")
    metric = factory()
    if not isinstance(metric, Metric | MetricCollection):
        found = f"the class {metric.__name__}" if isinstance(metric, type) else f"a {type(metric).__name__}"
        raise ValueError(f"World({size}): the factory made {found}, {wanted}{_class_of(metric)}(...)")
    return metric


def _class_of(value: Any) -> str:
    cls = value if isinstance(value, type) else type(value)
    return cls.__name__ if issubclass(cls, Metric | MetricCollection) else "MyMetric"


def _check_shards(shards: Any, size: int) -> None:
    """Raise where these are not lists of tuples, one list for each process."""
    if not isinstance(shards, list | tuple):
        wanted = f"expected a list of {size} lists of tuples, as [{', '.join(['[(preds, target)]'] * min(size, 3))}]"
        raise ValueError(f"World({size}): shards is a {type(shards).__name__}, {wanted}")
    if len(shards) != size:
        told = f"found {len(shards)} shards, expected one for each of {size} processes"
        raise ValueError(f"World({size}): {told}: write World({len(shards)}), or [] for a process without data")
    for rank, shard in enumerate(shards):
        arguments = isinstance(shard, tuple) and not all(isinstance(args, tuple) for args in shard)
        if arguments or isinstance(shard, Tensor | Mapping | str) or not isinstance(shard, Iterable):
            told = f"shards[{rank}] is a {type(shard).__name__}, expected a list of tuples"
            one = f"[shards[{rank}]]" if arguments else f"[(shards[{rank}],)]"
            raise ValueError(f"World({size}): {told}: write {one} for one update")
        for i, args in enumerate(shard if isinstance(shard, list) else ()):
            if not isinstance(args, tuple | list):
                told = f"shards[{rank}][{i}] is a {type(args).__name__}, expected the tuple of arguments of one update"
                raise ValueError(f"World({size}): {told}: write (shards[{rank}][{i}],)")


def _yes() -> bool:
    return True


class _Process:
    """One process: where its generator stands."""

    def __init__(self, rank: int, steps: Generator[Any, Any, Any]) -> None:
        self.rank = rank
        self.steps = steps
        self.request: Any = None
        self.result: Any = None
        self.error: Exception | None = None
        self.asks = ""

    def advance(self, answer: Any) -> None:
        self.request = None
        try:
            request = self.steps.send(answer)
            self.asks = _described(request, self.rank)
            self.request = request
        except StopIteration as stop:
            self.result, self.asks = stop.value, "ends"
        except Exception as error:
            error.add_note(f"raised on process {self.rank}")
            self.error, self.asks = error, f"raises {type(error).__name__}: {error}"


def _described(request: Ask, rank: int) -> str:
    """What must be equal on all processes, in words."""
    if isinstance(request, AllReduce):
        return f"all_reduce({request.op}) of {request.tensor.dtype} {tuple(request.tensor.shape)}"
    if isinstance(request, AllGather):
        return f"all_gather of {request.tensor.dtype} {tuple(request.tensor.shape)}"
    if isinstance(request, Gather):
        of = f", {request.state}" if request.state else ""
        return f"gather_all_tensors of {request.tensor.dtype} with {request.tensor.ndim} dimensions{of}"
    if isinstance(request, ToRoot):
        told = f"sends to process 0: {request.sizes} bytes"
        brought = len(request.data)
        return told if brought == request.sizes[rank] else f"{told}, but brings {brought}"
    raise TypeError(f"World: a process yielded {request!r}, expected AllReduce, AllGather, ToRoot or Gather")


def _groups(processes: Sequence[_Process]) -> list[tuple[str, str]]:
    """Processes that ask for the same, by name, and what that is."""
    ranks: dict[str, list[int]] = {}
    for process in processes:
        ranks.setdefault(process.asks, []).append(process.rank)
    return [(_named(members), asks) for asks, members in ranks.items()]


def _would_hang(processes: Sequence[_Process]) -> WouldHang:
    groups = _groups(processes)
    listed = "".join(f"\n  {who}: {asks}" for who, asks in groups)
    failure = WouldHang(f"processes do not ask for the same, so real ones would hang{listed}")
    waiting = [process for process in processes if process.request is not None]
    ranks = ", ".join(str(process.rank) for process in waiting)
    gone = next((process for process in processes if process.request is None), None)
    if gone is not None:
        what = "is done" if gone.error is None else gone.asks.partition("\n")[0][:300]
        verb = "process {} waits" if len(waiting) == 1 else "processes {} wait"
        failure.words = f"{_state(waiting)}{verb.format(ranks)} for process {gone.rank}, which {what}"
    else:
        failure.words = "processes wait in different collectives"
    return failure


def _would_abort(processes: Sequence[_Process]) -> WouldAbort:
    listed = "".join(f"\n  {who}: {asks}" for who, asks in _groups(processes))
    failure = WouldAbort(f"processes gather tensors that do not fit together, so gloo aborts one{listed}")
    failure.words = _gathering(processes)
    return failure


def _state(processes: Sequence[_Process]) -> str:
    """The state that all these processes gather, ahead of what is said of it; empty where there is no such thing."""
    states = {getattr(process.request, "state", "") for process in processes}
    return f"{states.pop()}: " if len(states) == 1 and "" not in states else ""


def _gathering(processes: Sequence[_Process]) -> str:
    """What each process gathers, in words."""
    of = _state(processes)
    asked = [(who, asks.replace("gather_all_tensors of torch.", "gathers ")) for who, asks in _groups(processes)]
    told = ", and ".join(f"{who} {asks}" for who, asks in asked)
    return of + (told.replace(f", {of.removesuffix(': ')}", "") if of else told)


def _named(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"process {shown}" if len(ranks) == 1 else f"processes {shown}"


def _logged(requests: Sequence[Any]) -> Exchange:
    first = requests[0]
    if isinstance(first, ToRoot):
        return Exchange("to_root", None, torch.uint8, tuple(first.data.shape), sum(first.sizes[1:]))
    kind = {AllReduce: "all_reduce", AllGather: "all_gather", Gather: "gather"}[type(first)]
    size = sum(r.tensor.numel() * r.tensor.element_size() for r in requests)
    return Exchange(kind, getattr(first, "op", None), first.tensor.dtype, tuple(first.tensor.shape), size)


_REDUCE = {"sum": lambda t: t.sum(0, dtype=t.dtype), "max": lambda t: t.amax(0), "min": lambda t: t.amin(0)}


def _performed(requests: Sequence[Any]) -> list[Any]:
    """The answers by rank. No process is given memory of another's."""
    first = requests[0]
    if isinstance(first, ToRoot):
        return [[r.data.clone() for r in requests], *([] for _ in requests[1:])]
    tensors = [r.tensor.detach() for r in requests]
    if isinstance(first, AllReduce):
        reduced = _REDUCE[first.op](torch.stack(tensors))
        return [reduced.clone() for _ in requests]
    stacked = torch.stack(tensors)
    return [list(stacked.clone().unbind()) for _ in requests]


def _fit_together(requests: Sequence[Gather]) -> bool:
    """Whether every process has memory for what the others send: first the sizes, then tensors padded to the largest.

    A tensor without dimensions is sent at once, where others send sizes.
    """
    tensors = [request.tensor for request in requests]
    if len({t.ndim for t in tensors}) > 1:
        return False
    return len({t.element_size() for t in tensors}) == 1 or not all(_largest(tensors))


def _largest(tensors: Sequence[Tensor]) -> list[int]:
    """The shape into which all of them fit."""
    return [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]


def _gathered(requests: Sequence[Gather]) -> list[list[Tensor]]:
    """The answers by rank. A process reads the others' bits as numbers of its own dtype, whatever they were."""
    tensors = [request.tensor.detach() for request in requests]
    answers = []
    for rank, request in enumerate(requests):
        dtype = request.tensor.dtype
        # As torchmetrics does, so that a gradient can flow through a process's own part.
        answers.append([request.tensor if r == rank else _read_as(t, dtype) for r, t in enumerate(tensors)])
    return answers


def _read_as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.dtype == dtype:
        return tensor.clone()
    if tensor.numel() == 0:
        return tensor.new_empty(tensor.shape, dtype=dtype)
    return tensor.contiguous().view(dtype).clone()


SENT = frozenset(
    getattr(torch, name)
    for name in (
        *("bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32", "float64"),
        *("complex32", "complex64", "complex128"),
    )
)
"""The dtypes that gloo gathers, seen with torch 2.13; int16, float8 and the unsigned ones but uint8 raise."""


class _Link:
    """A metric's way to the other processes: `dist_sync_fn` for any metric, a `Link` for a `ReductionMetric`."""

    def __init__(self, rank: int, world_size: int, ask: Callable[[Ask], Any], metric: Metric, alone: bool) -> None:
        self.rank = rank
        self.world_size = world_size
        self.perform = ask
        self._metric = metric
        self._alone = alone
        self._last = ""

    def __call__(self, tensor: Tensor, group: Any = None) -> Any:
        self._last = _name_of(self._metric, tensor, self._last)
        of = f"state '{self._last}'" if self._last else ""
        of += f" of {type(self._metric).__name__}" if of and not self._alone else ""
        if tensor.dtype not in SENT:
            name = str(tensor.dtype).removeprefix("torch.")
            raise RuntimeError(f"Invalid scalar type: {of or 'a tensor'} is {name}, which gloo does not gather")
        return self.perform(Gather(tensor, of))


def _name_of(metric: Metric, tensor: Tensor, last: str) -> str:
    """The name of the state that a metric gathers, after the one that it gathered last; empty where it is none."""
    states = {name: getattr(metric, name, None) for name in metric._reductions}
    for name, state in states.items():
        if state is tensor or (isinstance(state, list) and any(part is tensor for part in state)):
            return name
    # What is no state itself was made of one: torchmetrics joins the tensors of a list, or makes one of no numbers.
    names = list(states)
    made = [name for name in names if isinstance(states[name], list) and metric._reductions[name] is dim_zero_cat]
    after = names.index(last) if last in states else -1
    return next((name for name in made if names.index(name) > after), made[0] if made else "")


_ABANDON = object()


class _Abandoned(BaseException):
    """Ends a process that nobody answers any more."""


def _in_thread(body: Callable[[Callable[[Ask], Any]], T]) -> Generator[Any, Any, T]:
    """Turn a function that calls `ask(request)` somewhere deep inside into a generator of requests.

    The function needs a stack of its own, hence the thread; only one of the two ever runs, so nothing is concurrent.
    """
    told: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    answers: SimpleQueue[Any] = SimpleQueue()

    def ask(request: Ask) -> Any:
        told.put(("asks", request))
        answer = answers.get()
        if answer is _ABANDON:
            raise _Abandoned
        return answer

    # Modes of torch belong to a thread: take over those that matter to arithmetic.
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work() -> None:
        try:
            with torch.inference_mode(inference), torch.set_grad_enabled(grad):
                told.put(("returns", body(ask)))
        except Exception as error:
            told.put(("raises", error))
        except _Abandoned:
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, content = told.get()
            if kind == "returns":
                result: T = content
                return result
            if kind == "raises":
                raise content
            answers.put((yield content))
    finally:
        answers.put(_ABANDON)
        thread.join()
