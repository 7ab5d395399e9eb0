"""The contract: a commutative monoid over a few tensors of fixed shape.

    state = reduction.merge(reduction.lift(batch_a), reduction.lift(batch_b))
    reduction.value(state)

`merge` is pure, associative and commutative *bitwise*: the same samples give the same bits for any batch size, any
order and any split over processes. Two families are enough, and only these two cross process boundaries:

- `Scattered`: every sample adds an int64 amount to, or raises, one slot of a fixed table (this file);
- `Choice`: the k best samples by a total order on (key, sample id), with their payload (`choice.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from lwcallbacks.reductions.looking import may_look

State: TypeAlias = dict[str, Tensor]
Op: TypeAlias = Literal["sum", "max"]

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


class FieldError(ValueError):
    """Fields do not have the shape or dtype that is expected. The message says what was found and what to write.

    >>> from lwcallbacks.reductions import ExactMean
    >>> ExactMean().lift(torch.tensor([1.0, 2.0]), torch.tensor([0.5]))
    Traceback (most recent call last):
    lwcallbacks.reductions.base.FieldError: ExactMean: weights have shape (1,), expected (2,) as the values
    """


class Reduction(ABC):
    """What is remembered of the samples seen so far.

    Implementations are frozen dataclasses: equal reductions are the same reduction, and share one state.

    >>> from lwcallbacks.reductions import ExactMean
    >>> mean = ExactMean()
    >>> state: State = mean.merge(mean.lift(torch.tensor([1.0, 2.0])), mean.lift(torch.tensor([4.5])))
    >>> mean.value(state), mean == ExactMean()
    (2.5, True)
    """

    @abstractmethod
    def empty(self) -> State:
        """Return the identity: `merge(empty(), s)` has the bits of `s`."""

    @abstractmethod
    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        """Return what one batch contributes, on the batch's device and without waiting for it.

        Args:
            fields: tensors whose dimension 0 counts samples; which ones, the subclass tells.
            valid: bool [N]; a sample whose entry is False does not count.

        Law: lifting a batch equals merging the lifts of its parts, however it is cut.
        """

    @abstractmethod
    def merge(self, a: State, b: State) -> State:
        """Combine two states; pure, associative, commutative, bitwise."""

    @abstractmethod
    def value(self, state: State) -> Any:
        """Return the result. May wait for the device; the last arithmetic runs on the CPU."""

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        """Merge a batch into `state`, which the caller gives up: it may be overwritten."""
        return self.merge(state, self.lift(*fields, valid=valid))

    def problems(self, state: State) -> str | None:
        """Say in words what the data held that could not be counted; None where all was well. May wait."""
        return None


@dataclass(frozen=True)
class Slots:
    """A table of `size` int64 slots that grow by "sum" or by "max".

    >>> Slots(2).merge(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([4, 6])
    >>> Slots(2, "max").merge(torch.tensor([1, 5]), torch.tensor([3, 4]))
    tensor([3, 5])
    """

    size: int
    op: Op = "sum"

    @property
    def identity(self) -> int:
        return 0 if self.op == "sum" else INT64_MIN

    def new(self, device: torch.device | None = None) -> Tensor:
        return torch.full((self.size,), self.identity, dtype=torch.int64, device=device)

    def scatter_(self, table: Tensor, index: Tensor | None, amount: Tensor) -> Tensor:
        # Integer addition and maximum are exact, so the order of a device's atomic updates leaves no trace.
        if index is None:
            if not amount.numel():
                return table
            # Of a single slot all amounts are reduced at once, which is a faster kernel than by columns.
            of_one = self.size == 1
            if self.op == "sum":
                return table.add_(amount.sum() if of_one else amount.reshape(-1, self.size).sum(0))
            largest = amount.max() if of_one else amount.reshape(-1, self.size).amax(0)
            return torch.maximum(table, largest, out=table)
        if index.ndim != 1:
            index, amount = index.reshape(-1), amount.reshape(-1)
        if self.op == "sum":
            return table.index_add_(0, index, amount)
        return table.scatter_reduce_(0, index, amount, "amax")

    def merge(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b if self.op == "sum" else torch.maximum(a, b)


Scatter: TypeAlias = Mapping[str, tuple[Tensor | None, Tensor]]
"""By table: which slots a batch changes and by how much, (index, amount), int64 with dimension 0 the samples.

Sparse: index and amount have one shape [N, ...], and `0 <= index < size`. Dense: index is None and amount is
[N, ..., size], an amount for every slot; one reduction, where many samples would crowd into a few slots. For a table of
one slot, [N, ...] will do.
"""


class Scattered(Reduction):
    """A reduction in which each sample changes slots of fixed int64 tables.

    A subclass says how large the tables are (`slots`) and what a batch does to them (`scatter`); identity, merging,
    packing for other processes and `PerClass` follow from that.

    >>> @dataclass(frozen=True)
    ... class Parity(Scattered):
    ...     slots = {"counts": Slots(2)}
    ...     def scatter(self, x, *, valid=None):
    ...         return {"counts": (x % 2, amounts(valid, x))}
    ...     def value(self, state):
    ...         return state["counts"].tolist()
    >>> parity = Parity()
    >>> parity.value(parity.lift(torch.tensor([3, 4, 5]), valid=torch.tensor([True, True, False])))    # even, odd
    [1, 1]
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "scatter" in vars(cls) and "tally" not in vars(cls):
            # The faster way of a base does not know what this class does to a batch.
            cls.tally = Scattered.tally  # type: ignore[method-assign]

    @property
    @abstractmethod
    def slots(self) -> Mapping[str, Slots]:
        """The tables by name."""

    @abstractmethod
    def scatter(self, *fields: Any, valid: Tensor | None = None) -> Scatter:
        """Return (index, amount) by table, as `Scatter` says."""

    def empty(self) -> State:
        return {name: slots.new() for name, slots in self.slots.items()}

    def tally(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        """Add a batch in place to a state on the CPU, where looking at data is free; nothing of it if this raises.

        The bits are those of `scatter`. A subclass that knows a faster way there than to scatter overrides this.
        """
        return self._added(state, self.scatter(*fields, valid=valid))

    def _added(self, state: State, changes: Scatter) -> State:
        slots = self.slots
        for name, (index, amount) in changes.items():
            slots[name].scatter_(state[name], index, amount)
        return state

    def lift(self, *fields: Any, valid: Tensor | None = None) -> State:
        if fields and may_look(fields[0]):
            return self.tally(self.empty(), *fields, valid=valid)
        slots = self.slots
        return {
            name: slots[name].scatter_(slots[name].new(amount.device), index, amount)
            for name, (index, amount) in self.scatter(*fields, valid=valid).items()
        }

    def merge(self, a: State, b: State) -> State:
        return {name: slots.merge(a[name], b[name]) for name, slots in self.slots.items()}

    def accumulate(self, state: State, *fields: Any, valid: Tensor | None = None) -> State:
        if fields and may_look(fields[0]):
            return self.tally(state, *fields, valid=valid)
        return self._added(state, self.scatter(*fields, valid=valid))


def amounts(valid: Tensor | None, like: Tensor) -> Tensor:
    """One for each valid element: int64 with the shape of `like` [N, ...]; `valid` is bool [N].

    >>> amounts(torch.tensor([True, False]), torch.zeros(2, 3))
    tensor([[1, 1, 1],
            [0, 0, 0]])
    """
    if valid is None:
        return _one(like.device).expand(like.shape)
    return valid.to(torch.int64).reshape(-1, *[1] * (like.ndim - 1)).expand(like.shape)


@lru_cache(maxsize=32)
def _one(device: torch.device) -> Tensor:
    """Made once for each device, for a batch is as dear there as the number of its kernels."""
    with torch.inference_mode(mode=False):
        return torch.ones((), dtype=torch.int64, device=device)


def expect(ok: bool, owner: object, found: str, expected: str) -> None:
    """Raise FieldError saying what was found and what was expected. Looks at shapes and dtypes only, never at data."""
    if not ok:
        raise FieldError(f"{type(owner).__name__}: {found}, expected {expected}")
