"""What crosses real processes: few collectives, the same everywhere, right values, and failures told to all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import scenarios, syncs
from support.processes import run_processes

from lwcallbacks.state import link

POINT_TO_POINT = ("send", "recv")


def test_the_number_of_collectives_does_not_depend_on_the_number_of_states() -> None:
    """One and ten of each: the header, one sum, one maximum and one exchange of keys, the same on every process."""

    def collectives(states: int) -> list[str]:
        results = run_processes(3, scenarios.collectives_of_sync, states)
        shared = [[call for call in calls if call[0] not in POINT_TO_POINT] for calls in results]
        assert shared[0] == shared[1] == shared[2], "same operation, dtype and shape on every process"
        return [name for name, _, _ in shared[0]]

    assert collectives(1) == collectives(10) == ["all_reduce", "all_reduce", "all_reduce", "all_gather"]


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


def test_a_failure_costs_one_entry_and_is_told_to_every_process() -> None:
    """Nobody hangs: each process names the process and the cause, and has the other entry's value."""
    told: list[Any] = run_processes(2, scenarios.one_fails)
    assert told[0] == told[1]
    values, warned = told[0]
    assert values == {"other": 1.0}
    assert "StateCore: mean: no value: failed on 1 of 2 processes; process 1: ValueError: labels of another" in warned


def test_a_core_in_a_fabric_loop() -> None:
    """Two processes that Fabric has set up, with uneven shares: the same on both, and each sample once."""
    (matrix, mean), other = run_processes(2, scenarios.under_fabric, SHARES[2])
    assert int(matrix.sum()) == 40
    assert torch.equal(other[0], matrix)
    assert other[1] == mean


FIRST = {"a": 1.5, "b": 2.5, "sum": 6.0, "roc": 1.0}
ENDINGS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "other order": (FIRST, {}),
    "one fails": ({n: v for n, v in FIRST.items() if n != "b"}, {"b": "failed on 1 of 2 processes; process 1: unread"}),
    "learnt": ({**FIRST, "sum": [3.0, 4.0]}, {}),
    "quiet": ({**FIRST, "sum": 3.0}, {}),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_processes_that_are_not_alike_end_their_epoch(case: str) -> None:
    """Registered in another order, failed, learnt another shape, or not counted: the same on both, and no hang."""
    first, second = run_processes(2, syncs.ending_of, case, timeout=60)
    assert first == second == ("collected", ENDINGS[case])


def test_payloads_of_unlike_shapes_cost_one_entry() -> None:
    """Every process reports both shapes."""
    first, second = run_processes(2, syncs.ending_of, "unlike payload", timeout=60)
    assert first == second
    values, failures = first[1]
    assert values == FIRST
    assert "float32 [2] on process 0, float32 [3] on process 1" in failures["shown"]


@pytest.mark.parametrize("case", ["unlike names", "unlike sizes"])
def test_unlike_processes_raise_the_same_and_do_not_hang(case: str) -> None:
    """On real processes, where a collective of unlike shapes would end one of them."""
    first, second = run_processes(2, syncs.ending_of, case, timeout=60)
    assert first == second
    kind, text = first
    assert kind == "raised"
    told = {"unlike names": "'b' is ExactMean", "unlike sizes": "'counts' is ConfusionCounts(num_classes=2"}
    assert told[case] in text


def test_a_core_syncs_in_its_process_group() -> None:
    """And process 0 of the group has the payload. A metric that syncs itself does so in the group, too."""
    alone, first, last = run_processes(3, syncs.in_groups, timeout=60)
    assert alone == {"sum": 1.0, "shown": [[0]], "wrapped": 1.0}
    assert first == {"sum": 110.0, "shown": [[1, 2]], "wrapped": 110.0}
    assert last == {"sum": 110.0, "shown": [], "wrapped": 110.0}


def test_who_is_absent_is_found_out_without_a_collective() -> None:
    """By all processes, the absent one as well, in about the time that was given."""
    for together, without, took in run_processes(3, syncs.roll_call, timeout=60):
        assert together == ([], [])
        assert without == ([1], [])
        assert took < 20


def test_alone_nobody_is_absent() -> None:
    """Without other processes nothing is asked."""
    assert link.everyone_comes("alone")
    assert link.roll_call("alone", "text") == ([], [])
    link.post("alone", "text")
    assert link.posts("alone") == {}


def test_texts_are_left_for_other_processes_without_a_collective() -> None:
    """By rank, all that are posted; a roll call says who is absent, and the texts only where they are unlike."""
    first, second = run_processes(2, syncs.texts, timeout=60)
    assert first.pop("absent") == ([1], [])
    assert second.pop("absent") is None
    assert (
        first
        == second
        == {
            "nobody": {},
            "both": {0: "from 0", 1: "from 1"},
            "one": {1: "from 1"},
            "alike": ([], []),
            "unlike": ([], ["text 0", "text 1"]),
        }
    )


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("everyone comes", [True, True, True]),
        ("unlike", [([], ["text 0", "text 1", "text 2"])] * 3),
        ("absent", [([2], []), ([2], []), None]),
    ],
)
def test_the_store_stays_until_the_last_has_read(what: str, told: list[Any]) -> None:
    """Process 0 holds it and ends with the answer, as it does with an error; others ask later."""
    assert run_processes(3, syncs.last_question, what, timeout=60) == told


def test_each_request_is_answered_and_what_is_sent_stays_as_it_is() -> None:
    """By all processes alike, but for the bytes that process 0 alone gets; what was sent is kept for a while."""
    for rank, (answers, own, is_kept) in enumerate(run_processes(3, syncs.requests, timeout=60)):
        assert is_kept
        assert own == [1.0 + rank, -2.0 - 2 * rank]
        *reduced, gathered, at_root = answers
        assert reduced == [[6.0, -12.0], [3.0, -2.0], [1.0, -6.0]]
        assert gathered == [[1.0, -2.0], [2.0, -4.0], [3.0, -6.0]]
        assert at_root == ([] if rank else [[], [0], [0, 1]])


@pytest.mark.parametrize(
    ("backend", "device", "kept_on"),
    [
        ("gloo", "cpu", "cpu"),
        ("mpi", "cpu", "cpu"),
        ("cpu:gloo,meta:nccl", "cpu", "meta"),
        ("cpu:ucc,meta:nccl", "cpu", "meta"),
        ("nccl", "meta", "meta"),
    ],
)
def test_tensors_are_sent_where_the_backend_takes_them(
    backend: str, device: str, kept_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU unless it is for an accelerator alone, here the meta device; one that may stay does where it can."""
    reduced: list[str] = []
    for name, value in (("get_rank", 0), ("get_world_size", 2), ("get_backend", backend)):
        monkeypatch.setattr(torch.distributed, name, lambda group, value=value: value)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, op, group: reduced.append(x.device.type))
    accelerators = SimpleNamespace(current_accelerator=lambda: torch.device("meta"))
    monkeypatch.setattr(torch, "accelerator", accelerators, raising=False)
    there = link.ProcessLink()
    for tensor, stays in ((torch.ones(2), False), (torch.ones(2, device=kept_on), True)):
        there.perform(link.AllReduce(tensor, "sum", stays=stays))
    assert reduced == [device, kept_on]
    if device != kept_on:
        with pytest.raises(NotImplementedError):  # nothing can be copied from the meta device to the CPU
            there.perform(link.AllReduce(torch.ones(2, device=kept_on), "sum"))


def test_the_interpreter_ends_when_threads_of_gloo_are_done() -> None:
    """One that asks for the interpreter's lock too late ends the process; where torch shows that it will, we wait."""
    (is_held, took), _ = run_processes(2, syncs.lets_go_in_the_end)
    assert 0.3 < took < 20 if is_held else took < 0.3
