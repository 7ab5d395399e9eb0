"""One step of an optimizer on the host: for each layer what is known of its gradient, in NumPy.

layers.names, layers.norms               # float64 [P]
layers.total("norms")                    # over all layers
layers.grouped(["net.0", "net.0"])       # layers of one name put together
layers.rows()                            # cells of a table, in the order of COLUMNS
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from lwcallbacks.gradients.norms import joined
from lwcallbacks.reductions import LogBins, LogHistogram
from lwcallbacks.reductions.filled import FilledBins

COLUMNS = (
    "layer", "elements", "norm", "update ratio", "max |g|", "zero", "underflow in float16", "underflow in bfloat16",
    "NaN", "Inf",
)  # fmt: skip

FLOAT16_ZERO = 2.0**-25
"""Half of the smallest float16: what is smaller becomes zero."""
BFLOAT16_NORMAL = 2.0**-126
"""The smallest bfloat16 that is normal: what is smaller becomes zero on hardware that flushes subnormal numbers."""

Which = Literal["norms", "before", "changes", "weights"]


@dataclass(frozen=True, eq=False)
class Layers:
    """What one step of an optimizer was made of. Layers without a gradient are not here.

    Attributes:
        names: of P layers.
        elements: int64 [P].
        bins: counts of each gradient's elements by their leading bits, of P rows.
        norms: 2-norm of each gradient that was used, float64 [P].
        largest: the largest absolute value, float64 [P]; NaN where there is a NaN.
        before: 2-norm before clipping, float64 [P]; None where that is not known.
        changes, weights: 2-norm of what the step changed of a parameter, and of the parameter before; or None.
    """

    names: tuple[str, ...]
    elements: np.ndarray
    bins: FilledBins
    norms: np.ndarray
    largest: np.ndarray
    before: np.ndarray | None = None
    changes: np.ndarray | None = None
    weights: np.ndarray | None = None

    def total(self, which: Which) -> float | None:
        """A norm over all layers; None where it is not known."""
        norms = getattr(self, which)
        return None if norms is None else float(joined(norms))

    def update_ratios(self) -> list[float | None]:
        """What the step changed by what was there; None where that is not known or was zero."""
        if self.changes is None or self.weights is None:
            return [None] * len(self.names)
        return [quotient(change, weight) for change, weight in zip(self.changes, self.weights, strict=True)]

    def seen(self, histogram: LogHistogram | None = None) -> dict[str, LogBins]:
        """The counts by layer. `histogram` is what has counted; by default another of its kind."""
        histogram = histogram or LogHistogram(self.bins.mantissa_bits)
        tables = map(torch.from_numpy, self.bins.tables())
        return {name: histogram.value({"counts": table}) for name, table in zip(self.names, tables, strict=True)}

    def called(self, names: Iterable[str]) -> Layers:
        """The same by other names, one for each."""
        return replace(self, names=tuple(names))

    def grouped(self, names: Sequence[str]) -> Layers:
        """Layers that get one name are one: counts are added, norms are of all of it."""
        if len(set(names)) == len(names):
            return self.called(names)
        groups = {name: i for i, name in enumerate(dict.fromkeys(names))}
        group = np.array([groups[name] for name in names])
        rows = [np.flatnonzero(group == i) for i in range(len(groups))]

        def together(norms: np.ndarray | None) -> np.ndarray | None:
            return None if norms is None else np.array([joined(norms[of]) for of in rows])

        return Layers(
            names=tuple(groups),
            elements=np.array([self.elements[of].sum() for of in rows]),
            bins=self.bins.added(group, len(groups)),
            norms=np.array([joined(self.norms[of]) for of in rows]),
            largest=np.array([self.largest[of].max() for of in rows]),
            before=together(self.before),
            changes=together(self.changes),
            weights=together(self.weights),
        )

    def rows(self) -> list[list[str | int | float | None]]:
        """A row for each layer; "zero" and "underflow" are shares of the elements."""
        zeros = self.bins.smaller_than(0.0)
        half, brain = (self.bins.smaller_than(limit) - zeros for limit in (FLOAT16_ZERO, BFLOAT16_NORMAL))
        beside = self.bins.beside()
        columns = (
            self.names,
            self.elements.tolist(),
            self.norms.tolist(),
            self.update_ratios(),
            self.largest.tolist(),
            *((counts / np.maximum(self.elements, 1)).tolist() for counts in (zeros, half, brain)),
            beside[:, 0].tolist(),
            beside[:, 1:].sum(1).tolist(),
        )
        return [list(row) for row in zip(*columns, strict=True)]


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    """Of two norms; None where one is not known, or the lower one is zero."""
    return None if numerator is None or not denominator else float(numerator / denominator)
