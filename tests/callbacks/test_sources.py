"""Where values come from, and what is said when they are not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.modules import CLASSES, Classifier, images, loader, trainer
from torch.utils.data import DataLoader

import lwcallbacks as lw


def matrix_of(module: Classifier, data: DataLoader | None = None, **kwargs: Any) -> torch.Tensor:
    matrix = lw.ConfusionMatrix(CLASSES, **kwargs)
    trainer(callbacks=[matrix]).validate(module, loader() if data is None else data, verbose=False)
    return matrix.results["val"]


@pytest.fixture
def expected() -> tuple[Classifier, torch.Tensor]:
    """A module and the matrix that it should get, counted one by one."""
    module = Classifier()
    x, y = images(40).tensors
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    with torch.no_grad():
        for pred, target in zip(module(x).argmax(1), y, strict=True):
            counts[target, pred] += 1
    return module, counts


def _step(kind: str) -> Any:
    def validation_step(self: Classifier, batch: Any, batch_idx: int) -> Any:
        x, y = (batch["image"], batch["label"]) if isinstance(batch, dict) else batch[:2]
        if kind == "logits":
            return {"logits": self.net(x), "targets": y}
        if kind == "preds":
            return {"loss": torch.zeros(()), "preds": self.net(x).argmax(1), "target": y}
        if kind == "two calls":
            self(x + 1)
            scores = self(x)
            self(x * 2)
            return scores.sum()
        return {"scores": self.net(x), "mine": {"labels": y}} if kind == "own keys" else self(x).sum()

    return validation_step


@pytest.mark.parametrize("kind", ["logits", "preds", "two calls", "plain"])
def test_usual_places(kind: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A returned dict, or what self(x) returned for this batch's x, with the batch (x, y)."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", _step(kind))
    assert torch.equal(matrix_of(module), counts)


def test_a_dict_batch(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual names in a dict batch are found."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", _step("plain"))
    data = [{"image": x, "label": y} for x, y in zip(*images(40).tensors, strict=True)]
    assert torch.equal(matrix_of(module, DataLoader(data, 7)), counts)


@pytest.mark.parametrize(
    "sources",
    [
        {"preds": "scores", "targets": 1},
        {
            "preds": lambda outputs, batch: outputs["scores"],
            "targets": lambda outputs, batch: outputs["mine"]["labels"],
        },
    ],
    ids=["key and index", "callables"],
)
def test_told_places(sources: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, an index into the batch, or a function of outputs and batch."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", _step("own keys"))
    assert torch.equal(matrix_of(module, **sources), counts)


def test_what_is_missing_is_an_error_in_the_sanity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first training batch; it names the callback, what was looked for and what was there."""
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: {"score": self.net(batch[0])})
    fit = trainer(callbacks=[lw.ConfusionMatrix(CLASSES)], num_sanity_val_steps=1)
    with pytest.raises(ValueError, match=r"ConfusionMatrix\('val/confusion_matrix'\): no preds found") as caught:
        fit.fit(Classifier(), loader(), loader())
    assert "'score': float32[8, 5]" in str(caught.value)
    assert "preds=" in str(caught.value)
    assert fit.global_step == 0


def test_wrong_shapes_are_an_error_at_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of 5 classes for a matrix of 3: what was found and what was expected."""
    with pytest.raises(ValueError, match=r"preds are torch.float32 \(8, 5\).*expected float scores \(8, 3\)"):
        trainer(callbacks=[lw.ConfusionMatrix(3)]).validate(Classifier(), loader(), verbose=False)


def test_labels_out_of_range_are_reported_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label of 5 among 5 classes: no cell is touched, one warning tells the count and the label."""
    monkeypatch.setattr(Classifier, "validation_step", _step("plain"))
    x, y = images(40).tensors
    y = y.clone()
    y[:3] = CLASSES
    matrix = lw.ConfusionMatrix(CLASSES)
    with pytest.warns(UserWarning, match=r"3 labels are out of range \(for example 5\)"):
        trainer(callbacks=[matrix]).validate(
            Classifier(), DataLoader(torch.utils.data.TensorDataset(x, y), 8), verbose=False
        )
    assert int(matrix.results["val"].sum()) == 37


def test_a_sampler_that_leaves_samples_out_is_told() -> None:
    """drop_last on two replicas: a validation over 40 of 41 samples says so, once."""
    from torch.utils.data import DistributedSampler

    data = images(41)
    sampler = DistributedSampler(data, 2, 0, shuffle=False, drop_last=True)
    t = trainer(callbacks=[lw.ConfusionMatrix(CLASSES)])
    loader = DataLoader(data, 8, sampler=sampler)
    with pytest.warns(UserWarning, match=r"the val sampler leaves out 1 of 41 samples \(drop_last=True\)"):
        t.validate(Classifier(), loader, verbose=False)
    t.validate(Classifier(), loader, verbose=False)  # a second warning would be an error here


def test_strict_callbacks_raise_for_labels_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """on_error="raise": the epoch's end is an error that tells the count."""
    monkeypatch.setattr(Classifier, "validation_step", _step("plain"))
    x, y = images(40).tensors
    data = DataLoader(torch.utils.data.TensorDataset(x, y + 1), 8)
    with pytest.raises(ValueError, match=r"val data: \d+ labels are out of range \(for example 5\)"):
        trainer(callbacks=[lw.ConfusionMatrix(CLASSES, on_error="raise")]).validate(Classifier(), data, verbose=False)
