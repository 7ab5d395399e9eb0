"""PredictionGrid: images with what was predicted and what is true, wrong ones marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lwcallbacks.callbacks.base import Entries, StateCallback, plain
from lwcallbacks.callbacks.hub import Need
from lwcallbacks.callbacks.sample import check_sample, sample_need
from lwcallbacks.capture import Extract
from lwcallbacks.media import Cell, Image, Table, classify, classify_labels, framed, to_pixels
from lwcallbacks.reductions import Chosen

WRONG, RIGHT = (214, 39, 40), (200, 200, 200)


class PredictionGrid(StateCallback):
    """Show a fixed choice of samples with predicted and true label.

    A wrong prediction has a red frame, a right one a grey one. The choice depends on ``seed`` and the samples, not on
    how they are batched or split over processes. ``results["val"]`` is the `Chosen`; its images are on process 0 only.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index; the indices if left out.
        seed: another seed, another choice. None takes the first samples of the data set instead, which a loader tells
            that does not shuffle; with another it is an error at the first batch.
        frame: whether images have their frame of two pixels.
        task: "multiclass" for one label a sample (also of two classes), or "multilabel" for a set of labels.
        threshold: for multilabel scores: a probability above it is a label.
        logits: whether multilabel scores are logits.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: integer labels [N] or float scores [N, C]; multilabel 0 or 1, or float
            scores, [N, L]. With scores the table holds the confidence, for a set that in its least sure label.
        targets: where to find the true labels, integers [N]; multilabel 0 or 1 [N, L]. While predicting they may be
            missing.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch.
        on_error: "warn" or "raise" when drawing or writing fails.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, a field was not found.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               images, each with the caption "Pred:3, Label:5" (multilabel: "Pred:1,3, Label:3")
    ``{stage}/{name}_table``         table: image, pred, target, confidence
    ================================ =======================================================
    """

    def __init__(
        self,
        num_samples: int = 32,
        class_names: Sequence[str] | None = None,
        *,
        seed: int | None = 0,
        frame: bool = True,
        task: Literal["multiclass", "multilabel"] = "multiclass",
        threshold: float = 0.5,
        logits: bool = False,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        forward: str | None = None,
        name: str = "predictions",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        check_sample("PredictionGrid", num_samples, seed)
        if task not in ("multiclass", "multilabel"):
            raise ValueError(f"PredictionGrid: task={task!r}, expected 'multiclass' or 'multilabel'")
        if not 0 < threshold < 1:
            raise ValueError(f"PredictionGrid: threshold={threshold!r}, expected a probability in (0, 1)")
        self.num_samples = num_samples
        self.frame = frame
        self.task = task
        self.threshold = threshold
        self.logits = logits
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.seed = seed
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.forward = forward

    def remembered(self, stage: str) -> Mapping[str, Need]:
        # What is predicted may have no target yet.
        fields, optional = ("inputs", "preds", "targets"), frozenset({"targets"} if stage == "predict" else ())
        return {"sample": sample_need(self.num_samples, self.seed, fields, self.source, optional=optional)}

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        return chosen

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, preds, *rest = values["sample"].payload
        if self.task == "multilabel":
            labels, confidence = classify_labels(preds, self.threshold, self.logits)
        else:
            labels, confidence = classify(preds)
        truths: list[str] | list[None] = self._names(rest[0]) if rest else [None] * len(labels)
        images: list[Image] = []
        rows: list[list[Cell]] = []
        for i, (pixels, pred, target) in enumerate(
            zip(to_pixels(inputs, self.mean, self.std), self._names(labels), truths, strict=True)
        ):
            caption = f"Pred:{pred}" if target is None else f"Pred:{pred}, Label:{target}"
            shown = framed(pixels, RIGHT if target in (None, pred) else WRONG) if self.frame else pixels
            images.append(Image(shown, caption))
            rows.append([Image(pixels), pred, target, None if confidence is None else float(confidence[i])])
        return {key: images, f"{key}_table": Table(("image", "pred", "target", "confidence"), rows)}

    def _names(self, labels: Tensor) -> list[str]:
        """What is written of each sample's label, or set of labels."""
        if self.task == "multilabel":
            sets = [row.nonzero().flatten().tolist() for row in labels > 0]
        else:
            sets = labels.to(torch.int64).reshape(-1, 1).tolist()
        names = self.class_names or ()
        return [",".join(names[i] if 0 <= i < len(names) else str(i) for i in one) or "none" for one in sets]
