"""Every reduction, with a strategy for its fields: odd floats, labels out of range, ties, repeated ids."""

from __future__ import annotations

import os
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from lwcallbacks.reductions import (
    ActivationCounts,
    ConfusionCounts,
    ExactMean,
    ExactSum,
    Extrema,
    First,
    LogHistogram,
    PerClass,
    PerGroup,
    Product,
    RandomSample,
    Reduction,
    ScoreCounts,
    ScoreRange,
    TopK,
)
from lwcallbacks.testing import floats32, tensors

# So many for each law and each entry below; for the long run LWCALLBACKS_EXAMPLES is 10,000.
EXAMPLES = int(os.environ.get("LWCALLBACKS_EXAMPLES", "12"))
SIZES = st.integers(0, 9)


def samples(*columns: Any) -> SearchStrategy[tuple[Any, ...]]:
    """Fields of one number of samples; each column is a function from that number to a strategy."""
    return SIZES.flatmap(lambda n: st.tuples(*(column(n) for column in columns)))


def floats(n: int) -> SearchStrategy[torch.Tensor]:
    return floats32(n)


def maps(n: int) -> SearchStrategy[torch.Tensor]:
    return floats32((n, 2, 3))


def labels(n: int, low: int = -1, high: int = 3) -> SearchStrategy[torch.Tensor]:
    """Labels of three classes, with one too small and one too large."""
    return tensors(n, torch.int64, min_value=low, max_value=high)


def bits(n: int) -> SearchStrategy[torch.Tensor]:
    return tensors((n, 2), torch.int64, min_value=-1, max_value=2)


def label_maps(n: int) -> SearchStrategy[torch.Tensor]:
    return tensors((n, 2, 2), torch.int32, min_value=-1, max_value=3)


def score_maps(n: int) -> SearchStrategy[torch.Tensor]:
    return floats32((n, 3, 2, 2))


def some_scores(shape: Any) -> SearchStrategy[torch.Tensor]:
    """Scores of which few are far from [0, 1]: each of the ways to read them comes up."""
    near, inside = tensors(shape, torch.int64, min_value=-30, max_value=80), tensors(shape, torch.int64, max_value=50)
    return st.one_of(floats32(shape), near.map(lambda n: n / 50), inside.map(lambda n: n / 50))


def whole_floats(n: int) -> SearchStrategy[torch.Tensor]:
    """Targets as `BCEWithLogitsLoss` takes them, now and then no whole number."""
    values = torch.tensor([0.0, 1.0, 1.0, 0.5, NAN, 2.0])
    return tensors(n, torch.int64, max_value=5).map(lambda index: values[index])


NAN, INF = float("nan"), float("inf")
ENDS = torch.tensor([0, 1, 2, 3, -1, 2**63 - 1, -(2**63), 2**40])


IMAGES = torch.tensor(
    [[0.0, NAN], [-0.0, 1.0], [INF, 2.0], [0.1, 3.0], [4.0, 4.0], [5.0, -5.0], [6.0, 6.0], [7.0, NAN]]
)


@st.composite
def grouped(draw: DrawFn, scored: bool = True) -> tuple[torch.Tensor, ...]:
    """(groups, scores, ids, images, names), or without scores: three groups, one that does not count, far ones."""
    fields = draw(identified(scored))
    which = draw(tensors(len(fields[0]), torch.int64, max_value=5))
    return torch.tensor([0, 1, 2, -1, 2**40, 2**63 - 1])[which], *fields


@st.composite
def identified(draw: DrawFn, scored: bool) -> tuple[torch.Tensor, ...]:
    """(scores, ids, images, names), or without scores; ids repeat, and a repeated id has the same payload."""
    n = draw(SIZES)
    which = draw(tensors(n, torch.int64, max_value=len(ENDS) - 1))
    payload = (ENDS[which], IMAGES[which], which.to(torch.uint8))
    return (draw(floats32(n)), *payload) if scored else payload


LAWFUL: dict[str, tuple[Reduction, SearchStrategy[Any]]] = {
    "sum": (ExactSum(), samples(floats)),
    "sum of maps": (ExactSum(), samples(maps)),
    "sum of float16": (ExactSum(), samples(lambda n: tensors(n, torch.float16))),
    "mean": (ExactMean(), samples(floats)),
    "mean of maps": (ExactMean(), samples(maps)),
    "weighted mean": (ExactMean(), samples(floats, floats)),
    "activations": (ActivationCounts(), samples(floats)),
    "activations of two units": (ActivationCounts(2, mantissa_bits=0), samples(maps)),
    "activations of float16": (ActivationCounts(2), samples(lambda n: tensors((n, 2), torch.float16))),
    "extrema": (Extrema(), samples(maps)),
    "histogram": (LogHistogram(), samples(floats)),
    "coarse histogram": (LogHistogram(mantissa_bits=0), samples(maps)),
    "confusion of labels": (ConfusionCounts(3), samples(labels, labels)),
    "confusion of scores": (ConfusionCounts(3), samples(lambda n: floats32((n, 3)), labels)),
    "confusion with ignore_index": (ConfusionCounts(3, ignore_index=-1), samples(labels, labels)),
    "confusion with ignored class": (ConfusionCounts(3, ignore_index=1), samples(score_maps, label_maps)),
    "confusion of maps": (ConfusionCounts(3), samples(label_maps, label_maps)),
    "confusion by the best two": (
        ConfusionCounts(4, ignore_index=1, top_k=2),
        samples(lambda n: floats32((n, 4, 2, 2)), label_maps),
    ),
    "confusion by the best two of few scores": (
        ConfusionCounts(4, top_k=2),  # of which many are equal
        samples(lambda n: tensors((n, 4), torch.int64, min_value=-1, max_value=1).map(lambda x: x.half()), labels),
    ),
    "binary labels": (ConfusionCounts(2, task="binary"), samples(bits, bits)),
    "binary scores": (ConfusionCounts(2, task="binary", threshold=0.25), samples(floats, labels)),
    "binary logits": (ConfusionCounts(2, task="binary", logits=True), samples(floats, labels)),
    "binary probabilities": (ConfusionCounts(2, task="binary", logits=False), samples(floats, labels)),
    "binary scores of either kind": (ConfusionCounts(2, task="binary", ignore_index=0), samples(some_scores, labels)),
    "two classes by one score": (ConfusionCounts(2), samples(some_scores, whole_floats)),
    "two classes by two scores": (ConfusionCounts(2), samples(lambda n: floats32((n, 2, 2)), lambda n: bits(n))),
    "multilabel": (ConfusionCounts(2, task="multilabel"), samples(bits, bits)),
    "multilabel scores of either kind": (
        ConfusionCounts(2, task="multilabel"),
        samples(lambda n: some_scores((n, 2)), lambda n: tensors((n, 2), torch.int64, max_value=2)),
    ),
    "binary score counts": (ScoreCounts(2, task="binary", mantissa_bits=2), samples(some_scores, labels)),
    "binary score counts of logits": (
        ScoreCounts(2, 0, task="binary", logits=True, mantissa_bits=1),
        samples(lambda n: tensors(n, torch.float16), whole_floats),
    ),
    "binary score counts of probabilities": (ScoreCounts(2, None, "binary", logits=False), samples(floats, labels)),
    "score counts": (
        ScoreCounts(3, mantissa_bits=2),
        samples(lambda n: st.one_of(some_scores((n, 3)), tensors((n, 3), torch.bfloat16)), labels),
    ),
    "score counts of some classes": (
        ScoreCounts(3, ignore_index=1, classes=(2, 0), mantissa_bits=1),
        samples(score_maps, label_maps),
    ),
    "score counts of logits": (ScoreCounts(3, logits=True), samples(lambda n: floats32((n, 3)), labels)),
    "score counts of probabilities": (ScoreCounts(3, logits=False), samples(lambda n: some_scores((n, 3)), labels)),
    "multilabel score counts": (
        ScoreCounts(2, task="multilabel", mantissa_bits=1, ignore_index=1),
        samples(lambda n: some_scores((n, 2, 3)), lambda n: tensors((n, 2, 3), torch.int64, min_value=-1, max_value=2)),
    ),
    "some labels of multilabel score counts": (
        ScoreCounts(2, task="multilabel", mantissa_bits=1, classes=(1,)),
        samples(lambda n: some_scores((n, 2)), bits),
    ),
    "range of scores": (ScoreRange(), samples(some_scores)),
    "range of maps of scores": (ScoreRange(), samples(maps)),
    "range of labels": (ScoreRange(), samples(labels)),
    "multilabel maps": (
        ConfusionCounts(2, task="multilabel", ignore_index=0),
        samples(lambda n: floats32((n, 2, 3)), lambda n: tensors((n, 2, 3), torch.int64, max_value=2)),
    ),
    "largest": (TopK(3), identified(scored=True)),
    "smallest": (TopK(3, largest=False), identified(scored=True)),
    "best one": (TopK(1), samples(floats, labels)),
    "more places than samples": (TopK(20), identified(scored=True)),
    "first": (First(3), identified(scored=False)),
    "random sample": (RandomSample(3, seed=7), identified(scored=False)),
    "largest per group": (PerGroup(TopK(2), 5), grouped()),
    "smallest per group": (PerGroup(TopK(1, largest=False), 3), grouped()),
    "more places per group than samples": (PerGroup(TopK(9), 40), grouped()),
    "fewer places than groups": (PerGroup(TopK(2), 2), grouped()),
    "first per group": (PerGroup(First(2), 4), grouped(scored=False)),
    "random sample per group": (PerGroup(RandomSample(3, seed=7), 3), grouped(scored=False)),
    "mean per class": (PerClass(ExactMean(), 3), samples(labels, floats)),
    "weighted mean per class": (PerClass(ExactMean(), 3), samples(labels, maps, maps)),
    "sum per class": (PerClass(ExactSum(), 3), samples(labels, maps)),
    "confusion per class": (PerClass(ConfusionCounts(3), 3), samples(labels, label_maps, label_maps)),
    "histogram per class": (PerClass(LogHistogram(mantissa_bits=0), 3), samples(labels, maps)),
    "extrema per class": (PerClass(Extrema(), 3), samples(labels, maps)),
    "extrema per class per class": (PerClass(PerClass(Extrema(), 3), 3), samples(labels, labels, floats)),
    "binary scores per class": (PerClass(ConfusionCounts(2, task="binary"), 3), samples(labels, some_scores, labels)),
    "product": (
        Product(loss=ExactMean(), seen=ConfusionCounts(3), worst=TopK(2), inner=Product(range=Extrema())),
        st.builds(
            lambda chosen, seen: {
                "loss": chosen[:1],
                "seen": (seen[: len(chosen[0])], seen[: len(chosen[0])].flip(0)),
                "worst": chosen,
                "inner": {"range": chosen[:1]},
            },
            identified(scored=True),
            labels(9),
        ),
    ),
}
