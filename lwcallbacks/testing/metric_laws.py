"""Laws of metrics: what must be true for an epoch's value to be about the samples, and nothing else.

    check_metric(lambda: MulticlassAccuracy(num_classes=3), labelled_batches(num_classes=3))
    violations_of_metric(MeanOfBatchMeans, labelled_batches(num_classes=3))     # {"batch_size": "law batch_size ..."}

A metric is whatever torchmetrics accepts for one, wrappers and `MetricCollection` among them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lwcallbacks.reductions.choice import Chosen
from lwcallbacks.testing.host_sync import forbid_host_sync
from lwcallbacks.testing.law import Broken, Case, Finding, Laws, NotApplicable, examine_all
from lwcallbacks.testing.same import Closeness, difference
from lwcallbacks.testing.samples import Args, Indivisible, copied, count, join, on_device, pieces, take
from lwcallbacks.testing.sim_device import second_device
from lwcallbacks.testing.world import World, contained_metrics


@dataclass(frozen=True)
class MetricSubject:
    """A metric under examination: how one is made, and when two of its values are the same."""

    factory: Callable[[], Any]
    close: Closeness | None = None

    def __str__(self) -> str:
        return type(self.factory()).__name__

    def new(self) -> Any:
        """A metric that computes each time that it is asked to: a cached value would hide what a law is about."""
        metric = self.factory()
        for part in contained_metrics(metric):
            part.compute_with_cache = False
        return metric

    def updated(self, batches: Sequence[Args]) -> Any:
        metric = self.new()
        for args in batches:
            metric.update(*args)
        return metric

    def value(self, batches: Sequence[Args]) -> Any:
        return self.updated(batches).compute()

    def expect_same(self, found: Any, expected: Any, told: str) -> None:
        """Raise Broken where two values are not the same; `told` says what they are of."""
        if where := difference(found, expected, self.close):
            raise Broken(f"{told}: {where}")


METRIC_LAWS: Laws[MetricSubject] = Laws()
law = METRIC_LAWS.law


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
) -> None:
    """Hold a metric to the laws, and raise at the first that it breaks.

    Args:
        factory: makes the metric; called often.
        batches: a strategy for lists of batches, each the tuple of arguments of one `update`.
        exact: whether values must have the same bits. A float sum depends on its order, and is to be checked with
            `exact=False` and `atol`, `rtol` or both: |a - b| <= atol + rtol |b|.
        examples: how many examples a law, by default the environment's LWCALLBACKS_EXAMPLES, else 50.
        seed: of another draw of examples than the usual one.
        laws: names of `METRIC_LAWS`; by default all but those about speed ("no_host_wait") and the strict ones
            ("stale_value", "checkpoint_unchanged", "update_count", "labels_in_range").

    Raises:
        LawViolation: the metric breaks a law.
        ValueError: an unknown law, or a tolerance that does not fit `exact`.

    Examples:
        >>> from torchmetrics.classification import MulticlassAccuracy
        >>> from lwcallbacks.testing import labelled_batches
        >>> def micro():
        ...     return MulticlassAccuracy(num_classes=3, average="micro")
        >>> check_metric(micro, labelled_batches(num_classes=3), laws=["batch_size", "order", "shards"], examples=10)
    """
    _examine(factory, batches, exact, atol, rtol, examples, seed, laws, stop=True)


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
) -> dict[str, Finding]:
    """The `Finding` of each law: kept, broken or not applicable, and why. As `check_metric`, but of all laws.

    Examples:
        >>> from torchmetrics import SumMetric
        >>> from lwcallbacks.testing import tensors
        >>> batches = st.lists(st.tuples(tensors(3, torch.int64)), min_size=1)
        >>> findings = examine_metric(SumMetric, batches, laws=["order", "reset"], examples=10)
        >>> {name: finding.outcome for name, finding in findings.items()}
        {'order': 'kept', 'reset': 'kept'}
    """
    laws = METRIC_LAWS if laws is None else laws
    return _examine(factory, batches, exact, atol, rtol, examples, seed, laws, stop=False)


def violations_of_metric(factory: Callable[[], Any], batches: SearchStrategy[Any], **options: Any) -> dict[str, str]:
    """The message of each broken law by its name; the options are those of `examine_metric`.

    Examples:
        >>> from torchmetrics import CatMetric
        >>> from lwcallbacks.testing import floats32
        >>> list(violations_of_metric(CatMetric, st.lists(st.tuples(floats32(2)), min_size=1), laws=["order"]))
        ['order']
        >>> METRIC_LAWS["order"].means
        'the value of an epoch depends on the order of the data: ...'
    """
    findings = examine_metric(factory, batches, **options)
    return {name: finding.message for name, finding in findings.items() if finding.outcome == "broken"}


def _examine(
    factory: Callable[[], Any],
    batches: SearchStrategy[Any],
    exact: bool,
    atol: float | None,
    rtol: float,
    examples: int | None,
    seed: int | None,
    laws: Iterable[str] | None,
    stop: bool,
) -> dict[str, Finding]:
    tolerant = atol is not None or rtol > 0
    if exact is tolerant:
        found, wanted = ("exact=True", "no atol and rtol") if exact else ("exact=False", "atol=1e-6, or rtol=")
        raise ValueError(f"check_metric: {found}, expected {wanted}")
    subject = MetricSubject(factory, Closeness(atol or 0.0, rtol) if tolerant else None)
    selected = METRIC_LAWS.selected(laws)
    return examine_all(selected, subject, batches, name="batches", examples=examples, seed=seed, stop=stop)


def _divisible(batches: Sequence[Args]) -> Args:
    """All samples as one batch; a law about samples does not apply where there is no such thing."""
    try:
        return join(batches)
    except Indivisible as reason:
        raise NotApplicable(str(reason)) from None


def _for_two(batches: Sequence[Args]) -> Sequence[Args]:
    """At least two batches, so that two processes have some; one batch alone is cut into its samples."""
    if len(batches) == 1:
        with suppress(Indivisible):
            batches = pieces(batches[0], [1] * count(batches[0]))
    assume(len(batches) > 1)
    return batches


def _without_payload(value: Any) -> Any:
    """A value as processes but the first have it: without the pictures of a choice."""
    if isinstance(value, Chosen):
        return Chosen(value.ids, value.scores, ())
    if isinstance(value, dict):
        return {name: _without_payload(part) for name, part in value.items()}
    return value


@law("the value of an epoch depends on the batch size: with another batch_size you report another value")
def batch_size(subject: MetricSubject, case: Case) -> None:
    """Any way to cut the samples into batches gives the same value."""
    samples = _divisible(case.sample)
    expected = subject.value([samples])
    subject.expect_same(subject.value(case.sample), expected, "in these batches, and all in one")
    sizes = case.sizes(count(samples))
    subject.expect_same(subject.value(pieces(samples, sizes)), expected, f"in batches of {sizes}, and all in one")


@law("the value of an epoch depends on the order of the data: another shuffle of the same samples gives another value")
def order(subject: MetricSubject, case: Case) -> None:
    """Any order of the batches, and of the samples in each, gives the same value."""
    batches = case.draw("in another order", st.permutations(case.sample).map(list))
    with suppress(Indivisible):
        batches = [take(args, case.draw("samples", st.permutations(range(count(args))))) for args in batches]
    subject.expect_same(subject.value(batches), subject.value(case.sample), "in another order, and in the first")


@law("the value depends on how data is spread over processes: with another number of GPUs you report another value")
def shards(subject: MetricSubject, case: Case) -> None:
    """Processes with uneven shares compute, each, what one process computes of everything."""
    batches = _for_two(case.sample)
    size = case.draw("processes", st.integers(2, min(4, len(batches))))
    cuts = sorted(
        case.draw("share ends", st.sets(st.integers(1, len(batches) - 1), min_size=size - 1, max_size=size - 1))
    )
    shares = [batches[start:end] for start, end in zip([0, *cuts], [*cuts, len(batches)], strict=True)]
    values = World(size).compute_all([subject.updated(share) for share in shares])
    subject.expect_same(values[0], subject.value(batches), f"on {size} processes, and on one")
    for rank, value in enumerate(values[1:], 1):
        told = f"on process {rank}, and on process 0"
        subject.expect_same(_without_payload(value), _without_payload(values[0]), told)


@law("a process that got no batch changes the value, or stops the training: data sets smaller than the number of GPUs")
def empty_process(subject: MetricSubject, case: Case) -> None:
    """A process without data does not change the value."""
    without = case.draw("process without data", st.integers(0, 1))
    shares = [[], case.sample] if without == 0 else [case.sample, []]
    values = World(2).compute_all([subject.updated(share) for share in shares])
    expected = subject.value(case.sample)
    subject.expect_same(values[0], expected, "beside a process without data, and alone")
    subject.expect_same(_without_payload(values[1]), _without_payload(expected), "on process 1, and alone")


@law("asking for the value changes it: logging a metric in mid-epoch, or twice, alters what the epoch ends with")
def compute_is_pure(subject: MetricSubject, case: Case) -> None:
    """Computing twice gives the same, and computing in between changes nothing."""
    metric = subject.new()
    for args in case.sample:
        metric.update(*args)
        first = metric.compute()
        subject.expect_same(metric.compute(), first, "computed a second time, and the first time")
    subject.expect_same(metric.compute(), subject.value(case.sample), "computed in between, and only at the end")


@law(
    "the value logged for a step is not that of its batch: on_step curves show something else than the data of the step"
)
def step_value(subject: MetricSubject, case: Case) -> None:
    """`forward` returns what a fresh metric computes of that batch alone."""
    metric = subject.new()
    for i, args in enumerate(case.sample):
        step = metric(*args)
        subject.expect_same(step, subject.value([args]), f"forward of batch {i}, and a fresh metric of that batch")


@law("logging step values changes the epoch's value: on_step=True alters what on_epoch=True reports")
def forward_accumulates(subject: MetricSubject, case: Case) -> None:
    """`forward` accumulates what `update` accumulates."""
    metric = subject.new()
    for args in case.sample:
        metric(*args)
    subject.expect_same(metric.compute(), subject.value(case.sample), "after forward, and after update")


@law("merging two metrics is not seeing the data of both: values merged from several runs or workers are wrong")
def merge_state(subject: MetricSubject, case: Case) -> None:
    """`merge_state` gives what one metric gives that saw the data of both, and leaves the other alone."""
    batches = _for_two(case.sample)
    cut = case.draw("first", st.integers(1, len(batches) - 1))
    first, second = subject.updated(batches[:cut]), subject.updated(batches[cut:])
    if not hasattr(first, "merge_state"):
        raise NotApplicable("it has no merge_state")
    before = second.compute()
    try:
        first.merge_state(second)
    except (RuntimeError, NotImplementedError) as refusal:
        if "not supported" in str(refusal) or isinstance(refusal, NotImplementedError):
            raise NotApplicable(str(refusal)) from None
        raise
    subject.expect_same(first.compute(), subject.value(batches), "merged from two, and of one that saw everything")
    subject.expect_same(second.compute(), before, "the second metric after it was merged, and before")


@law("the metric writes into the batch: the loss, or the next metric, sees other data than the loader gave")
def inputs_unchanged(subject: MetricSubject, case: Case) -> None:
    """Neither `update` nor `forward` nor `compute` changes the tensors that were given."""
    metric = subject.new()
    for args in case.sample:
        given = copied(args)
        metric.update(*given)
        metric(*given)
        metric.compute()
        if where := difference(given, args, nan_bits=True):
            raise Broken(f"an argument after the update, and before: {where}")


@law("reset leaves something behind: the second epoch's value holds some of the first's data")
def reset(subject: MetricSubject, case: Case) -> None:
    """After `reset` a metric is as good as a new one."""
    metric = subject.updated(case.sample)
    metric.compute()
    metric.reset()
    batches = case.sample[: case.draw("batches after the reset", st.integers(1, len(case.sample)))]
    for args in batches:
        metric.update(*args)
    subject.expect_same(metric.compute(), subject.value(batches), "after a reset, and of a new metric")


@law("a clone shares state with its original: train and val metrics made by clone() count each other's data")
def clone_is_independent(subject: MetricSubject, case: Case) -> None:
    """A clone starts equal, and what it sees afterwards is no business of the original."""
    metric = subject.updated(case.sample)
    expected = metric.compute()
    clone = metric.clone()
    subject.expect_same(clone.compute(), expected, "of a clone, and of the original")
    for args in case.sample:
        clone.update(*args)
    subject.expect_same(metric.compute(), expected, "of the original after its clone was updated, and before")
    twice = subject.value([*case.sample, *case.sample])
    subject.expect_same(clone.compute(), twice, "of a clone that saw everything again, and of a new metric")


@law("the metric cannot be sent to another process, or arrives with other data: spawned workers and saved objects")
def pickle_round_trip(subject: MetricSubject, case: Case) -> None:
    """A pickled metric comes back with its data, and goes on counting."""
    metric = pickle.loads(pickle.dumps(subject.updated(case.sample)))
    subject.expect_same(metric.compute(), subject.value(case.sample), "after pickling, and before")
    for args in case.sample:
        metric.update(*args)
    twice = subject.value([*case.sample, *case.sample])
    subject.expect_same(metric.compute(), twice, "updated after pickling, and of one that never was pickled")


@law("a resumed run reports another value: what the checkpoint holds of the metric is not all that it needs")
def state_dict_round_trip(subject: MetricSubject, case: Case) -> None:
    """A persistent state, saved by torch and loaded with weights_only=True into a new metric, goes on where it was."""
    cut = case.draw("batches before the checkpoint", st.integers(1, len(case.sample)))
    saved, resumed = subject.updated(case.sample[:cut]), subject.new()
    for part in (*contained_metrics(saved), *contained_metrics(resumed)):
        part.persistent(True)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    subject.expect_same(resumed.compute(), saved.compute(), "loaded from a checkpoint, and saved")
    for args in case.sample[cut:]:
        resumed.update(*args)
    subject.expect_same(resumed.compute(), subject.value(case.sample), "resumed, and never interrupted")


@law("the value depends on the device, or the metric does not work on one")
def device(subject: MetricSubject, case: Case) -> None:
    """On a second device, simulated or real, the value is the same."""
    second = second_device()
    if second is None:
        raise NotApplicable("there is no second device; lwcallbacks.testing.simulated_device() makes one")
    metric = subject.new().to(second)
    for args in case.sample:
        metric.update(*on_device(args, second))
    subject.expect_same(metric.compute(), subject.value(case.sample), f"on {second}, and on the CPU")


@law("every update makes Python wait for the GPU: training is slower for it", speed=True)
def no_host_wait(subject: MetricSubject, case: Case) -> None:
    """`update` never waits for the device; with a second one, simulated or real, copies to it are seen, too."""

    def update(metric: Any, batches: Sequence[Args]) -> None:
        for args in batches:
            with forbid_host_sync():
                metric.update(*args)

    update(subject.new(), case.sample)
    if (second := second_device()) is not None:
        metric, moved = subject.new().to(second), [on_device(args, second) for args in case.sample]
        with suppress(RuntimeError):  # what does not run on a device is for the law `device`
            update(metric, moved)
