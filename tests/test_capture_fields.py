"""Where the fields of a step are found, and as what."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lwcallbacks.capture import KEYS, CaptureError, Source, Step

X = torch.arange(12.0).reshape(4, 3)
Y = torch.tensor([0, 1, 2, 0])
SCORES = X * 2


class Row(NamedTuple):
    image: Tensor
    gt_label: Tensor


@dataclass
class Fields:
    x: Tensor
    masks: Tensor


class Graphs:
    """Several graphs in one, as libraries for graphs have it: attributes by `__getattr__`, and one that raises."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__["_store"] = parts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_store"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def labels(self) -> Tensor:
        raise RuntimeError("not now")

    def keys(self) -> list[str]:
        return list(self._store)


class Dictionary:
    """Keys, but no Mapping and no attributes, as dictionaries of tensors have it."""

    def __init__(self, **parts: Any) -> None:
        self._parts = parts

    def keys(self) -> Any:
        return self._parts.keys()

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]


def same(found: Tensor | None, expected: Tensor) -> bool:
    return found is not None and type(found) is Tensor and torch.equal(found, expected)


BATCHES = {
    "tuple": (X, Y),
    "list": [X, Y, "more"],
    "dict": {"pixel_values": X, "labels": Y},
    "named tuple": Row(X, Y),
    "dataclass": Fields(X, Y),
    "namespace": SimpleNamespace(images=X, target=Y),
    "graphs": Graphs(x=X, y=Y, batch=Y),
    "dictionary of tensors": Dictionary(input=X, gt_labels=Y),
    "mask": {"image": X, "mask": Y},
    "labels beside masks": {"image": X, "masks": X, "labels": Y},
    "y beside a mask": {"x": X, "mask": X, "y": Y},
}


@pytest.mark.parametrize("kind", BATCHES)
def test_inputs_and_targets_are_found_in_a_batch(kind: str) -> None:
    """By usual names, in containers and in objects of any class, or by position; one that raises is not there."""
    step = Step(None, BATCHES[kind])
    assert same(step.find("inputs", Source()), X)
    assert same(step.find("targets", Source()), Y)


OUTPUTS: dict[str, Any] = {
    **{name: {name: SCORES} for name in KEYS["preds"]},
    "namespace": SimpleNamespace(logits=SCORES, hidden=X),
    "dataclass": dataclass(type("Out", (), {"__annotations__": {"prediction": Tensor}}))(SCORES),
    "dictionary of tensors": Dictionary(logits=SCORES),
    "loss and scores": (SCORES.sum(), SCORES),
    "a tensor": SCORES,
    "predictions before logits": {"logits": X, "prediction": SCORES},
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_predictions_are_found_in_what_a_step_returns(kind: str) -> None:
    """By usual names in any container or object, or as the one tensor that there is."""
    assert same(Step(OUTPUTS[kind], (X, Y)).find("preds", Source()), SCORES)


@pytest.mark.parametrize("kind", [*OUTPUTS][:-5])
def test_predictions_are_found_in_what_a_forward_call_returns(kind: str) -> None:
    """The same names, where the step returns nothing or its loss."""
    for outputs in (None, {}, {"loss": X.sum()}, X.sum(), {"output": X.sum()}):
        assert same(Step(outputs, (X, Y), {None: [(X, OUTPUTS[kind])]}).find("preds", Source()), SCORES)


@pytest.mark.parametrize("outputs", [None, {}, X.sum(), SimpleNamespace(), (), 0.5, "text", {"loss": None}])
def test_a_step_may_return_anything(outputs: Any) -> None:
    """The batch's fields are found beside it, and what is not there is None."""
    step = Step(outputs, (X, Y))
    assert same(step.find("inputs", Source()), X)
    assert same(step.find("targets", Source()), Y)
    assert step.find("preds", Source()) is None


def test_a_number_under_a_usual_name_of_the_output_is_no_batch_of_samples() -> None:
    """It is passed over for inputs, preds and targets; the loss is a number."""
    number = torch.tensor(3.0)
    step = Step({"x": number, "target": number, "output": number, "loss": number}, (X, Y), {None: [(X, SCORES)]})
    assert same(step.find("inputs", Source()), X)
    assert same(step.find("targets", Source()), Y)
    assert same(step.find("preds", Source()), SCORES)
    assert same(step.find("loss", Source()), number)


@pytest.mark.parametrize("outputs", [torch.tensor(0.5), {"loss": torch.tensor(0.5)}, {"loss": 0.5}, 0.5])
def test_the_loss_is_what_a_step_returns_or_names(outputs: Any) -> None:
    """A tensor or a number, alone or by name."""
    assert same(Step(outputs, (X, Y)).find("loss", Source()), torch.tensor(0.5))


@pytest.mark.parametrize("outputs", [None, {}, SCORES, (SCORES, X), {"logits": SCORES}])
def test_a_step_without_loss_has_none(outputs: Any) -> None:
    """Tensors with dimensions are no loss unless they are called so."""
    assert Step(outputs, (X, Y)).find("loss", Source()) is None


def test_one_sample_as_a_batch_has_a_number_as_its_target() -> None:
    """Data sets without batches: what a batch holds may be a number, what a step returns may not."""
    assert same(Step(None, (X[0], Y[0])).find("targets", Source()), Y[0])
    assert same(Step(None, {"x": X[0], "y": Y[0]}).find("targets", Source()), Y[0])


class Scored(NamedTuple):
    recon: Tensor
    other: int


RETURNED: dict[str, Any] = {
    "dict": {"recon": SCORES},
    "named tuple": Scored(SCORES, 1),
    "dataclass": dataclass(type("Out", (), {"__annotations__": {"recon": Tensor}}))(SCORES),
    "namespace": SimpleNamespace(recon=SCORES),
    "dictionary of tensors": Dictionary(recon=SCORES),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_a_key_is_looked_for_in_output_then_forward_call_then_batch(kind: str) -> None:
    """Of every container and object; where several have it, the first counts."""
    source, there, calls = Source(preds="recon"), RETURNED[kind], {None: [(X, RETURNED[kind])]}
    assert same(Step(there, {"recon": X}).find("preds", source), SCORES)
    assert same(Step(None, {"recon": X}, calls).find("preds", source), SCORES)
    assert same(Step({"recon": X}, {"recon": Y}, calls).find("preds", source), X)
    assert same(Step(None, there).find("preds", source), SCORES)


def test_a_key_is_found_in_the_call_that_has_it() -> None:
    """Of several forward calls, the last one with that key, whatever the others returned."""
    calls = [(X, {"recon": X}), (X, {"recon": SCORES}), (X, SCORES)]
    assert same(Step(None, (X, Y), {None: calls}).find("preds", Source(preds="recon")), SCORES)
    assert same(Step(None, (X, Y), {"net": calls}).find("preds", Source(preds="recon", forward="net")), SCORES)


def test_samples_go_before_numbers_of_the_same_key() -> None:
    """A logged number under the same key hides nothing; where there is only a number, it is taken."""
    step = Step({"label": torch.tensor(1.0), "scale": torch.tensor(2.0)}, {"label": Y})
    assert same(step.find("targets", Source(targets="label")), Y)
    assert same(step.find("targets", Source(targets="scale")), torch.tensor(2.0))


def test_further_fields_are_found_by_their_own_name_or_where_it_is_said() -> None:
    """In output, forward call and batch; every way that other fields have."""
    step = Step({"score": X}, {"indexes": Y, "other": SCORES}, {None: [(X, SimpleNamespace(depth=SCORES))]})
    source = Source(more=(("score", None), ("mine", "other"), ("made", lambda outputs, batch: batch["indexes"] + 1)))
    assert same(step.find("score", source), X)
    assert same(step.find("mine", source), SCORES)
    assert same(step.find("made", source), Y + 1)
    assert same(step.find("indexes", source), Y)
    assert same(step.find("depth", source), SCORES)
    assert step.find("nowhere", source) is None


def test_ids_are_found_only_where_it_is_said() -> None:
    """A guess would mistake other samples for the same ones."""
    step = Step({"ids": Y}, {"ids": Y, "i": Y + 1})
    assert step.find("ids", Source()) is None
    assert same(step.find("ids", Source(ids="i")), Y + 1)


def test_a_source_is_a_value() -> None:
    """Frozen, hashable and equal to one with the same places, however further fields are given."""
    source = Source(preds="a", more=(("score", "b"),))
    assert hash(source) == hash(Source(preds="a", more={"score": "b"}))  # type: ignore[arg-type]
    assert source == Source(preds="a", more=[["score", "b"]])  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        source.preds = "b"  # type: ignore[misc]


class Extractor(nn.Module):
    def forward(self, outputs: Any, batch: Any, returned: Any) -> Tensor:
        return returned

    def of_two(self, outputs: Any, batch: Any) -> Tensor:
        return batch[0]

    def of_three(self, outputs: Any, batch: Any, returned: Any) -> Tensor:
        return returned

    @staticmethod
    def static(outputs: Any, batch: Any, returned: Any) -> Tensor:
        return returned


class Called:
    def __call__(self, outputs: Any, batch: Any, returned: Any) -> Tensor:
        return returned


def keyed(key: int, outputs: Any, batch: Any) -> Tensor:
    return batch[key]


def any_number(*args: Any) -> Tensor:
    assert len(args) == 2
    return args[1][0]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


TWO: dict[str, Callable[..., Any]] = {
    "lambda": lambda outputs, batch: batch[0],
    "default": lambda outputs, batch, key=0: batch[key],
    "keyword": lambda outputs, batch, *, key=0: batch[key],
    "partial": functools.partial(keyed, 0),
    "bound method": Extractor().of_two,
    "any number": any_number,
    "decorated": wrapped(lambda outputs, batch: batch[0]),
    "partial of three": functools.partial(lambda outputs, batch, key: batch[key], key=0),
}
THREE: dict[str, Callable[..., Any]] = {
    "lambda": lambda outputs, batch, returned: returned,
    "names of its own": lambda o, b, r: r,
    "default": lambda outputs, batch, returned, key=None: returned,
    "called returned": lambda outputs, batch, returned=None: returned,
    "partial": functools.partial(lambda key, outputs, batch, returned: returned, 0),
    "bound method": Extractor().of_three,
    "static method": Extractor.static,
    "object": Called(),
    "module": Extractor(),
    "decorated": wrapped(lambda outputs, batch, returned: returned),
}


@pytest.mark.parametrize("kind", TWO)
def test_functions_of_two(kind: str) -> None:
    """Whatever need not be given a third argument is given two, and no forward call is listened to."""
    step = Step(None, (X, Y), {None: [(X, SCORES)]})
    assert same(step.find("preds", Source(preds=TWO[kind])), X)
    assert not Source(preds=TWO[kind]).asks_forward(["preds"])


@pytest.mark.parametrize("kind", THREE)
def test_functions_of_three(kind: str) -> None:
    """What must be given three arguments, or asks for `returned`, is given what the forward call returned."""
    step = Step(None, (X, Y), {None: [(X, SCORES)]})
    assert same(step.find("preds", Source(preds=THREE[kind])), SCORES)
    assert Source(targets=THREE[kind]).asks_forward(["targets"])


def test_functions_written_in_c_are_functions_of_two() -> None:
    """Also those that tell no signature."""
    assert same(Step(X, X).find("preds", Source(preds=torch.add)), X * 2)
    assert same(Step(X, X).find("preds", Source(preds=operator.add)), X * 2)


def test_a_function_makes_no_graph() -> None:
    """Neither of the step's output nor of the module's weights."""
    weight = nn.Parameter(torch.ones(3))
    seen = []
    Step(None, (X, Y)).find("preds", Source(preds=lambda outputs, batch: seen.append(batch[0] * weight) or seen[0]))
    assert not seen[0].requires_grad


ASKS = {
    "usual preds": (Source(), ["preds"], True),
    "usual targets": (Source(), ["inputs", "targets", "loss", "ids"], False),
    "a key": (Source(targets="label"), ["targets"], True),
    "a key of another field": (Source(targets="label"), ["inputs"], False),
    "an index": (Source(preds=1), ["preds"], False),
    "a further field": (Source(), ["score"], True),
    "a further field by index": (Source(more=(("score", 2),)), ["score"], False),
}


@pytest.mark.parametrize("kind", ASKS)
def test_forward_calls_are_listened_to_where_a_field_may_be_in_them(kind: str) -> None:
    """For predictions in the usual places, for any key, and for a function of three."""
    source, names, asks = ASKS[kind]
    assert source.asks_forward(names) is asks


class Meta(torch.Tensor):
    """Operations keep the class, as some libraries for images have it."""


TENSORS: dict[str, tuple[Any, Tensor]] = {
    "subclass": (X.as_subclass(Meta), X),
    "subclass with a graph": ((X.clone().requires_grad_() * 1).as_subclass(Meta), X),
    "parameter": (nn.Parameter(X), X),
    "float array": (X.numpy(), X),
    "read-only array": (np.broadcast_to(np.arange(3), (2, 3)), torch.tensor([[0, 1, 2]] * 2)),
    "reversed array": (np.arange(3)[::-1], torch.tensor([2, 1, 0])),
    "bool array": (np.array([True, False]), torch.tensor([True, False])),
    "uint16 array": (np.array([1, 2], dtype=np.uint16), torch.tensor([1, 2], dtype=torch.uint16)),
    "ints": ([2, 0, 1], torch.tensor([2, 0, 1])),
    "floats": ([0.5, 1], torch.tensor([0.5, 1.0])),
    "bools": ([True, False], torch.tensor([True, False])),
    "NumPy's ints": ([np.int64(2), np.int64(0)], torch.tensor([2, 0])),
    "tensors of one number": ([torch.tensor(2), torch.tensor(0)], torch.tensor([2, 0])),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_fields_become_plain_tensors_without_a_graph(kind: str) -> None:
    """By a usual name, by position, by key and from a function: subclasses, parameters, arrays and lists of numbers."""
    value, expected = TENSORS[kind]
    for step, source in (
        (Step(None, {"label": value}), Source()),
        (Step(None, (X, value)), Source()),
        (Step(None, {"mine": value}), Source(targets="mine")),
        (Step(None, (X, X, value)), Source(targets=2)),
        (Step(value, (X, X)), Source(targets=lambda outputs, batch: outputs)),
    ):
        found = step.find("targets", source)
        assert same(found, expected)
        assert found is not None
        assert not found.requires_grad
        assert found.dtype == expected.dtype


def test_a_plain_tensor_is_not_copied() -> None:
    """It shares its memory with what the step saw."""
    found = Step(None, (X, Y)).find("inputs", Source())
    assert found is not None
    assert found.data_ptr() == X.data_ptr()


def test_what_is_no_number_is_passed_over_in_the_usual_places() -> None:
    """Texts, sizes and lists of other things under a usual name, or where the targets would be."""
    for value in (["cat", "dog"], "cat", (224, 224), [X, X], None, [], {"a": X}, np.array(["cat"])):
        assert Step(None, {"label": value}).find("targets", Source()) is None
        assert Step(None, (X, value)).find("targets", Source()) is None
    assert same(Step({"preds": ["cat", "dog"]}, (X, Y), {None: [(X, SCORES)]}).find("preds", Source()), SCORES)


PARTS: list[Any] = [{"x": X, "y": Y}, (SCORES, [1, 2, 0, 1]), Graphs(x=X + 1, y=Y + 1), None]
FROM: dict[str, tuple[Any, str, Source, set[int] | None]] = {
    "a part by index": ((None, {}), "targets", Source(targets=lambda o, b: b[0]["y"]), {0}),
    "a list": ((None, {}), "targets", Source(targets=lambda o, b: b[1][1]), {1}),
    "an attribute": ((None, {}), "targets", Source(targets=lambda o, b: b[2].y), {2}),
    "a view": ((None, {}), "inputs", Source(inputs=lambda o, b: b[1][0][:2]), {1}),
    "the output": (({"target": Y}, {}), "targets", Source(), {0}),
    "made by a function": ((None, {}), "targets", Source(targets=lambda o, b: b[0]["y"] * 1), None),
    "made by the step": (({"preds": SCORES * 1}, {}), "preds", Source(), None),
    "a call on a tensor": ((None, {None: [(SCORES, SCORES * 1)]}), "preds", Source(), {1}),
    "a call on a view": ((None, {None: [(X[:2], X[:2] * 1)]}), "preds", Source(), {0}),
    "a call on a part": ((None, {None: [(PARTS[2], X * 1)]}), "preds", Source(), {2}),
    "a call on something else": ((None, {None: [(X * 1, X * 1)]}), "preds", Source(), None),
    "a call with two parts": ((None, {None: [([X, SCORES], X * 1)]}), "preds", Source(), {0, 1}),
    "a key of a call": ((None, {None: [(X, {"z": X * 1})]}), "preds", Source(preds="z"), {0}),
    "made of a call": ((None, {None: [(X, X * 1)]}), "preds", Source(preds=lambda o, b, r: r + 1), None),
    "not there": ((None, {}), "preds", Source(), None),
}


@pytest.mark.parametrize("kind", FROM)
def test_the_parts_of_a_batch_that_a_field_comes_from(kind: str) -> None:
    """By identity, by memory and by the argument of the forward call; None where it cannot be known."""
    (outputs, calls), field, source, expected = FROM[kind]
    assert Step(outputs, PARTS, calls).parts_of(field, source, PARTS) == expected


def test_two_parts_of_one_memory_are_told_apart_by_identity() -> None:
    """A loader may cut both parts from one tensor."""
    parts = [X[:2], X[2:]]
    step = Step(None, parts, {None: [(parts[1], parts[1] * 1)]})
    assert step.parts_of("preds", Source(), parts) == {1}
    assert step.parts_of("inputs", Source(inputs=lambda o, b: b[0]), parts) == {0}


def test_errors_are_of_one_class() -> None:
    """A ValueError, for those who do not know of it."""
    assert issubclass(CaptureError, ValueError)


# -- several forward calls ---------------------------------------------------------------------------------------------

OTHER = X + 100
CALLS = {
    "one": ([(X, SCORES)], Source(), None),
    "one on the inputs": ([(OTHER, SCORES), (X, SCORES + 1)], Source(), None),
    "none on the inputs": ([(OTHER, SCORES), (OTHER, SCORES + 1)], Source(), "called 2 times"),
    "two on the inputs": ([(X, SCORES), (X, SCORES + 1), (OTHER, SCORES)], Source(), "called 3 times"),
    "one with predictions": ([(OTHER, SCORES), (OTHER, None)], Source(), None),
    "returned": ([(OTHER, X), (OTHER, Y)], Source(preds=lambda outputs, batch, returned: returned), "called 2 times"),
    "calls": ([(OTHER, X), (OTHER, Y)], Source(preds=lambda outputs, batch, calls: calls[0]), None),
    "said": ([(OTHER, SCORES), (OTHER, SCORES)], Source(preds=0), None),
}


@pytest.mark.parametrize("kind", CALLS)
def test_which_of_several_calls_counts_is_told(kind: str) -> None:
    """Where it is guessed, with what to write; not where one call alone is on the batch's inputs, or it is said."""
    calls, source, words = CALLS[kind]
    told = Step(None, (X, Y), {None: calls}).guess("preds", source)
    assert (told is None) if words is None else (words in str(told) and "outputs, batch, calls: calls[" in str(told))


def test_predictions_that_the_step_returns_are_no_guess() -> None:
    """However often the module was called for them."""
    calls = {None: [(OTHER, SCORES), (OTHER, SCORES)]}
    assert Step({"preds": SCORES}, (X, Y), calls).guess("preds", Source()) is None
    assert Step({"preds": SCORES}, (X, Y), {"net": calls[None]}).guess("preds", Source(forward="net")) is not None


def test_a_function_of_calls_is_given_all_in_their_order() -> None:
    """Also where one of them is on the batch's own inputs."""
    step = Step(None, (X, Y), {None: [(X, SCORES), (OTHER, SCORES + 1)]})
    source = Source(preds=lambda outputs, batch, calls: calls[0] + 10 * calls[1])
    assert source.asks_forward(["preds"])
    assert same(step.find("preds", source), SCORES + 10 * (SCORES + 1))
