"""ScalarMetrics: any torchmetrics metric or reduction, at step end and over all samples at epoch end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lwcallbacks.callbacks.base import Entries, plain, short_key
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.numbers import NumberCallback
from lwcallbacks.callbacks.refused import takes_labels
from lwcallbacks.callbacks.trainer import monitored_keys
from lwcallbacks.capture import Extract, ItemsForm, Source
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.reductions import Derived, Reduction, ScoreRange
from lwcallbacks.reductions.fitting import are_whole, fitted, whole
from lwcallbacks.reductions.score_range import check_scores

LOGITS, RANGE = " (logits)", "(range)"
"""What is kept beside a metric where nobody says whether scores are logits."""


class ScalarMetrics(NumberCallback):
    """Log metrics through the Trainer: this step's value while training, and the value over all samples of an epoch.

    Padding that a ``DistributedSampler`` adds is left out, and unequal batches weigh what they hold. All are synced
    together with everything else, also where a process has no data; only a metric that holds other metrics, or has its
    own way to sync, is left to torchmetrics. One that keeps every batch, such as AUROC without thresholds, sends it
    all at an epoch's end. A metric that checks its arguments waits for the device in every update:
    ``validate_args=False`` spares that.

    A metric may also be one that is updated with lists of an entry for each sample, such as texts, or the mappings of
    "boxes", "labels" and "scores" that `MeanAveragePrecision` and `BoxGrid` take. Boxes in padded tensors become such a
    list. Entries that are padding are left out as rows are.

    A reduction is as good as a metric, and ``Derived(ConfusionCounts(10), macro_f1)`` is a number worked out from one.
    Neither waits but for the steps that are logged, and equal reductions share one state, also with a
    ``ConfusionMatrix``.

    The epoch's values can be monitored by ``ModelCheckpoint(monitor="val/acc")`` and ``EarlyStopping``.
    ``results["val"]`` is a dict of CPU tensors by name. A batch that cannot be read is left out and reported. Where
    nothing can be worked out in an epoch, nothing is logged, and the Trainer keeps the last value; before there is one,
    NaN is logged, with a warning, so that a monitor finds its key.

    A key that your module or another callback logs, too, stays theirs: ours is then logged under
    ``lwcallbacks/val/acc``, with a warning. What is given to a logger directly cannot be seen.

    Args:
        metrics: metrics by name, a ``MetricCollection``, or both nested; also a reduction or a ``Derived``. They are
            copied: one copy per stage and loader, none on your module.
        fields: what each is called with: names out of "inputs", "preds", "targets", "loss", or of further fields of the
            step's output or the batch, as ``metric(preds, targets)`` if left out. Or a mapping of such names to where
            each is found (as for ``preds``; None: in the usual places), as in ``{"preds": None, "targets": None,
            "indexes": "query"}``. A loss that is one number for the batch counts once for each of its samples.
        task: what float preds are, for metrics that are not to guess it: "binary" for one score for each target,
            "multilabel" for one for each label, "multiclass" for [N, C, ...]. A metric is then given probabilities,
            whatever the scores are. None: it is given the scores as they are. A reduction is always.
        logits: with ``task``, whether scores are logits. None decides by all scores of the epoch together: in [0, 1]
            they are probabilities, any below -0.5 or above 1.5 makes them logits, and between the two a warning asks
            for this argument. A metric is then kept twice. A step's number goes by the scores of the epoch so far.
        prefix: what comes before each name in the keys, as ``"lw_"`` for ``val/lw_acc``.
        prog_bar: show the epoch's values, and the training steps', in the progress bar.
        inputs: where to find the inputs, if not in the usual places.
        preds: where to find the predictions.
        targets: where to find the targets. Floats that are whole numbers become integers for a metric of
            ``torchmetrics.classification`` that checks its arguments.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        stages: out of "train", "val" and "test".
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        TypeError: something in ``metrics`` is no metric.
        ValueError: an argument is not as said here, or ``logits`` comes without ``task``; or, at the first batch, a
            field was not found.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``train/{name}_step``            value of this batch, every ``log_every_n_steps``
    ``train/{name}_epoch``           value over the epoch's training batches
    ``val/{name}``, ``test/{name}``  value over all samples
    ================================ =======================================================

    A metric that gives a dict, or a vector such as one value per class, is logged under ``{name}_{key}`` and
    ``{name}_0``, ``{name}_1``, ...; other shapes are in ``results`` only.

    >>> from torchmetrics.classification import MulticlassAccuracy
    >>> from lwcallbacks.reductions import ConfusionCounts, macro_f1
    >>> metrics = {"acc": MulticlassAccuracy(10), "f1": Derived(ConfusionCounts(10), macro_f1)}
    >>> sorted(ScalarMetrics(metrics, prefix="lw_").prefixes("val"))
    ['val/lw_acc', 'val/lw_f1']
    """

    takes_parts = True
    own_key = "prefix='lw_'"

    def __init__(
        self,
        metrics: Mapping[str, Metric | MetricCollection | Reduction | Derived] | MetricCollection,
        *,
        fields: Sequence[str] | Mapping[str, Extract | None] = ("preds", "targets"),
        task: Literal["multiclass", "binary", "multilabel"] | None = None,
        logits: bool | None = None,
        prefix: str = "",
        prog_bar: bool = False,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        stages: Sequence[str] = ("train", "val", "test"),
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name="metrics", stages=stages, on_error=on_error)
        if "predict" in self.stages:
            raise ValueError(
                f"ScalarMetrics: stages={stages!r}, expected some of ('train', 'val', 'test'): Lightning logs no "
                "scalars while it predicts. Take trainer.test() for data with targets"
            )
        self.metrics = plain(metrics)
        self._metrics = dict(_flatten(metrics))
        if not self._metrics:
            raise ValueError('ScalarMetrics: metrics is empty, expected metrics by name, as in {"acc": Accuracy(...)}')
        if isinstance(fields, str) or not fields or not all(isinstance(name, str) for name in fields):
            expected = "expected names, as in ('preds', 'targets'), or a mapping of names to where they are found"
            raise ValueError(f"ScalarMetrics: fields={fields!r}, {expected}")
        if task is not None:
            check_scores("ScalarMetrics", task, 0.5, logits)
        elif logits is not None:
            raise ValueError(
                f"ScalarMetrics: logits={logits!r} without task=, so metrics are given the scores as they are. "
                "Expected task='binary', 'multilabel' or 'multiclass' with it: then they are given probabilities"
            )
        self.fields = plain(fields)
        self.task = task
        self.logits = logits
        self.prefix = prefix
        self.prog_bar = prog_bar
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward
        self._keys: dict[str, list[str]] = {}

    @property
    def source(self) -> Source:
        found = dict(self.fields) if isinstance(self.fields, Mapping) else dict.fromkeys(self.fields)
        given = {"inputs": self.inputs, "preds": self.preds, "targets": self.targets}
        usual: dict[str, Any] = {
            name: extract if found.get(name) is None else found[name] for name, extract in given.items()
        }
        more = tuple((name, extract) for name, extract in found.items() if name not in usual)
        return Source(**usual, ids=self.ids, forward=self.forward, more=more)

    def remembered(self, stage: str) -> Mapping[str, Need]:
        needs: dict[str, Need] = {}
        for name, metric in self._metrics.items():
            entry = metric.entry if isinstance(metric, Derived) else metric
            if isinstance(entry, Reduction):  # reads scores itself; equal ones are the same
                needs[name] = Need(entry, tuple(self.fields), self.source)
            elif self.task is None or "preds" not in self.fields:
                needs[name] = self._need(name, entry, None)
            elif self.logits is not None:
                needs[name] = self._need(name, entry, self.logits)
            else:  # whether scores are logits is known at the end: both ways are kept until then
                needs |= {name + way: self._need(name + way, entry, bool(way)) for way in ("", LOGITS)}
                needs[RANGE] = Need(ScoreRange(), ("preds",), self.source)
        return needs

    def _need(self, name: str, entry: Metric, logits: bool | None) -> Need:
        names, task = tuple(self.fields), None if logits is None else self.task
        checks = takes_labels(entry) and "targets" in names
        prepare = _Arguments(names, task, bool(logits), checks) if checks or task is not None else None
        forms = ((field, ItemsForm()) for field in names) if prepare is None else ()
        # Whether two metrics are equal cannot be known.
        return Need(entry, names, replace(self.source, forms=tuple(forms)), prepare=prepare, owner=(id(self), name))

    def _read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """By the metrics' names, of what was kept both ways the one that the scores were."""
        way = LOGITS if values.get(RANGE) == "logits" else ""
        read = {name: name + way if name + way in values else name for name in self._metrics}
        return {name: values[kept] for name, kept in read.items() if kept in values}

    def result(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        made = {name: self._scalars(name, value) for name, value in self._read(values).items()}
        scalars = {name: found for name, found in made.items() if found is not None}
        self._keys = {name: [key for key, _ in found] for name, found in scalars.items()}
        results = {key: scalar.cpu() for found in scalars.values() for key, scalar in found}
        for name, value in self._read(values).items():
            if scalars.get(name) == []:  # of another shape, which no logger takes
                results[name] = apply_to_collection(value, Tensor, lambda t: t.detach().cpu())
        return results

    def _scalars(self, name: str, value: Any) -> list[tuple[str, Tensor]] | None:
        """By key; none for a value of another shape, and None where the number cannot be worked out."""
        metric, hub = self._metrics[name], Hub.holding(self)
        if hub is None:
            return list(_scalars(name, metric.of(value) if isinstance(metric, Derived) else value))
        with hub.outlet.attempt(f"ScalarMetrics({name!r})", "could not work out its number"):
            return list(_scalars(name, metric.of(value) if isinstance(metric, Derived) else value))
        return None

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        return {}

    @cached_property  # Lightning asks at every hook
    def state_key(self) -> str:
        return short_key(
            self._generate_state_key(metrics=sorted(self._metrics), prefix=self.prefix, stages=self.stages)
        )

    def prefixes(self, stage: str) -> set[str]:
        return {f"{stage}/{self.prefix}{name}" for name in self._metrics} if stage in self.stages else set()

    def describe(self, stage: str) -> str:
        return f"ScalarMetrics({', '.join(self._metrics)})"

    def label(self, stage: str, name: str) -> str:
        if name == RANGE:
            return self.describe(stage)
        return f"ScalarMetrics('{stage}/{self.prefix}{name.removesuffix(LOGITS)}')"

    def log_result(self, trainer: Trainer, stage: str, suffix: str, read: set[str]) -> None:
        ending = ("_epoch" if stage == "train" else "") + suffix
        values: dict[str, Tensor] = self._results.get(stage + suffix, {})
        for name in self._metrics:
            found = self._keys.get(name) if stage + suffix in self._results and read & {name, name + LOGITS} else None
            if found is None:
                self._log_nothing(trainer, self._asked(trainer, stage, name, ending))
                continue
            for key in found:
                self._log(trainer, f"{stage}/{self.prefix}{key}{ending}", values[key])

    def _asked(self, trainer: Trainer, stage: str, name: str, ending: str) -> set[str]:
        """The keys that a metric has, those that something monitors among them."""
        begin = f"{stage}/{self.prefix}"
        asked = {
            key
            for key in monitored_keys(trainer)
            if key.startswith(begin) and key.endswith(ending) and self._metric_of(key[len(begin) :]) == name
        }
        return {f"{begin}{name}{ending}", *asked}

    def _metric_of(self, key: str) -> str | None:
        """The metric that a key is of, without its stage: the longest name that the key begins with."""
        return max((n for n in self._metrics if key == n or key.startswith(f"{n}_")), key=len, default=None)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        hub = Hub.of(trainer)
        if hub.step_values:
            with hub.meter.of(self):
                self._log_step(hub, trainer)

    def _log_step(self, hub: Hub, trainer: Trainer) -> None:
        values: dict[str, Any] = {}
        for name, label in hub.labels("train", self).items():
            with hub.outlet.attempt(self.label("train", name), "could not work out a step's number"):
                values |= {name: hub.step_values[label]} if label in hub.step_values else {}
        for name, value in self._read(values).items():
            for key, scalar in self._scalars(name, value) or ():
                self._log(trainer, f"train/{self.prefix}{key}_step", scalar, on_step=True)


@dataclass(frozen=True)
class _Arguments:
    """What a metric is called with: with a task, probabilities in a shape that fits; labels as integers, for `checks`.

    Only a metric that checks its arguments, and so waits for the device anyway, refuses float labels.
    """

    names: tuple[str, ...]
    task: str | None
    logits: bool
    checks: bool

    def __call__(self, *args: Tensor) -> tuple[Tensor, ...]:
        fields = dict(zip(self.names, args, strict=True))
        if self.task is not None:
            scores = fields["preds"]
            if scores.is_floating_point() and self.logits:
                scores = scores.to(torch.float32)
                scores = scores.softmax(dim=1) if self.task == "multiclass" else scores.sigmoid()
            fields["preds"] = scores
            if self.task == "binary" and "targets" in fields:
                fields["preds"], fields["targets"] = fitted(scores, fields["targets"], 2, "binary")
        if self.checks and fields["targets"].is_floating_point() and are_whole(fields["targets"]):
            fields["targets"] = whole(fields["targets"])
        return tuple(fields.values())


def _flatten(metrics: Any, prefix: str = "") -> Iterator[tuple[str, Metric | Reduction | Derived]]:
    if not isinstance(metrics, (Mapping, MetricCollection)):
        name = prefix.rstrip("_") or "metrics"
        kind = "the class" if isinstance(metrics, type) else "a"
        found = f"{name} is {kind} {metrics.__name__ if isinstance(metrics, type) else type(metrics).__name__}"
        example = metrics.__name__ if isinstance(metrics, type) else "MulticlassAccuracy"
        cure = f'{{"{name if prefix else "acc"}": {example}(...)}}'
        raise TypeError(f"ScalarMetrics: {found}, expected a Metric by name: write {cure}")
    for name, metric in metrics.items():
        entry = metric.entry if isinstance(metric, Derived) else metric
        if isinstance(entry, (Metric, Reduction)) and not isinstance(entry, MetricCollection):
            yield prefix + name, metric
        else:
            yield from _flatten(metric, f"{prefix}{name}_")


def _scalars(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _scalars(f"{name}_{key}", item)
        return
    if isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) and item.ndim for item in value):
        return  # a curve, or the like
    tensor = torch.as_tensor(value).detach()
    if tensor.numel() == 1:
        yield name, tensor.reshape(())
    elif tensor.ndim == 1:
        yield from ((f"{name}_{i}", item) for i, item in enumerate(tensor))
