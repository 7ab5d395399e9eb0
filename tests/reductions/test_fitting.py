"""Predictions and targets in the shapes and dtypes that networks and loaders give; and what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from lwcallbacks.reductions import ConfusionCounts, ScoreCounts
from lwcallbacks.reductions.fitting import FRACTION, are_whole, whole
from lwcallbacks.testing.same import difference

INTEGERS = [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]


def counted(counts: ConfusionCounts, preds: Tensor, targets: Tensor) -> list[list[int]]:
    state = counts.lift(preds, targets)
    assert counts.problems(state) is None
    return counts.value(state).tolist()


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_labels_of_every_dtype(dtype: torch.dtype) -> None:
    """Targets, and integer predictions; a label 3 of three classes is reported."""
    targets, preds = torch.tensor([0, 1, 2, 1]).to(dtype), torch.tensor([0, 2, 2, 1])
    counts = ConfusionCounts(3)
    assert counted(counts, preds, targets) == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    if not dtype.is_floating_point:
        assert counted(counts, targets, preds) == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    told = counts.problems(counts.lift(preds, torch.tensor([0, 1, 3, 1]).to(dtype)))
    left_out = "1 labels are out of range (for example 3), expected 0 to 2; they were left out of the counts"
    cure = "Write ignore_index=3 if that is a target that does not count, or num_classes=4 if it is a class"
    assert told == f"{left_out}. {cure}"


def test_labels_that_are_bool() -> None:
    """Both of them, for two classes and for sets of labels."""
    preds, targets = torch.tensor([[True, False], [True, True]]), torch.tensor([[True, True], [False, True]])
    assert counted(ConfusionCounts(2, task="binary"), preds, targets) == [[0, 1], [1, 2]]
    sets = ConfusionCounts(2, task="multilabel")
    assert counted(sets, preds, targets) == [[[0, 1], [0, 1]], [[0, 0], [1, 1]]]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_best_of_scores_of_every_dtype(dtype: torch.dtype) -> None:
    """A target among the two best counts as predicted, beside a row of NaN, too."""
    preds, targets = torch.tensor([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0]]).to(dtype), torch.tensor([0, 0])
    counts = ConfusionCounts(3, top_k=2)
    assert counted(counts, preds, targets) == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    state = counts.lift(torch.cat([preds, torch.full((1, 3), torch.nan).to(dtype)]), torch.tensor([0, 0, 1]))
    assert counts.value(state).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("dtype", FLOATS)
def test_scores_of_every_dtype(dtype: torch.dtype) -> None:
    """Several and one, with NaN in a row: in no cell, but told."""
    scores = torch.tensor([[0.5, 2.0, -1.0], [0.5, 0.25, 0.5], [0.0, float("nan"), 3.0]]).to(dtype)
    counts = ConfusionCounts(3)
    state = counts.lift(scores, torch.tensor([1, 0, 2]))
    assert counts.value(state).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    told = "1 predictions are NaN; they were left out of the counts. Expected numbers: Trainer(detect_anomaly=True)"
    assert counts.problems(state) == f"{told} tells where NaN comes up in training"
    assert counted(ConfusionCounts(2), torch.tensor([-3.0, 3.0]).to(dtype), torch.tensor([0, 0])) == [[1, 1], [0, 0]]


def test_numbers_that_are_no_label() -> None:
    """Fractions, NaN, infinities and numbers beyond int64 are out of range; whole numbers are themselves."""
    floats = torch.tensor([0.0, -0.0, 2.0, 0.5, float("nan"), float("inf"), -1.0, 1e30])
    assert whole(floats).tolist() == [0, 0, 2, FRACTION, FRACTION, FRACTION, -1, FRACTION]
    large = torch.tensor([2.0**24 + 1, 2.0**61, 2.0**62], dtype=torch.float64)
    assert whole(large).tolist() == [2**24 + 1, 2**61, FRACTION]
    huge = torch.tensor([-1, 5]).view(torch.uint64)
    assert whole(huge).tolist() == [2**63 - 1, 5]
    counts = ConfusionCounts(2, ignore_index=-1)
    told = counts.problems(counts.lift(torch.tensor([0, 1]), torch.tensor([0.5, 1.0])))
    assert told is not None
    assert told.startswith("1 labels are out of range (for example one that is no whole number), expected 0 to 1")
    assert told.endswith("Make them whole, as in targets=lambda outputs, batch: batch[1].round()")
    assert counts.problems(counts.lift(torch.tensor([0, 1]), huge)) is not None


def test_whole_numbers_of_every_dtype() -> None:
    """Floats are looked at; complex numbers are no labels."""
    numbers = torch.tensor([0.0, 1.0, 2.0])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert are_whole(numbers.to(dtype))
        assert not are_whole((numbers / 4).to(dtype))
    assert are_whole(numbers.to(torch.uint8))
    assert are_whole(numbers.bool())
    assert not are_whole(numbers.to(torch.complex64))


MAP = torch.tensor([[[0, 1], [1, 1], [0, 0]]])
SCORES = torch.tensor([[[-4.0, 4.0], [4.0, -4.0], [4.0, -4.0]]])
EXPECTED = [[2, 1], [1, 2]]


@pytest.mark.parametrize("counts", [ConfusionCounts(2), ConfusionCounts(2, task="binary")], ids=["two", "binary"])
@pytest.mark.parametrize("preds", [SCORES, SCORES[:, None], (SCORES > 0).long(), (SCORES > 0)[:, None]])
@pytest.mark.parametrize("targets", [MAP, MAP[:, None], MAP[:, None].float(), MAP.bool()])
def test_one_score_a_target(counts: ConfusionCounts, preds: Tensor, targets: Tensor) -> None:
    """With or without a channel, in either field, as floats or labels."""
    assert counted(counts, preds, targets) == EXPECTED


def test_a_channel_tells_a_map_of_two_rows_from_two_scores() -> None:
    """Maps 2 pixels high: with a channel of one in either field there is one way to read them."""
    preds, targets = SCORES[:, :2], MAP[:, :2]
    for p, t in ((preds[:, None], targets), (preds, targets[:, None]), (preds[:, None], targets[:, None])):
        assert counted(ConfusionCounts(2), p, t) == [[1, 0], [1, 2]]
    with pytest.raises(ValueError, match="for a score a target task='binary'"):
        ConfusionCounts(2).lift(preds, targets)
    assert counted(ConfusionCounts(2, task="binary"), preds, targets) == [[1, 0], [1, 2]]


def test_a_channel_of_the_targets_beside_several_scores() -> None:
    """Scores [N, C, H, W] against masks [N, 1, H, W]; scores [N, C] against [N, 1]; one label [N] of a set of one."""
    scores = torch.stack([-SCORES, SCORES, torch.full_like(SCORES, -9)], dim=1)
    expected = [[2, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert counted(ConfusionCounts(3), scores, MAP[:, None]) == expected
    assert counted(ConfusionCounts(3), scores.permute(0, 2, 3, 1).reshape(6, 3), MAP.reshape(6, 1)) == expected
    one = ConfusionCounts(1, task="multilabel")
    flat = SCORES.reshape(6), MAP.reshape(6)
    for preds, targets in (flat, (flat[0][:, None], flat[1]), (flat[0], flat[1][:, None])):
        assert counted(one, preds, targets) == [EXPECTED]


@pytest.mark.parametrize(
    ("counts", "preds", "targets", "advice"),
    [
        (ConfusionCounts(3), (4, 5), (4,), "preds have 5 classes, so write num_classes=5, as in ConfusionMatrix(5)"),
        (ConfusionCounts(3), (4, 3), (4, 3), "targets=lambda outputs, batch: batch[1].argmax(1)"),
        (ConfusionCounts(2), (4, 2), (4, 2), "targets=lambda outputs, batch: batch[1].argmax(1), for a score a target"),
        (ConfusionCounts(3), (4, 1), (4,), "preds have one channel, so write num_classes=2"),
        (ConfusionCounts(3), (4,), (4,), "for scores of two classes write num_classes=2"),
        (ConfusionCounts(3), (4, 8, 8, 3), (4, 8, 8), "write preds=lambda outputs, batch: ....movedim(-1, 1)"),
        (ConfusionCounts(2), (4, 8, 1), (4, 8), "write preds=lambda outputs, batch: ....squeeze(-1)"),
        (ConfusionCounts(2), (4, 8), (4, 8, 1), "write targets=lambda outputs, batch: ....squeeze(-1)"),
        (ConfusionCounts(2, task="binary"), (4, 2), (4,), "so write task='multiclass' with num_classes=2"),
        (ConfusionCounts(3, task="multilabel"), (4, 5), (4, 5), "preds have 5 labels, so write num_labels=5"),
        (
            ConfusionCounts(3, task="multilabel"),
            (4, 3),
            (4,),
            "each sample has one target, so write Conf",
        ),
        (ConfusionCounts(3), (4, 3), (5,), "give a prediction for each target"),
    ],
)
def test_shapes_that_clash_say_what_to_write(
    counts: ConfusionCounts, preds: tuple[int, ...], targets: tuple[int, ...], advice: str
) -> None:
    """What was found, what was expected, and the cure."""
    with pytest.raises(ValueError, match=re.escape(advice)) as error:
        counts.lift(torch.zeros(preds), torch.zeros(targets, dtype=torch.int64))
    assert str(error.value).startswith(f"preds are torch.float32 {preds} and targets torch.int64 {targets}, expected ")


def test_shapes_that_clash_beyond_advice() -> None:
    """It says what is expected, and guesses nothing."""
    with pytest.raises(ValueError, match=r"expected float scores \(4, 3, 5, 6\) or integer labels$"):
        ConfusionCounts(3).lift(torch.zeros(4, 8, 8), torch.zeros(4, 5, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"or integer labels$"):
        ConfusionCounts(3).lift(torch.zeros(4, 8, 8), torch.zeros(4, 5, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^preds are torch.float32 \(4, 3\) and targets torch.int64 \(4, 5\), "):
        ConfusionCounts(1, task="multilabel").lift(torch.zeros(4, 3), torch.zeros(4, 5, dtype=torch.int64))


def test_integer_predictions_of_several_channels() -> None:
    """Quantised scores are no labels."""
    with pytest.raises(ValueError, match=r"write preds=lambda outputs, batch: \.\.\.\.argmax\(1\)"):
        ConfusionCounts(3).lift(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    "counts", [ConfusionCounts(3), ConfusionCounts(3, top_k=2), ConfusionCounts(3, task="multilabel"), ScoreCounts(3)]
)
def test_scores_that_require_a_gradient_are_counted(counts: Any) -> None:
    """As those of a training step; the state has none."""
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    targets = torch.nn.functional.one_hot(targets) if getattr(counts, "task", "") == "multilabel" else targets
    expected = counts.lift(scores, targets)
    found = counts.lift(scores.clone().requires_grad_(), targets)
    assert not difference(found, expected)
    assert not any(tensor.requires_grad for tensor in found.values())


@pytest.mark.parametrize(("label", "is_class"), [(2, True), (999, True), (1000, False), (-1, False)])
def test_a_label_that_could_be_a_class_says_how_many_there_are(label: int, is_class: bool) -> None:
    """Up to 999: larger ones stand for something else, as 65,535."""
    told = ConfusionCounts(2).problems(ConfusionCounts(2).lift(torch.tensor([0, 1]), torch.tensor([0, label])))
    assert told is not None
    assert (f", or num_classes={label + 1} if it is a class" in told) == is_class
    assert f"Write ignore_index={label} if that is a target that does not count" in told
