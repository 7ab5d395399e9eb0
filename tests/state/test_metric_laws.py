"""A reduction as a metric keeps every law of metrics: it is a torchmetrics.Metric in every respect."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st
from support.lawful import EXAMPLES, LAWFUL
from torchmetrics import MetricCollection

from lwcallbacks import ReductionMetric
from lwcallbacks.reductions import ConfusionCounts, ExactMean, TopK
from lwcallbacks.testing import METRIC_LAWS, check_metric, labelled_batches

TUPLES = [name for name in LAWFUL if name != "product"]  # a product's fields have names, and a metric's here do not
FIRST = {type(LAWFUL[name][0]): name for name in reversed(TUPLES)}.values()  # one of each class


@pytest.mark.parametrize("name", TUPLES)
def test_a_reduction_metric_keeps_every_law(name: str) -> None:
    """Steps, epochs, processes, merging, checkpoints, pickling, and no host wait.

    Laws whose verdict hardly depends on the data are held by one reduction of each class, in a long run by all.
    """
    reduction, fields = LAWFUL[name]
    batches = st.lists(fields, min_size=1, max_size=3)
    laws = [law.name for law in METRIC_LAWS.values() if not law.half or name in FIRST or EXAMPLES > 12]
    check_metric(lambda: ReductionMetric(reduction), batches, laws=laws, examples=max(EXAMPLES // 3, 4))


def test_metrics_of_unlike_reductions_never_share_a_state() -> None:
    """A MetricCollection merges metrics whose first batch gave equal states; reductions are told apart by name."""

    def both() -> MetricCollection:
        kinds = {"all": ConfusionCounts(3), "but one": ConfusionCounts(3, ignore_index=1)}
        return MetricCollection({name: ReductionMetric(kind) for name, kind in kinds.items()})

    check_metric(both, labelled_batches(3), laws=METRIC_LAWS, examples=EXAMPLES)


def test_a_checkpoint_of_another_reduction_is_refused() -> None:
    """Rather than read as if it were of this one."""
    saved = ReductionMetric(ConfusionCounts(3)).state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
        ReductionMetric(ConfusionCounts(3, ignore_index=1)).load_state_dict(saved)


def test_a_checkpoint_without_payload_leaves_no_payload() -> None:
    """What the metric held before is forgotten."""
    metric = ReductionMetric(TopK(1))
    empty = metric.state_dict()
    metric.update(torch.ones(1), torch.zeros(1, dtype=torch.int64), torch.ones(1, 2))
    metric.load_state_dict(empty)
    with pytest.warns(UserWarning, match="called before the ``update`` method"):
        assert metric.compute().payload == ()


def test_only_a_reduction_becomes_a_metric() -> None:
    """The error says what was given."""
    with pytest.raises(TypeError, match="reduction is a ABCMeta, expected a Reduction"):
        ReductionMetric(ExactMean)  # type: ignore[arg-type]
