"""The pytest plugin: one test for each law of a metric, known violations as expected failures, a table at the end.

    @pytest.mark.metric_laws(known={"order": "ties, issue 2022"})
    def test_auroc(metric_law):
        metric_law(lambda: BinaryAUROC(), binary_batches())

pytest loads it by itself where the package is installed. Until a test asks for `metric_law`, it imports nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lwcallbacks.testing import Finding

MARK = "metric_laws"
REAL = "real_processes"
_PROPERTY = "metric_law"
_OUTCOMES = ("kept", "rounding", "broken", "known", "not applicable", "not simulated", "not examined")


class MetricLaw:
    """What the fixture gives: one law, to be held against a metric by calling it.

    Attributes:
        name: of the law, as in `METRIC_LAWS`; or "real_processes".
        options: of the mark, and the defaults of the call's: `factory`, `batches`, those of `examine_metric`.
        findings: of the calls so far.
        processes: how many real ones there are.
    """

    def __init__(self, name: str, options: dict[str, Any], processes: int) -> None:
        self.name = name
        self.options = options
        self.findings: list[dict[str, str]] = []
        self.processes = processes

    def __call__(self, factory: Callable[[], Any] | None = None, batches: Any = None, **options: Any) -> None:
        """Hold the law against a metric. The arguments are those of `check_metric`, by default those of the mark.

        Raises:
            LawViolation: the metric breaks the law.
            NotExaminable: plain update and compute raise on these batches.
            ValueError: there is no factory or no batches, here and in the mark.
        """
        __tracebackhide__ = True
        from lwcallbacks.testing import LawViolation, NotExaminable
        from lwcallbacks.testing.law import kept_all_the_same

        given = {"factory": factory, "batches": batches, **options}
        merged = {**self.options, **{name: value for name, value in given.items() if value is not None}}
        for name in ("factory", "batches"):
            if name not in merged:
                wanted = "metric_law(factory, batches), or @pytest.mark.metric_laws(factory, batches)"
                raise ValueError(f"metric_law: found no {name}, expected {wanted}")
        if wrong := _misnamed(merged.get("known", {})):
            raise ValueError(wrong)
        finding = self._examined(**merged)
        metric = _name(merged["factory"])
        row = {"metric": metric, "law": self.name, "outcome": finding.outcome, "message": finding.message}
        self.findings.append({**row, "program": finding.program()})
        known = merged.get("known", {}).get(self.name)
        if finding.outcome == "broken":
            violation = LawViolation(f"{metric}: {finding.message}")
            violation.finding = finding
            raise violation
        if finding.outcome == "not examined":
            problem = NotExaminable(f"{metric} {finding.message}")
            problem.finding = finding
            raise problem
        if finding.outcome == "known":
            pytest.xfail(known or finding.message.partition("\n")[0].removeprefix("known: "))
        if finding.outcome == "not simulated":
            pytest.skip(f"law {self.name} was not tried: {finding.message}")
        if finding.outcome == "not applicable":
            pytest.skip(f"law {self.name} says nothing about it: {finding.message}")
        if known is not None:
            pytest.fail(kept_all_the_same(self.name, known, metric))

    def _examined(self, factory: Callable[[], Any], batches: Any, **options: Any) -> Finding:
        from lwcallbacks.testing import examine_metric, real_processes

        if self.name != REAL:
            options["known"] = {law: why for law, why in options.get("known", {}).items() if law != REAL}
            return examine_metric(factory, batches, laws=[self.name], **options)[self.name]
        taken = {name: options[name] for name in ("exact", "atol", "rtol") if name in options}
        finding = real_processes.examine_on_real_processes(factory, batches, processes=self.processes, **taken)
        reason = options.get("known", {}).get(REAL)
        return replace(finding, outcome="known") if reason and finding.outcome == "broken" else finding


def _misnamed(known: Any) -> str:
    """What is wrong with laws and reasons as they were given; the test on real processes is a name, too."""
    from lwcallbacks.testing import METRIC_LAWS
    from lwcallbacks.testing.law import Laws, with_reasons

    try:
        with_reasons(Laws({**METRIC_LAWS, REAL: METRIC_LAWS["shards"]}), known, "known")
    except ValueError as error:
        return str(error)
    return ""


def _name(factory: Callable[[], Any]) -> str:
    try:
        return type(factory()).__name__
    except Exception:
        return getattr(factory, "__name__", "the metric")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("metric laws", "laws of metrics (lwcallbacks)")
    group.addoption("--metric-laws-json", metavar="PATH", help="write what was found of each metric and law as JSON")
    group.addoption(
        "--metric-laws-processes",
        metavar="N",
        type=int,
        help="beside the laws, compare N real processes (gloo) with one; about a second for each metric",
    )


def pytest_configure(config: pytest.Config) -> None:
    words = (
        "the options of the fixture metric_law, a test for each law: known={law: reason}, laws=, those of check_metric"
    )
    config.addinivalue_line("markers", f"{MARK}(factory, batches, **options): {words}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "metric_law" not in metafunc.fixturenames:
        return
    from lwcallbacks.testing import METRIC_LAWS

    options = _options(metafunc.definition)
    told = f"{metafunc.definition.nodeid}: @pytest.mark.{MARK}"
    processes = metafunc.config.getoption("--metric-laws-processes")
    try:
        names = [law.name for law in METRIC_LAWS.selected(options.get("laws"))]
    except ValueError as error:
        raise pytest.UsageError(f"{told}: {error}") from None
    known = options.get("known", {})
    if wrong := _misnamed(known):
        raise pytest.UsageError(f"{told}: {wrong}")
    if untried := [name for name in known if name not in (*names, REAL)]:
        raise pytest.UsageError(f"{told}: known has {untried}, expected laws that are tried: {names}")
    if processes is not None and processes < 2:
        raise pytest.UsageError(f"--metric-laws-processes={processes}, expected 2 or more")
    metafunc.parametrize("metric_law", names + [REAL] * (processes is not None), indirect=True)


@pytest.fixture
def metric_law(request: pytest.FixtureRequest) -> MetricLaw:
    """One law to hold against a metric, each law in a test of its own: `metric_law(factory, batches)`."""
    options = _options(request.node)
    options.pop("laws", None)
    return MetricLaw(request.param, options, request.config.getoption("--metric-laws-processes") or 0)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    law = pyfuncitem.funcargs.get("metric_law")
    try:
        done = yield
    finally:
        if isinstance(law, MetricLaw):
            pyfuncitem.user_properties += [
                (_PROPERTY, {"test": _test_of(pyfuncitem, law), **row}) for row in law.findings
            ]
    if isinstance(law, MetricLaw) and not law.findings:
        pytest.fail("the test has not called metric_law, so nothing was examined: write metric_law(factory, batches)")
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In pytest's lines of failures, law and metric stand where the name of the error's class would."""
    report = yield
    words = getattr(call.excinfo.value, "in_short", None) if call.excinfo else None
    crash = getattr(report.longrepr, "reprcrash", None)
    if isinstance(words, str) and crash is not None:
        crash.message = words
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    rows = _rows(report for report in reports if getattr(report, "when", None) == "call")
    path = config.getoption("--metric-laws-json")
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"laws": rows}, indent=1) + "\n", encoding="utf-8")
    if rows:
        terminalreporter.section("metric laws")
        for line in _table(rows):
            terminalreporter.write_line(line)


def _options(node: Any) -> dict[str, Any]:
    """Of the marks of a test, its class and its module; the closest counts."""
    options: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(MARK))):
        options |= dict(zip(("factory", "batches"), mark.args, strict=False)) | mark.kwargs
    return options


def _test_of(item: pytest.Function, law: MetricLaw) -> str:
    """The test without the law: what all its laws have in common."""
    name, bracket, ids = item.nodeid.partition("[")
    others = [part for part in ids.removesuffix("]").split("-") if part != law.name]
    return f"{name}[{'-'.join(others)}]" if bracket and others else name


def _rows(reports: Iterable[Any]) -> list[dict[str, str]]:
    rows = [value for report in reports for name, value in report.user_properties if name == _PROPERTY]
    return sorted(rows, key=lambda row: (row["test"], row["metric"], row["law"]))


def _table(rows: list[dict[str, str]]) -> list[str]:
    """A line for each metric of each test: how many laws it keeps, the names of those that it does not."""
    of: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        of.setdefault((row["test"], row["metric"]), {}).setdefault(row["outcome"], []).append(row["law"])
    lines: list[tuple[str, ...]] = [("test", "metric", *_OUTCOMES)]
    for (test, metric), laws in of.items():
        cells = [" ".join(laws.get(outcome, [])) or "-" for outcome in _OUTCOMES[1:]]
        lines.append((test, metric, str(len(laws.get("kept", []))), *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
