"""What the confusion matrices log: numbers to monitor, tables, and what changed since the last epoch."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from support import scenarios
from support.modules import CLASSES, Classifier, Multilabel, Segmenter, label_maps, label_sets, loader, trainer
from support.processes import run_processes
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.media import Matrix, confused_pairs, confusion_report
from lwcallbacks.rates import overall
from lwcallbacks.readers import find_folders, read_folder

COST = [[abs(i - j) for j in range(CLASSES)] for i in range(CLASSES)]


def tables(root: Path, key: str) -> list[tuple[list[str], list[list[Any]]]]:
    """The columns and rows of a table at each of its steps."""
    [folder] = [read_folder(found) for found in find_folders(root)]
    return [(table["columns"], table["rows"]) for table in folder.data(key).values()]


@pytest.mark.parametrize("stage", ["train", "val"])
def test_the_numbers_are_those_of_the_counts_and_can_be_monitored(stage: str, tmp_path: Path) -> None:
    """Under the documented keys, of every epoch, also where tables come at every second one only."""
    matrix = lw.ConfusionMatrix(CLASSES, cost_matrix=COST, stages=(stage,), every_n_epochs=2)
    best = ModelCheckpoint(tmp_path, monitor=f"{stage}/confusion_matrix_macro_f1", mode="max", save_top_k=3)
    stopping = EarlyStopping(f"{stage}/confusion_matrix_total_cost", patience=9)
    t = trainer(callbacks=[matrix, best, stopping], enable_checkpointing=True, max_epochs=3, default_root_dir=tmp_path)
    t.fit(Classifier.seeded(), loader(), loader())
    expected = overall(matrix.results[stage], COST)
    found = {key: float(value) for key, value in t.callback_metrics.items() if key.startswith(f"{stage}/confusion")}
    assert found == {f"{stage}/confusion_matrix_{key}": pytest.approx(n, rel=1e-6) for key, n in expected.items()}
    assert len(best.best_k_models) == 3
    assert len(tables(tmp_path, f"{stage}/confusion_matrix_report")) == 1


def test_a_key_that_the_module_logs_stays_the_modules() -> None:
    """Ours goes to another, and the message has what to write."""

    class Logs(Classifier):
        def on_validation_epoch_end(self) -> None:
            self.log("val/confusion_matrix_accuracy", 7.0)

    t = trainer(callbacks=[matrix := lw.ConfusionMatrix(CLASSES)])
    with pytest.warns(UserWarning, match=r"ConfusionMatrix: 'val/confusion_matrix_accuracy' .* name='mine'\)"):
        t.fit(Logs(), loader(), loader())
    assert t.callback_metrics["val/confusion_matrix_accuracy"] == 7
    kappa = overall(matrix.results["val"])["cohen_kappa"]
    assert float(t.callback_metrics["val/confusion_matrix_cohen_kappa"]) == pytest.approx(kappa, rel=1e-6)


def test_where_nothing_could_be_read_a_monitored_key_is_there() -> None:
    """As NaN, with one warning for all keys; and nothing is logged while predicting."""
    t = trainer(callbacks=[lw.ConfusionMatrix(CLASSES, preds=lambda outputs, batch: 1 / 0)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(Classifier(), loader(), loader())
    told = [str(w.message) for w in caught if "'val/confusion_matrix_accuracy' and 5 more numbers" in str(w.message)]
    assert len(told) == 1
    assert torch.isnan(t.callback_metrics["val/confusion_matrix_accuracy"])
    predicting = lw.ConfusionMatrix(CLASSES, stages=("predict",), targets=1)
    trainer(callbacks=[predicting]).predict(Predicts(), loader(), return_predictions=False)
    assert int(predicting.results["predict"].sum()) == 40


def test_a_number_that_is_not_defined_is_not_logged() -> None:
    """Cohen's kappa of one class that is all there is: the last epoch's value stays, and without one NaN is said."""

    class Turns(Classifier):
        single: tuple[int, ...]

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return {"preds": batch[1] * (self.current_epoch not in self.single)}

    for single, kappa in (((1,), True), ((0, 1), False)):
        Turns.single = single
        matrix = lw.ConfusionMatrix(CLASSES, targets=lambda outputs, batch: outputs["preds"], name="m")
        t = trainer(callbacks=[matrix], max_epochs=2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            t.fit(Turns(), loader(), loader())
        told = [str(w.message) for w in caught if "'val/m_cohen_kappa' has no value" in str(w.message)]
        assert len(told) == (not kappa)
        assert bool(t.callback_metrics["val/m_cohen_kappa"] == 1) == kappa
        assert t.callback_metrics["val/m_accuracy"] == 1


class Predicts(Classifier):
    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


class Remembers(lw.ConfusionMatrix):
    """Keeps the counts of each validation."""

    def result(self, values: Any) -> Any:
        self.__dict__.setdefault("seen", []).append(values["counts"].numpy())
        return super().result(values)


def test_the_second_table_says_what_changed(tmp_path: Path) -> None:
    """Against the table before, not the epoch before; the first has no such column, and another fit begins again."""
    matrix = Remembers(CLASSES, every_n_epochs=2)
    t = trainer(callbacks=[matrix], max_epochs=4, default_root_dir=tmp_path, num_sanity_val_steps=2)
    t.fit(Classifier.seeded(), loader(), loader())
    seen, names = matrix.__dict__["seen"], [str(i) for i in range(CLASSES)]
    assert len(seen) == 4
    for key, make in {"report": confusion_report, "pairs": confused_pairs}.items():
        first, second = tables(tmp_path, f"val/confusion_matrix_{key}")
        for found, expected in (
            (first, make(Matrix(seen[1], names))), (second, make(Matrix(seen[3], names), before=seen[1])),
        ):  # fmt: skip
            assert found == (list(expected.columns), [list(row) for row in expected.rows])
    assert (seen[1] != seen[3]).any()
    again = trainer(callbacks=[matrix], max_epochs=2, default_root_dir=tmp_path / "again")
    again.fit(Classifier.seeded(), loader(), loader())
    [(columns, _)] = tables(tmp_path / "again", "val/confusion_matrix_report")
    assert "change" not in columns


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    [result] = run_processes(1, scenarios.counts_and_changes, str(tmp_path_factory.mktemp("whole")), 2)
    return result


@pytest.mark.parametrize("world_size", [1, 2])
def test_what_is_compared_with_survives_a_resume(world_size: int, whole: Any, tmp_path: Path) -> None:
    """Saved after one epoch and resumed on any number of processes: the second epoch's tables to the bit."""
    run_processes(1, scenarios.counts_and_changes, str(tmp_path / "first"), 1)
    saved = str(tmp_path / "first" / "saved.ckpt")
    [state] = [s for k, s in torch.load(saved, weights_only=True)["callbacks"].items() if k.startswith("ConfusionM")]
    assert set(state) == {"last"}
    if world_size == 1:
        [found] = run_processes(1, scenarios.counts_and_changes, str(tmp_path / "second"), 2, saved)
        assert torch.equal(found["counts"], whole["counts"])
        last = {key: table for key, table in whole["tables"].items() if "change" in table[0]}
        assert len(last) == 2
        assert found["tables"] == last
        assert found["numbers"] == whole["numbers"]
        return
    results = run_processes(world_size, scenarios.counts_and_changes, str(tmp_path / "second"), 2, saved)
    assert all("change" in columns for columns, _ in results[0]["tables"].values())
    assert results[0]["numbers"] == results[1]["numbers"]
    assert torch.equal(results[0]["counts"], results[1]["counts"])


def test_a_checkpoint_of_other_classes_is_not_compared_with() -> None:
    """Its counts are left out; those of as many classes are kept, as they were."""
    small, large = lw.ConfusionMatrix(3, name="x"), lw.ConfusionMatrix(4, name="x")
    counts = torch.arange(9).reshape(3, 3)
    small._last = {"val/x": counts}
    again = lw.ConfusionMatrix(3, name="x")
    again.load_state_dict(small.state_dict())
    assert torch.equal(again._last["val/x"], counts)
    large.load_state_dict(small.state_dict())
    assert large._last == {}


@pytest.mark.parametrize("top_k", [1, 2])
def test_every_pixel_counts_but_the_ignored(top_k: int) -> None:
    """As a plain loop over them counts."""
    matrix = lw.ConfusionMatrix(CLASSES, ignore_index=1, top_k=top_k)
    module, data = Segmenter.seeded(), label_maps()
    trainer(callbacks=[matrix]).validate(module, DataLoader(data, 7), verbose=False)
    x, y = data.tensors
    scores = module(x).detach()
    best = scores.topk(top_k, dim=1).indices
    predicted = torch.where((best == y[:, None]).any(1), y, scores.argmax(1))
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for truth, found in zip(y.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        expected[truth, found] += truth != 1
    assert torch.equal(matrix.results["val"], expected)


def test_binary_and_multilabel_have_numbers_too(tmp_path: Path) -> None:
    """Of one score for each target, and of all decisions about labels."""
    labels = lw.MultilabelConfusionMatrix(CLASSES, logits=True, cost_matrix=[[0, 1], [10, 0]])
    t = trainer(callbacks=[labels], max_epochs=2, default_root_dir=tmp_path)
    t.fit(Multilabel.seeded(), DataLoader(label_sets(), 8), DataLoader(label_sets(), 8))
    counts = labels.results["val"]
    missed, extra = int(counts[:, 1, 0].sum()), int(counts[:, 0, 1].sum())
    assert t.callback_metrics["val/confusion_matrix_total_cost"] == 10 * missed + extra
    assert "change" in tables(tmp_path, "val/confusion_matrix_report")[1][0]

    binary = lw.ConfusionMatrix(2, task="binary", logits=True, preds=lambda o, b, r: r[:, 0], targets=halves)
    t = trainer(callbacks=[binary])
    t.validate(Classifier.seeded(), loader(), verbose=False)
    kappa = overall(binary.results["val"])["cohen_kappa"]
    assert float(t.callback_metrics["val/confusion_matrix_cohen_kappa"]) == pytest.approx(kappa, rel=1e-6)


def halves(outputs: Any, batch: Any) -> torch.Tensor:
    return batch[1] % 2


def test_1000_classes_are_published_with_every_count(tmp_path: Path) -> None:
    """The page has all cells; the picture those confused most."""

    def numbers(outputs: Any, batch: Any) -> torch.Tensor:
        return (batch[0].sum((1, 2, 3)) * 97).long() % 1000

    matrix = lw.ConfusionMatrix(1000, preds=lambda outputs, batch: numbers(outputs, batch) * 7 % 1000, targets=numbers)
    trainer(callbacks=[matrix], default_root_dir=tmp_path).validate(Classifier(), loader(400, 50), verbose=False)
    [folder] = [read_folder(found) for found in find_folders(tmp_path)]
    [kept] = folder.data("val/confusion_matrix_chart").values()
    assert np.array_equal(kept["counts"], matrix.results["val"].numpy())
    assert int(matrix.results["val"].sum()) == 400


@pytest.mark.parametrize(
    ("num_classes", "given", "message"),
    [
        (3, {"top_k": 3}, "top_k=3, expected an int of 1 to 2: fewer than the 3 classes"),
        (2, {"top_k": 2, "task": "binary"}, "top_k=2, expected 1"),
        (2, {"cost_matrix": [[0, 1]]}, "cost_matrix has rows of lengths [2], expected 2 rows of 2 numbers"),
        (2, {"cost_matrix": [[0, 1], [1]]}, "cost_matrix has rows of lengths [2, 1], expected 2 rows"),
        (2, {"cost_matrix": 3}, "cost_matrix=3, expected 2 rows of 2 numbers, by true and then predicted class: write"),
        (2, {"cost_matrix": [0, 1]}, "cost_matrix=[0, 1], expected 2 rows"),
        (2, {"cost_matrix": [[0, "1"], [1, 0]]}, "cost_matrix has '1' in it, expected 2 rows"),
        (2, {"cost_matrix": [[0, float("nan")], [1, 0]]}, "cost_matrix has nan in it"),
        (3, {"cost_matrix": [[0, 1]] * 2}, "write cost_matrix=[[0, 1, ...], [1, 0, ...], ...]"),
    ],
)
def test_a_wrong_argument_is_an_error_that_says_what_to_write(
    num_classes: int, given: dict[str, Any], message: str
) -> None:
    """At construction."""
    with pytest.raises(ValueError, match=re.escape(message)):
        lw.ConfusionMatrix(num_classes, **given)


def test_costs_come_as_lists_arrays_and_tensors() -> None:
    """All are the same argument afterwards."""
    cost = [[0.0, 1.5], [2.0, 0.0]]
    given = (cost, np.array(cost), torch.tensor(cost), tuple(map(tuple, cost)))
    assert {lw.ConfusionMatrix(2, cost_matrix=one).cost_matrix for one in given} == {((0.0, 1.5), (2.0, 0.0))}
