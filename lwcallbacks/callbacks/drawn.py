"""What is drawn of a step by layer, and of outputs by module.

step("gradients", layers, counts, 64, "")       # numbers and histograms of each layer
table("gradients", layers, "")                  # all layers in one
outputs("gradients", seen, 64)                  # the same of each module
histograms("gradients", ("weights/net.0.weight",), bins, 64)      # {"gradients/weights/net.0.weight": Histogram(...)}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lwcallbacks.gradients.activations import Seen
from lwcallbacks.gradients.further import MOMENTS, Counts
from lwcallbacks.gradients.layers import COLUMNS, Layers, quotient
from lwcallbacks.media import Entry, Histogram, Table
from lwcallbacks.reductions.filled import FilledBins

_OWN = {
    "total", "before_clipping", "layers", "clip_coefficient", "skipped_steps", "modules", "nonfinite",
    "nonfinite_steps", "drift", "drifted", "diagnosis", "norm_by_step", "update_ratio_by_step", "loss_spike",
    "loss_spikes",
}  # fmt: skip
"""Last parts of keys that are no layer's; a layer of such a name is called `total.parameter`, and so on."""
_KINDS = {
    "norm", "update_ratio", "weights", "updates", *MOMENTS, "activations", "activation_mean", "activation_max",
    "activation_zero", "dead_units",
}  # fmt: skip
"""Parts of keys that a layer's name follows; a layer whose name begins with one and a slash is renamed, too."""

_MODULE_COLUMNS = ("module", "calls", "elements", "mean", "max |a|", "zero", "dead units", "units", "NaN", "Inf")


def own(name: str) -> str:
    """What a layer is called in keys, so that none is another's.

    >>> own("total"), own("weights/SGD"), own("net.0.weight")
    ('total.parameter', 'weights/SGD.parameter', 'net.0.weight')
    """
    first, slash, _ = name.partition("/")
    return f"{name}.parameter" if first in _OWN or (slash and first in _KINDS) else name


def of_kind(key: str) -> str:
    """`own` of what comes behind the kind, as in "weights/total"."""
    kind, _, name = key.partition("/")
    return f"{kind}/{own(name)}"


def step(prefix: str, layers: Layers, counts: Counts | None, num_bins: int | None, behind: str) -> dict[str, Any]:
    """By key, of one step of an optimizer; without histograms if `num_bins` is None.

    Args:
        behind: what the keys of no layer's own end with.
    """
    layers = layers.called(map(own, layers.names))
    entries: dict[str, Any] = {}
    if num_bins is not None:
        entries |= histograms(prefix, layers.names, layers.bins, num_bins)
    if num_bins is not None and counts is not None:
        entries |= histograms(prefix, list(map(of_kind, counts.names)), counts.bins, num_bins)
    entries |= {f"{prefix}/norm/{name}": norm for name, norm in zip(layers.names, layers.norms, strict=True)}
    total, before = layers.total("norms"), layers.total("before")
    ratios = dict(zip(layers.names, layers.update_ratios(), strict=True))
    numbers = {
        f"norm/total{behind}": total,
        f"norm/before_clipping{behind}": before,
        f"clip_coefficient{behind}": quotient(total, before),
        **{f"update_ratio/{name}": ratio for name, ratio in ratios.items()},
        f"update_ratio/total{behind}": quotient(layers.total("changes"), layers.total("weights")),
    }
    return {**entries, **{f"{prefix}/{key}": value for key, value in numbers.items() if value is not None}}


def table(prefix: str, layers: Layers, behind: str) -> dict[str, Table]:
    """All layers of one step of an optimizer, by the one key of it."""
    return {f"{prefix}/layers{behind}": Table(COLUMNS, layers.called(map(own, layers.names)).rows())}


def histograms(prefix: str, names: Sequence[str], bins: FilledBins, num_bins: int) -> dict[str, Histogram]:
    """By key, for each row of `bins` one of so many bins of equal width, with what has no bin beside it."""
    counts, edges = bins.linear(num_bins)
    return {
        f"{prefix}/{name}": Histogram(of_bins, between, *odd.tolist())
        for name, of_bins, between, odd in zip(names, counts, edges, bins.beside(), strict=True)
    }


def outputs(prefix: str, seen: Mapping[str, Seen], num_bins: int | None) -> dict[str, Entry | float]:
    """By key; without histograms if `num_bins` is None."""
    entries: dict[str, Entry | float] = {}
    rows: list[list[str | int | float | None]] = []
    for name, of in seen.items():
        a, bins = of.activation, of.activation.bins
        odd = (bins.num_nan, bins.num_posinf, bins.num_neginf)
        elements = a.num_values
        units, dead = (None, None) if of.dead is None else (a.num_units, of.dead[0])
        if elements:
            numbers = {"mean": a.mean, "max": a.largest, "zero": a.zero}
            entries |= {f"{prefix}/activation_{kind}/{name}": value for kind, value in numbers.items()}
        if elements and num_bins is not None:
            entries[f"{prefix}/activations/{name}"] = Histogram(*bins.linear(num_bins), *odd)
        if dead is not None:
            entries[f"{prefix}/dead_units/{name}"] = dead
        rows.append([name, of.calls, elements, a.mean, a.largest, a.zero, dead, units, odd[0], odd[1] + odd[2]])
    return {**entries, f"{prefix}/modules": Table(_MODULE_COLUMNS, rows)} if rows else {}
