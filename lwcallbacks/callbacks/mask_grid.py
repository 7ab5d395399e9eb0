"""MaskGrid: images with their true and their predicted segmentation mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from lwcallbacks.callbacks.base import Entries, StateCallback, plain
from lwcallbacks.callbacks.hub import Need
from lwcallbacks.callbacks.sample import check_sample, sample_need
from lwcallbacks.capture import Extract
from lwcallbacks.media import Image, as_labels, name_of, overlay, side_by_side, to_pixels
from lwcallbacks.reductions import Chosen


class MaskGrid(StateCallback):
    """Show a fixed choice of samples as input, true mask and predicted mask, side by side.

    Masks lie in colour over the image in grey; the caption tells which class has which colour. The choice depends on
    ``seed`` and the samples, not on how they are batched or split over processes. ``results["val"]`` is the `Chosen`,
    its payload images, predicted and true labels; on process 0 only.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index; the indices if left out.
        background: a class that is not coloured; None colours every class.
        ignore_index: a target that is no class. Its pixels are not coloured, in neither mask.
        alpha: how much of a mask is colour, 0 to 1.
        seed: another seed, another choice. None takes the first samples of the data set instead, which a loader tells
            that does not shuffle; with another it is an error at the first batch.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: float scores [N, C, H, W] or integer labels [N, H, W].
        targets: where to find the true labels, integers [N, H, W]. While predicting they may be missing.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the key.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch.
        on_error: "warn" or "raise" when drawing or writing fails.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, a field was not found or does not have this
            shape.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               images, each with the caption
                                     "Input | Truth | Prediction; road: orange, car: blue"
    ================================ =======================================================
    """

    def __init__(
        self,
        num_samples: int = 16,
        class_names: Sequence[str] | None = None,
        *,
        background: int | None = 0,
        ignore_index: int | None = None,
        alpha: float = 0.6,
        seed: int | None = 0,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        forward: str | None = None,
        name: str = "masks",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        check_sample("MaskGrid", num_samples, seed)
        if not 0 <= alpha <= 1:
            raise ValueError(f"MaskGrid: alpha={alpha!r}, expected a share of 0 to 1")
        self.num_samples = num_samples
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.background = background
        self.ignore_index = ignore_index
        self.alpha = alpha
        self.seed = seed
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.forward = forward

    def remembered(self, stage: str) -> Mapping[str, Need]:
        fields, optional = ("inputs", "preds", "targets"), frozenset({"targets"} if stage == "predict" else ())
        return {"sample": sample_need(self.num_samples, self.seed, fields, self.source, optional, _as_masks)}

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        return chosen

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, *kept = values["sample"].payload
        pixels, (guess, *truths) = to_pixels(inputs, self.mean, self.std), (masks.numpy() for masks in kept)
        for truth in truths if self.ignore_index is not None else ():
            guess = np.where(truth == self.ignore_index, truth, guess)
        masks = [*truths, guess]
        tiles = side_by_side(pixels, *(self._overlay(pixels, mask) for mask in masks))
        title = "Input | Truth | Prediction" if truths else "Input | Prediction"
        return {key: [Image(tile, self._caption(title, *(m[i] for m in masks))) for i, tile in enumerate(tiles)]}

    def _overlay(self, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return overlay(pixels, mask, alpha=self.alpha, background=self.background, ignore_index=self.ignore_index)

    def _caption(self, title: str, *masks: np.ndarray) -> str:
        names = self.class_names or ()
        seen = sorted({c for m in masks for c in np.unique(m).tolist()} - {self.background, self.ignore_index})
        legend = ", ".join(f"{names[c] if c < len(names) else c}: {name_of(c)}" for c in seen if c >= 0)
        return f"{title}; {legend}" if legend else title


def _as_masks(ids: Tensor, inputs: Tensor, preds: Tensor, targets: Tensor | None = None) -> tuple[Tensor, ...]:
    # Labels are kept rather than scores: a number for each pixel, and not one for each of its classes.
    masks = [as_labels(mask) for mask in (preds, targets) if mask is not None]
    expected = (len(inputs), *inputs.shape[-2:])
    if inputs.ndim != 4 or any(tuple(mask.shape) != expected for mask in masks):
        fields = {"inputs": inputs, "preds": preds, "targets": targets}
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in fields.items() if t is not None)
        wanted = "inputs (N, 1 or 3, H, W), preds (N, C, H, W) scores or (N, H, W) labels, targets (N, H, W)"
        raise ValueError(f"MaskGrid: found {shapes}, expected {wanted}")
    return ids, inputs, *masks
