"""Real processes on gloo, limited in time, none left behind.

    results = run_processes(2, scenarios.padded, 101)      # what the function returned, by rank

The function must be importable by name (put it into tests/support/scenarios.py). Each process has one thread, and
the variables that Lightning and torch.distributed read.
"""

from __future__ import annotations

import functools
import os
import pickle
import queue
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@functools.cache
def _context() -> Any:
    # Each process is forked from a server that has imported everything once, and has no thread and no tensor yet.
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["support.scenarios"])
    return context


def run_processes(world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 120) -> list[Any]:
    """Call `function(*args)` in `world_size` processes; return the results by rank, or raise the first error."""
    context = _context()
    results: Any = context.Queue()
    port = free_port()
    processes = [
        context.Process(target=_enter, args=(rank, world_size, port, results, function, args), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    answers: dict[int, Any] = {}
    deadline = time.monotonic() + timeout
    try:
        while len(answers) < world_size:
            try:
                rank, error, answer = results.get(timeout=0.2)
            except queue.Empty:
                dead = [r for r, p in enumerate(processes) if p.exitcode not in (None, 0) and r not in answers]
                if dead:
                    raise RuntimeError(f"process {dead[0]} died with code {processes[dead[0]].exitcode}") from None
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"only processes {sorted(answers)} of {world_size} answered in {timeout} s"
                    ) from None
                continue
            if error is not None:
                raise RuntimeError(f"process {rank} failed:\n{error}")
            answers[rank] = pickle.loads(answer)
    finally:
        for process in processes:
            process.join(5 if len(answers) == world_size else 0)
            process.kill()
            process.join()
    return [answers[rank] for rank in range(world_size)]


def _enter(rank: int, world_size: int, port: int, results: Any, function: Callable[..., Any], args: Any) -> None:
    torch.set_num_threads(1)
    os.environ.pop("WANDB_SERVICE", None)  # W&B's process that a test here had started, and another has ended since
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0",
        WORLD_SIZE=str(world_size),
    )  # fmt: skip
    try:
        results.put((rank, None, pickle.dumps(function(*args))))
    except BaseException:
        results.put((rank, traceback.format_exc(), None))
    results.close()
    results.join_thread()
