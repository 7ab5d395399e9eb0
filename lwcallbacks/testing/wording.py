"""Say what a law found as whoever trains would see it.

expect(subject, found, expected, "after a restart you report {} where an uninterrupted run reports {}")
# Broken, in words: after a restart you report 0.4 where an uninterrupted run reports 0.5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lwcallbacks.testing.law import Broken
from lwcallbacks.testing.same import shown

if TYPE_CHECKING:
    from lwcallbacks.testing.metric_laws import MetricSubject


def plainly(value: Any) -> str:
    """A number with the digits that a person reads; anything else as `shown` shows it."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def expect(subject: MetricSubject, found: Any, expected: Any, words: str) -> None:
    """Raise Broken where the values are not the same; `words` is a sentence with a place for each."""
    told = words.replace("{}", "this", 1).replace("{}", "that", 1)
    subject.expect_same(found, expected, told, words.replace("{}", "{found}", 1).replace("{}", "{expected}", 1))


def broken(words: str) -> Broken:
    """What to raise where there are no two values to show."""
    return Broken(words, words=words)
