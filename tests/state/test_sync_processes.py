"""What crosses real processes: few collectives, the same everywhere, and failures told to all."""

from __future__ import annotations

from support import scenarios
from support.processes import run_processes


def test_the_number_of_collectives_does_not_depend_on_the_number_of_states() -> None:
    """One and thirty states: one sum, one maximum and one exchange of keys, in the same order on every process."""

    def collectives(states: int) -> list[list[str]]:
        shared = [
            [c for c in calls if c[0] not in ("send", "recv")]
            for calls in run_processes(3, scenarios.collectives_of_sync, states)
        ]
        assert shared[0] == shared[1] == shared[2], "same operation, dtype and shape on every process"
        return [name for name, _, _ in shared[0]]

    assert collectives(1) == collectives(10) == ["all_reduce", "all_reduce", "all_gather"]


def test_a_failed_update_is_told_to_every_process() -> None:
    """Nobody hangs: each process raises the same error, which names the process and the cause."""
    told = run_processes(2, scenarios.one_fails)
    assert told[0] == told[1]
    assert "process 1: ValueError: labels of another shape" in told[0]
