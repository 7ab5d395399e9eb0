"""Tensors of every dtype are shown, and what was done to them is said."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from lwcallbacks.media import to_pixels

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16] + [
    getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
]
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def shown(images: torch.Tensor, mean: object = None, std: object = None) -> tuple[np.ndarray, list[str]]:
    """The pixels, and what was said."""
    said: list[str] = []
    return to_pixels(images, mean, std, note=said.append), said  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_from_0_to_255_are_pixels_as_they_are(dtype: torch.dtype) -> None:
    """Of any width and sign, without a word."""
    pixels, said = shown(torch.tensor([[[0, 1, 77, 127]]]).to(dtype))
    assert (pixels.tolist(), said) == ([[[0, 1, 77, 127]]], [])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_of_any_width_are_drawn_alike(dtype: torch.dtype) -> None:
    """0, 1/2 and 1 are in every float."""
    pixels, said = shown(torch.tensor([[[0.0, 0.5, 1.0]]]).to(dtype))
    assert (pixels.tolist(), said) == ([[[0, 128, 255]]], [])


def test_16_bits_are_divided_by_257() -> None:
    """So that 65535 is white, without a word."""
    pixels, said = shown(torch.tensor([[[0, 257, 128 * 257, 65535]]]).to(torch.uint16))
    assert (pixels.tolist(), said) == ([[[0, 1, 128, 255]]], [])


@pytest.mark.parametrize(
    ("dtype", "values", "cure"),
    [
        (torch.int8, [-128, 0, 127], "(batch[0].float() + 128) / 255"),
        (torch.int16, [-1000, 0, 1000], "(batch[0].float() + 1000) / 2000"),
        (torch.int32, [100, 300, 500], "(batch[0].float() - 100) / 400"),
        (torch.int64, [-(2**63), 0, 2**63 - 1], None),
        (torch.uint16, [0, 2047, 4095], "batch[0].float() / 4095"),
        (torch.uint32, [0, 2**31, 2**32 - 1], None),
        (torch.uint64, [0, 2**63, 2**64 - 1], None),
    ],
    ids=str,
)
def test_integers_beyond_are_stretched_and_said(dtype: torch.dtype, values: list[int], cure: str | None) -> None:
    """Least is black, greatest white; what is advised gives the same picture, without a word."""
    images = torch.from_numpy(np.array([[values]], str(dtype).removeprefix("torch.")))
    pixels, [said] = shown(images)
    assert pixels[0, 0, [0, 2]].tolist() == [0, 255]
    assert pixels[0, 0, 1] in (127, 128)
    assert said.startswith(f"images are {str(dtype)[6:]} from {values[0]} to {values[2]}, expected 0 to 255")
    if cure is not None:
        advised = said.split("Scale them yourself: inputs=")[1]
        assert advised == f"lambda outputs, batch: {cure}"
        again, silent = shown(eval(advised)(None, [images]))
        assert (again.tolist(), silent) == (pixels.tolist(), [])


def test_floats_beyond_are_stretched_and_said() -> None:
    """What is advised keeps 0 and 1 where they are, and is said no more."""
    images = torch.tensor([[[-1.0, 0.0, 3.0]]])
    pixels, [said] = shown(images)
    assert pixels.tolist() == [[[0, 64, 255]]]
    assert said.startswith("images are float32 from -1 to 3, expected 0 to 1")
    assert "mean=0, std=1" in said
    assert shown(images, 0, 1)[0].tolist() == [[[0, 0, 255]]]
    assert shown(torch.tensor([[[-3e38, 0.0, 3e38]]]).double() * 5e269)[0].tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(("low", "high"), [(-2.0, 3.0), (-1e-1, 0.3), (7.0, 8.0), (-9.0, -8.0), (-3e38, 3e38)])
def test_what_is_advised_for_floats_changes_the_picture_alone(low: float, high: float) -> None:
    """A mean and a std, in which all values have their place, without a word; so have those that are cut off."""
    images = torch.tensor([[[low, low / 2 + high / 2, high]]])
    _, [said] = shown(images)
    assert "inputs=" not in said
    [(mean, std)] = re.findall(r"each time mean=(\S+), std=(\S+);", said)
    pixels, silent = shown(images, float(mean), float(std))
    span = max(high, 1) - min(low, 0)
    expected = [round(255 * (x - min(low, 0)) / span) for x in (low, low / 2 + high / 2, high)]
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1
    assert silent == shown(images, 0, 1)[1] == []


def test_mean_and_std_of_0_to_255_are_recognised() -> None:
    """The picture is the one before the normalisation, and what is advised gives it without a word."""
    original = torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pixels, [said] = shown((original.double() - mean) / std, MEAN, STD)
    assert (pixels == to_pixels(original)).all()
    assert said.endswith("write mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)")
    assert shown(original / 255 * 2 - 1, 127.5, 127.5)[1][0].endswith("write mean=0.5, std=0.5")
    again, silent = shown((original / 255).double() * 2 - 1, 0.5, 0.5)
    assert (again.tolist(), silent) == (to_pixels(original).tolist(), [])


def test_a_mean_without_a_std_is_said() -> None:
    """And the reverse: the missing one is 0 or 1, as it says."""
    images = torch.tensor([[[-0.5, 0.0, 0.5]]])
    pixels, [said] = shown(images, mean=0.5)
    assert pixels.tolist() == [[[0, 128, 255]]] == shown(images, 0.5, 1)[0].tolist()
    assert said == "mean is given without std, expected both: std=1 is used. Write std=1 if that is meant"
    assert shown(images, std=1.0)[1] == [
        "std is given without mean, expected both: mean=0 is used. Write mean=0 if that is meant"
    ]


def test_a_normalisation_of_other_images_is_said() -> None:
    """Pixels of 0 to 255 that were never normalised: nearly all is white, and the message says how much."""
    images = torch.arange(200.0).reshape(1, 10, 20)
    pixels, [said] = shown(images, 0.5, 0.25)
    assert (pixels == 255).mean() == 198 / 200
    assert said.startswith("98% of the values of the images lie outside 0 to 1 after x * std + mean")


@pytest.mark.parametrize(
    ("shape", "advice", "drawn"),
    [
        ((2, 2, 4, 6), "batch[0][:, :1]", (2, 4, 6)),
        ((2, 5, 4, 6), "batch[0][:, :3]", (2, 4, 6, 3)),
        ((2, 12, 4, 6), "batch[0][:, :3]", (2, 4, 6, 3)),
        ((2, 8, 6, 3), "batch[0].movedim(-1, 1)", (2, 8, 6, 3)),
    ],
)
def test_channels_that_are_no_colours_say_what_to_write(
    shape: tuple[int, ...], advice: str, drawn: tuple[int, ...]
) -> None:
    """The error has a function for `inputs=`, and what that gives can be drawn."""
    with pytest.raises(ValueError, match=r"expected real \[N, H, W\] or \[N, C, H, W\] with C = 1, 3 or 4") as caught:
        to_pixels(torch.zeros(shape))
    advised = str(caught.value).split("inputs=")[1]
    assert advised == f"lambda outputs, batch: {advice}"
    assert to_pixels(eval(advised)(None, [torch.zeros(shape)])).shape == drawn


def test_of_four_channels_the_last_is_dropped() -> None:
    """RGBA as RGB, whatever alpha says."""
    x = torch.randint(256, (2, 4, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(to_pixels(x), x[:, :3].permute(0, 2, 3, 1).numpy())
    assert np.array_equal(to_pixels(x.double() / 255), to_pixels(x))
