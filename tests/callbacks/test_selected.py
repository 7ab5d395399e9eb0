"""What is shown of chosen samples: columns, captions, history, texts; and what is said where there is no choice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.modules import CLASSES, Classifier, images, loader, trainer
from support.recorded import data_on_page
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

import lwcallbacks as lw
from lwcallbacks.callbacks.examples import SIDE, thumbnails
from lwcallbacks.callbacks.history import MOST, History
from lwcallbacks.readers import read_folder


class Labelled(Classifier):
    """Predicts label 1 of all but the first `wrong` samples of label 1, by the scores that are asked for."""

    def __init__(self, wrong: int = 0, scores: bool = True) -> None:
        super().__init__()
        self.wrong, self.scores = wrong, scores

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        labels = batch[1].clone()
        if batch_idx == 0:
            labels[: self.wrong] = (labels[: self.wrong] + 1) % CLASSES
        preds = 4.0 * nn.functional.one_hot(labels, CLASSES) if self.scores else labels
        return {"preds": preds, "targets": batch[1]}


def table_of(root: Path, key: str = "val/predictions_table") -> dict[str, list[Any]]:
    """The columns of the last table on the page."""
    data = data_on_page(root, key)
    table = data[max(data)]
    return {name: [row[i] for row in table["rows"]] for i, name in enumerate(table["columns"])}


def test_what_is_known_of_each_sample(tmp_path: Path) -> None:
    """Its loss as torch has it, whether it is right, its three likeliest classes; and its image as it came."""
    module, grid = Classifier.seeded(), lw.PredictionGrid(8, ["a", "b", "c", "d", "e"], select="hardest")
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(module, loader(), verbose=False)
    x, y = images().tensors
    with torch.no_grad():
        scores = module(x)
    losses = nn.functional.cross_entropy(scores, y, reduction="none")
    order = losses.argsort(descending=True)[:8]
    table = table_of(tmp_path)
    assert list(table) == ["image", "id", "pred", "target", "confidence", "loss", "correct", "top-3"]
    assert table["id"] == order.tolist()
    assert table["loss"] == pytest.approx(losses[order].tolist(), rel=1e-5)
    assert table["correct"] == (scores.argmax(1) == y)[order].tolist()
    assert table["target"] == ["abcde"[i] for i in y[order].tolist()]
    for text, of_one in zip(table["top-3"], scores[order].softmax(1), strict=True):
        share, at = of_one.topk(3)
        assert text == ", ".join(f"{'abcde'[i]} {s:.3f}" for i, s in zip(at.tolist(), share.tolist(), strict=True))
    assert all(cell["box"][2:] == [8, 8] for cell in table["image"])


@pytest.mark.parametrize("wrong", [0, 3, 6])
def test_wrong_ones_alone_and_no_more_than_there_are(wrong: int, tmp_path: Path) -> None:
    """Fewer than asked: the captions say that these are all; none: a picture says it, and the table is empty."""
    grid = lw.PredictionGrid(6, select="wrong", logits=True)
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Labelled(wrong), loader(), verbose=False)
    table = table_of(tmp_path)
    assert sorted(table["id"]) == list(range(wrong))
    assert not any(table["correct"])
    shown = grid.entries("val/predictions", {"sample": grid.results["val"]})["val/predictions"]
    captions = [image.caption for image in shown]  # type: ignore[union-attr]
    if wrong == 0:
        assert captions == ["No sample was predicted wrong"]
    elif wrong < 6:
        assert [caption.splitlines()[2:] for caption in captions] == [[f"{i + 1} of all 3 wrong"] for i in range(3)]
    else:
        assert all(re.fullmatch(r"Pred:\d\nLabel:\d", caption) for caption in captions)


def test_what_has_no_label_is_not_wrong(tmp_path: Path) -> None:
    """A target below 0 marks it, as -100 does; it has no loss either."""

    class Partly(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            targets = batch[1].clone()
            targets[:3] = -100
            return {"preds": self(batch[0]), "targets": targets}

    wrong = lw.PredictionGrid(40, select="wrong", name="wrong")
    hardest = lw.PredictionGrid(40, select="hardest", name="hardest")
    t = trainer(callbacks=[wrong, hardest], default_root_dir=tmp_path)
    t.validate(Partly.seeded(), loader(batch_size=40), verbose=False)
    ids = wrong.results["val"].ids.tolist()
    assert ids
    assert not {0, 1, 2} & set(ids)
    assert hardest.results["val"].ids.tolist()[-3:] == [0, 1, 2]
    assert table_of(tmp_path, "val/hardest_table")["loss"][-3:] == [None] * 3


def test_what_is_ignored_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """As in the matrix of the same preset: no frame of a wrong one, no loss, no part in a choice by targets."""

    class Wrong(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": 9.0 * nn.functional.one_hot((batch[1] + 1) % CLASSES, CLASSES), "targets": batch[1]}

    ignored = {i for i, label in enumerate(images().tensors[1].tolist()) if label == 2}
    grids = [lw.PredictionGrid(40, select=s, ignore_index=2, name=s) for s in ("wrong", "hardest", "per_class")]
    [_, _, preset, *_] = lw.presets.classification(CLASSES, ignore_index=2, select="random", num_samples=40)
    t = trainer(callbacks=[*grids, preset], default_root_dir=tmp_path)
    t.validate(Wrong(), loader(), verbose=False)
    wrong, hardest, per_class = (grid.results["val"].ids.tolist() for grid in grids)
    assert set(wrong) == set(per_class) == set(range(40)) - ignored
    assert set(hardest[-len(ignored) :]) == ignored
    for key in ("val/hardest_table", "val/predictions_table"):
        table = table_of(tmp_path, key)
        right = dict(zip(table["id"], table["correct"], strict=True))
        losses = dict(zip(table["id"], table["loss"], strict=True))
        assert {i for i in right if right[i] is None} == {i for i in losses if losses[i] is None} == ignored


def test_labels_that_are_not_known_are_not_held_against_a_set(tmp_path: Path) -> None:
    """Of a set of labels, -1 marks one; a sample of which all are unknown is neither right nor wrong."""
    scores = torch.tensor([[0.9, 0.1, 0.9], [0.9, 0.1, 0.9], [0.9, 0.1, 0.9], [0.9, 0.9, 0.9]])
    targets = torch.tensor([[1, 0, -1], [1, 0, 0], [-1, -1, -1], [1, -1, 255]])

    class Given(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": batch[0], "targets": batch[1]}

    grid = lw.PredictionGrid(4, task="multilabel", ignore_index=255)
    data = DataLoader(TensorDataset(scores, targets), 2)
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Given(), data, verbose=False)
    assert table_of(tmp_path)["correct"] == [True, False, None, True]


def test_labels_alone_have_no_loss(tmp_path: Path) -> None:
    """The table is without what only scores tell; a choice by hardness says what it needs."""
    grid = lw.PredictionGrid(6, select="wrong")
    trainer(callbacks=[grid], default_root_dir=tmp_path).validate(Labelled(3, scores=False), loader(), verbose=False)
    assert list(table_of(tmp_path)) == ["image", "id", "pred", "target", "correct"]
    for select in ("hardest", "easiest", "least_confident"):
        told = rf"select='{select}' needs scores, and preds are torch\.int64 \(8,\): give the scores.*select='wrong'"
        t = trainer(callbacks=[lw.PredictionGrid(6, select=select)])
        with pytest.raises(ValueError, match=told):
            t.validate(Labelled(scores=False), loader(), verbose=False)


class Reads(Classifier):
    """A classifier of rows of numbers, or of tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.float())


@pytest.mark.parametrize("inputs", [torch.rand(40, 7), torch.randint(0, 99, (40, 7))], ids=["numbers", "tokens"])
def test_texts_and_tables_of_numbers(inputs: torch.Tensor, tmp_path: Path) -> None:
    """The table without images, the same samples; and examples of cells are a table of ids."""
    data = DataLoader(TensorDataset(inputs, images().tensors[1]), 8)
    grid, matrix = lw.PredictionGrid(5, select="hardest"), lw.ConfusionMatrix(CLASSES, examples_per_cell=2)
    trainer(callbacks=[grid, matrix], default_root_dir=tmp_path).validate(Reads(7), data, verbose=False)
    table = table_of(tmp_path)
    assert list(table) == ["id", "pred", "target", "confidence", "loss", "correct", "top-3"]
    assert table["loss"] == sorted(table["loss"], reverse=True)
    assert list(table_of(tmp_path, "val/confusion_matrix_examples")) == ["true", "predicted", "id", "loss"]
    folder = read_folder(next(tmp_path.rglob("manifest.js")).parent)
    assert "val/predictions" not in folder.steps()


class Mixed(Sampler[int]):
    """A sampler of which nobody knows the order."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


@pytest.mark.parametrize("embedded", [True, False])
def test_samples_without_inputs_are_told_apart(embedded: bool) -> None:
    """A shuffled batch of texts, of whose fields none is known as inputs: no two samples of a class are one."""
    x, y = torch.rand(40, 7), images().tensors[1]

    def collated(items: list[int]) -> dict[str, Any]:
        texts = {"text": [f"text {i}" for i in items], "label": y[items]}
        return {**texts, "mine": x[items]} if embedded else texts

    class OfTexts(Reads):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": self(x[[int(text.split()[1]) for text in batch["text"]]]), "targets": batch["label"]}

    grid = lw.PredictionGrid(30, select="random")
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    data = DataLoader(range(40), 8, sampler=Mixed(order), collate_fn=collated)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="no inputs were found, so samples are shown without images"):
        trainer(callbacks=[grid]).validate(OfTexts(7), data, verbose=False)
    assert len(set(grid.results["val"].ids.tolist())) == 30


def test_the_history_of_the_same_samples(tmp_path: Path) -> None:
    """One prediction more in each epoch; a run that was resumed goes on with those of the one before."""
    torch.manual_seed(0)
    module, grid = Classifier(), lw.PredictionGrid(5, select="first")
    fit = trainer(callbacks=[grid], max_epochs=2, default_root_dir=tmp_path / "a")
    seen: list[list[int]] = []

    def predicted() -> list[int]:
        with torch.no_grad():
            return module(images().tensors[0][:5]).argmax(1).tolist()

    fit.fit(module, loader(batch_size=8, shuffle=False), loader())
    seen.append(predicted())
    fit.save_checkpoint(tmp_path / "a.ckpt")
    kept = grid.state_dict()["history"]["val"]
    assert [len(kept[i]) for i in range(5)] == [2] * 5
    assert [kept[i][-1] for i in range(5)] == [[label] for label in seen[0]]
    again = lw.PredictionGrid(5, select="first")
    more = trainer(callbacks=[again], max_epochs=4, default_root_dir=tmp_path / "b")
    more.fit(module, loader(batch_size=8, shuffle=False), loader(), ckpt_path=tmp_path / "a.ckpt")
    history = again.state_dict()["history"]["val"]
    assert [history[i][:2] for i in range(5)] == [kept[i] for i in range(5)]
    assert [len(history[i]) for i in range(5)] == [4] * 5
    strips = table_of(tmp_path / "b")["history"]
    for i, text in enumerate(strips):
        runs = [run.partition(" x") for run in text.split(" → ")]
        assert [name for name, _, number in runs for _ in range(int(number or 1))] == [str(x[0]) for x in history[i]]


def test_a_history_has_an_end() -> None:
    """The last 50 epochs of the samples that are shown, and nothing of others."""
    history = History()
    for epoch in range(MOST + 5):
        history.add("val", [7, 9 + epoch], [[epoch], [1, None]])
    assert history.of("val")[7] == [[epoch] for epoch in range(5, MOST + 5)]
    assert len(history.of("val")) == 2
    other = History()
    other.load_state_dict(history.state_dict())
    assert other.of("val") == history.of("val")


@pytest.mark.parametrize("select", ["hardest", "easiest", "wrong", "least_confident"])
def test_samples_that_change_have_no_history(select: str) -> None:
    """And nothing of them is in a checkpoint."""
    grid = lw.PredictionGrid(5, select=select)
    trainer(callbacks=[grid]).validate(Classifier(), loader(), verbose=False)
    assert grid.state_dict() == {}


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (lambda outputs, batch: batch[0].mean(), "one number for the whole batch, expected a number for each sample"),
        (
            lambda outputs, batch: batch[0].mean(dim=(1, 2)),
            r"torch\.float32 \(8, 8\), expected a number for each sample",
        ),
    ],
)
def test_a_score_is_one_for_each_sample(score: Any, told: str) -> None:
    """At the first batch, with what to write."""
    with pytest.raises(ValueError, match=f"select gives {told}, as a loss with reduction='none'"):
        trainer(callbacks=[lw.PredictionGrid(4, select=score)]).validate(Classifier(), loader(), verbose=False)


@pytest.mark.parametrize("kind", [lw.PredictionGrid, lw.ImageMosaic])
def test_a_function_that_fails_is_called_by_its_argument(kind: Any) -> None:
    """As the user wrote it: select=."""
    with pytest.raises(ValueError, match=r"select=<lambda> \(test_selected\.py:\d+\) raised KeyError: 'brightness'"):
        trainer(callbacks=[kind(4, select=lambda outputs, batch: {}["brightness"])]).validate(
            Classifier(), loader(), verbose=False
        )
    with pytest.raises(ValueError, match=r"select='module_without\.name' is no key") as caught:
        trainer(callbacks=[kind(4, select="module_without.name")]).validate(Classifier(), loader(), verbose=False)
    assert "score=" not in str(caught.value)


def test_what_a_function_gave_is_in_the_table(tmp_path: Path) -> None:
    """Which tells why rows are in this order; of a word there is no such column."""
    grids = [lw.PredictionGrid(4, select=_brightness), lw.PredictionGrid(4, select="hardest", name="hardest")]
    trainer(callbacks=grids, default_root_dir=tmp_path).validate(Classifier(), loader(), verbose=False)
    brightness = images().tensors[0].mean(dim=(1, 2, 3)).sort(descending=True).values[:4]
    assert table_of(tmp_path)["score"] == pytest.approx(brightness.tolist())
    assert "score" not in table_of(tmp_path, "val/hardest_table")


def _brightness(outputs: Any, batch: Any) -> torch.Tensor:
    return batch[0].mean(dim=(1, 2, 3))


def test_binary_takes_one_score_for_each_sample() -> None:
    """Scores of two classes are refused, as by Curves, with the task that takes them."""

    class Two(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": self(batch[0])[:, :2], "targets": batch[1] % 2}

    for refusing in (lw.PredictionGrid(4, task="binary"), lw.Curves(task="binary")):
        with pytest.raises(ValueError, match=r"preds have 2 classes, so write task='multiclass'"):
            trainer(callbacks=[refusing]).validate(Two(), loader(), verbose=False)
    trainer(callbacks=[lw.PredictionGrid(4, task="multiclass")]).validate(Two(), loader(), verbose=False)


def test_a_matrix_of_sets_of_labels_is_another_callback() -> None:
    """The error names it, as one would write it."""
    with pytest.raises(ValueError, match=r"task='multilabel', .* write MultilabelConfusionMatrix\(5\)"):
        lw.ConfusionMatrix(5, task="multilabel")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"select": "worst"}, r"select='worst', expected one of 'first', .*, or a function of outputs and batch"),
        ({"select": "per_class", "task": "multilabel"}, ".*is of no one class, expected select='random'"),
        ({"seed": None}, "seed=None, expected an int; for the first samples of the data set write select='first'"),
    ],
)
def test_choices_that_are_none(arguments: dict[str, Any], told: str) -> None:
    """When the callback is made."""
    with pytest.raises(ValueError, match=f"PredictionGrid: {told}"):
        lw.PredictionGrid(4, **arguments)


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (33, 33), (64, 224), (1, 1000), (500, 375)])
def test_a_thumbnail_is_small_and_its_pixels_are_those_of_the_image(shape: tuple[int, int]) -> None:
    """Every n-th one, from the middle of its square; no pixel is worked out."""
    x = torch.rand(2, 3, *shape)
    small = thumbnails(x, torch.zeros(2))
    step = -(-max(shape) // SIDE)
    assert max(small.shape[-2:]) <= SIDE
    assert min(small.shape) >= 1
    top, left = (min(step // 2, (size - 1) // 2) for size in shape)
    assert small.equal(x[:, :, top::step, left::step])


@pytest.mark.parametrize("inputs", [None, torch.rand(2, 5), torch.rand(2, 7, 4, 4), torch.rand(2, 2, 2, 2, 2)])
def test_what_is_no_image_has_no_thumbnail(inputs: torch.Tensor | None) -> None:
    """Nothing of it is kept."""
    assert thumbnails(inputs, torch.zeros(2)).shape == (2, 0)


def test_examples_cost_the_counts_nothing() -> None:
    """Images of two sizes, of which no choice can be made: the counts are there, and one warning names the cause."""
    x, y = images(16).tensors
    data = DataLoader([(x[:8], y[:8]), (x[8:, :, :6], y[8:])], batch_size=None)

    class Odd(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": nn.functional.one_hot((batch[1] + 1) % CLASSES, CLASSES).float(), "targets": batch[1]}

    matrix = lw.ConfusionMatrix(CLASSES, examples_per_cell=3, logits=False)
    with pytest.warns(UserWarning, match="samples have shapes"):
        trainer(callbacks=[matrix]).validate(Odd(), data, verbose=False)
    assert int(matrix.results["val"].sum()) == 16


def test_an_example_without_a_loss_has_none(tmp_path: Path) -> None:
    """As of a logit that is infinite."""

    class Infinite(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            scores = torch.zeros(len(batch[1]), CLASSES)
            scores[torch.arange(len(scores)), (batch[1] + 1) % CLASSES] = torch.inf
            return {"preds": scores, "targets": batch[1]}

    matrix = lw.ConfusionMatrix(CLASSES, examples_per_cell=1)
    trainer(callbacks=[matrix], default_root_dir=tmp_path).validate(Infinite(), loader(), verbose=False)
    table = table_of(tmp_path, "val/confusion_matrix_examples")
    assert "loss" not in table
    assert len(table["id"]) == CLASSES


def test_examples_take_one_label_a_sample() -> None:
    """At the first batch, with what to write."""

    class Maps(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": torch.rand(8, CLASSES, 4, 4), "targets": torch.zeros(8, 4, 4, dtype=torch.int64)}

    matrix = lw.ConfusionMatrix(CLASSES, examples_per_cell=3)
    with pytest.raises(ValueError, match="takes one label for each sample: write examples_per_cell=0"):
        trainer(callbacks=[matrix]).validate(Maps(), loader(), verbose=False)


def test_examples_lie_behind_the_cells_of_the_matrix(tmp_path: Path) -> None:
    """Two at most of each pair, the hardest first; on the page as images of the matrix, and in a table."""
    module, matrix = Classifier.seeded(), lw.ConfusionMatrix(CLASSES, examples_per_cell=2)
    trainer(callbacks=[matrix], default_root_dir=tmp_path).validate(module, loader(), verbose=False)
    folder = read_folder(next(tmp_path.rglob("manifest.js")).parent)
    [chart] = folder.data("val/confusion_matrix_chart").values()
    counts = matrix.results["val"]
    expected = {(t, p): min(2, int(counts[t, p])) for t in range(CLASSES) for p in range(CLASSES) if t != p}
    assert {cell: len(shown) for cell, shown in chart["examples"].items()} == {c: n for c, n in expected.items() if n}
    for shown in chart["examples"].values():
        losses = [float(re.fullmatch(r"id \d+, loss (.*)", cell["caption"])[1]) for cell in shown]  # type: ignore[index]
        assert losses == sorted(losses, reverse=True)
        assert all((folder.directory / cell["image"]).exists() for cell in shown)
    table = table_of(tmp_path, "val/confusion_matrix_examples")
    assert list(table) == ["true", "predicted", "image", "id", "loss"]
    filled = [int(counts[int(t), int(p)]) for t, p in zip(table["true"], table["predicted"], strict=True)]
    assert filled == sorted(filled, reverse=True)
