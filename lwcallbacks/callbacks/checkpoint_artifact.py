"""CheckpointArtifact: what ModelCheckpoint saved, as versions of an artifact."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from lwcallbacks.callbacks.base import LoggingCallback
from lwcallbacks.callbacks.trainer import logging_step, run_name
from lwcallbacks.media import File


class CheckpointArtifact(LoggingCallback):
    """Log every checkpoint that a ``ModelCheckpoint`` of the Trainer saves as a version of an artifact.

    The version that was saved last carries the alias "latest", and the one at ``best_model_path`` carries "best".
    With several ``ModelCheckpoint`` each has an artifact of its own. Works offline: W&B keeps the file beside the run
    until it is synced. ``results["train"]`` lists the paths that were logged, on process 0.

    Checkpoints are picked up at the first hook after they were saved, at the end of fitting and on an exception.

    Args:
        name: the artifact's name; ``model-{run id}`` if left out. With several ``ModelCheckpoint`` their monitored
            key, or else their place, is appended.
        metadata: more of your own to be stored with each version.
        on_error: "warn" or "raise" when writing fails.

    Raises:
        ValueError: the Trainer has no ``ModelCheckpoint`` (at ``setup`` of ``fit``).

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``model-{run id}``               artifact of type "model", aliases "latest" and "best",
                                     metadata: epoch, step, score, monitor, mode, metrics
    ================================ =======================================================
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        self.name = name
        self.metadata = dict(metadata or {})
        self._logged: dict[str, int] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and not any(isinstance(c, Checkpoint) for c in trainer.callbacks) and not trainer.fast_dev_run:
            raise ValueError(
                "CheckpointArtifact: the Trainer has no ModelCheckpoint, expected one: append ModelCheckpoint() to its"
                " callbacks, or leave enable_checkpointing=True"
            )
        super().setup(trainer, pl_module, stage)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._log_new(trainer)

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
        """Log the files that have appeared or changed since the last look."""
        if not trainer.is_global_zero:
            return
        checkpoints = [c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)]
        for place, checkpoint in enumerate(checkpoints):
            # A last.ckpt saved beside a ranked checkpoint is the same content, and not a version of its own.
            ranked = {*checkpoint.best_k_models, checkpoint.best_model_path}
            new = self._changed(ranked) or self._changed({checkpoint.last_model_path})
            for path in new:
                latest = path == new[-1]
                scope = (checkpoint.monitor or str(place)) if len(checkpoints) > 1 else None
                self._log(trainer, checkpoint, path, latest, scope)
            self._logged.update({str(path): _stamp(path) for path in self._changed({checkpoint.last_model_path})})

    def _changed(self, paths: set[str]) -> list[Path]:
        """Those that are there and were not logged as they are now, oldest first."""
        there = [Path(path) for path in paths if path and Path(path).exists()]
        return sorted((p for p in there if self._logged.get(str(p)) != _stamp(p)), key=lambda p: (_stamp(p), str(p)))

    def _log(
        self, trainer: Trainer, checkpoint: ModelCheckpoint, path: Path, latest: bool, scope: str | None
    ) -> None:
        name = self.name or f"model-{run_name(trainer)}"
        aliases = [alias for alias, on in (("latest", latest), ("best", str(path) == checkpoint.best_model_path)) if on]
        score = checkpoint.best_k_models.get(str(path), checkpoint.current_score)
        metadata = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "score": None if score is None else float(score),
            "monitor": checkpoint.monitor,
            "mode": checkpoint.mode,
            "filename": path.name,
            "metrics": {key: float(value) for key, value in trainer.callback_metrics.items()},
            **self.metadata,
        }
        file = File(path, name if scope is None else f"{name}-{re.sub(r'[^A-Za-z0-9_.-]', '_', scope)}", "model", tuple(aliases), metadata)
        self._logged[str(path)] = _stamp(path)
        self.results.setdefault("train", []).append(str(path))
        self.publish(trainer, lambda: {file.name: file}, logging_step(trainer))


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns
