"""Holding a metric to the laws: `check_metric` raises, `examine_metric` says how each law ended.

check_metric(lambda: MulticlassAccuracy(num_classes=3), labelled_batches(num_classes=3))
violations_of_metric(MeanOfBatchMeans, labelled_batches(num_classes=3))     # {"batch_size": "in batches of ..."}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import currently_in_test_context
from hypothesis.strategies import SearchStrategy

from lwcallbacks.testing import laws_of_data, laws_of_epochs, laws_of_state
from lwcallbacks.testing.declared import declared
from lwcallbacks.testing.errors import NotExaminable
from lwcallbacks.testing.examining import Blob, examine_all, failure, one_thread
from lwcallbacks.testing.law import Finding, Laws, kept_all_the_same, with_reasons
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.reference import USUAL, Reference
from lwcallbacks.testing.same import Closeness
from lwcallbacks.testing.tried import first_try
from lwcallbacks.testing.world import contained_metrics
from lwcallbacks.warn import warn

METRIC_LAWS: Laws[MetricSubject] = Laws({**laws_of_epochs.LAWS, **laws_of_data.LAWS, **laws_of_state.LAWS})
"""In the order in which they are tried: one that explains others comes before them."""
_REAL_EXAMPLES = 3
"""How many examples of a law real processes are started for; each takes about half a second."""


def check_metric(
    factory: Callable[[], Any],
    batches: SearchStrategy[Any],
    *,
    exact: bool = True,
    atol: float | None = None,
    rtol: float = 0.0,
    examples: int | None = None,
    seed: int | None = None,
    laws: Iterable[str] | None = None,
    known: Mapping[str, str] | None = None,
    confirm: bool = False,
    reproduce: Blob | None = None,
    reference: Callable[..., Any] | None = None,
    tolerances: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Hold a metric to the laws, and raise at the first that it breaks.

    Args:
        factory: makes the metric; called often.
        batches: a strategy for lists of batches, each the tuple of arguments of one `update`.
        exact: whether values must have the same bits. A float sum depends on its order, and is to be checked with
            `exact=False` and `atol`, `rtol` or both: |a - b| <= atol + rtol |b|. Where float32 values differ by more,
            the example is tried again in float64: what is gone there is rounding, and no violation.
        examples: how many examples a law, by default the environment's LWCALLBACKS_EXAMPLES, else `max_examples` of
            the profile of hypothesis that you loaded, else 50; within a test of hypothesis 5. Laws whose verdict hardly
            depends on the data take half of them, and no fewer than 20.
        seed: of another draw of examples than the usual one.
        laws: names of `METRIC_LAWS`; by default all but those about speed ("no_host_wait"), the strict ones
            ("stale_value", "checkpoint_unchanged", "update_count", "labels_in_range") and "buffers_reused", which any
            list state breaks.
        known: laws that are broken, and why that is all right: {"order": "ties, issue 2022"}. Once such a law is kept,
            its entry is an error (not within a test of hypothesis). A metric says it of itself by an attribute
            `known_violations`; some of torchmetrics, as BootStrapper, are known.
        confirm: whether to run a counterexample about processes once on real ones, on gloo, and to say what happened.
            It takes some seconds; where they agree with one process, the law counts as kept. A metric that calls
            torch.distributed itself is not simulated: with `confirm=True` its laws about processes are tried on real
            ones, and else a warning says that they are not tried.
        reproduce: what a message said after "reproduce=", to have its example again.
        reference: a function of all samples at once, such as scikit-learn's: it gets the arguments of one `update`,
            and returns what `compute` should. Of a dict it may return some keys; None where it says nothing.
        tolerances: of single laws, by name, as {"reference": {"rtol": 1e-4}}; with "atol", "rtol" or both. For the law
            `reference` it is atol=1e-6, rtol=1e-5 unless you say so.

    Raises:
        LawViolation: the metric breaks a law that is not known to be broken.
        NotExaminable: plain update and compute raise on these batches, or the factory makes no metric.
        AssertionError: a law of `known` is kept; raised after all laws were tried.
        ValueError: an unknown law, a reason without words, a tolerance that does not fit `exact`, or a reference that
            returned only None.

    Examples:
        >>> from torchmetrics.classification import MulticlassAccuracy
        >>> from lwcallbacks.testing import labelled_batches
        >>> def micro():
        ...     return MulticlassAccuracy(num_classes=3, average="micro")
        >>> check_metric(micro, labelled_batches(num_classes=3), laws=["batch_size", "order", "shards"], examples=10)
    """
    __tracebackhide__ = True
    options = _Options(exact, atol, rtol, examples, seed, laws, known, confirm, reproduce, reference, tolerances)
    _examine(factory, batches, options, stop=True)


def examine_metric(
    factory: Callable[[], Any],
    batches: SearchStrategy[Any],
    *,
    exact: bool = True,
    atol: float | None = None,
    rtol: float = 0.0,
    examples: int | None = None,
    seed: int | None = None,
    laws: Iterable[str] | None = None,
    known: Mapping[str, str] | None = None,
    confirm: bool = False,
    reproduce: Blob | None = None,
    reference: Callable[..., Any] | None = None,
    tolerances: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Finding]:
    """The `Finding` of each law: kept, broken, not applicable, ..., and why. As `check_metric`, but of all laws.

    Of all but "buffers_reused", which is tried where it is named.

    A metric that cannot be examined on this data has that finding, "not examined", under each law.

    Examples:
        >>> import torch
        >>> from hypothesis import strategies as st
        >>> from torchmetrics import SumMetric
        >>> from lwcallbacks.testing import tensors
        >>> batches = st.lists(st.tuples(tensors(3, torch.int64)), min_size=1)
        >>> findings = examine_metric(SumMetric, batches, laws=["order", "reset"], examples=10)
        >>> {name: finding.outcome for name, finding in findings.items()}
        {'order': 'kept', 'reset': 'kept'}
    """
    __tracebackhide__ = True
    laws = [law.name for law in METRIC_LAWS.values() if not law.asked] if laws is None else laws
    options = _Options(exact, atol, rtol, examples, seed, laws, known, confirm, reproduce, reference, tolerances)
    try:
        return _examine(factory, batches, options, stop=False)
    except NotExaminable as problem:
        finding = problem.finding or Finding("not examined", str(problem))
        return {law.name: finding for law in METRIC_LAWS.selected(laws)}


def violations_of_metric(factory: Callable[[], Any], batches: SearchStrategy[Any], **options: Any) -> dict[str, str]:
    """The message of each broken law by its name; the options are those of `examine_metric`.

    Raises:
        NotExaminable: plain update and compute raise on these batches, or the factory makes no metric.

    Examples:
        >>> import torch
        >>> from hypothesis import strategies as st
        >>> from torchmetrics.aggregation import RunningMean
        >>> from lwcallbacks.testing import tensors
        >>> batches = st.lists(st.tuples(tensors(2, torch.int64)), min_size=1)
        >>> list(violations_of_metric(RunningMean, batches, laws=["order", "state_dict_round_trip"]))
        ['state_dict_round_trip']
        >>> METRIC_LAWS["order"].means
        'the value of an epoch depends on the order of the data: ...'
    """
    __tracebackhide__ = True
    findings = examine_metric(factory, batches, **options)
    for finding in findings.values():
        if finding.outcome == "not examined":
            raise failure(MetricSubject(factory), finding)
    return {name: finding.message for name, finding in findings.items() if finding.outcome == "broken"}


@dataclass(frozen=True)
class _Options:
    """What `check_metric` and `examine_metric` are given."""

    exact: bool
    atol: float | None
    rtol: float
    examples: int | None
    seed: int | None
    laws: Iterable[str] | None
    known: Mapping[str, str] | None
    confirm: bool
    reproduce: Blob | None
    reference: Callable[..., Any] | None
    tolerances: Mapping[str, Mapping[str, float]] | None

    def closeness(self) -> Closeness | None:
        tolerant = self.atol is not None or self.rtol > 0
        if self.exact is tolerant:
            found, wanted = ("exact=True", "no atol and rtol") if self.exact else ("exact=False", "atol=1e-6, or rtol=")
            raise ValueError(f"check_metric: {found}, expected {wanted}")
        return Closeness(self.atol or 0.0, self.rtol) if tolerant else None


def _examine(
    factory: Callable[[], Any], batches: SearchStrategy[Any], options: _Options, *, stop: bool
) -> dict[str, Finding]:
    __tracebackhide__ = True
    own = {name: _closeness(name, tolerance) for name, tolerance in (options.tolerances or {}).items()}
    if options.reference is not None and not callable(options.reference):
        raise ValueError(f"check_metric: reference={options.reference!r}, expected a function of all samples at once")
    said = None if options.reference is None else Reference(options.reference, own.get("reference", USUAL))
    subject = MetricSubject(factory, options.closeness(), reference=said)
    selected = METRIC_LAWS.selected(options.laws)
    known = with_reasons(METRIC_LAWS, options.known if options.known is not None else {}, "known")
    with one_thread(), _random_state_kept():
        processes = any(one.processes for one in selected)
        subject = first_try(subject, batches, examples=options.examples, seed=options.seed, processes=processes)
        design = declared(contained_metrics(factory()), METRIC_LAWS)
        said_of = {**design, **known}
        if "batch_size" in said_of:  # whoever says so of a metric that draws at random says it of this law as well
            design.setdefault("repeatable", said_of["batch_size"])
        findings: dict[str, Finding] = {}
        for one in selected:
            own_way = one.processes and bool(subject.own_calls)
            if own_way and not (options.confirm and hasattr(os, "fork")):
                findings[one.name] = Finding("not simulated", _not_simulated(subject))
                continue
            found = examine_all(
                [one],
                replace(subject, close=own.get(one.name, subject.close), real=own_way),
                batches,
                name="batches",
                examples=_REAL_EXAMPLES if own_way else options.examples,
                seed=options.seed,
                stop=stop,
                known=known,
                design=design,
                confirm=options.confirm and not own_way,
                reproduce=options.reproduce,
                shrink=not own_way,
            )
            if own_way and found[one.name].outcome == "kept":
                told = f"on {_REAL_EXAMPLES} examples by real processes (gloo), since simulated ones do not answer it"
                found = {one.name: Finding("kept", told)}
            if one.name not in said_of and found[one.name].outcome == "kept" and one.name in design:
                found = {one.name: Finding("kept", "")}  # nobody has said that it is broken
            findings |= found
        if stop and (left := [name for name, finding in findings.items() if finding.outcome == "not simulated"]):
            warn(f"lwcallbacks: {subject}: not tried: {', '.join(left)}: {findings[left[0]].message}")
    finding = findings.get("reference")
    if said is not None and finding and finding.outcome == "kept" and not said.answers:
        raise ValueError("check_metric: reference= returned None for each example, expected a value for some")
    if stop and not currently_in_test_context():  # there, a law may be broken for other arguments that are drawn
        kept = [name for name in known if name in findings and findings[name].outcome in ("kept", "rounding")]
        if kept:
            raise AssertionError("; ".join(kept_all_the_same(name, known[name], subject) for name in kept))
    return findings


@contextmanager
def _random_state_kept() -> Iterator[None]:
    before = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _not_simulated(subject: MetricSubject) -> str:
    asked = "; ".join(subject.own_calls)
    if not hasattr(os, "fork"):
        return f"it asks for its process by itself, which is not simulated, and this system cannot fork: {asked}"
    advice = "let real processes judge it, by confirm=True, or in pytest by --metric-laws-processes 2"
    return f"it asks for its process by itself, which is not simulated; {advice}: {asked}"


def _closeness(name: str, tolerance: Mapping[str, float]) -> Closeness:
    METRIC_LAWS.selected([name], "tolerances")
    if not isinstance(tolerance, Mapping) or not tolerance or set(tolerance) - {"atol", "rtol"}:
        found = f"{name!r}: {tolerance}"
        raise ValueError(f"check_metric: tolerances={{{found}}}, expected 'atol', 'rtol' or both, as {{'rtol': 1e-4}}")
    return Closeness(**tolerance)
