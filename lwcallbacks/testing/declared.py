"""Laws that a metric breaks by design, and says so.

    class LastBatch(Metric):
        known_violations = {"batch_size": "it is about the last batch"}

    declared([LastBatch()], METRIC_LAWS)        # the same; of a wrapper or a collection, all that is said inside

Those of torchmetrics do not say so; they are in a table here. What a metric does wrong beside is not in it: a
`BootStrapper` draws samples at random, and so may differ with the batch size; that it loses data in `forward` is
a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from lwcallbacks.testing.law import Laws, with_reasons


class _Design(NamedTuple):
    """Classes of torchmetrics by name, for which of their instances, the laws, and why."""

    names: tuple[str, ...]
    where: Callable[[Any], bool]
    laws: tuple[str, ...]
    why: str


def _always(metric: Any) -> bool:
    return True


def _reduces_batches(metric: Any) -> bool:
    dims = metric.dim if isinstance(metric.dim, list | tuple) else [metric.dim]
    return 0 in dims


_DESIGNS = [
    _Design(
        ("BootStrapper",),
        _always,
        ("repeatable", "batch_size", "order", "shards", "empty_process", "step_value", "reset", "state_dict_round_trip",
         "no_saturation", "merge_after_compute", "load_replaces", "resume_with_forward", "checkpoint_unchanged",
         "pickle_mid_epoch", "instances_are_independent", "sync_on_step", "stale_value"),
        "it draws samples at random in each update",
    ),
    _Design(
        ("BinaryTargetTransformer",),
        _always,
        ("labels_in_range",),
        "each label above its threshold counts as 1, whatever it is",
    ),
    _Design(
        ("CatMetric",),
        _always,
        ("order",),
        "its value is all values in the order in which they came",
    ),
    _Design(
        ("InceptionScore",),
        lambda metric: metric.splits > 1,
        ("repeatable", "order", "shards", "empty_process", "compute_is_pure", "merge_state", "pickle_round_trip",
         "clone_is_independent", "state_dict_round_trip", "forward_accumulates", "step_value", "reset", "device",
         "merge_after_compute", "load_replaces", "resume_with_forward", "pickle_mid_epoch", "sync_on_step",
         "checkpoint_unchanged", "stale_value"),
        "it shuffles the pictures in each compute",
    ),
    _Design(
        ("KernelInceptionDistance",),
        _always,
        ("repeatable", "batch_size", "order", "shards", "empty_process", "compute_is_pure", "merge_state",
         "pickle_round_trip", "clone_is_independent", "state_dict_round_trip", "forward_accumulates", "step_value",
         "reset", "device"),
        "it draws subsets at random in each compute",
    ),
    _Design(
        ("Running", "RunningMean", "RunningSum"),
        _always,
        ("batch_size", "order", "shards", "empty_process"),
        "it is about the last updates of its own process, and not about samples",
    ),
    _Design(
        ("MinMaxMetric",),
        _always,
        ("compute_is_pure", "step_value", "sync_on_step"),
        "it keeps the extremes of what compute returned so far, so each compute takes part",
    ),
    _Design(
        ("PeakSignalNoiseRatio",),
        _reduces_batches,
        ("batch_size",),
        "dim contains 0, so a score is taken over the samples of a batch; leave 0 out for one of each sample",
    ),
    _Design(
        ("StructuralSimilarityIndexMeasure", "MultiScaleStructuralSimilarityIndexMeasure"),
        lambda metric: metric.data_range is None,
        ("batch_size",),
        "data_range=None takes the range of each batch's values; give data_range, as data_range=1.0",
    ),
]  # fmt: skip


def declared(parts: Iterable[Any], laws: Laws[Any]) -> dict[str, str]:
    """Why a law is expected to be broken, by its name: what these metrics say of themselves.

    Raises:
        ValueError: what a metric says is of no law of these, or has no reason.
    """
    found: dict[str, str] = {}
    for metric in parts:
        own = {cls.__name__ for cls in type(metric).__mro__ if cls.__module__.startswith("torchmetrics.")}
        for design in _DESIGNS:
            if own.intersection(design.names) and design.where(metric):
                why = f"{type(metric).__name__}: {design.why}"
                found.update(dict.fromkeys(design.laws, why))
        own_words = getattr(metric, "known_violations", {})
        found.update(with_reasons(laws, own_words, f"{type(metric).__name__}.known_violations"))
    return found
