"""Flags, tallies, and what is settled between the header and the pack; processes that do not contribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, MinMaxMetric, SumMetric
from torchmetrics.classification import BinaryAUROC

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, First
from lwcallbacks.state.core import Collected, UnlikeError, collecting, snapshot, snapshotting
from lwcallbacks.testing import World


def run(cores: list[lw.StateCore], settles: Any = None, contributes: Any = None, coroutine: Any = collecting) -> Any:
    """End the epoch, or save it, with a `settle` and a `contributes` for each process."""
    size = len(cores)
    settles = settles or [None] * size
    contributes = contributes or [True] * size
    return World(size).run(lambda r: coroutine({"k": cores[r]}, r, size, settles[r], contributes[r]))


def rows(core: lw.StateCore, *values: float, name: str = "rows") -> None:
    core.update({name: (torch.tensor(values),)}, values=False)


def padded(n: int, make: Callable[[], Any] = SumMetric) -> list[lw.StateCore]:
    """Rows of all samples, and apart from them what is padding if rows are indices."""
    cores = [lw.StateCore({"rows": make(), "padding": SumMetric()}) for _ in range(n)]
    for rank, core in enumerate(cores):
        rows(core, 1.0 + rank)
        rows(core, 100.0, name="padding")
    return cores


def settling(core: lw.StateCore, seen: list[Any]) -> Callable[[dict[Any, set[Any]]], None]:
    """Where any process has flagged the rows, the padding counts; its own entry is never given out."""

    def settle(flagged: dict[Any, set[Any]]) -> None:
        seen.append(flagged)
        if "rows" in flagged["k"]:
            rows(core, 100.0)
        core.drop("padding")

    return settle


@pytest.mark.parametrize("flagging", [[], [1], [0, 1, 2]])
def test_what_any_process_flags_every_process_settles(flagging: list[int]) -> None:
    """Each gets the same flags; what it adds then is in the sums, and what it drops has no value."""
    cores, seen = padded(3), list[Any]()
    for rank in flagging:
        cores[rank].flag("rows")
    for collected in run(cores, [settling(core, seen) for core in cores]):
        assert collected.values == {"k": {"rows": 6.0 + (300.0 if flagging else 0.0)}}
        assert collected.failures == {"k": {}}
    assert seen == [{"k": {"rows"} if flagging else set()}] * 3
    for core in cores:
        rows(core, 1.0, name="padding")
    assert [c.values["k"]["padding"] for c in run(cores)] == [3.0] * 3, "an epoch later nothing is dropped"


def test_a_flag_is_told_once() -> None:
    """The header that goes ahead of what was settled needs no exchange of flags any more."""
    cores, world = padded(2), World(2)
    cores[0].flag("rows")
    settles = [settling(core, []) for core in cores]
    world.run(lambda rank: collecting({"k": cores[rank]}, rank, 2, settles[rank]))
    assert len(world.log) == 5  # a header and the flags; a header; floats and integers


def test_a_shape_that_is_learnt_while_settling_is_agreed_on() -> None:
    """An update on one process only, of a metric that no process has data for."""
    cores = [lw.StateCore({"roc": BinaryAUROC(), "mean": MeanMetric()}) for _ in range(2)]

    def settle(flagged: Any) -> None:
        cores[1].update({"roc": (torch.tensor([0.1, 0.9]), torch.tensor([0, 1])), "mean": (torch.tensor(3.0),)})

    for collected in run(cores, [lambda flagged: None, settle]):
        assert collected.values == {"k": {"roc": 1.0, "mean": 3.0}}


def test_a_settle_that_raises_on_one_process_hangs_nobody() -> None:
    """Every process reports it."""

    def settle(flagged: Any) -> None:
        raise KeyError("x")

    for collected in run(padded(2), [lambda flagged: None, settle]):
        assert collected.values == {"k": {}}
        assert collected.failures["k"]["rows"] == "failed on 1 of 2 processes; process 1: KeyError: 'x'"


def test_a_drop_on_one_process_only_is_an_error_on_all() -> None:
    """Not a hang, and never another entry's value."""
    cores = padded(2)
    with pytest.raises(UnlikeError, match=r"'padding' is SumMetric.* on process 1, missing on process 0"):
        run(cores, [settling(cores[0], []), lambda flagged: None])


def test_a_failure_before_the_settle_is_kept() -> None:
    """And what failed is in no second header."""
    cores = padded(2)
    cores[0].fail("rows", "unread")
    for collected in run(cores, [settling(core, []) for core in cores]):
        assert collected.values == {"k": {}}
        assert collected.failures == {"k": {"rows": "failed on 1 of 2 processes; process 0: unread"}}


def test_tallies_are_summed_and_skips_counted() -> None:
    """Of every entry, also of one that failed or was dropped; the first cause stays with its process."""
    cores = padded(3)
    for rank, core in enumerate(cores):
        core.tally("rows", "rows", 10**rank)
        core.tally("rows", "doubtful", rank)
        core.tally("padding", "rows", 1)
    cores[1].skip("rows", ValueError("no preds"))
    cores[1].skip("rows", "later")
    cores[2].skip("rows", "elsewhere")
    collected: list[Collected] = run(cores, [settling(core, []) for core in cores])
    for c in collected:
        assert c.tallies["k"]["rows"] == {"skipped": 3, "rows": 111, "doubtful": 3, "repeats": 0}
        assert c.tallies["k"]["padding"] == {"skipped": 0, "rows": 3, "doubtful": 0, "repeats": 0}
    assert [c.skipped["k"] for c in collected] == [{}, {"rows": "ValueError: no preds"}, {"rows": "elsewhere"}]
    assert run(cores)[0].tallies["k"]["rows"] == {"skipped": 0, "rows": 0, "doubtful": 0, "repeats": 0}


def test_skipped_batches_are_told_at_the_end() -> None:
    """By a core that is used alone."""
    core = lw.StateCore({"m": ExactMean()})
    core.step_end(m=(torch.ones(1),))
    core.skip("m", ValueError("no preds"))
    with pytest.warns(UserWarning, match="StateCore: m: 1 batches were left out .* for ValueError: no preds"):
        assert core.epoch_end() == {"m": 1.0}


def test_names_and_tallies_must_be_known() -> None:
    """The errors say what there is."""
    core = lw.StateCore({"m": ExactMean()})
    for use in (core.flag, core.drop, lambda name: core.skip(name, "x"), lambda name: core.fail(name, "x")):
        with pytest.raises(KeyError, match=r"'n' is not registered; registered are \['m'\]"):
            use("n")
    with pytest.raises(ValueError, match="'odd', expected one of"):
        core.tally("m", "odd", 1)  # type: ignore[arg-type]


KINDS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "mean": (ExactMean, (torch.tensor([1.0, 2.0]),)),
    "sum": (SumMetric, (torch.tensor([1.0, 2.0]),)),
    "roc": (BinaryAUROC, (torch.tensor([0.2, 0.6]), torch.tensor([1, 0]))),
    "shown": (First, (torch.tensor([0, 1]), torch.ones(2, 3))),
}


@pytest.mark.parametrize("quiet", [[1], [0], [0, 2]])
def test_only_contributors_count(quiet: list[int]) -> None:
    """Copies of the same data on three processes, some of which bring nothing: the same values on all."""

    def cores() -> list[lw.StateCore]:
        made = [
            lw.StateCore({n: make() if n != "shown" else First(4) for n, (make, _) in KINDS.items()}) for _ in "abc"
        ]
        for core in made:
            core.update({name: args for name, (_, args) in KINDS.items()}, values=False)
            core.tally("mean", "rows", 2)
        return made

    loud = [rank for rank in range(3) if rank not in quiet]
    all_cores = cores()
    for rank in quiet:
        all_cores[rank].fail("mean", "of no importance")
        all_cores[rank].flag("mean")
    some = cores()[: len(loud)]
    expected = run(some)[0]
    for rank, collected in enumerate(run(all_cores, contributes=[rank in loud for rank in range(3)])):
        values, right = collected.values["k"], expected.values["k"]
        assert (values["mean"], values["sum"], values["roc"]) == (right["mean"], right["sum"], right["roc"])
        assert values["sum"] == 3.0 * len(loud)
        assert values["shown"].ids.tolist() == [0, 1]
        assert [tuple(p.shape) for p in values["shown"].payload] == ([(2, 3)] if rank == 0 else [])
        assert collected.tallies["k"]["mean"]["rows"] == 2 * len(loud)


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_one_process_that_does_not_contribute_has_nothing() -> None:
    """Alone, and so for a metric that keeps lists and one that holds others."""
    core = lw.StateCore({"mean": SumMetric(), "range": MinMaxMetric(SumMetric())})
    core.update({"mean": (torch.ones(2),), "range": (torch.ones(2),)}, values=False)
    assert snapshot({"k": core}, contributes=False)["k"]["mean"]["state"] == {"sum_value": 0.0}
    values = run([core], contributes=[False])[0].values["k"]
    assert values["mean"] == 0.0
    assert values["range"]["raw"] == 0.0


def test_a_snapshot_settles_without_a_trace() -> None:
    """What is saved has been settled; afterwards the epoch goes on as if nothing had been saved."""
    cores = padded(2, BinarySums)
    for core in cores:
        core.register("c", ConfusionCounts(2))
        core.update({"c": (torch.tensor([0]), torch.tensor([1]))}, values=False)
    cores[1].flag("rows")

    def settle_of(core: lw.StateCore) -> Callable[[Any], None]:
        inner = settling(core, [])

        def settle(flagged: Any) -> None:
            inner(flagged)
            core.update({"c": (torch.tensor([1]), torch.tensor([1]))}, values=False)
            core.tally("c", "rows", 7)

        return settle

    settles = [settle_of(core) for core in cores]
    for _ in range(2):
        for of_rank in run(cores, settles, coroutine=snapshotting):
            assert of_rank["k"].keys() == {"rows", "c"}
            assert float(of_rank["k"]["rows"]["state"]["total"]) == 203.0
            assert of_rank["k"]["rows"]["state"]["seen"][0].tolist() == [1.0, 100.0, 2.0, 100.0]
            assert int(of_rank["k"]["c"]["state"]["counts"].sum()) == 4
            assert of_rank["k"]["c"]["tallies"]["rows"] == 14
    for collected in run(cores):
        assert collected.values["k"]["rows"] == 3.0
        assert collected.values["k"]["padding"] == 200.0
        assert int(collected.values["k"]["c"].sum()) == 2
        assert collected.tallies["k"]["c"]["rows"] == 0


class BinarySums(SumMetric):
    """A sum that is added to in place, beside a list of all values."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, x: torch.Tensor) -> None:
        self.total += x.sum()
        self.seen.append(x)

    def compute(self) -> torch.Tensor:
        return self.total


def test_a_wrapper_sees_nothing_of_a_snapshot_that_settles() -> None:
    """It is not saved either."""
    core = lw.StateCore({"range": MinMaxMetric(SumMetric())})
    rows(core, 1.0, name="range")
    told = list[Any]()
    assert snapshot({"k": core}, settle=lambda _: told.append(core.step_end(range=(100.0,))["range"])) == {"k": {}}
    assert told == [None]
    assert float(core.epoch_end()["range"]["raw"]) == 1.0
