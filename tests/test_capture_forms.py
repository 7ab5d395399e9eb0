"""Fields that are no tensor: images of unlike sizes, and boxes in the layouts of detection code."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from support.boxes import Scenes, as_lists, as_tensors

from lwcallbacks.capture import BoxesForm, CaptureError, ImagesForm, Source, Step, drawn_size
from lwcallbacks.testing import forbid_host_sync

NAN = float("nan")


def boxes_by_hand(target: dict[str, torch.Tensor], most: int) -> list[list[float]]:
    """Row by row, in plain Python: what `BoxesForm` says that it gives."""
    n = len(target["boxes"])
    scores = target["scores"].tolist() if "scores" in target else [NAN] * n
    rows = [[*box, float(label), score] for box, label, score in zip(
        target["boxes"].tolist(), target["labels"].tolist(), scores, strict=True)]  # fmt: skip
    real = [r for r in rows if np.isfinite(r[:4]).all() and r[2] > r[0] and r[3] > r[1] and r[4] >= 0]
    best = sorted(real, key=lambda r: -np.inf if np.isnan(r[5]) else r[5], reverse=True)[:most]
    head = [float(len(real)), float(n - len(real)), 0.0, 0.0, 0.0, 0.0]
    return [head, *best, *([[NAN] * 6] * (most - len(best)))]


@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize("part", [1, 2])
def test_boxes_of_a_list_are_those_of_a_plain_loop(most: int, part: int) -> None:
    """Of the largest scores, ties by their order, for batches of any size; without scores, the first."""
    data = [Scenes()[i][part] for i in range(20)]
    expected = torch.tensor([boxes_by_hand(target, most) for target in data])
    form = BoxesForm(most)
    for size in (1, 7, 20):
        with forbid_host_sync():
            found = [form.read(data[start : start + size]) for start in range(0, 20, size)]
        assert torch.equal(torch.cat(found).nan_to_num(-1), expected.nan_to_num(-1))


@pytest.mark.parametrize("part", [1, 2])
def test_padded_tensors_give_what_lists_give(part: int) -> None:
    """What is padded with zeros has no area. It is padding, and nothing that was left out."""
    samples = [Scenes(alike=True)[i] for i in range(20)]
    of_list, padded = BoxesForm(4).read(as_lists(samples)[part]), BoxesForm(4).read(as_tensors(samples)[part])
    assert torch.equal(padded.nan_to_num(-1), of_list.nan_to_num(-1))


def test_what_is_no_box_is_counted_and_left_out() -> None:
    """Without area, not finite, a label below 0; in another format the same numbers are a box."""
    boxes = torch.tensor([[4.0, 4, 4, 8], [0, 0, NAN, 2], [1, 1, 2, 2], [1, 1, 3, 3], [5, 5, 2, 2]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 1, -1, 1, 1])}
    [found] = BoxesForm(3).read([target])
    assert found[0, :2].tolist() == [1, 4]
    assert found[1, :5].tolist() == [1, 1, 3, 3, 1]
    assert found[2:].isnan().all()
    [found] = BoxesForm(3, "xywh").read([target])
    assert found[0, :2].tolist() == [3, 2]
    assert found[1:, :4].tolist() == [[4, 4, 4, 8], [1, 1, 3, 3], [5, 5, 2, 2]]


def test_scores_that_are_nan_come_last() -> None:
    """Also after -inf, in their order."""
    scores = torch.tensor([NAN, -torch.inf, NAN, 0.5])
    boxes = torch.tensor([[0.0, 0, i + 1, 1] for i in range(4)])
    [found] = BoxesForm(4).read([{"boxes": boxes, "labels": torch.arange(4), "scores": scores}])
    assert found[1:, 4].tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_numbers_of_any_dtype(dtype: torch.dtype) -> None:
    """Boxes of half precision or of integers, numpy arrays and lists of numbers."""
    boxes = [[1, 2, 3, 4]]
    for given in (torch.tensor(boxes, dtype=dtype), np.array(boxes), boxes):
        [found] = BoxesForm(1).read([{"boxes": given, "labels": [7]}])
        assert found[1, :5].tolist() == [1, 2, 3, 4, 7]
    empty: dict[str, Any] = {"boxes": [], "labels": []}
    assert BoxesForm(1).read([empty])[0, 0].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{"boxes": torch.ones(2, 5), "labels": torch.ones(2)}], "expected boxes: a list with a mapping of 'boxes'"),
        (
            [{"boxes": torch.ones(2, 4), "labels": torch.ones(3)}],
            "an image has 2 boxes, 3 labels and 2 scores, expected one label and one score for each box",
        ),
        (torch.ones(2, 4), "it is float32[2, 4], expected boxes"),
        ({"boxes": torch.ones(2, 3, 4), "scores": torch.ones(2, 2)}, "it has boxes (2, 3, 4), labels (2, 3) and"),
        (
            [{"boxes": torch.ones(1, 4), "labels": ["cat"]}],
            "'labels' is (str), expected numbers: map names to indices of classes",
        ),
        ({"boxes": torch.ones(1, 1, 4), "scores": [["0.5"]]}, "'scores' is ((str)), expected numbers"),
        ("boxes", "it is str, expected boxes"),
        ([], "expected boxes"),
    ],
)
def test_boxes_of_another_form_say_what_is_expected(value: Any, told: str) -> None:
    """By types and shapes."""
    with pytest.raises(CaptureError, match=re.escape(told)):
        BoxesForm(3).read(value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_images_of_a_list_keep_their_pixels(dtype: torch.dtype) -> None:
    """In the upper left corner; around it is the first pixel, so that no value is new."""
    images = [torch.arange(3 * h * w).reshape(3, h, w).to(dtype) for h, w in ((2, 5), (4, 4), (1, 1))]
    form = ImagesForm((4, 5))
    with forbid_host_sync():
        placed, sizes = form.read(images), form.read(images, "size")
    assert sizes.tolist() == [[2, 5], [4, 4], [1, 1]]
    assert placed.shape == (3, 3, 4, 5)
    for image, place in zip(images, placed, strict=True):
        assert torch.equal(place[:, : image.shape[1], : image.shape[2]], image)
        around = place.clone()
        around[:, : image.shape[1], : image.shape[2]] = image[:, :1, :1]
        assert torch.equal(around, image[:, :1, :1].expand_as(around))


@pytest.mark.parametrize("size", [(9, 4), (4, 9), (100, 3), (8, 10), (3, 200), (5, 5)])
def test_a_large_image_is_made_smaller_by_taking_pixels(size: tuple[int, int]) -> None:
    """It fits, in about the ratio that it has; each pixel is the one nearest to its middle."""
    within = (4, 5)
    height, width = drawn_size(size, within)
    assert height <= 4
    assert width <= 5
    assert height == 4 or width == 5
    assert abs(height / size[0] - width / size[1]) <= 1 / min(size)
    image = torch.arange(size[0] * size[1]).reshape(1, *size)
    [place] = ImagesForm(within).read([image])
    for y in range(height):
        for x in range(width):
            row, column = int((y + 0.5) * size[0] / height), int((x + 0.5) * size[1] / width)
            assert place[0, y, x] == image[0, row, column]


def test_a_tensor_of_images_is_taken_as_it_is() -> None:
    """However large; there are no sizes to tell."""
    images = torch.rand(2, 3, 700, 9)
    form = ImagesForm((4, 4))
    assert torch.equal(form.read(images), images)
    assert form.read(images, "size") is None


def test_images_that_cannot_stand_together_are_an_error() -> None:
    """Of other numbers of channels or dtypes."""
    for images in (
        [torch.rand(3, 4, 4), torch.rand(1, 4, 4)],
        [torch.rand(1, 4, 4), torch.ones(1, 4, 4).byte()],
        ["a"],
    ):
        with pytest.raises(CaptureError, match="expected images"):
            ImagesForm((4, 4)).read(images)


FORMS = (("inputs", ImagesForm((40, 40))), ("preds", BoxesForm(6)), ("targets", BoxesForm(6)))


@pytest.mark.parametrize("where", ["call", "outputs", "named"])
def test_they_are_found_in_the_usual_places(where: str) -> None:
    """What `self(x)` returned, what the step returned, alone or by name; a batch with or without names."""
    images, truths, preds = as_lists([Scenes()[i] for i in range(3)])
    batch: Any = (images, truths) if where != "named" else {"pixel_values": images, "labels": truths}
    outputs: Any = {"call": None, "outputs": preds, "named": {"loss": torch.tensor(1.0), "predictions": preds}}[where]
    calls = {None: [(images, preds)]} if where == "call" else {None: []}
    step, source = Step(outputs, batch, calls), Source(forms=FORMS)
    expected = {"inputs": images, "preds": preds, "targets": truths}
    for name, form in FORMS:
        found = step.find(name, source)
        assert found is not None
        assert torch.equal(found.float().nan_to_num(-1), form.read(expected[name]).float().nan_to_num(-1))
    sizes = step.find("inputs.size", source)
    assert sizes is not None
    assert sizes.tolist() == [list(image.shape[1:]) for image in images]


def test_a_dict_of_losses_is_no_prediction() -> None:
    """As torchvision's detectors give while training: nothing is found, and the error says what was there."""
    images, truths, _ = as_lists([Scenes()[i] for i in range(2)])
    step = Step({"loss": torch.tensor(1.0)}, (images, truths), {None: [(images, {"loss_box": torch.tensor(1.0)})]})
    source = Source(forms=FORMS)
    assert step.find("preds", source) is None
    assert "no preds found" in str(step.missing("preds", source))
