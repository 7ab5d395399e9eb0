"""The kit behaves as a test of hypothesis does: settings and database count, and pytest shows the message."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.database import InMemoryExampleDatabase
from testing.test_laws_refute import NUMBERS, Increments, Last, MeanOfBatchMeans, Restive, Total

from lwcallbacks.reductions import ExactSum
from lwcallbacks.testing import (
    LawViolation,
    NotExaminable,
    check_metric,
    check_reduction,
    tensors,
    violations_of_metric,
)
from lwcallbacks.testing.examining import examine
from lwcallbacks.testing.law import Broken, Case, Law, Subject


@pytest.fixture(autouse=True)
def _profile() -> Iterator[None]:
    before = settings.get_current_profile_name()
    yield
    settings.load_profile(before)


def test_it_may_be_called_within_a_test_of_hypothesis() -> None:
    """A user draws the arguments of a metric, and holds each to the laws."""
    seen: list[int] = []

    @settings(max_examples=2, deadline=None)
    @given(st.integers(1, 3))
    def outer(scale: int) -> None:
        seen.append(scale)
        check_metric(Total, NUMBERS, laws=["order"], examples=3)
        with pytest.raises(LawViolation):
            check_metric(Last, NUMBERS, laws=["order"], examples=10)

    outer()
    assert seen


def drawn(**options: Any) -> int:
    """How many examples are drawn for one law, those of plain update and compute beside."""
    counted: list[Any] = []
    batches = st.integers(0, 10**6).map(lambda x: [(torch.tensor([float(x)]),)] * 2)
    check_metric(Total, batches.map(lambda x: counted.append(x) or x), laws=["order"], **options)
    return len(counted)


def test_a_profile_says_how_many_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the environment or the call does; without any of them it is 50."""
    monkeypatch.delenv("LWCALLBACKS_EXAMPLES", raising=False)
    settings.load_profile("default")
    assert drawn() == 2 * 50
    settings.register_profile("few", max_examples=7)
    settings.load_profile("few")
    assert drawn() == 2 * 7
    assert drawn(examples=3) == 2 * 3
    monkeypatch.setenv("LWCALLBACKS_EXAMPLES", "9")
    assert drawn() == 2 * 9


def test_within_a_test_of_hypothesis_there_are_few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, since the test has some of its own. All laws of a metric are tried on one thread,
    which is gone afterwards."""
    monkeypatch.setenv("LWCALLBACKS_EXAMPLES", "9")
    before, called = threading.enumerate(), 0

    @settings(max_examples=2, deadline=None)
    @given(st.integers(1, 3))
    def outer(scale: int) -> None:
        nonlocal called
        assert drawn() == 2 * 5
        assert drawn(examples=3) == 2 * 3
        threads: list[threading.Thread] = []
        batches = NUMBERS.map(lambda batches: threads.append(threading.current_thread()) or batches)
        check_metric(Total, batches, laws=["order", "reset"])
        assert len(set(threads)) == 1
        assert threads[0] not in before
        with pytest.raises(LawViolation):
            check_metric(Last, NUMBERS, laws=["order"], examples=10)
        check_reduction(ExactSum(), st.tuples(tensors(4)), laws=["identity"])
        assert threading.enumerate() == before
        called += 1

    outer()
    assert called
    assert drawn() == 2 * 9


def test_what_failed_is_tried_first_the_next_time() -> None:
    """Out of hypothesis's database, where the profile has one."""
    database = InMemoryExampleDatabase()
    settings.register_profile("remembers", database=database)
    settings.load_profile("remembers")
    tried: list[str] = []
    batches = NUMBERS.map(lambda value: tried.append(str(value)) or value)
    with pytest.raises(LawViolation) as first:
        check_metric(MeanOfBatchMeans, batches, laws=["batch_size"])
    assert database.data
    plain = 50
    for _ in range(2):
        tried.clear()
        with pytest.raises(LawViolation) as again:
            check_metric(MeanOfBatchMeans, batches, laws=["batch_size"], examples=plain)
        assert str(again.value) == str(first.value)
        assert tried[plain] == "[(tensor([0.]),), (tensor([0., 1.]),)]"
    check_metric(Total, batches, laws=["batch_size"], examples=5)


def test_a_message_says_how_to_have_its_example_again() -> None:
    """Where the profile prints a blob, as it does in CI."""
    settings.register_profile("blobs", print_blob=True, database=None)
    settings.load_profile("blobs")
    with pytest.raises(LawViolation) as failure:
        check_metric(Increments, NUMBERS, laws=["forward_accumulates"])
    told = re.search(r"the same example again: reproduce=(\(.*\)), laws=\['forward_accumulates'\]", str(failure.value))
    assert told is not None
    with pytest.raises(LawViolation) as again:
        check_metric(Increments, NUMBERS, laws=["forward_accumulates"], reproduce=eval(told[1]), examples=1)
    assert str(again.value).splitlines()[:6] == str(failure.value).splitlines()[:6]


@pytest.mark.parametrize("batches", [NUMBERS, st.just([("a word",)])])
def test_pytest_shows_the_line_of_the_test_and_the_message(batches: st.SearchStrategy[Any]) -> None:
    """And no line of the engine."""
    with pytest.raises((LawViolation, NotExaminable)) as failure:
        check_metric(Last, batches)
    shown = [entry for entry in failure.traceback if not entry.ishidden(failure)]
    assert {str(entry.path) for entry in shown} == {__file__}
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_the_random_state_is_the_users_afterwards() -> None:
    """Metrics start from the same random numbers each time, and the test goes on with its own."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_metric(Total, NUMBERS, laws=["order"], examples=3)
    assert torch.equal(torch.rand(3), expected)


def test_the_same_verdict_twice() -> None:
    """Word for word, without a database."""
    settings.register_profile("forgets", database=None)
    settings.load_profile("forgets")
    told = set()
    for _ in range(2):
        with pytest.raises(LawViolation) as failure:
            check_metric(MeanOfBatchMeans, NUMBERS)
        told.add(str(failure.value) + failure.value.program())
    assert len(told) == 1


def test_reductions_are_examined_within_a_test_too() -> None:
    """By the same engine."""
    from lwcallbacks.reductions import ExactSum

    @settings(max_examples=2, deadline=None)
    @given(st.integers(1, 3))
    def outer(n: int) -> None:
        check_reduction(ExactSum(), st.tuples(tensors(n)), examples=2, laws=["order"])

    outer()


def test_what_is_not_found_again_is_a_finding() -> None:
    """A law that an example breaks once, and not when it is tried again: that is said, and nothing is raised."""
    tries = iter([True])

    def holds(subject: Subject, case: Case) -> None:
        if next(tries, False):
            raise Broken("once")

    law: Law[Any] = Law("steady", "it changes", holds)
    found = examine(law, Subject(), st.integers(), name="number", examples=5, seed=None)
    assert (found.outcome, found.how) == ("broken", "value")
    assert "found: the same example gave another result when it was tried again" in found.message


@pytest.mark.parametrize(
    ("call", "raised"),
    [
        (lambda: check_metric(Last, NUMBERS, laws=["order"]), LawViolation),
        (lambda: check_metric(print, NUMBERS), NotExaminable),
        (lambda: check_metric(Total, NUMBERS.map(lambda _: [(1, 2, 3)])), NotExaminable),
        (lambda: violations_of_metric(Total, NUMBERS.map(lambda _: [(1, 2, 3)])), NotExaminable),
        (lambda: check_reduction(Restive(), st.tuples(tensors(4)), laws=["value_is_pure"]), LawViolation),
    ],
)
def test_pytest_shows_no_frame_of_the_kit(call: Any, raised: type[Exception]) -> None:
    """The message stands below the user's own line."""
    with pytest.raises(raised) as failure:
        call()
    ours = [entry for entry in failure.traceback if f"{os.sep}lwcallbacks{os.sep}testing" in str(entry.path)]
    assert ours
    assert [f"{entry.path.name}:{entry.lineno + 1}" for entry in ours if not entry.ishidden(failure)] == []
