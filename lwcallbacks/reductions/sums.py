"""Exact sums, means and extremes of floats.

    mean = ExactMean()
    mean.value(mean.merge(mean.lift(torch.tensor([1.0, 2.0])), mean.lift(torch.tensor([4.5]))))    # 2.5

A float sum depends on its order; these do not. Each float32 is added as an integer mantissa to the slot of its
exponent, and the total is rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lwcallbacks.reductions.base import INT64_MIN, Scatter, Scattered, Slots, State, amounts, expect
from lwcallbacks.reductions.floats import (
    EXACT_SLOTS,
    UNIT_BITS,
    as_float32,
    exact_sums,
    exact_terms,
    exact_total,
    from_orderable,
    orderable,
    ratio,
    special_value,
)


def _masked_terms(x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    slot, amount = exact_terms(x)
    if valid is not None:
        amount = amount * amounts(valid, x)
    return slot, amount


def _counted(x: Tensor, valid: Tensor | None) -> Tensor:
    """The elements of a tensor on the CPU that count, float32 [M]."""
    if x.dtype != torch.float32 or x.requires_grad:
        x = as_float32(x)
    if valid is not None:
        x = x[valid]
    return x if x.ndim == 1 else x.reshape(-1)


@dataclass(frozen=True)
class ExactSum(Scattered):
    """The correctly rounded sum of all elements.

    `lift(values)`: float [N, ...], read as float32. `value`: a Python float, the float64 nearest to the true sum of
    the float32 values; NaN and infinities behave as in IEEE addition; 0.0 of nothing. Exact below 2**39 elements of
    one exponent. State: int64 [259]; O(N) to lift, O(1) to merge. The superaccumulator of Kulisch, one word per
    exponent (as in Neal, "Fast exact summation using small and large superaccumulators", 2015).

    >>> total = ExactSum()
    >>> total.value(total.lift(torch.tensor([1e20, 1.0, -1e20])))    # torch.sum gives 0
    1.0
    """

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"sums": Slots(EXACT_SLOTS)}

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        return {"sums": _masked_terms(values, valid)}

    def tally(self, state: State, values: Tensor, *, valid: Tensor | None = None) -> State:  # type: ignore[override]
        values = _counted(values, valid)
        sums = exact_sums(values)
        if sums is None:
            return super().tally(state, values)
        state["sums"].add_(sums)
        return state

    def value(self, state: State) -> float:
        sums = state["sums"].tolist()
        special = special_value(sums)
        return ratio(exact_total(sums), 2**UNIT_BITS) if special is None else special


@dataclass(frozen=True)
class ExactMean(Scattered):
    """The correctly rounded weighted mean of all elements: never a mean of batch means.

    `lift(values, weights=None)`: float [N, ...] and, if given, float weights of the same shape; the products are
    float32. `value`: a Python float, the float64 nearest to sum(w x) / sum(w); NaN of nothing or of zero weight, and
    where a NaN was seen. State: int64 [518]. Bounds as for `ExactSum`.

    >>> mean = ExactMean()
    >>> mean.value(mean.merge(mean.lift(torch.tensor([1.0, 2.0])), mean.lift(torch.tensor([4.5]))))
    2.5
    >>> mean.value(mean.lift(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0])))    # with weights
    2.0
    """

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"sums": Slots(2 * EXACT_SLOTS)}

    def scatter(  # type: ignore[override]
        self, values: Tensor, weights: Tensor | None = None, *, valid: Tensor | None = None
    ) -> Scatter:
        if weights is None:
            values = as_float32(values)
            weights = torch.ones_like(values)
        else:
            values, weights = self._weighted(values, weights)
        above = _masked_terms(values, valid)
        below = _masked_terms(weights, valid)
        return {"sums": (torch.stack([above[0], below[0] + EXACT_SLOTS], -1), torch.stack([above[1], below[1]], -1))}

    def _weighted(self, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The products, and the weights."""
        found = f"weights have shape {tuple(weights.shape)}"
        expect(weights.shape == values.shape, self, found, f"{tuple(values.shape)} as the values")
        weights = as_float32(weights)
        return as_float32(values) * weights, weights

    def tally(  # type: ignore[override]
        self, state: State, values: Tensor, weights: Tensor | None = None, *, valid: Tensor | None = None
    ) -> State:
        if weights is not None:
            products, weights = self._weighted(values, weights)
            above, below = exact_sums(_counted(products, valid)), exact_sums(_counted(weights, valid))
            sums = None if above is None or below is None else torch.cat([above, below])
        else:
            sums = exact_sums(_counted(values, valid), counting=True)
        if sums is None:
            return super().tally(state, values, weights, valid=valid)
        state["sums"].add_(sums)
        return state

    def value(self, state: State) -> float:
        sums = state["sums"].tolist()
        above, below = sums[:EXACT_SLOTS], sums[EXACT_SLOTS:]
        special_above, special_below = special_value(above), special_value(below)
        total, weight = exact_total(above), exact_total(below)
        # A weight that is not finite has made its product infinite or NaN, too: there is no number to tell.
        if special_below is not None or weight == 0:
            return float("nan")
        if special_above is not None:
            return special_above if weight > 0 else -special_above
        return ratio(total, weight)


class MinMax(NamedTuple):
    """Smallest and largest value that was seen, NaN where none was, and how many were NaN.

    >>> MinMax(min=-1.0, max=3.0, num_nan=0).max
    3.0
    """

    min: float
    max: float
    num_nan: int


@dataclass(frozen=True)
class Extrema(Scattered):
    """The smallest and the largest element.

    `lift(values)`: float [N, ...], read as float32. NaNs are counted and left out; infinities take part;
    -0.0 is smaller than 0.0. State: int64 [2] and int64 [1].

    >>> extrema = Extrema()
    >>> extrema.value(extrema.lift(torch.tensor([3.0, -1.0, float("nan")])))
    MinMax(min=-1.0, max=3.0, num_nan=1)
    """

    @property
    def slots(self) -> Mapping[str, Slots]:
        return {"ends": Slots(2, "max"), "nan": Slots(1)}

    def scatter(self, values: Tensor, *, valid: Tensor | None = None) -> Scatter:  # type: ignore[override]
        values = as_float32(values)
        key, nan = orderable(values), values.isnan()
        absent = nan if valid is None else nan | (amounts(valid, values) == 0)
        # Bitwise not reverses the order of integers without overflow: the minimum is kept as a maximum.
        ends = torch.stack([key, ~key], -1).masked_fill(absent.unsqueeze(-1), INT64_MIN)
        return {"ends": (None, ends), "nan": (None, (nan * amounts(valid, values)).unsqueeze(-1))}

    def value(self, state: State) -> MinMax:
        high, low = state["ends"].cpu()
        num_nan = int(state["nan"])
        if int(high) == INT64_MIN:
            return MinMax(float("nan"), float("nan"), num_nan)
        return MinMax(float(from_orderable(~low)), float(from_orderable(high)), num_nan)
