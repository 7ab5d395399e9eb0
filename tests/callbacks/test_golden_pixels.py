"""Pixels of each dtype, channel count and normalisation, read back from what W&B, TensorBoard and the folder wrote.

What is expected is worked out here by definition, in float64; the bytes that a value was made from come back where its
dtype can hold them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from support.modules import Classifier, trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw
from lwcallbacks.readers import read_folder, read_run

N, HEIGHT, WIDTH, NROW, PADDING = 4, 8, 10, 2, 1
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def original(channels: int) -> Tensor:
    """Bytes int64 [4, C, 8, 10] of which each value from 0 to 255 comes up."""
    size = N * channels * HEIGHT * WIDTH
    shuffled = torch.randperm(size, generator=torch.Generator().manual_seed(channels)) % 256
    return shuffled.reshape(N, channels, HEIGHT, WIDTH)


@dataclass(frozen=True)
class Case:
    """Images of a dtype and a number of channels, normalised with `mean` and `std` if these are given."""

    dtype: torch.dtype
    channels: int
    mean: Any = None
    std: Any = None

    @property
    def name(self) -> str:
        kind = "" if self.mean is None else "_by_channel" if isinstance(self.mean, tuple) else "_by_one"
        return f"{str(self.dtype).removeprefix('torch.')}_{self.channels}{kind}"

    def images(self) -> Tensor:
        found = original(self.channels)
        if self.dtype == torch.bool:
            return found > 127
        if self.dtype == torch.int8:
            return (found // 2).to(self.dtype)
        if not self.dtype.is_floating_point:
            return found.to(self.dtype)
        values = found.double() / 255
        if self.mean is not None:
            mean, std = (torch.tensor(part, dtype=torch.float64).reshape(-1, 1, 1) for part in (self.mean, self.std))
            values = (values - mean) / std
        return values.to(self.dtype)

    def expected(self) -> np.ndarray:
        """The mosaic, uint8 [H, W, 3]."""
        x = self.images()
        if self.dtype == torch.bool:
            pixels = x.numpy() * 255
        elif not self.dtype.is_floating_point:
            pixels = x.numpy()
        else:
            values = x.double().numpy()
            if self.mean is not None:
                values = values * np.reshape(self.std, (-1, 1, 1)) + np.reshape(self.mean, (-1, 1, 1))
            pixels = np.rint(255 * values.clip(0, 1))
        pixels = pixels[:, :3].repeat(3 if self.channels == 1 else 1, axis=1).transpose(0, 2, 3, 1).astype(np.uint8)
        canvas = np.full((2 * (HEIGHT + PADDING) + PADDING, NROW * (WIDTH + PADDING) + PADDING, 3), 128, np.uint8)
        for i, tile in enumerate(pixels):
            y, x0 = PADDING + i // NROW * (HEIGHT + PADDING), PADDING + i % NROW * (WIDTH + PADDING)
            canvas[y : y + HEIGHT, x0 : x0 + WIDTH] = tile
        return canvas


CASES = [
    *(Case(dtype, channels) for dtype in (*FLOATS, *INTEGERS, torch.bool) for channels in (1, 3, 4)),
    *(Case(dtype, channels, 0.5, 0.25) for dtype in FLOATS for channels in (1, 3)),
    *(Case(dtype, 3, MEAN, STD) for dtype in FLOATS),
]


class Says(Classifier):
    """A step that gives nothing but the indices of its samples."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"indices": batch[0]}


def from_case(case: Case) -> Any:
    return lambda outputs, batch: case.images().index_select(0, batch[0]) if case.dtype != torch.uint16 else (
        case.images().to(torch.int32).index_select(0, batch[0]).to(torch.uint16)
    )  # fmt: skip


@dataclass
class Written:
    """What each of the three wrote, by key."""

    wandb: dict[str, np.ndarray]
    tensorboard: dict[str, np.ndarray]
    folder: dict[str, np.ndarray]


def opened(data: Any) -> np.ndarray:
    with PIL.Image.open(data) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    root = tmp_path_factory.mktemp("golden")
    loggers = [WandbLogger(mode="offline", save_dir=root), TensorBoardLogger(root)]
    mosaics = [
        lw.ImageMosaic(
            N, layers=("input",), inputs=from_case(case), select="first", nrow=NROW, padding=PADDING, name=case.name,
            mean=case.mean, std=case.std,
        )
        for case in CASES
    ]  # fmt: skip
    indices = TensorDataset(torch.arange(N))
    trainer(callbacks=mosaics, logger=loggers, default_root_dir=root).validate(
        Says(), DataLoader(indices, 3), verbose=False
    )
    run_dir = Path(loggers[0].experiment.dir).parent
    loggers[0].experiment.finish()
    run = read_run(run_dir)
    there = {key: value for row in run.history for key, value in row.items() if key.startswith("val/")}
    events = EventAccumulator(loggers[1].log_dir, size_guidance={"images": 0})
    events.Reload()
    [manifest] = root.rglob("manifest.js")
    return Written(
        {key: opened(run.files_dir / value["path"]) for key, value in there.items()},
        {
            key: opened(io.BytesIO(event.encoded_image_string))
            for key in events.Tags()["images"]
            for event in events.Images(key)
        },
        {item.key: opened(item.path) for item in read_folder(manifest.parent).items if item.kind == "image"},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pixels_come_back_to_the_bit(case: Case, written: Written) -> None:
    """In W&B and in the folder as they are; in TensorBoard enlarged by a whole number, above the caption."""
    key, expected = f"val/{case.name}", case.expected()
    assert {tuple(found.shape[:2]) for found in (written.wandb[key], written.folder[key])} == {expected.shape[:2]}
    for found in (written.wandb[key], written.folder[key]):
        assert found.ndim == (2 if case.channels == 1 else 3)
        assert np.array_equal(found if found.ndim == 3 else found[..., None].repeat(3, 2), expected)
    page = written.tensorboard[key]
    factor = (page.shape[1] - 16) // expected.shape[1]
    height, width = expected.shape[0] * factor, expected.shape[1] * factor
    assert np.array_equal(page[8 : 8 + height : factor, 8 : 8 + width : factor], expected)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.dtype not in (torch.bool, torch.int8)], ids=lambda c: c.name
)
def test_what_was_put_in_comes_out(case: Case) -> None:
    """The bytes that the values were made from; of bfloat16, which has 8 bits, next to them."""
    tiles = case.expected()[PADDING : PADDING + HEIGHT, PADDING : PADDING + WIDTH].astype(int)
    bytes_in = original(case.channels)[0, :3].numpy().transpose(1, 2, 0)
    apart = {torch.bfloat16: 4 if case.mean is not None else 1}.get(case.dtype, 0)
    assert np.abs(tiles - bytes_in).max() <= apart


def test_all_are_compared(written: Written) -> None:
    """No case is missing anywhere."""
    keys = {f"val/{case.name}" for case in CASES}
    assert len(keys) == len(CASES) == 45
    assert keys == set(written.wandb) == set(written.tensorboard) == set(written.folder)
