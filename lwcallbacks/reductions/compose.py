"""Reductions made of reductions.

    PerClass(ExactMean(), num_classes=10).lift(classes, losses)             # a mean per class
    Product(loss=ExactMean(), seen=ConfusionCounts(10)).lift(loss=(losses,), seen=(preds, targets))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.reductions.base import Reduction, Scatter, Scattered, Slots, State, amounts, expect


@dataclass(frozen=True)
class PerClass(Scattered):
    """The same scattered reduction for each class, in one table.

    `lift(classes, *fields)`: int [N] and the fields of `reduction`, each [N]. `value`: a list with one value of
    `reduction` per class. A class out of range is counted apart and told by `problems`.
    """

    reduction: Scattered
    num_classes: int

    def __post_init__(self) -> None:
        found = f"reduction is {type(self.reduction).__name__}"
        expect(isinstance(self.reduction, Scattered), self, found, "a Scattered reduction (not TopK or RandomSample)")
        expect(self.num_classes >= 1, self, f"num_classes={self.num_classes}", "at least 1")

    @property
    def slots(self) -> Mapping[str, Slots]:
        # One more class than there are: what is out of range goes there and stays out of every value.
        tables = {name: Slots(s.size * (self.num_classes + 1), s.op) for name, s in self.reduction.slots.items()}
        return {**tables, "outside": Slots(1)}

    def scatter(self, classes: Tensor, *fields: Any, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        expect(classes.ndim == 1, self, f"classes have shape {tuple(classes.shape)}", "(N,)")
        classes = classes.detach().to(torch.int64)
        outside = (classes < 0) | (classes >= self.num_classes)
        row = torch.where(outside, self.num_classes, classes)
        tables: dict[str, tuple[Tensor, Tensor]] = {}
        for name, (index, amount) in self.reduction.scatter(*fields, valid=valid).items():
            # A reduction may touch several slots per sample: its indices come sample by sample, part after part.
            parts, rest = divmod(len(index), max(len(classes), 1))
            expect(rest == 0, self, f"fields scatter {len(index)} times", f"a multiple of {len(classes)} classes")
            tables[name] = (index + row.repeat(parts) * self.reduction.slots[name].size, amount)
        tables["outside"] = (torch.zeros_like(row), outside.to(torch.int64) * amounts(valid, row))
        return tables

    def value(self, state: State) -> list[Any]:
        sizes = {name: slots.size for name, slots in self.reduction.slots.items()}
        state = {name: state[name].cpu() for name in sizes}
        return [
            self.reduction.value({name: state[name][c * size : (c + 1) * size] for name, size in sizes.items()})
            for c in range(self.num_classes)
        ]

    def problems(self, state: State) -> str | None:
        count = int(state["outside"])
        return f"{count} classes are out of range, expected 0 to {self.num_classes - 1}" if count else None


class Product(Reduction):
    """Several reductions under names, as one.

    `lift(name=(fields...), ...)`: a tuple of fields for each name. `value`: a dict by name.
    """

    def __init__(self, **reductions: Reduction) -> None:
        for name, reduction in reductions.items():
            expect(isinstance(reduction, Reduction), self, f"{name} is {type(reduction).__name__}", "a Reduction")
        self.reductions = dict(reductions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Product) and self.reductions == other.reductions

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.reductions.items(), key=lambda item: item[0])))

    def part(self, state: State, name: str) -> State:
        """The state of one member."""
        prefix = f"{name}."
        return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}

    def join(self, parts: Mapping[str, State]) -> State:
        """One state from the members' states."""
        return {f"{name}.{key}": tensor for name, state in parts.items() for key, tensor in state.items()}

    def empty(self) -> State:
        return self.join({name: reduction.empty() for name, reduction in self.reductions.items()})

    def lift(self, *, valid: Tensor | None = None, **fields: tuple[Any, ...]) -> State:  # type: ignore[override]
        found = f"fields for {sorted(fields)}"
        expect(fields.keys() == self.reductions.keys(), self, found, f"fields for {sorted(self.reductions)}")
        return self.join({name: r.lift(*fields[name], valid=valid) for name, r in self.reductions.items()})

    def merge(self, a: State, b: State) -> State:
        return self.join({n: r.merge(self.part(a, n), self.part(b, n)) for n, r in self.reductions.items()})

    def value(self, state: State) -> dict[str, Any]:
        return {name: reduction.value(self.part(state, name)) for name, reduction in self.reductions.items()}

    def problems(self, state: State) -> str | None:
        told = [(name, reduction.problems(self.part(state, name))) for name, reduction in self.reductions.items()]
        return "; ".join(f"{name}: {text}" for name, text in told if text) or None
