"""Pixels are what they were as tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lwcallbacks
from lwcallbacks.media import Image, enlarge, framed, mosaic, stack, to_pixels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_float_in_zero_to_one_is_written_as_round_255_x(dtype: torch.dtype) -> None:
    """All 256 levels come back, whatever the precision can tell of them."""
    x = torch.linspace(0, 1, 256).to(dtype).view(1, 1, 16, 16)
    expected = np.round(255 * x.double().numpy()).astype(np.uint8)[:, 0]
    assert (to_pixels(x) == expected).all()


def test_uint8_is_untouched_and_bool_is_black_and_white() -> None:
    """A mask of 0 and 1 stays nearly black as uint8 and is fully white as bool."""
    mask = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    assert to_pixels(mask).tolist() == [[[0, 1]]]
    assert to_pixels(mask.bool()).tolist() == [[[0, 255]]]
    assert to_pixels(mask, mean=0.5, std=0.5).tolist() == [[[0, 1]]]


def test_nan_is_black_and_infinity_is_clamped() -> None:
    """What is not finite neither spreads nor counts as out of range."""
    x = torch.tensor([[[float("nan"), float("inf"), float("-inf"), 0.5]]])
    assert to_pixels(x).tolist() == [[[0, 255, 0, 128]]]


def test_a_hair_outside_zero_to_one_is_clamped_and_not_rescaled() -> None:
    """Rounding errors of an interpolation do not change the contrast of a picture."""
    assert to_pixels(torch.tensor([[[-0.005, 0.5, 1.005]]])).tolist() == [[[0, 128, 255]]]


def test_a_stack_far_outside_is_rescaled_as_a_whole() -> None:
    """One scale for all images: the brighter image stays the brighter one."""
    x = torch.tensor([[[-1.0, 0.0]], [[1.0, 3.0]]])
    assert to_pixels(x).tolist() == [[[0, 64]], [[128, 255]]]
    assert to_pixels(torch.full((1, 1, 2), 5.0)).tolist() == [[[0, 0]]]


def test_mean_and_std_undo_the_normalisation_of_each_channel() -> None:
    """The pixels are those before `(x - mean) / std`, and what lies outside is clamped."""
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    plain = torch.rand(2, 3, 5, 4, dtype=torch.float64)
    normalised = (plain - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert (to_pixels(normalised, mean, std) == to_pixels(plain)).all()
    assert to_pixels(torch.tensor([[[3.0, -3.0]]]), mean=0.5, std=0.5).tolist() == [[[255, 0]]]


def test_channels_move_last_and_alpha_is_dropped() -> None:
    """RGB keeps its order and an RGBA image shows its colours."""
    x = torch.zeros(1, 4, 2, 3)
    x[:, 0], x[:, 2] = 1.0, 0.2
    pixels = to_pixels(x)
    assert pixels.shape == (1, 2, 3, 3)
    assert pixels[0, 0, 0].tolist() == [255, 0, 51]


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (2, 5, 4, 4), (4, 4), (1, 2, 3, 4, 5)])
def test_a_shape_that_is_no_stack_of_images_is_an_error_that_names_it(shape: tuple[int, ...]) -> None:
    """Two or five channels have no colour: the error says what was found and what was expected."""
    with pytest.raises(ValueError, match=rf"\({', '.join(map(str, shape))}\), expected .* C = 1, 3 or 4"):
        to_pixels(torch.zeros(shape))


def test_complex_numbers_and_a_mean_of_the_wrong_length_are_errors() -> None:
    """Neither has a picture."""
    with pytest.raises(ValueError, match="complex64"):
        to_pixels(torch.zeros(1, 1, 2, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="mean has 2 values, expected 1 or one for each of 3 channels"):
        to_pixels(torch.zeros(1, 3, 2, 2), mean=(0.5, 0.5))


def test_the_input_is_not_changed() -> None:
    """The tensor may still be the model's."""
    x = torch.tensor([[[-1.0, 2.0]]], requires_grad=True)
    to_pixels(x, mean=0.5, std=2.0)
    assert x.tolist() == [[[-1.0, 2.0]]]


def test_a_mosaic_goes_row_by_row_and_fills_up_with_grey() -> None:
    """Tile i is in row i // nrow and column i % nrow, unchanged."""
    tiles = np.arange(5, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(3, 2) + 1
    image = mosaic(tiles, nrow=3, padding=1, caption="five")
    assert image.pixels.shape == (1 + 2 * 3, 1 + 3 * 4)
    for i in range(5):
        y, x = 1 + (i // 3) * 3, 1 + (i % 3) * 4
        assert (image.pixels[y : y + 2, x : x + 3] == i + 1).all()
    assert (image.pixels[4:6, 9:12] == 128).all()
    assert image.caption == "five"


def test_a_mosaic_of_nothing_is_an_error() -> None:
    """There is no picture of no image."""
    with pytest.raises(ValueError, match="0 tiles"):
        mosaic(np.zeros((0, 2, 2), np.uint8))


def test_stack_puts_top_above_bottom_and_grey_joins_rgb() -> None:
    """The first rows are the top's; a grey bottom below an RGB top is as grey as before."""
    top, bottom = np.full((2, 3, 4, 3), 9, np.uint8), np.full((2, 1, 4), 5, np.uint8)
    both = stack(top, bottom)
    assert both.shape == (2, 4, 4, 3)
    assert (both[:, :3] == 9).all()
    assert (both[:, 3:] == 5).all()


def test_stack_refuses_different_widths_and_numbers() -> None:
    """Nothing is scaled or dropped silently."""
    with pytest.raises(ValueError, match="2 images 4 pixels wide, bottom 2 of 5"):
        stack(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(ValueError, match="2 images 4 pixels wide, bottom 1 of 4"):
        stack(np.zeros((2, 3, 4), np.uint8), np.zeros((1, 3, 4), np.uint8))


def test_enlarge_repeats_pixels_and_leaves_large_images_alone() -> None:
    """Every pixel becomes a square of its own value."""
    pixels = np.arange(2 * 28 * 30, dtype=np.uint8).reshape(2, 28, 30)
    big = enlarge(pixels, min_side=84)
    assert big.shape == (2, 84, 90)
    assert (big[:, 1::3, 1::3] == pixels).all()
    assert enlarge(big, min_side=84) is big


def test_a_frame_lies_around_the_image() -> None:
    """The border has the colour and no pixel of the image is hidden."""
    image = framed(np.full((2, 3), 7, np.uint8), (255, 0, 10), width=2)
    assert image.shape == (6, 7, 3)
    assert (image[2:4, 2:5] == 7).all()
    border = np.ones((6, 7), bool)
    border[2:4, 2:5] = False
    assert (image[border] == (255, 0, 10)).all()
    assert Image(image).pixels is image


def test_importing_media_and_writers_loads_no_plotting_and_no_logger() -> None:
    """The cost of matplotlib, PIL and wandb is paid by who uses them."""
    code = (
        "import sys, types; package = sys.modules['lwcallbacks'] = types.ModuleType('lwcallbacks'); "
        f"package.__path__ = [{str(Path(lwcallbacks.__file__).parent)!r}]; "  # these two rooms, not the whole house
        "import lwcallbacks.media, lwcallbacks.writers; "
        "print([m for m in ('matplotlib', 'PIL', 'wandb', 'tensorboard', 'pytorch_lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
