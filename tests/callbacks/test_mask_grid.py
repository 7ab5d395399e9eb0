"""MaskGrid: what is kept, how it looks, and what it says of the wrong shapes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pytorch_lightning.loggers import WandbLogger
from support.modules import CLASSES, Segmenter, images, label_maps, trainer
from support.pictures import places
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.readers import read_folder, read_run, wandb_file

NAMES = ["sky", "road", "car", "tree", "person"]


def pixels_in(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def logged(root: Path, module: Any, data: TensorDataset, grid: lw.MaskGrid) -> tuple[Path, dict[str, Any]]:
    """What W&B's files say was logged, and where the files are."""
    logger = WandbLogger(mode="offline", save_dir=root)
    trainer(callbacks=[grid], logger=logger, default_root_dir=root).validate(module, DataLoader(data, 8), verbose=False)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    [value] = [row["val/masks"] for row in run.history if "val/masks" in row]
    return run.files_dir, value


def in_folder(root: Path, key: str = "val/masks") -> tuple[np.ndarray, dict[str, Any], Path]:
    """The folder's picture, what it says of it, and the folder."""
    [manifest] = root.rglob("manifest.js")
    folder = read_folder(manifest.parent)
    [item] = [item for item in folder.items if item.key == key]
    [data] = folder.data(key).values()
    return pixels_in(item.path), data, folder.directory


class Labels(Segmenter):
    """Predicts label maps rather than scores: what is true, one class further."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"preds": (batch[1] + 1) % CLASSES, "targets": batch[1]}


class Ignores(Segmenter):
    """Scores alone: a loss would trip over the label 255."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"logits": self(batch[0]), "targets": batch[1]}


def test_labels_are_kept_and_not_scores() -> None:
    """Of [N, 5, 8, 8] scores, the class of each pixel."""
    module, grid = Segmenter(), lw.MaskGrid(6, select="first")
    trainer(callbacks=[grid]).validate(module, DataLoader(label_maps(), 8), verbose=False)
    images, preds, targets = grid.results["val"].payload
    x, y = label_maps().tensors
    with torch.no_grad():
        expected = module(x[:6]).argmax(1)
    assert images.shape == (6, 1, 8, 8)
    assert torch.equal(preds.long(), expected)
    assert torch.equal(targets.long(), y[:6])


def test_wandb_gets_the_image_alone_and_native_masks_with_names(tmp_path: Path) -> None:
    """Each mask's file holds the index of the class of each pixel. The third mask is that of the errors."""
    x, y = label_maps().tensors
    files, value = logged(tmp_path, Labels(), label_maps(), lw.MaskGrid(3, NAMES, select="first"))
    grey = (x[:3, 0].double() * 255).round().to(torch.uint8).numpy()
    names = {str(i): name for i, name in enumerate(NAMES)}
    assert len(value["filenames"]) == len(value["all_masks"]) == 3
    for i, (file, masks) in enumerate(zip(value["filenames"], value["all_masks"], strict=True)):
        assert np.array_equal(pixels_in(files / file), grey[i])
        truth, guess = y[i].numpy(), ((y[i] + 1) % CLASSES).numpy()
        assert set(masks) == {"ground truth", "prediction", "errors"}
        assert np.array_equal(pixels_in(files / masks["ground truth"]["path"]), truth)
        assert np.array_equal(pixels_in(files / masks["prediction"]["path"]), guess)
        expected = np.where(truth == 0, 3, np.where(guess == 0, 2, 4))  # each label is one too large: none is right
        assert np.array_equal(pixels_in(files / masks["errors"]["path"]), expected)
    singletons = class_labels_in(files)
    assert singletons["val/masks_wandb_delimeter_prediction"] == names
    assert singletons["val/masks_wandb_delimeter_errors"]["2"] == "missed"


def class_labels_in(files: Path) -> dict[str, dict[str, str]]:
    """The names of classes that W&B keeps for the masks of a run."""
    records = wandb_file._parse(next(files.parent.glob("*.wandb")))
    updates = [u for r in records if r.HasField("config") for u in r.config.update]
    updates += [u for r in records if r.HasField("run") for u in r.run.config.update]
    return {
        key: found["value"]
        for update in updates
        for key, found in _under(json.loads(update.value_json), "mask/class_labels").items()
    }


def _under(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {**value.get(name, {}), **{k: v for inner in value.values() for k, v in _under(inner, name).items()}}


def test_elsewhere_four_panels_stand_beside_each_other(tmp_path: Path) -> None:
    """Of 8 pixels, with gaps of 2, enlarged by 11. The background has no colour, and every other class its own."""
    x, y = label_maps().tensors
    grid = lw.MaskGrid(3, NAMES, select="first", alpha=1.0)
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)
    page, _, _ = in_folder(tmp_path)
    grey = (x[0, 0].double() * 255).round().to(torch.uint8).numpy()[..., None].repeat(3, 2)
    top = next(i for i in range(len(page)) if (page[i : i + 88 : 11, 8 : 8 + 88 : 11] == grey).all())
    pixels = page[top : top + 88 : 11, 8 : 8 + 38 * 11 : 11]
    assert (pixels[:, [8, 9, 18, 19, 28, 29]] == 128).all()
    truth, guess, errors = pixels[:, 10:18], pixels[:, 20:28], pixels[:, 30:]
    assert np.array_equal(truth[y[0] == 0], grey[y[0] == 0])
    assert np.array_equal(guess[y[0] == CLASSES - 1], grey[y[0] == CLASSES - 1])
    colours = {label: np.unique(truth[y[0] == label], axis=0) for label in range(1, CLASSES)}
    assert [len(colour) for colour in colours.values()] == [1] * (CLASSES - 1)
    assert len({tuple(colour[0]) for colour in colours.values()}) == CLASSES - 1
    assert np.array_equal(np.unique(guess[y[0] == 1], axis=0), colours[2])
    kinds = {(0, "invented"): (213, 94, 0), (4, "missed"): (240, 228, 66), (1, "another class"): (204, 121, 167)}
    for (label, name), colour in kinds.items():
        assert (errors[y[0] == label] == colour).all()
        [(left, above)] = [(x, y) for x, y in places(page, name) if y < top]
        assert (page[above + 3, left - 8] == colour).all()
    for name in NAMES[1:]:
        assert [y for _, y in places(page, name) if y < top]
    assert not places(page, "sky")


def test_the_folder_has_the_label_of_each_pixel_of_the_picture(tmp_path: Path) -> None:
    """A map for each layer, as large as the picture; there, where the input stands, and none elsewhere."""
    _, y = label_maps().tensors
    grid = lw.MaskGrid(3, NAMES, select="first")
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)
    page, data, directory = in_folder(tmp_path)
    assert data["boxes"] == []
    assert [layer["name"] for layer in data["layers"]] == ["ground truth", "prediction", "errors"]
    assert data["layers"][0]["classes"] == {str(i): name for i, name in enumerate(NAMES) if i}
    assert data["layers"][2]["colours"] == {"1": "#0072b2", "2": "#f0e442", "3": "#d55e00", "4": "#cc79a7"}
    labels = pixels_in(directory / data["layers"][0]["image"]).copy()
    assert labels.shape == page.shape[:2]
    top = int(np.flatnonzero((labels != 255).any(axis=1))[0])
    for i in range(3):  # three in a row: four panels of 88 and gaps of 22, then 8
        left = 8 + i * (38 * 11 + 8)
        assert np.array_equal(labels[top : top + 88 : 11, left : left + 88 : 11], y[i].numpy())
        labels[top : top + 88, left : left + 88] = 255
    assert (labels == 255).all()


def test_ignored_pixels_have_no_colour_and_are_no_error(tmp_path: Path) -> None:
    """Where the target is 255: neither in the masks, nor in what is right and wrong."""
    x, y = label_maps().tensors
    y = y.clone()
    y[:, :4] = 255
    grid = lw.MaskGrid(2, select="first", background=None, ignore_index=255)
    files, value = logged(tmp_path, Ignores(), TensorDataset(x, y), grid)
    assert len(value["all_masks"]) == 2
    for masks in value["all_masks"]:
        for mask in masks.values():
            labels = pixels_in(files / mask["path"])
            assert (labels[:4] == 255).all()
            assert not (labels[4:] == 255).any()
    page, _, _ = in_folder(tmp_path)
    assert not places(page, "255")


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, "right 100%"), (1, "missed 17%, invented 22%, another class 61%"), (None, "missed 100%")],
)
def test_the_caption_tells_the_share_of_each_error(tmp_path: Path, step: int | None, expected: str) -> None:
    """All right; each label one too large; nothing but background."""

    class Shifted(Segmenter):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            preds = batch[1] * 0 if step is None else (batch[1] + step) % CLASSES
            return {"preds": preds, "targets": batch[1]}

    _, value = logged(tmp_path, Shifted(), label_maps(), lw.MaskGrid(1, select="first"))
    assert value["captions"] == [expected]


def test_without_targets_while_predicting(tmp_path: Path) -> None:
    """Images alone: input and prediction."""
    x, _ = label_maps().tensors
    grid = lw.MaskGrid(2, stages=("predict",))
    trainer(callbacks=[grid], default_root_dir=tmp_path).predict(
        Segmenter(), DataLoader(x, 8), return_predictions=False
    )
    assert len(grid.results["predict"].payload) == 2
    page, data, _ = in_folder(tmp_path, "predict/masks")
    # The folder enlarges a tile of 8 x 18 pixels to 88 x 198, and puts two into a row.
    assert page.shape[1] == 2 * 198 + 3 * 8
    assert [layer["name"] for layer in data["layers"]] == ["prediction"]


def test_masks_of_another_size_are_an_error_at_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that halves its input: shapes that were found and that were expected."""
    monkeypatch.setattr(Segmenter, "forward", lambda self, x: self.net(x)[..., ::2, ::2])
    monkeypatch.setattr(Segmenter, "validation_step", lambda self, batch, i: self(batch[0]).sum())
    told = "MaskGrid('val/masks'): found inputs (8, 1, 8, 8), preds (8, 5, 4, 4), targets (8, 8, 8), expected inputs"
    with pytest.raises(ValueError, match=re.escape(told)):
        trainer(callbacks=[lw.MaskGrid(2)]).validate(Segmenter(), DataLoader(label_maps(), 8), verbose=False)


class OneScore(Segmenter):
    """Predicts given scores: one a pixel."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"preds": self.scores[batch[1].long()[:, 0, 0, 0]], "targets": batch[1]}


def numbered(n: int) -> TensorDataset:
    """Images whose masks [1, 8, 8] hold their place in the data set."""
    return TensorDataset(images(n).tensors[0], torch.arange(n).reshape(n, 1, 1, 1).expand(n, 1, 8, 8).contiguous())


@pytest.mark.parametrize("channel", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_score_a_pixel_is_read_by_all_of_them(batch_size: int, channel: bool) -> None:
    """Of four images one alone has scores that must be logits: all are read so, also those of batches before it."""
    scores = torch.full((4, 8, 8), 0.25)
    scores[1] = -0.25
    scores[3, 0] = -7.0
    grid = lw.MaskGrid(4, select="first")
    module = OneScore(scores[:, None] if channel else scores)
    trainer(callbacks=[grid]).validate(module, DataLoader(numbered(4), batch_size), verbose=False)
    _, preds, targets = grid.results["val"].payload
    assert torch.equal(preds, (scores > 0).long())
    assert targets[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_pixel_without_a_class_has_none() -> None:
    """NaN; and what is no probability where the user says that scores are."""
    scores = torch.full((2, 8, 8), 0.75)
    scores[0, 0], scores[1, 1] = torch.nan, 1.25
    grid = lw.MaskGrid(2, select="first", logits=False)
    trainer(callbacks=[grid]).validate(OneScore(scores), DataLoader(numbered(2), 2), verbose=False)
    expected = torch.ones(2, 8, 8, dtype=torch.int64)
    expected[0, 0] = expected[1, 1] = -1
    assert torch.equal(grid.results["val"].payload[1], expected)


def test_the_user_is_asked_where_one_score_may_be_either() -> None:
    """Between the two, as upsampled probabilities are."""
    scores = torch.linspace(-0.25, 1.25, 128).reshape(2, 8, 8)
    grid = lw.MaskGrid(2, select="first")
    with pytest.warns(UserWarning, match=r"scores are in \[-0.25, 1.25\], .*; pass logits=True, or clamp"):
        trainer(callbacks=[grid]).validate(OneScore(scores), DataLoader(numbered(2), 2), verbose=False)
    preds = grid.results["val"].payload[1]
    assert torch.equal(preds >= 0, (scores >= 0) & (scores <= 1))


def test_a_class_without_a_name_is_said_once() -> None:
    """Names for three of five classes; the others have their index."""
    grid = lw.MaskGrid(6, NAMES[:3], select="first")
    with pytest.warns(UserWarning, match=r"MaskGrid\('masks'\): class_names has 3 names, but .* label 4; .* Give 5"):
        trainer(callbacks=[grid]).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)
    trainer(callbacks=[grid]).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)


def test_a_label_beyond_all_classes_may_be_one_that_does_not_count() -> None:
    """Of 255 nobody wants 256 names."""
    x, y = label_maps().tensors
    data = TensorDataset(x, y.clone().index_fill_(1, torch.tensor([0]), 255))
    with pytest.warns(UserWarning, match=r"label 255; .*For a target that does not count write ignore_index=255. Give"):
        trainer(callbacks=[lw.MaskGrid(6, NAMES)]).validate(Ignores(), DataLoader(data, 8), verbose=False)


@pytest.mark.parametrize(
    ("task", "preds", "targets", "advice"),
    [
        (
            "multiclass",
            (8, 5, 8, 8),
            (8, 5, 8, 8),
            "one-hot masks write targets=lambda outputs, batch: outputs['targets'].argmax(1)",
        ),
        ("binary", (8, 5, 8, 8), (8, 8, 8), "for several scores a pixel write task='multiclass'"),
    ],
)
def test_masks_of_another_form_say_what_to_write(task: Any, preds: Any, targets: Any, advice: str) -> None:
    """By shape, at the first batch."""

    class Odd(Segmenter):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": torch.rand(preds), "targets": torch.zeros(targets)}

    with pytest.raises(ValueError, match=re.escape(advice)):
        trainer(callbacks=[lw.MaskGrid(2, task=task)]).validate(Odd(), DataLoader(images(8), 8), verbose=False)
