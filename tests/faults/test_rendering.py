"""What cannot be drawn costs its own picture and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.modules import CLASSES, Classifier, loader, trainer
from support.recorded import on_page, scalars

import lwcallbacks as lw
from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.media import Image
from lwcallbacks.readers import find_folders, read_folder

UNDRAWABLE = {"mean": (0.5, 0.5, 0.5), "std": 0.5}  # of three channels, where the images are grey


class Picture(LoggingCallback):
    """Publishes float pixels, which are no picture, and then some that are."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pixels = torch.rand(4, 4).numpy()
        self.publish(trainer, lambda: {"mine/float": Image(pixels)}, trainer.current_epoch)
        self.publish(trainer, lambda: {"mine/uint8": Image((255 * pixels).astype("uint8"))}, trainer.current_epoch)


class Complex(Classifier):
    """Its outputs are complex numbers, for which there is no picture."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return {"preds": torch.complex(batch[0], batch[0])}


def fit(root: Path, *callbacks: Any, module: Any = None) -> dict[str, list[int]]:
    t = trainer(callbacks=list(callbacks), default_root_dir=root, max_epochs=2)
    t.fit(module or Classifier(), loader(), loader())
    assert t.current_epoch == 2
    return on_page(root)


def ours(caught: Any) -> list[str]:
    return [str(warning.message) for warning in caught if "Training goes on" in str(warning.message)]


def test_a_picture_that_cannot_be_drawn(tmp_path: Path) -> None:
    """One warning for two epochs, and the other picture is there."""
    with pytest.warns(UserWarning, match="could not be drawn at step 4: ValueError: mean has 3 values") as caught:
        page = fit(tmp_path, lw.ImageMosaic(4, **UNDRAWABLE), lw.ImageMosaic(4, name="mine"))
    assert len(ours(caught)) == 1
    assert set(page) == {"val/mine"}


def test_a_name_that_is_no_text_is_drawn(tmp_path: Path) -> None:
    """Half of a surrogate pair is no character: a box stands for it, and the page has it as it is."""
    names = ["\ud800", *"abcd"]
    page = fit(tmp_path, lw.ConfusionMatrix(CLASSES, class_names=names))
    assert set(page) == {f"val/confusion_matrix{kind}" for kind in ("", "_chart", "_report", "_pairs")}
    [folder] = find_folders(tmp_path)
    assert all(of["class_names"] == names for of in read_folder(folder).data("val/confusion_matrix_chart").values())


def test_pixels_of_a_wrong_dtype(tmp_path: Path) -> None:
    """The warning says what was found and expected; the next picture is written."""
    with pytest.warns(UserWarning, match=r"Image: pixels are float32 \(4, 4\), expected uint8") as caught:
        page = fit(tmp_path, Picture())
    assert len(ours(caught)) == 1
    assert page == {"mine/uint8": [0, 1]}


def test_outputs_of_a_wrong_dtype(tmp_path: Path) -> None:
    """Complex images as predictions: the mosaic is missing, and one warning says why."""
    with pytest.warns(UserWarning, match="expected real") as caught:
        page = fit(tmp_path, lw.ImageMosaic(4), lw.GradientHistogram(2), module=Complex())
    assert len(ours(caught)) == 1
    assert "val/mosaic" not in page
    assert page["gradients/net.1.weight"] == [1, 3, 5, 7, 9]


def test_one_strict_callback_makes_what_cannot_be_drawn_an_error(tmp_path: Path) -> None:
    """Also when the first callback, which opens the writers, is not strict."""
    strict = lw.ImageMosaic(4, **UNDRAWABLE, on_error="raise")
    with pytest.raises(ValueError, match="mean has 3 values") as caught:
        fit(tmp_path, lw.ImageMosaic(4, name="mine"), strict)
    [note] = caught.value.__notes__
    assert note.endswith("could not be drawn at step 4")


def test_the_users_exception_is_not_hidden_by_a_strict_callbacks(tmp_path: Path) -> None:
    """The run ends with what the module raised; what we could not draw meanwhile is a warning."""

    class Fails(Classifier):
        def on_validation_epoch_end(self) -> None:
            raise RuntimeError("out of memory")

    strict = lw.ImageMosaic(4, **UNDRAWABLE, on_error="raise")
    with (
        pytest.warns(UserWarning, match="could not be drawn at step 4: ValueError"),
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        fit(tmp_path, strict, module=Fails())


def test_gradients_that_cannot_be_read_cost_no_training(tmp_path: Path) -> None:
    """A module that does not tell its parameters has no histogram, with one warning; the mosaic is there."""

    class Secretive(Classifier):
        def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
            if "lwcallbacks" in str(sys._getframe(1).f_globals["__name__"]):
                raise NotImplementedError("sharded")
            return super().named_parameters(*args, **kwargs)

    message = r"GradientHistogram\('gradients'\) could not read the gradients: NotImplementedError: sharded"
    with pytest.warns(UserWarning, match=message) as caught:
        page = fit(tmp_path, lw.GradientHistogram(2), lw.ImageMosaic(4), module=Secretive())
    assert len(ours(caught)) == 1
    assert page == {"val/mosaic": [4, 9]}


def test_complex_gradients_are_counted_by_part(tmp_path: Path) -> None:
    """Real and imaginary parts are elements of their own, so that the norm is that of the complex numbers."""

    class Phased(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.phase = torch.nn.Parameter(torch.tensor([3.0 + 4.0j, 1.0j]))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) + self.phase.abs().sum()

    histogram = lw.GradientHistogram(2)
    fit(tmp_path, histogram, module=Phased())
    assert histogram.results["train"]["phase"].linear(4)[0].sum() == 4
    assert scalars(tmp_path)[0]["gradients/norm/phase"] == pytest.approx(2**0.5)
