"""Pixels are `round(255 * x)` to the bit, for every float."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lwcallbacks.media import to_pixels


def plain(x: torch.Tensor) -> np.ndarray:
    """By definition, all at once in float64: half to even, clamped, NaN black."""
    values = x.double().numpy()
    return np.round(np.clip(np.nan_to_num(values, nan=0.0), 0, 1) * 255).astype(np.uint8)


def as_images(values: torch.Tensor) -> torch.Tensor:
    """Values in [0, 1], or not finite, as grey images [N, 1, 16, 16]."""
    return torch.nn.functional.pad(values, (0, -len(values) % 256)).view(-1, 1, 16, 16)


def every(dtype: torch.dtype) -> torch.Tensor:
    """Every float of 16 bits: subnormals, -0.0, infinities, NaN of every payload."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def float32s() -> torch.Tensor:
    """Random bits; all products near a tie: x = (k + 1/2) / 255 and its 16 neighbours on each side."""
    random = np.random.default_rng(0).integers(-(2**31), 2**31, 2**18, dtype=np.int64).astype(np.int32)
    ties = ((np.arange(255) + 0.5) / 255).astype(np.float32).view(np.int32)[:, None] + np.arange(
        -16, 17, dtype=np.int32
    )
    return torch.from_numpy(np.concatenate([random, ties.ravel()])).view(torch.float32)


VALUES = {
    "float16": every(torch.float16),
    "bfloat16": every(torch.bfloat16),
    "float32": float32s(),
    "float64": torch.cat([float32s().double(), torch.rand(2**16, dtype=torch.float64)]),
}


@pytest.mark.parametrize("dtype", VALUES)
def test_floats_in_0_to_1_are_written_by_definition(dtype: str) -> None:
    """What is a hair outside, or not finite, among them."""
    x = VALUES[dtype]
    x = x[~x.isfinite() | ((x.double() >= -0.01) & (x.double() <= 1.01))]
    assert (to_pixels(as_images(x)) == plain(as_images(x))[:, 0]).all()
    assert len(x) > 10_000


@pytest.mark.parametrize("dtype", VALUES)
def test_floats_that_are_cut_off_are_written_by_definition(dtype: str) -> None:
    """With mean=0 and std=1 any value at all."""
    x = as_images(VALUES[dtype])
    assert (to_pixels(x, mean=0, std=1) == plain(x)[:, 0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_normalisation_is_undone_by_definition(dtype: torch.dtype) -> None:
    """x * std + mean in float64, by channel."""
    x = torch.randn(7, 3, 33, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()
    undone = x.double() * std.view(3, 1, 1) + mean.view(3, 1, 1)
    assert (to_pixels(x, mean.tolist(), std.tolist()) == plain(undone).transpose(0, 2, 3, 1)).all()
    by_255 = (x.double() * 255 * std.view(3, 1, 1) + 255 * mean.view(3, 1, 1)) / 255
    again = to_pixels(x * 1, (255 * mean).tolist(), (255 * std).tolist())
    stretched = x.double() * (255 * std).view(3, 1, 1) + (255 * mean).view(3, 1, 1)
    assert (again == plain(stretched / 255).transpose(0, 2, 3, 1)).all()
    assert np.abs(again.astype(int) - plain(by_255).transpose(0, 2, 3, 1)).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_stack_is_stretched_by_definition(dtype: torch.dtype) -> None:
    """From the least to the greatest finite value of all parts, what is not finite beside them."""
    x = (torch.randn(9, 3, 40, 50, generator=torch.Generator().manual_seed(1)) * 5).to(dtype)
    x[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    values = x.double()
    finite = values[values.isfinite()]
    low, high = float(finite.min()), float(finite.max())
    assert (to_pixels(x) == plain((values / 2 - low / 2) / (high / 2 - low / 2)).transpose(0, 2, 3, 1)).all()


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 1, 0, 5), (1, 3, 400, 500), (300, 1, 28, 28), (3, 4, 31, 17)])
def test_parts_fit_together(shape: tuple[int, ...]) -> None:
    """Stacks that are empty, larger and smaller than a part, with alpha; any strides; the tensor stays as it is."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    expected = plain(x)[:, :3].transpose(0, 2, 3, 1)
    expected = expected[..., 0] if shape[1] == 1 else expected
    before = x.clone()
    for images in (x, turned, x.double(), x.to(memory_format=torch.channels_last)):
        pixels = to_pixels(images)
        assert pixels.shape == expected.shape
        assert (pixels == expected).all()
        assert pixels.flags.c_contiguous
    assert torch.equal(x, before)


def test_pixels_are_not_the_tensor_itself() -> None:
    """The next batch may overwrite it while the picture still waits to be written."""
    for images in (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2, 3, 3, dtype=torch.uint8)):
        pixels = to_pixels(images)
        images += 1
        assert (pixels == 0).all()
