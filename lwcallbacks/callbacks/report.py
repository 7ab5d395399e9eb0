"""What an epoch has to say about its own numbers, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.capture import CaptureError
from lwcallbacks.capture.messages import filled
from lwcallbacks.reductions import FieldError
from lwcallbacks.state.core import Collected
from lwcallbacks.state.sync import on_processes

CONTENT = " by content"
"""Ends the name of the state that chooses by what samples hold, beside the one that chooses by position."""

EPOCH = " epoch"
"""Beside the saved states of an epoch, its number; a name with a space is no callback's own."""


def told(error: Exception) -> str:
    """An error in words: ours explain themselves."""
    return str(error) if isinstance(error, (CaptureError, FieldError)) else f"{type(error).__name__}: {error}"


def faults(
    stage: str,
    places: Sequence[Place],
    collected: Collected,
    owners: Mapping[str, str],
    codes: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """What could not be counted, what has no value, and how many batches were left out."""

    def filled_in(name: Any, problem: str) -> str:
        return filled(problem, codes.get(str(name).removesuffix(CONTENT), {}))

    alike: dict[Any, list[tuple[str, str]]] = {}
    for i, n, problem in collected.problems:
        text = filled_in(n, problem)
        alike.setdefault((i, re.sub(r"\d+ \w+", "#", text)), []).append((_who(n, owners), text))
    said = [
        f"{' and '.join(dict.fromkeys(who for who, _ in found))}, {stage}{places[i].name} data: {found[0][1]}"
        for (i, _), found in alike.items()
    ]
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


def unlike(message: str) -> str:
    """What is said of a state that was saved for something else, in terms of the callback's arguments."""
    found = re.search(r"it was saved for (.*), and (.*) is registered$", message)
    if found is None:
        return message
    before, now = (dict(re.findall(r"(\w+)=([^,()]+)", words)) for words in found.groups())
    differing = [name for name in before if name in now and before[name] != now[name]]
    saved, here = (", ".join(f"{_ARGUMENTS.get(n, n)}={of[n]}" for n in differing) for of in (before, now))
    told = f"it was saved with {saved}, expected {here} as here; to go on from it write {saved}"
    other = "it was saved with other arguments, expected those of here; to go on from it write what was written then"
    return message[: found.start()] + (told if differing else other)


_ARGUMENTS = {"k": "num_samples"}
"""How the argument of a callback is called, where a reduction's has another name."""


def counted_twice(stage: str, place: Place, owners: Sequence[str], twice: int, rows: int) -> str:
    """That at most `twice` of so many rows count more than once, why, and what to write.

    Args:
        owners: all whose values they are part of.
    """
    told = ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")
    whom = "the callback" if len(owners) == 1 else "each of them"
    if place.is_dealt:
        why = "the sampler repeats samples so that processes get equally many, and a batch's rows are not its samples"
    elif all(layout is not None for layout in place.layouts):
        why = "each process reads the whole data set"
    else:
        why = "only the loader knows which samples each process reads"
    return (
        f"lwcallbacks: of the {stage}{place.name} loader, at most {twice} of {rows} rows count more than once "
        f"({told}): {why}. Pass ids= to {whom}, what tells samples apart: a key of the step's output or of the "
        "batch, an index into the batch, or a function of outputs and batch"
    )


def numbers_of_repeats(stage: str, place: Place, owner: str, repeats: int) -> str:
    """That padding is part of numbers that are one for a whole batch, and what to write."""
    return (
        f"{owner}: {repeats} samples that the {stage}{place.name} sampler repeats are part of a number that is one for "
        "the whole batch, such as a mean loss, and cannot be left out of it. Give one for each sample, as of a loss "
        "with reduction='none', under the field's name in what the step returns"
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
