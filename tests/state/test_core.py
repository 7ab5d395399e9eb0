"""StateCore: a step's values, an epoch's values, one state per name, in a plain loop or anywhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics import MaxMetric, MeanMetric, Metric, MetricCollection, MinMaxMetric, SumMetric
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy
from torchmetrics.regression import ExplainedVariance, MeanSquaredError

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, RandomSample
from lwcallbacks.state.core import Collected, collecting
from lwcallbacks.state.link import AllReduce, Alone, Counted, Steps, run
from lwcallbacks.state.sync import Bundle, synced
from lwcallbacks.testing import World


def batches(sizes: list[int], classes: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(len(sizes))
    return [
        (torch.rand(n, classes, generator=generator), torch.randint(classes, (n,), generator=generator)) for n in sizes
    ]


def test_step_values_are_of_the_batch_and_epoch_values_of_all() -> None:
    """The design's own example: a plain loop, no Trainer."""
    core = lw.StateCore({"loss": ExactMean(), "confusion": ConfusionCounts(3), "top": MaxMetric()})
    data = batches([4, 1, 7])
    for preds, targets in data:
        step = core.step_end(loss=(preds[:, 0],), confusion=(preds, targets), top=(preds,))
        assert step["loss"] == pytest.approx(float(preds[:, 0].double().mean()), abs=1e-12)
        assert int(step["confusion"].sum()) == len(targets)
        assert step["top"] == preds.max()
        assert list(step) == ["loss", "confusion", "top"]
    epoch = core.epoch_end()
    everything = torch.cat([p[:, 0] for p, _ in data]).double()
    assert epoch["loss"] == pytest.approx(float(everything.mean()), abs=1e-12)
    assert int(epoch["confusion"].sum()) == 12
    assert epoch["top"] == max(p.max() for p, _ in data)


def test_a_step_value_that_is_read_late_is_still_of_its_batch() -> None:
    """Later batches, updated in place or not, do not change it."""
    core = lw.StateCore({"mean": ExactMean()})
    first = core.step_end(mean=(torch.tensor([1.0]),))
    core.update({"mean": (torch.tensor([5.0]),)}, values=False)
    second = core.step_end(mean=(torch.tensor([9.0]),))
    assert (first["mean"], second["mean"], core.epoch_end()["mean"]) == (1.0, 9.0, 5.0)


def test_an_update_adds_to_the_table_in_place() -> None:
    """From the first batch on, and again after a step whose value is kept: the memory of one table."""
    core = lw.StateCore({"m": ExactMean()})

    def are_added_to_in_place() -> bool:
        before = core.members["m"].held()
        core.update({"m": (torch.ones(4),)}, values=False)
        return all(a is b for a, b in zip(before, core.members["m"].held(), strict=True))

    core.update({"m": (torch.ones(4),)}, values=False)
    assert are_added_to_in_place()
    core.step_end(m=(torch.ones(4),))
    assert are_added_to_in_place()
    assert core.epoch_end() == {"m": 1.0}


class Echo(Alone):
    """Two processes of which the other always brings what this one does, and sums are not asked for."""

    world_size = 2


def test_calls_in_which_processes_meet_are_counted() -> None:
    """One for each request; of one process there are none."""

    def three() -> Steps:
        for _ in range(3):
            yield AllReduce(torch.ones(1), "max")

    echo, alone = Counted(Echo()), Counted(Alone())
    run(three(), echo)
    run(three(), alone)
    assert (echo.num_calls, alone.num_calls) == (3, 0)
    assert (echo.rank, echo.world_size) == (0, 2)


def test_a_metric_that_has_seen_data_starts_empty_and_stays_as_it_is() -> None:
    """The core has a copy of its own, which takes plain numbers, too."""
    metric = MaxMetric()
    metric.update(9.0)
    core = lw.StateCore({"top": metric})
    core.step_end(top=(4.0,))
    assert core.epoch_end() == {"top": torch.tensor(4.0)}
    assert metric.compute() == 9.0


def test_a_state_goes_where_its_batch_is() -> None:
    """A metric's from the CPU, where it was made; a reduction's from where the batch before was. As plain tensors."""
    core, x = lw.StateCore({"error": MeanSquaredError(), "mean": ExactMean()}), torch.ones(3)
    core.update({"mean": (x,)}, values=False)
    x = x.to("meta")
    with torch.inference_mode():
        core.update({"error": (x, x), "mean": (x,)}, values=False)
    held = [tensor for member in core.members.values() for tensor in member.held()]
    assert {(tensor.device.type, tensor.is_inference()) for tensor in held} == {("meta", False)}


def test_a_metric_keeps_a_process_group_of_its_own() -> None:
    """Where it has none, it gets the core's, and so does each that it holds."""
    own, without = SumMetric(process_group="own"), MinMaxMetric(SumMetric())
    core = lw.StateCore({"own": own, "without": without}, group="the core's")
    groups = {
        name: [part.process_group for part in member.metric.modules()]  # type: ignore[attr-defined]
        for name, member in core.members.items()
    }
    assert groups == {"own": ["own"], "without": ["the core's"] * 2}


class Views(Metric):
    """Sums a view of its batch, as some of torchmetrics do: of a slice that skips elements there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: torch.Tensor) -> None:
        self.total += x.view(-1).sum()

    def compute(self) -> torch.Tensor:
        return self.total


def test_a_metric_is_given_what_it_can_view() -> None:
    """Also where the batch is a slice."""
    core = lw.StateCore({"sum": Views()})
    core.step_end(sum=(torch.ones(3, 4)[:, :2],))
    assert core.epoch_end() == {"sum": 6.0}


def test_how_scores_were_read_is_the_same_on_every_process() -> None:
    """What one process has seen decides for both; a reduction that decides nothing says nothing."""
    cores = [lw.StateCore({"c": ConfusionCounts(2, task="binary"), "mean": ExactMean()}) for _ in range(2)]
    for core, scores in zip(cores, ([0.25, 0.75], [0.5, 7.0]), strict=True):
        core.step_end(c=(torch.tensor(scores), torch.tensor([0, 1])), mean=(torch.tensor(scores),))
    for collected in World(2).run(lambda rank: collecting({0: cores[rank]}, rank, 2)):
        decision = collected.decisions[0]["c"]
        assert (decision.kind, "mean" in collected.decisions[0]) == ("logits", False)
        assert decision.text.startswith("scores are in [0.25, 7]")
        assert collected.values[0]["c"].tolist() == [[0, 2], [0, 2]]  # all are positive


def test_epoch_end_resets() -> None:
    """The next epoch starts with nothing."""
    core = lw.StateCore({"mean": ExactMean(), "top": MaxMetric()})
    core.step_end(mean=(torch.tensor([4.0]),), top=(torch.tensor(4.0),))
    core.epoch_end()
    core.step_end(mean=(torch.tensor([2.0]),), top=(torch.tensor(2.0),))
    assert core.epoch_end() == {"mean": 2.0, "top": torch.tensor(2.0)}


def test_valid_leaves_samples_out_of_reductions_and_of_ordinary_metrics() -> None:
    """The same as if they had not been there."""
    preds, targets = batches([6])[0]
    valid = torch.tensor([True, False, True, True, False, True])

    def values(p: torch.Tensor, t: torch.Tensor, **kwargs: Any) -> dict[Any, Any]:
        kinds: dict[str, Any] = {
            "c": ConfusionCounts(3),
            "acc": MulticlassAccuracy(3),
            "m": MeanMetric(),
            "n": MeanMetric(),
        }
        core = lw.StateCore(kinds)
        # A weight that is one number is none of the samples.
        core.step_end(c=(p, t), acc=(p, t), m=(p[:, 0], 2.0), n=(p[:, 0], torch.tensor(2.0)), **kwargs)
        return core.epoch_end()

    masked, removed = values(preds, targets, valid=valid), values(preds[valid], targets[valid])
    for name in ("c", "acc", "m", "n"):
        assert torch.equal(masked[name], removed[name]), name


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_states_cross_inference_mode(inside: bool, values: bool) -> None:
    """Registered and first updated in inference mode or out of it, then updated and reset on the other side: no state
    is ever a tensor of that mode."""
    fields = dict.fromkeys(("c", "acc"), batches([6])[0])

    def assert_plain(core: lw.StateCore) -> None:
        assert not any(tensor.is_inference() for member in core.members.values() for tensor in member.held())

    with torch.inference_mode(mode=inside):
        core = lw.StateCore({"c": ConfusionCounts(3), "acc": MulticlassAccuracy(3)})
        assert_plain(core)
        core.update(fields, values=values)
        assert_plain(core)
    with torch.inference_mode(mode=not inside):
        core.update(fields, values=not values)
        assert int(core.epoch_end()["c"].sum()) == 12
        assert_plain(core)
        core.update(fields, values=values)
    assert int(core.epoch_end()["c"].sum()) == 6


def test_names_are_taken_once_and_must_be_known() -> None:
    """Both mistakes name the name."""
    core = lw.StateCore({"mean": ExactMean()})
    with pytest.raises(ValueError, match="'mean' is registered already"):
        core.register("mean", ExactMean())
    with pytest.raises(KeyError, match=r"'median' is not registered; registered are \['mean'\]"):
        core.step_end(median=(torch.ones(2),))
    with pytest.raises(TypeError, match="'all' is a MetricCollection, expected a Reduction or a Metric"):
        core.register("all", MetricCollection([MeanSquaredError()]))


def test_a_state_dict_goes_on_where_it_was() -> None:
    """Plain values under weights_only; half an epoch before, half after."""
    core, again = (
        lw.StateCore(
            {"c": ConfusionCounts(3), "acc": MulticlassAccuracy(3), "roc": BinaryAUROC(), "s": RandomSample(2)}
        )
        for _ in range(2)
    )

    def step(core: lw.StateCore, preds: torch.Tensor, targets: torch.Tensor) -> None:
        binary = (preds[:, 0], (targets == 0).long())
        core.step_end(c=(preds, targets), acc=(preds, targets), roc=binary, s=(torch.arange(len(preds)), preds))

    data = batches([5, 6])
    step(core, *data[0])
    torch.save(core.state_dict(), "state.pt")
    again.load_state_dict(torch.load("state.pt", weights_only=True))
    for c in (core, again):
        step(c, *data[1])
    expected, found = core.epoch_end(), again.epoch_end()
    for name in ("c", "acc", "roc"):
        assert torch.equal(expected[name], found[name]), name
    assert torch.equal(expected["s"].payload[0], found["s"].payload[0])


def in_a_world(size: int, make: Any, shards: list[list[tuple[Any, ...]]], name: str = "m") -> list[Any]:
    """The epoch's value on each of `size` simulated processes, from one StateCore on each."""
    cores = [lw.StateCore({name: make()}) for _ in range(size)]
    for core, shard in zip(cores, shards, strict=True):
        for args in shard:
            core.update({name: args}, values=False)
    world = World(size)
    collected = world.run(lambda rank: collecting({0: cores[rank]}, rank, size))
    return [ended.values[0][name] for ended in collected]


def test_an_ordinary_metric_joins_the_one_sync() -> None:
    """Its value over uneven shares, one of them empty, is that of one process over everything."""
    data = batches([4, 2, 9])
    alone = MulticlassAccuracy(3, average="micro")
    for batch in data:
        alone.update(*batch)
    shards = [[data[0], data[2]], [], [data[1]]]
    for value in in_a_world(3, lambda: MulticlassAccuracy(3, average="micro"), shards):
        assert torch.equal(value, alone.compute())


def test_a_metric_that_learns_its_shape_from_data_joins_too() -> None:
    """ExplainedVariance starts from scalars; a process without data must not bring another shape."""
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.rand(8, 2, generator=generator), torch.rand(8, 2, generator=generator)
    alone = ExplainedVariance(multioutput="raw_values")
    alone.update(preds, target)
    for value in in_a_world(2, lambda: ExplainedVariance(multioutput="raw_values"), [[], [(preds, target)]]):
        torch.testing.assert_close(value, alone.compute())


def ended(cores: list[lw.StateCore]) -> list[Collected]:
    return World(len(cores)).run(lambda rank: collecting({0: cores[rank]}, rank, len(cores)))


def test_an_entry_that_failed_anywhere_has_no_value_anywhere() -> None:
    """Each of three simulated processes reports the same cause; the other entry has its value."""
    cores = [lw.StateCore({"mean": ExactMean(), "other": ExactMean()}) for _ in range(3)]
    for core in cores:
        core.update({name: (torch.ones(2),) for name in core.names})
    cores[2].fail("mean", RuntimeError("out of memory"))
    for collected in ended(cores):
        assert collected.values == {0: {"other": 1.0}}
        cause = "failed on 1 of 3 processes; process 2: RuntimeError: out of memory"
        assert collected.failures == {0: {"mean": cause}}


def test_every_failure_is_told_and_a_long_one_is_cut() -> None:
    """Two of three fail, one with a text that is too long for the message and not ASCII."""
    cores = [lw.StateCore({"mean": ExactMean()}) for _ in range(3)]
    cores[0].fail("mean", ValueError("é" * 2000))
    cores[0].fail("mean", ValueError("only the first failure is reported"))
    cores[2].fail("mean", KeyError("x"))
    text = ended(cores)[1].failures[0]["mean"]
    # 1,024 bytes: "ValueError: " and then two bytes for each letter.
    assert text == f"failed on 2 of 3 processes; process 0: ValueError: {'é' * 506}; process 2: KeyError: 'x'"


def test_one_entry_can_be_forgotten() -> None:
    """With its rows, and not with the batches that were skipped; the other stays as it is."""
    core = lw.StateCore({"mean": ExactMean(), "other": ExactMean()})
    for name in core.names:
        core.update({name: (torch.ones(3),)}, values=False)
        core.tally(name, "rows", 3)
        core.tally(name, "doubtful", 2)
    core.skip("mean", "unread")
    core.forget("mean")
    core.update({"mean": (torch.tensor([4.0]),)}, values=False)
    [collected] = ended([core])
    assert collected.values[0] == {"mean": 4.0, "other": 1.0}
    assert collected.tallies[0]["mean"] == {"skipped": 1, "rows": 0, "doubtful": 0, "repeats": 0}
    assert collected.tallies[0]["other"] == {"skipped": 0, "rows": 3, "doubtful": 2, "repeats": 0}


def test_states_of_two_devices_are_packed_on_the_accelerator() -> None:
    """A process without data has states on the CPU still."""
    states = [ExactMean().lift(torch.ones(2, device=device)) for device in ("cpu", "meta", "cpu")]
    bundle = Bundle(states=[(ExactMean(), state) for state in states])
    merged = run(synced(bundle, 0, 1), Alone())
    assert {t.device.type for state in merged.states for t in state.values()} == {"meta"}


def test_after_a_failure_the_next_epoch_starts_anew() -> None:
    """The failure and what was counted beside it are forgotten."""
    core = lw.StateCore({"mean": ExactMean()})
    core.step_end(mean=(torch.ones(3),))
    core.fail("mean", RuntimeError("out of memory"))
    with pytest.warns(UserWarning, match="StateCore: mean: no value: RuntimeError: out of memory"):
        assert core.epoch_end() == {}
    core.step_end(mean=(torch.tensor([2.0]),))
    assert core.epoch_end() == {"mean": 2.0}


class Extremes(Metric):
    """States that start as scalars and take the shape of the data, with every elementwise reduction."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("low", torch.tensor(float("inf")), dist_reduce_fx="min")
        self.add_state("high", torch.tensor(-float("inf")), dist_reduce_fx="max")
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: torch.Tensor) -> None:
        self.low = torch.minimum(self.low, x.amin(0))
        self.high = torch.maximum(self.high, x.amax(0))
        self.total = self.total + x.sum(0)
        self.count = self.count + len(x)

    def compute(self) -> list[torch.Tensor]:
        return [self.low, self.high, self.total, self.count]


def test_minima_maxima_and_sums_of_a_learned_shape_join() -> None:
    """Matrices of 2 by 3 on two processes, nothing on the third."""
    x = torch.arange(30.0).reshape(5, 2, 3)
    shards = [[(x[:2],)], [], [(x[2:3],), (x[3:],)]]
    for low, high, total, count in in_a_world(3, Extremes, shards):
        assert torch.equal(low, x.amin(0))
        assert torch.equal(high, x.amax(0))
        assert torch.equal(total, x.sum(0))
        assert int(count) == 5


def test_labels_out_of_range_are_told_at_the_end_of_the_epoch() -> None:
    """With how many there were and one of them: a warning, or an error on every process."""
    labels = torch.tensor([0, 3, 7])
    for core in (lw.StateCore({"c": ConfusionCounts(3)}), lw.StateCore({"c": ConfusionCounts(3)}, on_problem="raise")):
        core.step_end(c=(torch.zeros(3, dtype=torch.int64), labels))
        told = r"StateCore: c: 2 labels are out of range \(for example 7\), expected 0 to 2"
        if core.on_problem == "warn":
            with pytest.warns(UserWarning, match=told):
                assert int(core.epoch_end()["c"].sum()) == 1
        else:
            with pytest.raises(ValueError, match=told):
                core.epoch_end()
    with pytest.raises(ValueError, match="on_problem='ignore', expected 'warn' or 'raise'"):
        lw.StateCore(on_problem="ignore")  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_samples() -> None:
    """Ten million samples of 1,000 classes take 8 MB, as many as one sample."""
    core = lw.StateCore({"c": ConfusionCounts(1000)})
    labels = torch.randint(1000, (1_000_000,), generator=torch.Generator().manual_seed(0))
    for shift in range(10):
        core.update({"c": (labels, labels.roll(shift))}, values=False)
    saved = core.state_dict()["c"]["state"]
    assert sum(tensor.numel() * tensor.element_size() for tensor in saved.values()) < 8.1e6
    assert int(core.epoch_end()["c"].sum()) == 10_000_000


def test_an_entry_that_raises_costs_no_other_the_batch() -> None:
    """Also those that come after it; the first error is raised when all are updated."""
    core = lw.StateCore({"a": ConfusionCounts(3), "b": ExactMean(), "c": ExactMean()})
    with pytest.raises(ValueError, match=r"give a prediction for each target"):
        core.update({"a": (torch.zeros(4), torch.zeros(3)), "b": (torch.ones(2),), "x": (), "c": (torch.ones(2),)})
    values = core.epoch_end()
    assert (values["b"], values["c"], int(values["a"].sum())) == (1.0, 1.0, 0)


class Fragile(Metric):
    """Adds to a list, then fails for a negative number; cannot compute a batch without a positive one."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: torch.Tensor) -> None:
        self.seen.append(x)
        if x.min() < 0:
            raise ValueError("negative")
        self.total += x.sum()

    def compute(self) -> tuple[int, float, int]:
        if not self.total > 0:
            raise ValueError("nothing positive")
        seen = torch.cat(self.seen) if isinstance(self.seen, list) else self.seen
        return len(seen), float(self.total), self.update_count


class FragileTwice(Fragile):
    """`forward` updates it twice, first with all there is."""

    full_state_update = True


@pytest.mark.parametrize("kind", [Fragile, FragileTwice])
@pytest.mark.parametrize("values", [False, True])
def test_a_metric_takes_a_batch_whole_or_not_at_all(values: bool, kind: type[Metric]) -> None:
    """An update that fails half-way leaves what was before, whether a step's value is wanted or not."""
    core = lw.StateCore({"m": kind()})
    for batch in ([1.0, 2.0], [3.0, -1.0], [4.0], [-1.0]):
        if min(batch) > 0:
            core.update({"m": (torch.tensor(batch),)}, values=values)
            continue
        with pytest.raises(ValueError, match="negative") as failure:
            core.update({"m": (torch.tensor(batch),)}, values=values)
        core.skip("m", failure.value)
    with pytest.warns(UserWarning, match="m: 2 batches were left out"):
        assert core.epoch_end() == {"m": (3, 7.0, 2)}


@pytest.mark.parametrize("kind", [Fragile, FragileTwice])
def test_a_batch_without_a_value_of_its_own_counts(kind: type[Metric]) -> None:
    """Its value raises when it is looked at; the epoch has the batch."""
    core = lw.StateCore({"m": kind()})
    core.step_end(m=(torch.ones(2),))
    step = core.step_end(m=(torch.zeros(3),))
    assert ("m" in step, "n" in step) == (True, False)  # nothing is computed for that
    with pytest.raises(ValueError, match="nothing positive"):
        step["m"]
    assert core.epoch_end() == {"m": (5, 2.0, 2)}


def test_a_compute_that_raises_costs_its_entry_and_not_the_reset() -> None:
    """On every process; the next epoch starts with nothing."""
    cores = [lw.StateCore({"m": Fragile(), "mean": ExactMean()}) for _ in range(2)]
    cores[0].step_end(mean=(torch.ones(1),))
    cores[0].update({"m": (torch.zeros(1),)}, values=False)
    for collected in ended(cores):
        assert collected.values == {0: {"mean": 1.0}}
        assert collected.failures == {0: {"m": "ValueError: nothing positive"}}
    cores[1].update({"m": (torch.ones(1),)}, values=False)
    assert [collected.values[0]["m"] for collected in ended(cores)] == [(1, 1.0, 1)] * 2


class Ranged(ExactMean):
    """A mean whose step's value also tells the mean of the epoch so far."""

    def step_value(self, lifted: Any, seen: Any) -> tuple[float, float]:
        return self.value(lifted), self.value(seen)


def test_a_step_value_may_use_what_was_seen_so_far() -> None:
    """As it was at that step, however late it is looked at."""
    core = lw.StateCore({"m": Ranged()})
    steps = []
    for x in (1.0, 2.0, 6.0):
        steps.append(core.step_end(m=(torch.tensor([x]),)))
        core.update({"m": (torch.tensor([3.0]),)}, values=False)
    assert [step["m"] for step in steps] == [(1.0, 1.0), (2.0, 2.0), (6.0, 3.0)]
    assert core.epoch_end() == {"m": 3.0}


class OfDicts(ExactMean):
    """A user's reduction, which takes a batch as it comes."""

    def lift(self, batch: dict[str, torch.Tensor], *, valid: Any = None) -> Any:  # type: ignore[override]
        return super().lift(batch["loss"], valid=valid)

    def accumulate(self, state: Any, batch: dict[str, torch.Tensor], *, valid: Any = None) -> Any:  # type: ignore[override]
        return super().accumulate(state, batch["loss"], valid=valid)


@pytest.mark.parametrize("values", [True, False])
def test_a_reduction_may_take_what_is_no_tensor(values: bool) -> None:
    """Every batch counts."""
    core = lw.StateCore({"m": OfDicts()})
    for x in (1.0, 2.0, 6.0):
        core.update({"m": ({"loss": torch.tensor([x])},)}, values=values)
    assert core.epoch_end() == {"m": 3.0}


def test_what_cannot_be_synced_is_refused_when_it_is_registered() -> None:
    """A reduction that is neither scattered nor a choice."""

    class Odd(lw.reductions.base.Reduction):  # type: ignore[misc, name-defined]
        empty = lift = merge = value = lambda self, *args, **kwargs: {}

    with pytest.raises(TypeError, match="Odd cannot be synced, expected a Scattered, a Choice or a Product of them"):
        lw.StateCore({"odd": Odd()})
    with pytest.raises(TypeError, match="Odd cannot be synced"):
        next(synced(Bundle(states=[(Odd(), {})]), 0, 2))  # as a ReductionMetric of it would
