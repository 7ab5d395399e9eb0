"""Boxes in one form, and which go together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lwcallbacks.media import ltwh, matches
from lwcallbacks.media.matching import ious

SIZE = (20, 40)
FORMS = {
    "xyxy": [4, 2, 14, 10],
    "xywh": [4, 2, 10, 8],
    "cxcywh": [9, 6, 10, 8],
}


@pytest.mark.parametrize("box_format", FORMS)
@pytest.mark.parametrize("normalized", [False, True])
def test_all_formats_give_the_same_box(box_format: str, normalized: bool) -> None:
    """In pixels, or in parts of a width of 40 and a height of 20."""
    given = np.array([FORMS[box_format]], float) / ([40, 20, 40, 20] if normalized else 1)
    assert np.allclose(ltwh(given, box_format, normalized, SIZE), [[4, 2, 10, 8]], rtol=1e-15)


def test_of_no_boxes_there_are_none() -> None:
    """Shapes stay."""
    nothing = np.zeros((0, 4))
    assert ltwh(nothing, "xyxy", False, SIZE).shape == (0, 4)
    assert ious(nothing, np.ones((2, 4))).shape == (0, 2)
    assert matches(nothing, [], np.ones((2, 4)), [1, 1]) == []
    assert matches(np.ones((2, 4)), [1, 1], nothing, []) == [None, None]


boxes = st.lists(st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2), max_size=5)


@given(boxes, boxes)
def test_ious_are_those_of_counted_pixels(left: list[tuple[int, ...]], right: list[tuple[int, ...]]) -> None:
    """On a grid, a box is a set of pixels."""
    found = ious(np.array(left, float).reshape(-1, 4), np.array(right, float).reshape(-1, 4))
    sets = [[{(i, j) for i in range(x, x + w) for j in range(y, y + h)} for x, y, w, h in of] for of in (left, right)]
    assert found.tolist() == [[len(a & b) / len(a | b) for b in sets[1]] for a in sets[0]]


def test_the_surest_goes_first_and_a_true_box_is_matched_once() -> None:
    """By hand: the first takes the better of two, the second what is left, a third of another label nothing."""
    truths = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10]])
    preds = np.array([[1.0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10]])
    assert matches(preds, [1, 1, 2], truths, [1, 1]) == [1, 0, None]
    assert matches(preds, [1, 1, 2], truths, [1, 1], threshold=0.9) == [1, None, None]
    assert matches(preds[:1], [1], np.concatenate([truths[1:], truths[1:]]), [1, 1]) == [0]  # of equal ones the first


def test_an_iou_of_just_the_threshold_is_enough() -> None:
    """Half of the area."""
    assert matches(np.array([[0.0, 0, 1, 1]]), [0], np.array([[0.0, 0, 2, 1]]), [0], threshold=0.5) == [0]


@pytest.mark.parametrize("seed", range(20))
def test_matches_are_those_of_a_plain_loop(seed: int) -> None:
    """Written apart, with tensors and by marking what is taken."""
    generator = torch.Generator().manual_seed(seed)
    preds, truths = (torch.randint(1, 6, (n, 4), generator=generator).double() for n in (7, 5))
    pred_labels, labels = (torch.randint(0, 2, (n,), generator=generator) for n in (7, 5))
    overlap = torch.tensor(ious(preds.numpy(), truths.numpy()))
    expected: list[int | None] = []
    for i in range(7):
        row = torch.where(labels == pred_labels[i], overlap[i], -1.0)
        best = int(row.argmax())
        hit = bool(row[best] >= 0.3)
        expected.append(best if hit else None)
        if hit:
            overlap[:, best] = -1.0
    assert matches(preds.numpy(), pred_labels.tolist(), truths.numpy(), labels.tolist(), 0.3) == expected
