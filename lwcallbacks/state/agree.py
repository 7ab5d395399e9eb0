"""Before anything is packed, all processes make sure that they mean the same, and tell which entries have failed.

    agreement = yield from agreed([Told(...), ...], broken, marks, world_size)
    agreement.common      # the labels that go on, in one order on every process
    agreement.failed      # label -> why it has no value, the same on every process
    agreement.flagged     # labels that any process has flagged
    agreement.fits        # label -> shape and dtype of each of its states, where processes had learnt unlike ones

What is exchanged, in this order:
1. one `AllReduce` of three numbers: a hash of everything told, its complement (so that the maxima tell whether all
   hashes are equal), and whether any process has marked an entry as failed or flagged;
2. only where the hashes are unlike: two `AllGather` of descriptions, of which every process draws the same conclusion:
   go on with states that are made alike, leave out what a process could not set up, or raise `UnlikeError`;
3. only where anything is marked: one `AllReduce` with two numbers for each entry, and, where any has failed, one
   `AllGather` of the causes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import torch

from lwcallbacks.state.link import AllGather, AllReduce, Request
from lwcallbacks.state.ragged import gathered_texts
from lwcallbacks.state.sync import on_processes

Fit: TypeAlias = tuple[torch.dtype, tuple[int, ...]]


class UnlikeError(RuntimeError):
    """Processes remember unlike things; raised by every process, with the same words."""


@dataclass(frozen=True)
class Told:
    """What a process tells the others of one entry.

    Attributes:
        label: tells the entry apart from all others; entries are exchanged in the order of their labels.
        shown: what the entry is called in messages.
        identity: what it is. Unlike identities are an error.
        states: name, dtype and shape of each state that may have been learnt from data.
        seen: whether it holds anything but what it starts with.
        owner: who registered it.
    """

    label: str
    shown: str
    identity: str
    states: list[tuple[str, str, list[int]]]
    seen: bool
    owner: str | None


@dataclass
class Marks:
    """What this process has to say about its entries, by label."""

    failed: Mapping[str, str] = field(default_factory=dict)
    flagged: frozenset[str] = frozenset()


@dataclass
class Agreement:
    """The same on every process."""

    common: list[str]
    """Labels that go on."""
    marked: list[str] = field(default_factory=list)
    """Labels that every process has, and that any has marked as failed."""
    failed: dict[str, str] = field(default_factory=dict)
    """Labels that do not go on, and why."""
    flagged: set[str] = field(default_factory=set)
    fits: dict[str, list[Fit]] = field(default_factory=dict)


def agreed(
    told: Sequence[Told], broken: Iterable[str], marks: Marks, world_size: int
) -> Generator[Request, Any, Agreement]:
    """Agree on what goes into the pack.

    Args:
        told: this process's entries.
        broken: owners that could not be set up on this process: their entries fail everywhere.
        marks: entries that have failed, or are flagged, on this process.
        world_size: how many processes there are.

    Raises:
        UnlikeError: on every process.
    """
    told = sorted(told, key=lambda entry: entry.label)
    code = _hash([(t.label, t.identity, t.states) for t in told])
    header = torch.tensor([code, ~code, bool(marks.failed or marks.flagged)])
    highest, complement, marked = (yield AllReduce(header, "max")).tolist()
    agreement = Agreement([entry.label for entry in told])
    if highest != ~complement:
        message = json.dumps({"told": [asdict(entry) for entry in told], "broken": sorted(broken)})
        agreement = concluded([json.loads(text) for text in (yield from gathered_texts(message))])
    if marked and agreement.common:
        yield from _exchange_marks(agreement, marks, world_size)
    return agreement


def _hash(content: object) -> int:
    digest = hashlib.sha256(json.dumps(content).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


# -- marks ------------------------------------------------------------------------------------------------------------

_MESSAGE_BYTES = 1024
_MOST_MESSAGES = 16


def _exchange_marks(agreement: Agreement, marks: Marks, world_size: int) -> Generator[Request, Any, None]:
    bits = torch.tensor([[label in marks.failed, label in marks.flagged] for label in agreement.common])
    anyone = (yield AllReduce(bits.to(torch.int64), "max")).tolist()
    failed = [label for label, (fails, _) in zip(agreement.common, anyone, strict=True) if fails]
    agreement.flagged = {label for label, (_, flags) in zip(agreement.common, anyone, strict=True) if flags}
    agreement.common = [label for label in agreement.common if label not in failed]
    agreement.marked = failed
    if failed:
        # What a process says of each failed entry; nothing where it has not failed there.
        texts = [marks.failed.get(label, "") for label in failed[:_MOST_MESSAGES]]
        answers = yield AllGather(torch.stack([_as_message(text) for text in texts]))
        causes = list(zip(*(_as_texts(answer) for answer in answers), strict=True))
        causes += [()] * (len(failed) - len(causes))
        agreement.failed |= {label: _cause(of, world_size) for label, of in zip(failed, causes, strict=True)}


def _as_message(text: str) -> torch.Tensor:
    data = text.encode()[:_MESSAGE_BYTES]
    return torch.tensor(list(data.ljust(_MESSAGE_BYTES, b"\0")), dtype=torch.uint8)


def _as_texts(answer: torch.Tensor) -> list[str]:
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in answer.tolist()]


def _cause(texts: Sequence[str], world_size: int) -> str:
    told = [f"process {rank}: {text}" for rank, text in enumerate(texts) if text]
    if world_size == 1:
        return "".join(texts)
    if not told:
        return f"failed as did {_MOST_MESSAGES} others"
    return f"failed on {len(told)} of {world_size} processes; " + "; ".join(told)


# -- unlike processes -------------------------------------------------------------------------------------------------


def concluded(messages: Sequence[Mapping[str, Any]]) -> Agreement:
    """What follows from unlike messages of all processes, by rank: the same wherever it is worked out.

    Raises:
        UnlikeError: nothing can be made alike.
    """
    by_rank = [{entry["label"]: Told(**entry) for entry in message["told"]} for message in messages]
    agreement = Agreement([])
    differences: list[str] = []
    for label in sorted({label for entries in by_rank for label in entries}):
        entries = {rank: told[label] for rank, told in enumerate(by_rank) if label in told}
        missing = [rank for rank in range(len(by_rank)) if rank not in entries]
        owners = {entry.owner for entry in entries.values()}
        if missing and all(owners & set(messages[rank]["broken"]) for rank in missing):
            agreement.failed[label] = f"could not be set up on {on_processes(missing)}"
        elif missing or len({entry.identity for entry in entries.values()}) > 1:
            differences.append(_difference(entries, missing))
        else:
            _make_alike(agreement, label, list(entries.values()))
    if differences:
        raise UnlikeError(
            f"processes remember unlike things: {'; '.join(differences[:_MOST_DIFFERENCES])}"
            f"{' ...' if len(differences) > _MOST_DIFFERENCES else ''}. "
            "Give every process the same callbacks and metrics, with the same names and arguments, in any order"
        )
    return agreement


_MOST_DIFFERENCES = 4


def _difference(entries: Mapping[int, Told], missing: list[int]) -> str:
    ranks = _grouped(entries, lambda entry: entry.identity)
    parts = [f"{identity} on {on_processes(members)}" for identity, members in ranks.items()]
    if missing:
        parts.append(f"missing on {on_processes(missing)}")
    return f"{next(iter(entries.values())).shown} is {', '.join(parts)}"


def _grouped(entries: Mapping[int, Any], of: Callable[[Any], Any]) -> dict[Any, list[int]]:
    """Ranks by what their entries have."""
    ranks: dict[Any, list[int]] = {}
    for rank, entry in entries.items():
        ranks.setdefault(of(entry), []).append(rank)
    return ranks


def _make_alike(agreement: Agreement, label: str, entries: list[Told]) -> None:
    # What holds no data has its defaults still, and those fit anything.
    learnt = {rank: entry for rank, entry in enumerate(entries) if entry.seen} or dict(enumerate(entries))
    try:
        states = zip(*(entry.states for entry in learnt.values()), strict=True)
        agreement.fits[label] = [_fit(dict(zip(learnt, of_all, strict=True))) for of_all in states]
        agreement.common.append(label)
    except ValueError as error:
        agreement.failed[label] = str(error)


def _fit(learnt: Mapping[int, tuple[str, str, list[int]]]) -> Fit:
    """Of one state by rank, where it was learnt: the dtype that holds every process's, and their one shape.

    Raises:
        ValueError: there is none.
    """
    name = next(iter(learnt.values()))[0]
    dtypes = _grouped(learnt, lambda state: state[1])
    shapes = _grouped(learnt, lambda state: tuple(state[2]))
    if len(shapes) > 1:
        held = ", ".join(f"{list(shape)} on {on_processes(ranks)}" for shape, ranks in shapes.items())
        raise ValueError(f"its state {name!r} has shape {held}, expected one shape for all")
    try:
        return _promoted(dtypes), next(iter(shapes))
    except RuntimeError as error:
        held = ", ".join(f"{dtype} on {on_processes(ranks)}" for dtype, ranks in dtypes.items())
        raise ValueError(f"its state {name!r} has {held}, expected one dtype for all") from error


def _promoted(names: Iterable[str]) -> torch.dtype:
    first, *others = (getattr(torch, name) for name in names)
    dtype: torch.dtype = first
    for other in others:
        dtype = torch.promote_types(dtype, other)
    return dtype
