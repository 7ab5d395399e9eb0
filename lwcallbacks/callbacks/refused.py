"""What is said of a batch that a reduction or a metric refuses, in terms of the callback's own arguments.

    refused(error, need, batch)         # the same kind of error, with where the fields are and what to write

A reduction knows neither who asked for it nor where its fields came from; here both are known.
"""

from __future__ import annotations

import torchmetrics.classification
from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.callbacks.batch import Batch
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture.look import describe
from lwcallbacks.capture.messages import filled
from lwcallbacks.reductions import FieldError, PayloadError
from lwcallbacks.reductions.fitting import are_whole

_TASKS = ("Binary", "Multiclass", "Multilabel")


def takes_labels(metric: Metric) -> bool:
    """Whether a metric is one of labels and checks them: some of those take no floats, be they whole or not."""
    return type(metric).__module__.startswith("torchmetrics.classification") and getattr(metric, "validate_args", False)


def refused(error: Exception, need: Need, batch: Batch) -> Exception:
    """An error of the same class that says where the refused fields are, or which metric would take them."""
    if isinstance(error, (FieldError, PayloadError)):
        text = str(error).removeprefix(f"{type(need.entry).__name__}: ")
        return type(error)(filled(text, batch.codes(need)))
    if isinstance(need.entry, Metric) and type(error) in (ValueError, TypeError, RuntimeError):
        told = f"{str(error).rstrip('.')}. {_of_metric(need.entry, batch.find(need))}"
        return type(error)(filled(told, batch.codes(need)))
    return error


def _of_metric(metric: Metric, fields: dict[str, Tensor]) -> str:
    found = ", ".join(f"{name} {describe(tensor)}" for name, tensor in fields.items())
    other, targets = _of_right_task(metric, fields), fields.get("targets")
    cure = f"write {other}" if other else "choose what it takes by preds= and targets="
    if targets is not None and targets.is_floating_point() and not other:
        labels = "batch[1].long()" if are_whole(targets) else "(batch[1] > 0.5).long()"
        cure = f"labels are integers, as in targets=lambda outputs, batch: {labels}"
    return f"Found {found}, expected what {type(metric).__name__} takes: {cure}"


def _of_right_task(metric: Metric, fields: dict[str, Tensor]) -> str | None:
    """The classification metric of the same name that takes scores and labels of these shapes."""
    name = type(metric).__name__
    task = next((task for task in _TASKS if name.startswith(task)), None)
    preds, targets = fields.get("preds"), fields.get("targets")
    if task is None or preds is None or targets is None or not preds.is_floating_point():
        return None
    if preds.ndim == targets.ndim + 1:
        right, size = "Multiclass", str(preds.shape[1])
    elif preds.shape == targets.shape:
        right, size = ("Binary", "") if preds.ndim == 1 else ("Multilabel", str(preds.shape[1]))
    else:
        return None
    if right == task or (right == "Multilabel" and size == "1"):
        return None
    other = right + name.removeprefix(task)
    return f"{other}({size})" if hasattr(torchmetrics.classification, other) else None
