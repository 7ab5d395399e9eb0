"""What metrics of a class share is found, whatever they saw before; and laws go on where one example says nothing."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torchmetrics import Metric

from lwcallbacks.testing import batches_of, check_metric, examine_metric, tensors, value_batches
from lwcallbacks.testing.examining import _FEW
from lwcallbacks.testing.shared import untouched

LABELS = st.lists(st.tuples(tensors(2, torch.int64, max_value=3)), min_size=1, max_size=3)
ANY = value_batches()


class Adds(Metric):
    """Right: what it holds beside its count is for the classes below."""

    full_state_update = False
    n: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: torch.Tensor) -> None:
        self.n += len(values)

    def compute(self) -> Any:
        return self.n.clone()


class Highest(Adds):
    """A tensor of the class, which is never reset."""

    best = torch.tensor(-float("inf"))

    def update(self, values: torch.Tensor) -> None:
        super().update(values)
        self.best.copy_(torch.maximum(self.best, values.max()))

    def compute(self) -> Any:
        return self.best.clone()


class HighestOfSignature(Highest):
    """It belongs to the signature of `__init__`."""

    def __init__(self, best: torch.Tensor = torch.tensor(-1e9), **kwargs: Any) -> None:  # noqa: B008
        super().__init__(**kwargs)
        self.best = best


class HighestOfArray(Highest):
    """An array of the class."""

    array = np.zeros(1)

    def update(self, values: torch.Tensor) -> None:
        self.array[0] = max(self.array[0], values.max())

    def compute(self) -> Any:
        return torch.tensor(self.array[0])


class Seen(Adds):
    """A set of the class: how many different labels."""

    seen: set[Any] = set()  # noqa: RUF012

    def update(self, values: torch.Tensor) -> None:
        self.seen.update(values.tolist())

    def compute(self) -> Any:
        return torch.tensor(len(self.seen))


class Newest(Adds):
    """A deque of the class: the mean of the last three."""

    last: deque[float] = deque(maxlen=3)  # noqa: RUF012

    def update(self, values: torch.Tensor) -> None:
        self.last.extend(values.tolist())

    def compute(self) -> Any:
        return torch.tensor(sum(self.last) / max(len(self.last), 1))


class Weighted(Adds):
    """Right: a table of the class that nobody writes into."""

    table = torch.tensor([0.0, 1.0, 2.0, 4.0])

    def update(self, values: torch.Tensor) -> None:
        self.n += self.table[values].sum().long()


class Remembers(Adds):
    """Right: what a class has worked out once is worked out the same again."""

    powers: dict[int, int] = {}  # noqa: RUF012

    def update(self, values: torch.Tensor) -> None:
        self.n += sum(self.powers.setdefault(value, 2**value) for value in values.tolist())


SHARED = [(Highest, ANY), (HighestOfSignature, ANY), (HighestOfArray, ANY), (Seen, LABELS), (Newest, LABELS)]


@pytest.mark.parametrize(("kind", "batches"), SHARED, ids=lambda of: getattr(of, "__name__", ""))
@pytest.mark.parametrize("seed", [None, 1])
def test_what_all_metrics_of_a_class_hold_is_found(kind: type[Metric], batches: Any, seed: int | None) -> None:
    """Also where more of the same changes nothing any more, as of a maximum or a set; and it is named."""
    laws = ["repeatable", "instances_are_independent"]
    found = examine_metric(kind, batches, laws=laws, seed=seed, exact=False, rtol=1e-6)
    broken = [finding for finding in found.values() if finding.outcome == "broken"]
    assert broken
    assert "all metrics of it share" in found["instances_are_independent"].message


@pytest.mark.parametrize("kind", [Adds, Weighted, Remembers])
def test_what_a_class_holds_may_be_right(kind: type[Metric]) -> None:
    """A table of constants, and what is remembered of work that was done."""
    check_metric(kind, LABELS)
    assert torch.equal(Weighted.table, torch.tensor([0.0, 1.0, 2.0, 4.0]))


def test_the_program_shows_what_is_shared() -> None:
    """In a process where nobody has seen anything."""
    source = examine_metric(Highest, ANY, laws=["instances_are_independent"])["instances_are_independent"].program()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(source, {"__name__": "__main__"})
    now, before = out.getvalue().split()[-2:]
    assert now != before


@pytest.mark.parametrize(
    "value", [torch.tensor(3.0), torch.tensor([True]), torch.tensor(2, dtype=torch.int32), [1], {1: 2}, {1}, np.ones(2)]
)
def test_what_was_there_is_put_back(value: Any) -> None:
    """Whatever an update has done to it, also where that raises."""
    before = str(value)

    class Holds(Adds):
        held = value

    def update(metric: Any) -> None:
        if isinstance(value, torch.Tensor):
            value.add_(1) if value.dtype != torch.bool else value.fill_(True)
        elif isinstance(value, np.ndarray):
            value[:] = 7
        else:
            value.update({5: 5}) if isinstance(value, dict) else value.add(5) if isinstance(
                value, set
            ) else value.append(5)
        raise ValueError

    with contextlib.suppress(KeyError), untouched(Holds, update):
        assert str(value) != before
        raise KeyError
    assert str(value) == before


class Forgets(Metric):
    """It adds L in place of N * L."""

    full_state_update = False
    right: torch.Tensor
    n: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("right", "n"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        self.right += (preds == target).sum()
        self.n += target.shape[1]

    def compute(self) -> Any:
        return self.right / self.n.clamp(min=1)


def of_lengths(low: int, high: int) -> st.SearchStrategy[Any]:
    labels = st.tuples(st.integers(1, 4), st.integers(low, high)).flatmap(
        lambda shape: st.tuples(tensors(shape, torch.int64, max_value=3), tensors(shape, torch.int64, max_value=3))
    )
    return st.lists(labels, min_size=1, max_size=4)


@pytest.mark.parametrize("seed", range(6))
def test_a_law_goes_on_where_one_example_says_nothing(seed: int) -> None:
    """Sequences of unlike lengths cannot be one batch; those of other examples can."""
    assert examine_metric(Forgets, of_lengths(1, 5), laws=["batch_size"], seed=seed)["batch_size"].outcome == "broken"


def test_a_law_gives_up_where_no_example_says_anything() -> None:
    """After a few, with the reason."""
    calls = []

    class Counts(Forgets):
        def update(self, *args: Any) -> None:
            calls.append(args)
            super().update(*args)

    unlike = of_lengths(1, 9).filter(lambda batches: len({args[0].shape[1] for args in batches}) > 1)
    found = examine_metric(Counts, unlike, laws=["batch_size"])["batch_size"]
    assert (found.outcome, found.message[:32]) == ("not applicable", "batches have tensors of shapes [")
    assert len(calls) < 60 * _FEW


def test_a_sum_of_complex_numbers_is_right() -> None:
    """No law about narrow types speaks of it."""

    class Phase(Adds):
        z: torch.Tensor

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_state("z", torch.zeros((), dtype=torch.complex128), dist_reduce_fx="sum")

        def update(self, values: torch.Tensor) -> None:
            self.z += (1j * values.double()).exp().sum()

        def compute(self) -> Any:
            return self.z.abs()

    check_metric(Phase, value_batches(), exact=False, rtol=1e-5, atol=1e-9)


def test_batches_that_are_lists_are_told_how_to_be_tuples() -> None:
    """What the message says to write is right."""
    lists = batches_of(lambda draw, n: (draw(tensors(n, torch.int64, max_value=3)),)).map(
        lambda batches: [list(args) for args in batches]
    )
    found = examine_metric(Adds, lists, laws=["order"])["order"]
    assert found.outcome == "not examined"
    assert "strategy.map(lambda batches: [tuple(batch) for batch in batches])" in found.message
    check_metric(Adds, lists.map(lambda batches: [tuple(batch) for batch in batches]))
