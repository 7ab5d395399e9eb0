"""StateCore: what is remembered of a stage, by name; a step's values at step end, all samples' at epoch end.

    core = StateCore({"loss": ExactMean(), "confusion": ConfusionCounts(10)})
    step = core.step_end(loss=(losses,), confusion=(preds, targets))   # {"loss": ..., "confusion": ...} of this batch
    epoch = core.epoch_end()                                           # one sync over all processes, then reset

It needs no Trainer: a plain loop, Fabric or a LightningModule can hold one. What fails costs the entry that failed:
the others have their values. `collect` ends the epoch of several cores with one sync.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from lwcallbacks.state.agree import UnlikeError
from lwcallbacks.state.ending import (
    TALLIES,
    Collected,
    Notes,
    collect,
    collecting,
    link_of,
    reported,
    snapshot,
    snapshotting,
    words,
)
from lwcallbacks.state.link import Link
from lwcallbacks.state.members import Member, Remembered, member_of
from lwcallbacks.state.replica import refuse_in_replica
from lwcallbacks.state.sync import UpdateError
from lwcallbacks.warn import warn as say


class StepValues(Mapping[Hashable, Any]):
    """The values of one batch, computed when they are looked at: looking may wait for the device, and may raise."""

    def __init__(self, values: dict[Hashable, Callable[[], Any]]) -> None:
        self._values = values

    def __getitem__(self, name: Hashable) -> Any:
        return self._values[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._values  # a Mapping's own would compute the value

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class StateCore:
    """Reductions, and ordinary torchmetrics metrics, that are updated together and synced at once.

    Args:
        entries: what to remember, by name: a `Reduction` or a `torchmetrics.Metric`.
        on_problem: what `epoch_end` does about an entry that failed, batches that were skipped, and data that could not
            be counted, such as labels out of range: "warn", or "raise" a ValueError.
        group: the torch process group to sync in; by default that of all processes.

    State follows the first batch's device. A metric joins the one sync, whatever its states are. Only one that holds
    other metrics, or has its own way to sync, is left to itself, in the order of the names. The order of registration
    does not matter; names need be equal, and have equal `repr`, on all processes.

    Attributes:
        broken: owners whose entries could not be registered on this process: their entries fail on every process, and
            no process waits for them.

    >>> from lwcallbacks.reductions import ConfusionCounts, ExactMean
    >>> core, labels = StateCore({"loss": ExactMean(), "confusion": ConfusionCounts(2)}), torch.tensor([0, 1])
    >>> step = core.step_end(loss=(torch.tensor([1.0, 2.0]),), confusion=(labels, labels))
    >>> step["loss"]
    1.5
    >>> _ = core.step_end(loss=(torch.tensor([6.0]),), confusion=(labels[:1], labels[1:]))
    >>> core.epoch_end()["loss"]    # one sync for both
    3.0
    """

    def __init__(
        self,
        entries: Mapping[Hashable, Remembered] | None = None,
        *,
        on_problem: Literal["warn", "raise"] = "warn",
        group: Any = None,
    ) -> None:
        if on_problem not in ("warn", "raise"):
            raise ValueError(f"StateCore: on_problem={on_problem!r}, expected 'warn' or 'raise'")
        self.on_problem = on_problem
        self.group = group
        self.broken: set[str] = set()
        self.members: dict[Hashable, Member] = {}
        self.notes: dict[Hashable, Notes] = {}
        for name, entry in (entries or {}).items():
            self.register(name, entry)

    def register(self, name: Hashable, entry: Remembered, *, owner: str | None = None) -> None:
        """Remember `entry` under `name` from the next batch on, for `owner`, who is named in messages.

        Raises:
            ValueError: the name is taken.
            TypeError: `entry` is neither a reduction that can be synced nor a metric.
        """
        if name in self.members:
            raise ValueError(f"StateCore: {name!r} is registered already")
        self.members[name] = member_of(name, entry, owner=owner, group=self.group)
        self.notes[name] = Notes()

    @property
    def names(self) -> list[Hashable]:
        return list(self.members)

    # -- a batch -----------------------------------------------------------------------------------------------------

    def step_end(self, *, valid: Tensor | None = None, **fields: tuple[Any, ...]) -> StepValues:
        """Lift one batch and merge it into the epoch; return this batch's values, each computed when looked at.

        Args:
            fields: for each name to update, the tuple of arguments of its `lift` or `update`.
            valid: bool [N]; a sample whose entry is False does not count. An ordinary metric cannot take it without
                waiting for the device.

        Raises:
            ReplicaError: this runs in a DataParallel replica.
            KeyError: a name is not registered.
            Exception: what an entry raised, the first of several. All others have the batch.
        """
        return self.update(fields, valid=valid)

    def update(
        self, fields: Mapping[Any, tuple[Any, ...]], *, valid: Tensor | None = None, values: bool = True
    ) -> StepValues:
        """`step_end` for names that are not strings; without `values` the batch's own values are not kept."""
        refuse_in_replica("StateCore.update")
        step: dict[Hashable, Callable[[], Any]] = {}
        first: Exception | None = None
        for name, args in fields.items():
            try:
                value = self._member(name).update(args, valid, values)
                if value is not None:
                    step[name] = value
            except Exception as error:
                first = first or error
        if first is not None:
            raise first
        return StepValues(step if values else {})

    def _member(self, name: Hashable) -> Member:
        if name not in self.members:
            raise KeyError(f"StateCore: {name!r} is not registered; registered are {self.names}")
        return self.members[name]

    def _notes(self, name: Hashable) -> Notes:
        self._member(name)
        return self.notes[name]

    def skip(self, name: Hashable, cause: BaseException | str) -> None:
        """Note that a batch could not be read for this entry: it is left out and counted, and the first cause told."""
        notes = self._notes(name)
        notes.skipped = notes.skipped or words(cause)
        notes.tallies["skipped"] += 1

    def fail(self, name: Hashable, cause: BaseException | str) -> None:
        """Note that this entry cannot go on here: it has no value at the next sync, on any process."""
        notes = self._notes(name)
        notes.failure = notes.failure or words(cause)

    def flag(self, name: Hashable) -> None:
        """Mark this entry for the `settle` of the next sync: every process knows then whether any has."""
        self._notes(name).flagged = True

    def drop(self, name: Hashable) -> None:
        """Leave this entry out of the next sync: for `settle`, which must do so on every process alike."""
        self._notes(name).dropped = True

    def tally(self, name: Hashable, what: Literal["skipped", "rows", "doubtful", "repeats"], amount: int) -> None:
        """Add to a number that is summed over all processes at the next sync.

        Raises:
            ValueError: there is no such number.
        """
        if what not in TALLIES:
            raise ValueError(f"StateCore.tally: {what!r}, expected one of {TALLIES}")
        self._notes(name).tallies[what] += amount

    # -- an epoch ----------------------------------------------------------------------------------------------------

    def epoch_end(self, link: Link | None = None) -> dict[Hashable, Any]:
        """Sync once over all processes, return the value of everything that has not failed by name, and reset.

        Values are the same on every process, but for the payload of a `TopK` or `RandomSample`: process 0 has it.

        Raises:
            UnlikeError: on every process, where they remember unlike things.
            ValueError: with `on_problem="raise"`, where an entry failed, batches were skipped or data not counted.
        """
        collected = collect({None: self}, link)
        reported(collected, self.on_problem)
        return collected.values[None]

    def state_dict(self, link: Link | None = None) -> dict[Hashable, dict[str, Any]]:
        """What all processes have seen so far, merged, as CPU tensors and plain values by name.

        Every process must call it, for it syncs; the states themselves stay as they are. It is the same on every
        process, but for the payload of choices. A wrapper of other metrics, and what has failed, is left out.

        Raises:
            UnlikeError: on every process, where they remember unlike things.
        """
        return snapshot({None: self}, link)[None]

    def load_state_dict(
        self, state_dict: Mapping[Any, Mapping[str, Any]], link: Link | None = None, *, warn: bool = True
    ) -> list[str]:
        """Go on from a `state_dict`, on any number of processes: process 0 takes it all, the others start empty.

        A state that was saved for something else, or under a name that is not registered, is left out; each is named
        in what is returned and, with `warn`, in a warning. Names that are missing start empty.
        """
        self.reset()
        left_out: list[str] = []
        is_first = (link or link_of({None: self})).rank == 0
        for name, saved in state_dict.items():
            try:
                load = self._loading(name, saved)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                cause = error if isinstance(error, ValueError) else words(error)
                left_out.append(f"StateCore: {name}: the saved state is left out: {cause}")
                continue
            if is_first:
                load()
        for message in left_out if warn else ():
            say(message)
        return left_out

    def _loading(self, name: Hashable, saved: Mapping[str, Any]) -> Callable[[], None]:
        if name not in self.members:
            raise ValueError(f"there is no such name here, expected one of {self.names}")
        tallies = {what: int(number) for what, number in saved.get("tallies", {}).items()}
        with torch.inference_mode(mode=False):
            put = self.members[name].load(saved)

        def load() -> None:
            put()
            self.notes[name].tallies.update(tallies)

        return load

    def forget(self, name: Hashable) -> None:
        """Forget the samples of one entry."""
        self._member(name).reset()
        self.notes[name].tallies["rows"] = self.notes[name].tallies["doubtful"] = 0

    def reset(self) -> None:
        """Forget all samples, and what was noted."""
        self.notes = {name: Notes() for name in self.members}
        for member in self.members.values():
            member.reset()


__all__ = [
    "Collected", "Remembered", "StateCore", "StepValues", "UnlikeError", "UpdateError", "collect", "collecting",
    "snapshot", "snapshotting",
]  # fmt: skip
