"""Which strategy fits a metric: `strategy_for`, as far as its class, its attributes and its signature say so."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import MultioutputWrapper, MultitaskWrapper
from torchmetrics.wrappers.abstract import WrapperMetric

from lwcallbacks.testing.samples import count, rebuilt, take
from lwcallbacks.testing.strategies.pictures import box_batches
from lwcallbacks.testing.strategies.quantities import regression_batches, value_batches
from lwcallbacks.testing.strategies.rules import (
    REQUIRED,
    Data,
    binary,
    multiclass,
    multilabel,
    rule_for,
)
from lwcallbacks.testing.strategies.sequences import retrieval_batches, text_batches


class Suited(NamedTuple):
    """A metric and data for it: what `strategy_for` gives, for `check_metric(suited.factory, suited.batches)`.

    Attributes:
        factory: makes the metric.
        batches: a strategy for lists of batches.
        arguments: what the factory passes to a class; empty where a factory was given.
        data: what the batches are, in words.

    Examples:
        >>> from torchmetrics.classification import BinaryAccuracy
        >>> strategy_for(BinaryAccuracy).data
        'probabilities [N], multiples of 0.05, labels 0 and 1'
    """

    factory: Callable[[], Any]
    batches: SearchStrategy[list[Any]]
    arguments: dict[str, Any]
    data: str


class _Unknown(Exception):
    """Nothing says what a metric takes; the message says what was looked at."""


def strategy_for(metric: Callable[..., Any], **arguments: Any) -> Suited:
    """Data for a metric class or factory, and for a class the arguments that it asks for.

    It knows the classes of torchmetrics (but those that need a model to be downloaded), what inherits from them,
    wrappers and collections of them. Of another class it looks at the parameters of `update`, at their annotations
    (strings, lists of dicts) and at the attributes `task`, `num_classes` and `num_labels`. What that does not tell
    is not guessed.

    Args:
        metric: a class, or a function without arguments that makes a metric.
        arguments: of the class, beside or in place of those that are found.

    Raises:
        ValueError: the constructor asks for an argument that is not known, or nothing says what `update` takes; the
            message has what to write.

    Examples:
        >>> from torchmetrics import MinMaxMetric
        >>> from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy
        >>> from lwcallbacks.testing import check_metric
        >>> suited = strategy_for(MulticlassAccuracy, average="micro")
        >>> suited.arguments
        {'num_classes': 3, 'average': 'micro'}
        >>> check_metric(suited.factory, suited.batches, laws=["order", "shards"], examples=10)
        >>> strategy_for(lambda: MinMaxMetric(BinaryAccuracy())).data
        'probabilities [N], multiples of 0.05, labels 0 and 1'
    """
    factory = metric
    if isinstance(metric, type):
        arguments = _arguments(metric, arguments)
        factory = _made_with(metric, arguments)
    elif arguments:
        raise ValueError(f"strategy_for: arguments {list(arguments)} for a factory, expected a class")
    elif not callable(metric) or callable(getattr(metric, "compute", None)):
        raise ValueError(f"strategy_for: {metric!r}, expected a class, or a function that makes a new metric each time")
    made = factory()
    try:
        batches, words = _data(made)
    except _Unknown as reason:
        raise ValueError(f"strategy_for: {reason}\n{_ADVICE}") from None
    return Suited(factory, batches, arguments, words)


_ADVICE = """write the strategy yourself, as in check_metric(factory, multiclass_batches(num_classes=3)):
  binary_batches, multiclass_batches, multilabel_batches   scores or labels, and labels
  regression_batches, value_batches, distribution_batches  floats
  image_batches, mask_batches, box_batches                 pictures
  text_batches, audio_batches, retrieval_batches           texts, sounds, documents of queries
  batches_of(lambda draw, n: (draw(floats32(n)), ...))     anything else
all from lwcallbacks.testing"""


def _made_with(cls: type, arguments: dict[str, Any]) -> Callable[[], Any]:
    """Makes instances. A program can say a `partial`; a metric among the arguments has to be a new one for each."""
    if not any(isinstance(part, torch.nn.Module) for part in _inside(arguments)):
        return functools.partial(cls, **arguments)
    return lambda: cls(**copy.deepcopy(arguments))


def _inside(value: Any) -> Iterator[Any]:
    """What is in dicts, lists and tuples."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _inside(part)
    else:
        yield value


def _arguments(cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """What the constructor needs: by the rule of the class, by the names of its parameters, and what was given."""
    rule = rule_for(cls)
    found = dict(rule.arguments) if rule else {}
    parameters = inspect.signature(cls).parameters
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    # Accuracy and its like are one of three classes, by their task; and what may be None may be needed all the same.
    sizes = {"multilabel": ["num_labels"], "binary": []}.get(given.get("task", ""), ["num_classes"])
    found |= {name: 3 for name in sizes if name in parameters and parameters[name].default is None}
    unknown = [name for name in needed if name not in {**REQUIRED, **found, **given}]
    if unknown:
        wanted = ", ".join(f"{name}=..." for name in unknown)
        raise ValueError(
            f"strategy_for: {cls.__name__} asks for {' and '.join(unknown)}; "
            f"write strategy_for({cls.__name__}, {wanted}) or strategy_for(lambda: {cls.__name__}({wanted}))"
        )
    return {**{name: REQUIRED[name] for name in needed if name in REQUIRED}, **found, **given}


def _data(metric: Any) -> Data:
    if isinstance(metric, MetricCollection):
        return _common(metric)
    if isinstance(metric, MultioutputWrapper):
        return _several_outputs(metric)
    if isinstance(metric, MultitaskWrapper):
        return _several_tasks(metric)
    if isinstance(metric, WrapperMetric):
        inner = [
            part for part in metric.modules() if part is not metric and isinstance(part, Metric | MetricCollection)
        ]
        if not inner:
            raise _Unknown(f"{type(metric).__name__} wraps no metric")
        return _data(inner[0])
    if not callable(getattr(metric, "update", None)):
        raise _Unknown(f"{type(metric).__name__} has no update")
    if rule := rule_for(type(metric)):
        return rule.data(metric)
    return _by_signature(metric)


def _common(metrics: MetricCollection) -> Data:
    found = {name: _data(part) for name, part in metrics.items(keep_base=True, copy_state=False)}
    if len({data.words for data in found.values()}) > 1:
        told = "; ".join(f"{name} {data.words}" for name, data in found.items())
        raise _Unknown(f"the metrics of a collection take different data: {told}")
    return next(iter(found.values()))


def _several_outputs(metric: MultioutputWrapper) -> Data:
    """One column for each output: the samples of the inner metric, shifted, so that columns differ."""
    inner, number = _data(metric.metrics[0]), len(metric.metrics)

    def columns(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return torch.stack([leaf.roll(i, 0) for i in range(number)], -1)

    batches = inner.batches.map(lambda found: [rebuilt(args, columns) for args in found])
    return Data(batches, f"for each of {number} outputs: {inner.words}")


def _several_tasks(metric: MultitaskWrapper) -> Data:
    """Two dicts of what each task takes, with the same number of samples."""
    inner = {name: _data(part) for name, part in metric.task_metrics.items()}

    def together(found: tuple[list[Any], ...]) -> list[Any]:
        batches = []
        for parts in zip(*found, strict=False):  # as many batches as the shortest list has
            n = min(map(count, parts))
            cut = [take(args, range(n)) for args in parts]
            batches.append(tuple(dict(zip(inner, column, strict=True)) for column in zip(*cut, strict=True)))
        return batches

    batches = st.tuples(*(data.batches for data in inner.values())).map(together)
    return Data(batches, "; ".join(f"{name}: {data.words}" for name, data in inner.items()))


_PREDS = re.compile(r"(y_)?(preds?|predictions?|inputs?|outputs?|scores?|logits|probs|y_hat)")
_TARGET = re.compile(r"(y_)?(targets?|labels?|true|truth|y)")
_TASKS: Mapping[str, Callable[[Any], Data]] = {"binary": binary, "multiclass": multiclass, "multilabel": multilabel}


def _by_signature(metric: Any) -> Data:
    """What the parameters of `update` and a few attributes say."""
    name = type(metric).__name__
    parameters = {
        key: str(parameter.annotation)
        for key, parameter in inspect.signature(metric.update).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    names, annotations = list(parameters), list(parameters.values())
    said = f"update({', '.join(names)}) of {name}"
    if len(names) == 2 and all(re.search(r"\bstr\b", text) and "dict" not in text.lower() for text in annotations):
        nested = len(re.findall(r"Sequence|[Ll]ist", annotations[1])) > 1
        return Data(text_batches(references=1 if nested else None), "texts of 1 to 6 of six words")
    if len(names) == 2 and all(re.search(r"([Ll]ist|Sequence)\[[Dd]ict\[str", text) for text in annotations):
        return Data(box_batches(), "boxes of 2 classes, 0 to 3 in an image")
    if names in (["value"], ["values"]):
        return Data(value_batches(), "floats [N], multiples of 0.1")
    if len(names) == 3 and names[2] in ("index", "indexes", "indices"):
        return Data(retrieval_batches(), "scores in multiples of 0.05, relevance 0 or 1, three queries")
    if not (len(names) == 2 and _PREDS.fullmatch(names[0]) and _TARGET.fullmatch(names[1])):
        raise _Unknown(f"{said} has parameters of no known names")
    task = getattr(metric, "task", None)
    if isinstance(task, str) and task in _TASKS:
        return _TASKS[task](metric)
    if task == "regression":
        return Data(regression_batches(), "preds and target [N], multiples of 0.1")
    for attribute, data in (("num_labels", multilabel), ("num_classes", multiclass)):
        if isinstance(getattr(metric, attribute, None), int):
            return data(metric)
    raise _Unknown(f"{said} does not say whether it takes scores, labels or other floats")
