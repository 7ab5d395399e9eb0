"""The counterexamples of the laws of `laws_of_state.py` and `laws_of_data.py` are programs that run."""

from __future__ import annotations

import pytest
from support.versions import needs_merge_state
from support.wrong_metrics import PAIRS, forget, found
from testing.test_programs import printed

from lwcallbacks.testing import METRIC_LAWS

NEW = [name for name, law in METRIC_LAWS.items() if not law.holds.__module__.endswith("laws_of_epochs")]
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
    if finding.values is not None and law != "instances_are_independent":  # the class keeps what others gave it
        assert shown.endswith("\n".join([*finding.values, ""])), (finding.program(), finding.message)
    if finding.values is not None:
        assert finding.values[0] != finding.values[1]
