"""The k samples that win by a total order on (key, sample id), with what is to be shown of them.

    worst = TopK(2)
    state = worst.lift(losses, ids, images)          # [N], int64 [N], [N, ...]
    worst.value(state).ids                           # of the two largest losses

    fixed = RandomSample(32, seed=0)
    fixed.value(fixed.lift(ids, images)).payload[0]  # the same 32 samples, however they were split

    First(32)                                        # those of the smallest ids

A choice is a set with a bound: of equal keys the smaller id wins, and an id counts once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lwcallbacks.reductions import rows
from lwcallbacks.reductions.base import INT64_MAX, FieldError, Reduction, State, expect
from lwcallbacks.reductions.floats import as_float32, from_orderable, orderable
from lwcallbacks.reductions.hashing import splitmix64
from lwcallbacks.reductions.looking import may_look
from lwcallbacks.reductions.winning import NO_ID, NO_KEY, in_order_of_ids, winners

_BLANK = {"key": NO_KEY, "id": NO_ID}
"""What stands in a place without a sample; elsewhere zero."""
PAYLOAD = "payload"
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

    >>> worst = TopK(1)
    >>> chosen = worst.value(worst.lift(torch.tensor([0.5, 2.0]), torch.tensor([7, 8]), torch.tensor([70, 80])))
    >>> chosen.ids, chosen.scores, chosen.payload
    (tensor([8]), tensor([2.]), (tensor([80]),))
    """

    # No dataclass and no tuple: torchmetrics reaches into those and drops the dimension of a single winner.
    def __init__(self, ids: Tensor, scores: Tensor | None, payload: tuple[Tensor, ...]) -> None:
        self.ids = ids
        self.scores = scores
        self.payload = payload

    def __repr__(self) -> str:
        return (
            f"Chosen(ids={self.ids.tolist()}, scores={self.scores}, payload={[tuple(t.shape) for t in self.payload]})"
        )


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

    @abstractmethod
    def split(self, *fields: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Return key int64 [N] (greater than NO_KEY), ids int64 [N] and the payload [N, ...]."""

    def empty(self) -> State:
        return {"key": torch.full((self.k,), NO_KEY), "id": torch.full((self.k,), NO_ID)}

    def lift(self, *fields: Tensor, valid: Tensor | None = None) -> State:
        batch = self._candidates(fields, valid)
        if not len(batch["id"]):
            return {name: tensor.to(batch["key"].device) for name, tensor in self.empty().items()}
        return self.take(batch, self.winners(batch["key"], batch["id"]))

    def accumulate(self, state: State, *fields: Tensor, valid: Tensor | None = None) -> State:
        """Keys are compared first. Of the payload, only the rows that win are read, at most k of them, and on the CPU
        only places that change are written: the state itself comes back where nothing wins."""
        batch = self._candidates(fields, valid)
        if not len(batch["id"]):
            return state
        state, batch = _completed(state, batch, self.k), _completed(batch, state, len(batch["id"]))
        for name in payload_names(state):
            _expect_alike(state[name], batch[name])
        looks = may_look(batch["key"])
        # A full state has a worst key. Ids that are in both need no look: a lower key of the same id changes nothing.
        if looks and batch["key"].max() < state["key"].min():
            return state
        index = self.winners(*(torch.cat([state[name], batch[name]]) for name in ("key", "id")))
        if looks:
            # Places without a winner have had none before.
            rows.replace(state, batch, index)
            return state
        return {name: rows.picked(state[name], batch[name], index, _BLANK.get(name, 0)) for name in state}

    def _candidates(self, fields: Sequence[Tensor], valid: Tensor | None) -> State:
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
        return self.take(joined, self.winners(joined["key"], joined["id"]))

    def take(self, state: State, index: Tensor) -> State:
        """The entries at `index` (from `winners`), filled up to k places with nothing."""
        missing = self.k - len(index)
        if missing:
            index = torch.cat([index, index.new_full((missing,), -1)])
        return {name: rows.taken(tensor, index, _BLANK.get(name, 0)) for name, tensor in state.items()}

    def value(self, state: State) -> Chosen:
        # Copies: a state may be overwritten.
        key = state["key"].cpu()
        taken = int((key != NO_KEY).sum())
        ids, *payload = (state[name][:taken].to("cpu", copy=True) for name in ("id", *payload_names(state)))
        return Chosen(ids, self.scores(key[:taken]), tuple(payload))

    def winners(self, key: Tensor, ids: Tensor) -> Tensor:
        """Indices [min(k, M)] of the winners among so many candidates, in the order of the state; then -1."""
        return winners(key, ids, self.k)

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
        raise PayloadError(
            f"samples have shapes {shapes}, expected one shape for all that are kept: resize them, {RESIZE}"
        )
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

    def winners(self, key: Tensor, ids: Tensor) -> Tensor:
        return in_order_of_ids(super().winners(key, ids), ids)


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


def _expect_k(choice: TopK | RandomSample | First) -> None:
    found = f"k={choice.k!r}"
    expect(isinstance(choice.k, int) and choice.k >= 1, choice, found, "an int of at least 1")
