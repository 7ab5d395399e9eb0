"""What TensorBoard reads back from its event file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lwcallbacks.media import (
    Curve,
    File,
    Histogram,
    Image,
    Line,
    Matrix,
    Table,
    captioned_grid,
    draw_curve,
    draw_matrix,
    with_caption,
)
from lwcallbacks.writers import writers_for

GREY = Image(np.arange(64, dtype=np.uint8).reshape(8, 8))
COLOUR = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
CAPTIONED = Image(GREY.pixels, "a ramp")


def written(directory: Path, entries: dict[str, Any], step: int) -> EventAccumulator:
    """The events of one write."""
    logger = TensorBoardLogger(directory)
    (writer,) = writers_for([logger])
    writer.write(entries, step)
    writer.close()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    return events


def pixels(events: EventAccumulator, key: str) -> np.ndarray:
    (event,) = events.Images(key)
    assert event.step == 7
    return np.asarray(PIL.Image.open(io.BytesIO(event.encoded_image_string)))


def text(events: EventAccumulator, key: str) -> str:
    (event,) = events.Tensors(f"{key}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


def test_pixels_pass_untouched(tmp_path: Path) -> None:
    """Grey and RGB images, grids and heatmaps hold exactly the pixels that were rendered, at their step."""
    matrix = Matrix(np.array([[5, 1], [0, 7]]), ("cat", "dog"))
    events = written(tmp_path, {"grey": GREY, "rgb": COLOUR, "grid": [GREY, COLOUR], "none": [], "matrix": matrix}, 7)
    assert (pixels(events, "grey") == GREY.pixels[..., None]).all()
    assert (pixels(events, "rgb") == COLOUR.pixels).all()
    assert (pixels(events, "grid") == captioned_grid([GREY, COLOUR]).pixels).all()
    assert (pixels(events, "matrix") == draw_matrix(matrix, title="matrix").pixels).all()
    assert "none" not in events.Tags()["images"]


def test_a_caption_is_drawn_below_its_image(tmp_path: Path) -> None:
    """TensorBoard keeps pixels only; what a picture says of itself already is not said again."""
    titled = Image(GREY.pixels, "titled")
    events = written(tmp_path, {"captioned": CAPTIONED, "titled": titled}, 7)
    assert (pixels(events, "captioned") == with_caption(CAPTIONED).pixels).all()
    assert (pixels(events, "titled") == GREY.pixels[..., None]).all()


def test_images_of_a_table_are_a_numbered_grid(tmp_path: Path) -> None:
    """The text says which tile is meant."""
    table = Table(("input", "pred", "output"), [[CAPTIONED, "a", COLOUR], [None, "b", GREY]])
    events = written(tmp_path, {"table": table, "plain": Table(("a",), [[1]])}, 7)
    assert text(events, "table").splitlines()[2:] == ["| (image 1) | a | (image 2) |", "|  | b | (image 3) |"]
    tiles = [Image(GREY.pixels, "1. a ramp"), Image(COLOUR.pixels, "2."), Image(GREY.pixels, "3.")]
    assert (pixels(events, "table") == captioned_grid(tiles).pixels).all()
    assert events.Tags()["images"] == ["table"]


def test_a_prefix_stands_before_media_too(tmp_path: Path) -> None:
    """Keys of pictures carry the logger's prefix, as its scalars do."""
    logger = TensorBoardLogger(tmp_path, prefix="fold1")
    (writer,) = writers_for([logger])
    writer.write({"grey": GREY}, 7)
    logger.log_metrics({"acc": 0.5}, 7)
    writer.close()
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert (events.Tags()["images"], events.Tags()["scalars"]) == (["fold1-grey"], ["fold1-acc"])


def test_a_histogram_keeps_counts_limits_and_what_is_not_finite(tmp_path: Path) -> None:
    """Counts per bin are read back; NaN and Inf become scalars beside it, and only if there are any."""
    histogram = Histogram(np.array([0, 2, 0, 3, 0]), np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), nan=9, neginf=1)
    events = written(tmp_path, {"grad": histogram, "empty": Histogram(np.array([0]), np.array([0.0, 1.0]))}, 7)
    (event,) = events.Histograms("grad")
    value = event.histogram_value
    filled = {limit: count for limit, count in zip(value.bucket_limit, value.bucket, strict=True) if count}
    assert filled == {2.0: 2, 4.0: 3}
    assert (value.min, value.max, value.num, value.sum) == (1.0, 4.0, 5, 2 * 1.5 + 3 * 3.5)
    assert {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]} == {"grad/nan": 9, "grad/neginf": 1}
    assert events.Tags()["histograms"] == ["grad"]


def test_a_curve_is_its_picture(tmp_path: Path) -> None:
    """All lines with their legend: the PR curves of TensorBoard's own have one class each, and nothing but counts."""
    curve = Curve([Line("cat", np.array([0.0, 1.0]), np.array([0.0, 0.5]))], "x", "y")
    events = written(tmp_path, {"val/roc": curve}, 7)
    assert (pixels(events, "val/roc") == draw_curve(curve, title="val/roc").pixels).all()


def test_tables_and_files_are_markdown_that_cells_cannot_break(tmp_path: Path) -> None:
    """Bars and line breaks in a cell stay in their cell."""
    table = Table(("image", "text"), [[GREY, "a|b\nc"], [None, 0.5]])
    file = File(Path("x.ckpt"), "model-a", aliases=("best", "latest"), metadata={"loss": 0.5})
    events = written(tmp_path, {"table": table, "file": file}, 7)
    assert text(events, "table").splitlines() == [
        "| image | text |",
        "| --- | --- |",
        "| (image 1) | a\\|b c |",
        "|  | 0.5 |",
    ]
    assert text(events, "file").splitlines() == [
        "| model | model-a |",
        "| --- | --- |",
        "| path | x.ckpt |",
        "| aliases | best, latest |",
        "| loss | 0.5 |",
    ]


def test_an_unknown_value_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    """A string is no media."""
    with pytest.raises(TypeError, match="'x' is a str, expected Image"):
        written(tmp_path, {"x": "text"}, 1)
