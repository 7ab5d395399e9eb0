"""Layers that are out of all proportion to the others: what is said of them, and what is no illness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lwcallbacks.gradients.unlike import APART, FEWEST, Beside

SIZES = np.array([5e4, 64, 4e3, 128, 4e3, 2e3, 640, 10], float) + 32
NORMS = 10.0 ** np.array([-2.1, -3.5, -1.2, -2.8, -2.4, -0.6, 0.3, -1.0])
WEIGHTS = np.sqrt(SIZES) * 10.0 ** np.array([-1.5, -0.1, -1.1, -0.3, -1.2, -1.6, -0.9, -0.5])
NONE = [0.0] * len(SIZES)
KEPT_ALIKE = {"SGD": 0.05 * NORMS, "Adam": 1e-3 * np.sqrt(SIZES), "LARS": 1e-2 * WEIGHTS}


def step(changes: np.ndarray) -> Beside:
    return Beside(NORMS, SIZES, SIZES, changes, WEIGHTS, WEIGHTS / np.sqrt(SIZES))


def times(*of: float, layer: int = 2) -> np.ndarray:
    """Ones, and from one layer on these."""
    factors = np.ones(len(SIZES))
    factors[layer : layer + len(of)] = of
    return factors


@pytest.mark.parametrize("kind", KEPT_ALIKE)
def test_layers_in_proportion_are_no_finding(kind: str) -> None:
    """Whichever number the optimizer keeps alike: of none of these all three are, and update ratios differ."""
    beside = step(KEPT_ALIKE[kind])
    ratios = KEPT_ALIKE["SGD"] / WEIGHTS
    assert ratios.max() > 100 * ratios.min()
    assert [beside.slower().tolist(), beside.faster().tolist(), beside.large(beside.scale).tolist()] == [NONE] * 3


@pytest.mark.parametrize("kind", KEPT_ALIKE)
def test_a_layer_with_too_low_a_learning_rate_is_slower(kind: str) -> None:
    """By so many times as its rate is lower; a hundred times may be meant."""
    slower = step(KEPT_ALIKE[kind] * times(1e-3)).slower()
    assert np.flatnonzero(slower).tolist() == [2]
    assert slower[2] == pytest.approx(1000, rel=0.01)
    for factor in (0.99 / APART, 1.01 / APART, 1e-2):
        assert bool(step(KEPT_ALIKE[kind] * times(factor)).slower()[2]) == (factor < 1 / APART)


def test_a_layer_that_learns_as_fast_as_is_usual_is_not_slower() -> None:
    """Its weights are as small as its steps."""
    light = replace(step(KEPT_ALIKE["Adam"] * times(1e-3)), weights=WEIGHTS * times(1e-3))
    assert light.slower().tolist() == NONE


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_layer_with_too_high_a_learning_rate_is_faster(kind: str) -> None:
    """As long as it changes by a good part of itself."""
    faster = step(KEPT_ALIKE[kind] * times(1e3)).faster()
    assert np.flatnonzero(faster).tolist() == [2]
    assert faster[2] == pytest.approx(1000, rel=0.01)
    heavy = replace(step(KEPT_ALIKE[kind] * times(1e3)), weights=WEIGHTS * times(1e5))
    assert heavy.faster().tolist() == NONE


def test_a_layer_with_a_gradient_beside_others_that_only_decay_is_not_faster() -> None:
    """What is alike is the weight decay; as behind a layer that began at zero."""
    assert step(1e-3 * KEPT_ALIKE["LARS"] * times(1e3)).faster().tolist() == NONE
    assert step(1e-1 * KEPT_ALIKE["LARS"] * times(1e3)).faster().tolist() == NONE


def test_a_head_on_layers_that_hardly_move_is_meant() -> None:
    """As where a network that was trained before gets a new one."""
    changes = 1e-6 / 1e-3 * KEPT_ALIKE["Adam"]
    assert step(changes * times(1e3, layer=6)).faster().tolist() == NONE


def test_what_is_true_of_many_layers_is_meant() -> None:
    """Two of eight are few."""
    for changed, is_said in ((2, True), (3, False)):
        for factor in (1e-3, 1e3):
            beside = step(KEPT_ALIKE["SGD"] * times(*[factor] * changed))
            assert bool(beside.slower().any() or beside.faster().any()) == is_said, (changed, factor)
    without = replace(step(KEPT_ALIKE["SGD"] * times(1e-3, 1e-3)), used=np.where(np.arange(8) > 5, 0, NORMS))
    assert without.slower().tolist() == NONE  # of six


def test_an_optimizer_that_keeps_nothing_alike_is_not_judged() -> None:
    """Its steps differ by powers of ten anyway."""
    random = 10.0 ** np.random.default_rng(0).uniform(-4, 0, len(SIZES))
    for changes in KEPT_ALIKE.values():
        beside = step(changes * random * times(1e-3))
        assert [beside.slower().tolist(), beside.faster().tolist()] == [NONE] * 2


def of_layers(beside: Beside, chosen: list[int]) -> Beside:
    return replace(beside, **{name: array[chosen] for name, array in vars(beside).items()})


def test_so_few_layers_are_not_compared() -> None:
    """Of four, one is unlike the others."""
    whole = step(KEPT_ALIKE["SGD"] * times(1e-3))
    assert of_layers(whole, [0, 1, 2, 3][:FEWEST]).slower().any()
    assert not of_layers(whole, [0, 1, 2]).slower().any()


NOT_JUDGED = {
    "a single number": {"elements": 1.0, "nonzero": 1.0, "changes": 1e-7},
    "without a gradient": {"used": 0.0},
    "not finite": {"used": np.nan},
    "a step that changes nothing": {"changes": 0.0},
    "a gradient that Adam's eps swallows": {"used": 1e-8},
}


@pytest.mark.parametrize("what", NOT_JUDGED)
def test_what_cannot_be_told_is_not_judged(what: str) -> None:
    """The others are."""
    beside = step(KEPT_ALIKE["Adam"] * times(1e-3, layer=5))
    arrays = {name: array.copy() for name, array in vars(beside).items()}
    arrays["changes"][2] *= 1e-3
    assert np.flatnonzero(Beside(**arrays).slower()).tolist() == [2, 5]
    for name, value in NOT_JUDGED[what].items():
        arrays[name][2] = value
    assert np.flatnonzero(Beside(**arrays).slower()).tolist() == [5]


def test_an_embedding_of_which_few_rows_have_a_gradient_is_not_slower() -> None:
    """Adam moves these as far as any; one in a million has one."""
    arrays = {name: array.copy() for name, array in vars(step(KEPT_ALIKE["Adam"])).items()}
    arrays["elements"][2], arrays["nonzero"][2], arrays["weights"][2] = 1e8, 100.0, 1e3
    arrays["changes"][2] = 1e-3 * 10
    assert Beside(**arrays).slower().tolist() == NONE
    arrays["changes"][2] = 1e-3 * 1e4  # all rows move by what they remember
    assert Beside(**arrays).faster().tolist() == NONE


def test_weights_that_began_too_large_are_named() -> None:
    """With how many times as large as those of half of all other elements they were; whatever the others become."""
    arrays = {name: array.copy() for name, array in vars(step(KEPT_ALIKE["Adam"])).items()}
    arrays["weights"] *= times(300)
    arrays["scale"] *= times(300)
    large = Beside(**arrays).large(arrays["scale"])
    assert np.flatnonzero(large).tolist() == [2]
    assert large[2] == pytest.approx(300 * 10.0 ** (-1.1 + 1.5), rel=0.01)
    exploded = {**arrays, "scale": np.where(large > 0, 1, 1e6) * arrays["scale"]}
    assert np.flatnonzero(Beside(**exploded).large(arrays["scale"])).tolist() == [2]


def test_weights_that_are_no_illness() -> None:
    """What grew, shrank, moves in proportion, is one number, or is not alone in it."""
    arrays = {name: array.copy() for name, array in vars(step(KEPT_ALIKE["Adam"])).items()}
    began = arrays["scale"].copy()
    arrays["scale"] *= times(300)
    arrays["weights"] *= times(300)
    beside = Beside(**arrays)
    assert beside.large(beside.scale).any()
    assert not beside.large(began).any()
    assert not replace(beside, scale=began).large(beside.scale).any()
    assert not replace(beside, changes=1e-2 * beside.weights).large(beside.scale).any()
    assert not replace(beside, elements=np.where(times(2) > 1, 1.0, SIZES)).large(beside.scale).any()
    assert not beside.large(beside.scale * times(100, layer=6)).any()
    assert not beside.large(np.full(len(SIZES), np.nan)).any()
