"""Laws of reductions: a commutative monoid over tensors, bitwise.

    check_reduction(ExactMean(), st.tuples(floats32(5)))
    check_reduction(Product(loss=ExactMean()), st.fixed_dictionaries({"loss": st.tuples(floats32(5))}))

States are compared by their bits. A payload that a state does not have yet stands for zeros.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from lwcallbacks.reductions.base import Reduction, State
from lwcallbacks.reductions.choice import PAYLOAD
from lwcallbacks.state.sync import Bundle, synced
from lwcallbacks.testing.examining import examine_all, one_thread
from lwcallbacks.testing.host_sync import forbid_host_sync
from lwcallbacks.testing.law import Broken, Case, Finding, Laws, NotApplicable, Subject
from lwcallbacks.testing.same import difference
from lwcallbacks.testing.samples import Args, copied, count, on_device, take
from lwcallbacks.testing.sim_device import second_device
from lwcallbacks.testing.world import World


@dataclass(frozen=True)
class ReductionSubject(Subject):
    """A reduction under examination."""

    reduction: Reduction

    def __str__(self) -> str:
        return repr(self.reduction)

    def lift(self, fields: Args, valid: Tensor | None = None) -> State:
        lift = self.reduction.lift
        return lift(**fields, valid=valid) if isinstance(fields, dict) else lift(*fields, valid=valid)

    def accumulate(self, state: State, fields: Args, valid: Tensor | None = None) -> State:
        accumulate = self.reduction.accumulate
        if isinstance(fields, dict):
            return accumulate(state, **fields, valid=valid)
        return accumulate(state, *fields, valid=valid)

    def merged(self, states: Iterable[State]) -> State:
        return reduce(self.reduction.merge, states, self.reduction.empty())

    def parts(self, case: Case, number: int) -> list[State]:
        """Lifts of so many parts of the samples, some of them perhaps empty."""
        part_of = case.choices("part of each sample", count(case.sample), number)
        shares = [[i for i, part in enumerate(part_of) if part == p] for p in range(number)]
        return [self.lift(take(case.sample, share)) for share in shares]

    def expect_same(self, found: State, expected: State, told: str, *, payload: bool = True) -> None:
        """Raise Broken where states differ by a bit, or their values do."""
        names = list(dict.fromkeys([*found, *expected]))
        if not payload:
            names = [name for name in names if not _is_payload(name)]
        for name in names:
            left = found[name] if name in found else _absent(name, expected)
            right = expected[name] if name in expected else _absent(name, found)
            if where := difference(left, right, nan_bits=True):
                raise Broken(f"{told}: the state's {name}{'' if where[0] == '[' else ' '}{where}")
        if payload:
            self.expect_same_value(found, expected, f"{told}: the value")

    def expect_same_value(self, found: State, expected: State, told: str) -> None:
        # A choice of nothing has no payload, whether it never saw one or none of it counted.
        value = self.reduction.value
        if where := difference(value(_complete(found, expected)), value(_complete(expected, found))):
            raise Broken(f"{told}: {where}")


def _is_payload(name: str) -> bool:
    return name.rpartition(".")[2].startswith(PAYLOAD)


def _absent(name: str, other: State) -> Tensor:
    if not _is_payload(name):
        raise Broken(f"a state lacks {name}")
    return torch.zeros_like(other[name])


def _complete(state: State, other: State) -> State:
    return {name: state[name] if name in state else _absent(name, other) for name in (state | other)}


REDUCTION_LAWS: Laws[ReductionSubject] = Laws()
law = REDUCTION_LAWS.law


def check_reduction(
    reduction: Reduction,
    fields: SearchStrategy[Any],
    *,
    examples: int | None = None,
    seed: int | None = None,
    laws: Iterable[str] | None = None,
) -> None:
    """Hold a reduction to the laws, and raise at the first that it breaks.

    Args:
        reduction: the reduction.
        fields: a strategy for the arguments of `lift`: a tuple of tensors (or a dict, for keywords) whose dimension 0
            counts the same samples.
        examples, seed, laws: as for `check_metric`; the names are those of `REDUCTION_LAWS`.

    Raises:
        LawViolation: the reduction breaks a law.
        ValueError: an unknown law.

    Examples:
        >>> from lwcallbacks.reductions import ExactMean
        >>> from lwcallbacks.testing import floats32
        >>> check_reduction(ExactMean(), st.tuples(floats32(4)), examples=5)
    """
    __tracebackhide__ = True
    _examine(reduction, fields, examples, seed, laws, stop=True)


def examine_reduction(
    reduction: Reduction,
    fields: SearchStrategy[Any],
    *,
    examples: int | None = None,
    seed: int | None = None,
    laws: Iterable[str] | None = None,
) -> dict[str, Finding]:
    """The `Finding` of each law. As `check_reduction`, but of all laws.

    Examples:
        >>> from lwcallbacks.reductions import Extrema
        >>> from lwcallbacks.testing import floats32
        >>> findings = examine_reduction(Extrema(), st.tuples(floats32(4)), laws=["identity", "order"], examples=5)
        >>> {name: finding.outcome for name, finding in findings.items()}
        {'identity': 'kept', 'order': 'kept'}
        >>> "no_host_wait" in REDUCTION_LAWS
        True
    """
    return _examine(reduction, fields, examples, seed, laws, stop=False)


def _examine(
    reduction: Reduction,
    fields: SearchStrategy[Any],
    examples: int | None,
    seed: int | None,
    laws: Iterable[str] | None,
    stop: bool,
) -> dict[str, Finding]:
    __tracebackhide__ = True
    subject, selected = ReductionSubject(reduction), REDUCTION_LAWS.selected(laws)
    with one_thread():
        return examine_all(selected, subject, fields, name="fields", examples=examples, seed=seed, stop=stop)


@law("merging what has seen nothing changes the result: a process without data alters the epoch's value")
def identity(subject: ReductionSubject, case: Case) -> None:
    """merge(empty, s) == s == merge(s, empty)"""
    merge, empty, state = subject.reduction.merge, subject.reduction.empty, subject.lift(case.sample)
    subject.expect_same(merge(empty(), state), state, "merge(empty, s), and s")
    subject.expect_same(merge(state, empty()), state, "merge(s, empty), and s")


@law("the result depends on which process is merged into which")
def commutativity(subject: ReductionSubject, case: Case) -> None:
    """merge(a, b) == merge(b, a)"""
    a, b = subject.parts(case, 2)
    merge = subject.reduction.merge
    subject.expect_same(merge(a, b), merge(b, a), "merge(a, b), and merge(b, a)")


@law("the result depends on how merges are grouped: batch by batch, or process by process")
def associativity(subject: ReductionSubject, case: Case) -> None:
    """merge(merge(a, b), c) == merge(a, merge(b, c))"""
    a, b, c = subject.parts(case, 3)
    merge = subject.reduction.merge
    subject.expect_same(
        merge(merge(a, b), c), merge(a, merge(b, c)), "merge(merge(a, b), c), and merge(a, merge(b, c))"
    )


@law("the value of an epoch depends on the batch size")
def cuts(subject: ReductionSubject, case: Case) -> None:
    """However samples are cut into batches, in whatever order these come: the lifts merge to the lift of all."""
    states = subject.parts(case, case.draw("parts", st.integers(1, 4)))
    merged = subject.merged(states[i] for i in case.draw("order", st.permutations(range(len(states)))))
    subject.expect_same(merged, subject.lift(case.sample), "merged from parts, and lifted at once")


@law("the value of an epoch depends on the order of the samples")
def order(subject: ReductionSubject, case: Case) -> None:
    """lift(samples in any order) == lift(samples)"""
    index = case.draw("order", st.permutations(range(count(case.sample))))
    subject.expect_same(
        subject.lift(take(case.sample, index)), subject.lift(case.sample), "in another order, and in the first"
    )


@law("a batch without samples changes the result")
def empty_batch(subject: ReductionSubject, case: Case) -> None:
    """lift(no samples) == empty"""
    subject.expect_same(subject.lift(take(case.sample, [])), subject.reduction.empty(), "lift of no samples, and empty")


@law("what is marked as not valid (padding, repeats of a sampler) counts all the same, or alters what counts")
def valid(subject: ReductionSubject, case: Case) -> None:
    """lift(fields, valid=mask) == lift(fields[mask])"""
    n = count(case.sample)
    mask = case.choices("valid", n, 2)
    kept = subject.lift(take(case.sample, [i for i in range(n) if mask[i]]))
    masked = torch.tensor(mask, dtype=torch.bool)
    subject.expect_same(subject.lift(case.sample, masked), kept, "lifted with valid=, and without the others")


@law("accumulating batch by batch, as a training does, is not what merging their states gives")
def accumulate(subject: ReductionSubject, case: Case) -> None:
    """accumulate(s, batch) == merge(s, lift(batch)), with and without `valid`"""
    mask = torch.tensor(case.choices("valid", count(case.sample), 2), dtype=torch.bool)
    state = subject.lift(case.sample)
    expected = subject.reduction.merge(state, subject.lift(case.sample, mask))
    own = {name: tensor.clone() for name, tensor in state.items()}
    subject.expect_same(subject.accumulate(own, case.sample, mask), expected, "accumulated, and merged")
    again = subject.accumulate(subject.reduction.empty(), case.sample)
    subject.expect_same(again, state, "accumulated into empty, and lifted")


@law("the result depends on the number of processes, or on how data is spread over them")
def shards(subject: ReductionSubject, case: Case) -> None:
    """Any number of processes with any shares, none among them, agree on what one process has of everything."""
    size = case.draw("processes", st.sampled_from([2, 1, 3, 4, 7]))
    n = count(case.sample)
    owners = case.choices("process of each sample", n, size)
    states = []
    for rank in range(size):
        share = [i for i in range(n) if owners[i] == rank]
        states.append(subject.lift(take(case.sample, share)) if share else subject.reduction.empty())
    bundles = [Bundle(states=[(subject.reduction, state)]) for state in states]
    before = copy.deepcopy(states)
    world = World(size)
    merged = world.run(lambda rank: synced(bundles[rank], rank, size))
    expected = subject.lift(case.sample)
    subject.expect_same(merged[0].states[0], expected, f"on process 0 of {size}, and on one alone")
    for rank in range(size):
        told = f"on process {rank} of {size}, and on one alone"
        subject.expect_same(merged[rank].states[0], expected, told, payload=False)
        subject.expect_same(states[rank], before[rank], f"on process {rank} after the sync, and before")


@law("it writes into the batch, or into a state that others hold: values change after they were computed")
def inputs_unchanged(subject: ReductionSubject, case: Case) -> None:
    """`lift`, `merge`, `value` and `accumulate` leave their arguments alone (but for the state of `accumulate`)."""
    reduction, fields = subject.reduction, copied(case.sample)
    mask = torch.ones(count(fields), dtype=torch.bool)
    state = subject.lift(fields, mask)
    kept = copy.deepcopy(state)
    other = reduction.merge(state, state)
    merged = copy.deepcopy(other)
    reduction.value(state)
    reduction.problems(state)
    subject.accumulate(other, fields, mask)
    subject.expect_same(state, kept, "a state after it was merged and looked at, and before")
    subject.accumulate(reduction.merge(state, reduction.empty()), fields, mask)
    subject.expect_same(state, kept, "a state after a merge with it was accumulated into, and before")
    subject.expect_same(reduction.merge(state, state), merged, "merged again, and the first time")
    if where := difference(fields, case.sample, nan_bits=True):
        raise Broken(f"a field after lift and accumulate, and before: {where}")
    if not bool(mask.all()):
        raise Broken("valid was changed")


@law("a state changes its shape as data comes in: memory grows, and processes cannot exchange states")
def fixed_shape(subject: ReductionSubject, case: Case) -> None:
    """Every state has the tensors, shapes and dtypes of `empty`, a payload beside them."""
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in subject.reduction.empty().items()}
    first, second = subject.parts(case, 2)
    for state in (first, second, subject.reduction.merge(first, second)):
        found = {name: (t.shape, t.dtype) for name, t in state.items() if not _is_payload(name)}
        if found != expected:
            raise Broken(f"{found}, and empty has {expected}")
        if not all(tensor.is_contiguous() for tensor in state.values()):
            raise Broken("a tensor of the state is not contiguous")


@law("asking for the value a second time gives another")
def value_is_pure(subject: ReductionSubject, case: Case) -> None:
    """value(s) == value(s)"""
    state = subject.lift(case.sample)
    reduction = subject.reduction
    if where := difference(reduction.value(state), reduction.value(state)):
        raise Broken(f"the value, and the value again: {where}")
    if where := difference(reduction.problems(state), reduction.problems(state)):
        raise Broken(f"the problems, and the problems again: {where}")


@law("equal reductions are not equal any more after pickling or copying: callbacks would stop sharing their state")
def equality(subject: ReductionSubject, case: Case) -> None:
    """A pickled or copied reduction is equal, has the same hash, and gives the same bits."""
    reduction = subject.reduction
    for other in (pickle.loads(pickle.dumps(reduction)), copy.deepcopy(reduction)):
        if other != reduction or hash(other) != hash(reduction):
            raise Broken(f"{other!r} is not equal to {reduction!r}, or has another hash")
        subject.expect_same(
            ReductionSubject(other).lift(case.sample), subject.lift(case.sample), "by a copy, and by it"
        )
    if reduction == object():
        raise Broken("it is equal to anything")


@law("a resumed run has another state: what a checkpoint holds is not what was saved")
def checkpoint(subject: ReductionSubject, case: Case) -> None:
    """torch.load(torch.save(state), weights_only=True) == state"""
    state = subject.lift(case.sample)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    subject.expect_same(torch.load(file, weights_only=True), state, "loaded, and saved")


@law("the result depends on the device, or there is none on a device")
def device(subject: ReductionSubject, case: Case) -> None:
    """On a second device, simulated or real, `lift`, `merge` and `accumulate` give the same bits, and stay there."""
    second = second_device()
    if second is None:
        raise NotApplicable("there is no second device; lwcallbacks.testing.simulated_device() makes one")
    fields = on_device(case.sample, second)
    mask = torch.ones(count(fields), dtype=torch.bool, device=second)
    states: Sequence[State] = (subject.lift(case.sample), subject.lift(fields, mask))
    for name, tensor in states[1].items():
        if tensor.device != second:
            raise Broken(f"the state's {name} is on {tensor.device}, its data on {second}")
    merged = [subject.reduction.merge(state, state) for state in states]
    subject.expect_same(merged[1], merged[0], f"on {second}, and on the CPU")
    accumulated = [subject.accumulate(state, f) for state, f in zip(merged, (case.sample, fields), strict=True)]
    subject.expect_same(accumulated[1], accumulated[0], f"accumulated on {second}, and on the CPU")


@law("every batch makes Python wait for the GPU: training is slower for it")
def no_host_wait(subject: ReductionSubject, case: Case) -> None:
    """`lift`, `merge` and `accumulate` never wait for the device; with a second one, copies to it are seen, too."""

    def tried(fields: Args, device: torch.device | None = None) -> None:
        mask = torch.ones(count(fields), dtype=torch.bool, device=device)
        with forbid_host_sync():
            state = subject.lift(fields, mask)
            state = subject.reduction.merge(state, subject.lift(fields))
            subject.accumulate(state, fields)

    tried(case.sample)
    if (second := second_device()) is not None:
        moved = on_device(case.sample, second)
        with suppress(RuntimeError):  # what does not run on a device is for the law `device`
            tried(moved, second)
