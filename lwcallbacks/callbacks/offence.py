"""Stopping for a gradient or a loss that is not finite: every process saves what it has, and all of them end.

stop = Stop(trainer, link, "GradientHistogram('gradients')", "lwcallbacks/1/gradients/nonfinite")
stop.begin(batch)                                    # each batch: the random state that it meets
stop.keep(found)                                     # of this batch, or of one that is kept
stop.check(found, here, "before", place, attempt)    # processes meet; NonFiniteError on all of them, or on none
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lwcallbacks.callbacks.nonfinite import NonFinite, earliest, words
from lwcallbacks.capture.tree import open_container
from lwcallbacks.disk import replace
from lwcallbacks.gradients.shards import is_spread
from lwcallbacks.lightning import Trainer
from lwcallbacks.replaying import random_state, refusals, write
from lwcallbacks.state.link import AllReduce, Link, everyone_comes, roll_call


class NonFiniteError(ArithmeticError):
    """A gradient or a loss is NaN or infinite, and ``on_nonfinite="raise"``.

    Attributes:
        path: the folder for `lwcallbacks.replay`; None where nothing was saved.
        found: what each process knows, by rank.

    >>> error = NonFiniteError("GradientHistogram('gradients'): at step 12 the loss is nan", "nonfinite/step-12")
    >>> str(error), error.path
    ("GradientHistogram('gradients'): at step 12 the loss is nan", 'nonfinite/step-12')
    """

    def __init__(self, message: str, path: str | None = None, found: Mapping[int, NonFinite] | None = None) -> None:
        super().__init__(message, path, found)
        self.path = path
        self.found = dict(found or {})

    def __str__(self) -> str:
        return str(self.args[0])


Attempt = Callable[[str], AbstractContextManager[None]]


class Stop:
    """See the module's synopsis.

    Args:
        trainer: whose run it is.
        link: how this process reaches its others.
        owner: who is named.
        occasion: where the processes meet, in the store that they share.
    """

    def __init__(self, trainer: Trainer, link: Link, owner: str, occasion: str) -> None:
        self._trainer = trainer
        self._link = link
        self._owner = owner
        self._occasion = occasion
        self._here: tuple[Any, dict[str, Any]] = None, {}
        self._kept: tuple[Any, dict[str, Any]] | None = None
        self._of: tuple[int, int] | None = None

    def begin(self, batch: Any) -> None:
        """A batch comes."""
        self._here = batch, random_state()

    def keep(self, found: NonFinite | None) -> None:
        """What has been found by now: of the batch under way, or of one before, which is kept; else none is."""
        of = None if found is None else (found.epoch, found.batch)
        if of != self._of:
            self._kept, self._of = None if of is None else self._here, of

    def check(
        self,
        found: NonFinite | None,
        here: Callable[[], NonFinite],
        weights: Literal["before", "after"],
        place: Callable[[], Path | None],
        attempt: Attempt,
    ) -> None:
        """Meet the other processes, and raise if any has found something.

        Args:
            found: on this process.
            here: gives what this process knows of the batch under way.
            weights: whether those that are there are from before or after the step.
            place: gives process 0 the folder to make, or None where nothing is to be written.
            attempt: a block whose error is reported, and does not take the place of what is raised here.

        Raises:
            NonFiniteError: on every process.
        """
        rank, world_size = self._link.rank, self._link.world_size
        flags = torch.zeros(world_size, dtype=torch.int32)
        flags[rank] = found is not None
        if not bool(self._link.perform(AllReduce(flags, "sum")).any()):
            return
        folder: Path | None = None
        if rank == 0:
            with attempt("could not make a folder for the batch"):
                folder = place()
        mine: dict[str, Any] = {"rank": rank, "folder": folder and str(folder), "found": found and found.as_text()}
        texts = roll_call(self._occasion, json.dumps(mine), link=self._link)[1]
        told = [json.loads(text) for text in texts] or [mine]
        by_rank = {t["rank"]: NonFinite.of_text(t["found"]) for t in told if t["found"] is not None}
        path, notes = None, list[str]()
        if told[0]["folder"] is not None:
            with attempt("could not save the batch"):
                notes = self._save(Path(told[0]["folder"]), found or here(), weights)
                path = told[0]["folder"]
        everyone_comes(f"{self._occasion}/saved", 60.0, self._link)  # the end of one process may be that of all
        # Nobody answers in time, and this process has found nothing itself.
        told_of = words(earliest(by_rank), world_size) if by_rank else "another process found what is not finite"
        said = "; ".join([told_of, *notes])
        saved = "Nothing was saved"
        if path is not None:
            saved = f"The batch and the state {weights} the step are saved: lw.replay({path!r}, module) runs it again"
        raise NonFiniteError(f"{self._owner}: {said}. {saved}", path, by_rank)

    def _save(self, folder: Path, found: NonFinite, weights: str) -> list[str]:
        """What could not be saved, in words. All processes come here, for shards are put together."""
        trainer, module = self._trainer, self._trainer.lightning_module
        state = {
            "weights": _whole(module.state_dict()),
            "optimizers": _whole([o.state_dict() for o in trainer.optimizers]),
        }
        if trainer.is_global_zero:
            write(folder, "state", state)
        batch, random = self._kept or self._here
        buffers = {name: x for name, x in module.named_buffers() if name in state["weights"] and not is_spread(x)}
        name = f"process-{trainer.global_rank}"
        write(folder, name, {"batch": batch, "buffers": buffers, "random": random})
        facts = {
            **asdict(found),
            "weights": weights,
            "precision": str(trainer.precision),
            "world_size": trainer.world_size,
        }
        replace(folder / f"{name}.json", json.dumps(facts, indent=1).encode())
        return [f"{lost} could not be saved" for lost in refusals(batch, "batch")]


def _whole(value: Any) -> Any:
    """With the shards of each tensor put together, on the CPU. The processes of its mesh meet."""
    if is_spread(value):
        return value.full_tensor().cpu()
    container = None if isinstance(value, Tensor) else open_container(value)
    if container is None:
        return value
    parts = [_whole(part) for part in container.parts.values()]
    return dict(zip(container.parts, parts, strict=True)) if isinstance(value, Mapping) else container.build(parts)
