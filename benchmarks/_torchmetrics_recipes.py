"""How each metric class of torchmetrics is made for `torchmetrics_report.py`: by `strategy_for`, wrappers by hand."""

from collections.abc import Callable, Mapping
from typing import Any

import torchmetrics
from torch import Tensor
from torchmetrics import wrappers
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryPrecision, MulticlassAccuracy

from lwcallbacks.testing import Suited, strategy_for


def _complement(preds: Tensor) -> Tensor:
    return 1 - preds


# What is made of other metrics, by name: how, and in words.
AROUND: Mapping[str, tuple[Callable[[], Any], str]] = {
    "collections.MetricCollection": (
        lambda: torchmetrics.MetricCollection([BinaryAccuracy(), BinaryPrecision(), BinaryAUROC()]),
        "BinaryAccuracy, BinaryPrecision and BinaryAUROC",
    ),
    "wrappers.BinaryTargetTransformer": (
        lambda: wrappers.BinaryTargetTransformer(BinaryAccuracy()),
        "around BinaryAccuracy",
    ),
    "wrappers.BootStrapper": (
        lambda: wrappers.BootStrapper(torchmetrics.MeanSquaredError(), num_bootstraps=3),
        "around MeanSquaredError",
    ),
    "wrappers.ClasswiseWrapper": (
        lambda: wrappers.ClasswiseWrapper(MulticlassAccuracy(num_classes=3, average=None)),
        "around MulticlassAccuracy",
    ),
    "wrappers.LambdaInputTransformer": (
        lambda: wrappers.LambdaInputTransformer(BinaryAccuracy(), transform_pred=_complement),
        "around BinaryAccuracy",
    ),
    "wrappers.MinMaxMetric": (lambda: wrappers.MinMaxMetric(BinaryAccuracy()), "around BinaryAccuracy"),
    "wrappers.MultioutputWrapper": (
        lambda: wrappers.MultioutputWrapper(torchmetrics.MeanSquaredError(), num_outputs=2),
        "around MeanSquaredError",
    ),
    "wrappers.MultitaskWrapper": (
        lambda: wrappers.MultitaskWrapper({"binary": BinaryAccuracy(), "regression": torchmetrics.MeanSquaredError()}),
        "around BinaryAccuracy and MeanSquaredError",
    ),
    "wrappers.Running": (lambda: wrappers.Running(torchmetrics.SumMetric(), window=3), "around SumMetric"),
}


def recipe_for(name: str, cls: type) -> Suited:
    """A class, by its name from the subpackage on, with data for it.

    Raises:
        Exception: it can't be made, or nothing says what it takes.
    """
    if name in AROUND:
        factory, words = AROUND[name]
        suited = strategy_for(factory)
        return suited._replace(data=f"{words}: {suited.data}")
    suited = strategy_for(cls)
    made = ", ".join(
        f"{key}={getattr(value, '__name__', None) or repr(value)}" for key, value in suited.arguments.items()
    )
    return suited._replace(data=f"{suited.data}; made with `{made}`" if made else suited.data)
