"""What crosses real processes: few collectives, the same everywhere, right values, and failures told to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import scenarios
from support.processes import run_processes

POINT_TO_POINT = ("send", "recv")


def test_the_number_of_collectives_does_not_depend_on_the_number_of_states() -> None:
    """One and ten of each: one sum, one maximum and one exchange of keys, in the same order on every process."""

    def collectives(states: int) -> list[str]:
        results = run_processes(3, scenarios.collectives_of_sync, states)
        shared = [[call for call in calls if call[0] not in POINT_TO_POINT] for calls in results]
        assert shared[0] == shared[1] == shared[2], "same operation, dtype and shape on every process"
        return [name for name, _, _ in shared[0]]

    assert collectives(1) == collectives(10) == ["all_reduce", "all_reduce", "all_gather"]


def shared_collectives(seen: list[tuple[list[Any], torch.Tensor]], n: int) -> list[Any]:
    """What every process of one fit did, which must be the same, and counted n samples."""
    (first, matrix), *others = seen
    shared = [call for call in first if call[0] not in POINT_TO_POINT]
    assert len(shared) > 3
    for calls, there in others:
        assert [call for call in calls if call[0] not in POINT_TO_POINT] == shared
        assert torch.equal(there, matrix)
    assert int(matrix.sum()) == n
    return shared


@pytest.mark.parametrize(
    ("logger", "orders", "n"),
    [("none", [0, 77, 50], 41), ("csv", [13], 41), ("several", [119], 41), ("wandb", [31], 41), ("none", [50], 3)],
    ids=["several orders", "csv", "several loggers", "wandb", "fewer samples than places"],
)
def test_every_process_takes_part_in_the_same_collectives(
    logger: str, orders: list[int], n: int, tmp_path: Path
) -> None:
    """Whatever the order of callbacks and the loggers: equal in order, operation, dtype and shape."""
    for seen in zip(*run_processes(2, scenarios.collectives_of_fits, str(tmp_path), logger, orders, n), strict=True):
        shared_collectives(list(seen), n)


@pytest.mark.long
@pytest.mark.parametrize("logger", scenarios.LOGGERS)
def test_neither_order_nor_logger_changes_the_collectives(logger: str, tmp_path: Path) -> None:
    """All 120 orders of five callbacks with each logger: the same on both processes, and as many in every order."""
    orders = range(scenarios.NUM_ORDERS)
    runs = run_processes(2, scenarios.collectives_of_fits, str(tmp_path), logger, orders, 41, timeout=1800)
    kinds = [sorted(map(str, shared_collectives(list(seen), 41))) for seen in zip(*runs, strict=True)]
    assert len(kinds) == scenarios.NUM_ORDERS
    assert all(kind == kinds[0] for kind in kinds)


SHARES = {
    2: [list(range(29)), list(range(29, 40))],
    3: [list(range(0, 40, 2)), [], list(range(1, 40, 2))],
    4: [[], list(range(5, 40)), [], list(range(5))],
}


@pytest.mark.parametrize("world_size", SHARES)
def test_uneven_and_empty_shares_give_the_values_of_one_process(world_size: int) -> None:
    """Counts, exact mean, best three with payload and ordinary metrics of each kind, over shares of unlike size."""
    [alone] = run_processes(1, scenarios.uneven_shares, [list(range(40))])
    results = run_processes(world_size, scenarios.uneven_shares, SHARES[world_size])
    for there in results:
        for name in ("c", "a", "ids", "low", "high", "roc"):
            assert torch.equal(there[name], alone[name]), name
        assert there["m"] == alone["m"]
    assert torch.equal(results[0]["payload"][0], alone["payload"][0])
    assert all(there["payload"] == () for there in results[1:])


def test_a_failed_update_is_told_to_every_process() -> None:
    """Nobody hangs: each process raises the same error, which names the process and the cause."""
    told: list[Any] = run_processes(2, scenarios.one_fails)
    assert told[0] == told[1]
    assert "process 1: ValueError: labels of another shape" in told[0]


def test_a_core_in_a_fabric_loop() -> None:
    """Two processes that Fabric has set up, with uneven shares: the same on both, and each sample once."""
    (matrix, mean), other = run_processes(2, scenarios.under_fabric, SHARES[2])
    assert int(matrix.sum()) == 40
    assert torch.equal(other[0], matrix)
    assert other[1] == mean
