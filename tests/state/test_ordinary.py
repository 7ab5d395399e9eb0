"""Ordinary metrics whose states are not reduced elementwise: they cross whole, in as many exchanges as one alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import pytest
import torch
from support.versions import needs_own_sync_of_pearson
from torchmetrics import CatMetric, MeanMetric, Metric, PearsonCorrCoef, RunningMean, SpearmanCorrCoef
from torchmetrics.classification import BinaryAUROC, MulticlassAUROC

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, RandomSample
from lwcallbacks.state.core import Collected, collecting
from lwcallbacks.testing import World


class Words(Metric):
    """Remembers texts and such, which are no tensors."""

    def __init__(self, kind: Callable[[str], Any] = str) -> None:
        super().__init__()
        self.kind = kind
        self.add_state("words", [], dist_reduce_fx=None)

    def update(self, x: torch.Tensor) -> None:
        self.words.append(self.kind("x" * len(x)))

    def compute(self) -> list[Any]:
        return list(self.words)


class Pieces(Metric):
    """Lists that are never concatenated, of tensors of unlike shape and dtype, beside a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("pieces", [], dist_reduce_fx=None)
        self.add_state("flags", [], dist_reduce_fx="cat")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: torch.Tensor) -> None:
        self.pieces += [x[: i + 1].to(dtype) for i, dtype in enumerate([torch.float16, torch.int64])]
        self.pieces.append(x.sum())
        self.flags.append(x > 0)
        self.count += 1

    def compute(self) -> list[Any]:
        flags = torch.cat(self.flags) if isinstance(self.flags, list) else self.flags
        return [[(str(p.dtype), p.tolist()) for p in self.pieces], flags.tolist(), int(self.count)]


def samples(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=generator), torch.rand(n, generator=generator)


def cores_of(size: int, make: Callable[[], dict[str, Any]], shards: list[list[tuple[Any, ...]]]) -> list[lw.StateCore]:
    cores = [lw.StateCore(make()) for _ in range(size)]
    for core, shard in zip(cores, shards, strict=True):
        for args in shard:
            core.update(dict.fromkeys(core.names, args), values=False)
    return cores


def ended(cores: list[lw.StateCore], world: World) -> list[Collected]:
    return world.run(lambda rank: collecting({0: cores[rank]}, rank, world.size))


def collected(cores: list[lw.StateCore], world: World) -> list[dict[Any, Any]]:
    return [of_all.values[0] for of_all in ended(cores, world)]


def binary(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x, (y > 0.5).long()


CASES: dict[str, tuple[Callable[[], Metric], Callable[..., tuple[Any, ...]]]] = {
    "float and integer lists": (BinaryAUROC, binary),
    "one list": (CatMetric, lambda x, y: (x,)),
    "two lists of floats": (SpearmanCorrCoef, lambda x, y: (x, y)),
}


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all targets")
@pytest.mark.parametrize("case", CASES)
def test_shares_of_any_size_give_the_value_of_one_process(case: str) -> None:
    """Uneven shares, and processes without any data, in the order of the processes."""
    make, args = CASES[case]
    batches = [args(*samples(n, n)) for n in (4, 1, 7)]
    alone = make()
    for batch in batches:
        alone.update(*batch)
    shards = [[], [batches[0]], [], batches[1:], []]
    for value in collected(cores_of(5, lambda: {"m": make()}, shards), World(5)):
        expected = alone.compute()
        assert torch.equal(value["m"], expected) if isinstance(expected, torch.Tensor) else value["m"] == expected


def test_entries_that_are_not_joined_come_in_turn() -> None:
    """The first of each process, then the second, as torchmetrics has them; of any shape, dtype and number."""
    batches = [samples(n, n)[:1] for n in (4, 1, 7)]
    shards = [[], [batches[0]], [], batches[1:], []]
    alone = [Pieces(), Pieces()]
    for metric, shard in zip(alone, (batches[:1], batches[1:]), strict=True):
        for batch in shard:
            metric.update(*batch)
    turns = zip_longest(*(metric.compute()[0] for metric in alone))
    expected = [piece for turn in turns for piece in turn if piece is not None]
    for value in collected(cores_of(5, lambda: {"m": Pieces()}, shards), World(5)):
        assert value["m"][0] == expected
        assert value["m"][2] == 3
    even = [batches[:1], batches[1:2], batches[2:]]
    by_torchmetrics, *_ = World(3).compute(Pieces, even)
    for value in collected(cores_of(3, lambda: {"m": Pieces()}, even), World(3)):
        assert value["m"] == by_torchmetrics


@pytest.mark.parametrize("kind", [str, str.encode, len, lambda x: {"text": [x, (None, 0.5, True)]}])
def test_entries_that_are_no_tensors_cross_as_they_are(kind: Callable[[str], Any]) -> None:
    """Texts, numbers and containers of them, beside a metric of tensors."""
    batches = [samples(n, n)[:1] for n in (2, 1, 4)]
    cores = cores_of(3, lambda: {"words": Words(kind), "mean": MeanMetric()}, [batches[:1], [], batches[1:]])
    for value in collected(cores, World(3)):
        assert value["words"] == [kind("xx"), kind("x"), kind("xxxx")]


def test_tensors_that_only_the_metric_can_combine() -> None:
    """PearsonCorrCoef's moments arrive stacked by process, also where one of them is still a scalar."""
    shards = [[samples(5, 1)], [samples(8, 2), samples(2, 3)]]
    alone = PearsonCorrCoef()
    alone.update(*(torch.cat(parts) for parts in zip(*shards[0], *shards[1], strict=True)))
    for value in collected(cores_of(2, lambda: {"m": PearsonCorrCoef()}, shards), World(2)):
        torch.testing.assert_close(value["m"].reshape(()), alone.compute())


@needs_own_sync_of_pearson
def test_they_arrive_as_torchmetrics_own_sync_would_bring_them() -> None:
    """The same bits."""
    shards = [[samples(5, 1)], [samples(8, 2), samples(2, 3)]]
    by_torchmetrics, *_ = World(2).compute(PearsonCorrCoef, shards)
    for value in collected(cores_of(2, lambda: {"m": PearsonCorrCoef()}, shards), World(2)):
        assert torch.equal(value["m"], by_torchmetrics)


def test_a_state_that_has_learnt_its_shape_is_stacked_with_one_that_has_not() -> None:
    """A process without data holds a scalar where another holds a vector."""

    class Latest(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("latest", torch.tensor(0.0), dist_reduce_fx=None)

        def update(self, x: torch.Tensor) -> None:
            self.latest = x

        def compute(self) -> torch.Tensor:
            return self.latest

    for value in collected(cores_of(2, lambda: {"m": Latest()}, [[(torch.ones(3),)], []]), World(2)):
        assert value["m"].tolist() == [[1.0] * 3, [0.0] * 3]
    unlike = cores_of(2, lambda: {"m": Latest()}, [[(torch.ones(3),)], [(torch.ones(1),)]])
    for of_all in ended(unlike, World(2)):
        assert "RuntimeError: stack expects each tensor to be equal size" in of_all.failures[0]["m"], "never repeated"


def test_a_mean_of_states_is_the_metrics_own_affair() -> None:
    """dist_reduce_fx="mean" is done as the metric asks for."""

    class Level(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("level", torch.tensor(0.0), dist_reduce_fx="mean")

        def update(self, x: torch.Tensor) -> None:
            self.level = x.mean()

        def compute(self) -> torch.Tensor:
            return self.level

    shards = [[(torch.tensor([1.0, 3.0]),)], [(torch.tensor([5.0]),)]]
    assert [float(v["m"]) for v in collected(cores_of(2, lambda: {"m": Level()}, shards), World(2))] == [3.5, 3.5]


def test_the_number_of_exchanges_does_not_grow_with_the_metrics() -> None:
    """One metric that keeps lists, and five of them: the same kinds of exchange, as often."""

    def kinds(n: int) -> list[str]:
        world = World(3)
        shards = [[binary(*samples(4))], [], [binary(*samples(2, 1))]]
        collected(cores_of(3, lambda: {f"m{i}": BinaryAUROC() for i in range(n)}, shards), world)
        return [exchange.kind for exchange in world.log]

    # The header, the sums, then the sizes, headers and bytes of the lists.
    assert kinds(1) == kinds(5) == ["all_reduce", "all_reduce", "all_gather", "all_gather", "all_gather"]


def test_what_is_no_tensor_fails_alone() -> None:
    """Sets in a state of one process: every process knows, nobody waits, and the other metric has its value."""
    shards = [[], [(torch.ones(2),)], []]
    cores = cores_of(3, lambda: {"words": Words(set), "mean": MeanMetric()}, shards)
    for of_all in ended(cores, World(3)):
        assert of_all.values == {0: {"mean": 1.0}}
        assert "process 1: Words.words holds something that is no tensor" in of_all.failures[0]["words"]


@pytest.mark.parametrize(
    ("default", "op", "dtype", "words"),
    [
        (torch.tensor(0.0), "max", torch.complex64, "the max over processes of a tensor of torch.complex64 is not def"),
        ([], None, torch.bits8, "Odd.held holds a tensor of torch.bits8: it cannot be synced"),
    ],
    ids=["no order", "no number"],
)
def test_a_dtype_that_cannot_cross_fails_alone(default: Any, op: Any, dtype: torch.dtype, words: str) -> None:
    """Told before anything is sent; the other metric has its value."""

    class Odd(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("held", default, dist_reduce_fx=op)

        def update(self, x: torch.Tensor) -> None:
            odd = torch.empty(2, dtype=dtype)
            self.held = [*self.held, odd] if isinstance(self.held, list) else odd

        def compute(self) -> int:
            return len(self.held)

    cores = cores_of(2, lambda: {"odd": Odd(), "mean": MeanMetric()}, [[(torch.ones(2),)], []])
    for of_all in ended(cores, World(2)):
        assert of_all.values == {0: {"mean": 1.0}}
        assert words in of_all.failures[0]["odd"]


def test_one_process_sends_nothing() -> None:
    """Alone, any metric computes from its own states, whatever they are."""
    [core] = cores_of(1, lambda: {"words": Words()}, [[(torch.ones(2),), (torch.ones(3),)]])
    assert core.epoch_end() == {"words": ["xx", "xxx"]}


def test_a_reduction_as_a_metric_shares_the_exchange() -> None:
    """A ReductionMetric brings its reduction; a subclass, which may compute something else, is left to itself."""

    class Doubled(lw.ReductionMetric):
        def compute(self) -> Any:
            return 2 * super().compute()

    world = World(2)
    shards = [[(torch.tensor([1.0]),)], [(torch.tensor([4.0]),)]]
    values = collected(cores_of(2, lambda: {"mean": lw.ReductionMetric(ExactMean())}, shards), world)
    assert [value["mean"] for value in values] == [2.5, 2.5]
    assert [exchange.kind for exchange in world.log] == ["all_reduce", "all_reduce"], "the header and the sums"
    [core] = cores_of(1, lambda: {"mean": Doubled(ExactMean())}, [[(torch.tensor([1.5]),)]])
    assert core.epoch_end() == {"mean": 3.0}


@pytest.mark.parametrize("make", [BinaryAUROC, PearsonCorrCoef, CatMetric, Pieces], ids=lambda make: make.__name__)
def test_a_saved_epoch_goes_on(make: Callable[[], Metric]) -> None:
    """Half an epoch saved, loaded into another core and ended there is the whole epoch."""
    args = next((fields for maker, fields in CASES.values() if maker is make), lambda x, y: (x, y))
    args = (lambda x, y: (x - 0.5,)) if make is Pieces else args
    first, second = args(*samples(5, 1)), args(*samples(3, 2))
    [whole] = cores_of(1, lambda: {"m": make()}, [[first, second]])
    [half] = cores_of(1, lambda: {"m": make()}, [[first]])
    torch.save(half.state_dict(), "state.pt")
    [again] = cores_of(1, lambda: {"m": make()}, [[]])
    again.load_state_dict(torch.load("state.pt", weights_only=True))
    again.update({"m": second})
    expected, found = whole.epoch_end()["m"], again.epoch_end()["m"]
    assert torch.equal(expected, found) if isinstance(expected, torch.Tensor) else expected == found


def test_what_cannot_go_on_is_left_out_of_a_checkpoint() -> None:
    """Wrappers, and on several processes a tensor of each: better empty than wrong."""
    from lwcallbacks.state import ordinary

    assert ordinary.saved(RunningMean(3), {}, 1) is None
    words = Words()
    words.update(torch.ones(2))
    assert ordinary.saved(words, {}, 1) is None
    metric = PearsonCorrCoef()
    states = ordinary.merged(metric, iter(()), iter([[[torch.zeros(1)]] * 2, [[]] * 2] * len(metric._defaults)))
    assert ordinary.saved(metric, states, 2) is None


def test_a_metric_with_thresholds_and_one_without_side_by_side() -> None:
    """Sums, lists, reductions and choices in one core; every value is that of one process."""

    def make() -> dict[str, Any]:
        return {"roc": MulticlassAUROC(3), "mean": MeanMetric(), "c": ConfusionCounts(3), "s": RandomSample(2)}

    generator = torch.Generator().manual_seed(5)
    preds, targets = torch.rand(9, 3, generator=generator).softmax(1), torch.arange(9) % 3

    def feed(core: lw.StateCore, rows: slice) -> None:
        p, t, ids = preds[rows], targets[rows], torch.arange(9)[rows]
        core.update({"roc": (p, t), "mean": (p,), "c": (p, t), "s": (ids, p)}, values=False)

    whole = lw.StateCore(make())
    feed(whole, slice(None))
    expected = whole.epoch_end()
    cores = [lw.StateCore(make()) for _ in range(3)]
    feed(cores[0], slice(0, 2))
    feed(cores[2], slice(2, 9))
    for value in collected(cores, World(3)):
        assert torch.equal(value["roc"], expected["roc"])
        assert torch.equal(value["c"], expected["c"])
        assert torch.equal(value["s"].ids, expected["s"].ids)
        torch.testing.assert_close(value["mean"], expected["mean"])
