"""What a law is, and what examining one gives: the ground below `check_metric` and `check_reduction`.

    LAWS: Laws[Subject] = Laws()

    @LAWS.law("the value of an epoch depends on the order of the samples")
    def order(subject: Subject, case: Case) -> None:
        shuffled = case.draw("order", st.permutations(case.sample))
        case.program("print(updated(make(), batches).compute())", batches=shuffled)
        subject.expect_same(found, expected, "shuffled")     # raises Broken, with what was found

`lwcallbacks.testing.examining` tries them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from hypothesis import currently_in_test_context, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lwcallbacks.testing.same import shown
from lwcallbacks.testing.samples import copied

S = TypeVar("S", bound="Subject")
Holds: TypeAlias = Callable[[S, "Case"], None]


class NotApplicable(Exception):
    """The law says nothing about this subject; the message says why."""


class NotThisExample(NotApplicable):
    """The law says nothing about this example, and may about another one."""


class Broken(Exception):
    """The law does not hold for the current example; the message says what was found.

    Attributes:
        words: what a user with several processes, batches or runs would see of it.
        values: what was found and what was expected, where these are values.
    """

    def __init__(self, told: str, *, words: str = "", values: tuple[Any, Any] | None = None) -> None:
        super().__init__(told)
        self.words = words
        self.values = values

    @classmethod
    def in_words(cls, words: str) -> Broken:
        """Where there are no two values to show."""
        return cls(words, words=words)


class Case:
    """One example: what was drawn, by name, to be shown if the law is broken.

    Attributes:
        doing: where the law is at, as "on 2 processes". It begins the message about an exception.
        drawn: what is shown, by name.
        script: the body of a program that shows the fault, and the data that it names.
        precise: whether the program has to print all digits.
        fact: what a law that holds has to say all the same; that of the last example is the message of the finding.
    """

    def __init__(self, name: str, sample: Any, draw: Callable[[SearchStrategy[Any]], Any]) -> None:
        self._sample = sample
        self.doing = ""
        self.fact = ""
        self.drawn = {name: shown(sample)}
        self.script: tuple[str, dict[str, Any]] | None = None
        self.precise = False
        self.values: list[Any] = []
        self._draw = draw

    @property
    def sample(self) -> Any:
        """What the user's strategy gave: a copy each time, so that a metric that writes into it harms one use."""
        return copied_batches(self._sample)

    @property
    def original(self) -> Any:
        """The same, and not a copy."""
        return self._sample

    def draw(self, name: str, strategy: SearchStrategy[Any], *, show: bool = True) -> Any:
        """A value, shown under this name, with a number where the name was there before."""
        value = self._draw(strategy)
        self.values.append(value)
        if show:
            self.show(name, value)
        return value

    def show(self, name: str, value: Any) -> None:
        """Show a value beside those that were drawn."""
        label, number = name, 1
        while label in self.drawn:
            number += 1
            label = f"{name} ({number})"
        self.drawn[label] = shown(value)

    def program(self, body: str, **data: Any) -> None:
        """What to write into a program that shows the fault, should one be found from here on.

        Args:
            body: statements. They may call `make()` for a new metric and `updated(metric, batches)`, which updates it
                and returns it, and name the data.
            data: batches, numbers, whatever else `body` names; written out as they are now.
        """
        self.script = (body, {name: copied_batches(value) for name, value in data.items()})

    def choices(self, name: str, n: int, number: int) -> list[int]:
        """For each of n samples one of `range(number)`; a draw of bytes is quick, and does not favour repeats."""
        return self.draw(name, st.binary(min_size=n, max_size=n).map(lambda drawn: [byte % number for byte in drawn]))  # type: ignore[no-any-return]

    def sizes(self, total: int, least: int = 1) -> list[int]:
        """Sizes of one or more batches of `total` samples, none below `least` (unless there are no more samples)."""
        cuts = self.draw("cuts", st.sets(st.integers(1, total - 1), max_size=6), show=False) if total > 1 else set()
        ends = [0]
        for cut in sorted(cuts):
            if least <= cut - ends[-1] and least <= total - cut:
                ends.append(cut)
        sizes = [end - start for start, end in zip(ends, [*ends[1:], total], strict=True)]
        self.show("batch sizes", sizes)
        return sizes


def copied_batches(batches: Any) -> Any:
    """Batches with tensors and lists of their own; anything else as it is."""
    return [copied(args) for args in batches] if isinstance(batches, list) else copied(batches)


class Subject:
    """What is under examination. `str()` of it is its name."""

    def refused(self, case: Case) -> Exception | None:
        """What says that the subject does not take this example at all, so that it says nothing about a law."""
        return None

    def defined_in_parts(self, case: Case) -> bool:
        """Whether parts of this example can be asked for a value."""
        return True

    def rounds(self, law: Law[Any], case: Case) -> bool:
        """Whether what was found is rounding, and no fault, though it is more than was allowed."""
        return False

    def script(self, case: Case) -> str:
        """A program that shows what was found, empty where there is none."""
        return ""


@dataclass(frozen=True)
class Law(Generic[S]):
    """A statement about any subject and any example.

    Attributes:
        name: what it is selected by.
        means: what it does to a training where it is broken, in words.
        holds: returns where the law holds; raises `Broken`, or anything else, where it does not.
        speed: whether breaking it costs time only. Such a law is left out unless it is asked for.
        rounding: whether a difference of floats that is gone in float64 is rounding, and so no fault.
        strict: whether a metric may break it by no fault of its author's: torchmetrics' own base class does, or the
            law goes beyond the data that the strategy gives. Such a law is left out unless it is asked for.
        half: whether half as many examples do, but for the first 20: what breaks it hardly depends on the data.
        parts: whether it asks for values of parts of the data. Where it raises, and plain update and compute of a
            part do, too, the example says nothing.
        processes: whether it is about several processes, simulated ones as long as these can stand for real ones.
        asked: whether right metrics break it by design. Such a law is left out everywhere unless it is named.
    """

    name: str
    means: str
    holds: Holds[S]
    speed: bool = False
    rounding: bool = True
    strict: bool = False
    half: bool = False
    parts: bool = False
    processes: bool = False
    asked: bool = False

    def examples(self, told: int | None) -> int:
        """How many to try, where so many are asked for; without a number, `default_examples()`."""
        number = told or default_examples()
        return max(number // 2, min(number, 20)) if self.half else number


class Laws(dict[str, Law[S]]):
    """Laws by name."""

    def law(self, means: str, **flags: bool) -> Callable[[Callable[[S, Case], None]], Callable[[S, Case], None]]:
        """Add the decorated function under its name; the flags are those of `Law`."""

        def add(holds: Callable[[S, Case], None]) -> Callable[[S, Case], None]:
            self[holds.__name__] = Law(holds.__name__, means, holds, **flags)
            return holds

        return add

    def selected(self, names: Iterable[str] | None, argument: str = "laws") -> list[Law[S]]:
        """The laws of these names, in their order; by default all but those of speed, the strict and the asked ones.

        Args:
            names: the names.
            argument: by which they were given, for the message.

        Raises:
            ValueError: a name is of no law; or there is none.
        """
        if names is None:
            return [law for law in self.values() if not (law.speed or law.strict or law.asked)]
        if isinstance(names, str):
            raise ValueError(f"{argument}: found {names!r}, expected a list of names, as {argument}=[{names!r}]")
        names = list(names)
        if not names and argument == "laws":
            raise ValueError(f"laws: found none, expected some of {list(self)}")
        if unknown := [name for name in names if name not in self]:
            raise ValueError(f"{argument}: {no_laws(unknown, self)}")
        return [law for law in self.values() if law.name in names]


def no_laws(unknown: Iterable[Any], laws: Iterable[str]) -> str:
    """Of names that are no laws, what was perhaps meant; all laws where none is near."""
    names, told, far = list(laws), [], False
    for name in unknown:
        near = difflib.get_close_matches(str(name).lower(), names, 3, cutoff=0.5)
        told.append(f"{name!r} is no law" + (f", did you mean {' or '.join(map(repr, near))}?" if near else ""))
        far |= not near
    return "; ".join(told) + (f"; expected some of {names}" if far else "")


def kept_all_the_same(name: str, reason: str, metric: object) -> str:
    """What is to be done about a law that is said to be broken, and is kept."""
    told = f"law {name} is kept by {metric}, and known= says that it is broken ({reason})"
    return f"{told}: delete its entry, known={{{name!r}: ...}}"


def with_reasons(laws: Laws[Any], known: Any, argument: str) -> Mapping[str, str]:
    """Laws that are broken, and why, as they were given.

    Raises:
        ValueError: no mapping, a name of no law, or a reason without words.
    """
    if not isinstance(known, Mapping):
        raise ValueError(f"{argument}={known!r}, expected laws with reasons, as {{'order': 'ties'}}")
    laws.selected(known, argument)
    for name, reason in known.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{argument}={{{name!r}: {reason!r}}}, expected the reason in words, as 'ties, issue 7'")
    return known


@dataclass(frozen=True)
class Finding:
    """What examining one law gave: how it ended, and why.

    Attributes:
        outcome: "kept"; "rounding" (kept, but that floats of 32 bits differ where those of 64 do not); "broken";
            "known" (broken, and said to be so by `known=` or by the metric itself); "not applicable"; "not simulated"
            (a law about processes, of a metric that asks for its process by itself, which simulated ones do not
            answer); "not examined" (the metric does not take this data, so that nothing is known about the law).
        message: why; of a broken law what a user would see, the law, what was found and a smallest example.
        how: of a broken law: another "value", an "exception"; processes "hang" or "abort".
        values: of a broken law with another value: the two, as the program prints them.
        source: the program, see `program`.
        confirmed: what real processes did, where `confirm=True` asked for that.
        law: the name of a broken law.

    Examples:
        >>> Finding("not applicable", "there is no second device")
        Finding(outcome='not applicable', message='there is no second device', how='')
    """

    outcome: Literal["kept", "rounding", "broken", "known", "not applicable", "not simulated", "not examined"]
    message: str = ""
    how: Literal["", "value", "exception", "hang", "abort"] = ""
    values: tuple[str, str] | None = field(default=None, repr=False)
    source: str = field(default="", repr=False)
    confirmed: str = field(default="", repr=False)
    law: str = field(default="", repr=False)

    def program(self) -> str:
        """A program that shows what was found, with torch, torchmetrics and the metric alone; empty where none was."""
        return self.source


WITHIN_A_TEST = 5
"""Examples a law within a test of hypothesis, which calls for all laws with each of its own examples."""


def default_examples() -> int:
    """LWCALLBACKS_EXAMPLES of the environment, else `max_examples` of a profile that the user loaded, else 50.

    Within a test of hypothesis it is 5 whatever these say: the number would be multiplied by that of the test.
    """
    if currently_in_test_context():
        return WITHIN_A_TEST
    if told := os.environ.get("LWCALLBACKS_EXAMPLES"):
        if not told.isascii() or not told.isdigit() or int(told) == 0:
            raise ValueError(f"LWCALLBACKS_EXAMPLES={told!r} in the environment, expected a number of examples, as 50")
        return int(told)
    if settings.get_current_profile_name() in ("default", "ci"):  # hypothesis's own
        return 50
    return settings().max_examples
