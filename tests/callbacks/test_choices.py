"""Which samples are shown: what a plain loop chooses, for any number of processes, batch size and order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import choices
from support.choices import K, N, expected, expected_examples, grids, matrix, samples
from support.processes import run_processes

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.callbacks.epoch import Epoch
from lwcallbacks.callbacks.examples import examples_of
from lwcallbacks.capture import Step
from lwcallbacks.testing import World

BATCH_SIZES = (1, 7, 64)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_choice_is_that_of_a_plain_loop(world_size: int, tmp_path: Path) -> None:
    """Of real processes with batches of 1, 7 and 64, shuffled or not; the images are those of the ids."""
    by_rank = run_processes(world_size, choices.chosen_in_a_run, BATCH_SIZES, str(tmp_path), timeout=300)
    fields = samples()
    for rank, runs in enumerate(by_rank):
        assert [case for case, *_ in runs] == [(size, shuffled) for size in BATCH_SIZES for shuffled in (False, True)]
        for (size, shuffled), ids, images, pairs in runs:
            own = fields["id"].tolist() if shuffled else list(range(N))
            place = {number: i for i, number in enumerate(own)}
            for (task, select), found in ids.items():
                assert found == expected(task, select, own), (task, select, size, shuffled, rank)
                if rank == 0:
                    [shown] = images[task, select]
                    assert shown.equal(fields["inputs"][[place[i] for i in found]]), (task, select, size, shuffled)
                else:
                    assert images[task, select] == ()
            if rank == 0:
                [of_pairs] = pairs
                assert [one[:3] for one in of_pairs] == expected_examples(own)
                losses = choices.losses("multiclass")
                assert [one[3] for one in of_pairs] == pytest.approx([losses[place[one[2]]] for one in of_pairs])


@pytest.mark.parametrize("world_size", [1, 64])
@pytest.mark.parametrize("logits", [None, True])
def test_every_choice_over_64_simulated_processes(world_size: int, logits: bool | None) -> None:
    """Most of which see one sample or none."""
    fields, shown = samples(), grids(shuffled=True, logits=logits)
    callbacks: dict[Any, Any] = {**shown, "matrix": matrix(shuffled=True, logits=logits)}
    needs = {f"{name}/{n}": need for name, c in callbacks.items() for n, need in c.remembered("val").items()}
    running = [Epoch("val", needs, [Place([None])], num_replicas=world_size) for _ in range(world_size)]
    order = torch.randperm(N, generator=torch.Generator().manual_seed(world_size)).tolist()
    for start, i in enumerate(order):
        running[start * 7 % world_size].update(0, start, Step(None, {name: t[i : i + 1] for name, t in fields.items()}))
    ended = World(world_size).run(lambda rank: running[rank].ending(rank, world_size))
    own = fields["id"].tolist()
    for rank, end in enumerate(ended):
        assert end.faults == []
        for name, grid in shown.items():
            prefix = f"{name}/"
            values = {n.removeprefix(prefix): v for n, v in end.values[0].items() if n.startswith(prefix)}
            assert grid.result(values).ids.tolist() == expected(*name, own), (name, rank)
        if rank == 0:
            values = {n.removeprefix("matrix/"): v for n, v in end.values[0].items() if n.startswith("matrix/")}
            found, thumbnails = examples_of(values, choices.CLASSES, logits)
            assert [(e.true, e.predicted, e.id) for e in found] == expected_examples(own)
            place = {number: i for i, number in enumerate(own)}
            assert thumbnails is not None
            assert thumbnails.equal(fields["inputs"][[place[e.id] for e in found]])


def test_no_more_is_kept_than_is_shown() -> None:
    """Of samples whose scores are said to be logits: k places, one choice."""
    for name, grid in grids(shuffled=True, logits=True).items():
        [need] = grid.remembered("val").values()
        assert need.entry.k == K, name
