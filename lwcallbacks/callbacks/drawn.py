"""What is drawn of counts by layer.

histograms("gradients", ("weights/net.0.weight",), bins, 64)      # {"gradients/weights/net.0.weight": Histogram(...)}
"""

from __future__ import annotations

from collections.abc import Sequence

from lwcallbacks.media import Histogram
from lwcallbacks.reductions.filled import FilledBins


def histograms(prefix: str, names: Sequence[str], bins: FilledBins, num_bins: int) -> dict[str, Histogram]:
    """By key, for each row of `bins` one of so many bins of equal width, with what has no bin beside it."""
    counts, edges = bins.linear(num_bins)
    return {
        f"{prefix}/{name}": Histogram(of_bins, between, *odd.tolist())
        for name, of_bins, between, odd in zip(names, counts, edges, bins.beside(), strict=True)
    }
