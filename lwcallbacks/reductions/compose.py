"""Reductions made of reductions.

    PerClass(ExactMean(), num_classes=10).lift(classes, losses)             # a mean per class
    Product(loss=ExactMean(), seen=ConfusionCounts(10)).lift(loss=(losses,), seen=(preds, targets))

Both hold plain states of their members, so that laws, syncing and checkpoints need nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.reductions.base import Reduction, Scatter, Scattered, Slots, State, amounts, expect


@dataclass(frozen=True)
class PerClass(Scattered):
    """The same scattered reduction for each class, in one table.

    `lift(classes, *fields)`: int [N] and the fields of `reduction`, each [N, ...]. `value`: a list with one value of
    `reduction` per class. A class out of range is counted apart and told by `problems`.

    >>> from lwcallbacks.reductions import ExactMean
    >>> by_class = PerClass(ExactMean(), num_classes=2)
    >>> by_class.value(by_class.lift(torch.tensor([0, 1, 1]), torch.tensor([5.0, 1.0, 2.0])))
    [5.0, 1.5]
    """

    reduction: Scattered
    num_classes: int

    def __post_init__(self) -> None:
        found = f"reduction is {type(self.reduction).__name__}"
        expect(isinstance(self.reduction, Scattered), self, found, "a Scattered reduction; for a choice write PerGroup")
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
        tables: dict[str, tuple[Tensor | None, Tensor]] = {}
        for name, (index, amount) in self.reduction.scatter(*fields, valid=valid).items():
            found = f"fields have {len(amount)} samples"
            expect(len(amount) == len(classes), self, found, f"{len(classes)}, as there are classes")
            size = self.reduction.slots[name].size
            if index is None:
                index = torch.arange(size, device=row.device).expand(amount.shape)
            tables[name] = (index + (row * size).reshape(-1, *[1] * (amount.ndim - 1)), amount)
        tables["outside"] = (None, (outside * amounts(valid, row)).unsqueeze(-1))
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

    `lift(name=(fields...), ...)`: a tuple of fields for each name, a dict of such for a `Product`. `value`: a dict by
    name.

    >>> from lwcallbacks.reductions import ConfusionCounts, ExactMean
    >>> both = Product(loss=ExactMean(), seen=ConfusionCounts(2))
    >>> labels = torch.tensor([0, 1])
    >>> both.value(both.lift(loss=(torch.tensor([1.0, 2.0]),), seen=(labels, labels)))
    {'loss': 1.5, 'seen': tensor([[1, 0],
            [0, 1]])}
    """

    def __init__(self, **reductions: Reduction) -> None:
        for name, reduction in reductions.items():
            expect(isinstance(reduction, Reduction), self, f"{name} is {type(reduction).__name__}", "a Reduction")
        # In order of name: processes exchange the members' states in this order, however they were written down.
        self.reductions = dict(sorted(reductions.items()))

    def __repr__(self) -> str:
        return f"Product({', '.join(f'{name}={reduction!r}' for name, reduction in self.reductions.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Product) and self.reductions == other.reductions

    def __hash__(self) -> int:
        return hash(tuple(self.reductions.items()))

    def _expect_names(self, fields: Mapping[str, Any]) -> None:
        found = f"fields for {sorted(fields)}"
        expect(fields.keys() == self.reductions.keys(), self, found, f"fields for {sorted(self.reductions)}")

    def part(self, state: State, name: str) -> State:
        """The state of one member."""
        prefix = f"{name}."
        return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}

    def join(self, parts: Mapping[str, State]) -> State:
        """One state from the members' states."""
        return {f"{name}.{key}": tensor for name, state in parts.items() for key, tensor in state.items()}

    def empty(self) -> State:
        return self.join({name: reduction.empty() for name, reduction in self.reductions.items()})

    def lift(self, *, valid: Tensor | None = None, **fields: Any) -> State:  # type: ignore[override]
        self._expect_names(fields)
        return self.join({name: _call(r.lift, fields[name], valid) for name, r in self.reductions.items()})

    def merge(self, a: State, b: State) -> State:
        return self.join({n: r.merge(self.part(a, n), self.part(b, n)) for n, r in self.reductions.items()})

    def accumulate(self, state: State, *, valid: Tensor | None = None, **fields: Any) -> State:  # type: ignore[override]
        self._expect_names(fields)
        parts = {n: (partial(r.accumulate, self.part(state, n)), fields[n]) for n, r in self.reductions.items()}
        return self.join({name: _call(accumulate, args, valid) for name, (accumulate, args) in parts.items()})

    def value(self, state: State) -> dict[str, Any]:
        return {name: reduction.value(self.part(state, name)) for name, reduction in self.reductions.items()}

    def problems(self, state: State) -> str | None:
        told = [(name, reduction.problems(self.part(state, name))) for name, reduction in self.reductions.items()]
        return "; ".join(f"{name}: {text}" for name, text in told if text) or None


def _call(lift: Callable[..., State], fields: Any, valid: Tensor | None) -> State:
    return lift(**fields, valid=valid) if isinstance(fields, dict) else lift(*fields, valid=valid)
