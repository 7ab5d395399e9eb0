"""Losses that stand out."""

from __future__ import annotations

import math

import numpy as np

from lwcallbacks.gradients.spikes import KEPT, KNOWN, Spikes
from lwcallbacks.testing.same import difference


def spikes_of(losses: np.ndarray) -> list[int]:
    spikes = Spikes()
    return [i for i, loss in enumerate(losses.tolist()) if spikes.feed(i, loss)]


def losses(number: int = 400, seed: int = 0) -> np.ndarray:
    """Those of a training that goes well: they fall, and vary from batch to batch."""
    noise = np.random.default_rng(seed).normal(size=number)
    return 2.3 * np.exp(-np.arange(number) / 100) * np.exp(0.2 * noise)


def test_a_spike_is_found_with_its_score() -> None:
    """At its step, with the median before it; the score is the modified z-score."""
    values = losses()
    values[200] = 4.0
    spikes = Spikes()
    [found] = [spike for i, loss in enumerate(values.tolist()) if (spike := spikes.feed(i, loss))]
    window = values[72:200]
    median = np.median(window)
    assert (found.step, found.loss, found.usual) == (200, 4.0, median)
    assert found.score == 0.6745 * (4.0 - median) / np.median(np.abs(window - median))


def test_losses_that_vary_have_no_spikes() -> None:
    """Neither do those with hard batches among easy ones, which come again and again, or a level that rises slowly."""
    for seed in range(20):
        assert spikes_of(losses(seed=seed)) == []
    hard = np.random.default_rng(0).random(500) < 0.05
    assert spikes_of(np.where(hard, 0.5, 1e-4) * (1 + 0.1 * np.random.default_rng(1).random(500)))[1:] == []
    assert spikes_of(np.linspace(1, 20, 500)) == []


def test_losses_that_do_not_differ_and_negative_ones() -> None:
    """A constant loss has no deviation to measure by; one below zero has spikes as well."""
    assert spikes_of(np.array([1.0] * 100 + [1.005] + [1.0] * 20)) == []
    values = -5 + 0.1 * np.random.default_rng(0).normal(size=200)
    values[150] = -1
    assert spikes_of(values) == [150]


def test_what_is_not_finite_is_said_once() -> None:
    """Until a loss is finite again; it is no part of what others are compared with."""
    values = losses()
    values[100:150], values[200] = math.nan, math.inf
    assert spikes_of(values) == [100, 200]


def test_the_first_losses_are_compared_with_nothing() -> None:
    """There have to be some."""
    values = np.array([1.0] * (KNOWN - 1) + [1000.0])
    assert spikes_of(values) == []
    assert spikes_of(np.insert(values, 0, 1.0)) == [KNOWN]


def test_it_goes_on_from_a_checkpoint_with_the_same_bits() -> None:
    """And keeps so many of them."""
    values = losses(2000)
    values[50::40] = 1e3 * 3.0 ** np.arange(len(values[50::40]))
    whole, cut = Spikes(), Spikes()
    for i, loss in enumerate(values.tolist()):
        whole.feed(i, loss)
        cut.feed(i, loss)
        if i % 90 == 0:
            state, cut = cut.state_dict(), Spikes()
            cut.load_state_dict(state)
    assert difference(cut.state_dict(), whole.state_dict()) is None
    assert len(whole.found) == KEPT
