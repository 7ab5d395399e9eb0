"""A layer that looks ill, in words, and which illness is worse than which.

str(Finding("net.1", "zero", 1200, "gradient zero in 100 % of the elements", 8.5))      # "net.1: gradient zero ..."
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

WINDOW, NEEDED = 8, 6
"""Logged steps of a layer that are looked back at, and how many of them have to show an illness."""

Illness = Literal[
    "not finite", "explodes", "no gradient", "large weights", "weights vanish", "weights grow",
    "faster than the others", "zero", "vanishes", "lost in float16", "in no optimizer", "not updated",
    "slower than the others", "learns too fast", "dead units", "hardly learns",
]  # fmt: skip
ILLNESSES: tuple[Illness, ...] = get_args(Illness)
"""The worst first."""


@dataclass(frozen=True)
class Finding:
    """A layer that looks ill, or did.

    Attributes:
        layer: the name of its module; of a parameter that stands alone, its own.
        illness: one of `ILLNESSES`.
        since: the step at which it was first seen.
        how_much: in words.
        severity: from 0 to the number of `ILLNESSES`; comparable within a run.
        until: of one that has passed, the last logged step that has shown it.
    """

    layer: str
    illness: Illness
    since: int
    how_much: str
    severity: float
    until: int | None = None

    def __str__(self) -> str:
        when = f"since step {self.since:,}" if self.until is None else f"steps {self.since:,} to {self.until:,}"
        return f"{self.layer}: {self.how_much}, {when}"


def severity(illness: Illness, weight: float) -> float:
    """Comparable over illnesses; `weight` is 0 or more, and how bad it is among those of its kind."""
    return len(ILLNESSES) - ILLNESSES.index(illness) - 1 + float(weight / (1 + weight))


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + "s" * (count != 1)
