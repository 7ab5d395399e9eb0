"""ScalarMetrics: any torchmetrics metric or reduction, at step end and over all samples at epoch end."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lwcallbacks.callbacks.base import Entries, StateCallback, plain
from lwcallbacks.callbacks.hub import Hub, Need
from lwcallbacks.callbacks.trainer import log_final
from lwcallbacks.capture import KEYS, Extract
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.reductions import Derived, Reduction


class ScalarMetrics(StateCallback):
    """Log metrics through the Trainer: this step's value while training, and the value over all samples of an epoch.

    Padding that a ``DistributedSampler`` adds is left out, and unequal batches weigh what they hold. All are synced
    together with everything else, also where a process has no data; only a metric that holds other metrics, or has its
    own way to sync, is left to torchmetrics. One that keeps every batch, such as AUROC without thresholds, sends it
    all at an epoch's end. A metric that checks its arguments waits for the device in every update:
    ``validate_args=False`` spares that.

    A reduction is as good as a metric, and ``Derived(ConfusionCounts(10), macro_f1)`` is a number worked out from one.
    Neither waits but for the steps that are logged, and equal reductions share one state, also with a
    ``ConfusionMatrix``.

    The epoch's values can be monitored by ``ModelCheckpoint(monitor="val/acc")`` and ``EarlyStopping``.
    ``results["val"]`` is a dict of CPU tensors by name.

    Args:
        metrics: metrics by name, a ``MetricCollection``, or both nested; also a reduction or a ``Derived``. They are
            copied: one copy per stage and loader, none on your module.
        fields: what each is called with, out of "inputs", "preds", "targets" and "loss": as ``metric(preds, targets)``
            if left out. A loss that is one number for the batch counts once for each of its samples.
        prog_bar: show the epoch's values, and the training steps', in the progress bar.
        inputs: where to find the inputs, if not in the usual places.
        preds: where to find the predictions.
        targets: where to find the targets.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        stages: out of "train", "val" and "test".
        on_error: "warn" or "raise" when an update fails.

    Raises:
        TypeError: something in ``metrics`` is no metric.
        ValueError: an argument is not as said here; or, at the first batch, a field was not found.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``train/{name}_step``            value of this batch, every ``log_every_n_steps``
    ``train/{name}_epoch``           value over the epoch's training batches
    ``val/{name}``, ``test/{name}``  value over all samples
    ================================ =======================================================

    A metric that gives a dict, or a vector such as one value per class, is logged under ``{name}_{key}`` and
    ``{name}_0``, ``{name}_1``, ...; other shapes are in ``results`` only.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric | MetricCollection | Reduction | Derived] | MetricCollection,
        *,
        fields: Sequence[str] = ("preds", "targets"),
        prog_bar: bool = False,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
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
        if isinstance(fields, str) or not fields or set(fields) - KEYS.keys():
            expected = f"expected some of {tuple(KEYS)}, as in ('preds', 'targets')"
            raise ValueError(f"ScalarMetrics: fields={fields!r}, {expected}")
        self.fields = tuple(fields)
        self.prog_bar = prog_bar
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.forward = forward

    def remembered(self, stage: str) -> Mapping[str, Need]:
        return {name: self._need(name, metric) for name, metric in self._metrics.items()}

    def _need(self, name: str, metric: Metric | Reduction | Derived) -> Need:
        entry = metric.entry if isinstance(metric, Derived) else metric
        # Equal reductions are the same; of metrics that cannot be known.
        owner = None if isinstance(entry, Reduction) else (id(self), name)
        return Need(entry, self.fields, self.source, owner=owner)

    def result(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        return {key: scalar.cpu() for name, value in values.items() for key, scalar in self._scalars(name, value)}

    def _scalars(self, name: str, value: Any) -> list[tuple[str, Tensor]]:
        metric, hub = self._metrics[name], Hub.holding(self)
        if not isinstance(metric, Derived):
            return list(_scalars(name, value))
        with hub.attempt(self.describe("val"), f"could not work out {name}") if hub else nullcontext():
            return list(_scalars(name, metric.of(value)))
        return []

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        return {}

    @property
    def state_key(self) -> str:
        return self._generate_state_key(metrics=sorted(self._metrics), stages=self.stages)

    def prefixes(self, stage: str) -> set[str]:
        return {f"{stage}/{name}" for name in self._metrics} if stage in self.stages else set()

    def describe(self, stage: str) -> str:
        return f"ScalarMetrics({', '.join(self._metrics)})"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if trainer.world_size > 1:
            # Lightning cannot know that these values are those of all processes already.
            warnings.filterwarnings("ignore", r"It is recommended to use `self\.log\('(train|val|test)/", UserWarning)

    def log_result(self, pl_module: LightningModule, stage: str, suffix: str) -> None:
        ending = "_epoch" if stage == "train" else ""
        for key, value in self.results[stage + suffix].items():
            name = f"{stage}/{key}{ending}{suffix}"
            log_final(pl_module, name, value.to(torch.float32), on_step=False, prog_bar=self.prog_bar)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step_values = Hub.of(trainer).step_values
        for name, need in self.needs("train").items():
            if need.key in step_values:
                for key, value in self._scalars(name, step_values[need.key]):
                    value = value.to(torch.float32)
                    log_final(pl_module, f"train/{key}_step", value, on_step=True, prog_bar=self.prog_bar)


def _flatten(metrics: Any, prefix: str = "") -> Iterator[tuple[str, Metric | Reduction | Derived]]:
    if not isinstance(metrics, (Mapping, MetricCollection)):
        found = f"{prefix.rstrip('_') or 'metrics'} is a {type(metrics).__name__}"
        raise TypeError(f'ScalarMetrics: {found}, expected a Metric by name, as in {{"acc": MulticlassAccuracy(10)}}')
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
    tensor = torch.as_tensor(value).detach()
    if tensor.numel() == 1:
        yield name, tensor.reshape(())
    elif tensor.ndim == 1:
        yield from ((f"{name}_{i}", item) for i, item in enumerate(tensor))
