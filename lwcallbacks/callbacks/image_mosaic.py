"""ImageMosaic: the same few samples at every epoch, output over input, in one picture or one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lwcallbacks.callbacks.base import Entries, check_overhead, plain
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import check_sample, sample_need
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import Extract
from lwcallbacks.media import Image, mosaic, stack, to_pixels
from lwcallbacks.reductions import Chosen


class ImageMosaic(StateCallback):
    """Show a fixed choice of samples as one mosaic, with the network's output above its input.

    Where the predictions are images (float or uint8 [N, 1 or 3, H, W] of the inputs' height and width), each tile is
    the output on top of the input; elsewhere, as for a classifier, each tile is the input alone. The choice depends
    on ``seed`` and the samples, not on how they are batched or split over processes. ``results["val"]`` is the
    `Chosen`; its images are on process 0 only.

    Args:
        num_samples: tiles in the mosaic.
        seed: another seed, another choice. None takes the first samples of the data set instead, which a loader tells
            that does not shuffle; with another it is an error at the first batch.
        nrow: tiles in a row; None logs an image for each sample, with the caption, instead of one mosaic. W&B takes at
            most 108 under one key.
        padding: pixels between tiles.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the output images.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, no inputs were found.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               the mosaic, an image with a caption (``nrow=None``: images)
    ================================ =======================================================

    >>> ImageMosaic(32, nrow=8, mean=0.5, std=0.5, stages=("val",)).prefixes("val")
    {'val/mosaic'}
    >>> ImageMosaic(nrow=0)
    Traceback (most recent call last):
    ValueError: ImageMosaic: nrow=0, expected an int of at least 1, or None for single images
    """

    def __init__(
        self,
        num_samples: int = 32,
        *,
        seed: int | None = 0,
        nrow: int | None = 8,
        padding: int = 2,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "mosaic",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        self.max_overhead = check_overhead("ImageMosaic", max_overhead)
        check_sample("ImageMosaic", num_samples, seed)
        if nrow is not None and (not isinstance(nrow, int) or nrow < 1):
            raise ValueError(f"ImageMosaic: nrow={nrow!r}, expected an int of at least 1, or None for single images")
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(f"ImageMosaic: padding={padding!r}, expected an int of at least 0")
        self.num_samples = num_samples
        self.nrow = nrow
        self.padding = padding
        self.seed = seed
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.ids = ids
        self.forward = forward

    def remembered(self, stage: str) -> Mapping[str, Need]:
        fields, optional = ("inputs", "preds"), frozenset({"preds"})
        return {"sample": sample_need(self.num_samples, self.seed, fields, self.source, optional, _as_tiles)}

    def result(self, values: Mapping[str, Any]) -> Chosen:
        chosen: Chosen = values["sample"]
        return chosen

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        inputs, *rest = values["sample"].payload
        tiles, caption = to_pixels(inputs, self.mean, self.std, self.note), "Input"
        for preds in rest:
            outputs = to_pixels(preds, self.mean, self.std, self.note, field="preds")
            tiles, caption = stack(outputs, tiles), "Top: Output, Bottom: Input"
        if self.nrow is None:
            return {key: [Image(tile, caption) for tile in tiles]}
        return {key: mosaic(tiles, nrow=self.nrow, padding=self.padding, caption=caption)}


def _as_tiles(ids: Tensor, inputs: Tensor, preds: Tensor | None = None) -> tuple[Tensor, ...]:
    """Without predictions that are no images of the inputs' height and width: they are not shown."""
    if preds is None or preds.ndim != 4 or preds.shape[1] not in (1, 3) or preds.shape[-2:] != inputs.shape[-2:]:
        return ids, inputs
    return ids, inputs, preds
