"""What the benchmarks share: variants measured turn by turn, processes that end, and one JSON object at the end.

A benchmark is a script that runs alone. Its variants take turns, several times, because a machine's speed drifts: what
slows one variant down should slow down its neighbours too. They do so

- in processes of their own, where memory is measured as well (`measure`: the script calls itself with `--variant`);
- call by call in this process (`interleaved`);
- in several processes that are one process group (`run_processes`).
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import pickle
import platform
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PACKAGES = ("lwcallbacks", "torch", "pytorch-lightning", "torchmetrics", "wandb")
Times = dict[str, list[float]]
Calls = tuple[Callable[[], object], Callable[[], object]]


def options(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """What every benchmark understands."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--quick", action="store_true", help="a small part of it, to see that it runs")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"turns of each variant, {repeats} by default")
    return parser


def peak_memory_mib() -> float:
    """The most physical memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere


def cpu_seconds() -> float:
    """Processor time so far of this process's threads, of its ended children and of the processes that it started and
    that still run (W&B's, say). On systems without `/proc` those that still run do not count."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _of_running_children(os.getpid())


def _of_running_children(parent: int) -> float:
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            stats[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    below, ticks = {parent}, 0
    while grown := {process for process, (of, _) in stats.items() if of in below} - below:
        below |= grown
        ticks += sum(stats[process][1] for process in grown)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(script: str, variants: Sequence[str], repeats: int, *arguments: str) -> dict[str, list[dict[str, float]]]:
    """Run each variant `repeats` times, interleaved, each in a fresh process and an empty folder.

    Raises:
        RuntimeError: a run failed; the message ends with what it printed.
    """
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for repeat in range(repeats):
        for variant in variants:
            print(f"run {repeat + 1} of {repeats}: {variant}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="lwcallbacks-bench-", ignore_cleanup_errors=True) as folder:
                command = [sys.executable, str(Path(script).resolve()), "--variant", variant, *arguments]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{variant} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
            runs[variant].append(json.loads(done.stdout.strip().splitlines()[-1]))
    return runs


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    repeats: int,
    seconds: float = 0.002,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Seconds per call of each variant, once per turn. In its turn a variant is called for about so many seconds.

    With `clock=time.process_time` these are processor seconds of this process: of work on one thread, other programs
    disturb them less.
    """
    calls = {}
    for name, call in variants.items():
        call()  # what is made once is made now
        number, took = 1, 0.0
        while took < seconds:
            number = number if took == 0 else max(2 * number, math.ceil(1.1 * number * seconds / took))
            took = number * _seconds_per_call(call, number, clock)
        calls[name] = number
    times: Times = {name: [] for name in variants}
    for _ in range(repeats):
        for name, call in variants.items():
            times[name].append(_seconds_per_call(call, calls[name], clock))
    return times


def _seconds_per_call(call: Callable[[], object], number: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(number):
        call()
    return (clock() - start) / number


def median_ratio(times: Mapping[str, Sequence[float]], ours: str, peer: str) -> float:
    """Ours by peer, of the same turn: the median over the turns."""
    return statistics.median(a / b for a, b in zip(times[ours], times[peer], strict=True))


def geometric_mean(values: Iterable[float]) -> float:
    return statistics.geometric_mean(values)


def run_processes(world_size: int, function: Callable[..., Any], *args: Any, timeout: float = 300) -> list[Any]:
    """Call `function(*args)` in each process of a gloo group; return the results by rank. No process is left behind.

    Raises:
        RuntimeError: a process failed or died.
        TimeoutError: they were not done in `timeout` seconds.
    """
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    with tempfile.TemporaryDirectory(prefix="lwcallbacks-bench-", ignore_cleanup_errors=True) as folder:
        processes = [
            context.Process(
                target=_in_group, args=(rank, world_size, folder, timeout, results, function, args), daemon=True
            )
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        answers: dict[int, Any] = {}
        deadline = time.monotonic() + timeout
        try:
            while len(answers) < world_size:
                try:
                    rank, error, answer = results.get(timeout=0.5)
                except queue.Empty:
                    dead = [r for r, p in enumerate(processes) if p.exitcode is not None and r not in answers]
                    if dead and results.empty():
                        raise RuntimeError(f"process {dead[0]} died, code {processes[dead[0]].exitcode}") from None
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"processes were not done in {timeout} s") from None
                    continue
                if error:
                    raise RuntimeError(f"process {rank} failed:\n{error}")
                answers[rank] = pickle.loads(answer)
        finally:
            for process in processes:
                process.join(5 if len(answers) == world_size else 0)
                process.kill()
                process.join()
    return [answers[rank] for rank in range(world_size)]


def _in_group(
    rank: int, world_size: int, folder: str, timeout: float, results: Any, function: Callable[..., Any], args: Any
) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/group",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout),
        )
        answer = pickle.dumps(function(*args))
        dist.destroy_process_group()
        results.put((rank, None, answer))
    except BaseException:
        results.put((rank, traceback.format_exc(), None))
    results.close()
    results.join_thread()


def interleaved_in_group(variants: Mapping[str, Calls], repeats: int) -> Times:
    """Seconds of each variant's second call on this process, once per turn; its first call prepares and is not timed.

    All processes start each call together. What counts is the slowest process: `slowest` puts them together.
    """
    import torch.distributed as dist

    times: Times = {name: [] for name in variants}
    for turn in range(repeats + 2):
        for name, (prepare, call) in variants.items():
            prepare()
            dist.barrier()
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            if turn >= 2:  # the first turns make connections and warm up
                times[name].append(took)
    return times


def slowest(by_rank: Sequence[Times]) -> Times:
    """Of each turn, the time of the process that took longest."""
    return {name: [max(turn) for turn in zip(*(times[name] for times in by_rank), strict=True)] for name in by_rank[0]}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each quantity over the runs of a variant."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def median_times(times: Times, unit: float) -> dict[str, float]:
    """The median of each variant's times in a unit of so many seconds."""
    return {name: round(statistics.median(turns) / unit, 3) for name, turns in times.items()}


def versions() -> dict[str, str]:
    """What was measured, and with what."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def finish(result: Mapping[str, Any], as_json: bool, lines: Iterable[str]) -> None:
    """Print one JSON object, or the lines of a table for people and what was measured with what."""
    result = {**result, "machine": machine(), "versions": versions()}
    if as_json:
        print(json.dumps(result))
        return
    how = f"medians of {result['repeats']} turns" if result["repeats"] > 1 else "counted"
    print(f"\n{result['name']}, {how}\n")
    for line in lines:
        print(f"  {line}".rstrip())
    print(f"\n  {result['machine']}; " + ", ".join(f"{name} {number}" for name, number in result["versions"].items()))


def machine() -> str:
    return f"{os.cpu_count()} cores, CPU, one thread per process, {time.strftime('%Y-%m-%d')}"


def report(result: Mapping[str, Any], as_json: bool) -> None:
    """Print one JSON object, or the same as a table for people: a row per quantity."""
    if as_json:
        print(json.dumps(result))
        return
    columns = [column for column in ("none", "ours", "peer") if column in result]
    print(f"\n{result['name']}, medians of {result['repeats']} runs each\n")
    beside = [name for name in ("ratio", "ratio_to_none") if name in result]
    titles = {"ratio": "ours / peer", "ratio_to_none": "ours / none"}
    print(f"  {'':<24}" + "".join(f"{name:>{12}}" for name in columns) + "".join(f"{titles[r]:>14}" for r in beside))
    for quantity, unit in result["units"].items():
        values = "".join(f"{result[column][quantity]:>12.2f}" for column in columns)
        print(
            f"  {quantity + ' [' + unit + ']':<24}{values}" + "".join(f"{result[r][quantity]:>14.2f}" for r in beside)
        )
    print("\n  " + ", ".join(f"{name} {number}" for name, number in result["versions"].items()))


def cpu_of(call: Callable[[], object], number: int = 1, settle: float = 0.4) -> float:
    """Processor seconds per call, of all threads and of processes that were started, `settle` seconds after the calls
    included: what another thread or process still works on is counted."""
    start = cpu_seconds()
    for _ in range(number):
        call()
    time.sleep(settle)
    return (cpu_seconds() - start) / number


@contextlib.contextmanager
def offline_wandb() -> Iterator[Any]:
    """A Lightning WandbLogger of an offline run in a folder of its own, which is deleted in the end."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    with tempfile.TemporaryDirectory(prefix="lwcallbacks-bench-", ignore_cleanup_errors=True) as folder:
        os.environ |= {f"WANDB_{name}": folder for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
        logger = WandbLogger(mode="offline", save_dir=folder, settings=wandb.Settings(silent=True))
        _ = logger.experiment
        try:
            yield logger
        finally:
            wandb.finish()
