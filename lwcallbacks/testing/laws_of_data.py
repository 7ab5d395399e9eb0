"""Laws of data that a strategy does not draw: very much of it, and labels that are none.

check_metric(MyMetric, batches, laws=["no_saturation", "memory"])
check_metric(MyMetric, batches, laws=["labels_in_range"])        # strict, so only where it is asked for
examine_metric(MyMetric, batches, laws=["memory"])["memory"].message      # "grows by 24 bytes a sample: ..."
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_sum

from lwcallbacks.testing.handling import divisible
from lwcallbacks.testing.held import attributes, data_bytes
from lwcallbacks.testing.law import Broken, Case, Laws, NotApplicable
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.same import Closeness, difference, plainly
from lwcallbacks.testing.samples import Args, Indivisible, count, leaves, rebuilt, take
from lwcallbacks.testing.world import contained_metrics

LAWS: Laws[MetricSubject] = Laws()
law = LAWS.law

MANY_BATCHES = 2**20
"""So many batches an epoch has at most: a million."""


# Much data.


def _sums(metric: Any) -> dict[tuple[int, str], Tensor]:
    """The states of real numbers that add up, by the number of their metric and their name."""
    return {
        (i, name): getattr(part, name)
        for i, part in enumerate(contained_metrics(metric))
        for name, reduce in part._reductions.items()
        if reduce is dim_zero_sum and isinstance(state := getattr(part, name), Tensor) and not state.is_complex()
    }


def _wide(tensor: Tensor) -> Tensor:
    """A copy that holds more."""
    return tensor.detach().to(torch.float64 if tensor.is_floating_point() else torch.int64, copy=True)


def _held(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """As much of it as the dtype holds."""
    info = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return exact.clamp(info.min, info.max).to(dtype)


@law(
    "a sum is kept in a type that is too narrow: after so many batches the value stands still, or turns round",
    parts=True,
)
def no_saturation(subject: MetricSubject, case: Case) -> None:
    """Far into a long epoch, a batch still adds to each sum what it added at first.

    Nobody waits for a million batches: the sums that grow by the same with each repetition of a batch are set to
    where they would be, which is exact, and the batch is given once more.
    """
    args = case.sample[0]
    metric = subject.new()
    seen = [{key: _wide(state) for key, state in _sums(metric).items()}]
    for _ in range(2):
        metric.update(*args)
        seen.append({key: _wide(state) for key, state in _sums(metric).items()})
    if not seen[0]:
        raise NotApplicable("it has no state that is merged as a sum")
    start, once, twice = seen
    growth = {
        key: once[key] - start[key]
        for key in start
        if start[key].shape == once[key].shape == twice[key].shape
        and not difference(once[key] - start[key], twice[key] - once[key])
        and once[key].isfinite().all()
    }
    if lost := _first_lost(metric, args, start, growth):
        case.doing = f"after {lost.batches} batches"
        body = _REPEATED.replace("STATE", _reached(metric, *lost.state))
        imported = {"Metric": Metric} if "Metric" in body else {}
        case.program(body, args=args, times=lost.batches + 1, **imported)
        raise lost.error
    if growth.keys() == {(i, name) for i, part in enumerate(contained_metrics(metric)) for name in part._defaults}:
        case.program(_REPEATED_VALUE, args=args, times=MANY_BATCHES)
        _same_when_repeated(subject, args, start, growth)


_REPEATED = """
def held(metric):
    return STATE.double()

metric = make()
for _ in range(times):
    metric.update(*args)
print(held(metric))
print(held(make()) + times * (held(updated(make(), [args])) - held(make())))
"""
_REPEATED_VALUE = """
metric = make()
for _ in range(times):
    metric.update(*args)
print(metric.compute())
print(updated(make(), [args]).compute())
"""


def _repeated(metric: Any, start: Any, growth: Any, n: int) -> None:
    """Set its sums to where n repetitions of a batch would bring them."""
    states = _sums(metric)
    new_states: dict[int, Tensor] = {}  # metrics of a collection may share a state
    for (i, name), grown in growth.items():
        state = states[i, name]
        new = new_states.setdefault(id(state), _held(start[i, name] + n * grown, state.dtype))
        setattr(contained_metrics(metric)[i], name, new)


class _Lost(NamedTuple):
    """What is wrong after so many batches: a state does not hold one more, or `update` raises."""

    batches: int
    state: tuple[int, str]
    error: Exception


def _first_lost(metric: Any, args: Args, start: Any, growth: Any) -> _Lost | None:
    """What is wrong after the fewest batches that show it; None where a million do not."""
    if not growth or (found := _lost_after(metric, args, start, growth, MANY_BATCHES)) is None:
        return None
    fine = 1
    while found.batches - fine > 1:
        n = (fine + found.batches) // 2
        if (now := _lost_after(metric, args, start, growth, n)) is None:
            fine = n
        else:
            found = now
    return found


def _lost_after(metric: Any, args: Args, start: Any, growth: Any, n: int) -> _Lost | None:
    """What is wrong with one more batch after n of them."""
    _repeated(metric, start, growth, n)
    before = {key: _wide(state) for key, state in _sums(metric).items()}
    try:
        metric.update(*args)
    except Exception as error:
        return _Lost(n, next(iter(growth)), error)
    for (i, name), grown in growth.items():
        state = _sums(metric)[i, name]
        added = _wide(state) - before[i, name]
        # Rounding may take a part of a small number, and never half of it. What did not grow at first may do so later.
        lost = (grown != 0) & ((added - grown).abs() * 2 > grown.abs())
        if lost.any():
            expected = start[i, name] + (n + 1) * grown
            place = tuple(lost.nonzero()[0].tolist())
            dtype = str(state.dtype).removeprefix("torch.")
            of = f"{type(contained_metrics(metric)[i]).__name__}.{name}"
            told = (
                f"after {n} batches a batch that adds {plainly(grown[place])} to {of} adds {plainly(added[place])}: "
                f"{dtype} cannot hold {plainly(expected[place])}"
            )
            return _Lost(n, (i, name), Broken(told, words=told, values=(state.double(), expected.double())))
    return None


def _reached(metric: Any, i: int, name: str) -> str:
    """Python for a state of a metric, or of what it contains."""
    if contained_metrics(metric)[i] is metric:
        return f"metric.{name}"
    return f"[part for part in metric.modules() if isinstance(part, Metric)][{i}].{name}"


_COUNTS = ("_update_count", "_computed", "_forward_cache")
"""What torchmetrics keeps of updates, beside the states."""


def _same_when_repeated(subject: MetricSubject, args: Args, start: Any, growth: Any) -> None:
    """A value that is the same for a batch once and twice is so for a million times, but for rounding."""
    once, twice = subject.value([args]), subject.value([args, args])
    if difference(once, twice):
        return  # a count or a sum, which grows
    metric = subject.updated([args])
    seen = zip(attributes(metric), attributes(subject.updated([args, args])), strict=True)
    for i, (first, second) in enumerate(seen):
        for name in first.keys() | second.keys():
            if (i, name) not in growth and name not in _COUNTS and difference(first.get(name), second.get(name)):
                return  # it keeps something else, which cannot be repeated like this
    _repeated(metric, start, growth, MANY_BATCHES)
    if difference(found := metric.compute(), once, Closeness(1e-2, 1e-2)):
        told = f"after {MANY_BATCHES} times the same batch you report {{}} where one of it is worth {{}}"
        subject.expect_same(found, once, told)


_GROWTH = """
metric = make()
for _ in range(3):
    for _ in range(4):
        metric.update(*args)
    print({name: value for name, value in vars(metric).items() if name[0] != "_" and not callable(value)})
"""


def _held_bytes(metric: Any) -> Counter[tuple[int, str]]:
    return Counter(
        {
            (i, name): data_bytes(value)
            for i, part in enumerate(contained_metrics(metric))
            for name, value in vars(part).items()
            if name not in ("_modules", "_computed", "_forward_cache", "_cache")
        }
    )


def _declared(part: Any, name: str) -> bool:
    """Whether this is declared to grow: a list state, or one that is concatenated."""
    return isinstance(part._defaults.get(name), list) or part._reductions.get(name) is dim_zero_cat


@law(
    "memory grows with the data, and nothing says so: a long epoch ends out of memory, and reset frees nothing",
    rounding=False,
    half=True,
)
def memory(subject: MetricSubject, case: Case) -> None:
    """What grows with the number of batches is a list state, or one with dist_reduce_fx="cat"; that is reported."""
    metric, args = subject.new(), case.sample[0]
    case.program(_GROWTH, args=args)

    def held_after_more() -> Counter[tuple[int, str]]:
        for _ in range(4):
            metric.update(*args)
        return _held_bytes(metric)

    first, second, third = held_after_more(), held_after_more(), held_after_more()
    parts, samples = contained_metrics(metric), 1
    with suppress(Indivisible):
        samples = max(count(args), 1)
    growing = {
        key: (third[key] - second[key]) / 4 / samples
        for key in third
        if third[key] - second[key] == second[key] - first[key] > 0
    }
    told = {f"{type(parts[i]).__name__}.{name}": size for (i, name), size in growing.items()}
    for (i, name), size in growing.items():
        if not _declared(parts[i], name):
            of = f"{type(parts[i]).__name__}.{name}"
            raise Broken.in_words(
                f"each sample adds {size:g} bytes to {of}, which is neither a list state nor concatenated"
            )
    if told:
        case.fact = f"grows by {sum(told.values()):g} bytes a sample: {', '.join(told)}, declared as growing"


@law(
    "the metric keeps the batch itself: where a loader, or a step, uses its tensors again, the value is of other data",
    asked=True,
)
def buffers_reused(subject: MetricSubject, case: Case) -> None:
    """What a batch's tensors hold after the update is no business of the metric: it has copied what it keeps."""
    case.doing = "where the batch's tensors are used again after each update"
    case.program(_USED_AGAIN, batches=case.sample)
    metric = subject.new()
    for args in case.sample:
        metric.update(*args)
        for leaf in _all_leaves(args):
            if isinstance(leaf, Tensor):
                leaf.fill_(0 if leaf.any() else 1)
    told = f"{case.doing} you report {{}} where with tensors of their own you report {{}}"
    subject.expect_same(metric.compute(), subject.value(case.sample), told)


def _all_leaves(args: Args) -> list[Any]:
    """What is in tuples, dicts and lists."""
    found = leaves(args)
    return [part for leaf in found for part in (_all_leaves(tuple(leaf)) if isinstance(leaf, list) else [leaf])]


_USED_AGAIN = """
def overwritten(value):
    if isinstance(value, torch.Tensor):
        value.fill_(0 if value.any() else 1)
    elif isinstance(value, (tuple, list, dict)):
        [overwritten(part) for part in (value.values() if isinstance(value, dict) else value)]

expected = updated(make(), batches).compute()
metric = make()
for args in batches:
    metric.update(*args)
    overwritten(args)
print(metric.compute())
print(expected)
"""


# Labels.


def _classes(metric: Any) -> int | None:
    """How many labels there are, where the metric says so."""
    for part in contained_metrics(metric):
        for name in ("num_classes", "n_classes"):
            if isinstance(number := getattr(part, name, None), int) and number > 0:
                return number
        if isinstance(getattr(part, "num_labels", None), int) or hasattr(part, "threshold"):
            return 2
    return None


def _labels(args: Args, classes: int) -> list[int]:
    """Which arguments are labels: integers that all are in range."""

    def is_labels(leaf: Any) -> bool:
        if not isinstance(leaf, Tensor) or not leaf.ndim or leaf.is_floating_point() or leaf.dtype == torch.bool:
            return False
        return bool(leaf.numel()) and bool(((leaf >= 0) & (leaf < classes)).all())

    return [i for i, leaf in enumerate(leaves(args)) if is_labels(leaf)]


@law(
    "a label that is no class counts as one: padding, or a label of another data set, changes the value",
    strict=True,
    rounding=False,
)
def labels_in_range(subject: MetricSubject, case: Case) -> None:
    """A sample whose label is none of the classes is refused, or it is as if it were not there."""
    classes = _classes(subject.new())
    if classes is None:
        raise NotApplicable("it has no num_classes, num_labels or threshold, so which labels there are is unknown")
    args = divisible(case.sample)
    n, columns = count(args), _labels(args, classes)
    if n < 2 or not columns:
        return
    column = case.draw("argument", st.sampled_from(columns))
    label = case.draw("label", st.sampled_from([classes, -1, classes + 2, 255, -100]))
    sample = case.draw("sample", st.integers(0, n - 1))
    without = subject.updated([take(args, [i for i in range(n) if i != sample])]).compute()

    def value(planted: int) -> Any:
        return subject.value([_planted(args, column, sample, planted)])

    if _shapes(subject.value([args])) != _shapes(without):
        raise NotApplicable("its value has a part for each sample")
    others = take(args, [i for i in range(n) if i != sample])
    case.program(_PLANTED, batch=_planted(args, column, sample, label), others=others)
    try:
        found = value(label)
    except Exception:
        return  # refused
    if not difference(found, without, subject.close):
        return
    same = [k for k in range(classes) if not _differs(subject, found, lambda k=k: value(k))]
    taken = f", as if it were {same[0]}" if len(same) == 1 else ""
    raise Broken.in_words(
        f"with a label {label} beside {classes} classes you report {plainly(found)} where the other samples give "
        f"{plainly(without)}: it counts{taken}"
    )


_PLANTED = """
print(updated(make(), [batch]).compute())
print(updated(make(), [others]).compute())
"""


def _differs(subject: MetricSubject, found: Any, other: Any) -> bool:
    try:
        return bool(difference(found, other(), subject.close))
    except Exception:
        return True


def _planted(args: Args, column: int, sample: int, label: int) -> Args:
    """The same batch with this label throughout one sample of one argument."""
    numbers = iter(range(len(leaves(args))))

    def plant(leaf: Any) -> Any:
        if next(numbers) != column:
            return leaf
        planted = leaf.to(torch.int64) if leaf.element_size() < 8 else leaf.clone()
        planted[sample] = label
        return planted

    return rebuilt(args, plant)


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return {name: _shapes(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_shapes(part) for part in value]
    return None
