"""What is asked of a Lightning Trainer; where it has no public answer, the private name that gives it is here."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lwcallbacks.lightning import Callback, LightningModule, ModelCheckpoint, Trainer, either, package_of

LOADER_SUFFIX = "/dataloader_idx_{}"
"""How Lightning marks the keys of one of several loaders."""


def logging_step(trainer: Trainer, *, train_epoch_end: bool = False) -> int:
    """The step that `self.log` uses for its `trainer/global_step`: batches that stepped an optimizer.

    At the end of a training epoch Lightning has counted on already, and logs with one less.
    """
    step: int = trainer.fit_loop.epoch_loop._batches_that_stepped
    return max(0, step - int(train_epoch_end))


def logs_this_step(trainer: Trainer) -> bool:
    """Whether the Trainer logs the training step that is under way (`log_every_n_steps`)."""
    return trainer._logger_connector.should_update_logs or is_debugging(trainer)


def is_debugging(trainer: Trainer) -> bool:
    """Whether this is a `fast_dev_run`. (Lightning sets the attribute where type checkers do not see it.)"""
    return bool(getattr(trainer, "fast_dev_run", False))


def model_checkpoints(trainer: Trainer) -> list[ModelCheckpoint]:
    """The Trainer's `ModelCheckpoint` callbacks."""
    kinds = either("callbacks", "ModelCheckpoint")
    return [c for c in getattr(trainer, "callbacks", []) if isinstance(c, kinds)]


def refuse_mixture(trainer: Trainer) -> None:
    """Raise where parts of `lightning.pytorch` and of `pytorch_lightning` are put together that do not fit.

    Lightning takes a checkpoint callback of the other package for any callback: what it saves is no
    `trainer.checkpoint_callback`, it runs before others have logged, and loggers never hear of it. `trainer.log_dir`
    knows no logger of the other package. Other callbacks fit either Trainer.

    Raises:
        TypeError: a checkpoint callback or a logger is not of the Trainer's package.
    """
    package = package_of(trainer)
    checkpoints = [c for c in getattr(trainer, "callbacks", []) if isinstance(c, either("callbacks", "Checkpoint"))]
    for part, module in [*((c, "callbacks") for c in checkpoints), *((log, "loggers") for log in trainer.loggers)]:
        found = package_of(part)
        if found is not None and package is not None and found != package:
            name = next(cls.__name__ for cls in type(part).__mro__ if cls.__module__.startswith(f"{found}."))
            raise TypeError(
                f"found {type(part).__name__} of {found} under a Trainer of {package}, expected both of one package: "
                f"write `from {package}.{module} import {name}`"
            )


def log_final(module: LightningModule, key: str, value: Tensor, *, on_step: bool, prog_bar: bool) -> None:
    """`self.log` of a value that is final: neither averaged over batches nor told apart by Lightning once more."""
    how: dict[str, Any] = {"on_step": on_step, "on_epoch": not on_step, "prog_bar": prog_bar}
    how |= {"batch_size": 1, "add_dataloader_idx": False}
    results = module.trainer._results
    if "/dataloader_idx_" not in key or results is None:
        return module.log(key, value, **how)
    # `self.log` refuses the name of a loader in Lightning before 2.6. This is what it does with other names.
    hook = str(module._current_fx_name)
    results.log(hook, key, value, **how)
    module.trainer._logger_connector._current_fx = hook


def _train_loader(trainer: Trainer) -> Any:
    loader = trainer.train_dataloader
    wrappers = either("trainer.supporters", "CombinedLoader")  # of Lightning 1
    return getattr(loader, "loaders", loader) if isinstance(loader, wrappers) else loader


def ranked_paths(checkpoint: ModelCheckpoint) -> set[str]:
    """What a `ModelCheckpoint` has saved but for its last.ckpt: the best, and the newest, which on an exception has no
    rank."""
    newest = getattr(checkpoint, "_last_checkpoint_saved", "")
    return {*checkpoint.best_k_models, checkpoint.best_model_path, newest} - {checkpoint.last_model_path, ""}


def put_last(trainer: Trainer, callback: Callback) -> None:
    """Move a callback behind all others. It is a new list, since Lightning may be going through the old one."""
    callbacks = [other for other in getattr(trainer, "callbacks", []) if other is not callback]
    trainer.callbacks = [*callbacks, callback]  # type: ignore[attr-defined]


def loaders_of(trainer: Trainer, stage: str) -> list[Any]:
    """The loaders whose batches are told apart in a stage: one entry for training, one or more elsewhere."""
    if stage == "train":
        return [_train_loader(trainer)]
    loaders = getattr(trainer, f"{stage}_dataloaders")
    return list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]


def samples_done(trainer: Trainer) -> int:
    """How many samples of the epoch this process's training loader has given out before a resumed run goes on.

    A loader that saves its own state goes on where it was; another one starts with its first sample again.
    """
    loader = _train_loader(trainer)
    # Lightning before 2.2 saves no loader's state.
    goes_on = hasattr(loader, "load_state_dict") and hasattr(trainer.fit_loop, "_combined_loader_states_to_load")
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready if goes_on else 0
    return batches * int(getattr(loader, "batch_size", None) or 0)


def loader_suffix(trainer: Trainer, stage: str, loader: int) -> str:
    """What is appended to a key: nothing for the only loader of a stage."""
    return LOADER_SUFFIX.format(loader) if len(loaders_of(trainer, stage)) > 1 else ""


def run_name(trainer: Trainer) -> str:
    """The run's version or id as the first logger knows it; "local" without one."""
    version = trainer.logger.version if trainer.logger is not None else None
    return "local" if version is None else str(version)


def run_directory(trainer: Trainer) -> Path:
    """The folder of this run, where Lightning puts its checkpoints; process 0 only.

    Without a logger, or with one that has no version, it is an `unused_directory`. What is an address, as
    "s3://bucket", and no folder gives way to `default_root_dir`. `trainer.log_dir` is not asked: it talks to the other
    processes.
    """
    logger, root = trainer.logger, _local(trainer.default_root_dir) or Path.cwd()
    if logger is not None:
        log_dir = _local(getattr(logger, "log_dir", None))
        if log_dir is not None:
            return log_dir
        if logger.version is not None:
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            return Path(_local(getattr(logger, "save_dir", None)) or root, str(logger.name), version)
    return unused_directory(trainer)


def unused_directory(trainer: Trainer) -> Path:
    """The first unused `lwcallbacks_logs/version_N` below `default_root_dir`, or, if that is an address, below here."""
    parent = (_local(trainer.default_root_dir) or Path.cwd()) / "lwcallbacks_logs"
    taken = {path.name for path in parent.glob("version_*")}
    return parent / next(f"version_{n}" for n in range(len(taken) + 1) if f"version_{n}" not in taken)


def _local(path: Any) -> Path | None:
    """The path, if it is one on this machine's disks."""
    return Path(path) if isinstance(path, str | PathLike) and str(path) and "://" not in str(path) else None
