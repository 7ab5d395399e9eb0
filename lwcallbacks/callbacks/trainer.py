"""What is asked of a Lightning Trainer; where it has no public answer, the private name that gives it is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS

from lwcallbacks.callbacks.batch import Place
from lwcallbacks.disk import reserve
from lwcallbacks.gradients.used import adds_momentum
from lwcallbacks.lightning import (
    Callback,
    LightningModule,
    ModelCheckpoint,
    Trainer,
    either,
    is_of_lightning,
    lightning_version,
    package_of,
)
from lwcallbacks.state.link import Alone, Link, current_link
from lwcallbacks.state.padding import layout_of

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


def connector_of(trainer: Trainer) -> Any:
    """What hands everything that is logged to the Trainer's loggers, by `log_metrics(metrics, step=None)`."""
    return trainer._logger_connector


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
    `trainer.checkpoint_callback`, it runs before others have logged, and loggers never get it. `trainer.log_dir`
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


def innermost_io(checkpoint_io: Any) -> Any:
    """The CheckpointIO that writes, behind those that only wrap another one, as `AsyncCheckpointIO` does."""
    return list(_wrapped(checkpoint_io))[-1]


def _wrapped(checkpoint_io: Any) -> Iterator[Any]:
    """A CheckpointIO, and all inside of it."""
    while checkpoint_io is not None:
        yield checkpoint_io
        checkpoint_io = getattr(checkpoint_io, "checkpoint_io", None)


def writes_anew(checkpoint_io: Any) -> bool:
    """Whether a CheckpointIO never writes into a file that is there: Lightning's own, from 2.4 on."""
    write = getattr(type(checkpoint_io), "save_checkpoint", None)
    own = [kind.save_checkpoint for kind in either("plugins.io", "TorchCheckpointIO")]
    return write in own and lightning_version() >= (2, 4)


def saves_later_weights(checkpoint_io: Any) -> bool:
    """Whether what it writes is changed by training until it is written: asynchronous saves, before Lightning 2.5.5."""
    kinds = either("plugins.io", "AsyncCheckpointIO")
    return lightning_version() < (2, 5, 5) and any(isinstance(io, kinds) for io in _wrapped(checkpoint_io))


def is_address(path: str | PathLike[str]) -> bool:
    """Whether it is an address, such as "s3://bucket/last.ckpt", and no path of this machine."""
    return "://" in str(path) and not str(path).startswith("file://")


def put_last(trainer: Trainer, callback: Callback) -> None:
    """Move a callback behind all others. It is a new list, since Lightning may be going through the old one."""
    trainer.callbacks = [*_others(trainer, callback), callback]  # type: ignore[attr-defined]


def put_first(trainer: Trainer, callback: Callback) -> None:
    """Move a callback before all others, or add it there."""
    trainer.callbacks = [callback, *_others(trainer, callback)]  # type: ignore[attr-defined]


def has(trainer: Trainer, callback: Callback) -> bool:
    """Whether a callback is among the Trainer's."""
    return any(other is callback for other in getattr(trainer, "callbacks", []))


def take_out(trainer: Trainer, callback: Callback) -> None:
    """Take a callback out of the Trainer's."""
    trainer.callbacks = _others(trainer, callback)  # type: ignore[attr-defined]


def _others(trainer: Trainer, callback: Callback) -> list[Callback]:
    return [other for other in getattr(trainer, "callbacks", []) if other is not callback]


def places_of(trainer: Trainer, stage: str) -> list[Place]:
    """The loaders of a stage, as their batches are told apart.

    Loaders that are read one after another have a place each; those that give one batch together (`CombinedLoader` in
    its other modes, and every collection of loaders while training) share one. A collection may be nested, of lists,
    tuples and dicts.
    """
    tree, is_sequential = _loaders(trainer, stage)
    paths = list(_paths(tree))
    layouts = [None if _takes_iterator(trainer, stage) else layout_of(_leaf(tree, path)) for path in paths]
    if len(paths) == 1 and (is_sequential or not paths[0]):
        # One loader alone, or in a collection of one: the batch is then in a collection, too, unless it is sequential.
        return [Place(layouts)]
    if is_sequential:
        return [Place([layout], name=LOADER_SUFFIX.format(i)) for i, layout in enumerate(layouts)]
    return [Place(layouts, split=partial(_split, paths))]


def _loaders(trainer: Trainer, stage: str) -> tuple[Any, bool]:
    """The loaders as the user arranged them, and whether they are read one after another."""
    fits = {"train": trainer.fit_loop, "val": trainer.fit_loop.epoch_loop.val_loop}
    loops = {"val": "validate_loop", "test": "test_loop", "predict": "predict_loop"}
    loop = fits.get(stage) if trainer.state.fn == "fit" else getattr(trainer, loops[stage])
    combined = getattr(loop, "_combined_loader", None)
    if combined is not None:
        return combined.iterables, combined._mode == "sequential"
    found = trainer.train_dataloader if stage == "train" else getattr(trainer, f"{stage}_dataloaders")
    return getattr(found, "loaders", found) if stage == "train" else found, stage != "train"  # of Lightning 1


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the leaves of nested lists, tuples and dicts are, in the order in which Lightning numbers them."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, Mapping):
        items = tree.items()
    elif isinstance(tree, (list, tuple)) and not all(isinstance(x, (int, float, str)) for x in tree):
        items = enumerate(tree)  # a list of numbers is a loader of numbers
    else:
        yield path
    for key, child in items:
        yield from _paths(child, (*path, key))


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for key in path:
        tree = None if tree is None else tree[key]
    return tree


def _leaf(tree: Any, path: Sequence[Any]) -> Any:
    loader = _at(tree, path)
    # Lightning 1 wraps a loader that begins again while another one goes on.
    return loader.loader if isinstance(loader, either("trainer.supporters", "CycleIterator")) else loader


def _split(paths: Sequence[Sequence[Any]], batch: Any) -> list[Any]:
    return [_at(batch, path) for path in paths]


def _takes_iterator(trainer: Trainer, stage: str) -> bool:
    """Whether the step draws its batches itself, from a `dataloader_iter`: then nobody else knows which they are."""
    names = {"train": "training_step", "val": "validation_step", "test": "test_step", "predict": "predict_step"}
    step = getattr(trainer.lightning_module, names[stage], None)
    return step is not None and "dataloader_iter" in signature(step).parameters


def train_loader(trainer: Trainer) -> Any:
    """The loader that training batches come from; None where several give one batch together, or the step draws its
    own."""
    tree, _ = _loaders(trainer, "train")
    paths = list(_paths(tree))
    return _leaf(tree, paths[0]) if len(paths) == 1 and not _takes_iterator(trainer, "train") else None


def gradient_scaler(trainer: Trainer) -> Any:
    """The scaler of mixed precision with float16, which skips a step whose gradient is not finite; None without one."""
    return getattr(trainer.precision_plugin, "scaler", None)


def sends_buffers(trainer: Trainer) -> bool:
    """Whether DDP makes all buffers those of process 0 at each forward."""
    return bool(getattr(getattr(trainer.strategy, "model", None), "broadcast_buffers", False))


def batches_done(trainer: Trainer) -> int:
    """How many batches of the training epoch were given out before the loader's own start, when a run is resumed.

    A loader that saves its own state goes on where it was, and its batches are counted from the epoch's start. Another
    one starts with its first batch again.
    """
    tree, _ = _loaders(trainer, "train")
    loaders = [_leaf(tree, path) for path in _paths(tree)]
    # Lightning before 2.2 saves no loader's state.
    keeps = hasattr(trainer.fit_loop, "_combined_loader_states_to_load")
    goes_on = keeps and all(hasattr(loader, "load_state_dict") for loader in loaders)
    return 0 if goes_on else int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)


def link_of(trainer: Trainer, owner: str) -> Link:
    """How this process reaches the others of the Trainer. One of a single process has none, also where a process group
    is there, as behind a fit with DDP.

    Raises:
        ValueError: there are others, and torch has no process group.
    """
    if trainer.world_size == 1:
        return Alone()
    link = current_link()
    if link.world_size == 1:
        found = f"{trainer.world_size} processes ({type(trainer.strategy).__name__})"
        raise ValueError(
            f"{owner}: found {found} and no process group of torch.distributed, in which they could add up what they "
            'count. Expected a strategy that makes one, as "ddp"'
        )
    return link


def data_parallel(trainer: Trainer) -> tuple[int, bool]:
    """How many processes have data of their own, and whether this one's count.

    Processes that share the work on one batch, as under tensor parallelism, all see it: the first of them counts.
    """
    world_size = trainer.world_size
    if world_size == 1:
        return 1, True
    dealt = getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {}
    num_replicas = int(dealt.get("num_replicas", world_size))
    if num_replicas >= world_size:
        return world_size, True
    mesh = getattr(trainer.strategy, "device_mesh", None)
    names = getattr(mesh, "mesh_dim_names", None) or ()
    others = [name for name in names if name != "data_parallel"]
    if mesh is not None and others:
        return num_replicas, all(mesh[name].get_local_rank() == 0 for name in others)
    return num_replicas, trainer.global_rank % (world_size // num_replicas) == 0


def true_loss(trainer: Trainer, outputs: Any) -> Any:
    """A training step's output with the user's loss: Lightning divides it by the batches that it accumulates."""
    n = trainer.accumulate_grad_batches
    is_divided = n > 1 and trainer.lightning_module.automatic_optimization and isinstance(outputs, Mapping)
    if not is_divided or not isinstance(outputs.get("loss"), Tensor):
        return outputs
    return {**outputs, "loss": outputs["loss"] * n}


def loss_of(outputs: Any) -> Tensor | None:
    """The loss that a training step returned, if it is one number."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point() else None


def in_float16(trainer: Trainer, module: LightningModule) -> bool:
    """Whether gradients are worked out in float16, by the Trainer's precision or by parameters of that type."""
    return str(trainer.precision) in ("16", "16-mixed", "16-true") or any(
        parameter.dtype == torch.float16 for parameter in module.parameters()
    )


def clips_gradients(trainer: Trainer, module: LightningModule) -> bool:
    """Whether Lightning clips between `on_before_optimizer_step` and the step itself, or lets the module do so."""
    is_own = not is_of_lightning(type(module).configure_gradient_clipping)
    return module.automatic_optimization and (trainer.gradient_clip_val is not None or is_own)


def gradients_stay(trainer: Trainer, module: LightningModule, optimizer: Any) -> bool:
    """Whether nobody is known to change gradients between the backward pass and the end of the step: no clipping, no
    hook or plugin of the user's, no optimizer of another library, and none that asks for several backward passes or
    writes into gradients."""
    if not module.automatic_optimization or clips_gradients(trainer, module) or adds_momentum(optimizer):
        return False
    plugins = type(trainer.strategy), type(trainer.precision_plugin)
    if not all(is_of_lightning(kind) or _is_ours(kind) for kind in plugins):
        return False
    if not all(map(_is_ours, _hooks_of(optimizer))):
        return False
    hooks = ("on_after_backward", "on_before_optimizer_step")
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    found = [getattr(one, name) for one in (module, *callbacks) for name in hooks]
    of_torch = (type(optimizer).__module__, optimizer.step.__module__)
    is_plain = all(of.startswith("torch.optim.") for of in of_torch) and not isinstance(optimizer, LBFGS)
    return is_plain and all(is_of_lightning(hook) or _is_ours(hook) for hook in (*found, module.optimizer_step))


def _hooks_of(optimizer: Any) -> list[Any]:
    """What is called behind a step."""
    from torch.optim import optimizer as torchs

    return [*optimizer._optimizer_step_post_hooks.values(), *torchs._global_optimizer_post_hooks.values()]


def _is_ours(function: object) -> bool:
    module = getattr(function, "__module__", None) or ""
    return bool(module.partition(".")[0] == __name__.partition(".")[0])


def is_no_optimizer(optimizer: Any) -> bool:
    """Whether it is what Lightning has in the place of one, where `configure_optimizers` returns None."""
    return type(optimizer).__name__ == "_MockOptimizer"


def refuse_hidden_gradients(trainer: Trainer, owner: str) -> None:
    """Raise where a strategy keeps gradients in a form of its own, in which no parameter finds its part.

    Raises:
        ValueError: FSDP1 or DeepSpeed.
    """
    hidden = {"FSDPStrategy": "FSDP1", "DDPFullyShardedNativeStrategy": "FSDP1", "DeepSpeedStrategy": "DeepSpeed"}
    kind = next((hidden[c.__name__] for c in type(trainer.strategy).__mro__ if c.__name__ in hidden), None)
    if kind is not None:
        raise ValueError(
            f"{owner}: found {type(trainer.strategy).__name__}, and {kind} keeps gradients in buffers of its own. "
            "Expected gradients in the `.grad` of parameters: write strategy=ModelParallelStrategy() with "
            "`fully_shard` in the module's `configure_model` (FSDP2), or leave the callback out"
        )


def refuse_parts_of_outputs(trainer: Trainer, owner: str) -> None:
    """Raise where processes share the work on one batch, so that each has but a part of some outputs.

    Raises:
        ValueError: tensor parallelism, or another of its kind.
    """
    num_replicas, _ = data_parallel(trainer)
    if num_replicas < trainer.world_size:
        raise ValueError(
            f"{owner}: found {trainer.world_size} processes of which {trainer.world_size // num_replicas} work on one "
            "batch, and nobody can tell which outputs are whole there. Expected a batch of its own on each process: "
            "leave activations= out"
        )


def monitored_keys(trainer: Trainer) -> set[str]:
    """What callbacks and learning rate schedulers of the Trainer ask for by name."""
    keys = {getattr(callback, "monitor", None) for callback in getattr(trainer, "callbacks", [])}
    keys |= {getattr(config, "monitor", None) for config in getattr(trainer, "lr_scheduler_configs", [])}
    return {key for key in keys if isinstance(key, str)}


def run_name(trainer: Trainer) -> str:
    """The run's version or id as the first logger knows it; "local" without one."""
    version = trainer.logger.version if trainer.logger is not None else None
    return "local" if version is None else str(version)


def media_directory(trainer: Trainer) -> Callable[[], Path]:
    """Gives the folder `media` of this run, where Lightning puts its checkpoints; process 0 only.

    Without a logger, or with one that has no version, it is `new_directory`'s. What is an address, as "s3://bucket",
    and no folder gives way to `default_root_dir`. `trainer.log_dir` is not asked: it talks to the other processes.
    """
    logger, root = trainer.logger, _local(trainer.default_root_dir) or Path.cwd()
    if logger is not None:
        log_dir = _local(getattr(logger, "log_dir", None))
        if log_dir is None and logger.version is not None:
            version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
            log_dir = Path(_local(getattr(logger, "save_dir", None)) or root, str(logger.name), version)
        if log_dir is not None:
            return partial(Path, log_dir, "media")
    return new_directory(trainer)


def new_directory(trainer: Trainer) -> Callable[[], Path]:
    """Gives `lwcallbacks_logs/version_N/media` below `default_root_dir`, or, if that is an address, below here.

    It is made when it is first asked for, and not before: `ModelCheckpoint` warns of a folder that is not empty. Two
    runs that start at the same time have a folder each.
    """
    parent = (_local(trainer.default_root_dir) or Path.cwd()) / "lwcallbacks_logs"
    return cache(lambda: reserve(parent) / "media")


def _local(path: Any) -> Path | None:
    """The path, if it is one on this machine's disks."""
    is_path = isinstance(path, str | PathLike) and str(path) and not is_address(path)
    return Path(str(path).removeprefix("file://")) if is_path else None
