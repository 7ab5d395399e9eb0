"""Real processes instead of simulated ones: a metric on gloo, forked from this one, limited in time.

    on_real_processes(MeanMetric, [[(torch.tensor(1.0),)], [(torch.tensor(3.0),)]])      # [tensor(2.), tensor(2.)]
    examine_on_real_processes(MeanMetric, batches, processes=3)                          # a Finding

A fork has the factory as it is, lambdas and classes of a test among them. A system that cannot fork has no such thing.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lwcallbacks.testing.errors import Ended as Ended
from lwcallbacks.testing.law import Finding
from lwcallbacks.testing.same import Closeness, differing, shown

T = TypeVar("T")
SECONDS = 30
"""How long processes wait for each other; then they are ended."""


def on_real_processes(
    factory: Callable[[], Any], shares: Sequence[Sequence[Any]], seconds: float = SECONDS
) -> list[Any]:
    """The value of a metric on each of as many processes as there are shares, each a list of batches.

    Raises:
        Ended: a process raised, was aborted, or waited for the others until the time was over.
    """

    def updated(rank: int) -> Any:
        metric = factory()
        for args in shares[rank]:
            metric.update(**args) if isinstance(args, dict) else metric.update(*args)
        return metric

    return on_each_process(len(shares), updated, lambda metric, rank: metric.compute(), seconds)


def on_each_process(
    size: int, make: Callable[[int], T], call: Callable[[T, int], Any], seconds: float = SECONDS
) -> list[Any]:
    """`call(make(rank), rank)` on each of so many processes, with the variables that `torchrun` sets.

    Raises:
        Ended: a process raised, was aborted, or waited for the others until the time was over.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        tasks = [(folder, rank, size, make, call, seconds) for rank in range(size)]
        processes = [context.Process(target=_process, args=task) for task in tasks]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 and later: this process has threads; none of them is used
            for process in processes:
                process.start()
        for process in processes:
            process.join(seconds)
        ends = [_end(process, rank, Path(folder)) for rank, process in enumerate(processes)]
    if told := [f"process {rank} {end}" for rank, end in enumerate(ends) if isinstance(end, str)]:
        raise Ended("; ".join(sorted(told, key=_is_left_alone)))
    return [end[0] for end in ends]


def _process(
    folder: str, rank: int, size: int, make: Callable[[int], Any], call: Callable[[Any, int], Any], seconds: float
) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    ranks, sizes = ("RANK", "LOCAL_RANK"), ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
    os.environ.update({**dict.fromkeys(ranks, str(rank)), **dict.fromkeys(sizes, str(size)), "GROUP_RANK": "0"})
    found: Any
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/store",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=seconds),
        )
        found = (call(make(rank), rank),)
        dist.barrier()  # none leaves while another needs it
    except Exception as error:
        found = f"raised {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(found))
    os._exit(0)  # nothing of the one that it was forked from is to be flushed or closed again


def _is_left_alone(end: str) -> bool:
    """Whether a process ended so because of another one; then that one comes first."""
    return any(sign in end for sign in ("Connection closed", "Connection reset", "Timed out", "waited until"))


def _end(process: Any, rank: int, folder: Path) -> Any:
    """The value in a tuple, or how the process ended."""
    if process.is_alive():
        process.kill()
        process.join()
        return "waited until its time was over"
    file = folder / f"{rank}.pkl"
    return pickle.loads(file.read_bytes()) if file.exists() else f"ended with exit code {process.exitcode}"


def examine_on_real_processes(
    factory: Callable[[], Any],
    batches: SearchStrategy[Any],
    *,
    processes: int = 2,
    examples: int = 3,
    exact: bool = True,
    atol: float | None = None,
    rtol: float = 0.0,
) -> Finding:
    """Whether real processes report, each, what one process reports of everything. Examples are not made smaller.

    Args:
        factory, batches, exact, atol, rtol: as those of `check_metric`. Each process gets batches of one draw.
        processes: how many, at least 2.
        examples: how often they are started; each takes about half a second.
    """
    if not hasattr(os, "fork"):
        return Finding("not applicable", "this system cannot fork")
    drawn: list[list[Any]] = []
    close = None if exact else Closeness(atol or 0.0, rtol)
    shares_of = st.lists(batches.filter(len), min_size=processes, max_size=processes)

    def keep(shares: list[Any]) -> None:
        drawn.append(shares)

    settings(
        max_examples=examples + 1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )(seed(0)(given(shares_of)(keep)))()
    for shares in drawn[-examples:]:  # the first one is the smallest there is
        if finding := _contradiction(factory, shares, close):
            return finding
    return Finding("kept")


def _contradiction(factory: Callable[[], Any], shares: list[Any], close: Closeness | None) -> Finding | None:
    metric = factory()
    for args in (args for share in shares for args in share):
        metric.update(**args) if isinstance(args, dict) else metric.update(*args)
    expected = metric.compute()
    here, example = f"on {len(shares)} real processes (gloo)", f"\n  shares of the processes = {shown(shares)}"
    try:
        values = on_real_processes(factory, shares)
    except Ended as end:
        return Finding("broken", f"{here} {end}{example}", "exception")
    for rank, value in enumerate(values):
        if where := differing(value, expected, close):
            found, alone = where.shortly()
            words = f"{here} you report {found} on process {rank} where one process reports {alone}"
            return Finding("broken", f"{words}{example}", "value")
    return None
