"""Programs with a mistake of a user's, as text: run as they stand, and run again as the message says.

program = validate(returns=lambda scores: {"logits": scores})
tried("lw.ConfusionMatrix(5, preds='logit')", program)       # Tried(messages, outcome)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
import torchmetrics
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from support.modules import CLASSES, trainer
from support.processes import run_processes

N = 8
X = torch.arange(N * 64.0).reshape(N, 1, 8, 8) / (N * 64)
Y = torch.arange(N) % CLASSES


@dataclass(frozen=True)
class Tried:
    """What was said of this package's, errors before warnings, and what came out: of the last epoch, if it ended."""

    messages: list[str]
    outcome: Any = None
    is_error: bool = False


class Program(Protocol):
    """Runs a text that makes a callback, or several; for `epochs` epochs of a fit, where it can."""

    def __call__(self, text: str, epochs: int = 0) -> Any: ...


class MyLogger(DummyLogger):
    """A logger of the user's own."""


class Project(pl.LightningModule):
    """Somebody's module; its scores float32 [N, CLASSES] are made of the pixels, from -4 to 4 for `X`.

    Args:
        forward: what self(x) returns, of the scores.
        returns: what a validation step returns, of what self(x) returned; left out, nothing.
        logs: what a validation step logs.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Any] = lambda scores: scores,
        returns: Callable[[Any], Any] = lambda returned: None,
        logs: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.net = nn.Flatten()
        self.weight = nn.Parameter(torch.zeros(()))
        self._gives, self._returns, self._logs = forward, returns, logs

    def forward(self, x: Tensor) -> Any:
        return self._gives(self.net(x).float()[:, : 8 * CLASSES : 8] * 8 - 4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self(batch[0])
        return self.weight * 1.0

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        returned = self(batch["image"] if isinstance(batch, dict) else batch[0])
        for key in self._logs:
            self.log(key, 0.5, batch_size=N)
        return self._returns(returned)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def meaning(text: str) -> Any:
    """What the last expression of a user's program train.py means; the lines before it are run first."""
    names: dict[str, Any] = {"lw": lw, "pl": pl, "torch": torch, "torchmetrics": torchmetrics, "MyLogger": MyLogger}
    names |= {"classes": ["cat", "dog", "owl", "cow", "bee"]}
    with suppress(ImportError):
        import lightning

        names["lightning"] = lightning
    *lines, last = text.splitlines()
    exec(compile("\n".join(lines), "train.py", "exec"), names)
    return eval(compile("\n" * len(lines) + last, "train.py", "eval"), names)


def loader(inputs: Tensor = X, targets: Tensor = Y, **kwargs: Any) -> DataLoader:
    return DataLoader(TensorDataset(inputs, targets), batch_size=N // 2, **kwargs)


@dataclass(frozen=True)
class _Run:
    """Validates a `Project`; with `epochs`, or where it is to be fitted anyway, fits it."""

    data: Any = None
    module: dict[str, Any] = field(default_factory=dict)
    train: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, text: str, epochs: int = 0) -> Any:
        made = meaning(text)
        callbacks = list(made) if isinstance(made, (list, tuple)) else [made]
        callbacks = [callback for callback in callbacks if callback is not None]
        saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
        options = {"callbacks": callbacks, "enable_checkpointing": saves, **self.options}
        runner = trainer(**options, max_epochs=max(epochs, 1))
        data = loader() if self.data is None else self.data
        if epochs or self.train is not None:
            runner.fit(Project(**self.module), loader() if self.train is None else self.train, data)
        else:
            runner.validate(Project(**self.module), data, verbose=False)
        return outcome(callbacks[0]) if callbacks else None


def validate(data: Any = None, options: dict[str, Any] | None = None, **module: Any) -> Program:
    """Validate a module of these arguments with the callback that the text makes."""
    return _Run(data, module, options=options or {})


def fit(train: Any = None, **options: Any) -> Program:
    """Fit with the callback that the text makes, under a Trainer of these options."""
    return _Run(train=loader() if train is None else train, options=options)


def outcome(callback: Any) -> Any:
    """What a callback has of its last epoch: how many samples or files, or the names of its numbers."""
    results = callback.results
    found = results.get("val", results.get("train"))
    if isinstance(found, dict):
        return sorted(found)
    if isinstance(found, Tensor):
        return int(found.sum())
    return None if found is None else len(getattr(found, "ids", found))


def resumed(text: str, epochs: int = 0) -> Any:
    """Go on, in the middle of an epoch, from a checkpoint of `lw.ConfusionMatrix(5, stages=('train',))`."""
    saves = ModelCheckpoint(dirpath=".", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    first = [lw.ConfusionMatrix(CLASSES, stages=("train",)), saves]
    trainer(callbacks=first, enable_checkpointing=True).fit(Project(), loader(), loader())
    callback = meaning(text)
    warnings.filterwarnings(
        "ignore", ".*its loader starts again at the first sample"
    )  # which is not what this is about
    trainer(callbacks=[callback]).fit(Project(), loader(), loader(), ckpt_path="step=1.ckpt")
    return outcome(callback)


def two_processes(text: str, epochs: int = 0) -> Any:
    """Validate on two processes, two rows for each of 9 samples; a batch is inputs, targets and numbers of samples."""
    first, second = run_processes(2, on_one_of_two, text)
    assert second.messages == []
    for message in first.messages:
        warnings.warn(f"lwcallbacks: {message.removeprefix('lwcallbacks: ')}", stacklevel=2)
    return first.outcome


def on_one_of_two(text: str) -> Tried:
    images = torch.arange(9 * 64.0).reshape(9, 1, 8, 8) / (9 * 64)
    samples = TensorDataset(images, torch.arange(9) % CLASSES, torch.arange(9))
    data = DataLoader(samples, batch_size=3, collate_fn=_two_crops)
    return tried(text, validate(data, {"devices": 2, "strategy": "ddp"}))


def _two_crops(samples: list[Any]) -> list[Tensor]:
    return [torch.stack([part for part in parts for _ in range(2)]) for parts in zip(*samples, strict=True)]


def tried(text: str, program: Program, epochs: int = 0) -> Tried:
    """Run a text; see `Tried`."""
    errors: list[str] = []
    made = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = program(text, epochs)
        except Exception as error:
            errors = [str(error)]
    told = [str(warning.message) for warning in caught if _is_ours(warning)]
    return Tried(errors + told, made, bool(errors))


def _is_ours(warning: warnings.WarningMessage) -> bool:
    return str(warning.message).startswith("lwcallbacks")
