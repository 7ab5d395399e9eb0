"""CheckpointArtifact: what ModelCheckpoint saved, as versions of an artifact."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lwcallbacks.callbacks.base import LoggingCallback, plain
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.trainer import (
    is_debugging,
    last_save,
    logging_step,
    model_checkpoints,
    put_last,
    ranked_paths,
    run_name,
)
from lwcallbacks.lightning import LightningModule, ModelCheckpoint, Trainer
from lwcallbacks.media import File


class CheckpointArtifact(LoggingCallback):
    """Log every checkpoint that a ``ModelCheckpoint`` of the Trainer saves as a version of an artifact.

    The version that was saved last carries the alias "latest", and the one at ``best_model_path`` carries "best".
    With several ``ModelCheckpoint`` each has an artifact of its own. Works offline: W&B keeps the file beside the run
    until it is synced. ``results["train"]`` lists the paths that were logged, on process 0.

    Checkpoints are picked up at the first hook after they were saved, at the end of fitting and on an exception, also
    those that ``ModelCheckpoint(save_on_exception=True)`` saves then: at ``setup`` the callback moves to the end of
    ``trainer.callbacks``.

    Args:
        name: the artifact's name; ``model-{run id}`` if left out. With several ``ModelCheckpoint`` their monitored
            key, or else their place, is appended.
        metadata: more of your own to be stored with each version.
        missing_ok: do nothing where the Trainer has no ``ModelCheckpoint``.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: the Trainer has no ``ModelCheckpoint`` (at ``setup`` of ``fit``, unless ``missing_ok``).

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``model-{run id}``               artifact of type "model", aliases "latest" and "best",
                                     metadata: epoch, step, score, monitor, mode, metrics
    ================================ =======================================================

    >>> CheckpointArtifact("digits", metadata={"data": "v2"}).metadata    # beside a ModelCheckpoint
    {'data': 'v2'}
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        missing_ok: bool = False,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        self.name = name
        self.metadata = plain(metadata)
        self.missing_ok = missing_ok
        self._logged: dict[str, int] = {}
        self._saved: list[tuple[Any, ...]] = []
        self._epoch = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        excused = self.missing_ok or is_debugging(trainer)
        if stage == "fit" and not model_checkpoints(trainer) and not excused:
            raise ValueError(
                "CheckpointArtifact: the Trainer has no ModelCheckpoint, expected one: append ModelCheckpoint() to its"
                " callbacks, leave enable_checkpointing=True, or pass missing_ok=True"
            )
        super().setup(trainer, pl_module, stage)
        # Lightning puts every ModelCheckpoint last. Behind them, what one saves on an exception is seen, too.
        put_last(trainer, self)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        saved = [(c.best_model_path, c.last_model_path, *last_save(c)) for c in model_checkpoints(trainer)]
        if saved != self._saved:  # at most batches nothing was saved, and no file need be looked at
            self._saved = saved
            self._log_new(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A checkpoint is often found when the next epoch has begun; it belongs to that of the last batch.
        self._epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_new(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_new(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log_new(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._log_new(trainer)
        super().on_exception(trainer, pl_module, exception)

    def _log_new(self, trainer: Trainer) -> None:
        """Log the files that have appeared or changed since the last look; on process 0."""
        if not trainer.is_global_zero:
            return
        found: list[File] = []
        hub = Hub.of(trainer)
        with hub.meter.of(self), hub.attempt("CheckpointArtifact", "could not look at the checkpoints"):
            found.extend(self._new_files(trainer))  # those before an error are in it
        for file in found:
            self.publish(trainer, partial(dict, {file.name: file}), logging_step(trainer), partial(_release, file))

    def _new_files(self, trainer: Trainer) -> Iterator[File]:
        checkpoints = model_checkpoints(trainer)
        for place, checkpoint in enumerate(checkpoints):
            # A last.ckpt saved beside a ranked checkpoint is the same content, and not a version of its own.
            new = self._changed(ranked_paths(checkpoint)) or self._changed({checkpoint.last_model_path})
            for path in new:
                latest = path == new[-1]
                scope = (checkpoint.monitor or str(place)) if len(checkpoints) > 1 else None
                yield self._file(trainer, checkpoint, path, latest, scope)
                self._logged[str(path)] = _stamp(path)
                self.results.setdefault("train", []).append(str(path))
            self._logged.update({str(path): _stamp(path) for path in self._changed({checkpoint.last_model_path})})

    def _changed(self, paths: set[str]) -> list[Path]:
        """Those that are there and were not logged as they are now, oldest first."""
        there = [Path(path) for path in paths if path and Path(path).exists()]
        return sorted((p for p in there if self._logged.get(str(p)) != _stamp(p)), key=lambda p: (_stamp(p), str(p)))

    def _file(self, trainer: Trainer, checkpoint: ModelCheckpoint, path: Path, latest: bool, scope: str | None) -> File:
        run = "local"
        with Hub.of(trainer).attempt("CheckpointArtifact", "could not ask the logger for the run's name"):
            run = run_name(trainer)
        name = self.name or f"model-{run}"
        # As paths, for below a relative folder Lightning writes "./logs", and that is no string of a path.
        best = path == Path(checkpoint.best_model_path)
        aliases = [alias for alias, on in (("latest", latest), ("best", best)) if on]
        score = {Path(k): v for k, v in checkpoint.best_k_models.items()}.get(path, checkpoint.current_score)
        metadata = {
            "epoch": self._epoch,
            "step": trainer.global_step,
            "score": None if score is None else float(score),
            "monitor": checkpoint.monitor,
            "mode": checkpoint.mode,
            "filename": path.name,
            "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
            **(self.metadata or {}),
        }
        if scope is not None:
            name = f"{name}-{re.sub(r'[^A-Za-z0-9_.-]', '_', scope)}"
        # ModelCheckpoint may delete the file before the background thread gets to it. Where it cannot be held, it is
        # logged if it is still there.
        held = None
        with Hub.of(trainer).attempt("CheckpointArtifact", f"could not hold {path}"):
            held = _hold(path)
        return File(path, name, "model", tuple(aliases), metadata, content=held)


def _hold(path: Path) -> Path:
    """The same content beside it, in a hidden folder of its own: linked where the disk can, else copied."""
    held = Path(tempfile.mkdtemp(prefix=".lwcallbacks-", dir=path.parent), path.name)
    try:
        if path.is_dir():
            shutil.copytree(path, held, copy_function=_link)
        else:
            _link(str(path), str(held))
    except BaseException:
        shutil.rmtree(held.parent)
        raise
    return held


def _release(file: File) -> None:
    if file.content is not None:
        shutil.rmtree(file.content.parent)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns
