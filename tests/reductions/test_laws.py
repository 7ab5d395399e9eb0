"""Every reduction keeps every law, bit by bit: a commutative monoid, however samples are cut, ordered and spread."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lawful import EXAMPLES, LAWFUL

import lwcallbacks.reductions as reductions
from lwcallbacks.reductions import ExactSum, Reduction, State
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing import REDUCTION_LAWS, check_reduction, tensors
from lwcallbacks.testing.reduction_laws import ReductionSubject
from lwcallbacks.testing.samples import count

# There is no second device in this process: see tests/testing/test_sim_device.py.
HERE = [law for law in REDUCTION_LAWS if law != "device"]


@pytest.mark.parametrize("law", HERE)
@pytest.mark.parametrize("name", LAWFUL)
def test_a_reduction_keeps_every_law(name: str, law: str) -> None:
    """The same samples give the same bits."""
    check_reduction(*LAWFUL[name], examples=EXAMPLES, laws=[law])


def test_no_reduction_is_left_out() -> None:
    """A reduction that the package exports is among those that are checked."""
    exported = {kind for kind in vars(reductions).values() if isinstance(kind, type) and issubclass(kind, Reduction)}
    concrete = {kind for kind in exported if not getattr(kind, "__abstractmethods__", None)}
    assert concrete == {type(reduction) for reduction, _ in LAWFUL.values()}


@dataclass(frozen=True)
class Largest(Reduction):
    """No more than the contract asks for."""

    def empty(self) -> State:
        return {"largest": torch.full((1,), -(2**63))}

    def lift(self, *fields: Any, valid: torch.Tensor | None = None) -> State:
        counted = fields[0] if valid is None else torch.where(valid, fields[0], -(2**63))
        return {"largest": torch.cat([counted, *self.empty().values()]).amax(0, keepdim=True)}

    def merge(self, a: State, b: State) -> State:
        return {"largest": torch.maximum(a["largest"], b["largest"])}

    def value(self, state: State) -> int:
        return int(state["largest"])


def test_four_methods_make_a_reduction() -> None:
    """`accumulate` follows from them; to be synced it has to be of one of the two families."""
    values = st.tuples(st.integers(0, 4).flatmap(lambda n: tensors(n, torch.int64)))
    check_reduction(Largest(), values, laws=[law for law in HERE if law != "shards"])
    assert Largest().value(Largest().accumulate(Largest().empty(), torch.tensor([3, 7]))) == 7


class SumOfAbsolute(ExactSum):
    """Changes what a batch adds, and no more."""

    def scatter(self, values: torch.Tensor, **options: Any) -> Any:
        return super().scatter(values.abs(), **options)


def test_a_faster_way_of_its_base_is_not_a_subclass_own() -> None:
    """`accumulate` adds what the class itself says, though its base knows a faster way."""
    own = SumOfAbsolute()
    assert own.value(own.accumulate(own.empty(), torch.tensor([-1.0, 2.0]))) == 3
    check_reduction(own, LAWFUL["sum"][1], laws=["accumulate"])


@pytest.mark.parametrize("name", LAWFUL)
def test_what_a_device_counts_without_a_look_has_the_same_bits(name: str) -> None:
    """`lift` and `accumulate`, with and without padding: on the CPU the data may be looked at, on a device not."""
    reduction, fields = LAWFUL[name]
    subject = ReductionSubject(reduction)

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(fields, st.data())
    def look(sample: Any, data: st.DataObject) -> None:
        valid = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count(sample), max_size=count(sample))))
        states = []
        for context in (nullcontext(), as_on_a_device()):
            with context:
                state = subject.lift(sample)
                states += [state, subject.accumulate(reduction.merge(state, state), sample, valid.bool())]
        for found, expected in zip(states[2:], states[:2], strict=True):
            subject.expect_same(found, expected, "without a look, and with one")

    look()
