"""The end of an epoch, for any number of cores at once; and the same without an end, for a checkpoint.

    collected = collect({"first loader": core, "second loader": other})
    collected.values["first loader"]["loss"]; collected.failures["first loader"]     # what failed has no value

What is exchanged, in this order:
1. the header, and where processes are unlike or something is marked what follows from it: see `agree.py`;
2. where `settle` is given: it runs, and the header goes ahead once more, for what it has changed;
3. the pack, with what has not failed anywhere: see `sync.py`.

Everything goes in the order of the sorted names, so that no process depends on the order of another's registrations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

import torch

from lwcallbacks.state.agree import Agreement, Marks, Told, agreed
from lwcallbacks.state.link import Link, Request, current_link, run
from lwcallbacks.state.members import Member, Read, stable
from lwcallbacks.state.sync import Bundle, Merged, UpdateError, synced
from lwcallbacks.warn import warn

Settle: TypeAlias = Callable[[dict[Any, set[Hashable]]], None]
"""Called on every process with the names, by core, that any process has flagged."""

TALLIES = ("skipped", "rows", "doubtful", "repeats")


@dataclass
class Notes:
    """What is noted of an entry beside its state, until the next reset."""

    failure: str | None = None
    skipped: str | None = None
    flagged: bool = False
    dropped: bool = False
    tallies: Counter[str] = field(default_factory=Counter)


class Core(Protocol):
    """What of a `StateCore` is ended."""

    members: dict[Hashable, Member]
    notes: dict[Hashable, Notes]
    broken: set[str]
    group: Any

    def reset(self) -> None: ...


@dataclass
class Collected:
    """What an epoch has come to, by core and by name; the same on every process, with two exceptions.

    Process 0 alone has the payload of choices; and a value that cannot be computed from the merged state, or the first
    message of a skipped batch, is told where it happened.

    Attributes:
        values: of every entry that has not failed.
        problems: core, name and words for what the data held that could not be counted.
        failures: why an entry has no value.
        tallies: sums over all processes of what was tallied: "skipped" batches, "rows", "doubtful" rows.
        skipped: what the first batch that this process skipped was skipped for.
        decisions: what a reduction that has `decided` says of a merged state: how it read its data.
        here: those of the failures that happened in computing a value here, and perhaps nowhere else.
    """

    values: dict[Any, dict[Hashable, Any]]
    problems: list[tuple[Any, Hashable, str]]
    failures: dict[Any, dict[Hashable, str]]
    tallies: dict[Any, dict[Hashable, dict[str, int]]]
    skipped: dict[Any, dict[Hashable, str]]
    decisions: dict[Any, dict[Hashable, Any]] = field(default_factory=dict)
    here: dict[Any, dict[Hashable, str]] = field(default_factory=dict)

    def messages(self) -> list[tuple[Any, str]]:
        """Everything that a user should know, by core."""
        failed = [(k, f"{n}: no value: {text}") for k, of in self.failures.items() for n, text in of.items()]
        skipped = [
            (key, f"{name}: {tallies['skipped']} batches were left out{self._example(key, name)}")
            for key, of in self.tallies.items()
            for name, tallies in of.items()
            if tallies["skipped"]
        ]
        return [*failed, *skipped, *((key, f"{name}: {problem}") for key, name, problem in self.problems)]

    def _example(self, key: Any, name: Hashable) -> str:
        text = self.skipped[key].get(name)
        return f" over all processes, here first for {text}" if text else " on other processes"


def collect(
    cores: Mapping[Any, Core],
    link: Link | None = None,
    *,
    settle: Settle | None = None,
    contributes: bool = True,
) -> Collected:
    """End the epoch of several cores with one sync, and reset them.

    Args:
        cores: by keys that are the same on every process.
        link: how to reach the others; by default the cores' process group.
        settle: called once every process knows what any has flagged. It may update the cores, and drop entries from
            them, the same ones on every process.
        contributes: whether this process's samples count. If not, it takes part all the same and gets the same values.

    Raises:
        UnlikeError: processes remember unlike things; on every process, with the same words.
    """
    link = link or link_of(cores)
    collected: Collected = run(collecting(cores, link.rank, link.world_size, settle, contributes), link)
    return collected


def collecting(
    cores: Mapping[Any, Core], rank: int, world_size: int, settle: Settle | None = None, contributes: bool = True
) -> Generator[Request, Any, Collected]:
    """`collect` as a coroutine of requests to the other processes."""
    try:
        everyone = yield from _merging(cores, rank, world_size, settle, contributes)
        if not contributes:
            for item in everyone.going:
                item.member.reset()  # what syncs itself, when it is computed, brings nothing either
        collected = Collected({k: {} for k in cores}, [], everyone.failures, everyone.tallies, {})
        for key, core in cores.items():
            collected.skipped[key] = {name: n.skipped for name, n in core.notes.items() if n.skipped}
        for item in everyone.going:
            _end(item, everyone, collected)
        return collected
    finally:
        for core in cores.values():
            core.reset()


def _end(item: _Item, everyone: _Everyone, collected: Collected) -> None:
    try:
        state = everyone.state(item)
        value, problem = item.member.ended(state, everyone.updates[item.label])
        decision = item.member.decided(state)
    except Exception as error:
        collected.failures[item.key][item.name] = words(error)
        collected.here.setdefault(item.key, {})[item.name] = words(error)
        return
    collected.values[item.key][item.name] = value
    if decision is not None:
        collected.decisions.setdefault(item.key, {})[item.name] = decision
    if problem:
        collected.problems.append((item.key, item.name, problem))


def snapshot(
    cores: Mapping[Any, Core],
    link: Link | None = None,
    *,
    settle: Settle | None = None,
    contributes: bool = True,
) -> dict[Any, dict[Hashable, dict[str, Any]]]:
    """What several cores have seen so far, merged over all processes with one sync, as plain values by core and name.

    The arguments are those of `collect`. What `settle` does is undone afterwards: the epoch goes on as if nothing had
    been saved. An entry that has failed, or that nothing can go on from, is left out.
    """
    link = link or link_of(cores)
    saved: dict[Any, dict[Hashable, dict[str, Any]]]
    saved = run(snapshotting(cores, link.rank, link.world_size, settle, contributes), link)
    return saved


def snapshotting(
    cores: Mapping[Any, Core], rank: int, world_size: int, settle: Settle | None = None, contributes: bool = True
) -> Generator[Request, Any, dict[Any, dict[Hashable, dict[str, Any]]]]:
    """`snapshot` as a coroutine of requests to the other processes."""
    bring_back = [_set_aside(core) for core in cores.values()] if settle else []
    try:
        everyone = yield from _merging(cores, rank, world_size, settle, contributes)
        saved: dict[Any, dict[Hashable, dict[str, Any]]] = {key: {} for key in cores}
        for item in everyone.going:
            try:
                state = item.member.saved(everyone.state(item), everyone.updates[item.label], world_size)
            except Exception:  # the end of the epoch reports why
                continue
            if state is not None:
                saved[item.key][item.name] = {**state, "tallies": everyone.tallies[item.key][item.name]}
        return saved
    finally:
        for back in bring_back:
            back()


def _set_aside(core: Core) -> Callable[[], None]:
    notes, core.notes = core.notes, {n: replace(of, tallies=Counter(of.tallies)) for n, of in core.notes.items()}
    members = [member.set_aside() for member in core.members.values()]

    def back() -> None:
        core.notes = notes
        for member in members:
            member()

    return back


# -- what all processes do together -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Item:
    """An entry of one of the cores."""

    label: str
    key: Any
    name: Hashable
    member: Member
    notes: Notes

    def told(self, contributes: bool) -> Told:
        states = [
            (name, str(state.dtype).removeprefix("torch."), list(state.shape))
            for name, state in self.member.learnt(contributes)
        ]
        shown = self.member.owner or repr(self.name)
        seen = contributes and self.member.is_touched()
        return Told(self.label, shown, self.member.identity, states, seen, self.member.owner)

    def cause(self, world_size: int) -> str | None:
        """Why this entry has failed on this process."""
        return self.notes.failure or self.member.obstacle(world_size)


def _items(cores: Mapping[Any, Core]) -> list[_Item]:
    """In one order on every process. Names that read alike are told apart by their order."""
    seen: Counter[str] = Counter()
    items = []
    for key, core in cores.items():
        for name, member in core.members.items():
            label = f"{stable(key)} {stable(name)}"
            seen[label] += 1
            items.append(_Item(f"{label} {seen[label]}", key, name, member, core.notes[name]))
    return sorted(items, key=lambda item: item.label)


@dataclass
class _Everyone:
    """What all processes together hold."""

    going: list[_Item]
    failures: dict[Any, dict[Hashable, str]]
    tallies: dict[Any, dict[Hashable, dict[str, int]]]
    updates: dict[str, int]
    reads: dict[str, Read]
    merged: Merged

    def state(self, item: _Item) -> Any:
        return self.reads[item.label](self.merged)


def _merging(
    cores: Mapping[Any, Core], rank: int, world_size: int, settle: Settle | None, contributes: bool
) -> Generator[Request, Any, _Everyone]:
    broken = {owner for core in cores.values() for owner in core.broken}
    items = _items(cores)
    agreement = yield from _agreeing(items, broken, world_size, contributes)
    everywhere = [item for item in items if item.label in {*agreement.common, *agreement.marked}]
    failed = dict(agreement.failed)
    if settle is not None:
        _settle(settle, items, agreement, cores)
        rest = [item for item in items if item.label in agreement.common and not item.notes.dropped]
        agreement = yield from _agreeing(rest, broken, world_size, contributes)
        failed |= agreement.failed
    failures: dict[Any, dict[Hashable, str]] = {key: {} for key in cores}
    for item in items:
        if item.label in failed:
            failures[item.key][item.name] = failed[item.label]
    going = [item for item in items if item.label in agreement.common]
    bundle = Bundle()
    reads = {i.label: i.member.bring(bundle, contributes, agreement.fits.get(i.label), world_size) for i in going}
    counts = torch.tensor([_counts(item, contributes) for item in everywhere], dtype=torch.int64)
    bundle.tensors += [(counts, "sum")] if everywhere else []
    merged = yield from synced(bundle, rank, world_size)
    tallies: dict[Any, dict[Hashable, dict[str, int]]] = {key: {} for key in cores}
    updates = {}
    for item, (number, *of) in zip(everywhere, merged.tensors[-1].tolist() if everywhere else [], strict=True):
        updates[item.label] = number
        tallies[item.key][item.name] = dict(zip(TALLIES, of, strict=True))
    return _Everyone(going, failures, tallies, updates, reads, merged)


def _agreeing(
    items: list[_Item], broken: set[str], world_size: int, contributes: bool
) -> Generator[Request, Any, Agreement]:
    marks = Marks()
    if contributes:
        causes = ((item.label, item.cause(world_size)) for item in items)
        flagged = frozenset(item.label for item in items if item.notes.flagged)
        marks = Marks({label: cause for label, cause in causes if cause}, flagged)
    return (yield from agreed([item.told(contributes) for item in items], broken, marks, world_size))


def _settle(settle: Settle, items: list[_Item], agreement: Agreement, cores: Mapping[Any, Core]) -> None:
    flagged: dict[Any, set[Hashable]] = {key: set() for key in cores}
    for item in items:
        item.notes.flagged = False
        if item.label in agreement.flagged:
            flagged[item.key].add(item.name)
    try:
        settle(flagged)
    except Exception as error:  # raised here alone, it would make the others wait forever
        for item in items:
            item.notes.failure = item.notes.failure or words(error)


def _counts(item: _Item, contributes: bool) -> list[int]:
    # Whether anyone updated decides what a metric computes: the number is summed with its states.
    counts = [item.member.num_updates, *(item.notes.tallies[what] for what in TALLIES)]
    return counts if contributes else [0] * len(counts)


def words(cause: BaseException | str) -> str:
    """An error as its message, after its class unless that says nothing."""
    if isinstance(cause, str):
        return cause or "no reason was given"
    return str(cause) if isinstance(cause, UpdateError) else f"{type(cause).__name__}: {cause}"


def link_of(cores: Mapping[Any, Core]) -> Link:
    """The link of the cores' process group."""
    groups = (core.group for core in cores.values())
    return current_link(next((group for group in groups if group is not None), None))


def reported(collected: Collected, on_problem: Literal["warn", "raise"]) -> None:
    """Warn of everything that a user of one core should know, or raise it.

    Raises:
        ValueError: with `on_problem="raise"`, if there is anything.
    """
    texts = [f"StateCore: {text}" for _, text in collected.messages()]
    if texts and on_problem == "raise":
        raise ValueError("; ".join(texts))
    for text in texts:
        warn(text)
