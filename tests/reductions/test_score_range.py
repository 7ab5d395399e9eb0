"""One rule for scores: what they are is decided once, from all of them; and then what each of them says."""

from __future__ import annotations

import itertools
import math
import re
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lawful import EXAMPLES, some_scores
from torch import Tensor

from lwcallbacks.labels import classify, classify_labels, mask_labels, mask_of
from lwcallbacks.reductions import ConfusionCounts, ScoreRange
from lwcallbacks.reductions.score_range import BEYOND, check_scores, coded, decoded, logit_cut, positives

NAN, INF = math.nan, math.inf
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
many = settings(max_examples=20 * EXAMPLES, deadline=None)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """In float32, operation by operation."""
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.exp(-x.astype(np.float64)).astype(np.float32)  # the exponential is rounded once
        return np.float32(1) / (np.float32(1) + power)


def plain_kind(scores: np.ndarray) -> str:
    seen = scores[~np.isnan(scores)]
    if not seen.size:
        return "none seen"
    if ((seen >= 0) & (seen <= 1)).all():
        return "probabilities"
    return "logits" if (seen < -0.5).any() or (seen > 1.5).any() else "undecided"


def plain_counts(scores: np.ndarray, targets: np.ndarray, threshold: float, kind: str) -> list[list[int]]:
    """A loop over all samples; what is no 0 or 1 is in no cell."""
    counts = [[0, 0], [0, 0]]
    shares = sigmoid(scores) if kind == "logits" else scores
    for score, share, target in zip(scores, shares, targets, strict=True):
        fits = not np.isnan(score) and (kind == "logits" or 0 <= score <= 1)
        if fits and target in (0, 1):
            counts[int(target)][int(share > np.float32(threshold))] += 1
    return counts


@st.composite
def split_samples(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Scores and targets of n samples, and parts of them in any order."""
    n = draw(st.integers(0, 12))
    scores, targets = draw(some_scores(n)), draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    order = draw(st.permutations(range(n)))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
    return (
        scores,
        torch.tensor(targets, dtype=torch.int64),
        [list(order[a:b]) for a, b in itertools.pairwise([0, *cuts, n])],
    )


@many
@given(split_samples())
def test_the_kind_is_that_of_all_scores(samples: tuple[Tensor, Tensor, list[list[int]]]) -> None:
    """However they are split."""
    scores, _, parts = samples
    seen = ScoreRange()
    state = reduce(seen.merge, (seen.lift(scores[part]) for part in parts), seen.empty())
    assert seen.value(state) == plain_kind(scores.numpy())


@many
@given(split_samples(), st.sampled_from([0.25, 0.3, 0.5, 0.9]), st.sampled_from([None, True, False]))
def test_counts_are_those_of_a_loop_that_saw_all(
    samples: tuple[Tensor, Tensor, list[list[int]]], threshold: float, logits: bool | None
) -> None:
    """Binary by task, two classes by one score, and one label of a set: the same counts for any split and order."""
    scores, targets, parts = samples
    kind = {True: "logits", False: "probabilities", None: plain_kind(scores.numpy())}[logits]
    expected = plain_counts(scores.numpy(), targets.numpy(), threshold, kind)
    for counts in (
        ConfusionCounts(2, task="binary", threshold=threshold, logits=logits),
        ConfusionCounts(2, threshold=threshold, logits=logits),
        ConfusionCounts(1, task="multilabel", threshold=threshold, logits=logits),
    ):
        state = counts.empty()
        for part in parts:
            state = counts.accumulate(state, scores[part], targets[part])
        assert counts.value(state).reshape(2, 2).tolist() == expected
        assert (counts.problems(state) is None) == (sum(map(sum, expected)) == len(scores) and kind != "undecided")
        decision = counts.decided(state)
        assert (decision.kind if decision else None) == (
            kind if logits is None and kind in ("probabilities", "logits") else None
        )


@many
@given(some_scores(9), st.sampled_from([1e-3, 0.25, 0.3, 0.5, 0.9, 1 - 1e-7]), st.sampled_from(FLOATS))
def test_a_logit_is_a_one_where_its_sigmoid_is_above_the_threshold(
    scores: Tensor, threshold: float, dtype: torch.dtype
) -> None:
    """In float32, for every dtype."""
    scores = scores.to(dtype)
    single = scores.to(torch.float32).numpy()
    assert positives(scores, threshold, logits=True).tolist() == (sigmoid(single) > np.float32(threshold)).tolist()
    assert positives(scores, threshold).tolist() == (single > np.float32(threshold)).tolist()


def test_a_score_is_a_one_above_a_half() -> None:
    """Unless another threshold is given, or it is a logit."""
    scores = torch.tensor([-1.0, 0.0, 0.4, 0.5, 0.6])
    assert positives(scores).tolist() == [False, False, False, False, True]
    assert positives(scores, logits=True).tolist() == [False, False, True, True, True]
    assert coded(scores, logits=False).tolist() == [BEYOND, 0, 0, 0, 1]


@pytest.mark.parametrize("threshold", [1e-40, 1e-3, *(i / 100 for i in range(1, 100))])
def test_the_cut_of_logits_is_exact(threshold: float) -> None:
    """The largest float32 whose sigmoid is not above; the next one is."""
    cut = np.float32(logit_cut(threshold))
    above = np.nextafter(cut, np.float32(INF))
    assert sigmoid(np.array([cut, above])).tolist()[0] <= np.float32(threshold)
    assert sigmoid(np.array([cut, above])).tolist()[1] > np.float32(threshold)


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        ([0.0, 1.0], "probabilities"),
        ([-0.0, NAN], "probabilities"),
        ([-0.5, 1.5], "undecided"),
        ([1.0000001], "undecided"),
        ([0.2, -0.50001], "logits"),
        ([0.2, 1.5001], "logits"),
        ([0.5, INF], "logits"),
        ([-INF], "logits"),
        ([NAN, NAN], "none seen"),
        ([], "none seen"),
    ],
)
def test_the_kind_by_hand(scores: list[float], kind: str) -> None:
    """Both limits, infinities, and NaN, which takes no part."""
    seen = ScoreRange()
    assert seen.value(seen.lift(torch.tensor(scores))) == kind


def test_zeros_of_either_sign_are_one_end() -> None:
    """The state has the same bits, whichever of them a device takes for the smaller."""
    seen = ScoreRange()
    states = [seen.lift(torch.tensor(zeros))["range"].tolist() for zeros in ([0.0, -0.0], [-0.0, 0.0], [0.0], [-0.0])]
    assert states == [states[0]] * 4


def test_what_is_not_valid_takes_no_part() -> None:
    """Nor do labels, of any dtype; a target that is ignored has a score all the same."""
    seen = ScoreRange()
    assert seen.value(seen.lift(torch.tensor([0.5, 7.0]), valid=torch.tensor([True, False]))) == "probabilities"
    assert seen.value(seen.lift(torch.tensor([0, 7], dtype=torch.uint16))) == "none seen"
    counts = ConfusionCounts(2, ignore_index=9, task="binary")
    state = counts.lift(torch.tensor([0.9, 7.0]), torch.tensor([0, 9]))
    assert counts.value(state).tolist() == [[0, 1], [0, 0]]
    assert counts.decided(state).kind == "logits"  # type: ignore[union-attr]


def test_the_user_is_asked_where_it_is_not_decided() -> None:
    """By range, with what to write, and how many were left out."""
    counts = ConfusionCounts(2, task="binary")
    state = counts.lift(torch.tensor([-0.25, 0.75, 0.25]), torch.tensor([0, 1, 0]))
    assert counts.value(state).tolist() == [[1, 0], [0, 1]]
    asked = (
        "scores are in [-0.25, 0.75], which may be logits or probabilities; pass logits=True, or clamp probabilities"
    )
    assert counts.problems(state) == (
        f"{asked} to [0, 1]; 1 scores are no probabilities in [0, 1]; they were left out of the counts"
    )
    assert ScoreRange().problems(ScoreRange().lift(torch.tensor([-0.25, 0.75]))) == f"{asked} to [0, 1]"
    assert ScoreRange(asks=False).problems(ScoreRange().lift(torch.tensor([-0.25, 0.75]))) is None
    told = counts.decided(counts.merge(state, counts.lift(torch.tensor([3.0]), torch.tensor([1]))))
    assert told is not None
    assert told.text == "scores are in [-0.25, 3] and are taken for logits; pass logits=True to say so"


def test_a_steps_value_goes_by_what_was_seen_so_far() -> None:
    """A batch of scores in [0, 1] alone, after one of logits: 0.4 is then a 1."""
    counts = ConfusionCounts(2, task="binary")
    first = counts.lift(torch.tensor([-4.0, 4.0]), torch.tensor([0, 1]))
    batch = counts.lift(torch.tensor([0.4]), torch.tensor([1]))
    assert counts.step_value(batch, batch).tolist() == [[0, 0], [1, 0]]
    assert counts.step_value(batch, counts.merge(first, batch)).tolist() == [[0, 0], [0, 1]]


def test_the_range_alone_tells_the_kind() -> None:
    """Of a batch as of all so far; and in words, unless nobody asks."""
    one = ScoreRange()
    first, batch = one.lift(torch.tensor([-4.0, 4.0])), one.lift(torch.tensor([0.4]))
    assert one.step_value(batch, batch) == "probabilities"
    assert one.step_value(batch, one.merge(first, batch)) == "logits"
    told = one.decided(batch)
    assert told is not None
    assert told.text.startswith("scores are in [0.4, 0.4] and are taken for probabilities")
    assert ScoreRange(asks=False).decided(batch) is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"task": "regression"}, "task='regression', expected 'multiclass', 'binary' or 'multilabel'"),
        ({"threshold": 1.0}, "threshold=1.0, expected a probability in (0, 1)"),
        ({"threshold": 0}, "threshold=0, expected a probability in (0, 1)"),
        ({"threshold": True}, "threshold=True, expected a probability in (0, 1)"),
        ({"threshold": "0.5"}, "threshold='0.5', expected a probability in (0, 1)"),
        ({"logits": "yes"}, "logits='yes', expected True, False or None to tell by all scores"),
    ],
)
def test_what_is_no_task_threshold_or_kind(written: dict[str, object], told: str) -> None:
    """It says what was found, and what to write."""
    right = {"task": "binary", "threshold": 0.5, "logits": None}
    check_scores("Callback", **right)
    with pytest.raises(ValueError, match=rf"^Callback: {re.escape(told)}$"):
        check_scores("Callback", **(right | written))


def test_a_code_says_both() -> None:
    """What a score is as a probability, and as a logit."""
    codes = coded(torch.tensor([0.2, 0.7, -2.0, 2.0, NAN]), 0.5)
    assert codes.dtype == torch.uint8
    assert decoded(codes, "probabilities").tolist() == [0, 1, -1, -1, -1]
    assert decoded(codes, "undecided").tolist() == [0, 1, -1, -1, -1]
    assert decoded(codes, "logits").tolist() == [1, 1, 0, 1, -1]


@pytest.mark.parametrize("kind", ["probabilities", "logits", "undecided"])
def test_what_is_decided_is_the_same_by_any_kind(kind: str) -> None:
    """Labels, one out of range, and NaN."""
    assert decoded(torch.tensor([0, 1, 2, 3]), kind).tolist() == [0, 1, -1, -1]


def test_labels_and_confidence_of_one_score() -> None:
    """Of class 1, [N] or [N, 1]; a score that is none has no label."""
    scores = torch.tensor([0.25, 0.75, NAN, 1.5])
    labels, confidence = classify(scores, "probabilities")
    assert labels.tolist() == [0, 1, -1, -1]
    assert confidence is not None
    assert confidence.nan_to_num(-1).tolist() == [0.75, 0.75, -1, -1]
    labels, confidence = classify(torch.tensor([[-1.0], [0.0], [0.5]]), "logits", 0.6)
    assert labels.tolist() == [0, 0, 1]
    assert confidence is not None
    assert confidence.tolist() == pytest.approx([0.7310586, 0.5, 0.6224593])


def test_labels_and_confidence_of_several_scores() -> None:
    """The largest wins; undecided rows of sum 1 are probabilities, all others are not."""
    upsampled = torch.tensor([[1.01, -0.01], [0.25, 0.75]])
    assert classify(upsampled, "undecided")[1].tolist() == pytest.approx([1.01, 0.75])  # type: ignore[union-attr]
    logits = torch.tensor([[0.1, -0.1], [NAN, 0.75]])
    labels, confidence = classify(logits, "undecided")
    assert labels.tolist() == [0, -1]
    assert confidence is not None
    assert float(confidence[0]) == pytest.approx(1 / (1 + math.exp(-0.2)))
    assert classify(torch.tensor([[3], [1]], dtype=torch.uint16), "none seen")[0].tolist() == [3, 1]


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_which_labels_were_predicted(kind: str) -> None:
    """Scores above the threshold, and the confidence in the least sure of the labels."""
    share = torch.tensor([[0.9, 0.3], [0.6, 0.4], [NAN, 0.9]])
    scores = share.logit() if kind == "logits" else share
    chosen, confidence = classify_labels(scores, kind, 0.35)  # type: ignore[arg-type]
    assert chosen.tolist() == [[True, False], [True, True], [False, True]]
    assert confidence is not None
    assert confidence[:2].tolist() == pytest.approx([0.7, 0.6])
    assert confidence[2].isnan()


def test_labels_that_are_given_have_no_confidence() -> None:
    """0 or 1 are taken as they are."""
    chosen, confidence = classify_labels(torch.tensor([[0, 1]]), "none seen")
    assert chosen.tolist() == [[False, True]]
    assert confidence is None


def test_labels_of_masks() -> None:
    """The class of the largest score; one score a pixel by its kind; labels are left as they are."""
    scores = torch.tensor([[[[0.1, 0.9]], [[0.8, NAN]]]])
    assert mask_labels(mask_of(scores), "none seen").tolist() == [[[1, -1]]]
    one = torch.tensor([[[[0.4, 0.9]]]])
    assert mask_labels(mask_of(one), "probabilities").tolist() == [[[0, 1]]]
    assert mask_labels(mask_of(one[:, 0]), "logits").tolist() == [[[1, 1]]]
    assert mask_labels(mask_of(one, 0.3, False), "probabilities").tolist() == [[[1, 1]]]
    given = torch.tensor([[[[3, 255]]]], dtype=torch.uint8)
    assert mask_labels(mask_of(given), "none seen").tolist() == [[[3, 255]]]
