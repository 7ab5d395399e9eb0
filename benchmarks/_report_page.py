"""The page of `torchmetrics_report.py`: rows of what was examined, written down."""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median

from _report_programs import SECONDS, WAIT, forked
from _torchmetrics_kinds import KINDS, Kind
from _torchmetrics_notes import LAW_NOTES, cause_of

from lwcallbacks.testing import METRIC_LAWS

ATOL, RTOL = 1e-5, 1e-4
KEPT, ROUNDED, BROKEN, BY_DESIGN = "kept", "kept but for rounding", "violated", "by design"
NOT_APPLICABLE = "not applicable"
NOT_SIMULATED = "not tried: it calls torch.distributed itself"
REPORTED = {name: law for name, law in METRIC_LAWS.items() if not law.asked}
SYMBOLS = {KEPT: "=", ROUNDED: "≈", BROKEN: "✗", BY_DESIGN: "○", NOT_APPLICABLE: "·", NOT_SIMULATED: "?"}
OUTCOMES = {
    "kept": KEPT,
    "rounding": ROUNDED,
    "broken": BROKEN,
    "known": BY_DESIGN,
    "not applicable": NOT_APPLICABLE,
    "not simulated": NOT_SIMULATED,
}
COLUMNS = {
    "repeatable": "twice",
    "inputs_unchanged": "inputs",
    "batch_size": "batch",
    "empty_process": "empty",
    "compute_is_pure": "pure",
    "step_value": "step",
    "forward_accumulates": "forward",
    "merge_state": "merge",
    "clone_is_independent": "clone",
    "pickle_round_trip": "pickle",
    "state_dict_round_trip": "ckpt",
    "reference": "ref",
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


@dataclass
class Examined:
    """One row: a class with arguments.

    Attributes:
        name: the class from the subpackage on, and its arguments where they are not the usual ones.
        arguments: whether these are others than the usual ones.
        outcomes, messages: by law.
        how: of a violation whether it is a "value", an "exception", a "hang" or an "abort".
        programs: of a violation the program, what is wrong with it, and what it did when it was run.
        data: what was given, in words.
        left_out: why nothing was examined.
        seconds: of CPU for one run over all laws.
    """

    name: str
    arguments: bool = False
    outcomes: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    programs: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    data: str = ""
    left_out: str = ""
    seconds: float = 0.0

    @property
    def cls(self) -> str:
        return self.name.partition("(")[0]

    @property
    def given(self) -> str:
        return self.name.partition("(")[2].removesuffix(")")

    def broken(self) -> list[str]:
        """Laws about values that do not hold."""
        return [law for law, outcome in self.outcomes.items() if outcome == BROKEN and not METRIC_LAWS[law].speed]


@dataclass
class Run:
    """What was asked for, and what there is beside the rows."""

    package: str
    examples: int
    asked: str
    same: dict[str, str]
    missing: dict[str, str]
    twice: list[tuple[str, bool, float]]
    ended: bool = False


def shortened(text: str, limit: int) -> str:
    """On one line, without what would end a code span, digits that float32 does not have, and where packages lie."""
    text = re.sub(r"\s+", " ", text).strip().replace("`", "'")
    text = re.sub(r"\S*/site-packages/", ".../", text)
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


def last_words(ran_out: str, status: int | None, err: str) -> str:
    """What a program printed, or how it ended."""
    if status == 0:
        return "it prints " + " and ".join(shortened(line, 80) for line in ran_out.strip().splitlines()[-2:])
    raised = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception)\b.*)$", err, re.MULTILINE)
    return f"it raises {shortened(raised[-1], 160)}" if raised else f"it ends with status {status}"


def report(found: list[Examined], run: Run) -> str:
    """The page."""
    examined = [row for row in found if not row.left_out]
    left_out = [row for row in found if row.left_out]
    kinds = _kinds_found(examined)
    return "\n".join(
        [
            *_head(examined, left_out, run),
            *_summary(examined, kinds, run),
            *_laws(),
            *_counts(examined),
            *_every_metric(examined),
            *_other_arguments(examined),
            *_kinds(kinds),
            *_violations(examined),
            *_by_design(examined),
            *_waits(examined),
            *_not_applicable(examined),
            *_left_out(left_out, run),
        ]
    )


def _head(examined: list[Examined], left_out: list[Examined], run: Run) -> Iterator[str]:
    packages = dict.fromkeys([run.package, "torchmetrics", "torch", "hypothesis", "scikit-learn"])
    told = ", ".join(f"{package} {found}" for package in packages if (found := _version(package)))
    option = "" if run.package == "torchmetrics" else f" --package {run.package}"
    yield f"# What {run.package} keeps of the laws"
    yield ""
    yield from wrapped(
        f"`benchmarks/torchmetrics_report.py{option}` wrote this page{' (`make report`)' * (not option)}; do not edit "
        f"it. It tells what happened when the property-testing kit, `lwcallbacks.testing`, was run over every metric "
        f"class of an installed {run.package}."
    )
    yield ""
    yield from wrapped(
        "A violation is a true statement about what the metric does with the data shown, found by a machine. It is not "
        f"always a bug: {run.package} does not promise all of these laws. What cannot hold for what a metric is meant "
        "to be is by design: it is listed apart and not counted as violated."
    )
    yield ""
    yield "## What was run"
    yield ""
    yield f"- {told}; on a CPU, one thread."
    if run.asked:
        yield f"- Only what was asked for: {run.asked}."
    classes, lost = {row.cls for row in examined}, {row.cls for row in left_out} - {row.cls for row in examined}
    same = f"{len(run.same)} that are another name for classes that are here, and " if run.same else ""
    yield from wrapped(
        f"- Classes exported: {len(classes) + len(lost) + len(run.same)}. Examined: {len(classes)}, in {len(examined)} "
        f"rows: each class with its usual arguments, and with others, one or two at a time. Left out, and told at the "
        f"end: {same}{len(lost)} for other reasons."
    )
    yield from wrapped(
        f"- {run.examples} examples a law with the usual arguments, {max(2, run.examples // 2)} with others; the same "
        "ones each time, each of 1 to 4 batches of 1 to 6 samples (metrics that are defined for two samples and more "
        'get those), inside of what the metric documents. So few examples find what is easy to find: "kept" means '
        "that no counterexample turned up."
    )
    if run.ended:
        yield from wrapped(
            "- The run was ended before all other arguments were tried; those that were are listed under other "
            "arguments. `make report` without a limit tries all."
        )
    yield from wrapped(
        "- 1 to 4 processes. They are simulated: each asks for its collectives in lock step. The program of each "
        "violation about processes was run on real ones too, on gloo; where these agreed with one process, the "
        "row counts as kept. The second device is simulated."
    )
    yield from wrapped(
        f"- The program of each violation was run by itself, for {SECONDS} seconds at most. Where it did not show what "
        "was found, the row says so. Processes waited "
        f"for each other for {WAIT} seconds; the programs as they are shown say 20. "
        "`--programs FOLDER` writes all of them; below there is one of each kind."
    )
    yield from wrapped(
        f"- Equality is of bits first. Where it fails and |a - b| <= {ATOL:g} + {RTOL:g} |b| holds in all examples, or "
        "the difference is gone in float64, the law counts as kept but for rounding: a float sum depends on its order, "
        "and that is no bug."
    )
    if examined:
        usual = [row.seconds for row in examined if not row.arguments]
        took = f"{sum(row.seconds for row in examined) / 60:.0f} minutes of CPU for all rows, without the programs. "
        cost = f"- {took}All laws of a class with its usual arguments: "
        cost += f"{median(usual):.1f} s of CPU in the median" if usual else ""
        if run.twice:
            middle = median(seconds for _, _, seconds in run.twice)
            agreed = sum(same for _, same, _ in run.twice)
            cost += (
                f". At the kit's own settings (50 examples, all but the laws about speed and the strict ones) "
                f"{len(run.twice)} classes were examined twice: {middle:.1f} s of CPU for a class in the median, and "
                f"{agreed} of {len(run.twice)} had the same findings, word for word"
            )
        yield from wrapped(cost + ".")
    yield ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _kinds_found(examined: list[Examined]) -> list[tuple[Kind, list[tuple[Examined, str]]]]:
    """Of each kind of fault the rows and laws that have it, those with a program that shows it first."""
    rows: dict[Kind, list[tuple[Examined, str]]] = {kind: [] for kind in KINDS}
    for row in examined:
        for law in row.broken():
            said, how = row.messages[law], row.how.get(law, "")
            if kind := next((kind for kind in KINDS if kind.fits(law, row.name, said, how)), None):
                rows[kind].append((row, law))

    def rank(item: tuple[Examined, str]) -> tuple[bool, bool, int]:
        source, wrong, _ = item[0].programs.get(item[1], ("", "none", ""))
        return bool(wrong), item[0].arguments, len(source)

    return [(kind, sorted(found, key=rank)) for kind, found in rows.items() if found]


def _shows(kind: Kind, rows: list[tuple[Examined, str]]) -> bool:
    row, law = rows[0]
    return bool(kind.program) or not row.programs.get(law, ("", "none", ""))[1]


def _summary(examined: list[Examined], kinds: list[tuple[Kind, list[tuple[Examined, str]]]], run: Run) -> Iterator[str]:
    yield "## Summary"
    yield ""
    usual = [row for row in examined if not row.arguments]
    strict = {law.name for law in REPORTED.values() if law.strict}
    clean = [row for row in usual if not set(row.broken()) - strict]
    exact = [row for row in clean if ROUNDED not in row.outcomes.values()]
    yield from wrapped(
        f"With their usual arguments {len(clean)} of {len(usual)} classes broke no law about values, {len(exact)} of "
        "them with the same bits throughout. Not counted here are the laws that are strict (see the table of laws) "
        "and `no_host_wait`, which is about time."
    )
    yield ""
    shown = [(kind, rows) for kind, rows in kinds if _shows(kind, rows)]
    values = sum(kind.sort == "value" for kind, _ in shown)
    crashes = sum(kind.sort == "crash" for kind, _ in shown)
    by_hand = ", 18 of the values repeated in other programs by hand" if run.package == "torchmetrics" else ""
    if shown:
        yield from wrapped(
            f"Below are {_number_of_kinds(values)} of silently wrong values and {_number_of_kinds(crashes)} of crash"
            f"{by_hand}, each with a program that was run. The ones that matter most:"
        )
        yield ""
        for kind, rows in shown[:12]:
            row, law = rows[0]
            said = row.programs[law][2]
            real = "" if "torch.distributed" not in row.programs[law][0] else f" On real processes: `{said}`."
            names = _enumerated([row.cls.rpartition(".")[2] for row, _ in _each_class(rows)])
            yield from wrapped(f"- **{kind.title}** {names}.{real}")
        yield ""


def _number_of_kinds(number: int) -> str:
    return f"{number} kind{'s' if number != 1 else ''}"


def _each_class(rows: list[tuple[Examined, str]]) -> list[tuple[Examined, str]]:
    return list({row.cls: (row, law) for row, law in reversed(rows)}.values())[::-1]


def _laws() -> Iterator[str]:
    yield "## The laws"
    yield ""
    rows = []
    for law in REPORTED.values():
        statement = shortened(law.holds.__doc__ or "", 200)
        name = f"`{law.name}`" + " (strict)" * law.strict
        rows.append([name, COLUMNS.get(law.name, law.name), statement, shortened(law.means, 200)])
    yield from table(["Law", "Column", "What must be true", "Where it is not"], rows)


def _counts(examined: list[Examined]) -> Iterator[str]:
    yield "## Counts"
    yield ""
    yield "Numbers of metric classes, with their usual arguments; the last column is of the rows with others."
    yield ""
    rows = []
    for law in REPORTED:
        counts = Counter(row.outcomes[law] for row in examined if not row.arguments and law in row.outcomes)
        others = sum(row.outcomes.get(law) == BROKEN for row in examined if row.arguments)
        rows.append([f"`{law}`", *(str(counts[outcome]) for outcome in SYMBOLS), str(others)])
    yield from table(["Law", *SYMBOLS, "violated, other arguments"], rows)


def _every_metric(examined: list[Examined]) -> Iterator[str]:
    yield "## Every metric"
    yield ""
    yield "; ".join(f"{symbol} {outcome}" for outcome, symbol in SYMBOLS.items()) + "."
    yield ""
    usual = [row for row in examined if not row.arguments]
    for package in sorted({row.name.partition(".")[0] for row in usual}):
        yield f"### {package}"
        yield ""
        rows: list[list[str]] = []
        data: dict[str, list[str]] = {}
        for row in usual:
            if row.name.startswith(f"{package}."):
                short = row.name.partition(".")[2]
                rows.append([short, *(SYMBOLS[row.outcomes[law]] for law in REPORTED)])
                data.setdefault(row.data, []).append(short)
        yield from table(["", *(COLUMNS.get(law, law) for law in REPORTED)], rows)
        yield "Data:"
        yield ""
        for text, names in data.items():
            yield f"- {text}" if len(data) == 1 else f"- {_enumerated(names)}: {text}"
        yield ""


def _other_arguments(examined: list[Examined]) -> Iterator[str]:
    """What other arguments break that the usual ones do not."""
    usual = {row.cls: row for row in examined if not row.arguments}
    others = [row for row in examined if row.arguments]
    if not others:
        return
    yield "## Other arguments"
    yield ""
    yield from wrapped(
        f"{len(others)} rows of {len({row.cls for row in others})} classes, under the laws that are about data. Those "
        "that break a law which the class keeps with its usual arguments:"
    )
    yield ""
    rows = []
    for row in others:
        before = set(usual[row.cls].broken()) if row.cls in usual else set()
        if more := [law for law in row.broken() if law not in before]:
            rows.append([row.cls, f"`{row.given}`", ", ".join(f"`{law}`" for law in more)])
    yield from table(["Class", "Arguments", "Laws"], rows)
    yield "All that were tried:"
    yield ""
    tried: dict[str, list[str]] = {}
    for row in others:
        tried.setdefault(row.given, []).append(row.cls.rpartition(".")[2])
    for given, names in sorted(tried.items(), key=lambda item: -len(item[1])):
        yield from wrapped(f"- `{given}`: {_enumerated(names, 4)}")
    yield ""


def _enumerated(names: list[str], limit: int = 6) -> str:
    return ", ".join(names) if len(names) <= limit else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _kinds(kinds: list[tuple[Kind, list[tuple[Examined, str]]]]) -> Iterator[str]:
    for sort, head in (("value", "Silently wrong values"), ("crash", "Crashes")):
        chosen = [(kind, rows) for kind, rows in kinds if kind.sort == sort and _shows(kind, rows)]
        if not chosen:
            continue
        yield f"## {head}"
        yield ""
        for number, (kind, rows) in enumerate(chosen, 1):
            yield f"### {number}. {kind.title}"
            yield ""
            yield from wrapped(kind.words)
            yield ""
            row, law = rows[0]
            source, _, said = row.programs[law]
            if kind.program:
                source, ran = kind.program, forked(kind.program)
                said = last_words(ran.out, ran.status, ran.err)
            first = shortened(row.messages[law].partition("\n")[0], 300)
            yield from wrapped(f"{row.name}, law `{law}`: `{first}`.")
            yield ""
            yield "```python"
            yield from (line for line in source.rstrip().splitlines())
            yield "```"
            yield ""
            yield from wrapped(f"When it was run: `{shortened(said, 300)}`.")
            yield ""
            laws: dict[str, list[str]] = {}
            for other, name in rows:
                laws.setdefault(other.cls.rpartition(".")[2], []).append(name)
            places = [f"{cls} ({', '.join(f'`{law}`' for law in dict.fromkeys(names))})" for cls, names in laws.items()]
            told = _enumerated(places, 40)
            yield from wrapped(f"Found in {told}.")
            yield ""


def _violations(examined: list[Examined]) -> Iterator[str]:
    yield "## Violations"
    yield ""
    yield from wrapped(
        "By law, and by cause where one was found by reading the code and repeating the example by hand. Floats are "
        "shown with 8 digits, long examples are cut."
    )
    yield ""
    for law in REPORTED.values():
        broken = [row for row in examined if law.name in row.broken()]
        if not broken:
            continue
        yield f"### {law.name}: {len({row.cls for row in broken})}"
        yield ""
        yield f"{law.means[0].upper()}{law.means[1:]}."
        yield ""
        if law.name in LAW_NOTES:
            yield from wrapped(LAW_NOTES[law.name])
            yield ""
        if law.strict:
            yield f"{len({row.cls for row in broken})} classes: {', '.join(dict.fromkeys(row.cls for row in broken))}."
            yield ""
            row = min(broken, key=lambda row: len(row.messages[law.name]))
            broken = [row]
        groups: dict[str, dict[str, list[Examined]]] = {}
        for row in broken:
            cause = cause_of(law.name, row.name, row.messages[law.name], row.how.get(law.name, ""))
            groups.setdefault(cause, {}).setdefault(row.cls, []).append(row)
        for words, classes in sorted(groups.items(), key=lambda item: -len(item[1])):
            yield f"**{words or 'The cause was not looked into.'}**"
            yield ""
            for rows in classes.values():
                yield from _bullet(rows, law.name)
            yield ""


def _bullet(rows: list[Examined], law: str) -> Iterator[str]:
    """One class: the first row that shows it, and the arguments with which it is the same."""
    row = next((row for row in rows if not row.programs.get(law, ("", "none", ""))[1]), rows[0])
    _, example = finding_and_example(row.messages[law])
    yield f"- {row.name}: `{shortened(row.messages[law].partition(chr(10))[0], 260)}`"
    yield f"  with `{shortened(example, 260)}`"
    if wrong := row.programs.get(law, ("", "not run", ""))[1]:
        yield f"  ({shortened(wrong, 200)})"
    if others := [other.given or "its usual arguments" for other in rows if other is not row]:
        yield from (f"  {line}" for line in wrapped(f"Also with {'; '.join(f'`{given}`' for given in others)}."))


def _by_design(examined: list[Examined]) -> Iterator[str]:
    """What a metric is meant to be; these are not counted as violations."""
    groups: dict[str, dict[str, list[str]]] = {}
    for row in examined:
        for law, outcome in row.outcomes.items():
            if outcome == BY_DESIGN:
                why = row.messages[law].partition("\n")[0].removeprefix("known: ")
                groups.setdefault(why, {}).setdefault(row.name, []).append(f"`{law}`")
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
    for row in examined:
        if row.outcomes.get("no_host_wait") == BROKEN:
            said, _ = finding_and_example(row.messages["no_host_wait"])
            groups.setdefault(shortened(said.removeprefix("raised HostSync: "), 160), []).append(row.name)
    if groups:
        yield f"### no_host_wait: {sum(map(len, groups.values()))}"
        yield ""
        yield from wrapped(LAW_NOTES["no_host_wait"])
        yield ""
        for said, names in sorted(groups.items(), key=lambda item: -len(item[1])):
            yield f"- `{said}` ({len(names)}): {', '.join(names)}"
        yield ""


def _not_applicable(examined: list[Examined]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for row in examined:
        for law, outcome in row.outcomes.items():
            if outcome == NOT_APPLICABLE and law != "reference" and not row.arguments:  # most have no reference
                groups.setdefault((law, shortened(row.messages[law], 260)), []).append(row.name)
    if groups:
        yield "## Not applicable"
        yield ""
        for (law, why), names in groups.items():
            yield f"- `{law}`, `{why}`: {', '.join(names)}"
        yield ""


def _left_out(left_out: list[Examined], run: Run) -> Iterator[str]:
    yield "## What was left out"
    yield ""
    if left_out:
        yield "Could not be examined, with what was raised or why:"
        yield ""
        for row in left_out:
            yield f"- {row.name}: `{shortened(row.left_out, 300)}`"
        yield ""
    groups: dict[str, list[str]] = {}
    for name, why in run.same.items():
        kind = why.partition(", of ")[0]
        groups.setdefault(kind, []).append(name)
    for kind, names in groups.items():
        yield f"The same code under another name ({len(names)}), {kind}: {', '.join(names)}."
        yield ""
    if run.missing:
        yield "Not exported by this installation, since an optional package is missing, and so not counted:"
        yield ""
        for name, package in run.missing.items():
            yield f"- {name}" + (f" ({package})" if package else "")
        yield ""
