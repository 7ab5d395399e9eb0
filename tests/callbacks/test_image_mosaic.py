"""ImageMosaic: layers, images of unlike sizes, and images that a function makes of the module."""

from __future__ import annotations

import random
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import pytorch_lightning as pl
import torch
from support import boxes as support
from support.boxes import Scenes
from support.generators import CALLS, Generator, made, six
from support.modules import Autoencoder, Classifier, images, loader, trainer
from support.processes import run_processes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.readers import read_folder


def shown(root: Path, key: str = "val/mosaic") -> list[tuple[str, np.ndarray]]:
    """Captions and pixels of a key, in the order of steps."""
    [manifest] = root.rglob("manifest.js")
    items = [item for item in read_folder(manifest.parent).items if item.key == key]
    return [(item.caption or "", np.asarray(PIL.Image.open(item.path))) for item in items]


class Denoiser(Autoencoder):
    """Is given an image with noise, and has the image as its target."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        noisy, clean = batch
        return {"preds": self(noisy), "targets": clean}


def noisy(n: int = 12) -> TensorDataset:
    clean = images(n).tensors[0]
    return TensorDataset((clean + 0.25 * images(n, seed=1).tensors[0]).clamp(0, 1), clean)


def test_four_layers_below_each_other(tmp_path: Path) -> None:
    """Each is what was seen; the difference is from the target, by definition."""
    layers = ("output", "input", "target", "difference")
    mosaic = lw.ImageMosaic(2, layers=layers, select="first", nrow=2, padding=1)
    module = Denoiser.seeded()
    trainer(callbacks=[mosaic], default_root_dir=tmp_path).validate(module, DataLoader(noisy(), 5), verbose=False)
    [(caption, pixels)] = shown(tmp_path)
    given, clean = (tensor[:2, 0].double().numpy() for tensor in noisy().tensors)
    with torch.no_grad():
        output = module(noisy().tensors[0][:5])[:2, 0].double().numpy()
    apart = np.abs(output - clean)
    assert caption == (
        f"From top: Output, Input, Target, Difference; difference: |output - target|, black 0, white {apart.max():.4g}"
    )
    tiles = np.concatenate([output, given, clean, apart / apart.max()], axis=1)
    expected = np.full((34, 19), 128, np.uint8)
    expected[1:33, 1:9], expected[1:33, 10:18] = np.rint(255 * tiles)
    assert np.array_equal(pixels, expected)


def test_the_target_is_only_compared_where_it_is_a_layer() -> None:
    """Without it the difference is from the input, and the targets need not be images."""
    mosaic = lw.ImageMosaic(2, layers=("output", "difference"))
    trainer(callbacks=[mosaic]).validate(Autoencoder(), loader(), verbose=False)
    image = mosaic.entries("val/mosaic", {"sample": mosaic.results["val"]})["val/mosaic"]
    assert "|output - input|" in image.caption
    assert len(mosaic.results["val"].payload) == 2


class Grey(Classifier):
    """Its images have no channel."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"inputs": batch[0][:, 0], "preds": self(batch[0])}


@pytest.mark.parametrize(
    ("layers", "module", "told"),
    [
        (("target",), Autoencoder, "found targets (8,), expected images (N, C, H, W) for layers=('target')"),
        (
            None,
            Grey,
            "found inputs (8, 8, 8), expected images (N, C, H, W); if these are images of one channel, write "
            "inputs=lambda outputs, batch: outputs['inputs'].unsqueeze(1)",
        ),
        (("output", "input"), Classifier, "found inputs (8, 1, 8, 8), preds (8, 5), expected images (N, C, H, W)"),
    ],
)
def test_a_layer_that_is_no_image_is_an_error_at_the_first_batch(layers: Any, module: Any, told: str) -> None:
    """With the shapes that were found."""
    with pytest.raises(ValueError, match=re.escape(told)):
        trainer(callbacks=[lw.ImageMosaic(2, layers=layers)]).validate(module(), loader(), verbose=False)


def test_a_difference_of_unlike_shapes_is_an_error() -> None:
    """As of a network that makes images larger."""

    class Larger(Autoencoder):
        def forward(self, x: Any) -> Any:
            return nn.functional.interpolate(super().forward(x), scale_factor=2)

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            self(batch[0])

    told = "found inputs (8, 1, 8, 8), preds (8, 1, 16, 16), expected output and input of one shape"
    with pytest.raises(ValueError, match=re.escape(told)):
        trainer(callbacks=[lw.ImageMosaic(2, layers=("difference",))]).validate(Larger(), loader(), verbose=False)
    mosaic = lw.ImageMosaic(2, layers=("output", "input"), nrow=None)
    trainer(callbacks=[mosaic]).validate(Larger(), loader(), verbose=False)
    [first, _] = mosaic.entries("val/mosaic", {"sample": mosaic.results["val"]})["val/mosaic"]
    assert first.pixels.shape == (24, 16)


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"layers": ("outputs",)}, "layers=('outputs',), expected some of ('output', 'input', 'target', 'difference')"),
        ({"layers": "output"}, "layers='output', expected some of"),
        ({"layers": ()}, "layers=(), expected some of"),
        ({"bands": (0, 1)}, "bands=(0, 1), expected three channels from 0 on, as in bands=(3, 2, 1)"),
        ({"sample": 3}, "sample=3, expected a function of the module that makes images"),
        ({"sample": random.random}, "sample=<built-in method random of Random"),
        ({"size": 0}, "size=0, expected an int of at least 1, or two, (height, width)"),
    ],
)
def test_wrong_arguments_are_errors_at_once(kwargs: Any, told: str) -> None:
    """They name the argument."""
    with pytest.raises(ValueError, match=re.escape(f"ImageMosaic: {told}")):
        lw.ImageMosaic(**kwargs)


def test_bands_that_no_image_has_are_an_error_at_the_first_batch() -> None:
    """Images of one channel."""
    mosaic = lw.ImageMosaic(2, layers=("input",), bands=(0, 1, 2))
    with pytest.raises(ValueError, match=re.escape("expected more channels than bands=(0, 1, 2) names")):
        trainer(callbacks=[mosaic]).validate(Classifier(), loader(), verbose=False)


def test_images_of_five_channels_are_drawn_in_false_colour(tmp_path: Path) -> None:
    """Output over input, as those of other numbers of channels; the caption has the legend."""
    x = torch.rand(6, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    mosaic = lw.ImageMosaic(3, bands=(4, 2, 0), select="first", nrow=None)
    module = Autoencoder(channels=5)
    trainer(callbacks=[mosaic], default_root_dir=tmp_path).validate(
        module, DataLoader(TensorDataset(x, torch.zeros(6)), 2), verbose=False
    )
    shown_images = mosaic.entries("val/mosaic", {"sample": mosaic.results["val"]})["val/mosaic"]
    caption = "Top: Output, Bottom: Input; false colour of 5 channels: red 4, green 2, blue 0"
    assert {image.caption for image in shown_images} == {caption}
    for image, given in zip(shown_images, x, strict=False):
        assert np.array_equal(image.pixels[8:], np.rint(255 * given[[4, 2, 0]].double().numpy()).transpose(1, 2, 0))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.mosaic(str(tmp_path_factory.mktemp("alone")), 21, 21)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_images_of_unlike_sizes_are_the_same_at_any_batch_size(batch_size: int, alone: Any, tmp_path: Path) -> None:
    """Lists of images, of which some are too large for their place: the bits are the same."""
    ids, payload = support.mosaic(str(tmp_path), 21, batch_size)
    assert ids == alone[0]
    assert all(torch.equal(a, b) for a, b in zip(payload, alone[1], strict=True))
    assert [tuple(kept.shape) for kept in payload] == [(5, 3, 24, 30), (5, 1, 2)]


def test_images_of_unlike_sizes_are_the_same_on_two_processes(alone: Any, tmp_path: Path) -> None:
    """21 samples: one is a repeat."""
    first, second = run_processes(2, support.mosaic, str(tmp_path), 21, 4)
    assert first[0] == second[0] == alone[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], alone[1], strict=True))
    assert second[1] == []


def test_each_image_of_a_list_is_drawn_at_its_own_size() -> None:
    """Its pixels are those that were given, where it fits."""
    mosaic = lw.ImageMosaic(6, select="first", nrow=None, size=64)
    trainer(callbacks=[mosaic]).validate(support.Detector(), support.loader(), verbose=False)
    tiles = mosaic.entries("val/mosaic", {"sample": mosaic.results["val"]})["val/mosaic"]
    for i, tile in enumerate(tiles):
        assert np.array_equal(tile.pixels, Scenes()[i][0].permute(1, 2, 0).numpy())


def trained(callbacks: list[Any], root: Path | None = None, epochs: int = 3) -> tuple[list[torch.Tensor], Any]:
    """The weights and random numbers after a fit, and the modes at its end of epochs."""
    pl.seed_everything(7)
    module, modes = Generator(), []

    class Modes(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            modes.append([part.training for part in pl_module.modules()])

    kwargs = {} if root is None else {"default_root_dir": root}
    trainer(callbacks=[*callbacks, Modes()], max_epochs=epochs, **kwargs).fit(module, loader(24))
    drawn = torch.rand(3), torch.tensor([random.random(), float(np.random.rand())])
    return [*module.state_dict().values(), *drawn], modes


def test_a_function_makes_images_and_the_training_goes_on_as_without_it(tmp_path: Path) -> None:
    """Weights, batch norm's statistics, random states and modes are the same to the bit."""
    CALLS.clear()
    mosaic = lw.ImageMosaic(4, sample=six, stages=("train",), nrow=2, padding=0, seed=3)
    with_it, modes = trained([mosaic], tmp_path)
    without, plain_modes = trained([])
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))
    assert modes == plain_modes
    assert not modes[0][-1]
    assert modes[0][0]
    assert CALLS == [{"training": False, "frozen": False, "grad": False}] * 3
    pictures = shown(tmp_path, "train/mosaic")
    assert [caption for caption, _ in pictures] == ["Sample"] * 3
    assert [pixels.shape for _, pixels in pictures] == [(16, 16)] * 3
    made = mosaic.results["train"]["sample"]
    expected = torch.cat([torch.cat([made[0], made[1]], 2), torch.cat([made[2], made[3]], 2)], 1)[0]
    assert np.array_equal(pictures[-1][1], np.rint(255 * expected.double().numpy()))


def test_each_epoch_draws_the_same_noise() -> None:
    """Of weights that do not change, the images are those of the epoch before; another seed, other images."""
    found = []
    for seed in (0, 0, 1):
        mosaic = lw.ImageMosaic(4, sample=six, stages=("val",), seed=seed)
        torch.manual_seed(1)
        module = Generator()
        module.validation_step = lambda batch, batch_idx: None  # type: ignore[method-assign]
        for draw in (torch.manual_seed, random.seed, np.random.seed):
            draw(len(found))  # whatever the states are
        trainer(callbacks=[mosaic]).validate(module, loader(), verbose=False)
        found.append(mosaic.results["val"]["sample"])
    assert all(map(torch.equal, found[0], found[1]))
    assert not any(map(torch.equal, found[0], found[2]))


def test_a_function_may_make_layers_and_images_of_unlike_sizes() -> None:
    """A mapping of layers, of which some are asked for; PIL images and arrays with the channels last."""

    def translated(module: Any) -> Any:
        small, wide = (PIL.Image.new("RGB", size, (0, 128, 255)) for size in ((4, 6), (9, 3)))
        return {"input": [small, wide], "output": [np.zeros((6, 4), np.uint8), np.zeros((3, 9), np.uint8)]}

    mosaic = lw.ImageMosaic(sample=translated, layers=("output", "input"), nrow=None, stages=("train",))
    trained([mosaic], epochs=1)
    [first, second] = mosaic.entries("train/mosaic", {"made": mosaic.results["train"]})["train/mosaic"]
    assert first.caption == "Top: Output, Bottom: Input"
    assert first.pixels.shape == (12, 4, 3)
    assert second.pixels.shape == (6, 9, 3)
    assert (second.pixels[3:] == (0, 128, 255)).all()


def test_images_are_made_only_where_they_are_published() -> None:
    """Every second epoch."""
    CALLS.clear()
    trained([lw.ImageMosaic(2, sample=six, stages=("train",), every_n_epochs=2)], epochs=5)
    assert len(CALLS) == 2


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (lambda module: 1 / 0, "could not make its pictures of train: ZeroDivisionError"),
        (lambda module: torch.zeros(3), r"sample= gives a Tensor of shape \(3,\), expected images \[N, C, H, W\]"),
        (lambda module: {"input": torch.zeros(1, 1, 2, 2)}, r"sample= gives the layers \['input'\], and layers="),
        (
            lambda module: {"output": torch.zeros(2, 1, 2, 2), "input": torch.zeros(1, 1, 2, 2)},
            r"sample= gives 2 'output' and 1 'input', expected as many images of each layer",
        ),
        (
            lambda module: [torch.zeros(1, 2, 2), torch.zeros(3, 2, 2)],
            r"sample= gives images of 1 and 3 channels, expected one number",
        ),
    ],
)
def test_a_function_that_fails_costs_itself(sample: Any, told: str) -> None:
    """Training goes on, in the modes that it had; it is said once."""
    layers = ("output",) if "layers" in told else None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with_it, modes = trained([lw.ImageMosaic(2, sample=sample, layers=layers, stages=("train",))])
        without, plain_modes = trained([])
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))
    assert modes == plain_modes
    assert sum(bool(re.search(told, str(w.message))) for w in said) == 1


def test_a_difference_needs_what_it_is_the_difference_of() -> None:
    """Said with what was given."""

    def output(module: Any) -> dict[str, torch.Tensor]:
        return {"output": torch.zeros(1, 1, 2, 2)}

    mosaic = lw.ImageMosaic(2, sample=output, layers=("output", "difference"), stages=("train",))
    with pytest.warns(UserWarning, match=r"gives the layers \['output'\], and .* asks for 'input'"):
        trained([mosaic], epochs=1)


def test_only_process_0_makes_images(tmp_path: Path) -> None:
    """The other goes on and waits at the next collective."""
    first, second = run_processes(2, made, str(tmp_path))
    assert first[:2] == [1, ["train"]]
    assert second[:2] == [0, []]


def test_a_module_in_parts_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where parameters are sharded, a call on one process would wait for the others."""

    class DTensor(nn.Parameter):
        """Of that name only: what counts is the class."""

    CALLS.clear()
    monkeypatch.setattr(Generator, "parameters", lambda self, recurse=True: iter([DTensor(torch.zeros(1))]))
    monkeypatch.setattr(Generator, "configure_optimizers", lambda self: None)
    mosaic = lw.ImageMosaic(2, sample=six, stages=("val",))
    module = Generator()
    module.validation_step = lambda batch, batch_idx: None  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match="parameters are sharded, expected a whole module on process 0"):
        trainer(callbacks=[mosaic]).validate(module, loader(), verbose=False)
    assert not CALLS
