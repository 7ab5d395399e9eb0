"""`strategy_for` finds data for what says what it takes, and says what to write for what does not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from hypothesis import find, given, settings
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassPrecision,
    MultilabelAccuracy,
)
from torchmetrics.regression import MeanSquaredError
from torchmetrics.text import CharErrorRate
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultioutputWrapper, MultitaskWrapper
from torchmetrics.wrappers.abstract import WrapperMetric

from lwcallbacks import ReductionMetric
from lwcallbacks.reductions import ExactMean
from lwcallbacks.testing import Suited, check_metric, strategy_for
from lwcallbacks.testing.program import written
from lwcallbacks.testing.samples import join

few = settings(max_examples=5, deadline=None, derandomize=True, database=None)


def tried(make: Callable[[], Suited]) -> list[Any]:
    """Update and compute on five lists of batches; the lists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large states, of no data, ...
        return _tried(make())


def _tried(suited: Suited) -> list[Any]:
    drawn: list[Any] = []

    @few
    @given(suited.batches)
    def look(batches: list[Any]) -> None:
        drawn.append(batches)
        metric = suited.factory()
        for args in batches:
            metric.update(*args)
        metric.compute()

    look()
    return drawn


class Own(Metric):
    """A metric whose signature is set by a test."""

    full_state_update = False

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")
        for name, value in attributes.items():
            setattr(self, name, value)

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.seen += len(target)

    def compute(self) -> Tensor:
        return self.seen


class OfTexts(Own):
    def update(self, preds: list[str], target: list[str]) -> None:  # type: ignore[override]
        self.seen += sum(map(len, [*preds, *target]))


class OfReferences(Own):
    def update(self, hypotheses: list[str], references: list[list[str]]) -> None:  # type: ignore[override]
        self.seen += sum(len(text) for row in references for text in row)


class OfBoxes(Own):
    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:  # type: ignore[override]
        self.seen += sum(len(image["boxes"]) for image in preds)


class OfValues(Own):
    def update(self, value: Tensor) -> None:  # type: ignore[override]
        self.seen += len(value)


class OfDocuments(Own):
    def update(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:  # type: ignore[override]
        self.seen += len(indexes)


class OfAnything(Own):
    def update(self, batch: dict[str, Tensor]) -> None:  # type: ignore[override]
        self.seen += len(batch)


class WrapsNothing(WrapperMetric):
    def update(self, preds: Tensor) -> None:
        pass

    def compute(self) -> Tensor:
        return torch.tensor(0.0)


class WithSmoothing(MulticlassPrecision):
    """Inherits what it takes, and asks for one more argument."""

    def __init__(self, num_classes: int, smoothing: float) -> None:
        super().__init__(num_classes=num_classes)


def every_class() -> list[Any]:
    """One class of torchmetrics for each kind of data, and those whose constructors ask for most."""
    classes = [
        "classification.BinaryFairness",
        "classification.MulticlassFBetaScore",
        "classification.MulticlassExactMatch",
        "classification.MultilabelRecallAtFixedPrecision",
        "aggregation.MeanMetric",
        "clustering.DunnIndex",
        "clustering.RandScore",
        "detection.PanopticQuality",
        "image.StructuralSimilarityIndexMeasure",
        "image.TotalVariation",
        "image.QualityWithNoReference",
        "nominal.FleissKappa",
        "nominal.TheilsU",
        "regression.ContinuousRankedProbabilityScore",
        "regression.KLDivergence",
        "regression.MinkowskiDistance",
        "regression.R2Score",
        "retrieval.RetrievalMAP",
        "segmentation.MeanIoU",
        "text.BLEUScore",
        "text.WordErrorRate",
        "text.SQuAD",
        "text.Perplexity",
        "audio.SignalNoiseRatio",
        "audio.ComplexScaleInvariantSignalNoiseRatio",
        "shape.ProcrustesDisparity",
        "multimodal.LipVertexError",
    ]
    modules = [importlib.import_module(f"torchmetrics.{name.split('.')[0]}") for name in classes]
    found = [getattr(module, name.split(".")[1], None) for module, name in zip(modules, classes, strict=True)]
    return [cls for cls in found if cls is not None]  # an older torchmetrics lacks some


@pytest.mark.parametrize("cls", every_class())
def test_a_class_of_torchmetrics_takes_what_is_found_for_it(cls: type[Metric]) -> None:
    """With the arguments that are found."""

    def suited() -> Suited:
        found = strategy_for(cls)
        assert found.data
        assert isinstance(found.factory(), cls)
        return found

    assert tried(suited)


@pytest.mark.parametrize(
    ("factory", "shapes"),
    [
        (lambda: MulticlassAccuracy(num_classes=5), [(5,), ()]),
        (lambda: MulticlassAccuracy(num_classes=4, multidim_average="samplewise"), [(4, 2), (2,)]),
        (lambda: MultilabelAccuracy(num_labels=2), [(2,), (2,)]),
        (lambda: MeanSquaredError(num_outputs=3), [(3,), (3,)]),
        (lambda: torchmetrics.Accuracy(task="multilabel", num_labels=4), [(4,), (4,)]),
        (lambda: MinMaxMetric(BinaryAccuracy()), [(), ()]),
        (lambda: BootStrapper(MeanSquaredError(), num_bootstraps=2), [(), ()]),
        (lambda: MultioutputWrapper(MeanSquaredError(), num_outputs=2), [(2,), (2,)]),
        (lambda: MetricCollection([BinaryAccuracy(), BinaryF1Score()]), [(), ()]),
        (lambda: Own(num_classes=4), [(4,), ()]),
        (lambda: Own(num_labels=4), [(4,), (4,)]),
        (lambda: Own(task="binary"), [(), ()]),
        (lambda: Own(task="regression"), [(), ()]),
        (OfValues, [()]),
        (OfDocuments, [(), (), ()]),
    ],
)
def test_the_instance_says_how_large_samples_are(factory: Callable[[], Any], shapes: list[tuple[int, ...]]) -> None:
    """By num_classes, num_labels, num_outputs, multidim_average; a wrapper and a collection by what is inside."""
    for batches in tried(lambda: strategy_for(factory)):
        assert [tuple(column.shape[1:]) for column in join(batches)] == shapes


def test_a_multitask_wrapper_gets_what_each_task_takes() -> None:
    """Two dicts, with the same number of samples for each task."""
    tasks = {"kind": MulticlassAccuracy(num_classes=4), "price": MeanSquaredError()}
    suited = strategy_for(lambda: MultitaskWrapper({name: metric.clone() for name, metric in tasks.items()}))
    for batches in tried(lambda: suited):
        for preds, target in batches:
            assert preds["kind"].shape == (len(target["price"]), 4)
            assert len(target["kind"]) == len(preds["price"])


@pytest.mark.parametrize(
    ("metric", "kind"), [(OfTexts, str), (OfReferences, str), (OfBoxes, dict)], ids=["texts", "references", "boxes"]
)
def test_annotations_say_what_lists_are_made_of(metric: type[Metric], kind: type) -> None:
    """Lists of strings, of lists of strings, of dicts with boxes."""
    for batches in tried(lambda: strategy_for(metric)):
        assert all(isinstance(sample, kind) for preds, _ in batches for sample in preds)


def test_targets_have_the_index_that_is_ignored() -> None:
    """And the words say so."""
    suited = strategy_for(MulticlassAUROC, ignore_index=-100)
    assert suited.arguments == {"num_classes": 3, "ignore_index": -100}
    assert any((target == -100).any() for batches in tried(lambda: suited) for _, target in batches)
    assert "some -100" in suited.data


def test_a_class_is_made_with_what_it_asks_for_and_what_was_given() -> None:
    """What was given wins; each metric has inner metrics of its own."""
    assert strategy_for(MulticlassAccuracy).arguments == {"num_classes": 3}
    assert strategy_for(torchmetrics.Accuracy).arguments == {"task": "multiclass", "num_classes": 3}
    assert strategy_for(torchmetrics.Accuracy, task="binary").arguments == {"task": "binary"}
    assert strategy_for(WithSmoothing, smoothing=1.0).arguments == {"num_classes": 3, "smoothing": 1.0}
    suited = strategy_for(MinMaxMetric, base_metric=BinaryAccuracy())
    assert suited.factory()._base_metric is not suited.factory()._base_metric


def test_what_is_found_goes_into_check_metric() -> None:
    """As it is."""
    suited = strategy_for(MulticlassAccuracy, average="micro")
    check_metric(suited.factory, suited.batches, laws=["batch_size", "shards"], examples=5)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (Own, r"update\(preds, target\) of Own does not say whether it takes scores, labels or other floats"),
        (OfAnything, r"update\(batch\) of OfAnything has parameters of no known names"),
        (lambda: ReductionMetric(ExactMean()), "ReductionMetric has parameters of no known names"),
        (lambda: 3, "int has no update"),
        (WrapsNothing, "WrapsNothing wraps no metric"),
        (
            lambda: MetricCollection([BinaryAccuracy(), MeanSquaredError()]),
            "the metrics of a collection take different data: BinaryAccuracy probabilities",
        ),
    ],
)
def test_what_does_not_say_it_is_not_guessed(metric: Any, said: str) -> None:
    """The error says what was looked at, and lists what to write."""
    with pytest.raises(ValueError, match=said) as failure:
        strategy_for(metric)
    assert "write the strategy yourself, as in check_metric(factory, multiclass_batches(num_classes=3))" in str(
        failure.value
    )


@pytest.mark.parametrize("metric", ["BinaryAccuracy", None, BinaryAccuracy()])
def test_what_makes_no_metric_is_an_error(metric: Any) -> None:
    """A name, nothing, or one metric, which examples would share."""
    with pytest.raises(ValueError, match="expected a class, or a function that makes a new metric each time"):
        strategy_for(metric)


def test_outputs_of_a_wrapper_are_columns_of_their_own() -> None:
    """Of tensors; lists, as of texts, have none and are as they are."""
    suited = strategy_for(lambda: MultioutputWrapper(MeanSquaredError(), num_outputs=2))
    preds, target = find(suited.batches, lambda batches: len(batches[0][0]) > 1 and batches[0][0].unique().numel() > 1)[
        0
    ]
    for column in (preds, target):
        assert column[:, 1].tolist() == column[:, 0].roll(1, 0).tolist()
    texts = strategy_for(lambda: MultioutputWrapper(CharErrorRate(), num_outputs=2))
    assert isinstance(find(texts.batches, bool)[0][0][0], str)


def test_an_argument_that_nobody_knows_is_asked_for() -> None:
    """With the call to write."""
    with pytest.raises(ValueError, match=r"asks for smoothing; write strategy_for\(WithSmoothing, smoothing=\.\.\.\)"):
        strategy_for(WithSmoothing)
    with pytest.raises(ValueError, match=r"arguments \['beta'\] for a factory, expected a class"):
        strategy_for(lambda: BinaryAccuracy(), beta=1)


def test_a_program_can_say_how_a_class_was_made() -> None:
    """No line is left to be filled in; metrics among the arguments are new ones each time."""
    factory = strategy_for(MulticlassAccuracy, average="micro").factory
    source = written(factory, "print(make())", {})
    assert "make = partial(MulticlassAccuracy, num_classes=3, average='micro')" in source
    wrapped = strategy_for(MinMaxMetric, base_metric=BinaryAccuracy()).factory
    assert wrapped()._base_metric is not wrapped()._base_metric
