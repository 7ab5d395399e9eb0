"""Modules and data whose rows are no samples: tokens, graph nodes, pixels, crops, ready-made batches."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassConfusionMatrix

import lwcallbacks as lw

from .modules import CLASSES, Classifier, loader, trainer
from .versions import OWN_SAMPLER

KINDS = ("tokens", "nodes", "pixels", "crops", "ready-made batches", "masked")


def label_of(x: Tensor) -> Tensor:
    return (x * 7).long() % CLASSES


class Rows(Dataset):
    """Sample i: how many rows it has depends on the kind, and on i."""

    def __init__(self, kind: str, n: int) -> None:
        self.kind = kind
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        shapes = {
            "tokens": (7,),
            "pixels": (4, 4),
            "nodes": (i % 3 + 1,),
            "crops": (2,),
            "ready-made batches": (i % 4 + 1,),
            "masked": (5,),
        }
        x = torch.arange(1.0, 1 + torch.Size(shapes[self.kind]).numel()).reshape(shapes[self.kind]) * (i + 1)
        return SimpleNamespace(x=x, y=label_of(x / 3)) if self.kind == "ready-made batches" else x


def collated(kind: str) -> Any:
    def collate(samples: Sequence[Tensor]) -> Any:
        x = torch.stack(list(samples)) if kind in ("tokens", "pixels", "masked") else torch.cat(list(samples))
        return SimpleNamespace(x=x, y=label_of(x / 3))

    return None if kind == "ready-made batches" else collate


def loader_of(kind: str, n: int, batch_size: int, *, shuffle: bool = False) -> DataLoader:
    size = None if kind == "ready-made batches" else batch_size
    return DataLoader(Rows(kind, n), size, shuffle=shuffle, collate_fn=collated(kind) or (lambda batch: batch))


class Predicts(Classifier):
    """Predicts a label for each row, and returns one row for each."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def rows(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch.x, batch.y
        if self.kind == "masked":
            kept = x.long() % 2 == 1
            x, y = x[kept], y[kept]
        if self.kind in ("tokens", "crops"):
            x, y = x.flatten(), y.flatten()
        return {"preds": label_of(x), "targets": y}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = sum(p.sum() for p in self.parameters()) * 0
        return {"loss": loss, **self.rows(batch)}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.rows(batch)


def token_ids(outputs: Any, batch: Any) -> Tensor:
    """Which sample each token is of: the first token is its number, counted from 1."""
    return (batch.x[:, :1].long() - 1).expand(batch.x.shape).flatten()


def counted(
    kind: str, n: int, batch_size: int, shuffle: bool, root: str, own_sampler: bool = False, ids: bool = False
) -> dict[str, Any]:
    """Fit for an epoch, training and validating; both matrices, and what was said.

    With `own_sampler` every process reads the whole data set; with `ids` the callbacks know which sample a row is of.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    where = {"ids": token_ids} if ids else {}
    matrix = lw.ConfusionMatrix(CLASSES, stages=("train", "val"), **where)
    metric = lw.ScalarMetrics({"m": MulticlassConfusionMatrix(CLASSES)}, stages=("val",), **where)
    t = trainer(
        callbacks=[matrix, metric],
        devices=world_size,
        strategy="ddp" if world_size > 1 else "auto",
        default_root_dir=root,
        **(OWN_SAMPLER if own_sampler else {}),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        t.fit(Predicts(kind), loader_of(kind, n, batch_size, shuffle=shuffle), loader_of(kind, n, batch_size))
    said = [str(w.message) for w in caught if "lwcallbacks" in str(w.message)]
    return {"train": matrix.results["train"], "val": matrix.results["val"], "said": said}


class Sorted(Classifier):
    """Returns the rows of a batch in the order of their lengths, or of anything else."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        order = batch[0].flatten(1)[:, 0].argsort()
        return {"preds": self(batch[0][order]), "targets": batch[1][order]}


def _caught(run: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if "lwcallbacks" in str(w.message)]


def in_another_order(n: int, root: str) -> tuple[Tensor, list[str]]:
    """Validate `Sorted`: the matrix, and what was said."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    matrix = lw.ConfusionMatrix(CLASSES)
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=[matrix], devices=world_size, strategy=strategy, default_root_dir=root)
    said = _caught(lambda: t.validate(Sorted.seeded(), loader(n, 12), verbose=False))
    return matrix.results["val"], said


class OfTwo(Classifier):
    """Predicts for one part of a batch of two."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"preds": self(batch["a"][0]), "targets": batch["a"][1]}


def from_two_loaders(n: int, mode: str, root: str) -> tuple[dict[str, Tensor], list[str] | None]:
    """Validate two loaders that give one batch: what is counted of fields of the batch, and of the step's."""
    from pytorch_lightning.utilities import CombinedLoader

    labels = lambda outputs, batch: batch["a"][1]  # noqa: E731
    own = lw.ConfusionMatrix(CLASSES, name="batch", preds=labels, targets=labels)
    step = lw.ConfusionMatrix(CLASSES, name="step")
    found = {}
    said = None
    for callback in (own, step):
        world_size = os.environ["WORLD_SIZE"]
        t = trainer(callbacks=[callback], devices=int(world_size), strategy="ddp", default_root_dir=root)
        loaders = CombinedLoader({"a": loader(n, 5), "b": loader(n, 5)}, mode)
        said = _caught(lambda t=t, loaders=loaders: t.validate(OfTwo.seeded(), loaders, verbose=False))
        os.environ["WORLD_SIZE"] = world_size  # Lightning takes it away after a run
        found[callback.name] = callback.results["val"]
        rank_zero = t.is_global_zero
    return found, said if rank_zero else None
