"""`Curves` in a Trainer: areas of all samples, to be monitored, the same however the epoch is cut."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.metrics import average_precision_score, roc_auc_score
from support import scenarios
from support.documented import DOCS, code
from support.modules import CLASSES, Classifier, Multilabel, images, label_sets, trainer
from support.processes import run_processes
from support.versions import PRECISIONS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.readers import read_folder
from lwcallbacks.reductions import ScoreCounts
from lwcallbacks.testing.same import difference

NAMES = ["ant", "bee", "cat", "dog", "eel"]


def scores_of(module: Any, data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = next(iter(DataLoader(data, len(data))))
    with torch.no_grad():
        return module(x).double(), y


def test_areas_are_those_of_all_samples() -> None:
    """Of each class by its name; the mean can be monitored; scikit-learn's are within the bounds."""
    curves, module, data = lw.Curves(CLASSES, NAMES), Classifier.seeded(), images(120)
    t = trainer(callbacks=[curves])
    t.validate(module, DataLoader(data, 7), verbose=False)
    found = curves.results["val"]
    scores, targets = scores_of(module, data)
    exact = [roc_auc_score(targets == c, scores.softmax(1)[:, c]) for c in range(CLASSES)]
    assert list(found["classes"]) == NAMES
    for of_class, area in zip(found["classes"].values(), exact, strict=True):
        assert abs(of_class["auroc"] - area) <= of_class["auroc_bound"] + 1e-12
    assert abs(found["auroc"] - np.mean(exact)) <= found["auroc_bound"] + 1e-12
    ap = np.mean([average_precision_score(targets == c, scores.softmax(1)[:, c]) for c in range(CLASSES)])
    assert abs(found["ap"] - ap) <= found["ap_bound"] + 1e-12
    logged = {key: float(value) for key, value in t.callback_metrics.items()}
    assert logged == {f"val/curves_{area}": pytest.approx(found[area]) for area in ("auroc", "ap", "ece")}
    fpr, tpr, threshold = found["classes"]["ant"]["roc"]
    assert len(fpr) == len(tpr) == len(threshold)
    assert (fpr[0], tpr[-1]) == (0, 1)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("batch_size", "shuffle"), [(1, False), (7, True), (64, False)])
def test_the_results_do_not_depend_on_the_split(
    world_size: int, batch_size: int, shuffle: bool, tmp_path: Path
) -> None:
    """To the bit, curves and bounds included: by batch, by order and by process, though the sampler repeats samples."""
    alone = scenarios.curves(100, 100, False, str(tmp_path))
    assert 0.5 < alone["auroc"] < 1
    split = (100, batch_size, shuffle, str(tmp_path))
    for there in [scenarios.curves(*split)] if world_size == 1 else run_processes(world_size, scenarios.curves, *split):
        assert difference(there, alone) is None


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-true"])
def test_scores_of_half_precision(precision: str, tmp_path: Path) -> None:
    """The areas are exactly those of scikit-learn, for each number has a bin of its own."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(2, (500,), generator=generator)
    scores = (torch.randn(500, generator=generator) + targets).to(dtype)
    curves = lw.Curves(task="binary")
    t = trainer(callbacks=[curves], precision=PRECISIONS.get(precision, precision), default_root_dir=tmp_path)
    t.validate(scenarios.Ready(), DataLoader(TensorDataset(scores, targets), 32), verbose=False)
    assert curves.results["val"]["auroc"] == pytest.approx(roc_auc_score(targets, scores.float()), abs=1e-12)


def test_binary_and_multilabel() -> None:
    """One curve for the label 1, or one for each label; chosen ones alone where `classes` says so."""

    class Binary(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self(batch[0])

    x, y = images(60).tensors
    halves = TensorDataset(x, (y > 1).long())
    curves = lw.Curves(task="binary", class_names=["no", "yes"], logits=True)
    module = Binary.seeded()
    trainer(callbacks=[curves]).validate(module, DataLoader(halves, 8), verbose=False)
    scores, targets = scores_of(module, halves)
    assert list(curves.results["val"]["classes"]) == ["yes"]
    exact = roc_auc_score(targets, scores[:, 0])
    assert abs(curves.results["val"]["auroc"] - exact) <= curves.results["val"]["auroc_bound"] + 1e-12

    labels = lw.Curves(CLASSES, NAMES, task="multilabel", classes=[3, 0])
    several = Multilabel.seeded()
    trainer(callbacks=[labels]).validate(several, DataLoader(label_sets(60), 8), verbose=False)
    scores, targets = scores_of(several, label_sets(60))
    assert list(labels.results["val"]["classes"]) == ["dog", "ant"]
    exact = roc_auc_score(targets[:, 3], scores[:, 3])
    of_dog = labels.results["val"]["classes"]["dog"]
    assert abs(of_dog["auroc"] - exact) <= of_dog["auroc_bound"] + 1e-12


def test_charts_and_report_are_in_the_folder(tmp_path: Path) -> None:
    """Lines with their area in words, the best threshold as a mark, and the table of all classes."""
    curves = lw.Curves(CLASSES, NAMES, threshold_by="youden")
    t = trainer(callbacks=[curves], default_root_dir=tmp_path)
    t.fit(Classifier.seeded(), DataLoader(images(80), 8), DataLoader(images(80), 8))
    folder = read_folder(next(tmp_path.rglob("media")))
    assert set(folder.steps()) == {f"val/curves_{name}" for name in ("roc", "pr", "calibration", "report")}
    [roc] = folder.data("val/curves_roc").values()
    assert (roc["x"], roc["y"], roc["diagonal"]) == ("False positive rate", "True positive rate", True)
    assert [line["name"] for line in roc["lines"]] == NAMES
    of_ant = curves.results["val"]["classes"]["ant"]
    assert roc["lines"][0]["text"].startswith(f"AUROC {of_ant['auroc']:.4f}")
    [[_, _, text]] = roc["lines"][0]["marks"]
    assert text == f"best Youden's J {of_ant['score_at_threshold']:.4g} at {of_ant['threshold']:.4g}"
    assert (roc["lines"][0]["x"][0], roc["lines"][0]["y"][-1], roc["lines"][0]["at"][0]) == (0, 1, "inf")
    [calibration] = folder.data("val/curves_calibration").values()
    assert [line["name"] for line in calibration["lines"]] == ["largest score of each sample", *NAMES]
    [table] = folder.data("val/curves_report").values()
    assert [row[0] for row in table["rows"]] == [*NAMES, "mean", "largest score of each sample"]
    of_ece = [row[table["columns"].index("ece")] for row in table["rows"]]
    assert of_ece[CLASSES] == pytest.approx(np.mean(of_ece[:CLASSES]))
    assert of_ece[-1] == curves.results["val"]["ece"]
    assert table["rows"][0][table["columns"].index("auroc")] == of_ant["auroc"]


def test_numbers_can_be_monitored(tmp_path: Path) -> None:
    """By callbacks that save or stop; a class that never comes has no area and takes no part in the mean."""
    x, y = images(60).tensors
    data = TensorDataset(x, y.clamp(max=3))
    curves = lw.Curves(CLASSES, NAMES)
    watchers = [EarlyStopping("val/curves_auroc", mode="max"), ModelCheckpoint(tmp_path, monitor="val/curves_ap")]
    t = trainer(callbacks=[curves, *watchers], enable_checkpointing=True, default_root_dir=tmp_path, max_epochs=2)
    t.fit(Classifier.seeded(), DataLoader(data, 8), DataLoader(data, 8))
    assert math.isnan(curves.results["val"]["classes"]["eel"]["auroc"])
    assert 0 < curves.results["val"]["auroc"] < 1
    assert watchers[1].best_model_score is not None
    charts = read_folder(next(tmp_path.rglob("media"))).data("val/curves_roc")
    assert charts[max(charts)]["notes"][-1] == "not defined for eel: one kind of target only"


def test_where_nothing_is_defined_the_key_is_there() -> None:
    """One kind of target only: NaN for who monitors it, said once; the average precision has a value."""
    x, _ = images(16).tensors
    data = TensorDataset(x, torch.ones(16, dtype=torch.int64))
    curves = lw.Curves(task="binary", logits=True, preds=lambda outputs, batch, returned: returned[:, 0])
    t = trainer(callbacks=[curves])
    with pytest.warns(UserWarning, match="'val/curves_auroc' has no value in this epoch"):
        t.validate(Classifier.seeded(), DataLoader(data, 8), verbose=False)
    assert math.isnan(t.callback_metrics["val/curves_auroc"])
    assert t.callback_metrics["val/curves_ap"] == 1


def test_a_key_of_the_module_stays_its_own() -> None:
    """Ours is renamed, and the message says what to write, which helps."""

    class Logs(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self.log("val/curves_auroc", 0.25)
            return super().validation_step(batch, batch_idx)

    t = trainer(callbacks=[lw.Curves(CLASSES)])
    with pytest.warns(UserWarning, match=r"Curves: 'val/curves_auroc' is logged by somebody else.*name='mine'"):
        t.validate(Logs.seeded(), DataLoader(images(40), 8), verbose=False)
    assert t.callback_metrics["val/curves_auroc"] == 0.25
    assert "lwcallbacks/val/curves_auroc" in t.callback_metrics
    t = trainer(callbacks=[lw.Curves(CLASSES, name="mine")])
    t.validate(Logs.seeded(), DataLoader(images(40), 8), verbose=False)
    assert "val/mine_auroc" in t.callback_metrics


def test_many_classes_are_in_the_report_and_the_worst_in_the_charts(tmp_path: Path) -> None:
    """150 classes in coarse bins: 100 lines, the smallest areas first, and a row for each class."""

    class Many(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 150))

    x, _ = images(300).tensors
    data = TensorDataset(x, torch.arange(300) % 150)
    curves = lw.Curves(150, mantissa_bits=4)
    trainer(callbacks=[curves], default_root_dir=tmp_path).validate(Many.seeded(), DataLoader(data, 50), verbose=False)
    folder = read_folder(next(tmp_path.rglob("media")))
    [roc] = folder.data("val/curves_roc").values()
    areas = [curves.results["val"]["classes"][line["name"]]["auroc"] for line in roc["lines"]]
    assert areas == sorted(of["auroc"] for of in curves.results["val"]["classes"].values())[:100]
    [calibration] = folder.data("val/curves_calibration").values()
    _, *errors = [float(line["text"].split()[1].rstrip(",")) for line in calibration["lines"]]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 100
    assert roc["notes"][1:] == ["the worst classes come first", "50 classes more are in the report"]
    [table] = folder.data("val/curves_report").values()
    assert len(table["rows"]) == 152


@pytest.mark.parametrize(("logits", "bits"), [(None, 7), (True, 8)])
def test_the_page_says_how_many_bits_1000_classes_may_have(logits: bool | None, bits: int) -> None:
    """250 MiB, and one bit more is refused."""
    page = (DOCS / "curves.md").read_text()
    size = sum(t.nbytes for t in ScoreCounts(1000, logits=logits, mantissa_bits=bits).empty().values()) / 2**20
    assert round(size) == 250
    said = "`logits=None`" if logits is None else "`logits=` given"
    assert f"{said} and `mantissa_bits={bits}`" in page.replace("given\nand", "given and")
    with pytest.raises(ValueError, match="expected at most 256"):
        lw.Curves(1000, logits=logits, mantissa_bits=bits + 1)


def test_what_the_page_shows_runs() -> None:
    """As it stands, after a validation."""
    here: dict[str, Any] = {}
    exec(code("curves.md", "curves"), here)

    class Three(Classifier):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": self(batch[0])[:, :3], "targets": batch[1] % 3}

    trainer(callbacks=[here["curves"]]).validate(Three.seeded(), DataLoader(images(40), 8), verbose=False)
    exec(code("curves.md", "results"), here)
    assert 0 < here["area"] < 1
    assert 0 <= here["off_by"] < 1e-3
    assert here["fpr"][-1] == here["recall"][-1] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_classes": 1000}, "Curves: counts of 1000 classes take 2002 MiB"),
        ({"num_classes": 0}, "Curves: num_classes=0, expected an int of at least 2"),
        ({"threshold_by": "best"}, "Curves: threshold_by='best', expected 'f1', 'youden'"),
        ({"n_bins": 1}, "Curves: n_bins=1, expected an int from 2 to 1000"),
        ({"task": "regression"}, "Curves: task='regression', expected"),
        ({"class_names": ["a"]}, "Curves: class_names has 1 names, expected 2"),
        ({"mantissa_bits": 0}, "Curves: mantissa_bits=0, expected an int from 1 to 12"),
    ],
)
def test_a_wrong_argument_is_an_error_at_once(arguments: dict[str, Any], words: str) -> None:
    """It says who, what was found and what was expected."""
    with pytest.raises(ValueError, match="Curves: ") as error:
        lw.Curves(**arguments)
    assert words in str(error.value)
