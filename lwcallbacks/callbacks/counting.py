"""`CountingCallback`: what the confusion matrices have in common: counts, their numbers, and how they change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.callbacks.base import Entries, plain
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.numbers import NumberCallback
from lwcallbacks.lightning import Trainer
from lwcallbacks.reductions import ConfusionCounts, overall

LAST = "last"
"""In the callback's state: the counts that the next table is compared with."""


class CountingCallback(NumberCallback):
    """Counts, whose numbers are logged for each epoch and compared with those of the table before."""

    cost_matrix: tuple[tuple[float, ...], ...] | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._last: dict[str, Tensor] = {}

    @property
    @abstractmethod
    def counts(self) -> ConfusionCounts:
        """What is counted."""

    def begin(self) -> None:
        super().begin()
        self._last = {}

    def remembered(self, stage: str) -> Mapping[str, Need]:
        return {"counts": Need(self.counts, ("preds", "targets"), self.source)}

    def result(self, values: Mapping[str, Any]) -> Tensor:
        counts: Tensor = values["counts"]
        return counts

    def log_result(self, trainer: Trainer, stage: str, suffix: str, read: set[str]) -> None:
        if stage == "predict":
            return  # Lightning logs no scalars there
        counts = self._results.get(stage + suffix) if read else None
        numbers = overall(self.counts.value(self.counts.empty()) if counts is None else counts, self.cost_matrix)
        if counts is None:
            numbers = dict.fromkeys(numbers, nan)  # the cost of nothing is 0, and no number of this epoch
        self._log_numbers(trainer, {f"{stage}/{self.name}_{name}{suffix}": value for name, value in numbers.items()})

    def _render(self, key: str, suffix: str, values: Mapping[str, Any]) -> Callable[[], Entries]:
        # On every process, so that each knows what to compare with after a resume.
        before = self._last.get(key + suffix)
        self._last[key + suffix] = values["counts"]
        return super()._render(key, suffix, {**values, "before": None if before is None else before.numpy()})

    def state_dict(self) -> dict[str, Any]:
        last = {key: _cells(counts) for key, counts in self._last.items()}
        return super().state_dict() | ({LAST: last} if last else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        shape = self.counts.value(self.counts.empty()).shape
        saved = {key: _dense(cells) for key, cells in state.pop(LAST, {}).items()}
        self._last = {key: counts for key, counts in saved.items() if counts.shape == shape}
        super().load_state_dict(state)


def _cells(counts: Tensor) -> dict[str, Any]:
    """Counts by the cells that are not 0: of 1,000 classes few are."""
    flat = counts.reshape(-1)
    filled = flat.nonzero().reshape(-1)
    return {"shape": list(counts.shape), "cells": filled, "counts": flat[filled]}


def _dense(saved: Mapping[str, Any]) -> Tensor:
    counts = torch.zeros(saved["shape"], dtype=torch.int64)
    counts.view(-1)[saved["cells"]] = saved["counts"]
    return counts


def cost_of(owner: str, cost: Any, size: int) -> tuple[tuple[float, ...], ...] | None:
    """The costs [size][size] as tuples, from any nested sequence, array or tensor; None if there are none.

    >>> cost_of("ConfusionMatrix", [[0, 1], [10, 0]], 2)
    ((0, 1), (10, 0))

    Raises:
        ValueError: another shape, or something that is no finite number.
    """
    if cost is None:
        return None
    rows = plain(cost.tolist() if hasattr(cost, "tolist") else cost)
    off = ", ".join(["[0, 1, ...]", "[1, 0, ...]", "..."] if size > 2 else ["[0, 1]", "[1, 0]"])
    expected = f"expected {size} rows of {size} numbers, by true and then predicted class: write cost_matrix=[{off}]"
    if not isinstance(rows, tuple) or not all(isinstance(row, tuple) for row in rows):
        raise ValueError(f"{owner}: cost_matrix={cost!r}, {expected}")
    lengths = [len(row) for row in rows]
    if lengths != [size] * size:
        raise ValueError(f"{owner}: cost_matrix has rows of lengths {lengths[:5]}, {expected}")
    odd = [x for row in rows for x in row if isinstance(x, bool) or not isinstance(x, int | float) or not isfinite(x)]
    if odd:
        raise ValueError(f"{owner}: cost_matrix has {odd[0]!r} in it, {expected}")
    return rows
