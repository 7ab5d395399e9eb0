"""Floats as integers: exact sums, an order without exceptions, and logarithmic bins. All of it elementwise int64.

    orderable(x)             [N] float -> int64, a < b exactly when orderable(a) < orderable(b)
    exact_terms(x)           [N] float -> (slot, signed mantissa) to be added up in 64 bits
    exact_sums(x)            [N] float on the CPU -> those amounts added up by slot, much faster
    exact_total(slots)       those 256 sums -> one Python integer in units of 2**-149

But for `exact_sums`, nothing here looks at a value, so a device is not waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

EXPONENTS = 256
NOT_FINITE = 255  # the exponent of NaN and infinities
_EXPONENT_OF_ONE = 127
NAN, POSINF, NEGINF = EXPONENTS, EXPONENTS + 1, EXPONENTS + 2
EXACT_SLOTS = EXPONENTS + 3
UNIT_BITS = 149  # 2**-149 is the smallest float32: every finite float32 is a whole multiple of it.


def as_float32(x: Tensor) -> Tensor:
    """Detached float32. Exact from float16, bfloat16 and integers up to 2**24; float64 is rounded to nearest."""
    return x.detach().to(torch.float32)


def orderable(x: Tensor) -> Tensor:
    """Map float32 [N] to int64 in [-2**31, 2**31) so that order is kept: -inf < ... < -0.0 < 0.0 < ... < inf.

    NaNs of positive sign land above +inf, of negative sign below -inf; callers mask them. Negative floats have
    descending bit patterns, so their 31 value bits are flipped.
    """
    bits = as_float32(x).view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)


def from_orderable(key: Tensor) -> Tensor:
    """Undo `orderable`: int64 in [-2**31, 2**31) -> float32."""
    bits = key.to(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def exact_terms(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split float32 [N] into (slot, amount), int64 [N] each.

    A finite x is `amount * 2**(max(slot, 1) - 1 - 149)` with |amount| < 2**24 and the slot its biased exponent.
    NaN, +inf and -inf add 1 to a slot of their own. 2**39 elements of one exponent fit in 63 bits.
    """
    x = as_float32(x)
    bits = x.view(torch.int32)
    exponent = (bits >> 23) & 0xFF
    fraction = bits & 0x7FFFFF
    mantissa = torch.where(exponent > 0, fraction | 0x800000, fraction)
    special, negative = exponent == NOT_FINITE, x.signbit()
    special_slot = torch.where(fraction != 0, NAN, torch.where(negative, NEGINF, POSINF))
    slot = torch.where(special, special_slot, exponent)
    amount = torch.where(special, 1, torch.where(negative, -mantissa, mantissa))
    return slot.to(torch.int64), amount.to(torch.int64)


_PARTS = 8
_MOST_TERMS = 2**29


def exact_sums(x: Tensor, *, counting: bool = False) -> Tensor | None:
    """Add the amounts of `exact_terms` up by slot, for float32 x [N] on the CPU: int64 [259].

    Args:
        counting: whether the sums of N ones follow, as of weights: int64 [518].

    None where x is not all finite, is empty or too large: use `exact_terms`. In float64 the numbers of one exponent
    are whole multiples of one unit, below 2**24 of it: 2**29 of them are added without rounding, in any order.
    """
    if not 0 < x.numel() < _MOST_TERMS:
        return None
    ones, scale, parts = _folding(2 * EXACT_SLOTS if counting else EXACT_SLOTS)
    # Three bits of the mantissa tell eight slots of an exponent apart: an addition need not wait for the one before.
    slot = x.abs().view(torch.int32).bitwise_right_shift_(20)
    sums = torch.bincount(slot, x.double(), len(ones) * _PARTS).view(-1, _PARTS)
    folded = torch.addmv(ones, sums, parts, beta=x.numel())
    if folded[NOT_FINITE].item():  # neither NaN nor an infinity is zero
        return None
    return folded.mul_(scale).long()


@cache
def _folding(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a one adds to `size` sums as a weight, the unit by which each is divided, and ones for the parts."""
    ones, scale = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
    scale[:NOT_FINITE] = torch.tensor(
        [2.0 ** (UNIT_BITS + 1 - max(e, 1)) for e in range(NOT_FINITE)], dtype=torch.float64
    )
    if size > EXACT_SLOTS:
        ones[EXACT_SLOTS + _EXPONENT_OF_ONE] = 2.0**23
    return ones, scale, torch.ones(_PARTS, dtype=torch.float64)


def exact_total(sums: Sequence[int]) -> int:
    """Add the per-exponent sums up: an exact Python integer in units of 2**-149."""
    return sum(int(s) << (max(e, 1) - 1) for e, s in enumerate(sums[:EXPONENTS]) if s)


def special_value(sums: Sequence[int]) -> float | None:
    """What IEEE addition makes of the NaNs and infinities that were counted; None where there were none."""
    nan, posinf, neginf = sums[NAN], sums[POSINF], sums[NEGINF]
    if nan or (posinf and neginf):
        return float("nan")
    return float("inf") if posinf else float("-inf") if neginf else None


def ratio(numerator: int, denominator: int) -> float:
    """Correctly rounded quotient of integers; an overflow becomes an infinity."""
    try:
        return numerator / denominator
    except OverflowError:
        return float("inf") if (numerator > 0) == (denominator > 0) else float("-inf")
