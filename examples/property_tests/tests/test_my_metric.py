"""Property tests of a metric of your own: copy this file, put your metric in, and run pytest.

    pip install "lwcallbacks[testing]" pytest
    pytest test_my_metric.py

Nothing here needs a Trainer, a GPU or a second process.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.testing import LawViolation, World, check_metric, labelled_batches

# Lists of batches (preds [N, 3], targets [N]) of uneven sizes, ties among the scores included.
BATCHES = labelled_batches(num_classes=3)


class ErrorRate(Metric):
    """The share of wrong predictions: counts, and one division at the end."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.wrong += (preds.argmax(dim=1) != targets).sum()
        self.seen += len(targets)

    def compute(self) -> Tensor:
        return self.wrong / self.seen


class MeanOfErrorRates(Metric):
    """The same, written down too quickly: a mean of the batches' rates, averaged again over processes."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rate", torch.tensor(0.0), dist_reduce_fx="mean")
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, targets: Tensor) -> None:
        self.batches += 1
        rate = (preds.argmax(dim=1) != targets).float().mean()
        self.rate = self.rate + (rate - self.rate) / self.batches

    def compute(self) -> Tensor:
        return self.rate


def test_the_error_rate_is_about_the_samples() -> None:
    """Any batch size, order, number of processes, a checkpoint in between: the same bits."""
    check_metric(ErrorRate, BATCHES)


def test_an_update_does_not_wait_for_the_gpu() -> None:
    """A law about speed, and so one that has to be asked for."""
    check_metric(ErrorRate, BATCHES, laws=["no_host_wait"])


def test_the_quick_version_is_refuted() -> None:
    """This is what a failure looks like; in your own test it would be the failure."""
    with pytest.raises(LawViolation) as failure:
        check_metric(MeanOfErrorRates, BATCHES)
    print(failure.value)  # what was found, in words
    print(failure.value.program())  # a program that shows it, to run or to send to somebody
    first = str(failure.value).partition("\n")[0]
    assert first.startswith("MeanOfErrorRates: in batches of ")
    assert " where one batch of all samples reports " in first


def test_what_is_known_to_be_wrong_does_not_fail() -> None:
    """Until it is mended; every other law is held."""
    laws = ("batch_size", "shards", "empty_process", "merge_state", "merge_with_fresh", "resume_with_forward")
    known = dict.fromkeys(laws, "a mean of means, issue 7")
    check_metric(MeanOfErrorRates, BATCHES, known=known, exact=False, rtol=1e-5)


def test_a_data_set_smaller_than_the_number_of_gpus() -> None:
    """One case by hand: three samples on four processes."""
    samples = [(torch.eye(3)[[label]], torch.tensor([0])) for label in range(3)]
    values = World(4).compute(ErrorRate, [[samples[0]], [samples[1]], [samples[2]], []])
    assert [round(float(value), 4) for value in values] == [0.6667] * 4
