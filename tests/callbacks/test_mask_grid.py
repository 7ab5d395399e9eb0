"""MaskGrid: what is kept, how it looks, and what it says of the wrong shapes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pytorch_lightning.loggers import WandbLogger
from support.modules import CLASSES, Segmenter, images, label_maps, trainer
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.readers import read_run

NAMES = ["sky", "road", "car", "tree", "person"]


def shown(root: Path, module: Any, data: TensorDataset, grid: lw.MaskGrid) -> list[tuple[str, np.ndarray]]:
    logger = WandbLogger(mode="offline", save_dir=root)
    trainer(callbacks=[grid], logger=logger).validate(module, DataLoader(data, 8), verbose=False)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    [value] = [row["val/masks"] for row in run.history if "val/masks" in row]
    return [
        (caption, np.asarray(PIL.Image.open(run.files_dir / name)))
        for caption, name in zip(value["captions"], value["filenames"], strict=True)
    ]


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
    module, grid = Segmenter(), lw.MaskGrid(6, seed=None)
    trainer(callbacks=[grid]).validate(module, DataLoader(label_maps(), 8), verbose=False)
    images, preds, targets = grid.results["val"].payload
    x, y = label_maps().tensors
    with torch.no_grad():
        expected = module(x[:6]).argmax(1)
    assert images.shape == (6, 1, 8, 8)
    assert torch.equal(preds.long(), expected)
    assert torch.equal(targets.long(), y[:6])


def test_input_truth_and_prediction_stand_side_by_side(tmp_path: Path) -> None:
    """Three panels of 8 pixels with gaps of 2. The background has no colour, and every other class its own."""
    x, y = label_maps().tensors
    [(caption, pixels), *_] = shown(tmp_path, Labels(), label_maps(), lw.MaskGrid(3, NAMES, seed=None, alpha=1.0))
    assert pixels.shape == (8, 28, 3)
    grey = (x[0, 0].double() * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(pixels[:, :8], np.repeat(grey[..., None], 3, 2))
    assert (pixels[:, [8, 9, 18, 19]] == 128).all()
    truth, guess = pixels[:, 10:18], pixels[:, 20:]
    assert np.array_equal(truth[y[0] == 0], np.repeat(grey[y[0] == 0][:, None], 3, 1))
    assert np.array_equal(guess[y[0] == CLASSES - 1], np.repeat(grey[y[0] == CLASSES - 1][:, None], 3, 1))
    colours = {label: np.unique(truth[y[0] == label], axis=0) for label in range(1, CLASSES)}
    assert [len(colour) for colour in colours.values()] == [1] * (CLASSES - 1)
    assert len({tuple(colour[0]) for colour in colours.values()}) == CLASSES - 1
    assert np.array_equal(np.unique(guess[y[0] == 1], axis=0), colours[2])
    legend = "road: sky blue, car: bluish green, tree: yellow, person: blue"
    assert caption == f"Input | Truth | Prediction; {legend}"


def test_ignored_pixels_have_no_colour_in_either_mask(tmp_path: Path) -> None:
    """255 is no class: not in the legend, and the prediction is not shown where it lies."""
    x, y = label_maps().tensors
    y = y.clone()
    y[:, :4] = 255
    grid = lw.MaskGrid(2, seed=None, background=None, ignore_index=255)
    pictures = shown(tmp_path, Ignores(), TensorDataset(x, y), grid)
    assert len(pictures) == 2
    for caption, pixels in pictures:
        assert "255" not in caption
        assert (pixels[:4] == pixels[:4, :, :1]).all()
        assert not (pixels[4:] == pixels[4:, :, :1]).all()


def test_without_targets_while_predicting(tmp_path: Path) -> None:
    """Images alone: input and prediction."""
    x, _ = label_maps().tensors
    grid = lw.MaskGrid(2, stages=("predict",))
    trainer(callbacks=[grid], default_root_dir=tmp_path).predict(
        Segmenter(), DataLoader(x, 8), return_predictions=False
    )
    assert len(grid.results["predict"].payload) == 2
    [picture] = tmp_path.rglob("media/predict/masks/*.png")
    # The folder enlarges a tile of 8 x 18 pixels to 84 x 189, and puts two into a row.
    with PIL.Image.open(picture) as image:
        assert image.size[0] == 2 * 198 + 3 * 8


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
    grid = lw.MaskGrid(4, seed=None)
    module = OneScore(scores[:, None] if channel else scores)
    trainer(callbacks=[grid]).validate(module, DataLoader(numbered(4), batch_size), verbose=False)
    _, preds, targets = grid.results["val"].payload
    assert torch.equal(preds, (scores > 0).long())
    assert targets[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_pixel_without_a_class_has_none() -> None:
    """NaN; and what is no probability where the user says that scores are."""
    scores = torch.full((2, 8, 8), 0.75)
    scores[0, 0], scores[1, 1] = torch.nan, 1.25
    grid = lw.MaskGrid(2, seed=None, logits=False)
    trainer(callbacks=[grid]).validate(OneScore(scores), DataLoader(numbered(2), 2), verbose=False)
    expected = torch.ones(2, 8, 8, dtype=torch.int64)
    expected[0, 0] = expected[1, 1] = -1
    assert torch.equal(grid.results["val"].payload[1], expected)


def test_the_user_is_asked_where_one_score_may_be_either() -> None:
    """Between the two, as upsampled probabilities are."""
    scores = torch.linspace(-0.25, 1.25, 128).reshape(2, 8, 8)
    grid = lw.MaskGrid(2, seed=None)
    with pytest.warns(UserWarning, match=r"scores are in \[-0.25, 1.25\], .*; pass logits=True, or clamp"):
        trainer(callbacks=[grid]).validate(OneScore(scores), DataLoader(numbered(2), 2), verbose=False)
    preds = grid.results["val"].payload[1]
    assert torch.equal(preds >= 0, (scores >= 0) & (scores <= 1))


def test_a_class_without_a_name_is_said_once() -> None:
    """Names for three of five classes; the others have their index."""
    grid = lw.MaskGrid(6, NAMES[:3], seed=None)
    with pytest.warns(UserWarning, match=r"MaskGrid\('masks'\): class_names has 3 names, but .* label 4; .* Give 5"):
        trainer(callbacks=[grid]).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)
    trainer(callbacks=[grid]).validate(Labels(), DataLoader(label_maps(), 8), verbose=False)


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
