"""Hold every metric class of the installed torchmetrics to the laws of `lwcallbacks.testing`, and tell what was found.

    python benchmarks/torchmetrics_report.py                                              # docs/torchmetrics-report.md
    python benchmarks/torchmetrics_report.py --only BinaryAccuracy,MeanMetric --output report.md

Each law is tried with exact equality first; where that fails, once more with a tolerance, which tells rounding from a
wrong value. Examples are drawn the same way each time. A worker process does the work and is replaced if a metric takes
too long. It takes about ten minutes on one core; progress goes to the standard error stream.
"""

import argparse
import ast
import importlib
import multiprocessing
import pkgutil
import re
import sys
import textwrap
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from _torchmetrics_notes import LAW_NOTES, cause_of, no_violation, not_examined
from _torchmetrics_recipes import recipe_for

from lwcallbacks.testing import Suited

REPORT = Path(__file__).resolve().parent.parent / "docs" / "torchmetrics-report.md"
ATOL, RTOL = 1e-5, 1e-4
KEPT, ROUNDED, BROKEN, BY_DESIGN = "kept", "kept but for rounding", "violated", "by design"
NOT_APPLICABLE, UNFINISHED = "not applicable", "not finished"
SYMBOLS = {KEPT: "=", ROUNDED: "≈", BROKEN: "✗", BY_DESIGN: "○", NOT_APPLICABLE: "·", UNFINISHED: "?"}
OUTCOMES = {
    "kept": KEPT,
    "rounding": ROUNDED,
    "broken": BROKEN,
    "known": BY_DESIGN,
    "not applicable": NOT_APPLICABLE,
}
COLUMNS = {
    "inputs_unchanged": "inputs",
    "batch_size": "batch",
    "order": "order",
    "shards": "shards",
    "empty_process": "empty",
    "compute_is_pure": "pure",
    "step_value": "step",
    "forward_accumulates": "forward",
    "merge_state": "merge",
    "reset": "reset",
    "clone_is_independent": "clone",
    "pickle_round_trip": "pickle",
    "state_dict_round_trip": "ckpt",
    "reference": "ref",
    "device": "device",
    "no_host_wait": "wait",
    "no_saturation": "narrow",
    "labels_in_range": "labels",
    "merge_after_compute": "asked",
    "merge_with_fresh": "fresh",
    "load_replaces": "load",
    "resume_with_forward": "resume",
    "checkpoint_unchanged": "alias",
    "stale_value": "stale",
    "update_count": "count",
    "pickle_mid_epoch": "moved",
    "instances_are_independent": "alone",
    "reset_is_fresh": "after reset",
    "sync_on_step": "synced",
}


# What there is.


def exported() -> dict[str, type]:
    """Every metric class that torchmetrics and its subpackages export, by subpackage and name, each class once."""
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


def unexported() -> dict[str, str]:
    """Names that a subpackage exports only beside an optional package that is not installed, and which one that is."""
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


# Examining, in the worker process.


def examine(name: str, recipe: Suited, examples: int, told: Connection) -> None:
    """Send (law, outcome, message) for each law; "left out" where plain update and compute does not work."""
    from lwcallbacks.testing import METRIC_LAWS, examine_metric

    factory, batches = recipe.factory, recipe.batches
    for law in METRIC_LAWS.values():
        options: dict[str, Any] = {"examples": examples, "laws": [law.name]}
        with at_most_shrinks(1):
            finding = examine_metric(factory, batches, **options)[law.name]
        if finding.outcome == "not examined":
            told.send(("left out", name, finding.message))
            return
        outcome, message = OUTCOMES[finding.outcome], finding.message
        if finding.outcome in ("broken", "known") and not law.speed:
            with at_most_shrinks(100):
                close = examine_metric(factory, batches, exact=False, atol=ATOL, rtol=RTOL, **options)[law.name]
            outcome, message = (
                (ROUNDED, message) if close.outcome == "kept" else (OUTCOMES[close.outcome], close.message)
            )
        if outcome == BROKEN and (reason := no_violation(law.name, name, message)):
            outcome, message = NOT_APPLICABLE, reason
        told.send((law.name, outcome, message))


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


def work(names: list[str], examples: int, told: Connection) -> None:
    """The worker: examine these metrics, one after the other."""
    import hypothesis
    import torch

    from lwcallbacks.testing import simulated_device

    torch.set_num_threads(1)
    simulated_device()  # for the law "device"
    hypothesis.settings.register_profile("report", database=None)
    hypothesis.settings.load_profile("report")
    warnings.simplefilter("ignore")
    classes = exported()
    for name in names:
        told.send(("begins", name, ""))
        if reason := not_examined(name):
            told.send(("left out", name, reason))
            continue
        try:
            torch.manual_seed(0)
            recipe = recipe_for(name, classes[name])
        except Exception as error:
            told.send(("left out", name, f"{type(error).__name__}: {error}"))
            continue
        told.send(("takes", name, recipe.data))
        try:
            examine(name, recipe, examples, told)
        except Exception:
            told.send(("left out", name, "the examination failed: " + traceback.format_exc(limit=-1)))
    told.send(("ends", "", ""))


@dataclass
class Examined:
    """What was found of one metric: outcome and message by law; or why it was not examined."""

    name: str
    outcomes: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    data: str = ""
    left_out: str = ""

    @property
    def short(self) -> str:
        return self.name.rpartition(".")[2]


def examine_all(names: list[str], examples: int, seconds: float) -> list[Examined]:
    """Examine these metrics in a worker; one that takes longer is left with what was found of it until then."""
    from lwcallbacks.testing import METRIC_LAWS

    context = multiprocessing.get_context("spawn")
    found: list[Examined] = []
    waiting = list(names)
    while waiting:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(waiting, examples, theirs), daemon=True)
        worker.start()
        theirs.close()
        deadline = time.monotonic() + 60 + seconds
        while True:
            try:
                told = ours.recv() if ours.poll(max(0.0, deadline - time.monotonic())) else None
            except EOFError:
                told = None
            if told is None or told[0] == "ends":
                break
            kind, what, message = told
            if kind == "begins":
                waiting.remove(what)
                found.append(Examined(what))
                started, deadline = time.monotonic(), time.monotonic() + seconds
                print(f"{len(found)} of {len(names)}: {what}", end=" ", file=sys.stderr, flush=True)
            elif kind == "takes":
                found[-1].data = message
            elif kind == "left out":
                found[-1].left_out = message
                print("left out", file=sys.stderr, flush=True)
            else:
                found[-1].outcomes[kind], found[-1].messages[kind] = what, message
                print(SYMBOLS[what], end="", file=sys.stderr, flush=True)
                if len(found[-1].outcomes) == len(METRIC_LAWS):
                    print(f" {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        worker.kill()
        worker.join()
        ended_early = told is None
        if ended_early and not found:
            raise RuntimeError("the worker ended before its first metric")
        if ended_early:
            print("stopped", file=sys.stderr, flush=True)
            for law in METRIC_LAWS:
                found[-1].outcomes.setdefault(law, UNFINISHED)
    return found


# Writing it down.


def shortened(text: str, limit: int) -> str:
    """On one line, without what would end a code span, and without the digits that float32 does not have."""
    text = re.sub(r"\s+", " ", text).strip().replace("`", "'")
    text = re.sub(r"-?\d+\.\d{6,}(e-?\d+)?", lambda number: f"{float(number[0]):.8g}", text)
    return text if len(text) <= limit else f"{text[:limit].rstrip()} ..."


def finding_and_example(message: str) -> tuple[str, str]:
    """What the kit found, and its smallest example, out of a message of its."""
    told, _, example = message.partition("\n  smallest example found:")
    found = told.partition("\n  found: ")[2]
    example = example.partition("\n  a program that shows it")[0]
    return found, "; ".join(line.strip() for line in example.strip().splitlines())


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def wrapped(text: str) -> list[str]:
    """A paragraph, or an item of a list."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def report(found: list[Examined], same: dict[str, str], missing: dict[str, str], examples: int, asked: str) -> str:
    """The page."""
    examined = [metric for metric in found if not metric.left_out]
    left_out = [metric for metric in found if metric.left_out]
    return "\n".join(
        [
            *_head(examined, left_out, same, examples, asked),
            *_laws(),
            *_summary(examined),
            *_every_metric(examined),
            *_violations(examined),
            *_by_design(examined),
            *_waits(examined),
            *_not_applicable(examined),
            *_left_out(left_out, same, missing),
        ]
    )


def _head(
    examined: list[Examined], left_out: list[Examined], same: dict[str, str], examples: int, asked: str
) -> Iterator[str]:
    versions = [("torchmetrics", "torchmetrics"), ("torch", "torch"), ("hypothesis", "hypothesis")]
    told = ", ".join(f"{name} {version(package)}" for name, package in versions)
    exported_count = len(examined) + len(left_out) + len(same)
    yield "# What torchmetrics keeps of the laws"
    yield ""
    yield from wrapped(
        "`benchmarks/torchmetrics_report.py` wrote this page (`make report`); do not edit it. It tells "
        "what happened when the "
        "property-testing kit, `lwcallbacks.testing`, was run over every metric class of an installed torchmetrics."
    )
    yield ""
    yield from wrapped(
        "A violation is a true statement about what the metric does with the data shown, found by a machine. It is not "
        "always a bug: torchmetrics does not promise all of these laws, and some cannot hold for what a "
        "metric is meant "
        "to be. Where that is so, it is said."
    )
    yield ""
    yield "## What was run"
    yield ""
    yield f"- {told}; on a CPU, one thread."
    if asked:
        yield f"- Only what was asked for: {asked}."
    yield from wrapped(
        f"- Classes exported: {exported_count}. Examined: {len(examined)}. Left out, and told at the "
        f"end: {len(same)} that "
        f"are another name for classes that are here, and {len(left_out)} for other reasons."
    )
    yield from wrapped(
        f"- {examples} examples a law, the same ones each time, each of 1 to 3 batches of 1 to 5 samples "
        "(metrics that are "
        "defined for two samples and more get those), inside of what the metric documents, with default "
        "arguments as far "
        'as there are some. So few examples find what is easy to find: "kept" means that no counterexample turned up.'
    )
    yield from wrapped(
        "- Processes are simulated: each asks for its collectives in lock step, and asking for "
        "different ones is reported as "
        '"hangs" or "aborts", as gloo does. The second device is simulated too.'
    )
    yield from wrapped(
        f"- Equality is of bits first. Where it fails and |a - b| <= {ATOL:g} + {RTOL:g} |b| holds in "
        "all examples, the law "
        "counts as kept but for rounding: a float sum depends on its order, and that is no bug."
    )
    yield ""


def _laws() -> Iterator[str]:
    from lwcallbacks.testing import METRIC_LAWS

    yield "## The laws"
    yield ""
    rows = []
    for law in METRIC_LAWS.values():
        statement = shortened(law.holds.__doc__ or "", 200)
        rows.append([f"`{law.name}`", COLUMNS.get(law.name, law.name), statement, shortened(law.means, 200)])
    yield from table(["Law", "Column", "What must be true", "Where it is not"], rows)


def _summary(examined: list[Examined]) -> Iterator[str]:
    from lwcallbacks.testing import METRIC_LAWS

    yield "## Summary"
    yield ""
    yield "Numbers of metric classes."
    yield ""
    unfinished = any(UNFINISHED in metric.outcomes.values() for metric in examined)
    outcomes = [outcome for outcome in SYMBOLS if outcome != UNFINISHED or unfinished]
    rows = []
    for law in METRIC_LAWS:
        counts = Counter(metric.outcomes[law] for metric in examined)
        rows.append([f"`{law}`", *(str(counts[outcome]) for outcome in outcomes)])
    yield from table(["Law", *outcomes], rows)
    clean = [m for m in examined if all(o != BROKEN for law, o in m.outcomes.items() if law != "no_host_wait")]
    exact = [m for m in clean if all(o != ROUNDED for o in m.outcomes.values())]
    yield from wrapped(
        f"{len(clean)} of {len(examined)} classes broke no law about values (`no_host_wait` is about "
        f"time), {len(exact)} of "
        "them with the same bits throughout."
    )
    yield ""


def _every_metric(examined: list[Examined]) -> Iterator[str]:
    from lwcallbacks.testing import METRIC_LAWS

    yield "## Every metric"
    yield ""
    yield "; ".join(f"{symbol} {outcome}" for outcome, symbol in SYMBOLS.items()) + "."
    yield ""
    for package in sorted({metric.name.partition(".")[0] for metric in examined}):
        yield f"### {package}"
        yield ""
        rows, data = [], {}
        for metric in examined:
            if metric.name.startswith(f"{package}."):
                rows.append([metric.short, *(SYMBOLS[metric.outcomes[law]] for law in METRIC_LAWS)])
                data.setdefault(metric.data, []).append(metric.short)
        yield from table(["", *(COLUMNS.get(law, law) for law in METRIC_LAWS)], rows)
        yield "Data:"
        yield ""
        for text, names in data.items():
            yield f"- {text}" if len(data) == 1 else f"- {_enumerated(names)}: {text}"
        yield ""


def _enumerated(names: list[str], limit: int = 6) -> str:
    return ", ".join(names) if len(names) <= limit else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _violations(examined: list[Examined]) -> Iterator[str]:
    from lwcallbacks.testing import METRIC_LAWS

    yield "## Violations"
    yield ""
    yield "By law, and by cause where one was found by reading the code and repeating the example by hand. Floats are"
    yield "shown with 8 digits, long examples are cut."
    yield ""
    for law in METRIC_LAWS.values():
        broken = [metric for metric in examined if metric.outcomes[law.name] == BROKEN]
        if not broken or law.name == "no_host_wait":
            continue
        yield f"### {law.name}: {len(broken)}"
        yield ""
        yield f"{law.means[0].upper()}{law.means[1:]}."
        yield ""
        if law.name in LAW_NOTES:
            yield LAW_NOTES[law.name]
            yield ""
        groups: dict[str, list[Examined]] = {}
        for metric in broken:
            groups.setdefault(cause_of(law.name, metric.name, metric.messages[law.name]), []).append(metric)
        for words, metrics in sorted(groups.items(), key=lambda item: -len(item[1])):
            yield f"**{words or 'The cause was not looked into.'}**"
            yield ""
            alike: dict[tuple[str, str], list[str]] = {}
            for metric in metrics:
                said, example = finding_and_example(metric.messages[law.name])
                alike.setdefault((shortened(said, 260), shortened(example, 260)), []).append(metric.name)
            for (said, example), names in alike.items():
                yield f"- {', '.join(names)}: `{said}`"
                yield f"  with `{example}`"
            yield ""


def _by_design(examined: list[Examined]) -> Iterator[str]:
    """What a metric is meant to be; these are not counted as violations."""
    groups: dict[str, dict[str, list[str]]] = {}
    for metric in examined:
        for law, outcome in metric.outcomes.items():
            if outcome == BY_DESIGN:
                why = metric.messages[law].partition("\n")[0].removeprefix("known: ")
                groups.setdefault(why, {}).setdefault(metric.name, []).append(f"`{law}`")
    if groups:
        yield "## By design"
        yield ""
        for why, metrics in groups.items():
            for name, laws in metrics.items():
                yield from wrapped(f"- {name} ({', '.join(laws)}): {why}.")
        yield ""


def _waits(examined: list[Examined]) -> Iterator[str]:
    """What waits for the device; no examples, since it does not depend on the data."""
    groups: dict[str, list[str]] = {}
    for metric in examined:
        if metric.outcomes["no_host_wait"] == BROKEN:
            said, _ = finding_and_example(metric.messages["no_host_wait"])
            groups.setdefault(shortened(said.removeprefix("raised HostSync: "), 160), []).append(metric.name)
    if groups:
        yield f"### no_host_wait: {sum(map(len, groups.values()))}"
        yield ""
        yield LAW_NOTES["no_host_wait"]
        yield ""
        for said, names in sorted(groups.items(), key=lambda item: -len(item[1])):
            yield f"- `{said}` ({len(names)}): {', '.join(names)}"
        yield ""


def _not_applicable(examined: list[Examined]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for metric in examined:
        for law, outcome in metric.outcomes.items():
            if outcome == NOT_APPLICABLE and law != "reference":  # which most classes have none of
                groups.setdefault((law, shortened(metric.messages[law], 260)), []).append(metric.name)
    if groups:
        yield "## Not applicable"
        yield ""
        for (law, why), names in groups.items():
            yield f"- `{law}`, `{why}`: {', '.join(names)}"
        yield ""


def _left_out(left_out: list[Examined], same: dict[str, str], missing: dict[str, str]) -> Iterator[str]:
    yield "## What was left out"
    yield ""
    if left_out:
        yield "Could not be examined, with what was raised or why:"
        yield ""
        for metric in left_out:
            yield f"- {metric.name}: `{shortened(metric.left_out, 300)}`"
        yield ""
    groups: dict[str, list[str]] = {}
    for name, why in same.items():
        kind = why.partition(", of ")[0]
        groups.setdefault(kind, []).append(name)
    for kind, names in groups.items():
        yield f"The same code under another name ({len(names)}), {kind}: {', '.join(names)}."
        yield ""
    if missing:
        yield "Not exported by this installation, since an optional package is missing, and so not counted:"
        yield ""
        for name, package in missing.items():
            yield f"- {name}" + (f" ({package})" if package else "")
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="class names, separated by commas")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"by default {REPORT}")
    parser.add_argument("--examples", type=int, default=15, help="a law, 15 by default")
    parser.add_argument("--seconds", type=float, default=180, help="the most for one metric, 180 by default")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    only = [name.strip() for name in args.only.split(",") if name.strip()]
    classes = exported()
    if unknown := set(only) - {name.rpartition(".")[2] for name in classes}:
        parser.error(f"--only: torchmetrics exports no {', '.join(sorted(unknown))}")
    same = {name: why for name, cls in classes.items() if (why := same_code(name, cls))}
    names = [name for name in classes if name not in same and (not only or name.rpartition(".")[2] in only)]
    found = examine_all(names, args.examples, args.seconds)
    text = report(found, {} if only else same, {} if only else unexported(), args.examples, ", ".join(only))
    args.output.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
