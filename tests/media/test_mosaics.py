"""Layers of a mosaic: how values become pixels, what the caption says of it, and images of unlike sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lwcallbacks.media import Scaled, arranged, same_size, to_pixels


def some(low: float, high: float, *shape: int, n: int = 3, seed: int = 0) -> list[Tensor]:
    """n images of random values, of which the first has the least and the greatest."""
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    x[0].view(-1)[:2] = torch.tensor([low, high])
    return list(x)


def rounded(x: Tensor, black: float, white: float) -> np.ndarray:
    """By definition, [C, H, W] to [H, W] or [H, W, 3]."""
    shares = (x.double().numpy() - black) / (white - black)
    pixels = np.rint(255 * shares.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


@pytest.mark.parametrize("same", [True, False])
def test_layers_share_a_scale_or_have_their_own(same: bool) -> None:
    """The output goes from -2 to 3, the input from 0 to 1: the caption says which it is."""
    images = {"output": some(-2, 3, 1, 4, 5), "input": some(0, 1, 1, 4, 5)}
    said: list[str] = []
    tiles, caption = arranged(("output", "input"), images, Scaled(same=same, note=said.append))
    own = "scales: output -2 to 3, input 0 to 1"
    assert caption == f"Top: Output, Bottom: Input; {'one scale: black -2, white 3' if same else own}"
    for tile, output, given in zip(tiles, images["output"], images["input"], strict=True):
        assert np.abs(tile[:4].astype(int) - rounded(output, -2, 3)).max() <= 1
        assert np.abs(tile[4:].astype(int) - (rounded(given, -2, 3) if same else rounded(given, 0, 1))).max() <= 1
    [text] = said
    assert text.startswith("preds that are images are float32 from -2 to 3, expected 0 to 1")


def test_integers_share_a_scale_too() -> None:
    """Scans of 12 bits beside some that reach no further than 1000; and not with floats, which mean something else."""
    scans = [torch.tensor([[[0, 4000]]], dtype=torch.int16)]
    dim = [torch.tensor([[[0, 1000]]], dtype=torch.int16)]
    tiles, caption = arranged(("output", "target"), {"output": scans, "target": dim}, Scaled())
    assert tiles[0].tolist() == [[0, 255], [0, 64]]
    assert caption.endswith("; one scale: black 0, white 4000")
    floats = [torch.tensor([[[0.0, 1.0]]])]
    tiles, caption = arranged(("output", "target"), {"output": scans, "target": floats}, Scaled())
    assert tiles[0].tolist() == [[0, 255], [0, 255]]
    assert caption.endswith("; scales: output 0 to 4000, target 0 to 1")


def test_pixels_as_they_are_need_no_word() -> None:
    """0 to 1, or 0 to 255: the caption is that of the layers alone."""
    images = {"output": some(0, 1, 3, 4, 4), "input": list(torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8))}
    tiles, caption = arranged(("output", "input"), images, Scaled())
    assert caption == "Top: Output, Bottom: Input"
    for tile, output, given in zip(tiles, images["output"], images["input"], strict=True):
        assert np.array_equal(tile[:4], rounded(output, 0, 1))
        assert np.array_equal(tile[4:], given.numpy().transpose(1, 2, 0))


@pytest.mark.parametrize("layers", [("output",), ("input", "output"), ("output", "target", "input", "difference")])
def test_layers_stand_in_the_order_that_is_asked_for(layers: tuple[str, ...]) -> None:
    """Any of them, from the top."""
    images = {
        "output": some(0, 1, 1, 2, 3),
        "input": some(0, 1, 1, 2, 3, seed=1),
        "target": some(0, 1, 1, 2, 3, seed=2),
    }
    tiles, caption = arranged(layers, images, Scaled(), "output", "target")
    heading = {1: "Output", 2: "Top: Input, Bottom: Output", 4: "From top: Output, Target, Input, Difference"}
    assert caption.split("; ")[0] == heading[len(layers)]
    for i, tile in enumerate(tiles):
        assert tile.shape == (2 * len(layers), 3)
        for place, name in enumerate(layers):
            if name != "difference":
                assert np.array_equal(tile[2 * place : 2 * place + 2], rounded(images[name][i], 0, 1))


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_the_difference_is_a_mean_over_the_channels_and_its_largest_is_white(channels: int) -> None:
    """By definition, in float64; alpha has no part in it. The caption says what white is."""
    images = {"output": some(0, 1, channels, 4, 4), "target": some(0, 1, channels, 4, 4, seed=1)}
    tiles, caption = arranged(("difference",), images, Scaled(), "output", "target")
    of = 3 if channels == 4 else channels
    apart = [(a[:of].double() - b[:of].double()).abs().mean(0) for a, b in zip(*images.values(), strict=True)]
    most = max(float(d.max()) for d in apart)
    assert caption == f"Difference; difference: |output - target|, black 0, white {most:.4g}"
    for tile, d in zip(tiles, apart, strict=True):
        assert np.array_equal(tile, np.rint(255 * d.numpy() / most).astype(np.uint8))
    assert max(tile.max() for tile in tiles) == 255


def test_the_difference_is_in_the_units_that_are_drawn() -> None:
    """After x * std + mean; of integers and floats 255 is 1; of equal images it is black."""
    zeros, ones = [torch.zeros(1, 2, 2)], [torch.ones(1, 2, 2)]
    _, caption = arranged(("difference",), {"output": ones, "input": zeros}, Scaled(mean=0.5, std=0.25))
    assert caption.endswith("white 0.25")
    white = [torch.full((1, 2, 2), 255, dtype=torch.uint8)]
    tiles, caption = arranged(("difference",), {"output": ones, "input": white}, Scaled())
    assert caption.endswith("black 0, white 0")
    assert not tiles[0].any()


def test_values_beyond_black_and_white_are_counted() -> None:
    """After a normalisation that does not fit; what is not finite is counted apart."""
    x = [torch.tensor([[[-1.0, 0.0, 1.0, 2.0, 3.0, float("nan"), float("inf")]]])]
    tiles, caption = arranged(("input",), {"input": x}, Scaled(mean=0, std=1))
    assert tiles[0].tolist() == [[0, 0, 255, 255, 255, 0, 255]]
    assert caption == (
        "Input; 3 of 7 values are below black or above white; 2 of 7 values are not finite: infinities cut, NaN black"
    )


@pytest.mark.parametrize(
    ("channels", "bands", "expected"),
    [(2, None, (0, 1, 0)), (5, None, (0, 1, 2)), (12, (7, 3, 11), (7, 3, 11)), (2, (1, 0, 1), (1, 0, 1))],
)
def test_other_numbers_of_channels_are_drawn_in_false_colour(
    channels: int, bands: tuple[int, int, int] | None, expected: tuple[int, ...]
) -> None:
    """Three of them are red, green and blue, as the caption says; a mean for each channel is that of these."""
    images = {"input": some(0, 1, channels, 4, 5)}
    tiles, caption = arranged(("input",), images, Scaled(bands=bands))
    red, green, blue = expected
    assert caption == f"Input; false colour of {channels} channels: red {red}, green {green}, blue {blue}"
    for tile, image in zip(tiles, images["input"], strict=True):
        assert np.array_equal(tile, rounded(image[list(expected)], 0, 1))
    mean, std = np.linspace(0.1, 0.5, channels).tolist(), np.linspace(0.2, 0.4, channels).tolist()
    tiles, _ = arranged(("input",), images, Scaled(mean, std, bands=bands))
    chosen = torch.stack(images["input"])[:, list(expected)]
    pixels = to_pixels(chosen, [mean[b] for b in expected], [std[b] for b in expected])
    assert np.array_equal(np.stack(tiles), pixels)


def test_images_of_unlike_sizes_have_one_scale_and_grey_around() -> None:
    """Each tile is its image alone; side by side, what is missing is neutral grey."""
    x = [torch.full((3, 2, 5), 0.0), torch.full((3, 4, 3), 2.0), torch.full((3, 1, 1), 1.0)]
    tiles, caption = arranged(("input",), {"input": x}, Scaled())
    assert caption == "Input; scales: input 0 to 2"
    assert [tile.shape for tile in tiles] == [(2, 5, 3), (4, 3, 3), (1, 1, 3)]
    assert [int(tile[0, 0, 0]) for tile in tiles] == [0, 255, 128]
    stack = same_size(tiles)
    assert stack.shape == (3, 4, 5, 3)
    assert (stack[1, :, :3] == 255).all()
    assert (stack[1, :, 3:] == 128).all()


def test_a_narrow_layer_has_grey_beside_it() -> None:
    """As the input of a network that makes images larger; a grey layer beside one in colours turns to RGB."""
    images = {"output": some(0, 1, 3, 4, 6), "input": some(0, 1, 1, 2, 3)}
    tiles, _ = arranged(("output", "input"), images, Scaled())
    assert tiles[0].shape == (6, 6, 3)
    assert np.array_equal(tiles[0][4:, :3, 1], rounded(images["input"][0], 0, 1))
    assert (tiles[0][4:, 3:] == 128).all()
