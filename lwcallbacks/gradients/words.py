"""What is said of a layer that looks ill, and how bad it is among those of its kind.

in_words("zero", 1.0, row, is_grown=False)     # ("gradient zero in 100 % of the elements", 1.0)
odd_in_words(row)                              # "12 NaN in 3 logged steps"

`row` is what `Diagnosis` remembers of the layer, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lwcallbacks.gradients.finding import Illness, plural

NONE_IS_UPDATED = (
    "not updated, nor is any other layer: they have a gradient, and the learning rate is 0 or too small for their "
    "precision"
)


def in_words(illness: Illness, measure: float, row: Mapping[str, Any], *, is_grown: bool) -> tuple[str, float]:
    """The words, and a weight of 0 or more.

    Args:
        illness: one that a single step shows.
        measure: how much, as the rule has it.
        row: of the layer.
        is_grown: whether its norm is powers of ten above the median.
    """
    norm, upper = np.asarray(row["beside"]).tolist()
    small = -np.log10(max(measure, 1e-300))
    grown = f"norm {_times(row['growth'])} times the median, and " if is_grown else ""
    by = f"{grown}a step changes it by {size_in_words(measure)}"
    if row["clipped"] > 0:
        by = f"its norm before clipping is {row['clipped']:.1g}, and clipping leaves {row['clip']:.1g} of it"
    leap = float(row["before_zero"])
    behind = f", behind a step that changed it by {size_in_words(leap)}" if leap else ""
    return {
        "explodes": (f"explodes: {by}", 1.0),
        "large weights": (f"{large_in_words(measure)}, and a step changes little of them: "
                          "look at how they are initialised", measure),
        "faster than the others": (f"steps about {_about(measure)} times as large as those of the other layers: "
                                   "its learning rate is too high", measure),
        "weights vanish": (f"weights shrunk to {_percent(measure)} of their size at the start: "
                           "look at the weight decay", small),
        "weights grow": (f"weights grown to about {_about(measure)} times their size at the start: "
                         "the learning rate is too high", measure),
        "zero": (f"gradient zero in {_percent(measure)} of the elements{behind}", measure + bool(leap)),
        "vanishes": (f"gradient vanishes: norm {norm:.1g}, that of a quarter of the layers above {upper:.1g}", small),
        "lost in float16": (f"gradient lost in float16: {_percent(measure)} of what is not zero is as small as "
                            "it can hold, and smaller ones are zero; a larger loss scale keeps them", measure),
        "not updated": ("not updated: it has a gradient, and its learning rate is 0 or too small for its precision",
                        1.0),
        "slower than the others": (f"steps about {_about(measure)} times smaller than those of the other layers: "
                                   "its learning rate is too low, or its precision loses them", measure),
        "learns too fast": (f"update ratio {measure:.2g}: the learning rate is too high for this layer",
                            np.log10(max(measure * 10, 1.0))),
        "dead units": (f"dead units: {_percent(measure)} give nothing for any sample", measure),
        "hardly learns": (f"update ratio {measure:.1g}: it hardly learns", small),
    }[illness]  # fmt: skip


def odd_in_words(row: Mapping[str, Any]) -> str:
    """How many NaN and infinities."""
    num_nan, num_inf = np.asarray(row["odd"]).tolist()
    parts = " and ".join(f"{n:,} {word}" for n, word in ((num_nan, "NaN"), (num_inf, "Inf")) if n)
    return f"{parts} in {plural(int(row['odd_steps']), 'logged step')}"


def large_in_words(times: float) -> str:
    return f"weights about {_about(times)} times as large as those of the other layers"


def size_in_words(ratio: float) -> str:
    """How much of itself a step changes."""
    return _percent(ratio) if ratio < 1 else f"{_times(ratio)} times its own size"


def _percent(share: float) -> str:
    """Of all and of nothing alone it says 100 and 0."""
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.005 <= share < 0.995 else f"{100 * share:.3g} %"


def _times(factor: float) -> str:
    return f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}" if factor < 1e6 else f"{factor:.0e}"


def _about(factor: float) -> str:
    """With one digit that counts."""
    return f"{float(f'{factor:.1g}'):,.0f}" if factor < 1e6 else f"{factor:.0e}"
