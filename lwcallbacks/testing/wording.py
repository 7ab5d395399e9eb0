"""Say that two values differ as whoever trains would see it.

expect(subject, found, expected, "after a restart you report {} where an uninterrupted run reports {}")
# Broken: after a restart you report 0.4 where an uninterrupted run reports 0.5
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lwcallbacks.testing.law import Broken
from lwcallbacks.testing.same import difference, shown

if TYPE_CHECKING:
    from lwcallbacks.testing.metric_laws import MetricSubject


def plainly(value: Any) -> str:
    """A number with the digits that a person reads; anything else as `shown` shows it."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def expect(subject: MetricSubject, found: Any, expected: Any, told: str) -> None:
    """Raise Broken where the values are not the same; `told` is a sentence with a place for each."""
    if where := difference(found, expected, subject.close):
        sentence = told.format(plainly(found), plainly(expected))
        # Where six digits do not tell two numbers apart, or a value is more than a number, say where they differ.
        plain = isinstance(found, Tensor) and found.ndim == 0 and plainly(found) != plainly(expected)
        raise Broken(sentence if plain else f"{sentence} ({where})")
