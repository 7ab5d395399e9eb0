"""A training in which one callback raises at every place where it can, one place in each epoch.

    run("ConfusionMatrix", (0,), root)      # it raises on process 0
    run(None, (), root)                     # nothing raises: what all others are to be equal to

Each function runs in this process or in each of several, and returns something picklable.
"""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import PIL.Image
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torchmetrics import Metric

from lwcallbacks.callbacks import gradient_histogram
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import CaptureError
from lwcallbacks.reductions import FieldError
from lwcallbacks.writers import Writer

from .everyone import everyone
from .modules import Classifier, loader, trainer

BATCHES = 3
ERRORS: tuple[type[Exception], ...] = (
    RuntimeError, KeyError, CaptureError, torch.cuda.OutOfMemoryError, FieldError, ZeroDivisionError,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Where and at which batch to raise; `batch` is None for what is called once an epoch."""

    place: str
    batch: int | None = None

    @property
    def text(self) -> str:
        where = "" if self.batch is None else f" of the {('first', 'middle', 'last')[self.batch]} batch"
        return f"chaos in {self.place}{where}"


EVERY = 3
"""Of so many epochs, one is drawn."""

FAULTS: tuple[Fault | None, ...] = (
    None,  # the first batch of a run is where mistakes in the set-up are errors
    Fault("remembered"),
    Fault("prepare", 0),
    Fault("prepare", 1),
    Fault("prepare", 2),
    Fault("entries"),
    Fault("lift", 1),  # of every other step, on which gradients are looked at
    Fault("lift", 0),
    Fault("writer"),
    Fault("lift", 2),
    Fault("result"),
    Fault("value"),
    None,
)
"""By epoch; `entries` and the writer are asked in every third."""

PLACES = {
    "GradientHistogram": {"lift", "value", "entries", "writer"},
    "CheckpointArtifact": {"entries", "writer"},
    "ScalarMetrics": {"remembered", "prepare", "entries", "lift", "result", "value"},  # it has no media
}


def faults_of(name: str) -> dict[int, Fault]:
    """By epoch, the faults that a callback can have."""
    places = PLACES.get(name)
    return {i: fault for i, fault in enumerate(FAULTS) if fault and (places is None or fault.place in places)}


class Plan(pl.Callback):
    """Tells what is to raise now. It stands before all callbacks, and waits until an epoch's media are written."""

    def __init__(self, name: str | None, ranks: tuple[int, ...]) -> None:
        self.faults = faults_of(name) if name and int(os.environ.get("RANK", "0")) in ranks else {}
        self.epoch = 0
        self.batch = 0

    def meet(self, place: str, *, in_batch: bool = False) -> None:
        """Raise, if this is the place."""
        fault = self.faults.get(self.epoch)
        if fault is not None and fault.place == place and (not in_batch or fault.batch in (self.batch, None)):
            raise ERRORS[self.epoch % len(ERRORS)](fault.text)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        publisher = Hub.of(trainer).outlet.publisher
        if publisher is not None:
            publisher.flush()
        self.epoch = trainer.current_epoch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batch = batch_idx

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *rest: Any) -> None:
        self.batch = batch_idx


class Breaks(Writer):
    """Cannot write what a callback publishes."""

    def __init__(self, plan: Plan, prefixes: set[str]) -> None:
        self.plan = plan
        self.prefixes = tuple(prefixes)
        self.kept: list[tuple[str, int]] = []

    def _meet(self, keys: Any, step: int) -> None:
        if any(key.startswith(self.prefixes) for key in keys):
            self.plan.meet("writer")
        self.kept += [(key, step) for key in keys]

    def write(self, entries: Any, step: int) -> None:
        self._meet(entries, step)

    def write_scalars(self, scalars: Any, step: int) -> None:
        self._meet(scalars, step)


# -- planting ---------------------------------------------------------------------------------------------------------


def plant(callback: Any, plan: Plan) -> None:
    """Make a callback raise where `plan` says."""
    cls = type(callback)
    methods = _of_state(cls, plan) if isinstance(callback, StateCallback) else _of_other(cls, plan)
    callback.__class__ = _subclass(cls, methods)


def _subclass(cls: type, methods: dict[str, Any]) -> type:
    return type(cls.__name__, (cls,), {**methods, "__qualname__": cls.__qualname__, "__module__": cls.__module__})


def _met(cls: type, method: str, plan: Plan, place: str, in_batch: bool = False) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        plan.meet(place, in_batch=in_batch)
        return getattr(cls, method)(self, *args, **kwargs)

    return call


def _of_state(cls: Any, plan: Plan) -> dict[str, Any]:
    def remembered(self: Any, stage: str) -> Any:
        plan.meet("remembered")
        needs = cls.remembered(self, stage)
        return {name: _need(need, plan) for name, need in needs.items()}

    return {"remembered": remembered, **{name: _met(cls, name, plan, name) for name in ("result", "entries")}}


def _need(need: Any, plan: Plan) -> Any:
    def prepare(*fields: Any) -> Any:
        plan.meet("prepare", in_batch=True)
        return fields if need.prepare is None else need.prepare(*fields)

    return replace(need, entry=_entry(need.entry, plan), prepare=prepare)


def _entry(entry: Any, plan: Plan) -> Any:
    """A reduction or a metric that raises in taking a batch, or in working out its value."""
    cls = type(entry)
    update, compute = ("update", "compute") if isinstance(entry, Metric) else ("lift", "value")
    methods = {update: _met(cls, update, plan, "lift", in_batch=True), compute: _met(cls, compute, plan, "value")}
    if update == "lift":
        others = ("accumulate", "look_at_each") if hasattr(cls, "look_at_each") else ("accumulate",)
        methods |= {other: _met(cls, other, plan, "lift", in_batch=True) for other in others}
    planted = copy.deepcopy(entry)
    object.__setattr__(planted, "__class__", _subclass(cls, methods))
    return planted


def _of_other(cls: Any, plan: Plan) -> dict[str, Any]:
    def publish(self: Any, trainer: Any, render: Any, *args: Any, **kwargs: Any) -> None:
        def drawn() -> Any:
            plan.meet("entries")
            return render()

        cls.publish(self, trainer, drawn, *args, **kwargs)

    return {"publish": publish}


# -- a run ------------------------------------------------------------------------------------------------------------


@dataclass
class Keeps(pl.Callback):
    """What the callbacks hold at the end of each epoch."""

    callbacks: list[Any]
    root: str
    results: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.results.append({type(c).__name__: copy.deepcopy(_named(c.results)) for c in self.callbacks})
        self.metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def _named(results: dict[str, Any]) -> dict[str, Any]:
    """With files by their names alone."""
    return {k: [Path(path).name for path in v] if isinstance(v, list) else v for k, v in results.items()}


class Opens(pl.Callback):
    """Adds a writer to the run's."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        publisher = Hub.of(trainer).outlet.publisher
        if publisher is not None:
            publisher.writers.append(self.writer)


def run(name: str | None, ranks: tuple[int, ...], root: str) -> dict[str, Any]:
    """Fit for as many epochs as there are faults; the callback of that name raises on those processes.

    On several processes the last samples of the loaders are repeated, and nowhere counted.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    os.chdir(root)  # where checkpoints are is in the results
    plan = Plan(name, ranks)
    callbacks = everyone(stages=("train", "val"), every_n_epochs=EVERY)
    planted = [callback for callback in callbacks if type(callback).__name__ == name]
    prefixes = {p for c in planted for stage in ("train", "val") for p in c.prefixes(stage)} or {"model-"}
    for callback in planted:
        plant(callback, plan)
    writer, keeps = Breaks(plan, prefixes if planted else {"none"}), Keeps(callbacks, root)
    monitors = [
        EarlyStopping("val/acc", mode="max", patience=len(FAULTS)),
        ModelCheckpoint("checkpoints", monitor="val/acc", mode="max", save_top_k=-1, filename="{epoch}"),
    ]
    n = BATCHES * 8 * world_size - (world_size - 1)
    with ExitStack() as stack:
        said = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if name == "GradientHistogram":
            stack.enter_context(patch.object(gradient_histogram, "_FINE", _entry(gradient_histogram._FINE, plan)))
        t = trainer(
            callbacks=[plan, *callbacks, Opens(writer), keeps, *monitors], max_epochs=len(FAULTS), devices=world_size,
            strategy="ddp" if world_size > 1 else "auto", default_root_dir=root, log_every_n_steps=1,
            enable_checkpointing=True,
        )  # fmt: skip
        module = Classifier.seeded()
        t.fit(module, loader(n), loader(n))
    return {
        "results": keeps.results, "metrics": keeps.metrics, "said": [str(w.message) for w in said if _is_ours(w)],
        "prefixes": sorted(prefixes) if planted else [], "media": _media(root) if t.is_global_zero else [],
        "kept": writer.kept, "end": (t.current_epoch, t.global_step, digest(module)),
    }  # fmt: skip


def _is_ours(warning: Any) -> bool:
    return "lwcallbacks" in str(warning.message)


def digest(module: torch.nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters())).hexdigest()


def _media(root: str) -> list[tuple[str, int, str, str]]:
    from lwcallbacks.readers import find_folders, read_folder

    [directory] = find_folders(root)
    folder = read_folder(directory)
    data = {i.key: folder.data(i.key) for i in folder.items if i.kind not in ("image", "file")}

    def seen(value: Any) -> Any:
        """With the pixels of images, whichever file they are in: it may be another callback's."""
        if isinstance(value, dict) and "image" in value and "box" in value:
            left, top, width, height = value["box"]
            with PIL.Image.open(directory / value["image"]) as image:
                pixels = np.asarray(image.crop((left, top, left + width, top + height)))
            return {**value, "image": hashlib.sha256(pixels.tobytes()).hexdigest(), "box": (width, height)}
        if isinstance(value, dict):
            return {name: seen(item) for name, item in value.items()}
        return [seen(item) for item in value] if isinstance(value, list) else value

    def held(item: Any) -> bytes:
        return repr(seen(data[item.key][item.step])).encode() if item.key in data else item.path.read_bytes()

    return [
        (i.key, i.step, i.kind, "" if i.kind == "file" else hashlib.sha256(held(i)).hexdigest()) for i in folder.items
    ]
