"""The life of a checkpoint in real processes: killed, several of them, resumed from what was delivered."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import torch
from support import scenarios
from support.processes import _context, run_processes
from support.shelf import Disk, files_in
from support.versions import KEEPS_WHAT_IT_GOES_ON_FROM, needs_loader_states

from lwcallbacks.artifacts.holding import digest_of
from lwcallbacks.artifacts.ledger import FILE, Entry, read

N = 50
LONG = int(os.environ.get("LWCALLBACKS_EXAMPLES", "0"))


def ledger_of(root: Path) -> Path:
    [path] = (root / "logs").rglob(FILE)
    return path.parent


def agree(disk: Disk, entries: list[Entry]) -> None:
    """What the ledger says is there is there, whole, and nothing else; aliases are on the newest that has them."""
    there = disk.there
    delivered = {e.version.id for e in entries if e.fates.get("disk") and e.fates["disk"].state == "delivered"}
    assert there.keys() == delivered
    for entry in entries:
        if entry.version.id in there:
            assert digest_of(there[entry.version.id]) == (entry.version.digest, entry.version.size)
            checkpoint = torch.load(there[entry.version.id], weights_only=True)
            assert checkpoint["epoch"] == entry.version.metadata["epoch"]
    carried = {f"{e.version.name}:{a}": e.version.id for e in entries if e.fates for a in e.version.aliases}
    assert disk.aliases == carried


@pytest.mark.timeout(900)
def test_killed_at_random_points(tmp_path: Path) -> None:
    """SIGKILL while delivering: no alias is ever on a part, and after a restart ledger and store agree."""
    disk, chance = Disk(tmp_path / "disk"), random.Random(0)
    num_kills = 20 if LONG else 5
    for _ in range(num_kills):
        process = _context().Process(target=scenarios.keeps_the_best, args=(str(tmp_path), 4, "auto", 0.3))
        process.start()
        before = _size(tmp_path)
        while _size(tmp_path) <= before:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.6))
        process.kill()
        process.join()
        for alias, id in disk.aliases.items():
            [entry] = [e for e in read(ledger_of(tmp_path)) if e.version.id == id]
            if id in disk.there:
                assert digest_of(disk.there[id])[0] == entry.version.digest, alias
            else:
                assert entry.is_removed, alias
    run_processes(1, scenarios.keeps_the_best, str(tmp_path), 2)
    entries = read(ledger_of(tmp_path))
    assert not any(entry.waiting or entry.to_drop for entry in entries)
    agree(disk, entries)
    assert files_in(ledger_of(tmp_path) / "held") == []
    never = [entry.why for entry in entries if not entry.fates]
    assert len(never) <= num_kills
    assert set(never) <= {"the process ended before its content was held", "its content is gone"}


def _size(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "logs").rglob(FILE)) if (root / "logs").exists() else 0


@needs_loader_states
@pytest.mark.parametrize("world_size", [1, 2])
def test_resuming_from_what_was_delivered(world_size: int, tmp_path: Path) -> None:
    """Two processes save in mid-epoch and end; one or two go on from the version, to the bits of a whole run."""
    [whole] = run_processes(1, scenarios.train, N, str(tmp_path / "whole"))
    run_processes(2, scenarios.delivers_and_stops, N, str(tmp_path), 3)
    [content] = Disk(tmp_path / "disk").there.values()
    (tmp_path / "stopped.ckpt").unlink()
    for there in run_processes(world_size, scenarios.train, N, str(tmp_path / "again"), str(content)):
        for name in ("matrix", "acc", "auroc", "f1", "ids"):
            assert torch.equal(there[name], whole[name]), name


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_deliver_each_version_once(strategy: str, tmp_path: Path) -> None:
    """By process 0, whether the Trainer was started in both or starts them itself."""
    if strategy == "ddp":
        saved, _ = run_processes(2, scenarios.keeps_the_best, str(tmp_path), 3, strategy)
    else:
        saved = scenarios.keeps_the_best(str(tmp_path), 3, strategy)
    assert saved == ["epoch=0", "epoch=1", "epoch=2"]
    entries = read(ledger_of(tmp_path))
    assert [entry.version.metadata["epoch"] for entry in entries] == [0, 1, 2]
    assert {entry.version.metadata["world_size"] for entry in entries} == {2}
    agree(Disk(tmp_path / "disk"), entries)
    assert len(Disk(tmp_path / "disk").there) == 2


def test_two_processes_go_on_in_another_folder(tmp_path: Path) -> None:
    """From a checkpoint of one process: what they remove of its run is dropped, by process 0."""
    run_processes(1, scenarios.keeps_the_best, str(tmp_path), 3)
    [newest] = (tmp_path / "ck").glob("epoch=2*")
    saved, _ = run_processes(2, scenarios.keeps_the_best, str(tmp_path), 5, "ddp", 0.0, "again", str(newest))
    assert saved == ["epoch=3", "epoch=4"]
    [ledger] = (tmp_path / "again").rglob(FILE)
    assert [e.version.metadata["epoch"] for e in read(ledger.parent) if not e.is_earlier] == [3, 4]
    there = [torch.load(path, weights_only=True)["epoch"] for path in Disk(tmp_path / "disk").there.values()]
    assert sorted(there) == ([2, 3, 4] if KEEPS_WHAT_IT_GOES_ON_FROM else [3, 4])
