"""What is said of a run is said once, and what fails stops nobody; also on a process that writes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

from lwcallbacks.callbacks.outlet import Outlet


def said(of: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        of()
    return [str(warning.message) for warning in caught]


def test_a_message_is_said_once_whatever_its_numbers() -> None:
    """Another message is another one; it begins with the package's name, once."""
    outlet = Outlet(strict=lambda: False)
    assert said(lambda: outlet.say_here("3 rows are left out")) == ["lwcallbacks: 3 rows are left out"]
    assert said(lambda: outlet.say_here("lwcallbacks: 12 rows are left out")) == []
    assert said(lambda: outlet.say_here("3 rows count twice")) == ["lwcallbacks: 3 rows count twice"]


def test_a_process_that_writes_nothing_speaks_of_itself_only() -> None:
    """What every process would say, process 0 says."""
    outlet = Outlet(strict=lambda: False)
    assert said(lambda: outlet.say("the epoch has no value")) == []
    assert said(lambda: outlet.say("the epoch has no value", everywhere=True)) == [
        "lwcallbacks: the epoch has no value"
    ]


def test_what_fails_there_stops_nobody_unless_it_is_to() -> None:
    """By `on_error="raise"`, which may come while a run is under way."""
    is_strict = False
    outlet = Outlet(strict=lambda: is_strict)

    def fails() -> None:
        with outlet.attempt("Mine", "could not be worked out"):
            raise KeyError("x")

    assert said(fails) == ["lwcallbacks: Mine could not be worked out: KeyError: 'x'"]
    is_strict = True
    with pytest.raises(KeyError):
        fails()
