"""One epoch of one stage: what the needs of all callbacks remember of each loader. It knows no Trainer.

    epoch = Epoch("val", {"ConfusionMatrix('val/confusion_matrix')": need}, [Place([layout_of(loader)])])
    epoch.update(0, 0, Step(outputs, batch))       # loader 0, its batch 0
    epoch.end().values[0]                          # by label; one sync for all

Labels are equal on every process, and stand for a need in messages. Rows of a batch are taken for samples only where
they are as many as the indices that the loader drew, in every batch and on every process. Until the end this is not
known, so both answers are kept: what padding brought is held aside, and choices are made by position and by content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.callbacks.batch import Batch, Place, num_rows
from lwcallbacks.callbacks.given import GivenIds, Key, numbered
from lwcallbacks.callbacks.need import MADE, Need
from lwcallbacks.callbacks.refused import refused
from lwcallbacks.callbacks.report import CONTENT, counted_twice, faults, numbers_of_repeats, told, unlike, without_value
from lwcallbacks.capture import CaptureError, Step
from lwcallbacks.reductions import FieldError, PayloadError, Reduction
from lwcallbacks.state.core import StateCore, StepValues, collecting, snapshot
from lwcallbacks.state.link import Link, current_link, run
from lwcallbacks.state.padding import Drawn


@dataclass
class Ended:
    """The values of an epoch, the same on every process, but for the payload of choices.

    Attributes:
        values: by place and label; what could not be worked out is missing.
        rows: how many rows were read, by place and label.
        names: what is appended to the keys of a place.
        faults: what failed or could not be counted, in words.
        here: those of them that other processes may not know of.
        notes: what else there is to know about the numbers.
        decisions: how scores were read where nobody said, by the callback that is named.
        codes: how a function would get each field of this process's batches, as `batch[1]`, by label.
    """

    values: dict[int, dict[str, Any]] = field(default_factory=dict)
    rows: dict[int, dict[str, int]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    decisions: list[tuple[str, Any]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class _Part:
    """What one need takes of one batch."""

    core: StateCore
    place: int
    label: str
    need: Need
    batch: Batch
    fields: Mapping[str, Any]
    rows: int
    drawn: Drawn | None
    has_rows: bool
    """Whether a field has rows; else all are numbers of the whole batch."""

    def args(self, start: int, stop: int, ids: Tensor | None = None) -> tuple[Any, ...]:
        """Rows `start` to `stop` of the fields, in order; one number for the whole batch counts once for each row.

        `prepare` is given None for a field that may be missing and is; without it such a field is left out.
        """
        made: list[Any] = []
        for name in self.need.names:
            if name in MADE:
                made.append(ids if ids is None or len(ids) == stop - start else ids[: stop - start])
            elif name in self.fields:
                found = self.fields[name]
                whole = found.ndim and start == 0 and stop == len(found)
                made.append(found if whole else found[start:stop] if found.ndim else found.expand(stop - start))
            elif self.need.prepare:
                made.append(None)
        return tuple(self.need.prepare(*made)) if self.need.prepare else tuple(made)

    def update(
        self, start: int, stop: int, *, ids: Tensor | None = None, name: str | None = None, values: bool = False
    ) -> StepValues:
        if start == stop:
            return StepValues({})
        return self.core.update({name or self.label: self.args(start, stop, ids)}, values=values)


class Epoch:
    """See the module's synopsis.

    Args:
        stage: "train", "val", "test" or "predict".
        needs: by label.
        places: one for each state that is kept apart.
        num_replicas: how many processes have data of their own.
        contributes: whether this process's data count; False for one that holds the same data as another one.
        say: warns, once for each message.
        owners: who is named in messages, by label; left out, the label itself.
        callbacks: the callback that each need is of, by label, as in `miss`; left out, who is named.
        group: the torch process group to sync over; None is the default one.
        booked: the context in which a need is updated, by label, for who measures it.
    """

    def __init__(
        self,
        stage: str,
        needs: Mapping[str, Need],
        places: Sequence[Place],
        *,
        num_replicas: int = 1,
        contributes: bool = True,
        say: Callable[[str], object] = lambda message: None,
        owners: Mapping[str, str] | None = None,
        callbacks: Mapping[str, str] | None = None,
        group: Any = None,
        booked: Mapping[str, AbstractContextManager[Any]] | None = None,
    ) -> None:
        self.stage = stage
        self.needs = dict(sorted(needs.items()))
        self.places = list(places)
        self.num_replicas = num_replicas
        self.contributes = contributes
        self.has_begun = False
        self.is_resumed = False
        self.owners = dict(owners or {label: label for label in needs})
        self._say = say
        self._booked = booked or {}
        self._cores = {i: StateCore(group=group) for i in range(len(self.places))}
        for i, core in self._cores.items():
            for label, need in self.needs.items():
                owner = (callbacks or self.owners)[label]
                core.register(label, need.entry, owner=owner)
                if self._is_doubled(i, need):
                    core.register(label + CONTENT, need.entry, owner=owner)
        self._aside: dict[Key, list[tuple[Any, ...]]] = {}
        self._ends: list[tuple[int, str, tuple[Any, ...], Tensor, Drawn]] = []
        """Batches with padding whose rows have ids: which of them count is found out at the end, by waiting."""
        self._guesses: list[str] = []
        self._checks: list[tuple[int, str, Tensor]] = []
        """Whether rows of a batch with padding are in another order than its samples; looked at in the end."""
        self._given = GivenIds(self._of_unknown_overlap())
        self._codes: dict[str, dict[str, str]] = {}
        self._read: set[Key] = set()
        self._skipped: set[Key] = set()
        self._missed: Counter[Key] = Counter()

    def _is_doubled(self, place: int, need: Need) -> bool:
        """Whether a need chooses both by position, which may turn out to be wrong, and by content."""
        by_position = any(layout is not None and layout.in_order for layout in self.places[place].layouts)
        return "ids" in need.names and need.source.ids is None and by_position

    def _of_unknown_overlap(self) -> list[Key]:
        """What is told apart by given ids, where processes may have read the same samples."""
        keys = [(place, label) for place in self._cores for label, need in self.needs.items() if _counts_by_id(need)]
        return [(place, label) for place, label in keys if self.num_replicas > 1 and not self.places[place].is_dealt]

    # -- a batch -------------------------------------------------------------------------------------------------

    def update(
        self,
        place: int,
        batch_idx: int,
        step: Step,
        *,
        values: bool = False,
        strict: bool = False,
        sanity: bool = False,
    ) -> StepValues:
        """Update what every need remembers. One that cannot be read costs this batch of this need, and is reported.

        Args:
            place: which loader.
            batch_idx: which batch of the epoch, as the Trainer counts.
            step: what the step saw.
            values: whether this batch's own values are wanted, by label; each is worked out when it is looked at.
            strict: whether a first batch that a need cannot read is an error: a mistake in the set-up.
            sanity: whether it is the sanity check before a training.

        Raises:
            ValueError: with `strict`, a need's first batch lacks a field, or a field has the wrong shape.
        """
        self.has_begun = True
        core, batch = self._cores[place], Batch(self.places[place], batch_idx, step, self.num_replicas, self.stage)
        step_values: dict[Any, Callable[[], Any]] = {}
        for label, need in self.needs.items():
            try:
                with self._booked.get(label, _NOBODY):
                    seen = self._update(core, place, label, need, batch, values)
            except Exception as raised:
                error = refused(raised, need, batch)
                missed = self._missed[place, label]
                self._missed[place, label] += 1
                if strict and (place, label) not in self._read and _is_set_up(error, need, step, missed, sanity):
                    raise _with_owner(error, self.owners[label]) from raised
                self._skip(core, place, label, batch_idx, error)
                continue
            self._read.add((place, label))
            if label not in self._codes:
                self._codes[label] = batch.codes(need)
                self._guesses += [f"{self.owners[label]}: {text}" for text in batch.guesses(need)]
            step_values |= {label: partial(seen.__getitem__, label)} if label in seen else {}
        return StepValues(step_values)

    def _update(self, core: StateCore, place: int, label: str, need: Need, batch: Batch, values: bool) -> StepValues:
        fields = batch.find(need)
        rows, drawn = num_rows(fields), batch.drawn(need)
        has_rows = rows is not None
        if rows is None:  # nothing but numbers of the whole batch, which stand for all that it drew
            rows = batch.num_samples(need) if drawn is None else drawn.size
        part = _Part(core, place, label, need, batch, fields, rows, drawn, has_rows)
        seen = self._choose(part, values) if need.chooses else self._count(part, values)
        core.tally(label, "rows", rows)
        return seen

    def _count(self, part: _Part, values: bool) -> StepValues:
        core, label, rows, drawn = part.core, part.label, part.rows, part.drawn
        ids = part.batch.ids(part.need, rows) if part.has_rows else None
        if not rows:
            return StepValues({})
        if ids is not None:
            self._given.add((part.place, label), ids)
        if drawn is None:
            if part.batch.is_padded:  # in one of several loaders; whose rows these are is not known
                core.tally(label, "doubtful", rows)
                core.flag(label)
            return part.update(0, rows, values=values)
        padded = drawn.counted < drawn.size
        if padded and ids is not None:
            self._ends.append((part.place, label, part.args(0, rows), ids, drawn))
            return StepValues({})
        if padded and part.has_rows:
            core.tally(label, "doubtful", rows)
        elif padded:
            core.tally(label, "repeats", drawn.size - drawn.counted)
        if rows != drawn.size:
            core.flag(label)
            return part.update(0, rows, values=values)
        if padded and part.has_rows:
            self._aside.setdefault((part.place, label), []).append(part.args(drawn.counted, rows))
            self._checks += [(part.place, label, check) for check in part.batch.reordered(part.need)]
        return part.update(0, drawn.counted, values=values)

    def _choose(self, part: _Part, values: bool) -> StepValues:
        need, rows, drawn, batch = part.need, part.rows, part.drawn, part.batch
        given = batch.ids(need, rows)
        if given is not None:
            return part.update(0, rows, ids=given, values=values)
        positions = batch.positions(need, drawn) if drawn is not None and drawn.size == rows else None
        if "position" in need.names and positions is None:
            raise CaptureError(_NO_POSITION.format(self.stage))
        if not self._is_doubled(part.place, need) and positions is None:
            return part.update(0, rows, ids=batch.content(need, rows), values=values) if rows else StepValues({})
        if "ids" in need.names and rows:
            part.update(0, rows, ids=batch.content(need, rows), name=part.label + CONTENT)
        if positions is None:
            part.core.flag(part.label)
            return StepValues({})
        return part.update(0, len(positions), ids=positions, values=values)

    def _skip(self, core: StateCore, place: int, label: str, batch_idx: int, error: Exception) -> None:
        if _spoils(error, self.needs[label]):
            for name in {label, label + CONTENT} & set(core.names):
                core.fail(name, told(error))
            return
        core.skip(label, error)
        if (place, label) not in self._skipped:
            self._skipped.add((place, label))
            where = f"batch {batch_idx} of {self.stage}{self.places[place].name}"
            self._say(f"{self.owners[label]}: {where} could not be read and is left out: {told(error)}")

    def device_bytes(self) -> Counter[str]:
        """The size of what is remembered on an accelerator, which the end moves to the host, by label."""
        held: Counter[str] = Counter()
        for core in self._cores.values():
            for name, member in core.members.items():
                size = sum(t.nbytes for t in member.held() if t.device.type != "cpu")
                held[str(name).removesuffix(CONTENT)] += size
        return held

    # -- the end -------------------------------------------------------------------------------------------------

    def end(self, link: Link | None = None) -> Ended:
        """Sync once for everything over all processes, and forget all. What failed is reported, the rest has a value.

        Raises:
            UnlikeError: processes do not remember the same.
        """
        link = link or current_link()
        ended: Ended = run(self.ending(link.rank, link.world_size), link)
        return ended

    def ending(self, rank: int, world_size: int) -> Generator[Any, Any, Ended]:
        """`end` as a coroutine of requests to the other processes."""
        flagged: dict[Any, set[Any]] = {}

        def settle(told: dict[Any, set[Any]]) -> None:
            flagged.update(told)
            self._settle(told)

        self._count_ends()
        overlap: dict[Key, int] = {}
        if self._given and world_size > 1:
            overlap, leaves = yield from self._given.overlap(rank, self.contributes)
            for place, label in leaves:
                self._cores[place].forget(label)
        collected = yield from collecting(self._cores, rank, world_size, settle, self.contributes)
        self._aside.clear()
        ended = Ended(names={i: place.name for i, place in enumerate(self.places)})
        for place in self._cores:
            found, tallies = collected.values[place], collected.tallies[place]
            ended.rows[place] = {label: tallies[label]["rows"] for label in self.needs if label in tallies}
            unlike = flagged.get(place, set())
            by_label = {
                label: label + CONTENT if self._by_content(place, label, unlike) else label for label in self.needs
            }
            ended.values[place] = {label: found[name] for label, name in by_label.items() if name in found}
        ended.decisions = [
            (self.owners[str(name).removesuffix(CONTENT)], decision)
            for of_place in collected.decisions.values()
            for name, decision in of_place.items()
        ]
        ended.codes = self._codes
        ended.faults = faults(self.stage, self.places, collected, self.owners, self._codes)
        ended.here = without_value(self.stage, self.places, collected.here, self.owners)
        ended.notes = self._guesses + [
            note
            for place, tallies in collected.tallies.items()
            if (note := self._told_twice(place, tallies, flagged.get(place, set()), overlap))
        ]
        return ended

    def _told_twice(
        self, place: int, tallies: Mapping[Any, Mapping[str, int]], flagged: set[Any], overlap: Mapping[Key, int]
    ) -> str | None:
        """How many rows may count more than once, at most, of the need where it is most."""
        counted = [
            (self._twice(place, label, tallies[label], label in flagged, overlap), tallies[label]["rows"], label)
            for label, need in self.needs.items()
            if label in tallies and not need.chooses  # a choice takes a sample once, whoever brings it
        ]
        found = sorted((of for of in counted if of[0]), reverse=True)
        if found:
            owners = list(dict.fromkeys(self.owners[label] for *_, label in found))
            return counted_twice(self.stage, self.places[place], owners, *found[0][:2])
        repeats = [(tallies[label]["repeats"], label) for label in self.needs if label in tallies]
        number, label = max(repeats, default=(0, ""))
        return numbers_of_repeats(self.stage, self.places[place], self.owners[label], number) if number else None

    def _twice(self, place: int, label: str, tally: Mapping[str, int], unlike: bool, overlap: Mapping[Key, int]) -> int:
        if self.num_replicas == 1:
            return 0
        if self.places[place].is_dealt:
            return tally["doubtful"] if unlike else 0
        if (place, label) in self._given:
            return overlap.get((place, label), 0)
        return tally["rows"] - -(-tally["rows"] // self.num_replicas)

    def _count_ends(self) -> None:
        """Ids number the rows' samples as they were drawn, if each has a row; else any may be one that is repeated."""
        for place, label, args, ids, drawn in self._ends:
            core, numbers = self._cores[place], numbered(ids)
            if int(numbers.max()) + 1 == drawn.size:
                self._add(core, label, args, numbers < drawn.counted)
            else:
                self._add(core, label, args)
                core.tally(label, "doubtful", len(ids))
                core.flag(label)
        self._ends.clear()
        for place, label, is_reordered in self._checks:
            if bool(is_reordered):
                self._cores[place].flag(label)
        self._checks.clear()

    @staticmethod
    def _add(core: StateCore, label: str, args: tuple[Any, ...], valid: Tensor | None = None) -> None:
        """Add what was held aside. Raised here, on this process alone, an error would make the others wait."""
        try:
            core.update({label: args}, valid=valid, values=False)
        except Exception as error:
            core.skip(label, error)

    def _by_content(self, place: int, label: str, flagged: set[Any]) -> bool:
        return self._is_doubled(place, self.needs[label]) and label in flagged

    def _settle(self, flagged: Mapping[Any, set[Any]]) -> None:
        """Everyone knows now whose rows are indices: add what was held aside, and keep one of two choices."""
        for place, core in self._cores.items():
            for label, need in self.needs.items():
                unlike = label in flagged.get(place, ())
                if self._is_doubled(place, need):
                    core.drop(label if unlike else label + CONTENT)
                elif unlike:
                    for args in self._aside.get((place, label), ()):
                        self._add(core, label, args)

    # -- a checkpoint --------------------------------------------------------------------------------------------

    def snapshot(self, link: Link | None = None) -> dict[str, dict[str, Any]]:
        """State by label, merged over all processes, of an epoch under way, which goes on as if nothing had happened.

        The states of the first place, which is the only one while training.
        """
        flagged: dict[Any, set[Any]] = {}
        saved: dict[Any, dict[Any, dict[str, Any]]] = snapshot(
            self._cores, link, settle=flagged.update, contributes=self.contributes
        )
        place = next(iter(self._cores))
        for label in flagged.get(place, ()):
            saved[place].setdefault(label, {})["flagged"] = True
        return saved[place]

    def resume(self, saved: Mapping[str, Mapping[str, Any]], link: Link | None = None) -> list[str]:
        """Go on from a `snapshot`, on any number of processes. Returns a message for each state that does not fit."""
        said = []
        for core in self._cores.values():
            states = {name: state for name, state in saved.items() if name in core.names}
            messages = core.load_state_dict(states, link, warn=False)
            left_out = {name: m for name in states for m in messages if m.startswith(f"StateCore: {name}: ")}
            for name, message in left_out.items():
                said.append(
                    self.owners[name.removesuffix(CONTENT)] + unlike(message.removeprefix(f"StateCore: {name}"))
                )
            for name in states.keys() - left_out.keys():
                self.is_resumed = True
                if states[name].get("flagged"):
                    core.flag(name)
        return list(dict.fromkeys(said))

    def forget(self) -> None:
        """Forget all samples."""
        for core in self._cores.values():
            core.reset()
        self._ends.clear()
        self._checks.clear()
        self._aside.clear()
        self._given.clear()

    def miss(self, owners: set[str]) -> None:
        """Callbacks that could not say on this process what they need: theirs have no value, on any process."""
        for core in self._cores.values():
            core.broken |= owners

    def skip_batches(self, done: int) -> None:
        """Count the loader's batches from `done` on: so many of the epoch were given out before its own start."""
        for place in self.places:
            place.done = done


_NOBODY = nullcontext()
_NO_POSITION = (
    "the first samples of the data set are asked for, and the {} loader does not tell which they are. Give it "
    "shuffle=False and a data set with a length, or pass ids= (a key, an index into the batch, or a function of "
    "outputs and batch), or select='random', which draws them by a seed"
)


def _counts_by_id(need: Need) -> bool:
    return not need.chooses and need.source.ids is not None


def _is_set_up(error: Exception, need: Need, step: Step, missed: int, sanity: bool) -> bool:
    """Whether an error before a need has read any batch is a mistake in the set-up, and not an accident of the data.

    A step that returns None may leave out this batch alone. One that does so for a second batch returns nothing ever,
    as many do in validation, if it has called the module; and before a training it is better asked about.
    """
    if isinstance(error, CaptureError) and step.returned_nothing:
        return missed > 0 and (sanity or any(step.calls.values()))
    return isinstance(error, (CaptureError, FieldError)) or isinstance(need.entry, Metric)


def _spoils(error: Exception, need: Need) -> bool:
    """Whether a need without this batch would depend on how samples fall into batches: a choice that lacks some."""
    return isinstance(need.entry, Reduction) and need.chooses and isinstance(error, PayloadError)


def _with_owner(error: Exception, label: str) -> Exception:
    if type(error) in (CaptureError, FieldError, ValueError, TypeError, RuntimeError):
        return type(error)(f"{label}: {error}")
    error.add_note(f"while {label} was reading its first batch")
    return error
