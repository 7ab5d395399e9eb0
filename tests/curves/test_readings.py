"""What the page's slider reads at a threshold is what a plain loop over all scores counts there."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from lwcallbacks.curves import charts, counted, round_thresholds, summarised
from lwcallbacks.reductions import BinnedScores, ScoreCounts
from lwcallbacks.writers.compact import curve_json


def scored(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and targets that agree now and then."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=generator)
    return logits.sigmoid(), (torch.rand(n, generator=generator) < logits.sigmoid()).long()


def binned(scores: torch.Tensor, targets: torch.Tensor, bits: int = 10) -> BinnedScores:
    counts = ScoreCounts(2, task="binary", logits=False, mantissa_bits=bits)
    return counts.value(counts.lift(scores, targets)).classes[0]


def looped(scores: list[float], targets: list[int], threshold: float) -> tuple[int, int]:
    """True and false positives at a threshold, one score after the other."""
    hits = false = 0
    for score, target in zip(scores, targets, strict=True):
        if score >= threshold:
            hits, false = hits + (target == 1), false + (target != 1)
    return hits, false


@pytest.mark.parametrize("scale", [1.0, 0.003, 1e-6])
@pytest.mark.parametrize("bits", [1, 4, 10])
@pytest.mark.parametrize("n", [1, 5, 300])
def test_counts_are_those_of_a_plain_loop(n: int, bits: int, scale: float) -> None:
    """At every threshold that stands beside them, however wide the bins; about 200 of them, the first below all."""
    scores, targets = scored(n)
    scores = scores * scale
    seen = binned(scores, targets, bits)
    wanted = round_thresholds([seen], 200)
    at, hits, false = counted(seen, wanted)
    assert len(wanted) <= 203
    assert (at <= wanted).all()
    assert (np.diff(at) >= 0).all()
    expected = [looped(scores.tolist(), targets.tolist(), threshold) for threshold in at.tolist()]
    assert list(zip(hits.tolist(), false.tolist(), strict=True)) == expected
    assert expected[0] == (int(targets.sum()), n - int(targets.sum()))
    if (bits, n, scale) == (10, 300, 1.0):
        assert (at == wanted).mean() > 0.9


def test_thresholds_of_a_slider_are_round() -> None:
    """As one writes them: 0.12 and not a neighbour of it. Nothing has none."""
    wanted = round_thresholds([binned(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))], 200)
    assert wanted.tolist() == [float(f"{k / 200:.3f}") for k in range(201)]
    nothing = binned(torch.zeros(0), torch.zeros(0))
    assert round_thresholds([nothing], 200).tolist() == []
    assert counted(nothing, wanted)[1].tolist() == [0] * 201


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_what_the_folder_holds_is_the_truth_at_its_threshold(task: str) -> None:
    """Rates, precision and recall of each class, of ROC and precision-recall; nothing found has no precision."""
    scores, targets = scored(400)
    rows = [(scores, targets)]
    counts = ScoreCounts(2, task="binary", logits=False)
    if task == "multiclass":
        generator = torch.Generator().manual_seed(1)
        scores = torch.randn(400, 3, generator=generator).softmax(1)
        targets = torch.multinomial(scores, 1, generator=generator)[:, 0]
        rows = [(scores[:, k], (targets == k).long()) for k in range(3)]
        counts = ScoreCounts(3, logits=False)
    found = summarised(counts.value(counts.lift(scores, targets)), [str(k) for k in range(len(rows))], 16, "f1")
    shown = charts("c", found, "f1")
    for name in ("roc", "pr"):
        lines = json.loads(curve_json(shown[f"c_{name}"]))["lines"]
        assert len(lines) == len(rows)
        for line, (of, truth) in zip(lines, rows, strict=True):
            positives, checked = int(truth.sum()), 0
            for at, x, y in zip(*line["readings"], strict=True):
                hits, false = looped(of.tolist(), truth.tolist(), at)
                recall, rate = hits / positives, false / (len(truth) - positives)
                precision = hits / (hits + false) if hits + false else math.nan
                expected = (rate, recall) if name == "roc" else (recall, precision)
                assert (float(x), float(y)) == pytest.approx(expected, abs=0.6e-5, nan_ok=True)
                checked += 1
            assert checked > 90
            for at, x, y in zip(line["at"], line["x"], line["y"], strict=True):
                if at == "nan":  # a corner of the picture
                    continue
                hits, false = looped(of.tolist(), truth.tolist(), float(at))
                rate = false / (len(truth) - positives)
                expected = (rate, hits / positives) if name == "roc" else (hits / positives, hits / (hits + false))
                assert (x, y) == pytest.approx(expected, abs=0.6e-5)
