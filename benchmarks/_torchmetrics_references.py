"""What values should be, for `torchmetrics_report.py`: scikit-learn, scipy and numpy on all samples at once.

By class, with the arguments that are not the usual ones. Each gets what one `update` gets. It returns None where the
value is a matter of taste: one class only, no positives, ties.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats
from scipy.special import rel_entr
from scipy.stats.contingency import association
from sklearn import metrics as sk
from torch import Tensor

from lwcallbacks.testing import Suited  # noqa: F401, so that programs have these functions written out


def per_class(preds: Tensor, target: Tensor, score: Callable[..., float]) -> list[float] | None:
    """A binary score of each class against the others; None where a class has no sample or all of them."""
    classes = range(preds.shape[1])
    truths = [(target == c if target.ndim == 1 else target[:, c] == 1).numpy() for c in classes]
    if any(truth.all() or not truth.any() for truth in truths):
        return None
    return [score(truth, preds[:, c].numpy()) for c, truth in zip(classes, truths, strict=True)]


def macro(preds: Tensor, target: Tensor, score: Callable[..., float]) -> float | None:
    """The mean of these."""
    found = per_class(preds, target, score)
    return None if found is None else float(np.mean(found))


def both_classes(preds: Tensor, target: Tensor, score: Callable[..., float]) -> float | None:
    """A score of two classes where both are there."""
    return score(target.numpy(), preds.numpy()) if 0 < target.float().mean() < 1 else None


def two_labels(first: Tensor, second: Tensor, score: Callable[..., float]) -> float | None:
    """A score of two labellings, where neither is constant."""
    if len(set(first.tolist())) < 2 or len(set(second.tolist())) < 2:
        return None
    return float(score(first.numpy(), second.numpy()))


def one_column_varies(*columns: Tensor) -> bool:
    """Whether none is constant."""
    return all(bool((column != column[:1]).any()) for column in columns)


def points(data: Tensor, labels: Tensor, score: Callable[..., float]) -> float | None:
    """A score of clusters, where there are fewer of them than points."""
    if not 1 < len(set(labels.tolist())) < len(labels):
        return None
    return float(score(data.double().numpy(), labels.numpy()))


def of_queries(preds: Tensor, target: Tensor, indexes: Tensor, score: Callable[..., float]) -> float | None:
    """The mean over queries, 0 for one without a relevant document; None where scores are tied."""
    found = []
    for query in indexes.unique():
        relevant, scores = target[indexes == query].numpy(), preds[indexes == query].numpy()
        if len(set(scores.tolist())) < len(scores):
            return None
        found.append(score(relevant, scores) if relevant.sum() else 0.0)
    return float(np.mean(found))


def ranks_of_relevant(relevant: Any, scores: Any) -> Any:
    """The places of relevant documents, from 1 on, the best first."""
    return np.flatnonzero(np.asarray(relevant)[np.argsort(-scores)]) + 1


def ndcg(relevant: Any, scores: Any) -> float:
    """The discounted gain of this order, as a share of that of the best one."""
    discounts = 1 / np.log2(np.arange(len(scores)) + 2)
    best = float((np.sort(relevant)[::-1] * discounts).sum())
    return float((relevant[np.argsort(-scores)] * discounts).sum()) / best


def levenshtein(first: Any, second: Any) -> int:
    """How many insertions, deletions and substitutions make one of the other."""
    before = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        now = [i]
        for j, b in enumerate(second, 1):
            now.append(min(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a != b)))
        before = now
    return before[-1]


def words_wrong(preds: list[str], target: list[str]) -> float:
    """Edits of words by words of the references."""
    pairs = [(p.split(), t.split()) for p, t in zip(preds, target, strict=True)]
    return sum(levenshtein(p, t) for p, t in pairs) / sum(len(t) for _, t in pairs)


def characters_wrong(preds: list[str], target: list[str]) -> float:
    """Edits of characters by characters of the references."""
    return sum(map(levenshtein, preds, target)) / sum(map(len, target))


def of_float64(score: Callable[..., Any], preds: Tensor, target: Tensor) -> Any:
    """A score of targets and predictions in float64."""
    return score(target.double().numpy(), preds.double().numpy())


REFERENCES: dict[str, Callable[..., Any]] = {
    "MeanMetric": lambda value: value.double().mean(),
    "SumMetric": lambda value: value.double().sum(),
    "MaxMetric": lambda value: value.max(),
    "MinMetric": lambda value: value.min(),
    "MeanMetric(nan_strategy='ignore')": lambda value: float(np.nanmean(value)) if (value == value).any() else None,
    "SumMetric(nan_strategy='ignore')": lambda value: np.nansum(value.double()),
    "MaxMetric(nan_strategy='ignore')": lambda value: float(np.nanmax(value)) if (value == value).any() else None,
    "MinMetric(nan_strategy='ignore')": lambda value: float(np.nanmin(value)) if (value == value).any() else None,
    "MeanMetric(nan_strategy=0.0)": lambda value: np.nan_to_num(value.double(), nan=0.0).mean(),
    "SumMetric(nan_strategy=0.0)": lambda value: np.nan_to_num(value.double(), nan=0.0).sum(),
    # Two classes.
    "BinaryAccuracy": lambda preds, target: sk.accuracy_score(target, preds > 0.5),
    "BinaryPrecision": lambda preds, target: sk.precision_score(target, preds > 0.5, zero_division=0),
    "BinaryRecall": lambda preds, target: sk.recall_score(target, preds > 0.5, zero_division=0),
    "BinarySpecificity": lambda preds, target: sk.recall_score(target, preds > 0.5, pos_label=0, zero_division=0),
    "BinaryNegativePredictiveValue": lambda preds, target: sk.precision_score(
        target, preds > 0.5, pos_label=0, zero_division=0
    ),
    "BinaryF1Score": lambda preds, target: sk.f1_score(target, preds > 0.5, zero_division=0),
    "BinaryFBetaScore": lambda preds, target: sk.fbeta_score(target, preds > 0.5, beta=2.0, zero_division=0),
    "BinaryJaccardIndex": lambda preds, target: sk.jaccard_score(target, preds > 0.5, zero_division=0),
    "BinaryHammingDistance": lambda preds, target: sk.hamming_loss(target, preds > 0.5),
    "BinaryConfusionMatrix": lambda preds, target: sk.confusion_matrix(target, preds > 0.5, labels=[0, 1]),
    "BinaryCohenKappa": lambda preds, target: two_labels(preds > 0.5, target, sk.cohen_kappa_score),
    "BinaryMatthewsCorrCoef": lambda preds, target: two_labels(preds > 0.5, target, sk.matthews_corrcoef),
    "BinaryAUROC": lambda preds, target: both_classes(preds, target, sk.roc_auc_score),
    "BinaryAveragePrecision": lambda preds, target: both_classes(preds, target, sk.average_precision_score),
    "BinaryHingeLoss": lambda preds, target: (1 - preds * (2 * target - 1)).clip(min=0).mean(),
    # Several classes.
    "MulticlassAccuracy": lambda preds, target: sk.recall_score(
        target, preds.argmax(1), average="macro", zero_division=0
    ),
    "MulticlassAccuracy(average='micro')": lambda preds, target: sk.accuracy_score(target, preds.argmax(1)),
    "MulticlassAccuracy(average=None)": lambda preds, target: sk.recall_score(
        target, preds.argmax(1), average=None, labels=range(3), zero_division=0
    ),
    "MulticlassPrecision": lambda preds, target: sk.precision_score(
        target, preds.argmax(1), average="macro", zero_division=0
    ),
    "MulticlassPrecision(average='weighted')": lambda preds, target: sk.precision_score(
        target, preds.argmax(1), average="weighted", zero_division=0
    ),
    "MulticlassRecall": lambda preds, target: sk.recall_score(
        target, preds.argmax(1), average="macro", zero_division=0
    ),
    "MulticlassRecall(average=None)": lambda preds, target: sk.recall_score(
        target, preds.argmax(1), average=None, labels=range(3), zero_division=0
    ),
    "MulticlassF1Score": lambda preds, target: sk.f1_score(target, preds.argmax(1), average="macro", zero_division=0),
    "MulticlassF1Score(average='weighted')": lambda preds, target: sk.f1_score(
        target, preds.argmax(1), average="weighted", zero_division=0
    ),
    "MulticlassF1Score(average=None)": lambda preds, target: sk.f1_score(
        target, preds.argmax(1), average=None, labels=range(3), zero_division=0
    ),
    "MulticlassFBetaScore": lambda preds, target: sk.fbeta_score(
        target, preds.argmax(1), beta=2.0, average="macro", zero_division=0
    ),
    "MulticlassJaccardIndex": lambda preds, target: sk.jaccard_score(
        target, preds.argmax(1), average="macro", zero_division=0
    ),
    "MulticlassJaccardIndex(average=None)": lambda preds, target: sk.jaccard_score(
        target, preds.argmax(1), average=None, labels=range(3), zero_division=0
    ),
    "MulticlassConfusionMatrix": lambda preds, target: sk.confusion_matrix(target, preds.argmax(1), labels=range(3)),
    "MulticlassCohenKappa": lambda preds, target: two_labels(preds.argmax(1), target, sk.cohen_kappa_score),
    "MulticlassMatthewsCorrCoef": lambda preds, target: two_labels(preds.argmax(1), target, sk.matthews_corrcoef),
    "MulticlassAUROC": lambda preds, target: macro(preds, target, sk.roc_auc_score),
    "MulticlassAUROC(average=None)": lambda preds, target: per_class(preds, target, sk.roc_auc_score),
    "MulticlassAveragePrecision": lambda preds, target: macro(preds, target, sk.average_precision_score),
    "MulticlassAveragePrecision(average=None)": lambda preds, target: per_class(
        preds, target, sk.average_precision_score
    ),
    # Several labels.
    "MultilabelAccuracy": lambda preds, target: float(((preds > 0.5) == target).double().mean()),
    "MultilabelExactMatch": lambda preds, target: float(((preds > 0.5) == target).all(1).double().mean()),
    "MultilabelHammingDistance": lambda preds, target: sk.hamming_loss(target, preds > 0.5),
    "MultilabelAUROC": lambda preds, target: macro(preds, target, sk.roc_auc_score),
    "MultilabelAUROC(average=None)": lambda preds, target: per_class(preds, target, sk.roc_auc_score),
    "MultilabelAveragePrecision": lambda preds, target: macro(preds, target, sk.average_precision_score),
    "MultilabelF1Score(average='micro')": lambda preds, target: sk.f1_score(
        target, preds > 0.5, average="micro", zero_division=0
    ),
    "MultilabelRankingLoss": lambda preds, target: sk.label_ranking_loss(target, preds),
    "MultilabelRankingAveragePrecision": lambda preds, target: sk.label_ranking_average_precision_score(target, preds),
    "MultilabelCoverageError": lambda preds, target: sk.coverage_error(target, preds),
    # Regression.
    "MeanSquaredError": lambda preds, target: of_float64(sk.mean_squared_error, preds, target),
    "MeanSquaredError(squared=False)": lambda preds, target: of_float64(sk.root_mean_squared_error, preds, target),
    "MeanAbsoluteError": lambda preds, target: of_float64(sk.mean_absolute_error, preds, target),
    "MeanAbsolutePercentageError": lambda preds, target: of_float64(sk.mean_absolute_percentage_error, preds, target),
    "SymmetricMeanAbsolutePercentageError": lambda preds, target: (
        2 * (preds - target).abs() / (preds.abs() + target.abs())
    ).mean(),
    "MeanSquaredLogError": lambda preds, target: of_float64(sk.mean_squared_log_error, preds, target),
    "R2Score": lambda preds, target: of_float64(sk.r2_score, preds, target) if one_column_varies(target) else None,
    "ExplainedVariance": lambda preds, target: (
        of_float64(sk.explained_variance_score, preds, target) if one_column_varies(target) else None
    ),
    "PearsonCorrCoef": lambda preds, target: (
        scipy.stats.pearsonr(preds.double(), target.double())[0] if one_column_varies(preds, target) else None
    ),
    "SpearmanCorrCoef": lambda preds, target: (
        scipy.stats.spearmanr(preds, target)[0] if one_column_varies(preds, target) else None
    ),
    "KendallRankCorrCoef": lambda preds, target: (
        scipy.stats.kendalltau(preds, target)[0] if one_column_varies(preds, target) else None
    ),
    "KendallRankCorrCoef(variant='c')": lambda preds, target: (
        scipy.stats.kendalltau(preds, target, variant="c")[0] if one_column_varies(preds, target) else None
    ),
    "KLDivergence": lambda p, q: rel_entr(p.double(), q.double()).sum(1).mean(),
    "LogCoshError": lambda preds, target: np.log(np.cosh(preds.double() - target.double())).mean(),
    "MinkowskiDistance": lambda preds, target: ((preds.double() - target.double()).abs() ** 3).sum() ** (1 / 3),
    "TweedieDevianceScore": lambda preds, target: of_float64(sk.mean_tweedie_deviance, preds, target),
    # Clusters and categories.
    "MutualInfoScore": lambda preds, target: sk.mutual_info_score(target, preds),
    "NormalizedMutualInfoScore": lambda preds, target: two_labels(target, preds, sk.normalized_mutual_info_score),
    "AdjustedMutualInfoScore": lambda preds, target: two_labels(target, preds, sk.adjusted_mutual_info_score),
    "RandScore": lambda preds, target: sk.rand_score(target, preds) if len(target) > 1 else None,
    "AdjustedRandScore": lambda preds, target: two_labels(target, preds, sk.adjusted_rand_score),
    "FowlkesMallowsIndex": lambda preds, target: two_labels(target, preds, sk.fowlkes_mallows_score),
    "HomogeneityScore": lambda preds, target: two_labels(target, preds, sk.homogeneity_score),
    "CompletenessScore": lambda preds, target: two_labels(target, preds, sk.completeness_score),
    "VMeasureScore": lambda preds, target: two_labels(target, preds, sk.v_measure_score),
    "CalinskiHarabaszScore": lambda data, labels: points(data, labels, sk.calinski_harabasz_score),
    "DaviesBouldinScore": lambda data, labels: points(data, labels, sk.davies_bouldin_score),
    "CramersV(bias_correction=False)": lambda preds, target: two_labels(
        preds, target, lambda a, b: association(sk.cluster.contingency_matrix(a, b), "cramer")
    ),
    "TschuprowsT(bias_correction=False)": lambda preds, target: two_labels(
        preds, target, lambda a, b: association(sk.cluster.contingency_matrix(a, b), "tschuprow")
    ),
    "PearsonsContingencyCoefficient": lambda preds, target: two_labels(
        preds, target, lambda a, b: association(sk.cluster.contingency_matrix(a, b), "pearson")
    ),
    # Retrieval.
    "RetrievalMAP": lambda preds, target, indexes: of_queries(preds, target, indexes, sk.average_precision_score),
    "RetrievalMRR": lambda preds, target, indexes: of_queries(
        preds, target, indexes, lambda relevant, scores: 1 / ranks_of_relevant(relevant, scores)[0]
    ),
    "RetrievalNormalizedDCG": lambda preds, target, indexes: of_queries(preds, target, indexes, ndcg),
    "RetrievalRPrecision": lambda preds, target, indexes: of_queries(
        preds,
        target,
        indexes,
        lambda relevant, scores: (ranks_of_relevant(relevant, scores) <= relevant.sum()).sum() / relevant.sum(),
    ),
    # Text, pictures, sounds.
    "WordErrorRate": words_wrong,
    "CharErrorRate": characters_wrong,
    "EditDistance": lambda preds, target: sum(map(levenshtein, preds, target)) / len(preds),
    "PeakSignalNoiseRatio": lambda preds, target: (
        -10 * math.log10(float(((preds.double() - target.double()) ** 2).mean())) if (preds != target).any() else None
    ),
    "TotalVariation": lambda img: img.double().diff(dim=2).abs().sum() + img.double().diff(dim=3).abs().sum(),
    "SignalNoiseRatio": lambda preds, target: (
        10 * np.log10((target.double() ** 2).sum(-1) / ((target - preds).double() ** 2).sum(-1)).mean()
        if (preds != target).any(-1).all()
        else None
    ),
    # Compositions.
    "MultioutputWrapper(MeanSquaredError)": lambda preds, target: sk.mean_squared_error(
        target, preds, multioutput="raw_values"
    ),
    "MultioutputWrapper(R2Score)": lambda preds, target: (
        sk.r2_score(target.double(), preds.double(), multioutput="raw_values") if one_column_varies(*target.T) else None
    ),
}
