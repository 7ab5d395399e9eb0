"""Where values come from, and what is said when they are not there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, NamedTuple

import pytest
import torch
from support.modules import CLASSES, Classifier, images, loader, trainer
from torch.utils.data import DataLoader, default_collate
from torchmetrics import MeanAbsoluteError

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


class Named(NamedTuple):
    x: torch.Tensor
    label: torch.Tensor


@dataclass
class Fields:
    image: torch.Tensor
    target: torch.Tensor


class Graph:
    """A batch of a class of its own, like those of libraries for graphs."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x = x
        self.y = y

    def to(self, device: Any) -> Graph:
        return self


BATCHES: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "tuple": lambda x, y: (x, y),
    "list": lambda x, y: [x, y, "more"],
    "dict": lambda x, y: {"image": x, "label": y},
    "named tuple": Named,
    "dataclass": Fields,
}


def fields_of(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    parts = batch.values() if isinstance(batch, dict) else vars(batch).values() if is_dataclass(batch) else batch
    x, y, *_ = parts
    return x, y


def two_calls(self: Classifier, x: torch.Tensor, y: torch.Tensor) -> Any:
    self(x + 1)
    scores = self(x)
    self(x * 2)
    return scores.sum()


STEPS: dict[str, Callable[[Classifier, torch.Tensor, torch.Tensor], Any]] = {
    "self(x), a scalar": lambda self, x, y: self(x).sum(),
    "self(x), nothing": lambda self, x, y: (self(x), None)[1],
    "self(x), per-sample losses": lambda self, x, y: self(x).sum(1),
    "self.forward(x), nothing": lambda self, x, y: (self.forward(x), None)[1],
    "self.forward(x), a tuple": lambda self, x, y: (self.forward(x).sum(), x, y),
    "several calls": two_calls,
    "logits": lambda self, x, y: {"logits": self.net(x), "targets": y},
    "preds": lambda self, x, y: {"loss": torch.zeros(()), "preds": self.net(x).argmax(1), "target": y},
    "a dataclass": lambda self, x, y: Outputs(self.net(x)),
    "a tensor": lambda self, x, y: self.net(x),
    "loss and scores": lambda self, x, y: (self.net(x).sum(), self.net(x)),
}


@dataclass
class Outputs:
    logits: torch.Tensor


def use_step(monkeypatch: pytest.MonkeyPatch, step: Callable[[Classifier, torch.Tensor, torch.Tensor], Any]) -> None:
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, batch_idx: step(self, *fields_of(batch)))


@pytest.mark.parametrize("kind", STEPS)
def test_what_a_step_may_return_and_call(kind: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dict, a tuple, a tensor, a scalar or nothing; with self(x), self.forward(x), or predictions returned."""
    module, counts = expected
    use_step(monkeypatch, STEPS[kind])
    assert torch.equal(matrix_of(module), counts)


@pytest.mark.parametrize("kind", BATCHES)
def test_what_a_batch_may_be(kind: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuple, a list, or something with named fields."""
    module, counts = expected
    use_step(monkeypatch, two_calls)
    data = [(x, y) for x, y in zip(*images(40).tensors, strict=True)]
    batches = DataLoader(data, 7, collate_fn=lambda samples: BATCHES[kind](*default_collate(samples)))
    assert torch.equal(matrix_of(module, batches), counts)


@pytest.mark.filterwarnings("ignore:.*the last call is taken")
def test_a_submodule_that_the_step_calls(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """forward="net" takes what self.net(x) returned, also where the step returns something under a usual name."""
    module, counts = expected
    use_step(monkeypatch, lambda self, x, y: {"outputs": self.net(x) * 0, "other": self.net(x)}["outputs"].sum())
    assert torch.equal(matrix_of(module, forward="net"), counts)
    use_step(monkeypatch, lambda self, x, y: {"loss": self.net(x).sum(), "preds": y})
    assert torch.equal(matrix_of(module, forward="net"), counts)


def test_an_attribute_of_a_batch(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """targets="y" finds batch.y, whatever the class of the batch."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: self(batch.x).sum())
    data = DataLoader(list(images(40)), 7, collate_fn=lambda samples: Graph(*default_collate(samples)))
    assert torch.equal(matrix_of(module, data, targets="y"), counts)


def test_a_batch_of_any_class_is_asked_by_the_usual_names(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """batch.x and batch.y need not be named."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: self(batch.x).sum())
    data = DataLoader(list(images(40)), 7, collate_fn=lambda samples: Graph(*default_collate(samples)))
    assert torch.equal(matrix_of(module, data), counts)


def test_targets_may_be_a_list_of_ints(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a collate function of the user's leaves them."""
    module, counts = expected
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: {"logits": self.net(batch[0])})

    def collate(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]), [int(y) for _, y in samples]

    assert torch.equal(matrix_of(module, DataLoader(images(40), 7, collate_fn=collate)), counts)


@pytest.mark.parametrize("returned", [None, {}])
def test_a_training_step_may_return_nothing(returned: Any) -> None:
    """With manual optimization, or where the batch is skipped: what it called is seen all the same."""

    class Manual(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = returned is None

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self(batch[0])
            return returned

    matrix = lw.ConfusionMatrix(CLASSES, stages=("train",))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`training_step` returned `None`")
        trainer(callbacks=[matrix]).fit(Manual(), loader())
    assert int(matrix.results["train"].sum()) == 40


def test_a_submodule_that_is_not_there_is_named() -> None:
    """At the first batch: what was asked for, and what was seen."""
    with pytest.raises(ValueError, match=r"no preds found.*let forward='head' name a submodule that the step calls"):
        matrix_of(Classifier(), forward="head")


@pytest.mark.parametrize(
    "sources",
    [
        {"preds": "scores", "targets": 1},
        {
            "preds": lambda outputs, batch: outputs["scores"],
            "targets": lambda outputs, batch: outputs["mine"]["labels"],
        },
        {"preds": "scores", "targets": "support.sources.labels"},
    ],
    ids=["key and index", "callables", "function by name"],
)
def test_told_places(sources: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, an index into the batch, or a function of outputs and batch, itself or by its name."""
    module, counts = expected
    use_step(monkeypatch, lambda self, x, y: {"scores": self.net(x), "mine": {"labels": y}})
    assert torch.equal(matrix_of(module, **sources), counts)


def test_a_key_is_a_key_though_a_function_has_its_name(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the step returns under "support.sources.scores" is taken, and nothing is imported."""
    module, counts = expected
    monkeypatch.setattr(
        Classifier, "validation_step", lambda self, batch, i: {"support.sources.scores": self.net(batch[0])}
    )
    assert torch.equal(matrix_of(module, preds="support.sources.scores"), counts)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_package.scores", "No module named 'no_such_package'"),
        ("support.sources.nothing", "module 'support.sources' has no attribute 'nothing'"),
        ("support.modules.CLASSES", "it is a int"),
        ("not a name.", "invalid format"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error_at_the_first_batch(name: str, told: str) -> None:
    """It says that neither a key nor a function was found, and why."""
    told = f"preds={name!r} is no key of the step's output or of the batch, and no function to import: .*{told}"
    with pytest.raises(ValueError, match=told):
        matrix_of(Classifier(), preds=name)


@pytest.mark.parametrize("forward", [None, "net"])
def test_a_function_of_what_the_forward_call_returned(
    forward: str | None, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function of three is given the output of self(x), or of the submodule; also one that is given by its name."""
    module, counts = expected
    use_step(monkeypatch, two_calls)
    for function in (lambda outputs, batch, returned: returned.argmax(1), "support.sources.best"):
        assert torch.equal(matrix_of(module, forward=forward, preds=function), counts)


def test_a_function_of_a_forward_call_without_usual_names(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the whole output; a call that returned predictions of a usual kind would go first."""
    module, counts = expected
    forward = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, x: {"mean": forward(self, x), "scale": x.sum()})
    use_step(monkeypatch, lambda self, x, y: self(x)["mean"].sum())
    assert torch.equal(matrix_of(module, preds=lambda outputs, batch, returned: returned["mean"]), counts)


def test_a_function_of_a_forward_call_that_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that no call was seen, and what was."""
    use_step(monkeypatch, lambda self, x, y: self.net(x).sum())
    with pytest.raises(ValueError, match=r"takes what a forward call returned, and no call was seen; .*no self\(x\)"):
        matrix_of(Classifier(), preds=lambda outputs, batch, returned: returned)


def test_a_function_with_an_argument_of_its_own(expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a default value is not an argument to be given."""
    module, counts = expected
    use_step(monkeypatch, lambda self, x, y: {"scores": self.net(x)})
    assert torch.equal(matrix_of(module, preds=lambda outputs, batch, key="scores": outputs[key]), counts)


def test_a_metric_may_be_given_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics that take a view of their arguments work with any part of a batch."""
    use_step(monkeypatch, lambda self, x, y: self(x).sum())
    metrics = lw.ScalarMetrics(
        {"mae": MeanAbsoluteError()},
        preds=lambda outputs, batch: batch[0][:, 0, :, 0],
        targets=lambda outputs, batch: batch[0][:, 0, :, 1],
    )
    trainer(callbacks=[metrics]).validate(Classifier(), loader(), verbose=False)
    x = images(40).tensors[0]
    assert torch.allclose(metrics.results["val"]["mae"], (x[:, 0, :, 0] - x[:, 0, :, 1]).abs().mean())


def test_what_is_missing_is_an_error_in_the_sanity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first training batch; it names the callback, what was looked for and what was there."""
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: {"score": self.net(batch[0])})
    fit = trainer(callbacks=[lw.ConfusionMatrix(CLASSES)], num_sanity_val_steps=1)
    with pytest.raises(ValueError, match=r"ConfusionMatrix\('val/confusion_matrix'\): no preds found") as caught:
        fit.fit(Classifier(), loader(), loader())
    assert "'score': float32[8, 5]" in str(caught.value)
    assert "preds=" in str(caught.value)
    assert fit.global_step == 0


@pytest.mark.filterwarnings("ignore:.*batch 0 of val could not be read")
def test_a_step_that_returns_nothing_and_calls_a_submodule_is_an_error_in_the_sanity_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its second batch: the first alone may be one that a step skips, with a warning."""

    def step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("loss", self.net(batch[0]).mean(), batch_size=len(batch[0]))

    monkeypatch.setattr(Classifier, "validation_step", step)
    fit = trainer(callbacks=[lw.ConfusionMatrix(CLASSES, stages=("val",))], num_sanity_val_steps=2)
    with pytest.raises(ValueError, match=r"no preds found: the step returned None.*forward='net' for self\.net\(x\)"):
        fit.fit(Classifier(), loader(), loader())
    assert fit.global_step == 0
    matrix = lw.ConfusionMatrix(CLASSES, stages=("val",), forward="net")
    trainer(callbacks=[matrix], num_sanity_val_steps=2, max_epochs=1).fit(Classifier(), loader(), loader())
    assert int(matrix.results["val"].sum()) == 40


class Mirrors(Classifier):
    """Its validation calls itself on what is no input of the batch, and on the mirror image of that."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        x = batch[0] * 2 - 1
        self(x)
        self(x.flip(-1))


def test_which_of_several_forward_calls_is_taken_is_told_and_chosen() -> None:
    """Each way to write it gives what it says."""
    x, y = images(40).tensors
    module, found = Mirrors.seeded(), {}
    logits = [module(x * 2 - 1), module((x * 2 - 1).flip(-1))]
    expected = {"last": logits[1], "first": logits[0], "all": logits[0] + logits[1]}
    given: dict[str, Any] = {
        "last": {},
        "first": {"preds": lambda outputs, batch, calls: calls[0]},
        "all": {"preds": lambda outputs, batch, calls: calls[0] + calls[1]},
    }
    for name, arguments in given.items():
        matrix = lw.ConfusionMatrix(CLASSES, **arguments)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer(callbacks=[matrix]).validate(module, DataLoader(images(40), 8), verbose=False)
        found[name] = matrix.results["val"]
        told = [str(w.message) for w in said if "the last call is taken" in str(w.message)]
        assert len(told) == (name == "last")
        assert all("calls[0] for the first" in text for text in told)
    for name, scores in expected.items():
        right = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
        right.index_put_((y, scores.argmax(1)), torch.tensor(1), accumulate=True)
        assert torch.equal(found[name], right), name


def test_targets_of_the_shape_of_the_predictions_are_pointed_at() -> None:
    """Lengths often come before the labels of a multilabel data set."""
    x, y = images(40).tensors
    labels = (torch.arange(CLASSES) <= y[:, None]).float()
    data = DataLoader(torch.utils.data.TensorDataset(x, y, labels), 8)
    with pytest.raises(ValueError, match=r"Or write targets=2: batch\[1\] was taken, and batch\[2\] has one for each"):
        trainer(callbacks=[lw.MultilabelConfusionMatrix(CLASSES)]).validate(Mirrors(), data, verbose=False)


def test_wrong_shapes_are_an_error_at_the_first_batch() -> None:
    """Scores of 5 classes for a matrix of 3: what was found and what was expected."""
    with pytest.raises(ValueError, match=r"preds are torch.float32 \(8, 5\).*expected float scores \(8, 3\)"):
        trainer(callbacks=[lw.ConfusionMatrix(3)]).validate(Classifier(), loader(), verbose=False)


def test_labels_out_of_range_are_reported_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label of 5 among 5 classes: no cell is touched, one warning tells the count and the label."""
    use_step(monkeypatch, STEPS["self(x), a scalar"])
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
    use_step(monkeypatch, STEPS["self(x), a scalar"])
    x, y = images(40).tensors
    data = DataLoader(torch.utils.data.TensorDataset(x, y + 1), 8)
    with pytest.raises(ValueError, match=r"val data: \d+ labels are out of range \(for example 5\)"):
        trainer(callbacks=[lw.ConfusionMatrix(CLASSES, on_error="raise")]).validate(Classifier(), data, verbose=False)
