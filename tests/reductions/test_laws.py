"""Every reduction keeps every law, bit by bit: a commutative monoid, however samples are cut, ordered and spread."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.lawful import EXAMPLES, LAWFUL

import lwcallbacks.reductions as reductions
from lwcallbacks.reductions import ExactSum, Reduction
from lwcallbacks.testing import REDUCTION_LAWS, check_reduction

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


class SumOfAbsolute(ExactSum):
    """Changes what a batch adds, and no more."""

    def scatter(self, values: torch.Tensor, **options: Any) -> Any:
        return super().scatter(values.abs(), **options)


def test_a_faster_way_of_its_base_is_not_a_subclass_own() -> None:
    """`accumulate` adds what the class itself says, though its base knows a faster way."""
    own = SumOfAbsolute()
    assert own.value(own.accumulate(own.empty(), torch.tensor([-1.0, 2.0]))) == 3
    check_reduction(own, LAWFUL["sum"][1], laws=["accumulate"])
