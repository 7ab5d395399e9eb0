"""What outputs of a module are like, worked out by hand and in pieces."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from lwcallbacks.reductions import ActivationCounts, FieldError
from lwcallbacks.reductions import activation as activation_module
from lwcallbacks.reductions.looking import as_on_a_device
from lwcallbacks.testing import forbid_host_sync
from lwcallbacks.testing.same import difference

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "mean", "largest", "zero", "dead"),
    [
        ([[0.0, -3.0, 0.0], [0.0, 1.0, 0.0]], -1 / 3, 3.0, 4 / 6, 2),
        ([[-0.0, 0.0, 1e-45]], 2.0**-149 / 3, 2.0**-149, 2 / 3, 2),
        ([[NAN, 0.0, 1.0]], NAN, NAN, 1 / 3, 1),
        ([[INF, 1.0, 2.0]], INF, INF, 0.0, 0),
        ([[1e20, 1.0, -1e20]], 1 / 3, float(torch.tensor(1e20)), 0.0, 0),
    ],
)
def test_values_by_hand(values: Any, mean: float, largest: float, zero: float, dead: int) -> None:
    """The mean is rounded once; a unit with a NaN is not dead, and one of both zeros is."""
    counts = ActivationCounts(3)
    for context in (nullcontext(), as_on_a_device()):
        with context:
            seen = counts.value(counts.lift(torch.tensor(values)))
        assert (seen.mean, seen.largest) == pytest.approx((mean, largest), rel=1e-15, nan_ok=True)
        assert (seen.zero, seen.num_dead, seen.num_units) == (zero, dead, 3)


def test_eight_bins_between_powers_of_two() -> None:
    """As in a `LogHistogram`, unless more or fewer are asked for."""
    assert ActivationCounts() == ActivationCounts(0, mantissa_bits=3)
    seen = ActivationCounts().value(ActivationCounts().lift(torch.tensor([1.0, 1.0624, 1.1249, 1.125])))
    assert seen.bins.counts[seen.bins.counts > 0].tolist() == [3, 1]


def test_nothing_was_seen() -> None:
    """No mean and no share; every unit is dead."""
    counts = ActivationCounts(3)
    seen = counts.value(counts.lift(torch.zeros(0, 3)))
    assert math.isnan(seen.mean)
    assert math.isnan(seen.zero)
    assert (seen.largest, seen.num_dead) == (0.0, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("on_device", [False, True])
def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch, on_device: bool, dtype: torch.dtype) -> None:
    """A tensor that is added in pieces has the bits of one that is lifted; on a device without a wait."""
    for size in ("_CHUNK", "_AT_ONCE"):
        monkeypatch.setattr(activation_module, size, 50)
    generator = torch.Generator().manual_seed(0)
    x = torch.relu(torch.randn(11, 4, 3, 5, generator=generator)).to(dtype).to(memory_format=torch.channels_last)
    x[:, 2] = 0
    x[7, 1, 2, 2], x[8, 3] = NAN, -INF
    for values in (x, x[:, 1:].transpose(2, 3), x[:0]):
        counts = ActivationCounts(values.shape[1], mantissa_bits=1)
        expected = counts.merge(counts.lift(values), counts.lift(x[:2, : values.shape[1]]))
        state = counts.empty()
        with forbid_host_sync() if on_device else nullcontext():
            for part in (values, x[:2, : values.shape[1]]):
                state = counts.add(state, part)
        assert difference(state, expected) is None


@pytest.mark.parametrize("shape", [(4,), (4, 3), ()])
@pytest.mark.parametrize("on_device", [False, True])
def test_another_number_of_units_is_refused(shape: tuple[int, ...], on_device: bool) -> None:
    """However it is added."""
    counts = ActivationCounts(2)
    for add in (counts.lift, lambda x: counts.accumulate(counts.empty(), x), lambda x: counts.add(counts.empty(), x)):
        context = as_on_a_device() if on_device else nullcontext()
        with context, pytest.raises(FieldError, match=r"values have shape .*, expected \(N, 2, \.\.\.\)"):
            add(torch.zeros(shape))
