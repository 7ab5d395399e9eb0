"""What a step changes of parameters, from copies that were kept before it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.norms import in_float64, norms_of_pieces
from lwcallbacks.reductions.looking import as_on_a_device

CPU = torch.device("cpu")
WAYS = pytest.mark.parametrize("way", [nullcontext, as_on_a_device], ids=["cpu", "device"])


@WAYS
def test_a_change_has_the_place_of_its_parameter(way: type) -> None:
    """In the order that is asked for, whatever order they were kept in; zeros where nothing was kept."""
    a, b, c, d = (nn.Parameter(torch.full((size,), 2.0)) for size in (9, 4, 9, 1))
    with way():
        kept = Kept([a, b, c])
        for p, change in ((a, 1.0), (b, 0.5), (c, -3.0), (d, 7.0)):
            p.data += change
        changes, before = in_float64(kept.norms([d, c, b, a], CPU).numpy()).tolist()
    assert changes == [0.0, 9.0, 1.0, 3.0]
    assert before == [0.0, 6.0, 4.0, 6.0]


@WAYS
@pytest.mark.parametrize("moved", [lambda x: x.t().contiguous().t(), lambda x: x[:, :2].clone(), lambda x: x.double()])
def test_what_lies_in_another_order_by_now_has_no_change(way: type, moved: object) -> None:
    """Nor what has another shape or kind of number: it has zeros, its neighbours of the same size their own."""
    a, b, c = (nn.Parameter(torch.full((3, 3), float(i + 1))) for i in range(3))
    with way():
        kept = Kept([a, b, c])
        a.data += 1
        b.data = moved(b.data)  # type: ignore[operator]
        c.data -= 2
        assert list(kept.copies()) == [id(a), id(c)]
        changes, before = in_float64(kept.norms([a, b, c], CPU).numpy()).tolist()
    assert changes == [3.0, 0.0, 6.0]
    assert before == [3.0, 0.0, 9.0]


@WAYS
def test_norms_of_pieces_neither_overflow_nor_vanish(way: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large, small, subnormal, zero and usual pieces beside each other, some of one size, in runs cut short."""
    monkeypatch.setattr("lwcallbacks.reductions.bits._AT_ONCE", 8)
    rows = [[3e30], [], [4e-30, 3e-30], [0.0, 0.0], [3e38, 0.0], [2e-40, 0.0], [3.0, 4.0], [1e20] * 4, [1e-42] * 9]
    pieces = sorted(map(torch.tensor, rows), key=len)
    with way():
        found = in_float64(norms_of_pieces(torch.cat(pieces), list(map(len, pieces))).numpy()).tolist()
    assert found == pytest.approx([float(x.double().norm()) for x in pieces], rel=1e-6)
    assert found.count(0.0) == 2


@WAYS
def test_norms_of_pieces_that_are_not_finite_are_not_finite(way: type) -> None:
    """Each for itself."""
    pieces = [torch.tensor(x) for x in ([float("inf"), 1.0], [float("nan"), 1.0], [3.0, 4.0])]
    with way():
        found = in_float64(norms_of_pieces(torch.cat(pieces), [2, 2, 2]).numpy()).tolist()
    assert found == pytest.approx([float("inf"), float("nan"), 5.0], nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16])
@pytest.mark.parametrize("size", [4095, 4096, 8192, 8193, 10_000, 300_007])
def test_what_is_estimated_is_of_the_whole(dtype: torch.dtype, size: int) -> None:
    """A constant change of all elements, so that any sample tells it; of complex ones a part may not stand for both."""
    value = 2.0 + 1.5j if dtype.is_complex else 2.0
    large = nn.Parameter(torch.full((size,), value, dtype=dtype))
    small = nn.Parameter(torch.ones(3, dtype=dtype))
    kept = Kept([large, small])
    large.data *= 1.5
    changes, before = in_float64(kept.norms([large, small], CPU).numpy())
    # The last element of a sample may stand for fewer than the others.
    element = 2.5 if dtype.is_complex else 2.0
    assert changes.tolist() == pytest.approx([0.5 * element * size**0.5, 0.0], rel=1e-3)
    assert before.tolist() == pytest.approx([element * size**0.5, 3**0.5], rel=1e-3)
