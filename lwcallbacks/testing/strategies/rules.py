"""What each class of torchmetrics takes, by its module path and its attributes; a table that `strategy_for` looks up.

A rule stays inside of what the class documents: probabilities where it asks for them, two samples where it needs two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lwcallbacks.testing.samples import Args
from lwcallbacks.testing.strategies.classes import binary_batches, multiclass_batches, multilabel_batches
from lwcallbacks.testing.strategies.numbers import grid, noise, tensors
from lwcallbacks.testing.strategies.pictures import box_batches, image_batches, mask_batches
from lwcallbacks.testing.strategies.quantities import distribution_batches, regression_batches, value_batches
from lwcallbacks.testing.strategies.sequences import audio_batches, retrieval_batches, text_batches
from lwcallbacks.testing.strategies.splitting import batches_of


class Data(NamedTuple):
    """A strategy for lists of batches, and what they are in words."""

    batches: SearchStrategy[list[Any]]
    words: str


@dataclass(frozen=True)
class Rule:
    """What some classes take.

    Attributes:
        pattern: their names, from the subpackage on, as r"image\\.\\w+".
        data: what an instance of them takes.
        arguments: of the constructor, beside those that follow from its signature.
    """

    pattern: str
    data: Callable[[Any], Data]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def name_of(cls: type) -> str:
    """A class of torchmetrics by its subpackage and name, as "image.TotalVariation"."""
    return f"{cls.__module__.removeprefix('torchmetrics.').partition('.')[0]}.{cls.__name__}"


def rule_for(cls: type) -> Rule | None:
    """The rule of a class or of the first class that it inherits from and that has one."""
    for base in cls.__mro__:
        if base.__module__.startswith("torchmetrics."):
            for rule in RULES:
                if re.fullmatch(rule.pattern, name_of(base)):
                    return rule
    return None


# Arguments that a constructor asks for, by name.
REQUIRED: Mapping[str, Any] = {
    "num_classes": 3,
    "num_labels": 3,
    "num_groups": 2,
    "num_outputs": 2,
    "beta": 2.0,
    "min_recall": 0.5,
    "min_precision": 0.5,
    "min_sensitivity": 0.5,
    "min_specificity": 0.5,
    "threshold": 0.5,
    "window": 3,
    "p": 3,
    "data_range": 1.0,
    "things": [0, 1],
    "stuffs": [6, 7],
    "mouth_map": [0, 1],
    "task": "multiclass",
}


def _fixed(batches: SearchStrategy[list[Any]], words: str) -> Callable[[Any], Data]:
    return lambda metric: Data(batches, words)


def _pair(words: str, **options: Any) -> Callable[[Any], Data]:
    """Regression, with as many outputs as the metric has."""

    def data(metric: Any) -> Data:
        outputs = getattr(metric, "num_outputs", 1)
        if outputs == 1:
            return Data(regression_batches(**options), f"preds and target [N], {words}")
        return Data(regression_batches(shape=(outputs,), **options), f"preds and target [N, {outputs}], {words}")

    return data


def classes_of(metric: Any) -> int:
    """How many classes or labels a metric says that it has; 3 where it does not say."""
    number = getattr(metric, "num_classes", None) or getattr(metric, "num_labels", None)
    return number if isinstance(number, int) else 3


def _options(metric: Any) -> tuple[dict[str, Any], str]:
    ignored = getattr(metric, "ignore_index", None)
    shape = (2,) if getattr(metric, "multidim_average", "global") == "samplewise" else ()
    options = {"ignore_index": ignored if isinstance(ignored, int) else None, "shape": shape}
    return options, f", some {ignored}" if isinstance(ignored, int) else ""


def binary(metric: Any) -> Data:
    options, ignored = _options(metric)
    size = "[N, 2]" if options["shape"] else "[N]"
    return Data(binary_batches(**options), f"probabilities {size}, multiples of 0.05, labels 0 and 1{ignored}")


def multiclass(metric: Any) -> Data:
    options, ignored = _options(metric)
    classes = classes_of(metric)
    size = f"[N, {classes}, 2]" if options["shape"] else f"[N, {classes}]"
    words = f"probabilities {size} that sum to 1, labels of {classes} classes{ignored}"
    return Data(multiclass_batches(classes, **options), words)


def multilabel(metric: Any) -> Data:
    options, ignored = _options(metric)
    labels = classes_of(metric)
    size = f"[N, {labels}, 2]" if options["shape"] else f"[N, {labels}]"
    words = f"probabilities {size}, multiples of 0.05, labels 0 and 1{ignored}"
    return Data(multilabel_batches(labels, **options), words)


def _exact_match(metric: Any) -> Data:
    options, ignored = _options(metric)
    classes = classes_of(metric)
    batches = multiclass_batches(classes, preds="labels", **{**options, "shape": (2,)})
    return Data(batches, f"labels [N, 2] of {classes} classes{ignored}")


def _two_labels(metric: Any) -> Data:
    classes = classes_of(metric)
    batches = multiclass_batches(classes, preds="labels", min_size=2, min_batches=2)
    return Data(batches, f"labels of {classes} categories, two samples at least in a batch")


def _every_group(batch: tuple[Tensor, ...], last: int) -> tuple[Tensor, ...]:
    """The first samples are given one group each, so that a batch has all."""
    groups = batch[-1].clone()
    groups[:last] = torch.arange(last)
    return (*batch[:-1], groups)


def _groups(metric: Any) -> Data:
    number = getattr(metric, "num_groups", 2)

    def samples(draw: DrawFn, n: int) -> Args:
        scores, labels = draw(grid(n, low=0, high=1, step=0.05)), draw(tensors(n, torch.int64, max_value=1))
        return scores, labels, draw(tensors(n, torch.int64, max_value=number - 1))

    batches = batches_of(samples, min_size=number).map(lambda bs: [_every_group(b, number) for b in bs])
    return Data(batches, f"probabilities, labels 0 and 1, {number} groups of which each batch has all")


def _points(metric: Any) -> Data:
    def samples(draw: DrawFn, n: int) -> Args:
        return draw(noise((n, 2), levels=2**16)), draw(tensors(n, torch.int64, max_value=1))

    batches = batches_of(samples, min_size=3, min_batches=2).map(lambda bs: [_every_group(b, 2) for b in bs])
    return Data(batches, "points [N, 2], two clusters of which each batch holds both")


def _panoptic(metric: Any) -> Data:
    categories = torch.tensor(sorted({*getattr(metric, "things", [0, 1]), *getattr(metric, "stuffs", [6, 7])}))

    def picture(draw: DrawFn, n: int) -> Tensor:
        category = categories[draw(tensors((n, 2, 3), torch.int64, max_value=len(categories) - 1))]
        return torch.stack([category, draw(tensors((n, 2, 3), torch.int64, max_value=1))], -1)

    return Data(
        batches_of(lambda draw, n: (picture(draw, n), picture(draw, n))), "category and instance of 2 x 3 pixels"
    )


def _ratings(draw: DrawFn, n: int) -> Args:
    chosen = draw(tensors((n, 4), torch.int64, max_value=2))
    return (torch.nn.functional.one_hot(chosen, 3).sum(1),)


def _ensembles(draw: DrawFn, n: int) -> Args:
    return draw(grid((n, 3))), draw(grid(n))


def _vertices(draw: DrawFn, n: int) -> Args:
    return draw(noise((n, 4, 3))), draw(noise((n, 4, 3)))


def _clouds(draw: DrawFn, n: int) -> Args:
    return draw(noise((n, 5, 2), levels=2**16)), draw(noise((n, 5, 2), levels=2**16))


def _spectra(draw: DrawFn, n: int) -> Args:
    return draw(noise((n, 5, 4, 2), low=-1)), draw(noise((n, 5, 4, 2), low=-1))


def _logits(draw: DrawFn, n: int) -> Args:
    return draw(grid((n, 2, 4))), draw(tensors((n, 2), torch.int64, max_value=3))


def _pansharpened(draw: DrawFn, n: int) -> Args:
    low = {"ms": draw(noise((n, 3, 8, 8))), "pan_lr": draw(noise((n, 3, 8, 8)))}
    return draw(noise((n, 3, 16, 16))), {**low, "pan": draw(noise((n, 3, 16, 16)))}


def _answers(batch: tuple[list[str], list[str]]) -> Args:
    # A question's id is the pair itself, so that no two questions have the same.
    named = [(pred, truth, f"{pred}/{truth}") for pred, truth in zip(*batch, strict=True)]
    return (
        [{"prediction_text": pred, "id": name} for pred, _, name in named],
        [{"answers": {"answer_start": [0], "text": [truth]}, "id": name} for _, truth, name in named],
    )


def _masks(metric: Any, **options: Any) -> Data:
    classes, form = classes_of(metric), getattr(metric, "input_format", "index")
    words = f"{'labels' if form == 'index' else 'one-hot labels'} of 4 x 4 pixels, {classes} classes"
    every = ", all in every picture" if options else ""
    return Data(mask_batches(classes, form="index" if form == "index" else "one-hot", **options), words + every)


def _picture_pairs(channels: int, size: int, **options: Any) -> Callable[[Any], Data]:
    words = f"pictures [N, {channels}, {size}, {size}] of 256 levels in 0 to 1"
    return _fixed(image_batches(channels=channels, size=size, degenerate=False, **options), words)


def _scale_invariant(preds: Tensor, target: Tensor) -> Tensor:
    from torchmetrics.functional.audio import scale_invariant_signal_noise_ratio

    return scale_invariant_signal_noise_ratio(preds, target)


_TEXT = "texts of 1 to 6 of six words"
_INDEX = {"input_format": "index", "num_classes": 3}
_DEFINED = "two samples at least and not constant, where these are defined"
_SPEAKERS = _fixed(audio_batches(shape=(2, 16), degenerate=False), "two speakers [N, 2, 16], random numbers")
_POSITIVE = {"low": 0.1, "high": 5.0}

RULES = (
    Rule(r"classification\.Binary(Fairness|GroupStatRates)", _groups),
    Rule(r"classification\.Binary\w+", binary),
    Rule(r"classification\.MulticlassExactMatch", _exact_match),
    Rule(r"classification\.Multiclass\w+", multiclass),
    Rule(r"classification\.Multilabel\w+", multilabel),
    Rule(r"aggregation\.\w+", _fixed(value_batches(), "floats [N], multiples of 0.1")),
    Rule(r"clustering\.(Calinski|Davies|Dunn)\w+", _points),
    Rule(r"clustering\.\w+", _fixed(multiclass_batches(3, preds="labels"), "labels of 3 clusters")),
    Rule(r"detection\.\w*PanopticQuality", _panoptic),
    Rule(r"detection\.\w+", _fixed(box_batches(), "boxes of 2 classes, 0 to 3 in an image")),
    Rule(r"nominal\.FleissKappa", _fixed(batches_of(_ratings), "counts of 4 raters over 3 categories")),
    Rule(r"nominal\.\w+", _two_labels),
    Rule(
        r"regression\.(KLDivergence|JensenShannonDivergence)",
        _fixed(distribution_batches(3), "distributions [N, 3], no zeros"),
    ),
    Rule(
        r"regression\.CosineSimilarity",
        _fixed(regression_batches(shape=(3,)), "vectors [N, 3], multiples of 0.1"),
    ),
    Rule(
        r"regression\.ContinuousRankedProbabilityScore",
        _fixed(batches_of(_ensembles), "ensembles [N, 3] and targets [N], multiples of 0.1"),
    ),
    Rule(r"regression\.CriticalSuccessIndex", _pair("multiples of 0.05 in 0 to 1", low=0, high=1, step=0.05)),
    Rule(
        r"regression\.(MeanSquaredLogError|NormalizedRootMeanSquaredError|\w*PercentageError)",
        _pair("multiples of 0.1 from 0.1 to 5", **_POSITIVE),
    ),
    Rule(
        r"regression\.(R2Score|ExplainedVariance|RelativeSquaredError|\w+CorrCoef)",
        _pair(f"random; {_DEFINED}", low=0, high=1, step=1 / 65536, degenerate=False, min_size=2, min_batches=2),
    ),
    Rule(r"regression\.\w+", _pair("multiples of 0.1")),
    Rule(
        r"retrieval\.\w+",
        _fixed(retrieval_batches(), "scores in multiples of 0.05 (with ties), relevance 0 or 1, three queries"),
    ),
    Rule(r"segmentation\.HausdorffDistance", lambda metric: _masks(metric, every_class=True), _INDEX),
    Rule(r"segmentation\.\w+", _masks, _INDEX),
    Rule(r"shape\.ProcrustesDisparity", _fixed(batches_of(_clouds), "points [N, 5, 2]")),
    # "rougeLsum", which is one of the usual keys, needs a tokenizer that is downloaded.
    Rule(r"text\.ROUGEScore", _fixed(text_batches(), _TEXT), {"rouge_keys": ("rouge1", "rouge2", "rougeL")}),
    Rule(
        r"text\.(BLEUScore|SacreBLEUScore|CHRFScore|TranslationEditRate|ExtendedEditDistance)",
        _fixed(text_batches(references=1), f"{_TEXT}, one reference each"),
    ),
    Rule(r"text\.SQuAD", _fixed(text_batches().map(lambda bs: [_answers(b) for b in bs]), f"answers: {_TEXT}")),
    Rule(r"text\.Perplexity", _fixed(batches_of(_logits), "logits [N, 2, 4], tokens [N, 2]")),
    Rule(r"text\.(CharErrorRate|EditDistance|MatchErrorRate|Word\w+)", _fixed(text_batches(), _TEXT)),
    Rule(
        r"audio\.ComplexScaleInvariantSignalNoiseRatio",
        _fixed(batches_of(_spectra, max_size=3), "spectra [N, 5, 4, 2] of random numbers"),
    ),
    Rule(r"audio\.PermutationInvariantTraining", _SPEAKERS, {"metric_func": _scale_invariant}),
    Rule(r"audio\.SourceAggregated\w+", _SPEAKERS),
    Rule(
        r"audio\.SignalDistortionRatio",
        _fixed(audio_batches(shape=(32,), degenerate=False), "sounds [N, 32], random numbers"),
        {"filter_length": 4},
    ),
    Rule(
        r"audio\.(ScaleInvariant)?Signal(Noise|Distortion)Ratio",
        _fixed(audio_batches(degenerate=False), "sounds [N, 16], random numbers"),
    ),
    Rule(
        r"multimodal\.LipVertexError",
        _fixed(batches_of(_vertices, max_size=3), "vertices [frames, 4, 3], random numbers"),
    ),
    Rule(r"image\.TotalVariation", _picture_pairs(3, 16, pair=False)),
    Rule(r"image\.PeakSignalNoiseRatioWithBlockedEffect", _picture_pairs(1, 16)),
    Rule(r"image\.StructuralSimilarityIndexMeasure", _picture_pairs(3, 16), {"data_range": 1.0}),
    Rule(
        r"image\.MultiScaleStructuralSimilarityIndexMeasure",
        _picture_pairs(3, 16),
        {"data_range": 1.0, "kernel_size": 3, "betas": (0.5, 0.5)},
    ),
    Rule(r"image\.VisualInformationFidelity", _picture_pairs(1, 41)),
    Rule(
        r"image\.(QualityWithNoReference|SpatialDistortionIndex)",
        _fixed(
            batches_of(_pansharpened, max_size=3), "pictures [N, 3, 16, 16], `ms` and `pan_lr` 8 x 8, `pan` 16 x 16"
        ),
    ),
    Rule(
        r"image\.(PeakSignalNoiseRatio|ErrorRelativeGlobalDimensionlessSynthesis|RelativeAverageSpectralError"
        r"|RootMeanSquaredErrorUsingSlidingWindow|SpatialCorrelationCoefficient|SpectralAngleMapper"
        r"|SpectralDistortionIndex|UniversalImageQualityIndex)",
        _picture_pairs(3, 16),
    ),
)
