"""ImageMosaic: the same few samples at every epoch, as layers such as output and input, in one picture or one each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lwcallbacks.callbacks.apart import as_images
from lwcallbacks.callbacks.base import Entries, check_overhead, plain
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import both, check_number, check_size, expect_channels_first, full_sizes, sized
from lwcallbacks.callbacks.select import PLAIN, Select, check_select, sample_need
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import Extract, ImagesForm, drawn_size, imported
from lwcallbacks.lightning import LightningModule
from lwcallbacks.media import Image, Scaled, arranged, mosaic, same_size
from lwcallbacks.media.mosaics import DIFFERENCE, FIELDS
from lwcallbacks.media.pixels import check_statistics
from lwcallbacks.reductions import Chosen, FieldError

LAYERS = (*FIELDS, DIFFERENCE)


class ImageMosaic(StateCallback):
    """Show a fixed choice of samples as one mosaic, with the network's output above its input, or other layers.

    With ``layers=None``, each tile is the output on top of the input where the predictions are images of the inputs'
    height and width, with 1, 3, 4 or the inputs' number of channels; elsewhere, as for a classifier, it is the input
    alone. Other layers are "target" and "difference": how far the output is from the target, if that is among the
    layers, else from the input. It is the mean over the channels of the absolute difference in the units that are
    drawn, grey, from black for none to white for the largest of all tiles.

    1, 3 and 4 channels are grey, RGB and RGBA, whose alpha is dropped. Of another number, three channels are drawn as
    red, green and blue. What is black and white, where that is not 0 and 1 or 0 and 255, how many values are beyond,
    and which channels are which colour stands in the caption.

    Images may be lists of unlike sizes; and with ``sample`` they are what a function makes, as of a GAN or a diffusion
    model. The choice depends on ``select``, ``seed`` and the samples, not on how they are batched or split over
    processes. ``results["val"]`` is the `Chosen`; its payload is on process 0 only: inputs, outputs and targets as far
    as they are drawn, and for images of lists their sizes, int32 [N, layers, 2]. Of a function it is its images by
    layer.

    Args:
        num_samples: tiles in the mosaic.
        layers: out of "output", "input", "target" and "difference", from the top.
        sample: a function that makes images instead, or its name "package.module.f". Called as `sample(module)` on
            process 0, after each epoch of a stage that is published, in eval mode, without gradients, and with the
            random state of ``seed``; modes and random states are put back. It gives a tensor [N, C, H, W], a list of
            [C, H, W] or of PIL images, or several of these by the names of their layers. Not for a module whose
            parameters are sharded.
        same_scale: whether all layers share what is black and what is white where one is not of 0 to 1; else each has
            its own.
        bands: the channels that are red, green and blue where there are not 1, 3 or 4; the first three if left out, of
            two the first as magenta and the second as green.
        select: "random" for those that ``seed`` draws; "first" for the first of the data set, which a loader tells that
            does not shuffle, and with another it is an error at the first batch; or a function of outputs and batch, or
            its name "package.module.f", for those of the largest score, of which it gives one for each sample [N].
        seed: another seed, another draw.
        nrow: tiles in a row; None logs an image for each sample, with the caption, instead of one mosaic. W&B takes at
            most 108 under one key.
        padding: pixels between tiles.
        size: height and width, or both in one number, of the place that an image of a list has. A larger one is drawn
            smaller. Images in a tensor are kept as they are.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the output images.
        targets: where to find the target images.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys. Two of a class in one Trainer need two names.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, a layer was not found or is no image.

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
        layers: Sequence[Literal["output", "input", "target", "difference"]] | None = None,
        sample: str | Callable[..., Any] | None = None,
        same_scale: bool = True,
        bands: tuple[int, int, int] | None = None,
        select: Select = "random",
        seed: int = 0,
        nrow: int | None = 8,
        padding: int = 2,
        size: int | tuple[int, int] = 320,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
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
        check_number("ImageMosaic", num_samples)
        check_select("ImageMosaic", select, seed, PLAIN)
        if nrow is not None and (not isinstance(nrow, int) or nrow < 1):
            raise ValueError(f"ImageMosaic: nrow={nrow!r}, expected an int of at least 1, or None for single images")
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(f"ImageMosaic: padding={padding!r}, expected an int of at least 0")
        if sample is not None and select != "random":
            raise ValueError(
                f"ImageMosaic: select={select!r} with sample=, which makes images and chooses none: write one of both"
            )
        self.num_samples = num_samples
        self.layers = _checked_layers(plain(layers), sample)
        self.sample = sample
        self.same_scale = same_scale
        self.bands = _checked_bands(plain(bands))
        self.nrow = nrow
        self.padding = padding
        self.size = check_size("ImageMosaic", plain(size))
        self.select = select
        self.seed = seed
        check_statistics("ImageMosaic", mean, std)
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward

    @property
    def is_made(self) -> bool:
        return self.sample is not None

    def made(self, module: LightningModule) -> Mapping[str, Any]:
        """What `sample` makes of the module."""
        given = (imported(self.sample) if isinstance(self.sample, str) else cast(Any, self.sample))(module)
        given = given if isinstance(given, Mapping) else {"sample": given}
        if self.layers is not None and (missing := set(_needed(self.layers)) - {*given}):
            asked = f"layers={self.layers} asks for {min(missing)!r}"
            raise ValueError(f"sample= gives the layers {list(given)}, and {asked}")
        made = {str(name): as_images(images)[: self.num_samples] for name, images in given.items()}
        if len({len(images) for images in made.values()}) > 1:
            counts = " and ".join(f"{len(images)} {name!r}" for name, images in made.items())
            raise ValueError(f"sample= gives {counts}, expected as many images of each layer")
        return {"made": made}

    def remembered(self, stage: str) -> Mapping[str, Need]:
        if self.is_made:
            return {}
        names = [FIELDS[name] for name in _needed(self.layers)]
        fields = [part for name in names for part in (name, f"{name}.size")]
        optional = {f"{name}.size" for name in names} | ({"preds"} if self.layers is None else set())
        source = replace(self.source, forms=tuple((name, ImagesForm(both(self.size))) for name in names))
        prepare = _Tiles(self.layers, self.bands)
        return {
            "sample": sample_need(
                self.select, self.num_samples, self.seed, tuple(fields), source, frozenset(optional), prepare
            )
        }

    def result(self, values: Mapping[str, Any]) -> Chosen | dict[str, list[Tensor]]:
        found: Chosen | dict[str, list[Tensor]] = values["made"] if self.is_made else values["sample"]
        return found

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        scaled = Scaled(self.mean, self.std, self.same_scale, self.bands, self.note_of_images, self.is_made)
        if self.is_made:
            images, usual = values["made"], list(values["made"])
        else:
            images = _images(values["sample"].payload, _needed(self.layers), both(self.size))
            usual = [name for name in ("output", "input") if name in images]
        layers = self.layers or usual
        tiles, caption = arranged(layers, images, scaled, *_difference(layers))
        if self.nrow is None:
            return {key: [Image(tile, caption) for tile in tiles]}
        return {key: mosaic(same_size(tiles), nrow=self.nrow, padding=self.padding, caption=caption)}


def _checked_layers(layers: Any, sample: Any) -> tuple[str, ...] | None:
    if layers is not None and (isinstance(layers, str) or not layers or set(layers) - set(LAYERS)):
        raise ValueError(f"ImageMosaic: layers={layers!r}, expected some of {LAYERS}, as in layers=('output', 'input')")
    if sample is not None and not isinstance(sample, str) and not _takes_one(sample):
        raise ValueError(f"ImageMosaic: sample={sample!r}, expected a function of the module that makes images")
    return layers if layers is None else tuple(layers)


def _takes_one(function: Any) -> bool:
    """Whether it can be called with one argument, as far as it can tell."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # as of some functions written in C
        return callable(function)
    return True


def _checked_bands(bands: Any) -> tuple[int, int, int] | None:
    if bands is not None and (len(bands) != 3 or not all(isinstance(band, int) and band >= 0 for band in bands)):
        raise ValueError(f"ImageMosaic: bands={bands!r}, expected three channels from 0 on, as in bands=(3, 2, 1)")
    checked: tuple[int, int, int] | None = bands
    return checked


def _difference(layers: Sequence[str] | None) -> tuple[str, str]:
    """Which two images differ."""
    return "output", "target" if layers is not None and "target" in layers else "input"


def _needed(layers: Sequence[str] | None) -> list[str]:
    """Inputs, outputs and targets, as far as they are drawn or compared."""
    if layers is None:
        return ["input", "output"]
    named = {*layers, *(_difference(layers) if DIFFERENCE in layers else ())}
    return [name for name in ("input", "output", "target") if name in named]


def _images(payload: Sequence[Tensor], names: Sequence[str], place: tuple[int, int]) -> dict[str, list[Tensor]]:
    """The images of each layer, one by one, at the sizes that they have."""
    stacks = [kept for kept in payload if kept.ndim == 4]
    sizes = payload[len(stacks)] if len(payload) > len(stacks) else None
    found = {name: list(stack) for name, stack in zip(names, stacks, strict=False)}
    if sizes is None:
        return found
    for i, images in enumerate(found.values()):
        for j, image in enumerate(images):
            high, wide = sizes[j, i].tolist()
            height, width = drawn_size((high, wide), (image.shape[1], image.shape[2]))
            images[j] = image[:, :height, :width]
    return found


_BANDS = "; or, if dimension 1 is the channels, say which to draw: bands=(0, 1, 2)"


@dataclass(frozen=True)
class _Tiles:
    """What is kept of a batch: the images, and their sizes where some are of a list."""

    layers: tuple[str, ...] | None
    bands: tuple[int, int, int] | None

    def __call__(self, ids: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        found = sized(fields)
        if self.bands is None:  # whoever names channels has looked where they are
            named = dict(zip(_needed(self.layers), (image for image, _ in found), strict=False))
            expect_channels_first(_BANDS, **{FIELDS[name]: image for name, image in named.items()})
        if self.layers is None and found[0][0].ndim != 4:
            told = f"found inputs {tuple(found[0][0].shape)}, expected images (N, C, H, W)"
            cure = "; if these are images of one channel, write inputs=lambda outputs, batch: batch[0].unsqueeze(1)"
            cure = cure if found[0][0].ndim == 3 else ""
            raise FieldError(f"{told}{cure}")
        if self.layers is None and len(found) > 1 and not _is_image_of(found[1][0], found[0][0]):
            found = found[:1]  # predictions that are no images are not shown
        elif self.layers is not None:
            self._check([image for image, _ in found])
        images = [image for image, _ in found]
        if all(sizes is None for _, sizes in found):
            return ids, *images
        return ids, *images, torch.stack([full_sizes(i) if sizes is None else sizes for i, sizes in found], dim=1)

    def _check(self, images: Sequence[Tensor]) -> None:
        """Raise FieldError for what cannot be drawn."""
        names = _needed(self.layers)
        shapes = ", ".join(f"{FIELDS[name]} {tuple(i.shape)}" for name, i in zip(names, images, strict=True))
        if any(image.ndim != 4 for image in images):
            told = ", ".join(map(repr, self.layers or ()))
            raise FieldError(f"found {shapes}, expected images (N, C, H, W) for layers=({told})")
        by_name = dict(zip(names, images, strict=True))
        left, right = _difference(self.layers)
        if DIFFERENCE in (self.layers or ()) and by_name[left].shape != by_name[right].shape:
            raise FieldError(f"found {shapes}, expected {left} and {right} of one shape for their difference")
        if self.bands is not None and max(self.bands) >= max(image.shape[1] for image in images):
            raise FieldError(f"found {shapes}, expected more channels than bands={self.bands} names")


def _is_image_of(preds: Tensor, inputs: Tensor) -> bool:
    same = preds.ndim == 4 and inputs.ndim == 4 and preds.shape[-2:] == inputs.shape[-2:]
    return same and preds.shape[1] in (1, 3, 4, inputs.shape[1])
