"""What an epoch has to say about its own numbers, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.capture import CaptureError
from lwcallbacks.reductions import FieldError
from lwcallbacks.state.core import Collected
from lwcallbacks.state.sync import on_processes

CONTENT = " by content"
"""Ends the name of the state that chooses by what samples hold, beside the one that chooses by position."""


def told(error: Exception) -> str:
    """An error in words: ours explain themselves."""
    return str(error) if isinstance(error, (CaptureError, FieldError)) else f"{type(error).__name__}: {error}"


def faults(stage: str, places: Sequence[Place], collected: Collected, owners: Mapping[str, str]) -> list[str]:
    """What could not be counted, what has no value, and how many batches were left out."""
    said = [f"{_who(n, owners)}, {stage}{places[i].name} data: {problem}" for i, n, problem in collected.problems]
    said += without_value(stage, places, collected.failures, owners)
    for i, tallies in collected.tallies.items():
        batches = f"batches that could not be read and are left out of this {stage}{places[i].name} epoch"
        skipped = {name: tally["skipped"] for name, tally in tallies.items() if tally["skipped"]}
        said += [f"{_who(name, owners)}: {batches}: {number}" for name, number in skipped.items()]
    return list(dict.fromkeys(said))


def without_value(
    stage: str, places: Sequence[Place], failures: Mapping[int, Mapping[Any, str]], owners: Mapping[str, str]
) -> list[str]:
    """What has no value, and why."""
    return [
        f"{_who(name, owners)} has no value for this {stage}{places[i].name} epoch: {cause}"
        for i, causes in failures.items()
        for name, cause in causes.items()
    ]


def _who(name: Any, owners: Mapping[str, str]) -> str:
    return owners[str(name).removesuffix(CONTENT)]


def counted_twice(stage: str, place: Place, owner: str, twice: int, rows: int) -> str:
    """That at most `twice` of so many rows count more than once, why, and what to write."""
    if place.is_dealt:
        why = "the sampler repeats samples so that processes get equally many, and a batch's rows are not its samples"
    elif all(layout is not None for layout in place.layouts):
        why = "each process reads the whole data set"
    else:
        why = "only the loader knows which samples each process reads"
    return (
        f"lwcallbacks: of the {stage}{place.name} loader, at most {twice} of {rows} rows count more than once "
        f"({owner}): {why}. Pass ids= to the callback, what tells samples apart: a key of the step's output or of the "
        "batch, an index into the batch, or a function of outputs and batch"
    )


def unlike_stages(by_rank: Sequence[Mapping[str, Sequence[str]]]) -> str | None:
    """What to say where callbacks of some processes sync at the end of a stage, and those of others never do.

    Args:
        by_rank: for each process, by stage, the callbacks that sync there.

    >>> print(unlike_stages([{"train": ["ConfusionMatrix('train/mine')"]}, {"train": []}]))
    ConfusionMatrix('train/mine') on process 0, and no callback that remembers train on process 1: processes would wait for each other forever. Give every process the same callbacks, with the same stages
    """  # noqa: E501
    for stage in by_rank[0] if by_rank else ():
        without = [rank for rank, of in enumerate(by_rank) if not of[stage]]
        having = [rank for rank in range(len(by_rank)) if rank not in without]
        if without and having:
            found = f"{', '.join(by_rank[having[0]][stage])} on {on_processes(having)}"
            return (
                f"{found}, and no callback that remembers {stage} on {on_processes(without)}: processes would wait for "
                "each other forever. Give every process the same callbacks, with the same stages"
            )
    return None
