"""PredictionGrid: images with what was predicted and what is true, wrong ones marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lwcallbacks.callbacks.base import Entries, StateCallback, plain
from lwcallbacks.callbacks.hub import Need
from lwcallbacks.capture import Extract
from lwcallbacks.media import Cell, Image, Table, classify, framed, to_pixels
from lwcallbacks.reductions import Chosen, RandomSample

WRONG, RIGHT = (214, 39, 40), (200, 200, 200)


class PredictionGrid(StateCallback):
    """Show a fixed random choice of samples with predicted and true label.

    A wrong prediction has a red frame, a right one a grey one.

    The choice depends on ``seed`` and the samples, not on how they are batched or split over processes.
    ``results["val"]`` is the `Chosen`; its images are on process 0 only.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index; the indices if left out.
        seed: another seed, another choice.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: integer labels [N] or float scores [N, C]. With scores the table holds
            the confidence.
        targets: where to find the true labels, integers [N]. While predicting they may be missing.
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
    ``{stage}/{name}``               images, each with the caption "Pred:3, Label:5"
    ``{stage}/{name}_table``         table: image, pred, target, confidence
    ================================ =======================================================
    """

    def __init__(
        self,
        num_samples: int = 32,
        class_names: Sequence[str] | None = None,
        *,
        seed: int = 0,
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
        if not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"PredictionGrid: num_samples={num_samples!r}, expected an int of at least 1")
        self._sample = RandomSample(num_samples, seed)
        self.num_samples = num_samples
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
        optional = frozenset({"targets"} if stage == "predict" else ())
        return {"sample": Need(self._sample, ("ids", "inputs", "preds", "targets"), self.source, optional)}

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        return chosen

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, preds, *rest = values["sample"].payload
        labels, confidence = classify(preds)
        targets = rest[0] if rest else [None] * len(labels)
        images: list[Image] = []
        rows: list[list[Cell]] = []
        for i, pixels in enumerate(to_pixels(inputs, self.mean, self.std)):
            pred, target = self._name(labels[i]), self._name(targets[i])
            colour = RIGHT if target in (None, pred) else WRONG
            caption = f"Pred:{pred}" if target is None else f"Pred:{pred}, Label:{target}"
            images.append(Image(framed(pixels, colour), caption))
            rows.append([Image(pixels), pred, target, None if confidence is None else float(confidence[i])])
        return {key: images, f"{key}_table": Table(("image", "pred", "target", "confidence"), rows)}

    def _name(self, label: Tensor | None) -> str | None:
        if label is None:
            return None
        index, names = int(label), self.class_names
        return names[index] if names is not None and 0 <= index < len(names) else str(index)
