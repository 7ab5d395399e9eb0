"""How hard samples are: the order of torch's cross-entropy, and the same bits in every batch and layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy

from lwcallbacks.labels import losses_of
from lwcallbacks.reductions.hardness import doubt, exp, hardness, log1p, predicted
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing import forbid_host_sync

NAN, INF = float("nan"), float("inf")


def drawn(*shape: int, scale: float = 4.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))) * scale


def labels(classes: int, *shape: int) -> Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(1))


def in_order(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> bool:
    """Whether sorting by the one sorts the other, but for those that are as good as equal."""
    by_found = expected[found.argsort()].double()
    return bool((by_found.diff() >= -tolerance * (1 + by_found[1:].abs())).all())


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_the_cross_entropy_of_logits(classes: int) -> None:
    """As torch has it in float64, to a few units in the last place; also where it is nearly nothing."""
    scores, truth = drawn(500, classes), labels(classes, 500)
    truth[::3] = scores.argmax(1)[::3]
    found, expected = hardness(scores, truth, logits=True), cross_entropy(scores.double(), truth, reduction="none")
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("logits", [True, False])
def test_the_order_is_that_of_the_loss(logits: bool) -> None:
    """Of classes, of one score, and of several labels; logits and probabilities."""
    scores, truth = drawn(400, 7), labels(7, 400)
    given, expected = scores if logits else scores.softmax(1), cross_entropy(scores.double(), truth, reduction="none")
    assert in_order(hardness(given, truth, logits=logits), expected)
    one, truth = drawn(400, 1), labels(2, 400)
    share = one.double().sigmoid()
    expected = binary_cross_entropy(share.squeeze(1), truth.double(), reduction="none")
    assert in_order(hardness(one if logits else share.float(), truth, logits=logits), expected)
    several, truth = drawn(400, 5), labels(2, 400, 5)
    given = several if logits else several.sigmoid()
    of_torch = binary_cross_entropy_with_logits if logits else binary_cross_entropy
    loss = of_torch(given.double(), truth.double(), reduction="none").sum(1)
    torch.testing.assert_close(
        hardness(given, truth, logits=logits, multilabel=True).double(), loss, rtol=2e-6, atol=1e-6
    )


def test_the_order_of_doubt_is_that_of_falling_confidence() -> None:
    """The largest share, the share of the label that one score says, that of the least sure label."""
    scores = drawn(400, 7)
    sure = scores.double().softmax(1).amax(1)
    assert in_order(doubt(scores, logits=True), -sure)
    assert in_order(doubt(scores.softmax(1), logits=False), -sure)
    several = drawn(400, 5)
    share = several.double().sigmoid()
    sure = torch.maximum(share, 1 - share)
    assert in_order(doubt(several[:, 0], logits=True), -sure[:, 0])
    assert in_order(doubt(several, logits=True, multilabel=True), -sure.amin(1))
    assert in_order(doubt(several.sigmoid(), logits=False, multilabel=True), -sure.amin(1))


WAYS: dict[str, tuple[Any, dict[str, Any], tuple[Tensor, ...]]] = {
    f"{function.__name__} of {what}, logits={logits}": (function, {"logits": logits, **more}, fields[:number])
    for function, number in ((hardness, 2), (doubt, 1))
    for logits in (True, False)
    for what, more, fields in (
        ("classes", {}, (drawn(60, 37), labels(37, 60))),
        ("many classes", {}, (drawn(60, 1000), labels(1000, 60))),
        ("one score", {}, (drawn(60, 1, scale=0.4), labels(2, 60))),
        ("labels", {"multilabel": True}, (drawn(60, 5, scale=0.4), labels(2, 60, 5))),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_a_sample_has_the_same_bits_in_every_batch(name: str) -> None:
    """Of 60, of one and of seven; of rows that are no neighbours in memory, or column by column; without a wait."""
    function, more, fields = WAYS[name]
    whole = function(*fields, **more)
    for size in (1, 7):
        parts = [function(*(f[i : i + size] for f in fields), **more) for i in range(0, 60, size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0, equal_nan=True)
    by_column = function(*(f.movedim(0, -1).contiguous().movedim(-1, 0) for f in fields), **more)
    torch.testing.assert_close(by_column, whole, rtol=0, atol=0, equal_nan=True)
    strided = function(*(torch.stack([f, f], -1)[..., 0] for f in fields), **more)
    torch.testing.assert_close(strided, whole, rtol=0, atol=0, equal_nan=True)
    with as_on_a_device(), forbid_host_sync():
        unseen = function(*fields, **more)
    torch.testing.assert_close(unseen, whole, rtol=0, atol=0, equal_nan=True)


def test_what_has_no_loss_has_none() -> None:
    """A score that is NaN, a probability that is none, a label out of range; and an infinite loss is infinite."""
    scores = torch.tensor([[0.0, 1.0], [NAN, 1.0], [0.0, 1.0], [0.0, -INF], [INF, 0.0]])
    found = hardness(scores, torch.tensor([-100, 0, 2, 1, 1]), logits=True).tolist()
    assert [math.isnan(x) for x in found] == [True, True, True, False, True]
    assert found[3] == INF
    one = hardness(torch.tensor([0.5, 1.5, NAN, 0.5]), torch.tensor([1, 1, 0, 2]), logits=False).tolist()
    assert [math.isnan(x) for x in one] == [False, True, True, True]
    assert doubt(torch.tensor([[0.5, NAN], [0.5, 2.0]]), logits=False, multilabel=True).isnan().all()
    assert hardness(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), logits=True).shape == (0,)


def test_what_is_predicted() -> None:
    """By the largest score, by the sign of a logit, by the threshold; and nothing where no score tells."""
    assert predicted(torch.tensor([[1.0, 2.0], [NAN, 0.0]]), logits=True).tolist() == [1, -1]
    assert predicted(torch.tensor([[0.1], [-0.1], [NAN]]), logits=True).tolist() == [1, 0, -1]
    assert predicted(torch.tensor([0.3, 0.2, 1.5]), logits=False, threshold=0.25).tolist() == [1, 0, -1]
    assert predicted(torch.tensor([[0.9, 0.1]]), logits=False, multilabel=True).tolist() == [[1, 0]]
    assert predicted(torch.tensor([[3], [4]], dtype=torch.uint8), logits=False).tolist() == [3, 4]
    assert predicted(torch.tensor([[2, 0]]), logits=False, multilabel=True).tolist() == [[1, 0]]


def test_powers_and_logarithms() -> None:
    """To a few units in the last place, at the ends of their range, too."""
    x = torch.cat([torch.linspace(-87, 0, 20001), torch.tensor([-1e-30, -0.0])])
    torch.testing.assert_close(exp(x).double(), x.double().exp(), rtol=2e-7, atol=0)
    assert exp(torch.tensor([-88.0, -INF])).tolist() == [0.0, 0.0]
    x = torch.cat([torch.logspace(-37, 37, 20001), torch.zeros(1)])
    torch.testing.assert_close(log1p(x).double(), x.double().log1p(), rtol=3e-7, atol=0)


@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_sums_have_one_order(classes: int) -> None:
    """Halves are laid upon each other, in float32: by numpy, which rounds each addition."""
    scores = drawn(50, classes)
    terms = exp(scores - scores.amax(1, keepdim=True)).numpy()
    terms[scores.numpy() == scores.amax(1, keepdim=True).numpy()] = 0
    while terms.shape[1] > 1:
        half = (terms.shape[1] + 1) // 2
        terms = terms[:, :half] + np.pad(terms[:, half:], ((0, 0), (0, 2 * half - terms.shape[1])))
    assert doubt(scores, logits=True).numpy().tobytes() == terms[:, 0].tobytes()


def test_a_zero_of_either_sign_is_one_zero() -> None:
    """Of 0.0 and -0.0 the largest is the one or the other, as a device likes; the order must not tell them apart."""
    found = doubt(torch.tensor([[-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0]]), logits=False)
    assert len(set(found.view(torch.int32).tolist())) == 1


def test_a_probability_of_0_costs_what_the_table_says() -> None:
    """100, as for `torch.nn.BCELoss`: a sample with it goes before one whose labels together cost less."""
    preds = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1e-37, 1e-5]])
    targets = torch.tensor([[1, 1], [0, 1], [1, 1]])
    found = hardness(preds, targets, logits=False, multilabel=True)
    expected = 2 * losses_of(preds, targets, "probabilities", multilabel=True)
    assert torch.allclose(found.double(), expected)
    assert found.argsort(descending=True, stable=True).tolist() == [0, 1, 2]
