"""PNG files hold the pixels, to the bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lwcallbacks.media import Image, to_pil
from lwcallbacks.media.png import encoded

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))


def decoded(png: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(png)) as image:
        image.load()
        return np.asarray(image)


@given(arrays(np.uint8, SHAPES, elements=st.integers(0, 255) | st.sampled_from([0, 255])))
def test_pixels_come_back(pixels: np.ndarray) -> None:
    """Grey and RGB, of any height and width; upside down, mirrored and cut out, too."""
    for view in (pixels, pixels[::-1], pixels[:, ::-1], pixels[::2, 1:] if pixels.shape[1] > 1 else pixels):
        found = decoded(encoded(view))
        assert found.shape == view.shape
        assert (found == view).all()


@pytest.mark.parametrize("shape", [(1000, 1), (1, 1000, 3), (700, 700, 3)])
def test_large_images_come_back(shape: tuple[int, ...]) -> None:
    """Beyond the window of the compression, of noise and of one colour."""
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for pixels in (noise, np.full(shape, 7, np.uint8)):
        assert (decoded(encoded(pixels)) == pixels).all()


def test_no_pixel_is_no_png() -> None:
    """The error says what was found."""
    with pytest.raises(ValueError, match="an image of 0 x 5 pixels cannot be a PNG, expected at least one pixel"):
        _ = Image(np.zeros((0, 5), np.uint8)).png


def test_an_image_is_encoded_once(tmp_path: Path) -> None:
    """Each place that saves it gets the same bytes; asked for pixels or another format, PIL does as ever."""
    image = Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    made: Any = to_pil(image)
    for number, file in enumerate((tmp_path / "a.png", str(tmp_path / "b.png"))):
        made.save(file, transparency=None)
        assert sorted(tmp_path.iterdir())[number].read_bytes() == image.png
    assert image.png is image.png
    assert (made.mode, made.size) == ("RGB", (4, 4))
    assert (np.asarray(made) == image.pixels).all()
    made.save(tmp_path / "c.bmp")
    again = io.BytesIO()
    made.resize((2, 2)).save(again, "PNG")
    with PIL.Image.open(tmp_path / "c.bmp") as found:
        assert found.format == "BMP"
        assert (np.asarray(found) == image.pixels).all()
    assert decoded(again.getvalue()).shape == (2, 2, 3)
