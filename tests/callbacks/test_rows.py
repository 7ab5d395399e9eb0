"""Rows that are no samples all count: the same bits on 1, 2 and 3 real processes, in training and validation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support import rows
from support.modules import CLASSES
from support.processes import run_processes
from support.versions import needs_loaders_in_any_mode


def plain_loop(kind: str, n: int) -> torch.Tensor:
    """The confusion matrix of every row of every sample, counted one by one."""
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    module = rows.Predicts(kind)
    for batch in rows.loader_of(kind, n, 1):
        found = module.rows(batch)
        for target, pred in zip(found["targets"].flatten().tolist(), found["preds"].flatten().tolist(), strict=True):
            counts[target, pred] += 1
    return counts


def twice(said: list[str], stage: str) -> int:
    """The number of rows that a warning says count more than once, at most."""
    return sum(int(n) for m in said for n in re.findall(rf"of the {stage} loader, at most (\d+) of", m))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", rows.KINDS)
def test_every_row_counts_on_one_process(kind: str, shuffle: bool, tmp_path: Path) -> None:
    """10 samples in batches of 4; nothing is said."""
    found: Any = rows.counted(kind, 10, 4, shuffle, str(tmp_path))
    assert torch.equal(found["val"], plain_loop(kind, 10))
    assert torch.equal(found["train"], plain_loop(kind, 10))
    assert not found["said"]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("kind", rows.KINDS)
def test_every_row_counts_once_on_several_processes_where_nothing_is_padded(
    kind: str, world_size: int, tmp_path: Path
) -> None:
    """12 samples: each process is given as many."""
    for found in run_processes(world_size, rows.counted, kind, 12, 4, True, str(tmp_path)):
        assert torch.equal(found["val"], plain_loop(kind, 12))
        assert torch.equal(found["train"], plain_loop(kind, 12))
        assert not found["said"]


@pytest.mark.parametrize("kind", rows.KINDS)
def test_where_samples_are_padded_a_number_is_said_and_holds(kind: str, tmp_path: Path) -> None:
    """11 samples on 2 processes: one is read twice. Every row counts; process 0 says how many may count twice."""
    first, second = run_processes(2, rows.counted, kind, 11, 4, False, str(tmp_path))
    for stage in ("train", "val"):
        assert torch.equal(first[stage], second[stage])
        more = first[stage] - plain_loop(kind, 11)
        assert (more >= 0).all()
        assert twice(first["said"], stage) >= int(more.sum())
        # Pixels are within samples: dimension 0 is the samples, and the repeat is cut off.
        assert (int(more.sum()) == 0) == (kind == "pixels")
        assert bool(twice(first["said"], stage)) == (kind != "pixels")
    assert all("Pass ids=" in message for message in first["said"])


def test_all_whose_rows_may_count_twice_are_named() -> None:
    """The first three, and how many more."""
    from lwcallbacks.callbacks.batch import Place
    from lwcallbacks.callbacks.report import counted_twice

    place = Place("", ())
    assert "(a): " in (told := counted_twice("val", place, ["a"], 2, 9))
    assert "Pass ids= to the callback" in told
    told = counted_twice("val", place, ["a", "b", "c", "d", "e"], 2, 9)
    assert "(a, b, c and 2 more): " in told
    assert "Pass ids= to each of them" in told


@pytest.mark.parametrize("own_sampler", [False, True])
def test_with_ids_every_row_counts_once_also_where_samples_are_padded_or_read_by_all(
    own_sampler: bool, tmp_path: Path
) -> None:
    """11 sequences of tokens on 2 processes, each with the number of its sample; nothing is said."""
    for found in run_processes(2, rows.counted, "tokens", 11, 4, False, str(tmp_path), own_sampler, True):
        for stage in ("train", "val"):
            assert torch.equal(found[stage], plain_loop("tokens", 11))
        assert not found["said"]


def test_where_every_process_reads_the_whole_data_set_a_number_is_said_and_holds(tmp_path: Path) -> None:
    """Half of all rows, once for each loader, on process 0."""
    first, second = run_processes(2, rows.counted, "tokens", 11, 4, False, str(tmp_path), True)
    for stage in ("train", "val"):
        assert torch.equal(first[stage], 2 * plain_loop("tokens", 11))
        assert twice(first["said"], stage) == 77
    assert len(first["said"]) == 2
    assert all("each process reads the whole data set" in message for message in first["said"])
    assert not second["said"]


def test_rows_in_another_order_are_counted_or_a_number_is_said(tmp_path: Path) -> None:
    """Which row is the repeated one is then not known: all count, and the warning says how many may count twice."""
    found = run_processes(2, rows.in_another_order, 23, str(tmp_path))
    expected, said = rows.in_another_order(23, str(tmp_path))
    assert not said
    for matrix, _ in found:
        assert int(matrix.sum()) == 24
        assert int((matrix - expected).clamp(min=0).sum()) == 1
    assert twice(found[0][1], "val") >= 1


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle"])
@needs_loaders_in_any_mode
def test_padding_in_loaders_that_give_one_batch_together_is_cut_or_said(mode: str, tmp_path: Path) -> None:
    """Cut where all fields come from one part, told where the step returned them."""
    for where, said in run_processes(2, rows.from_two_loaders, 23, mode, str(tmp_path)):
        assert int(where["batch"].sum()) == 23
        assert int(where["step"].sum()) == 24
        assert said is None or twice(said, "val") >= 1
