"""One computation of precision, recall, F1 and all other numbers of a matrix, equal to those of two other packages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lwcallbacks.media import Cell, Matrix, Table, confusion_report, label_report
from lwcallbacks.rates import averages, overall, per_class, rates, total_cost
from lwcallbacks.reductions import macro_f1, micro_f1

COUNTS = st.integers(1, 6).flatmap(lambda c: arrays(np.int64, (c, c), elements=st.integers(0, 50)))
LABELS = st.integers(1, 6).flatmap(lambda n: arrays(np.int64, (n, 2, 2), elements=st.integers(0, 50)))


def macro(report: Table) -> Sequence[Cell]:
    return next(row for row in report.rows if row[0] == "macro average")


def same(number: float, cell: object) -> bool:
    return cell is None if math.isnan(number) else number == cell


@given(COUNTS)
def test_the_logged_f1_is_that_of_the_report(counts: np.ndarray) -> None:
    """To the last bit, also where classes never occur."""
    report = confusion_report(Matrix(counts, [str(i) for i in range(len(counts))]))
    assert same(macro_f1(torch.from_numpy(counts)), macro(report)[3])


@given(LABELS)
def test_the_logged_f1_of_labels_is_that_of_their_report(counts: np.ndarray) -> None:
    """The same of counts for each label."""
    report = label_report(counts, [str(i) for i in range(len(counts))])
    assert same(macro_f1(torch.from_numpy(counts)), macro(report)[3])


def test_the_values_by_hand() -> None:
    """Three cats of four found, and all four dogs: precision 1 and 4/5, recall 3/4 and 1, F1 6/7 and 8/9."""
    counts = np.array([[3, 1], [0, 4]])
    cat, dog, *_ = confusion_report(Matrix(counts, ("cat", "dog"))).rows
    assert cat == ["cat", 1.0, 3 / 4, 6 / 7, 3 / 4, 4, None]
    assert dog == ["dog", 4 / 5, 1.0, 8 / 9, 4 / 5, 4, None]
    assert micro_f1(torch.from_numpy(counts)) == 7 / 8


NAN = float("nan")
# Each number's name here, and that of scikit-learn's function.
OVERALL = {
    "accuracy": "accuracy_score",
    "balanced_accuracy": "balanced_accuracy_score",
    "cohen_kappa": "cohen_kappa_score",
    "matthews_corrcoef": "matthews_corrcoef",
}


def drawn(seed: int) -> np.ndarray:
    """Counts of 2 to 7 classes: of few samples or of 2**40, full or nearly empty, with empty rows and columns."""
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 8))
    counts = random.integers(0, int(random.choice([2, 30, 2**40])), (size, size))
    counts *= random.random((size, size)) < random.choice([0.2, 0.7, 1.0])
    for axis, empty in ((0, random.random(size) < 0.2), (1, random.random(size) < 0.2)):
        np.moveaxis(counts, axis, 0)[empty] = 0
    if random.random() < 0.2:  # one class alone
        kept = counts[0, 0] + 1
        counts[:] = 0
        counts[0, 0] = kept
    return counts if counts.any() else counts + 1


def weighted(counts: np.ndarray) -> dict[str, Any]:
    """The samples as scikit-learn takes them: one for each cell, weighing as much as the cell counts."""
    true, predicted = np.indices(counts.shape).reshape(2, -1)
    return {"y_true": true, "y_pred": predicted, "sample_weight": counts.ravel().astype(float)}


def expanded(counts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples as torchmetrics takes them: preds and targets."""
    true, predicted = (torch.from_numpy(x) for x in np.indices(counts.shape).reshape(2, -1))
    amounts = torch.from_numpy(counts.ravel())
    return predicted.repeat_interleave(amounts), true.repeat_interleave(amounts)


@pytest.mark.parametrize("seed", range(60))
def test_the_numbers_are_those_of_scikit_learn(seed: int) -> None:
    """Of each class, their three averages, and those of all classes; 0 / 0 is NaN and left out of a mean."""
    import sklearn.metrics

    counts = drawn(seed)
    table, samples = torch.from_numpy(counts), weighted(counts)
    labels = list(range(len(counts)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is undefined

        def theirs(average: str | None) -> dict[str, Any]:
            how: dict[str, Any] = {"labels": labels, "average": average}
            three = sklearn.metrics.precision_recall_fscore_support(**samples, **how, zero_division=NAN)
            iou = sklearn.metrics.jaccard_score(**samples, **how, zero_division=0)  # it takes no NaN
            return {"precision": three[0], "recall": three[1], "f1": three[2], "iou": iou}

        of_class, expected = rates(table), theirs(None)
        is_known = ~of_class["iou"].isnan().numpy()
        assert (is_known == counts.any(axis=0) | counts.any(axis=1)).all()
        for name, column in expected.items():
            kept = is_known if name == "iou" else slice(None)
            np.testing.assert_allclose(of_class[name][kept], column[kept], rtol=1e-13, err_msg=name)
        for average, numbers in averages(table).items():
            wanted = theirs(average) | ({"iou": expected["iou"][is_known].mean()} if average == "macro" else {})
            if average == "weighted" and not (counts.any(axis=0) & counts.any(axis=1)).any():
                assert math.isnan(numbers["precision"])  # no weight is left; it takes the plain mean
                wanted["precision"] = NAN
            assert numbers == pytest.approx(wanted, rel=1e-12, nan_ok=True), average
        filled = {name: values[counts.ravel() > 0] for name, values in samples.items()}
        for name, function in OVERALL.items():
            args = dict(filled)
            if name == "cohen_kappa":
                args = {"y1": args.pop("y_true"), "y2": args.pop("y_pred"), **args}
            number = getattr(sklearn.metrics, function)(**args)
            assert overall(table)[name] == pytest.approx(number, rel=1e-9, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(60))
def test_the_numbers_are_those_of_torchmetrics(seed: int) -> None:
    """Wherever no ratio is 0 / 0, which it takes for 0."""
    counts = np.minimum(drawn(seed), 40)
    size, table = len(counts), torch.from_numpy(counts)
    preds, targets = expanded(counts)
    args: dict[str, Any] = {"num_classes": size, "validate_args": False}
    of_class, (_, predicted, there) = rates(table), per_class(table)
    functions = {
        "precision": (peer.multiclass_precision, predicted > 0),
        "recall": (peer.multiclass_recall, there > 0),
        "f1": (peer.multiclass_f1_score, predicted + there > 0),
        "iou": (peer.multiclass_jaccard_index, predicted + there > 0),
    }
    for name, (function, defined) in functions.items():
        per = function(preds, targets, average=None, **args).double()
        torch.testing.assert_close(of_class[name][defined], per[defined], rtol=1e-6, atol=1e-7)
        assert of_class[name][~defined].isnan().all()
        micro = float(function(preds, targets, average="micro", **args))
        assert averages(table)["micro"][name] == pytest.approx(micro, rel=1e-6)
        if bool(defined.all()):
            for average in ("macro", "weighted"):
                expected = float(function(preds, targets, average=average, **args))
                assert averages(table)[average][name] == pytest.approx(expected, rel=1e-5), (name, average)
    numbers = overall(table)
    assert numbers["accuracy"] == pytest.approx(float((preds == targets).float().mean()), rel=1e-6)
    kappa = float(peer.multiclass_cohen_kappa(preds, targets, **args))
    assert numbers["cohen_kappa"] == pytest.approx(kappa, rel=1e-4, abs=1e-5, nan_ok=True)
    if all(bool((side > 0).sum() > 1) for side in (predicted, there)):  # else it gives -1, 0 or 1
        matthews = float(peer.multiclass_matthews_corrcoef(preds, targets, **args))
        assert numbers["matthews_corrcoef"] == pytest.approx(matthews, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_numbers_of_labels_are_those_of_torchmetrics(seed: int) -> None:
    """Of each label, and of all labels' decisions together."""
    generator = torch.Generator().manual_seed(seed)
    preds, targets = (torch.randint(0, 2, (50, 4), generator=generator) for _ in range(2))
    preds[:, 3] = 1 - seed % 2  # a label that is always, or never, predicted
    counts = peer.multilabel_confusion_matrix(preds, targets, num_labels=4)
    for name, function in {
        "precision": peer.multilabel_precision,
        "recall": peer.multilabel_recall,
        "f1": peer.multilabel_f1_score,
        "iou": peer.multilabel_jaccard_index,
    }.items():
        expected = function(preds, targets, num_labels=4, average=None).double()
        torch.testing.assert_close(rates(counts)[name].nan_to_num(0.0), expected, rtol=1e-6, atol=1e-7)
        micro = float(function(preds, targets, num_labels=4, average="micro"))
        assert averages(counts)["micro"][name] == pytest.approx(micro, rel=1e-6)
    numbers = overall(counts)
    flat = preds.reshape(-1), targets.reshape(-1)
    assert numbers["accuracy"] == pytest.approx(float((preds == targets).float().mean()))
    matthews = float(peer.multilabel_matthews_corrcoef(preds, targets, num_labels=4))
    assert numbers["matthews_corrcoef"] == pytest.approx(matthews, rel=1e-5)
    assert numbers["cohen_kappa"] == pytest.approx(float(peer.binary_cohen_kappa(*flat)), rel=1e-5)
    each = [peer.multiclass_accuracy(preds[:, i], targets[:, i], num_classes=2, average="macro") for i in range(4)]
    assert numbers["balanced_accuracy"] == pytest.approx(float(torch.stack(each).mean()), rel=1e-6)


def test_the_balanced_accuracy_of_labels_shows_a_rare_one_that_is_missed() -> None:
    """It is the mean over the labels: one that is never found has 1/2. One that is never there has what it has."""
    found, missed, absent = [[50, 0], [0, 50]], [[98, 0], [2, 0]], [[100, 0], [0, 0]]
    assert overall(torch.tensor([found, missed]))["balanced_accuracy"] == (1 + 1 / 2) / 2
    assert overall(torch.tensor([found, absent]))["balanced_accuracy"] == 1
    assert math.isnan(overall(torch.zeros(2, 2, 2, dtype=torch.int64))["balanced_accuracy"])


def test_counts_beyond_what_a_float_holds_are_exact() -> None:
    """One sample of 2**62 in the wrong cell: the products are Python's integers, and one division rounds."""
    counts = torch.tensor([[2**61, 1], [0, 2**61]])
    total = 2**62 + 1
    chance = (2**61 + 1) * 2**61 + 2**61 * (2**61 + 1)
    assert overall(counts)["accuracy"] == 2**62 / total
    assert overall(counts)["cohen_kappa"] == (total * 2**62 - chance) / (total * total - chance)
    assert rates(counts)["iou"].tolist() == pytest.approx([1, 1], abs=1e-15)


def test_a_number_of_nothing_is_nan() -> None:
    """No sample has no accuracy. Matthews of predictions of one class is 0, as scikit-learn documents it."""
    nothing = overall(torch.zeros(3, 3, dtype=torch.int64), cost=[[0] * 3] * 3)
    assert all(math.isnan(value) for name, value in nothing.items() if name != "total_cost")
    assert nothing["total_cost"] == 0
    assert all(math.isnan(x) for of in averages(torch.zeros(2, 2, 2, dtype=torch.int64)).values() for x in of.values())
    one = overall(torch.tensor([[3, 0], [2, 0]]))
    assert (one["matthews_corrcoef"], one["cohen_kappa"]) == (0, 0)
    assert math.isnan(overall(torch.tensor([[5, 0], [0, 0]]))["cohen_kappa"])


@given(COUNTS)
def test_a_cost_is_the_sum_over_the_cells(counts: np.ndarray) -> None:
    """In any order of the cells, to the bit; costs below 0 are gains."""
    size = len(counts)
    cost = [[0.1 * (i - j) ** 2 - 0.3 for j in range(size)] for i in range(size)]
    total = total_cost(torch.from_numpy(counts), cost)
    assert total == math.fsum(n * c for n, c in zip(counts.ravel().tolist(), np.ravel(cost).tolist(), strict=True))
    turned = torch.from_numpy(counts[::-1, ::-1].copy())
    assert total_cost(turned, [row[::-1] for row in cost[::-1]]) == total
