"""What is known of the layers of a step, and how they are named and put together."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.layers import COLUMNS, Layers
from lwcallbacks.gradients.names import Chosen, layers_of, names_of
from lwcallbacks.gradients.read import Row, finished, read
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing.same import difference

ODD = torch.tensor([0.0, -0.0, 2.0**-25, -(2.0**-26), 2.0**-126, 2.0**-127, 1e-44, float("nan"), float("inf"), 3.0])


def layers(gradients: dict[str, torch.Tensor], mantissa_bits: int = 3) -> Layers:
    """Of parameters of ones, which a step has halved."""
    rows = [Row(name, nn.Parameter(torch.ones_like(gradient))) for name, gradient in gradients.items()]
    kept = Kept([row.parameter for row in rows])
    for row, gradient in zip(rows, gradients.values(), strict=True):
        row.parameter.data.mul_(0.5)
        row.parameter.grad = gradient
    found = finished(read(rows, LogHistogram(mantissa_bits), ("norms", "changes", "weights"), kept))
    assert found is not None
    return found


@pytest.mark.parametrize("mantissa_bits", [0, 3])
def test_a_row_of_the_table(mantissa_bits: int) -> None:
    """Worked out by hand, from coarse counts and from fine ones: the limits are edges of bins."""
    [row] = layers({"w": ODD}, mantissa_bits).rows()
    cells = dict(zip(COLUMNS, row, strict=True))
    assert np.isnan(cells.pop("norm"))
    assert np.isnan(cells.pop("max |g|"))
    assert cells == {
        "layer": "w", "elements": 10, "update ratio": 0.5, "zero": 0.2, "underflow in float16": 0.4,
        "underflow in bfloat16": 0.2, "NaN": 1, "Inf": 1,
    }  # fmt: skip


def test_layers_of_one_name_are_as_one_tensor() -> None:
    """Counts, norms, largest values and ratios of parts put together are those of the whole."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(size, generator=generator) for size in (50, 700, 3))
    together = layers({"x": torch.cat([a, b]), "y": c})
    parts = layers({"x.0": a, "y.0": c, "x.1": b}).grouped(["x", "y", "x"])
    assert parts.names == together.names
    assert difference(parts.seen(), together.seen()) is None
    for found, expected in zip(parts.rows(), together.rows(), strict=True):
        assert found[1:] == pytest.approx(expected[1:], rel=1e-6)
    assert parts.total("norms") == pytest.approx(together.total("norms"))
    assert parts.total("before") is None


def test_names_are_the_users() -> None:
    """Whatever torch.compile and DataParallel put between; a shared parameter has its first name."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    module = nn.ModuleDict({"a": torch.compile(net, backend="eager"), "module": nn.DataParallel(nn.Linear(1, 1))})
    expected = ["a.0.weight", "a.0.bias", "a.1.bias", "module.weight", "module.bias"]
    assert list(names_of(module).values()) == expected
    assert list(names_of(torch.compile(net, backend="eager")).values()) == ["0.weight", "0.bias", "1.bias"]


def test_layers_of_several_optimizers_are_told_apart() -> None:
    """By the optimizer's name, where they share a layer; a parameter of nobody is called by its number."""
    net, other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Parameter(torch.ones(1))
    of = {"SGD": [net[0].weight, net[0].weight, net[1].bias], "Adam": [net[0].bias, other]}
    found = layers_of(names_of(net), of, Chosen(), depth=1)
    assert [name for _, name in found["SGD"]] == ["0/SGD", "1"]
    assert [name for _, name in found["Adam"]] == ["0/Adam", "Adam"]
    assert [name for _, name in layers_of(names_of(net), of, Chosen(), depth=None)["Adam"]] == ["0.bias", "Adam.1"]


def test_patterns_choose() -> None:
    """All without a pattern; else what one of `include` fits and none of `exclude`. Case counts."""
    names = ("enc.0.weight", "enc.0.bias", "dec.weight", "Dec.weight")
    assert [n for n in names if Chosen().has(n)] == list(names)
    assert [n for n in names if Chosen(("enc.*", "dec.*"), ("*.bias",)).has(n)] == ["enc.0.weight", "dec.weight"]
    assert [n for n in names if Chosen(exclude=("enc*",)).has(n)] == ["dec.weight", "Dec.weight"]


def test_a_sample_stands_for_the_whole() -> None:
    """Norms of what changed and of what was there are of all elements, beside layers that are read whole."""
    found = layers({"large": torch.zeros(600, 600), "small": torch.zeros(9)})
    assert found.weights is not None
    assert found.weights.tolist() == pytest.approx([600, 3])
    assert found.total("changes") == pytest.approx(0.5 * (360_000 + 9) ** 0.5)


def test_changes_of_several_kinds_keep_their_places() -> None:
    """Of float16, float32, float64 and complex numbers beside each other, one of which was not kept, on either way."""
    kinds = (torch.float64, torch.float16, torch.float32, torch.complex64, torch.float16, torch.bfloat16)
    parameters = [nn.Parameter(torch.full((size,), 2.0, dtype=kind)) for size, kind in enumerate(kinds, 1)]
    kept = Kept([p for i, p in enumerate(parameters) if i != 2])
    assert {key: copy.dtype for key, copy in kept.copies().items()} == {
        id(p): p.real.dtype for i, p in enumerate(parameters) if i != 2
    }
    rows = [Row(str(i), p) for i, p in enumerate(parameters)]
    with torch.no_grad():
        for i, p in enumerate(parameters):
            p += i
            p.grad = torch.ones_like(p)
    for way in (nullcontext, as_on_a_device):
        with way():
            found = finished(read(rows, LogHistogram(), ("norms", "changes", "weights"), kept))
        assert found is not None
        assert found.weights is not None
        assert found.weights.tolist() == pytest.approx([2 * size**0.5 if size != 3 else 0 for size in range(1, 7)])
        expected = [None if i == 2 else pytest.approx(i / 2, rel=1e-6) for i in range(6)]
        assert found.update_ratios() == expected


@pytest.mark.parametrize("way", [nullcontext, as_on_a_device], ids=["cpu", "device"])
@pytest.mark.parametrize("without", [None, 3])
def test_a_row_is_the_same_whatever_is_read_beside_it(way: type, without: int | None) -> None:
    """Bit by bit: parameters and gradients of several kinds in turns, and one of which nothing was kept."""
    generator = torch.Generator().manual_seed(0)
    kinds = (torch.float32, torch.bfloat16, torch.float64)
    rows = []
    for i, size in enumerate((50, 20_000, 3, 7, 9_000, 400, 20_000, 50, 3)):
        p = nn.Parameter(torch.randn(size, generator=generator).to(kinds[i % 3]))
        rows.append(Row(str(i), p))
        p.grad = torch.randn(size, generator=generator).to(p.dtype) * 1e-30 ** (i % 2)
    known = [row.parameter for i, row in enumerate(rows) if i != without]
    kept, each = Kept(known), [Kept([p for p in known if p is row.parameter]) for row in rows]
    for row in rows:
        p = row.parameter
        p.data.add_(torch.randn(p.shape, generator=generator).to(p.dtype))
    columns = ("norms", "changes", "weights")
    with way():
        together = finished(read(rows, LogHistogram(), columns, kept))
        alone = [finished(read([row], LogHistogram(), columns, of)) for row, of in zip(rows, each, strict=True)]
    for column in ("largest", *columns):
        found, expected = (getattr(together, column).tolist(), [getattr(of, column).item() for of in alone])
        assert found == expected, column
        assert [i for i, x in enumerate(found) if x == 0] == [without] * (without is not None and column in columns[1:])
