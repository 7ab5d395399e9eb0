"""Try laws on a subject: examples are drawn by hypothesis, and shrunk to a smallest one.

    examine(LAWS["order"], subject, strategy, name="samples", examples=50, seed=None)    # a Finding

Examples are the same ones each time unless a seed is given; one that failed before is tried first, out of hypothesis's
database, where the user's settings have one.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias
from unittest import SkipTest

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, Verbosity, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from lwcallbacks.testing.confirm import confirmed
from lwcallbacks.testing.errors import Ended, LawViolation, NotExaminable, WouldAbort, WouldHang
from lwcallbacks.testing.law import Broken, Case, Finding, Law, NotApplicable, NotThisExample, S, Subject
from lwcallbacks.testing.program import PRINTED

Blob: TypeAlias = tuple[str, bytes]

_FEW = 20
"""Examples of which a law says nothing, one after the other from the first, until no further one is tried."""


class _Excused(SkipTest):
    """The law says nothing about the subject, so that no other example is tried: hypothesis lets it pass at once."""


class Search(NamedTuple):
    """How looking for a counterexample ended: the smallest one, what was raised of it, and what else was said."""

    case: Case | None = None
    error: Exception | None = None
    excuse: str = ""
    rounding: str = ""
    again: str = ""
    fact: str = ""


def search(
    law: Law[S],
    subject: S,
    strategy: SearchStrategy[Any],
    *,
    name: str,
    examples: int | None,
    seed: int | None,
    reproduce: Blob | None = None,
    shrink: bool = True,
) -> Search:
    """Look for a smallest example for which a law does not hold; `name` is that of what `strategy` draws.

    Without `shrink` it is the first one that is found.

    Raises:
        HypothesisException: the strategy itself failed.
    """
    cases: list[Case] = []
    rounding: list[str] = []
    failed: list[Case] = []
    held: list[Case] = []
    passed_over: list[str] = []

    def attempt(sample: Any, data: st.DataObject) -> None:
        assume(not isinstance(sample, list) or sample)  # an epoch of no batches says nothing
        case = Case(name, sample, data.draw)
        cases[:] = [case]
        try:
            law.holds(subject, case)
        except NotThisExample as reason:
            passed_over.append(str(reason))
            if len(passed_over) > _FEW and not held and not failed:
                raise _Excused(str(reason)) from None
            assume(False)
        except NotApplicable as reason:
            assume(not failed)  # what was found is not made smaller than the law speaks of
            raise _Excused(str(reason)) from None
        except Broken as broken:
            if not (law.rounding and subject.rounds(law, case)):
                failed.append(case)
                raise
            rounding.append(str(broken))
            held[:] = [case]
        except HypothesisException:
            raise
        except Exception:
            assume(not law.parts or subject.defined_in_parts(case))
            failed.append(case)
            if (refusal := subject.refused(case)) is not None:
                raise refusal from None
            raise
        else:
            held[:] = [case]

    # What was found of one metric is in the database under its name, and not under that of this function.
    attempt._hypothesis_internal_add_digest = f"{subject}/{law.name}".encode()  # type: ignore[attr-defined]
    usual: Any = settings.default
    chosen = settings(
        max_examples=law.examples(examples),
        derandomize=False,
        database=usual.database,
        deadline=None,
        phases=[Phase.reuse, Phase.generate, Phase.shrink][: 3 if shrink else 2],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=usual.print_blob,
        verbosity=Verbosity.quiet,
    )

    def run() -> None:
        test = hypothesis.seed(0 if seed is None else seed)(given(strategy, st.data())(attempt))
        if reproduce is not None:
            test = hypothesis.reproduce_failure(*reproduce)(test)
        chosen(test)()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a metric may warn of no data, of one sample, ...
            _outside_of_a_test(run)
    except _Excused as excuse:
        return Search(excuse=str(excuse))
    except Unsatisfiable:
        if not cases:
            raise  # nothing of the subject: the strategy has no examples
        usual_excuse = "no example fits: there are too few samples, or a part of them alone has no value"
        return Search(excuse=passed_over[0] if passed_over else usual_excuse)
    except Exception as error:
        if not cases or (isinstance(error, HypothesisException) and not isinstance(error, Flaky)):
            raise
        return Search(cases[0], error, again=_blob(error))
    return Search(rounding="".join(rounding[:1]), fact=cases[0].fact if cases else "")


class _Beside(threading.local):
    """Of each thread: where it runs what may not run within a test."""

    pool: ThreadPoolExecutor | None = None


_BESIDE = _Beside()


@contextmanager
def one_thread() -> Iterator[ThreadPoolExecutor]:
    """Whatever is run outside of a test in here is run on one thread, which ends with it. None is made before.

    Hypothesis collects garbage whenever a new thread begins a test, which takes longer than a law.
    """
    if _BESIDE.pool is not None:
        yield _BESIDE.pool
        return
    with ThreadPoolExecutor(1, "lwcallbacks-examines") as _BESIDE.pool:
        try:
            yield _BESIDE.pool
        finally:
            _BESIDE.pool = None


def _outside_of_a_test(run: Callable[[], None]) -> None:
    """Run it; inside of a user's `@given` on a thread of its own, since hypothesis refuses a test within a test."""
    if not hypothesis.currently_in_test_context():
        run()
        return
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def body() -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            run()

    with one_thread() as pool:
        pool.submit(body).result()


def _blob(error: Exception) -> str:
    """How to have the same example again, where hypothesis's setting `print_blob` asks for that."""
    notes = "\n".join(getattr(error, "__notes__", []))
    found = re.search(r"@reproduce_failure\((.*?)\) as a decorator", notes, re.DOTALL)
    return f"({found[1]})" if found else ""


def examine(
    law: Law[S],
    subject: S,
    strategy: SearchStrategy[Any],
    *,
    name: str,
    examples: int | None,
    seed: int | None,
    known: str | None = None,
    design: str | None = None,
    confirm: bool = False,
    reproduce: Blob | None = None,
    shrink: bool = True,
) -> Finding:
    """Try one law on a subject.

    Args:
        known: why it is expected to be broken.
        design: why it is expected to give another value, if it is; that explains no exception, hang or abort.
    """
    found = search(law, subject, strategy, name=name, examples=examples, seed=seed, reproduce=reproduce, shrink=shrink)
    if isinstance(found.error, NotExaminable) and found.error.finding is not None:
        return found.error.finding
    if found.case is not None and found.error is not None:
        finding = _broken(law, subject, found.case, found.error, found.again)
        finding = confirmed(finding) if confirm else finding
        reason = known or (design if finding.how == "value" else None)
        if reason is None or finding.outcome != "broken":
            return finding
        return replace(finding, outcome="known", message=f"known: {reason}\n{finding.message}")
    if found.excuse:
        return Finding("not applicable", found.excuse)
    if found.rounding:
        told = "with floats of 32 bits the values differ by more than is allowed, with those of 64 bits they do not"
        return Finding("rounding", f"{told}\n  found: {found.rounding}")
    said = known or design
    return Finding("kept", f"said to be broken ({said}), but no example broke it" if said else found.fact)


def _broken(law: Law[S], subject: S, case: Case, error: Exception, again: str) -> Finding:
    told, words, how, values = f"raised {type(error).__name__}: {error}", "", "exception", None
    if isinstance(error, Broken):
        told, words, how = str(error), error.words, "value"
        if error.values:
            case.precise = str(error.values[0]) == str(error.values[1])
            values = (printed(error.values[0], case.precise), printed(error.values[1], case.precise))
    elif isinstance(error, WouldHang | WouldAbort):
        told, how = str(error), "hang" if isinstance(error, WouldHang) else "abort"
        words = f"{case.doing} your training {how}s: {error.words}"
    elif isinstance(error, Flaky):
        told, how = "the same example gave another result when it was tried again", "value"
    elif case.doing:
        first = str(error).strip().partition("\n")[0]
        raises = "" if isinstance(error, Ended) else f"it raises {type(error).__name__}: "
        words = f"{case.doing} {raises}{first[:300]}"
    lines = [words or law.means]
    lines.append(f"  law {law.name} is broken" + (f": {law.means}" if words else ""))
    lines.append("  found: " + told.replace("\n", "\n  "))
    lines.append("  smallest example found:")
    lines += [f"    {label} = {text}" for label, text in case.drawn.items()]
    source = subject.script(case)
    if source:
        lines.append("  a program that shows it: program() of this error, or of the Finding")
    if again:
        lines.append(f"  the same example again: reproduce={again}, laws=[{law.name!r}]")
    return Finding("broken", "\n".join(lines), how, values, source, law=law.name)  # type: ignore[arg-type]


def printed(value: Any, precise: bool) -> str:
    """A value as a program prints it."""
    if not precise:
        return str(value)
    options = torch._tensor_str.PRINT_OPTS
    before = (options.precision, options.threshold)
    torch.set_printoptions(**PRINTED)  # type: ignore[no-untyped-call]
    try:
        return str(value)
    finally:
        torch.set_printoptions(precision=before[0], threshold=before[1])  # type: ignore[no-untyped-call]


def failure(subject: Subject, finding: Finding) -> LawViolation | NotExaminable:
    """What to raise of a finding."""
    if finding.outcome == "not examined":
        problem = NotExaminable(f"{subject} {finding.message}")
        problem.finding = finding
        return problem
    violation = LawViolation(f"{subject}: {finding.message}")
    violation.finding = finding
    return violation


def examine_all(
    laws: Iterable[Law[S]],
    subject: S,
    strategy: SearchStrategy[Any],
    *,
    name: str,
    examples: int | None,
    seed: int | None,
    stop: bool,
    known: Mapping[str, str] | None = None,
    design: Mapping[str, str] | None = None,
    confirm: bool = False,
    reproduce: Blob | None = None,
    shrink: bool = True,
) -> dict[str, Finding]:
    """The finding of each law; with `stop`, a broken one is raised, unless it is known.

    Raises:
        LawViolation: at the first broken law.
        NotExaminable: at the first example that the subject does not take.
    """
    __tracebackhide__ = True
    findings = {}
    for law in laws:
        finding = findings[law.name] = examine(
            law,
            subject,
            strategy,
            name=name,
            examples=examples,
            seed=seed,
            known=(known or {}).get(law.name),
            design=(design or {}).get(law.name),
            confirm=confirm,
            reproduce=reproduce,
            shrink=shrink,
        )
        if stop and finding.outcome in ("broken", "not examined"):
            raise failure(subject, finding) from None
    return findings
