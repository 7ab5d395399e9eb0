"""What several laws do with a metric: merge it, save it, pickle it, and share batches between two.

merge(metric, other)              # or NotApplicable, where there is no such thing
loaded.load_state_dict(saved(metric))
moved = pickle.loads(pickled(metric))
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import assume

from lwcallbacks.testing.law import NotApplicable, NotThisExample
from lwcallbacks.testing.samples import Args, Indivisible, cut_evenly, join
from lwcallbacks.testing.world import contained_metrics


def divisible(batches: Sequence[Args]) -> Args:
    """All samples as one batch; a law about samples says nothing about batches that cannot be put together."""
    try:
        return join(batches)
    except Indivisible as reason:
        raise NotThisExample(str(reason)) from None


def for_two(batches: Sequence[Args], least: int) -> Sequence[Args]:
    """At least two batches, so that two metrics have some; one batch alone is cut into the least there are."""
    if len(batches) == 1:
        with suppress(Indivisible):
            batches = cut_evenly(batches[0], least)
    assume(len(batches) > 1)
    return batches


def merge(metric: Any, other: Any) -> None:
    """`metric.merge_state(other)`; a law about it does not apply where a metric has none, or refuses."""
    if not hasattr(metric, "merge_state"):
        raise NotApplicable("it has no merge_state")
    try:
        metric.merge_state(other)
    except (RuntimeError, NotImplementedError) as refusal:
        if "not supported" in str(refusal) or isinstance(refusal, NotImplementedError):
            raise NotApplicable(str(refusal)) from None
        raise


def persistent(*metrics: Any) -> None:
    """Make states part of the checkpoint, those of contained metrics, too."""
    for metric in metrics:
        for part in contained_metrics(metric):
            part.persistent(True)


def saved(metric: Any) -> dict[str, Any]:
    """What a checkpoint holds of a metric whose state is persistent."""
    persistent(metric)
    return copy.deepcopy(metric.state_dict())


def pickled(metric: Any) -> bytes:
    """The metric as bytes.

    A lambda, or a class that is made inside of a function, cannot be pickled by Python: a law about it does not apply.
    """
    try:
        return pickle.dumps(metric)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if any(sign in str(error) for sign in ("<lambda>", "<locals>", "local object", "not found as")):
            told = f"it cannot be pickled: {error}; give the function or class a place in a module"
            raise NotApplicable(told) from None
        raise
