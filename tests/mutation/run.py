"""Mutation score: how many small changes of the code make a test fail. `make mutants` runs it.

    python tests/mutation/run.py reductions --number 200     # of all mutants 200, drawn by seed

A mutant is tried in a process that is forked from one which has imported torch and pytest, so that a second or two
suffice. It runs the tests that run the changed statement until one fails: those of the module first, then the short
ones. Which run it is found out once for each part, by an instrumented copy of the package, and kept in
build/mutants.

What survives is printed and written to build/mutants/PART.txt. What equivalent.txt lists, with the reason, changes
nothing that could be tested, and is counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "mutants"
sys.path.insert(0, str(HERE.parent))

from mutation.mutants import Mutant, mutants  # noqa: E402
from mutation.touched import instrumented  # noqa: E402

# What is mutated, and the tests that may kill it.
STATE = ("link", "sync", "core", "ending", "members", "metric", "agree", "ragged", "padding", "ordinary", "replica")
PARTS = {
    "reductions": (
        ["reductions/*.py"],
        [
            "tests/reductions",
            "tests/state/test_metric.py",
            "tests/callbacks/test_decisions.py",
            "tests/gradients/test_layers.py",
        ],
    ),
    "state": (
        [f"state/{name}.py" for name in STATE],
        [
            "tests/state",
            "tests/parallel/test_updates.py",
            "tests/testing/test_world.py",
            "tests/reductions/test_laws.py",
            "tests/testing/test_sim_device.py::test_metrics_and_cores_work_on_it",
            "tests/callbacks/test_resume.py::test_a_process_that_saves_alone_does_not_hang",
        ],
    ),
    "testing": (["testing/*.py"], ["tests/testing", "tests/reductions/test_laws.py"]),
    "strategies": (
        ["testing/strategies/*.py"],
        [
            "tests/testing/test_strategies.py",
            "tests/testing/test_strategies_of_batches.py",
            "tests/testing/test_suited.py",
            "tests/testing/test_reference.py",
            "tests/testing/test_not_examined.py",
        ],
    ),
}
PRELOAD = ("torch", "torch.distributed", "torch.multiprocessing", "torchmetrics", "pytorch_lightning", "hypothesis")
SEVERAL = 120  # seconds of the clock that a mutant may take, and what its tests take besides


@dataclass
class Facts:
    """What the tests of a part do."""

    seconds: dict[str, float] = field(default_factory=dict)  # by test
    broken: list[str] = field(default_factory=list)  # tests that fail without a mutant
    lines: dict[str, list[str]] = field(default_factory=dict)  # "file line" -> tests


@contextlib.contextmanager
def copy_of_package() -> Iterator[Path]:
    """A folder with a copy of the package, which is imported from there in this process's children."""
    with TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "lwcallbacks", Path(folder, "lwcallbacks"), ignore=shutil.ignore_patterns("__pycache__"))
        others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, str(HERE.parent), *others])
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        sys.path.insert(0, folder)
        yield Path(folder)


def files_of(part: str) -> list[Path]:
    return sorted(path for pattern in PARTS[part][0] for path in (ROOT / "lwcallbacks").glob(pattern))


# In a child


class Chosen:
    """A plugin of pytest: only the chosen tests, in that order, each with a limit of CPU time."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.order = {name: i for i, name in enumerate(seconds)}
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, 10 + 10 * self.seconds[nodeid])


class Noted:
    """A plugin of pytest: when each test began, how long it took and whether it failed."""

    def __init__(self) -> None:
        self.begun: list[tuple[float, str]] = []
        self.took: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.begun.append((time.time(), nodeid))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.took[report.nodeid] = self.took.get(report.nodeid, 0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def run_tests(arguments: Iterable[str], plugin: object) -> int:
    import pytest

    options = ["-q", "-m", "not long", "-p", "no:cacheprovider", "--timeout", "100", "--assert", "plain"]
    options += ["-W", "ignore:Module already imported", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    return int(pytest.main([*options, *arguments], plugins=[plugin]))


def in_child(call: Any, log: Path, limit: float) -> int | None:
    """The exit code of `call()` in a forked process, None where it took too long; nothing it started is left."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(ROOT)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = call()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + limit
    code: int | None = None
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return code


# What the tests touch


def facts_of(part: str, look_at: Sequence[str] | None) -> Facts:
    """What is kept of a part, with what was found of these tests just now; an empty list means all of them."""
    kept = BUILD / f"{part}.json"
    known = Facts(**json.loads(kept.read_text())) if kept.exists() and look_at != [] else None
    if known is not None and look_at is None:
        return known
    facts = _looked(part, look_at or PARTS[part][1])
    if known is not None:
        for line, tests in known.lines.items():
            facts.lines[line] = sorted({*facts.lines.get(line, ()), *(set(tests) - facts.seconds.keys())})
        facts.seconds = known.seconds | facts.seconds
        facts.broken = sorted({*known.broken, *facts.broken})
    kept.write_text(json.dumps(vars(facts)))
    return facts


def _looked(part: str, paths: Sequence[str]) -> Facts:
    touched, notes = BUILD / "touched.log", BUILD / "notes.json"
    touched.unlink(missing_ok=True)
    with copy_of_package() as folder:
        for path in files_of(part):
            file = path.relative_to(ROOT).as_posix()
            (folder / file).write_text(instrumented(path.read_text(), file))

        def look() -> int:
            os.environ["LWCALLBACKS_TOUCHED"] = str(touched)
            noted = Noted()
            run_tests(paths, noted)
            notes.write_text(json.dumps([noted.begun, noted.took, noted.failed]))
            return 0

        in_child(look, BUILD / "look.log", 3600)
    begun, seconds, broken = json.loads(notes.read_text())
    times = [moment for moment, _ in begun]
    lines: dict[str, set[str]] = {}
    of_file: dict[str, set[str]] = {}
    at_import: set[tuple[str, str]] = set()
    for moment, file, line in map(str.split, touched.read_text().splitlines()):
        at = bisect_right(times, float(moment)) - 1
        if at < 0:
            at_import.add((file, line))
            continue
        for tests in (lines.setdefault(f"{file} {line}", set()), of_file.setdefault(file, set())):
            tests.add(begun[at][1])
    for file, line in at_import:  # ahead of all tests, where these were collected: any of them may see it
        lines[f"{file} {line}"] = of_file.get(file, set())
    return Facts(seconds, broken, {line: sorted(tests) for line, tests in lines.items()})


def tests_for(
    facts: Facts, paths: Sequence[str], file: str, mutant: Mutant, budget: float
) -> tuple[dict[str, float], bool]:
    """The tests to run, with what each takes, and whether these are all that touch the line.

    Those of a file of tests that is named after the module come first, then those of the first path, then short ones.
    """
    keys = [f"{file} {mutant.line}"] if mutant.line else [key for key in facts.lines if key.startswith(f"{file} ")]
    names = {test for key in keys for test in facts.lines.get(key, ())} - set(facts.broken)

    def order(name: str) -> tuple[bool, int, float, str]:
        path = next(i for i, path in enumerate(paths) if name.startswith(path))
        return Path(file).stem not in name.partition("::")[0], path, facts.seconds[name], name

    chosen: dict[str, float] = {}
    for name in sorted(names, key=order):
        if not chosen or sum(chosen.values()) + facts.seconds[name] <= budget:
            chosen[name] = facts.seconds[name]
    return chosen, len(chosen) == len(names)


# The score


def interval(killed: int, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    z, share = 1.96, killed / number
    middle = share + z * z / (2 * number)
    half = z * (share * (1 - share) / number + z * z / (4 * number * number)) ** 0.5
    return (middle - half) / (1 + z * z / number), (middle + half) / (1 + z * z / number)


def equivalents() -> set[str]:
    """The mutants that equivalent.txt lists; the lines above each say why."""
    lines = (HERE / "equivalent.txt").read_text().splitlines()
    return {line for line in lines if line.startswith("lwcallbacks/")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--number", type=int, default=150, help="how many mutants are drawn; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=40, help="seconds of tests for one mutant that survives")
    parser.add_argument("--only", default="", help="only mutants whose line in the list has this text")
    parser.add_argument("--survivors", action="store_true", help="only those that survived the last time")
    parser.add_argument(
        "--look", nargs="*", metavar="PATH", help="find out again what tests run: all, or of these files"
    )
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    os.environ["CI"] = "true"  # hypothesis draws the same examples each time
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in PRELOAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

    facts = facts_of(args.part, args.look)
    if facts.broken:
        print(f"{len(facts.broken)} tests fail without a mutant and are left out: {facts.broken}")
    every = [(path, mutant) for path in files_of(args.part) for mutant in mutants(path.read_text())]
    every = [(path, mutant) for path, mutant in every if args.only in _shown(path, mutant)]
    if args.survivors:
        survived = {line.partition("   # ")[0] for line in (BUILD / f"{args.part}.txt").read_text().splitlines()}
        every = [(path, mutant) for path, mutant in every if _shown(path, mutant) in survived]
    drawn = every if not args.number else random.Random(args.seed).sample(every, min(args.number, len(every)))
    known, counts = equivalents(), {"killed": 0, "survived": 0, "equivalent": 0}
    print(f"{len(every)} mutants in {args.part}, {len(drawn)} drawn", flush=True)
    with copy_of_package() as folder, open(BUILD / f"{args.part}.txt", "w") as told:
        for number, (path, mutant) in enumerate(drawn, 1):
            if _shown(path, mutant) in known:
                fate, told_of = "equivalent", ""
            else:
                fate, told_of = _fate(folder, facts, args.part, path, mutant, args.budget)
            counts[fate] += 1
            line = f"{_shown(path, mutant)}{told_of}"
            if fate == "survived":
                told.write(f"{line}\n")
                told.flush()
            print(f"{time.strftime('%H:%M:%S')} {number:4} {fate:10} {mutant.line:4} {line}", flush=True)
    tried = counts["killed"] + counts["survived"]
    if tried:
        low, high = interval(counts["killed"], tried)
        print(
            f"{args.part}: {counts['killed']} of {tried} killed, {counts['killed'] / tried:.1%} "
            f"(95 % interval {low:.1%} to {high:.1%}); {counts['equivalent']} equivalent"
        )


def _shown(path: Path, mutant: Mutant) -> str:
    return f"{path.relative_to(ROOT).as_posix()} {mutant}"


def _fate(folder: Path, facts: Facts, part: str, path: Path, mutant: Mutant, budget: float) -> tuple[str, str]:
    file = path.relative_to(ROOT).as_posix()
    chosen, are_all = tests_for(facts, PARTS[part][1], file, mutant, budget)
    if not chosen:
        return "survived", "   # no test runs it"
    source = path.read_text()
    (folder / file).write_text(mutant.applied(source))
    try:
        tests = sorted({test.partition("::")[0] for test in chosen})
        code = in_child(
            lambda: run_tests(["-x", *tests], Chosen(chosen)), BUILD / "child.log", SEVERAL + 5 * sum(chosen.values())
        )
    finally:
        (folder / file).write_text(source)
    if code != 0:
        return "killed", ""
    return "survived", f"   # {len(chosen)} tests{'' if are_all else ', not all that run it'}"


if __name__ == "__main__":
    main()
