"""Counts by score are those of a plain loop; bins are those of their edges; the softmax is right on its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lwcallbacks.reductions import FieldError, ScoreCounts, SeenScores, score_counts
from lwcallbacks.reductions.score_bins import ScoreBins
from lwcallbacks.reductions.softmax import same_softmax
from lwcallbacks.testing.same import difference

NAN, INF = math.nan, math.inf
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def odd_scores(size: int, seed: int = 0) -> Tensor:
    """Random bits of float32, probabilities close to 0 and to 1, logits, and numbers at which something changes."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**31), 2**31 - 1, (size,), dtype=torch.int32, generator=generator).view(torch.float32)
    close = torch.rand(size, generator=generator).pow(12)
    ends = torch.tensor([0.0, -0.0, 1.0, 0.5, 0.25, 1 - 2**-24, 1 + 2**-23, 2**-42, 2**-43, -(2**-42), 2**16, -(2**16)])
    return torch.cat([bits, close, 1 - close, torch.randn(size, generator=generator) * 9, ends, -ends * 0.999])


# Bins


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("mantissa_bits", [1, 4, 10, 12])
def test_a_bin_holds_what_lies_between_its_edges(mantissa_bits: int, logits: bool) -> None:
    """From the lower one on, below the upper one; as NumPy's search finds it, and NaN has the bin behind all."""
    bins, x = ScoreBins(mantissa_bits, logits), odd_scores(5000)
    x = torch.cat([x, torch.tensor(bins.edges[np.isfinite(bins.edges)]).float()])
    # The bin of 1 has two equal edges, and the one behind it begins there: it begins at the next number.
    edges = bins.edges.copy()
    edges[bins.one + 1] = np.nextafter(1.0, 2.0)
    expected = np.searchsorted(edges, x.double().numpy(), side="right") - 1
    expected = np.where(np.isposinf(x.numpy()), bins.size - 1, expected)
    assert (bins.of(x).numpy() == np.where(x.isnan().numpy(), bins.size, expected)).all()
    assert len(bins.edges) == bins.size + 1
    assert bins.edges[bins.zero] == 0 and bins.edges[bins.one] == bins.edges[bins.one + 1] == 1  # noqa: PT018


def test_there_are_at_least_65536_bins_and_none_is_wide() -> None:
    """Between 0 and 1; a multiple of 1/16 is an edge."""
    bins = ScoreBins(10)
    edges = bins.edges[bins.zero : bins.one + 1]
    assert len(edges) == 65539
    assert np.diff(edges).max() == 2**-12
    assert {k / 16 for k in range(17)} <= set(edges.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_have_bins_of_their_own(dtype: torch.dtype) -> None:
    """All of float16, as logits and as probabilities; of bfloat16 those from 2**-42 to 2**16."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    x = x[x.isfinite()]
    x = x[((x.abs() >= 2.0**-42) & (x.abs() < 2.0**16)) | (x == 0)]
    for bins, these in ((ScoreBins(10, logits=True), x), (ScoreBins(10), x[(x >= 0) & (x <= 1)])):
        assert len(bins.of(these).unique()) == len(these.float().unique())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_is_of_no_matter(dtype: torch.dtype) -> None:
    """A score has the bin of the float32 that it is read as."""
    bins, x = ScoreBins(10, logits=True), odd_scores(2000).to(dtype)
    assert bins.of(x).equal(bins.of(x.to(torch.float32)))
    assert bins.of(torch.stack([x, x], 1)[:, 0]).equal(bins.of(x))


# Softmax


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0, 1e6, 1e30])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_softmax_is_right(classes: int, scale: float) -> None:
    """Up to a share of 2**-22, beside one in float64."""
    logits = torch.randn(20000 // classes, classes, generator=torch.Generator().manual_seed(0)) * scale
    found, expected = same_softmax(logits).double(), logits.double().softmax(1)
    seen = logits.amax(1, keepdim=True) - logits < 40
    assert found.dtype == torch.float64
    assert ((found - expected).abs() <= expected * 2**-22)[seen].all()
    assert (found[~seen] == 0).all()


def test_the_softmax_depends_on_its_row_alone() -> None:
    """Not on the batch, the layout or the order of the classes, to the bit."""
    logits = torch.randn(64, 37, 3, generator=torch.Generator().manual_seed(1)) * 4
    found = same_softmax(logits)
    assert torch.cat([same_softmax(one) for one in logits.split(1)]).equal(found)
    assert same_softmax(logits.mT.contiguous().mT).equal(found)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(2))
    assert same_softmax(logits[:, order]).equal(found[:, order])


def test_odd_rows_of_a_softmax() -> None:
    """As in torch: NaN where a row has NaN, +inf or nothing but -inf; -inf is a probability of 0."""
    rows = torch.tensor(
        [[NAN, 1.0], [INF, 1.0], [-INF, -INF], [-INF, 3.0], [1e38, 1e38], [-1e38, 1e38], [3e9, 3e9 - 256]]
    )
    assert same_softmax(rows).nan_to_num(nan=-1).tolist() == [
        [-1, -1], [-1, -1], [-1, -1], [0, 1], [0.5, 0.5], [0, 1], [1, 0],
    ]  # fmt: skip


# Counts


def plain_counts(scores: Tensor, positive: Tensor, edges: np.ndarray) -> list[tuple[float, int, int]]:
    """(lower edge, negatives, positives) of each bin that holds something, score by score."""
    found: dict[float, list[int]] = {}
    for score, is_positive in zip(scores.double().tolist(), positive.tolist(), strict=True):
        low = float(edges[np.searchsorted(edges, score, side="right") - 1]) if score != 1 else 1.0
        found.setdefault(low, [0, 0])[int(is_positive)] += 1
    return [(low, *found[low]) for low in sorted(found)]


def read(seen: SeenScores) -> list[list[tuple[float, int, int]]]:
    rows = [*seen.classes, *([seen.confidence] if seen.confidence else [])]
    columns = ((r.low.tolist(), r.negatives.tolist(), r.positives.tolist()) for r in rows)
    return [list(zip(*row, strict=True)) for row in columns]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logits", [False, None])
def test_binary_probabilities(logits: bool | None, dtype: torch.dtype) -> None:
    """Counted one by one, in two batches."""
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(300, generator=generator).to(dtype), torch.randint(2, (300,), generator=generator)
    counts = ScoreCounts(2, task="binary", logits=logits, mantissa_bits=5)
    state = counts.merge(counts.lift(scores[:100], targets[:100]), counts.lift(scores[100:], targets[100:]))
    bins = ScoreBins(5)
    assert read(counts.value(state)) == [plain_counts(scores.float(), targets, bins.edges[bins.zero : bins.one + 1])]
    assert counts.value(state).kind == "probabilities"
    assert counts.problems(state) is None


@pytest.mark.parametrize("logits", [None, True])
def test_binary_logits_keep_their_order_and_become_probabilities(logits: bool | None) -> None:
    """The edges of each bin are sigmoids of what its logits are between."""
    x = torch.tensor([-INF, -70000.0, -3.0, 0.0, 0.3, 2.0, INF])
    counts = ScoreCounts(2, task="binary", logits=logits)
    state = counts.lift(x, torch.tensor([0, 0, 0, 1, 0, 1, 1]))
    [seen] = counts.value(state).classes
    assert counts.value(state).kind == "logits"
    assert seen.negatives.tolist() == [2, 1, 0, 1, 0, 0]
    assert seen.positives.tolist() == [0, 0, 1, 0, 1, 1]
    inner = 1 / (1 + np.exp(-x[[2, 3, 4, 5]].double().numpy()))
    assert (seen.low[1:5] <= inner).all()
    assert (inner < seen.high[1:5]).all()
    assert (seen.low[0], seen.high[-1]) == (0, 1)


@pytest.mark.parametrize("logits", [False, True, None])
@pytest.mark.parametrize("classes", [None, (3, 0)])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_multiclass(shape: tuple[int, ...], classes: tuple[int, ...] | None, logits: bool | None) -> None:
    """Each chosen class against the rest, and the largest score of each sample against whether it is right."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 4, *shape, generator=generator) * 3
    probabilities = same_softmax(scores)
    scores = probabilities if logits is False else scores
    targets = torch.randint(-1, 4, (50, *shape), generator=generator)
    counts = ScoreCounts(4, ignore_index=-1, logits=logits, classes=classes, mantissa_bits=4)
    seen = counts.value(counts.lift(scores, targets))
    columns, labels = probabilities.movedim(1, -1).reshape(-1, 4), targets.reshape(-1)
    columns, labels = columns[labels >= 0], labels[labels >= 0]
    bins = ScoreBins(4)
    edges = bins.edges[bins.zero : bins.one + 1]
    expected = [plain_counts(columns[:, c], labels == c, edges) for c in classes or range(4)]
    expected.append(plain_counts(columns.amax(1), columns.argmax(1) == labels, edges))
    assert read(seen) == expected
    assert seen.kind == ("probabilities" if logits is False else "logits")


@pytest.mark.parametrize("classes", [None, (2,)])
def test_multilabel(classes: tuple[int, ...] | None) -> None:
    """Each label for itself; a channel of one fits, too."""
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(60, 3, generator=generator), torch.randint(2, (60, 3), generator=generator)
    counts = ScoreCounts(3, task="multilabel", classes=classes, mantissa_bits=4, logits=False)
    bins = ScoreBins(4)
    edges = bins.edges[bins.zero : bins.one + 1]
    expected = [plain_counts(scores[:, c], targets[:, c], edges) for c in classes or range(3)]
    assert read(counts.value(counts.lift(scores, targets))) == expected


def test_what_cannot_be_counted_is_told() -> None:
    """Targets out of range, NaN, and what is no probability; each once, and in no bin."""
    counts = ScoreCounts(2, task="binary", logits=False)
    state = counts.lift(torch.tensor([0.5, NAN, 1.5, -0.5, 0.5, 1.0]), torch.tensor([1, 1, 0, 0, 7, 0]))
    [seen] = counts.value(state).classes
    assert (seen.low.tolist(), seen.negatives.tolist(), seen.positives.tolist()) == ([0.5, 1.0], [0, 1], [1, 0])
    assert counts.problems(state) == (
        "1 labels are out of range (for example 7), expected 0 to 1; they were left out of the counts. Write "
        "ignore_index=7 if that is a target that does not count; 2 scores are no probabilities in [0, 1] (pass "
        "logits=True for logits); they were left out of the counts; 1 scores are NaN; they were left out of the counts."
        " Expected numbers: Trainer(detect_anomaly=True) tells where NaN comes up in training"
    )
    several = ScoreCounts(3)
    state = several.lift(torch.tensor([[0.2, 0.3, 0.5], [5.0, NAN, 1.0]]), torch.tensor([9, 1]))
    assert not any(len(row) for row in read(several.value(state)))
    assert several.problems(state) == (
        "1 labels are out of range (for example 9), expected 0 to 2; they were left out of the counts. Write "
        "ignore_index=9 if that is a target that does not count, or num_classes=10 if it is a class; 3 scores are NaN; "
        "they were left out of the counts. Expected numbers: Trainer(detect_anomaly=True) tells where NaN comes up in "
        "training"
    )


def test_scores_between_are_asked_for() -> None:
    """They are read as probabilities, those beyond are left out, and the message says what to pass."""
    counts = ScoreCounts(2, task="binary")
    state = counts.lift(torch.tensor([-0.25, 0.5, 1.25]), torch.tensor([0, 1, 1]))
    assert counts.value(state).kind == "undecided"
    assert counts.problems(state) == (
        "scores are in [-0.25, 1.25], which may be logits or probabilities; pass logits=True, or clamp probabilities "
        "to [0, 1]; 2 scores are no probabilities in [0, 1]; they were left out of the counts"
    )


def test_a_step_is_read_as_the_epoch_so_far() -> None:
    """A batch of scores within [0, 1] holds logits where those before were."""
    counts = ScoreCounts(3, mantissa_bits=2)
    few = counts.lift(torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([0]))
    seen = counts.merge(few, counts.lift(torch.tensor([[-4.0, 0.0, 9.0]]), torch.tensor([1])))
    assert counts.value(few).kind == "probabilities"
    assert counts.step_value(few, seen).kind == "logits"
    assert counts.decided(seen) is not None
    assert ScoreCounts(3, logits=True).decided(counts.empty()) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_classes": 1000}, "1000 classes take 2002 MiB, expected at most 256: write classes=(0, 1) or the like to "
         "choose some, or mantissa_bits=7 for wider bins"),
        ({"num_classes": 200}, "or mantissa_bits=9 for wider bins, or logits=True or logits=False, which halves it"),
        ({"num_classes": 10_000_000}, "expected at most 256: write classes=(0, 1) or the like to choose some"),
        ({"num_classes": 3, "classes": (0, 3)}, "classes=(0, 3), expected some of 0 to 2, each once"),
        ({"num_classes": 3, "classes": ()}, "classes=(), expected some of"),
        ({"num_classes": 3, "classes": (1, 1)}, "classes=(1, 1), expected some of"),
        ({"num_classes": 1}, "num_classes=1, expected an int of at least 2"),
        ({"num_classes": 3, "task": "binary"}, "num_classes=3 and classes=None with task='binary'"),
        ({"num_classes": 2, "mantissa_bits": 13}, "mantissa_bits=13, expected an int from 1 to 12"),
        ({"num_classes": 2, "mantissa_bits": 0}, "mantissa_bits=0, expected an int from 1 to 12"),
        ({"num_classes": 2, "mantissa_bits": 1.5}, "mantissa_bits=1.5, expected an int from 1 to 12"),
        ({"num_classes": 0, "task": "multilabel"}, "num_classes=0, expected an int of at least 1"),
        ({"num_classes": 2, "task": "regression"}, "task='regression', expected"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_told(arguments: dict[str, Any], words: str) -> None:
    """With what was found and what was expected."""
    with pytest.raises(ValueError, match="ScoreCounts: ") as error:
        ScoreCounts(**arguments)
    assert words in str(error.value)


def test_the_least_that_is_taken() -> None:
    """One label, bins of one bit, the last of all classes."""
    assert ScoreCounts(1, task="multilabel", mantissa_bits=1).chosen == (0,)
    assert ScoreCounts(3, classes=(2, 0), mantissa_bits=12).chosen == (2, 0)
    assert ScoreCounts(2, task="binary").chosen == (1,)


def test_the_advice_about_memory_holds() -> None:
    """What the message says to write is small enough."""
    ScoreCounts(1000, mantissa_bits=7)
    ScoreCounts(1000, classes=(0, 1))
    ScoreCounts(200, logits=True)
    ScoreCounts(200, mantissa_bits=9)


@pytest.mark.parametrize(("room", "bits"), [(0, 9), (-1, 8)])
def test_the_advice_wastes_nothing(monkeypatch: pytest.MonkeyPatch, room: int, bits: int) -> None:
    """It is the narrowest bins for which there is room."""
    most = sum(8 * table.size for table in ScoreCounts(5, mantissa_bits=9).slots.values()) + room
    monkeypatch.setattr(score_counts, "MAX_BYTES", most)
    with pytest.raises(ValueError, match=f"write .*, or mantissa_bits={bits} for wider bins"):
        ScoreCounts(5)
    ScoreCounts(5, mantissa_bits=bits)


@pytest.mark.parametrize(
    ("task", "preds", "words"),
    [
        ("binary", torch.tensor([0, 1]), "preds are torch.int64 (2,), expected float scores"),
        ("multiclass", torch.tensor([0.5, 0.1]), "one score for each target, (2,), expected one for each class"),
        ("multiclass", torch.zeros(2, 3), "preds are torch.float32 (2, 3)"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_are_told(task: Any, preds: Tensor, words: str) -> None:
    """Labels are no scores, and one score a target is `task="binary"`."""
    with pytest.raises(FieldError) as error:
        ScoreCounts(2, task=task).lift(preds, torch.tensor([0, 1]))
    assert words in str(error.value)


@pytest.mark.parametrize("label", [-(2**63), -1, 3, 2**40, 2**63 - 1])
def test_a_label_out_of_range_is_no_class(label: int) -> None:
    """The smallest and the largest integer, too; it is counted, and named."""
    scores, targets = torch.tensor([[0.25, 0.5, 0.25]] * 3), torch.tensor([1, label, 0])
    reduction = ScoreCounts(3, logits=False)
    found = reduction.lift(scores, targets)
    assert f"{label}" in str(reduction.problems(found))
    without = reduction.lift(scores[::2], targets[::2])
    assert torch.equal(found["counts"][:-1], without["counts"][:-1])
    assert int(found["counts"][-1] - without["counts"][-1]) == 4  # once for each class, and for the best score


@pytest.mark.parametrize(
    ("low", "high", "least", "most"), [(0, 1, 0, 1), (1, 2, 0.7, 2), (2, 4, 1.8, 4), (4, 8, 3.9, 8)]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_bins_of_logits_are_as_wide_as_the_page_says(low: int, high: int, least: float, most: float, sign: int) -> None:
    """In probabilities, as a multiple of the bin that the probability itself falls into."""
    logits, probabilities = ScoreBins(10, logits=True), ScoreBins(10)
    scores = sign * (low + (high - low) * (torch.arange(200) + 0.5) / 200)
    place, of = logits.of(scores).numpy(), probabilities.of(scores.sigmoid()).numpy()
    upper, lower = (1 / (1 + np.exp(-logits.edges[place + i])) for i in (1, 0))
    ratio = (upper - lower) / (probabilities.edges[of + 1] - probabilities.edges[of])
    assert least <= ratio.min() <= ratio.max() <= most


@pytest.mark.parametrize("ignored", [1, -1, 255])
def test_what_is_ignored_counts_nowhere(ignored: int) -> None:
    """Neither as a class, nor as a label out of range."""
    scores = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    targets = torch.arange(40) % 3
    targets[::3] = ignored
    counts = ScoreCounts(3, logits=False, ignore_index=ignored, mantissa_bits=2)
    state, kept = counts.lift(scores, targets), targets != ignored
    assert not difference(state, counts.lift(scores[kept], targets[kept]))
    assert not difference(state, counts.lift(scores, targets, valid=kept))
    assert counts.problems(state) is None
    told = ScoreCounts(3, logits=False).problems(ScoreCounts(3, logits=False).lift(scores, targets))
    assert (told is None) == (ignored == 1)
