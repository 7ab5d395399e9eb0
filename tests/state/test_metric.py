"""A ReductionMetric adds in place; what torchmetrics or the user keeps aside does not change with its tables."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.versions import needs_merge_state
from torch import Tensor
from torchmetrics import Metric, MetricCollection

import lwcallbacks as lw
from lwcallbacks.reductions import ConfusionCounts, ExactMean, RandomSample

CLASSES = 3


def labels(*values: int) -> Tensor:
    return torch.tensor(values)


A = (labels(0, 1, 2, 2), labels(0, 1, 1, 2))
B = (labels(2, 2), labels(0, 2))
C = (labels(1, 1, 0), labels(1, 0, 0))


def counts(*batches: tuple[Tensor, Tensor]) -> list[list[int]]:
    """The matrix, counted by hand."""
    matrix = [[0] * CLASSES for _ in range(CLASSES)]
    for preds, targets in batches:
        for column, row in zip(preds.tolist(), targets.tolist(), strict=True):
            matrix[row][column] += 1
    return matrix


def metric(*batches: tuple[Tensor, Tensor], **kwargs: Any) -> lw.ReductionMetric:
    made = lw.ReductionMetric(ConfusionCounts(CLASSES), **kwargs)
    for batch in batches:
        made.update(*batch)
    return made


def value(of: Metric) -> list[list[int]]:
    of._computed = None
    found: list[list[int]] = of.compute().tolist()
    return found


class Twice:
    """The link of one of two processes that saw the same: what is reduced is doubled, or stays the maximum."""

    rank, world_size = 0, 2

    def perform(self, request: Any) -> Any:
        return request.tensor * 2 if request.op == "sum" else request.tensor.clone()

    def __call__(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        raise AssertionError("a link is asked to perform requests")


def test_an_update_adds_to_the_table_in_place() -> None:
    """From the first batch on the table stays where it is: the memory of one table, and no copy per batch."""
    m = metric()
    place = m.counts.data_ptr()
    m.update(*A)
    m.update(*B)
    assert m.counts.data_ptr() == place
    assert value(m) == counts(A, B)


def test_a_table_goes_where_its_batch_is() -> None:
    """Also where the metric was left on another device."""
    m = metric(A)
    m.update(*(field.to("meta") for field in B))
    assert m.counts.device.type == "meta"


def test_an_update_adds_in_place_under_inference_mode_too() -> None:
    """Only the first batch after a reset makes a table, one that may be written to in any mode."""
    with torch.inference_mode():
        m = metric(A)
        place = m.counts.data_ptr()
        m.update(*B)
        assert m.counts.data_ptr() == place
    m.update(*C)
    assert m.counts.data_ptr() == place
    assert value(m) == counts(A, B, C)


def test_a_default_is_never_written_to() -> None:
    """A reset gives zeros, however often batches were added in place."""
    m = metric(A, B)
    default = m._defaults["counts"].clone()
    m.reset()
    m.update(*C)
    assert value(m) == counts(C)
    m.reset()
    assert m._defaults["counts"].equal(default)
    assert not m._defaults["counts"].any()
    assert not m.counts.any()


@pytest.mark.parametrize("on_step", [False, True], ids=["one update", "two updates"])
def test_forward_gives_the_batch_and_keeps_the_epoch(on_step: bool) -> None:
    """Between updates in place the step's values are the batch's, and the epoch has every batch once."""
    m = metric(A, dist_sync_on_step=on_step)
    assert m(*B).tolist() == counts(B)
    m.update(*C)
    assert m(*A).tolist() == counts(A)
    m.update(*B)
    assert value(m) == counts(A, B, C, A, B)


def test_unsync_gives_back_what_was_before_the_sync() -> None:
    """Neither the sync nor an update while synced changes the local state that is kept aside."""
    m = metric(A, B, dist_sync_fn=Twice(), distributed_available_fn=lambda: True)
    m.sync(dist_sync_fn=m.dist_sync_fn)
    assert m.counts.sum() == 2 * 6
    m.update(*C)  # torchmetrics forbids forward while synced, not update
    m.unsync()
    assert m.counts.sum() == 6
    m.update(*C)
    m.dist_sync_fn, m.distributed_available_fn = None, lambda: False
    assert value(m) == counts(A, B, C)


def test_any_function_that_gathers_will_do() -> None:
    """The state of each process is gathered, tensor by tensor, and merged; the group is passed on."""
    groups: list[Any] = []

    def thrice(tensor: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        groups.append(group)
        return [tensor, tensor, torch.zeros_like(tensor)]

    m = metric(A, B, dist_sync_fn=thrice, process_group="a group", distributed_available_fn=lambda: True)
    assert value(m) == counts(A, B, A, B)
    assert groups == ["a group"] * 2  # for two tensors


def test_compute_over_processes_leaves_the_local_state() -> None:
    """Computed again and again between updates, each time from everything seen so far."""
    m = metric(A, dist_sync_fn=Twice(), distributed_available_fn=lambda: True)
    assert value(m) == counts(A, A)
    m.update(*B)
    assert value(m) == value(m) == counts(A, A, B, B)


@pytest.mark.parametrize(
    "copied",
    [Metric.clone, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["clone", "deepcopy", "pickle"],
)
def test_a_copy_has_tables_of_its_own(copied: Callable[[Metric], Metric]) -> None:
    """Batches added to the one are not in the other, in both directions."""
    m = metric(A)
    other = copied(m)
    m.update(*B)
    other.update(*C)
    other.update(*C)
    assert value(m) == counts(A, B)
    assert value(other) == counts(A, C, C)


def test_what_was_computed_does_not_change_afterwards() -> None:
    """A value is a copy, not a view of the table."""
    m = metric(A)
    computed, step = m.compute(), m(*B)
    m.update(*C)
    assert computed.tolist() == counts(A)
    assert step.tolist() == counts(B)


def test_what_is_done_to_a_value_does_not_change_the_metric() -> None:
    """The images that a metric shows may be drawn on."""
    m = lw.ReductionMetric(RandomSample(2))
    m.update(torch.arange(5), torch.ones(5, 3))
    m.compute().payload[0].zero_()
    m.update(torch.arange(5, 9), torch.ones(4, 3))
    assert m.compute().payload[0].tolist() == [[1.0] * 3] * 2


def test_a_checkpoint_is_not_written_to() -> None:
    """Neither by the metric that it was saved from, nor by one that it was loaded into."""
    m = metric(A)
    saved = m.state_dict()
    kept = copy.deepcopy(saved)
    m.update(*B)
    other = metric()
    other.load_state_dict(saved)
    other.update(*C)
    other.update(*C)
    assert value(other) == counts(A, C, C)
    assert all(saved[name].equal(kept[name]) for name in kept)


@needs_merge_state
def test_a_merge_leaves_the_other_metric_alone() -> None:
    """`merge_state` makes tables of its own."""
    m, other = metric(A), metric(B)
    m.merge_state(other)
    assert m.update_count == 2
    m.update(*C)
    assert value(m) == counts(A, B, C)
    assert value(other) == counts(B)


def test_metrics_of_a_collection_do_not_disturb_each_other() -> None:
    """Where torchmetrics shares the state of equal metrics, every batch counts once."""
    collection = MetricCollection({name: metric() for name in "ab"})
    for batch in (A, B, C):
        collection.update(*batch)
    assert {name: found.tolist() for name, found in collection.compute().items()} == dict.fromkeys(
        "ab", counts(A, B, C)
    )
    collection["a"].update(*A)
    collection.reset()
    collection.update(*B)
    assert collection.compute()["b"].tolist() == counts(B)


@pytest.mark.parametrize("first", [True, False])
def test_inference_mode_may_be_on_at_any_time(first: bool) -> None:
    """Reset and updated inside of it, updated outside of it, and the other way round."""
    m = metric(A)
    for inside in (first, not first, first):
        with torch.inference_mode(inside):
            m.reset()
        for batch, mode in ((A, not inside), (B, inside), (C, not inside)):
            with torch.inference_mode(mode):
                m.update(*batch)
                assert not m.counts.is_inference()
        assert value(m) == counts(A, B, C)


def test_an_update_that_fails_leaves_the_state() -> None:
    """Nothing of the batch is counted, in none of the tables."""
    m = metric(A)
    with pytest.raises(ValueError, match="expected one shape"):
        m.update(labels(0, 1), labels(0))
    m.update(*B)
    assert value(m) == counts(A, B)


def test_a_mean_whose_weights_do_not_fit_is_not_counted() -> None:
    """Neither its values nor its weights."""
    m = lw.ReductionMetric(ExactMean())
    m.update(torch.ones(1))
    with pytest.raises(ValueError, match="weights have shape"):
        m.update(torch.zeros(2), torch.ones(3))
    m.update(torch.full((2,), 4.0), torch.ones(2))
    assert m.compute() == 3.0


def test_a_checkpoint_holds_the_number_of_updates() -> None:
    """A metric that was loaded computes without a warning that it was never updated; weights_only is enough."""
    saved, loaded = lw.ReductionMetric(ExactMean()), lw.ReductionMetric(ExactMean())
    saved.update(torch.tensor([1.0, 2.0]))
    saved.update(torch.tensor([6.0]))
    torch.save(saved.state_dict(), "metric.pt")
    loaded.load_state_dict(torch.load("metric.pt", weights_only=True))
    assert loaded.update_count == 2
    assert loaded.compute() == 3.0


def test_a_checkpoint_holds_what_a_choice_shows() -> None:
    """Also of a metric that is part of a module; a reset forgets it, in both metrics."""

    def module() -> torch.nn.ModuleDict:
        return torch.nn.ModuleDict({name: lw.ReductionMetric(RandomSample(2)) for name in ("shown", "hidden")})

    saved, loaded = module(), module()
    ids = torch.arange(5)
    saved["shown"].update(ids, torch.arange(15.0).reshape(5, 3))
    saved["hidden"].update(ids)
    torch.save(saved.state_dict(), "module.pt")
    loaded.load_state_dict(torch.load("module.pt", weights_only=True))
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    expected, found = saved["shown"].compute(), loaded["shown"].compute()
    assert found.payload[0].equal(expected.payload[0])
    assert loaded["hidden"].compute().payload == ()
    for made in (saved["shown"], loaded["shown"]):
        made.reset()
        made.update(ids)
        assert made.compute().payload == ()
