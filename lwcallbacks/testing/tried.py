"""Try a metric on its data before any law: plain update and compute.

    first_try(subject, batches, examples=50, seed=None)     # MetricSubject, with `least` set; or NotExaminable

What raises here is no fault against a law: the arguments do not fit, the factory makes no metric, NaNs are not taken.
"""

from __future__ import annotations

import inspect
import linecache
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from hypothesis.strategies import SearchStrategy
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lwcallbacks.testing.errors import NotExaminable
from lwcallbacks.testing.examining import failure, search
from lwcallbacks.testing.law import Case, Finding, Law
from lwcallbacks.testing.own_calls import own_calls
from lwcallbacks.testing.same import shown
from lwcallbacks.testing.samples import Args, Indivisible, copied, count, cut_evenly, join, leaves
from lwcallbacks.testing.world import World, in_common

if TYPE_CHECKING:
    from lwcallbacks.testing.metric_subject import MetricSubject

_KEPT = 8  # examples on which the least batch is tried
_WATCHED = 3  # examples on which it is watched what a metric asks for by itself


class _Unusable(Exception):
    """The first thing that failed, and what to change; the cause is what was raised."""


def first_try(
    subject: MetricSubject, strategy: SearchStrategy[Any], *, examples: int | None, seed: int | None, processes: bool
) -> MetricSubject:
    """The subject, with the least batch that it may be given; for laws about processes, with what it asks for itself.

    Raises:
        NotExaminable: the metric has no value on the data that the strategy draws.
    """
    __tracebackhide__ = True
    seen: list[list[Args]] = []
    smallest: list[int] = []
    first: list[list[Args]] = []

    def plain(subject: MetricSubject, case: Case) -> None:
        _update_and_compute(subject, case.original)
        first[_WATCHED:] = []
        first.append(case.sample)
        _ask_reference(subject, case.original)
        with suppress(Indivisible):
            smallest.extend(n for n in map(count, case.original) if n)
            seen[_KEPT:] = []
            seen.append(case.sample)

    _made(subject)  # where no data is at fault
    law: Law[Any] = Law("plain update and compute", "", plain)
    found = search(law, subject, strategy, name="batches", examples=examples, seed=seed)
    if found.case is not None and found.error is not None:
        told = found.error if isinstance(found.error, NotExaminable) else _problem(found.error, subject, found.case)
        # A new one, without the engine's lines in its traceback.
        raise failure(subject, told.finding or Finding("not examined", str(told))) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calls = _own_calls(subject, first[:_WATCHED]) if processes else ()
        return replace(subject, least=_least(subject, seen, min(smallest, default=1)), own_calls=calls)


def _own_calls(subject: MetricSubject, examples: Sequence[list[Args]]) -> Sequence[str]:
    """Where a metric asks for its process by itself: on two processes, with and without data, and in a step."""
    with own_calls() as calls:
        for batches in examples:
            for other in (batches, []):
                with suppress(Exception):  # of which the laws speak
                    World(2).compute_all([subject.updated(batches), subject.updated(other)])
            with suppress(Exception):
                metric = subject.new()
                for args in batches:
                    metric(*copied(args))
                metric.compute()
                metric.reset()
    return calls


def refused(subject: MetricSubject, case: Case) -> NotExaminable | None:
    """What says that plain update and compute raise on this example; None where they do not."""
    try:
        _update_and_compute(subject, case.original)
    except Exception as error:
        case.program(_PLAIN, batches=case.original)
        return _problem(error, subject, case)
    return None


_PLAIN = "print(updated(make(), batches).compute())"


def _made(subject: MetricSubject) -> Any:
    __tracebackhide__ = True
    if isinstance(subject.factory, Metric | MetricCollection):
        raise _problem(
            _Unusable("write a function that makes a new one: lambda: ..."),
            subject,
            None,
            "the factory is a metric itself",
        )
    try:
        metric = subject.factory()
    except Exception as error:
        told = "have the factory make the metric when it is called without arguments"
        unusable = _Unusable(told)
        unusable.__cause__ = error
        raise _problem(unusable, subject, None, "the factory") from None
    if not isinstance(metric, Metric | MetricCollection):
        what = f"the class {metric.__name__}" if isinstance(metric, type) else f"{type(metric).__name__}"
        advice = f"write lambda: {metric.__name__}(...)" if isinstance(metric, type) else "return the metric"
        wanted = "expected a torchmetrics.Metric, a wrapper of one, or a MetricCollection"
        raise _problem(_Unusable(advice), subject, None, f"the factory made {what}, {wanted}")
    if shared := in_common(metric, subject.factory()):
        what = f"the factory gives the same {' and '.join(shared)} each time, expected a new metric"
        advice = f"write lambda: {type(metric).__name__}(...), and make what it contains in there, too"
        raise _problem(_Unusable(advice), subject, None, what)
    return metric


def _update_and_compute(subject: MetricSubject, batches: Any) -> None:
    """Plain update and compute, with words for what people most often get wrong."""
    if not isinstance(batches, list) or not all(isinstance(args, tuple) for args in batches):
        raise _Unusable(_as_tuples(batches))
    metric = subject.new()
    for args in batches:
        try:
            inspect.signature(metric.update).bind(*args)
        except TypeError as error:
            raise _Unusable(_arguments(metric, args)) from error
        except ValueError:
            pass  # a signature that Python cannot tell
        try:
            metric.update(*args)
        except Exception as error:
            raise _Unusable(_advice(error, args)) from error
    try:
        value = metric.compute()
    except Exception as error:
        raise _Unusable(_advice(error, batches)) from error
    if value is None:
        raise _Unusable("have compute return the value") from TypeError("compute returned None")


def _ask_reference(subject: MetricSubject, batches: Any) -> None:
    """A reference that raises says nothing of the metric."""
    if subject.reference is None:
        return
    try:
        with suppress(Indivisible):
            subject.reference.of(batches)
    except AssertionError as error:
        raise _Unusable("mend reference=, or let it return None where it says nothing") from error.__cause__


def _arguments(metric: Any, args: tuple[Any, ...]) -> str:
    """What to change where the arguments do not fit. Those of a tuple have no names."""
    signature = inspect.signature(metric.update)
    parameters = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty]
    taken = parameters if len(args) == len(parameters) else needed
    if all(p.kind is not p.KEYWORD_ONLY for p in taken):
        return f"draw for each batch the tuple of arguments of update{signature}"
    name = type(metric).__name__
    given = ", ".join(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name for p in taken)
    names = ", ".join(p.name for p in taken)
    tuples = f"({names}{',' * (len(taken) == 1)})"
    return (
        f"examine a class whose update takes arguments by position, for tuples {tuples}:\n"
        f"    class {name}ByPosition({name}):\n"
        f"        def update(self, {names}):\n"
        f"            super().update({given})"
    )


def _as_tuples(drawn: Any) -> str:
    if isinstance(drawn, list) and drawn and isinstance(drawn[0], dict):
        names = ", ".join(f"batch[{name!r}]" for name in drawn[0])
        return f"make tuples of them: strategy.map(lambda batches: [({names},) for batch in batches])"
    if isinstance(drawn, list):
        one = "tuple(batch)" if isinstance(drawn[0], list) else "(batch,)"
        return f"make tuples of them: strategy.map(lambda batches: [{one} for batch in batches])"
    return "draw a list of batches, each a tuple: st.lists(strategy, min_size=1, max_size=4)"


def _advice(error: Exception, args: Any) -> str:
    floats = [x for x in _tensors(args) if x.is_floating_point()]
    if "nan" in str(error).lower() and any(bool(x.isnan().any()) for x in floats):
        return 'draw no NaN, as floats32(3, nan=False) does; or make the metric with nan_strategy="ignore"'
    return "draw what the metric takes, or make it with arguments that fit the data"


def _tensors(args: Any) -> list[Tensor]:
    parts = args if isinstance(args, list) else [args]
    found: list[Tensor] = []
    for leaf in (leaf for part in parts for leaf in leaves(part)):
        found += [leaf] if isinstance(leaf, Tensor) else _tensors(leaf) if isinstance(leaf, list) else []
    return found


def _problem(error: Exception, subject: MetricSubject, case: Case | None, what: str = "") -> NotExaminable:
    cause = error.__cause__ if isinstance(error, _Unusable) else error
    drawn = shown(case.original) if case else ""
    if cause is not None:
        told = f"{type(cause).__name__}: {cause}"
        told = f"{what} raised {told}" if what else told
    elif what:
        told = what
    else:
        told = f"batches are {_kind(case.original) if case else ''}, expected a list of tuples"
    lines = [f"could not be examined on this data: {told}"]
    if cause is not None and (place := _place(cause.__traceback__)):
        lines.append(f"  raised in: {place}")
    if code := getattr(subject.factory, "__code__", None):
        lines.append(f"  made in: {code.co_filename}:{code.co_firstlineno}")
    lines.append(f"  what to change: {error}" if isinstance(error, _Unusable) else "  what to change: see above")
    if case is not None:
        lines.append(f"  with: batches = {drawn}")
    message = "\n".join(lines)
    finding = Finding("not examined", message, source=subject.script(case) if case else "")
    problem = NotExaminable(f"{subject} {message}")
    problem.finding = finding
    return problem


def _kind(drawn: Any) -> str:
    if isinstance(drawn, list) and drawn:
        other = next(args for args in drawn if not isinstance(args, tuple))
        return f"a list of {type(other).__name__}"
    return type(drawn).__name__


def _place(trace: TracebackType | None) -> str:
    """Where it was raised: the last line that is neither of an installed package nor of this one, else the last."""
    frames = [frame for frame in traceback.extract_tb(trace) if not _is_ours(frame.filename)]
    if not frames:
        return ""
    own = [frame for frame in frames if "site-packages" not in Path(frame.filename).parts]
    frame = (own or frames)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{frame.filename}:{frame.lineno}, {frame.name}: {line}"


def _is_ours(filename: str) -> bool:
    return Path(filename).parent == Path(__file__).parent or filename == inspect.__file__


def _least(subject: MetricSubject, seen: Sequence[list[Args]], smallest: int) -> int:
    """The least batch that can be cut: one that the strategy draws, or a smaller one that gives a value as well."""
    for size in range(1, smallest):
        if all(_works(subject, batches, size) for batches in seen):
            return size
    return smallest


def _works(subject: MetricSubject, batches: list[Args], size: int) -> bool:
    try:
        samples = join(batches)
        cut = cut_evenly(samples, size)
        values = (subject.value(cut), subject.value(cut[:1]))  # one alone is what a process may have
        return not any(map(has_nan, values)) or has_nan(subject.value([samples]))
    except Exception:
        return False


def has_nan(value: Any) -> bool:
    """Whether there is a NaN anywhere in a value."""
    if isinstance(value, dict):
        return any(map(has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_nan, value))
    return (
        bool(value != value)
        if isinstance(value, float)
        else isinstance(value, Tensor) and bool(value.is_floating_point() and torch.isnan(value).any())
    )
