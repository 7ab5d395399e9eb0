"""Which samples are shown, and how: the first of the data set, a picture for each, sets of labels."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger
from support.modules import (
    CLASSES,
    Autoencoder,
    Classifier,
    Multilabel,
    Segmenter,
    images,
    label_maps,
    label_sets,
    loader,
    trainer,
)  # fmt: skip
from support.recorded import data_on_page
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lwcallbacks as lw
from lwcallbacks.callbacks.batch import Batch, Place
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import Source, Step
from lwcallbacks.readers import read_run
from lwcallbacks.reductions import RandomSample
from lwcallbacks.reductions.hashing import content_ids


class Detects(Classifier):
    """Images with one box each."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        boxes = {"boxes": torch.tensor([[1.0, 1.0, 5.0, 5.0]]), "labels": torch.tensor([1])}
        return {"preds": [boxes] * len(batch[0]), "targets": [boxes] * len(batch[0])}


GRIDS = [
    (lw.ImageMosaic, Classifier, images),
    (lw.PredictionGrid, Classifier, images),
    (lw.MaskGrid, Segmenter, label_maps),
]


class Stream(IterableDataset):
    """The same samples, of which nobody knows the positions."""

    def __iter__(self) -> Any:
        return iter([images()[i] for i in range(40)])


def cells(table: Any, *columns: str) -> list[list[Any]]:
    """Those columns of each row."""
    return [[row[table["columns"].index(name)] for name in columns] for row in table["rows"]]


def pictures(root: Path, module: Any, data: DataLoader, callback: Any) -> list[tuple[str, np.ndarray]]:
    """Caption and pixels of each picture that W&B is given, in order."""
    logger = WandbLogger(mode="offline", save_dir=root)
    trainer(callbacks=[callback], logger=logger).validate(module, data, verbose=False)
    run_dir = Path(logger.experiment.dir).parent
    logger.experiment.finish()
    run = read_run(run_dir)
    [value] = [row[f"val/{callback.name}"] for row in run.history if f"val/{callback.name}" in row]
    shown = [np.asarray(PIL.Image.open(run.files_dir / name)) for name in value["filenames"]]
    return list(zip(value["captions"], shown, strict=True))


@pytest.mark.parametrize(("make", "module", "data"), GRIDS, ids=lambda part: getattr(part, "__name__", ""))
@pytest.mark.parametrize("batch_size", [3, 40])
def test_the_first_samples_of_the_data_set(make: Any, module: Any, data: Any, batch_size: int) -> None:
    """Seven of them, in their order, from as many batches as they fill."""
    callback = make(7, select="first")
    trainer(callbacks=[callback]).validate(module(), DataLoader(data(), batch_size), verbose=False)
    chosen = callback.results["val"]
    assert chosen.ids.tolist() == list(range(7))
    assert torch.equal(chosen.payload[0], images().tensors[0][:7])


@pytest.mark.parametrize(
    "data", [DataLoader(images(), 8, shuffle=True), DataLoader(Stream(), 8)], ids=["shuffled", "iterable"]
)
def test_where_nobody_knows_the_first_samples_it_is_an_error(data: DataLoader) -> None:
    """At the first batch, with what to do; the same loader is fine for a random choice."""
    told = r"ImageMosaic\('train/mosaic'\): the first samples of the data set are.*train loader.*shuffle=False.*random"
    fit = trainer(callbacks=[lw.ImageMosaic(4, select="first", stages=("train",))])
    with pytest.raises(ValueError, match=told):
        fit.fit(Classifier(), data)
    assert fit.global_step <= 1
    trainer(callbacks=[lw.ImageMosaic(4, seed=0, stages=("train",))]).fit(Classifier(), data)


def loss_of(outputs: Any, batch: Any) -> torch.Tensor:
    """A score of each sample by its values alone."""
    return batch[0].flatten(1).sin().sum(dim=1)


@pytest.mark.parametrize(("make", "module", "data"), [*GRIDS, (lw.BoxGrid, Detects, images)])
@pytest.mark.parametrize(("batch_size", "shuffle"), [(1, False), (7, True), (64, True)])
def test_those_of_the_largest_score(make: Any, module: Any, data: Any, batch_size: int, shuffle: bool) -> None:
    """As a plain loop finds them, the largest first, whatever the batches and their order."""
    callback = make(5, select=loss_of)
    order = torch.randperm(40).tolist() if shuffle else range(40)  # by a sampler that Lightning has no word about
    trainer(callbacks=[callback]).validate(module(), DataLoader(data(), batch_size, sampler=order), verbose=False)
    chosen, inputs = callback.results["val"], data().tensors[0]
    best = loss_of(None, [inputs]).argsort(descending=True)[:5]
    assert torch.equal(chosen.payload[0], inputs[best])
    assert torch.equal(chosen.scores, loss_of(None, [inputs])[best])


@pytest.mark.parametrize("make", [lw.ImageMosaic, lw.MaskGrid, lw.BoxGrid])
def test_a_choice_that_needs_labels_is_the_prediction_grids(make: Any) -> None:
    """At once, with the words that there are."""
    with pytest.raises(ValueError, match=r"select='hardest', expected one of 'random', 'first', or a function of"):
        make(5, select="hardest")
    with pytest.raises(ValueError, match=r"seed=None, expected an int; .* select='first'"):
        make(5, seed=None)
    with pytest.raises(ValueError, match=r"select='first' with sample=, which makes images"):
        lw.ImageMosaic(5, select="first", sample=lambda module: None)


def test_a_picture_for_each_sample(tmp_path: Path) -> None:
    """With nrow=None: output over input, 16 pixels high, each with the caption; a classifier's inputs alone."""
    mosaic = lw.ImageMosaic(5, select="first", nrow=None)
    shown = pictures(tmp_path, Autoencoder(), loader(), mosaic)
    outputs = mosaic.results["val"].payload[1]
    assert [caption for caption, _ in shown] == ["Top: Output, Bottom: Input"] * 5
    for (_, pixels), output, x in zip(shown, outputs, images().tensors[0], strict=False):
        both = torch.cat([output[0], x[0]]).double()
        assert np.array_equal(pixels, (both * 255).round().to(torch.uint8))
    inputs = pictures(tmp_path, Classifier(), loader(), lw.ImageMosaic(5, select="first", nrow=None, name="inputs"))
    assert [(caption, pixels.shape) for caption, pixels in inputs] == [("Input", (8, 8))] * 5


@pytest.mark.parametrize(("frame", "side"), [(True, 12), (False, 8)])
def test_a_frame_can_be_left_out(frame: bool, side: int, tmp_path: Path) -> None:
    """Two pixels on each side, or the image as it is."""
    shown = pictures(tmp_path, Classifier(), loader(), lw.PredictionGrid(3, select="first", frame=frame))
    assert [pixels.shape[:2] for _, pixels in shown] == [(side, side)] * 3


class Fixed(Multilabel):
    """Predicts given logits: label 0 always, label 1 where it is there, label 2 never."""

    def __init__(self, logits: bool) -> None:
        super().__init__()
        self.logits = logits

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        share = torch.tensor([0.9, 0.0, 0.2]).repeat(len(batch[0]), 1)
        share[:, 1] = torch.where(batch[1][:, 1] > 0, 0.75, 0.25)
        return {"preds": share.logit() if self.logits else share, "targets": batch[1][:, :3]}


@pytest.mark.parametrize(("logits", "given"), [(False, False), (True, True), (False, None), (True, None)])
def test_sets_of_labels(logits: bool, given: bool | None, tmp_path: Path) -> None:
    """Caption, frame and table of a sample with several labels, one or none; by the user's word, or by all scores."""
    grid = lw.PredictionGrid(40, ["cat", "dog"], select="first", task="multilabel", logits=given)
    unnamed = r"PredictionGrid\('predictions'\): class_names has 2 names, but there is a label 2; its index is shown"
    with pytest.warns(UserWarning, match=unnamed):
        trainer(callbacks=[grid], default_root_dir=tmp_path).validate(
            Fixed(logits), DataLoader(label_sets(), 8), verbose=False
        )
    [table] = data_on_page(tmp_path, "val/predictions_table").values()
    rows = cells(table, "pred", "target", "confidence")
    assert len(rows) == 40
    seen = set()
    for (pred, target, confidence), truth in zip(rows, label_sets().tensors[1][:, :3].tolist(), strict=True):
        names = [name for name, there in zip(("cat", "dog", "2"), truth, strict=True) if there]
        assert pred == ("cat,dog" if truth[1] else "cat")
        assert target == (",".join(names) or "none")
        assert confidence == pytest.approx(0.75)
        seen.add(target)
    assert {"none", "cat,dog", "2"} <= seen


def test_a_label_that_does_not_count_needs_no_name(tmp_path: Path) -> None:
    """The other ones do, and a warning says which."""

    class Labels(pl.LightningModule):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"preds": torch.eye(4)[batch[1].clamp(max=3)]}

    y = torch.tensor([0, 1, 2, 3, 255, 255])
    data = DataLoader(TensorDataset(torch.rand(6, 1, 8, 8), y), 3)
    for names, told in ((["a", "b"], 1), (["a", "b", "c", "d"], 0)):
        grid = lw.PredictionGrid(6, names, ignore_index=255)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Labels(), data, verbose=False)
        found = [str(w.message) for w in said if "class_names has" in str(w.message)]
        assert len(found) == told
        assert all("there is a label 3; its index is shown. Give 4 names" in text for text in found)


def test_a_set_is_right_as_a_whole(tmp_path: Path) -> None:
    """A grey frame where all labels are right, else a red one; a threshold of 0.95 leaves none."""
    data = DataLoader(label_sets(), 8)
    right, wrong = [200, 200, 200], [213, 94, 0]
    shown = pictures(tmp_path, Fixed(False), data, lw.PredictionGrid(40, select="first", task="multilabel"))
    frames = [pixels[0, 0].tolist() for _, pixels in shown]
    truths = label_sets().tensors[1][:, :3].tolist()
    assert frames == [right if truth in ([1, 0, 0], [1, 1, 0]) else wrong for truth in truths]
    assert right in frames
    strict = lw.PredictionGrid(40, select="first", task="multilabel", threshold=0.95, name="strict")
    captions = [caption for caption, _ in pictures(tmp_path, Fixed(False), data, strict)]
    assert all(caption.startswith("Pred:none\nLabel:") for caption in captions)


def test_counts_of_each_label() -> None:
    """What a loop counts, and the rows of the table."""
    module = Multilabel()
    matrix = lw.MultilabelConfusionMatrix(CLASSES, logits=True)
    trainer(callbacks=[matrix]).validate(module, DataLoader(label_sets(), 9), verbose=False)
    x, y = label_sets().tensors
    with torch.no_grad():
        preds = (module(x).sigmoid() > 0.5).long()
    expected = torch.zeros(CLASSES, 2, 2, dtype=torch.int64)
    for i in range(40):
        for label in range(CLASSES):
            expected[label, y[i, label], preds[i, label]] += 1
    assert torch.equal(matrix.results["val"], expected)


def test_logits_that_are_said_to_be_probabilities_are_told() -> None:
    """Once, with how many there are and what to write."""
    matrix = lw.MultilabelConfusionMatrix(CLASSES, logits=False)
    with pytest.warns(UserWarning, match=r"scores are no probabilities in \[0, 1\] \(pass logits=True"):
        trainer(callbacks=[matrix]).validate(Multilabel(), DataLoader(label_sets(), 8), verbose=False)


class OneScore(Classifier):
    """One score an image, [N, 1]: 3 for an even label, else -1; the first is NaN."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        scores = torch.where(batch[1] % 2 == 0, 3.0, -1.0)
        scores[0] = torch.nan
        return {"preds": scores[:, None], "targets": (batch[1] % 2 == 0).float()[:, None]}


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_two_classes_by_one_score(task: Any, tmp_path: Path) -> None:
    """Predicted by the sign of a logit, with its confidence; a score that is NaN is no label."""
    grid = lw.PredictionGrid(40, ["odd", "even"], select="first", task=task)
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(OneScore(), loader(batch_size=40), verbose=False)
    [table] = data_on_page(tmp_path, "val/predictions_table").values()
    rows = cells(table, "pred", "target", "confidence")
    names = ["even" if label % 2 == 0 else "odd" for label in images().tensors[1].tolist()]
    assert rows[0] == ["?", names[0], None]
    share = {"even": 1 / (1 + np.exp(-3)), "odd": 1 / (1 + np.exp(-1))}
    for (pred, target, confidence), name in zip(rows[1:], names[1:], strict=True):
        assert pred == target == name
        assert confidence == pytest.approx(share[name])


def test_what_is_not_shown_is_not_kept() -> None:
    """Of scores that are no images of the inputs' size a mosaic keeps nothing, as it has nothing to show."""
    mosaic = lw.ImageMosaic(4)
    trainer(callbacks=[mosaic]).validate(Segmenter(), DataLoader(label_maps(), 8), verbose=False)
    assert [tuple(kept.shape) for kept in mosaic.results["val"].payload] == [(4, 1, 8, 8)]


@pytest.mark.parametrize(
    ("task", "preds", "targets", "advice"),
    [
        ("multiclass", (8, 5), (8, 5), "for one-hot"),
        ("multiclass", (8, 5, 8, 8), (8, 8, 8), "for a label a pixel write MaskGrid()"),
        ("multilabel", (8, 5), (8,), "for one label a sample write task='multiclass'"),
    ],
)
def test_labels_of_another_form_say_what_to_write(task: Any, preds: Any, targets: Any, advice: str) -> None:
    """By shape, at the first batch."""

    class Odd(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": torch.rand(preds), "targets": torch.zeros(targets)}

    with pytest.raises(ValueError, match=re.escape(advice)):
        trainer(callbacks=[lw.PredictionGrid(2, task=task)]).validate(Odd(), loader(8), verbose=False)


def test_samples_are_named_by_the_fields_of_each_need() -> None:
    """Two callbacks that look at unlike parts of a batch do not share its names."""
    parts = {"left": torch.rand(4, 2), "right": torch.rand(4, 2)}
    batch = Batch(Place([None]), 0, Step(None, parts), 1)
    for name, part in parts.items():
        need = Need(RandomSample(2), ("ids", "inputs"), Source(inputs=name))
        assert batch.content(need, 4).equal(content_ids(part)), name
        assert batch.content(need, 4) is batch.content(need, 4), "worked out once"
