"""BoxGrid: which samples and boxes are kept, how they look, and what is said of those that are left out."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pytorch_lightning.loggers import WandbLogger
from support import boxes as support
from support.boxes import Detector, Scenes, loader
from support.modules import trainer
from support.pictures import places
from support.processes import run_processes

import lwcallbacks as lw
from lwcallbacks.capture import BoxesForm
from lwcallbacks.readers import read_folder, read_run

NAMES = ["background", "cat", "dog", "owl"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.chosen(str(tmp_path_factory.mktemp("alone")), 21, 21)


def same(found: Any, expected: Any) -> bool:
    return found[0] == expected[0] and all(
        torch.equal(a.float().nan_to_num(-1), b.float().nan_to_num(-1))
        for a, b in zip(found[1], expected[1], strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_same_samples_and_boxes_at_any_batch_size(batch_size: int, alone: Any, tmp_path: Path) -> None:
    """Images of unlike sizes, up to 6 boxes of which 3 are kept: the bits are the same."""
    assert same(support.chosen(str(tmp_path), 21, batch_size), alone)


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 7), (3, 1), (3, 64)])
def test_several_processes_show_what_one_shows(world_size: int, batch_size: int, alone: Any, tmp_path: Path) -> None:
    """21 samples on 2 processes: one is a repeat. The payload is on process 0 alone."""
    first, *others = run_processes(world_size, support.chosen, str(tmp_path), 21, batch_size)
    assert same(first, alone)
    for other in others:
        assert other == (alone[0], [])


def test_what_is_kept_is_what_a_plain_loop_keeps() -> None:
    """The first samples in their order; each image in the corner of its place, its size, and its best boxes."""
    grid = lw.BoxGrid(6, select="first", max_boxes=3, size=(24, 30))
    with pytest.warns(UserWarning, match="max_boxes=3 are kept"):
        trainer(callbacks=[grid]).validate(Detector(), loader(20, 7), verbose=False)
    found = grid.results["val"]
    assert found.ids.tolist() == list(range(6))
    for i, (image, size, preds, truths) in enumerate(zip(*found.payload, strict=True)):
        pixels, target, answer = Scenes()[i]
        assert size.tolist() == list(pixels.shape[1:])
        if size[0] <= 24 and size[1] <= 30:
            assert torch.equal(image[:, : size[0], : size[1]], pixels)
        best = sorted(zip(answer["boxes"].tolist(), answer["scores"].tolist(), strict=True), key=lambda b: -b[1])[:3]
        assert preds[1 : len(best) + 1, :4].tolist() == [box for box, _ in best]
        assert preds[len(best) + 1 :].isnan().all()
        assert truths[1 : len(target["boxes"]) + 1, :4].tolist() == target["boxes"].tolist()


@pytest.mark.parametrize("shuffle", [False, True])
def test_lists_and_padded_tensors_show_the_same(shuffle: bool) -> None:
    """Of images of one size; ids by position, and by content where the order is not known."""
    found = []
    for lists, batch_size in ((True, 3), (False, 8)):
        torch.manual_seed(batch_size)
        grid = lw.BoxGrid(5, max_boxes=4, size=(24, 20))
        data = loader(20, batch_size, alike=True, lists=lists, shuffle=shuffle)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning advises against shuffling
            trainer(callbacks=[grid]).validate(Detector(), data, verbose=False)
        chosen = grid.results["val"]
        found.append((chosen.ids.tolist(), list(chosen.payload)))
    assert same(*found)


class Given(Detector):
    """One image of 40 x 60 with boxes that the test gives, true and predicted."""

    def __init__(self, truths: Any, preds: Any) -> None:
        super().__init__()
        self.given = truths, preds

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        truths, preds = self.given
        return {"preds": [preds], "targets": [truths], "inputs": torch.full((1, 3, 40, 60), 0.25)}


def one(boxes: list[list[float]], labels: list[int], scores: list[float] | None = None) -> dict[str, torch.Tensor]:
    known = {} if scores is None else {"scores": torch.tensor(scores)}
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels), **known}


TRUTHS = one([[4, 4, 24, 20], [40, 10, 56, 36]], [1, 2])
PREDS = one([[5, 4, 24, 20], [40, 10, 56, 36], [4, 5, 24, 20], [0, 0, 9, 9]], [1, 1, 1, 3], [0.9, 0.8, 0.7, 0.125])


def shown(root: Path, module: Any, grid: lw.BoxGrid, **kwargs: Any) -> tuple[Path, dict[str, Any]]:
    """What W&B's files say was logged, and where the files are."""
    logger = WandbLogger(mode="offline", save_dir=root)
    trainer(callbacks=[grid], logger=logger, default_root_dir=root, **kwargs).validate(
        module, torch.utils.data.DataLoader(torch.zeros(1), 1), verbose=False
    )
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    [value] = [row["val/boxes"] for row in run.history if "val/boxes" in row]
    return run.files_dir, value


def test_wandb_gets_the_image_alone_and_native_boxes(tmp_path: Path) -> None:
    """Corners in pixels, class, caption and score; what is below `min_score` is not there, and counted."""
    files, value = shown(tmp_path, Given(TRUTHS, PREDS), lw.BoxGrid(1, NAMES))
    with PIL.Image.open(files / value["filenames"][0]) as image:
        assert np.array_equal(np.asarray(image), np.full((40, 60, 3), 64))
    assert value["captions"] == ["1 right, 1 missed, 2 invented, 1 below 0.25 not drawn"]
    [of_image] = [
        {name: json.loads((files / kept["path"]).read_text())["box_data"] for name, kept in boxes.items()}
        for boxes in value["all_boxes"]
    ]
    predicted = of_image["predictions"]
    assert [box["position"] for box in predicted] == [
        {"minX": 5, "minY": 4, "maxX": 24, "maxY": 20},
        {"minX": 40, "minY": 10, "maxX": 56, "maxY": 36},
        {"minX": 4, "minY": 5, "maxX": 24, "maxY": 20},
    ]
    assert [box["class_id"] for box in predicted] == [1, 1, 1]
    assert [box["box_caption"] for box in predicted] == ["cat 0.90", "cat 0.80", "cat 0.70"]
    assert predicted[0]["scores"] == {"score": pytest.approx(0.9)}
    assert [(box["class_id"], box["box_caption"]) for box in of_image["ground truth"]] == [(1, "cat"), (2, "dog")]
    assert all(box["domain"] == "pixel" for boxes in of_image.values() for box in boxes)


def test_the_folder_has_the_boxes_in_pixels_of_its_picture(tmp_path: Path) -> None:
    """An image of 40 x 60 is drawn five times as large, first alone and then with its boxes."""
    shown(tmp_path, Given(TRUTHS, PREDS), lw.BoxGrid(1, NAMES))
    [manifest] = tmp_path.rglob("manifest.js")
    folder = read_folder(manifest.parent)
    [item] = [item for item in folder.items if item.key == "val/boxes"]
    [data] = folder.data("val/boxes").values()
    with PIL.Image.open(item.path) as image:
        page = np.asarray(image)
    assert data["layers"] == []
    top = next(y for y in range(len(page)) if (page[y, 8:308] == 64).all())
    assert (page[top : top + 200, 8:308] == 64).all()
    truth, missed, right, wrong, _ = data["boxes"]
    assert truth == {"box": [8 + 20, top + 20, 100, 80], "label": "cat", "style": "truth", "match": True}
    assert missed["match"] is False
    assert missed["label"] == "dog"
    assert right["box"] == [8 + 25, top + 20, 95, 80]
    assert (right["style"], right["match"], right["score"]) == ("prediction", True, pytest.approx(0.9))
    assert wrong["match"] is False
    for word in ("found", "missed", "right", "invented", "Input | Boxes"):
        assert places(page[:top], word)
    with_boxes = page[top : top + 200, 310:610]
    assert (with_boxes[60, 25:27] == (86, 180, 233)).all()  # the left line of the box that is right
    assert (with_boxes[100, 200:202] == (230, 159, 0)).all()  # the left line of the one that is wrong


FORMS = {
    "xyxy": lambda b: b,
    "xywh": lambda b: torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1),
    "cxcywh": lambda b: torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1),
}


@pytest.mark.parametrize("box_format", FORMS)
@pytest.mark.parametrize("normalized", [False, True])
def test_boxes_of_each_format_are_shown_where_they_are(box_format: Any, normalized: bool) -> None:
    """Predictions in one format, the truth in another: the same pixels."""
    scale = torch.tensor([60.0, 40, 60, 40]) if normalized else torch.ones(4)
    preds = {**PREDS, "boxes": FORMS[box_format](PREDS["boxes"]) / scale}
    grid = lw.BoxGrid(1, box_format=box_format, normalized=normalized, target_format="xyxy", target_normalized=False)
    trainer(callbacks=[grid]).validate(
        Given(TRUTHS, preds), torch.utils.data.DataLoader(torch.zeros(1), 1), verbose=False
    )
    [image] = grid.entries("val/boxes", {"sample": grid.results["val"]})["val/boxes"]
    expected = [*TRUTHS["boxes"].tolist(), *PREDS["boxes"].tolist()[:3]]
    for mark, (x0, y0, x1, y1) in zip(image.marks, expected, strict=True):
        assert np.allclose(mark.box, (x0, y0, x1 - x0, y1 - y0), atol=1e-5)


def test_an_image_that_is_too_large_is_drawn_smaller_with_its_boxes() -> None:
    """80 x 120 in a place of 40 x 40: a third, and so are the boxes."""

    class Large(Given):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {**super().validation_step(batch, batch_idx), "inputs": [torch.zeros(3, 80, 120)]}

    grid = lw.BoxGrid(1, size=40)
    module = Large(one([[30, 15, 90, 60]], [1]), one([], [], []))
    trainer(callbacks=[grid]).validate(module, torch.utils.data.DataLoader(torch.zeros(1), 1), verbose=False)
    [image] = grid.entries("val/boxes", {"sample": grid.results["val"]})["val/boxes"]
    assert image.base.shape == (26, 40, 3)
    across, down = 40 / 120, 26 / 80  # whole pixels: not quite the same
    assert np.allclose(image.marks[0].box, (30 * across, 15 * down, 60 * across, 45 * down))


@pytest.mark.parametrize(
    ("truths", "preds", "kwargs", "told"),
    [
        (TRUTHS, PREDS, {"max_boxes": 2}, r"2 of 4 boxes in preds are not drawn, .*scores.*Write max_boxes=4"),
        (TRUTHS, PREDS, {"max_boxes": 1}, r"1 of 2 boxes in targets are not drawn, the last of each image"),
        (TRUTHS, one([[9, 9, 3, 3]], [1], [0.5]), {}, r"entries of preds have no area.*'xyxy'.*box_format="),
        (
            TRUTHS,
            one([[0.1, 0.1, 0.5, 0.5]], [1], [0.5]),
            {},
            r"all boxes in preds are within the first pixel.*normalized=True",
        ),
        (TRUTHS, PREDS, {"normalized": True}, r"most boxes in targets reach .*target_normalized=False"),
    ],
)
def test_what_is_left_out_or_odd_is_said(truths: Any, preds: Any, kwargs: Any, told: str) -> None:
    """Once, with what to write."""
    data = torch.utils.data.DataLoader(torch.zeros(1), 1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer(callbacks=[lw.BoxGrid(1, **kwargs)]).validate(Given(truths, preds), data, verbose=False)
    assert sum(bool(re.search(told, str(w.message))) for w in said) == 1


def test_predictions_without_truth_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    """While predicting: what the step returns, and a batch without targets."""
    grid = lw.BoxGrid(3, stages=("predict",), select="first", min_score=0)

    class Images(Scenes):
        def __getitem__(self, i: int) -> Any:
            image, _, preds = super().__getitem__(i)
            return image, 0, preds

    data = torch.utils.data.DataLoader(Images(), 4, collate_fn=support.as_lists)
    trainer(callbacks=[grid], default_root_dir=tmp_path).predict(Detector(), data, return_predictions=False)
    assert len(grid.results["predict"].payload) == 3
    images = grid.entries("predict/boxes", {"sample": grid.results["predict"]})["predict/boxes"]
    assert [image.caption for image in images] == ["0 predicted", "2 predicted", "4 predicted"]
    assert {mark.match for image in images for mark in image.marks} == {None}


def test_boxes_that_are_none_are_an_error_at_the_first_batch() -> None:
    """With what was found, and what is expected."""

    class Labels(Given):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"preds": [torch.zeros(3)], "targets": [TRUTHS], "inputs": torch.zeros(1, 3, 8, 8)}

    data = torch.utils.data.DataLoader(torch.zeros(1), 1)
    with pytest.raises(ValueError, match=re.escape("BoxGrid('val/boxes'): no preds found")):
        trainer(callbacks=[lw.BoxGrid(1)]).validate(Labels(TRUTHS, PREDS), data, verbose=False)
    with pytest.raises(ValueError, match=r"preds='preds': it is .*float32\[3\].*expected boxes: a list with"):
        trainer(callbacks=[lw.BoxGrid(1, preds="preds")]).validate(Labels(TRUTHS, PREDS), data, verbose=False)


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"box_format": "ltrb"}, "box_format='ltrb', expected 'xyxy', 'xywh' or 'cxcywh'"),
        ({"target_format": "ltrb"}, "target_format='ltrb', expected"),
        ({"max_boxes": 0}, "max_boxes=0, expected an int of at least 1"),
        ({"iou_threshold": 0}, "iou_threshold=0, expected a number above 0 and at most 1"),
        ({"size": (0, 3)}, r"size=(0, 3), expected an int of at least 1, or two, (height, width)"),
        ({"num_samples": 0}, "num_samples=0, expected"),
    ],
)
def test_wrong_arguments_are_errors_at_once(kwargs: Any, told: str) -> None:
    """They name the argument."""
    with pytest.raises(ValueError, match=re.escape(f"BoxGrid: {told}")):
        lw.BoxGrid(**kwargs)


def test_the_form_of_boxes_is_that_of_the_callback() -> None:
    """`results` is described by `BoxesForm`: row 0 counts all boxes, also those that are not kept."""
    grid = lw.BoxGrid(4, select="first", max_boxes=1)
    with pytest.warns(UserWarning, match="max_boxes=1 are kept"):
        trainer(callbacks=[grid]).validate(Detector(), loader(20, 3), verbose=False)
    expected = BoxesForm(1).read([Scenes()[i][2] for i in range(4)])
    assert torch.equal(grid.results["val"].payload[2].nan_to_num(-1), expected.nan_to_num(-1))
    assert expected[:, 0, 0].tolist() == [0, 2, 4, 3]
