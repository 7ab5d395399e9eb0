"""Laws of what a metric is for: its value is about the samples of the epoch, and nothing else.

check_metric(MyMetric, batches, laws=["batch_size", "order", "shards", "empty_process"])
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from hypothesis import strategies as st

from lwcallbacks.reductions.choice import Chosen
from lwcallbacks.testing.handling import divisible, for_two, merge, persistent, pickled
from lwcallbacks.testing.host_sync import forbid_host_sync
from lwcallbacks.testing.law import Broken, Case, Laws, NotApplicable
from lwcallbacks.testing.metric_subject import MetricSubject
from lwcallbacks.testing.same import differing
from lwcallbacks.testing.samples import Args, Indivisible, copied, count, on_device, pieces, take
from lwcallbacks.testing.sim_device import second_device
from lwcallbacks.testing.world import contained_metrics

LAWS: Laws[MetricSubject] = Laws()
law = LAWS.law


def _without_payload(value: Any) -> Any:
    """A value as processes but the first have it: without the pictures of a choice."""
    if isinstance(value, Chosen):
        return Chosen(value.ids, value.scores, ())
    if isinstance(value, dict):
        return {name: _without_payload(part) for name, part in value.items()}
    return value


@law("the same batches give another value a second time: it is drawn at random, or holds what another metric saw")
def repeatable(subject: MetricSubject, case: Case) -> None:
    """The same batches give the same value twice, each time in a new metric and with other random numbers."""
    case.doing = "a second time"
    case.program(_TWICE, batches=case.sample)
    first, second = (subject.updated(case.sample, seed).compute() for seed in (0, 1))
    if not differing(second, first, subject.close):
        return
    shared = subject.shared(case.sample)
    words = "in a second new metric the same batches give {} where in the first they gave {}"
    told = f"{words}: both hold {shared}" if shared else words
    subject.expect_same(second, first, "the same batches in a second new metric, and in the first", told)


_TWICE = """
def value(seed):
    torch.manual_seed(0)
    metric = make()
    torch.manual_seed(seed)
    return updated(metric, batches).compute()

first, second = value(0), value(1)
print(second)
print(first)
"""


@law("the metric writes into the batch: the loss, or the next metric, sees other data than the loader gave")
def inputs_unchanged(subject: MetricSubject, case: Case) -> None:
    """Neither `update` nor `forward` nor `compute` changes the tensors that were given."""
    given, expected = case.sample, case.original
    case.program(_WRITES, batches=expected)
    metric = subject.new()
    for args in given:
        metric.update(*args)
    metric.compute()
    with suppress(Exception):  # that `forward` works is a law of its own
        for args in given:
            metric(*args)
    if where := differing(given, expected, nan_bits=True):
        first, second = where.shortly()
        words = f"your batch holds {first} after the update where the loader gave {second}"
        raise Broken(f"an argument after the update, and before: {where}", words=words, values=(given, expected))


_WRITES = """
before = str(batches)
metric = updated(make(), batches)
for args in batches:
    metric(*args)
print(batches)
print(before)
"""


@law("the value of an epoch depends on the batch size: with another batch_size you report another value")
def batch_size(subject: MetricSubject, case: Case) -> None:
    """Any way to cut the samples into batches gives the same value."""
    samples = divisible(case.sample)
    words = "you report {} where one batch of all samples reports {}"
    case.doing = "in one batch of all samples"
    case.program("print(updated(make(), batches).compute())", batches=[samples])
    expected = subject.value([samples])
    case.program(_TWO_VALUES, batches=case.sample, other=[samples])
    now = f"in batches of {', '.join(str(count(args)) for args in case.sample)}"
    subject.expect_same(subject.value(case.sample), expected, "in these batches, and all in one", f"{now} {words}")
    sizes = case.sizes(count(samples), subject.least)
    case.doing = f"in batches of {', '.join(map(str, sizes))}"
    cut = pieces(samples, sizes)
    case.program(_TWO_VALUES, batches=cut, other=[samples])
    found = subject.value(cut)
    subject.expect_same(found, expected, f"in batches of {sizes}, and all in one", f"{case.doing} {words}")


_TWO_VALUES = """
print(updated(make(), batches).compute())
print(updated(make(), other).compute())
"""


@law("the value of an epoch depends on the order of the data: another shuffle of the same samples gives another value")
def order(subject: MetricSubject, case: Case) -> None:
    """Any order of the batches, and of the samples in each, gives the same value.

    A value that has an entry for each sample may have them in another order.
    """
    batches = case.draw("in another order", st.permutations(case.sample).map(list), show=False)
    with suppress(Indivisible):
        batches = [take(args, case.draw("", st.permutations(range(count(args))), show=False)) for args in batches]
    case.show("in another order", batches)
    case.doing = "in another order of the same samples"
    case.program(_TWO_VALUES, batches=batches, other=case.sample)
    words = f"{case.doing} you report {{}} where the first order reports {{}}"
    found, expected = subject.value(batches), subject.value(case.sample)
    subject.expect_same(found, expected, "in another order, and in the first", words, in_any_order=case.sample)


@law(
    "the value depends on how data is spread over processes: with another number of GPUs you report another value",
    processes=True,
)
def shards(subject: MetricSubject, case: Case) -> None:
    """Processes with uneven shares compute, each, what one process computes of everything."""
    batches = for_two(case.sample, subject.least)
    size = case.draw("processes", st.integers(2, min(4, len(batches))))
    cuts = sorted(
        case.draw("share ends", st.sets(st.integers(1, len(batches) - 1), min_size=size - 1, max_size=size - 1))
    )
    shares = [list(batches[start:end]) for start, end in zip([0, *cuts], [*cuts, len(batches)], strict=True)]
    on = case.doing = f"on {size} processes"
    case.program(_PROCESSES, shares=shares)
    values = subject.on_processes(case, size, lambda rank: subject.updated(shares[rank]))
    expected = subject.value(batches)
    words = f"on {size} processes you report {{}} where one process reports {{}}"
    subject.expect_same(values[0], expected, f"{on}, and on one", words, in_any_order=batches)
    for rank, value in enumerate(values[1:], 1):
        told = f"on process {rank}, and on process 0"
        words = f"{on} process {rank} reports {{}} where process 0 reports {{}}"
        subject.expect_same(_without_payload(value), _without_payload(values[0]), told, words)


_PROCESSES = """
def process(rank):
    torch.distributed.init_process_group("gloo", file, datetime.timedelta(seconds=20), len(shares), rank)
    print(f"process {rank}:", updated(make(), shares[rank]).compute())

file = f"file://{tempfile.mktemp()}"
print("one process:", updated(make(), sum(shares, [])).compute(), flush=True)
torch.multiprocessing.start_processes(process, nprocs=len(shares), start_method="fork")
"""


@law(
    "a process that got no batch changes the value, or stops the training: data sets smaller than the number of GPUs",
    processes=True,
)
def empty_process(subject: MetricSubject, case: Case) -> None:
    """A process without data does not change the value."""
    without = case.draw("process without data", st.integers(0, 1))
    shares = [[], case.sample] if without == 0 else [case.sample, []]
    case.doing = "beside a process without data"
    case.program(_PROCESSES, shares=shares)
    values = subject.on_processes(case, 2, lambda rank: subject.updated(shares[rank]))
    expected = subject.value(case.sample)
    for rank, value in enumerate(values):
        words = f"{case.doing} process {rank} reports {{}} where one process reports {{}}"
        found, alone = (_without_payload(part) if rank > 0 else part for part in (value, expected))
        subject.expect_same(found, alone, f"on process {rank} beside one without data, and alone", words)


@law("asking for the value changes it: logging a metric in mid-epoch, or twice, alters what the epoch ends with")
def compute_is_pure(subject: MetricSubject, case: Case) -> None:
    """Computing twice gives the same, and computing in between changes nothing."""
    batches = case.sample
    metric = subject.new()
    case.doing = "asked for the value in mid-epoch"
    for seen, args in enumerate(batches, 1):
        metric.update(*copied(args))
        with subject.where_defined(batches[:seen]):
            case.program(_COMPUTED_TWICE, batches=batches[:seen])
            first = metric.compute()
            words = "asked a second time you report {} where the first time you report {}"
            subject.expect_same(metric.compute(), first, "computed a second time, and the first time", words)
    case.program(_COMPUTED_BETWEEN, batches=batches)
    words = "asked after each batch you end the epoch with {} where asked once you report {}"
    told = "computed in between, and only at the end"
    subject.expect_same(metric.compute(), subject.value(batches), told, words)


_UNCACHED = """
metric = make()
for part in metric.modules():
    part.compute_with_cache = False  # as an update in between does
"""
_COMPUTED_TWICE = f"""{_UNCACHED}
for args in batches:
    metric.update(*args)
    first, second = metric.compute(), metric.compute()
print(second)
print(first)
"""
_COMPUTED_BETWEEN = f"""{_UNCACHED}
for args in batches:
    metric.update(*args)
    metric.compute(), metric.compute()
print(metric.compute())
print(updated(make(), batches).compute())
"""


@law(
    "the value logged for a step is not that of its batch: on_step curves show something else than the data of the step"
)
def step_value(subject: MetricSubject, case: Case) -> None:
    """`forward` returns what a fresh metric computes of that batch alone."""
    batches = case.sample
    metric = subject.new()
    case.doing = "logging a step"
    for i, args in enumerate(batches):
        case.program(_STEPS, batches=batches[: i + 1])
        with subject.where_defined([args]):
            step = metric(*copied(args))
            words = "for a step you log {} where its batch alone has {}"
            told = f"forward of batch {i}, and a fresh metric of that batch"
            subject.expect_same(step, subject.value([args]), told, words)


_STEPS = """
metric = make()
for args in batches:
    print(metric(*args))
    print(updated(make(), [args]).compute())
"""


@law("logging step values changes the epoch's value: on_step=True alters what on_epoch=True reports")
def forward_accumulates(subject: MetricSubject, case: Case) -> None:
    """`forward` accumulates what `update` accumulates."""
    metric = subject.new()
    case.doing = "with step values logged"
    case.program(_FORWARD, batches=case.sample)
    for args in case.sample:
        with subject.where_defined([args]):
            metric(*args)
    words = "with step values logged you end the epoch with {} where without you report {}"
    told = "after forward, and after update"
    subject.expect_same(metric.compute(), subject.value(case.sample), told, words)


_FORWARD = """
metric = make()
for args in batches:
    metric(*args)
print(metric.compute())
print(updated(make(), batches).compute())
"""


@law("merging two metrics is not seeing the data of both: values merged from several runs or workers are wrong")
def merge_state(subject: MetricSubject, case: Case) -> None:
    """`merge_state` gives what one metric gives that saw the data of both, and leaves the other alone.

    A value that has an entry for each sample may have those of the other one first.
    """
    batches = for_two(case.sample, subject.least)
    cut = case.draw("first", st.integers(1, len(batches) - 1))
    mine, others = list(batches[:cut]), list(batches[cut:])
    first, second = subject.updated(mine), subject.updated(others)
    case.doing = "merged from two"
    case.program(_MERGED, mine=mine, others=others)
    with subject.where_defined(others):
        before = second.compute()
    merge(first, second)
    words = "merged from two you report {} where one that saw everything reports {}"
    told = "merged from two, and of one that saw everything"
    subject.expect_same(first.compute(), subject.value(batches), told, words, in_any_order=batches)
    case.program(_MERGED_OTHER, mine=mine, others=others)
    words = "after it was merged into another, a metric reports {} where before it reported {}"
    subject.expect_same(second.compute(), before, "the second metric after it was merged, and before", words)


_MERGED = """
metric = updated(make(), mine)
metric.merge_state(updated(make(), others))
print(metric.compute())
print(updated(make(), mine + others).compute())
"""
_MERGED_OTHER = """
metric, other = updated(make(), mine), updated(make(), others)
metric.merge_state(other)
print(other.compute())
print(updated(make(), others).compute())
"""


@law("reset leaves something behind: the second epoch's value holds some of the first's data", half=True)
def reset(subject: MetricSubject, case: Case) -> None:
    """After `reset` a metric is as good as a new one."""
    metric = subject.updated(case.sample)
    after = case.sample[: case.draw("batches after the reset", st.integers(1, len(case.sample)))]
    case.doing = "in a second epoch"
    case.program(_RESET, batches=case.sample, after=after)
    metric.compute()
    metric.reset()
    with subject.where_defined(after):
        for args in after:
            metric.update(*copied(args))
        words = "in a second epoch you report {} where a new metric reports {}"
        subject.expect_same(metric.compute(), subject.value(after), "after a reset, and of a new metric", words)


_RESET = """
metric = updated(make(), batches)
metric.compute()
metric.reset()
print(updated(metric, after).compute())
print(updated(make(), after).compute())
"""


@law("a clone shares state with its original: train and val metrics made by clone() count each other's data", half=True)
def clone_is_independent(subject: MetricSubject, case: Case) -> None:
    """A clone starts equal, and what it sees afterwards is no business of the original."""
    metric = subject.updated(case.sample)
    expected = metric.compute()
    case.doing = "with a clone"
    case.program(_CLONE, batches=case.sample)
    clone = metric.clone()
    words = "a clone reports {} where its original reports {}"
    subject.expect_same(clone.compute(), expected, "of a clone, and of the original", words)
    for args in case.sample:
        clone.update(*args)
    case.program(_CLONE_ORIGINAL, batches=case.sample)
    words = "after its clone saw data a metric reports {} where before it reported {}"
    told = "of the original after its clone was updated, and before"
    subject.expect_same(metric.compute(), expected, told, words)
    case.program(_CLONE_GOES_ON, batches=case.sample)
    twice = subject.value([*case.sample, *case.sample])
    words = "a clone that saw everything again reports {} where a new metric reports {}"
    subject.expect_same(clone.compute(), twice, "of a clone that saw everything again, and of a new metric", words)


_CLONE = """
metric = updated(make(), batches)
print(metric.clone().compute())
print(metric.compute())
"""
_CLONE_ORIGINAL = """
metric = updated(make(), batches)
updated(metric.clone(), batches)
print(metric.compute())
print(updated(make(), batches).compute())
"""
_CLONE_GOES_ON = """
print(updated(updated(make(), batches).clone(), batches).compute())
print(updated(make(), batches + batches).compute())
"""


@law(
    "the metric cannot be sent to another process, or arrives with other data: spawned workers and saved objects",
    half=True,
)
def pickle_round_trip(subject: MetricSubject, case: Case) -> None:
    """A pickled metric comes back with its data, and goes on counting."""
    original = subject.updated(case.sample)
    case.doing = "when pickled"
    case.program(_PICKLED, batches=case.sample)
    metric = pickle.loads(pickled(original))
    words = "a pickled metric reports {} where before it reported {}"
    subject.expect_same(metric.compute(), subject.value(case.sample), "after pickling, and before", words)
    for args in case.sample:
        metric.update(*args)
    case.program(_PICKLED_GOES_ON, batches=case.sample)
    twice = subject.value([*case.sample, *case.sample])
    words = "updated after pickling a metric reports {} where one that never was pickled reports {}"
    subject.expect_same(metric.compute(), twice, "updated after pickling, and of one that never was pickled", words)


_PICKLED = """
metric = updated(make(), batches)
print(pickle.loads(pickle.dumps(metric)).compute())
print(metric.compute())
"""
_PICKLED_GOES_ON = """
metric = pickle.loads(pickle.dumps(updated(make(), batches)))
print(updated(metric, batches).compute())
print(updated(make(), batches + batches).compute())
"""


@law("a resumed run reports another value: what the checkpoint holds of the metric is not all that it needs", half=True)
def state_dict_round_trip(subject: MetricSubject, case: Case) -> None:
    """A persistent state, saved by torch and loaded with weights_only=True into a new metric, goes on where it was."""
    cut = case.draw("batches before the checkpoint", st.integers(1, len(case.sample)))
    before, after = case.sample[:cut], case.sample[cut:]
    saved, resumed = subject.updated(before), subject.new()
    persistent(saved, resumed)
    case.doing = "after a resume"
    made = _PERSISTENT if len(contained_metrics(saved)) == 1 else _ALL_PERSISTENT
    case.program(f"{made}{_FILE}", before=before)
    file = io.BytesIO()
    torch.save(saved.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    words = "after a resume you report {} where without one you report {}"
    case.program(f"{made}{_LOADED}", before=before)
    with subject.where_defined(before):
        subject.expect_same(resumed.compute(), saved.compute(), "loaded from a checkpoint, and saved", words)
    for args in after:
        resumed.update(*args)
    case.program(f"{made}{_RESUMED}", before=before, after=after)
    subject.expect_same(resumed.compute(), subject.value(case.sample), "resumed, and never interrupted", words)


_PERSISTENT = """
saved, resumed = updated(make(), before), make()
saved.persistent(True)
"""
_ALL_PERSISTENT = """
saved, resumed = updated(make(), before), make()
[part.persistent(True) for part in saved.modules() if hasattr(part, "persistent")]
"""
_FILE = """
torch.save(saved.state_dict(), path := tempfile.mktemp())
resumed.load_state_dict(torch.load(path, weights_only=True))
"""
_LOADED = """
resumed.load_state_dict(saved.state_dict())
print(resumed.compute())
print(saved.compute())
"""
_RESUMED = """
resumed.load_state_dict(saved.state_dict())
print(updated(resumed, after).compute())
print(updated(make(), before + after).compute())
"""


@law("the value is not what the reference says of the same samples: you report a wrong number")
def reference(subject: MetricSubject, case: Case) -> None:
    """The value is what the reference says of all samples at once."""
    if subject.reference is None:
        raise NotApplicable("there is no reference; reference= takes a function of all samples")
    samples = divisible(case.sample)
    case.program(_REFERENCE, batches=case.sample, samples=samples, reference=subject.reference.function)
    expected = subject.reference.of(case.sample)
    if expected is None:
        return
    if wrong := subject.reference.contradiction(subject.value(case.sample), expected):
        raise Broken(f"of these samples {wrong}", words=f"with these samples {wrong}")


_REFERENCE = """
print(updated(make(), batches).compute())
print(reference(*samples))
"""


@law("the value depends on the device, or the metric does not work on one", half=True)
def device(subject: MetricSubject, case: Case) -> None:
    """On a second device, simulated or real, the value is the same."""
    second = second_device()
    if second is None:
        raise NotApplicable("there is no second device; lwcallbacks.testing.simulated_device() makes one")
    case.doing = f"on {second}"
    case.program(_DEVICE, batches=case.sample)
    metric = subject.new().to(second)
    for args in case.sample:
        metric.update(*on_device(args, second))
    words = f"on {second} you report {{}} where the CPU reports {{}}"
    subject.expect_same(metric.compute(), subject.value(case.sample), f"on {second}, and on the CPU", words)


_DEVICE = """
metric = make().to("cuda")
for args in batches:
    metric.update(*(x.to("cuda") if isinstance(x, torch.Tensor) else x for x in args))
print(metric.compute())
print(updated(make(), batches).compute())
"""


@law("every update makes Python wait for the GPU: training is slower for it", speed=True)
def no_host_wait(subject: MetricSubject, case: Case) -> None:
    """`update` never waits for the device; with a second one, simulated or real, copies to it are seen, too."""
    case.doing = "in an update"
    case.program(_WAITS, batches=case.sample)

    def update(metric: Any, batches: Sequence[Args]) -> None:
        for args in batches:
            with forbid_host_sync():
                metric.update(*args)

    update(subject.new(), case.sample)
    if (second := second_device()) is not None:
        metric, moved = subject.new().to(second), [on_device(args, second) for args in case.sample]
        with suppress(RuntimeError):  # what does not run on a device is for the law `device`
            update(metric, moved)


_WAITS = """
metric = make().to("cuda")
batches = [[x.to("cuda") if isinstance(x, torch.Tensor) else x for x in args] for args in batches]
torch.cuda.set_sync_debug_mode("error")
for args in batches:
    metric.update(*args)
"""
