"""Whatever one callback does wrong, all others have their values, keys and pictures, and training ends as it would."""

from __future__ import annotations

import functools
import tempfile
from typing import Any

import pytest
from support import chaos
from support.everyone import public_callbacks
from support.processes import run_processes

from lwcallbacks.testing.same import difference

NAMES = sorted(public_callbacks())


@functools.cache
def undisturbed(world_size: int) -> list[dict[str, Any]]:
    """What each process holds where nothing raises."""
    found = ran(None, (), world_size)
    assert not any(process["said"] for process in found)
    return found


def ran(name: str | None, ranks: tuple[int, ...], world_size: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as root:
        if world_size > 1:
            return run_processes(world_size, chaos.run, name, ranks, root)
        return [chaos.run(name, ranks, root)]


def check(name: str, ranks: tuple[int, ...], world_size: int) -> None:
    for rank, (found, expected) in enumerate(zip(ran(name, ranks, world_size), undisturbed(world_size), strict=True)):
        assert found["end"] == expected["end"], "training ends where it would"
        others_are_undisturbed(name, found, expected)
        comes_back(name, found, expected)
        if rank in ranks:
            is_told(name, found, rank)


def others_are_undisturbed(name: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    theirs = tuple(found["prefixes"])
    for epoch, fault in enumerate(chaos.FAULTS):
        for other in set(NAMES) - {name}:
            told = difference(found["results"][epoch][other], expected["results"][epoch][other])
            assert told is None, f"{fault}: {other}: {told}"
        metrics = [
            {k: v for k, v in of["metrics"][epoch].items() if not k.startswith(theirs)} for of in (found, expected)
        ]
        assert metrics[0] == metrics[1], fault
    for what in ("media", "kept"):
        seen = [[entry for entry in of[what] if not entry[0].startswith(theirs)] for of in (found, expected)]
        assert seen[0] == seen[1], what


def comes_back(name: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """In an epoch without a fault it has its own values, too."""
    faults = chaos.faults_of(name)
    for epoch in set(range(len(chaos.FAULTS))) - faults.keys():
        told = difference(found["results"][epoch][name], expected["results"][epoch][name])
        assert told is None, f"epoch {epoch}: {told}"
        assert found["metrics"][epoch] == expected["metrics"][epoch]


def is_told(name: str, found: dict[str, Any], rank: int) -> None:
    for message in found["said"]:
        assert any(who in message for who in (name, *found["prefixes"])), "only who failed is named"
    for fault in chaos.faults_of(name).values():
        if rank == 0 or fault.place not in ("entries", "writer"):
            assert any(fault.text in message for message in found["said"]), fault


@pytest.mark.parametrize("name", NAMES)
def test_a_callback_that_raises_costs_itself(name: str) -> None:
    """In each method, and in the first, a middle and the last batch; others' results, keys and pictures are equal."""
    check(name, (0,), 1)


@pytest.mark.parametrize(("name", "ranks"), [("ConfusionMatrix", (1,)), ("ScalarMetrics", (0,)), ("MaskGrid", (0, 1))])
def test_on_two_processes(name: str, ranks: tuple[int, ...]) -> None:
    """On one of them, or on both."""
    check(name, ranks, 2)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_each_on_each_process(name: str, ranks: tuple[int, ...]) -> None:
    """Every callback on every process, with padding that is held aside until the end."""
    check(name, ranks, 2)
