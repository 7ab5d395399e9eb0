"""Bins that scores fall into by the leading bits of a float: fine where probabilities are close to 0 and to 1.

    bins = ScoreBins(mantissa_bits=10, logits=False)
    bins.of(torch.tensor([0.0, 0.25, 1.0]))            # int64 [3]: the bin of each score
    bins.edges                                         # float64 [size + 1], ascending

From 0 to 1/2 a bin is a power of two divided by 2**mantissa_bits; from 1/2 to 1 it is the same of 1 - score, which has
no rounding. A bin goes from its lower edge up to, but without, its upper edge. Edges are dyadic fractions, so that each
multiple of 1/16, say, is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lwcallbacks.reductions.floats import as_float32

_SMALLEST, _NEAREST, _LARGEST = -42, -24, 16
"""Exponents: below 2**-42 all is one bin; 2**-24 lies between 1 and the next float32; from 2**16 on all is one bin."""
MANTISSA = 23


def _bits_of(exponent: int) -> int:
    """The bits of the float32 2**exponent."""
    return (127 + exponent) << MANTISSA


@dataclass(frozen=True)
class ScoreBins:
    """Bins of scores in float32: one for 0, the bins between 0 and 1, one for 1, and what is beyond on both sides.

    Args:
        mantissa_bits: bits of the mantissa that tell bins apart, 1 to 12.
        logits: whether what is below 0 and above 1 is told apart as well; else each side is one bin.

    With 10 bits, 65,539 bins hold the probabilities, of which none is wider than 2**-12, and each number of float16 has
    a bin of its own.

    >>> bins = ScoreBins(10)
    >>> bins.one - bins.zero + 1, bins.size
    (65539, 65541)
    """

    mantissa_bits: int
    logits: bool = False

    @cached_property
    def _shift(self) -> int:
        return MANTISSA - self.mantissa_bits

    @cached_property
    def _octave(self) -> int:
        return 1 << self.mantissa_bits

    @cached_property
    def zero(self) -> int:
        """The bin of 0; those before it are of negative numbers."""
        return (_LARGEST - _SMALLEST) * self._octave if self.logits else 1

    @cached_property
    def _half(self) -> int:
        """The bin that begins at 1/2."""
        return self.zero + 1 + (-1 - _SMALLEST) * self._octave

    @cached_property
    def one(self) -> int:
        """The bin of 1, which holds nothing else; those behind it are of larger numbers."""
        return self._half + (-1 - _NEAREST) * self._octave + 1

    @cached_property
    def size(self) -> int:
        return self.one + 1 + (_LARGEST * self._octave if self.logits else 1)

    def of(self, scores: Tensor) -> Tensor:
        """The bin of each float score, int64 in its shape; NaN has the bin `size`."""
        x = as_float32(scores)
        negative, high, beyond = x < 0, x >= 0.5, x > 1
        mirrored = high & ~beyond
        y = torch.where(mirrored, 1 - x, x.abs())
        # Where more of y is less of x, a bin holds its upper end and not its lower one: shift by one float.
        key = (y.view(torch.int32) - (mirrored | negative).to(torch.int32)) >> self._shift
        up = (key - ((_bits_of(_SMALLEST) >> self._shift) - 1)).clamp_(min=0) + self.zero
        lowest = (_bits_of(_NEAREST) - 1) >> self._shift
        down = self.one - 1 - (key - lowest).clamp_(min=-1)
        left = self.zero - 1 - (key - (_bits_of(_SMALLEST) >> self._shift)).clamp_(min=0, max=self.zero - 1)
        right = self.one + 1 + (key - (_bits_of(0) >> self._shift)).clamp_(max=self.size - self.one - 2)
        index = torch.where(mirrored, down, torch.where(beyond, right, torch.where(negative, left, up)))
        return index.masked_fill_(x.isnan(), self.size).to(torch.int64)

    @cached_property
    def edges(self) -> np.ndarray:
        """The lower edge of each bin, then +inf: float64 [size + 1], read-only. The first is -inf."""
        low, near = self._magnitudes(_SMALLEST, -1), self._magnitudes(_NEAREST, -1)
        inside = ([0.0], low, [0.5], 1 - near[::-1], [1.0])
        if self.logits:
            negative = -self._magnitudes(_SMALLEST, _LARGEST)[::-1]
            outside = (np.concatenate([[-np.inf], negative[:-1]]), self._magnitudes(0, _LARGEST))
        else:
            outside = (np.array([-np.inf]), np.array([1.0]))
        edges = np.concatenate([outside[0], *inside, outside[1], [np.inf]])
        edges.setflags(write=False)
        return edges

    def _magnitudes(self, low: int, high: int) -> np.ndarray:
        """The edges from 2**low up to, but without, 2**high."""
        patterns = np.arange(_bits_of(low), _bits_of(high), 1 << self._shift, dtype=np.int64).astype(np.int32)
        return patterns.view(np.float32).astype(np.float64)
