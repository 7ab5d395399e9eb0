"""Masks in colour over images, and the counts of labels as a picture and a table."""

from __future__ import annotations

import numpy as np
import pytest

from lwcallbacks.media import Classes, Layer, errors_layer, in_a_row, label_report, tinted
from lwcallbacks.media.masks import ERROR_COLOURS

LABELS = np.arange(17).reshape(1, 17)


def colours(labels: np.ndarray) -> np.ndarray:
    return tinted(np.zeros(labels.shape, np.uint8), Classes.of([labels]).layer("truth", labels, alpha=1.0)).reshape(
        -1, 3
    )


def test_each_of_17_classes_has_a_colour() -> None:
    """No two alike, none grey; the 18th class has the first one's again."""
    found = colours(LABELS)
    assert len({tuple(colour) for colour in found}) == 17
    assert all(len(set(colour.tolist())) > 1 for colour in found)
    assert np.array_equal(colours(LABELS + 17), found)
    assert found[0].tolist() == [230, 159, 0]


def test_no_class_has_the_colour_of_an_error() -> None:
    """Both stand in one legend."""
    assert not {tuple(colour) for colour in colours(LABELS).tolist()} & set(ERROR_COLOURS.values())


def test_a_mask_is_a_mixture_of_grey_and_colour() -> None:
    """Half of a white pixel and half of the class's colour; a grey and an RGB image of the same give the same."""
    white = np.full((1, 2), 255, np.uint8)
    labels = np.array([[0, 1]])
    layer = Classes.of([labels]).layer("truth", labels, alpha=0.5)
    mixed = tinted(white, layer)
    expected = ((255 + colours(labels).astype(float)) / 2).round().astype(np.uint8)
    assert np.array_equal(mixed, expected.reshape(1, 2, 3))
    assert np.array_equal(tinted(white[..., None].repeat(3, 2), layer), mixed)


def test_what_is_no_class_stays_grey() -> None:
    """The background and negative ones; the colour of the image is gone."""
    red = np.zeros((1, 3, 3), np.uint8)
    red[..., 0] = 200
    labels = np.array([[0, -1, 3]])
    seen = tinted(red, Classes.of([labels], plain={0}).layer("truth", labels))[0]
    assert seen[:2].tolist() == [[60, 60, 60]] * 2
    assert seen[2].tolist() != [60, 60, 60]


def test_labels_that_do_not_cover_the_image_are_an_error() -> None:
    """The message has both shapes."""
    layer = Layer("truth", np.zeros((2, 2), np.uint8), {}, {})
    with pytest.raises(ValueError, match=r"labels have shape \(2, 2\), expected \(4, 4\) as the image"):
        tinted(np.zeros((4, 4), np.uint8), layer)


def test_a_layer_takes_bytes_only() -> None:
    """The message has what was found, and what stands for no class."""
    with pytest.raises(ValueError, match=r"Layer 'truth': labels are int64 \(2, 2\), expected uint8 .*255 is no class"):
        Layer("truth", np.zeros((2, 2), np.int64), {}, {})


def test_small_labels_are_kept_and_large_ones_numbered() -> None:
    """0 to 254 are what they are, also where the largest has a name only. Beyond, what is there is numbered in order;
    each keeps its name and its colour."""
    small = np.array([[254, 7, -3]])
    assert Classes.of([small]).layer("truth", small).labels.tolist() == [[254, 7, 255]]
    large = np.array([[300, 7, 255, -1]])
    classes = Classes.of([large], ["sky"] * 8, plain={7})
    layer = classes.layer("truth", large)
    assert layer.labels.tolist() == [[2, 0, 1, 255]]
    assert layer.classes == {0: "sky", 1: "255", 2: "300"}
    assert layer.colours == {1: tuple(colours(np.array([[255]]))[0]), 2: tuple(colours(np.array([[300]]))[0])}
    assert classes.layer("prediction", np.array([[8]])).labels.tolist() == [[255]]


def test_of_more_labels_than_there_is_room_for_the_rest_is_counted() -> None:
    """256 labels, the largest is left out."""
    many = np.arange(100, 356).reshape(16, 16)
    classes = Classes.of([many])
    assert classes.left_out == 1
    assert np.array_equal(classes.layer("truth", many).labels, np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(
    ("background", "expected"),
    [(0, [0, 3, 2, 1, 4, 0, 2, 255, 255]), (None, [1, 4, 4, 1, 4, 2, 2, 255, 255])],
)
def test_what_is_right_missed_invented_and_of_another_class(background: int | None, expected: list[int]) -> None:
    """By hand: with a background and without; -1 is no prediction in the first line, and no truth in the last two."""
    truth = np.array([[0, 0, 1, 1, 1, 0, 1, -1, -1]])
    guess = np.array([[0, 1, 0, 1, 2, -1, -1, 1, -1]])
    layer = errors_layer(truth, guess, background)
    assert layer.labels.tolist() == [expected]
    assert [layer.classes[i] for i in range(5)] == ["nothing there", "right", "missed", "invented", "another class"]


SEEN_BY = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as it looks to people of each colour vision (Machado, Oliveira and Fernandes 2009, severity 1)."""


@pytest.mark.parametrize("vision", SEEN_BY)
def test_colours_of_errors_differ_for_people_of_any_colour_vision(vision: str) -> None:
    """Any two are 20 apart at least, where 2.3 is just noticed (CIE 1976, L*a*b*)."""
    of_light = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    rgb = np.array(list(ERROR_COLOURS.values())) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(SEEN_BY[vision])).clip(0, 1) @ np.transpose(of_light) / [0.95047, 1, 1.08883]
    f = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116)
    lab = np.stack([116 * f[:, 1], 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert apart[~np.eye(4, dtype=bool)].min() > 20


def test_panels_stand_in_a_row() -> None:
    """Grey and RGB together, with a gap of neutral grey."""
    joined = in_a_row(np.zeros((3, 4), np.uint8), np.full((3, 5, 3), 255, np.uint8), gap=1)
    assert joined.shape == (3, 10, 3)
    assert (joined[:, :4] == 0).all()
    assert (joined[:, 4] == 128).all()
    assert (joined[:, 5:] == 255).all()


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
