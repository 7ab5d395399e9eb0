"""Metrics that are updated with lists, an entry for each sample, and what they give on one process or on several."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torchmetrics import Metric

import lwcallbacks as lw

from .boxes import Detector, Scenes, as_lists, loader
from .modules import trainer

HAS_AP = find_spec("pycocotools") is not None and find_spec("torchvision") is not None


class Found(Metric):
    """Of the signature of `MeanAveragePrecision`: the boxes, predicted and true, of all images in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("boxes", default=[], dist_reduce_fx=None)
        self.add_state("names", default=[], dist_reduce_fx=None)

    def update(self, preds: list[dict[str, torch.Tensor]], target: list[dict[str, torch.Tensor]]) -> None:
        if not (isinstance(preds, list) and all(isinstance(image, dict) for image in preds)):
            raise ValueError(f"Expected argument `preds` to be of type Sequence, but got {type(preds)}")
        for predicted, true in zip(preds, target, strict=True):
            self.boxes.append(torch.cat([predicted["boxes"], true["boxes"]]))
            self.names.append(tuple(map(str, predicted["labels"].tolist())))

    def compute(self) -> dict[str, torch.Tensor]:
        weights = torch.arange(1.0, len(self.boxes) + 1)
        sums = torch.stack([image.double().sum() for image in self.boxes])
        names = [len("".join(image)) for image in self.names]
        return {"sum": (sums * weights).sum(), "names": (torch.tensor(names) * weights).sum(), "images": sums.numel()}


def plain(metric: Metric, n: int, alike: bool = False) -> dict[str, Any]:
    """What the metric itself gives for all images at once."""
    _, truths, preds = as_lists([Scenes(n, alike)[i] for i in range(n)])
    metric.update(list(preds), list(truths))
    return numbers(metric.compute())


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: torch.as_tensor(value).tolist() for key, value in values.items()}


def in_a_trainer(n: int, batch_size: int, root: str, lists: bool = True, mean_ap: bool = False) -> dict[str, Any]:
    """Validate on one process or on several: the numbers by name."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    metrics = lw.ScalarMetrics({"box": average_precision() if mean_ap else Found()}, stages=("val",))
    metrics.preds = None if lists else 2
    strategy = "ddp" if world_size > 1 else "auto"
    t = trainer(callbacks=[metrics], devices=world_size, strategy=strategy, default_root_dir=root)
    t.validate(Detector(), loader(n, batch_size, alike=not lists, lists=lists), verbose=False)
    return {key.removeprefix("box_"): value for key, value in numbers(metrics.results["val"]).items()}


def average_precision_or_alike(box_format: str = "xyxy") -> Metric:
    """A metric of that signature where torchmetrics has none, without torchvision and pycocotools."""
    return average_precision(box_format=box_format) if HAS_AP else Found()


def average_precision(**how: Any) -> Metric:
    from torchmetrics.detection import MeanAveragePrecision

    return MeanAveragePrecision(**how)
