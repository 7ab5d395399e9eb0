"""Every reduction keeps every law, bit by bit: a commutative monoid, however samples are cut, ordered and spread."""

from __future__ import annotations

import pytest
from support.lawful import EXAMPLES, LAWFUL

import lwcallbacks.reductions as reductions
from lwcallbacks.reductions import Reduction
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
