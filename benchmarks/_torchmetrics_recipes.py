"""How each metric class of torchmetrics is made for `torchmetrics_report.py`: by `strategy_for`, wrappers by hand."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torchmetrics
from _torchmetrics_references import REFERENCES
from hypothesis.strategies import SearchStrategy
from torch import Tensor
from torchmetrics import wrappers
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryPrecision, MulticlassAccuracy

from lwcallbacks.testing import Suited, regression_batches, strategy_for, value_batches


class Recipe(NamedTuple):
    """One row of the report: a class with arguments.

    Attributes:
        name: the class, from the subpackage on, and the arguments that are not the usual ones, as
            "classification.MulticlassAUROC(average=None)".
        suited: a factory and data for it.
        reference: what the value should be, of all samples; None where there is nothing to compare with.
    """

    name: str
    suited: Suited
    reference: Callable[..., Any] | None = None


def _complement(preds: Tensor) -> Tensor:
    return 1 - preds


def _constant(batches: list[Any]) -> list[Any]:
    """Samples of a batch that are all the same, so that chance has no part in what is drawn of them."""
    return [tuple(x[:1].expand(len(x)).clone() for x in batch) for batch in batches]


# What is made of other metrics, by name: the rows, each a label and how it is made.
AROUND: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "collections.MetricCollection": {
        "BinaryAccuracy, BinaryPrecision, BinaryAUROC": lambda: torchmetrics.MetricCollection(
            [BinaryAccuracy(), BinaryPrecision(), BinaryAUROC()]
        ),
        "compute_groups=False": lambda: torchmetrics.MetricCollection(
            [BinaryAccuracy(), BinaryPrecision(), BinaryAUROC()], compute_groups=False
        ),
        "compute_groups=[...]": lambda: torchmetrics.MetricCollection(
            {"a": BinaryAccuracy(), "p": BinaryPrecision(), "c": BinaryAUROC()}, compute_groups=[["a", "p"], ["c"]]
        ),
    },
    "wrappers.BinaryTargetTransformer": {
        "BinaryAccuracy": lambda: wrappers.BinaryTargetTransformer(BinaryAccuracy()),
    },
    "wrappers.BootStrapper": {
        "MeanSquaredError, multinomial": lambda: wrappers.BootStrapper(
            torchmetrics.MeanSquaredError(), num_bootstraps=3, sampling_strategy="multinomial"
        ),
    },
    "wrappers.ClasswiseWrapper": {
        "MulticlassAccuracy": lambda: wrappers.ClasswiseWrapper(MulticlassAccuracy(num_classes=3, average=None)),
    },
    "wrappers.LambdaInputTransformer": {
        "BinaryAccuracy": lambda: wrappers.LambdaInputTransformer(BinaryAccuracy(), transform_pred=_complement),
    },
    "wrappers.MinMaxMetric": {
        "BinaryAccuracy": lambda: wrappers.MinMaxMetric(BinaryAccuracy()),
        "MeanSquaredError": lambda: wrappers.MinMaxMetric(torchmetrics.MeanSquaredError()),
    },
    "wrappers.MultioutputWrapper": {
        "MeanSquaredError": lambda: wrappers.MultioutputWrapper(torchmetrics.MeanSquaredError(), num_outputs=2),
        "R2Score": lambda: wrappers.MultioutputWrapper(torchmetrics.R2Score(), num_outputs=2),
    },
    "wrappers.MultitaskWrapper": {
        "BinaryAccuracy and MeanSquaredError": lambda: wrappers.MultitaskWrapper(
            {"binary": BinaryAccuracy(), "regression": torchmetrics.MeanSquaredError()}
        ),
    },
    "wrappers.Running": {
        "SumMetric": lambda: wrappers.Running(torchmetrics.SumMetric(), window=3),
        "MeanMetric": lambda: wrappers.Running(torchmetrics.MeanMetric(), window=3),
    },
}

# Values of constructor arguments to try beside the usual ones, where a class has an argument of that name.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "accumulate": ("avg",),
    "adaptive_k": (True,),
    "adjusted": (1,),
    "aggregation": ("median",),
    "aggregation_level": ("global",),
    "average": (None, "micro", "weighted"),
    "average_method": ("geometric",),
    "bias_correction": (False,),
    "class_metrics": (True,),
    "directed": (True,),
    "distance_metric": ("chessboard",),
    "empty_target_action": ("skip",),
    "ignore_index": (-1,),
    "include_background": (False, True),
    "input_format": ("one-hot",),
    "log_prob": (True,),
    "lowercase": (True, False),
    "max_fpr": (0.5,),
    "max_k": (2,),
    "mode": ("permutation-wise",),
    "multiclass_mode": ("one-vs-all",),
    "multidim_average": ("samplewise",),
    "multioutput": ("raw_values", "variance_weighted"),
    "n_gram": (2,),
    "nan_strategy": ("ignore", 0.0),
    "norm": ("l2",),
    "normalization": ("range",),
    "normalize": ("true", "all", True),
    "num_outputs": (2,),
    "per_class": (True,),
    "power": (1.5,),
    "reduction": ("none", "sum", "mean"),
    "return_per_class": (True,),
    "return_sentence_level_score": (True,),
    "return_sq_and_rq": (True,),
    "rouge_keys": ("rougeL",),
    "scale_invariant": (False,),
    "smooth": (True,),
    "squared": (True, False),
    "substitution_cost": (2,),
    "t_test": (True,),
    "task": ("demographic_parity",),
    "thresholds": (5, [0.0, 0.5, 1.0]),
    "top_k": (2,),
    "variant": ("a", "c"),
    "weight_type": ("simple", "linear"),
    "weights": ("linear", "quadratic"),
    "zero_mean": (True,),
}
# Combinations that had faults of their own in the field.
TOGETHER: tuple[Mapping[str, Any], ...] = (
    {"average": None, "ignore_index": 0},
    {"average": None, "top_k": 2},
    {"average": None, "multidim_average": "samplewise"},
    {"top_k": 2, "ignore_index": -1},
    {"average": None, "thresholds": 5},
)
# Data of its own for some rows.
DATA: Mapping[str, tuple[Callable[[], SearchStrategy[Any]], str]] = {
    "nan_strategy": (lambda: value_batches(nan=True), "floats [N], multiples of 0.1, some NaN"),
    "R2Score": (
        lambda: regression_batches(
            shape=(2,), low=0, high=1, step=1 / 65536, degenerate=False, min_size=2, min_batches=2
        ),
        "preds and target [N, 2], random",
    ),
}


def recipes_for(name: str, cls: type, variants: bool = True) -> Iterator[Recipe]:
    """The rows of a class, by its name from the subpackage on: with the usual arguments first.

    Raises:
        Exception: it can't be made with the usual ones, or nothing says what it takes.
    """
    if name in AROUND:
        for label, factory in list(AROUND[name].items())[: None if variants else 1]:
            suited = strategy_for(factory)
            if cls.__name__ == "BootStrapper":
                suited = suited._replace(
                    batches=suited.batches.map(_constant), data="preds and target, the same in a batch"
                )
            yield Recipe(f"{name}({label})", suited, REFERENCES.get(f"{cls.__name__}({label})"))
        return
    plain = strategy_for(cls)
    yield _recipe(name, cls, plain, {})
    if not variants:
        return
    parameters = inspect.signature(cls).parameters
    singly = [{key: value} for key in parameters for value in VALUES.get(key, ())]
    for given in [*singly, *(dict(both) for both in TOGETHER)]:
        known = all(key in parameters for key in given)
        usual = {key: plain.arguments.get(key, parameters[key].default) for key in given if key in parameters}
        if not known or any(usual[key] == value and type(usual[key]) is type(value) for key, value in given.items()):
            continue
        try:
            suited = strategy_for(cls, **given)
        except Exception:
            continue  # this class does not take this value
        yield _recipe(name, cls, suited, given)


def _recipe(name: str, cls: type, suited: Suited, given: Mapping[str, Any]) -> Recipe:
    label = f"({', '.join(f'{key}={value!r}' for key, value in given.items())})" if given else ""
    for what, (batches, words) in DATA.items():
        if (what in given and name.startswith("aggregation.")) or (what == cls.__name__ and "multioutput" in given):
            suited = suited._replace(batches=batches(), data=words)
    return Recipe(name + label, _told(suited), REFERENCES.get(cls.__name__ + label))


def _told(suited: Suited) -> Suited:
    """With the arguments among the words."""
    made = ", ".join(
        f"{key}={getattr(value, '__name__', None) or repr(value)}" for key, value in suited.arguments.items()
    )
    return suited._replace(data=f"{suited.data}; made with `{made}`" if made else suited.data)
