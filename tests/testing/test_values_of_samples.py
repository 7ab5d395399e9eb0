"""A value with an entry for each sample: any order of these is right; what belongs to one sample stays together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from support.versions import needs_merge_state
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lwcallbacks.testing import LawViolation, check_metric, metric_machine, tensors

LAWS = ["batch_size", "order", "shards", "merge_state", "merge_with_fresh", "merge_after_compute", "reset"]


def batch(n: int) -> st.SearchStrategy[Any]:
    return st.tuples(tensors(n, torch.int64, max_value=50).map(Tensor.float), tensors(n, torch.int64, max_value=3))


BATCHES = st.lists(st.integers(1, 3).flatmap(batch), min_size=1, max_size=3)


class Errors(Metric):
    """The error of each sample and its label, of list states; `compute` gives tensors."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("errors", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, errors: Tensor, labels: Tensor) -> None:
        self.errors.append(errors)
        self.labels.append(labels.float())

    def compute(self) -> Any:
        return {"errors": dim_zero_cat(self.errors), "labels": dim_zero_cat(self.labels)}


class ErrorsInList(Errors):
    """As a list of Python's, beside a mean of all and the counts of four labels."""

    def compute(self) -> Any:
        errors, labels = dim_zero_cat(self.errors), dim_zero_cat(self.labels)
        counts = torch.stack([(labels == k).sum() for k in range(4)])
        samples = [{"error": float(e), "label": int(k)} for e, k in zip(errors, labels, strict=True)]
        return samples, errors.mean(), counts


class MineFirst(Errors):
    """Its own samples come first, where torchmetrics puts those of the other."""

    def merge_state(self, incoming_state: Any) -> None:
        self.errors, self.labels = [*self.errors, *incoming_state.errors], [*self.labels, *incoming_state.labels]


class Crossed(Errors):
    """Wrong: errors of the other come first, and its labels last."""

    def merge_state(self, incoming_state: Any) -> None:
        self.errors, self.labels = [*incoming_state.errors, *self.errors], [*self.labels, *incoming_state.labels]


class LosesOne(Errors):
    """Wrong: as many as there are, one of them twice."""

    def merge_state(self, incoming_state: Any) -> None:
        super().merge_state(incoming_state)
        self.errors = [dim_zero_cat(self.errors)]
        self.errors[0][-1] = self.errors[0][0]


@needs_merge_state
@pytest.mark.parametrize("factory", [Errors, ErrorsInList, MineFirst])
def test_samples_may_be_merged_in_any_order(factory: Callable[[], Any]) -> None:
    """Tensors and lists, in laws and in the life of a machine."""
    check_metric(factory, BATCHES, laws=LAWS, exact=False, rtol=1e-6)
    run_state_machine_as_test(
        metric_machine(factory, BATCHES, exact=False, rtol=1e-6, without=["empty_process", "sync"], examples=20)
    )


@needs_merge_state
@pytest.mark.parametrize("factory", [Crossed, LosesOne])
def test_samples_that_are_mixed_up_by_a_merge_are_found(factory: Callable[[], Any]) -> None:
    """The law says which."""
    with pytest.raises(LawViolation, match="law merge_state is broken"):
        check_metric(factory, BATCHES, laws=LAWS)
