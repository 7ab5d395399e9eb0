"""What a law is, and how one is tried: the engine below `check_metric` and `check_reduction`.

    LAWS: Laws[Subject] = Laws()

    @LAWS.law("the value of an epoch depends on the order of the samples")
    def order(subject: Subject, case: Case) -> None:
        shuffled = case.draw("order", st.permutations(case.sample))
        subject.expect_same(case.sample, shuffled)           # raises Broken, with what was found

    examine(LAWS["order"], subject, strategy, name="samples", examples=50, seed=None)    # a Finding

Examples are drawn by hypothesis, the same ones each time unless a seed is given, and shrunk to a smallest one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException
from hypothesis.strategies import SearchStrategy

from lwcallbacks.testing.errors import LawViolation
from lwcallbacks.testing.same import shown

S = TypeVar("S")
Holds: TypeAlias = Callable[[S, "Case"], None]


class NotApplicable(Exception):
    """The law says nothing about this subject; the message says why."""


class Broken(Exception):
    """The law does not hold for the current example; the message says what was found."""


class Case:
    """One example: what was drawn, by name, to be shown if the law is broken.

    Attributes:
        sample: what the user's strategy gave.
        fact: what a law that holds has to say all the same; that of the last example is the message of the finding.
    """

    def __init__(self, name: str, sample: Any, draw: Callable[[SearchStrategy[Any]], Any]) -> None:
        self.sample = sample
        self.fact = ""
        self.drawn = {name: shown(sample)}
        self._draw = draw

    def draw(self, name: str, strategy: SearchStrategy[Any]) -> Any:
        value = self._draw(strategy)
        self.drawn[name] = shown(value)
        return value

    def choices(self, name: str, n: int, number: int) -> list[int]:
        """For each of n samples one of `range(number)`; a draw of bytes is quick, and does not favour repeats."""
        return self.draw(name, st.binary(min_size=n, max_size=n).map(lambda drawn: [byte % number for byte in drawn]))  # type: ignore[no-any-return]

    def sizes(self, total: int) -> list[int]:
        """Sizes of one or more batches of `total` samples."""
        cuts = self._draw(st.sets(st.integers(1, total - 1), max_size=6)) if total > 1 else set()
        ends = [*sorted(cuts), total]
        sizes = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        self.drawn["batch sizes"] = shown(sizes)
        return sizes


@dataclass(frozen=True)
class Law(Generic[S]):
    """A statement about any subject and any example.

    Attributes:
        name: what it is selected by.
        means: what it does to a training where it is broken, in words.
        holds: returns where the law holds; raises `Broken`, or anything else, where it does not.
        speed: whether breaking it costs time only. Such a law is left out unless it is asked for.
        strict: whether a metric may break it by no fault of its author's: torchmetrics' own base class does, or the
            law goes beyond the data that the strategy gives. Such a law is left out unless it is asked for.
    """

    name: str
    means: str
    holds: Holds[S]
    speed: bool = False
    strict: bool = False


class Laws(dict[str, Law[S]]):
    """Laws by name."""

    def law(
        self, means: str, *, speed: bool = False, strict: bool = False
    ) -> Callable[[Callable[[S, Case], None]], Callable[[S, Case], None]]:
        """Add the decorated function under its name."""

        def add(holds: Callable[[S, Case], None]) -> Callable[[S, Case], None]:
            self[holds.__name__] = Law(holds.__name__, means, holds, speed, strict)
            return holds

        return add

    def selected(self, names: Iterable[str] | None) -> list[Law[S]]:
        """The laws of these names, without names all that are neither about speed nor strict.

        Raises:
            ValueError: a name is of no law.
        """
        if names is None:
            return [law for law in self.values() if not (law.speed or law.strict)]
        names = list(names)
        if unknown := [name for name in names if name not in self]:
            raise ValueError(f"laws: {unknown} are unknown, expected some of {list(self)}")
        return [self[name] for name in names]


class Finding(NamedTuple):
    """What examining one law gave: how it ended, and why.

    Examples:
        >>> Finding("not applicable", "there is no second device")
        Finding(outcome='not applicable', message='there is no second device')
    """

    outcome: Literal["kept", "broken", "not applicable"]
    message: str = ""


def default_examples() -> int:
    """The environment's LWCALLBACKS_EXAMPLES, else 50."""
    return int(os.environ.get("LWCALLBACKS_EXAMPLES", "50"))


def examine(
    law: Law[S], subject: S, strategy: SearchStrategy[Any], *, name: str, examples: int | None, seed: int | None
) -> Finding:
    """Try one law on a subject; `name` is that of what `strategy` draws."""
    cases: list[Case] = []
    excuse: list[str] = []

    def attempt(sample: Any, data: st.DataObject) -> None:
        if excuse:
            return
        cases[:] = [Case(name, sample, data.draw)]
        try:
            law.holds(subject, cases[0])
        except NotApplicable as reason:
            excuse.append(str(reason))

    test = given(strategy, st.data())(attempt)
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    test = settings(
        max_examples=examples or default_examples(),
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )(test)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a metric may warn of no data, of one sample, ...
            test()
    except Exception as error:
        if not cases or (isinstance(error, HypothesisException) and not isinstance(error, Flaky)):
            raise  # nothing of the subject: the strategy failed
        found = f"raised {type(error).__name__}: {error}"
        if isinstance(error, Broken):
            found = str(error)
        elif isinstance(error, Flaky):
            found = "the same example gave another result when it was tried again"
        example = "".join(f"\n    {label} = {text}" for label, text in cases[0].drawn.items())
        message = f"law {law.name} is broken: {law.means}\n  found: {found}\n  smallest example found:{example}"
        return Finding("broken", message)
    return Finding("not applicable", excuse[0]) if excuse else Finding("kept", cases[0].fact if cases else "")


def examine_all(
    laws: Iterable[Law[S]],
    subject: S,
    strategy: SearchStrategy[Any],
    *,
    name: str,
    examples: int | None,
    seed: int | None,
    stop: bool,
) -> dict[str, Finding]:
    """The finding of each law; with `stop`, a broken one is raised.

    Raises:
        LawViolation: at the first broken law.
    """
    findings = {}
    for law in laws:
        finding = findings[law.name] = examine(law, subject, strategy, name=name, examples=examples, seed=seed)
        if stop and finding.outcome == "broken":
            raise LawViolation(f"{subject}: {finding.message}") from None
    return findings
