"""What was predicted of the same samples in one epoch after the other.

history = History()
history.add("val", [17, 42], [[3], [5]])     # ids of the samples, and the labels that were predicted for each
history.of("val")[17]                        # [[3], [3], ...], the oldest first, at most 50
strip(["5", "5", "7"])                       # "5 x2 → 7"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

Labels: TypeAlias = Sequence[int | None]
"""Those that were predicted for a sample; None stands for one that nobody knows."""

MOST = 50
"""Epochs that are kept."""


class History:
    """By place and id of the samples that were shown last: of one that is shown no more, nothing is kept."""

    def __init__(self) -> None:
        self._places: dict[str, dict[int, list[Labels]]] = {}

    def add(self, place: str, ids: Iterable[int], labels: Iterable[Labels]) -> None:
        """Add an epoch's predictions of the samples that it shows."""
        before = self._places.get(place, {})
        self._places[place] = {i: [*before.get(i, []), list(one)][-MOST:] for i, one in zip(ids, labels, strict=True)}

    def of(self, place: str) -> Mapping[int, Sequence[Labels]]:
        """The predictions by id; it stays as it is when more are added."""
        return self._places.get(place, {})

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {place: {i: list(labels) for i, labels in ids.items()} for place, ids in self._places.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._places = {place: {i: list(labels) for i, labels in ids.items()} for place, ids in state_dict.items()}


def strip(names: Iterable[str]) -> str:
    """Names one after the other, of equal neighbours one with their number.

    >>> strip(["5", "5", "7", "5"])
    '5 x2 → 7 → 5'
    """
    runs = ((name, len(list(run))) for name, run in groupby(names))
    return " → ".join(name if number == 1 else f"{name} x{number}" for name, number in runs)
