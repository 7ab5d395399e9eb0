"""The k samples that win by a total order on (key, sample id), with what is to be shown of them.

    worst = TopK(2)
    state = worst.lift(losses, ids, images)          # [N], int64 [N], [N, ...]
    worst.value(state).ids                           # of the two largest losses

    fixed = RandomSample(32, seed=0)
    fixed.value(fixed.lift(ids, images)).payload[0]  # the same 32 samples, however they were split

    First(32)                                        # those of the smallest ids

    by_class = PerGroup(TopK(3), k=30)               # the worst 3 of each of 10 classes
    by_class.value(by_class.lift(classes, losses, ids, images)).groups

A choice is a set with a bound: of equal keys the smaller id wins, and an id counts once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lwcallbacks.reductions import rows
from lwcallbacks.reductions.base import INT64_MAX, FieldError, Reduction, State, expect
from lwcallbacks.reductions.floats import as_float32, from_orderable, orderable
from lwcallbacks.reductions.hashing import splitmix64
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.winning import NO_GROUP, NO_ID, NO_KEY, in_order_of_ids, winners, winners_of_groups

PAYLOAD = "payload"
PAD = "as in inputs=lambda outputs, batch: torch.nn.functional.pad(batch[0], (0, 64 - batch[0].shape[-1]))"
RESIZE = "as in inputs=lambda outputs, batch: torch.nn.functional.interpolate(batch[0], size=(64, 64))"


class PayloadError(FieldError):
    """What is to be shown has unlike shapes or dtypes: no sample could be left out without changing the choice.

    >>> first = First(2)
    >>> small, large = (first.lift(torch.tensor([i]), torch.zeros(1, 8 + i)) for i in (0, 1))
    >>> first.merge(small, large)
    Traceback (most recent call last):
    lwcallbacks.reductions.choice.PayloadError: samples have shapes (8,) and (9,), expected one shape ...
    """


class Chosen:
    """The samples that won, best first, on the CPU.

    Attributes:
        ids: int64 [m], m <= k.
        scores: float32 [m], or None where the choice was random.
        payload: the tensors [m, ...] that were given to `lift`; empty on a process that is not to have them.
        groups: int64 [m] of a `PerGroup`, else None.

    >>> worst = TopK(1)
    >>> chosen = worst.value(worst.lift(torch.tensor([0.5, 2.0]), torch.tensor([7, 8]), torch.tensor([70, 80])))
    >>> chosen.ids, chosen.scores, chosen.payload
    (tensor([8]), tensor([2.]), (tensor([80]),))
    """

    # No dataclass and no tuple: torchmetrics reaches into those and drops the dimension of a single winner.
    def __init__(
        self, ids: Tensor, scores: Tensor | None, payload: tuple[Tensor, ...], groups: Tensor | None = None
    ) -> None:
        self.ids = ids
        self.scores = scores
        self.payload = payload
        self.groups = groups

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f", groups={self.groups.tolist()}"
        shapes = [tuple(t.shape) for t in self.payload]
        return f"Chosen(ids={self.ids.tolist()}, scores={self.scores}, payload={shapes}{groups})"


def payload_names(state: State) -> list[str]:
    return sorted((name for name in state if name.startswith(PAYLOAD)), key=lambda name: int(name[len(PAYLOAD) :]))


class Choice(Reduction):
    """The k best samples. A subclass turns its fields into a key; larger keys win, ties go to the smaller id.

    Equal ids are the same sample, and must come with the same payload. `empty` has no payload tensors yet, since
    their shapes are not known; a missing one stands for zeros.

    >>> @dataclass(frozen=True)
    ... class Last(Choice):
    ...     k: int
    ...     def split(self, ids, *payload):
    ...         return ids, ids, payload
    >>> last = Last(2)
    >>> last.value(last.lift(torch.tensor([5, 0, 3]), torch.tensor([50, 0, 30]))).payload[0]
    tensor([50, 30])
    """

    k: int
    marks: ClassVar[Mapping[str, int]] = {"key": NO_KEY, "id": NO_ID}
    """The tables by which samples win, int64 [k], with what stands in a place without a sample."""

    @abstractmethod
    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return key int64 [N] (greater than NO_KEY), ids int64 [N] and the payload [N, ...]."""

    def empty(self) -> State:
        return {name: torch.full((self.k,), blank) for name, blank in self.marks.items()}

    def lift(self, *fields: Tensor, valid: Tensor | None = None) -> State:
        batch = self.candidates(fields, valid)
        if not len(batch["id"]):
            return {n: torch.full((self.k,), blank, device=batch["key"].device) for n, blank in self.marks.items()}
        return self.take(batch, self.winners(batch))

    def accumulate(self, state: State, *fields: Tensor, valid: Tensor | None = None) -> State:
        """Keys are compared first. Of the payload, only the rows that win are read, at most k of them, and on the CPU
        only places that change are written: the state itself comes back where nothing wins."""
        batch = self.candidates(fields, valid)
        if not len(batch["id"]):
            return state
        state, batch = _completed(state, batch, self.k), _completed(batch, state, len(batch["id"]))
        for name in payload_names(state):
            _expect_alike(state[name], batch[name])
        looks = may_look(batch["key"])
        if looks and self.cannot_win(state, batch):
            return state
        index = self.winners({name: torch.cat([state[name], batch[name]]) for name in self.marks})
        if looks:
            # Places without a winner have had none before.
            rows.replace(state, batch, index)
            return state
        return {name: rows.picked(state[name], batch[name], index, self.marks.get(name, 0)) for name in state}

    def cannot_win(self, state: State, batch: State) -> bool:
        """Whether a look at marks on the CPU is enough to see that no sample of a batch comes into a state."""
        # A full state has a worst key. Ids that are in both need no look: a lower key of the same id changes nothing.
        return bool(batch["key"].max() < state["key"].min())

    def candidates(self, fields: Sequence[Tensor], valid: Tensor | None) -> State:
        """The samples of a batch in the form of a state, as many as there are."""
        key, ids, payload = self.split(*fields)
        lengths = {len(t) for t in (key, ids, *payload)}
        expect(len(lengths) == 1, self, f"fields have {sorted(lengths)} samples", "one number of samples")
        if valid is not None:
            key, ids = torch.where(valid, key, NO_KEY), torch.where(valid, ids, NO_ID)
        return {"key": key, "id": ids} | {f"{PAYLOAD}{i}": t.detach() for i, t in enumerate(payload)}

    def merge(self, a: State, b: State) -> State:
        a, b = _completed(a, b, self.k), _completed(b, a, self.k)
        for name in a:
            _expect_alike(a[name], b[name])
        joined = {name: rows.joined(a[name], b[name]) for name in a}
        return self.take(joined, self.winners(joined))

    def take(self, state: State, index: Tensor) -> State:
        """The entries at `index` (from `winners`), filled up to k places with nothing."""
        missing = self.k - len(index)
        if missing:
            index = torch.cat([index, index.new_full((missing,), -1)])
        return {name: rows.taken(tensor, index, self.marks.get(name, 0)) for name, tensor in state.items()}

    def value(self, state: State) -> Chosen:
        # Copies: a state may be overwritten.
        key = state["key"].cpu()
        taken = int((key != NO_KEY).sum())
        ids, *payload = (state[name][:taken].to("cpu", copy=True) for name in ("id", *payload_names(state)))
        return Chosen(ids, self.scores(key[:taken]), tuple(payload))

    def winners(self, marks: State) -> Tensor:
        """Indices [min(k, M)] of the winners among M candidates, in the order of the state; then -1."""
        return winners(marks["key"], marks["id"], self.k)

    def scores(self, key: Tensor) -> Tensor | None:
        """The scores behind int64 keys [m]; None where the key means nothing to a person."""
        return None


def _completed(state: State, other: State, number: int) -> State:
    """With so many rows of zeros for each payload that only the other one has."""
    return state | {name: rows.zeros(other[name], number) for name in other.keys() - state.keys()}


def _expect_alike(left: Tensor, right: Tensor) -> None:
    """Raise ValueError for rows that cannot stand in one tensor."""
    shapes = f"{tuple(left.shape[1:])} and {tuple(right.shape[1:])}"
    if left.shape[1:] != right.shape[1:]:
        how = f"resize them, {RESIZE}" if left.ndim == 4 else f"pad them, {PAD}"
        raise PayloadError(f"samples have shapes {shapes}, expected one shape for all that are kept: {how}")
    if left.dtype != right.dtype:
        found = f"samples are {left.dtype} in one batch and {right.dtype} in another"
        raise PayloadError(
            f"{found}, expected one dtype: convert them, as in inputs=lambda outputs, batch: ....float()"
        )


_NAN_KEY = -(2**40)


@dataclass(frozen=True)
class TopK(Choice):
    """The k samples with the largest (or smallest) score.

    `lift(scores, ids, *payload)`: float [N] read as float32, int64 [N], tensors [N, ...]. Ties go to the smaller id.
    -0.0 ties with 0.0, infinities are the extremes, and a NaN comes after every number in either direction.
    `value`: `Chosen`, best first. State: int64 [k] twice and the payload; O(N log N) to lift.

        >>> worst = TopK(2)
        >>> losses, ids, names = torch.tensor([0.1, 2.0, 0.7]), torch.arange(3), torch.tensor([10, 20, 30])
        >>> found = worst.value(worst.lift(losses, ids, names))
        >>> found.ids.tolist(), found.scores.tolist(), found.payload[0].tolist()
        ([1, 2], [2.0, 0.699999988079071], [20, 30])
    """

    k: int
    largest: bool = True

    def __post_init__(self) -> None:
        _expect_k(self)

    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        scores, ids, *payload = fields
        scores = as_float32(scores) + 0.0  # -0.0 + 0.0 is 0.0
        key = orderable(scores if self.largest else -scores + 0.0)
        return torch.where(scores.isnan(), _NAN_KEY, key), ids.to(torch.int64), payload

    def scores(self, key: Tensor) -> Tensor:
        score = from_orderable(key.clamp(min=-(2**31)))
        score = score if self.largest else -score + 0.0
        return torch.where(key == _NAN_KEY, float("nan"), score)


@dataclass(frozen=True)
class RandomSample(Choice):
    """k samples drawn at random, the same for every batch size, order and number of processes.

    `lift(ids, *payload)`: int64 [N], tensors [N, ...]. Those with the largest hash of (seed, id) are taken: every
    sample has the same chance, and another `seed` gives another draw (bottom-k sampling, Cohen and Kaplan 2007).
    `value`: `Chosen` without scores, in order of id.

        >>> drawn, ids = RandomSample(2, seed=0), torch.arange(100)
        >>> whole = drawn.value(drawn.lift(ids, ids * 10))
        >>> halves = drawn.merge(drawn.lift(ids[:50], ids[:50] * 10), drawn.lift(ids[50:], ids[50:] * 10))
        >>> whole.ids.equal(drawn.value(halves).ids), whole.payload[0].equal(whole.ids * 10)
        (True, True)
    """

    k: int
    seed: int = 0

    def __post_init__(self) -> None:
        _expect_k(self)

    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        ids, *payload = fields
        ids = ids.to(torch.int64)
        return (splitmix64(ids, self.seed) >> 1) & INT64_MAX, ids, payload

    def winners(self, marks: State) -> Tensor:
        return in_order_of_ids(super().winners(marks), marks["id"])


@dataclass(frozen=True)
class First(Choice):
    """The k samples of the smallest ids: with positions in the data set as ids, its first k samples.

    `lift(ids, *payload)`: int64 [N], tensors [N, ...]. `value`: `Chosen` without scores, in order of id.

        >>> first = First(2)
        >>> first.value(first.lift(torch.tensor([5, 0, 3]), torch.tensor([50, 0, 30]))).payload[0]
        tensor([ 0, 30])
    """

    k: int

    def __post_init__(self) -> None:
        _expect_k(self)

    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        ids, *payload = fields
        ids = ids.to(torch.int64)
        # The smaller the id, the larger its complement; that of the largest id of all would mean "no key".
        return (~ids).clamp(min=NO_KEY + 1), ids, payload


@dataclass(frozen=True)
class PerGroup(Choice):
    """Of each group those samples that a choice takes, and of all groups together at most k.

    Args:
        choice: which samples of a group go first, and how many of one group are kept at most.
        k: how many samples are kept at most, of all groups together.

    `lift(groups, *fields)`: int [N], and the fields of `choice`. A sample of a negative group does not count; groups
    need not be known before. An id counts once in each group. `value`: `Chosen` with `groups`, by group and within it
    as `choice` ranks them, best first.

    Where there is no place for all, ranks go before groups: first comes the best sample of each group, in the order of
    `choice`, then the second of each, and so on. So with `k` at least as large as the number of groups that come up,
    each has its best; with twice as many its two best; with `choice.k` times as many nothing is left out. With fewer
    places, those groups have one whose best sample is best. How large a group is plays no part.

    This is a commutative monoid, for a sample's rank within its group, and its place among all, never rise as more
    samples come: what was left out once would be left out of all samples, too.

    State: int64 [k] three times and the payload, whatever the number of groups. O(M log M) to lift M = N + k samples.

        >>> by_class = PerGroup(TopK(1), k=2)
        >>> classes, losses = torch.tensor([0, 0, 1, -1]), torch.tensor([0.5, 2.0, 0.1, 9.0])
        >>> chosen = by_class.value(by_class.lift(classes, losses, torch.arange(4)))
        >>> chosen.groups.tolist(), chosen.ids.tolist()
        ([0, 1], [1, 2])
    """

    choice: Choice
    k: int
    marks: ClassVar[Mapping[str, int]] = {"key": NO_KEY, "id": NO_ID, "group": NO_GROUP}

    def __post_init__(self) -> None:
        found = f"choice is {type(self.choice).__name__}"
        is_one = isinstance(self.choice, Choice) and not isinstance(self.choice, PerGroup)
        expect(is_one, self, found, "a choice of samples, such as TopK(3)")
        _expect_k(self)

    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        return self.choice.split(*fields[1:])

    def candidates(self, fields: Sequence[Tensor], valid: Tensor | None) -> State:
        groups = fields[0].detach().to(torch.int64)
        counts = groups >= 0 if valid is None else (groups >= 0) & valid
        batch = super().candidates(fields, None)
        found = f"groups have shape {tuple(groups.shape)}"
        expect(groups.shape == batch["key"].shape, self, found, f"({len(batch['key'])},), one for each sample")
        given = {**batch, "group": groups}
        return {**batch, **{name: torch.where(counts, given[name], blank) for name, blank in self.marks.items()}}

    def cannot_win(self, state: State, batch: State) -> bool:
        return bool((batch["group"] < 0).all())

    def winners(self, marks: State) -> Tensor:
        return winners_of_groups(marks["key"], marks["id"], marks["group"], self.choice.k, self.k)

    def value(self, state: State) -> Chosen:
        chosen, groups = super().value(state), state["group"].cpu()
        order = groups[: len(chosen.ids)].argsort(stable=True)
        scores = None if chosen.scores is None else chosen.scores[order]
        return Chosen(chosen.ids[order], scores, tuple(t[order] for t in chosen.payload), groups[order])

    def scores(self, key: Tensor) -> Tensor | None:
        return self.choice.scores(key)


def _expect_k(choice: TopK | RandomSample | First | PerGroup) -> None:
    found = f"k={choice.k!r}"
    expect(isinstance(choice.k, int) and choice.k >= 1, choice, found, "an int of at least 1")
