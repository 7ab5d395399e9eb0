"""Another library of metrics for `torchmetrics_report.py --package torch_uncertainty`: its classes and their data.

Install it beside this package (`pip install torch-uncertainty`); of it only `torch_uncertainty.metrics` is used.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from _torchmetrics_recipes import Recipe
from hypothesis.strategies import DrawFn, SearchStrategy

from lwcallbacks.testing import (
    Suited,
    batches_of,
    binary_batches,
    grid,
    multiclass_batches,
    regression_batches,
    tensors,
)


def classes_of(package: str) -> dict[str, type]:
    """The metric classes of a package, by subpackage and name."""
    from torchmetrics import Metric

    if package != "torch_uncertainty":
        raise SystemExit(f"--package: nothing is known of {package}, expected torchmetrics or torch_uncertainty")
    for name in (package, f"{package}.utils"):
        _without_contents(name)
    checks = importlib.import_module(f"{package}.utils.checks")
    sys.modules[f"{package}.utils"].check_interval_shapes = checks.check_interval_shapes  # type: ignore[attr-defined]
    metrics = importlib.import_module(f"{package}.metrics")
    found = {cls for cls in vars(metrics).values() if isinstance(cls, type) and issubclass(cls, Metric)}
    own = [cls for cls in found if cls.__module__.startswith(f"{package}.metrics.")]
    return {f"{cls.__module__.split('.')[2]}.{cls.__name__}": cls for cls in sorted(own, key=lambda cls: str(cls))}


def _without_contents(name: str) -> None:
    """A package of which only modules are imported by name: its own imports want much more than metrics do."""
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        raise SystemExit(f"--package: {name} is not installed")
    module = ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations or [])
    sys.modules[name] = module


def _members(draw: DrawFn, n: int) -> Any:
    return (torch.softmax(draw(grid((n, 2, 3), low=-2, high=2, step=0.1)), -1),)


def _outliers(draw: DrawFn, n: int) -> Any:
    scores = draw(grid(n, low=0, high=1, step=0.05))
    wrong, outside = (draw(tensors(n, torch.int64, max_value=1)) for _ in range(2))
    return scores, wrong.float(), outside.bool()


def _sets(draw: DrawFn, n: int) -> Any:
    return draw(tensors((n, 3), torch.int64, max_value=1)).bool(), draw(tensors(n, torch.int64, max_value=2))


def _intervals(draw: DrawFn, n: int) -> Any:
    lower, width, target = (draw(grid(n, low=0, high=5, step=0.1)) for _ in range(3))
    return lower, lower + width, target


def _bounds(draw: DrawFn, n: int) -> Any:
    return _intervals(draw, n)[:2]


_PROBS = (lambda: multiclass_batches(3), "probabilities [N, 3] that sum to 1, labels of 3 classes")
_BINARY = (binary_batches, "probabilities [N], multiples of 0.05, labels 0 and 1")
_PIXELS = (lambda: binary_batches(shape=(2,)), "probabilities [N, 2], multiples of 0.05, labels 0 and 1")
_MEMBERS = (lambda: batches_of(_members), "probabilities [N, 2 members, 3 classes]")
_OUTLIERS = (lambda: batches_of(_outliers), "scores [N], errors 0 and 1, whether it is an outlier")
_SETS = (lambda: batches_of(_sets), "sets of 3 classes, labels")
_DEPTHS = (lambda: regression_batches(low=0.1, high=5.0), "preds and target [N], multiples of 0.1 from 0.1 to 5")
_INTERVALS = (lambda: batches_of(_intervals), "lower and upper bounds and targets [N]")
_BOUNDS = (lambda: batches_of(_bounds), "lower and upper bounds [N]")

_ROWS: Mapping[str, tuple[tuple[Callable[[], SearchStrategy[Any]], str], list[dict[str, Any]]]] = {
    "AUGRC": (_PROBS, [{}]),
    "AURC": (_PROBS, [{}]),
    "CovAt5Risk": (_PROBS, [{}]),
    "CovAtxRisk": (_PROBS, [{"risk_threshold": 0.5}]),
    "RiskAt80Cov": (_PROBS, [{}]),
    "RiskAtxCov": (_PROBS, [{"cov_threshold": 0.5}]),
    "BrierScore": (
        _PROBS,
        [{"num_classes": 3}, {"num_classes": 3, "reduction": "sum"}, {"num_classes": 3, "reduction": "none"}],
    ),
    "CategoricalNLL": (_PROBS, [{}, {"reduction": "sum"}, {"reduction": "none"}]),
    "ClasswiseCalibrationError": (_PROBS, [{"num_classes": 3}]),
    "CoverageRate": (_SETS, [{}, {"num_classes": 3, "average": "macro"}]),
    "SetSize": (_SETS, [{}, {"reduction": "sum"}, {"reduction": "none"}]),
    "Disagreement": (_MEMBERS, [{}, {"reduction": "sum"}, {"reduction": "none"}]),
    "Entropy": (_MEMBERS, [{}, {"reduction": "sum"}, {"reduction": "none"}]),
    "MutualInformation": (_MEMBERS, [{}, {"reduction": "sum"}, {"reduction": "none"}]),
    "VariationRatio": (_MEMBERS, [{}, {"probabilistic": False}, {"reduction": "none"}]),
    "FPR95": (_BINARY, [{"pos_label": 1}]),
    "SmoothCalibrationError": (_BINARY, [{}]),
    "SCODAUGRC": (_OUTLIERS, [{}]),
    "SCODAURC": (_OUTLIERS, [{}]),
    "SCODCovAt5Risk": (_OUTLIERS, [{}]),
    "SCODCovAtxRisk": (_OUTLIERS, [{"risk_threshold": 0.5}]),
    "SCODRiskAt80Cov": (_OUTLIERS, [{}]),
    "SCODRiskAtxCov": (_OUTLIERS, [{"cov_threshold": 0.5}]),
    "IntervalCoverage": (_INTERVALS, [{}]),
    "IntervalScore": (_INTERVALS, [{"coverage": 0.9}]),
    "MeanIntervalWidth": (_BOUNDS, [{}]),
    "Log10": (_DEPTHS, [{}]),
    "MeanAbsoluteErrorInverse": (_DEPTHS, [{}]),
    "MeanGTRelativeAbsoluteError": (_DEPTHS, [{}]),
    "MeanGTRelativeSquaredError": (_DEPTHS, [{}, {"squared": False}]),
    "MeanSquaredErrorInverse": (_DEPTHS, [{}, {"squared": False}]),
    "MeanSquaredLogError": (_DEPTHS, [{}, {"squared": False}]),
    "SILog": (_DEPTHS, [{}, {"sqrt": True}]),
    "ThresholdAccuracy": (_DEPTHS, [{"power": 1}]),
    "MeanIntersectionOverUnion": (_PROBS, [{"num_classes": 3}]),
    "SegmentationBinaryAUROC": (_PIXELS, [{}]),
    "SegmentationBinaryAveragePrecision": (_PIXELS, [{}]),
    "SegmentationFPR95": (_PIXELS, [{"pos_label": 1}]),
    "AUSE": (_DEPTHS, [{}]),
}

_REFERENCES: Mapping[str, Callable[..., Any]] = {
    "BrierScore": lambda probs, target: ((probs - torch.nn.functional.one_hot(target, 3)).double() ** 2).sum(1).mean(),
    "CategoricalNLL": lambda probs, target: -probs.double()[range(len(target)), target].log().mean(),
    "MeanIntervalWidth": lambda lower, upper: (upper - lower).double().mean(),
    "IntervalCoverage": lambda lower, upper, target: ((lower <= target) & (target <= upper)).double().mean(),
    "MeanGTRelativeAbsoluteError": lambda preds, target: ((preds - target).abs() / target).mean(),
    "Log10": lambda preds, target: (preds.log10() - target.log10()).abs().mean(),
    "CoverageRate": lambda preds, target: preds[range(len(target)), target].double().mean(),
}


def recipes_of(name: str, cls: type, variants: bool) -> Iterator[Recipe]:
    """The rows of a class, the usual arguments first.

    Raises:
        ValueError: nothing is known of it.
    """
    if cls.__name__ not in _ROWS:
        raise ValueError(
            "it takes distributions, features or a metric of its own kind, for which there is no data here"
        )
    (batches, words), rows = _ROWS[cls.__name__]
    for number, arguments in enumerate(rows[: None if variants else 1]):
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        data = f"{words}; made with `{told}`" if told else words
        suited = Suited(partial(cls, **arguments), batches(), arguments, data)
        reference = None if number else _REFERENCES.get(cls.__name__)
        yield Recipe(f"{name}({told})" if number else name, suited, reference)
