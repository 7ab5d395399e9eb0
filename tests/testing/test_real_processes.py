"""A metric on forked processes: values, exceptions, one that waits, and nothing that stays."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import CatMetric, MeanMetric, SumMetric

from lwcallbacks.testing import Finding, value_batches
from lwcallbacks.testing.confirm import confirmed
from lwcallbacks.testing.real_processes import Ended, examine_on_real_processes, on_real_processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
ONE, THREE = [(torch.tensor(1.0),)], [(torch.tensor(3.0),)]


def test_each_process_has_the_value_of_all() -> None:
    """A lambda will do; dicts are arguments by name; none of the processes is left."""
    metric: Any = lambda: MeanMetric()  # noqa: E731
    assert on_real_processes(metric, [ONE, THREE, [{"value": torch.tensor(5.0)}]]) == [torch.tensor(3.0)] * 3
    assert multiprocessing.active_children() == []


class Raises(SumMetric):
    """Where there is more than 2."""

    def compute(self) -> Tensor:
        if float(self.sum_value) > 2:
            raise ValueError("too much")
        return super().compute()


class Ends(SumMetric):
    def update(self, value: Tensor) -> None:
        if float(value) > 2:
            os._exit(7)
        super().update(value)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: Ends(), "process 1 ended with exit code 7"),
        (lambda: Raises(sync_on_compute=False), "process 1 raised ValueError: too much"),
    ],
)
def test_how_each_ended_is_told(factory: Any, words: str) -> None:
    """One that raises, or is gone, keeps the others waiting; all of them end, and it is said how."""
    with pytest.raises(Ended, match=words):
        on_real_processes(factory, [ONE, THREE], seconds=5)
    assert multiprocessing.active_children() == []


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """After as many seconds as it was given; it is gone when that is said."""
    told = tmp_path / "pid"

    class Waits(SumMetric):
        def update(self, value: Tensor) -> None:
            told.write_text(str(os.getpid()))
            time.sleep(600)

    with pytest.raises(Ended, match=r"^process 0 waited until its time was over$"):
        on_real_processes(Waits, [ONE], seconds=5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_right_and_wrong_metrics() -> None:
    """Integers add up; values in the order of ranks are what one process has; a mean that forgets weights is found."""
    numbers = value_batches()
    assert examine_on_real_processes(lambda: CatMetric(), numbers, processes=2).outcome == "kept"
    finding = examine_on_real_processes(lambda: SumMetric(sync_on_compute=False), numbers, processes=2)
    assert finding.outcome == "broken"
    assert finding.message.startswith("on 2 real processes (gloo) you report ")
    assert "shares of the processes = [[" in finding.message


def test_floats_may_be_close() -> None:
    """With a tolerance a sum in another order is the same."""
    assert examine_on_real_processes(SumMetric, value_batches(), exact=False, rtol=1e-5).outcome == "kept"


def test_as_many_examples_are_tried_as_are_asked_for() -> None:
    """Each starts its processes once."""
    made: list[int] = []

    def counted() -> CatMetric:
        made.append(os.getpid())
        return CatMetric()

    for number in (1, 3):
        made.clear()
        assert examine_on_real_processes(counted, value_batches(), examples=number).outcome == "kept"
        assert made.count(os.getpid()) == number


def test_a_process_that_raises_is_a_violation() -> None:
    """With how it ended, and the shares of the processes."""

    class RaisesElsewhere(CatMetric):
        made = os.getpid()

        def compute(self) -> Any:
            if os.getpid() != self.made:
                raise ValueError("too much")
            return super().compute()

    finding = examine_on_real_processes(RaisesElsewhere, st.just(THREE))
    assert (finding.outcome, finding.how) == ("broken", "exception")
    assert finding.message.startswith("on 2 real processes (gloo) process 0 raised ValueError: too much")
    assert "shares of the processes = [[" in finding.message


def test_a_system_that_cannot_fork_has_no_real_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows."""
    monkeypatch.delattr(os, "fork")
    finding = examine_on_real_processes(CatMetric, value_batches())
    assert (finding.outcome, finding.message) == ("not applicable", "this system cannot fork")
    told = confirmed(Finding("broken", "it hangs", "hang", source="import torch.distributed"))
    assert told.confirmed == "not tried, since this system cannot fork"
