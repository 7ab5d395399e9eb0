"""Before the pack: what must be equal on all processes, what is made alike, and what each process learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lawful import EXAMPLES
from torchmetrics import MeanMetric, Metric, SumMetric
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy, MulticlassF1Score

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, Extrema, First, Product, TopK
from lwcallbacks.state.core import Collected, UnlikeError, collecting, snapshotting
from lwcallbacks.state.sync import on_processes
from lwcallbacks.testing import World

LABELS = torch.tensor([0, 1, 1, 2, 2, 2])


def ended(cores: list[lw.StateCore], world: World | None = None, **kwargs: Any) -> list[Collected]:
    world = world or World(len(cores))
    return world.run(lambda rank: collecting({0: cores[rank]}, rank, len(cores), **kwargs))


def told(cores: list[lw.StateCore]) -> str:
    """What every process raises, which must be the same."""
    texts = []

    def steps(rank: int) -> Any:
        try:
            yield from collecting({0: cores[rank]}, rank, len(cores))
        except UnlikeError as error:
            texts.append(str(error))

    World(len(cores)).run(steps)
    assert len(texts) == len(cores)
    assert len(set(texts)) == 1
    return texts[0]


KINDS: dict[str, tuple[Callable[[], Any], Callable[[torch.Tensor, torch.Tensor], tuple[Any, ...]]]] = {
    "counts": (lambda: ConfusionCounts(3), lambda x, y: (y, y)),
    "mean": (ExactMean, lambda x, y: (x,)),
    "other mean": (ExactMean, lambda x, y: (x + 1,)),
    "extrema": (Extrema, lambda x, y: (x,)),
    "acc": (lambda: MulticlassAccuracy(3, average="micro"), lambda x, y: (y, (y + 1) % 3)),
    "f1": (lambda: MulticlassF1Score(3, average="micro", ignore_index=0), lambda x, y: (y, y)),
    "roc": (BinaryAUROC, lambda x, y: (x, (y > 0).long())),
}


def whole(name: str, x: torch.Tensor, y: torch.Tensor) -> Any:
    make, args = KINDS[name]
    core = lw.StateCore({name: make()})
    core.update({name: args(x, y)}, values=False)
    return core.epoch_end()[name]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_the_order_of_registration_does_not_matter(data: st.DataObject) -> None:
    """Each process registers in an order of its own; every value is that of one process over everything."""
    orders = [data.draw(st.permutations(list(KINDS))) for _ in range(data.draw(st.integers(1, 3)))]
    x = torch.arange(6.0) / 8
    cores = []
    for rank, order in enumerate(orders):
        core = lw.StateCore({name: KINDS[name][0]() for name in order})
        rows = slice(rank, None, len(orders))
        core.update({name: KINDS[name][1](x[rows], LABELS[rows]) for name in order}, values=False)
        cores.append(core)
    for collected in ended(cores):
        for name in KINDS:
            assert same(collected.values[0][name], whole(name, x, LABELS)), name


def test_names_of_any_hashable_kind_are_put_in_one_order() -> None:
    """Strings, numbers, tuples and reductions with functions inside, whose addresses differ between processes. Names
    that read alike are told apart by their order."""
    names: list[Any] = ["b", 1, ("a", 2), None, "1", (ConfusionCounts(3), whole), object(), object()]
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [5, 3, 6, 1, 0, 4, 2, 7]):
        cores = [lw.StateCore({names[i]: ExactMean() for i in places}) for places in (range(8), order)]
        for core in cores:
            core.update({name: (torch.tensor([float(i)]),) for i, name in enumerate(names)})
        for collected in ended(cores):
            assert [collected.values[0][name] for name in names] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


UNLIKE: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "a name": ({"a": ExactMean()}, {"b": ExactMean()}, ["'a' is ExactMean()", "missing on process 1", "'b' is"]),
    "one more": ({"a": ExactMean(), "b": Extrema()}, {"a": ExactMean()}, ["'b' is Extrema()", "missing on process 1"]),
    "size": (
        {"a": ConfusionCounts(3)},
        {"a": ConfusionCounts(4)},
        ["ConfusionCounts(num_classes=3", "ConfusionCounts(num_classes=4", "on process 0", "on process 1"],
    ),
    "kind": ({"a": ExactMean()}, {"a": MeanMetric()}, ["ExactMean()", "MeanMetric("]),
    "metric": ({"a": SumMetric()}, {"a": MeanMetric()}, ["SumMetric(", "MeanMetric("]),
    "shape": (
        {"a": MulticlassAccuracy(3)},
        {"a": MulticlassAccuracy(5)},
        ["tp: int64 [3], sum", "tp: int64 [5], sum", "on process 0", "on process 1"],
    ),
    "lists": (
        {"a": BinaryAUROC()},
        {"a": BinaryAUROC(thresholds=5)},
        ["preds: list, dim_zero_cat", "confmat: int64 [5, 2, 2], sum"],
    ),
    "k": ({"a": TopK(2)}, {"a": TopK(3)}, ["TopK(k=2", "TopK(k=3"]),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_unlike_processes_raise_the_same_error(case: str) -> None:
    """Which names the entry, what each process has, and what to write; nothing hangs."""
    first, second, words = UNLIKE[case]
    text = told([lw.StateCore(first), lw.StateCore(second)])
    for word in [*words, "Give every process the same callbacks and metrics", "in any order"]:
        assert word in text, text


def test_the_owner_is_named_where_there_is_one() -> None:
    """In the words of who registered the entry."""
    cores = [lw.StateCore(), lw.StateCore()]
    for classes, core in zip((3, 4), cores, strict=True):
        core.register("k", ConfusionCounts(classes), owner="ConfusionMatrix('val/confusion_matrix')")
    assert "unlike things: ConfusionMatrix('val/confusion_matrix') is ConfusionCounts(num_classes=3" in told(cores)


def test_of_many_processes_the_first_eight_are_named() -> None:
    """A message of bounded length, at any number of processes."""
    assert on_processes(range(8)) == "processes 0, 1, 2, 3, 4, 5, 6, 7"
    assert on_processes(range(9)) == "processes 0, 1, 2, 3, 4, 5, 6, 7, ..."


def test_of_many_differences_the_first_are_told() -> None:
    """A message of bounded length."""
    text = told([lw.StateCore({f"m{i}": kind for i in range(9)}) for kind in (ExactMean(), Extrema())])
    assert "'m3' is" in text
    assert "'m4' is" not in text


class Learns(Metric):
    """A scalar that takes the shape and the dtype of the data, with each elementwise operation."""

    full_state_update = False

    def __init__(self, op: str) -> None:
        super().__init__()
        default = {"sum": 0.0, "min": float("inf"), "max": -float("inf")}[op]
        self.op = op
        self.add_state("state", torch.tensor(default), dist_reduce_fx=op)

    def update(self, x: torch.Tensor) -> None:
        own = {"sum": x.sum(0), "min": x.amin(0), "max": x.amax(0)}[self.op]
        if self.update_count == 1:
            self.state = own
        else:
            self.state = {"sum": torch.add, "min": torch.minimum, "max": torch.maximum}[self.op](self.state, own)

    def compute(self) -> torch.Tensor:
        return self.state


class Replaces(Learns):
    """Starts from nothing at all, which cannot be expanded."""

    def __init__(self, op: str) -> None:
        super().__init__(op)
        self._defaults["state"] = torch.zeros(0)
        self.reset()


@pytest.mark.parametrize("kind", [Learns, Replaces])
@pytest.mark.parametrize("op", ["sum", "min", "max"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.float32, torch.bfloat16])
def test_what_one_process_has_learnt_is_taken_over(kind: type[Learns], op: str, dtype: torch.dtype) -> None:
    """Shape and dtype learnt on one of three processes, whichever it is: the value is that of one process."""
    x = torch.tensor([[-3, 5], [-4, 2]]).to(dtype)
    alone = kind(op)
    alone.update(x)
    for rank in range(3):
        cores = [lw.StateCore({"m": kind(op), "mean": ExactMean()}) for _ in range(3)]
        cores[rank].update({"m": (x,), "mean": (x[:, 0],)}, values=False)
        for collected in ended(cores):
            assert torch.equal(collected.values[0]["m"], alone.compute())
            assert collected.values[0]["m"].dtype == alone.compute().dtype
            assert collected.values[0]["mean"] == -3.5


def test_two_dtypes_that_were_learnt_become_one_that_holds_both() -> None:
    """float32 on one process and float64 on another: float64 on both."""
    cores = [lw.StateCore({"m": Learns("sum")}) for _ in range(2)]
    cores[0].update({"m": (torch.ones(1, 2),)})
    cores[1].update({"m": (torch.full((1, 2), 1e-9, dtype=torch.float64),)})
    for collected in ended(cores):
        assert collected.values[0]["m"].tolist() == [1 + 1e-9] * 2


class Takes(Learns):
    """Holds what it was last given."""

    def update(self, x: torch.Tensor) -> None:
        self.state = x


def test_two_dtypes_that_no_third_holds_fail_alone() -> None:
    """With both of them; the other entry has its value."""
    cores = [lw.StateCore({"m": Takes("sum"), "mean": ExactMean()}) for _ in range(2)]
    for core, dtype in zip(cores, (torch.uint16, torch.int8), strict=True):
        core.update({"m": (torch.ones(2, dtype=dtype),), "mean": (torch.ones(1),)}, values=False)
    for collected in ended(cores):
        assert collected.values == {0: {"mean": 1.0}}
        cause = "its state 'state' has uint16 on process 0, int8 on process 1, expected one dtype for all"
        assert collected.failures == {0: {"m": cause}}


@pytest.mark.parametrize("op", ["min", "max"])
def test_an_infinite_number_that_was_learnt_is_kept(op: str) -> None:
    """It is data, though it is what another process starts from."""
    x = torch.tensor([[float("inf"), -float("inf"), 2.0]])
    cores = [lw.StateCore({"m": Learns(op)}) for _ in range(2)]
    cores[1].update({"m": (x,)}, values=False)
    for collected in ended(cores):
        assert collected.values[0]["m"].tolist() == x[0].tolist()


def test_two_shapes_that_were_learnt_fail_alone() -> None:
    """No sum of them is right: the entry fails on every process with both shapes, and the other has its value."""
    cores = [lw.StateCore({"m": Learns("sum"), "mean": ExactMean()}) for _ in range(3)]
    for core, columns in zip(cores, (2, 3), strict=False):
        core.update({"m": (torch.ones(1, columns),), "mean": (torch.ones(1),)})
    for collected in ended(cores):
        assert collected.values == {0: {"mean": 1.0}}
        cause = "its state 'state' has shape [2] on process 0, [3] on process 1, expected one shape for all"
        assert collected.failures == {0: {"m": cause}}


def test_a_scalar_that_was_learnt_is_not_spread_over_a_vector() -> None:
    """It is another process's sum of something else: added to each column it would be a wrong number in silence."""
    cores = [lw.StateCore({"m": Learns("sum")}) for _ in range(2)]
    cores[0].update({"m": (torch.ones(2, 3),)})
    cores[1].update({"m": (torch.ones(5),)})
    for collected in ended(cores):
        assert "shape [3] on process 0, [] on process 1" in collected.failures[0]["m"]


def test_an_update_without_rows_has_learnt_nothing() -> None:
    """A state that is still its default fits what another process has learnt."""

    class Total(Learns):
        def update(self, x: torch.Tensor) -> None:
            if len(x):
                super().update(x)

    cores = [lw.StateCore({"m": Total("sum")}) for _ in range(2)]
    cores[0].update({"m": (torch.ones(2, 3),)}, values=False)
    cores[1].update({"m": (torch.ones(0, 3),)}, values=False)
    assert [collected.values[0]["m"].tolist() for collected in ended(cores)] == [[2.0] * 3] * 2


def test_a_process_that_could_not_register_costs_its_owner_only() -> None:
    """Its entries fail on every process that has them; all other entries have their values everywhere."""
    cores = [lw.StateCore({"mean": ExactMean()}) for _ in range(3)]
    for core in cores[:2]:
        core.register("grid", First(2), owner="grid")
        core.step_end(mean=(torch.ones(1),), grid=(torch.arange(2), torch.ones(2, 1)))
    cores[2].broken.add("grid")
    collected = ended(cores)
    assert [c.values for c in collected] == [{0: {"mean": 1.0}}] * 3
    cause = {"grid": "could not be set up on process 2"}
    assert [c.failures for c in collected] == [{0: cause}, {0: cause}, {0: {}}]
    cores[2].broken.clear()
    assert "missing on process 2" in told(cores)


def test_every_subset_of_failures_leaves_the_rest() -> None:
    """Three entries on two processes: all 64 ways to fail; what failed nowhere has the value of all samples."""
    names = ["a", "b", "c"]
    places = list(itertools.product(range(2), names))
    for chosen in itertools.chain.from_iterable(itertools.combinations(places, n) for n in range(len(places) + 1)):
        cores = [lw.StateCore({"a": ExactMean(), "b": MeanMetric(), "c": TopK(1)}) for _ in range(2)]
        for rank, core in enumerate(cores):
            x = torch.tensor([float(rank)])
            core.update({"a": (x,), "b": (x,), "c": (x, torch.tensor([rank]))}, values=False)
        for rank, name in chosen:
            cores[rank].fail(name, f"no {name}")
        failed = {name for _, name in chosen}
        for collected in ended(cores):
            assert collected.failures[0].keys() == failed
            assert collected.values[0].keys() == set(names) - failed
            assert all(value == 0.5 for name, value in collected.values[0].items() if name != "c")
            for name in failed:
                ranks = [rank for rank, other in chosen if other == name]
                said = "; ".join(f"process {rank}: no {name}" for rank in ranks)
                assert collected.failures[0][name] == f"failed on {len(ranks)} of 2 processes; {said}"


def test_many_failures_are_told_in_one_message_of_bounded_size() -> None:
    """The first sixteen with their causes; all have failed."""
    cores = [lw.StateCore({f"{i:02}": ExactMean() for i in range(20)}) for _ in range(2)]
    for name in cores[1].names:
        cores[1].fail(name, f"no {name}")
    world = World(2)
    for collected in ended(cores, world):
        assert len(collected.failures[0]) == 20
        assert collected.failures[0]["15"] == "failed on 1 of 2 processes; process 1: no 15"
        assert collected.failures[0]["16"] == "failed as did 16 others"
    assert [(e.kind, e.shape) for e in world.log[:3]] == [
        ("all_reduce", (3,)),
        ("all_reduce", (20, 2)),
        ("all_gather", (16, 1024)),
    ]


def test_without_a_failure_there_is_one_header_of_three_numbers() -> None:
    """However many entries there are."""
    for n in (1, 30):
        world = World(3)
        ended([lw.StateCore({f"{i}": ExactMean() for i in range(n)}) for _ in range(3)], world)
        assert (world.log[0].op, world.log[0].shape) == ("max", (3,))
        assert len(world.log) == 2


def test_a_product_fails_as_one() -> None:
    """If one of its choices cannot be put together."""
    product = Product(mean=ExactMean(), shown=First(1))
    cores = [lw.StateCore({"p": product, "mean": ExactMean()}) for _ in range(2)]
    for rank, core in enumerate(cores):
        # A product takes its fields by name.
        core.members["p"]._state = product.lift(
            mean=(torch.ones(1),), shown=(torch.tensor([rank]), torch.ones(1, 2 + rank))
        )
    for collected in ended(cores):
        assert "payloads of unlike shapes" in collected.failures[0]["p"]
        assert collected.values[0].keys() == {"mean"}


def test_choices_with_payload_on_some_processes_only_fail_alone() -> None:
    """One process was given no payload at all, though it has samples: nothing could be shown for them."""
    cores = [lw.StateCore({"c": First(2), "d": First(2)}) for _ in range(2)]
    cores[0].step_end(c=(torch.tensor([0]), torch.ones(1, 2)), d=(torch.tensor([0]),))
    cores[1].step_end(c=(torch.tensor([1]),), d=(torch.tensor([1]),))
    for collected in ended(cores):
        assert "float32 [2] on process 0, nothing on process 1" in collected.failures[0]["c"]
        assert collected.values[0]["d"].ids.tolist() == [0, 1]


def saved(cores: list[lw.StateCore], **kwargs: Any) -> list[dict[Any, Any]]:
    ended = World(len(cores)).run(lambda rank: snapshotting({0: cores[rank]}, rank, len(cores), **kwargs))
    return [of_rank[0] for of_rank in ended]


def test_a_snapshot_leaves_out_what_failed() -> None:
    """And what cannot be put together; both are reported only at the end of the epoch."""
    cores = [lw.StateCore({"a": ExactMean(), "b": First(1), "c": ExactMean()}) for _ in range(2)]
    cores[1].fail("a", "")
    for rank, core in enumerate(cores):
        core.update({"b": (torch.tensor([rank]), torch.ones(1, 2 + rank))})
    assert [of_rank.keys() for of_rank in saved(cores)] == [{"c"}] * 2
    for collected in ended(cores):
        assert collected.failures[0].keys() == {"a", "b"}
        assert collected.failures[0]["a"].endswith("process 1: no reason was given")


def test_a_core_without_entries_ends_its_epoch() -> None:
    """With no value, and nothing is sent for it but the header."""
    world = World(2)
    assert [collected.values for collected in ended([lw.StateCore(), lw.StateCore()], world)] == [{0: {}}] * 2
    assert [exchange.kind for exchange in world.log] == ["all_reduce"]
