"""Wrong metrics are refuted by the law that is about their mistake; the right ones beside them are accepted.

`LWCALLBACKS_EXAMPLES=1500 pytest -m long tests/testing/test_wrong_and_right.py` tries each with 1,500 examples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.versions import needs_merge_state
from support.wrong_metrics import PAIRS, examined, forget, found

from lwcallbacks.testing import METRIC_LAWS, Finding, check_metric

MERGING = {"merge_state", "merge_with_fresh", "merge_after_compute"}
EVERY = [pytest.param(n, marks=[needs_merge_state] if pair.law in MERGING else []) for n, pair in PAIRS.items()]
NEW = [name for name, law in METRIC_LAWS.items() if not law.holds.__module__.endswith("laws_of_epochs")]


@pytest.fixture(autouse=True)
def _nothing_shared() -> Iterator[None]:
    """What two of the wrong metrics share is as it was."""
    yield
    forget()


def refuted(name: str, finding: Finding) -> None:
    pair = PAIRS[name]
    assert finding.outcome == "broken", finding.message
    first, law, *_ = finding.message.splitlines()
    assert pair.words in first
    assert law.startswith(f"  law {pair.law} is broken")


@pytest.mark.parametrize("name", EVERY)
def test_the_wrong_one_is_refuted(name: str) -> None:
    """By the law that is about its mistake, in the words of whoever trains."""
    refuted(name, found(name))


@pytest.mark.parametrize("name", EVERY)
def test_the_right_one_is_accepted(name: str) -> None:
    """By the same law."""
    pair = PAIRS[name]
    check_metric(pair.right, pair.batches, laws=[pair.law], examples=50)


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY)
def test_many_examples_change_nothing(name: str) -> None:
    """With many examples the wrong one is refuted likewise, and the right one is accepted, by all laws."""
    examples = int(os.environ.get("LWCALLBACKS_EXAMPLES", "400"))
    pair = PAIRS[name]
    refuted(name, examined(name, examples))
    check_metric(pair.right, pair.batches, laws=[pair.law], examples=examples)
    check_metric(pair.right, pair.batches, examples=50)


def test_each_new_law_refutes_something() -> None:
    """No law is there that never fails."""
    assert {pair.law for pair in PAIRS.values()} >= set(NEW)


@pytest.mark.parametrize("law", NEW)
def test_a_verdict_is_the_same_twice(law: str) -> None:
    """The same message for the same metric, to the letter."""
    name = next(name for name, pair in PAIRS.items() if pair.law == law)
    assert examined(name, 50) == found(name)
