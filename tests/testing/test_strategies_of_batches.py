"""The strategies for what metrics take: shapes, ranges, uneven batches, and the odd data sets often enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import find, given, seed, settings
from hypothesis.strategies import SearchStrategy
from torch import Tensor
from torchmetrics import SumMetric

from lwcallbacks.testing import (
    LawViolation,
    audio_batches,
    batches_of,
    binary_batches,
    box_batches,
    check_metric,
    distribution_batches,
    floats32,
    grid,
    image_batches,
    mask_batches,
    multiclass_batches,
    multilabel_batches,
    noise,
    regression_batches,
    retrieval_batches,
    tensors,
    text_batches,
    value_batches,
)
from lwcallbacks.testing.same import difference
from lwcallbacks.testing.samples import Args, count, join, leaves

thorough = settings(max_examples=120, deadline=None, derandomize=True, database=None)
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def scores(x: Tensor) -> bool:
    return x.dtype == torch.float32 and bool((x >= 0).all() and (x <= 1).all())


def labels(x: Tensor, classes: int) -> bool:
    return x.dtype == torch.int64 and bool((x >= 0).all() and (x < classes).all())


def constant(x: Tensor) -> bool:
    return len(x) > 1 and bool((x == x[:1]).all())


def boxes_are_sound(images: list[dict[str, Tensor]]) -> bool:
    return all(
        labels(image["labels"], 2)
        and image["boxes"].shape == (len(image["labels"]), 4)
        and bool((image["boxes"][:, :2] < image["boxes"][:, 2:]).all() and (image["boxes"] >= 0).all())
        and bool((image["boxes"] <= 10).all())
        for image in images
    )


# For each strategy: what is true of all samples of a data set, and which odd data sets are to be seen, by name.
Check = Callable[..., bool]
CASES: Mapping[str, tuple[SearchStrategy[Any], Check, Mapping[str, Check]]] = {
    "binary": (
        binary_batches(),
        lambda p, t: scores(p) and labels(t, 2) and p.shape == t.shape == (len(t),),
        {
            "one class": lambda p, t: constant(t),
            "constant preds": lambda p, t: constant(p),
            "perfect": lambda p, t: torch.equal(p, t.float()),
            "tie between classes": lambda p, t: bool((p[t == 0][:, None] == p[t == 1]).any()),
        },
    ),
    "binary logits": (
        binary_batches(preds="logits", shape=(2,)),
        lambda p, t: p.shape == t.shape == (len(t), 2) and bool((p.abs() <= 5).all()),
        {"negative": lambda p, t: bool((p < 0).any())},
    ),
    "multiclass": (
        multiclass_batches(3),
        lambda p, t: scores(p) and p.shape == (len(t), 3) and labels(t, 3) and torch.allclose(p.sum(1), torch.ones(1)),
        {
            "one class": lambda p, t: constant(t),
            "a missing class": lambda p, t: len(t) > 5 and len(t.unique()) == 2,
            "constant preds": lambda p, t: constant(p),
            "perfect": lambda p, t: bool((p.argmax(1) == t).all()),
            "tie at the top": lambda p, t: bool(((p == p.max(1, keepdim=True).values).sum(1) > 1).any()),
        },
    ),
    "multiclass of samplewise labels": (
        multiclass_batches(4, preds="labels", shape=(2,), ignore_index=-1),
        lambda p, t: labels(p, 4) and labels(t + 1, 5) and p.shape == t.shape == (len(t), 2),
        {"ignored": lambda p, t: bool((t == -1).any())},
    ),
    "multilabel": (
        multilabel_batches(3),
        lambda p, t: scores(p) and labels(t, 2) and p.shape == t.shape == (len(t), 3),
        {
            "all targets the same": lambda p, t: constant(t.flatten()),
            "a label of no sample": lambda p, t: bool((t.sum(0) == 0).any() and t.any()),
            "constant preds": lambda p, t: constant(p),
        },
    ),
    "regression": (
        regression_batches(shape=(2,), low=-1, high=1, step=0.25),
        lambda p, t: (
            p.shape == t.shape == (len(t), 2) and bool((p.abs() <= 1).all() and (p * 4 == (p * 4).round()).all())
        ),
        {
            "constant preds": lambda p, t: constant(p) and not constant(t),
            "constant target": lambda p, t: constant(t) and not constant(p),
            "both constant": lambda p, t: constant(t) and constant(p),
            "equal": lambda p, t: torch.equal(p, t),
        },
    ),
    "values": (
        value_batches(weights=True),
        lambda v, w: v.shape == w.shape and bool((w >= 0).all() and (w <= 2).all()),
        {"constant": lambda v, w: constant(v), "weightless": lambda v, w: bool((w == 0).any())},
    ),
    "distributions": (
        distribution_batches(3),
        lambda p, q: bool((p > 0).all()) and torch.allclose(q.sum(1), torch.ones(1)),
        {
            "equal": lambda p, q: torch.equal(p, q),
            "uniform": lambda p, q: len(q.unique()) == 1,
            "constant": lambda p, q: constant(p),
        },
    ),
    "distributions with zeros": (
        distribution_batches(2, zeros=True),
        lambda p, q: torch.allclose(p.sum(1), torch.ones(1)),
        {"zero": lambda p, q: bool((p == 0).any())},
    ),
    "images": (
        image_batches(channels=1, size=(4, 6), low=-1, high=1),
        lambda p, t: p.shape == t.shape == (len(t), 1, 4, 6) and bool((p.abs() <= 1).all()),
        {
            "one colour": lambda p, t: len(p[0].unique()) == len(t[0].unique()) == 1,
            "black": lambda p, t: bool((p == -1).all()),
            "equal": lambda p, t: torch.equal(p, t),
        },
    ),
    "one image": (
        image_batches(pair=False, size=2),
        lambda p: scores(p) and p.shape == (len(p), 3, 2, 2),
        {"one colour": lambda p: len(p[0, 0].unique()) == 1},
    ),
    "masks": (
        mask_batches(3),
        lambda p, t: labels(p, 3) and labels(t, 3) and p.shape == t.shape == (len(t), 4, 4),
        {
            "one class": lambda p, t: len(t.unique()) == 1,
            "a missing class": lambda p, t: len(t.unique()) == 2,
            "equal": lambda p, t: torch.equal(p, t),
        },
    ),
    "one-hot masks of every class": (
        mask_batches(3, form="one-hot", every_class=True, size=2),
        lambda p, t: p.shape == (len(t), 3, 2, 2) and bool((t.sum(1) == 1).all() and (t.sum((2, 3)) > 0).all()),
        {"equal": lambda p, t: torch.equal(p, t)},
    ),
    "large masks": (
        mask_batches(3, size=(64, 32)),
        lambda p, t: labels(p, 3) and p.shape == t.shape == (len(t), 64, 32),
        {"two classes in a picture": lambda p, t: len(t[0].unique()) > 1},
    ),
    "boxes": (
        box_batches(2),
        lambda p, t: boxes_are_sound(p) and boxes_are_sound(t) and all(scores(i["scores"]) for i in p),
        {
            "no preds": lambda p, t: not any(map(len, (i["boxes"] for i in p))),
            "no target": lambda p, t: not any(map(len, (i["boxes"] for i in t))),
            "perfect": lambda p, t: all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(p, t, strict=True)),
            "equal scores": lambda p, t: constant(torch.cat([i["scores"] for i in p])),
            "other numbers of boxes": lambda p, t: len({len(i["boxes"]) for i in p}) > 1,
        },
    ),
    "texts": (
        text_batches(min_words=0),
        lambda p, t: all(isinstance(text, str) and len(text.split()) <= 6 for text in [*p, *t]) and len(p) == len(t),
        {
            "right": lambda p, t: p == t,
            "constant": lambda p, t: len(p) > 1 and len(set(p)) == 1,
            "empty": lambda p, t: "" in p,
        },
    ),
    "texts with references": (
        text_batches(references=2, words=["a", "b"]),
        lambda p, t: all(len(row) == 2 and all(isinstance(text, str) and text for text in row) for row in t),
        {"one of them right": lambda p, t: all(a == row[0] for a, row in zip(p, t, strict=True))},
    ),
    "sounds": (
        audio_batches(shape=(2, 8)),
        lambda p, t: p.shape == t.shape == (len(t), 2, 8) and bool((t.abs() <= 1).all()),
        {
            "silent": lambda p, t: not p.any(),
            "equal": lambda p, t: torch.equal(p, t),
            "half as loud": lambda p, t: torch.equal(p * 2, t) and bool(t.any()),
        },
    ),
    "documents": (
        retrieval_batches(3),
        lambda p, t, i: scores(p) and labels(t, 2) and labels(i, 3) and p.shape == t.shape == i.shape,
        {
            "one query": lambda p, t, i: not i.any(),
            "nothing relevant": lambda p, t, i: not t.any(),
            "all relevant": lambda p, t, i: bool(t.all()),
            "equal scores": lambda p, t, i: constant(p),
            "perfect": lambda p, t, i: torch.equal(p, t.float()),
            "a query of one document": lambda p, t, i: bool((i.bincount() == 1).any()),
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_data_is_as_described_and_odd_data_sets_are_common(name: str) -> None:
    """Of 120 data sets, at least 3 have each of the oddities and a fifth have not; batches differ in size, and some
    have one sample."""
    strategy, sound, odd = CASES[name]
    seen: Counter[str] = Counter()

    @thorough
    @given(strategy)
    def look(batches: list[Args]) -> None:
        sizes = [count(args) for args in batches]
        assert 1 <= len(sizes) <= 4
        assert all(1 <= size <= 6 for size in sizes)
        everything = join(batches)
        assert sound(*everything)
        seen.update(kind for kind, there in odd.items() if there(*everything))
        seen["uneven"] += len(set(sizes)) > 1
        seen["a batch of one"] += 1 in sizes

    look()
    assert {kind: seen[kind] for kind in (*odd, "uneven", "a batch of one") if seen[kind] < 3} == {}
    assert {kind: seen[kind] for kind in odd if seen[kind] > 96} == {}


@pytest.mark.parametrize("name", CASES)
def test_an_example_shrinks_to_one_sample(name: str) -> None:
    """Of zeros, where numbers are drawn; those of pictures and sounds are random at any size."""
    smallest = find(CASES[name][0], lambda batches: True, settings=quick)
    assert len(smallest) == count(smallest[0]) == 1
    tensors = [leaf for leaf in leaves(smallest[0]) if isinstance(leaf, Tensor)]
    drawn = [x for x in tensors if x.numel() <= 3 and not x.is_floating_point()]
    assert not any(x.any() for x in drawn)


def test_an_example_shrinks_to_what_matters() -> None:
    """Two samples of different classes with the same score: no third one, and a score of zero."""

    def tie(batches: list[Any]) -> bool:
        preds, target = join(batches)
        return bool((preds[target == 0][:, None] == preds[target == 1]).any())

    smallest = find(binary_batches(), tie, settings=thorough)
    preds, target = join(smallest)
    assert preds.tolist() == [0.0, 0.0]
    assert sorted(target.tolist()) == [0, 1]


@pytest.mark.parametrize(
    "make", [binary_batches, multiclass_batches, multilabel_batches, regression_batches, value_batches, image_batches]
)
def test_nan_is_drawn_on_request(make: Callable[..., SearchStrategy[Any]]) -> None:
    """And not otherwise."""
    for nan in (False, True):
        seen: list[bool] = []

        @quick
        @given(make(nan=nan, max_batches=2))
        def look(batches: list[Args]) -> None:
            seen.append(bool(join(batches)[0].isnan().any()))  # noqa: B023, it runs below

        look()
        assert (sum(seen) > 3) if nan else not any(seen)


@pytest.mark.parametrize("make", [binary_batches, multiclass_batches, multilabel_batches, regression_batches])
def test_degenerate_data_sets_can_be_switched_off(make: Callable[..., SearchStrategy[Any]]) -> None:
    """Then hardly a large data set has the same preds throughout, but for the zeros that hypothesis makes by itself."""
    seen: Counter[bool] = Counter()
    for degenerate in (False, True):

        @seed(0)
        @settings(thorough, derandomize=False)
        @given(make(degenerate=degenerate, min_batches=4, min_size=6))
        def look(batches: list[Args]) -> None:
            seen[degenerate] += any(constant(x) and bool((x != x.round()).any()) for x in join(batches)[:1])  # noqa: B023, it runs below

        look()
    assert seen[True] > 2 * seen[False]


@quick
@given(
    batches_of(lambda draw, n: ({"x": draw(floats32(n)), "name": ["a"] * n},), min_batches=2, min_size=2, max_size=3)
)
def test_batches_of_anything(batches: list[Any]) -> None:
    """Numbers and sizes of batches are within what was asked for; dicts and lists are cut with the tensors."""
    assert 2 <= len(batches) <= 4
    for (batch,) in batches:
        assert 2 <= len(batch["x"]) == len(batch["name"]) <= 3


@pytest.mark.parametrize("sizes", [{"min_size": 0}, {"max_size": 2, "min_size": 3}, {"min_batches": 5}])
def test_impossible_sizes_are_an_error(sizes: dict[str, int]) -> None:
    """Which says what was found."""
    with pytest.raises(ValueError, match="expected 0 <= min_batches <= max_batches and 1 <= min_size"):
        find(regression_batches(**sizes), lambda batches: True)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (grid(2, low=0.01, high=0.02), "no multiple of step=0.1 is in low=0.01 to high=0.02"),
        (grid(2, step=0), "step=0"),
    ],
)
def test_a_wrong_argument_is_an_error(strategy: SearchStrategy[Any], said: str) -> None:
    """When the first example is drawn; the message has what was found and what was expected."""
    with pytest.raises(ValueError, match=said):
        find(strategy, lambda drawn: True)


@pytest.mark.parametrize("make", [binary_batches, multiclass_batches, multilabel_batches])
def test_a_form_of_preds_that_is_none_is_an_error(make: Any) -> None:
    """At once, and for each task alike: probabilities had been drawn for it."""
    with pytest.raises(ValueError, match="preds='logit', expected 'probs', 'logits' or 'labels'"):
        make(preds="logit")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mask_batches(5, size=2, every_class=True), "2 x 2 pixels for 5 classes"),
        (lambda: box_batches(size=1), "expected at least 2 pixels"),
        (lambda: text_batches(words=[]), "of 0 words"),
        (lambda: text_batches(min_words=4, max_words=3), "4 to 3 of 6 words"),
    ],
)
def test_a_wrong_argument_is_an_error_at_once(make: Callable[[], Any], said: str) -> None:
    """Where it can be known before anything is drawn."""
    with pytest.raises(ValueError, match=said):
        make()


@quick
@given(grid(8, low=-0.3, high=0.31), grid(8, low=2, high=3, step=0.5), noise(8, low=-2, high=2, levels=3))
def test_numbers_are_on_their_grid(x: Tensor, y: Tensor, z: Tensor) -> None:
    """Both ends included, and of so many levels."""
    assert set(x.tolist()) <= set((torch.arange(-3, 4).double() / 10).float().tolist())
    assert set(y.tolist()) <= {2.0, 2.5, 3.0}
    assert set(z.tolist()) <= {-2.0, 0.0, 2.0}


def test_a_grid_and_noise_reach_both_ends() -> None:
    """And a range without zero shrinks to its lower end."""
    seen, random = set(), set()

    @thorough
    @given(grid(4, low=-0.2, high=0.2), noise(4, low=-2, high=4, levels=3))
    def look(x: Tensor, y: Tensor) -> None:
        seen.update(round(value, 1) for value in x.tolist())
        random.update(y.tolist())

    look()
    assert seen == {-0.2, -0.1, 0.0, 0.1, 0.2}
    assert random == {-2, 1, 4}
    assert find(grid(1, low=2, high=3), lambda x: True).item() == 2


SIZES = {"min_batches": 1, "max_batches": 4, "min_size": 1, "max_size": 6}
FEW = SIZES | {"max_size": 3}
OF_CLASSES = {"preds": "probs", "shape": (), "step": 0.05, "ignore_index": None, "nan": False, "degenerate": True}
OF_NUMBERS = {"shape": (), "low": -5.0, "high": 5.0, "step": 0.1, "nan": False, "degenerate": True}
USUAL: list[tuple[Callable[..., SearchStrategy[Any]], dict[str, Any]]] = [
    (binary_batches, OF_CLASSES | SIZES),
    (multiclass_batches, {"num_classes": 3} | OF_CLASSES | SIZES),
    (multilabel_batches, {"num_labels": 3} | OF_CLASSES | SIZES),
    (regression_batches, OF_NUMBERS | SIZES),
    (value_batches, {"weights": False} | OF_NUMBERS | SIZES),
    (distribution_batches, {"num_classes": 3, "zeros": False, "degenerate": True} | SIZES),
    (
        image_batches,
        {"channels": 3, "size": 16, "low": 0.0, "high": 1.0, "pair": True, "nan": False, "degenerate": True} | FEW,
    ),
    (mask_batches, {"num_classes": 3, "size": 4, "form": "index", "every_class": False, "degenerate": True} | SIZES),
    (box_batches, {"num_classes": 2, "max_boxes": 3, "size": 10, "scores": True, "degenerate": True} | SIZES),
    (text_batches, {"references": None, "min_words": 1, "max_words": 6, "degenerate": True} | SIZES),
    (audio_batches, {"shape": (16,), "degenerate": True} | FEW),
    (retrieval_batches, {"num_queries": 3, "max_relevance": 1, "step": 0.05, "degenerate": True} | SIZES),
    (lambda **options: grid(9, **options), {"low": -5.0, "high": 5.0, "step": 0.1, "nan": False}),
    (lambda **options: noise(9, **options), {"low": 0.0, "high": 1.0, "levels": 256}),
    (lambda **options: tensors(9, torch.int64, **options), {"min_value": 0, "max_value": 255}),
    (
        lambda **options: tensors(9, **options),
        {"dtype": torch.float32, "nan": True, "infinite": True, "subnormal": True, "huge": True},
    ),
]


@pytest.mark.parametrize(("make", "usual"), USUAL)
def test_what_is_drawn_where_nothing_is_said(make: Callable[..., SearchStrategy[Any]], usual: dict[str, Any]) -> None:
    """The same data as with the arguments that are documented."""

    def drawn(strategy: SearchStrategy[Any]) -> list[Any]:
        seen: list[Any] = []

        @seed(0)
        @settings(quick, derandomize=False)
        @given(strategy)
        def look(batches: Any) -> None:
            seen.append(batches)

        look()
        return seen

    assert not difference(drawn(make()), drawn(make(**usual)), nan_bits=True)


def test_numbers_of_a_grid_are_nan_on_request() -> None:
    """One in eight, and none otherwise."""
    seen: list[bool] = []

    @thorough
    @given(grid(20, nan=True), grid(20))
    def look(some: Tensor, none: Tensor) -> None:
        seen.extend(some.isnan().tolist())
        assert not none.isnan().any()

    look()
    assert 0.02 < sum(seen) / len(seen) < 0.25


def test_an_epoch_without_batches_is_drawn_on_request() -> None:
    """It is an empty list."""
    assert find(binary_batches(min_batches=0), lambda batches: not batches) == []


def test_values_tie_within_and_between_batches() -> None:
    """Some data sets have two values: a metric that counts equal ones once in a batch is found."""

    class OncePerBatch(SumMetric):
        def update(self, value: Tensor) -> None:  # type: ignore[override]
            super().update(torch.tensor(float(len(value.unique()))))

    with pytest.raises(LawViolation, match="law batch_size is broken"):
        check_metric(OncePerBatch, value_batches(), laws=["batch_size"])

    def tied(batches: Any) -> bool:
        values = torch.cat([x for (x,) in batches])
        return len(values) > len(values.unique()) == 2

    assert find(value_batches(), tied)
