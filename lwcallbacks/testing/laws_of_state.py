"""Laws of what a metric keeps between two calls: merged, saved, loaded, pickled, reset and made a second time.

    check_metric(MyMetric, batches)                                      # all of them but the strict ones
    check_metric(MyMetric, batches, laws=["stale_value", "update_count"])    # torchmetrics' own Metric breaks these

The laws of `laws_of_epochs.py` compute without a cache, into a new metric, and at the end. Here a value was asked for
before, the metric that loads has seen other data, and the one that merges has seen none.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from lwcallbacks.testing.handling import for_two, merge, pickled, saved
from lwcallbacks.testing.held import attributes, data_bytes
from lwcallbacks.testing.law import Broken, Case, Laws, NotApplicable
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.same import difference, differing, plainly
from lwcallbacks.testing.samples import on_device
from lwcallbacks.testing.shared import untouched
from lwcallbacks.testing.sim_device import second_device
from lwcallbacks.testing.world import contained_metrics

LAWS: Laws[MetricSubject] = Laws()
law = LAWS.law


def _outcome(metric: Any) -> tuple[str, Any]:
    """The value, or the kind of error that there is instead."""
    try:
        return "reports", metric.compute()
    except Exception as error:
        return f"raises {type(error).__name__}", None


# Merging.


@law(
    "a value that was asked for before two metrics are merged comes back after it: logs of a merged run are stale",
    half=True,
    parts=True,
)
def merge_after_compute(subject: MetricSubject, case: Case) -> None:
    """Two metrics that were asked for their values before merge as two that were not, and go on likewise."""
    batches = for_two(case.sample, subject.least)
    cut = case.draw("first", st.integers(1, len(batches) - 1))
    mine, others = list(batches[:cut]), list(batches[cut:])
    case.program(_MERGED_AFTER, mine=mine, others=others)
    asked, other, silent = (subject.updated(part) for part in (batches[:cut], batches[cut:], batches[:cut]))
    merge(silent, other)
    asked.compute()
    other.compute()
    merge(asked, other)
    told = "asked for a value before it is merged, a metric reports {} after it where one that was not asked has {}"
    subject.expect_same(asked.compute(), silent.compute(), told)
    case.program(
        _MERGED_AFTER.replace("print", "for metric in (asked, silent):\n    metric.update(*mine[0])\nprint", 1),
        mine=mine,
        others=others,
    )
    asked.update(*batches[0])
    silent.update(*batches[0])
    told = "asked before and after merging, then updated, a metric reports {} where one that was not asked has {}"
    subject.expect_same(asked.compute(), silent.compute(), told)


_UNCACHED = """
def fresh():
    metric = make()
    for part in metric.modules():
        part.compute_with_cache = False  # what torchmetrics remembers is for the law stale_value
    return metric
"""
_MERGED_AFTER = f"""{_UNCACHED}
asked, silent, other = updated(fresh(), mine), updated(fresh(), mine), updated(fresh(), others)
silent.merge_state(other)
asked.compute()
other.compute()
asked.merge_state(other)
print(asked.compute())
print(silent.compute())
"""


@law("a worker that saw no data spoils the merged value: merging into, or from, a metric that was just made", half=True)
def merge_with_fresh(subject: MetricSubject, case: Case) -> None:
    """Merged into a new one, or with a new one, a metric keeps its value; and two new ones are a new one."""
    expected = subject.value(case.sample)
    case.program("metric = make()\n" + _MERGED_FRESH.format("updated(make(), batches)"), batches=case.sample)
    into = subject.new()
    merge(into, subject.updated(case.sample))
    did, found = _outcome(into)
    if did != "reports":
        raise Broken.in_words(f"merged into a new metric: compute {did} where the data alone gives {plainly(expected)}")
    subject.expect_same(found, expected, "merged into a new metric you report {} where the data alone gives {}")
    case.program("metric = updated(make(), batches)\n" + _MERGED_FRESH.format("make()"), batches=case.sample)
    of = subject.updated(case.sample)
    merge(of, subject.new())
    told = "after merging a metric that saw no data you report {} where the data alone gives {}"
    subject.expect_same(of.compute(), expected, told)
    case.program(_MERGED_EMPTY, batches=case.sample)
    empty = subject.new()
    merge(empty, subject.new())
    (did, found), (does, alone) = _outcome(empty), _outcome(subject.new())
    if did != does:
        raise Broken.in_words(f"two new metrics, merged: compute {did} where that of one new metric {does}")
    subject.expect_same(found, alone, "merged from two that saw nothing you report {} where one new metric reports {}")
    case.program(
        _MERGED_EMPTY + "print(updated(metric, batches).compute())\nprint(updated(make(), batches).compute())",
        batches=case.sample,
    )
    for args in case.sample:
        empty.update(*args)
    told = "merged from two that saw nothing, then updated, you report {} where a new metric reports {}"
    subject.expect_same(empty.compute(), expected, told)


_MERGED_FRESH = """
metric.merge_state({})
print(metric.compute())
print(updated(make(), batches).compute())
"""
_MERGED_EMPTY = """
metric = make()
metric.merge_state(make())
print(metric.compute())
print(make().compute())
"""


# Checkpoints.


@law(
    "loading a checkpoint into a metric in use does not replace what it held: a restart in the same process is wrong",
    half=True,
    parts=True,
)
def load_replaces(subject: MetricSubject, case: Case) -> None:
    """A metric that saw other data, and was asked for its value, is after loading what was saved."""
    cut = case.draw("batches before the checkpoint", st.integers(1, len(case.sample)))
    before, after, others = case.sample[:cut], case.sample[cut:], [*case.sample[::-1], case.sample[0]]
    case.program(_LOADED_IN_USE, before=before, others=others)
    used = subject.updated(others)
    used.compute()
    used.load_state_dict(saved(subject.updated(case.sample[:cut])))
    told = "after loading a checkpoint into a metric in use you report {} where the run that saved it reported {}"
    subject.expect_same(used.compute(), subject.value(case.sample[:cut]), told)
    case.program(_LOADED_GOES_ON, before=before, after=after, others=others)
    for args in after:
        used.update(*args)
    told = "after a restart from a checkpoint you report {} where an uninterrupted run reports {}"
    subject.expect_same(used.compute(), subject.value(case.sample), told)


_LASTING = """
def lasting(metric):
    for part in metric.modules():
        if hasattr(part, "persistent"):
            part.persistent(True)
    return metric
"""
_IN_USE = f"""{_UNCACHED}{_LASTING}
metric = updated(lasting(fresh()), others)
metric.compute()
metric.load_state_dict(updated(lasting(fresh()), before).state_dict())
"""
_LOADED_IN_USE = f"""{_IN_USE}
print(metric.compute())
print(updated(make(), before).compute())
"""
_LOADED_GOES_ON = f"""{_IN_USE}
print(updated(metric, after).compute())
print(updated(make(), before + after).compute())
"""


@law(
    "a resumed run that logs step values reports another value: what merges a step is not in the checkpoint",
    half=True,
    parts=True,
)
def resume_with_forward(subject: MetricSubject, case: Case) -> None:
    """Loaded from a checkpoint, a metric goes on by `forward` as one that was never interrupted."""
    cut = case.draw("batches before the checkpoint", st.integers(0, len(case.sample) - 1))
    case.program(_RESUMED_BY_FORWARD, before=case.sample[:cut], after=case.sample[cut:])
    whole, stopped, resumed = subject.new(), subject.new(), subject.new()
    for i, args in enumerate(case.sample):
        whole(*args)
        if i < cut:
            stopped(*args)
    resumed.load_state_dict(saved(stopped))
    for args in case.sample[cut:]:
        resumed(*args)
    told = "after a restart, with step values logged, you report {} where an uninterrupted run reports {}"
    subject.expect_same(resumed.compute(), whole.compute(), told)


_RESUMED_BY_FORWARD = f"""{_LASTING}
whole, saved, resumed = make(), lasting(make()), lasting(make())
for args in before:
    whole(*args), saved(*args)
resumed.load_state_dict(saved.state_dict())
for args in after:
    whole(*args), resumed(*args)
print(resumed.compute())
print(whole.compute())
"""


@law(
    "a metric writes into the checkpoint that it was loaded from: loaded once more, the checkpoint is another",
    strict=True,
    half=True,
    parts=True,
)
def checkpoint_unchanged(subject: MetricSubject, case: Case) -> None:
    """What is loaded stays as it is, whatever the metric sees afterwards; two metrics can be loaded from one state."""
    case.program(_CHECKPOINT, batches=case.sample)
    held = saved(subject.updated(case.sample))
    before = copy.deepcopy(held)
    (first := subject.new()).load_state_dict(held)
    for args in case.sample:
        first.update(*args)
        first(*args)
    if where := difference(held, before):
        raise Broken.in_words(
            f"updating a metric changed the checkpoint that it was loaded from, at {where} (after, and before)"
        )
    case.program(_CHECKPOINT_TWICE, batches=case.sample)
    (second := subject.new()).load_state_dict(held)
    told = "loaded a second time from one checkpoint you report {} where the saved run reported {}"
    subject.expect_same(second.compute(), subject.value(case.sample), told)


_CHECKPOINT = f"""{_LASTING}
checkpoint = updated(lasting(make()), batches).state_dict()
before = str(checkpoint)
metric = lasting(make())
metric.load_state_dict(checkpoint)
for args in batches:
    metric.update(*args)
    metric(*args)
print(checkpoint)
print(before)
"""
_CHECKPOINT_TWICE = f"""{_LASTING}
checkpoint = updated(lasting(make()), batches).state_dict()
metric, second = lasting(make()), lasting(make())
metric.load_state_dict(checkpoint)
second.load_state_dict(checkpoint)
print(second.compute())
print(updated(make(), batches).compute())
"""


# What torchmetrics keeps beside the state.


@law(
    "compute returns the value from before a checkpoint was loaded, or another metric was merged",
    strict=True,
    half=True,
    parts=True,
)
def stale_value(subject: MetricSubject, case: Case) -> None:
    """A value that the metric remembers is forgotten where its state is replaced, by loading or by merging.

    Like every metric of a user's, and unlike in the other laws, it remembers: torchmetrics' `compute_with_cache`.
    """
    mine, others = case.sample[-1:], case.sample[::-1]
    case.program(_STALE_LOADED, mine=mine, others=others)
    used, other = subject.factory(), subject.updated(others)
    used.update(*case.sample[-1])
    used.compute()
    used.load_state_dict(saved(other))
    told = "after load_state_dict you still report {}, the value from before, where the loaded state is worth {}"
    subject.expect_same(used.compute(), subject.value(case.sample[::-1]), told)
    case.program(_STALE_MERGED, mine=mine, others=others)
    merged, silent = subject.factory(), subject.updated(case.sample[-1:])
    merged.update(*case.sample[-1])
    merged.compute()
    try:
        merge(silent, other)
    except NotApplicable:
        return  # what is said of loading holds
    merge(merged, other)
    told = "after merge_state you still report {}, the value from before, where the merged state is worth {}"
    subject.expect_same(merged.compute(), silent.compute(), told)


_STALE_LOADED = f"""{_LASTING}
metric = updated(lasting(make()), mine)
metric.compute()
metric.load_state_dict(updated(lasting(make()), others).state_dict())
print(metric.compute())
print(updated(make(), others).compute())
"""
_STALE_MERGED = """
metric, silent = updated(make(), mine), updated(make(), mine)
metric.compute()
metric.merge_state(updated(make(), others))
silent.merge_state(updated(make(), others))
print(metric.compute())
print(silent.compute())
"""


@law(
    "the number of updates gets lost: torchmetrics warns of a metric without data, and means are weighted wrong",
    strict=True,
    rounding=False,
    half=True,
)
def update_count(subject: MetricSubject, case: Case) -> None:
    """`update_count` survives saving and loading, and that of two merged metrics is their sum."""

    def counts(metric: Any) -> list[int]:
        return [part.update_count for part in contained_metrics(metric)]

    case.program(_COUNTS, batches=case.sample)
    metric, loaded = subject.updated(case.sample), subject.new()
    expected = counts(metric)
    loaded.load_state_dict(saved(metric))
    if counts(loaded) != expected:
        raise Broken.in_words(
            f"after a restart from a checkpoint update_count is {counts(loaded)} where it was {expected}"
        )
    case.program(_COUNTS_MERGED, batches=case.sample)
    try:
        merge(loaded, metric)
    except NotApplicable:
        return
    if counts(loaded) != (both := [2 * number for number in expected]):
        raise Broken.in_words(f"after merging update_count is {counts(loaded)} where the two had seen {both} together")


_COUNTS = f"""{_LASTING}
saved, loaded = updated(lasting(make()), batches), lasting(make())
loaded.load_state_dict(saved.state_dict())
print([getattr(part, "update_count", None) for part in loaded.modules()])
print([getattr(part, "update_count", None) for part in saved.modules()])
"""
_COUNTS_MERGED = """
metric, other = updated(make(), batches), updated(make(), batches)
metric.merge_state(other)
print(metric.update_count, "after merging", other.update_count, "and as many")
"""


# Copies, and a new start.


@law(
    "a metric that is pickled in mid-epoch goes on differently: moved to a spawned process, or saved as an object",
    half=True,
    parts=True,
)
def pickle_mid_epoch(subject: MetricSubject, case: Case) -> None:
    """Pickled between two steps, a metric goes on by `forward`; the one that was pickled does not notice."""
    cut = case.draw("batches before pickling", st.integers(1, len(case.sample)))
    before, after = case.sample[:cut], case.sample[cut:]
    whole, metric = subject.new(), subject.new()
    steps = [whole(*args) for args in case.sample]
    for args in case.sample[:cut]:
        metric(*args)
    metric.compute()
    case.program(_PICKLED.format("pickle.loads(pickle.dumps(metric))"), before=before, after=after)
    moved = pickle.loads(pickled(metric))
    for args, step in zip(case.sample[cut:], steps[cut:], strict=True):
        subject.expect_same(
            moved(*args), step, "pickled in mid-epoch, a step reports {} where it would have reported {}"
        )
        metric(*args)
    told = "pickled in mid-epoch you report {} where a metric that never was reports {}"
    subject.expect_same(moved.compute(), whole.compute(), told)
    case.program(_PICKLED.format("(pickle.dumps(metric), metric)[1]"), before=before, after=after)
    told = "once a copy of it was pickled, the metric itself reports {} where one that never was reports {}"
    subject.expect_same(metric.compute(), whole.compute(), told)


_PICKLED = """
def fresh():
    metric = make()
    for part in metric.modules():
        part.compute_with_cache = False
    return metric

whole, metric = fresh(), fresh()
for args in before:
    whole(*args), metric(*args)
metric.compute()
metric = {}
for args in after:
    print(metric(*args))
    print(whole(*args))
print(metric.compute())
print(whole.compute())
"""


@law(
    "two metrics that were made alike share what they hold: the metrics of train and val count each other's data",
    half=True,
    parts=True,
)
def instances_are_independent(subject: MetricSubject, case: Case) -> None:
    """What one metric sees is no business of another of the same class, made before it or after it."""

    def update(metric: Any) -> None:
        for args in case.sample:
            metric.update(*args)

    def expect_same(found: Any, told: str) -> None:
        if differing(found, expected, subject.close):
            with untouched(subject.new, update):
                shared = subject.shared(case.sample)
            subject.expect_same(found, expected, f"{told}: both hold {shared}" if shared else told)

    case.program(_TWO_MADE.format("metric"), first=case.sample[:1], batches=case.sample)
    with untouched(subject.new, update):
        before = subject.updated(case.sample[:1])
        expected = before.compute()
        subject.updated(case.sample)
        told = "beside another metric of its class you report {} where it reported {} until the other saw data"
        expect_same(before.compute(), told)
        case.program(_TWO_MADE.format("updated(fresh(), first)"), first=case.sample[:1], batches=case.sample)
        told = "made after another metric of its class you report {} where one made before it reports {}"
        expect_same(subject.value(case.sample[:1]), told)


_TWO_MADE = f"""{_UNCACHED}
metric = updated(fresh(), first)
expected = metric.compute()
other = updated(fresh(), batches)
print({{}}.compute())
print(expected)
"""


@law(
    "reset does not give back the metric that was made: the next epoch starts from something of the last",
    rounding=False,
    half=True,
    parts=True,
)
def reset_is_fresh(subject: MetricSubject, case: Case) -> None:
    """After `reset`, what `update`, `forward` and `compute` changed is as it was: values, lists, dtype, device."""
    double = case.draw("in float64", st.booleans())
    case.program(_RESET_FRESH, batches=case.sample, double=double)
    metric = subject.factory()
    if double:
        for part in contained_metrics(metric):
            part.set_dtype(torch.float64)
    if (second := second_device()) is not None:
        metric = metric.to(second)
    made = attributes(metric)
    places = [_devices(part) for part in contained_metrics(metric)]
    try:
        for args in case.sample if second is None else [on_device(args, second) for args in case.sample]:
            metric.update(*args)
            metric(*args)
        metric.compute()
    except Exception:
        assume(not double and second is None)  # what does not work in float64, or on a device, is not about reset
        raise
    metric.reset()
    for part, old, now, place in zip(contained_metrics(metric), made, attributes(metric), places, strict=True):
        for name in sorted(old.keys() | now.keys()):
            was, found = old.get(name), now.get(name)
            learned = was is None and not data_bytes(found)  # the name or the shape of a state, and no data
            if not learned and (where := difference(found, was)):
                of = f"{type(part).__name__}.{name}"
                raise Broken.in_words(
                    f"after reset {of} is not as in a metric that was just made: {where} (after, and before)"
                )
        for name, device in _devices(part).items():
            if device != place.get(name, device):
                raise Broken.in_words(
                    f"after reset {type(part).__name__}.{name} is on {device} where it was on {place[name]}"
                )


_RESET_FRESH = """
metric, new = make(), make()
for part in [*metric.modules(), *new.modules()]:
    if double and hasattr(part, "set_dtype"):
        part.set_dtype(torch.float64)
for args in batches:
    metric.update(*args)
    metric(*args)
metric.compute()
metric.reset()
for part in (metric, new):
    print({name: value for name, value in vars(part).items() if name[0] != "_" and not callable(value)})
"""


def _devices(part: Any) -> dict[str, torch.device]:
    return {name: getattr(part, name).device for name in part._defaults if isinstance(getattr(part, name), Tensor)}


# Processes.


@law(
    "with dist_sync_on_step=True a step's value is not that of all processes, or logging it changes the epoch's value",
    half=True,
    parts=True,
    processes=True,
)
def sync_on_step(subject: MetricSubject, case: Case) -> None:
    """A synced step is worth what new metrics on all processes compute of it, and the epoch goes on untouched."""
    batches = for_two(case.sample, subject.least)
    steps = list(zip(batches[::2], batches[1::2], strict=False))  # what each of the two processes gets

    case.program(_SYNCED_STEPS, steps=steps)

    def alone(rank: int) -> torch.nn.ModuleList:
        """A new metric for each step, and one for all of them."""
        share = [step[rank] for step in steps]
        return torch.nn.ModuleList([*(subject.updated([args]) for args in share), subject.updated(share)])

    def computed(metrics: Any, rank: int) -> list[Any]:
        return [metric.compute() for metric in metrics]

    def logged(metrics: Any, rank: int) -> tuple[list[Any], list[Any]]:
        metric, *others = metrics
        return [*(metric(*step[rank]) for step in steps), metric.compute()], computed(others, rank)

    def synced(rank: int) -> torch.nn.ModuleList:
        metric = subject.new()
        for part in contained_metrics(metric):
            part.dist_sync_on_step = True
        return torch.nn.ModuleList([metric, *alone(rank)])

    try:
        ended = subject.on_processes(case, 2, synced, logged)
    except Exception:
        try:
            subject.on_processes(case, 2, alone, computed)
        except Exception:
            return  # what fails without synced steps is for the law `shards`
        raise
    names = [*(f"step {i}" for i in range(len(steps))), "the epoch"]
    for found, expected in ended:
        for name, one, other in zip(names, found, expected, strict=True):
            told = f"with dist_sync_on_step=True on 2 processes, {name} reports {{}} where its data is worth {{}}"
            subject.expect_same(one, other, told)


_SYNCED_STEPS = """
def process(rank):
    torch.distributed.init_process_group("gloo", file, datetime.timedelta(seconds=20), 2, rank)
    metric = make()
    for part in metric.modules():
        part.dist_sync_on_step = True
    share = [step[rank] for step in steps]
    for args in share:
        print(f"process {rank}: step", metric(*args), "where its data is worth", updated(make(), [args]).compute())
    print(f"process {rank}: epoch", metric.compute(), "where its data is worth", updated(make(), share).compute())

file = f"file://{tempfile.mktemp()}"
torch.multiprocessing.start_processes(process, nprocs=2, start_method="fork")
"""
