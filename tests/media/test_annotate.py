"""Label maps and boxes over images: drawn, as data, and what their colours mean."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import drawn, places

from lwcallbacks.media import Classes, Image, Mark, Picture, annotated, captioned_grid, nearest, over
from lwcallbacks.media.annotate import legend_of
from lwcallbacks.media.colours import ORANGE, SKY_BLUE
from lwcallbacks.media.legend import Key, draw_legend
from lwcallbacks.media.marks import draw_marks

GREY = np.full((60, 80), 100, np.uint8)
LABELS = np.repeat(np.arange(4), 20)[None].repeat(60, 0)
CLASSES = Classes.of([LABELS], ["sky", "road", "car", "tree"], plain={0})


def ring(mark: Mark, factor: int = 1) -> np.ndarray:
    """Which pixels of a grey canvas 40 x 40 a box has the colour of, by the line that goes through its middle."""
    canvas = np.full((40, 40, 3), 100, np.uint8)
    draw_marks(canvas, [mark], factor)
    return canvas


@pytest.mark.parametrize(("match", "colour"), [(True, SKY_BLUE), (None, SKY_BLUE), (False, ORANGE)])
def test_a_box_is_a_line_of_two_pixels_just_inside_with_a_dark_edge(
    match: bool | None, colour: tuple[int, ...]
) -> None:
    """Left 10, top 20, 16 wide and 12 high: through its middle, and nothing beyond."""
    canvas = ring(Mark((10, 20, 16, 12), "", match=match))
    row = canvas[28]
    assert (row[10:12] == colour).all()
    assert (row[24:26] == colour).all()
    assert (row[[9, 12, 23, 26]] == 0).all()
    assert (row[[8, 27, 16]] == 100).all()
    column = canvas[:, 20]
    assert (column[30:32] == colour).all()
    assert (column[[32]] == 0).all()
    assert (column[[33, 26]] == 100).all()


def test_a_box_is_enlarged_with_its_image() -> None:
    """Half of the size, twice as large: the same pixels."""
    assert (ring(Mark((5, 10, 8, 6), "a"), factor=2) == ring(Mark((10, 20, 16, 12), "a"))).all()


def test_what_is_there_is_dashed() -> None:
    """Along the upper line, 6 pixels and 6 not, with the dark edge around each dash."""
    row = ring(Mark((4, 10, 30, 20), "", is_truth=True, match=True))[10]
    drawn = (row == SKY_BLUE).all(axis=1)
    assert drawn.tolist() == [4 <= x < 34 and (x - 4) % 12 < 6 for x in range(40)]


def test_boxes_beyond_the_image_are_cut() -> None:
    """On all sides, also wholly outside; no wrap-around."""
    canvas = np.full((40, 40, 3), 100, np.uint8)
    draw_marks(
        canvas, [Mark((-50.0, -50.0, 20.0, 20.0), "", is_truth=True), Mark((90.0, 3.0, 9.0, 9.0), "", is_truth=True)]
    )
    assert (canvas == 100).all()
    draw_marks(canvas, [Mark((-10.0, -10.0, 60.0, 60.0), "", is_truth=True, match=True)])
    assert (canvas == 100).all()


def test_a_prediction_has_its_label_and_score_above_it() -> None:
    """Black on its colour; of what is there, only what was missed has its label, below."""
    canvas = np.full((120, 120, 3), 100, np.uint8)
    marks = [
        Mark((30, 40, 50, 30), "cat", score=0.754, match=True),
        Mark((30, 40, 50, 30), "found", is_truth=True, match=True),
    ]
    draw_marks(canvas, marks)
    [tag] = _tags(canvas, SKY_BLUE, "cat 0.75")
    assert 30 <= tag[0] < 36
    assert 25 <= tag[1] < 40
    assert not _tags(canvas, SKY_BLUE, "found")
    draw_marks(canvas, [Mark((10, 50, 20, 20), "dog", is_truth=True, match=False)])
    [tag] = _tags(canvas, ORANGE, "dog")
    assert 70 <= tag[1] < 82


def _tags(canvas: np.ndarray, colour: tuple[int, ...], text: str) -> list[tuple[int, int]]:
    """Where a text stands in black on a colour, as Pillow draws it on white."""
    pattern = (255 - drawn(text, 11).astype(int))[..., None] * colour // 255
    height, width, _ = pattern.shape
    return [
        (x, y)
        for y in range(canvas.shape[0] - height + 1)
        for x in range(canvas.shape[1] - width + 1)
        if np.abs(canvas[y : y + height, x : x + width] - pattern).max() <= 1
    ]


def test_a_small_image_with_boxes_is_enlarged_for_their_labels() -> None:
    """By a whole number, beside itself without boxes; one that is large enough is not."""
    small = annotated(Image(np.zeros((48, 60), np.uint8)), marks=[Mark((0, 0, 5, 5), "a")])
    assert small.place == (0, 0, 240, 192)
    assert small.pixels.shape == (192, 2 * 240 + 2, 3)
    assert small.panels == ("Input", "Boxes")
    assert annotated(Image(np.zeros((300, 250), np.uint8)), has_marks=True).pixels.shape == (300, 502, 3)


def test_a_legend_tells_what_is_there_and_no_more() -> None:
    """Classes by layers, in their order, those with a colour that some image has; each kind of box once."""
    one = annotated(Image(GREY), [CLASSES.layer("truth", LABELS), CLASSES.layer("prediction", LABELS * 0 + 3)])
    two = annotated(Image(GREY), [CLASSES.layer("prediction", LABELS * 0)], [Mark((0, 0, 9, 9), "a", match=False)])
    legend = dict(legend_of([one, two, Image(GREY)]))
    assert list(legend) == [
        "Input | Truth | Prediction",
        "Input | Prediction | Boxes",
        "Truth, prediction",
        "Prediction",
    ]
    assert [key.text for key in legend["Truth, prediction"]] == ["road", "car", "tree"]
    assert legend["Prediction"] == [Key("invented", ORANGE, "whole")]
    assert legend_of([Image(GREY)]) == []


def test_a_legend_is_wrapped_and_nothing_is_cut() -> None:
    """Twelve classes on a narrow page: each with its patch before its name."""
    keys = [Key(f"class {i}", (20 * i, 100, 255 - 20 * i)) for i in range(12)]
    page = draw_legend([("Prediction", keys)], width=150)
    assert page.shape[1] == 150
    for key in keys:
        found = places(page, key.text)  # "class 1" stands in "class 10", too
        assert any((page[y + 4, x - 8] == key.colour).all() for x, y in found)


def test_labels_lie_where_the_image_alone_stands_in_the_picture() -> None:
    """Of a grid with images of several sizes, enlarged by whole numbers; elsewhere there is no class."""
    images = [
        annotated(Image(GREY[:6, :8], "a"), [Classes.of([LABELS]).layer("truth", LABELS[:6, ::10])]),
        Image(GREY[:20, :20]),
        annotated(Image(GREY), [Classes.of([LABELS]).layer("truth", LABELS)], [Mark((20, 10, 30, 40), "b", 2, 0.5)]),
    ]
    grid = captioned_grid(images)
    found = over(images, grid)
    assert found is not None
    [layer], [mark] = found
    assert layer.labels.shape == grid.pixels.shape[:2]
    rest = layer.labels.copy()
    for image, (left, top, width, _) in zip((images[0], images[2]), (grid.boxes[0], grid.boxes[2]), strict=True):
        factor = width // image.pixels.shape[1] * (image.place[2] // image.base.shape[1])
        height, wide = (n * factor for n in image.base.shape)
        part = layer.labels[top : top + height, left : left + wide]
        assert (part[::factor, ::factor] == image.layers[0].labels).all()
        assert (grid.pixels[top : top + height, left : left + wide, 0] == GREY[0, 0]).all()
        rest[top : top + height, left : left + wide] = 255
    assert (rest == 255).all()
    left, top, *_ = grid.boxes[2]
    factor = images[2].place[2] // 80 * grid.boxes[2][2] // images[2].pixels.shape[1]
    assert mark.box == (left + 20 * factor, top + 10 * factor, 30 * factor, 40 * factor)
    assert (mark.label, mark.class_id, mark.score) == ("b", 2, 0.5)


def test_over_plain_images_lies_nothing() -> None:
    """None, and no empty data."""
    images = [Image(GREY), Image(GREY)]
    assert over(images, captioned_grid(images)) is None


def test_a_place_for_plain_pictures_gets_panels_and_legend() -> None:
    """One image alone has them, too, with and without a caption; tiles stay within 1,600 pixels."""
    layer = CLASSES.layer("prediction", LABELS)
    for caption in (None, "right 5%"):
        picture = nearest(annotated(Image(GREY, caption), [layer]), "val/masks", (Picture,))[""]
        assert isinstance(picture, Picture)
        assert places(picture.pixels, "road")
        assert places(picture.pixels, "Input | Prediction")
        assert bool(places(picture.pixels, "right 5%")) == (caption is not None)
        assert not places(picture.pixels, "sky")
    many = captioned_grid([annotated(Image(np.zeros((200, 300), np.uint8)), has_marks=True)] * 9)
    assert len({left for left, *_ in many.boxes}) == 2
    assert many.pixels.shape[1] == 2 * (602 + 8) + 8
