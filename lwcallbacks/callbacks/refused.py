"""What is said of a batch that a reduction or a metric refuses, in terms of the callback's own arguments.

    refused(error, need, batch)         # the same kind of error, with where the fields are and what to write

A reduction knows neither who asked for it nor where its fields came from; here both are known.
"""

from __future__ import annotations

from typing import Any

import torchmetrics.classification
from torch import Tensor
from torchmetrics import Metric

from lwcallbacks.callbacks.batch import Batch
from lwcallbacks.callbacks.need import Need
from lwcallbacks.capture import CaptureError, Items
from lwcallbacks.capture.look import describe
from lwcallbacks.capture.messages import filled, no_tensor
from lwcallbacks.reductions import FieldError, PayloadError
from lwcallbacks.reductions.fitting import are_whole


class LabelsFound(FieldError):
    """Labels were found for the predictions, and scores are needed: what is to be written says where those are."""


_TASKS = ("Binary", "Multiclass", "Multilabel")


def takes_labels(metric: Metric) -> bool:
    """Whether a metric is one of labels and checks them: some of those take no floats, be they whole or not."""
    return type(metric).__module__.startswith("torchmetrics.classification") and getattr(metric, "validate_args", False)


def refused(error: Exception, need: Need, batch: Batch) -> Exception:
    """An error of the same class that says where the refused fields are, or which metric would take them."""
    if isinstance(error, (FieldError, PayloadError)):
        text, codes = str(error).removeprefix(f"{type(need.entry).__name__}: "), batch.codes(need)
        if isinstance(error, LabelsFound):
            return FieldError(filled(text, codes | {"preds": batch.step.code_of_scores(need.source)}))
        return type(error)(filled(text, codes) + _other_targets(need, batch))
    if isinstance(need.entry, Metric) and isinstance(error, (AttributeError, TypeError)):
        fields = batch.find(need)
        lists = [name for name, found in fields.items() if isinstance(found, Items)]
        if lists:
            name, code = lists[0], batch.codes(need)[lists[0]]
            told = no_tensor(name, need.source.extract(name), list(fields[name]), code)
            return CaptureError(f"{type(need.entry).__name__} raised {type(error).__name__}: {error}; {told}")
    if isinstance(need.entry, Metric) and type(error) in (ValueError, TypeError, RuntimeError):
        given = "".join(error.args) if all(isinstance(part, str) for part in error.args) else str(error)
        told = f"{given.rstrip('.')}. {_of_metric(need.entry, batch.find(need))}"
        return type(error)(filled(told, batch.codes(need)))
    return error


def _other_targets(need: Need, batch: Batch) -> str:
    """Of a batch without names, the part of the shape of the predictions, where the second part was taken for targets
    and another one may be meant: lengths often come before labels."""
    parts, preds = batch.step.batch, batch.find(need).get("preds")
    if need.source.targets is not None or not isinstance(parts, (tuple, list)) or not isinstance(preds, Tensor):
        return ""
    alike = [i for i, p in enumerate(parts) if i > 1 and isinstance(p, Tensor) and p.shape == preds.shape]
    return f". Or write targets={alike[0]}: batch[1] was taken, and batch[{alike[0]}] has one for each" if alike else ""


def _of_metric(metric: Metric, fields: dict[str, Any]) -> str:
    found = ", ".join(
        f"{name} {describe(list(value) if isinstance(value, Items) else value)}" for name, value in fields.items()
    )
    other, targets = _of_right_task(metric, fields), fields.get("targets")
    cure = f"write {other}" if other else "choose what it takes by preds= and targets="
    if not (targets is None or isinstance(targets, Items) or other):
        labels, wrong = "batch[1]", []
        if targets.is_floating_point():
            labels, wrong = "batch[1].long()" if are_whole(targets) else "(batch[1] > 0.5).long()", ["integers"]
        if _has_channel(fields.get("preds"), targets):
            labels, wrong = f"{labels}.squeeze(1)", [*wrong, "without the dimension of channels"]
        if wrong:
            cure = f"labels are {' '.join(wrong)}, as in targets=lambda outputs, batch: {labels}"
    return f"Found {found}, expected what {type(metric).__name__} takes: {cure}"


def _has_channel(preds: Any, targets: Tensor) -> bool:
    """Whether labels [N, 1, ...] go with scores [N, C, ...]."""
    return isinstance(preds, Tensor) and preds.ndim == targets.ndim > 2 and targets.shape[1] == 1 < preds.shape[1]


def _of_right_task(metric: Metric, fields: dict[str, Any]) -> str | None:
    """The classification metric of the same name that takes scores and labels of these shapes."""
    name = type(metric).__name__
    task = next((task for task in _TASKS if name.startswith(task)), None)
    preds, targets = fields.get("preds"), fields.get("targets")
    if task is None or not (isinstance(preds, Tensor) and isinstance(targets, Tensor) and preds.is_floating_point()):
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
