"""Images of unlike sizes with boxes, in each of the usual layouts, and a detector that answers with given boxes."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lwcallbacks as lw

from .modules import trainer

Target = dict[str, torch.Tensor]


class Scenes(Dataset):
    """Sample i: an image uint8 [3, H, W], or all [3, 24, 20] if `alike`; i % 4 true boxes, up to 6 predicted ones."""

    def __init__(self, n: int = 20, alike: bool = False) -> None:
        self.n, self.alike = n, alike

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Target, Target]:
        generator = torch.Generator().manual_seed(i)
        height, width = (24, 20) if self.alike else (10 + 3 * i % 31, 12 + 5 * i % 29)
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        scale = torch.tensor([width, height, width, height])

        def some(n: int) -> torch.Tensor:
            corners = torch.rand(n, 2, 2, generator=generator).sort(dim=1).values.flatten(1)
            return corners * scale

        truths = some(i % 4)
        preds = torch.cat([truths + 0.25, some(i % 3)])
        labels = torch.randint(1, 4, (len(truths),), generator=generator)
        guesses = torch.cat([labels, torch.randint(1, 4, (i % 3,), generator=generator)])
        scores = (torch.randint(0, 4, (len(preds),), generator=generator) + 1) / 5  # of which some are equal
        return image, {"boxes": truths, "labels": labels}, {"boxes": preds, "labels": guesses, "scores": scores}


def as_lists(samples: list[Any]) -> Any:
    """As torchvision's references collate them, with the predictions beside."""
    return tuple(zip(*samples, strict=True))


def as_tensors(samples: list[Any]) -> Any:
    """Images as one tensor, boxes as padded ones: zeros where there is none."""
    images, truths, preds = zip(*samples, strict=True)
    pad = nn.utils.rnn.pad_sequence
    return torch.stack(images), *({k: pad([t[k] for t in of], True) for k in of[0]} for of in (truths, preds))


class Detector(pl.LightningModule):
    """Calls a network that gives the predictions in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Any, answers: Any) -> Any:
        return answers

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0], batch[2])

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0], batch[2])


def loader(n: int = 20, batch_size: int = 4, alike: bool = False, lists: bool = True, **kwargs: Any) -> DataLoader:
    return DataLoader(Scenes(n, alike), batch_size, collate_fn=as_lists if lists else as_tensors, **kwargs)


def chosen(root: str, n: int, batch_size: int, seed: int | None = 0) -> tuple[list[int], list[torch.Tensor]]:
    """Validate on one process or on several: the samples that were chosen, and on process 0 what is kept of them."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    grid = lw.BoxGrid(5, seed=seed, max_boxes=3, size=(24, 30))
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=[grid], devices=world_size, strategy=strategy, default_root_dir=root)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*max_boxes=3 are kept.*")
        t.validate(Detector(), loader(n, batch_size), verbose=False)
    found = grid.results["val"]
    return found.ids.tolist(), list(found.payload)


def mosaic(root: str, n: int, batch_size: int) -> tuple[list[int], list[torch.Tensor]]:
    """The same of a mosaic of images of unlike sizes."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    shown = lw.ImageMosaic(5, size=(24, 30))
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=[shown], devices=world_size, strategy=strategy, default_root_dir=root)
    t.validate(Detector(), loader(n, batch_size), verbose=False)
    found = shown.results["val"]
    return found.ids.tolist(), list(found.payload)
