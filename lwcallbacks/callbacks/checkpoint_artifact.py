"""CheckpointArtifact: every saved checkpoint, as a version of an artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

from lwcallbacks.artifacts.checkpoint_path import resolve
from lwcallbacks.callbacks.base import LoggingCallback, plain
from lwcallbacks.callbacks.delivery_bar import DeliveryBar
from lwcallbacks.callbacks.facts import KEYS
from lwcallbacks.callbacks.hub import Hub
from lwcallbacks.callbacks.life import Life, Policy
from lwcallbacks.callbacks.outlet import heeding_interrupts
from lwcallbacks.callbacks.replaced import Replaced
from lwcallbacks.callbacks.trainer import has, is_debugging, logging_step, model_checkpoints, put_last, run_name
from lwcallbacks.lightning import LightningModule, Trainer
from lwcallbacks.media import File

# Of a callback's run; not on the callback, which is pickled and copied.
_LIVES: WeakKeyDictionary[CheckpointArtifact, Life] = WeakKeyDictionary()
_REPLACED: WeakKeyDictionary[CheckpointArtifact, Replaced] = WeakKeyDictionary()


class CheckpointArtifact(LoggingCallback):
    """Deliver every checkpoint that the Trainer saves as a version of an artifact, with the facts of its own save.

    Each ``ModelCheckpoint`` has an artifact of its own, and so has every other callback that saves, and
    ``trainer.save_checkpoint``. The content is held from the save on, by a hard link where that is safe, so that it
    does not matter when the file is removed. It is delivered in the background; a ledger beside the run says what has
    become of it, and ``python -m lwcallbacks artifacts`` reads that. What could not be delivered is kept, and can be
    delivered later. ``results["train"]`` lists the paths that were saved, on process 0.

    With it, ``trainer.fit(ckpt_path="wandb://entity/project/name:best")`` goes on from a version, which is downloaded
    and verified as by `lw.checkpoint_path`.

    At ``setup`` the callback moves to the end of ``trainer.callbacks``: what others save on an exception is seen, too.

    Args:
        name: the artifact's name; ``model-{run id}`` if left out. With several that save, each adds what it monitors,
            or its class, and a checksum.
        aliases: further aliases, filled from the metadata: ``"epoch-{epoch}"``, ``"acc-{score:.3f}"``. A version has
            "latest" until there is a newer one; "best" if it is the best of its ``ModelCheckpoint``, which no value
            of NaN makes it; and "last" if ``save_last`` wrote it or a file of the same state.
        keep: "ranked" drops a version when its ``ModelCheckpoint`` removes the file, unless somebody has given it an
            alias or uses it; a ``timedelta`` does so after that time, where the logger can; "all" drops none.
        metadata: more of your own to be stored with each version.
        staging_limit: bytes that may be held of versions that ``ModelCheckpoint`` has removed while the server stays
            away; of more, the oldest are given up, with a word. None: without a limit.
        patience: seconds without progress after which the end of ``fit`` no longer waits for deliveries.
        missing_ok: do nothing where the Trainer has no ``ModelCheckpoint``.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: at ``setup``: the Trainer has another ``CheckpointArtifact``, or for a ``fit`` no
            ``ModelCheckpoint`` (unless ``missing_ok``), or a ``WandbLogger`` with ``log_model``.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``model-{run id}``               artifact of type "model", aliases as above; metadata:
                                     epoch, step, score, monitor, mode, metrics, filename,
                                     hparams, num_parameters, versions, git_commit,
                                     world_size, precision
    ================================ =======================================================

    >>> CheckpointArtifact("digits", metadata={"data": "v2"}).metadata    # beside a ModelCheckpoint
    {'data': 'v2'}
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        aliases: Sequence[str] = ("epoch-{epoch}", "step-{step}"),
        keep: Literal["ranked", "all"] | timedelta = "ranked",
        metadata: dict[str, Any] | None = None,
        staging_limit: int | None = 10 * 2**30,
        patience: float = 300.0,
        missing_ok: bool = False,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(on_error=on_error)
        if isinstance(aliases, str) or not all(isinstance(alias, str) for alias in aliases):
            raise ValueError(
                f"CheckpointArtifact: aliases={aliases!r}, expected a list of texts, as ['epoch-{{epoch}}']"
            )
        if keep not in ("ranked", "all") and not (isinstance(keep, timedelta) and keep > timedelta()):
            raise ValueError(f"CheckpointArtifact: keep={keep!r}, expected 'ranked', 'all', or a timedelta above 0")
        if staging_limit is not None and not (isinstance(staging_limit, int) and staging_limit >= 0):
            raise ValueError(f"CheckpointArtifact: staging_limit={staging_limit!r}, expected bytes, 0 or more, or None")
        if not patience >= 0:
            raise ValueError(f"CheckpointArtifact: patience={patience!r}, expected seconds, 0 or more")
        if taken := sorted(KEYS & set(metadata or ())):
            raise ValueError(
                f"CheckpointArtifact: metadata has {', '.join(map(repr, taken))}, which each save fills in. Expected "
                f"other keys than {', '.join(sorted(KEYS))}"
            )
        self.name = name
        self.aliases = plain(aliases)
        self.keep = keep
        self.metadata = plain(metadata)
        self.staging_limit = staging_limit
        self.patience = patience
        self.missing_ok = missing_ok
        self._before: dict[str, Any] = {}
        """What the checkpoint that this run goes on from, or the fit that has ended, says of earlier versions."""

    def begin(self) -> None:
        super().begin()
        self._before = {}

    # Not `state_dict`: of two callbacks that have one Lightning says that there are two, and not what to leave out.
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        life = _LIVES.get(self)
        if state := self._before if life is None else life.remembered:
            checkpoint.setdefault("callbacks", {})[self.state_key] = state

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._before = (checkpoint.get("callbacks") or {}).get(self.state_key) or {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        excused = self.missing_ok or is_debugging(trainer)
        if stage == "fit" and not model_checkpoints(trainer) and not excused:
            raise ValueError(
                "CheckpointArtifact: the Trainer has no ModelCheckpoint, expected one: append ModelCheckpoint() to its"
                " callbacks, leave enable_checkpointing=True, or pass missing_ok=True"
            )
        others = [c for c in trainer.callbacks if isinstance(c, CheckpointArtifact)]  # type: ignore[attr-defined]
        if len(others) > 1:
            raise ValueError(
                f"CheckpointArtifact: found {len(others)} of them, expected one: it delivers what every ModelCheckpoint"
                " saves, each to an artifact of its own; leave the others out (presets have one: checkpoints=False)"
            )
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._refuse(trainer)
        # Lightning looks at `ckpt_path` after all callbacks' setup, and there first.
        _REPLACED.setdefault(self, Replaced()).put(trainer.strategy, "load_checkpoint", _load_from_address)
        # Lightning puts every ModelCheckpoint last. Behind them, what one saves on an exception is seen, too.
        put_last(trainer, self)

    def _refuse(self, trainer: Trainer) -> None:
        """Raise where a logger can take no checkpoint of ours; say where it can't take those of an address."""
        for store in Hub.of(trainer).outlet.stores():
            if (why := store.refuses("")) is not None:
                raise ValueError(f"CheckpointArtifact: {why}, or CheckpointArtifact (of a preset: checkpoints=False)")
            for checkpoint in model_checkpoints(trainer):
                if (why := store.refuses(str(checkpoint.dirpath or ""))) is not None:
                    Hub.of(trainer).outlet.say(f"checkpoints are not delivered to {store.name}: {why}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        self._end(trainer, None)  # of a fit in which another callback raised in `on_exception`
        hub = Hub.of(trainer)
        if hub.outlet.publisher is None or is_debugging(trainer):
            return
        attempt = partial(hub.outlet.attempt, "CheckpointArtifact")
        run = "local"
        with attempt("could not ask the logger for the run's name"):
            run = run_name(trainer)
        base = self.name or f"model-{run}"
        policy = Policy(base, self.aliases, self.metadata or {}, self.keep, self.staging_limit)
        with attempt("cannot deliver checkpoints"):
            life = Life(
                trainer,
                pl_module,
                hub.outlet.run_directory() / "artifacts",
                hub.outlet.stores(),
                policy,
                step=partial(logging_step, trainer),
                listens=partial(has, trainer, self),  # a Trainer that looks for a learning rate saves without callbacks
                attempt=attempt,
                say=partial(hub.outlet.publisher.say, "CheckpointArtifact"),
                before=self._before,
            )
            life.begin()
            _LIVES[self] = life

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._tell(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._tell(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._put_back()
        super().teardown(trainer, pl_module, stage)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._put_back()
        self._end(trainer, exception)
        super().on_exception(trainer, pl_module, exception)

    def _put_back(self) -> None:
        if self in _REPLACED:
            _REPLACED.pop(self).undo()

    def _tell(self, trainer: Trainer) -> None:
        """Show what was saved since the last call."""
        life = _LIVES.get(self)
        if life is None:
            return
        with Hub.of(trainer).meter.of(self):
            life.look()
        for saved in life.take_saved():
            version = saved.version
            file = File(Path(version.path), version.name, "model", version.aliases, version.metadata, is_delivered=True)
            self.results.setdefault("train", []).append(version.path)
            self.publish(trainer, partial(dict, {file.name: file}), saved.step)

    def _end(self, trainer: Trainer, exception: BaseException | None) -> None:
        """Wait for what is being written and delivered; Ctrl-C ends the waiting, and the ledger has the rest."""
        life = _LIVES.get(self)
        if life is None:
            return
        hub, bar = Hub.of(trainer), DeliveryBar()
        waiting = 0
        with hub.outlet.attempt("CheckpointArtifact", "could not end its deliveries"), hub.meter.waiting():
            try:
                with heeding_interrupts(exception):
                    life.close(self.patience)
                    self._tell(trainer)
                    waiting = life.end(self.patience, bar.show)
                    self._before = life.remembered
            finally:
                bar.close()
                del _LIVES[self]
        if waiting:
            where = hub.outlet.run_directory() / "artifacts"
            hub.outlet.say(
                f"{waiting} checkpoints wait to be delivered: python -m lwcallbacks artifacts {where} --deliver"
            )


def _load_from_address(load_checkpoint: Callable[..., Any], path: Any, *args: Any, **kwargs: Any) -> Any:
    """Load what `ckpt_path="wandb://..."` names."""
    is_told = kwargs.get("weights_only") is False  # `fit(weights_only=False)`: the user's word
    return load_checkpoint(resolve(path, weights_only=not is_told), *args, **kwargs)
