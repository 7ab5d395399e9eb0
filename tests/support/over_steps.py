"""Networks on whose gradients a callback looks over many steps; some have an illness."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader

import lwcallbacks as lw

from .modules import CLASSES, Classifier, images, trainer

MAX_STEPS = 24


class Deep(Classifier):
    """Some layers; the bias of one of them is so low that none of its 16 units, or not so many, are ever above zero."""

    def __init__(self, is_dead: bool = True, num_dead: int = 16) -> None:
        super().__init__()
        layers = [nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, CLASSES)]
        self.net = nn.Sequential(nn.Flatten(), *layers)
        if is_dead:
            nn.init.constant_(self.net[3].bias, 1.0)
            nn.init.constant_(self.net[3].bias[:num_dead], -100.0)


def fitted(
    root: str, callback: Any = None, ckpt_path: str | None = None, num_dead: int = 16, **how: Any
) -> tuple[Any, Any]:
    """The callback and its Trainer behind a fit of `MAX_STEPS` steps; on as many processes as there are."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    callback = callback or lw.GradientHistogram(1)
    torch.manual_seed(0)
    own = {"max_epochs": 3, "max_steps": MAX_STEPS, "default_root_dir": Path(root), **how}
    t = trainer(callbacks=[callback, *own.pop("more", [])], strategy="ddp" if world_size > 1 else "auto",
                devices=world_size, **own)  # fmt: skip
    # All batches are alike: a loader begins again after a resume.
    data = ConcatDataset([images(8 * world_size)] * 10)
    t.fit(Deep(num_dead=num_dead), DataLoader(data, 8), ckpt_path=ckpt_path)
    return callback, t


def diagnosed(root: str) -> tuple[list[Any], dict[str, Any]]:
    """What a process found, and what it saves of gradients."""
    callback, _ = fitted(root, lw.GradientHistogram(1, activations=True), accumulate_grad_batches=2)
    state = callback.state_dict()["over_steps"]
    return callback.results["diagnosis"], {name: state[name] for name in ("diagnosis", "norms", "ratios")}
