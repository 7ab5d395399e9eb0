"""Functions of a step's outputs and batch, to be named in a configuration file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .modules import CLASSES


def scores(outputs: Any, batch: Any) -> Tensor:
    """The first pixels of an image, as scores [N, CLASSES]."""
    return batch[0].flatten(1)[:, :CLASSES]


def labels(outputs: Any, batch: Any) -> Tensor:
    return batch[1]


def masks(outputs: Any, batch: Any) -> Tensor:
    """The brightness of each pixel, as labels [N, 8, 8]."""
    return (batch[0][:, 0] * CLASSES).long()


def label_sets(outputs: Any, batch: Any) -> Tensor:
    """Which of the first pixels are bright, as 0 and 1 [N, CLASSES]."""
    return (scores(outputs, batch) > 0.6).long()


def brightness(outputs: Any, batch: Any) -> Tensor:
    """One score an image, [N, 1]."""
    return batch[0].flatten(1)[:, :1]


def halves(outputs: Any, batch: Any) -> Tensor:
    """Which of two classes an image is of, as floats [N]."""
    return (batch[1] % 2).float()


def best(outputs: Any, batch: Any, returned: Any) -> Tensor:
    """The class with the highest score, of the scores that the forward call returned."""
    return returned.argmax(1)


def numbers(outputs: Any, batch: Any) -> Tensor:
    """What tells images apart, int64 [N]."""
    return (batch[0].flatten(1).sum(dim=1) * 2**20).long()


def boxes(outputs: Any, batch: Any) -> dict[str, Tensor]:
    """Two boxes in each image, as padded tensors: from a corner to where a pixel says."""
    pixels = batch[0].flatten(1)[:, :8].reshape(-1, 2, 4)
    corners = torch.cat([pixels[..., :2] * 3, pixels[..., 2:] * 3 + 4], dim=2)
    return {"boxes": corners, "labels": (pixels[..., 0] * CLASSES).long(), "scores": pixels[..., 1]}


def made(module: Any) -> dict[str, Tensor]:
    """Two images of noise and what the module says of them, as brightness."""
    noise = torch.rand(2, 1, 8, 8)
    return {"input": noise, "output": module(noise)[:, :1, None, None].sigmoid().expand(-1, -1, 8, 8)}
