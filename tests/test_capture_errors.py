"""What is said of a field that is not there or cannot be used; and the advice, executed."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.version import Version
from support.modules import CLASSES, Classifier, images, trainer
from support.versions import TORCH
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lwcallbacks as lw
from lwcallbacks.capture import CaptureError, Source, Step

X = torch.arange(12.0).reshape(4, 3)
Y = torch.tensor([0, 1, 2, 0])
NAMES = ["cat", "dog", "cow", "cat"]
classes = ["cat", "dog", "cow"]


def error_of(step: Step, field: str, source: Source, stage: str | None = None) -> str:
    """What is said of a field that cannot be taken, or is missing."""
    try:
        found = step.find(field, source)
    except CaptureError as error:
        return str(error)
    assert found is None
    return str(step.missing(field, source, stage))


def fails(outputs: Any, batch: Any) -> Tensor:
    raise ZeroDivisionError("by zero")


CALLS = {None: [(X, {"logits": X, "hidden": X})]}
GRAPH = SimpleNamespace(node_features=X, species=Y)

# What a step saw, the field and where it was said to be; parts of the message; what is written instead.
SITUATIONS: dict[str, tuple[Step, str, Source, list[str], Source | Step]] = {
    "a key with a slip": (
        Step({"logits": X}, (X, Y)), "preds", Source(preds="logit"),
        ["preds='logit' is no key", "did you mean 'logits'?", "the step returned {'logits': float32[4, 3]}"],
        Source(preds="logits"),
    ),
    "a key of the forward call with a slip": (
        Step(None, (X, Y), CALLS), "preds", Source(preds="Logit"),
        ["did you mean 'logits'?", "self(x) returned {'logits': float32[4, 3], 'hidden': float32[4, 3]}"],
        Source(preds="logits"),
    ),
    "an attribute with a slip": (
        Step(None, GRAPH), "targets", Source(targets="specie"),
        ["did you mean 'species'?", "batch is SimpleNamespace{'node_features': float32[4, 3], 'species': int64[4]}"],
        Source(targets="species"),
    ),
    "a function asks for a key that is not there": (
        Step({"logit": X}, (X, Y)), "preds", Source(preds=lambda outputs, batch: outputs["logits"]),
        ["raised KeyError: 'logits' (did you mean 'logit'?)", "preds=<lambda> (test_capture_errors.py:"],
        Source(preds=lambda outputs, batch: outputs["logit"]),
    ),
    "a function asks for an attribute that is not there": (
        Step(None, GRAPH), "targets", Source(targets=lambda outputs, batch: batch.specis),
        ["raised AttributeError", "(did you mean 'species'?)"], Source(targets=lambda outputs, batch: batch.species),
    ),
    "a function of two that wants what the forward call returned": (
        Step(None, (X, Y), CALLS), "preds", Source(preds=lambda outputs, batch: outputs["logits"]),
        ["raised TypeError", "write preds=lambda outputs, batch, returned: ..."],
        Source(preds=lambda outputs, batch, returned: returned["logits"]),
    ),
    "a function of two where no call was listened to": (
        Step(None, (X, Y)), "preds", Source(preds=lambda outputs, batch: outputs["logits"]),
        ["write preds=lambda outputs, batch, returned: ..."], Step({"logits": X}, (X, Y)),
    ),
    "a function that fails": (
        Step({"logits": X}, (X, Y)), "targets", Source(targets=fails),
        ["targets=fails (test_capture_errors.py:", "raised ZeroDivisionError: by zero"], Source(),
    ),
    "a function of one": (
        Step({"logits": X}, (X, Y)), "preds", Source(preds=operator.itemgetter("logits")),
        ["raised TypeError", "expected a function of two, (outputs, batch), or of three"],
        Source(preds=lambda outputs, batch: operator.itemgetter("logits")(outputs)),
    ),
    "a function that gives nothing": (
        Step({"logits": X}, (X, Y)), "preds", Source(preds=lambda outputs, batch: None),
        ["gives None, expected a tensor"], Source(preds=lambda outputs, batch: outputs["logits"]),
    ),
    "an index beyond the batch": (
        Step(None, (X, Y)), "targets", Source(targets=2), ["targets=2: the batch has 2 parts, targets=0 to targets=1"],
        Source(targets=1),
    ),
    "an index into a dict": (
        Step(None, {"image": X, "species": Y}), "targets", Source(targets=1),
        ["targets=1: the batch is a dict without a part of that index", "targets='species'"], Source(targets="species"),
    ),
    "strings as predictions": (
        Step({"answers": NAMES}, (X, Y)), "preds", Source(preds="answers"),
        ["preds='answers' gives list of 4 str", "strings cannot be counted: map them to class indices",
         "torch.tensor([classes.index(name) for name in outputs['answers']])"],
        Source(preds=lambda outputs, batch: torch.tensor([classes.index(name) for name in outputs["answers"]])),
    ),
    "strings as targets": (
        Step(None, (X, NAMES)), "targets", Source(),
        ["no targets found", "list of 4 str", "strings cannot be counted",
         "targets=lambda outputs, batch: torch.tensor([classes.index(name) for name in batch[1]])"],
        Source(targets=lambda outputs, batch: torch.tensor([classes.index(name) for name in batch[1]])),
    ),
    "strings as ids": (
        Step(None, {"x": X, "y": Y, "customer": NAMES}), "ids", Source(ids="customer"),
        ["ids='customer' gives list of 4 str, expected a tensor of integers",
         "give each string its position in a list that stays the same",
         "ids=lambda outputs, batch: torch.tensor([names.index(name) for name in batch['customer']])"],
        Source(ids=lambda outputs, batch: torch.tensor([classes.index(name) for name in batch["customer"]])),
    ),
    "several tensors": (
        Step(None, (X, [Y, Y])), "targets", Source(targets=1),
        ["targets=1 gives (int64[4], int64[4])", "targets=lambda outputs, batch: torch.stack(batch[1])"],
        Source(targets=lambda outputs, batch: torch.stack(batch[1])),
    ),
    "tensors of several lengths": (
        Step(None, (X, [Y, Y[:2]])), "targets", Source(targets=1),
        ["targets=lambda outputs, batch: torch.cat(batch[1])"],
        Source(targets=lambda outputs, batch: torch.cat(batch[1])),
    ),
    "a tensor in a tuple": (
        Step(None, (X, Y), {None: [(X, {"hidden": (X,)})]}), "preds", Source(preds="hidden"),
        ["preds=lambda outputs, batch, returned: returned['hidden'][0]"],
        Source(preds=lambda outputs, batch, returned: returned["hidden"][0]),
    ),
    "a partial function that fails": (
        Step(None, (X, Y)), "preds", Source(preds=functools.partial(fails)),
        ["preds=partial(fails (test_capture_errors.py:"], Source(preds=0),
    ),
    "a dict": (
        Step(None, (X, {"species": Y})), "targets", Source(targets=1),
        ["targets=1 gives {'species': int64[4]}", "targets=lambda outputs, batch: batch[1]['species']"],
        Source(targets=lambda outputs, batch: batch[1]["species"]),
    ),
    "a name that is not usual in the batch": (
        Step(None, {"image": X, "species": Y}), "targets", Source(), ["no targets found", "pass targets='species'"],
        Source(targets="species"),
    ),
    "a name that is not usual in the output": (
        Step({"y_hat": X}, (X, Y)), "preds", Source(), ["no preds found", "pass preds='y_hat'"], Source(preds="y_hat"),
    ),
    "a name that is not usual in the forward call": (
        Step(None, (X, Y), {None: [(X, {"out": X})]}), "preds", Source(), ["pass preds='out'"], Source(preds="out"),
    ),
    "an attribute of a graph": (
        Step(None, GRAPH), "inputs", Source(), ["no inputs found", "pass inputs='node_features'"],
        Source(inputs="node_features"),
    ),
    "a number under a usual name": (
        Step({"preds": torch.tensor(1.0)}, (X, Y)), "preds", Source(),
        ["outputs['preds'] is one number and no batch of samples; preds='preds' would take it"],
        Source(preds="preds"),
    ),
    "no ids": (
        Step(None, {"i": Y}), "ids", Source(), ["no ids found", "pass ids='i'"], Source(ids="i"),
    ),
    "no further field": (
        Step({"scores": Y}, X), "score", Source(), ["no score found", "return a dict with 'score'"],
        Step({"score": Y}, X),
    ),
    "no loss": (
        Step(None, X), "loss", Source(), ["no loss found", "return the loss, or a dict with 'loss', from the step"],
        Step(X.sum(), X),
    ),
    "a sparse tensor": (
        Step(None, (X.to_sparse(), Y)), "inputs", Source(), ["inputs: it is a tensor of layout", "take .to_dense()"],
        Source(inputs=lambda outputs, batch: batch[0].to_dense()),
    ),
    "a nested tensor": (
        Step(None, (torch.nested.nested_tensor([X[0], X[1, :2]], layout=torch.jagged), Y)), "inputs", Source(),
        ["it is a nested tensor", ".to_padded_tensor(0)"],
        Source(inputs=lambda outputs, batch: batch[0].to_padded_tensor(0)),
    ),
}  # fmt: skip
if Version("2.6") > TORCH:  # which cannot pad a jagged one
    del SITUATIONS["a nested tensor"]


@pytest.mark.parametrize("kind", SITUATIONS)
def test_a_message_tells_what_was_there_and_what_to_write(kind: str) -> None:
    """The words are there, and what they say to write gives a tensor."""
    step, field, source, words, instead = SITUATIONS[kind]
    told = error_of(step, field, source)
    for word in words:
        assert word in told
    assert "0x" not in told
    found = step.find(field, instead) if isinstance(instead, Source) else instead.find(field, Source())
    assert found is not None


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_a_stage_without_a_field_may_be_left_out(stage: str) -> None:
    """The message says so, by another stage as example; without a stage it does not."""
    told = error_of(Step(None, X), "targets", Source(), stage)
    assert f"If {stage} has no targets, leave the stage out, as in stages=(" in told
    assert f"stages=({stage!r},)" not in told
    assert "stages=" not in error_of(Step(None, X), "targets", Source())


def test_the_cause_of_a_failed_function_is_kept() -> None:
    """`raise ... from`: the traceback leads to the user's line."""
    with pytest.raises(CaptureError) as caught:
        Step(None, (X, Y)).find("preds", Source(preds=fails))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_ctrl_c_in_a_function_is_no_error_of_the_field() -> None:
    """It comes through as it is."""

    def interrupted(outputs: Any, batch: Any) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Step(None, (X, Y)).find("preds", Source(preds=interrupted))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([X] * 100, "list of 100, the first float32[4, 3]"),
        (NAMES, "list of 4 str"),
        ({"a": [{"b": (X, None, 1.0)}]}, "{'a': ({'b': (float32[4, 3], None, float)})}"),
        ({i: i for i in range(100)}, "..."),
        (nn.Linear(2, 2), "Linear"),
        (torch.zeros(2).numpy(), "numpy float32[2]"),
    ],
)
def test_what_was_there_is_told_briefly(value: Any, told: str) -> None:
    """Shapes and names at any depth, and not a hundred times."""
    described = Step(value, None).describe()
    assert told in described
    assert len(described) < 800


def test_many_forward_calls_are_told_briefly() -> None:
    """The last three of a hundred."""
    told = Step(None, X, {None: [(X, X)] * 100, "net": [(X, Y)]}).describe()
    assert "self(x) returned float32[4, 3], float32[4, 3], float32[4, 3] and 97 more before" in told
    assert "self.net(x) returned int64[4]" in told


class Odd:
    """Whatever is asked of it fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def keys(self) -> Any:
        raise RuntimeError("keys")


@pytest.mark.parametrize("make", [Odd, lambda: [Odd()], lambda: {"x": Odd()}, lambda: type, lambda: len, lambda: ...])
def test_odd_objects_raise_nothing_of_their_own(make: Callable[[], Any]) -> None:
    """As output, as batch and as what a forward call returned."""
    odd = make()
    step = Step(odd, odd, {None: [(odd, odd)]})
    for field in ("inputs", "preds", "targets", "loss", "score"):
        assert step.find(field, Source()) is None
        assert f"no {field} found" in str(step.missing(field, Source(), "val"))
        assert step.parts_of(field, Source(), [odd]) is None
    with pytest.raises(CaptureError, match="is no key"):
        step.find("preds", Source(preds="scores"))


STEPS: dict[str, tuple[Callable[[Any, Any], Any], dict[str, Any], dict[str, Any]]] = {
    "a key": (lambda self, x: {"score": self.net(x)}, {"preds": "scores"}, {"preds": "score"}),
    "a function of three": (
        lambda self, x: self({"x": x})["out"].sum(),
        {"preds": lambda outputs, batch: outputs["out"]},
        {"preds": lambda outputs, batch, returned: returned["out"]},
    ),
    "the forward call's own key": (lambda self, x: self({"x": x})["out"].sum(), {}, {"preds": "out"}),
}


@pytest.mark.parametrize("kind", STEPS)
def test_the_advice_is_right_in_a_run(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch is an error that names the callback; with what it says to write, every sample counts."""
    step, wrong, right = STEPS[kind]
    monkeypatch.setattr(Classifier, "forward", lambda self, batch: {"out": self.net(batch["x"])})
    monkeypatch.setattr(Classifier, "validation_step", lambda self, batch, i: step(self, batch[0]))
    data = DataLoader(images(40), 8)
    with pytest.raises(ValueError, match=r"ConfusionMatrix\('val/confusion_matrix'\): |preds=|no preds found"):
        trainer(callbacks=[lw.ConfusionMatrix(CLASSES, **wrong)]).validate(Classifier(), data, verbose=False)
    matrix = lw.ConfusionMatrix(CLASSES, **right)
    trainer(callbacks=[matrix]).validate(Classifier(), data, verbose=False)
    assert int(matrix.results["val"].sum()) == 40


def test_what_is_there_under_a_usual_name_is_not_asked_for() -> None:
    """A list of boxes under "preds": what it is comes first, and not that one should return "preds"."""
    boxes = [{"boxes": torch.zeros(2, 4), "labels": torch.zeros(2)}]
    told = str(Step({"preds": boxes}, (torch.zeros(1, 3), torch.zeros(1))).missing("preds", Source(), "val"))
    assert "outputs['preds'] is ({'boxes': float32[2, 4], 'labels': float32[2]}), expected a tensor" in told
    assert "To fix it, pass preds= (a key" in told
    assert "return a dict" not in told
