"""One number of each layer over all logged steps, as a table that stays small, in NumPy.

history = History()
history.know(("net.0.weight", "net.0.bias"))        # the order of rows
history.add(50, ("net.0.weight", "net.0.bias"), np.array([0.3, 0.1]))
history.names, history.steps, history.table()       # rows, the first step of each column, float64 [R, K]

There are `COLUMNS` columns at most: when there would be more, each two neighbours become one, and from then on a column
has twice as many logged steps. Which step is in which column depends on how many were logged, and on nothing else. A
cell is the largest of its steps, infinity if one of them was not finite, NaN of none. Of more than `ROWS` layers those
are one row whose names begin alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lwcallbacks.gradients.norms import joined

COLUMNS, ROWS = 256, 64


class History:
    """See the module's synopsis.

    >>> history = History()
    >>> for step in range(600):
    ...     history.add(step, ["net"], np.array([float(step)]))
    >>> history.steps[:3], history.table()[0, :3]
    (array([0, 4, 8]), array([ 3.,  7., 11.]))
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._layers: dict[str, str] = {}
        self._cells = np.full((0, COLUMNS), np.nan)
        self._steps = np.zeros(COLUMNS, np.int64)
        self._count, self._stride = 0, 1
        self._last: int | None = None
        self._place: tuple[tuple[str, ...], np.ndarray] | None = None
        self._order: dict[str, int] = {}

    def know(self, names: Sequence[str]) -> None:
        """Layers that may come, in the order of their rows. What is not among them comes behind."""
        self._order = {name: i for i, name in enumerate(names)}

    @property
    def steps(self) -> np.ndarray:
        """The first step of each column, int64 [K]."""
        return self._steps[: -(-self._count // self._stride)].copy()

    def table(self) -> np.ndarray:
        """A row for each of `names`, float64 [R, K]."""
        return self._cells[: len(self.names), : len(self.steps)].copy()

    @property
    def nbytes(self) -> int:
        return self._cells.nbytes + self._steps.nbytes

    def add(self, step: int, names: Sequence[str], values: np.ndarray) -> None:
        """Take in a step, or another optimizer's part of the last one.

        Args:
            values: norms, or the like, of the layers, float64 [P]; NaN where there is none.
        """
        if step != self._last:
            if self._count == COLUMNS * self._stride:
                self._cells = np.fmax(self._cells[:, ::2], self._cells[:, 1::2])
                self._cells = np.concatenate([self._cells, np.full_like(self._cells, np.nan)], 1)
                self._steps = np.concatenate([self._steps[::2], np.zeros(COLUMNS // 2, np.int64)])
                self._stride *= 2
            if self._count % self._stride == 0:
                self._steps[self._count // self._stride] = step
            self._count, self._last = self._count + 1, step
        rows = self._rows(tuple(names))
        own = np.full(len(self.names), np.nan)
        if len(set(rows.tolist())) == len(rows):
            own[rows] = values
        else:
            order = np.argsort(rows, kind="stable")
            chosen, begin = np.unique(rows[order], return_index=True)
            for row, part in zip(chosen, np.split(np.asarray(values)[order], begin[1:]), strict=True):
                part = part[~np.isnan(part)]
                own[row] = joined(part) if len(part) else np.nan
        column = (self._count - 1) // self._stride
        self._cells[:, column] = np.fmax(self._cells[:, column], own)

    def _rows(self, names: tuple[str, ...]) -> np.ndarray:
        if self._place is None or self._place[0] != names:
            if any(name not in self._layers for name in names):
                self._arrange([*self._layers, *names])
            of = self._layers
            at = {row: i for i, row in enumerate(self.names)}
            self._place = names, np.array([at[of[name]] for name in names], int)
        return self._place[1]

    def _arrange(self, layers: Sequence[str]) -> None:
        """Rows for these layers. Rows that become one are joined."""
        layers = sorted(dict.fromkeys(layers), key=lambda name: self._order.get(name, len(self._order)))
        before, of = self._layers, dict(zip(layers, rows_of(layers), strict=True))
        names = list(dict.fromkeys(of.values()))
        moved = {row: of[layer] for layer, row in before.items()}
        cells = np.full((len(names), COLUMNS), np.nan)
        for i, name in enumerate(names):
            known = self._cells[[k for k, row in enumerate(self.names) if moved[row] == name]]
            if len(known):
                cells[i] = np.where(np.isnan(known).all(0), np.nan, joined(np.nan_to_num(known, posinf=np.inf), axis=0))
        self._layers, self.names, self._cells = of, names, cells

    def state_dict(self) -> dict[str, Any]:
        """Names, numbers and arrays, of a size that does not grow with steps."""
        used = len(self.steps)
        return {
            "layers": list(self._layers),
            "cells": self._cells[:, :used].copy(),
            "steps": self.steps,
            "count": self._count,
            "stride": self._stride,
            "last": self._last,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        layers = list(state["layers"])
        self._layers = dict(zip(layers, rows_of(layers), strict=True))
        self.names = list(dict.fromkeys(self._layers.values()))
        self._count, self._stride, self._last = state["count"], state["stride"], state["last"]
        self._cells = np.full((len(self.names), COLUMNS), np.nan)
        self._steps = np.zeros(COLUMNS, np.int64)
        cells = np.asarray(state["cells"])
        self._cells[:, : cells.shape[1]], self._steps[: cells.shape[1]] = cells, np.asarray(state["steps"])
        self._place = None


def rows_of(names: Sequence[str], most: int = ROWS) -> list[str]:
    """The row of each name: itself, or where that is too many its first parts, or some neighbours together.

    >>> rows_of(["a.0.weight", "a.0.bias", "a.1.weight", "b.weight"], most=3)
    ['a.0', 'a.0', 'a.1', 'b.weight']
    >>> rows_of(["a", "b", "c", "d"], most=2)
    ['a to b', 'a to b', 'c to d', 'c to d']
    """
    parts = [name.split(".") for name in names]
    finer, rows = list(names), list(names)
    for depth in range(max(map(len, parts), default=1), 0, -1):
        finer, rows = rows, [".".join(of[:depth]) for of in parts]
        if len(set(rows)) <= most:
            break
    if len(set(rows)) > most:
        return _neighbours(rows, most)
    return rows if len(set(rows)) >= most // 4 or len(set(finer)) <= most else _neighbours(finer, most)


def _neighbours(rows: Sequence[str], most: int) -> list[str]:
    ordered = list(dict.fromkeys(rows))
    size = -(-len(ordered) // most)
    runs = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    called = {row: run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs for row in run}
    return [called[row] for row in rows]
