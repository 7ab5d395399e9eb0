"""How each metric class of torchmetrics is made for `torchmetrics_report.py`, and what data it is given.

A recipe stays inside of what the metric documents: probabilities where it asks for them, two samples where it needs
two, no NaN. Scores and labels are of few values, so that ties happen; most are no binary fractions, so that sums round.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchmetrics
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor, nn

from lwcallbacks.testing import tensors

Draw = Callable[[SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Recipe:
    """A way to examine a class.

    Attributes:
        pattern: the full class names, from the subpackage on, that it is for.
        arguments: of the constructor; a callable gets the class and returns them, so that inner metrics are new.
        sample: draws the arguments of one update with n samples.
        data: what the samples are, in words.
        least: samples in a batch at least; 2 also means at least two batches.
    """

    pattern: str
    arguments: dict[str, Any] | Callable[[], dict[str, Any]]
    sample: Callable[[Draw, int], tuple[Any, ...]]
    data: str
    least: int = 1
    most: int = 5

    def batches(self) -> SearchStrategy[list[tuple[Any, ...]]]:
        @st.composite
        def drawn(draw: DrawFn) -> list[tuple[Any, ...]]:
            number = draw(st.integers(min(self.least, 2), 3))
            return [self.sample(draw, draw(st.integers(self.least, self.most))) for _ in range(number)]

        return drawn()

    def told(self) -> str:
        """Arguments and data, in words."""
        simple = "" if callable(self.arguments) else ", ".join(f"{k}={_named(v)}" for k, v in self.arguments.items())
        return f"{self.data}; made with `{simple}`" if simple else self.data

    def factory(self, cls: type, name: str) -> Callable[[], Any]:
        """What makes the metric, in a form that the kit can write into a program."""
        if callable(self.arguments):
            return functools.partial(_made, cls, self.arguments, _numbers(name))
        arguments = {**self.arguments, **_numbers(name)}
        return functools.partial(cls, **arguments) if arguments else cls


def _made(cls: type, arguments: Callable[[], dict[str, Any]], numbers: dict[str, Any]) -> Any:
    return cls(**arguments(), **numbers)


def _named(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _numbers(name: str) -> dict[str, Any]:
    """Constructor arguments that follow from a name of the classification package."""
    found: dict[str, Any] = {}
    if not name.startswith("classification."):
        return found
    if "Multiclass" in name:
        found["num_classes"] = 3
    if "Multilabel" in name:
        found["num_labels"] = 3
    if "FBeta" in name:
        found["beta"] = 2.0
    for least in ("recall", "precision", "sensitivity", "specificity"):
        if f"Fixed{least.capitalize()}" in name or f"At{least.capitalize()}" in name:
            found[f"min_{least}"] = 0.5
    if "Fairness" in name or "GroupStatRates" in name:
        found["num_groups"] = 2
    return found


def recipe_for(name: str) -> Recipe | None:
    """The recipe of a class, by its name from the subpackage on, such as "image.TotalVariation"."""
    return next((recipe for recipe in RECIPES if re.fullmatch(recipe.pattern, name)), None)


# What samples are made of.


def labels(draw: Draw, *shape: int, classes: int = 3) -> Tensor:
    return draw(tensors(shape, torch.int64, max_value=classes - 1))  # type: ignore[no-any-return]


def tenths(draw: Draw, *shape: int, low: int = -50, high: int = 50) -> Tensor:
    return draw(tensors(shape, torch.int64, min_value=low, max_value=high)) / 10


def scores(draw: Draw, *shape: int) -> Tensor:
    return draw(tensors(shape, torch.int64, max_value=20)) / 20


def distributions(draw: Draw, *shape: int) -> Tensor:
    drawn = draw(tensors(shape, torch.int64, min_value=1, max_value=20)).float()
    return drawn / drawn.sum(-1, keepdim=True)


def noise(draw: Draw, *shape: int) -> Tensor:
    """Uniform in 0.05 to 0.95, from a drawn seed: pictures and sounds are too large to be drawn number by number."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    return 0.05 + 0.9 * torch.rand(shape, generator=generator)


def _sentence(draw: Draw) -> str:
    return " ".join(draw(st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "mat"]), min_size=4, max_size=6)))


def sentences(draw: Draw, n: int) -> list[str]:
    return [_sentence(draw) for _ in range(n)]


def _clusters(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    # Both clusters in every batch, and one of two samples: what these scores are defined for.
    return noise(draw, n, 2), torch.cat([torch.tensor([0, 1]), labels(draw, n - 2, classes=2)])


def _ratings(draw: Draw, n: int) -> tuple[Tensor]:
    return (nn.functional.one_hot(labels(draw, n, 4), 3).sum(1),)


def _squad(draw: Draw, n: int) -> tuple[list[Any], list[Any]]:
    # A question's id is the pair itself, so that no two questions have the same.
    pairs = [(pred, truth, f"{pred}/{truth}") for pred, truth in zip(*(sentences(draw, n) for _ in "ab"), strict=True)]
    return (
        [{"prediction_text": pred, "id": name} for pred, _, name in pairs],
        [{"answers": {"answer_start": [0], "text": [truth]}, "id": name} for _, truth, name in pairs],
    )


def _panoptic(draw: Draw, *shape: int) -> Tensor:
    category = torch.tensor([0, 1, 6, 7])[labels(draw, *shape, classes=4)]
    return torch.stack([category, labels(draw, *shape, classes=2)], -1)


def _pansharpened(draw: Draw, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    low = {"ms": noise(draw, n, 3, 8, 8), "pan_lr": noise(draw, n, 3, 8, 8)}
    return noise(draw, n, 3, 16, 16), {**low, "pan": noise(draw, n, 3, 16, 16)}


def _two_tasks(draw: Draw, n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    preds = {"binary": scores(draw, n), "regression": tenths(draw, n)}
    return preds, {"binary": labels(draw, n, classes=2), "regression": tenths(draw, n)}


def _segments(draw: Draw, n: int) -> Tensor:
    """Labels of 4 x 4 pixels of which every class has some: a distance to an empty class is not defined."""
    pixels = labels(draw, n, 4, 4)
    pixels[:, 0, :3] = torch.arange(3)
    return pixels


def _binary(draw: Draw, n: int) -> tuple[Any, ...]:
    return scores(draw, n), labels(draw, n, classes=2)


def _groups(draw: Draw, n: int) -> tuple[Any, ...]:
    # Both groups in every batch.
    return (*_binary(draw, n), torch.cat([torch.tensor([0, 1]), labels(draw, n - 2, classes=2)]))


def _multilabel(draw: Draw, n: int) -> tuple[Any, ...]:
    return scores(draw, n, 3), labels(draw, n, 3, classes=2)


def _pictures(channels: int, size: int) -> Callable[[Draw, int], tuple[Any, ...]]:
    return lambda draw, n: (noise(draw, n, channels, size, size), noise(draw, n, channels, size, size))


def _sounds(*shape: int) -> Callable[[Draw, int], tuple[Any, ...]]:
    return lambda draw, n: (noise(draw, n, *shape) - 0.5, noise(draw, n, *shape) - 0.5)


_RETRIEVAL = "scores in twentieths (with ties), relevance 0 or 1, three queries"
_TEXT = "sentences of 4 to 6 of six words"
_PAIRS = "preds and target [N], multiples of 0.1"
_SNR = torchmetrics.functional.audio.scale_invariant_signal_noise_ratio

RECIPES = [
    Recipe(r"classification\.Binary(Fairness|GroupStatRates)", {}, _groups, "scores, labels, both groups", 2),
    Recipe(r"classification\.Binary\w+", {}, _binary, "scores in twentieths in [0, 1], labels 0 and 1"),
    Recipe(
        r"classification\.MulticlassExactMatch",
        {},
        lambda d, n: (labels(d, n, 2), labels(d, n, 2)),
        "labels [N, 2] of 3 classes",
    ),
    Recipe(
        r"classification\.Multiclass\w+",
        {},
        lambda d, n: (distributions(d, n, 3), labels(d, n)),
        "probabilities [N, 3] that sum to 1, labels of 3 classes",
    ),
    Recipe(r"classification\.Multilabel\w+", {}, _multilabel, "scores in twentieths [N, 3], labels 0 and 1"),
    Recipe(r"aggregation\.Running\w+", {"window": 3}, lambda d, n: (tenths(d, n),), "floats [N], multiples of 0.1"),
    Recipe(r"aggregation\.\w+Metric", {}, lambda d, n: (tenths(d, n),), "floats [N], multiples of 0.1"),
    Recipe(
        r"clustering\.(Calinski|Davies|Dunn)\w+",
        {},
        _clusters,
        "points [N, 2], two clusters of which each batch holds both",
        3,
    ),
    Recipe(
        r"clustering\.ClusterAccuracy",
        {"num_classes": 3},
        lambda d, n: (labels(d, n), labels(d, n)),
        "labels of 3 classes",
    ),
    Recipe(r"clustering\.\w+", {}, lambda d, n: (labels(d, n), labels(d, n)), "labels of 3 clusters"),
    Recipe(
        r"detection\.\w*PanopticQuality",
        {"things": [0, 1], "stuffs": [6, 7]},
        lambda d, n: (_panoptic(d, n, 2, 3), _panoptic(d, n, 2, 3)),
        "category and instance of 2 x 3 pixels",
    ),
    Recipe(r"nominal\.FleissKappa", {}, _ratings, "counts of 4 raters over 3 categories"),
    Recipe(
        r"nominal\.\w+", {"num_classes": 3}, lambda d, n: (labels(d, n), labels(d, n)), "labels of 3 categories", 2, 6
    ),
    Recipe(
        r"regression\.(KLDivergence|JensenShannonDivergence)",
        {},
        lambda d, n: (distributions(d, n, 3), distributions(d, n, 3)),
        "distributions [N, 3]",
    ),
    Recipe(
        r"regression\.CosineSimilarity", {}, lambda d, n: (tenths(d, n, 3), tenths(d, n, 3)), "vectors [N, 3] of tenths"
    ),
    Recipe(
        r"regression\.ContinuousRankedProbabilityScore",
        {},
        lambda d, n: (tenths(d, n, 3), tenths(d, n)),
        "ensembles [N, 3] and targets [N], multiples of 0.1",
    ),
    Recipe(r"regression\.CriticalSuccessIndex", {"threshold": 0.5}, lambda d, n: (scores(d, n), scores(d, n)), _PAIRS),
    Recipe(r"regression\.MinkowskiDistance", {"p": 3}, lambda d, n: (tenths(d, n), tenths(d, n)), _PAIRS),
    Recipe(
        r"regression\.(MeanSquaredLogError|NormalizedRootMeanSquaredError|\w*PercentageError)",
        {},
        lambda d, n: (tenths(d, n, low=1), tenths(d, n, low=1)),
        "preds and target [N], multiples of 0.1 from 0.1 to 5",
    ),
    Recipe(
        r"regression\.(R2Score|ExplainedVariance|RelativeSquaredError|PearsonCorrCoef|ConcordanceCorrCoef|\w+RankCorrCoef|SpearmanCorrCoef)",
        {},
        lambda d, n: (noise(d, n), noise(d, n)),
        "preds and target [N], uniform random; at least two samples and not constant, where these are defined",
        2,
    ),
    Recipe(r"regression\.\w+", {}, lambda d, n: (tenths(d, n), tenths(d, n)), _PAIRS),
    Recipe(
        r"retrieval\.\w+",
        {},
        lambda d, n: (scores(d, n), labels(d, n, classes=2), labels(d, n)),
        _RETRIEVAL,
    ),
    Recipe(
        r"segmentation\.HausdorffDistance",
        {"num_classes": 3, "input_format": "index"},
        lambda d, n: (_segments(d, n), _segments(d, n)),
        "labels of 4 x 4 pixels, 3 classes, all in every picture",
    ),
    Recipe(
        r"segmentation\.\w+",
        {"num_classes": 3, "input_format": "index"},
        lambda d, n: (labels(d, n, 4, 4), labels(d, n, 4, 4)),
        "labels of 4 x 4 pixels, 3 classes",
    ),
    Recipe(r"shape\.ProcrustesDisparity", {}, lambda d, n: (noise(d, n, 5, 2), noise(d, n, 5, 2)), "points [N, 5, 2]"),
    Recipe(
        r"text\.ROUGEScore",
        {"rouge_keys": ("rouge1", "rouge2", "rougeL")},
        lambda d, n: (sentences(d, n), sentences(d, n)),
        _TEXT,
    ),
    Recipe(
        r"text\.(BLEUScore|SacreBLEUScore|CHRFScore|TranslationEditRate|ExtendedEditDistance)",
        {},
        lambda d, n: (sentences(d, n), [[text] for text in sentences(d, n)]),
        f"{_TEXT}, one reference each",
    ),
    Recipe(r"text\.SQuAD", {}, _squad, f"answers: {_TEXT}"),
    Recipe(
        r"text\.Perplexity",
        {},
        lambda d, n: (tenths(d, n, 2, 4), labels(d, n, 2, classes=4)),
        "logits [N, 2, 4], tokens [N, 2]",
    ),
    Recipe(
        r"text\.(CharErrorRate|EditDistance|MatchErrorRate|Word\w+)",
        {},
        lambda d, n: (sentences(d, n), sentences(d, n)),
        _TEXT,
    ),
    Recipe(
        r"audio\.ComplexScaleInvariantSignalNoiseRatio", {}, _sounds(5, 4, 2), "spectra [N, 5, 4, 2] of random numbers"
    ),
    Recipe(
        r"audio\.PermutationInvariantTraining",
        {"metric_func": _SNR},
        _sounds(2, 16),
        "two speakers [N, 2, 16], random numbers",
    ),
    Recipe(r"audio\.SourceAggregated\w+", {}, _sounds(2, 16), "two speakers [N, 2, 16], random numbers"),
    Recipe(r"audio\.SignalDistortionRatio", {"filter_length": 4}, _sounds(32), "sounds [N, 32], random numbers"),
    Recipe(r"audio\.(ScaleInvariant)?Signal(Noise|Distortion)Ratio", {}, _sounds(16), "sounds [N, 16], random numbers"),
    Recipe(
        r"multimodal\.LipVertexError",
        {"mouth_map": [0, 1]},
        lambda d, n: (noise(d, n, 4, 3), noise(d, n, 4, 3)),
        "vertices [frames, 4, 3], random numbers",
    ),
    Recipe(r"image\.TotalVariation", {}, lambda d, n: (noise(d, n, 3, 16, 16),), "pictures [N, 3, 16, 16]"),
    Recipe(
        r"image\.PeakSignalNoiseRatioWithBlockedEffect",
        {"data_range": 1.0},
        _pictures(1, 16),
        "pictures [N, 1, 16, 16]",
    ),
    Recipe(r"image\.PeakSignalNoiseRatio", {"data_range": 1.0}, _pictures(3, 16), "pictures [N, 3, 16, 16]"),
    Recipe(
        r"image\.StructuralSimilarityIndexMeasure", {"data_range": 1.0}, _pictures(3, 16), "pictures [N, 3, 16, 16]"
    ),
    Recipe(
        r"image\.MultiScaleStructuralSimilarityIndexMeasure",
        {"data_range": 1.0, "kernel_size": 3, "betas": (0.5, 0.5)},
        _pictures(3, 16),
        "pictures [N, 3, 16, 16]",
    ),
    Recipe(r"image\.VisualInformationFidelity", {}, _pictures(1, 41), "pictures [N, 1, 41, 41], the least allowed"),
    Recipe(
        r"image\.(QualityWithNoReference|SpatialDistortionIndex)",
        {},
        _pansharpened,
        "pictures [N, 3, 16, 16], `ms` and `pan_lr` 8 x 8, `pan` 16 x 16",
    ),
    Recipe(r"image\.(?!Deep)\w+", {}, _pictures(3, 16), "pictures [N, 3, 16, 16]"),
    Recipe(
        r"wrappers\.BinaryTargetTransformer",
        lambda: {"wrapped_metric": torchmetrics.classification.BinaryAccuracy()},
        _binary,
        "around BinaryAccuracy: scores, labels",
    ),
    Recipe(
        r"wrappers\.LambdaInputTransformer",
        lambda: {"wrapped_metric": torchmetrics.classification.BinaryAccuracy(), "transform_pred": _complement},
        _binary,
        "around BinaryAccuracy: scores, labels",
    ),
    Recipe(
        r"wrappers\.BootStrapper",
        lambda: {"base_metric": torchmetrics.MeanSquaredError(), "num_bootstraps": 3},
        lambda d, n: (tenths(d, n), tenths(d, n)),
        f"around MeanSquaredError: {_PAIRS}",
    ),
    Recipe(
        r"wrappers\.ClasswiseWrapper",
        lambda: {"metric": torchmetrics.classification.MulticlassAccuracy(num_classes=3, average=None)},
        lambda d, n: (distributions(d, n, 3), labels(d, n)),
        "around MulticlassAccuracy: probabilities, labels",
    ),
    Recipe(
        r"wrappers\.MinMaxMetric",
        lambda: {"base_metric": torchmetrics.classification.BinaryAccuracy()},
        _binary,
        "around BinaryAccuracy: scores, labels",
    ),
    Recipe(
        r"wrappers\.MultioutputWrapper",
        lambda: {"base_metric": torchmetrics.MeanSquaredError(), "num_outputs": 2},
        lambda d, n: (tenths(d, n, 2), tenths(d, n, 2)),
        "around MeanSquaredError: pairs [N, 2]",
    ),
    Recipe(
        r"wrappers\.MultitaskWrapper",
        lambda: {
            "task_metrics": {
                "binary": torchmetrics.classification.BinaryAccuracy(),
                "regression": torchmetrics.MeanSquaredError(),
            }
        },
        _two_tasks,
        "around BinaryAccuracy and MeanSquaredError",
    ),
    Recipe(
        r"wrappers\.Running",
        lambda: {"base_metric": torchmetrics.SumMetric(), "window": 3},
        lambda d, n: (tenths(d, n),),
        "around SumMetric: floats [N], multiples of 0.1",
    ),
    Recipe(
        r"collections\.MetricCollection",
        lambda: {
            "metrics": [
                torchmetrics.classification.BinaryAccuracy(),
                torchmetrics.classification.BinaryPrecision(),
                torchmetrics.classification.BinaryAUROC(),
            ]
        },
        _binary,
        "BinaryAccuracy, BinaryPrecision and BinaryAUROC: scores, labels",
    ),
]


def _complement(preds: Tensor) -> Tensor:
    return 1 - preds
