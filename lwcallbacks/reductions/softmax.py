"""Softmax with the same bits on every device, in every batch and layout.

    probabilities = same_softmax(logits)               # float32 [N, C, ...]

`torch.softmax` differs in its last bits: exponentials are approximated in other ways, and sums run in another order.
Here exponentials and their sum are integers, which no order changes. What is done in floats rounds once, as IEEE 754
says: conversions, products with powers of two, and one division. A device whose float32 division is
not that of IEEE 754, such as one with fast maths only, can differ in a last bit, and then now and then in a bin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lwcallbacks.reductions.floats import as_float32

FARTHEST = 40
"""A logit so far below the largest, or farther, has the probability 0: below 2**-57. Products stay below 2**63."""
_BEYOND = 2.0**33  # two float32 beyond it are equal or far apart
_IN, _LOG2E_BITS, _OUT, _SUM = 27, 30, 30, 44  # bits behind the point: of logits, log2(e), exponentials, their sum
_LOG2E = 1549082005  # round(log2(e) * 2**30)
# 2**-f for 0 <= f < 1, times 2**30, by powers of f: interpolation of degree 6 at Chebyshev's nodes, with 1 at 0.
_COEFFICIENTS = (1073741824, -744261112, 257940802, -59591844, 10304738, -1386885, 123394)


def same_softmax(logits: Tensor) -> Tensor:
    """Probabilities float32 of float logits [N, C, ...], which are read as float32; C is at most 2**18.

    Each is right up to a share of 2**-22 of it, which a softmax in float32 rarely is; one that is below
    e**-40 of the row's largest is 0. A row with NaN, with +inf or with nothing but -inf is NaN, as in `torch.softmax`.

    >>> same_softmax(torch.tensor([[0.0, 0.0], [float("-inf"), 1.0]]))
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    x = as_float32(logits)
    largest = x.amax(dim=1, keepdim=True)
    unfit = ~largest.isfinite()
    fixed = (x.clamp(-_BEYOND, _BEYOND).nan_to_num_() * 2.0**_IN).to(torch.int64)
    # A difference of floats is rounded, which is of no matter where it is far more than that.
    is_far = largest - x > 2 * FARTHEST
    below = (fixed.amax(dim=1, keepdim=True) - fixed).clamp_(max=FARTHEST << _IN).masked_fill_(is_far, FARTHEST << _IN)
    # How many times e**-below has to be doubled to be 1: a whole number and a fraction.
    halvings = (below * _LOG2E) >> (_IN + _LOG2E_BITS - _OUT)
    whole = halvings >> _OUT
    fraction = halvings.bitwise_and_(2**_OUT - 1)
    power = torch.full_like(fraction, _COEFFICIENTS[-1])
    for coefficient in _COEFFICIENTS[-2::-1]:
        power = power.mul_(fraction).bitwise_right_shift_(_OUT).add_(coefficient)
    total = ((power << (_SUM - _OUT)) >> whole).sum(dim=1, keepdim=True).to(torch.float32)
    scale = (127 + _SUM - _OUT - whole).to(torch.int32).bitwise_left_shift_(23).view(torch.float32)
    shares = (power.to(torch.float32) * scale / total).masked_fill_(below >= FARTHEST << _IN, 0.0)
    return shares.masked_fill_(unfit, torch.nan)
