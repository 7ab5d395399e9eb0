"""Norms of any float, however large or small its elements are."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from lwcallbacks.gradients.norms import in_float64, joined, norms_of, peaks_of
from lwcallbacks.reductions import LogHistogram, bits
from lwcallbacks.reductions.looking import as_on_a_device

WAYS = pytest.mark.parametrize("way", [nullcontext, as_on_a_device], ids=["cpu", "device"])
KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def norms(*tensors: torch.Tensor) -> list[float]:
    found: list[float] = in_float64(norms_of(tensors).numpy()).tolist()
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit by bit, NaNs too."""
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


def true(x: torch.Tensor) -> float:
    """By exact arithmetic."""
    return float(np.sqrt(np.sum(x.double().numpy().astype(np.longdouble) ** 2)))


@WAYS
def test_a_norm_neither_overflows_nor_vanishes(way: type) -> None:
    """Of all kinds and sizes at once, whatever the square of an element is."""
    tensors = [torch.full((300,), 6e4, dtype=kind) for kind in KINDS]
    tensors += [torch.full((1000,), size) for size in (1e20, 3e38, 1e-20, 1e-30, 1e-38, 1e-44, 1.0, 0.0)]
    tensors += [torch.tensor([1e-60, 0.0], dtype=torch.float64), torch.tensor([1e20, 1.0, 1e-30]), torch.zeros(0)]
    with way():
        assert norms(*tensors) == pytest.approx([true(x) for x in tensors], rel=1e-6, abs=0)


@WAYS
def test_what_is_not_finite_stays(way: type) -> None:
    """NaN and infinity are in a norm and in the largest value, of their own tensor only."""
    tensors = [torch.tensor([1.0, float("nan")]), torch.tensor([-float("inf"), 1.0]), torch.tensor([3.0, -4.0])]
    with way():
        assert [str(norm) for norm in norms(*tensors)] == ["nan", "inf", "5.0"]
        assert [str(peak) for peak in peaks_of(tensors).tolist()] == ["nan", "inf", "4.0"]


@WAYS
def test_the_largest_value_is_that_of_the_look_at_the_counts(way: type) -> None:
    """Bit by bit, of any kind and layout."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator).to(kind) for kind in KINDS for size in (1, 700, 30_000)]
    tensors += [-tensors[2].abs(), tensors[5].reshape(300, 100).T, torch.tensor([-float("inf"), 1.0]), torch.zeros(2)]
    with way():
        found = peaks_of(tensors)
    assert torch.equal(found, LogHistogram().look_at_each(tensors)[1])


def test_large_tensors_are_scaled_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm of pieces is that of the whole."""
    monkeypatch.setattr(bits, "_AT_ONCE", 10)
    x = torch.linspace(-3e30, 1e30, 47).reshape(1, 47)
    assert norms(x, x[:, :3]) == pytest.approx([true(x), true(x[:, :3])], rel=1e-6)


@WAYS
def test_a_tensor_has_the_norm_that_it_has_alone(way: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit by bit, whatever is asked for in the same call: other kinds, other sizes, some in pieces, some in none."""
    monkeypatch.setattr(bits, "_AT_ONCE", 1000)
    generator = torch.Generator().manual_seed(0)
    sizes = (1, 700, 2500, 30, 999, 1001, 5000, 3000)
    tensors = [
        scale * torch.randn(size, generator=generator).to(KINDS[i % 4])
        for scale in (1.0, 1e-30, 1e30)
        for i, size in enumerate(sizes)
    ]
    tensors += [x.view(-1, 10).T for x in tensors if x.numel() % 10 == 0]
    with way():
        found = norms_of(tensors)
        assert same(found, torch.cat([norms_of([x]) for x in tensors]))
        assert same(peaks_of(tensors), torch.cat([peaks_of([x]) for x in tensors]))


@WAYS
def test_a_norm_is_that_of_torch(way: type) -> None:
    """Bit by bit, where nothing is large or small."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator) for size in (1, 1000, 30_000)]
    with way():
        assert norms(*tensors) == [float(norm) for norm in torch._foreach_norm(tensors)]


def test_norms_are_joined() -> None:
    """The norm of all is the norm of norms, along any axis, also where squares overflow, and of nothing zero."""
    assert joined(np.array([[3e200, 0.0], [4e200, 2.0]]), axis=0) == pytest.approx([5e200, 2.0])
    assert joined(np.array([])) == joined(np.zeros(3)) == 0
    assert joined(np.array([np.inf, 1.0])) == np.inf
    assert np.isnan(joined(np.array([np.nan, 1.0])))
