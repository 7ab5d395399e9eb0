"""Masks in colour over images, and the counts of labels as a picture and a table."""

from __future__ import annotations

import numpy as np
import pytest

from lwcallbacks.media import (
    label_report,
    name_of,
    overlay,
    side_by_side,
)  # fmt: skip

LABELS = np.arange(21).reshape(1, 3, 7)


def colours(labels: np.ndarray) -> np.ndarray:
    return overlay(np.zeros(labels.shape, np.uint8), labels, alpha=1.0)[0].reshape(-1, 3)


def test_each_of_21_classes_has_a_colour_and_a_name() -> None:
    """No two alike, none grey; the 22nd class has the first one's again."""
    found = colours(LABELS)
    assert len({tuple(colour) for colour in found}) == 21
    assert all(len(set(colour.tolist())) > 1 for colour in found)
    assert len({name_of(label) for label in range(21)}) == 21
    assert np.array_equal(colours(LABELS + 21), found)
    assert name_of(21) == name_of(0) == "orange"


def test_a_mask_is_a_mixture_of_grey_and_colour() -> None:
    """Half of a white pixel and half of the class's colour; a grey and an RGB image of the same give the same."""
    white = np.full((1, 1, 2), 255, np.uint8)
    labels = np.array([[[0, 1]]])
    mixed = overlay(white, labels, alpha=0.5)
    assert np.array_equal(
        mixed, ((255 + colours(labels).astype(float)) / 2).round().astype(np.uint8).reshape(1, 1, 2, 3)
    )
    assert np.array_equal(overlay(white[..., None].repeat(3, 3), labels, alpha=0.5), mixed)


def test_what_is_no_class_stays_grey() -> None:
    """The background, the ignored label and negative ones; the colour of the image is gone."""
    red = np.zeros((1, 1, 4, 3), np.uint8)
    red[..., 0] = 200
    seen = overlay(red, np.array([[[0, 255, -1, 3]]]), background=0, ignore_index=255)[0, 0]
    assert seen[:3].tolist() == [[60, 60, 60]] * 3
    assert seen[3].tolist() != [60, 60, 60]


def test_labels_that_do_not_cover_the_image_are_an_error() -> None:
    """The message has both shapes."""
    with pytest.raises(ValueError, match=r"labels have shape \(1, 2, 2\), expected \(1, 4, 4\) as the images"):
        overlay(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 2, 2), int))


def test_panels_stand_in_a_row() -> None:
    """Grey and RGB together, with a gap of neutral grey."""
    joined = side_by_side(np.zeros((2, 3, 4), np.uint8), np.full((2, 3, 5, 3), 255, np.uint8), gap=1)
    assert joined.shape == (2, 3, 10, 3)
    assert (joined[:, :, :4] == 0).all()
    assert (joined[:, :, 4] == 128).all()
    assert (joined[:, :, 5:] == 255).all()


COUNTS = np.array([[[3, 1], [2, 4]], [[10, 0], [0, 0]]])


def test_a_table_of_labels() -> None:
    """By hand: 4 found, 2 missed, 1 too many; a label that never occurs has no ratio and no part in the averages."""
    table = label_report(COUNTS, ("cat", "dog"))
    assert table.columns == ("label", "precision", "recall", "f1", "iou", "support", "value")
    assert [list(row) for row in table.rows[:-3]] == [
        ["cat", 4 / 5, 4 / 6, 8 / 11, 4 / 7, 6, None],
        ["dog", None, None, None, None, 0, None],
        ["macro average", 4 / 5, 4 / 6, 8 / 11, 4 / 7, 6, None],
        ["weighted average", *(pytest.approx(rate) for rate in (4 / 5, 4 / 6, 8 / 11, 4 / 7)), 6, None],
        ["micro average", 4 / 5, 4 / 6, 8 / 11, 4 / 7, 6, None],
        ["accuracy", None, None, None, None, 20, 17 / 20],
    ]
