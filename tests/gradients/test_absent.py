"""Parameters without a gradient, or in no optimizer: when it is said, and what is no more than a pause."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lwcallbacks.gradients.absent import Absent, Members
from lwcallbacks.gradients.finding import NEEDED, WINDOW
from lwcallbacks.testing.same import difference

BOTH = Members(learning=("a.weight", "a.bias", "b.weight"))


def fed(
    has: Callable[[int], Sequence[str]],
    steps: range,
    absent: Absent | None = None,
    members: Callable[[int], Members] = lambda i: BOTH,
) -> Absent:
    absent = absent or Absent()
    for i in steps:
        absent.feed(10 * i, members(i), has(i))
    return absent


def found(absent: Absent) -> list[tuple[str, str, int, str]]:
    findings = absent.findings(lambda name: name.rpartition(".")[0])
    return [(one.layer, one.illness, one.since, one.how_much) for one in findings]


def test_a_layer_that_never_had_a_gradient_is_named() -> None:
    """After as many logged steps as are looked back at."""
    absent = fed(lambda i: ["b.weight"], range(WINDOW - 1))
    assert found(absent) == []
    fed(lambda i: ["b.weight"], range(WINDOW - 1, WINDOW), absent)
    assert found(absent) == [("a", "no gradient", 0, "never had a gradient, in 8 logged steps")]


def test_a_layer_that_has_none_any_more_is_named_with_the_step() -> None:
    """Until it has one again."""
    absent = fed(lambda i: BOTH.learning if i < 70 else ["b.weight"], range(70 + WINDOW - 1))
    assert found(absent) == []
    fed(lambda i: ["b.weight"], range(70 + WINDOW - 1, 100), absent)
    assert found(absent) == [("a", "no gradient", 700, "no gradient in 30 logged steps")]
    assert past(absent) == []
    fed(lambda i: BOTH.learning, range(100, 101), absent)
    assert found(absent) == []
    assert past(absent) == [("a", "no gradient", 700, 990, "no gradient in 30 logged steps")]


def test_a_pause_that_was_never_named_is_not_listed_as_passed() -> None:
    """Shorter than what is looked back at, or usual for the layer."""
    for is_there in (lambda i: not 50 <= i < 50 + WINDOW - 1, lambda i: i % 3 == 0):
        absent = fed(lambda i, is_there=is_there: BOTH.learning if is_there(i) else ["b.weight"], range(100))
        assert past(absent) == []


def test_the_last_pause_is_the_one_that_is_listed() -> None:
    """By parameter, where a module's have passed at different times; and not while another one lasts."""

    def has(i: int) -> list[str]:
        return ["b.weight"] + ["a.bias"] * (not 70 <= i < 90) + ["a.weight"] * (not (70 <= i < 95 or 200 <= i < 300))

    absent = fed(has, range(100))
    assert past(absent) == [
        ("a.weight", "no gradient", 700, 940, "no gradient in 25 logged steps"),
        ("a.bias", "no gradient", 700, 890, "no gradient in 20 logged steps"),
    ]
    fed(has, range(100, 280), absent)
    assert [one[0] for one in past(absent)] == ["a.bias"]
    fed(has, range(280, 310), absent)
    assert past(absent)[0] == ("a.weight", "no gradient", 2000, 2990, "no gradient in 100 logged steps")


def test_a_layer_that_is_frozen_after_it_had_no_gradient_has_passed() -> None:
    """And one that is frozen from the start is not listed when it thaws."""
    frozen = Members(learning=("b.weight",), frozen=("a.weight", "a.bias"))
    absent = fed(lambda i: ["b.weight"], range(20))
    assert past(fed(lambda i: ["b.weight"], range(20, 30), absent, lambda i: frozen)) == [
        ("a", "no gradient", 0, 190, "no gradient in 20 logged steps")
    ]
    absent = fed(lambda i: ["b.weight"], range(20), members=lambda i: frozen)
    assert past(fed(lambda i: BOTH.learning, range(20, 30), absent)) == []


def test_a_parameter_beside_others_that_have_one_is_named_by_itself() -> None:
    """As the token of a mask that no batch has."""
    absent = fed(lambda i: ["a.weight", "b.weight"], range(8))
    assert found(absent) == [("a.bias", "no gradient", 0, "never had a gradient, in 8 logged steps")]


def test_frozen_parameters_are_not_named() -> None:
    """Neither from the start nor from then on."""
    frozen = Members(learning=("b.weight",), frozen=("a.weight", "a.bias"))
    assert found(fed(lambda i: ["b.weight"], range(20), members=lambda i: frozen)) == []
    absent = fed(lambda i: ["b.weight"], range(20))
    assert found(fed(lambda i: ["b.weight"], range(20, 21), absent, lambda i: frozen)) == []


def past(absent: Absent) -> list[tuple[str, str, int, int | None, str]]:
    findings = absent.passed(lambda name: name.rpartition(".")[0])
    return [(one.layer, one.illness, one.since, one.until, one.how_much) for one in findings]


PAUSES: dict[str, Callable[[int], bool]] = {
    "every third step": lambda i: i % 3 == 0,
    "every tenth step": lambda i: i % 10 == 0,
    "one step in five, by chance": lambda i: bool(np.random.default_rng(i).random() < 0.2),
    "one step in twenty, by chance": lambda i: bool(np.random.default_rng(i).random() < 0.05),
}


@pytest.mark.parametrize("how", PAUSES)
def test_a_layer_that_is_used_now_and_then_is_no_finding(how: str) -> None:
    """From its first gradient on; at any number of steps."""
    absent, has_begun = Absent(), False
    for i in range(600):
        absent.feed(i, BOTH, BOTH.learning if PAUSES[how](i) else ["b.weight"])
        has_begun = has_begun or PAUSES[how](i)
        assert not (has_begun and found(absent)), i


def test_a_phase_that_comes_again_is_named_once() -> None:
    """A second pause as long as the first is known by then."""
    absent = fed(lambda i: BOTH.learning if i % 60 < 30 else ["b.weight"], range(60))
    assert found(absent) == [("a", "no gradient", 300, "no gradient in 30 logged steps")]
    for end in range(61, 120):
        fed(lambda i: BOTH.learning if i % 60 < 30 else ["b.weight"], range(end - 1, end), absent)
        assert found(absent) == []


def test_what_is_in_no_optimizer_is_named() -> None:
    """Until an optimizer has it; a step or two are nothing."""
    out = Members(learning=("b.weight",), outside=("a.weight", "a.bias"))
    absent = fed(lambda i: ["b.weight"], range(NEEDED - 1), members=lambda i: out)
    assert found(absent) == []
    fed(lambda i: ["b.weight"], range(NEEDED - 1, NEEDED), absent, lambda i: out)
    assert found(absent) == [("a", "in no optimizer", 0, "gets a gradient and is in no optimizer of the Trainer")]
    frozen = Members(learning=("b.weight",))
    assert past(absent) == []
    assert found(fed(lambda i: ["b.weight"], range(6, 7), absent, lambda i: frozen)) == []
    fed(lambda i: ["b.weight"], range(7, 20), absent, lambda i: out)
    assert found(absent)[0][2] == 70
    fed(lambda i: BOTH.learning, range(20, 21), absent)
    assert found(absent) == []
    assert past(absent) == [("a", "in no optimizer", 70, 190, "had a gradient and was in no optimizer of the Trainer")]


def test_several_optimizers_have_their_own_members() -> None:
    """What one of them does not have is not missing in it."""
    absent = Absent()
    for i in range(20):
        absent.feed(i, Members(learning=("a.weight",)), ["a.weight"])
        absent.feed(i, Members(learning=("b.weight",)), [])
    assert found(absent) == [("b", "no gradient", 0, "never had a gradient, in 20 logged steps")]


def test_tensors_of_an_optimizer_that_the_model_does_not_have_are_named_as_such() -> None:
    """As those of a layer that was replaced; not those that have a gradient, as of a loss outside of the model."""
    members = Members(learning=("Adam.0", "Adam.3", "b.weight"))
    for optimizer, words in (
        ("Adam", "2 tensors without a gradient that the model does not have: were its parameters replaced after the "
         "optimizer was made?"),
        ("", "never had a gradient, in 20 logged steps"),
    ):  # fmt: skip
        absent = Absent()
        for i in range(20):
            absent.feed(i, members, ["b.weight"], optimizer)
        assert found(absent) == [("Adam", "no gradient", 0, words)]
    for i in range(20):
        absent.feed(i, members, members.learning, "Adam")
    assert found(absent) == []


def test_it_goes_on_from_a_checkpoint() -> None:
    """With the same bits."""
    whole = fed(lambda i: BOTH.learning[i % 2 :], range(30))
    first, second = fed(lambda i: BOTH.learning[i % 2 :], range(13)), Absent()
    second.load_state_dict(first.state_dict())
    fed(lambda i: BOTH.learning[i % 2 :], range(13, 30), second)
    assert difference(second.state_dict(), whole.state_dict()) is None
