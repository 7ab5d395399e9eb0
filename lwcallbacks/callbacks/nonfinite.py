"""What is known of the first gradient or loss that was not finite, in words and as a table.

found = NonFinite(process=0, step=12, epoch=0, batch=12, ...)
words({0: found}, world_size=1)                  # "at step 12 (epoch 0, batch 12) the loss is nan; ..."
table({0: found})
NonFinite.of_text(found.as_text())               # from one process to another
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lwcallbacks.media import Table

FEW = 12
"""Samples, layers or processes that a message lists."""


@dataclass(frozen=True)
class NonFinite:
    """What one process knows. Built-in values only.

    Attributes:
        process: its rank.
        step: the step that `self.log` would use.
        epoch: as the Trainer counts.
        batch: its index in the epoch.
        losses: what was given to backward in that batch, as the step returned it; empty where that is not known.
        layers: which gradients are not finite, "NaN" or "Inf" by layer, in the order of backward.
        num_layers: how many had a gradient.
        samples: of the batch, or None.
        samples_by: "ids", "position", or why they are not known.
        is_used: whether an optimizer has stepped with it.
        model: which parameters and buffers were not finite before training began, "NaN" or "Inf" by name: then the
            batch is not to blame.
    """

    process: int
    step: int
    epoch: int
    batch: int
    losses: tuple[float, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)
    num_layers: int = 0
    samples: tuple[int, ...] | None = None
    samples_by: str = ""
    is_used: bool = False
    model: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_bad_loss(self) -> bool:
        return not all(map(math.isfinite, self.losses))

    @property
    def first(self) -> str | None:
        """The layer that comes first in backward."""
        return next(iter(self.layers), None)

    @property
    def loss(self) -> float | None:
        """The first that is not finite, else the last; None where none is known."""
        bad = [loss for loss in self.losses if not math.isfinite(loss)]
        return next(iter(bad or self.losses[-1:]), None)

    def as_text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(text: str) -> NonFinite:
        values = json.loads(text)
        samples = values["samples"]
        values |= {"losses": tuple(values["losses"]), "samples": None if samples is None else tuple(samples)}
        return NonFinite(**values)


def earliest(found: Mapping[int, NonFinite]) -> dict[int, NonFinite]:
    """Of what processes found, by rank, that of the first step that any of them names."""
    first = min((f.epoch, f.step, f.batch) for f in found.values())
    return {rank: f for rank, f in sorted(found.items()) if (f.epoch, f.step, f.batch) == first}


def words(found: Mapping[int, NonFinite], world_size: int) -> str:
    """What processes found at one step, in a sentence."""
    some = next(iter(found.values()))
    told = [f"at step {some.step} (epoch {some.epoch}, batch {some.batch}) {_of_losses(found, world_size)}"]
    layers = {name: kind for f in found.values() for name, kind in f.layers.items()}
    if layers:
        name, kind = next(iter(layers.items()))
        number = max(f.num_layers for f in found.values())
        told.append(
            f"the gradient of {len(layers)} of {number} layers is not finite, in backward first {name} ({kind})"
        )
    model = {name: kind for f in found.values() for name, kind in f.model.items()}
    told += [_of_model(model)] if model else [_of_samples(f, world_size > 1) for f in _guilty(found)]
    if silent := sorted(set(range(world_size)) - found.keys()):
        told.append(f"{_processes(silent)} found nothing or did not answer")
    told.append(_of_step(some, bool(layers)))
    return "; ".join(told)


def table(found: Mapping[int, NonFinite]) -> Table:
    """A row for each process."""
    columns = ("process", "step", "epoch", "batch", "loss", "first layer in backward", "layers", "of", "samples")
    rows = []
    for f in found.values():
        samples = f.samples_by if f.samples is None else _listed(f.samples, len(f.samples))
        loss = None if f.loss is None else str(f.loss)
        rows.append([f.process, f.step, f.epoch, f.batch, loss, f.first, len(f.layers), f.num_layers, samples])
    return Table(columns, rows)


def _of_losses(found: Mapping[int, NonFinite], world_size: int) -> str:
    bad = [rank for rank, f in found.items() if f.has_bad_loss]
    if bad:
        where = "" if world_size == 1 else f" on {_processes(bad)}"
        good = [rank for rank, f in found.items() if f.losses and not f.has_bad_loss]
        behind = f" and finite on {_processes(good)}" if good else ""
        return f"the loss is {found[bad[0]].loss}{where}{behind}"
    if not any(f.losses for f in found.values()):
        return "the loss is not known, as loss.backward() is no self.manual_backward(loss)"
    if world_size == 1:
        return f"the loss is finite, {next(iter(found.values())).loss:.4g}"
    told = f"the loss is finite on {_processes(sorted(found))}"
    return f"{told}, so it is not known whose part of the gradient it was, which is a sum over processes"


def _of_step(found: NonFinite, is_odd: bool) -> str:
    if found.num_layers and not is_odd:
        return "the gradients are finite"
    if found.is_used:
        return "the optimizer has stepped with it"
    return "no optimizer has stepped with it" if is_odd else "the gradient scaler has skipped the step"


def _of_model(model: Mapping[str, str]) -> str:
    name, kind = next(iter(model.items()))
    number = f"{len(model)} parameters and buffers were" if len(model) > 1 else "a parameter or buffer was"
    return f"{number} not finite before training began, first {name} ({kind}): look at the checkpoint, not at the batch"


def _of_samples(found: NonFinite, names_process: bool) -> str:
    where = f" of process {found.process}" if names_process else ""
    if found.samples is None:
        return f"which samples the batch{where} had is not known: {found.samples_by}"
    return f"samples of the batch{where}: {_listed(found.samples, FEW)}"


def _guilty(found: Mapping[int, NonFinite]) -> list[NonFinite]:
    """The processes whose batch it may have been."""
    bad = [f for f in found.values() if f.has_bad_loss]
    return (bad or list(found.values()))[:FEW]


def _processes(ranks: Sequence[int]) -> str:
    return f"process {ranks[0]}" if len(ranks) == 1 else f"processes {_listed(ranks, FEW)}"


def _listed(numbers: Sequence[int], most: int) -> str:
    told = ", ".join(map(str, numbers[:most]))
    return told if len(numbers) <= most else f"{told} and {len(numbers) - most} more"
