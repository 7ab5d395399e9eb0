"""Hold every metric class of the installed torchmetrics to the laws of `lwcallbacks.testing`, and tell what was found.

    python benchmarks/torchmetrics_report.py                                              # docs/torchmetrics-report.md
    python benchmarks/torchmetrics_report.py --only BinaryAccuracy,MeanMetric --output report.md
    python benchmarks/torchmetrics_report.py --programs programs      # and the program of each violation, in a folder
    python benchmarks/torchmetrics_report.py --package torch_uncertainty

Each class is examined with its usual arguments, under all laws, and with others, under the laws that are about data.
Each law is tried with exact equality first; where that fails, once more with a tolerance, which tells rounding from a
wrong value. Examples are drawn the same way each time. The program of a violation is run. Worker processes do the work
and are replaced if a row takes too long. It takes about twenty minutes of CPU; progress goes to the standard error
stream. `--rows FILE` keeps what was found, so that a run that was ended goes on where it was; `--again` then writes
the page alone.
"""

import argparse
import ast
import importlib
import json
import multiprocessing
import pkgutil
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _other_packages import classes_of, recipes_of
from _report_page import (
    ATOL,
    BROKEN,
    KEPT,
    NOT_APPLICABLE,
    OUTCOMES,
    REPORTED,
    RTOL,
    SYMBOLS,
    Examined,
    Run,
    last_words,
    report,
)
from _report_programs import cannot_run, forked, unlike
from _torchmetrics_notes import no_violation, not_examined
from _torchmetrics_recipes import Recipe, recipes_for

from lwcallbacks.testing import Finding
from lwcallbacks.testing.confirm import Ran, confirmed

OF_DATA = (
    "inputs_unchanged",
    "batch_size",
    "order",
    "shards",
    "empty_process",
    "step_value",
    "forward_accumulates",
    "merge_state",
    "merge_with_fresh",
    "reset",
    "state_dict_round_trip",
    "reference",
)
"""The laws for arguments that are not the usual ones; the others are about the class and not about its arguments."""
REPORT = Path(__file__).resolve().parent.parent / "docs" / "torchmetrics-report.md"


# What there is.


def exported(package: str) -> dict[str, type]:
    """Every metric class that a package and its subpackages export, by subpackage and name, each class once."""
    if package != "torchmetrics":
        return classes_of(package)
    import torchmetrics
    from torchmetrics import Metric, MetricCollection
    from torchmetrics.wrappers import MetricTracker

    found: dict[type, str] = {}
    for module in pkgutil.iter_modules(torchmetrics.__path__):
        package = importlib.import_module(f"torchmetrics.{module.name}")
        for name in getattr(package, "__all__", []):
            member = getattr(package, name)
            if isinstance(member, type) and issubclass(member, Metric | MetricCollection | MetricTracker):
                found.setdefault(member, f"{module.name}.{name}")
    for name in torchmetrics.__all__:
        member = getattr(torchmetrics, name)
        if isinstance(member, type) and issubclass(member, Metric | MetricCollection | MetricTracker):
            home = member.__module__.removeprefix("torchmetrics.").partition(".")[0]
            found.setdefault(member, f"torchmetrics.{name}" if member.__name__ != name else f"{home}.{name}")
    return {name: cls for cls, name in sorted(found.items(), key=lambda item: item[1])}


def unexported(package: str) -> dict[str, str]:
    """Names that a subpackage exports only beside an optional package that is not installed, and which one that is."""
    if package != "torchmetrics":
        return {}
    import torchmetrics

    found = {}
    for module in pkgutil.iter_modules(torchmetrics.__path__):
        package = importlib.import_module(f"torchmetrics.{module.name}")
        if not module.ispkg or not getattr(package, "__file__", None):
            continue
        for node in ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.If):
                names = [a.name for s in node.body if isinstance(s, ast.ImportFrom) for a in s.names]
                flags = " and ".join(re.findall(r"_(\w+)_AVAILABLE", ast.unparse(node.test)))
                classes = [n for n in names if n[0].isupper() and n not in package.__all__]
                found.update({f"{module.name}.{name}": flags.lower() for name in classes})
    return dict(sorted(found.items()))


def same_code(name: str, cls: type) -> str | None:
    """Why a class is no metric of its own, where it is none."""
    if cls.__name__.startswith("_"):
        return "an old import path: a subclass that warns of it, of " + cls.__mro__[1].__name__
    if "__new__" in vars(cls):
        return "makes one of the Binary, Multiclass or Multilabel classes, by its argument `task`"
    return None


def rows_of(package: str, name: str, cls: type, variants: bool) -> Iterator[Recipe]:
    """The rows of a class: with its usual arguments, and with others."""
    return (recipes_for if package == "torchmetrics" else recipes_of)(name, cls, variants)


# Examining, in the worker process.


def examine(recipe: Recipe, examples: int, plain: bool) -> Examined:
    """What the laws say of one row; where plain update and compute does not work, it is left out."""
    from lwcallbacks.testing import METRIC_LAWS

    factory, batches, reference = recipe.suited.factory, recipe.suited.batches, recipe.reference
    row = Examined(recipe.name, data=recipe.suited.data, arguments=not plain)
    laws = list(REPORTED) if plain else list(OF_DATA)
    began = time.process_time()
    with at_most_shrinks(1):
        found = _findings(factory, batches, laws=laws, examples=examples, reference=reference)
    row.seconds = time.process_time() - began
    if problem := next((finding for finding in found.values() if finding.outcome == "not examined"), None):
        row.left_out = problem.message
        return row
    again = [
        name
        for name, finding in found.items()
        if finding.outcome in ("broken", "known") and not METRIC_LAWS[name].speed and (plain or finding.how == "value")
    ]
    if again:
        close = {"exact": False, "atol": ATOL, "rtol": RTOL, "laws": again, "examples": examples}
        with at_most_shrinks(60 if plain else 20):
            closer = _findings(factory, batches, reference=reference, **close)
        for name, finding in closer.items():
            if finding.outcome == "kept":
                found[name] = replace(found[name], outcome="rounding")
            elif finding.outcome != "not examined":
                found[name] = finding
    for name, finding in found.items():
        outcome, message = OUTCOMES[finding.outcome], finding.message
        if outcome == BROKEN and (reason := no_violation(name, recipe.name, message)):
            outcome, message = NOT_APPLICABLE, reason
        row.outcomes[name], row.messages[name] = outcome, message
        if outcome == BROKEN and not METRIC_LAWS[name].speed:
            _run_the_program(row, name, finding)
    return row


def _findings(factory: Any, batches: Any, *, reference: Any, **options: Any) -> dict[str, Finding]:
    """As `examine_metric`, but a reference that says nothing about any example is no error."""
    from lwcallbacks.testing import examine_metric

    try:
        return examine_metric(factory, batches, reference=reference, **options)
    except ValueError as error:
        if "returned None for each example" not in str(error):
            raise
        return examine_metric(factory, batches, **options)


def _run_the_program(row: Examined, law: str, finding: Finding) -> None:
    """Run what shows a violation. Where real processes agree with one, there is none."""
    if reason := cannot_run(finding):
        row.programs[law] = (finding.source, f"not run: {reason}", "")
        return
    ran: list[Ran] = []

    def run(source: str) -> Ran:
        ran.append(forked(source))
        return ran[-1]

    finding = confirmed(finding, run)
    if finding.outcome == "kept":
        row.outcomes[law], row.messages[law] = KEPT, finding.message
        return
    result = ran[0] if ran else run(finding.source)
    row.messages[law] = finding.message
    wrong = unlike(finding, result)
    said = finding.confirmed or last_words(result.out, result.status, result.err)
    row.programs[law] = (finding.source, f"the program does not show it: {wrong}" if wrong else "", said)
    row.how[law] = finding.how


@contextmanager
def at_most_shrinks(number: int) -> Iterator[None]:
    """Make examples smaller so many times only: it takes long, and is lost where an example is not shown."""
    from hypothesis.internal.conjecture import engine

    usual = engine.MAX_SHRINKS
    engine.MAX_SHRINKS = number
    try:
        yield
    finally:
        engine.MAX_SHRINKS = usual


def prepare(*, simulated: bool = True) -> None:
    """What a process needs that examines metrics; `simulated` gives it a second device, which the kit does not."""
    import hypothesis
    import torch

    from lwcallbacks.testing import simulated_device

    torch.set_num_threads(1)
    if simulated:
        simulated_device()  # for the law "device"
    hypothesis.settings.register_profile("report", database=None, max_examples=50)  # as the kit takes without a profile
    hypothesis.settings.load_profile("report")
    warnings.simplefilter("ignore")


def work(package: str, names: list[str], examples: int, variants: bool, done: set[str], told: Connection) -> None:
    """The worker: examine these classes, one after the other: with their usual arguments, or with all others."""
    import torch

    prepare()
    classes = exported(package)
    for name in names:
        told.send(("begins", name))
        if reason := not_examined(name):
            if not variants:
                told.send(("row", Examined(name, left_out=reason)))
            continue
        try:
            torch.manual_seed(0)
            for number, recipe in enumerate(rows_of(package, name, classes[name], variants)):
                if variants is (number > 0) and recipe.name not in done:
                    told.send(("row", _examined(recipe, max(2, examples // 2) if variants else examples, not variants)))
        except Exception as error:
            if not variants:
                told.send(("row", Examined(name, left_out=f"{type(error).__name__}: {error}")))
    told.send(("ends", ""))


def _examined(recipe: Recipe, examples: int, plain: bool) -> Examined:
    try:
        return examine(recipe, examples, plain)
    except Exception:
        told = "the examination failed: " + traceback.format_exc(limit=-1)
        return Examined(recipe.name, left_out=told, arguments=not plain)


def examine_all(package: str, names: list[str], examples: int, seconds: float, variants: bool, rows: Path) -> None:
    """Examine these classes in a worker, which is replaced where one takes too long or ends it.

    Each row is a line of the file `rows` as soon as there is one. What is there already is not examined again.
    """

    def keep(row: Examined) -> None:
        with rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        symbols = "".join(SYMBOLS[outcome] for outcome in row.outcomes.values())
        print(f"{row.name}: {row.left_out[:80] or symbols} {row.seconds:.1f} s", file=sys.stderr, flush=True)

    context = multiprocessing.get_context("spawn")
    done = {row.name for row in read_rows(rows, names)}
    waiting = [name for name in names if variants or not any(row.partition("(")[0] == name for row in done)]
    while waiting:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(package, waiting[:], examples, variants, done, theirs))
        worker.start()
        theirs.close()
        deadline, current = time.monotonic() + 120 + seconds, ""
        while True:
            try:
                told = ours.recv() if ours.poll(max(0.0, deadline - time.monotonic())) else None
            except EOFError:
                told = None
            if told is None or told[0] == "ends":
                break
            deadline = time.monotonic() + seconds
            if told[0] == "begins":
                current = told[1]
                waiting.remove(current)
            else:
                keep(told[1])
        worker.kill()
        worker.join()
        if told is None and not current:
            raise RuntimeError("the worker ended before its first metric")
        if told is None:
            left = f"took more than {seconds:.0f} seconds, or ended the process"
            keep(Examined(current, left_out=left, arguments=variants))


def examine_in_parallel(
    package: str, names: list[str], examples: int, seconds: float, variants: bool, rows: Path, jobs: int
) -> None:
    """The same by several workers."""
    with ThreadPoolExecutor(jobs) as pool:
        parts = [names[i::jobs] for i in range(jobs)]
        list(pool.map(lambda part: examine_all(package, part, examples, seconds, variants, rows), parts))


def spread(names: list[str]) -> list[str]:
    """Some classes of each subpackage first, so that a run that is ended early has seen a bit of everything."""
    seen: Counter[str] = Counter()
    place = {}
    for name in names:
        package = name.partition(".")[0]
        place[name] = (seen[package] // 3, package)
        seen[package] += 1
    return sorted(names, key=place.__getitem__)


def read_rows(rows: Path, names: list[str]) -> list[Examined]:
    """The rows of these classes out of a file, in the order of the names; of a row that is there twice the last."""
    place = {name: i for i, name in enumerate(names)}
    if not rows.exists():
        return []
    read = [Examined(**json.loads(line)) for line in rows.read_text(encoding="utf-8").splitlines()]
    found = {row.name: row for row in read if row.cls in place}
    return sorted(found.values(), key=lambda row: place[row.cls])


def sampled(package: str, names: list[str], told: Connection) -> None:
    """Worker: for some classes the outcomes and the seconds of CPU at the kit's own settings, twice."""
    from lwcallbacks.testing import METRIC_LAWS, examine_metric

    prepare(simulated=False)
    classes = exported(package)
    usual = [law.name for law in METRIC_LAWS.selected(None)]
    for name in names:
        try:
            suited = next(iter(rows_of(package, name, classes[name], False))).suited
        except Exception:
            continue
        runs = []
        for _ in range(2):
            began = time.process_time()
            found = examine_metric(suited.factory, suited.batches, exact=False, atol=ATOL, rtol=RTOL, laws=usual)
            seconds = time.process_time() - began
            runs.append(({law: (f.outcome, f.message) for law, f in found.items()}, seconds))
        told.send((name, runs[0][0] == runs[1][0], runs[0][1]))
    told.send(None)


def sample(package: str, names: list[str]) -> list[tuple[str, bool, float]]:
    """Of each class: its name, whether two runs agreed, seconds of CPU of the first."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=sampled, args=(package, names, theirs))
    worker.start()
    theirs.close()
    found = []
    while ours.poll(600) and (told := ours.recv()) is not None:
        found.append(told)
        print(f"twice: {told}", file=sys.stderr, flush=True)
    worker.kill()
    worker.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", default="torchmetrics", help="the library of metrics, torchmetrics by default")
    parser.add_argument("--only", default="", metavar="NAMES", help="class names, separated by commas")
    parser.add_argument(
        "--output", type=Path, help=f"by default {REPORT}, or of another package docs/PACKAGE-report.md"
    )
    parser.add_argument("--programs", type=Path, metavar="FOLDER", help="write the program of each violation there")
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="keep rows there, a line each; those that are there already are not examined again",
    )
    parser.add_argument("--again", action="store_true", help="examine nothing, write the page of what is in --rows")
    parser.add_argument("--examples", type=int, default=15, help="a law, 15 by default; half of it for other arguments")
    parser.add_argument("--seconds", type=float, default=180, help="the most for one row, 180 by default")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes, 2 by default")
    parser.add_argument("--plain", action="store_true", help="each class with its usual arguments only")
    parser.add_argument(
        "--twice", type=int, default=0, metavar="N", help="examine N classes twice at the usual settings"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    only = [name.strip() for name in args.only.split(",") if name.strip()]
    classes = exported(args.package)
    if unknown := set(only) - {name.rpartition(".")[2] for name in classes}:
        parser.error(f"--only: {args.package} exports no {', '.join(sorted(unknown))}")
    same = {name: why for name, cls in classes.items() if (why := same_code(name, cls))}
    names = [name for name in classes if name not in same and (not only or name.rpartition(".")[2] in only)]
    with tempfile.TemporaryDirectory() as folder:
        rows = args.rows or Path(folder, "rows.jsonl")
        for variants in (False, True)[: 0 if args.again else 1 if args.plain else 2]:
            these = spread(names) if variants else names
            examine_in_parallel(args.package, these, args.examples, args.seconds, variants, rows, args.jobs)
        found = read_rows(rows, names)
        kept = rows.with_suffix(".twice.json")
        if args.twice:
            some = names[:: max(1, len(names) // args.twice)][: args.twice]
            kept.write_text(json.dumps(sample(args.package, some)), encoding="utf-8")
        twice = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    run = Run(
        package=args.package,
        examples=args.examples,
        asked=", ".join(only),
        same={} if only else same,
        missing={} if only else unexported(args.package),
        twice=twice,
        ended=args.again,
    )
    usual = (
        REPORT if args.package == "torchmetrics" else REPORT.with_name(f"{args.package.replace('_', '-')}-report.md")
    )
    output = args.output or usual
    output.write_text(report(found, run).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {output}", file=sys.stderr)
    if args.programs:
        args.programs.mkdir(parents=True, exist_ok=True)
        for row in found:
            for law, (source, _, _) in row.programs.items():
                (args.programs / f"{re.sub(r'[^A-Za-z0-9.=-]+', '_', row.name)}-{law}.py").write_text(source)


if __name__ == "__main__":
    main()
