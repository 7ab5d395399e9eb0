"""What a logged step of an optimizer was made of: begun to be read in its hooks, finished in the background.

reader = Reader(module, steps, Chosen(), depth=None, histogram=LogHistogram(), columns=["norms"])
reader.keep_parameters(stepping)         # before the step
reader.keep_unclipped(stepping)          # before its gradients are clipped
step = reader.read(stepping)             # behind it; the processes meet if parameters are spread over them
step.layers()                            # waits for the device
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lwcallbacks.callbacks.steps import Stepping, Steps, on_host
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.names import Chosen, layers_of, names_of
from lwcallbacks.gradients.read import Column, Reading, Row, finished, gradient_norms, kept_each, read, read_shared
from lwcallbacks.gradients.shards import is_spread
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.reductions.to_host import soon_on_host
from lwcallbacks.state.link import AllReduce, Counted, current_link


@dataclass(frozen=True, eq=False)
class Step:
    """One logged step of an optimizer. What is called waits for the device.

    Attributes:
        optimizer: its name, as `Stepping` has it.
        number: which of its steps it was, from 1.
        readings: of each device; none where no parameter had a gradient.
        num_calls: calls in which processes met for it.
    """

    optimizer: str
    number: int
    readings: Sequence[Reading]
    num_calls: int
    _found_inf: Callable[[], Tensor] | None
    _skipped: int
    _skipped_on_device: Callable[[], Tensor] | None

    @property
    def host_bytes(self) -> int:
        """What moves from an accelerator to the host."""
        return sum(reading.host_bytes for reading in self.readings)

    @property
    def nbytes(self) -> int:
        """Of host memory, until it is drawn."""
        return sum(reading.nbytes for reading in self.readings)

    def layers(self) -> Layers | None:
        """None where there was no gradient, and where the optimizer has skipped the step on its device."""
        if self._found_inf is not None and on_host(self._found_inf()):
            return None
        layers = finished(self.readings)
        return None if layers is None else layers.grouped(layers.names)

    def num_skipped(self) -> int:
        """Steps that a gradient scaler had skipped by then."""
        return self._skipped + (0 if self._skipped_on_device is None else on_host(self._skipped_on_device()))


class Reader:
    """See the module's synopsis.

    Args:
        module: which knows its parameters by name.
        steps: of all its optimizers.
        chosen: parameters to read.
        depth: parts of a name that make a layer; None for all of it.
        histogram: how elements are counted.
        columns: norms to read, the same on every process.
    """

    def __init__(
        self,
        module: nn.Module,
        steps: Steps,
        chosen: Chosen,
        depth: int | None,
        histogram: LogHistogram,
        columns: Sequence[Column],
    ) -> None:
        self._module = module
        self._steps = steps
        self._chosen = chosen
        self._depth = depth
        self._histogram = histogram
        self._columns = columns
        self._weights: dict[int, dict[int, Tensor]] = {}
        self._unclipped: dict[int, dict[int, Tensor]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether processes meet to read: parameters of any optimizer are spread over them. The same on each."""
        return any(is_spread(p) for stepping in self._steps.of for p in parameters_of(stepping.optimizer))

    @torch.no_grad()
    def keep_parameters(self, stepping: Stepping) -> None:
        """Keep what the step's change is worked out from, if that is a column."""
        if "changes" not in self._columns:
            return
        names = {} if self._chosen == Chosen() else names_of(self._module)
        chosen = [
            p for p in parameters_of(stepping.optimizer) if p.requires_grad and self._chosen.has(names.get(id(p), "*"))
        ]
        self._weights[stepping.index] = dict(zip(map(id, chosen), kept_each(chosen), strict=True))

    @torch.no_grad()
    def keep_unclipped(self, stepping: Stepping) -> None:
        """Keep the norms of the gradients as they are, if that is a column."""
        if "before" in self._columns:
            self._unclipped[stepping.index] = gradient_norms(parameters_of(stepping.optimizer))

    def forget(self, stepping: Stepping) -> None:
        """What was kept is not needed: the step did not come."""
        self._weights.pop(stepping.index, None)
        self._unclipped.pop(stepping.index, None)

    @torch.no_grad()
    def read(self, stepping: Stepping) -> Step:
        weights = self._weights.pop(stepping.index, {})
        unclipped = self._unclipped.pop(stepping.index, {})
        own = {s.name: parameters_of(s.optimizer) for s in self._steps.of}
        named = layers_of(self._module, own, self._chosen, self._depth)[stepping.name]
        rows = [Row(layer, p, weights.get(id(p)), unclipped.get(id(p))) for p, layer in named]
        link = Counted(current_link())
        readings = [self._summed(rows, link)] if self.is_shared else read(rows, self._histogram, self._columns)
        found_inf, skipped = getattr(stepping.optimizer, "found_inf", None), stepping.skipped_on_device
        return Step(
            stepping.name,
            stepping.count,
            readings,
            link.num_calls,
            None if found_inf is None else soon_on_host(found_inf.clone()),
            stepping.skipped,
            None if skipped is None else soon_on_host(skipped),
        )

    def _summed(self, rows: Sequence[Row], link: Counted) -> Reading:
        steps = read_shared(rows, self._histogram, self._columns, rank=link.rank, world_size=link.world_size)
        pack = next(steps)
        try:
            steps.send(link.perform(AllReduce(pack, "sum", stays=True)))
        except StopIteration as stop:
            reading: Reading = stop.value
            return reading
        raise AssertionError("there is one sum")


def parameters_of(optimizer: Any) -> list[Tensor]:
    """All parameters of an optimizer, in its order."""
    return [p for group in optimizer.param_groups for p in group["params"]]
