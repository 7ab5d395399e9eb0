"""The public callbacks, as the package exports them, and one example of each.

    public_callbacks()                        # {"CheckpointArtifact": <class>, "ConfusionMatrix": <class>, ...}
    examples()["ConfusionMatrix"]()           # one that works on `modules.Classifier`
    everyone(stages=("train", "val"))         # one of each, with this argument where a callback has it

A test that speaks of all callbacks takes them from here. A callback that the package exports and that has no example is
an error in each of these tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.lightning import Callback

from .modules import CLASSES
from .sources import boxes, label_sets, masks

# One of each, with its defaults where it has any. Each finds its fields in a step of `modules.Classifier` on `images`,
# and no two log under one key, so that all of them train together. Further arguments are handed on.
_EXAMPLES: dict[str, Callable[..., Any]] = {
    # Checking arguments would look at values, for which it waits for the device.
    "ScalarMetrics": partial(
        lw.ScalarMetrics, {"acc": MulticlassAccuracy(CLASSES, average="micro", validate_args=False)}
    ),
    "ConfusionMatrix": partial(
        lw.ConfusionMatrix,
        CLASSES,
        cost_matrix=[[abs(i - j) for j in range(CLASSES)] for i in range(CLASSES)],
        examples_per_cell=2,
    ),
    "ImageMosaic": partial(lw.ImageMosaic, 4),
    "PredictionGrid": partial(lw.PredictionGrid, 4),
    "MultilabelConfusionMatrix": partial(
        lw.MultilabelConfusionMatrix,
        CLASSES,
        cost_matrix=[[0, 1], [10, 0]],
        name="labels",
        preds=label_sets,
        targets=label_sets,
    ),
    "Curves": partial(lw.Curves, CLASSES, logits=True, mantissa_bits=4),
    "MaskGrid": partial(lw.MaskGrid, 4, preds=masks, targets=masks),
    "BoxGrid": partial(lw.BoxGrid, 4, preds=boxes, targets=boxes),
    "GradientHistogram": partial(lw.GradientHistogram, 2, weights=True, moments=True, updates=True, activations=True),
    "CheckpointArtifact": partial(lw.CheckpointArtifact, missing_ok=True),
}


def public_callbacks() -> dict[str, type[Callback]]:
    """The callbacks that lwcallbacks exports, by name, without the bases that they are made of."""
    exported = {name: getattr(lw, name) for name in lw.__all__ if inspect.isclass(getattr(lw, name))}
    bases = {base for value in exported.values() for base in value.__mro__[1:]}
    return {name: value for name, value in exported.items() if issubclass(value, Callback) and value not in bases}


def examples() -> dict[str, Callable[..., Any]]:
    """For each public callback a function that makes one, with further arguments if given.

    Raises:
        AssertionError: a public callback has no example, or an example is of no public callback.
    """
    assert _EXAMPLES.keys() == public_callbacks().keys(), "tests/support/everyone.py has one example of each callback"
    return dict(_EXAMPLES)


def everyone(**kwargs: Any) -> list[Any]:
    """One of each public callback; each takes those of the arguments that it has."""
    classes = public_callbacks()
    return [
        make(**{key: value for key, value in kwargs.items() if key in inspect.signature(classes[name]).parameters})
        for name, make in examples().items()
    ]
