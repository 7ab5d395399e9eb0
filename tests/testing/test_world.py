"""A world moves its processes in lock step, exchanges what real ones would, and tells where those would hang."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import CatMetric, MaxMetric, MeanMetric, Metric, MetricCollection, MinMaxMetric
from torchmetrics.classification import BinaryAccuracy, MulticlassConfusionMatrix

from lwcallbacks import ReductionMetric, StateCore
from lwcallbacks.reductions import ConfusionCounts, ExactMean, Product, TopK
from lwcallbacks.state.link import AllGather, AllReduce, ToRoot
from lwcallbacks.state.sync import obstacle
from lwcallbacks.testing import LawViolation, World, WouldAbort, WouldHang
from lwcallbacks.testing.real_processes import Ended, on_real_processes
from lwcallbacks.testing.same import difference


def t(*values: float) -> Tensor:
    return torch.tensor(values)


class Gathered(Metric):
    """Keeps what it was given in a list that is not reduced: what was gathered is what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx=None)

    def update(self, value: Tensor) -> None:
        self.seen.append(value)

    def compute(self) -> list[Tensor]:
        return list(self.seen)


def test_every_process_computes_the_value_of_all_data() -> None:
    """Uneven shares, weights kept, and a process without data."""
    world = World(3)
    values = world.compute(MeanMetric, [[(t(1.0, 2.0),)], [(t(6.0),), (t(7.0),)], []])
    assert values == [t(4.0), t(4.0), t(4.0)]
    assert [(e.kind, e.dtype, e.shape, e.bytes) for e in world.log] == [("gather", torch.float32, (), 12)] * 2


def test_unequal_shapes_are_gathered_as_torchmetrics_does() -> None:
    """Each process gets every other's tensor in its own shape, in order of rank."""
    shards = [[(t(float(rank)).expand(2 + rank),)] for rank in range(3)]
    for value in World(3).compute(Gathered, shards):
        assert [v.tolist() for v in value] == [[0.0] * 2, [1.0] * 3, [2.0] * 4]


def test_list_states_are_concatenated_first() -> None:
    """Two batches of one process are one tensor on the way; a process without data sends an empty one."""
    world = World(3)
    values = world.compute(CatMetric, [[(t(1.0),), (t(2.0),)], [], [(t(3.0),)]])
    assert [v.tolist() for v in values] == [[1.0, 2.0, 3.0]] * 3
    assert [exchange.shape for exchange in world.log] == [(2,)]


def test_no_process_gets_memory_of_another() -> None:
    """Writing into what was gathered changes nothing elsewhere."""
    tensors = [torch.zeros(2), torch.zeros(2)]

    def steps(rank: int) -> Generator[Any, Any, list[float]]:
        gathered = yield AllGather(tensors[rank])
        gathered[1 - rank] += rank + 1
        reduced = yield AllReduce(tensors[rank], "sum")
        reduced += 5
        return gathered[1 - rank].tolist()

    assert World(2).run(steps) == [[1.0, 1.0], [2.0, 2.0]]
    assert [x.tolist() for x in tensors] == [[0.0, 0.0]] * 2


@pytest.mark.parametrize(("op", "expected"), [("sum", [4, 7]), ("max", [3, 5]), ("min", [1, 2])])
def test_an_all_reduce_reduces(op: Any, expected: list[int]) -> None:
    """Elementwise, and each process gets the answer."""
    tensors = [torch.tensor([1, 5]), torch.tensor([3, 2])]

    def steps(rank: int) -> Generator[Any, Any, list[int]]:
        return (yield AllReduce(tensors[rank], op)).tolist()

    world = World(2)
    assert world.run(steps) == [expected, expected]
    assert world.log == [("all_reduce", op, torch.int64, (2,), 32)]


def test_bytes_go_to_process_0() -> None:
    """Which gets them by rank; the others get nothing."""

    def steps(rank: int) -> Generator[Any, Any, list[list[int]]]:
        data = torch.full((rank,), rank, dtype=torch.uint8)
        return [part.tolist() for part in (yield ToRoot(data, (0, 1, 2)))]

    world = World(3)
    assert world.run(steps) == [[[], [1], [2, 2]], [], []]
    assert world.log == [("to_root", None, torch.uint8, (0,), 3)]


def asks(*requests: Any) -> Generator[Any, Any, None]:
    yield from requests


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ([AllReduce(t(1.0), "sum")], [], ["process 0: all_reduce(sum) of torch.float32 (1,)", "process 1: ends"]),
        ([AllReduce(t(1.0), "sum")], [AllReduce(t(1.0), "max")], ["all_reduce(sum)", "all_reduce(max)"]),
        ([AllReduce(t(1.0), "sum")], [AllReduce(t(1.0, 2.0), "sum")], ["(1,)", "(2,)"]),
        ([AllReduce(t(1.0), "sum")], [AllGather(t(1.0))], ["all_reduce", "all_gather"]),
        ([AllGather(t(1.0))], [AllGather(t(1.0).double())], ["torch.float32", "torch.float64"]),
        (
            [ToRoot(torch.zeros(0, dtype=torch.uint8), (0, 1))],
            [ToRoot(torch.zeros(1, dtype=torch.uint8), (0, 2))],
            ["(0, 1) bytes", "(0, 2) bytes, but brings 1"],
        ),
    ],
)
def test_processes_that_ask_for_different_things_would_hang(first: Any, second: Any, told: list[str]) -> None:
    """The failure names the processes and what each asks for."""
    with pytest.raises(WouldHang) as failure:
        World(2).run(lambda rank: asks(*(first, second)[rank]))
    assert isinstance(failure.value, LawViolation)
    for text in told:
        assert text in str(failure.value)


def test_unlike_numbers_of_list_entries_would_hang() -> None:
    """A process with two batches gathers twice, one with one batch once."""
    with pytest.raises(WouldHang, match=r"process 0: gather_all_tensors .*\n  process 1: ends"):
        World(2).compute(Gathered, [[(t(1.0),), (t(2.0),)], [(t(3.0),)]])


def test_a_process_that_fails_while_others_wait_would_hang_them() -> None:
    """And its error is the cause."""

    def steps(rank: int) -> Generator[Any, Any, None]:
        if rank:
            raise KeyError("rank 1")
        yield AllReduce(t(1.0), "sum")

    with pytest.raises(WouldHang, match="process 1: raises KeyError") as failure:
        World(2).run(steps)
    assert isinstance(failure.value.__cause__, KeyError)


def test_an_error_of_all_processes_is_raised_as_it_is() -> None:
    """Failing together hangs nobody."""
    cores = [StateCore({"mean": ExactMean()}, on_problem="raise") for _ in range(3)]
    cores[1].fail("mean", OSError("disk full"))
    with pytest.raises(ValueError, match=r"StateCore: mean: no value: .* process 1: OSError: disk full"):
        World(3).collect(cores)

    def steps(rank: int) -> Generator[Any, Any, None]:
        yield AllReduce(t(1.0), "sum")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as failure:
        World(3).run(steps)
    assert failure.value.__notes__ == ["raised on process 0"]


def test_wrappers_and_collections_are_synced_to_the_bottom() -> None:
    """Every metric that one contains takes part."""
    batches = [(torch.tensor([0, 1]), torch.tensor([0, 0])), (torch.tensor([1]), torch.tensor([1]))]
    values = World(2).compute(
        lambda: MetricCollection({"range": MinMaxMetric(BinaryAccuracy()), "counts": MulticlassConfusionMatrix(2)}),
        [[batches[0]], [batches[1]]],
    )
    for value in values:
        assert value["raw"] == pytest.approx(2 / 3)
        assert value["counts"].tolist() == [[1, 1], [0, 1]]


def test_a_reduction_metric_takes_the_packed_way() -> None:
    """As it does over a real process group: the keys, and the winners' payload to process 0."""
    world = World(3)
    shards = [[(t(float(rank)), torch.tensor([rank]), torch.full((1, 2), rank))] for rank in range(3)]
    values = world.compute(lambda: ReductionMetric(TopK(2)), [shards[0], shards[1], []])
    assert [exchange.kind for exchange in world.log] == ["all_gather", "to_root"]
    assert [value.ids.tolist() for value in values] == [[1, 0]] * 3
    assert values[0].payload[0].tolist() == [[1, 1], [0, 0]]
    assert [value.payload for value in values[1:]] == [(), ()]


def test_the_number_of_exchanges_does_not_grow_with_the_states() -> None:
    """Nor with the data: an epoch of many states ends with as many collectives as one of two."""

    def exchanges(states: int, data: bool) -> list[tuple[str, str | None]]:
        kinds = {f"{i}": kind for i in range(states) for kind in [(ExactMean(), TopK(2), ConfusionCounts(3))[i % 3]]}
        cores = [StateCore(kinds) for _ in range(4)]
        if data:
            cores[1].update({name: (t(1.0), torch.tensor([0])) for name in kinds if int(name) % 3 == 1})
        world = World(4)
        world.collect(cores)
        return [(exchange.kind, exchange.op) for exchange in world.log]

    header, packs = ("all_reduce", "max"), [("all_reduce", "max"), ("all_reduce", "sum")]
    expected = [header, *packs, ("all_gather", None), ("to_root", None)]
    assert exchanges(3, True) == exchanges(12, True) == exchanges(12, False) == expected


def test_two_hundred_and_fifty_six_processes_are_quick() -> None:
    """And agree with one."""
    cores = [StateCore({"mean": ExactMean()}) for _ in range(256)]
    for rank, core in enumerate(cores):
        core.step_end(mean=(t(float(rank)),))
    assert {values["mean"] for values in World(256).collect(cores)} == {127.5}
    shards = [[(t(float(rank)),)] for rank in range(256)]
    assert {float(value) for value in World(256).compute(MeanMetric, shards)} == {127.5}


def test_a_world_has_a_process_and_a_share_for_each() -> None:
    """The errors say what was found."""
    with pytest.raises(ValueError, match=r"size=0, expected a number of processes, 1 at least, as World\(2\)"):
        World(0)
    with pytest.raises(ValueError, match=r"World\(2\): found 1 shards, expected one for each of 2 processes: write"):
        World(2).compute(MeanMetric, [[]])
    with pytest.raises(TypeError, match="a process yielded 3, expected AllReduce"):
        World(1).run(lambda rank: asks(3))


def test_ordinary_metrics_join_the_sync_of_a_core() -> None:
    """Their states are merged with everyone's, beside those of reductions."""
    cores = [StateCore({"ours": ExactMean(), "theirs": MeanMetric(), "max": MaxMetric()}) for _ in range(3)]
    for rank, core in enumerate(cores[:2]):
        core.step_end(ours=(t(float(rank)),), theirs=(t(2.0 * rank),), max=(t(float(rank)),))
    for values in World(3).collect(cores):
        assert (values["ours"], float(values["theirs"]), float(values["max"])) == (0.5, 1.0, 1.0)


def test_payloads_of_unlike_shapes_fail_on_every_process() -> None:
    """Before anybody sends them, and alone: the choices before and after it have their values."""
    cores = [StateCore({"best": TopK(1), "middle": TopK(1), "worst": TopK(1)}) for _ in range(2)]
    for rank, core in enumerate(cores):
        core.step_end(middle=(t(1.0), torch.tensor([rank]), torch.zeros(1, 2 + rank)))
        core.step_end(**dict.fromkeys(("best", "worst"), (t(1.0), torch.tensor([rank]), t(7.0))))
    told = (
        r"StateCore: middle: no value: TopK: processes hold payloads of unlike shapes: float32 \[2\] on process 0, "
        r"float32 \[3\] on process 1; bring the samples to one size"
    )
    with pytest.warns(UserWarning, match=told):
        first, second = World(2).collect(cores)
    assert first.keys() == second.keys() == {"best", "worst"}
    assert [first[name].payload[0].tolist() for name in ("best", "worst")] == [[7.0], [7.0]]


@pytest.mark.parametrize(("payload", "fits"), [([1] * 8, True), ([1] * 9, False), ([7], True), ([8], False)])
def test_a_payload_has_up_to_eight_tensors_of_six_dimensions(payload: list[int], fits: bool) -> None:
    """Beside the dimension of samples; what is more fails with words that say so."""
    core = StateCore({"worst": TopK(1)}, on_problem="raise")
    core.step_end(worst=(t(1.0), torch.tensor([0]), *(torch.ones((1, *[1] * (ndim - 1))) for ndim in payload)))
    if fits:
        (values,) = World(1).collect([core])
        assert [tensor.ndim for tensor in values["worst"].payload] == payload
    else:
        shapes = re.escape(f"TopK: a sample has {[(1,) * (ndim - 1) for ndim in payload]}, at most 8 tensors of 6")
        with pytest.raises(ValueError, match=shapes):
            World(1).collect([core])
    product, fields = Product(mean=ExactMean(), worst=TopK(1)), [torch.ones([1] * ndim) for ndim in payload]
    state = product.lift(mean=(t(1.0),), worst=(t(1.0), torch.tensor([0]), *fields))
    assert (obstacle(product, state) is None) == fits


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_payload_of_a_dtype_without_bytes_is_refused() -> None:
    """With the dtype in the words."""
    state = TopK(1).lift(t(1.0), torch.tensor([0]), t(1.0))
    state["payload0"] = torch.quantize_per_tensor(t(1.0), 0.5, 0, torch.qint8)
    assert obstacle(TopK(1), state) == "TopK: a payload of torch.qint8 cannot be sent to another process"


# What gloo does where processes do not gather the same: tried with real ones in test_programs.py


def test_tensors_of_unlike_sizes_in_bytes_abort() -> None:
    """A process without data sends an empty tensor of floats, and the others labels, or of more dimensions."""
    for other in (torch.tensor([1, 2]), torch.ones(2, 3), torch.ones(2).half(), torch.tensor(1.0)):
        with pytest.raises(WouldAbort) as failure:
            World(2).compute(Gathered, [[(torch.zeros(0),)], [(other,)]])
        assert isinstance(failure.value, LawViolation)
        for text in ("process 0: gather_all_tensors of torch.float32 with 1 dimensions", "process 1: gather"):
            assert text in str(failure.value)
    told = "process 0 gathers float32 with 1 dimensions, and process 1 gathers float32 with 0 dimensions"
    assert failure.value.words == f"state 'seen': {told}"


class TwoLists(Metric):
    """Of labels, and of scores, joined for the sync; and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("number", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, labels: Tensor, scores: Tensor) -> None:
        self.labels.append(labels)
        self.scores.append(scores)
        self.number += len(labels)

    def compute(self) -> Tensor:
        return self.number


def test_what_cannot_be_gathered_names_the_state() -> None:
    """Also where it is a list that is joined on the way; in a collection with its metric; two where they are unlike."""
    good, bad = (t(1.0), t(2.0)), (t(1.0), torch.ones(1, 1))
    told = "process 0 gathers float32 with 1 dimensions, and process 1 gathers float32 with 2 dimensions"
    for batches in ([good], [good, good]):
        with pytest.raises(WouldAbort) as failure:
            World(2).compute(TwoLists, [batches, [bad] * len(batches)])
        assert failure.value.words == f"state 'scores': {told}"
    with pytest.raises(WouldAbort) as failure:
        World(2).compute(lambda: MetricCollection({"a": TwoLists(), "b": TwoLists()}), [[good], [bad]])
    assert failure.value.words == f"state 'scores' of TwoLists: {told}"
    world = World(2)
    with pytest.raises(WouldAbort) as failure:
        world.compute(TwoEntries, [[(t(1.0),), (t(2.0),)], [(t(3.0),)]])
    assert failure.value.words == (
        "process 0 gathers float32 with 1 dimensions, state 'seen', "
        "and process 1 gathers int64 with 0 dimensions, state 'number'"
    )


class TwoEntries(Gathered):
    """A list that is not reduced, and then a number."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("number", torch.tensor(0), dist_reduce_fx="sum")


SENT_BY_GLOO = [
    *(torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16),
    *(torch.float32, torch.float64, torch.complex64),
]
REFUSED = [torch.int16, torch.uint16, torch.uint32, torch.uint64, torch.float8_e5m2]


class Typed(Metric):
    """A state of each dtype."""

    def __init__(self, *dtypes: torch.dtype) -> None:
        super().__init__()
        for dtype in dtypes:
            name = str(dtype).removeprefix("torch.")
            self.add_state(name, torch.ones(1, dtype=torch.int64).to(dtype), dist_reduce_fx=None)

    def update(self) -> None:
        pass

    def compute(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._defaults]


def test_dtypes_that_gloo_sends_are_sent_in_the_world() -> None:
    """With the values of two real processes."""
    metric: Any = lambda: Typed(*SENT_BY_GLOO)  # noqa: E731
    simulated, real = World(2).compute(metric, [[()], [()]]), on_real_processes(metric, [[()], [()]])
    assert difference(simulated, real) is None
    assert [x.tolist() for x in simulated[0]] == [[[1], [1]]] * len(SENT_BY_GLOO)


@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_a_dtype_that_gloo_does_not_send_raises_in_the_world(dtype: torch.dtype) -> None:
    """What real processes raise, with the name of the state."""
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(RuntimeError, match=f"^Invalid scalar type: state '{name}' is {name}, which gloo does not"):
        World(2).compute(lambda: Typed(dtype), [[()], [()]])
    with pytest.raises(Ended, match="process 0 raised RuntimeError: Invalid scalar type"):
        on_real_processes(lambda: Typed(dtype), [[()], [()]], seconds=5)


def test_tensors_of_unlike_dtypes_and_equal_sizes_are_read_as_ones_own() -> None:
    """In silence: a process reads the other's bits as numbers of its dtype."""
    first, second = World(2).compute(Gathered, [[(t(1.0),)], [(torch.tensor([7, 8], dtype=torch.int32),)]])
    assert [value.dtype for value in first] == [torch.float32] * 2
    assert first[1].view(torch.int32).tolist() == [7, 8]
    assert int(second[0]) == 0x3F800000
    assert second[1].tolist() == [7, 8]
    world = World(2)
    world.compute(Gathered, [[(t(1.0),)], [(torch.tensor([7, 8], dtype=torch.int32),)]])
    told = "process 0 gathers float32 with 1 dimensions, and process 1 gathers int32 with 1 dimensions"
    world.compute(Gathered, [[(t(1.0),)], [(t(2.0),)]])
    assert world.mixed == [f"state 'seen': {told}"]


def test_nothing_is_gathered_of_any_dtype() -> None:
    """Where no process has a number, no size can be unlike."""
    first, second = World(2).compute(Gathered, [[(torch.zeros(0),)], [(torch.zeros(0, dtype=torch.int64),)]])
    assert [value.dtype for value in (*first, *second)] == [torch.float32] * 2 + [torch.int64] * 2


def test_a_hang_says_who_waits_for_whom() -> None:
    """One that is done, one that raises, or all in different collectives."""
    with pytest.raises(WouldHang) as failure:
        World(3).compute(Gathered, [[(t(1.0),), (t(2.0),)], [(t(3.0),)], [(t(4.0),), (t(5.0),)]])
    assert failure.value.words == "state 'seen': processes 0, 2 wait for process 1, which is done"

    def steps(rank: int) -> Generator[Any, Any, None]:
        if rank:
            raise KeyError("rank 1")
        yield AllReduce(t(1.0), "sum")

    with pytest.raises(WouldHang) as failure:
        World(2).run(steps)
    assert failure.value.words == "process 0 waits for process 1, which raises KeyError: 'rank 1'"
    with pytest.raises(WouldHang) as failure:
        World(2).run(lambda rank: asks([AllReduce(t(1.0), "sum"), AllGather(t(1.0))][rank]))
    assert failure.value.words == "processes wait in different collectives"


X = torch.tensor([1.0])
ONE = MeanMetric()


@pytest.mark.parametrize(
    ("factory", "shards", "words"),
    [
        (MeanMetric, X, "shards is a Tensor, expected a list of 2 lists of tuples, as [[(preds, target)], [(preds, "),
        (MeanMetric, [[], [], []], "found 3 shards, expected one for each of 2 processes: write World(3), or [] for a"),
        (MeanMetric, [[], X], "shards[1] is a Tensor, expected a list of tuples: write [(shards[1],)] for one update"),
        (MeanMetric, [(X, X), []], "shards[0] is a tuple, expected a list of tuples: write [shards[0]] for one update"),
        (MeanMetric, [[], 3], "shards[1] is a int, expected a list of tuples: write [(shards[1],)] for one update"),
        (MeanMetric, [[], [X]], "shards[1][0] is a Tensor, expected the tuple of arguments of one update: write (sh"),
        (ONE, [[], []], "the factory is a MeanMetric, expected a function that makes a new metric: write lambda: Mean"),
        (None, [[], []], "the factory is a NoneType, expected a function that makes a new metric: write lambda: MyMet"),
        (lambda: 3, [[], []], "the factory made a int, expected a function that makes a new metric: write lambda: My"),
        (lambda: MaxMetric, [[], []], "the factory made the class MaxMetric, expected a function that makes a new me"),
        (lambda: ONE, [[], []], "the factory gives the same MeanMetric to each process, expected a new metric: write"),
        (lambda: MinMaxMetric(ONE), [[], []], "the factory gives the same MeanMetric to each process, expected a new"),
    ],
)
def test_what_is_wrong_with_a_world_is_told(factory: Any, shards: Any, words: str) -> None:
    """What was found, what was expected, and what to write."""
    with pytest.raises(ValueError, match=re.escape(f"World(2): {words}")):
        World(2).compute(factory, shards)


@pytest.mark.parametrize("size", [-1, 2.0, "2"])
def test_a_world_has_a_number_of_processes(size: Any) -> None:
    """One at least."""
    with pytest.raises(ValueError, match=f"World: size={size!r}, expected a number of processes, 1 at least"):
        World(size)


def test_the_advice_about_shards_can_be_written() -> None:
    """As it stands."""
    shards = [X, (X, torch.tensor([2.0]))]
    one, other = [[(shards[0],)], [shards[1]]]
    assert World(2).compute(MeanMetric, [one, other]) == [torch.tensor(1.0)] * 2
    assert World(2).compute(MeanMetric, [iter(one), []]) == [torch.tensor(1.0)] * 2  # type: ignore[list-item]
