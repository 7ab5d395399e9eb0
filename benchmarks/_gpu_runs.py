"""Real runs of a Trainer, for `gpu.py`: do batch hooks wait for the device, and do devices and replicas agree?

All public callbacks train, validate and test a module that computes exactly, in whatever order: pixels and weights are
multiples of 1/256, and batches have 8 samples or 4. So every difference is one of ours.
"""

import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lwcallbacks as lw
from lwcallbacks.callbacks.hub import Hub

CLASSES, BATCH = 5, 8
HOOKS = tuple(f"on_{stage}_batch_{end}" for stage in ("train", "validation", "test") for end in ("start", "end"))
HOOKS += ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
WAIT = "called a synchronizing CUDA operation"
OURS, LIGHTNINGS = "lwcallbacks", "Lightning"


def masks(outputs: Any, batch: Any) -> Tensor:
    """The brightness of each pixel, as labels [N, 8, 8]."""
    return (batch[0][:, 0] * CLASSES).long()


def label_sets(outputs: Any, batch: Any) -> Tensor:
    """Which of the first pixels are bright, as 0 and 1 [N, CLASSES]."""
    return (batch[0].flatten(1)[:, :CLASSES] > 0.6).long()


def boxes(outputs: Any, batch: Any) -> Tensor:
    """A box in each image, the wider the brighter its first pixel, [N, 1, 4]."""
    width = 1 + (batch[0][:, 0, 0, 0] * 6).round()
    return torch.stack([torch.ones_like(width), torch.ones_like(width), 1 + width, 1 + width], -1)[:, None]


STAGES = ("train", "val", "test")
EVERYONE: dict[str, Callable[[], Any]] = {
    "ScalarMetrics": lambda: lw.ScalarMetrics(
        {"acc": MulticlassAccuracy(num_classes=CLASSES, average="micro", validate_args=False)}
    ),
    "ConfusionMatrix": lambda: lw.ConfusionMatrix(CLASSES, stages=STAGES),
    "ImageMosaic": lambda: lw.ImageMosaic(4, stages=STAGES),
    "PredictionGrid": lambda: lw.PredictionGrid(4, stages=STAGES),
    "MultilabelConfusionMatrix": lambda: lw.MultilabelConfusionMatrix(
        CLASSES, name="labels", preds=label_sets, targets=label_sets, stages=STAGES
    ),
    "Curves": lambda: lw.Curves(CLASSES, logits=True, mantissa_bits=4, stages=STAGES),
    "MaskGrid": lambda: lw.MaskGrid(4, preds=masks, targets=masks, stages=STAGES),
    "BoxGrid": lambda: lw.BoxGrid(4, preds=boxes, targets=boxes, stages=STAGES),
    "GradientHistogram": lambda: lw.GradientHistogram(2, weights=True, moments=True, updates=True, activations=True),
    "CheckpointArtifact": lambda: lw.CheckpointArtifact(missing_ok=True),
}


class Exact(pl.LightningModule):
    """The scores are the first pixels, each times a weight; the loss is the mean of their sums."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, CLASSES))
        self.pixels = nn.ReLU()  # they are not negative; a module whose outputs can be watched

    def forward(self, x: Tensor) -> Tensor:
        return self.pixels(x).flatten(1)[:, :CLASSES] * self.weight

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0]).sum(1).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.5)


def loader(shuffle: bool = False) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (44, 1, 8, 8), generator=generator) / 256
    data = TensorDataset(pixels, torch.arange(44) % CLASSES)
    return DataLoader(data, BATCH, shuffle=shuffle, generator=generator)


@contextmanager
def trainer(callbacks: list[Any], **kwargs: Any) -> Iterator[pl.Trainer]:
    """Without a logger, in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="lwcallbacks-gpu-", ignore_cleanup_errors=True) as folder:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        yield pl.Trainer(
            logger=False,
            max_epochs=2,
            num_sanity_val_steps=0,
            default_root_dir=folder,
            callbacks=callbacks,
            **quiet,
            **kwargs,
        )


def results(callbacks: list[Any], shuffle: bool = False, **kwargs: Any) -> dict[str, Any]:
    """What the callbacks hold after fitting and testing, by callback and stage."""
    with trainer(callbacks, **kwargs) as made:
        made.fit(Exact(), loader(shuffle), loader())
        found = {
            f"{type(c).__name__} {stage}": c.results[stage] for c in callbacks for stage in getattr(c, "results", {})
        }
        made.test(Exact(), loader(), verbose=False)
    tested = {f"{type(c).__name__} test": c.results["test"] for c in callbacks if "test" in getattr(c, "results", {})}
    return found | tested


class Watch:
    """Two callbacks, before and behind those that are watched: what is between them in a batch hook is looked at."""

    def __init__(self) -> None:
        self.num_hooks = 0
        self._seen: set[str] = set()
        self._stack = ExitStack()

    def around(self, callbacks: list[Any]) -> list[Any]:
        before, behind = pl.Callback(), pl.Callback()
        before.on_exception = lambda *_: self._stack.close()
        for hook in HOOKS:
            setattr(before, hook, lambda trainer, *_, hook=hook, **__: self.enter(trainer, hook in self._seen))
            setattr(behind, hook, lambda *_, hook=hook, **__: self._leave(hook))
        return [before, *callbacks, behind]

    def enter(self, trainer: pl.Trainer, again: bool) -> None:
        """Begin to look, in a hook that was or was not called before."""

    def _leave(self, hook: str) -> None:
        self._stack.close()
        self._seen.add(hook)
        self.num_hooks += 1


class Waits(Watch):
    """Counts where batch hooks wait for a CUDA device, by torch's "warn" mode: all of them, and whose they are.

    What the background waits for in the meantime is not counted: it may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at_first: Counter[tuple[str, str]] = Counter()
        self.later: Counter[tuple[str, str]] = Counter()

    def enter(self, trainer: pl.Trainer, again: bool) -> None:
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        told = warnings.showwarning
        counter = self.later if again else self.at_first

        def note(message: Any, *args: Any, **kwargs: Any) -> None:
            if WAIT not in str(message):
                told(message, *args, **kwargs)
            elif threading.current_thread() is threading.main_thread():
                counter[place()] += 1

        warnings.showwarning = note
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn")
            self._stack.callback(torch.cuda.set_sync_debug_mode, "default")


class NoWaits(Watch):
    """Makes every wait in a batch hook an error, by torch's "error" mode.

    The mode holds for all threads, so the background does nothing meanwhile: before a hook it finishes what is queued,
    and what the hook publishes waits until the hook is over.
    """

    def __init__(self, set_mode: Callable[[str], object] | None = None) -> None:
        super().__init__()
        has_cuda = torch.cuda.is_available()
        self._set_mode = set_mode or (torch.cuda.set_sync_debug_mode if has_cuda else lambda mode: None)

    def enter(self, trainer: pl.Trainer, again: bool) -> None:
        publisher = Hub.of(trainer).outlet.publisher
        if publisher is None:
            return
        publisher.flush()
        is_over = threading.Event()
        publisher.publish(lambda: {}, step=0, after=lambda: is_over.wait(60))
        self._stack.callback(is_over.set)
        self._set_mode("error")
        self._stack.callback(self._set_mode, "default")


def place() -> tuple[str, str]:
    """Whose call waits, ours or Lightning's, and where: the innermost frame that is of either."""
    rooms = {str(Path(lw.__file__).parent): OURS, str(Path(pl.__file__).parent): LIGHTNINGS}
    for frame in reversed(traceback.extract_stack()):
        for folder, whose in rooms.items():
            if frame.filename.startswith(folder):
                return whose, f"{Path(frame.filename).relative_to(folder).as_posix()}:{frame.lineno} {frame.line}"
    return "torch's", "unknown"


def watched(watch: Watch, callbacks: list[Any], shuffle: bool, **kwargs: Any) -> None:
    """Train, validate and test with these callbacks, while their batch hooks are watched."""
    with trainer(watch.around(callbacks), log_every_n_steps=2, **kwargs) as made:
        made.fit(Exact(), loader(shuffle), loader())
        made.test(Exact(), loader(), verbose=False)


def waits(callbacks: list[Any], shuffle: bool, **kwargs: Any) -> Waits:
    """Where they wait."""
    found = Waits()
    watched(found, callbacks, shuffle, **kwargs)
    return found


def forbid_waits(callbacks: list[Any], shuffle: bool, **kwargs: Any) -> NoWaits:
    """Raise RuntimeError at the first wait."""
    for callback in callbacks:
        callback.on_error = "raise"
    found = NoWaits()
    watched(found, callbacks, shuffle, **kwargs)
    return found
