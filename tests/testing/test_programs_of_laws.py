"""The counterexamples of the laws of `laws_of_state.py` and `laws_of_data.py` are programs that run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.versions import needs_merge_state
from support.wrong_metrics import PAIRS, POSITIVE, CountsIn, Sums, forget, found
from testing.test_programs import printed
from torch import Tensor
from torchmetrics import MetricCollection

from lwcallbacks.testing import METRIC_LAWS, Finding, examine_metric

NEW = [name for name, law in METRIC_LAWS.items() if not law.holds.__module__.endswith("laws_of_epochs")]
OF_THE_CLASS = ("instances_are_independent", "repeatable")
WITH = [pytest.param(n, marks=[needs_merge_state]) for n, pair in PAIRS.items() if pair.law in NEW]


@pytest.mark.parametrize("name", WITH)
def test_the_program_shows_what_was_found(name: str) -> None:
    """Both values, where there are two; it runs in any case."""
    law, finding = PAIRS[name].law, found(name)
    if law == "sync_on_step":
        compile(finding.program(), "program", "exec")  # it starts processes
        return
    shown = printed(finding.program())
    assert shown
    forget()
    if finding.values is not None and law not in OF_THE_CLASS:  # the class keeps what others gave it
        assert shown.endswith("\n".join([*finding.values, ""])), (finding.program(), finding.message)
    if finding.values is not None:
        assert finding.values[0] != finding.values[1]


def saturated(factory: Any) -> Finding:
    """What the law of narrow types finds."""
    return examine_metric(factory, POSITIVE, laws=["no_saturation"], examples=10)["no_saturation"]


def test_the_program_of_a_narrow_state_gives_the_fewest_batches() -> None:
    """127 ones fit into int8. The program has one more, and prints what is held and what was added, also of a part."""
    for factory in (lambda: CountsIn(torch.int8), lambda: MetricCollection([CountsIn(torch.int8)])):
        finding = saturated(factory)
        assert "after 127 batches a batch that adds 1 to CountsIn." in finding.message
        assert printed(finding.program()).splitlines() == [
            "tensor(-128., dtype=torch.float64)",
            "tensor(128., dtype=torch.float64)",
        ]


class CountsAnew(Sums):
    """Makes a new tensor in each update, which raises where the number does not fit."""

    def __init__(self) -> None:
        super().__init__(number=torch.tensor(0, dtype=torch.int8))

    def update(self, x: Tensor) -> None:
        self.number = torch.tensor(int(self.number) + len(x), dtype=torch.int8)

    def compute(self) -> Tensor:
        return self.number


def test_a_state_that_raises_where_it_is_full_has_a_program() -> None:
    """Which raises what was raised, after so many batches."""
    finding = saturated(CountsAnew)
    words = "value cannot be converted to type int8 without overflow"
    assert finding.message.startswith(f"after 127 batches it raises RuntimeError: {words}")
    with pytest.raises(RuntimeError, match=words):
        printed(finding.program())
