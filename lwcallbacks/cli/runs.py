"""What is said of a run in a line: its name, whether it has ended, its last step, its best value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lwcallbacks.cli.errors import CommandError
from lwcallbacks.readers import MediaFolder, of_page, read_folder

HIGHER = re.compile(
    r"acc|f1|f_?beta|auroc|auc|roc|precision|recall|iou|dice|kappa|matthews|mcc|r2|map\b|psnr|ssim|bleu|rouge|score|spearman"
    r"|pearson|(\b|_)ap\b",
    re.IGNORECASE | re.ASCII,
)
LOWER = re.compile(
    r"loss|err|mse|mae|rmse|nll|perplexity|ppl|wer\b|cer\b|ece|fid|divergence|cost|distance", re.IGNORECASE | re.ASCII
)
"""Both as in `writers/page/text.js`: a page and a terminal say the same of a name."""
_LOADER = re.compile(r"(?<!^)/dataloader_idx_\d+$")
_EVERY = re.compile(r"_(step|epoch)$")


def read(path: str | Path) -> MediaFolder:
    """A run's folder, by its path or by that of its page.

    Raises CommandError, with the cause, for one that cannot be read.
    """
    path = of_page(path)
    try:
        return read_folder(path)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        told = f"{error.strerror or error}" if isinstance(error, OSError) else f"{error}"
        raise CommandError(f"{path} cannot be read: {told}" if str(path) not in told else told) from error


def name_of(folder: MediaFolder) -> str:
    """The logger's name and the version, else the folder's name."""
    parts = [str(folder.run[part]) for part in ("name", "version") if folder.run.get(part) is not None]
    return " ".join(parts) or folder.directory.absolute().parent.name


def num_failed(folder: MediaFolder) -> int:
    """Drawings and writes of the run that failed, as it has counted them itself."""
    failed = folder.run.get("failed")
    counts = failed.values() if isinstance(failed, dict) else []
    return sum(count for count in counts if isinstance(count, int))


@dataclass(frozen=True)
class Best:
    """A value of a run: the best, or where nobody says which way is better, the last."""

    key: str
    value: float
    step: int
    is_best: bool

    def __str__(self) -> str:
        return f"{self.key} {self.value:.4g} at step {self.step:,} ({'best' if self.is_best else 'last'})"


def best(folder: MediaFolder) -> Best | None:
    """Of the number that a checkpoint callback monitors, else of a loss of validation, else of the first number of it;
    None where there is none.

    Which way is better is what the monitor says, else told from the name, as of a loss.
    """
    curves = folder.curves()
    monitored = folder.run.get("monitor")
    has_monitor = isinstance(monitored, str) and monitored in curves
    of_validation = sorted((k for k in curves if k.startswith(("val/", "val_"))), key=lambda k: ("loss" not in k, k))
    key = monitored if has_monitor else next(iter(of_validation), None)
    if key is None:
        return None
    mode = folder.run.get("mode") if has_monitor else mode_of(key)
    found = extreme(curves[key], mode)
    return None if found is None else Best(key, found[1], found[0], is_best=mode in ("min", "max"))


def extreme(curve: Mapping[int, float], mode: str | None) -> tuple[int, float] | None:
    """Step and value of the first lowest ("min") or highest ("max") finite value, of the last without a mode.

    None where no value is finite.

    >>> curve = {1: 0.5, 2: 0.25, 3: float("nan")}
    >>> extreme(curve, "max"), extreme(curve, None), extreme({}, "min")
    ((1, 0.5), (2, 0.25), None)
    """
    finite = {step: value for step, value in curve.items() if math.isfinite(value)}
    if not finite:
        return None
    if mode not in ("min", "max"):
        return max(finite), finite[max(finite)]
    value = min(finite.values()) if mode == "min" else max(finite.values())
    return next(step for step in finite if finite[step] == value), value


def mode_of(key: str) -> str | None:
    """Whether lower or higher is better, as far as a name tells.

    >>> mode_of("val/loss"), mode_of("val_top5_acc"), mode_of("val/wer_epoch"), mode_of("val/temperature")
    ('min', 'max', 'min', None)
    """
    name = _EVERY.sub("", _LOADER.sub("", key))
    if LOWER.search(name):
        return "min"
    return "max" if HIGHER.search(name) else None
